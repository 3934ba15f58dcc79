"""Several tables as they all are at one moment: what a statement that reads more than one of them sees."""

from __future__ import annotations

import contextlib
from typing import Any

from sqlglot import exp

from ...errors import SqlError, TableNotFound
from ..binding.find import find_source
from ..binding.scopes import is_cte
from ..views.views import SystemView


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
        if isinstance(node.this, exp.Identifier) and not is_cte(node):
            with contextlib.suppress(TableNotFound, SqlError):  # who reads it will say so
                source = find_source(grid, node, text)
                found[source.name] = source
    at_one_moment(grid, list(found.values()))
