"""Several tables as they all are at one moment: what a statement that reads more than one of them sees."""

from __future__ import annotations

import contextlib

from sqlglot import exp

from ...errors import SqlError, TableNotFoundError
from ...faces import GridFace, ReadableTable
from ..binding.find import find_relation
from ..binding.scopes import is_cte
from ..views.views import is_table


def at_one_moment(grid: GridFace, tables: list[ReadableTable]) -> list[ReadableTable]:
    """The same tables as they all are at one moment, to be read; a view shows the moment at which it is read."""
    several = list(filter(is_table, tables))
    if not several:
        return tables
    cut = iter(grid.together(several))
    return [next(cut) if is_table(table) else table for table in tables]


def take_moment(grid: GridFace, tree: exp.Expression, text: str) -> None:
    """Have a statement's transaction see all tables that the statement names as they are at one moment: now."""
    relations: dict[str, ReadableTable] = {}
    for node in tree.find_all(exp.Table):
        if isinstance(node.this, exp.Identifier) and not is_cte(node):
            with contextlib.suppress(TableNotFoundError, SqlError):  # the statement itself will say so
                relation = find_relation(grid, node, text)
                relations[relation.name] = relation
    at_one_moment(grid, list(relations.values()))
