"""A dataset over a node at an address: what the grid gives, blocks once, versions that stay while they are read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gridflow
from gridflow import GridNotFoundError, TableNotFoundError
from gridflow.client import remote_grid
from gridflow.client.sources import open_source
from gridflow.server.node import Node
from gridflow.transport import mirror

ROWS = 40_000


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node with a table T of two segments; its mirror has no block, and nobody may touch one that has not come."""
    monkeypatch.setattr(remote_grid, "MAPS_LOCAL", False)
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("GRIDFLOW_MIRROR_GUARD", "1")
    monkeypatch.setattr(mirror, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(mirror, "_HEAD_BYTES", 4096)
    with Node(tmp_path / "grid", listen=["grid://127.0.0.1:0"]) as node:
        table = node.grid.create_table("T", {"ID": "LONG", "X": "FLOAT32[4]", "S": "STRING"}, key="ID")
        for begin, end in ((0, ROWS // 3), (ROWS // 3, ROWS)):
            ids = np.arange(begin, end)
            x = np.stack([ids] * 4, 1).astype(np.float32)
            table.load({"ID": ids, "X": x, "S": [f"row {i}" for i in ids]})
        node.grid.sql("DELETE FROM T WHERE ID % 9 = 4")
        yield node


def address_of(node: Node) -> str:
    """The node's address of TCP."""
    return next(str(endpoint) for endpoint in node.endpoints if not endpoint.is_local)


def rows_of(dataset: gridflow.Dataset) -> list[tuple[object, ...]]:
    """All rows, in order."""
    return [
        row
        for batch in dataset.as_numpy_iterator()
        for row in zip(batch["key"].tolist(), batch["val"]["X"].tolist(), batch["val"]["S"].tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    "options", [{}, {"shuffle": True, "seed": 1}, {"where": "ID % 3 = 1", "shuffle": True, "seed": 2}], ids=str
)
def test_same_as_on_the_box(node: Node, options: dict[str, object]) -> None:
    """By address, and by a table of a grid that is open there, the rows and their order are those of the grid."""
    expected = rows_of(gridflow.Dataset(node.grid.table("T"), batch_size=500, **options))
    same = rows_of(gridflow.Dataset("T", home=address_of(node), batch_size=500, **options)) == expected
    assert same
    with gridflow.connect(address_of(node)) as grid:
        same = rows_of(gridflow.Dataset(grid.table("T"), batch_size=500, **options)) == expected
        assert same
        same = rows_of(gridflow.Dataset("T", grid=grid, batch_size=500, **options)) == expected
        assert same


def test_new_epochs_see_what_was_written(node: Node) -> None:
    """A write that was acknowledged before an iterator is made is in it; a table that is not there is an error."""
    dataset = gridflow.Dataset("T", home=address_of(node), batch_size=5000)
    before = len(rows_of(dataset))
    node.grid.sql("INSERT INTO T (ID, X, S) SELECT ID + 1000000, X, S FROM T WHERE ID < 2")
    assert len(rows_of(dataset)) == before + 2
    with pytest.raises(TableNotFoundError):
        gridflow.Dataset("NONE", home=address_of(node))


def test_versions_are_held_and_let_go(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a version that is read stay after a compaction; those that nobody is heard of any more go."""
    source = open_source(address_of(node))
    version = source.version("T")
    node.grid.table("T").compact()
    first = version.files[0]
    assert not (node.home / "tables" / str(version.table_id) / first.name).exists()
    (piece,) = [piece for _, piece in source.read(version.table_id, first, [(0, 100)])]
    assert piece.size == 100
    leases = node._requests._leases
    with leases._lock:
        for lease in leases._leases.values():
            lease.ends = time.monotonic() - 1
        leases._end_old()
    with pytest.raises(GridNotFoundError):
        list(source.read(version.table_id, first, [(0, 100)]))


def test_names_and_ranges_that_are_none(node: Node) -> None:
    """No path but that of a sealed file of a table is read, and nothing past its end."""
    from dataclasses import replace

    source = open_source(address_of(node))
    version = source.version("T")
    file = version.files[0]
    for wrong in (replace(file, name="../../catalog"), replace(file, name="manifest"), replace(file, name="a" * 16)):
        with pytest.raises(GridNotFoundError):
            list(source.read(version.table_id, wrong, [(0, 10)]))
    with pytest.raises(gridflow.UsageError, match="are asked for"):
        list(source.read(version.table_id, file, [(0, file.bytes + 1)]))
    for begin, piece in source.read(version.table_id, file, [(8, 24)]):
        assert (begin, piece.size) == (8, 16)


def test_node_that_is_started_again(node: Node, tmp_path: Path) -> None:
    """An epoch goes on when the node comes back at the same address."""
    address = address_of(node)
    expected = rows_of(gridflow.Dataset(node.grid.table("T"), batch_size=500))
    iterator = iter(gridflow.Dataset("T", home=address, batch_size=500).as_numpy_iterator())
    found = [next(iterator)]
    node.stop()
    with Node(tmp_path / "grid", listen=[address]):
        found += list(iterator)
    keys = [key for batch in found for key in batch["key"].tolist()]
    same = keys == [key for key, _, _ in expected]
    assert same
