"""SQL over a grid, in Apache Ignite's dialect.

A text is cut into statements and parsed once (``statements``; the grammar is sqlglot's with our ``dialect``,
and our own for tables, in ``ddl``). A query (``query``) finds its tables (``names``), decides what to read
(``plan``) and lets DuckDB (``engine``) compute over the mapped columns, without copying them; ``to_engine``
and ``from_engine`` carry types across. A change (``dml``, ``insert``) works out keys and new values the same
way, or without the engine where literals say everything (``constants``, ``keys``), and hands them to the
table as one commit (``changes``). ``problems`` turns the engine's errors into ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import TableNotFound
from . import ddl, dml, query
from .names import find_table
from .params import assign
from .result import Result
from .statements import Prepared, prepare
from .text import Statement, is_query, split_statements

__all__ = ["Result", "Statement", "execute", "is_query", "split_statements"]


def execute(grid: Any, text: str, params: Any = None) -> Result:
    """Execute SQL on anything with the face of a Grid.

    Args:
        grid: the grid.
        text: one statement, or several with semicolons between them. Each is atomic and commits by itself;
            where one fails, those before it stay done.
        params: a list or tuple for ``?`` marks, a dict for ``:name`` marks.

    Returns:
        The result of the last statement.

    Raises:
        SqlError: a statement does not parse or cannot be run.
        TableNotFound, ColumnNotFound: it names what is not there.
        DuplicateKeyError: an INSERT meets a key that exists; nothing of it is kept.
        SchemaError: a value does not fit its column.

    Example:
        >>> import gridflow, tempfile
        >>> grid = gridflow.connect(tempfile.mkdtemp())
        >>> _ = execute(grid, "CREATE TABLE KITTEN_CACHE (ID LONG PRIMARY KEY, NAME VARCHAR)")
        >>> execute(grid, "INSERT INTO KITTEN_CACHE VALUES (1, 'WARM KITTY'), (2, ?)", ["SOFT KITTY"])
        INSERT: 2 rows
        >>> execute(grid, "SELECT NAME FROM KITTEN_CACHE WHERE ID = :id", {"id": 2}).fetchall()
        [('SOFT KITTY',)]
        >>> grid.close()
    """
    statements = prepare(text)
    assigned = assign([statement.marks for statement in statements], params)
    result = Result()
    for statement, values in zip(statements, assigned, strict=True):
        result = _EXECUTORS[statement.kind](grid, statement, values)
    return result


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


_EXECUTORS: dict[str, Callable[[Any, Prepared, dict[str, Any]], Result]] = {
    "SELECT": query.execute_query,
    "EXPLAIN": query.explain,
    **dict.fromkeys(("INSERT", "MERGE", "UPDATE", "DELETE"), _change),
    **dict.fromkeys(("SHOW", "DESCRIBE", "DESC"), _show),
    "CREATE TABLE": _create_table,
    "DROP TABLE": _drop_table,
}
