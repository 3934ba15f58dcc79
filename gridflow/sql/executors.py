"""What carries out each kind of statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import TableNotFound
from . import alter, copying, ddl, dml, index_ddl, query, show, upkeep, users
from .create_filled import create_table_as
from .names import find_table
from .result import Result
from .statements import Prepared


def _change(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    return Result(rowcount=dml.execute_change(grid, statement, params), statement=statement.kind)


def _show(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    return show.execute(grid, statement.kind, statement.node, statement.text)


def _create_table(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    return Result(statement=statement.kind, notes=ddl.create_table(grid, statement.node))


def _alter_table(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    alter.alter_table(grid, statement.node, statement.text)
    return Result(statement=statement.kind)


def _drop_table(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    try:
        table = find_table(grid, statement.node.table, statement.text)
        grid.drop_table(table.name)
    except TableNotFound:
        if not statement.node.if_exists:
            raise
    return Result(statement=statement.kind)


def _create_index(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    index_ddl.create_index(grid, statement.node, statement.text)
    return Result(statement=statement.kind)


def _drop_index(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    index_ddl.drop_index(grid, statement.node, statement.text)
    return Result(statement=statement.kind)


def _user(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    users.execute(grid, statement.kind, statement.node)
    return Result(statement=statement.kind)


def _truncate(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    return Result(rowcount=upkeep.truncate(grid, statement.node, statement.text), statement="TRUNCATE TABLE")


def _analyze(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    upkeep.analyze(grid, statement.node, statement.text)
    return Result(statement=statement.kind, notes=[f"{statement.kind} has nothing to do: {upkeep.NO_STATISTICS}"])


def _kill(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    upkeep.kill(grid, statement.node)
    return Result(statement="KILL QUERY")


def _set(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    return Result(statement="SET STREAMING", notes=[upkeep.NO_STREAMING])


#: By ``Prepared.kind``.
EXECUTORS: dict[str, Callable[[Any, Prepared, dict[str, Any]], Result]] = {
    "SELECT": query.execute_query,
    "EXPLAIN": query.explain,
    **dict.fromkeys(("INSERT", "MERGE", "UPDATE", "DELETE"), _change),
    **dict.fromkeys(("SHOW", "DESCRIBE", "DESC"), _show),
    "CREATE TABLE": _create_table,
    "CREATE TABLE AS": create_table_as,
    "ALTER TABLE": _alter_table,
    "COPY": copying.execute_copy,
    "DROP TABLE": _drop_table,
    "CREATE INDEX": _create_index,
    "DROP INDEX": _drop_index,
    **dict.fromkeys(("CREATE USER", "ALTER USER", "DROP USER"), _user),
    "TRUNCATE": _truncate,
    **dict.fromkeys(("ANALYZE", "REFRESH STATISTICS", "DROP STATISTICS"), _analyze),
    "KILL": _kill,
    "SET": _set,
}
