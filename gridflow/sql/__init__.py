"""SQL over a grid, in Apache Ignite's dialect.

A ``Session`` executes texts and knows whether a transaction is open. A text is cut into statements (``text``) and
parsed (``grammar``: sqlglot's with our ``dialect``, and our own for tables, indexes, users and COPY). Its names are
found in the grid (``binding``), among them the views of schema SYS (``views``), and it is decided how the rows of
each table are reached (``access``: by key, by an index, or all of them). ``execution`` has what carries out each
statement. A query is computed by DuckDB (``engine``) over the mapped columns, without copying them; a change is
worked out the same way, or without the engine where literals say everything, and handed to the table as one commit;
one that is executed again may go there straight (``execution.fast_path``). COPY reads and writes files with
``storage.formats``.

The rooms import from each other in this order: text, engine, grammar, views, binding, access, execution.
"""

from __future__ import annotations

from typing import Any

from ..faces import GridFace
from .execution.copy import execute_copy
from .execution.describe import Description, describe
from .grammar.prepared import Prepared
from .implicit import run_chained
from .result import Result
from .routing import Route, one_by_one, route, runs_elsewhere
from .session import FastPaths, Session
from .text.cutter import Statement, is_query, split_statements
from .text.progress import Progress, Report

__all__ = [
    "Description",
    "FastPaths",
    "Prepared",
    "Progress",
    "Report",
    "Result",
    "Route",
    "Session",
    "Statement",
    "describe",
    "execute",
    "execute_copy",
    "is_query",
    "one_by_one",
    "route",
    "run_chained",
    "runs_elsewhere",
    "split_statements",
]


def execute(grid: GridFace, text: str, params: Any = None, progress: Report | None = None) -> Result:
    """Execute SQL on anything with the face of a Grid.

    Args:
        grid: the grid.
        text: one statement, or several with semicolons between them. Each is atomic and commits by itself;
            where one fails, those before it stay done.
        params: a list or tuple for ``?`` marks, a dict for ``:name`` marks.
        progress: called with a ``Progress`` now and then while COPY reads or writes a file.

    Returns:
        The result of the last statement.

    Raises:
        SqlError: a statement does not parse or cannot be run.
        TableNotFoundError, ColumnNotFoundError: it names what is not there.
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
    return Session(grid).execute(text, params, progress)
