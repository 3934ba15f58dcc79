"""Which index answers a WHERE, and the rows that the index finds.

A WHERE is cut into conjuncts, which all must hold. Those that compare a column with constants narrow the keys of an
index: its first columns by ``=``, ``IN`` or ``IS NULL``, the one after them also by a range. DuckDB gets the rows that
the index finds and still applies all of the WHERE, so too many rows do no harm.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlglot import exp

from ...faces import IndexedRows, IndexFace, ReadableTable
from ...schema import Column, Schema
from ...storage.index_keys import INDEXABLE, Interval
from ...storage.table_indexes import Probe
from ..grammar.literals import Constant, constant
from ..grammar.runs import LiteralList
from .key_ranges import beginning, key_range
from .keys import MOST_KEYS, NotExact

#: So many of the indexes that could be used are tried, to see which finds the fewest rows.
_MOST_TRIED = 4

#: A list after IN with more literals than this is left to the engine, which finds them sooner.
_MOST_IN_INDEX = 10_000

#: The keys for which a comparison can hold, and whether it holds for all of them.
_Reach = tuple[list[Interval], bool]


@dataclass(frozen=True)
class Comparison:
    """``column = x``, ``column IN (x, y)`` (operator ``=``), ``column < x`` and the like, ``LIKE``, ``IS NULL``."""

    column: Column
    operator: str
    constants: tuple[Constant, ...]

    def intervals(self, params: Mapping[str, Any]) -> _Reach:
        """The keys for which the comparison can hold, and whether it holds for all of them.

        Raises:
            NotExact: an index cannot tell.
        """
        if self.operator == "IS NULL":
            return [Interval(null=True)], True
        result: dict[Interval, None] = {}
        always = True
        for item in self.constants:
            value = item.get(params)
            if value is None:  # a comparison with null is true for no row
                continue
            if self.operator == "LIKE":
                return [beginning(value, self.column)], False
            low, high, exact = key_range(value, self.column)
            always &= exact
            if self.operator == "=":
                interval = Interval(low, high)
            elif self.operator in (">", ">="):
                interval = Interval(low=low, low_open=exact and self.operator == ">")
            else:
                interval = Interval(high=high, high_open=exact and self.operator == "<")
            clipped = interval.clipped(self.column.type)
            if clipped is not None:
                result[clipped] = None
        return list(result), always

    def sure_intervals(self, params: Mapping[str, Any]) -> list[Interval]:
        """The keys for all of which the comparison holds, of those for which it can.

        Raises:
            NotExact: as ``intervals``.
        """
        possible, always = self.intervals(params)
        if always:
            return possible
        result = []
        for item in self.constants:
            value = item.get(params)
            if value is None or self.operator == "LIKE":
                continue
            low, high, exact = key_range(value, self.column)
            if self.operator == "=":
                interval = Interval(low, high) if exact else None
            elif self.operator in (">", ">="):
                interval = Interval(low=high, low_open=not exact or self.operator == ">")
            else:
                interval = Interval(high=low, high_open=not exact or self.operator == "<")
            clipped = None if interval is None else interval.clipped(self.column.type)
            if clipped is not None:
                result.append(clipped)
        return result

    def text(self) -> str:
        """As EXPLAIN shows it."""
        if self.operator == "=" and len(self.constants) > 1:
            return f"{self.column.name} IN .."
        return f"{self.column.name} {self.operator}" + ("" if self.operator == "IS NULL" else " ..")


@dataclass(frozen=True)
class Conditions:
    """What a WHERE says that an index may know.

    Attributes:
        comparisons: in the order of the text.
        whole: whether the WHERE says nothing else.
    """

    comparisons: tuple[Comparison, ...]
    whole: bool


def find_conditions(where: exp.Expression | None, schema: Schema, labels: set[str]) -> Conditions | None:
    """The conditions of a WHERE; None if there is none that an index could help with.

    Args:
        where: the condition, or a Where node.
        schema: the table's.
        labels: upper-case names by which the statement may qualify the table's columns.
    """
    if isinstance(where, exp.Where):
        where = where.this
    if where is None:
        return None
    by_name = {column.name.upper(): column for column in schema.columns}
    if len(by_name) != len(schema.columns):  # names that differ only in case
        return None
    comparisons: list[Comparison] = []
    whole = True
    for conjunct in _conjuncts(where):
        usable = [
            Comparison(by_name[node.name.upper()], operator, constants)
            for node, operator, constants in _comparisons(conjunct, labels)
            if node.name.upper() in by_name and by_name[node.name.upper()].type.kind in INDEXABLE
        ]
        comparisons += usable
        whole = whole and bool(usable)
    return Conditions(tuple(comparisons), whole) if comparisons else None


def _conjuncts(node: exp.Expr) -> Iterator[exp.Expr]:
    """The parts of a condition that must all hold."""
    rest = [node]
    while rest:
        node = rest.pop().unnest()
        if isinstance(node, exp.And):
            rest += (node.expression, node.this)
        else:
            yield node


def _is_column(node: exp.Expression, labels: set[str]) -> bool:
    """Whether an expression is a column, by its name alone or qualified with one of the labels."""
    if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
        return False
    return not node.table or node.table.upper() in labels


_OPERATORS: dict[type[exp.Expr], tuple[str, str]] = {
    exp.EQ: ("=", "="),
    exp.LT: ("<", ">"),
    exp.LTE: ("<=", ">="),
    exp.GT: (">", "<"),
    exp.GTE: (">=", "<="),
}


def _comparisons(node: exp.Expr, labels: set[str]) -> Iterator[tuple[exp.Column, str, tuple[Constant, ...]]]:
    """(column, operator, constants) of a comparison, twice of BETWEEN; nothing of any other condition."""
    if type(node) in _OPERATORS:
        sides = (node.this, node.expression), (node.expression, node.this)
        for (column, other), operator in zip(sides, _OPERATORS[type(node)], strict=True):
            value = constant(other)
            if value is not None and _is_column(column, labels):
                yield column, operator, (value,)
                return
    elif isinstance(node, exp.In) and _is_column(node.this, labels) and node.expressions:
        if isinstance(node.expressions[0], LiteralList):
            if len(node.expressions[0].args["values"]) > _MOST_IN_INDEX:
                return
            values: list[Constant | None] = [
                Constant(partial(_value, value), True) for value in node.expressions[0].args["values"]
            ]
        else:
            values = [constant(item) for item in node.expressions]
        if not node.args.get("query") and all(value is not None for value in values):
            yield node.this, "=", tuple(values)  # type: ignore[arg-type]
    elif isinstance(node, exp.Between) and _is_column(node.this, labels) and not node.args.get("symmetric"):
        low, high = constant(node.args["low"]), constant(node.args["high"])
        if low is not None and high is not None:
            yield node.this, ">=", (low,)
            yield node.this, "<=", (high,)
    elif type(node) is exp.Like and _is_column(node.this, labels):
        pattern = constant(node.expression)
        if pattern is not None:
            yield node.this, "LIKE", (pattern,)
    elif isinstance(node, exp.Is) and isinstance(node.expression, exp.Null) and _is_column(node.this, labels):
        yield node.this, "IS NULL", ()


def _value(value: Any, params: Mapping[str, Any]) -> Any:
    return value


def rows_by_index(
    table: ReadableTable, conditions: Conditions, params: Mapping[str, Any]
) -> tuple[IndexedRows, list[Comparison]] | None:
    """The rows of the table among which are all for which the conditions hold; None if only a scan gives them.

    Returns:
        The rows, and the comparisons that their index has answered.
    """
    indexes = table.indexes.all()
    if not indexes:
        return None
    reaches: dict[int, _Reach | None] = {}
    choices = [choice for index in indexes if (choice := _choice(index, conditions, params, reaches)) is not None]
    choices = sorted(choices, key=lambda choice: -choice.score)[:_MOST_TRIED]
    rows = table._find_indexed([(c.index, c.probes, c.exact) for c in choices]) if choices else None
    if rows is None:
        return None
    return rows, next(c.comparisons for c in choices if c.index is rows.index)


@dataclass(frozen=True)
class _Choice:
    """How an index would be used.

    Attributes:
        probes: the intervals of keys to look at, of the first columns of the index.
        comparisons: the comparisons that the probes answer.
        exact: whether the probes give no row that the WHERE refuses.
        score: how many columns are fixed, and a half for a range.
    """

    index: IndexFace
    probes: list[Probe]
    comparisons: list[Comparison]
    exact: bool
    score: float


def _choice(
    index: IndexFace, conditions: Conditions, params: Mapping[str, Any], reaches: dict[int, _Reach | None]
) -> _Choice | None:
    """How an index would be used, if it can be.

    Args:
        reaches: id of a comparison -> its reach, None if that is unknown; filled as they are worked out.
    """
    comparisons: list[Comparison] = []
    columns: list[list[Interval]] = []
    exact = True
    for column in index.columns:
        usable = [
            (comparison, *reach)
            for comparison in conditions.comparisons
            if comparison.column.name == column.name and comparison.column.id == column.id
            if (reach := _reach(comparison, params, reaches)) is not None
        ]
        points = [item for item in usable if item[0].operator in ("=", "IS NULL") and all(i.one for i in item[1])]
        total = len(points[0][1]) if points else 0
        for intervals in columns:
            total *= len(intervals)
        if points and total <= MOST_KEYS:
            comparison, intervals, always = points[0]
            comparisons.append(comparison)
            columns.append(intervals)
            exact &= always
            continue
        ranges = [item for item in usable if len(item[1]) == 1 and item[0].operator != "IS NULL"]
        if ranges:
            whole = Interval()
            for comparison, (interval,), always in ranges:
                comparisons.append(comparison)
                whole = whole.narrowed(interval)
                exact &= always
            columns.append([whole])
        elif any(not item[1] for item in usable):  # a comparison with null is true for no row
            columns.append([])
            comparisons.append(next(item[0] for item in usable if not item[1]))
        break
    if not comparisons:
        return None
    score = sum(1.0 if all(i.one for i in intervals) else 0.5 for intervals in columns)
    exact = exact and conditions.whole and len(comparisons) == len(conditions.comparisons)
    return _Choice(index, list(itertools.product(*columns)), comparisons, exact, score)


def _reach(comparison: Comparison, params: Mapping[str, Any], reaches: dict[int, _Reach | None]) -> _Reach | None:
    if id(comparison) not in reaches:
        reaches[id(comparison)] = reach_of(comparison, params)
    return reaches[id(comparison)]


def reach_of(comparison: Comparison, params: Mapping[str, Any]) -> _Reach | None:
    """The intervals of a comparison, and whether it holds for all that is in them; None if that is unknown."""
    try:
        return comparison.intervals(params)
    except NotExact:
        return None
