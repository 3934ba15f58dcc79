"""A column's values as Python has them, and back: of whole columns, in the types in which tables give them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..kinds import ByKind
from ..schema import SCALARS, Type
from .arrow import user_type
from .arrow_to_python import to_python


def arrow_column(items: list[Any], dtype: Type) -> pa.Array:
    """Values of a column, as ``Table.get`` gives them, in the type in which tables give it."""
    return _FORMS[dtype.kind].column(items, dtype)


def _column(items: list[Any], dtype: Type) -> pa.Array:
    return pa.array([_plain(item, dtype) for item in items], user_type(dtype))


def _uuid_column(items: list[Any], dtype: Type) -> pa.Array:
    storage = pa.array([_plain(item, dtype) for item in items], pa.binary(16))
    return pa.ExtensionArray.from_storage(user_type(dtype), storage)


def _tensor_column(items: list[Any], dtype: Type) -> pa.Array:
    kind, element = user_type(dtype), dtype.arrow().value_type
    filled = np.zeros((len(items), dtype.size), element.to_pandas_dtype())
    for i, item in enumerate(items):
        if item is not None:
            filled[i] = np.asarray(item).reshape(-1)
    mask = pa.array([item is None for item in items], pa.bool_())
    flat = pa.array(filled.reshape(-1), element)
    storage = pa.FixedSizeListArray.from_arrays(flat, type=kind.storage_type, mask=mask)
    return pa.ExtensionArray.from_storage(kind, storage)


def _plain(item: Any, dtype: Type) -> Any:
    """A value in the form from which pyarrow builds nested arrays."""
    return None if item is None else _FORMS[dtype.kind].plain(item, dtype)


def _plain_map(item: Any, dtype: Type) -> list[tuple[Any, Any]]:
    (_, key), (_, value) = dtype.children
    pairs = item.items() if isinstance(item, dict) else item
    return [(_plain(k, key), _plain(v, value)) for k, v in pairs]


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
    return any(_FORMS[child.kind].typed is not _same or _says_more(child) for _, child in dtype.children)


def _typed(value: Any, dtype: Type) -> Any:
    return None if value is None else _FORMS[dtype.kind].typed(value, dtype)


def _typed_map(value: Any, dtype: Type) -> dict[Any, Any]:
    (_, key), (_, item) = dtype.children
    return {_typed(k, key): _typed(v, item) for k, v in value.items()}


def _same(value: Any, _: Type) -> Any:
    return value


@dataclass(frozen=True)
class _Form:
    """How Python has values of a kind.

    Attributes:
        plain: a value as pyarrow builds nested arrays of it.
        typed: a value within another as it goes into a table, of what comes out of Arrow.
        column: values as a column.
    """

    plain: Callable[[Any, Type], Any] = _same
    typed: Callable[[Any, Type], Any] = _same
    column: Callable[[list[Any], Type], pa.Array] = _column


_FORMS: ByKind[_Form] = ByKind(
    "columns as Python values",
    {
        **dict.fromkeys(SCALARS, _Form()),
        "UUID": _Form(
            plain=lambda value, dtype: value.bytes,
            typed=lambda value, dtype: value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value),
            column=_uuid_column,
        ),
        "TENSOR": _Form(
            plain=lambda value, dtype: np.asarray(value).reshape(-1),
            typed=lambda value, dtype: np.asarray(value).astype(dtype.dtype).reshape(dtype.shape),
            column=_tensor_column,
        ),
        "LIST": _Form(
            plain=lambda value, dtype: [_plain(item, dtype.children[0][1]) for item in value],
            typed=lambda value, dtype: [_typed(item, dtype.children[0][1]) for item in value],
        ),
        "STRUCT": _Form(
            plain=lambda value, dtype: {name: _plain(value.get(name), child) for name, child in dtype.children},
            typed=lambda value, dtype: {name: _typed(value[name], child) for name, child in dtype.children},
        ),
        "MAP": _Form(plain=_plain_map, typed=_typed_map),
    },
)
