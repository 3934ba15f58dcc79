"""Grid: a handle on an open grid, as ``connect`` gives one to each who asks."""

from __future__ import annotations

import inspect
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from .cache import Cache
from .contexts import FORKED, Mark, Marks, Place, ends_with_its_call, follow_cells
from .errors import GridClosedError, SqlError, TransactionConflictError, UsageError
from .session import Lost, Session
from .transaction import Transaction, TransactionTable

if TYPE_CHECKING:
    import pyarrow as pa

    from ._native.store import Store
    from .catalog.activity import Activity
    from .faces import Report, TableFace
    from .open_grid import OpenGrid
    from .sql import Result
    from .sql import Session as SqlSession
    from .storage.verify import Problem
    from .table import Table

_T = TypeVar("_T")

#: Seconds that ``Grid.run`` waits on average before it runs a function for the second time, and at most.
_FIRST_WAIT, _LONGEST_WAIT = 0.001, 0.1
#: Statements that write nothing, and so may run beside a transaction that they are not part of.
_READING = frozenset({"SELECT", "EXPLAIN", "SHOW", "DESCRIBE", "DESC", "KILL", "SET"})
_BY_SQL = (
    'grid.sql("BEGIN") has opened it; write with SQL, or use grid.session() in place of it, whose session.table(...) '
    'is part of the transaction, or end it before, with grid.sql("COMMIT")'
)
_LOST = (
    'the transaction that grid.sql("BEGIN") had opened is rolled back, as the task, thread or call of '
    "asyncio.to_thread that called it has ended; use grid.session() in its place, and the session in all of them"
)


class _Sessions(threading.local):
    """The SQL session of each thread that has run SQL, with no transaction in it."""

    session: SqlSession | None = None


@dataclass
class _Begun:
    """What is known of a transaction of ``sql("BEGIN")``, besides its session.

    Attributes:
        mark: of the context, which alone keeps it.
        is_in_task: whether an asyncio task has begun it.
        place: where it was begun.
        is_used: whether its context has run another text in it.
    """

    mark: weakref.ref[Mark]
    is_in_task: bool
    thread: threading.Thread
    place: Place
    is_used: bool = False


class Grid:
    """A handle on an open grid: its tables, and SQL over them. Made by ``connect``; a context manager.

    Each ``connect`` gives a handle of its own, to be closed once, and the grid closes with the last of them. Any thread
    may use a handle. Tables are those of the open grid: one that a closed handle has given goes on to work while
    another handle has the grid open.

    Args:
        open_grid: the open grid.

    Attributes:
        home: the grid's directory.
        owner: whether this process owns the grid and may write.
        open_grid: what all handles on the grid have in common.
        alone: False: of itself a grid keeps no writer out; see ``Transaction``.
        is_transaction: False.
    """

    alone = False
    _is_transaction = False

    def __init__(self, open_grid: OpenGrid):
        self.open_grid = open_grid
        self.home: Path = open_grid.home
        self.owner: bool = open_grid.owner
        self._plain = False  # whether a statement need not ask what is open or lost here, or closed
        self._closed = False
        self._lost = False  # whether a transaction has gone with its context, which nobody has been told yet
        self._sessions = _Sessions()
        self._begun: dict[SqlSession, _Begun] = {}  # by sql("BEGIN"), each in a context of its own
        self._parts: weakref.WeakSet[Session | Transaction] = weakref.WeakSet()  # what is rolled back with the handle
        self._parts_lock = threading.RLock()  # guards _parts, _begun, and that nothing comes when it is closed
        vars(self)["table"] = open_grid.table  # the method below costs a call more: it is that of a closed handle
        open_grid.handles.append(self)
        self._look()
        follow_cells()

    def _look(self) -> None:
        """Find out whether statements need not ask for anything."""
        with self._marks.lock:
            self._plain = not (self._lost or self.closed or self.open_grid.store.guard is not None)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "owner" if self.owner else "read only"
        return f"<gridflow.Grid {self.home} ({state})>"

    def __enter__(self) -> Grid:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._roll_back()
        self.close()

    def _roll_back(self) -> list[Lost]:
        """Roll back all that is open. Returns what is to be warned of."""
        with self._parts_lock:
            begun, parts = self._begun.copy(), list(self._parts)
        lost = []
        for session, known in begun.items():
            if session.transaction is not None and session.transaction.has_changes:
                lost.append(Lost(known.place, 'grid.sql("COMMIT") keeps them'))
            session.drop(self._closed_because)
        for part in parts:
            if isinstance(part, Session):
                loses = part._drop()
                if loses is not None:
                    lost.append(loses)
            else:
                part.rollback()
        return lost

    def _end(self) -> None:
        """Roll back all that is open, as the process ends."""
        for lost in self._roll_back():
            lost.warn()

    def _forked(self) -> None:
        """In a forked child: what is open here is the parent's."""
        self._parts_lock = threading.RLock()
        for session in self._begun:
            session.forked(FORKED)
        for part in list(self._parts):
            part._forked()
        self._begun.clear()
        self._lost = False
        self._look()

    @property
    def closed(self) -> bool:
        """Whether the handle cannot be used any more."""
        return self._closed or self.open_grid.closed

    def check_open(self) -> None:
        """Raise GridClosedError if the handle is closed."""
        self.open_grid.check_open()
        if self._closed:
            raise GridClosedError(self._closed_because)

    @property
    def _closed_because(self) -> str:
        return f"grid {self.home}: the grid is closed here; gridflow.connect() opens it again"

    @property
    def default_partitions(self) -> int:
        """Partitions of a new table that does not say how many it wants; may be set where the grid is owned."""
        return self.open_grid.default_partitions

    @default_partitions.setter
    def default_partitions(self, count: int) -> None:
        self.open_grid.default_partitions = count

    @property
    def last_commit(self) -> int:
        """The number of the last commit."""
        return self.open_grid.last_commit

    @property
    def store(self) -> Store:
        """The log and the commits in it."""
        return self.open_grid.store

    @property
    def _activity(self) -> Activity:
        """The statements that run and ran on the grid here, and the clients that it is served to."""
        return self.open_grid._activity

    @property
    def _plans(self) -> dict[Any, Any]:
        """The plans that ``gridflow.sql`` keeps for the grid's tables, by statement."""
        return self.open_grid._plans

    @property
    def _marks(self) -> Marks:
        """Of the transactions that are open on the grid in some context."""
        return self.open_grid._marks

    # ---- tables ----

    def tables(self) -> list[str]:
        """The names of all tables, sorted."""
        self.check_open()
        return self.open_grid.tables()

    def _all_tables(self) -> list[Table]:
        """All tables, sorted by name; one that is dropped meanwhile is left out."""
        self.check_open()
        return self.open_grid._all_tables()

    def _open_tables(self) -> list[Table]:
        """The tables that are open here, system tables too; nothing is opened for it."""
        return self.open_grid._open_tables()

    def __contains__(self, name: str) -> bool:
        return name in self.tables()

    def table(self, name: str) -> Table:
        """The table called ``name``; Ignite's ``SQL_PUBLIC_<NAME>`` and a CACHE_NAME are understood, too.

        Raises:
            TableNotFoundError: there is none; the message lists what there is.
        """
        self.check_open()
        return self.open_grid.table(name)

    def _system_table(self, name: str, columns: Any = None, key: str = "") -> Table | None:
        """A system table; with ``columns`` it is made if it is not there, without them it may be None."""
        self.check_open()
        return self.open_grid._system_table(name, columns, key)

    def _demand(self, table: TableFace, *rights: str) -> None:
        """Nothing: who has a handle may do everything."""

    def _demand_statement(self, kind: str) -> None:
        """Nothing, as ``_demand``."""

    def create_table(
        self,
        name: str,
        schema: Any,
        key: str | Iterable[str],
        partitions: int | None = None,
        *,
        if_not_exists: bool = False,
        options: Mapping[str, Any] | None = None,
        keep_versions: int = 0,
        defaults: Mapping[str, Any] | None = None,
    ) -> Table:
        """Make a table.

        Args:
            name: as it is; SQL folds unquoted names to upper case before it asks.
            schema: columns and types, in any form that ``Schema.of`` takes.
            key: the key column, or several.
            partitions: into how many ranges of key hashes its rows count; more cost nothing. Without it
                ``default_partitions`` of the grid: 1024.
            if_not_exists: return the table that is there if it has these columns and this key, and so many partitions
                if they are given. Its options and how many versions it keeps stay as they are.
            options: kept with the table.
            keep_versions: how many versions before the current one stay readable; see ``Table.keep_versions``.
            defaults: of columns, what a row has that does not name them; a null without it.

        Raises:
            TableExistsError: there is one of that name.
            SchemaError, ColumnNotFoundError: the schema or the key is impossible, or a default does not fit.
            SchemaError: there is one, and it has other columns, another key, or another number of partitions.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     grid.create_table("IMAGES", {"ID": "LONG", "PIXELS": "UINT8[28,28]"}, key="ID")
        <gridflow.Table IMAGES (ID INT64 NOT NULL, PIXELS UINT8[28,28], PRIMARY KEY (ID))>
        """
        self._check_past(f"table {name}")
        return self.open_grid.create_table(
            name,
            schema,
            key,
            partitions,
            if_not_exists=if_not_exists,
            options=options,
            keep_versions=keep_versions,
            defaults=defaults,
        )

    def _check_changeable(self) -> None:
        """Raise if nothing can be written here.

        Raises:
            GridAccessError: the grid is open to read only.
            GridClosedError: the handle is closed.
        """
        self.check_open()
        self.open_grid._check_changeable()

    def alter_table(
        self,
        name: str,
        *,
        add: Mapping[str, Any] | None = None,
        drop: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
        fill: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """Change a table's columns. Segments stay as they are: rows that are there already have nulls in new columns.

        Args:
            name: the table.
            add: new columns and their types, as ``Schema.of`` takes them; they come after those that are there.
            drop: columns that go, with what is in them.
            rename: old name -> new name.
            fill: of new columns, what the rows have that are there already, instead of the DEFAULT or a null.
            defaults: of any columns, what rows have from now on that do not name them; None: a null again.

        Raises:
            TableNotFoundError, ColumnNotFoundError: there is none of that name.
            SchemaError: a name is taken, a key's column would go, a value does not fit, or a column that cannot be null
                has no value for the rows that are there.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG", "X": "DOUBLE"}, key="ID")
        ...     table.put(1, {"X": 0.5})
        ...     grid.alter_table("T", add={"LABEL": "INT"}, rename={"X": "SCORE"}, fill={"LABEL": -1})
        ...     table.get(1)
        {'SCORE': 0.5, 'LABEL': -1}
        """
        self._check_past(f"table {name}")
        self.open_grid.alter_table(name, add=add, drop=drop, rename=rename, fill=fill, defaults=defaults)

    def drop_table(self, name: str, *, if_exists: bool = False) -> None:
        """Drop a table and its rows. Readers keep what they have mapped.

        Raises:
            TableNotFoundError: there is none, unless ``if_exists``.
        """
        self._check_past(f"table {name}")
        self.open_grid.drop_table(name, if_exists=if_exists)

    def _alter_options(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Change what is kept with a table: all at once, and for every process. In the owner only.

        Args:
            name: the table's.
            change: makes the new options of a copy of the old ones. No table is made, dropped or changed meanwhile.

        Raises:
            TableNotFoundError: there is none.
            UsageError: the options cannot be written as JSON.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG"}, key="ID")
        ...     grid._alter_options("T", lambda options: options | {"owner": "me"})
        ...     table.options
        {'owner': 'me'}
        """
        self._check_past(f"table {name}")
        self.open_grid._alter_options(name, change)

    def _check_past(self, what: str) -> None:
        self.check_open()
        self.open_grid.refuse_past(what)

    def cache(self, name: str) -> Cache:
        """A cache of nested Python values; its table is made by the first put. See ``Cache``."""
        self.check_open()
        return Cache(self, name)

    # ---- transactions ----

    def transaction(self, *, of_statement: bool = False, alone: bool = False) -> Transaction:
        """Begin a transaction; see ``Transaction``.

        Within its ``with`` block nothing can be written past it by mistake: that is a UsageError.
        """
        self.check_open()
        transaction = Transaction(self, of_statement=of_statement, alone=alone and self.owner)
        try:
            self._keep(transaction)
        except GridClosedError:  # just now, by another thread
            transaction.rollback()
            raise
        return transaction

    def _keep(self, part: Session | Transaction) -> None:
        """Roll something back when the handle is closed, if it is not ended and no garbage by then.

        Raises:
            GridClosedError: it is closed already.
        """
        with self._parts_lock:
            self.check_open()
            self._parts.add(part)

    def session(self) -> Session:
        """A session: statements one after the other, and the transaction that may be open between them.

        It belongs to who has it, not to a thread or task: what several of them share. See ``Session``.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     _ = grid.create_table("T", {"ID": "LONG", "N": "INT"}, key="ID")
        ...     with grid.session() as session:
        ...         _ = session.sql("BEGIN")
        ...         session.table("T").put(1, {"N": 5})
        ...         _ = session.sql("UPDATE T SET N = N + 1; COMMIT")
        ...     grid.table("T").get(1)
        {'N': 6}
        """
        self.check_open()
        return Session(self)

    def run(self, function: Callable[[Transaction], _T], *, retries: int = 10) -> _T:
        """Run a function in a transaction and commit; run it again where somebody else was faster.

        Args:
            function: called with the transaction. It may run several times, so what it does elsewhere it does again.
            retries: how often it runs again at most, after pauses of random length that get longer.

        Returns:
            What the function returns.

        Raises:
            TransactionConflictError: others were faster each time. Nothing has happened.
            UsageError: the function is a coroutine's or a generator's, of which a call does nothing yet. Any other
                error of the function: nothing has happened.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     grid.create_table("HITS", {"PAGE": "STRING", "N": "LONG"}, key="PAGE").put("/", {"N": 1})
        ...     def count(transaction):
        ...         hits = transaction.table("HITS")
        ...         hits.put("/", {"N": hits.get("/")["N"] + 1})
        ...     grid.run(count)
        ...     grid.table("HITS").get("/")
        {'N': 2}
        """
        wait = _FIRST_WAIT
        for tries_left in reversed(range(retries + 1)):
            try:
                with self.transaction() as transaction:
                    result = function(transaction)
                    if inspect.iscoroutine(result) or inspect.isgenerator(result):
                        result.close()
                    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
                        raise UsageError(
                            "run takes a plain function, not a coroutine's or a generator's, of which a call does "
                            "nothing yet; asyncio.to_thread can call run"
                        )
                return result
            except TransactionConflictError:
                if not tries_left:
                    raise
            # A pause, which is no secret.
            time.sleep(random.uniform(0, 2 * wait))  # nosec B311
            wait = min(2 * wait, _LONGEST_WAIT / 2)
        raise UsageError(f"retries is 0 or more, not {retries}")

    @property
    def in_transaction(self) -> bool:
        """Whether ``sql("BEGIN")`` has opened a transaction in this context, which has not ended."""
        mark = self._marks.here()
        return mark is not None and mark.session in self._begun and mark.is_here

    def _together(self, tables: Sequence[TableFace]) -> list[TransactionTable]:
        """The same tables as they all are at one moment, to be read."""
        self.check_open()
        return self.open_grid._together(tables)

    def _commit_checked(self, operations: bytes, digests: bytes, columns: dict[int, int]) -> None:
        """Commit what a transaction has written; see ``OpenGrid._commit_checked``."""
        self.check_open()
        self.open_grid._commit_checked(operations, digests, columns)

    # ---- SQL ----

    def system_view(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """The rows of a view of schema SYS, as the grid's owner sees them: what ``SELECT * FROM SYS.<name>`` reads.

        Args:
            name: ``TABLES``, ``METRICS``, ...
            columns: which, in what order; all without it. Some cost more than others.

        Raises:
            TableNotFoundError, ColumnNotFoundError: there is no such view or column.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     _ = grid.create_table("T", {"ID": "LONG", "X": "DOUBLE"}, key="ID")
        ...     grid.system_view("TABLE_COLUMNS", ["COLUMN_NAME", "PK"]).to_pylist()
        [{'COLUMN_NAME': 'ID', 'PK': True}, {'COLUMN_NAME': 'X', 'PK': False}]
        """
        self.check_open()
        return self.open_grid.system_view(name, columns)

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Result:
        """Run one or more SQL statements, in the dialect of Apache Ignite 2.x.

        Each is atomic and commits by itself, but between BEGIN and COMMIT. These belong to the context that calls, a
        thread or an asyncio task, and to this handle: others see nothing of it. ``session`` is for what several share.

        Args:
            text: the statements, separated by ``;``.
            params: a sequence for ``?``, a dict for ``:name``.
            progress: called with a ``gridflow.sql.Progress`` (``rows``, ``done`` of ``total``) while COPY works.

        Returns:
            The last statement's Result: iterate over its rows, or ``fetchall()``, ``scalar()``, ``to_arrow()``, ...

        Raises:
            SqlError: a statement does not parse, or does what cannot be done.
            TableNotFoundError, ColumnNotFoundError, SchemaError, DuplicateKeyError: what it names or writes is not
                possible.
            UsageError: it would write past a transaction that is open in this context.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     result = grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
        ...     result = grid.sql("INSERT INTO T VALUES (?, ?)", [1, "one"])
        ...     grid.sql("SELECT NAME FROM T WHERE ID = 1").fetchall()
        [('one',)]
        """
        session = self._sessions.session if self._plain else self._session_here()
        result = (session or self._new_session()).execute(text, params, progress)
        if result.notes:
            result.warn()
        return result

    def _run_sql(self, session: SqlSession, text: str, params: Any, progress: Report | None = None) -> Result:
        """Run SQL in a session of this handle. The caller warns of what the result notes."""
        self.check_open()
        return session.execute(text, params, progress)

    def _new_session(self) -> SqlSession:
        """The session of this thread, which has none yet."""
        self._sessions.session = session = self.open_grid._sql_session(changed=self._begins_or_ends)
        return session

    def _session_here(self) -> SqlSession | None:
        """The session for a statement where a transaction is open somewhere, or was lost; None: a new one."""
        self.check_open()
        mark = self._marks.here()
        if mark is None and not self._lost:
            return self._sessions.session
        if mark is not None and mark.session is not None:
            if not mark.is_here:
                raise UsageError(
                    'a transaction that grid.sql("BEGIN") has opened belongs to the task or thread that called it, and '
                    "this one was started within it: use grid.session() in its place, and the session in both"
                )
            if mark.session in self._begun:
                self._begun[mark.session].is_used = True
                return mark.session
        return self.open_grid._sql_session(changed=self._begins_or_ends, guard=self._guard)

    def _guard(self, kind: str) -> None:
        """Raise before a statement that would be no part of the transaction that is open here, or was lost."""
        if kind in _READING:
            return
        mark = self._marks.here()
        if mark is not None:
            raise UsageError(f"{kind} would be run past the transaction that is open here: {mark.remedy}")
        lost, self._lost = self._lost, False
        self._look()
        if lost and kind not in ("BEGIN", "START TRANSACTION"):
            raise UsageError(f"{kind}: {_LOST}")

    def _begins_or_ends(self, session: SqlSession) -> None:
        """A session of ``sql`` has another transaction open than before, or none."""
        begun = self._begun.pop(session, None)
        ended = None if begun is None else begun.mark()
        if ended is not None:
            self._marks.leave(ended)
        if session.transaction is not None:
            if ends_with_its_call():
                session.rollback()
                raise SqlError(
                    "BEGIN: its transaction would end with this very call, which alone has its context: use "
                    "grid.session(), and session.sql in its place"
                )
            if self._sessions.session is session:
                self._sessions.session = None  # it belongs to the context now
            place = Place.of_call()
            with self._parts_lock:
                if self._closed:
                    session.rollback()
                    self.check_open()
                mark = self._marks.enter(session.transaction, _BY_SQL, session, lambda: self._drop(session))
                self._begun[session] = _Begun(weakref.ref(mark), mark.is_in_task, threading.current_thread(), place)

    def _drop(self, session: SqlSession) -> None:
        """The context of a transaction is gone.

        Who has only begun it, or has begun it in a context that was a single call's, may take what comes next for a
        part of it: the next statement that changes something, and has no transaction, says that it is none.
        """
        begun = self._begun.get(session)
        if begun is not None and session.transaction is not None:
            loses = session.transaction.has_changes
            was_call = not begun.is_in_task and begun.thread.is_alive()
            session.drop(_LOST)
            self._lost = self._lost or was_call or not (loses or begun.is_used)
            self._look()
            if loses:
                Lost(begun.place, _LOST).warn()

    # ---- the whole grid ----

    def flush(self) -> None:
        """Move all writes in memory to segments."""
        self.check_open()
        self.open_grid.flush()

    def check(self) -> list[Problem]:
        """Read every byte of the grid; returns what is wrong with it, nothing if it is sound."""
        return self.open_grid.check()

    def close(self) -> None:
        """Roll back what this handle has open, and close it; the last handle flushes and gives the grid back.

        Warns if it takes back changes of ``sql`` or a session. A second call does nothing.

        Raises:
            GridFullError: there was no room to flush. The grid is closed all the same, and what was acknowledged is in
                the log: it is there when the grid is opened next.
        """
        with self.open_grid.closing():
            if self._closed:
                return
            with self._parts_lock:  # whose making ends now; nothing comes after
                self._closed = True
            vars(self).pop("table", None)
            lost = self._roll_back()
            self._look()
            self.open_grid.handles.remove(self)
            if not self.open_grid.handles and not self.open_grid.closed:
                self.open_grid.close()
        for loses in lost:
            loses.warn()
