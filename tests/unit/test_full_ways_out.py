"""How a full grid gets room again: by rows that are removed and tables that are dropped."""

from __future__ import annotations

import pytest
from small_room import COLUMNS, SIZE, WRITES, Writer

from gridflow import GridFullError


def test_removing_all_makes_room(full):
    grid, writer = full
    writer.until_full(writer.put_all)
    assert writer.table.remove_all(writer.rows) == len(writer.rows)
    writer.rows.clear()
    grid.flush()
    for _ in range(10):
        writer.put_all()


def test_removing_some_makes_room(full):
    grid, writer = full
    writer.until_full(writer.put)
    for key in range(0, writer.next, 2):
        assert writer.table.remove(key)
        del writer.rows[key]
    try:
        writer.table.compact()
    except GridFullError:  # for one segment of all; the old ones have shrunk
        pass
    assert writer.table.stats()["deleted"] == 0
    for _ in range(5):
        writer.put_all()


@pytest.mark.parametrize("write", WRITES)
def test_dropping_a_table_makes_room(full, write):
    grid, writer = full
    other = Writer(grid.create_table("OTHER", COLUMNS, key="ID"))
    other.put()
    writer.until_full(getattr(writer, write))
    grid.drop_table("T")
    writer.rows.clear()
    writer.table = grid.create_table("T", COLUMNS, key="ID")
    for _ in range(10):
        other.put_all()
    other.check()
    writer.put()


def test_the_room_is_used_before_it_is_called_full(full):
    """The log is no second copy of the data: rows in segments are in no log."""
    grid, writer = full
    writer.until_full(writer.put)
    assert len(writer.rows) * 20_000 > 0.7 * SIZE
    grid.flush()
