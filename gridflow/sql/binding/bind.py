"""Binding: the tables of a grid that a statement's names mean, and the columns that it needs of each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from sqlglot import exp

from ...faces import GridFace, ReadableTable
from ...schema import Schema
from ..grammar.functions import call_bare
from ..grammar.nesting import stack_need
from ..grammar.schemas import PUBLIC_SCHEMA, SYSTEM_SCHEMA
from ..text.params import MarkList
from ..text.places import place_of, syntax_error
from ..views.views import SystemView
from .allowed import check_table_functions
from .bound import Bound, BoundTable, no_column
from .find import find_relation
from .lists import bind_lists
from .pseudo import spell_out
from .scopes import is_cte
from .versions import past_relation, refuse_version_of, take_version

#: Of registered tables: no two have a name in common, so that a view may outlive its statement.
_numbers = itertools.count()


def bind(
    tree: exp.Expression,
    grid: GridFace,
    text: str,
    target: ReadableTable | None = None,
    params: Mapping[str, Any] | None = None,
) -> Bound:
    """Find a statement's tables and the columns that it needs of each.

    A column counts as needed if its name occurs anywhere in the statement, in any role, or if a ``*`` or something as
    wide covers its table: there may be too many columns, but never too few.

    Args:
        tree: the statement; it stays as it is.
        grid: the grid that has the tables.
        text: the statement, for messages.
        target: the table of a node that is marked as the target; None to find it by its name.
        params: mark -> value, for versions of tables that are parameters; None: they cannot be.

    Raises:
        TableNotFoundError, SqlError: see ``find_table``.
        VersionNotFoundError: there is no such version.
    """
    check_table_functions(tree)
    tree = tree.copy()
    sources: dict[tuple[str, bool], BoundTable] = {}
    of_node: dict[int, BoundTable] = {}
    labels: dict[str, list[BoundTable]] = {}
    exact = True
    version_marks: frozenset[str] = frozenset()
    for node in list(tree.find_all(exp.Table)):
        if not isinstance(node.this, exp.Identifier) or is_cte(node):
            refuse_version_of(f"{node.name}, a query of WITH," if is_cte(node) else "a function", node, text)
            continue
        if node.name.upper() == "DUAL" and not node.db and "DUAL" not in grid.tables():
            refuse_version_of("DUAL", node, text)
            _replace_dual(node)
            exact = False
            continue
        is_target = bool(node.meta.get("target"))
        if node.args.get("when") is not None:
            version_marks |= marks_of(node.args["when"])
        version = None if is_target else take_version(node, params, text)
        table = target if is_target and target is not None else find_relation(grid, node, text)
        exact = exact and (table.name == node.name or isinstance(table, SystemView))
        own_name = table.name
        if version is not None:
            table = past_relation(table, version, node, text)
        source = sources.setdefault(
            (table.name, is_target),
            BoundTable(
                *(table.name, table.schema, f"gridflow_{next(_numbers)}"),
                target=is_target,
                version=version,
                table=own_name,
            ),
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
    if version_marks:
        bound.exact = False  # a plan is for one version
        bound.version_marks = version_marks - marks_of(tree)
    _mark_wide(tree, bound, of_node, labels)
    _rename_twins(bound)
    _check_quoted(bound)
    # After a rename the tree holds replaced names; `originals` gives the columns they stand for.
    names_in_text = {bound.originals.get(i.name, i.name).upper() for i in tree.find_all(exp.Identifier)}
    for source in bound.sources:
        names = source.schema.names
        source.columns = [n for n in names if source.every or n.upper() in names_in_text] or [_cheapest(source.schema)]
    for column in tree.find_all(exp.Column):
        column.set("db", None) if column.text("db").upper() in (PUBLIC_SCHEMA, SYSTEM_SCHEMA) else None
    bind_lists(bound)
    bound.stack = stack_need(tree)
    return bound


def marks_of(tree: exp.Expression) -> frozenset[str]:
    """The marks that a statement has."""
    marks = {mark.name for mark in tree.find_all(exp.Placeholder)}
    return frozenset(marks.union(*(node.names for node in tree.find_all(MarkList))))


def _replace_dual(node: exp.Table) -> None:
    row = exp.Subquery(this=exp.select("1 AS DUMMY"))
    row.set("alias", exp.TableAlias(this=exp.to_identifier(node.alias or "DUAL", quoted=True)))
    node.replace(row)


def _mark_wide(
    tree: exp.Expression, bound: Bound, of_node: dict[int, BoundTable], labels: dict[str, list[BoundTable]]
) -> None:
    """Mark the tables that are needed with all columns: by ``*``, ``t.*``, a row as a value, NATURAL JOIN."""
    by_scope: dict[int, list[BoundTable]] = {}
    for table in tree.find_all(exp.Table):
        if id(table) in of_node:
            by_scope.setdefault(id(table.find_ancestor(exp.Select)), []).append(of_node[id(table)])
    for star in tree.find_all(exp.Star, exp.Columns):
        parent = star.parent
        if isinstance(parent, exp.Count):
            continue
        if isinstance(parent, exp.Column):
            covered = labels.get(parent.table.upper(), [])
        else:
            covered = by_scope.get(id(star.find_ancestor(exp.Select)), [])
        for source in covered:
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
    """Replace names of columns that differ only in case: DuckDB would take them for one."""
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
            start, length = place_of(column.this)
            quoted = " or ".join(f'"{name}"' for name in sorted(group))
            message = f"{column.name} could be {quoted}: quote the one you mean"
            raise syntax_error(bound.text, start, message, length)
    for identifier in bound.tree.find_all(exp.Identifier):
        if identifier.name in twins:
            identifier.set("this", twins[identifier.name])
    bound.originals = {replaced: name for name, replaced in twins.items()}


def _check_quoted(bound: Bound) -> None:
    """Refuse a quoted column name that fits only without regard to case, which DuckDB would take."""
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
    """The column that is cheapest to read, for a statement that only counts rows."""
    keys = schema.key_columns or schema.columns  # a view has no key
    of_fixed_width = [c for c in keys if c.type.kind not in ("STRING", "BINARY")]
    return (of_fixed_width or keys)[0].name
