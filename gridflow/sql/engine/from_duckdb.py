"""DuckDB's columns in the types of a grid: of results, and of rows that go into a table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...kinds import ByKind
from ...schema import SCALARS, Type, from_arrow
from ...storage.arrow import user_type


def from_duckdb(table: pa.Table) -> pa.Table:
    """A result in Arrow's plain types: tensors, booleans and whole numbers instead of DuckDB's own.

    An array of numbers of fixed size (or of such arrays) without a null in it is a tensor. A HUGEINT, which a
    sum of integers is, becomes an INT64 where all of the column fit it, else a DECIMAL(38,0).
    """
    columns = [_raise_column(column) for column in table.columns]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _raise_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if _is_huge(column.type):
        return _narrow(pa.chunked_array([_raise(chunk) for chunk in column.chunks], pa.decimal128(38, 0)))
    if pa.types.is_fixed_size_list(column.type):
        tensor = from_arrow(column.type)
        if tensor.kind == "TENSOR":
            chunks = [_as_tensor(chunk, tensor) for chunk in column.chunks]
            if all(chunk is not None for chunk in chunks):
                return pa.chunked_array(chunks, user_type(tensor))
        return column
    raised = [_raise(chunk) for chunk in column.chunks]
    return pa.chunked_array(raised, raised[0].type) if raised else _raise_empty(column)


def _raise_empty(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([_raise(pa.nulls(0, column.type))])


def _raise(array: pa.Array) -> pa.Array:
    """Without the extension types of DuckDB's own, at any depth; UUIDs stay."""
    dtype = array.type
    if isinstance(dtype, pa.Bool8Type):
        return array.storage.cast(pa.bool_())
    if _is_huge(dtype):
        # HUGEINT and DECIMAL(38,0): both are 16 bytes, little endian, two's complement.
        storage = array.storage
        return pa.Array.from_buffers(pa.decimal128(38, 0), len(storage), storage.buffers()[:2], offset=storage.offset)
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
        buffers, made = array.buffers()[:2], pa.map_(keys.type, items.type)
        return pa.Array.from_buffers(made, len(array), buffers, offset=array.offset, children=[entries])
    items = _raise(array.values)
    if pa.types.is_fixed_size_list(dtype):
        made, buffers = pa.list_(items.type, dtype.list_size), [validity]
    else:
        made, buffers = pa.large_list(items.type), array.buffers()[:2]
        if pa.types.is_list(dtype):
            made = pa.list_(items.type)
    return pa.Array.from_buffers(made, len(array), buffers, offset=array.offset, children=[items])


def _has_own(dtype: pa.DataType) -> bool:
    if isinstance(dtype, pa.Bool8Type) or _is_huge(dtype):
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
        # Where a whole row is null DuckDB has nulls below it, too; any other makes this no tensor.
        hidden = 0
        if mask is not None:
            hidden = int(np.count_nonzero(mask.to_numpy(zero_copy_only=False))) * dtype.size
        if level.null_count != hidden:
            return None
        level = pc.fill_null(level, pa.scalar(0, level.type))
    kind = dtype.arrow()
    if level.type != kind.value_type:
        level = level.cast(kind.value_type)
    return pa.FixedSizeListArray.from_arrays(level, type=user_type(dtype).storage_type, mask=mask)


def fit(column: pa.ChunkedArray, dtype: Type) -> pa.ChunkedArray:
    """A column in exactly the type in which tables give and take columns of ``dtype``.

    Raises:
        pyarrow.ArrowException: it is too different.
    """
    wanted = user_type(dtype)
    if column.type == wanted:
        return column
    return pa.chunked_array([_fit(chunk, dtype, wanted) for chunk in column.chunks], wanted)


def _fit(array: pa.Array, dtype: Type, wanted: pa.DataType) -> pa.Array:
    if array.type == wanted:
        return array
    if not isinstance(wanted, pa.BaseExtensionType):
        if isinstance(array, pa.ExtensionArray):
            array = _raise(array) if _has_own(array.type) else array.storage
        if pa.types.is_null(array.type):
            return array.cast(wanted)
    return _FITTERS[dtype.kind](array, dtype, wanted)


def _fit_tensor(array: pa.Array, dtype: Type, wanted: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if not pa.types.is_fixed_size_list(array.type):
        array = array.cast(wanted if not isinstance(wanted, pa.BaseExtensionType) else wanted.storage_type)
    storage = _flat_storage(array, dtype)
    if storage is None:
        raise pa.ArrowInvalid(f"a null is in a tensor {dtype}")
    if isinstance(wanted, pa.FixedShapeTensorType):
        return pa.ExtensionArray.from_storage(wanted, storage)
    return storage.cast(wanted)


def _fit_struct(array: pa.Array, dtype: Type, wanted: pa.DataType) -> pa.Array:
    fields = [wanted.field(i) for i in range(wanted.num_fields)]
    # DuckDB may have read the fields' names in another case, but their order is the type's.
    parts = [_fit(array.field(i), t, f.type) for i, ((_, t), f) in enumerate(zip(dtype.children, fields, strict=True))]
    return pa.StructArray.from_arrays(parts, fields=fields, mask=array.is_null() if array.null_count else None)


def _fit_map(array: pa.Array, dtype: Type, wanted: pa.DataType) -> pa.Array:
    keys = _fit(array.keys, dtype.children[0][1], wanted.key_type)
    items = _fit(array.items, dtype.children[1][1], wanted.item_type)
    entries = pa.StructArray.from_arrays([keys, items], fields=[wanted.key_field, wanted.item_field])
    return pa.Array.from_buffers(wanted, len(array), array.buffers()[:2], offset=array.offset, children=[entries])


def _fit_list(array: pa.Array, dtype: Type, wanted: pa.DataType) -> pa.Array:
    if not pa.types.is_large_list(array.type):
        array = array.cast(pa.large_list(array.type.value_type))
    items = _fit(array.values, dtype.children[0][1], wanted.value_type)
    return pa.Array.from_buffers(wanted, len(array), array.buffers()[:2], offset=array.offset, children=[items])


_FITTERS: ByKind[Callable[[pa.Array, Type, pa.DataType], pa.Array]] = ByKind(
    "DuckDB's columns in the types of tables",
    {
        **dict.fromkeys(SCALARS, lambda array, dtype, wanted: array.cast(wanted)),
        "TENSOR": _fit_tensor,
        "LIST": _fit_list,
        "STRUCT": _fit_struct,
        "MAP": _fit_map,
    },
)
