"""Columns as Arrow: what users give, brought to the layout of segments, and segments as users see them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._native.snapshot import Snapshot
from ..config import MAX_KEY_BYTES
from ..errors import ColumnNotFoundError, SchemaError, about, did_you_mean
from ..kinds import ByKind
from ..schema import FLOATS, NESTED, SCALARS, Column, Schema, Type
from .cast import cast_column

_GAPS = 16  # where more rows than this are deleted the others are copied, not sliced
_MANY_ROWS = 1 << 18  # a copy of so many is worth some threads
_PAGE = 4096


class _CArray:
    """Room for an Arrow C ArrowArray (80 bytes)."""

    def __init__(self) -> None:
        self._room = np.zeros(10, np.int64)
        self.address = self._room.ctypes.data


_SHOWN: ByKind[Callable[[Type], pa.DataType]] = ByKind(
    "Arrow types that users see",
    {
        **dict.fromkeys((*SCALARS, *NESTED), Type.arrow),
        "UUID": lambda t: pa.uuid(),
        "TENSOR": lambda t: pa.fixed_shape_tensor(t.arrow().value_type, t.shape),
    },
)


def user_type(t: Type) -> pa.DataType:
    """The Arrow type under which users see a column: as in segments, with tensors and UUIDs named as such."""
    return _SHOWN[t.kind](t)


def user_schema(columns: list[Column]) -> pa.Schema:
    """The Arrow schema under which users see these columns."""
    return pa.schema([pa.field(c.name, user_type(c.type), nullable=c.type.nullable) for c in columns])


def export_batch(snapshot: Snapshot, segment: int, positions: list[int], begin: int, end: int) -> pa.RecordBatch:
    """Rows [begin, end) of a segment, as views of its mapping. Deleted rows are among them."""
    columns = [snapshot.schema.columns[i] for i in positions]
    arrays = []
    for position, column in zip(positions, columns, strict=True):
        room = _CArray()
        if snapshot.export(segment, position, begin, end, room.address):
            arrays.append(pa.Array._import_from_c(room.address, user_type(column.type)))
        else:
            arrays.append(_nulls(end - begin, user_type(column.type)))
    return pa.RecordBatch.from_arrays(arrays, schema=user_schema(columns))


def _nulls(count: int, arrow: pa.DataType) -> pa.Array:
    """``count`` nulls. ``pa.nulls`` has them also in those fields of a struct that are never null by their type."""
    if not pa.types.is_struct(arrow):
        return pa.nulls(count, arrow)
    return pa.array([None], arrow).take(np.zeros(count, np.int64))


def deleted_column(snapshot: Snapshot, segment: int) -> pa.Array | None:
    """Which rows of a segment are deleted, in its mapped bits: null where a row is live, and of no particular value
    elsewhere.

    None if no row is deleted.
    """
    bitmap = snapshot.deletions(segment)
    if bitmap is None:
        return None
    address, size = bitmap
    rows, deleted = snapshot.segments()[segment][1:3]
    bits = pa.foreign_buffer(address, size, base=snapshot)
    if (address + size - 1) // _PAGE != (address + size + 6) // _PAGE:
        # Arrow's buffers may be read up to the next multiple of 8 bytes, which here may not be mapped.
        bits = pa.py_buffer(bytes(bits) + bytes(8))
    # Nobody looks at the values, so these zeros are never brought into memory.
    values = pa.py_buffer(np.zeros(rows, np.int8))
    return pa.Array.from_buffers(pa.int8(), rows, [bits, values], null_count=rows - deleted)


def live_batches(
    snapshot: Snapshot, segment: int, gone: pa.Array | None, positions: list[int], begin: int, end: int
) -> Iterator[pa.RecordBatch]:
    """The rows of [begin, end) that are not deleted: views, or one copy where there are many gaps.

    ``gone`` is ``deleted_column(snapshot, segment)``.
    """
    if begin >= end:
        return
    if not positions:  # rows of no columns: they still count
        for batch in live_batches(snapshot, segment, gone, [0], begin, end):
            yield batch.select([])
        return
    batch = export_batch(snapshot, segment, positions, begin, end)
    if gone is None:
        yield batch
        return
    gone = gone.slice(begin, end - begin)
    if len(gone) - gone.null_count > _GAPS:
        yield _filtered(batch, gone.is_null())
        return
    start = 0
    for stop in [*pc.indices_nonzero(gone.is_valid()).to_pylist(), len(gone)]:
        if start < stop:
            yield batch.slice(start, stop - start)
        start = stop + 1


def _filtered(batch: pa.RecordBatch, mask: pa.Array) -> pa.RecordBatch:
    """The rows of a mask; columns of many rows are done side by side."""
    if batch.num_rows < _MANY_ROWS or batch.num_columns == 1:
        columns = [column.filter(mask) for column in batch.columns]
    else:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, batch.num_columns)) as threads:
            columns = list(threads.map(lambda column: column.filter(mask), batch.columns))
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def to_columns(batch: pa.RecordBatch, schema: Schema, table: str) -> list[pa.Array]:
    """A user's batch as one array for each column of the table, in the exact layout of segments.

    Raises:
        ColumnNotFoundError: the batch has a column that the table has not.
        SchemaError: a column is missing that may not be null, or a value does not fit.
    """
    for name in batch.schema.names:
        if name not in schema:
            raise ColumnNotFoundError(
                f"table {table} has no column {name}; {did_you_mean(name, schema.names)}", table=table, column=name
            )
    arrays = []
    for column in schema.columns:
        positions = batch.schema.get_all_field_indices(column.name)
        if len(positions) > 1:
            raise SchemaError(
                f"table {table}: the data has column {column.name} {len(positions)} times",
                table=table,
                column=column.name,
            )
        if positions:
            where = f"table {table}, column {column}"
            with about(table=table, column=column.name):
                array = cast_column(batch.column(positions[0]), column.type, where)
                arrays.append(_key_column(array, column.type, where) if column.name in schema.key else array)
        elif column.type.nullable:
            arrays.append(_nulls(batch.num_rows, column.type.arrow()))
        else:
            raise SchemaError(
                f"table {table}: the data has no column {column}; it has {', '.join(batch.schema.names)}",
                table=table,
                column=column.name,
            )
    _check_key_bytes([arrays[schema.names.index(name)] for name in schema.key], table)
    return arrays


def refuse_nulls(rows: pa.Table, schema: Schema, table: str) -> None:
    """Raise where a column of a statement's rows has a null that the table does not allow.

    Raises:
        SchemaError: names the column.
    """
    for name, values in zip(rows.column_names, rows.columns, strict=True):
        column = schema[name]
        if values.null_count and not column.type.nullable:
            in_key = " in a key" if name in schema.key else ""
            raise SchemaError(
                f"table {table}, column {column}: a null is not allowed{in_key}", table=table, column=column.name
            )


def _key_column(array: pa.Array, t: Type, where: str) -> pa.Array:
    """A key column as keys are encoded: of floats, NaN is none, and -0.0 and 0.0 are one."""
    if t.kind not in FLOATS or array.null_count:  # a null is refused where all columns are checked for them
        return array
    values = array.to_numpy()
    if np.isnan(values).any():
        raise SchemaError(f"{where}: NaN is not allowed in a key")
    return pa.array(values + values.dtype.type(0)) if np.signbit(values[values == 0]).any() else array


def _check_key_bytes(keys: list[pa.Array], table: str) -> None:
    variable = [key for key in keys if pa.types.is_large_string(key.type) or pa.types.is_large_binary(key.type)]
    if not variable or not len(variable[0]) or sum(key.nbytes for key in variable) <= MAX_KEY_BYTES // 2:
        return
    fixed = sum(key.type.byte_width if key.type.bit_width >= 8 else 1 for key in keys if key not in variable)
    sizes = [pc.fill_null(pc.binary_length(key), 0).to_numpy() + 4 for key in variable]
    longest = int(sum(sizes).max()) + fixed
    if longest > MAX_KEY_BYTES:
        raise SchemaError(f"table {table}: a key has at most {MAX_KEY_BYTES} bytes, one has {longest}")
