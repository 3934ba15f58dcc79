"""What carries out each kind of statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from ...faces import GridFace, TransactionFace
from ..grammar.prepared import Prepared
from ..result import Result
from . import create_index, upkeep
from .alter_table import alter_table
from .copy import execute_copy
from .create_table import create_table, drop_table
from .create_table_as import create_table_as
from .grants import change_grants
from .insert import execute_insert
from .query import execute_query, explain
from .show import show
from .update_delete import execute_change
from .users import change_user


def _insert(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    return Result(rowcount=execute_insert(grid, statement, params), statement=statement.kind)


def _change(grid: TransactionFace, statement: Prepared, params: dict[str, Any]) -> Result:
    return Result(rowcount=execute_change(grid, statement, params), statement=statement.kind)


def _merge(grid: Any, statement: Prepared, params: dict[str, Any]) -> Result:
    return (_change if isinstance(statement.node, exp.Merge) else _insert)(grid, statement, params)


def _show(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    return show(grid, statement.kind, statement.node, statement.text)


def _create_table(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    return Result(statement=statement.kind, notes=create_table(grid, statement.node))


def _alter_table(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    alter_table(grid, statement.node, statement.text)
    return Result(statement=statement.kind)


def _drop_table(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    drop_table(grid, statement.node, statement.text)
    return Result(statement=statement.kind)


def _create_index(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    create_index.create_index(grid, statement.node, statement.text)
    return Result(statement=statement.kind)


def _drop_index(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    create_index.drop_index(grid, statement.node, statement.text)
    return Result(statement=statement.kind)


def _user(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    change_user(grid, statement.kind, statement.node)
    return Result(statement=statement.kind)


def _grant(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    change_grants(grid, statement.node, statement.text)
    return Result(statement=statement.kind)


def _truncate(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    return Result(rowcount=upkeep.truncate(grid, statement.node, statement.text), statement="TRUNCATE TABLE")


def _analyze(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    upkeep.analyze(grid, statement.node, statement.text)
    return Result(statement=statement.kind, notes=[f"{statement.kind} has nothing to do: {upkeep.NO_STATISTICS}"])


def _kill(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    upkeep.kill(grid, statement.node)
    return Result(statement="KILL QUERY")


def _set(grid: GridFace, statement: Prepared, params: dict[str, Any]) -> Result:
    if statement.node is None:
        return Result(statement="SET STREAMING", notes=[upkeep.NO_STREAMING])
    upkeep.set_limit(grid, statement.node)
    return Result(statement="SET")


#: By ``Prepared.kind``.
EXECUTORS: dict[str, Callable[[Any, Prepared, dict[str, Any]], Result]] = {
    "SELECT": execute_query,
    "EXPLAIN": explain,
    "INSERT": _insert,
    "MERGE": _merge,
    **dict.fromkeys(("UPDATE", "DELETE"), _change),
    **dict.fromkeys(("SHOW", "DESCRIBE", "DESC"), _show),
    "CREATE TABLE": _create_table,
    "CREATE TABLE AS": create_table_as,
    "ALTER TABLE": _alter_table,
    "COPY": execute_copy,
    "DROP TABLE": _drop_table,
    "CREATE INDEX": _create_index,
    "DROP INDEX": _drop_index,
    **dict.fromkeys(("CREATE USER", "ALTER USER", "DROP USER"), _user),
    **dict.fromkeys(("GRANT", "REVOKE"), _grant),
    "TRUNCATE": _truncate,
    **dict.fromkeys(("ANALYZE", "REFRESH STATISTICS", "DROP STATISTICS"), _analyze),
    "KILL": _kill,
    "SET": _set,
}
