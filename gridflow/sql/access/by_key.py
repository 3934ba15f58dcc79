"""Rows that are read by key: where a query allows it, and how they become Arrow, or a result without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ...faces import TableFace
from ...schema import Schema
from ...storage.python_columns import arrow_column
from ..binding.bound import Bound, BoundTable
from .keys import KeyLookup, find_lookup


def is_plain(table: exp.Table) -> bool:
    """Whether all rows of a table go into the query, under its own columns' names."""
    alias = table.args.get("alias")
    given = {key for key, value in table.args.items() if value}
    return given <= {"this", "alias"} and not (alias and alias.args.get("columns"))


_JOINS = ("", "INNER", "CROSS", "OUTER")


def lookup_of(tree: exp.Expression, source: BoundTable, bound: Bound) -> KeyLookup | None:
    """The keys that a query needs of a table: a WHERE fixes them where the table occurs, and it occurs once.

    A row that the WHERE refuses is missed by no join but those that look for the nearest row, or count rows.
    """
    nodes = [node for node in tree.find_all(exp.Table) if node.name == source.registered]
    if len(nodes) != 1 or not is_plain(nodes[0]):
        return None
    select = nodes[0].parent.parent if isinstance(nodes[0].parent, (exp.From, exp.Join)) else None
    if not isinstance(select, exp.Select) or select.args.get("where") is None:
        return None
    joins = select.args.get("joins") or []
    if any(join.method not in ("", "NATURAL") or join.kind not in _JOINS for join in joins):
        return None
    if nodes[0].args.get("joins") or select.args.get("laterals") or select.args.get("sample"):
        return None
    by_name = {other.registered: other for other in bound.sources}
    others: list[set[str] | None] = []  # the columns that the other tables have; None: not known
    for part in [select.args["from_"].this, *(join.this for join in joins)]:
        if part is not nodes[0]:
            found = by_name.get(part.name) if isinstance(part, exp.Table) and is_plain(part) else None
            others.append({name.upper() for name in found.schema.names} if found else None)

    def bare(name: str) -> bool:
        return all(names is not None and name not in names for names in others)

    return find_lookup(select.args["where"], source.schema, {nodes[0].alias.upper()}, bare)


def rows_by_key(table: TableFace, keys: list[Any], names: Sequence[str]) -> pa.Table:
    """These columns of the rows under some keys."""
    schema = table.schema
    rows = []
    for key, value in table.get_all(keys).items():
        parts = _parts(schema, key, value)
        rows.append([parts.get(name) for name in names])
    arrays = [arrow_column([row[i] for row in rows], schema[name].type) for i, name in enumerate(names)]
    return pa.Table.from_arrays(arrays, names=list(names))


def row_maker(schema: Schema, names: list[str]) -> Callable[[Any, Any], tuple[Any, ...]]:
    """A function that makes a tuple of these columns of a row's key and value."""
    if schema.plain_value or len(schema.key) > 1 or schema.key[0] in names:

        def row(key: Any, value: Any) -> tuple[Any, ...]:
            parts = _parts(schema, key, value)
            return tuple([parts[name] for name in names])

        return row
    return lambda _, value: tuple([value[name] for name in names])


def _parts(schema: Schema, key: Any, value: Any) -> dict[str, Any]:
    """All columns of a row, by name, of what ``Table.get`` takes and gives."""
    parts = dict(zip(schema.key, (key,) if len(schema.key) == 1 else key, strict=True))
    parts.update({"_VAL": value} if schema.plain_value else value or {})
    return parts
