"""Past versions on the disk: what is kept, what a damaged or a full grid does, readers while they come and go."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from small_room import fill

import gridflow
import gridflow.testing
from gridflow import GridCorruptError, GridFullError, VersionNotFoundError
from gridflow.registry import open_reader
from gridflow.storage.verify import check_home


def load(table: gridflow.Table, value: int, rows: int = 1000) -> None:
    table.load({"ID": np.arange(rows), "X": np.full(rows, value)}, on_duplicate="replace")


@pytest.fixture
def grid(home: Path):
    with gridflow.testing.verified(home / "grid") as grid:
        load(grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID"), 1)
        yield grid


def test_versions_share_their_segments(grid):
    table = grid.table("T")
    table.tag("v1")
    assert table.stats()["kept_bytes"] == 0, "it is the current one"
    table.put(5000, {"X": 0})
    table.flush()
    assert table.stats()["kept_versions"] == 1 and table.stats()["kept_bytes"] == 0
    table.put(1, {"X": 0})
    table.flush()
    table.tag("v2")
    table.put(2, {"X": 0})
    table.flush()
    assert 0 < table.stats()["kept_bytes"] < 1000, "a deletion bitmap, which only v2 has"
    size = table.stats()["bytes"]
    table.compact()
    assert size - 1000 < table.stats()["kept_bytes"] < size + 1000, "all segments but the last one"


def test_tags_outlive_the_owner(home: Path, grid):
    table = grid.table("T")
    version = table.tag("v1")
    table.keep_versions(1)
    load(table, 2)
    load(table, 3)
    current = table.version()
    grid.close()
    for _ in range(2):
        with gridflow.connect(grid.home) as again:
            table = again.table("T")
            assert table.tags() == {"v1": version} and table.versions() == [version, current - 1, current]
            for snapshot, value in (("v1", 1), (current - 1, 2), (current, 3)):
                assert set(table.to_arrow(version=snapshot)["X"].to_pylist()) == {value}
            assert table.stats()["kept_versions"] == 2


def test_a_table_that_goes_takes_its_versions_along(grid):
    table = grid.table("T")
    table.tag("v1")
    load(table, 2)
    held = table.to_arrow(version="v1")
    grid.drop_table("T")
    assert not table.folder.exists()
    assert held["X"].to_pylist() == [1] * 1000, "mapped columns stay"


def test_a_load_that_tags_its_table_names_what_was_before(grid):
    table = grid.table("T")

    def rows():
        yield {"ID": 1, "X": 2}
        table.tag("v1")

    table.load(rows(), on_duplicate="replace")
    assert set(table.to_arrow(version="v1")["X"].to_pylist()) == {1} and table.get(1) == {"X": 2}


def test_readers_do_not_mind_versions_that_come_and_go(grid):
    """A reader of a tag reads it whole, whatever is moved and let go of meanwhile."""
    table, errors, stop = grid.table("T"), [], threading.Event()
    table.tag("best")

    def read() -> None:
        try:
            with open_reader(grid.home) as reader:
                seen = reader.table("T")
                while not stop.is_set():
                    values = set(seen.to_arrow(["X"], version="best")["X"].to_pylist())
                    assert len(values) == 1, values
                    for version in seen.versions():
                        try:
                            assert len(set(seen.to_arrow(["X"], version=version)["X"].to_pylist())) == 1
                        except VersionNotFoundError:  # it has gone
                            pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    table.keep_versions(2)
    for value in range(2, 60):
        load(table, value)
        table.tag("best", replace=True)
        if value % 7 == 0:
            table.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []


# ---- damage ----


@pytest.fixture
def kept(home: Path) -> tuple[Path, Path]:
    """A closed grid whose table has a tag v1, and the manifest of that."""
    with gridflow.connect(home / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")
        load(table, 1)
        table.tag("v1")
        load(table, 2)
    return home / "grid", next((home / "grid" / "tables" / "1").glob("?*.manifest"))


def test_check_reads_what_only_a_past_version_has(kept):
    home, manifest = kept
    assert check_home(home) == []
    segment = manifest.parent / "0000000000000001.seg"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert [problem.file for problem in check_home(home)] == [str(segment)]


def test_a_kept_manifest_that_is_damaged_is_named(kept):
    home, manifest = kept
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-1])
    assert [problem.file for problem in check_home(home)] == [str(manifest)]
    with gridflow.connect(home) as grid, pytest.raises(GridCorruptError, match=str(manifest)):
        grid.table("T")  # which files it needs cannot be known, so none may go
    with open_reader(home) as reader:
        assert len(reader.table("T")) == 1000
        with pytest.raises(GridCorruptError, match=str(manifest)):
            reader.table("T").to_arrow(version="v1")
    manifest.write_bytes(whole)
    gridflow.testing.verify(home)


def test_a_kept_manifest_that_is_missing_is_missed_by_its_tag_alone(kept):
    home, manifest = kept
    manifest.unlink()
    (problem,) = check_home(home)
    assert problem.file == str(manifest) and "tag v1 of table T" in problem.message
    with gridflow.connect(home) as grid:
        table = grid.table("T")
        with pytest.raises(VersionNotFoundError, match="version 2 of table 1 .* is not kept, the current one is 3"):
            table.to_arrow(version="v1")
        assert len(table) == 1000 and table.versions() == [3]
        table.untag("v1")
        assert grid.check() == []


def test_what_a_crash_leaves_of_a_tag_is_swept(kept):
    home, manifest = kept
    stray = manifest.with_name(f"{3:016x}.manifest")  # of a tag that did not get into the catalog
    stray.write_bytes((manifest.parent / "manifest").read_bytes())
    with open_reader(home) as reader:
        assert reader.table("T").versions() == [2, 3]
        assert reader.table("T").stats()["kept_versions"] == 1
    with gridflow.connect(home) as grid:
        grid.table("T")
        assert not stray.exists() and manifest.exists()


# ---- no room ----


def test_a_full_grid_gets_room_where_a_tag_goes(full):
    grid, writer = full
    writer.load(200)
    table = grid.table("T")
    table.tag("v1")
    table.truncate()
    writer.rows.clear()
    fill(grid.home.parent, leave=200 << 10)  # less than what writes leave free
    with pytest.raises(GridFullError):
        writer.load(100)
    with pytest.raises(GridFullError):
        table.tag("v2")
    assert table.tags() == {"v1": table.version() - 1}
    assert table.to_arrow(version="v1").num_rows == 200
    table.untag("v1")
    writer.load(100)
