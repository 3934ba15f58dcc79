"""The catalog grows by changes: what they cost, what a reader sees of them, and which numbers commits have."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from damage import VERSION_AT, crc32c

import gridflow
import gridflow.testing
from gridflow import GridCorruptError, UsageError
from gridflow.registry import open_reader
from gridflow.storage.verify import check_home

COLUMNS = {"ID": "LONG", "X": "LONG"}


def test_one_more_table_or_tag_is_appended(home: Path):
    with gridflow.connect(home) as grid:
        catalog = home / "catalog"
        sizes, wholes, inode = [], 0, catalog.stat().st_ino
        for i in range(3000):
            grid.create_table(f"T{i:04}", {"ID": "LONG"}, key="ID")
            sizes.append(catalog.stat().st_size)
            wholes += catalog.stat().st_ino != inode
            inode = catalog.stat().st_ino
        steps = {after - before for before, after in zip(sizes, sizes[1:], strict=False) if after > before}
        assert len(steps) == 1, "each takes the same"
        assert wholes <= 3, "it is written whole when it has doubled"
        table, before = grid.table("T0001"), catalog.stat().st_size
        table.tag("v1")
        assert catalog.stat().st_size - before < 60
    with gridflow.connect(home) as grid:
        assert len(grid.tables()) == 3000 and grid._open_tables() == []
        assert grid.table("T0001").tags() == {"v1": 1}


def test_a_reader_sees_each_change(home: Path):
    with gridflow.testing.verified(home) as grid, open_reader(home) as reader:
        for i in range(5):
            table = grid.create_table(f"T{i}", COLUMNS, key="ID", options={"cache_name": f"CACHE{i}"})
            assert reader.tables() == [f"T{j}" for j in range(i + 1)]
            assert reader.table(f"CACHE{i}").name == f"T{i}"
            table.put(1, {"X": i})
            version = table.tag("v")
            assert reader.table(f"T{i}").tags() == {"v": version}
            grid._alter_options(
                f"T{i}", lambda options: options | {"note": "x" * 30_000}
            )  # so that it is written whole
            assert reader.table(f"T{i}").options["note"] and reader.table(f"T{i}").tags() == {"v": version}
            table.tag("w")
            table.untag("v")
            assert reader.table(f"T{i}").tags() == {"w": version}
        grid.drop_table("T2")
        assert reader.tables() == ["T0", "T1", "T3", "T4"]


def test_two_tags_of_a_version_go_one_after_the_other(home: Path):
    with gridflow.testing.verified(home) as grid:
        table = grid.create_table("T", COLUMNS, key="ID")
        table.put(1, {"X": 1})
        version = table.tag("a")
        assert table.tag("b") == table.tag("a") == version, "the same again changes nothing"
        table.put(2, {"X": 2})
        with pytest.raises(UsageError, match="has a tag a already"):
            table.tag("a")
        assert table.versions() == [version, version + 1]
        table.untag("a")
        assert table.to_arrow(version="b").num_rows == 1
        table.tag("b", replace=True)
        assert table.versions() == [version + 1] and table.tags() == {"b": version + 1}


def test_a_catalog_of_before_changes_is_opened_and_goes_on(home: Path):
    with gridflow.connect(home) as grid:
        grid.create_table("T", COLUMNS, key="ID").put(1, {"X": 1})
        grid.table("T").tag("v1")
        grid.open_grid._catalog._end = 0  # as of a file that nothing can be appended to: it is written whole
        grid.create_table("U", COLUMNS, key="ID")
    data = bytearray((home / "catalog").read_bytes())
    data[VERSION_AT : VERSION_AT + 8] = (1).to_bytes(8, "little")
    data[VERSION_AT + 4 : VERSION_AT + 8] = crc32c(bytes(data[:32])).to_bytes(4, "little")
    (home / "catalog").write_bytes(data)
    assert check_home(home) == []
    with gridflow.testing.verified(home) as grid:
        assert grid.tables() == ["T", "U"] and list(grid.table("T").tags()) == ["v1"]
        grid.table("U").tag("v2")
        assert grid.table("T").to_arrow(version="v1").num_rows == 1


def test_a_change_that_is_cut_off_is_missed(home: Path):
    with gridflow.connect(home / "grid") as grid:
        grid.create_table("T", COLUMNS, key="ID").load({"ID": [1], "X": [1]})
        grid.create_table("U", COLUMNS, key="ID").load({"ID": [1], "X": [1]})
    catalog = home / "grid" / "catalog"
    data = catalog.read_bytes()
    catalog.write_bytes(data[:-10])
    for look in (gridflow.connect, open_reader):
        with pytest.raises(GridCorruptError, match="change 2, but change 3 was acknowledged"):
            look(home / "grid")
    assert [problem.file for problem in check_home(home / "grid")] == [str(catalog)]
    assert (home / "grid" / "tables" / "2").exists(), "nothing of it may go"
    catalog.write_bytes(data)
    gridflow.testing.verify(home / "grid")


def test_commits_have_numbers_after_those_that_any_table_has_in_segments(home: Path):
    """Also where the control page is gone, and others are written before that table is opened."""
    with gridflow.connect(home / "grid") as grid:
        grid.create_table("A", COLUMNS, key="ID")
        table = grid.create_table("B", COLUMNS, key="ID")
        for i in range(50):
            table.put(i, {"X": i})
    (home / "grid" / "control").unlink()
    with gridflow.connect(home / "grid") as grid:
        for i in range(3):
            grid.table("A").put(i, {"X": i})
        assert grid.last_commit == 53
        grid.table("B").put(100, {"X": 100})
        grid.table("A").put(100, {"X": 100})
        assert grid.last_commit > 50
        with grid.table("A").lock, grid.table("B").lock:
            shutil.copytree(grid.home, home / "crashed")
    with gridflow.testing.verified(home / "crashed") as grid:
        assert grid.table("B").get(100) == {"X": 100} and len(grid.table("B")) == 51
        assert sorted(grid.table("A")) == [0, 1, 2, 100]
