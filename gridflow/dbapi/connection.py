"""A connection: a grid and the transaction on it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from ..deprecation import renamed
from ..grid import Grid
from ..open import connect as open_grid
from ..sql import Result, Session, begins_transaction
from . import errors
from .cursor import Cursor


def connect(
    home: str | os.PathLike[str] | Grid | None = None,
    *,
    autocommit: bool = True,
    grid: str | os.PathLike[str] | Grid | None = None,
    **options: Any,
) -> Connection:
    """Connect to a grid.

    Args:
        home: the directory of a grid, None for the default one; or an open grid, which stays open after the connection.
        autocommit: whether every statement commits by itself. PEP 249's default is False: the first statement begins a
            transaction, and ``commit`` or ``rollback`` ends it.
        grid: the old name of ``home``.
        options: those of ``gridflow.connect``: ``read_only``, ``durability``, ``embedded``, ``timeout``.

    Raises:
        OperationalError: the grid cannot be opened.
        ProgrammingError: an option is wrong.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home, connect(home) as connection:
    ...     cursor = connection.execute("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
    ...     cursor = connection.cursor().executemany("INSERT INTO T VALUES (?, ?)", [(1, "one"), (2, "two")])
    ...     connection.execute("SELECT NAME FROM T WHERE ID = :id", {"id": 2}).fetchone()
    ('two',)
    """
    with errors.translation():
        home = renamed("grid", grid, "home", home)
        if isinstance(home, Grid):
            if options:
                raise errors.ProgrammingError(f"an open grid takes no {', '.join(options)}")
            return Connection(home, owned=False, autocommit=autocommit)
        try:
            return Connection(open_grid(home, **options), owned=True, autocommit=autocommit)
        except TypeError as error:
            raise errors.ProgrammingError(str(error)) from None


class Connection:
    """A connection to a grid, from ``connect``. It owns the session, and the grid unless the caller opened that.

    Threads may share a connection and its transaction, each with cursors of its own; statements run one at a time.

    The end of a ``with`` block commits, or rolls back after an error, and closes. ``close`` alone rolls back.

    Attributes:
        grid: the grid, for calls that SQL does not have.
        autocommit: whether every statement commits by itself, unless BEGIN has begun a transaction; may be set.
    """

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(self, grid: Grid, *, owned: bool, autocommit: bool = True):
        self.grid = grid
        self.autocommit = autocommit
        self._owned = owned
        self._closed = False
        self._session = Session(grid)
        self._lock = threading.RLock()  # guards _session

    def __repr__(self) -> str:
        return f"<gridflow.dbapi.Connection {'(closed)' if self._closed else self.grid!r}>"

    def __enter__(self) -> Connection:
        self.check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
            else:
                self.rollback()
        finally:
            self.close()

    @property
    def in_transaction(self) -> bool:
        """Whether there is something to commit or to roll back."""
        return self._session.in_transaction

    def check_open(self) -> None:
        """Raise InterfaceError if the connection is closed."""
        if self._closed:
            raise errors.InterfaceError("the connection is closed")

    def cursor(self) -> Cursor:
        """A new cursor; a statement sees everything committed before."""
        self.check_open()
        return Cursor(self)

    def execute(self, operation: str, parameters: Any = None) -> Cursor:
        """A new cursor that has executed a statement."""
        return self.cursor().execute(operation, parameters)

    def run(self, text: str, parameters: Any) -> Result:
        """Execute statements in the open transaction; without autocommit one is begun first."""
        with self._lock, errors.translation():
            if not self._ensure_transaction() and not begins_transaction(text):
                return self.grid.sql(text, parameters)  # a client sends the text to the owner
            result = self._session.execute(text, parameters)
            result.warn()
            return result

    def run_many(self, text: str, sets: Iterable[Any]) -> Result:
        """Execute a statement with each of many sets of parameters."""
        with self._lock, errors.translation():
            self._ensure_transaction()
            return self._session.execute_many(text, sets)

    def _ensure_transaction(self) -> bool:
        """Begin a transaction if autocommit is off and none is open. Returns whether one is open now."""
        if not self.autocommit and not self._session.in_transaction:
            self._session.begin()
        return self._session.in_transaction

    def commit(self) -> None:
        """Commit the transaction; without one nothing happens.

        Raises:
            OperationalError: another writer was faster. Nothing of the transaction has happened.
        """
        self.check_open()
        with self._lock, errors.translation():
            self._session.commit()

    def rollback(self) -> None:
        """Take back what the transaction has changed; without one nothing happens."""
        self.check_open()
        with self._lock, errors.translation():
            self._session.rollback()

    def close(self) -> None:
        """Roll back and close the connection, and the grid if ``connect`` opened it. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with self._lock, errors.translation():
            self._session.rollback()
            if self._owned:
                self.grid.close()
