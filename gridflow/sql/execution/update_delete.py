"""INSERT, MERGE, UPDATE and DELETE. Each is one commit: it happens wholly or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
from sqlglot import exp

from ...errors import SqlError
from ...faces import GridFace, TableFace
from ...schema import Column, Schema
from ..access.index_rows import Conditions, find_conditions
from ..access.keys import KeyLookup, find_lookup
from ..access.path import AccessPath, Scan, access_path
from ..binding.assignments import assignments
from ..binding.bind import bind
from ..binding.find import find_table
from ..grammar.literals import Constant, constant, convert
from ..grammar.prepared import Prepared
from ..text.places import place_of, syntax_error
from .changes import changing, keys_of_rows, replace_arrow
from .cut import take_moment
from .evaluate import evaluate
from .insert import execute_insert
from .kept_plans import keep_plan
from .merge import execute_merge
from .rows import ROW, take_rows


def execute_change(grid: GridFace, prepared: Prepared, params: Mapping[str, Any]) -> int:
    """Run a statement that changes rows. Returns how many it changed.

    Raises:
        TableNotFound, ColumnNotFound: it names what is not there.
        DuplicateKeyError: an INSERT meets an existing key.
        SchemaError: a value does not fit its column.
        SqlError: anything else about the statement.
    """
    if isinstance(prepared.node, exp.Merge):
        take_moment(grid, prepared.node, prepared.text)
        return execute_merge(grid, prepared, params)
    if prepared.kind in ("INSERT", "MERGE"):
        return execute_insert(grid, prepared, params)
    node = _target(prepared)
    table = find_table(grid, node, prepared.text)
    with changing(grid, table):
        plan = grid.plans.get(prepared)
        if plan is None or plan.name != table.name or plan.schema is not table.schema:
            plan = _plan(prepared, table)
            keep_plan(grid, prepared, plan)
        if prepared.node.find(exp.Query):
            take_moment(grid, prepared.node, prepared.text)
        if prepared.kind == "UPDATE":
            return _update(grid, table, prepared, plan, params)
        return _delete(grid, table, prepared, plan, params)


def _target(prepared: Prepared) -> exp.Table:
    """The table that an UPDATE or DELETE changes; refuses clauses that are not supported."""
    tree, text = prepared.node, prepared.text
    node = tree.this
    word = prepared.kind
    for part in ("using", "from_", "returning", "order", "tables", "with_"):
        if tree.args.get(part):
            name = part.strip("_").upper()
            raise SqlError(f"{word} with {'several tables' if name == 'TABLES' else name} is not there yet")
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier) or node.args.get("joins"):
        raise SqlError(f"{word} changes one table; name it after {word}")
    if word == "UPDATE" and not tree.expressions:
        start, length = place_of(node.this)
        raise syntax_error(text, start, "UPDATE needs SET column = value", length)
    return node


@dataclass(eq=False)
class ChangePlan:
    """An UPDATE or DELETE made ready for a table.

    Attributes:
        name, schema: of the table; the plan holds for no other.
        lookup: the keys that the WHERE fixes, if it does.
        conditions: the conditions of the WHERE that an index may answer.
        changes: the columns that are set, and their new values.
        constants: the changes, if all values are literals and parameters; else None.
        fast_path: none: the statement always runs by its plan.
    """

    name: str
    schema: Schema
    lookup: KeyLookup | None
    conditions: Conditions | None
    changes: list[tuple[Column, exp.Expression]]
    constants: list[tuple[Column, Constant]] | None

    fast_path: ClassVar[None] = None

    def whole_keys(self, params: Mapping[str, Any]) -> list[Any] | None:
        """The keys of exactly the rows to change; None if the rows have to be read to know."""
        return self.lookup.keys_if_exact(params) if self.lookup is not None and self.lookup.whole else None

    def path(self, table: TableFace, params: Mapping[str, Any]) -> AccessPath:
        """The access path to the rows among which are those to change."""
        return access_path(table, self.lookup, self.conditions, params)


def _plan(prepared: Prepared, table: TableFace) -> ChangePlan:
    tree = prepared.node
    labels = {(tree.this.alias or tree.this.name).upper()}
    where = tree.args.get("where")
    lookup = None if tree.args.get("limit") else find_lookup(where, table.schema, labels)
    conditions = find_conditions(where, table.schema, labels)
    changes = assignments(tree.expressions, table, labels, prepared.text) if prepared.kind == "UPDATE" else []
    constants = [(column, value) for column, node in changes if (value := constant(node)) is not None]
    all_constant = len(constants) == len(changes)
    return ChangePlan(table.name, table.schema, lookup, conditions, changes, constants if all_constant else None)


# ---- DELETE ----


def _delete(grid: GridFace, table: TableFace, prepared: Prepared, plan: ChangePlan, params: Mapping[str, Any]) -> int:
    keys = plan.whole_keys(params)
    if keys is not None:
        return table.remove_all(keys)
    schema = table.schema
    query, _ = _selection(prepared.node, [exp.column(name, quoted=True) for name in schema.key])
    bound = bind(query, grid, prepared.text)
    columns = next(source.columns for source in bound.sources if source.target)
    rows = plan.path(table, params).rows(columns)
    keys_to_remove = evaluate(grid, bound, params, schema.key_columns, target=table.name, rows=rows)
    return table.remove_all(keys_of_rows(schema, keys_to_remove.rename_columns(list(schema.key))))


def _selection(tree: exp.Expression, columns: list[exp.Expression]) -> tuple[exp.Select, exp.Table]:
    """``SELECT columns FROM table WHERE condition`` of a change's table and condition, and the node of the table."""
    table = tree.this.copy()
    table.meta["target"] = True
    query = exp.Select(expressions=columns, from_=exp.From(this=table))
    for part in ("where", "limit"):
        if tree.args.get(part):
            query.set(part, tree.args[part].copy())
    return query, table


# ---- UPDATE ----


def _update(grid: GridFace, table: TableFace, prepared: Prepared, plan: ChangePlan, params: Mapping[str, Any]) -> int:
    keys = plan.whole_keys(params)
    if keys is not None and plan.constants is not None:
        return _update_keys(table, keys, plan.constants, params)
    path = plan.path(table, params)
    rows = path.rows(table.schema.names)
    versions = {table.name: rows} if isinstance(path, Scan) else None  # a query inside may ask for the same table
    return _update_rows(grid, table, prepared, params, plan.changes, rows, versions)


def _update_keys(
    table: TableFace, keys: list[Any], constants: list[tuple[Column, Constant]], params: Mapping[str, Any]
) -> int:
    """Write constants into the rows under some keys."""
    new = {column.name: convert(value.get(params), column) for column, value in constants}
    rows = []
    for key, value in table.get_all(keys).items():
        rows.append((key, new["_VAL"] if table.schema.plain_value else {**value, **new}))
    if rows:
        table.put_all(rows)
    return len(rows)


def _update_rows(
    grid: GridFace,
    table: TableFace,
    prepared: Prepared,
    params: Mapping[str, Any],
    changes: list[tuple[Column, exp.Expression]],
    rows: pa.Table,
    versions: dict[str, pa.Table] | None,
) -> int:
    """Let DuckDB find the rows and compute new values; the other columns of the rows are copied as they lie."""
    schema = table.schema
    query, target = _selection(prepared.node, [node.copy() for _, node in changes])
    label = target.alias or target.name
    query.set("expressions", [exp.column(ROW, table=label, quoted=True), *query.expressions])
    bound = bind(query, grid, prepared.text)
    set_columns = [column for column, _ in changes]
    answer = evaluate(grid, bound, params, set_columns, target=table.name, rows=rows, numbered=True, versions=versions)
    numbers = answer.column(0).to_numpy()
    new = {column.name: answer.column(i + 1) for i, column in enumerate(set_columns)}
    columns = [new[n] if n in new else take_rows(rows.column(n), numbers) for n in schema.names]
    return replace_arrow(table, pa.Table.from_arrays(columns, names=schema.names))
