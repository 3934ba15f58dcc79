"""Session: statements and writes one after the other, and the transaction that may be open between them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from .contexts import FORKED, Mark, Place, ends_with_its_call, unmarked
from .errors import GridClosedError

if TYPE_CHECKING:
    from .faces import Report, TransactionFace
    from .grid import Grid  # circle: a session is made by its handle, and runs its statements there
    from .sql import Result
    from .sql import Session as SqlSession
    from .table import Table
    from .transaction import TransactionTable

_REMEDY = (
    'session.sql("BEGIN") has opened it; write with session.sql or session.table(...), which are part of it, or end '
    'it before, with session.sql("COMMIT")'
)
#: How a warning of changes that nobody has committed begins.
ROLLED_BACK = "changes were not committed, and are rolled back"


class Lost(NamedTuple):
    """Changes that nobody has committed.

    Attributes:
        place: where their transaction was begun.
        advice: what would have kept them.
    """

    place: Place
    advice: str

    def warn(self) -> None:
        """Warn of it; only when nothing is left to be done, as a warning may be an error."""
        self.place.warn(f"{ROLLED_BACK}: {self.advice}")


class Session:
    """Statements and writes of one user, with a transaction of their own; made by ``Grid.session``, a context manager.

    ``session.sql("BEGIN")`` opens a transaction, or ``session.begin()``. Until ``COMMIT`` or ``ROLLBACK`` all
    statements of ``session.sql`` are part of it, and ``session.table(name)`` is the transaction's table; else each
    commits by itself. The end of a ``with`` block rolls back what was not committed, and warns of it.

    A session belongs to no thread or task. Several may use it, for one call after the other: a call waits for another's
    end. In asyncio use it, with ``asyncio.to_thread(session.sql, ...)``, and not ``grid.sql("BEGIN")``.

    Args:
        grid: the handle that has made it.
        marks: whether writes past its transaction, in the context that has begun it, are refused.
        advice: what a warning of changes that were not committed says.

    Attributes:
        grid: the handle that has made it.
    """

    def __init__(self, grid: Grid, *, marks: bool = True, advice: str = "session.commit() keeps them"):
        self.grid = grid
        self._marks = marks
        self._advice = advice
        self._mark: Mark | None = None
        self._closed = False
        self._over = "the session is closed; grid.session() makes another"  # what is said once it is
        self._place: Place | None = None  # where its transaction was begun
        self._lock = threading.RLock()  # guards _session, and orders the calls
        mine = weakref.ref(self)  # so that it goes at once with who has it

        def changed(_: SqlSession) -> None:
            session = mine()
            if session is not None:
                session._begins_or_ends()

        self._session = grid.open_grid._sql_session(changed=changed)
        grid._keep(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "in a transaction" if self.in_transaction else "open"
        return f"<gridflow.Session on {self.grid.home} ({state})>"

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._drop()
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_session"):
            lost = self._drop()
            if lost is not None:
                lost.warn()

    def _begins_or_ends(self) -> None:
        mark, self._mark = self._mark, None
        if mark is not None:
            self.grid._marks.leave(mark)
        transaction = self._session.transaction
        self._place = None if transaction is None else Place.of_call()
        if transaction is not None and self._marks and not ends_with_its_call():
            self._mark = self.grid._marks.enter(transaction, _REMEDY)

    def _check_open(self) -> None:
        self.grid.check_open()
        if self._closed:
            raise GridClosedError(self._over)

    @property
    def transaction(self) -> TransactionFace | None:
        """The transaction that is open, if one is."""
        return self._session.transaction

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._session.in_transaction

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to commit."""
        transaction = self._session.transaction
        return transaction is not None and transaction.has_changes

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Result:
        """Run SQL in the session; see ``Grid.sql``."""
        with self._lock:
            self._check_open()
            with unmarked():
                result = self.grid._run_sql(self._session, text, params, progress)
        result.warn()
        return result

    def sql_many(self, text: str, sets: Iterable[Any]) -> Result:
        """Run an INSERT, MERGE, UPDATE or DELETE with each of many sets of parameters, all as one commit.

        Args:
            text: one statement.
            sets: the parameters of each execution, as ``sql`` takes them.

        Returns:
            A Result; its ``rowcount`` is that of all executions together.

        Raises:
            SqlError: the text is another statement, or several. Else as ``sql``.
        """
        with self._lock:
            self._check_open()
            with unmarked():
                return self._session.execute_many(text, sets)

    def table(self, name: str) -> Table | TransactionTable:
        """The table of a name: the transaction's, where one is open, else the grid's.

        A table of the grid that was asked for before BEGIN refuses writes after it: ask again.
        """
        with self._lock:
            transaction = self._session.transaction
            self._check_open()  # after the look: who closes it says so first
            return self.grid.table(name) if transaction is None else transaction.table(name)  # type: ignore[return-value]

    def begin(self) -> None:
        """Open a transaction, as ``sql("BEGIN")`` does.

        Raises:
            SqlError: one is open already.
        """
        with self._lock:
            self._check_open()
            self._session.begin()

    def commit(self) -> None:
        """Commit, as ``sql("COMMIT")`` does; without a transaction nothing happens.

        Raises:
            TransactionConflictError: another writer was faster. The transaction is over and nothing of it has happened.
        """
        with self._lock:
            self._check_open()
            self._session.commit()

    def rollback(self) -> None:
        """Roll back, as ``sql("ROLLBACK")`` does; without a transaction nothing happens."""
        with self._lock:
            self._session.rollback()

    def close(self) -> None:
        """Roll back what is open, with a warning if that takes changes back. A second call does nothing."""
        lost = self._drop()
        if lost is not None:
            lost.warn()

    def _drop(self) -> Lost | None:
        """Roll back what is open, and close; a call under way fails. Returns what is to be warned of."""
        place = self._place if self.has_changes else None
        self._closed = True
        self._session.drop(self._over)
        mark, self._mark = self._mark, None
        if mark is not None:  # of a session that is garbage
            self.grid._marks.leave(mark)
        return None if place is None else Lost(place, self._advice)

    def _forked(self) -> None:
        """In a forked child: the session is the parent's."""
        self._lock = threading.RLock()
        self._over, self._closed, self._mark = FORKED, True, None
        self._session.forked(FORKED)
