"""SELECT and its kin: planned by ``plan``, run by DuckDB over the mapped columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ..errors import SqlError
from ..schema import Type
from .engine import run
from .from_engine import fit, from_duckdb
from .indexes import look_up
from .names import at_one_moment
from .params import plain
from .plan import Plan, plan_for, read, take_rows
from .problems import translated
from .result import Result
from .statements import Prepared


def execute_query(grid: Any, prepared: Prepared, params: Mapping[str, Any]) -> Result:
    """Run a query.

    Raises:
        TableNotFound, ColumnNotFound: a name means nothing; says what there is.
        SqlError: whatever else DuckDB finds wrong, in its words.
    """
    plan, tables = plan_for(prepared, grid)
    tables = at_one_moment(grid, tables)
    read_rows, whole, direct = read(plan, tables, params)
    if direct:
        assert whole is not None  # a direct plan has a table
        return Result(_direct(plan, whole, params), statement="SELECT", types=_types(plan))
    values = {mark: plain(value) for mark, value in params.items()}
    with translated(plan.bound):
        rows = _run(plan.sql, read_rows, values)
    rows = from_duckdb(rows)
    if plan.late:
        assert whole is not None
        rows = _join_late(plan, rows, whole)
    rows = _restore(plan, rows)
    names = [plan.bound.originals.get(name, name) for name in rows.column_names]
    return Result(rows.rename_columns(names), statement="SELECT", types=_types(plan))


def _types(plan: Plan) -> list[Type | None]:
    """The types of the result's columns that are a table's own."""
    names = plan.columns
    return [None if name is None else plan.bound.sources[0].schema[name].type for name in names]


def _run(sql: str, tables: Mapping[str, pa.Table], params: Mapping[str, Any]) -> pa.Table:
    try:
        return run(sql, tables, params)
    except pa.ArrowException as error:
        raise SqlError(f"the result does not fit Arrow: {error}") from None


def _direct(plan: Plan, table: pa.Table, params: Mapping[str, Any]) -> pa.Table:
    pairs = plan.direct if plan.direct is not None else plan.plain
    assert pairs is not None  # else the rows are not the result
    columns = [table.column(name) for name, _ in pairs]
    rows = pa.Table.from_arrays(columns, names=[label for _, label in pairs])
    offset = _count("OFFSET", plan.offset.get(params)) if plan.offset else 0
    limit = _count("LIMIT", plan.limit.get(params)) if plan.limit else None
    return rows.slice(min(offset or 0, rows.num_rows), limit)


def _count(what: str, value: Any) -> int | None:
    """The number of a LIMIT or OFFSET; null means there is none."""
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SqlError(f"{what} {value!r}: it takes a whole number from 0")
    return value


def _join_late(plan: Plan, rows: pa.Table, table: pa.Table) -> pa.Table:
    numbers = rows.column(0).to_numpy()
    taken = {name: take_rows(table.column(name), numbers) for name in set(plan.late.values())}
    narrow = iter(rows.columns[1:])
    columns = [taken[plan.late[i]] if i in plan.late else next(narrow) for i in range(len(plan.labels))]
    return pa.Table.from_arrays(columns, names=plan.labels)


def _restore(plan: Plan, rows: pa.Table) -> pa.Table:
    """Columns that are a table's own get its types, which DuckDB may not know."""
    for i, name in enumerate(plan.columns[: rows.num_columns]):
        if name is not None:
            column = fit(rows.column(i), plan.bound.sources[0].schema[name].type)
            rows = rows.set_column(i, rows.column_names[i], column)
    return rows


def explain(grid: Any, prepared: Prepared, params: Mapping[str, Any]) -> Result:
    """What would be read, a line a table, and DuckDB's plan."""
    plan, tables = plan_for(prepared, grid)
    lines = []
    for source in plan.bound.sources:
        columns = [name for name, _ in plan.direct] if plan.direct is not None else source.columns
        parts = [f"{source.name}: {', '.join(columns)}"]
        if plan.late:
            parts.append(f"after the engine: {', '.join(dict.fromkeys(plan.late.values()))}")
        if plan.lookup is not None:
            parts.append(f"by key ({', '.join(c.name for c in plan.lookup.columns)})")
        if plan.direct is not None:
            parts.append("without the engine")
        by_index = look_up(tables[0], plan.conditions, params) if plan.lookup is None and plan.conditions else None
        if by_index is not None:
            parts.append(by_index.text)
            if plan.plain is not None and by_index.found.exact:
                parts.append("without the engine")
        lines.append("; ".join(parts))
    read_rows, _, direct = read(plan, tables, params)
    if not direct:
        with translated(plan.bound):
            found = run(f"EXPLAIN {plan.sql}", read_rows, {mark: plain(v) for mark, v in params.items()})
        for text in found.column(found.num_columns - 1).to_pylist():
            lines += text.rstrip().splitlines()
    return Result(pa.table({"PLAN": pa.array(lines, pa.string())}), statement="EXPLAIN")
