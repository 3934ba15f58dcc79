"""Which index answers a WHERE, and the rows that it finds.

A WHERE is cut into the parts that all must hold. Those that compare a column with constants narrow the keys of an
index: its first columns by ``=``, ``IN`` or ``IS NULL``, the one after them also by a range. DuckDB gets what the
index finds and still applies all of the WHERE, so it does no harm to find too much.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from ...faces import IndexedRows, IndexFace, ReadableTable
from ...schema import Column, Schema
from ...storage.index_keys import INDEXABLE, Interval
from ...storage.table_indexes import Probe
from ..grammar.literals import Constant, constant
from .key_ranges import beginning, key_range
from .keys import MOST_KEYS, NotExact

#: Of several indexes that could be used, so many are tried to see which finds the least.
_MOST_TRIED = 4


@dataclass(frozen=True)
class Condition:
    """``column = x``, ``column IN (x, y)`` (operator ``=``), ``column < x`` and the like, ``LIKE``, ``IS NULL``."""

    column: Column
    operator: str
    constants: tuple[Constant, ...]

    def intervals(self, params: Mapping[str, Any]) -> tuple[list[Interval], bool]:
        """The keys for which it can hold, and whether it does for all of them.

        Raises:
            NotExact: an index cannot tell.
        """
        if self.operator == "IS NULL":
            return [Interval(null=True)], True
        result: dict[Interval, None] = {}
        always = True
        for item in self.constants:
            value = item.get(params)
            if value is None:  # true for no row
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

    def text(self) -> str:
        """As EXPLAIN shows it."""
        if self.operator == "=" and len(self.constants) > 1:
            return f"{self.column.name} IN .."
        return f"{self.column.name} {self.operator}" + ("" if self.operator == "IS NULL" else " ..")


@dataclass(frozen=True)
class Conditions:
    """What a WHERE says that an index may know.

    Attributes:
        parts: the conditions, in the order of the text.
        whole: whether the WHERE says nothing else.
    """

    parts: tuple[Condition, ...]
    whole: bool


def find_conditions(where: exp.Expression | None, schema: Schema, labels: set[str]) -> Conditions | None:
    """The conditions of a WHERE, None if there is none that an index could help with.

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
    parts: list[Condition] = []
    whole = True
    for part in _conjuncts(where):
        found = [
            Condition(by_name[node.name.upper()], operator, constants)
            for node, operator, constants in _comparisons(part, labels)
            if node.name.upper() in by_name and by_name[node.name.upper()].type.kind in INDEXABLE
        ]
        parts += found
        whole = whole and bool(found)
    return Conditions(tuple(parts), whole) if parts else None


def _conjuncts(node: exp.Expr) -> Iterator[exp.Expr]:
    """The parts of a condition that all must hold."""
    node = node.unnest()
    if isinstance(node, exp.And):
        yield from _conjuncts(node.this)
        yield from _conjuncts(node.expression)
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


def _comparisons(part: exp.Expr, labels: set[str]) -> Iterator[tuple[exp.Column, str, tuple[Constant, ...]]]:
    """(column, operator, constants) of a comparison, twice for BETWEEN; nothing for anything else."""
    if type(part) in _OPERATORS:
        sides = (part.this, part.expression), (part.expression, part.this)
        for (node, other), operator in zip(sides, _OPERATORS[type(part)], strict=True):
            value = constant(other)
            if value is not None and _is_column(node, labels):
                yield node, operator, (value,)
                return
    elif isinstance(part, exp.In) and _is_column(part.this, labels) and part.expressions:
        values = [constant(item) for item in part.expressions]
        if not part.args.get("query") and all(value is not None for value in values):
            yield part.this, "=", tuple(values)  # type: ignore[arg-type]
    elif isinstance(part, exp.Between) and _is_column(part.this, labels) and not part.args.get("symmetric"):
        low, high = constant(part.args["low"]), constant(part.args["high"])
        if low is not None and high is not None:
            yield part.this, ">=", (low,)
            yield part.this, "<=", (high,)
    elif type(part) is exp.Like and _is_column(part.this, labels):
        pattern = constant(part.expression)
        if pattern is not None:
            yield part.this, "LIKE", (pattern,)
    elif isinstance(part, exp.Is) and isinstance(part.expression, exp.Null) and _is_column(part.this, labels):
        yield part.this, "IS NULL", ()


def look_up(table: ReadableTable, conditions: Conditions, params: Mapping[str, Any]) -> tuple[IndexedRows, str] | None:
    """The rows of the table among which are all for which the conditions hold; None where it has to be scanned.

    Returns:
        The rows, and which index has found them by which conditions, as EXPLAIN shows it.
    """
    indexes = table.indexes.all()
    if not indexes:
        return None
    choices = []
    intervals: dict[int, tuple[list[Interval], bool] | None] = {}
    for index in indexes:
        choice = _choice(index, conditions, params, intervals)
        if choice is not None:
            choices.append(choice)
    choices = sorted(choices, key=lambda choice: -choice.score)[:_MOST_TRIED]
    found = table.find_indexed([(c.index, c.probes, c.exact) for c in choices]) if choices else None
    if found is None:
        return None
    used = next(c.used for c in choices if c.index is found.index)
    return found, f"{found.index.name} ({', '.join(part.text() for part in used)})"


@dataclass(frozen=True)
class _Choice:
    index: IndexFace
    probes: list[Probe]
    used: list[Condition]
    exact: bool
    score: float  # columns that are fixed, and a half for a range


def _choice(
    index: IndexFace,
    conditions: Conditions,
    params: Mapping[str, Any],
    known: dict[int, tuple[list[Interval], bool] | None],
) -> _Choice | None:
    """How an index would be used, if it can be."""
    used: list[Condition] = []
    columns: list[list[Interval]] = []
    exact = True
    for column in index.columns:
        usable = [
            (part, *found)
            for part in conditions.parts
            if part.column.name == column.name and part.column.id == column.id
            if (found := _intervals(part, params, known)) is not None
        ]
        fixed = [item for item in usable if item[0].operator in ("=", "IS NULL") and all(i.one for i in item[1])]
        total = len(fixed[0][1]) if fixed else 0
        for intervals in columns:
            total *= len(intervals)
        if fixed and total <= MOST_KEYS:
            part, intervals, always = fixed[0]
            used.append(part)
            columns.append(intervals)
            exact &= always
            continue
        ranges = [item for item in usable if len(item[1]) == 1 and item[0].operator != "IS NULL"]
        if ranges:
            whole = Interval()
            for part, (interval,), always in ranges:
                used.append(part)
                whole = whole.narrowed(interval)
                exact &= always
            columns.append([whole])
        elif any(not item[1] for item in usable):  # compared with null: true for no row
            columns.append([])
            used.append(next(item[0] for item in usable if not item[1]))
        break
    if not used:
        return None
    score = sum(1.0 if all(i.one for i in intervals) else 0.5 for intervals in columns)
    exact = exact and conditions.whole and len(used) == len(conditions.parts)
    return _Choice(index, list(itertools.product(*columns)), used, exact, score)


def _intervals(
    part: Condition, params: Mapping[str, Any], known: dict[int, tuple[list[Interval], bool] | None]
) -> tuple[list[Interval], bool] | None:
    if id(part) not in known:
        try:
            known[id(part)] = part.intervals(params)
        except NotExact:
            known[id(part)] = None
    return known[id(part)]
