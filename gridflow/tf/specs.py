"""A table's schema as the structure of a dataset's elements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ..errors import ColumnNotFound, SchemaError, UsageError, did_you_mean
from ..schema import Column, Schema, Type

# What is no number becomes the nearest thing that TensorFlow has; see Dataset.
_DTYPES = {
    "DATE": tf.int32,
    "TIME": tf.int64,
    "TIMESTAMP": tf.int64,
    "STRING": tf.string,
    "BINARY": tf.string,
    "UUID": tf.string,
    "DECIMAL": tf.string,
}
_NESTED = ("LIST", "MAP", "STRUCT")
_SEPARATOR = "\x1f"  # as kernels/ops/leaf.h reads it


@dataclass(frozen=True)
class Leaf:
    """A column, or a field of a STRUCT column, that becomes one component of an element."""

    path: str
    type: Type

    def spec(self, batch_size: int | None, drop_remainder: bool) -> tf.TypeSpec:
        """The component's spec; of a batch if there is a ``batch_size``."""
        item = self.type.children[0][1] if self.type.kind == "LIST" else self.type
        dtype = _DTYPES.get(item.kind) or tf.as_dtype(item.dtype)
        batch = [] if batch_size is None else [batch_size if drop_remainder else None]
        if self.type.kind != "LIST":
            return tf.TensorSpec([*batch, *item.shape], dtype)
        if not batch:
            return tf.TensorSpec([None, *item.shape], dtype)
        return tf.RaggedTensorSpec([*batch, None, *item.shape], dtype, ragged_rank=1, row_splits_dtype=tf.int64)


def structure(schema: Schema, columns: Iterable[str] | None = None, table: str = "") -> dict[str, Any]:
    """The leaves of an element: ``{"key": ..., "val": ...}``, nested as the schema is.

    Args:
        schema: of the table.
        columns: names of value columns, or one name; None for all.
        table: its name, for messages.

    Raises:
        ColumnNotFound: the table has no such column.
        SchemaError: a column's values have no tensor form.

    >>> schema = Schema.of({"ID": "LONG", "PIXELS": "UINT8[28,28]", "INFO": "STRUCT<W INT, H INT>"}, key="ID")
    >>> sorted(structure(schema)["val"]), sorted(structure(schema)["val"]["INFO"])
    (['INFO', 'PIXELS'], ['H', 'W'])
    """
    chosen = schema.value_columns if columns is None else _choose(schema, columns, table)
    for column in chosen:
        part = _shapeless([column.name], column.type)
        if part is not None:
            others = [c.name for c in chosen if _shapeless([c.name], c.type) is None]
            raise SchemaError(
                f"column {part[0]} of table {table} is a {part[1].text()}, which has no tensor form: "
                f"leave {column.name} out with columns={others}"
            )
    keys = {column.name: _leaves(column) for column in schema.key_columns}
    values = {column.name: _leaves(column) for column in chosen}
    return {
        "key": keys[schema.key[0]] if len(keys) == 1 else keys,
        "val": values["_VAL"] if schema.plain_value and values else values,
    }


def supervised(schema: Schema, wanted: Any, table: str = "") -> Any:
    """The leaves of a pair: ``wanted``, with columns, or lists of columns, in the places of their names.

    Raises:
        UsageError: it is no pair of names or lists of names.
        ColumnNotFound, SchemaError: as for ``structure``.

    >>> schema = Schema.of({"ID": "LONG", "PIXELS": "UINT8[28,28]", "LABEL": "INT"}, key="ID")
    >>> [leaf.type.text() for leaf in supervised(schema, ("PIXELS", "LABEL"))]
    ['UINT8[28,28]', 'INT']
    """
    if not isinstance(wanted, (tuple, list)) or len(wanted) != 2:
        raise UsageError(f"as_supervised is a pair, (features, label), not {wanted!r}")
    keys = {column.name: _leaves(column) for column in schema.key_columns}

    def find(name: Any) -> Any:
        if not isinstance(name, str):
            raise UsageError(f"as_supervised has names of columns and lists of names, not {name!r}")
        return keys[name] if name in keys else structure(schema, [name], table)["val"][name]

    return tuple(find(part) if isinstance(part, str) else {name: find(name) for name in part} for part in wanted)


def _choose(schema: Schema, columns: Iterable[str], table: str) -> list[Column]:
    names = [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        if name not in schema:
            raise ColumnNotFound(f"table {table} has no column {name}; {did_you_mean(name, schema.names)}")
    return [column for column in schema.value_columns if column.name in names]


def _shapeless(path: list[str], kind: Type) -> tuple[str, Type] | None:
    """The first part of a column, as its path and type, that cannot be a tensor; None if all of it can."""
    if kind.kind == "STRUCT":
        parts = (_shapeless([*path, name], child) for name, child in kind.children)
        return next((part for part in parts if part is not None), None)
    if kind.kind == "MAP" or (kind.kind == "LIST" and kind.children[0][1].kind in _NESTED):
        return ".".join(path), kind
    return None


def _leaves(column: Column) -> Any:
    def walk(path: list[str], kind: Type) -> Any:
        if kind.kind == "STRUCT":
            return {name: walk([*path, name], child) for name, child in kind.children}
        return Leaf(_SEPARATOR.join([str(column.id), *path]), kind)

    return walk([column.name], column.type)
