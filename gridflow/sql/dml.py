"""INSERT, MERGE, UPDATE and DELETE. Each is one commit: it happens wholly or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ..errors import ColumnNotFound, SqlError
from ..schema import Column, Schema
from ..storage.values import to_python
from .bound import span
from .changes import changing, replace_arrow
from .constants import Constant, constant, convert
from .evaluate import evaluate
from .indexes import Conditions, find_conditions
from .indexes import look_up as look_up_indexed
from .insert import defaults_of, execute_insert
from .keys import KeyLookup, NotExact, find_lookup
from .names import bind, find_column, find_table
from .plan import ROW, look_up, take_rows
from .statements import Prepared
from .text import syntax_error


def execute_change(grid: Any, prepared: Prepared, params: Mapping[str, Any]) -> int:
    """Run a statement that changes rows. Returns how many it changed.

    Raises:
        TableNotFound, ColumnNotFound: it names what is not there.
        DuplicateKeyError: an INSERT meets an existing key.
        SchemaError: a value does not fit its column.
        SqlError: anything else about the statement.
    """
    if prepared.kind in ("INSERT", "MERGE"):
        return execute_insert(grid, prepared, params)
    node = _target(prepared)
    table = find_table(grid, node, prepared.text)
    with changing(grid, table):
        if prepared.kind == "UPDATE":
            return _update(grid, table, prepared, params)
        return _delete(grid, table, prepared, params)


def _target(prepared: Prepared) -> exp.Table:
    """The table that an UPDATE or DELETE changes, after refusing what is not there."""
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
        start, length = span(node.this)
        raise syntax_error(text, start, "UPDATE needs SET column = value", length)
    return node


@dataclass(eq=False)
class _Condition:
    """Which rows: the keys that the WHERE fixes, if it does, what indexes may know, the names the table goes by."""

    lookup: KeyLookup | None
    conditions: Conditions | None
    labels: set[str]
    has_query: bool


def _condition(tree: exp.Expression, table: Any) -> _Condition:
    labels = {(tree.this.alias or tree.this.name).upper()}
    where = tree.args.get("where")
    lookup = None if tree.args.get("limit") else find_lookup(where, table.schema, labels)
    return _Condition(lookup, find_conditions(where, table.schema, labels), labels, tree.find(exp.Query) is not None)


def _keys(condition: _Condition, params: Mapping[str, Any]) -> list[Any] | None:
    """The keys to look at, or None where the table has to be scanned."""
    lookup = condition.lookup
    if lookup is None or (condition.has_query and not lookup.whole):
        return None
    try:
        return lookup.keys(params)
    except NotExact:
        return None


# ---- DELETE ----


def _delete(grid: Any, table: Any, prepared: Prepared, params: Mapping[str, Any]) -> int:
    condition = _condition(prepared.node, table)
    keys = _keys(condition, params)
    if keys is not None and condition.lookup is not None and condition.lookup.whole:
        return table.remove_all(keys)
    schema = table.schema
    columns = [exp.column(name, quoted=True) for name in schema.key]
    query, _ = _selection(prepared.node, columns)
    bound = bind(query, grid, prepared.text)
    rows = look_up(table, keys) if keys is not None else None
    if rows is None and not condition.has_query:
        by_index = look_up_indexed(table, condition.conditions, params)
        rows = by_index.found.take(bound.sources[0].columns) if by_index is not None else None
    found = evaluate(grid, bound, params, schema.key_columns, target=table.name, rows=rows)
    return table.remove_all(_key_values(found, schema))


def _key_values(rows: pa.Table, schema: Schema) -> list[Any]:
    columns = [to_python(rows.column(i)) for i in range(len(schema.key))]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def _selection(tree: exp.Expression, columns: list[exp.Expression]) -> tuple[exp.Select, exp.Table]:
    """``SELECT columns FROM its table WHERE its condition``."""
    table = tree.this.copy()
    query = exp.Select(expressions=columns, from_=exp.From(this=table))
    for part in ("where", "limit"):
        if tree.args.get(part):
            query.set(part, tree.args[part].copy())
    return query, table


# ---- UPDATE ----


def _update(grid: Any, table: Any, prepared: Prepared, params: Mapping[str, Any]) -> int:
    schema = table.schema
    condition = _condition(prepared.node, table)
    changes = _assignments(prepared, table, condition.labels)
    keys = _keys(condition, params)
    if keys is not None and condition.lookup is not None and condition.lookup.whole:
        constants = [(column, constant(node)) for column, node in changes]
        if all(value is not None for _, value in constants):
            return _update_keys(table, keys, constants, params)  # type: ignore[arg-type]
    # A query inside may ask for the same table, and then for all of it.
    few = keys is not None and not condition.has_query
    by_index = None if condition.has_query or few else look_up_indexed(table, condition.conditions, params)
    if by_index is not None:
        rows = by_index.found.take(schema.names)
    else:
        rows = look_up(table, keys) if few else table.to_arrow()
    return _update_rows(grid, table, prepared, params, changes, rows, schema)


def _assignments(prepared: Prepared, table: Any, labels: set[str]) -> list[tuple[Column, exp.Expression]]:
    """The columns that SET names and their new values."""
    schema, text = table.schema, prepared.text
    result: list[tuple[Column, exp.Expression]] = []
    for node in prepared.node.expressions:
        target = node.this if isinstance(node, exp.EQ) else None
        if not isinstance(target, exp.Column):
            raise SqlError(f"UPDATE {table.name}: SET takes column = value, not {node.sql()}")
        start, length = span(target.this)
        if target.table and target.table.upper() not in labels:
            raise ColumnNotFound(f"UPDATE {table.name} cannot set a column of {target.table}")
        column = find_column(schema, target.this, text, table.name)
        if column.name in schema.key:
            raise syntax_error(
                text,
                start,
                f"column {column.name} is in the primary key of {table.name}: it cannot be updated; "
                "delete the row and insert another",
                length,
            )
        if any(column is other for other, _ in result):
            raise syntax_error(text, start, f"column {column.name} is set twice", length)
        value = node.expression
        if _is_default(value):
            value = defaults_of(table).get(column.name, exp.Null())
        result.append((column, value))
    return result


def _is_default(node: exp.Expression) -> bool:
    if isinstance(node, exp.Column):
        return node.name == "DEFAULT" and not node.table and not node.this.args.get("quoted")
    return isinstance(node, exp.Var) and node.name == "DEFAULT"


def _update_keys(
    table: Any, keys: list[Any], constants: list[tuple[Column, Constant]], params: Mapping[str, Any]
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
    grid: Any,
    table: Any,
    prepared: Prepared,
    params: Mapping[str, Any],
    changes: list[tuple[Column, exp.Expression]],
    rows: pa.Table,
    schema: Schema,
) -> int:
    """Let DuckDB find the rows and work out new values; everything else of the rows stays as it lies."""
    query, target = _selection(prepared.node, [node.copy() for _, node in changes])
    label = target.alias or target.name
    query.set("expressions", [exp.column(ROW, table=label, quoted=True), *query.expressions])
    bound = bind(query, grid, prepared.text)
    changed = [column for column, _ in changes]
    found = evaluate(grid, bound, params, changed, target=table.name, rows=rows, numbered=True)
    numbers = found.column(0).to_numpy()
    new = {column.name: found.column(i + 1) for i, column in enumerate(changed)}
    columns = [new[n] if n in new else take_rows(rows.column(n), numbers) for n in schema.names]
    return replace_arrow(table, pa.Table.from_arrays(columns, names=schema.names))
