"""Deleted rows of a large segment: lists beside a bitmap, whole bitmaps now and then, and what damages either."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from damage import replace
from many_segments import separate_segments

import gridflow
import gridflow.testing
from gridflow import GridCorruptError, GridVersionError
from gridflow.registry import open_reader
from gridflow.storage.verify import check_home

ROWS = 100_000  # a bitmap of 12,500 bytes
LIST_MAGIC = b"GFROW"


def make(grid: gridflow.Grid, name: str = "T") -> gridflow.Table:
    table = grid.create_table(name, {"ID": "LONG", "X": "LONG"}, key="ID")
    table.load({"ID": np.arange(ROWS), "X": np.zeros(ROWS, int)})
    return table


def change(table: gridflow.Table, model: dict[int, int], chance: random.Random, count: int, step: int) -> None:
    """Removes and updates in one segment."""
    keys = chance.sample(sorted(model), count)
    table.remove_all(keys[: count // 2])
    for key in keys[: count // 2]:
        del model[key]
    for key in keys[count // 2 :]:
        table.put(key, {"X": step})
        model[key] = step
    table.flush()


def rows_of(table: gridflow.Table, snapshot: str | None = None) -> dict[int, int]:
    found = table.to_arrow(["ID", "X"], version=snapshot)
    return dict(zip(found["ID"].to_pylist(), found["X"].to_pylist(), strict=True))


def is_list(file: Path) -> bool:
    return file.read_bytes().startswith(LIST_MAGIC)


def deletions(home: Path, table_id: int = 1) -> list[Path]:
    return sorted((home / f"tables/{table_id}").glob("*.del"))


def test_what_is_deleted_costs_little_and_is_what_was_deleted(home: Path):
    chance = random.Random(1)
    with gridflow.testing.verified(home / "grid") as grid, open_reader(grid.home) as reader:
        table, beside = make(grid), reader.table("T")
        model = dict.fromkeys(range(ROWS), 0)
        tagged = {}
        lists = bitmaps = 0
        for step in range(60):
            change(table, model, chance, 400 if step == 30 else 40, step)
            names = deletions(grid.home)
            lists += sum(map(is_list, names))
            bitmaps += sum(not is_list(file) for file in names)
            assert len(names) <= 2 + 2 * len(tagged) + 2 * (len(table.snapshot().segments()) - 1)
            if step % 20 == 7:
                table.tag(f"at{step}")
                tagged[f"at{step}"] = dict(model)
            if step % 10 == 0:
                assert rows_of(beside) == rows_of(table) == model
        assert lists > 50 and bitmaps > 5
        # 40 rows a commit: each written about sqrt(8 * 40 * 12,500) bytes, and not 12,500.
        assert table.stats()["bitmap_bytes"] < 60 * 5000
        for tag, rows in tagged.items():
            assert rows_of(beside, tag) == rows
        table.untag("at27")
        assert rows_of(table, "at47") == tagged["at47"] and rows_of(table, "at7") == tagged["at7"]
        assert grid.check() == []


def test_a_deleted_row_of_a_large_segment_is_four_bytes(home: Path):
    with gridflow.testing.verified(home / "grid") as grid:
        table = make(grid)
        table.remove(17)
        table.flush()
        (file,) = deletions(grid.home)
        assert is_list(file) and file.stat().st_size == 64 + 4
        table.remove_all(range(50_000))
        table.flush()
        (file,) = deletions(grid.home)
        assert not is_list(file) and file.stat().st_size == 64 + ROWS // 8
        table.remove(60_000)
        table.flush()
        assert [is_list(file) for file in deletions(grid.home)] == [False, True]
        table.compact()
        assert deletions(grid.home) == [] and len(table) == 49_999


@pytest.fixture
def listed(home: Path) -> Iterator[Path]:
    """A closed grid; table A has a bitmap and a list that adds to it, table B has ten rows."""
    with separate_segments(), gridflow.connect(home / "grid") as grid:
        table = make(grid, "A")
        table.remove_all(range(20_000))
        table.flush()
        table.remove_all(range(30_000, 30_010))
        table.flush()
        other = grid.create_table("B", {"ID": "LONG"}, key="ID")
        other.put_all((i, {}) for i in range(10))
    assert [is_list(file) for file in deletions(home / "grid")] == [False, True]
    yield home / "grid"


def expect_damage(home: Path, file: Path, about: str | None = None) -> None:
    """Nothing of table A can be had, and the error names the file."""
    with gridflow.connect(home) as grid:
        with pytest.raises((GridCorruptError, GridVersionError), match=about) as caught:
            grid.table("A").get(1)
        assert len(grid.table("B")) == 10
    assert caught.value.file == str(file)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("at", [0, 8, 12, 16, 24, 32, 40, 48, 56, 64, 70, -1])
def test_a_flipped_bit(listed, which, at):
    file = deletions(listed)[which]
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    replace(file, data)
    expect_damage(listed, file)
    assert [problem.file for problem in check_home(listed)] == [str(file)]


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_is_gone(listed, which):
    file = deletions(listed)[which]
    file.unlink()
    expect_damage(listed, file, about="missing")


def test_one_in_the_other_s_place(listed):
    bitmap, listing = deletions(listed)
    held = bitmap.read_bytes()
    replace(bitmap, listing.read_bytes())
    expect_damage(listed, bitmap, about="bitmap")
    replace(bitmap, held)
    replace(listing, held)
    expect_damage(listed, listing, about="a bitmap adds to no other")
