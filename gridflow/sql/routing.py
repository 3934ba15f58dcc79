"""Where the statements of a text run: in the process that has the text, or in the one that owns the grid.

The process itself runs queries, over mapped columns; a transaction, which sends its writes when it commits; COPY, whose
files are those of the process; and SET, which is about its own statements. The owner runs all else. The first word of a
statement tells which it is, so that a text is parsed in the process that runs it, and there alone. Only where COPY or
SET stands among statements of another kind is it parsed before, since each statement then has its own parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from .grammar.prepared import Prepared
from .grammar.statements import prepare
from .text.cutter import is_query, split_statements
from .text.params import assign

#: Characters of a text up to which it is remembered where it runs.
_LONGEST_KEPT = 4096
_BEGIN = frozenset({"BEGIN", "START"})
#: Statements that run in the process that has the text, whatever stands beside them.
_OWN = frozenset({"COPY", "SET"})
#: First words of what can be part of a transaction, besides queries, or begins or ends one.
_PARTS = (
    _OWN
    | _BEGIN
    | {"COMMIT", "ROLLBACK", "INSERT", "MERGE", "UPDATE", "DELETE", "EXPLAIN", "SHOW", "DESCRIBE", "DESC", "KILL"}
)
#: Kinds of statements that change rows or only read; every other commits by itself, and can be in no transaction.
IN_TRANSACTION = (
    *("SELECT", "EXPLAIN", "INSERT", "MERGE", "UPDATE", "DELETE", "COPY", "SHOW", "DESCRIBE", "DESC"),
    *("ANALYZE", "REFRESH STATISTICS", "DROP STATISTICS", "KILL", "SET"),
)
#: Kinds that begin or end one.
CONTROLS = ("BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK")


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
    # What is executed again and again is short; of what is long a cache would keep too much.
    way, first_word = (_way if len(text) <= _LONGEST_KEPT else _way.__wrapped__)(text)
    return Route.HERE if first_word == "KILL" and node in text else way


@lru_cache(512)
def _way(text: str) -> tuple[Route, str]:
    """Where a text runs outside of a transaction, unless it ends a query of this process; and its first word."""
    statements = split_statements(text)
    words = [statement.word for statement in statements]
    if all(is_query(statement.text) for statement in statements) or not _BEGIN.isdisjoint(words):
        return Route.HERE, ""
    if not _OWN.isdisjoint(words):
        return Route.HERE if len(words) == 1 else Route.EACH, ""
    return Route.OWNER, words[0]


@lru_cache(512)
def _elsewhere(text: str) -> bool:
    return (_BEGIN | _OWN | {"COMMIT", "ROLLBACK"}).isdisjoint(part.word for part in split_statements(text))


def runs_elsewhere(text: str) -> bool:
    """Whether a process that has only the text of a grid can have another run all of it.

    >>> runs_elsewhere("SELECT 1; DELETE FROM T"), runs_elsewhere("BEGIN"), runs_elsewhere("COPY T TO 'a.csv'")
    (True, False, False)
    """
    if not isinstance(text, str):
        return False  # an error, for who executes it to raise
    return (_elsewhere if len(text) <= _LONGEST_KEPT else _elsewhere.__wrapped__)(text)


def commits_by_themselves(text: str) -> list[bool]:
    """Of each statement of a text, whether it commits by itself, and so cannot be part of a transaction.

    >>> commits_by_themselves("DELETE FROM T; DROP TABLE T; SELECT 1; COMMIT")
    [False, True, False, False]
    """
    if not isinstance(text, str):
        return []  # an error, for who executes it to raise
    alone = [not (is_query(part.text) or part.word in _PARTS) for part in split_statements(text)]
    return [part.kind not in (*IN_TRANSACTION, *CONTROLS) for part in prepare(text)] if any(alone) else alone


def begins_transaction(text: str) -> bool:
    """Whether one of a text's statements begins a transaction.

    >>> begins_transaction("DELETE FROM T; BEGIN"), begins_transaction("SELECT 'BEGIN'")
    (True, False)
    """
    return isinstance(text, str) and any(statement.word in _BEGIN for statement in split_statements(text))


def one_by_one(text: str, params: Any, node: str) -> Iterator[tuple[Route, Prepared, dict[str, Any]]]:
    """The statements of a text of ``Route.EACH``: where each runs, the statement, and mark -> value.

    >>> [(way.name, statement.kind) for way, statement, _ in one_by_one("DROP TABLE T; COPY T TO 'a.csv'", None, "")]
    [('OWNER', 'DROP TABLE'), ('HERE', 'COPY')]
    """
    statements = prepare(text)
    value_sets = assign([statement.marks for statement in statements], params)
    for prepared, values in zip(statements, value_sets, strict=True):
        assert prepared.statement is not None  # only a query within another statement has no place
        yield route(prepared.statement.text, in_transaction=False, node=node), prepared, values
