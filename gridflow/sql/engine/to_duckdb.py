"""A grid's columns as DuckDB reads them, over the same memory.

A tensor is an array of arrays to DuckDB (``UINT8[28,28]`` is ``UTINYINT[28][28]``): so the shape goes through any
query, ``PIXELS[1][2]`` works, and the result is a tensor again. Only half-precision numbers are copied: DuckDB has no
such type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ...kinds import ByKind
from ...schema import SCALARS, Schema, Type

_DUCKDB = {
    "BOOL": "BOOLEAN",
    "INT8": "TINYINT",
    "INT16": "SMALLINT",
    "INT32": "INTEGER",
    "INT64": "BIGINT",
    "UINT8": "UTINYINT",
    "UINT16": "USMALLINT",
    "UINT32": "UINTEGER",
    "UINT64": "UBIGINT",
    "FLOAT16": "FLOAT",
    "FLOAT32": "FLOAT",
    "FLOAT64": "DOUBLE",
    "STRING": "VARCHAR",
    "BINARY": "BLOB",
    "DATE": "DATE",
    "TIME": "TIME",
    "UUID": "UUID",
}
_TIMESTAMPS = {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}


def duckdb_type(dtype: Type) -> str:
    """The name of a column's type in DuckDB.

    >>> from gridflow.schema import parse_type
    >>> duckdb_type(parse_type("STRUCT<a LONG, b UINT8[28,28]>"))
    'STRUCT("a" BIGINT, "b" UTINYINT[28][28])'
    """
    return _FORMS[dtype.kind].name(dtype)


def for_duckdb(table: pa.Table, schema: Schema) -> pa.Table:
    """Rows of a table of this schema, of all columns or some, in Arrow types that DuckDB reads."""
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        dtype = schema[name].type
        if _is_foreign(dtype):
            chunks = [_lower(chunk, dtype) for chunk in column.chunks]
            empty = _lower(pa.nulls(0, column.type), dtype).type
            column = pa.chunked_array(chunks, chunks[0].type if chunks else empty)
        columns.append(column)
    return pa.Table.from_arrays(columns, names=table.column_names)


def _is_foreign(dtype: Type, nested: bool = False) -> bool:
    """Whether a column needs another Arrow type for DuckDB; ``nested`` says that it is part of another column."""
    if dtype.children:
        return any(_is_foreign(child, True) for _, child in dtype.children)
    form = _FORMS[dtype.kind]
    return form.lower is not None and (nested or not form.only_nested)


def _lower(array: pa.Array, dtype: Type) -> pa.Array:
    lower = _FORMS[dtype.kind].lower
    return lower(array, dtype) if lower is not None and _is_foreign(dtype, True) else array


def _lower_uuid(array: pa.Array, _: Type) -> pa.Array:
    return array if isinstance(array.type, pa.UuidType) else pa.ExtensionArray.from_storage(pa.uuid(), array)


def _lower_struct(array: pa.Array, dtype: Type) -> pa.Array:
    fields = [_lower(array.field(i), child) for i, (_, child) in enumerate(dtype.children)]
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(fields, names=[n for n, _ in dtype.children], mask=mask)


def _lower_list(array: pa.Array, dtype: Type) -> pa.Array:
    items = _lower(array.values, dtype.children[0][1])
    buffers = array.buffers()[:2]
    return pa.Array.from_buffers(pa.large_list(items.type), len(array), buffers, offset=array.offset, children=[items])


def _lower_map(array: pa.Array, dtype: Type) -> pa.Array:
    (_, key), (_, value) = dtype.children
    keys, items = _lower(array.keys, key), _lower(array.items, value)
    entries = pa.StructArray.from_arrays([keys, items], names=["key", "value"])
    buffers = array.buffers()[:2]
    return pa.Array.from_buffers(
        pa.map_(keys.type, items.type), len(array), buffers, offset=array.offset, children=[entries]
    )


def _lower_tensor(array: pa.Array, dtype: Type) -> pa.Array:
    shape = dtype.shape
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    begin, count = storage.offset, len(storage)
    # `values` ignores the offset: every level below the rows starts at the buffer's first row.
    level = storage.values
    if level.type == pa.float16():
        level = level.cast(pa.float32())
    for axis in range(len(shape) - 1, 0, -1):
        outer = (begin + count) * int(np.prod(shape[:axis], dtype=np.int64))
        kind = pa.list_(level.type, shape[axis])
        level = pa.Array.from_buffers(kind, outer, [None], children=[level])
    validity = storage.buffers()[0]
    return pa.Array.from_buffers(pa.list_(level.type, shape[0]), count, [validity], offset=begin, children=[level])


def _struct_name(dtype: Type) -> str:
    fields = ('"{}" {}'.format(n.replace('"', '""'), duckdb_type(t)) for n, t in dtype.children)
    return f"STRUCT({', '.join(fields)})"


def _tensor_name(dtype: Type) -> str:
    element = "UTINYINT" if dtype.element == "BOOL" else _DUCKDB[dtype.element]
    return element + "".join(f"[{n}]" for n in reversed(dtype.shape))


@dataclass(frozen=True)
class _Form:
    """The form of a kind of columns in DuckDB.

    Attributes:
        name: gives the name of a type in DuckDB.
        lower: makes the array that DuckDB reads of one of ours; None: DuckDB reads ours.
        only_nested: whether only arrays inside lists, structs and maps need ``lower``.
    """

    name: Callable[[Type], str] = lambda dtype: _DUCKDB[dtype.kind]
    lower: Callable[[pa.Array, Type], pa.Array] | None = None
    only_nested: bool = False


_FORMS: ByKind[_Form] = ByKind(
    "columns as DuckDB reads them",
    {
        **dict.fromkeys(SCALARS, _Form()),
        "FLOAT16": _Form(lower=lambda array, dtype: array.cast(pa.float32())),
        "DECIMAL": _Form(lambda dtype: f"DECIMAL({dtype.precision},{dtype.scale})"),
        "TIMESTAMP": _Form(lambda dtype: "TIMESTAMPTZ" if dtype.utc else _TIMESTAMPS[dtype.unit]),
        "UUID": _Form(lower=_lower_uuid, only_nested=True),
        "TENSOR": _Form(_tensor_name, _lower_tensor),
        "LIST": _Form(lambda dtype: duckdb_type(dtype.children[0][1]) + "[]", _lower_list),
        "STRUCT": _Form(_struct_name, _lower_struct),
        "MAP": _Form(
            lambda dtype: f"MAP({duckdb_type(dtype.children[0][1])}, {duckdb_type(dtype.children[1][1])})", _lower_map
        ),
    },
)
