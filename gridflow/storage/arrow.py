"""Columns as Arrow: what users give, brought to the layout of segments, and segments as users see them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._native.snapshot import Snapshot
from ..kinds import ByKind
from ..schema import NESTED, SCALARS, Column, Type

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
            arrays.append(nulls(end - begin, user_type(column.type)))
    return pa.RecordBatch.from_arrays(arrays, schema=user_schema(columns))


def nulls(count: int, arrow: pa.DataType) -> pa.Array:
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
