"""DuckDB's columns in the types of a grid: of results, and of rows that go into a table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...kinds import ByKind
from ...schema import SCALARS, Type, from_arrow
from ...storage.arrow import user_type

#: The Arrow type that holds a HUGEINT.
_HUGE = pa.decimal128(38, 0)


def from_duckdb(table: pa.Table) -> pa.Table:
    """A result in Arrow's plain types: tensors, booleans and whole numbers instead of DuckDB's own.

    A column of arrays of fixed size, of numbers without nulls or of such arrays, becomes one of tensors. A HUGEINT,
    which a sum of integers is, becomes an INT64 where all values of the column fit, else a DECIMAL(38,0).
    """
    columns = [_raise_column(column) for column in table.columns]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _raise_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if _is_huge(column.type):
        return _narrow(pa.chunked_array([_raise(chunk) for chunk in column.chunks], _HUGE))
    if pa.types.is_fixed_size_list(column.type):
        tensor = from_arrow(column.type)
        if tensor.kind == "TENSOR":
            tensors = [_as_tensor(chunk, tensor) for chunk in column.chunks]
            if all(chunk is not None for chunk in tensors):
                return pa.chunked_array(tensors, user_type(tensor))
        return column
    chunks = [_raise(chunk) for chunk in column.chunks]
    return pa.chunked_array(chunks, chunks[0].type) if chunks else _raise_empty(column)


def _raise_empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([_raise(pa.nulls(0, column.type))])


def _raise(array: pa.Array) -> pa.Array:
    """The same values without DuckDB's own extension types, at any depth; UUIDs stay."""
    dtype = array.type
    if isinstance(dtype, pa.Bool8Type):
        return array.storage.cast(pa.bool_())
    if _is_huge(dtype):
        # HUGEINT and DECIMAL(38,0): both are 16 bytes, little endian, two's complement.
        storage = array.storage
        return pa.Array.from_buffers(_HUGE, len(storage), storage.buffers()[:2], offset=storage.offset)
    if isinstance(dtype, _STORED):
        return array.storage
    if not _has_own(dtype):
        return array
    validity = array.buffers()[0]
    if pa.types.is_struct(dtype):
        fields = [_raise(array.field(i)) for i in range(dtype.num_fields)]
        names = [dtype.field(i).name for i in range(dtype.num_fields)]
        return pa.StructArray.from_arrays(fields, names=names, mask=array.is_null() if array.null_count else None)
    if pa.types.is_map(dtype):
        keys, items = _raise(array.keys), _raise(array.items)
        entries = pa.StructArray.from_arrays([keys, items], names=["key", "value"])
        buffers, map_type = array.buffers()[:2], pa.map_(keys.type, items.type)
        return pa.Array.from_buffers(map_type, len(array), buffers, offset=array.offset, children=[entries])
    items = _raise(array.values)
    if pa.types.is_fixed_size_list(dtype):
        list_type, buffers = pa.list_(items.type, dtype.list_size), [validity]
    else:
        list_type, buffers = pa.large_list(items.type), array.buffers()[:2]
        if pa.types.is_list(dtype):
            list_type = pa.list_(items.type)
    return pa.Array.from_buffers(list_type, len(array), buffers, offset=array.offset, children=[items])


#: DuckDB's JSON is text, and what Arrow knows nothing of is the bytes that it is.
_STORED = (pa.JsonType, pa.OpaqueType)


def _has_own(dtype: pa.DataType) -> bool:
    if isinstance(dtype, (pa.Bool8Type, *_STORED)):
        return True
    if isinstance(dtype, pa.BaseExtensionType):
        return False
    return any(_has_own(dtype.field(i).type) for i in range(dtype.num_fields))


def _is_huge(dtype: pa.DataType) -> bool:
    return isinstance(dtype, pa.OpaqueType) and dtype.type_name == "hugeint"


def _narrow(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column


def _as_tensor(array: pa.Array, dtype: Type) -> pa.ExtensionArray | None:
    """A tensor array of nested fixed-size lists, or None where an element is null."""
    storage = _flat_storage(array, dtype)
    return None if storage is None else pa.ExtensionArray.from_storage(user_type(dtype), storage)


def _flat_storage(array: pa.Array, dtype: Type) -> pa.FixedSizeListArray | None:
    level, begin, count = array, array.offset, len(array)
    while pa.types.is_fixed_size_list(level.type):
        size = level.type.list_size
        level, begin, count = level.values, begin * size, count * size
    level = level.slice(begin, count)
    if isinstance(level.type, pa.Bool8Type):
        level = level.storage
    mask = array.is_null() if array.null_count else None
    if level.null_count:
        # DuckDB has nulls for all elements of a row that is null; with any other null the column is no tensor.
        nulls_below = 0
        if mask is not None:
            nulls_below = int(np.count_nonzero(mask.to_numpy(zero_copy_only=False))) * dtype.size
        if level.null_count != nulls_below:
            return None
        level = pc.fill_null(level, pa.scalar(0, level.type))
    kind = dtype.arrow()
    if level.type != kind.value_type:
        level = level.cast(kind.value_type)
    return pa.FixedSizeListArray.from_arrays(level, type=user_type(dtype).storage_type, mask=mask)


def fit(column: pa.ChunkedArray, dtype: Type) -> pa.ChunkedArray:
    """A column in exactly the Arrow type that tables have for columns of ``dtype``.

    Raises:
        pyarrow.ArrowException: a value does not fit the type.
    """
    target = user_type(dtype)
    if column.type == target:
        return column
    return pa.chunked_array([_fit(chunk, dtype, target) for chunk in column.chunks], target)


def _fit(array: pa.Array, dtype: Type, target: pa.DataType) -> pa.Array:
    if array.type == target:
        return array
    if not isinstance(target, pa.BaseExtensionType):
        if isinstance(array, pa.ExtensionArray):
            array = _raise(array) if _has_own(array.type) else array.storage
        if pa.types.is_null(array.type):
            return array.cast(target)
    return _FITTERS[dtype.kind](array, dtype, target)


def _fit_tensor(array: pa.Array, dtype: Type, target: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if not pa.types.is_fixed_size_list(array.type):
        array = array.cast(target if not isinstance(target, pa.BaseExtensionType) else target.storage_type)
    storage = _flat_storage(array, dtype)
    if storage is None:
        raise pa.ArrowInvalid(f"a null is in a tensor {dtype}")
    if isinstance(target, pa.FixedShapeTensorType):
        return pa.ExtensionArray.from_storage(target, storage)
    return storage.cast(target)


def _fit_struct(array: pa.Array, dtype: Type, target: pa.DataType) -> pa.Array:
    fields = [target.field(i) for i in range(target.num_fields)]
    # The names of DuckDB's fields may be in another case, but the fields are in the type's order.
    children = [
        _fit(array.field(i), t, f.type) for i, ((_, t), f) in enumerate(zip(dtype.children, fields, strict=True))
    ]
    return pa.StructArray.from_arrays(children, fields=fields, mask=array.is_null() if array.null_count else None)


def _fit_map(array: pa.Array, dtype: Type, target: pa.DataType) -> pa.Array:
    keys = _fit(array.keys, dtype.children[0][1], target.key_type)
    items = _fit(array.items, dtype.children[1][1], target.item_type)
    entries = pa.StructArray.from_arrays([keys, items], fields=[target.key_field, target.item_field])
    return pa.Array.from_buffers(target, len(array), array.buffers()[:2], offset=array.offset, children=[entries])


def _fit_list(array: pa.Array, dtype: Type, target: pa.DataType) -> pa.Array:
    if not pa.types.is_large_list(array.type):
        array = array.cast(pa.large_list(array.type.value_type))
    items = _fit(array.values, dtype.children[0][1], target.value_type)
    return pa.Array.from_buffers(target, len(array), array.buffers()[:2], offset=array.offset, children=[items])


_FITTERS: ByKind[Callable[[pa.Array, Type, pa.DataType], pa.Array]] = ByKind(
    "DuckDB's columns in the types of tables",
    {
        **dict.fromkeys(SCALARS, lambda array, dtype, target: array.cast(target)),
        "TENSOR": _fit_tensor,
        "LIST": _fit_list,
        "STRUCT": _fit_struct,
        "MAP": _fit_map,
    },
)
