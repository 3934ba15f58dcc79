"""Planning: the choice of a query's plan, from the statement and its tables alone, before the parameters are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlglot import exp

from ...faces import GridFace, ReadableTable
from ...schema import Schema, Type
from ..access.by_key import is_plain, lookup_of, row_maker
from ..access.index_rows import Conditions, find_conditions
from ..access.keys import KeyLookup
from ..access.zones import Firsts, find_firsts, find_least_and_greatest
from ..binding.bind import bind
from ..binding.bound import Bound, BoundTable
from ..binding.find import relation_of
from ..binding.scopes import is_wide
from ..grammar.dialect import to_duckdb, to_ignite
from ..grammar.literals import constant
from ..grammar.prepared import Prepared
from .engine_plans import EnginePlan, LatePlan
from .firsts_plan import ORDER, FirstsPlan
from .kept_plans import keep_plan
from .plain_plans import CountPlan, IndexPlan, KeyPlan, Limits, MappedPlan
from .query_plan import QueryPlan
from .rows import ROW

#: So many first rows DuckDB keeps in any case.
_FEW_FIRST = 2000


class _ResultColumn(NamedTuple):
    """A column of the result: ``name`` is the table's column that it is, None of an expression."""

    name: str | None
    label: str
    node: exp.Expression


def plan_for(grid: GridFace, prepared: Prepared, params: Mapping[str, Any]) -> tuple[QueryPlan, list[ReadableTable]]:
    """The plan of a query and its tables; the statement's last plan on this grid where it still holds.

    Of the parameters it knows those that are versions of tables.

    Raises:
        VersionNotFoundError: a table has no such version.
        TableNotFoundError, ColumnNotFoundError, SqlError: a name means nothing.
    """
    plan = grid._plans.get(prepared)
    if plan is not None:
        tables = _same_tables(plan, grid)
        if tables is not None:
            return plan, tables
    bound = bind(prepared.node, grid, prepared.text, params=params)
    _name_projections(bound, prepared.labels)
    plan = _plan(bound, prepared)
    if bound.exact:
        keep_plan(grid, prepared, plan)
    return plan, [relation_of(grid, source) for source in bound.sources]


def _same_tables(plan: QueryPlan, grid: GridFace) -> list[ReadableTable] | None:
    """The tables that a plan names; None if one has another schema by now, or is gone."""
    tables = []
    for source in plan.bound.sources:
        try:
            table = relation_of(grid, source)
        except KeyError:
            return None
        if table.name != source.name:
            return None
        tables.append(table)
    return tables if plan.is_for(tables) else None


def _leftmost(tree: exp.Expression) -> exp.Select | None:
    """The SELECT that gives a query the names of its columns."""
    while isinstance(tree, (exp.SetOperation, exp.Subquery)):
        tree = tree.this
    return tree if isinstance(tree, exp.Select) else None


def _name_projections(bound: Bound, labels: tuple[str, ...]) -> None:
    """Name the columns of the result as the text has them, or as the table does."""
    select = _leftmost(bound.tree)
    if select is None:
        return
    by_upper = {name.upper(): name for name in bound.column_names()}
    texts = labels if len(labels) == len(select.expressions) else ()
    for i, node in enumerate(select.expressions):
        if isinstance(node, exp.Alias) or is_wide(node):
            continue
        if isinstance(node, exp.Column):
            label = node.name
            if label not in bound.originals and not node.this.args.get("quoted"):
                label = by_upper.get(label.upper(), label)
            if label == node.name:
                continue
        else:
            label = texts[i] if texts else to_ignite(node)
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
    columns = _result_columns(tree, source.schema, labels)
    firsts = _firsts(tree, source.schema, labels) if source.schema.key else None
    order = firsts if tree.args.get("where") else None
    firsts = firsts if order is None else None
    kept = _is_planned_without_count(tree)
    if columns is None:
        return EnginePlan(bound, to_duckdb(tree), lookups, conditions, [], firsts=firsts, kept=kept)
    if _is_count(tree) and source.schema.key:
        return CountPlan(bound, columns[0].label)
    clauses = set(_clauses(tree)) - {"kind", "expressions", "from_", "limit", "offset"}
    projection = [(column.name, column.label) for column in columns if column.name is not None]
    limits = _limits(tree) if len(projection) == len(columns) else None  # None: the engine has to cut the rows
    if limits is not None and not clauses:
        return MappedPlan(bound, projection, limits)
    only_where = limits is not None and clauses == {"where"}
    lookup = lookups.get(source.name)
    by_key = only_where and lookup is not None and lookup.whole
    names = [column.name for column in columns]
    late: dict[int, str] = {}
    if not by_key and clauses <= {"where", "order"} and not tree.find(exp.AggFunc, exp.Window):
        late = _defer(source, tree, columns)
    if late:
        result_labels = [column.label for column in columns]
        engine: EnginePlan = LatePlan(
            bound, to_duckdb(tree), lookups, conditions, names, late, result_labels, firsts=firsts, kept=kept
        )
    elif order is not None:
        ordered = to_duckdb(_with_order(tree, order))
        engine = FirstsPlan(bound, to_duckdb(tree), lookups, conditions, names, order=order, ordered=ordered, kept=kept)
    else:
        engine = EnginePlan(bound, to_duckdb(tree), lookups, conditions, names, firsts=firsts, kept=kept)
    if limits is None or not only_where:
        return engine
    if by_key and lookup is not None:
        row = row_maker(source.schema, [name for name, _ in projection])
        return KeyPlan(bound, projection, limits, lookup, row, prepared.marks, engine)
    if conditions is not None and conditions.whole:
        return IndexPlan(bound, projection, limits, engine)
    return engine


def _is_planned_without_count(tree: exp.Select) -> bool:
    """Whether DuckDB plans a query of one table in the same way however many rows that has.

    Of an ORDER BY with a LIMIT it does not: to keep the first rows is better than to sort all only if they are few, and
    from 5,000 on, few of those that there are.
    """
    limit = tree.args.get("limit")
    if limit is None or not tree.args.get("order"):
        return True
    sizes = [node.expression for node in (limit, tree.args.get("offset")) if node is not None]
    return all(isinstance(size, exp.Literal) and size.is_int and int(size.name) <= _FEW_FIRST for size in sizes)


def _firsts(tree: exp.Select, schema: Schema, labels: set[str]) -> Firsts | None:
    """What of all rows of a table a query asks for, if that is clear and not all."""
    limits = _limits(tree)
    firsts = None if limits is None else find_firsts(tree, schema, labels, limits.limit, limits.offset)
    return firsts or find_least_and_greatest(tree, schema, labels)


def _with_order(tree: exp.Select, order: Firsts) -> exp.Select:
    """The query with a column more, by which it orders its rows first."""
    ((column, _),) = order.columns
    node = exp.column(column.name, table=tree.args["from_"].this.alias, quoted=True)
    return tree.copy().select(exp.alias_(node, ORDER, quoted=True))


def _is_count(tree: exp.Select) -> bool:
    """Whether a query asks how many rows there are, and nothing else."""
    if len(tree.expressions) != 1 or set(_clauses(tree)) - {"kind"} != {"expressions", "from_"}:
        return False
    count = tree.expressions[0].unalias()
    return type(count) is exp.Count and type(count.this) is exp.Star and set(_clauses(count)) <= {"this", "big_int"}


def _clauses(node: exp.Expression) -> list[str]:
    return [key for key, value in node.args.items() if value]


def _result_columns(tree: exp.Select, schema: Schema, labels: set[str]) -> list[_ResultColumn] | None:
    """The columns of the result; None if it is not clear what they are."""
    upper = {name.upper(): name for name in schema.names}
    if len(upper) != len(schema.names):
        return None
    result: list[_ResultColumn] = []
    for node in tree.expressions:
        inner = node.this if isinstance(node, exp.Alias) else node
        if is_wide(node) and not isinstance(node, exp.Columns):
            star = node.this if isinstance(node, exp.Column) else node
            if not isinstance(star, exp.Star) or _clauses(star):
                return None
            if isinstance(node, exp.Column) and node.table.upper() not in labels:
                return None
            result += [_ResultColumn(name, name, exp.column(name, quoted=True)) for name in schema.names]
        elif isinstance(node, exp.Columns):
            return None
        elif isinstance(inner, exp.Column) and inner.name.upper() in upper and not inner.args.get("db"):
            if inner.table and inner.table.upper() not in labels:
                return None
            result.append(_ResultColumn(upper[inner.name.upper()], node.alias_or_name, node))
        else:
            result.append(_ResultColumn(None, node.alias_or_name, node))
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


def _defer(source: BoundTable, tree: exp.Select, columns: list[_ResultColumn]) -> dict[int, str]:
    """Leave tensors that only pass through out of the engine's query; number of a result column -> table's column."""
    tensors = {c.name for c in columns if c.name is not None and _may_come_late(source.schema[c.name].type)}
    # A tensor that is looked at anywhere else is DuckDB's to read, under its own name or another.
    elsewhere = [tree.args.get("where"), tree.args.get("order"), *(c.node for c in columns if c.name is None)]
    names = {i.name.upper() for node in elsewhere if node is not None for i in node.find_all(exp.Identifier)}
    labels = {column.label.upper() for column in columns if column.name in tensors}
    tensors = {name for name in tensors if name.upper() not in names}
    if not tensors or labels & names:
        return {}
    # ORDER BY 2 counts the columns of the engine's query.
    order = tree.args.get("order")
    if order is not None and any(isinstance(o.this, exp.Literal) for o in order.expressions):
        return {}
    late: dict[int, str] = {}
    expressions: list[exp.Expression] = [exp.column(ROW, table=tree.args["from_"].this.alias, quoted=True)]
    for i, column in enumerate(columns):
        if column.name in tensors:
            late[i] = column.name
        else:
            expressions.append(column.node.copy())
    tree.set("expressions", expressions)
    source.columns = [name for name in source.columns if name not in tensors]
    return late


def _may_come_late(dtype: Type) -> bool:
    return dtype.kind in ("TENSOR", "FLOAT16")
