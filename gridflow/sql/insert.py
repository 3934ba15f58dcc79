"""INSERT and MERGE INTO: of literals and parameters without the engine, of anything else through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ..errors import SqlError
from ..schema import Column, Schema
from ..storage.arrow import user_type
from .bound import span
from .changes import MOST_LOGGED, changing, insert_arrow, insert_rows, key_and_value, replace_arrow
from .constants import Constant, constant, convert
from .dialect import parse, tokenize
from .evaluate import evaluate
from .names import bind, find_column, find_table
from .statements import Prepared
from .text import syntax_error


@dataclass(eq=False)
class _Plan:
    """An INSERT made ready for a table.

    Attributes:
        name, schema: of the table; the plan holds for no other.
        columns: those that are filled, in the statement's order.
        rows: for each row of VALUES its cells; None where the engine has to work them out.
        source: VALUES, without DEFAULT in it, or the query.
        defaults: value of each column that is not filled but has a DEFAULT.
    """

    name: str
    schema: Schema
    columns: list[Column]
    rows: list[list[Constant]] | None
    source: exp.Expression | None
    defaults: dict[str, Any]


def execute_insert(grid: Any, prepared: Prepared, params: Mapping[str, Any]) -> int:
    """Run an INSERT or MERGE. Returns how many rows it wrote.

    Raises:
        DuplicateKeyError: an INSERT meets a key that is there, or has one twice; nothing is kept.
        SchemaError, SqlError, TableNotFound, ColumnNotFound: a value or name is wrong; nothing is kept.
    """
    node = _target(prepared)
    table = find_table(grid, node, prepared.text)
    plan = _plan_for(prepared, table)
    merge = prepared.kind == "MERGE"
    if plan.rows is None:
        with changing(grid, table):
            rows = _evaluated(grid, table, prepared, plan, params)
            return replace_arrow(table, rows) if merge else insert_arrow(table, rows)
    return _write(grid, table, plan, [(cells, params) for cells in plan.rows], merge)


def execute_insert_many(grid: Any, prepared: Prepared, sets: Sequence[Mapping[str, Any]]) -> int | None:
    """Run an INSERT or MERGE with many sets of parameters, as one commit. Returns how many rows it wrote.

    None where the engine has to work rows out: then nothing has happened.
    """
    table = find_table(grid, _target(prepared), prepared.text)
    plan = _plan_for(prepared, table)
    if plan.rows is None:
        return None
    rows = [(cells, params) for params in sets for cells in plan.rows]
    return _write(grid, table, plan, rows, prepared.kind == "MERGE") if rows else 0


def _write(
    grid: Any, table: Any, plan: _Plan, rows: list[tuple[list[Constant], Mapping[str, Any]]], merge: bool
) -> int:
    """Write rows of literals and parameters."""
    if len(rows) > MOST_LOGGED:
        listed = (_row(plan, cells, params) for cells, params in rows)
        with changing(grid, table):
            if merge:
                table.load(listed, mode="replace")
                return len(rows)
            return table.load(listed, mode="insert")
    pairs = [_pair(plan, cells, params) for cells, params in rows]
    if merge:
        if len(pairs) == 1:
            table.put(*pairs[0])
        else:
            table.put_all(pairs)
        return len(pairs)
    if len(pairs) == 1:
        return insert_rows(table, pairs)
    with changing(grid, table):
        return insert_rows(table, pairs)


_REFUSED = {
    "conflict": "ON CONFLICT",
    "returning": "RETURNING",
    "alternative": "OR",
    "by_name": "BY NAME",
    "overwrite": "OVERWRITE",
    "ignore": "IGNORE",
    "with_": "WITH before it",
    "default": "DEFAULT VALUES",
}


def _target(prepared: Prepared) -> exp.Table:
    tree = prepared.node
    for part, name in _REFUSED.items():
        if tree.args.get(part):
            raise SqlError(f"INSERT with {name} is not there; MERGE INTO writes over rows")
    node = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        raise SqlError(f"{prepared.kind} INTO needs a table's name")
    return node


def _plan_for(prepared: Prepared, table: Any) -> _Plan:
    plan = prepared.plan
    if plan is None or plan.name != table.name or plan.schema is not table.schema:
        plan = prepared.plan = _plan(prepared, table)
    return plan


def defaults_of(table: Any) -> dict[str, exp.Expression]:
    """Column -> the literal of its DEFAULT."""
    written = ((table.options or {}).get("sql") or {}).get("defaults") or {}
    return {name: parse(tokenize(text), text) for name, text in written.items()}


def _plan(prepared: Prepared, table: Any) -> _Plan:
    tree, text, schema = prepared.node, prepared.text, table.schema
    if isinstance(tree.this, exp.Schema):
        columns = []
        for name in tree.this.expressions:
            if not isinstance(name, exp.Identifier):
                raise SqlError(f"{prepared.kind} INTO {table.name}: the column list takes names only")
            columns.append(find_column(schema, name, text, table.name))
            if columns.count(columns[-1]) > 1:
                start, length = span(name)
                raise syntax_error(text, start, f"column {columns[-1].name} is named twice", length)
    else:
        columns = list(schema.columns)
    _check_merge_key(prepared, table)
    defaults = defaults_of(table)
    filled = {column.name for column in columns}
    for name in schema.key:
        if name not in filled and name not in defaults:
            raise SqlError(f"{prepared.kind} INTO {table.name} gives no value for its key column {name}")
    rest = {
        name: convert(constant(node).get({}), schema[name])  # type: ignore[union-attr]
        for name, node in defaults.items()
        if name not in filled
    }
    source = tree.args.get("expression")
    rows = None
    if isinstance(source, exp.Values):
        source = source.copy()  # the statement outlives this table and its defaults
        rows = _cells(source, table, columns, defaults)
    return _Plan(table.name, schema, columns, rows, source, rest)


def _check_merge_key(prepared: Prepared, table: Any) -> None:
    named = prepared.node.meta.get("key")
    if named and {n.name.upper() for n in named} != {n.upper() for n in table.schema.key}:
        raise SqlError(f"MERGE INTO {table.name}: KEY must name its primary key, {', '.join(table.schema.key)}")


def _cells(
    source: exp.Values, table: Any, columns: list[Column], defaults: dict[str, exp.Expression]
) -> list[list[Constant]] | None:
    """The cells of VALUES, or None where one is more than literals and parameters.

    ``DEFAULT`` is replaced in ``source`` by the default's literal on the way.
    """
    rows: list[list[Constant]] = []
    plain = True
    for number, row in enumerate(source.expressions, 1):
        cells = row.expressions if isinstance(row, exp.Tuple) else [row]
        if len(cells) != len(columns):
            raise SqlError(
                f"table {table.name}: row {number} of VALUES has {len(cells)} values for {len(columns)} "
                f"columns, {', '.join(column.name for column in columns)}"
            )
        made: list[Constant] = []
        for cell, column in zip(cells, columns, strict=True):
            if isinstance(cell, exp.Var) and cell.name == "DEFAULT":
                default = defaults.get(column.name, exp.Null()).copy()
                cell.replace(default)
                cell = default
            found = constant(cell)
            if found is None:
                plain = False
            elif found.fixed:  # converted once, here
                value = convert(found.get({}), column)
                made.append(Constant(lambda _, value=value: value, True))
            else:
                made.append(found)
        rows.append(made)
    return rows if plain else None


def _row(plan: _Plan, cells: list[Constant], params: Mapping[str, Any]) -> dict[str, Any]:
    """One row of literals and parameters as column -> value."""
    row = dict(plan.defaults)
    for column, cell in zip(plan.columns, cells, strict=True):
        value = cell.get(params)
        row[column.name] = value if cell.fixed else convert(value, column)
    return row


def _pair(plan: _Plan, cells: list[Constant], params: Mapping[str, Any]) -> tuple[Any, Any]:
    row = _row(plan, cells, params)
    for name in plan.schema.key:
        row.setdefault(name, None)
    return key_and_value(plan.schema, row)


def _evaluated(grid: Any, table: Any, prepared: Prepared, plan: _Plan, params: Mapping[str, Any]) -> pa.Table:
    """The rows that the engine works out, with all columns of the table."""
    source = plan.source
    if isinstance(source, exp.Values):
        values = source.copy()
        names = [exp.to_identifier(f"v{i}", quoted=True) for i in range(len(plan.columns))]
        values.set("alias", exp.TableAlias(this=exp.to_identifier("v", quoted=True), columns=names))
        query: exp.Expression = exp.Select(expressions=[exp.Star()], from_=exp.From(this=values))
    elif isinstance(source, exp.Query):
        query = source
    else:
        raise SqlError(f"{prepared.kind} INTO {table.name} needs VALUES or SELECT")
    bound = bind(query, grid, prepared.text)
    found = evaluate(grid, bound, params, plan.columns, target=table.name)
    by_name = {column.name: found.column(i) for i, column in enumerate(plan.columns)}
    arrays = []
    for column in plan.schema.columns:
        if column.name in by_name:
            arrays.append(by_name[column.name])
            continue
        default = plan.defaults.get(column.name)
        kind = user_type(column.type)
        if default is None:
            arrays.append(pa.chunked_array([pa.nulls(found.num_rows, kind)], kind))
        else:
            arrays.append(pa.chunked_array([pa.array([default] * found.num_rows, kind)], kind))
    return pa.Table.from_arrays(arrays, names=plan.schema.names)
