"""Rows as they are mapped: the live ones and no others are left of them, and nothing of them is copied."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import gridflow
import gridflow.testing
from gridflow.storage import arrow
from gridflow.storage import mapped_rows as module
from gridflow.storage.arrow import deleted_column, export_batch
from gridflow.storage.mapped_rows import DELETED, mapped_rows

ROWS = 400


def make(grid: gridflow.Grid) -> gridflow.Table:
    table = grid.create_table("T", {"ID": "LONG", "N": "VARCHAR", "P": "UINT8[2,2]"}, key="ID")
    load(table, range(ROWS))
    return table


def load(table: gridflow.Table, ids: range) -> None:
    table.load({"ID": list(ids), "N": [f"row {i}" for i in ids], "P": np.zeros((len(ids), 2, 2), np.uint8)})


def live_ids(rows: module.MappedRows) -> list[int]:
    """The IDs of the rows that an engine keeps."""
    found = rows.live["ID"].to_pylist()
    if rows.mixed is not None:
        gone = rows.mixed[DELETED].is_valid().to_pylist()
        found += [i for i, is_gone in zip(rows.mixed["ID"].to_pylist(), gone, strict=True) if not is_gone]
    return sorted(found)


@given(data=st.data())
def test_the_live_rows_are_left_and_no_others(data):
    gone = data.draw(st.one_of(st.sets(st.integers(0, ROWS + 99)), st.sets(st.integers(0, 20), max_size=3)))
    with pytest.MonkeyPatch.context() as patch, gridflow.testing.temporary_home() as home:
        patch.setattr(module, "_SHORT", data.draw(st.sampled_from([8, 64, 1024])))
        patch.setattr(module, "_GRAINS", data.draw(st.sampled_from([(8, 16), (16, 64), (64,)])))
        patch.setattr(module, "_MOST_STRETCHES", data.draw(st.sampled_from([1, 4, 32])))
        patch.setattr(module, "_COPIED_ROWS", data.draw(st.sampled_from([-1, 100, 1000])))
        patch.setattr(module, "_NEAR", data.draw(st.sampled_from([0, 16, 1000])))
        with gridflow.connect(home / "grid") as grid:
            table = make(grid)
            load(table, range(ROWS, ROWS + 100))
            table.remove_all(gone)
            table.flush()
            snapshot = table.snapshot()
            ranges, wanted = None, set(range(ROWS + 100))
            if data.draw(st.booleans()):
                ranges, wanted = [], set()
                for segment, (_, rows, _, _) in enumerate(snapshot.segments()):
                    zones = sorted(data.draw(st.sets(st.integers(0, (rows - 1) // 16))))
                    ranges.append([(16 * zone, min(16 * zone + 16, rows)) for zone in zones])
                    ids = export_batch(snapshot, segment, [0], 0, rows)["ID"].to_pylist()
                    wanted |= {i for begin, end in ranges[-1] for i in ids[begin:end]}
            rows = mapped_rows(snapshot, ["N", "ID"], ranges)
            assert live_ids(rows) == sorted(wanted - gone)
            compact = rows.compact()
            assert compact.schema == rows.live.schema and sorted(compact["ID"].to_pylist()) == sorted(wanted - gone)
            assert compact["N"].to_pylist() == [f"row {i}" for i in compact["ID"].to_pylist()]
            assert rows.size == len(rows.column("ID")) >= len(compact)
            event("mixed" if rows.mixed is not None else "live alone")


def test_the_bitmap_is_where_the_column_is(grid, monkeypatch):
    """What goes to the engine is the mapped bitmap, and the mapped columns."""
    monkeypatch.setattr(module, "_COPIED_ROWS", -1)
    table = make(grid)
    table.remove_all(range(0, ROWS, 3))
    table.flush()
    snapshot = table.snapshot()
    rows = mapped_rows(snapshot, ["ID"])
    assert rows.live.num_rows == 0 and rows.mixed is not None and rows.mixed.num_rows == ROWS
    assert rows.mixed[DELETED].chunk(0).buffers()[0].address == snapshot.deletions(0)[0]
    whole = export_batch(snapshot, 0, [0], 0, ROWS)
    assert rows.mixed["ID"].chunk(0).buffers()[1].address == whole["ID"].buffers()[1].address


def test_the_bitmap_stays_as_long_as_the_column(grid):
    table = make(grid)
    table.remove_all(range(0, ROWS, 3))
    table.flush()
    column = deleted_column(table.snapshot(), 0)
    table.compact()
    assert table.snapshot().deletions(0) is None
    assert column.null_count == len(table) and pa.array(column.to_pylist(), pa.int8()).null_count == len(table)


def test_a_bitmap_that_ends_at_a_page_is_copied(grid, monkeypatch):
    """Arrow's readers may look at up to 8 bytes more than a buffer has, so these must be there."""
    table = make(grid)
    table.remove_all(range(0, ROWS, 3))
    table.flush()
    snapshot = table.snapshot()
    address, size = snapshot.deletions(0)
    mapped = deleted_column(snapshot, 0)
    monkeypatch.setattr(arrow, "_PAGE", address + size)
    copied = deleted_column(snapshot, 0)
    assert copied.buffers()[0].address != address and copied.equals(mapped)


def test_few_rows_are_copied_rather_than_tested(grid):
    table = make(grid)
    table.remove(7)
    table.flush()
    rows = mapped_rows(table.snapshot(), None)
    assert rows.mixed is None and rows.live.num_rows == ROWS - 1
