"""A dataset over published versions gives what one over the grid gives: the same rows in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gridflow


@pytest.fixture
def url(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(home / "mirror"))
    with gridflow.connect(home / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "P": "UINT8[100]"}, key="ID")
        table.load({"ID": np.arange(4000), "P": np.random.default_rng(1).integers(0, 255, (4000, 100), "uint8")})
        table.publish(f"file://{home}/place", tag="before")
        table.remove_all(range(0, 4000, 7))
        table.put(1, {"P": np.zeros(100, "uint8")})
        table.publish(f"file://{home}/place")
        table.tag("now")
    yield f"file://{home}/place"


def batches(**arguments: object) -> list[tuple[list[int], bytes]]:
    dataset = gridflow.Dataset("T", batch_size=64, **arguments)
    return [(element["key"].numpy().tolist(), element["val"]["P"].numpy().tobytes()) for element in dataset]


def test_it_is_the_same_dataset(url, home):
    assert batches(home=url) == batches(home=home / "grid")
    assert batches(home=url, shuffle=True, seed=5) == batches(home=home / "grid", shuffle=True, seed=5)
    assert batches(home=url, where="ID < 100") == batches(home=home / "grid", where="ID < 100")
    assert sum(len(keys) for keys, _ in batches(home=url, version="before")) == 4000
    assert batches(home=url, version=2) == batches(home=home / "grid", version="now")
    with gridflow.connect(url) as grid:
        assert batches(grid=grid) == batches(home=url)
        with pytest.raises(gridflow.VersionNotFoundError):
            batches(grid=grid, version="never")


def test_a_new_epoch_reads_what_was_published_since(url, home):
    dataset = gridflow.Dataset("T", home=url, batch_size=4000)
    before = sum(len(element["key"]) for element in dataset)
    with gridflow.connect(home / "grid") as grid:
        grid.table("T").truncate()
        grid.table("T").put(7, {"P": np.zeros(100, "uint8")})
        grid.table("T").publish(url)
    assert before == 4000 - len(range(0, 4000, 7))
    assert [element["key"].numpy().tolist() for element in dataset] == [[7]]
