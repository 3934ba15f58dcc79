"""A table at a URL is a table: its versions follow each other as those of a grid's table do, whatever is published."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import gridflow
import gridflow._native.store
from gridflow._native.snapshot import Snapshot
from gridflow.storage.scan import whole_table
from gridflow.transport.publish import publish
from gridflow.transport.published import table_id_of
from gridflow.transport.url_source import UrlSource


def change(table: gridflow.Table, chance: random.Random) -> None:
    """Something that makes another version, of whatever kind."""
    keys = [chance.randrange(300) for _ in range(chance.randrange(1, 40))]
    kind = chance.randrange(8)
    if kind < 3:
        table.put_all((key, {"X": chance.random()}) for key in keys)
    elif kind < 5:
        table.remove_all(keys)
    elif kind == 5:
        table.load({"ID": np.unique(keys), "X": np.zeros(len(set(keys)))}, on_duplicate="replace")
    elif kind == 6:
        table.compact()
    else:
        table.truncate()
    if chance.random() < 0.6:
        table.flush()


def folder_of(source: UrlSource, home: Path, number: int) -> tuple[Path, int]:
    """A version as a table's folder, beside the others."""
    version = source.version("T", number)
    folder = home / "tables" / str(version.table_id)
    folder.mkdir(parents=True, exist_ok=True)
    for file in version.files:
        data = b"".join(bytes(piece) for _, piece in source.read(version.table_id, file, [(0, file.bytes)]))
        path = folder / file.name
        assert not path.exists() or path.read_bytes() == data, f"{file.name} is another file in version {number}"
        path.write_bytes(data)
    (folder / "manifest").write_bytes(version.manifest)
    (folder / f"{number:016x}.manifest").write_bytes(version.manifest)
    return folder, version.table_id


def check(seed: str, home: Path, steps: int) -> None:
    chance = random.Random(seed)
    url = f"file://{home}/place"
    expected: list[list[dict]] = []
    grids = [gridflow.connect(home / name) for name in ("one", "two")]
    try:
        for grid in grids:
            grid.create_table("T", {"ID": "LONG", "X": "DOUBLE"}, key="ID", keep_versions=5)
        for _ in range(steps):
            grid = grids[chance.random() < 0.2]
            table = grid.table("T")
            change(table, chance)
            if chance.random() < 0.5:
                version = chance.choice(table.versions()) if chance.random() < 0.2 else None
                rows = table.to_arrow(version=version).sort_by("ID").to_pylist()
                assert publish(grid.home, ["T"], url, version=version) == {"T": len(expected) + 1}, seed
                expected.append(rows)
        source = UrlSource(url)
        together = home / "together"
        snapshots = []
        for number, rows in enumerate(expected, 1):
            folder, table_id = folder_of(source, together, number)
            assert table_id == table_id_of("T")
            snapshot = Snapshot.open(str(together), table_id, number)
            for segment in range(len(snapshot.segments())):
                snapshot.verify(segment)
            assert whole_table(snapshot, None).sort_by("ID").to_pylist() == rows, f"seed {seed!r}, version {number}"
            snapshots.append(snapshot)
        for earlier, later in zip(snapshots, snapshots[1:], strict=False):
            earlier.verify_manifest("the manifest", later)
    finally:
        for grid in grids:
            grid.close()
        shutil.rmtree(home / "together", ignore_errors=True)


@pytest.mark.parametrize("seed", range(6))
def test_versions_follow_each_other(home, seed, monkeypatch):
    monkeypatch.setattr(gridflow._native.store, "DEFAULT_LISTED_BYTES", 16 * (seed % 2))  # bitmaps, and lists on them
    check(f"short {seed}", home, 40)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(30))
def test_many_versions_follow_each_other(home, seed, monkeypatch):
    monkeypatch.setattr(gridflow._native.store, "DEFAULT_LISTED_BYTES", 16 * (seed % 2))
    check(f"long {random.SystemRandom().randrange(1 << 60)}", home, 200)
