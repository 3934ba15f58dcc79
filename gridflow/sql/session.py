"""A session: statements one after the other, and the transaction that may be open between them."""

from __future__ import annotations

from typing import Any

from ..errors import GridflowError, SqlError, TransactionConflictError
from .executors import EXECUTORS
from .params import assign
from .result import Result
from .secrets import hide_passwords
from .statements import Prepared, own_text, prepare
from .text import point

#: What changes rows or only looks; all else commits by itself and so cannot be part of a transaction.
IN_TRANSACTION = ("SELECT", "EXPLAIN", "INSERT", "MERGE", "UPDATE", "DELETE", "SHOW", "DESCRIBE", "DESC")
IN_TRANSACTION += ("ANALYZE", "REFRESH STATISTICS", "DROP STATISTICS", "KILL", "SET")

#: How often a statement runs at most, where others write the rows that it has read.
TRIES = 4


class Session:
    """Executes SQL on anything with the face of a Grid. One thread uses it at a time.

    Args:
        grid: the grid; the caller closes it.
    """

    def __init__(self, grid: Any):
        self.grid = grid
        self._transaction: Any = None

    @property
    def in_transaction(self) -> bool:
        """Whether BEGIN was executed and neither COMMIT nor ROLLBACK since."""
        return self._transaction is not None

    def execute(self, text: str, params: Any = None) -> Result:
        """Execute one statement, or several with semicolons between them; see ``gridflow.sql.execute``."""
        activity = self.grid.activity
        try:
            statements = prepare(text)
            assigned = assign([statement.marks for statement in statements], params)
        except GridflowError as error:
            activity.end(activity.begin(own_text(hide_passwords(str(text))), ""), 0, error)
            raise
        result = Result()
        notes: tuple[str, ...] = ()
        for statement, values in zip(statements, assigned, strict=True):
            run = activity.begin(statement.own_text, statement.kind)
            try:
                result = self._one(statement, values)
            except BaseException as error:
                if not activity.was_cancelled(run):
                    activity.end(run, 0, error)
                    raise
                error = SqlError(f"query {activity.query_id(run[0])} was cancelled by KILL QUERY")
                activity.end(run, 0, error)
                raise error from None
            activity.end(run, result.rowcount)
            notes += result.notes
        result.notes = notes
        return result

    def _one(self, statement: Prepared, values: dict[str, Any]) -> Result:
        kind = statement.kind
        if kind in _CONTROLS:
            _CONTROLS[kind](self, statement)
            return Result(statement=kind)
        if self._transaction is None:
            if kind in ("UPDATE", "DELETE") and hasattr(self.grid, "transaction"):
                return self._change(statement, values)
            return EXECUTORS[kind](self.grid, statement, values)
        if kind not in IN_TRANSACTION:
            raise SqlError(f"{kind} cannot be part of a transaction: COMMIT or ROLLBACK first")
        return EXECUTORS[kind](self._transaction, statement, values)

    def _change(self, statement: Prepared, values: dict[str, Any]) -> Result:
        """A change that follows from what it reads: again, if a row that it read was written by somebody meanwhile."""
        for tries_left in reversed(range(TRIES)):
            # The last time without the others.
            transaction = self.grid.transaction(of_statement=True, alone=not tries_left)
            try:
                with transaction:
                    return EXECUTORS[statement.kind](transaction, statement, values)
            except TransactionConflictError:
                if not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    def begin(self) -> None:
        """Begin a transaction, as BEGIN does.

        Raises:
            SqlError: one is open already.
        """
        if self._transaction is not None:
            raise SqlError("a transaction is open already: COMMIT or ROLLBACK ends it")
        begin = getattr(self.grid, "transaction", None)
        if begin is None:
            raise SqlError("BEGIN: this is inside a transaction already")
        self._transaction = begin()

    def commit(self) -> None:
        """Commit, as COMMIT does; without a transaction nothing happens.

        Raises:
            TransactionConflictError: another writer was faster. The transaction is over and nothing of it has happened.
        """
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.commit()

    def rollback(self) -> None:
        """Roll back, as ROLLBACK does; without a transaction nothing happens."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.rollback()


def _begin(session: Session, statement: Prepared) -> None:
    session.begin()


def _commit(session: Session, statement: Prepared) -> None:
    _check_open(session, statement)
    session.commit()


def _rollback(session: Session, statement: Prepared) -> None:
    _check_open(session, statement)
    session.rollback()


def _check_open(session: Session, statement: Prepared) -> None:
    if not session.in_transaction:
        message = f"{statement.kind} without a transaction: BEGIN opens one"
        raise SqlError(point(statement.text, statement.node.start, message, len(statement.kind)))


_CONTROLS = {"BEGIN": _begin, "START TRANSACTION": _begin, "COMMIT": _commit, "ROLLBACK": _rollback}
