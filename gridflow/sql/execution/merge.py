"""``MERGE INTO t USING s ON ... WHEN [NOT] MATCHED ...``: one pass over two tables, one commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from ...catalog.grants import RIGHTS
from ...errors import SqlError, about
from ...faces import GridFace, TableFace
from ...schema import Column
from ..binding.assignments import assignments
from ..binding.bind import bind
from ..binding.filling import complete, filled_columns, is_default, put_defaults, unfilled_defaults
from ..binding.find import find_table, relation_of
from ..grammar.prepared import Prepared
from ..text.places import place_of, syntax_error
from .changes import change_rows, changing, keys_of_rows
from .evaluate import chosen_numbers, evaluate, row_numbers
from .rows import ROW, take_rows


@dataclass
class _Merge:
    """A MERGE under way: the changes that its clauses ask for, so far.

    Attributes:
        rows: all rows of the target, of one version.
        versions: table -> its rows, of each table that was read, so that all clauses see the same.
        numbers: the numbers of the rows of the target that are updated or removed.
        updated, inserted: rows of all columns.
        removed: the numbers of the rows that are removed.
    """

    grid: GridFace
    table: TableFace
    prepared: Prepared
    params: Mapping[str, Any]
    rows: pa.Table
    versions: dict[str, pa.Table]
    numbers: list[np.ndarray] = field(default_factory=list)
    updated: list[pa.Table] = field(default_factory=list)
    inserted: list[pa.Table] = field(default_factory=list)
    removed: list[np.ndarray] = field(default_factory=list)

    @property
    def tree(self) -> exp.Merge:
        return self.prepared.node

    def evaluate(self, query: exp.Select, columns: list[Column], *, numbered: bool) -> pa.Table:
        """The answer to a clause's query, in the types of these columns."""
        bound = bind(query, self.grid, self.prepared.text)
        return evaluate(
            self.grid,
            bound,
            self.params,
            columns,
            target=self.table.name,
            rows=self.rows,
            numbers=row_numbers(self.rows.num_rows) if numbered else None,
            versions=self.versions,
        )


def execute_merge(grid: GridFace, prepared: Prepared, params: Mapping[str, Any]) -> int:
    """Run a MERGE with USING. Returns how many rows it inserted, updated and deleted.

    A row of the target takes the first WHEN MATCHED clause whose condition holds, a row of the source that matches
    none the first WHEN NOT MATCHED.

    Raises:
        SqlError: a row of the target would be changed twice, or a clause is impossible.
        DuplicateKeyError: a row to insert has a key that is there; nothing is changed.
        SchemaError: a value does not fit its column; nothing is changed.
    """
    tree, text = prepared.node, prepared.text
    target = tree.this
    if not isinstance(target, exp.Table) or not isinstance(target.this, exp.Identifier):
        raise SqlError("MERGE INTO needs a table's name")
    clauses = tree.args["whens"].expressions if tree.args.get("whens") else []
    if not isinstance(tree.args.get("on"), exp.Expression) or not clauses:
        start, length = place_of(target.this)
        message = "MERGE ... USING needs ON condition and WHEN [NOT] MATCHED THEN ..."
        raise syntax_error(text, start, message, length)
    if tree.args.get("returning"):
        raise SqlError("MERGE with RETURNING is not there; SELECT the rows afterwards")
    table = find_table(grid, target, text, RIGHTS)
    with about(table=table.name), changing(grid, table):
        versions = _versions(grid, prepared)
        merge = _Merge(grid, table, prepared, params, versions[table.name], versions)
        before: dict[tuple[bool, bool], list[exp.Expression | None]] = {}
        for clause in clauses:
            kind = bool(clause.args.get("matched")), bool(clause.args.get("source"))
            earlier = before.setdefault(kind, [])
            _run_clause(merge, clause, kind, earlier)
            earlier.append(clause.args.get("condition"))
        return _commit(merge)


def _versions(grid: GridFace, prepared: Prepared) -> dict[str, pa.Table]:
    """The rows of all tables that a MERGE names in its head, as they are at one moment."""
    tree = prepared.node
    query = exp.Select(expressions=[exp.Star()], from_=exp.From(this=tree.this.copy()))
    query.append("joins", exp.Join(this=tree.args["using"].copy(), kind="CROSS"))
    sources = bind(query, grid, prepared.text).sources
    tables = [grid.table(source.name) for source in sources if source.version is None]
    past = [relation_of(grid, source) for source in sources if source.version is not None]
    now = grid._together(tables) if len(tables) > 1 else tables
    return {table.name: table.to_arrow() for table in [*now, *past]}


def _run_clause(merge: _Merge, clause: exp.When, kind: tuple[bool, bool], earlier: list[exp.Expression | None]) -> None:
    """Add the changes of a clause to the MERGE: of the rows that no earlier clause of its kind takes."""
    matched, by_source = kind
    then = clause.args["then"]
    inserts = isinstance(then, exp.Insert)
    word = "WHEN MATCHED" if matched else "WHEN NOT MATCHED BY SOURCE" if by_source else "WHEN NOT MATCHED"
    allowed = "INSERT" if not matched and not by_source else "UPDATE or DELETE"
    if isinstance(then, exp.Var) and then.name.upper() == "DO NOTHING":
        return
    if inserts != (allowed == "INSERT") or not (inserts or isinstance(then, exp.Update) or _is_delete(then)):
        raise SqlError(f"MERGE INTO {merge.table.name}: {word} takes {allowed}")
    query = _clause_query(merge, matched, by_source, clause, earlier)
    if inserts:
        _insert(merge, query, then)
        return
    target = merge.tree.this
    label = target.alias or target.name
    number = exp.column(ROW, table=label, quoted=True)
    changes = []
    if isinstance(then, exp.Update):
        changes = assignments(then.expressions, merge.table, {label.upper()}, merge.prepared.text, "MERGE INTO")
    query.set("expressions", [number, *(exp.Null() if is_default(node) else node.copy() for _, node in changes)])
    columns = [column for column, _ in changes]
    answer = merge.evaluate(query, columns, numbered=True)
    numbers = chosen_numbers(answer)
    places = {i: None for i, (_, node) in enumerate(changes) if is_default(node)}
    values = put_defaults(merge.table, columns, answer.remove_column(0), places)
    merge.numbers.append(numbers)
    if not changes:
        merge.removed.append(numbers)
        return
    new = {column.name: values.column(i) for i, column in enumerate(columns)}
    names = merge.table.schema.names
    arrays = [new[name] if name in new else take_rows(merge.rows.column(name), numbers) for name in names]
    merge.updated.append(pa.Table.from_arrays(arrays, names=names))


def _is_delete(then: exp.Expression) -> bool:
    return isinstance(then, exp.Var) and then.name.upper() == "DELETE"


def _clause_query(
    merge: _Merge, matched: bool, by_source: bool, clause: exp.When, earlier: list[exp.Expression | None]
) -> exp.Select:
    """The query of a clause's rows: of both tables, of the target alone, or of the source alone."""
    tree = merge.tree
    target, source, on = tree.this.copy(), tree.args["using"].copy(), tree.args["on"].copy()
    target.meta["target"] = True
    first, second = (target, source) if matched or by_source else (source, target)
    query = exp.Select(from_=exp.From(this=first))
    join = exp.Join(this=second, on=on) if matched else exp.Join(this=second, kind="ANTI", on=on)
    query.append("joins", join)
    conditions: list[exp.Expr] = []
    for other in earlier:  # null is not true: such a row is left for the next clause
        holds = exp.func("COALESCE", other.copy(), exp.false()) if other is not None else exp.true()
        conditions.append(exp.Not(this=exp.paren(holds)))
    if clause.args.get("condition") is not None:
        conditions.append(exp.paren(clause.args["condition"].copy()))
    if conditions:
        query.set("where", exp.Where(this=exp.and_(*conditions)))
    return query


def _insert(merge: _Merge, query: exp.Select, then: exp.Insert) -> None:
    """Add the rows of WHEN NOT MATCHED THEN INSERT to the MERGE."""
    table, text = merge.table, merge.prepared.text
    what = f"MERGE INTO {table.name}"
    names, values = then.args.get("this"), then.args.get("expression")
    if isinstance(names, exp.Tuple) and not isinstance(values, exp.Tuple):
        raise SqlError(f"{what}: INSERT needs VALUES (...)")
    if not isinstance(values, exp.Tuple):
        raise SqlError(f"{what}: INSERT needs (columns) VALUES (...)")
    columns = (
        filled_columns(what, names.expressions, table, text)
        if isinstance(names, exp.Tuple)
        else list(table.schema.columns)
    )
    if len(values.expressions) != len(columns):
        listing = ", ".join(column.name for column in columns)
        raise SqlError(f"{what}: VALUES has {len(values.expressions)} values for {len(columns)} columns, {listing}")
    places = {i: None for i, cell in enumerate(values.expressions) if is_default(cell)}
    query.set("expressions", [exp.Null() if is_default(cell) else cell.copy() for cell in values.expressions])
    defaults = unfilled_defaults(what, columns, table)
    rows = put_defaults(table, columns, merge.evaluate(query, columns, numbered=False), places)
    merge.inserted.append(complete(table.schema, columns, defaults, rows))


def _commit(merge: _Merge) -> int:
    schema = merge.table.schema
    numbers = np.concatenate(merge.numbers) if merge.numbers else np.empty(0, np.int64)
    distinct, counts = np.unique(numbers, return_counts=True)
    if len(distinct) < len(numbers):
        duplicate = merge.rows.slice(int(distinct[counts > 1][0]), 1)
        (key,) = keys_of_rows(schema, duplicate)
        raise SqlError(
            f"MERGE INTO {merge.table.name}: the row under key {key!r} matches more than one row of the source"
        )
    removed = np.concatenate(merge.removed) if merge.removed else np.empty(0, np.int64)
    key_rows = pa.Table.from_arrays(
        [take_rows(merge.rows.column(name), removed) for name in schema.key], names=list(schema.key)
    )
    updated = pa.concat_tables(merge.updated) if merge.updated else None
    inserted = pa.concat_tables(merge.inserted) if merge.inserted else None
    change_rows(merge.table, updated, inserted, keys_of_rows(schema, key_rows))
    return len(numbers) + (0 if inserted is None else inserted.num_rows)
