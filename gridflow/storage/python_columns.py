"""A column's values as Python has them, and back: of whole columns, in the types in which tables give them."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pyarrow as pa

from ..schema import Type
from .arrow import user_type
from .arrow_to_python import to_python


def arrow_column(items: list[Any], dtype: Type) -> pa.Array:
    """Values of a column, as ``Table.get`` gives them, in the type in which tables give it."""
    kind = user_type(dtype)
    if dtype.kind == "TENSOR":
        element = dtype.arrow().value_type
        filled = np.zeros((len(items), dtype.size), element.to_pandas_dtype())
        for i, item in enumerate(items):
            if item is not None:
                filled[i] = np.asarray(item).reshape(-1)
        mask = pa.array([item is None for item in items], pa.bool_())
        flat = pa.array(filled.reshape(-1), element)
        storage = pa.FixedSizeListArray.from_arrays(flat, type=kind.storage_type, mask=mask)
        return pa.ExtensionArray.from_storage(kind, storage)
    if dtype.kind == "UUID":
        storage = pa.array([None if u is None else u.bytes for u in items], pa.binary(16))
        return pa.ExtensionArray.from_storage(kind, storage)
    return pa.array([_plain(item, dtype) for item in items], kind)


def _plain(item: Any, dtype: Type) -> Any:
    """A value in the form from which pyarrow builds nested arrays."""
    if item is None:
        return None
    if dtype.kind == "LIST":
        return [_plain(x, dtype.children[0][1]) for x in item]
    if dtype.kind == "STRUCT":
        return {n: _plain(item.get(n), t) for n, t in dtype.children}
    if dtype.kind == "MAP":
        (_, key), (_, value) = dtype.children
        pairs = item.items() if isinstance(item, dict) else item
        return [(_plain(k, key), _plain(v, value)) for k, v in pairs]
    if dtype.kind == "TENSOR":
        return np.asarray(item).reshape(-1)
    return item.bytes if dtype.kind == "UUID" else item


def python_values(column: pa.Array | pa.ChunkedArray, dtype: Type | None = None) -> list[Any]:
    """A column's Python values; with the column's type also what is inside lists, maps and structs."""
    if dtype is not None and _says_more(dtype):
        return [_typed(value, dtype) for value in python_values(column)]
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in python_values(chunk)]
    if not isinstance(column.type, pa.FixedShapeTensorType):
        return to_python(column)
    storage, shape = column.storage, tuple(column.type.shape)
    size = int(np.prod(shape, dtype=np.int64))
    flat = storage.values.slice(storage.offset * size, len(storage) * size)
    if flat.null_count:  # only rows that are null themselves have any
        flat = flat.fill_null(0)
    numbers = flat.to_numpy(zero_copy_only=False).reshape(len(storage), *shape)
    if not storage.null_count:
        return list(numbers)
    return [row if ok else None for row, ok in zip(numbers, storage.is_valid().to_pylist(), strict=True)]


def _says_more(dtype: Type) -> bool:
    """Whether values come out of Arrow in another form than they go into a table."""
    if dtype.element == "BOOL":
        return True
    return any(child.kind in ("TENSOR", "UUID") or _says_more(child) for _, child in dtype.children)


def _typed(value: Any, dtype: Type) -> Any:
    if value is None:
        return None
    if dtype.kind == "TENSOR":
        return np.asarray(value).astype(dtype.dtype).reshape(dtype.shape)
    if dtype.kind == "UUID":
        return value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value)
    if dtype.kind == "LIST":
        return [_typed(item, dtype.children[0][1]) for item in value]
    if dtype.kind == "STRUCT":
        return {name: _typed(value[name], child) for name, child in dtype.children}
    if dtype.kind == "MAP":
        (_, key), (_, item) = dtype.children
        return {_typed(k, key): _typed(v, item) for k, v in value.items()}
    return value
