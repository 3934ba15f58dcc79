"""What carries out each kind of statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import TableNotFound
from . import copying, ddl, dml, query
from .names import find_table
from .result import Result
from .statements import Prepared


def _change(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    return Result(rowcount=dml.execute_change(grid, statement, params), statement=statement.kind)


def _show(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    return query.show(grid, statement)


def _create_table(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    ddl.create_table(grid, statement.node)
    return Result(statement=statement.kind)


def _drop_table(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    try:
        table = find_table(grid, statement.node.table, statement.text)
        grid.drop_table(table.name)
    except TableNotFound:
        if not statement.node.if_exists:
            raise
    return Result(statement=statement.kind)


#: By ``Prepared.kind``.
EXECUTORS: dict[str, Callable[[Any, Prepared, dict[str, Any]], Result]] = {
    "SELECT": query.execute_query,
    "EXPLAIN": query.explain,
    **dict.fromkeys(("INSERT", "MERGE", "UPDATE", "DELETE"), _change),
    **dict.fromkeys(("SHOW", "DESCRIBE", "DESC"), _show),
    "CREATE TABLE": _create_table,
    "COPY": copying.execute_copy,
    "DROP TABLE": _drop_table,
}
