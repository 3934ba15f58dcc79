"""SQL over a grid, in Apache Ignite's dialect.

A ``Session`` executes texts and knows whether a transaction is open. A text is cut into statements and parsed
once (``statements``; the grammar is sqlglot's with our ``dialect``, and our own for tables and indexes, in ``ddl``
and ``index_ddl``), and ``executors`` says what carries out which. A query (``query``) finds its tables
(``names``), decides what to read (``plan``; ``indexes`` and ``spans``, where an index may tell) and lets DuckDB
(``engine``) compute over the mapped columns, without copying them; ``to_engine`` and ``from_engine`` carry types
across. A change (``dml``, ``insert``) works out keys and new values the same
way, or without the engine where literals say everything (``constants``, ``keys``), and hands them to the
table as one commit (``changes``). ``problems`` turns the engine's errors into ours. ``views`` shows the grid
itself as tables of schema SYS; ``users`` and ``upkeep`` are the statements that administer it.
"""

from __future__ import annotations

from typing import Any

from .result import Result
from .session import Session
from .text import Statement, begins_transaction, is_query, split_statements

__all__ = ["Result", "Session", "Statement", "begins_transaction", "execute", "is_query", "split_statements"]


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
    return Session(grid).execute(text, params)
