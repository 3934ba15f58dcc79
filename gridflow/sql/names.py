"""What a statement's names mean: its tables in the grid, and the columns it needs of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from sqlglot import exp

from ..errors import ColumnNotFound, SqlError, TableNotFound, did_you_mean
from ..schema import Column, Schema
from .bound import Bound, Source, no_column, span
from .functions import call_bare
from .pseudo import spell_out
from .spelling import KEYWORDS, nearest
from .text import point
from .views import SYSTEM_SCHEMA, SystemView, find_view

# What may stand in FROM: tables, queries, values, and functions that make rows of their arguments.
_ROWS = (exp.Table, exp.Query, exp.Values, exp.Unnest, exp.Explode, exp.GenerateSeries, exp.Lateral)
#: The schema of tables. Ignite calls that of tables that SQL made so.
SCHEMA = "PUBLIC"


def find_table(grid: Any, node: exp.Table, text: str) -> Any:
    """The table that a name in a statement means.

    A quoted name means exactly itself. One without quotes means its upper-case form or, where there is no
    such table, the only one that differs from it in case.

    Raises:
        TableNotFound: there is none; says which are.
        SqlError: it names a system view or another schema, or two tables could be meant.
    """
    if node.db.upper() == SYSTEM_SCHEMA:
        view = find_source(grid, node, text)
        start, length = span(node.this)
        raise SqlError(point(text, start, f"{view.name} is a system view: it can be read, not changed", length))
    if node.args.get("catalog") is not None or (node.db and node.db.upper() != SCHEMA):
        start, length = span(node.args["db"])
        message = f"no schema {node.db}; there are {SCHEMA} and {SYSTEM_SCHEMA}, of the system's views"
        raise SqlError(point(text, start, message, length))
    name = node.name
    try:
        return grid.table(name)
    except TableNotFound:
        pass
    known = grid.tables()
    start, length = span(node.this)
    if not node.this.args.get("quoted"):
        near = [other for other in known if other.upper() == name.upper()]
        if len(near) == 1:
            return grid.table(near[0])
        if near:
            quoted = " or ".join(f'"{other}"' for other in near)
            raise SqlError(point(text, start, f"{name} could be {quoted}: quote the one you mean", length))
    keyword = nearest(name, KEYWORDS, 0.7) if node.alias and not node.this.args.get("quoted") else ""  # DELETE FORM t
    message = f"no table {name}{keyword or '; ' + did_you_mean(name, known)}"
    raise TableNotFound(point(text, start, message, length))


def find_source(grid: Any, node: exp.Table, text: str) -> Any:
    """What a query may read under a name: a table, or a view of schema SYS.

    Raises:
        TableNotFound, SqlError: see ``find_table``.
    """
    if node.db.upper() != SYSTEM_SCHEMA or node.args.get("catalog") is not None:
        return find_table(grid, node, text)
    try:
        return SystemView(grid, find_view(node.name.upper()))
    except TableNotFound as error:
        start, length = span(node.this)
        raise TableNotFound(point(text, start, str(error), length)) from None


def source_of(grid: Any, name: str) -> Any:
    """The table or system view that a plan noted by its name.

    Raises:
        TableNotFound: it is not there any more.
    """
    schema, _, view = name.partition(".")
    return SystemView(grid, find_view(view)) if schema == SYSTEM_SCHEMA and view else grid.table(name)


def at_one_moment(grid: Any, tables: list[Any]) -> list[Any]:
    """The same tables as they all are at one moment, to be read; views are read when they are."""
    several = [table for table in tables if not isinstance(table, SystemView)]
    if not several:
        return tables
    seen = iter(grid.together(several))
    return [table if isinstance(table, SystemView) else next(seen) for table in tables]


def take_moment(grid: Any, tree: exp.Expression, text: str) -> None:
    """Have a statement's transaction see all tables that the statement names as they are at one moment: now."""
    found: dict[str, Any] = {}
    for node in tree.find_all(exp.Table):
        if isinstance(node.this, exp.Identifier) and not _is_cte(node):
            with contextlib.suppress(TableNotFound, SqlError):  # who reads it will say so
                source = find_source(grid, node, text)
                found[source.name] = source
    at_one_moment(grid, list(found.values()))


def find_column(schema: Schema, node: exp.Identifier, text: str, table: str) -> Column:
    """The column that a name means: exactly itself, or without quotes also the only one like it.

    Raises:
        ColumnNotFound: says what columns the table has.
    """
    name = node.name
    if name in schema:
        return schema[name]
    near = [other for other in schema.names if other.upper() == name.upper()]
    if len(near) == 1 and not node.args.get("quoted"):
        return schema[near[0]]
    start, length = span(node)
    message = f"no column {name} in {table}; {did_you_mean(name, schema.names)}"
    raise ColumnNotFound(point(text, start, message, length))


def bind(tree: exp.Expression, grid: Any, text: str, target: Any = None) -> Bound:
    """Find a statement's tables and the columns that it needs of each. ``target``: what is used for one so marked.

    A column counts as needed where its name occurs anywhere in the statement in any role, and where a ``*``
    or something as wide covers its table: too many are possible, too few are not.

    Raises:
        TableNotFound, SqlError: see ``find_table``.
    """
    _check_table_functions(tree)
    tree = tree.copy()
    sources: dict[tuple[str, bool], Source] = {}
    of_node: dict[int, Source] = {}
    labels: dict[str, list[Source]] = {}
    exact = True
    for node in list(tree.find_all(exp.Table)):
        if not isinstance(node.this, exp.Identifier) or _is_cte(node):
            continue
        if node.name.upper() == "DUAL" and not node.db and "DUAL" not in grid.tables():
            _replace_dual(node)
            exact = False
            continue
        is_target = bool(node.meta.get("target"))
        table = target if is_target and target is not None else find_source(grid, node, text)
        exact = exact and (table.name == node.name or isinstance(table, SystemView))
        source = sources.setdefault(
            (table.name, is_target),
            Source(table.name, table.schema, f"gridflow_{len(sources)}", target=is_target),
        )
        label = node.alias or node.name
        of_node[id(node)] = source
        labels.setdefault(label.upper(), []).append(source)
        if not node.alias:
            node.set("alias", exp.TableAlias(this=exp.to_identifier(label, quoted=True)))
        node.set("this", exp.to_identifier(source.registered, quoted=True))
        node.set("db", None)
        if node.args.get("pivots"):
            source.every = True
    spell_out(tree, of_node, text)
    call_bare(tree, {name.upper() for source in sources.values() for name in source.schema.names})
    bound = Bound(tree, list(sources.values()), {}, text, exact)
    _mark_wide(tree, bound, of_node, labels)
    _rename_twins(bound)
    _check_quoted(bound)
    # After a rename the tree holds replaced names; `originals` gives the columns they stand for.
    used = {bound.originals.get(i.name, i.name).upper() for i in tree.find_all(exp.Identifier)}
    for source in bound.sources:
        names = source.schema.names
        source.columns = [n for n in names if source.every or n.upper() in used] or [_cheapest(source.schema)]
    for column in tree.find_all(exp.Column):
        column.set("db", None) if column.text("db").upper() in (SCHEMA, SYSTEM_SCHEMA) else None
    return bound


def _check_table_functions(tree: exp.Expression) -> None:
    """Let through only the table functions that make rows of their arguments.

    DuckDB has others that take SQL as text or even addresses in memory: nothing that a client sends may reach
    them.
    """
    for node in tree.find_all(exp.Table, exp.From, exp.Join, exp.Lateral, exp.Command):
        found = node if isinstance(node, exp.Command) else node.this
        if isinstance(found, _ROWS) or (isinstance(node, exp.Table) and isinstance(found, exp.Identifier)):
            continue
        name = found.name if isinstance(found, exp.Anonymous) else found.key if found else ""
        raise SqlError(f"no table function {name.upper()}; there are GENERATE_SERIES, RANGE, UNNEST")


def _is_cte(node: exp.Table) -> bool:
    """Whether a table's name is that of a WITH that it can see."""
    if node.db:
        return False
    child: exp.Expression = node
    parent = node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            # Inside a WITH only the ones before are there, or all where it is recursive.
            before = parent.expressions
            if not parent.args.get("recursive"):
                before = before[: next(i for i, cte in enumerate(before) if cte is child)]
            if any(cte.alias == node.name for cte in before):
                return True
            child, parent = parent, parent.parent  # its query's own WITH is this one
            if parent is None:
                break
        elif any(cte.alias == node.name for cte in _ctes(parent)):
            return True
        child, parent = parent, parent.parent
    return False


def _ctes(node: exp.Expression) -> Iterable[exp.Expression]:
    found = node.args.get("with_")
    return found.expressions if isinstance(found, exp.With) else ()


def _replace_dual(node: exp.Table) -> None:
    row = exp.Subquery(this=exp.select("1 AS DUMMY"))
    row.set("alias", exp.TableAlias(this=exp.to_identifier(node.alias or "DUAL", quoted=True)))
    node.replace(row)


def _mark_wide(tree: exp.Expression, bound: Bound, of_node: dict[int, Source], labels: dict[str, list[Source]]) -> None:
    """Mark the sources of which everything is asked: ``*``, ``t.*``, a row as a value, NATURAL JOIN."""
    for star in tree.find_all(exp.Star, exp.Columns):
        parent = star.parent
        if isinstance(parent, exp.Count):
            continue
        if isinstance(parent, exp.Column):
            wide = labels.get(parent.table.upper(), [])
        else:
            scope = star.find_ancestor(exp.Select)
            tables = tree.find_all(exp.Table) if scope is None else scope.find_all(exp.Table)
            wide = [of_node[id(t)] for t in tables if id(t) in of_node and t.find_ancestor(exp.Select) is scope]
        for source in wide:
            source.every = True
    for column in tree.find_all(exp.Column):
        if not column.table:
            for source in labels.get(column.name.upper(), []):
                source.every = True
    natural = any(j.args.get("method") == "NATURAL" for j in tree.find_all(exp.Join))
    if natural or tree.find(exp.Pivot, exp.Summarize, exp.Describe):
        for source in bound.sources:
            source.every = True


def _rename_twins(bound: Bound) -> None:
    """Replace columns' names that differ only in case: to DuckDB they would be one."""
    groups: dict[str, set[str]] = {}
    for name in bound.column_names():
        groups.setdefault(name.upper(), set()).add(name)
    twins = {
        name: f"{name}\x1f{i}" for group in groups.values() if len(group) > 1 for i, name in enumerate(sorted(group))
    }
    if not twins:
        return
    for column in bound.tree.find_all(exp.Column):
        group = groups.get(column.name.upper(), set())
        if len(group) > 1 and column.name not in group and not column.this.args.get("quoted"):
            start, length = span(column.this)
            quoted = " or ".join(f'"{name}"' for name in sorted(group))
            message = f"{column.name} could be {quoted}: quote the one you mean"
            raise SqlError(point(bound.text, start, message, length))
    for name in bound.tree.find_all(exp.Identifier):
        if name.name in twins:
            name.set("this", twins[name.name])
    bound.originals = {replaced: name for name, replaced in twins.items()}


def _check_quoted(bound: Bound) -> None:
    """A quoted column name means exactly itself, which DuckDB would not mind."""
    tree = bound.tree
    columns = bound.column_names()
    exact = {*columns, *bound.originals}
    folded = {name.upper(): name for name in columns}
    for identifier in tree.find_all(exp.Identifier):
        if not isinstance(identifier.parent, exp.Column):
            exact.add(identifier.name)
    for column in tree.find_all(exp.Column):
        name = column.this
        if not isinstance(name, exp.Identifier) or not name.args.get("quoted") or name.name in exact:
            continue
        if name.name.upper() in folded:
            raise no_column(name.name, bound)


def _cheapest(schema: Schema) -> str:
    """The column that costs least to read, for statements that only count rows."""
    keys = schema.key_columns or schema.columns  # a view has no key
    fixed = [c for c in keys if c.type.kind not in ("STRING", "BINARY")]
    return (fixed or keys)[0].name
