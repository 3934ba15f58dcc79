"""SELECT and its kin: planned by ``plan``, run by DuckDB over the mapped columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ...errors import SqlError
from ...schema import Type
from ..engine.connection import run
from ..engine.from_duckdb import fit, from_duckdb
from ..grammar.prepared import Prepared
from ..result import Result
from ..text.params import plain
from .cut import at_one_moment
from .errors import translated
from .fast_path import select_shortcut
from .plan import Plan, indexed, keys_of, plan_for, read
from .rows import take_rows

#: How often a query is planned at most, where its tables get other columns meanwhile.
_TRIES = 20


def execute_query(grid: Any, prepared: Prepared, params: Mapping[str, Any]) -> Result:
    """Run a query.

    Raises:
        TableNotFound, ColumnNotFound: a name means nothing; says what there is.
        SqlError: whatever else DuckDB finds wrong, in its words.
    """
    for _ in range(_TRIES):
        plan, tables = plan_for(prepared, grid)
        if plan.by_key is not None:
            result = _by_key(plan, tables, params)
            if result is not None:
                if _as_planned(plan, tables):
                    if prepared.plan is plan:
                        prepared.shortcut = select_shortcut(tables[0], plan, prepared.marks)
                    return result
                continue
        tables = at_one_moment(grid, tables)
        if _as_planned(plan, tables):
            return _execute(plan, tables, params)
    raise SqlError("the columns of its tables change all the time: try again")


def _as_planned(plan: Plan, tables: list[Any]) -> bool:
    """Whether the tables have the columns that the plan was made for."""
    for source, table in zip(plan.bound.sources, tables, strict=True):
        schema = table.schema
        if schema is not source.schema and schema != source.schema:
            return False
    return True


def _by_key(plan: Plan, tables: list[Any], params: Mapping[str, Any]) -> Result | None:
    """The result of a query that only looks up keys; None if these parameters call for a scan."""
    assert plan.by_key is not None
    keys = keys_of(plan, plan.bound.sources[0], params)
    if keys is None:
        return None
    names, types, row = plan.by_key.names, plan.by_key.types, plan.by_key.row
    try:
        found = [row(key, value) for key, value in tables[0].get_all(keys).items()]
    except KeyError:  # of other columns than planned
        if _as_planned(plan, tables):
            raise
        found = []
    if plan.limit is not None or plan.offset is not None:
        first, count = _limits(plan, params)
        found = found[first:] if count is None else found[first : first + count]
    return Result.of_values(names, types, found)


def _execute(plan: Plan, tables: list[Any], params: Mapping[str, Any]) -> Result:
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
    first, count = _limits(plan, params)
    return rows.slice(min(first, rows.num_rows), count)


def _limits(plan: Plan, params: Mapping[str, Any]) -> tuple[int, int | None]:
    """How many rows of a direct or plain plan are left out, and how many follow at most."""
    first = _count("OFFSET", plan.offset.get(params)) if plan.offset else 0
    return first or 0, _count("LIMIT", plan.limit.get(params)) if plan.limit else None


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
    for source, table in zip(plan.bound.sources, tables, strict=True):
        columns = [name for name, _ in plan.direct] if plan.direct is not None else source.columns
        keys = keys_of(plan, source, params)
        by_index = indexed(plan, table, params) if keys is None else None
        if keys is not None:
            path = f"by key ({', '.join(source.schema.key)}), {len(keys):,} {'key' if len(keys) == 1 else 'keys'}"
        elif by_index is not None:
            path = by_index.text
        else:
            path = f"scan of {len(table):,} rows"
        parts = [f"{source.name}: {path}, columns {', '.join(columns)}"]
        if plan.late:
            parts.append(f"after the engine: {', '.join(dict.fromkeys(plan.late.values()))}")
        if plan.direct is not None and (keys is not None or plan.lookup is None):
            parts.append("without the engine")
        if plan.plain is not None and by_index is not None and by_index.found.exact:
            parts.append("without the engine")
        lines.append("; ".join(parts))
    if plan.by_key is not None and "without the engine" in lines[0]:
        return Result(pa.table({"PLAN": pa.array(lines, pa.string())}), statement="EXPLAIN")
    read_rows, _, direct = read(plan, tables, params)
    if not direct:
        with translated(plan.bound):
            found = run(f"EXPLAIN {plan.sql}", read_rows, {mark: plain(v) for mark, v in params.items()})
        for text in found.column(found.num_columns - 1).to_pylist():
            lines += text.rstrip().splitlines()
    return Result(pa.table({"PLAN": pa.array(lines, pa.string())}), statement="EXPLAIN")
