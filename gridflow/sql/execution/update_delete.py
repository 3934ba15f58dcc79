"""UPDATE, DELETE and MERGE with USING. Each is one commit: it happens wholly or not at all.

The engine says which rows a condition chooses, by where they lie, and computes the new values of the columns that are
set. What else a row has never leaves the mapping until it is written anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
from sqlglot import exp

from ...catalog.grants import SELECT
from ...errors import SqlError, about
from ...faces import AddressedRows, ChangedTableFace, RowsInPlace, TableFace, TransactionFace
from ...schema import Column, Schema
from ...storage.defaults import default_values
from ..access.index_rows import Conditions, find_conditions
from ..access.keys import KeyLookup, find_lookup
from ..access.path import AccessPath, ByIndex, ByKey, ByKeyRange, access_path
from ..binding.assignments import assignments
from ..binding.bind import bind
from ..binding.bound import Bound
from ..binding.filling import is_default, put_defaults
from ..binding.find import find_table
from ..grammar.literals import Constant, constant, convert
from ..grammar.prepared import Prepared
from ..text.places import place_of, syntax_error
from .changes import changing, keys_of_rows, replace_arrow
from .cut import take_moment
from .evaluate import chosen_numbers, evaluate, row_numbers
from .kept_plans import keep_plan
from .merge import execute_merge
from .rows import ROW, take_rows


def execute_change(grid: TransactionFace, prepared: Prepared, params: Mapping[str, Any]) -> int:
    """Run a statement that changes rows which it reads, within a transaction. Returns how many it changed.

    Raises:
        TableNotFoundError, ColumnNotFoundError: it names what is not there.
        DuplicateKeyError: a MERGE inserts a key that is there.
        SchemaError: a value does not fit its column.
        SqlError: anything else about the statement.
    """
    if isinstance(prepared.node, exp.Merge):
        take_moment(grid, prepared.node, prepared.text)
        return execute_merge(grid, prepared, params)
    node = _target(prepared)
    table = find_table(grid, node, prepared.text, (prepared.kind, SELECT))  # whose rows it names it has to know
    with about(table=table.name), changing(grid, table):
        plan = grid._plans.get(prepared)
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
        constants: the changes, if all values are literals, parameters and DEFAULTs; else None.
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
    defaults = default_values(table.schema, table.name)
    constants = []
    for column, node in changes:
        value = defaults.get(column.name)
        cell = Constant(partial(_same, value), True) if is_default(node) else constant(node)
        if cell is not None:
            constants.append((column, cell))
    all_constant = len(constants) == len(changes)
    return ChangePlan(table.name, table.schema, lookup, conditions, changes, constants if all_constant else None)


def _same(value: Any, params: Mapping[str, Any]) -> Any:
    return value


# ---- DELETE ----


def _delete(
    grid: TransactionFace, table: ChangedTableFace, prepared: Prepared, plan: ChangePlan, params: Mapping[str, Any]
) -> int:
    keys = plan.whole_keys(params)
    if keys is not None:
        return table.remove_all(keys)
    schema = table.schema
    bound = bind(_selection(prepared.node, []), grid, prepared.text)
    path = plan.path(table, params)
    if isinstance(path, ByKey):
        rows = path.rows(_unique([*schema.key, *_columns_of_target(bound)]))
        answer = _evaluate(grid, bound, params, table, [], rows, row_numbers(rows.num_rows))
        numbers = chosen_numbers(answer)
        chosen = [take_rows(rows.column(name), numbers) for name in schema.key]
        return table.remove_all(keys_of_rows(schema, pa.Table.from_arrays(chosen, names=list(schema.key))))
    lying = _addressed(path, table, _columns_of_target(bound))
    answer = _evaluate(grid, bound, params, table, [], lying.rows, lying.addresses)
    return table._remove_rows(lying, chosen_numbers(answer))


# ---- UPDATE ----


def _update(
    grid: TransactionFace, table: ChangedTableFace, prepared: Prepared, plan: ChangePlan, params: Mapping[str, Any]
) -> int:
    keys = plan.whole_keys(params)
    if keys is not None and plan.constants is not None:
        return _update_keys(table, keys, plan.constants, params)
    schema = table.schema
    values = [exp.Null() if is_default(node) else node for _, node in plan.changes]
    places = {i: None for i, (_, node) in enumerate(plan.changes) if is_default(node)}
    bound = bind(_selection(prepared.node, values), grid, prepared.text)
    set_columns = [column for column, _ in plan.changes]
    names = [column.name for column in set_columns]
    path = plan.path(table, params)
    if isinstance(path, ByKey):
        rows = path.rows(schema.names)
        answer = _evaluate(grid, bound, params, table, set_columns, rows, row_numbers(rows.num_rows))
        set_rows = put_defaults(table, set_columns, answer.remove_column(0), places)
        numbers, new = chosen_numbers(answer), dict(zip(names, set_rows.columns, strict=True))
        columns = [new[n] if n in new else take_rows(rows.column(n), numbers) for n in schema.names]
        return replace_arrow(table, pa.Table.from_arrays(columns, names=schema.names))
    lying = _addressed(path, table, _columns_of_target(bound))
    answer = _evaluate(grid, bound, params, table, set_columns, lying.rows, lying.addresses)
    set_rows = put_defaults(table, set_columns, answer.remove_column(0), places).rename_columns(names)
    return table._update_rows(lying, chosen_numbers(answer), set_rows)


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


# ---- the rows that a condition chooses ----


def _selection(tree: exp.Expression, values: Sequence[exp.Expression]) -> exp.Select:
    """``SELECT number, values FROM table WHERE condition`` of a change's table and condition."""
    table = tree.this.copy()
    table.meta["target"] = True
    number = exp.column(ROW, table=table.alias or table.name, quoted=True)
    query = exp.Select(expressions=[number, *(value.copy() for value in values)], from_=exp.From(this=table))
    for part in ("where", "limit"):
        if tree.args.get(part):
            query.set(part, tree.args[part].copy())
    return query


def _columns_of_target(bound: Bound) -> list[str]:
    return next(source.columns for source in bound.sources if source.target)


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _addressed(path: AccessPath, table: ChangedTableFace, columns: Sequence[str]) -> AddressedRows:
    """These columns of the rows of a path, or of all, and where the rows lie."""
    return path._addressed(columns) if isinstance(path, (ByIndex, ByKeyRange)) else table._addressed(columns)


def _evaluate(
    grid: TransactionFace,
    bound: Bound,
    params: Mapping[str, Any],
    table: ChangedTableFace,
    columns: Sequence[Column],
    rows: pa.Table | RowsInPlace,
    numbers: pa.Array | pa.ChunkedArray,
) -> pa.Table:
    """The numbers of the rows for which the condition holds, and the values of the columns that are set."""
    return evaluate(grid, bound, params, columns, target=table.name, rows=rows, numbers=numbers)
