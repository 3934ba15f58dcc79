"""Transactions that begin by themselves, with the first statement: as PEP 249, JDBC and ADBC have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..errors import UsageError
from ..faces import TransactionFace
from .result import Result
from .routing import begins_transaction, commits_by_themselves, one_by_one

#: Executes one text with its parameters.
Run = Callable[[str, Any], Result]


class Chained(Protocol):
    """A session of which each statement is part of a transaction."""

    @property
    def transaction(self) -> TransactionFace | None:
        """The transaction that is open, if one is."""

    def begin(self) -> None:
        """Open one."""

    def rollback(self) -> None:
        """Roll back what is open."""


def run_chained(session: Chained, run: Run, text: str, params: Any) -> Result:
    """Execute statements as parts of the session's transaction, which is begun where none is open.

    What cannot be part of one, such as CREATE TABLE, commits by itself.

    Raises:
        UsageError: such a statement, and there are changes to commit or to roll back first. Else what ``run`` raises.
    """
    alone = commits_by_themselves(text)
    if len(alone) < 2:
        return _run_one(session, run, text, params, any(alone))
    result = Result()
    for is_alone, (_, statement, values) in zip(alone, one_by_one(text, params, ""), strict=True):
        result = _run_one(session, run, statement.placed(), statement.marks.parameters(values), is_alone)
    return result


def _run_one(session: Chained, run: Run, text: str, params: Any, is_alone: bool) -> Result:
    transaction = session.transaction
    has_changes = transaction is not None and transaction.has_changes
    if is_alone and has_changes:
        raise UsageError(
            "there are changes that are not committed, and a statement that commits by itself, such as CREATE, "
            "ALTER or DROP TABLE, cannot be in one transaction with them: call commit() or rollback() before it"
        )
    if is_alone or (begins_transaction(text) and not has_changes):
        session.rollback()  # what was read
    elif session.transaction is None:
        session.begin()
    return run(text, params)
