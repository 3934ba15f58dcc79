"""Several tables as they all are at one moment: what a statement that reads more than one of them sees."""

from __future__ import annotations

import contextlib

from sqlglot import exp

from ...errors import GridAccessError, SqlError, TableNotFoundError
from ...faces import GridFace, ReadableTable
from ..binding.find import find_relation
from ..binding.scopes import is_cte
from ..binding.versions import past_relation, take_version
from ..views.views import is_table


def at_one_moment(grid: GridFace, tables: list[ReadableTable]) -> list[ReadableTable]:
    """The same tables as they all are at one moment, to be read; a view shows the moment at which it is read."""
    several = list(filter(is_table, tables))
    if not several:
        return tables
    cut = iter(grid._together(several))
    return [next(cut) if is_table(table) else table for table in tables]


def take_moment(grid: GridFace, tree: exp.Expression, text: str) -> None:
    """Have a statement's transaction see all tables that the statement names as they are at one moment: now.

    The past versions that it names are opened before: what has to be flushed may be a version more, and then the oldest
    one goes.

    Raises:
        VersionNotFoundError: there is no such version.
    """
    relations: dict[str, ReadableTable] = {}
    for node in tree.find_all(exp.Table):
        if isinstance(node.this, exp.Identifier) and not is_cte(node):
            with contextlib.suppress(TableNotFoundError, GridAccessError, SqlError):  # the statement itself will say so
                name = node.copy()
                version = take_version(name, None, text)
                relation = find_relation(grid, name, text)
                if version is None:
                    relations[relation.name] = relation
                else:
                    past_relation(relation, version, name, text)
    at_one_moment(grid, list(relations.values()))
