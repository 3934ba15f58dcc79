"""``load`` and ``put_all`` take whatever has Arrow's interface for other libraries."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

import gridflow


class Stream:
    """Rows of another library: nothing but the interface."""

    def __init__(self, rows: pa.Table):
        self.rows = rows

    def __arrow_c_stream__(self, requested_schema=None):
        return self.rows.__arrow_c_stream__(requested_schema)


class Array:
    """The same of a single batch."""

    def __init__(self, batch: pa.RecordBatch):
        self.batch = batch

    def __arrow_c_array__(self, requested_schema=None):
        return self.batch.__arrow_c_array__(requested_schema)


ROWS = pa.table({"ID": [1, 2, 3], "NAME": ["a", None, "c"]})


def other_table(grid):
    table = grid.create_table("OTHER", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
    table.load(ROWS)
    return table


SOURCES = {
    "stream": lambda grid: Stream(ROWS),
    "array": lambda grid: Array(ROWS.to_batches()[0]),
    "reader": lambda grid: ROWS.to_reader(),
    "batch": lambda grid: ROWS.to_batches()[0],
    "duckdb": lambda grid: duckdb.sql("SELECT * FROM (VALUES (1::BIGINT, 'a'), (2, NULL), (3, 'c')) AS t(ID, NAME)"),
    "result": lambda grid: grid.sql("SELECT * FROM (VALUES (1::BIGINT, 'a'), (2, NULL), (3, 'c')) AS t(ID, NAME)"),
    "table": other_table,
    "transaction": lambda grid: (other_table(grid), grid.transaction().table("OTHER"))[1],
    "polars": lambda grid: pytest.importorskip("polars").DataFrame(ROWS.to_pydict()),
}


@pytest.mark.parametrize("source", SOURCES)
def test_rows_of_any_library_are_loaded_and_put(grid, source):
    table = grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
    assert table.load(SOURCES[source](grid)) == 3
    if "OTHER" in grid:
        grid.drop_table("OTHER")
    table.remove_all([1, 2])
    table.put_all(SOURCES[source](grid))
    assert dict(table.items()) == {1: {"NAME": "a"}, 2: {"NAME": None}, 3: {"NAME": "c"}}


def test_words_of_a_dictionary_may_be_views(grid):
    """As polars gives a Categorical."""
    words = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.uint32()), pa.array(["a", "b"], pa.string_view()))
    table = grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
    assert table.load(Stream(pa.table({"ID": [1, 2, 3], "NAME": words}))) == 3
    assert [table.get(key)["NAME"] for key in (1, 2, 3)] == ["b", None, "a"]


def test_what_is_no_rows_is_refused(grid):
    table = grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
    for data in (pa.array([1, 2]), pa.chunked_array([[1, 2]])):
        for write in (table.load, table.put_all, table._put_rows):
            with pytest.raises(gridflow.SchemaError, match="Array gives no rows of columns"):
                write(data)
    assert len(table) == 0


def test_a_damaged_stream_is_refused(grid):
    offsets = pa.py_buffer(b"\x00\x00\x00\x00\x01\x00\x00\x00")
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff")])
    rows = pa.table({"ID": [1], "NAME": broken})
    table = grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
    for write in (table.load, table.put_all, table._put_rows):
        with pytest.raises(gridflow.SchemaError, match="damaged Arrow data"):
            write(Stream(rows))
    assert len(table) == 0
