"""How a query is run: which columns of which tables are read, and what need not go through DuckDB.

Four shortcuts, none of which changes a result:

    key lookup   a WHERE that fixes a table's primary key reads those rows by key, without a flush or a scan
    index        a WHERE on the columns of an index reads the rows that the index finds; see ``indexes``
    direct       SELECT of plain columns and nothing else: the answer is the mapping itself
    late         a tensor that only passes through is not given to DuckDB: it answers with row numbers,
                 and the tensors of those rows are then taken from the mapping in one copy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from ...schema import Schema
from ..access.by_key import ByKey, is_plain, look_up, lookup_of, row_maker
from ..access.index_rows import Conditions, Lookup, find_conditions
from ..access.index_rows import look_up as look_up_indexed
from ..access.keys import KeyLookup, NotExact
from ..binding.bind import bind
from ..binding.bound import Bound, BoundTable
from ..binding.find import source_of
from ..grammar.dialect import to_duckdb, to_ignite
from ..grammar.literals import Constant, constant
from ..grammar.prepared import Prepared
from .rows import ROW, register


@dataclass
class Plan:
    """A query made ready for the tables it names.

    Attributes:
        bound: the statement with its tables found.
        sql: for DuckDB.
        lookups: table -> the keys that it is read by; the others are scanned.
        conditions: what indexes of its only table may answer.
        plain: (column, label) of each result column where they are what an exact index lookup gives.
        direct: (column, label) of each result column where DuckDB is not needed; with a lookup only if its
            parameters allow it.
        limit, offset: of a direct or plain plan.
        late: result column -> column of the only table.
        columns: of each result column the column of the only table that it is, where that can be told.
        labels: of all result columns, where some come late.
        by_key: how results are made of values, where the plan is direct and has a lookup.
    """

    bound: Bound
    sql: str
    lookups: dict[str, KeyLookup] = field(default_factory=dict)
    conditions: Conditions | None = None
    plain: list[tuple[str, str]] | None = None
    direct: list[tuple[str, str]] | None = None
    limit: Constant | None = None
    offset: Constant | None = None
    late: dict[int, str] = field(default_factory=dict)
    columns: list[str | None] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    by_key: ByKey | None = None

    @property
    def lookup(self) -> KeyLookup | None:
        """The keys of the only table."""
        return self.lookups.get(self.bound.sources[0].name) if len(self.bound.sources) == 1 else None


def plan_for(prepared: Prepared, grid: Any) -> tuple[Plan, list[Any]]:
    """The plan of a query and its tables; the statement's last plan where it still holds.

    Raises:
        TableNotFound, ColumnNotFound, SqlError: a name means nothing.
    """
    plan = prepared.plan
    if plan is not None:
        tables = _same_tables(plan, grid)
        if tables is not None:
            return plan, tables
    bound = bind(prepared.node, grid, prepared.text)
    _name_projections(bound, prepared.labels)
    plan = Plan(bound, "")
    _take_shortcuts(plan)
    plan.sql = to_duckdb(bound.tree)
    if bound.exact:
        prepared.plan = plan
    return plan, [source_of(grid, source.name) for source in bound.sources]


def _same_tables(plan: Plan, grid: Any) -> list[Any] | None:
    """The tables that a plan names, if they have the schemas it was made for."""
    tables = []
    for source in plan.bound.sources:
        try:
            table = source_of(grid, source.name)
        except KeyError:
            return None
        if table.name != source.name or (table.schema is not source.schema and table.schema != source.schema):
            return None
        tables.append(table)
    return tables


def _leftmost(tree: exp.Expression) -> exp.Select | None:
    """The SELECT whose column names a query has."""
    while isinstance(tree, (exp.SetOperation, exp.Subquery)):
        tree = tree.this
    return tree if isinstance(tree, exp.Select) else None


def _name_projections(bound: Bound, labels: tuple[str, ...]) -> None:
    """Name the columns of the result as the text has them, or as the table has them."""
    select = _leftmost(bound.tree)
    if select is None:
        return
    known = {name.upper(): name for name in bound.column_names()}
    written = labels if len(labels) == len(select.expressions) else ()
    for i, node in enumerate(select.expressions):
        if isinstance(node, (exp.Alias, exp.Star, exp.Columns)) or node.is_star:
            continue
        if isinstance(node, exp.Column):
            label = node.name
            if label not in bound.originals and not node.this.args.get("quoted"):
                label = known.get(label.upper(), label)
            if label == node.name:
                continue
        else:
            label = written[i] if written else to_ignite(node)
        select.expressions[i].replace(exp.alias_(node.copy(), label, quoted=True))


def _take_shortcuts(plan: Plan) -> None:
    tree, bound = plan.bound.tree, plan.bound
    if bound.originals:
        return
    for source in bound.sources:
        lookup = lookup_of(tree, source, bound)
        if lookup is not None:
            plan.lookups[source.name] = lookup
    if not isinstance(tree, exp.Select) or len(bound.sources) != 1:
        return
    source = bound.sources[0]
    tables = list(tree.find_all(exp.Table))
    from_ = tree.args.get("from_")
    if len(tables) != 1 or from_ is None or from_.this is not tables[0] or tree.args.get("joins"):
        return
    table = tables[0]
    if not is_plain(table):
        return
    labels = {table.alias.upper()}
    if source.schema.key:  # a system view has none, and no indexes
        plan.conditions = find_conditions(tree.args.get("where"), source.schema, labels)
    columns = _plain_projections(tree, source.schema, labels)
    if columns is None:
        return
    plan.columns = [name for name, _, _ in columns]
    given = set(_given(tree)) - {"kind", "expressions", "from_", "limit", "offset"}
    limits = _limits(tree)
    by_key_only = given == {"where"} and plan.lookup is not None and plan.lookup.whole
    pairs = [(name, label) for name, label, _ in columns if name is not None]
    if limits is not None and len(pairs) == len(columns) and (not given or by_key_only):
        plan.direct = pairs
        plan.limit, plan.offset = limits
        if by_key_only:
            types = tuple(source.schema[name].type for name, _ in pairs)
            row = row_maker(source.schema, [name for name, _ in pairs])
            plan.by_key = ByKey(tuple(label for _, label in pairs), types, row)
        return
    if limits is not None and len(pairs) == len(columns) and given == {"where"} and plan.conditions is not None:
        plan.plain = pairs if plan.conditions.whole else None
        plan.limit, plan.offset = limits
    if given <= {"where", "order"} and not tree.find(exp.AggFunc, exp.Window):
        _defer(plan, tree, columns)


def _given(node: exp.Expression) -> list[str]:
    return [key for key, value in node.args.items() if value]


def _plain_projections(
    tree: exp.Select, schema: Schema, labels: set[str]
) -> list[tuple[str | None, str, exp.Expression]] | None:
    """(column or None for an expression, label, node) of each result column; None if that is not clear."""
    upper = {name.upper(): name for name in schema.names}
    if len(upper) != len(schema.names):
        return None
    result: list[tuple[str | None, str, exp.Expression]] = []
    for node in tree.expressions:
        inner = node.this if isinstance(node, exp.Alias) else node
        if node.is_star:
            star = node.this if isinstance(node, exp.Column) else node
            if not isinstance(star, exp.Star) or _given(star):
                return None
            if isinstance(node, exp.Column) and node.table.upper() not in labels:
                return None
            result += [(name, name, exp.column(name, quoted=True)) for name in schema.names]
        elif isinstance(node, exp.Columns):
            return None
        elif isinstance(inner, exp.Column) and inner.name.upper() in upper and not inner.args.get("db"):
            if inner.table and inner.table.upper() not in labels:
                return None
            result.append((upper[inner.name.upper()], node.alias_or_name, node))
        else:
            result.append((None, node.alias_or_name, node))
    return result


def _limits(tree: exp.Select) -> tuple[Constant | None, Constant | None] | None:
    """LIMIT and OFFSET of a query if they are constants (or not there), else None."""
    limit, offset = tree.args.get("limit"), tree.args.get("offset")
    if limit is not None and (type(limit) is not exp.Limit or set(_given(limit)) != {"expression"}):
        return None
    if offset is not None and set(_given(offset)) != {"expression"}:
        return None
    first = constant(limit.args["expression"]) if limit is not None else None
    second = constant(offset.args["expression"]) if offset is not None else None
    if (limit is not None and first is None) or (offset is not None and second is None):
        return None
    return first, second


def _defer(plan: Plan, tree: exp.Select, columns: list[tuple[str | None, str, exp.Expression]]) -> None:
    """Leave tensors that are only passed through out of DuckDB's query."""
    source = plan.bound.sources[0]
    schema = source.schema
    wide = {n for n, _, _ in columns if n is not None and _is_wide(schema, n)}
    # A tensor that is looked at anywhere else is DuckDB's to read, under its own name or another.
    rest = [
        tree.args.get("where"),
        tree.args.get("order"),
        *(node for name, _, node in columns if name is None),
    ]
    seen = {i.name.upper() for part in rest if part is not None for i in part.find_all(exp.Identifier)}
    shown = {label.upper() for name, label, _ in columns if name in wide}
    wide = {name for name in wide if name.upper() not in seen}
    if not wide or shown & seen:
        return
    # ORDER BY 2 counts the columns that it sees.
    order = tree.args.get("order")
    if order is not None and any(isinstance(o.this, exp.Literal) for o in order.expressions):
        return
    kept: list[exp.Expression] = [exp.column(ROW, table=tree.args["from_"].this.alias, quoted=True)]
    for i, (name, _, node) in enumerate(columns):
        if name in wide:
            plan.late[i] = name
        else:
            kept.append(node.copy())
    plan.labels = [label for _, label, _ in columns]
    tree.set("expressions", kept)
    source.columns = [name for name in source.columns if name not in wide]


def _is_wide(schema: Schema, name: str) -> bool:
    dtype = schema[name].type
    return dtype.kind == "TENSOR" or dtype.kind == "FLOAT16"


def read(plan: Plan, tables: list[Any], params: Mapping[str, Any]) -> tuple[dict[str, pa.Table], pa.Table | None, bool]:
    """The rows of the plan's tables.

    Each table is read once, so a statement sees one version of it.

    Returns:
        What DuckDB gets; the only table's rows for a direct or late plan; whether they are the result already.
    """
    direct = plan.direct is not None and plan.lookup is None
    rows_of = []
    for source, table in zip(plan.bound.sources, tables, strict=True):
        keys = keys_of(plan, source, params)
        by_index = indexed(plan, table, params) if keys is None else None
        if by_index is not None:
            return _read_found(plan, by_index)
        columns = list(source.columns)
        if direct and plan.direct is not None:
            columns = list(dict.fromkeys(name for name, _ in plan.direct))
        elif plan.late:
            columns = list(dict.fromkeys([*columns, *plan.late.values()]))
        rows_of.append(table.to_arrow(columns) if keys is None else look_up(table, keys, columns))
    whole = rows_of[0] if rows_of else None
    return ({}, whole, True) if direct else (_register(plan, rows_of), whole, False)


def indexed(plan: Plan, table: Any, params: Mapping[str, Any]) -> Lookup | None:
    """What an index of the only table finds; None where it is scanned."""
    return None if plan.conditions is None else look_up_indexed(table, plan.conditions, params)


def _read_found(plan: Plan, lookup: Lookup) -> tuple[dict[str, pa.Table], pa.Table | None, bool]:
    """What ``read`` gives for rows that an index has found."""
    found, columns = lookup.found, plan.bound.sources[0].columns
    if plan.plain is not None and found.exact:
        return {}, found.take(list(dict.fromkeys(name for name, _ in plan.plain))), True
    if not plan.late:
        return _register(plan, [found.take(columns)]), None, False
    whole, numbers = found.spread(list(dict.fromkeys(plan.late.values())))
    source = plan.bound.sources[0]
    shown = register(found.take(columns), source, plan.bound, numbers=numbers)
    return {source.registered: shown}, whole, False


def keys_of(plan: Plan, source: BoundTable, params: Mapping[str, Any]) -> list[Any] | None:
    """The keys by which a table is read; None where it is scanned."""
    lookup = plan.lookups.get(source.name)
    try:
        return None if lookup is None else lookup.keys(params)
    except NotExact:
        return None


def _register(plan: Plan, tables: list[pa.Table]) -> dict[str, pa.Table]:
    return {
        source.registered: register(table, source, plan.bound, numbers=np.arange(table.num_rows) if plan.late else None)
        for source, table in zip(plan.bound.sources, tables, strict=True)
    }
