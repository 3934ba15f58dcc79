"""INSERT and MERGE INTO: of literals and parameters without the engine, of anything else through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ...catalog.grants import INSERT, UPDATE
from ...errors import SchemaError, SqlError, about
from ...faces import GridFace, TableFace
from ...schema import Column, Schema
from ...storage.defaults import default_values
from ...storage.load import MOST_LOGGED
from ..binding.bind import bind
from ..binding.filling import complete, filled_columns, is_default, put_defaults, unfilled_defaults
from ..binding.find import find_table
from ..binding.pseudo import expand_value, is_made_up
from ..grammar.literals import Constant, constant, convert
from ..grammar.prepared import Prepared
from ..grammar.runs import LiteralRows
from .changes import changing, insert_arrow, insert_rows, key_and_value, load_rows, replace_arrow
from .evaluate import evaluate
from .fast_path import FastPath, insert_fast_path
from .kept_plans import keep_plan


@dataclass(eq=False)
class InsertPlan:
    """An INSERT made ready for a table.

    Attributes:
        name, schema: of the table; the plan holds for no other.
        columns: the columns that are filled, in the statement's order; ``_KEY`` and ``_VAL`` may be among them.
        rows: for each row of VALUES the cells; None if the engine has to work them out.
        source: VALUES, with nulls in place of the keyword DEFAULT, or the query.
        defaults: the value of each column that is not filled but has a DEFAULT.
        default_places: the number of a column -> the numbers of the rows of VALUES in which the keyword stands.
        fast_path: what runs the statement when it is executed again, if there is such a thing.
    """

    name: str
    schema: Schema
    columns: list[Column]
    rows: list[list[Constant]] | None
    source: exp.Expression | None
    defaults: dict[str, Any]
    default_places: dict[int, list[int]] = field(default_factory=dict)
    fast_path: FastPath | None = None


def execute_insert(grid: GridFace, prepared: Prepared, params: Mapping[str, Any]) -> int:
    """Run an INSERT or MERGE. Returns how many rows it wrote.

    Raises:
        DuplicateKeyError: an INSERT meets a key that is there, or has one twice; nothing is kept.
        SchemaError, SqlError, TableNotFoundError, ColumnNotFoundError: a value or name is wrong; nothing is kept.
    """
    table = find_table(grid, _target(prepared), prepared.text, _RIGHTS[prepared.kind])
    with about(table=table.name):
        return _execute(grid, table, prepared, params)


def _execute(grid: GridFace, table: TableFace, prepared: Prepared, params: Mapping[str, Any]) -> int:
    codec = table.codec
    plan = _plan_for(grid, prepared, table)
    merge = prepared.kind == "MERGE"
    row = plan.rows[0] if plan.rows is not None and len(plan.rows) == 1 and not merge else None
    if row is not None and codec is not None and codec.python_schema is plan.schema:
        try:
            return insert_rows(table, [_pair(plan, row, params)], codec)
        except SchemaError:
            if table.codec is codec:
                raise
    with changing(grid, table):  # an ALTER TABLE waits
        plan = _plan_for(grid, prepared, table, plan)
        if plan.rows is not None:
            return _write(table, plan, [(cells, params) for cells in plan.rows], merge)
        rows = _evaluated(grid, table, prepared, plan, params)
        return replace_arrow(table, rows) if merge else insert_arrow(table, rows)


def plan_insert(grid: GridFace, prepared: Prepared) -> None:
    """Have a plan kept of an INSERT that another process has executed, with its fast path, if it may have one here."""
    keep_plan(grid, prepared, _planned(prepared, find_table(grid, _target(prepared), prepared.text, (INSERT,))))


def execute_insert_many(grid: GridFace, prepared: Prepared, sets: Sequence[Mapping[str, Any]]) -> int | None:
    """Run an INSERT or MERGE with many sets of parameters, as one commit. Returns how many rows it wrote.

    None where the engine has to work rows out: then nothing has happened.
    """
    table = find_table(grid, _target(prepared), prepared.text, _RIGHTS[prepared.kind])
    with about(table=table.name), changing(grid, table):
        plan = _plan_for(grid, prepared, table)
        if plan.rows is None:
            return None
        rows = [(cells, params) for params in sets for cells in plan.rows]
        return _write(table, plan, rows, prepared.kind == "MERGE") if rows else 0


def _write(
    table: TableFace, plan: InsertPlan, rows: list[tuple[list[Constant], Mapping[str, Any]]], merge: bool
) -> int:
    """Write rows of literals and parameters."""
    if len(rows) > MOST_LOGGED:
        count = load_rows(table, (_row(plan, *row) for row in rows), merge)
        return len(rows) if merge else count
    pairs = [_pair(plan, cells, params) for cells, params in rows]
    if not merge:
        return insert_rows(table, pairs)
    if len(pairs) == 1:
        table.put(*pairs[0])
    else:
        table.put_all(pairs)
    return len(pairs)


def _fast_path(prepared: Prepared, plan: InsertPlan, table: TableFace) -> FastPath | None:
    if prepared.kind != "INSERT" or plan.rows is None or len(plan.rows) != 1:
        return None
    filled = {column.name: cell.mark for column, cell in zip(plan.columns, plan.rows[0], strict=True)}
    return insert_fast_path(table, plan.schema, filled, plan.defaults, prepared.marks)


#: What a statement takes by kind; a MERGE writes over rows that are there.
_RIGHTS = {"INSERT": (INSERT,), "MERGE": (INSERT, UPDATE)}
_REFUSED = {
    "conflict": "ON CONFLICT",
    "returning": "RETURNING",
    "alternative": "OR",
    "by_name": "BY NAME",
    "overwrite": "OVERWRITE",
    "ignore": "IGNORE",
    "with_": "WITH before it",
}
_HINTS = {
    "returning": "SELECT the rows afterwards",
    "with_": "write WITH after INSERT INTO t",
    "by_name": "name the columns after the table",
}


def _target(prepared: Prepared) -> exp.Table:
    tree = prepared.node
    for part, name in _REFUSED.items():
        if tree.args.get(part):
            hint = _HINTS.get(part, "MERGE INTO writes over rows")
            raise SqlError(f"INSERT with {name} is not there; {hint}")
    node = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        raise SqlError(f"{prepared.kind} INTO needs a table's name")
    return node


def _plan_for(grid: GridFace, prepared: Prepared, table: TableFace, last: InsertPlan | None = None) -> InsertPlan:
    plan = last or grid._plans.get(prepared)
    if plan is None or plan.name != table.name or plan.schema is not table.schema:
        plan = _planned(prepared, table)
        keep_plan(grid, prepared, plan)
    return plan


def _planned(prepared: Prepared, table: TableFace) -> InsertPlan:
    plan = _plan(prepared, table)
    if _target(prepared).name == table.name:  # a later table may hide one that the text names otherwise
        plan.fast_path = _fast_path(prepared, plan, table)
    return plan


def _plan(prepared: Prepared, table: TableFace) -> InsertPlan:
    tree, schema = prepared.node, table.schema
    what = f"{prepared.kind} INTO {table.name}"
    source = tree.args.get("expression")
    if isinstance(tree.this, exp.Schema):
        columns = filled_columns(what, tree.this.expressions, table, prepared.text)
    elif tree.args.get("default"):  # INSERT INTO t DEFAULT VALUES
        columns = list(schema.columns)
        source = exp.Values(expressions=[exp.Tuple(expressions=[exp.var("DEFAULT") for _ in columns])])
    else:
        columns = list(schema.columns)
    _check_merge_key(prepared, table)
    defaults = unfilled_defaults(what, columns, table)
    rows = None
    places: dict[int, list[int]] = {}
    if isinstance(source, exp.Values):
        source = source.copy()  # the statement outlives this table and its defaults
        rows = _cells(source, table, columns, places)
    return InsertPlan(table.name, schema, columns, rows, source, defaults, places)


def _check_merge_key(prepared: Prepared, table: TableFace) -> None:
    key = prepared.node.meta.get("key")
    if key and {node.name.upper() for node in key} != {n.upper() for n in table.schema.key}:
        raise SqlError(f"MERGE INTO {table.name}: KEY must name its primary key, {', '.join(table.schema.key)}")


def _cells(
    source: exp.Values, table: TableFace, columns: list[Column], places: dict[int, list[int]]
) -> list[list[Constant]] | None:
    """The cells of VALUES, or None where one is more than literals and parameters.

    ``DEFAULT`` is replaced in ``source`` by a null on the way; ``places`` gets where it stood.
    """
    defaults = default_values(table.schema, table.name)
    rows: list[list[Constant]] = []
    plain = True
    number = 0
    for row in source.expressions:
        if isinstance(row, LiteralRows):
            _check_cells(table, columns, number + 1, len(row.args["values"][0]))
            number += len(row.args["values"])
            if plain:
                rows += _literal_cells(row.args["values"], table, columns)
            continue
        number += 1
        cells = row.expressions if isinstance(row, exp.Tuple) else [row]
        _check_cells(table, columns, number, len(cells))
        constants: list[Constant] = []
        for i, (cell, column) in enumerate(zip(cells, columns, strict=True)):
            if is_default(cell):
                cell.replace(exp.Null())
                if not is_made_up(table.schema, column):
                    places.setdefault(i, []).append(number - 1)
                    constants.append(Constant(partial(_converted, defaults.get(column.name)), True))
                    continue
                cell = exp.Null()
            value = constant(cell)
            if value is None:
                plain = False
            elif value.fixed and not is_made_up(table.schema, column):  # a literal is converted once, here
                constants.append(Constant(partial(_converted, convert(value.get({}), column)), True))
            else:
                constants.append(value)
        rows.append(constants)
    return rows if plain else None


def _check_cells(table: TableFace, columns: list[Column], number: int, count: int) -> None:
    if count != len(columns):
        raise SqlError(
            f"table {table.name}: row {number} of VALUES has {count} values for {len(columns)} "
            f"columns, {', '.join(column.name for column in columns)}"
        )


def _literal_cells(
    rows: Sequence[tuple[Any, ...]], table: TableFace, columns: list[Column]
) -> Iterator[list[Constant]]:
    """The cells of rows of literals, each converted here, once."""
    made_up = [is_made_up(table.schema, column) for column in columns]
    for row in rows:
        yield [
            Constant(partial(_converted, value if apart else convert(value, column)), not apart)
            for value, column, apart in zip(row, columns, made_up, strict=True)
        ]


def _converted(value: Any, params: Mapping[str, Any]) -> Any:
    return value


def _row(plan: InsertPlan, cells: list[Constant], params: Mapping[str, Any]) -> dict[str, Any]:
    """One row of literals and parameters as column -> value."""
    row = dict(plan.defaults)
    for column, cell in zip(plan.columns, cells, strict=True):
        value = cell.get(params)
        if is_made_up(plan.schema, column):
            row.update(expand_value(column, value))
        else:
            row[column.name] = value if cell.fixed else convert(value, column)
    return row


def _pair(plan: InsertPlan, cells: list[Constant], params: Mapping[str, Any]) -> tuple[Any, Any]:
    row = _row(plan, cells, params)
    for name in plan.schema.key:
        row.setdefault(name, None)
    return key_and_value(plan.schema, row)


def _evaluated(
    grid: GridFace, table: TableFace, prepared: Prepared, plan: InsertPlan, params: Mapping[str, Any]
) -> pa.Table:
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
    rows = evaluate(grid, bound, params, plan.columns, target=table.name)
    rows = put_defaults(table, plan.columns, rows, plan.default_places)
    return complete(plan.schema, plan.columns, plan.defaults, rows)
