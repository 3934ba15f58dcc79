"""What of a table a query needs by its conditions on columns, by its order and limit, or for a MIN and MAX.

A WHERE of comparisons with constants leaves zones of rows (``storage.narrowing``), or rows under a few keys; so do
``ORDER BY column LIMIT n`` and ``SELECT MIN(column), MAX(column)`` without a WHERE. The engine runs the query over what
is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp

from ...kinds import INTEGERS
from ...schema import Column, Schema
from ...storage.index_keys import INDEXABLE, Interval
from ...storage.narrowing import ByExtremes, ByIntervals, ByKeyRange, Extreme
from ..binding.scopes import is_wide
from ..grammar.literals import Constant
from .index_rows import Comparison, Conditions, reach_of

#: Of a query for more rows in an order all is read.
_MOST_FIRST = 1000
#: Where a WHERE leaves some of the first rows, so many times as many are looked at, and so many zones more.
_MORE_ROWS, _MORE_ZONES = 4, 32
#: Key columns of whole numbers: between two of them there are so many, and no others.
_COUNTABLE = frozenset((*INTEGERS, "DATE"))


def by_intervals(conditions: Conditions, params: Mapping[str, Any]) -> tuple[ByIntervals, list[Comparison]] | None:
    """The zones that a WHERE leaves, and by which comparisons; None if it says nothing about zones."""
    used: list[Comparison] = []
    intervals: list[tuple[Column, tuple[Interval, ...]]] = []
    for comparison in conditions.comparisons:
        reach = reach_of(comparison, params)
        if reach is not None:
            used.append(comparison)
            intervals.append((comparison.column, tuple(reach[0])))
    return (ByIntervals(tuple(intervals)), used) if used else None


def by_key_range(conditions: Conditions, schema: Schema, params: Mapping[str, Any]) -> ByKeyRange | None:
    """The keys from one to another to which a WHERE narrows a table of one key column; None if it does not."""
    if len(schema.key) != 1 or schema.key_columns[0].type.kind not in _COUNTABLE:
        return None
    (column,) = schema.key_columns
    whole, exact = Interval(), conditions.whole
    for comparison in conditions.comparisons:
        reach = reach_of(comparison, params) if comparison.column.id == column.id else None
        if reach is None or len(reach[0]) != 1 or reach[0][0].null:
            exact = False
        else:
            whole = whole.narrowed(reach[0][0])
            exact &= reach[1]
    if not isinstance(whole.low, int) or not isinstance(whole.high, int):
        return None
    low, high = whole.low + whole.low_open, whole.high - whole.high_open
    return ByKeyRange(column, low, high, exact) if low <= high else None


@dataclass(frozen=True)
class Firsts:
    """The first rows in an order, or the least and greatest values, that a query asks for.

    Attributes:
        columns: each, and whether its greatest values are wanted.
        ties: whether other columns order rows of which this one has the same.
        nulls_first: whether nulls come before all values.
        limit, offset: of an ORDER BY; None: one row is wanted.
    """

    columns: tuple[tuple[Column, bool], ...]
    ties: bool = False
    nulls_first: bool = False
    limit: Constant | None = None
    offset: Constant | None = None

    def narrowing(self, params: Mapping[str, Any]) -> ByExtremes | None:
        """The zones in which they are; None where these parameters ask for many, or for no number of rows."""
        count = 1
        if self.limit is not None:
            limit, offset = self.limit.get(params), self.offset.get(params) if self.offset else 0
            if type(limit) is not int or type(offset) is not int or limit < 0 or offset < 0:
                return None
            count = limit + offset
        if not 1 <= count <= _MOST_FIRST:
            return None
        return ByExtremes(
            tuple(Extreme(column, greatest, count, self.ties, self.nulls_first) for column, greatest in self.columns)
        )

    def attempt(self, params: Mapping[str, Any]) -> tuple[Extreme, int] | None:
        """More of the first rows than the limit asks for, and the limit: so many of them may be left by a WHERE."""
        exact = self.narrowing(params)
        limit = None if self.limit is None else self.limit.get(params)
        if exact is None or not limit:
            return None
        (extreme,) = exact.extremes
        return replace(extreme, count=_MORE_ZONES + _MORE_ROWS * extreme.count, ties=True), limit

    def text(self) -> str:
        """As EXPLAIN shows it."""
        if self.limit is None:
            return ", ".join(f"{'MAX' if greatest else 'MIN'}({column.name})" for column, greatest in self.columns)
        ((column, greatest),) = self.columns
        return f"first by {column.name}{' DESC' if greatest else ''}"


#: What makes of a row none or several, or needs others.
_NOT_ROW_BY_ROW = (exp.AggFunc, exp.Window, exp.UDTF, exp.Unnest, exp.Explode, exp.Anonymous)


def find_least_and_greatest(tree: exp.Select, schema: Schema, labels: set[str]) -> Firsts | None:
    """What ``SELECT MIN(column), MAX(column), ...`` needs; None of any other query."""
    if {key for key, value in tree.args.items() if value} - {"kind"} != {"expressions", "from_"}:
        return None
    columns: list[tuple[Column, bool]] = []
    for item in tree.expressions:
        node = item.unalias()
        if type(node) not in (exp.Min, exp.Max) or [key for key, value in node.args.items() if value] != ["this"]:
            return None
        column = _column(node.this, schema, labels)
        if column is None:
            return None
        columns.append((column, type(node) is exp.Max))
    return Firsts(tuple(columns))


def find_firsts(
    tree: exp.Select, schema: Schema, labels: set[str], limit: Constant | None, offset: Constant | None
) -> Firsts | None:
    """What ``SELECT ... ORDER BY column, ... LIMIT n OFFSET m`` needs, but for a WHERE; None of any other query."""
    clauses = {key for key, value in tree.args.items() if value} - {"kind", "where", "offset"}
    if limit is None or clauses != {"expressions", "from_", "order", "limit"} or tree.find(*_NOT_ROW_BY_ROW):
        return None
    orders = tree.args["order"].expressions
    if type(orders[0]) is not exp.Ordered or orders[0].args.get("with_fill"):
        return None
    column = _column(orders[0].this, schema, labels)
    if column is None:
        return None
    if not orders[0].this.table and any(  # the name may be that of a column of the result
        item.alias_or_name.upper() == column.name.upper() and _column(item.unalias(), schema, labels) is not column
        for item in tree.expressions
        if not is_wide(item)
    ):
        return None
    greatest, nulls_first = bool(orders[0].args.get("desc")), bool(orders[0].args.get("nulls_first"))
    return Firsts(((column, greatest),), len(orders) > 1, nulls_first, limit, offset)


def _column(node: exp.Expression | None, schema: Schema, labels: set[str]) -> Column | None:
    """The table's column that an expression is, if it has an order."""
    if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier) or node.args.get("db"):
        return None
    if node.table and node.table.upper() not in labels:
        return None
    columns = [column for column in schema.columns if column.name.upper() == node.name.upper()]
    return columns[0] if len(columns) == 1 and columns[0].type.kind in INDEXABLE else None
