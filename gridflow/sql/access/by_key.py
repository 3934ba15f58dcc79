"""Rows that are read by key: which queries allow it, and the rows as Arrow or as tuples of a result."""

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
    """Whether all rows of a table go into the query, under the names of the table's own columns."""
    alias = table.args.get("alias")
    clauses = {key for key, value in table.args.items() if value}
    return clauses <= {"this", "alias"} and not (alias and alias.args.get("columns"))


#: Joins that miss no row which the WHERE refuses.
_JOINS = ("", "INNER", "CROSS", "OUTER")


def lookup_of(tree: exp.Expression, source: BoundTable, bound: Bound) -> KeyLookup | None:
    """The keys that a query needs of a table which occurs once, in a SELECT whose WHERE fixes them; else None.

    Joins do not miss a row that the WHERE refuses, but for those that look for the nearest row, or count rows.
    """
    if source.version is not None:  # which is scanned
        return None
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
    others: list[set[str] | None] = []  # the columns of each other table; None: unknown
    for item in [select.args["from_"].this, *(join.this for join in joins)]:
        if item is not nodes[0]:
            other = by_name.get(item.name) if isinstance(item, exp.Table) and is_plain(item) else None
            others.append({name.upper() for name in other.schema.names} if other else None)

    def bare(name: str) -> bool:
        return all(names is not None and name not in names for names in others)

    return find_lookup(select.args["where"], source.schema, {nodes[0].alias.upper()}, bare)


def rows_by_key(table: TableFace, keys: list[Any], names: Sequence[str]) -> pa.Table:
    """These columns of the rows under some keys."""
    schema = table.schema
    rows = []
    for key, value in table.get_all(keys).items():
        values = _values_by_column(schema, key, value)
        rows.append([values.get(name) for name in names])
    arrays = [arrow_column([row[i] for row in rows], schema[name].type) for i, name in enumerate(names)]
    return pa.Table.from_arrays(arrays, names=list(names))


def row_maker(schema: Schema, names: list[str]) -> Callable[[Any, Any], tuple[Any, ...]]:
    """A function of a row's key and value that gives a tuple of these columns."""
    if schema.plain_value or len(schema.key) > 1 or schema.key[0] in names:

        def row(key: Any, value: Any) -> tuple[Any, ...]:
            values = _values_by_column(schema, key, value)
            return tuple([values[name] for name in names])

        return row
    return lambda _, value: tuple([value[name] for name in names])


def _values_by_column(schema: Schema, key: Any, value: Any) -> dict[str, Any]:
    """Column -> value of a row, from what ``Table.get`` takes and what it returns."""
    values = dict(zip(schema.key, (key,) if len(schema.key) == 1 else key, strict=True))
    values.update({"_VAL": value} if schema.plain_value else value or {})
    return values
