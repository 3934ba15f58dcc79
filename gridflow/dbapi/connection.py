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
from ..session import Session
from ..sql import Result, run_chained
from . import errors
from .cursor import Cursor

_ADVICE = "connection.commit() keeps them, and with connect(autocommit=True) each statement commits by itself"


def connect(
    home: str | os.PathLike[str] | Grid | None = None,
    *,
    autocommit: bool = False,
    grid: str | os.PathLike[str] | Grid | None = None,
    **options: Any,
) -> Connection:
    """Connect to a grid.

    Args:
        home: the directory of a grid, None for the default one; or an open grid, which stays open after the connection.
        autocommit: whether every statement commits by itself. False, PEP 249's default: the first statement begins a
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
    ...     connection.commit()
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

    Without ``autocommit`` the first statement begins a transaction, a query too: until ``commit`` or ``rollback`` the
    connection sees the grid as it was then, and its own changes. A statement that cannot be part of a transaction, such
    as CREATE TABLE, commits by itself, and is an error where there are changes to commit or to roll back first.

    The end of a ``with`` block commits, or rolls back after an error, and closes. ``close`` alone rolls back, and warns
    if that takes changes back.

    Attributes:
        grid: the grid, for calls that SQL does not have. They are no part of the transaction.
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

    def __init__(self, grid: Grid, *, owned: bool, autocommit: bool):
        self.grid = grid
        self._autocommit = autocommit
        self._owned = owned
        self._closed = False
        self._session = Session(grid, marks=False, advice=_ADVICE)
        self._lock = threading.RLock()  # a statement that begins a transaction is one step

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
        """Whether a transaction is open."""
        return self._session.in_transaction

    @property
    def autocommit(self) -> bool:
        """Whether each statement commits by itself, unless BEGIN has begun a transaction; to set it to True commits."""
        return self._autocommit

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self.check_open()
        with self._lock, errors.translation():
            if value:
                self._session.commit()
            self._autocommit = bool(value)

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
        """Execute statements; without autocommit in the open transaction, which is begun first."""
        _check_text(text)
        with self._lock, errors.translation():
            if self._autocommit:
                result: Result = self._session.sql(text, parameters)
                return result
            return run_chained(self._session, self._session.sql, text, parameters)

    def run_many(self, text: str, sets: Iterable[Any]) -> Result:
        """Execute a statement with each of many sets of parameters."""
        _check_text(text)
        if isinstance(sets, str | bytes) or not isinstance(sets, Iterable):
            raise errors.ProgrammingError(
                f"executemany takes many sets of parameters, such as a list of tuples, not {type(sets).__name__}"
            )
        with self._lock, errors.translation():
            if not self._autocommit:
                self._begin()
            result: Result = self._session.sql_many(text, sets)
            return result

    def _begin(self) -> None:
        if not self._session.in_transaction:
            self._session.begin()

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
        """Roll back and close the connection, and the grid if ``connect`` opened it. A second call does nothing.

        Warns if there were changes: ``commit`` keeps them.
        """
        if self._closed:
            return
        self._closed = True
        with self._lock, errors.translation():
            try:
                self._session.close()  # it warns, which may be an error
            finally:
                if self._owned:
                    self.grid.close()


def _check_text(text: Any) -> None:
    if not isinstance(text, str):
        raise errors.ProgrammingError(f"a statement is a str, not {type(text).__name__}")
