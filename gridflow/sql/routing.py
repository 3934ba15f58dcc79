"""Where the statements of a text run: in the process that has the text, or in the one that owns the grid.

The process itself runs queries, over mapped columns; a transaction, which sends its writes when it commits; and COPY,
whose files are those of the process. The owner runs all else. The first word of a statement tells which it is, so that
a text is parsed only in the process that runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

from .grammar.statements import prepare
from .text.cutter import is_query, split_statements
from .text.params import assign


class Route(Enum):
    """Where the statements of a text run."""

    HERE = auto()  #: in this process
    OWNER = auto()  #: in the process that owns the grid
    EACH = auto()  #: each statement goes its own way


def route(text: str, *, in_transaction: bool, node: str) -> Route:
    """Where a process that does not own the grid has a text run.

    Args:
        text: one statement, or several.
        in_transaction: whether a transaction is open here.
        node: the prefix of the ids of queries that run in this process.

    >>> [route(text, in_transaction=False, node="") for text in ("SELECT 1", "DROP TABLE T", "DROP TABLE T; COPY ...")]
    [<Route.HERE: 1>, <Route.OWNER: 2>, <Route.EACH: 3>]
    """
    if in_transaction or not isinstance(text, str):
        return Route.HERE
    statements = split_statements(text)
    words = [statement.word for statement in statements]
    if all(is_query(statement.text) for statement in statements) or begins_transaction(text):
        return Route.HERE
    if "COPY" in words:
        return Route.HERE if len(words) == 1 else Route.EACH
    return Route.HERE if words[0] == "KILL" and node in text else Route.OWNER


def begins_transaction(text: str) -> bool:
    """Whether one of a text's statements begins a transaction.

    >>> begins_transaction("DELETE FROM T; BEGIN"), begins_transaction("SELECT 'BEGIN'")
    (True, False)
    """
    return any(statement.word in ("BEGIN", "START") for statement in split_statements(text))


def copies_files(text: str) -> bool:
    """Whether a COPY is among a text's statements: it has to run in the process that has the files.

    >>> copies_files("COPY T TO 'out.csv'"), copies_files("SELECT 'COPY'")
    (True, False)
    """
    return any(statement.word == "COPY" for statement in split_statements(text))


def one_by_one(text: str, params: Any = None) -> Iterator[tuple[str, dict[str, Any] | list[Any]]]:
    """The statements of a text, each with its own parameters; every one stands in its line and column.

    >>> list(one_by_one("DELETE FROM T WHERE X = ?; COPY T TO ?", [1, "out.csv"]))[0]
    ('DELETE FROM T WHERE X = ?', [1])
    """
    statements = prepare(text)
    value_sets = assign([statement.marks for statement in statements], params)
    for prepared, values in zip(statements, value_sets, strict=True):
        assert prepared.statement is not None  # only a query within another statement has no place
        yield prepared.statement.placed(), (list(values.values()) if prepared.marks.positional else values)
