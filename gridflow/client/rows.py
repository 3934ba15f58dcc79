"""Rows that are dicts, as Arrow batches to be sent."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import ColumnNotFoundError, SchemaError, did_you_mean
from ..kinds import ByKind
from ..schema import SCALARS, Schema, Type
from ..storage.defaults import default_values
from ..storage.load import in_groups


def batches_of_rows(rows: Iterable[Any], schema: Schema, table: str) -> Iterator[pa.RecordBatch]:
    """Rows that are dicts of all columns, as batches in the layout of segments.

    Raises:
        ColumnNotFoundError: a row names a column that the table has not.
        SchemaError: a value does not fit its column.
    """
    names = set(schema.names)
    for group in in_groups(rows):
        for row in group:
            if not isinstance(row, Mapping):
                raise SchemaError(f"table {table}: a row is a dict of columns, got {type(row).__name__}", table=table)
            for name in row.keys() - names:
                raise ColumnNotFoundError(
                    f"table {table} has no column {name}; {did_you_mean(str(name), names)}",
                    table=table,
                    column=str(name),
                )
        arrays = []
        defaults = default_values(schema, table)
        for column in schema.columns:
            default = defaults.get(column.name)
            values = [row.get(column.name, default) for row in group]
            where = f"table {table}, column {column}"
            if not column.type.nullable and any(value is None for value in values):
                raise SchemaError(f"{where}: a null is not allowed", table=table, column=column.name)
            try:
                arrays.append(pa.array([_plain(v, column.type) for v in values], column.type.arrow()))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise SchemaError(f"{where}: {error}", table=table, column=column.name) from None
        yield pa.record_batch(arrays, schema=schema.arrow())


def _plain(value: Any, kind: Type) -> Any:
    """A value as ``pa.array`` takes it for a column of this type."""
    return None if value is None else _PLAIN[kind.kind](value, kind)


def _plain_tensor(value: Any, kind: Type) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != kind.shape:
        raise SchemaError(f"shape {list(array.shape)} is not {list(kind.shape)}")
    if array.dtype != kind.dtype:
        if not np.can_cast(array.dtype, kind.dtype, "safe") and isinstance(value, np.ndarray):
            raise SchemaError(f"dtype {array.dtype} does not fit {kind.dtype}")
        if (array.astype(kind.dtype) != array).any():
            raise SchemaError(f"a number does not fit {kind.dtype}")
        array = array.astype(kind.dtype)
    return array.reshape(-1).view(np.uint8) if kind.element == "BOOL" else array.reshape(-1)


def _plain_uuid(value: Any, _: Type) -> Any:
    return uuid.UUID(str(value)).bytes if isinstance(value, (str, uuid.UUID)) else value


def _plain_map(value: Any, kind: Type) -> list[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, Mapping) else value
    (_, key), (_, item) = kind.children
    return [(_plain(k, key), _plain(v, item)) for k, v in pairs]


def _plain_struct(value: Any, kind: Type) -> dict[str, Any]:
    names = [name for name, _ in kind.children]
    for name in value.keys() - set(names):
        raise SchemaError(f"no field {name}; {did_you_mean(str(name), names)}")
    return {name: _plain(value.get(name), t) for name, t in kind.children}


_PLAIN: ByKind[Callable[[Any, Type], Any]] = ByKind(
    "rows as a client sends them",
    {
        **dict.fromkeys(SCALARS, lambda value, kind: value),
        "UUID": _plain_uuid,
        "TENSOR": _plain_tensor,
        "LIST": lambda value, kind: [_plain(v, kind.children[0][1]) for v in value],
        "MAP": _plain_map,
        "STRUCT": _plain_struct,
    },
)
