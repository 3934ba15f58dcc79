"""Long lists of literals after IN: columns for the engine, which reads a column a hundred times as fast as a text."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ...schema import INTEGERS, Type
from ..grammar.runs import lists_of
from ..text.params import MarkList
from .bound import Bound

#: Part of the names of lists, which no text of a user's has by chance or otherwise.
_UNGUESSED = secrets.token_hex(8)


def bind_lists(bound: Bound) -> None:
    """Make tables of the long lists whose literals need no cast to the type of the column before IN."""
    if sum(1 for _ in bound.tree.find_all(exp.Select)) != 1 or bound.tree.find(exp.CTE, exp.Values, exp.Lateral):
        return  # a name may be that of a column of a query
    for i, (condition, node) in enumerate(lists_of(bound.tree)):
        dtype = _type_of(condition.this, bound)
        if dtype is None or node.find_ancestor(exp.Lambda):  # in which the engine takes no query
            continue
        name = f"gridflow_list_{_UNGUESSED}_{i}"
        if isinstance(node, MarkList):
            if dtype.kind in INTEGERS or dtype.kind == "STRING":
                node.set("name", name)
                bound.mark_lists[name] = (node, dtype)
            continue
        column = list_column(node.args["values"], dtype)
        if column is None:
            continue
        # The same list twice is one, as GROUP BY asks for.
        same = (other for other, table in bound.lists.items() if table["v"].chunk(0).equals(column))
        name = next(same, name)
        node.set("name", name)
        bound.lists[name] = pa.table({"v": column})


def _type_of(node: exp.Expr, bound: Bound) -> Type | None:
    """The type of a column of a table; None of any other expression, or where two tables have a column of the name."""
    if not isinstance(node, exp.Column):
        return None
    name = bound.originals.get(node.name, node.name)
    columns = [
        column for source in bound.sources for column in source.schema.columns if column.name.upper() == name.upper()
    ]
    return columns[0].type if len(columns) == 1 else None


def list_column(values: Sequence[Any], dtype: Type) -> pa.Array | None:
    """Values as a column that the engine compares with one of a type as it would compare the values; else None."""
    kinds = set(map(type, values)) - {type(None)}
    try:
        if kinds == {int} and dtype.kind in INTEGERS:
            return pa.array(values, pa.int64())
        if kinds == {str} and dtype.kind == "STRING":
            return pa.array(values, pa.string())
    except (
        pa.ArrowException,
        OverflowError,
        UnicodeEncodeError,
    ):  # wider than the engine's own integers, half a character
        pass
    return None
