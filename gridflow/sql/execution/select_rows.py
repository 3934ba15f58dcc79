"""The rows of a table that a condition means, in an order and with weights: the SQL in a dataset's arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from ...errors import SqlError
from ...faces import GridFace, TableFace
from ...schema import Column, as_type
from ...storage.interval_rows import Within, can_look, rows_within
from ..access.index_rows import find_conditions, reach_of
from ..binding.bind import bind
from ..binding.bound import Bound
from ..grammar.statements import prepare
from ..text.params import MarkList, Marks, assign
from .evaluate import chosen_numbers, evaluate, row_numbers
from .rows import ROW

_WEIGHT = Column("weights", as_type("DOUBLE"))
#: Where a look at the columns leaves so few rows in doubt, the engine is asked about those alone.
_FEW_OTHERS = 10_000
#: More parameters than a condition has.
_MOST_MARKS = 1 << 40


@dataclass(frozen=True)
class Condition:
    """Parts of a query over one table, as SQL text; None for a part that is missing.

    Attributes:
        where: conditions that must be true of a row, each with its parameters as text of whoever made the condition,
            who reads that, too; None where it has none.
        order_by: the expressions that order the rows.
        weights: a number for each row: how likely the row is to be drawn, as against others.
    """

    where: tuple[tuple[str, str | None], ...] = ()
    order_by: str | None = None
    weights: str | None = None


def select_rows(
    grid: GridFace,
    table: TableFace,
    condition: Condition,
    params: Sequence[Any],
    read: Callable[[Iterable[str]], pa.Table],
) -> tuple[np.ndarray, np.ndarray | None]:
    """Find the rows that a condition means.

    Args:
        grid: where the table is, and others that the condition may name in queries inside it.
        table: the table; its name and schema.
        condition: the condition.
        params: the parameters of each of its ``where``, as ``sql.execute`` takes them.
        read: returns the rows to choose from, with these columns.

    Returns:
        The numbers of the rows, int64[n], rising unless another order is asked for, and their weights, float64[n], or
        None if none are asked for.

    Raises:
        SqlError: a part does not parse, or is no such part; a weight is negative, infinite or null.
        ColumnNotFoundError: there is no such column.
    """
    query, text, values = _query(table.name, condition, params)
    bound = bind(query, grid, text, table, values)
    columns = next(source.columns for source in bound.sources if source.target)
    weighted = [_WEIGHT] if condition.weights is not None else []
    rows = read(columns)
    answer = _ask(grid, table, bound, values, rows, weighted)
    numbers = chosen_numbers(answer)
    weights = _checked(answer.column(1), condition) if weighted else None
    if condition.order_by is None and (np.diff(numbers) < 0).any():  # a query with a join may answer in any order
        order = np.argsort(numbers)
        numbers, weights = numbers[order], None if weights is None else weights[order]
    return numbers, weights


def look_for_rows(
    grid: GridFace,
    table: TableFace,
    condition: Condition,
    params: Sequence[Any],
    read: Callable[[Iterable[str]], list[pa.RecordBatch]],
) -> list[np.ndarray] | None:
    """Find the rows that a condition means by a look at the columns, which is quicker; see ``select_rows``.

    Args:
        read: returns rows to choose from, with these columns; others that lie between them may be among them.

    Returns:
        For each batch a bit for each row that is meant, the lowest first; None if it takes more than a look: a
        condition that does more than to compare columns of numbers with constants, or an order or weights.
    """
    query, text, values = _query(table.name, condition, params)
    conditions = _comparisons(query, table, condition, values)
    if conditions is None:
        return None
    bound = bind(query, grid, text, table, values)
    batches = read(next(source.columns for source in bound.sources if source.target))
    bits, others = rows_within(batches, conditions)
    if sum(map(len, others)) > _FEW_OTHERS:
        return None
    for batch, chosen, numbers in zip(batches, bits, others, strict=True):
        if len(numbers):
            rows = pa.Table.from_batches([batch.take(pa.array(numbers))])
            met = numbers[chosen_numbers(_ask(grid, table, bound, values, rows, []))]
            np.bitwise_or.at(chosen, met // 8, np.left_shift(1, met % 8).astype(np.uint8))
    return bits


def _ask(
    grid: GridFace, table: TableFace, bound: Bound, values: dict[str, Any], rows: pa.Table, weighted: list[Column]
) -> pa.Table:
    """The numbers of the rows that are meant, and their weights, as the engine says."""
    numbers = row_numbers(rows.num_rows)
    return evaluate(grid, bound, values, weighted, target=table.name, rows=rows, numbers=numbers)


def _comparisons(
    query: exp.Select, table: TableFace, condition: Condition, values: dict[str, Any]
) -> list[Within] | None:
    """The comparisons with constants that a condition is; None if it says more, or has an order or weights."""
    if not condition.where or condition.order_by is not None or condition.weights is not None:
        return None
    conditions = find_conditions(query.args["where"], table.schema, {query.args["from_"].this.alias_or_name.upper()})
    if conditions is None or not conditions.whole:
        return None
    result = []
    for comparison in conditions.comparisons:
        if comparison.operator == "LIKE" or (reach := reach_of(comparison, values)) is None:
            return None
        result.append(Within(comparison.column, reach[0], comparison.sure_intervals(values)))
    return result if can_look(result) else None


def reads_more(table: str, condition: Condition) -> bool:
    """Whether a condition names a table besides the one whose rows it chooses, or that once more."""
    _, trees, _ = _parse(table, condition)
    return sum(len(list(tree.find_all(exp.Table))) for tree in trees) > len(trees)


def _query(table: str, condition: Condition, params: Sequence[Any]) -> tuple[exp.Select, str, dict[str, Any]]:
    """``SELECT the row's number, its weight FROM table WHERE ... ORDER BY ...``, its text, and mark -> value."""
    text, trees, marks = _parse(table, condition)
    query = trees[-1]
    values: dict[str, Any] = {}
    conditions: list[exp.Expression] = []
    for i, (tree, own_marks, own_params) in enumerate(zip(trees, marks, params, strict=False)):
        (own,) = assign([own_marks], own_params)
        values |= own if len(params) == 1 else _number_anew(tree, own, i)
        conditions.append(tree.args["where"].this)
    if len(query.expressions) != 1:
        raise SqlError(f"weights is one number for each row: {condition.weights}")
    if len(conditions) == 1:
        query.set("where", exp.Where(this=conditions[0]))
    elif conditions:
        query.set("where", exp.Where(this=exp.and_(*map(exp.paren, conditions), copy=False)))
    source = query.args["from_"].this
    source.meta["target"] = True
    number = exp.column(ROW, table=source.alias or source.name, quoted=True)
    query.set("expressions", [number, *query.expressions] if condition.weights is not None else [number])
    if condition.order_by is not None:  # rows of equal rank come as they lie
        query.args["order"].append("expressions", exp.Ordered(this=number.copy()))
    return query, text, values


def _parse(table: str, condition: Condition) -> tuple[str, list[exp.Select], list[Marks]]:
    """A query for each condition, and one of the other parts, if there are any: each is whole by itself.

    Returns:
        Their text, in which the places of names are, the queries, and their parameters.
    """
    source = 'FROM "' + table.replace('"', '""') + '"'
    texts = [(f"SELECT 1 {source} WHERE {where}", {"expressions", "from_", "where"}) for where, _ in condition.where]
    if condition.order_by is not None or condition.weights is not None or not texts:
        text = f"SELECT {condition.weights or 1} {source}"
        if condition.order_by is not None:
            texts.append((f"{text} ORDER BY {condition.order_by}", {"expressions", "from_", "order"}))
        else:
            texts.append((text, {"expressions", "from_"}))
    whole, trees, marks = "", [], []
    for i, (text, clauses) in enumerate(texts):
        statements = prepare(text)
        query = statements[0].node.copy() if len(statements) == 1 else None
        if not isinstance(query, exp.Select) or {n for n, part in query.args.items() if part} - {"kind"} != clauses:
            raise SqlError(f"where, order_by and weights are parts of one query, without a word of its others: {text}")
        if i >= len(condition.where) and query.find(exp.Placeholder):
            raise SqlError(f"parameters can stand in where, not in order_by, weights or balance: {text}")
        for node in query.walk() if whole else ():
            if "start" in node.meta:
                node.meta["start"] += len(whole)
                node.meta["end"] += len(whole)
        whole += text + "\n" if i + 1 < len(texts) else text
        trees.append(query)
        marks.append(statements[0].marks)
    return whole, trees, marks


def _number_anew(tree: exp.Select, values: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Give the parameters of one of several conditions names that no other has; returns mark -> value."""
    named: dict[str, Any] = {}
    for mark in tree.find_all(exp.Placeholder):
        name = f"w{number}_{mark.name}"
        named[name] = values[mark.name]
        mark.set("this", name)
    for node in tree.find_all(MarkList):
        before = node.names
        node.set("first", node.args["first"] + (number + 1) * _MOST_MARKS)
        named |= dict(zip(node.names, (values[name] for name in before), strict=True))
    return named


def _checked(weights: pa.ChunkedArray, condition: Condition) -> np.ndarray:
    values = weights.to_numpy()
    if weights.null_count or not np.isfinite(values).all() or (values < 0).any():
        bad = "a null" if weights.null_count else repr(float(values[~(np.isfinite(values) & (values >= 0))][0]))
        raise SqlError(f"weights {condition.weights}: {bad} is no weight; each must be a number from 0")
    with np.errstate(over="ignore"):
        total = values.sum()
    if not np.isfinite(total):
        raise SqlError(f"weights {condition.weights}: their sum is too large for a number; divide them")
    if len(values) and not values.any():
        raise SqlError(f"weights {condition.weights}: all are 0, so that no row can be drawn")
    return values
