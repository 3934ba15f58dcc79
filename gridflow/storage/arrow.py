"""Columns as Arrow: what users give, brought to the layout of segments, and segments as users see them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._native.snapshot import Snapshot
from ..config import MAX_KEY_BYTES
from ..errors import ColumnNotFound, SchemaError, did_you_mean
from ..schema import FLOATS, Column, Schema, Type, from_dtype

_RUNS = 16  # a segment with more gaps than this is filtered (one copy) instead of sliced


class _CArray:
    """Room for an Arrow C ArrowArray (80 bytes)."""

    def __init__(self) -> None:
        self._room = np.zeros(10, np.int64)
        self.address = self._room.ctypes.data


def user_type(t: Type) -> pa.DataType:
    """The Arrow type under which users see a column: as in segments, with tensors and UUIDs named as such."""
    if t.kind == "TENSOR":
        return pa.fixed_shape_tensor(t.arrow().value_type, t.shape)
    if t.kind == "UUID":
        return pa.uuid()
    return t.arrow()


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


def live_batches(
    snapshot: Snapshot, segment: int, live: np.ndarray | None, positions: list[int], begin: int, end: int
) -> Iterator[pa.RecordBatch]:
    """The rows of [begin, end) that are not deleted: views, or one copy where there are many gaps.

    ``live`` is ``snapshot.live(segment)``.
    """
    if begin >= end:
        return
    if not positions:  # rows of no columns: they still count
        for batch in live_batches(snapshot, segment, live, [0], begin, end):
            yield batch.select([])
        return
    batch = export_batch(snapshot, segment, positions, begin, end)
    if live is None:
        yield batch
        return
    live = live[begin:end]
    edges = np.flatnonzero(np.diff(live.astype(np.int8), prepend=0, append=0))
    if len(edges) // 2 <= _RUNS:
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            yield batch.slice(int(start), int(stop - start))
    else:
        yield batch.filter(pa.array(live))


def to_columns(batch: pa.RecordBatch, schema: Schema, table: str) -> list[pa.Array]:
    """A user's batch as one array for each column of the table, in the exact layout of segments.

    Raises:
        ColumnNotFound: the batch has a column that the table has not.
        SchemaError: a column is missing that may not be null, or a value does not fit.
    """
    for name in batch.schema.names:
        if name not in schema:
            raise ColumnNotFound(f"table {table} has no column {name}; {did_you_mean(name, schema.names)}")
    arrays = []
    for column in schema.columns:
        positions = batch.schema.get_all_field_indices(column.name)
        if len(positions) > 1:
            raise SchemaError(f"table {table}: the data has column {column.name} {len(positions)} times")
        if positions:
            where = f"table {table}, column {column}"
            array = cast_column(batch.column(positions[0]), column.type, where)
            arrays.append(_key_column(array, column.type, where) if column.name in schema.key else array)
        elif column.type.nullable:
            arrays.append(_nulls(batch.num_rows, column.type.arrow()))
        else:
            raise SchemaError(f"table {table}: the data has no column {column}; it has {', '.join(batch.schema.names)}")
    _check_key_bytes([arrays[schema.names.index(name)] for name in schema.key], table)
    return arrays


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


def cast_column(array: pa.Array, t: Type, where: str) -> pa.Array:
    """An array in the layout of a column type, without loss; ``where`` begins the message if it does not fit."""
    target = t.arrow()
    given = array.type
    if given == target and not _has_limits(t):
        return array
    try:
        if _has_views(given):  # Arrow's casts of these lose items
            array = pa.array(array.to_pylist(), _without_views(given))
        if pa.types.is_run_end_encoded(given):
            array = pc.run_end_decode(array)
        if t.kind == "TENSOR":
            array = _stack(array, t)
        else:
            if isinstance(array, pa.ExtensionArray):
                array = array.storage
            if t.kind == "UUID" and array.type != target:
                array = _cast_uuid(array)
            elif array.type != target:
                _check_fields(array.type, t)
                if t.kind == "DECIMAL" and pa.types.is_integer(array.type):  # else Arrow asks for room it may not need
                    array = array.cast(pa.decimal128(20, 0))
                array = _without_loss(_cast(array, target), array)
        if _has_limits(t):
            _check_limits(array, t)
        return array
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, ValueError, AttributeError) as error:
        raise SchemaError(f"{where}: got {given}: {error}") from None


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    try:
        return array.cast(target)
    except pa.ArrowInvalid:
        if not pa.types.is_nested(target):
            raise
        # Arrow does not make a tensor of a list within a struct that is null, and has no number.
        return pa.array(array.to_pylist(), target)


def _has_views(arrow: pa.DataType) -> bool:
    if pa.types.is_list_view(arrow) or pa.types.is_large_list_view(arrow):
        return True
    return any(_has_views(arrow.field(i).type) for i in range(arrow.num_fields))


def _without_views(arrow: pa.DataType) -> pa.DataType:
    if pa.types.is_map(arrow):
        return pa.map_(arrow.key_type, _without_views(arrow.item_type))
    if pa.types.is_struct(arrow):
        return pa.struct([field.with_type(_without_views(field.type)) for field in arrow])
    if pa.types.is_fixed_size_list(arrow):
        return pa.list_(_without_views(arrow.value_type), arrow.list_size)
    return pa.large_list(_without_views(arrow.value_type)) if arrow.num_fields else arrow


def _check_fields(arrow: pa.DataType, t: Type) -> None:
    """Arrow's casts drop the fields of a struct that the target has not."""
    parts = [arrow.field(i) for i in range(arrow.num_fields)]
    if t.kind == "STRUCT" and pa.types.is_struct(arrow):
        fields = dict(t.children)
        for part in parts:
            if part.name not in fields:
                raise SchemaError(f"no field {part.name}; {did_you_mean(part.name, fields)}")
            _check_fields(part.type, fields[part.name])
    elif t.kind == "MAP" and pa.types.is_map(arrow):
        _check_fields(arrow.item_type, t.children[1][1])
    elif t.kind == "LIST" and len(parts) == 1:
        _check_fields(parts[0].type, t.children[0][1])


def _without_loss(cast: pa.Array, array: pa.Array) -> pa.Array:
    """The result of a cast, if it says the same: Arrow rounds, cuts hours off or makes an infinity without a word."""
    given, got = array.type, cast.type
    if pa.types.is_floating(got) and pa.types.is_floating(given):
        before = np.isinf(array.to_numpy(zero_copy_only=False))
        if (np.isinf(cast.to_numpy(zero_copy_only=False)) != before).any():
            raise SchemaError(f"a number is out of the range of {got}")
        return cast
    rounded = pa.types.is_decimal(got) and pa.types.is_floating(given)
    cut = pa.types.is_date(got) and pa.types.is_timestamp(given)
    if (rounded or cut) and not cast.cast(given).equals(array):
        raise SchemaError(f"a value is none of {got} without loss")
    return cast


def _has_limits(t: Type) -> bool:
    return t.kind in ("TIME", "TENSOR") or any(_has_limits(child) for _, child in t.children)


def _check_limits(array: pa.Array, t: Type) -> None:
    """What Arrow's types allow and ours do not: a null in a tensor, a boolean of 2, a time that no day has."""
    if t.kind == "TENSOR":
        numbers = array.flatten()  # of the rows that are not null
        if numbers.null_count:
            raise SchemaError("a number in a tensor is null")
        if t.element == "BOOL" and len(numbers) and pc.max(numbers).as_py() > 1:
            raise SchemaError("a number in a tensor of booleans is neither 0 nor 1")
    elif t.kind == "TIME":
        least, most = (bound.value for bound in pc.min_max(array).values())
        if least is not None and not 0 <= least <= most < 86_400_000_000:
            raise SchemaError("a time of day is from 00:00 to less than 24:00")
    elif t.kind == "LIST":
        _check_limits(array.flatten(), t.children[0][1])
    elif t.kind in ("STRUCT", "MAP"):
        if t.kind == "STRUCT":
            parts = array.flatten()
        else:
            parts = [pa.ListArray.from_arrays(array.offsets, part).flatten() for part in (array.keys, array.items)]
        for part, (_, child) in zip(parts, t.children, strict=True):
            if _has_limits(child):
                _check_limits(part, child)


def _stack(array: pa.Array, t: Type) -> pa.Array:
    """A column of tensors."""
    target = t.arrow()
    if isinstance(array.type, pa.FixedShapeTensorType):
        if tuple(array.type.shape) != t.shape:
            raise SchemaError(f"shape {list(array.type.shape)} is not {list(t.shape)}")
        if array.type.permutation not in (None, list(range(len(t.shape)))):
            raise SchemaError("a tensor whose dimensions are permuted cannot be loaded: transpose it first")
        array = array.storage
    elif isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.type == target:
        return array
    shape: list[int] = []
    level = array.type
    while pa.types.is_fixed_size_list(level):
        shape.append(level.list_size)
        level = level.value_type
    if shape and shape != [t.size] and tuple(shape) != t.shape:
        raise SchemaError(f"shape {shape} is not {list(t.shape)}")
    if len(shape) > 1:  # nested lists of fixed size lie one after the other already
        inner = array
        offset, length = array.offset, len(array)
        for size in shape:
            inner, offset, length = inner.values, offset * size, length * size
        values = inner.slice(offset, length).cast(target.value_type)
        return pa.FixedSizeListArray.from_arrays(
            values, type=target, mask=array.is_null() if array.null_count else None
        )
    if not shape and array.null_count < len(array) and _depth(array.type) != len(t.shape) and _depth(array.type) != 1:
        raise SchemaError(f"{array.type} is not a tensor of shape {list(t.shape)}")
    if _depth(array.type) > 1:
        stacked = [None if v is None else np.asarray(v, dtype=t.dtype) for v in array.to_pylist()]
        for value in stacked:
            if value is not None and value.shape != t.shape:
                raise SchemaError(f"shape {list(value.shape)} is not {list(t.shape)}")
        return pa.array([None if v is None else v.reshape(-1).view(_bytes_dtype(t)) for v in stacked], target)
    return array.cast(target)


def _bytes_dtype(t: Type) -> np.dtype:
    return np.dtype("uint8") if t.element == "BOOL" else t.dtype


def _depth(arrow: pa.DataType) -> int:
    depth = 0
    while pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow):
        depth, arrow = depth + 1, arrow.value_type
    return depth


def _cast_uuid(array: pa.Array) -> pa.Array:
    values = array.to_pylist()
    return pa.array(
        [None if v is None else uuid.UUID(v).bytes if isinstance(v, str) else v for v in values], pa.binary(16)
    )


def from_numpy(values: Any, t: Type | None, where: str) -> pa.Array:
    """A numpy array (rows first) or a sequence as an Arrow array; numbers and tensors without a copy.

    Args:
        values: ``[rows, *shape]`` for a tensor, ``[rows]`` else; a sequence of arrays works too.
        t: the column's type, or None to take what the array is.
        where: begins the message if it does not fit.
    """
    try:
        if t is not None and t.kind == "TENSOR" and not isinstance(values, (pa.Array, np.ndarray)):
            if any(v is None for v in values):
                return _tensors_and_nulls(values, t, where)
            values = np.stack([np.asarray(v) for v in values]) if len(values) else np.empty((0, *t.shape), t.dtype)
        if not isinstance(values, np.ndarray):
            return pa.array(values, t.arrow() if t is not None else None)
        if values.dtype.kind == "O" or values.ndim == 1 and values.dtype.kind in "SU":
            return from_numpy(values.tolist(), t, where)
        if values.ndim == 1:
            return pa.array(values)
        if t is not None and t.kind == "LIST":
            return pa.array(values.tolist(), t.arrow())
        tensor = t if t is not None and t.kind == "TENSOR" else from_dtype(values.dtype, values.shape[1:])
        if values.shape[1:] != tensor.shape:
            raise SchemaError(f"shape {list(values.shape[1:])} of a row is not {list(tensor.shape)}")
        if values.dtype != tensor.dtype:
            if not np.can_cast(values.dtype, tensor.dtype, "safe"):
                raise SchemaError(f"dtype {values.dtype} does not fit {tensor.dtype}")
            values = values.astype(tensor.dtype)
        flat = np.ascontiguousarray(values).reshape(-1).view(_bytes_dtype(tensor))
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=tensor.arrow())
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise SchemaError(f"{where}: {error}") from None


def _tensors_and_nulls(values: Any, t: Type, where: str) -> pa.Array:
    blank = np.zeros(t.shape, t.dtype)
    full = from_numpy([blank if v is None else v for v in values], t, where)
    return pa.FixedSizeListArray.from_arrays(
        full.values, type=full.type, mask=pa.array([v is None for v in values], pa.bool_())
    )
