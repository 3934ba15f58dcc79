"""SQL over a grid, in Apache Ignite's dialect.

A ``Session`` executes texts and knows whether a transaction is open. A text is cut into statements and parsed
once (``statements``; the grammar is sqlglot's with our ``dialect``, and our own for tables and indexes, in ``ddl``,
``alter`` and ``index_ddl``), and ``executors`` says what carries out which. A query (``query``) finds its tables
(``names``, ``pseudo``), decides what to read (``plan``; by key ``keys`` and ``lookups``; ``indexes`` and ``spans``,
where an index may tell) and lets DuckDB (``engine``) compute over the mapped columns, without copying them;
``to_engine`` and ``from_engine`` carry types across. A change (``dml``, ``insert``, ``merge``) works out keys and new
values the same way, or without the engine where literals say everything (``constants``), and hands them to the table
as one commit (``changes``); one that is executed again may go there straight (``shortcut``). COPY (``copying``) reads
and writes files with ``storage.formats``. ``problems`` turns the engine's errors into ours, ``spelling`` finds what
was meant. ``views`` shows the grid itself as tables of schema SYS; ``users`` and ``upkeep`` are the statements that
administer it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .params import assign
from .progress import Progress, Report
from .result import Result
from .session import Session
from .statements import prepare
from .text import Statement, begins_transaction, is_query, split_statements

__all__ = [
    "Progress",
    "Report",
    "Result",
    "Session",
    "Statement",
    "begins_transaction",
    "copies_files",
    "execute",
    "is_query",
    "one_by_one",
    "split_statements",
]


def execute(grid: Any, text: str, params: Any = None, progress: Report | None = None) -> Result:
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
    return Session(grid).execute(text, params, progress)


def copies_files(text: str) -> bool:
    """Whether a COPY is among the statements, which has to run where its files are.

    >>> copies_files("COPY T TO 'out.csv'"), copies_files("SELECT 'COPY'")
    (True, False)
    """
    return "COPY" in text.upper() and any(statement.kind == "COPY" for statement in prepare(text))


def one_by_one(text: str, params: Any = None) -> Iterator[tuple[str, dict[str, Any] | list[Any]]]:
    """The statements of a text, each with its own parameters; every one stands in its line and column.

    >>> list(one_by_one("DELETE FROM T WHERE X = ?; COPY T TO ?", [1, "out.csv"]))[0]
    ('DELETE FROM T WHERE X = ?', [1])
    """
    statements = prepare(text)
    assigned = assign([statement.marks for statement in statements], params)
    for part, statement, values in zip(split_statements(text), statements, assigned, strict=True):
        placed = "\n" * (part.line - 1) + " " * (part.column - 1) + part.text
        yield placed, (list(values.values()) if statement.marks.positional else values)
