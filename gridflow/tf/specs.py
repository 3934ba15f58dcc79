"""A table's schema as the structure of a dataset's elements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from ..errors import ColumnNotFoundError, SchemaError, UsageError, did_you_mean
from ..kinds import ByKind, Refused
from ..schema import FLOATS, INTEGERS, NESTED, Column, Schema, Type
from .nulls import ITEMS, MASK, ROWS, SUFFIXES, policies

_VIEWS = "a view where the values lie together and begin at a multiple of 64 bytes, else one copy"
_STRINGS = "shared views, but copies of up to 22 bytes"


@dataclass(frozen=True)
class _Reading:
    """How kernels/ops/component.cc reads values of a kind.

    Attributes:
        text: whether they are views of the grid's files or copies, and why.
        dtype: of the tensor; None: that of the numbers. What is no number becomes the nearest thing that TensorFlow
            has; see Dataset.
    """

    text: str = _VIEWS
    dtype: tf.DType | None = None


_PARTS = Refused("its parts are leaves of their own")
_READINGS: ByKind[_Reading | Refused] = ByKind(
    "tensors of a dataset",
    {
        **dict.fromkeys((*INTEGERS, *FLOATS, "TENSOR"), _Reading()),
        "BOOL": _Reading("a copy: bits become bytes"),
        "DATE": _Reading(dtype=tf.int32),
        **dict.fromkeys(("TIME", "TIMESTAMP"), _Reading(dtype=tf.int64)),
        **dict.fromkeys(("STRING", "BINARY"), _Reading(_STRINGS, tf.string)),
        "UUID": _Reading("a copy: a string holds 16 bytes itself", tf.string),
        "DECIMAL": _Reading("a copy: numbers become text", tf.string),
        **dict.fromkeys(NESTED, _PARTS),
    },
)
_SEPARATOR = "\x1f"  # as kernels/ops/leaf.h reads it


def _reading(t: Type) -> _Reading:
    entry = _READINGS[t.kind]
    assert isinstance(entry, _Reading), "a leaf is no LIST, MAP or STRUCT"
    return entry


@dataclass(frozen=True)
class Leaf:
    """A column, or a part of a nested one, that becomes one component of an element.

    Attributes:
        column_id: of the column.
        names: from the column down: fields of structs, ``key`` and ``value`` of maps; a list's item has no name.
        type: of one value, which is no LIST, MAP or STRUCT.
        lists: how many lists and maps lie around it.
        nullable: whether rows may have a null instead of it, be it the value, or a list or struct around it.
        items_nullable: whether the items of the innermost list may be null.
        nulls: what becomes of nulls, or which mask this is, as text of kernels/ops/leaf.h; "": they are errors.
    """

    column_id: int
    names: tuple[str, ...]
    type: Type
    lists: int = 0
    nullable: bool = False
    items_nullable: bool = False
    nulls: str = ""

    @property
    def name(self) -> str:
        """As messages have it: ``COLUMN.field``."""
        return ".".join(self.names)

    @property
    def path(self) -> str:
        """The text for the op's ``columns``."""
        head = f"{self.column_id} {self.nulls}" if self.nulls else f"{self.column_id}"
        return _SEPARATOR.join([head, *(name.replace(_SEPARATOR, "\0") for name in self.names)])

    @property
    def dtype(self) -> tf.DType:
        """Of the tensor."""
        return _reading(self.type).dtype or tf.as_dtype(self.type.dtype)

    @property
    def reading(self) -> str:
        """Whether values are views of the grid's files or copies, and why."""
        return "made of the column's nulls" if self.nulls in SUFFIXES else _reading(self.type).text

    def mask(self, which: str) -> Leaf:
        """The leaf that says which rows, or which items of lists, have a value."""
        return replace(self, type=Type("BOOL"), nulls=which, lists=0 if which == ROWS else self.lists)

    def spec(self, batch_size: int | None, drop_remainder: bool) -> tf.TypeSpec:
        """The component's spec; of a batch if there is a ``batch_size``."""
        outer = [] if batch_size is None else [batch_size if drop_remainder else None]
        outer += [None] * self.lists
        if not self.lists or len(outer) == 1:
            return tf.TensorSpec([*outer, *self.type.shape], self.dtype)
        return tf.RaggedTensorSpec([*outer, *self.type.shape], self.dtype, len(outer) - 1, tf.int64)

    def __str__(self) -> str:
        """What a row has of it, and how it is read."""
        dims = ", ".join([*["n"] * self.lists, *map(str, self.type.shape)])
        return f"{self.dtype.name}[{dims}]: {self.reading}"


def leaves(
    schema: Schema,
    columns: Iterable[str] | None = None,
    as_supervised: Any = None,
    table: str = "",
    nulls: Any = "error",
    elements: str = "nested",
) -> Any:
    """The leaves of an element: ``supervised`` if it is to be a pair, else as in ``structure``, or ``flat``.

    Raises:
        UsageError: both say which columns are read, or ``elements`` is neither "nested" nor "flat".
        ColumnNotFoundError, SchemaError: as for ``structure``; or two leaves would have one name.
    """
    if elements not in ("nested", "flat"):
        raise UsageError(f"elements is 'nested' or 'flat', not {elements!r}")
    if as_supervised is not None:
        if columns is not None:
            raise UsageError("as_supervised says which columns are read: leave columns out")
        parts = supervised(schema, as_supervised, table, nulls)
        return tuple(flat(part, table) for part in parts) if elements == "flat" else parts
    if elements == "nested":
        return structure(schema, columns, table, nulls)
    names = schema.names if columns is None else [columns] if isinstance(columns, str) else list(columns)
    _choose(schema, names, table)
    return flat(_by_name(schema, names, table, nulls), table)


def flat(part: Any, table: str) -> Any:
    """A dict of leaves without dicts in it: what lies within one has the names on the way, with dots between them.

    Raises:
        SchemaError: two leaves would have one name.

    >>> flat({"ID": 1, "INFO": {"W": 2, "BOX": {"X": 3}}}, "T")
    {'ID': 1, 'INFO.W': 2, 'INFO.BOX.X': 3}
    """
    if not isinstance(part, dict):
        return part
    result: dict[str, Any] = {}
    for name, child in part.items():
        inner = flat(child, table)
        pairs = {f"{name}.{key}": leaf for key, leaf in inner.items()} if isinstance(inner, dict) else {name: inner}
        for path, leaf in pairs.items():
            if path in result:
                raise SchemaError(f'elements="flat" gives two parts of table {table} the name {path}: rename a column')
            result[path] = leaf
    return result


def is_dense(leaves: Any) -> bool:
    """Whether all rows have the same shapes."""
    return all(leaf.spec(None, False).shape.is_fully_defined() for leaf in tf.nest.flatten(leaves))


def structure(
    schema: Schema, columns: Iterable[str] | None = None, table: str = "", nulls: Any = "error"
) -> dict[str, Any]:
    """The leaves of an element: ``{"key": ..., "val": ...}``, nested as the schema is.

    Args:
        schema: of the table.
        columns: names of value columns, or one name; None for all.
        table: its name, for messages.
        nulls: what becomes of nulls, as ``Dataset`` takes it.

    Raises:
        ColumnNotFoundError: the table has no such column.
        SchemaError: a value for nulls does not fit its column, or a mask has the name of another column.
        UsageError: ``nulls`` is something else altogether.

    >>> schema = Schema.of({"ID": "LONG", "PIXELS": "UINT8[28,28]", "INFO": "STRUCT<W INT, H INT>"}, key="ID")
    >>> sorted(structure(schema)["val"]), sorted(structure(schema)["val"]["INFO"])
    (['INFO', 'PIXELS'], ['H', 'W'])
    >>> print(structure(schema)["val"]["INFO"]["W"])
    int32[]: a view where the values lie together and begin at a multiple of 64 bytes, else one copy
    """
    chosen = schema.value_columns if columns is None else _choose(schema, columns, table)
    trees = {column.name: _tree(Leaf(column.id, (column.name,), column.type), column.type) for column in schema.columns}
    of_nulls = policies(nulls, tf.nest.flatten(trees), table)
    keys = {column.name: trees[column.name] for column in schema.key_columns}
    values = {column.name: trees[column.name] for column in chosen}
    return _finished(
        {
            "key": keys[schema.key[0]] if len(keys) == 1 else keys,
            "val": values["_VAL"] if schema.plain_value and values else values,
        },
        of_nulls,
        nulls == MASK,
        table,
    )


def supervised(schema: Schema, pair: Any, table: str = "", nulls: Any = "error") -> Any:
    """The leaves of ``pair``, with columns, or lists of columns, in the places of their names.

    Raises:
        UsageError: it is no pair of names or lists of names.
        ColumnNotFoundError, SchemaError: as for ``structure``.

    >>> schema = Schema.of({"ID": "LONG", "PIXELS": "UINT8[28,28]", "LABEL": "INT"}, key="ID")
    >>> [leaf.type.text() for leaf in supervised(schema, ("PIXELS", "LABEL"))]
    ['UINT8[28,28]', 'INT32']
    """
    if not isinstance(pair, (tuple, list)) or len(pair) not in (2, 3):
        raise UsageError(f"as_supervised is (features, label) or (features, label, weights), not {pair!r}")

    def find(part: Any) -> Any:
        names = [part] if isinstance(part, str) else list(part) if isinstance(part, (tuple, list)) else [part]
        if not all(isinstance(name, str) for name in names):
            raise UsageError(f"as_supervised has names of columns and lists of names, not {part!r}")
        columns = _by_name(schema, names, table, nulls)
        return columns[part] if isinstance(part, str) else columns

    return tuple(map(find, pair))


def _by_name(schema: Schema, names: list[str], table: str, nulls: Any) -> dict[str, Any]:
    """The leaves of columns, of the key or not, by their names; masks, if there are any, come last."""
    element = structure(schema, [name for name in names if name not in schema.key], table, nulls)
    keys = {schema.key[0]: element["key"]} if len(schema.key) == 1 else element["key"]
    values = {"_VAL": element["val"]} if schema.plain_value and "_VAL" in names else element["val"]
    columns = {**{name: keys[name] for name in names if name in keys}, **values}
    return {**{name: columns[name] for name in names}, **columns}


def _choose(schema: Schema, columns: Iterable[str], table: str) -> list[Column]:
    names = [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        if name not in schema:
            raise ColumnNotFoundError(
                f"table {table} has no column {name}; {did_you_mean(name, schema.names)}", table=table, column=name
            )
    return [column for column in schema.value_columns if column.name in names]


def _tree(way: Leaf, kind: Type) -> Any:
    """A type's leaves, in dicts as its structs and maps are. ``way`` is what a leaf at this place would be."""
    if way.lists:
        way = replace(way, items_nullable=way.items_nullable or kind.nullable)
    else:
        way = replace(way, nullable=way.nullable or kind.nullable)
    if kind.kind in ("LIST", "MAP"):
        way = replace(way, lists=way.lists + 1, items_nullable=False)
    if kind.kind == "LIST":
        return _tree(way, kind.children[0][1])
    if kind.kind in ("MAP", "STRUCT"):
        return {name: _tree(replace(way, names=(*way.names, name)), child) for name, child in kind.children}
    return replace(way, type=kind)


def _finished(trees: dict[str, Any], of_nulls: dict[str, str], masks: bool, table: str) -> dict[str, Any]:
    """The same leaves with what becomes of their nulls and, if there are ``masks``, with these beside them."""
    result: dict[str, Any] = {}
    for name, tree in trees.items():
        if isinstance(tree, dict):
            result[name] = _finished(tree, of_nulls, masks, table)
            continue
        result[name] = replace(tree, nulls=of_nulls.get(tree.name, ""))
        for which, may_be_null in ((ROWS, tree.nullable), (ITEMS, tree.items_nullable)):
            if not masks or not may_be_null:
                continue
            mask = name + SUFFIXES[which]
            if mask in trees or mask in result:
                raise SchemaError(
                    f'nulls="mask" puts {mask} beside {tree.name} of table {table}, where there is one already: rename '
                    "a column, leave one out with columns=, or give values with nulls={...}"
                )
            result[mask] = tree.mask(which)
    return result
