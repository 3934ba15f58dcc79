"""Which way a query is run: what is known of it before its parameters are."""

from __future__ import annotations

from sqlglot import exp

from ...faces import GridFace, ReadableTable
from ...schema import Schema
from ..access.by_key import is_plain, lookup_of, row_maker
from ..access.index_rows import Conditions, find_conditions
from ..access.keys import KeyLookup
from ..binding.bind import bind
from ..binding.bound import Bound
from ..binding.find import source_of
from ..grammar.dialect import to_duckdb, to_ignite
from ..grammar.literals import constant
from ..grammar.prepared import Prepared
from .query_plans import EnginePlan, IndexPlan, KeyPlan, LatePlan, Limits, MappedPlan, Projection, QueryPlan
from .rows import ROW

# (column of the table or None for an expression, label, node) of a result column.
_Column = tuple[str | None, str, exp.Expression]


def plan_for(prepared: Prepared, grid: GridFace) -> tuple[QueryPlan, list[ReadableTable]]:
    """The plan of a query and its tables; the statement's last plan on this grid where it still holds.

    Raises:
        TableNotFound, ColumnNotFound, SqlError: a name means nothing.
    """
    plan = grid.plans.get(prepared)
    if plan is not None:
        tables = _same_tables(plan, grid)
        if tables is not None:
            return plan, tables
    bound = bind(prepared.node, grid, prepared.text)
    _name_projections(bound, prepared.labels)
    plan = _plan(bound, prepared)
    if bound.exact:
        grid.plans[prepared] = plan
    return plan, [source_of(grid, source.name) for source in bound.sources]


def _same_tables(plan: QueryPlan, grid: GridFace) -> list[ReadableTable] | None:
    """The tables that a plan names, if they have the schemas it was made for."""
    tables = []
    for source in plan.bound.sources:
        try:
            table = source_of(grid, source.name)
        except KeyError:
            return None
        if table.name != source.name:
            return None
        tables.append(table)
    return tables if plan.is_for(tables) else None


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


def _plan(bound: Bound, prepared: Prepared) -> QueryPlan:
    tree = bound.tree
    lookups: dict[str, KeyLookup] = {}
    if not bound.originals:
        for source in bound.sources:
            lookup = lookup_of(tree, source, bound)
            if lookup is not None:
                lookups[source.name] = lookup
        table = _only_table(bound)
        if table is not None:
            assert isinstance(tree, exp.Select)  # else there is no only table
            return _plan_of_one(bound, prepared, tree, table, lookups)
    return EnginePlan(bound, to_duckdb(tree), lookups, None, [])


def _only_table(bound: Bound) -> exp.Table | None:
    """The table of a query that has no other, and no query within."""
    tree = bound.tree
    if not isinstance(tree, exp.Select) or len(bound.sources) != 1:
        return None
    tables, from_ = list(tree.find_all(exp.Table)), tree.args.get("from_")
    if len(tables) != 1 or from_ is None or from_.this is not tables[0] or tree.args.get("joins"):
        return None
    return tables[0] if is_plain(tables[0]) else None


def _plan_of_one(
    bound: Bound, prepared: Prepared, tree: exp.Select, table: exp.Table, lookups: dict[str, KeyLookup]
) -> QueryPlan:
    """The plan of a query of one table."""
    source, labels = bound.sources[0], {table.alias.upper()}
    conditions: Conditions | None = None
    if source.schema.key:  # a system view has none, and no indexes
        conditions = find_conditions(tree.args.get("where"), source.schema, labels)
    columns = _plain_projections(tree, source.schema, labels)
    if columns is None:
        return EnginePlan(bound, to_duckdb(tree), lookups, conditions, [])
    names = [name for name, _, _ in columns]
    clauses = set(_clauses(tree)) - {"kind", "expressions", "from_", "limit", "offset"}
    limits = _limits(tree)
    projection: Projection = [(name, label) for name, label, _ in columns if name is not None]
    if limits is None or len(projection) < len(columns):  # not of plain columns, or not of a known number of rows
        return _engine_plan(bound, tree, lookups, conditions, columns, clauses)
    if not clauses:
        return MappedPlan(bound, projection, limits)
    lookup = lookups.get(source.name)
    if clauses == {"where"} and lookup is not None and lookup.whole:
        row = row_maker(source.schema, [name for name, _ in projection])
        engine = EnginePlan(bound, to_duckdb(tree), lookups, conditions, names)
        return KeyPlan(bound, projection, limits, lookup, row, prepared.marks, engine)
    engine = _engine_plan(bound, tree, lookups, conditions, columns, clauses)
    if clauses == {"where"} and conditions is not None and conditions.whole:
        return IndexPlan(bound, projection, limits, engine)
    return engine


def _engine_plan(
    bound: Bound,
    tree: exp.Select,
    lookups: dict[str, KeyLookup],
    conditions: Conditions | None,
    columns: list[_Column],
    clauses: set[str],
) -> EnginePlan:
    """The engine's plan of a query of one table, with as many tensors as can be left out of it."""
    names = [name for name, _, _ in columns]
    late: dict[int, str] = {}
    if clauses <= {"where", "order"} and not tree.find(exp.AggFunc, exp.Window):
        late = _defer(bound, tree, columns)
    if not late:
        return EnginePlan(bound, to_duckdb(tree), lookups, conditions, names)
    labels = [label for _, label, _ in columns]
    return LatePlan(bound, to_duckdb(tree), lookups, conditions, names, late, labels)


def _clauses(node: exp.Expression) -> list[str]:
    return [key for key, value in node.args.items() if value]


def _plain_projections(tree: exp.Select, schema: Schema, labels: set[str]) -> list[_Column] | None:
    """(column or None for an expression, label, node) of each result column; None if that is not clear."""
    upper = {name.upper(): name for name in schema.names}
    if len(upper) != len(schema.names):
        return None
    result: list[_Column] = []
    for node in tree.expressions:
        inner = node.this if isinstance(node, exp.Alias) else node
        if node.is_star:
            star = node.this if isinstance(node, exp.Column) else node
            if not isinstance(star, exp.Star) or _clauses(star):
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


def _limits(tree: exp.Select) -> Limits | None:
    """LIMIT and OFFSET of a query if they are constants (or not there), else None."""
    limit, offset = tree.args.get("limit"), tree.args.get("offset")
    if limit is not None and (type(limit) is not exp.Limit or set(_clauses(limit)) != {"expression"}):
        return None
    if offset is not None and set(_clauses(offset)) != {"expression"}:
        return None
    first = constant(limit.args["expression"]) if limit is not None else None
    second = constant(offset.args["expression"]) if offset is not None else None
    if (limit is not None and first is None) or (offset is not None and second is None):
        return None
    return Limits(first, second)


def _defer(bound: Bound, tree: exp.Select, columns: list[_Column]) -> dict[int, str]:
    """Leave tensors that are only passed through out of the engine's query; result column -> the table's column."""
    source = bound.sources[0]
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
        return {}
    # ORDER BY 2 counts the columns that it sees.
    order = tree.args.get("order")
    if order is not None and any(isinstance(o.this, exp.Literal) for o in order.expressions):
        return {}
    late: dict[int, str] = {}
    kept: list[exp.Expression] = [exp.column(ROW, table=tree.args["from_"].this.alias, quoted=True)]
    for i, (name, _, node) in enumerate(columns):
        if name in wide:
            late[i] = name
        else:
            kept.append(node.copy())
    tree.set("expressions", kept)
    source.columns = [name for name in source.columns if name not in wide]
    return late


def _is_wide(schema: Schema, name: str) -> bool:
    dtype = schema[name].type
    return dtype.kind == "TENSOR" or dtype.kind == "FLOAT16"
