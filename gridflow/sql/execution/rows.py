"""Arrow rows on their way into the engine, and rows of a table by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ...faces import RowsInPlace
from ...storage.mapped_rows import DELETED
from ..binding.bound import Bound, BoundTable
from ..binding.lists import list_column
from ..engine.relation import Relation
from ..engine.to_duckdb import for_duckdb
from ..grammar.dialect import mark_texts

#: The name of the column of row numbers, where DuckDB gets one.
ROW = "gridflow row"


def register(
    table: pa.Table | RowsInPlace,
    source: BoundTable,
    bound: Bound,
    *,
    numbers: pa.Array | pa.ChunkedArray | None = None,
) -> Relation:
    """A table's rows for DuckDB: the columns that the statement needs, and perhaps a column of the rows' numbers.

    Args:
        table: the rows; deleted ones may be among them.
        source, bound: which columns are needed, and under which names.
        numbers: of all rows, deleted ones too.
    """
    if isinstance(table, pa.Table):
        return Relation(_columns(table, source, bound, numbers))
    live = _columns(table.live, source, bound, None if numbers is None else numbers.slice(0, table.live.num_rows))
    if table.mixed is None:
        return Relation(live)
    mixed = _columns(table.mixed, source, bound, None if numbers is None else numbers.slice(table.live.num_rows))
    return Relation(live, mixed.append_column(DELETED, table.mixed.column(DELETED)), unless=DELETED)


def _columns(table: pa.Table, source: BoundTable, bound: Bound, numbers: pa.Array | pa.ChunkedArray | None) -> pa.Table:
    replacements = {name: other for other, name in bound.originals.items()}
    rows = for_duckdb(table.select(source.columns), source.schema)
    rows = rows.rename_columns([replacements.get(name, name) for name in rows.column_names])
    if numbers is not None:
        rows = rows.append_column(ROW, numbers)
    return rows


def with_lists(sql: str, bound: Bound, values: dict[str, Any]) -> tuple[str, dict[str, Relation]]:
    """A statement for the engine, and the tables of its long lists, whose values are taken out of ``values``.

    Values of another kind than the column before IN, or of several, stay parameters of the statement.
    """
    lists = {name: Relation(table) for name, table in bound.lists.items()}
    of_columns: set[str] = set()
    for name, (node, dtype) in bound.mark_lists.items():
        column = list_column([values[mark] for mark in node.names], dtype)
        if column is None:
            sql = sql.replace(f'FROM "{name}"', mark_texts(node))
        else:
            lists[name] = Relation(pa.table({"v": column}))
            of_columns.update(node.names)
    for mark in of_columns:
        del values[mark]
    return sql, lists


def take_rows(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """Rows of a column by number, in one copy, without joining its chunks."""
    starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])
    if column.num_chunks <= 1 or not len(rows):
        chunks = [chunk.take(pa.array(rows)) for chunk in column.chunks[:1]]
        return pa.chunked_array(chunks, column.type)
    owner = np.searchsorted(starts, rows, side="right") - 1
    if np.all(owner[:-1] <= owner[1:]):  # in the table's order: chunk after chunk
        chunks = [column.chunk(int(i)).take(pa.array(rows[owner == i] - starts[i])) for i in np.unique(owner)]
        return pa.chunked_array(chunks, column.type)
    if not isinstance(column.type, pa.FixedShapeTensorType) or column.null_count:
        order = np.argsort(rows, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.chunked_array([take_rows(column, rows[order]).combine_chunks()]).take(pa.array(back))
    return _scatter_tensors(column, rows, owner, starts)


def _scatter_tensors(
    column: pa.ChunkedArray, rows: np.ndarray, owner: np.ndarray, starts: np.ndarray
) -> pa.ChunkedArray:
    dtype = column.type
    size = int(np.prod(dtype.shape, dtype=np.int64))
    out = np.empty((len(rows), size), dtype.value_type.to_pandas_dtype())
    for i in np.unique(owner):
        storage = column.chunk(int(i)).storage
        flat = storage.values.slice(storage.offset * size, len(storage) * size)
        mine = owner == i
        out[mine] = flat.to_numpy(zero_copy_only=True).reshape(-1, size)[rows[mine] - starts[i]]
    values = pa.array(out.reshape(-1), dtype.value_type)
    storage = pa.FixedSizeListArray.from_arrays(values, type=dtype.storage_type)
    return pa.chunked_array([pa.ExtensionArray.from_storage(dtype, storage)], dtype)
