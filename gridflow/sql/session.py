"""A session: statements one after the other, and the transaction that may be open between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from functools import partial
from time import perf_counter
from typing import Any

from sqlglot import exp

from ..errors import (
    ColumnNotFoundError,
    GridClosedError,
    GridflowError,
    QueryTimeoutError,
    SchemaError,
    SqlError,
    TableNotFoundError,
    TransactionConflictError,
    UsageError,
    about,
)
from ..faces import GridFace, TransactionFace
from .engine.watch import current, watching
from .execution.executors import EXECUTORS
from .execution.fast_path import FastPath
from .execution.insert import execute_insert_many, plan_insert
from .grammar.prepared import Prepared, own_text
from .grammar.statements import as_written, prepare
from .result import Result
from .routing import CONTROLS, IN_TRANSACTION
from .text.cutter import is_query, split_statements
from .text.params import assign
from .text.places import syntax_error
from .text.progress import Report, reporting
from .text.secrets import hide_passwords

#: How often a statement that changes what it reads runs at most, where others write the same rows. In the owner they
#: wait the last time: with more times before that, writers without a pause keep a large UPDATE from its end for longer.
CHANGE_TRIES = 2
#: The same in a client, for which nobody waits.
CLIENT_TRIES = 4

#: How many fast paths of statements a session keeps.
MOST_FAST_PATHS = 512

#: What a statement with a wrong value or name raises, before any row is written.
_BEFORE_ROWS = (SchemaError, ColumnNotFoundError, TableNotFoundError, SqlError)

#: text -> the fast path of its only statement, and the statement.
FastPaths = dict[str, tuple[FastPath, Prepared]]


class Session:
    """Executes SQL on anything with the face of a Grid. One thread uses it at a time.

    Args:
        grid: the grid; the caller closes it.
        has_files: whether COPY may be executed: the files that it names are those of this process.
        fast_paths: what is known of statements; sessions that execute no more than one text each may share it.
        changed: called with the session when a call ends with another transaction open than before, or with none.
        guard: called with the kind of each statement that is part of no transaction, before it is executed.
        told: called with each statement that has run, and the error that it ended with; not with one that took the
            fast path.
    """

    def __init__(
        self,
        grid: GridFace,
        *,
        has_files: bool = True,
        fast_paths: FastPaths | None = None,
        changed: Callable[[Session], None] | None = None,
        guard: Callable[[str], None] | None = None,
        told: Callable[[Prepared, BaseException | None], None] | None = None,
    ):
        self.grid = grid
        self.guard = guard
        self._told = told
        self._changed = changed
        self._has_files = has_files
        self._transaction: TransactionFace | None = None
        self._over: str | None = None  # why nothing more can be executed
        self._fast_paths: FastPaths = {} if fast_paths is None else fast_paths  # empty while a transaction is open

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open: after BEGIN, before COMMIT or ROLLBACK."""
        return self._transaction is not None

    @property
    def transaction(self) -> TransactionFace | None:
        """The transaction that is open, if one is."""
        return self._transaction

    def execute(self, text: str, params: Any = None, progress: Report | None = None) -> Result:
        """Execute one statement, or several with semicolons between them; see ``gridflow.sql.execute``."""
        activity = self.grid._activity
        self.check_going()
        fast = self._fast_paths.get(text)
        if fast is not None:
            fast_path, prepared = fast
            # A SELECT by key waits for nobody, so nobody would see it listed; an INSERT may wait for a load.
            run = activity.begin(prepared.own_text, prepared.kind) if prepared.kind != "SELECT" else None
            clock = perf_counter()
            try:
                fast_result = fast_path(self.grid, params)
            except BaseException as error:
                activity.end(run or activity.begin(prepared.own_text, prepared.kind), 0, error)
                raise
            if fast_result is not None:
                if run is None:
                    activity.ran(prepared.own_text, prepared.kind, clock, fast_result.rowcount)
                else:
                    activity.end(run, fast_result.rowcount)
                return fast_result
            if run is not None:
                activity.forget(run)
        try:
            statements = prepare(text)
            if not self._has_files and any(statement.kind == "COPY" for statement in statements):
                raise UsageError("COPY reads and writes files of the client: it runs there, not at the server")
            if not self._has_files and any(statement.kind == "SET" for statement in statements):
                raise UsageError("SET is about statements of the client: it runs there, not at the server")
            value_sets = assign([statement.marks for statement in statements], params)
        except GridflowError as error:
            activity.end(activity.begin(own_text(hide_passwords(str(text))), ""), 0, error)
            raise
        result = Result()
        notes: tuple[str, ...] = ()
        before = expected = self._transaction
        try:
            with reporting(progress):
                for statement, values in zip(statements, value_sets, strict=True):
                    if self._transaction is not expected:
                        self.check_going()
                        raise UsageError("the transaction has ended while a text of several statements was executed")
                    with about(line=statement.line) if len(statements) > 1 else nullcontext():
                        result = self._run_listed(statement, partial(self._one, statement, values))
                    notes += result.notes
                    if statement.kind in _CONTROLS:
                        expected = self._transaction
        finally:
            self._tell(before)
        result.notes = notes
        if len(statements) == 1 and statements[0].kind in ("SELECT", "INSERT") and self._transaction is None:
            self._remember(text, statements[0])
        return result

    def check_allowed(self, text: str) -> None:
        """Ask ``guard`` of a text that another process is to execute."""
        if self.guard is not None:
            for statement in split_statements(text):
                if not is_query(statement.text):
                    self.guard(statement.word)

    def insert_at_once(self, text: str, params: Any) -> Result | None:
        """Execute an INSERT by its fast path, where that is known by now; None, or an error: nothing has happened."""
        fast = self._fast_paths.get(text)
        if fast is None or fast[1].kind != "INSERT":
            return None
        fast_path, prepared = fast
        activity = self.grid._activity
        run = activity.begin(prepared.own_text, prepared.kind)
        result = None
        try:
            result = fast_path(self.grid, params)
        finally:
            if result is None:
                activity.forget(run)
            else:
                activity.end(run, result.rowcount)
        return result

    def learn_insert(self, text: str) -> None:
        """Have ``insert_at_once`` know an INSERT that another process has executed by its fast path."""
        (statement,) = prepare(text)
        if self._transaction is None and statement.is_cached:
            plan_insert(self.grid, statement)
            self._remember(text, statement)

    def execute_prepared(self, statement: Prepared, values: dict[str, Any], progress: Report | None = None) -> Result:
        """Execute a statement of a text that was parsed already; ``values``: mark -> value."""
        with reporting(progress):
            return self._run_listed(statement, partial(self._one, statement, values))

    def _remember(self, text: str, statement: Prepared) -> None:
        """Keep the fast path of a statement, if there is one, for later executions of the same text."""
        plan = self.grid._plans.get(statement)
        if plan is not None and plan.fast_path is not None:
            if len(self._fast_paths) >= MOST_FAST_PATHS:
                self._fast_paths.clear()
            self._fast_paths[text] = plan.fast_path, statement

    def _run_listed(self, statement: Prepared, execute: Callable[[], Result]) -> Result:
        """Run a statement, as ``_run``, and say how it has ended."""
        if self._told is None:
            return self._run(statement, execute)
        try:
            result = self._run(statement, execute)
        except BaseException as error:
            self._told(statement, error)
            raise
        self._told(statement, None)
        return result

    def _run(self, statement: Prepared, execute: Callable[[], Result]) -> Result:
        """Run a statement; ``SYS.SQL_QUERIES`` lists it meanwhile and ``SYS.SQL_QUERIES_HISTORY`` afterwards."""
        activity = self.grid._activity
        run = activity.begin(statement.own_text, statement.kind)
        limits = activity.limits
        try:
            if (limits.seconds is None and limits.memory is None) or statement.kind == "SET":
                result = execute()
            else:
                with watching() as watch, watch.limited(limits.seconds, limits.memory):
                    result = execute()
        except BaseException as error:
            if isinstance(error, RecursionError):
                error = SqlError("the statement is nested too deeply")
            if not activity.was_cancelled(run):
                activity.end(run, 0, error)
                raise error from None
            error = SqlError(f"query {activity.query_id(run[0])} was cancelled by KILL QUERY")
            activity.end(run, 0, error)
            raise error from None
        activity.end(run, result.rowcount)
        return result

    def execute_many(self, text: str, sets: Iterable[Any]) -> Result:
        """Execute an INSERT, MERGE, UPDATE or DELETE with each of many sets of parameters, all as one commit.

        Args:
            text: one statement.
            sets: the parameters of each execution, as ``execute`` takes them.

        Raises:
            SqlError: the text is another statement, or several. Else as ``execute``.

        >>> import gridflow, tempfile
        >>> grid = gridflow.connect(tempfile.mkdtemp())
        >>> _ = grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
        >>> Session(grid).execute_many("INSERT INTO T VALUES (?, ?)", [(1, "one"), (2, "two")])
        INSERT: 2 rows
        >>> grid.close()
        """
        statements = prepare(text)
        if len(statements) != 1 or statements[0].kind not in ("INSERT", "MERGE", "UPDATE", "DELETE"):
            raise SqlError("with many sets of parameters goes one INSERT, MERGE, UPDATE or DELETE")
        (statement,) = statements
        statement = statement if statement.shape is None else as_written(statement)
        value_sets = [assign([statement.marks], params)[0] for params in sets]
        return self._run_listed(statement, lambda: self._many(statement, value_sets))

    def _many(self, statement: Prepared, value_sets: list[dict[str, Any]]) -> Result:
        kind = statement.kind
        transaction = self._open_transaction()
        self.grid._demand_statement(kind)
        if self.guard is not None and transaction is None:
            self.guard(kind)
        if kind in ("INSERT", "MERGE"):
            count = execute_insert_many(transaction or self.grid, statement, value_sets)
            if count is not None:
                return Result(rowcount=count, statement=kind)

        def run(grid: GridFace) -> Result:
            counts = [EXECUTORS[kind](grid, statement, values).rowcount for values in value_sets]
            return Result(rowcount=sum(counts), statement=kind)

        if transaction is None and self.grid._is_transaction:
            return run(self.grid)
        return run(transaction) if transaction is not None else self._change(run)

    def _one(self, statement: Prepared, values: dict[str, Any]) -> Result:
        kind = statement.kind
        transaction = self._open_transaction()
        self.grid._demand_statement(kind)
        if self.guard is not None and transaction is None:
            self.guard(kind)
        if kind in _CONTROLS:
            _CONTROLS[kind](self, statement)
            return Result(statement=kind)
        if kind in ("INSERT", "MERGE", "UPDATE", "DELETE"):
            self.grid._check_changeable()
        grid = transaction or self.grid
        if not grid._is_transaction:
            if _changes_rows_it_reads(statement):
                return self._change(lambda transaction: EXECUTORS[kind](transaction, statement, values))
        elif kind not in IN_TRANSACTION:
            raise SqlError(f"{kind} cannot be part of a transaction: COMMIT or ROLLBACK first")
        if statement.shape is not None:
            try:
                return EXECUTORS[kind](grid, statement.shape, dict(statement.literals))
            except _BEFORE_ROWS as error:  # nothing has happened; now the place of what is wrong is found
                if isinstance(error, QueryTimeoutError) or self._is_stopped():
                    raise
                statement = as_written(statement)
        return EXECUTORS[kind](grid, statement, values)

    def _is_stopped(self) -> bool:
        """Whether the statement that this thread runs is to end, whatever comes of it."""
        watch = current()
        return self.grid._activity.is_cancelled_here() or (watch is not None and watch.error is not None)

    def _change(self, run: Callable[[Any], Result]) -> Result:
        """Run a change that follows from rows it reads; again if somebody else writes one of those rows meanwhile."""
        tables: list[str] = []
        past_tables: dict[tuple[int, str | int], Any] = {}  # one that a try has let go of is still there for the next
        for tries_left in reversed(range(CHANGE_TRIES if self.grid.owner else CLIENT_TRIES)):
            # The last try keeps other writers out of its tables, so that it cannot fail for them: it takes all of them
            # before it begins, in an order that is the same for every statement, or two would wait for each other.
            transaction = self.grid.transaction(of_statement=True, alone=not tries_left)
            transaction.past_tables = past_tables
            try:
                with transaction:
                    for name in tables if transaction.alone else []:
                        with suppress(TableNotFoundError):
                            transaction.table(name)
                    return run(transaction)
            except TransactionConflictError:
                if not tries_left:
                    raise
                tables = transaction._read_tables()
        raise AssertionError("the last try returns or raises")

    def begin(self) -> None:
        """Begin a transaction, as BEGIN does.

        Raises:
            SqlError: one is open already.
        """
        before = self._transaction
        self.open()
        self._tell(before)

    def open(self) -> None:
        """Begin a transaction in the midst of a text."""
        if self._open_transaction() is not None:
            raise SqlError("a transaction is open already: COMMIT or ROLLBACK ends it")
        if self.grid._is_transaction:
            raise SqlError("BEGIN: this is inside a transaction already")
        self._fast_paths.clear()
        self._transaction = self.grid.transaction()
        if self._over is not None:  # another thread was about to end what is open
            self.end(commit=False)
            self.check_going()

    def _open_transaction(self) -> TransactionFace | None:
        """The transaction that is open, as a statement begins.

        Raises:
            GridClosedError: the session is over. Its transaction is gone, and nothing that was meant as a part of it
                commits by itself.
        """
        transaction = self._transaction
        self.check_going()  # after the look at it: ``drop`` says first that the session is over
        return transaction

    def check_going(self) -> None:
        """Raise GridClosedError if ``drop`` was called."""
        if self._over is not None:
            raise GridClosedError(self._over)

    def drop(self, why: str) -> None:
        """Roll back, and execute nothing more: what is under way in another thread fails. Any thread may call it."""
        self._over = why
        before = self._transaction
        self.end(commit=False)
        self._tell(before)

    def forked(self, why: str) -> None:
        """In a forked child: the transaction is the parent's."""
        self._over, self._transaction = why, None

    def commit(self) -> None:
        """Commit, as COMMIT does; without a transaction nothing happens.

        Raises:
            TransactionConflictError: another writer was faster. The transaction is over and nothing of it has happened.
        """
        before = self._transaction
        try:
            self.end(commit=True)
        finally:
            self._tell(before)

    def rollback(self) -> None:
        """Roll back, as ROLLBACK does; without a transaction nothing happens."""
        before = self._transaction
        self.end(commit=False)
        self._tell(before)

    def end(self, *, commit: bool) -> None:
        """Commit or roll back in the midst of a text."""
        transaction, self._transaction = self._transaction, None
        over = self._over
        if transaction is not None:
            if commit and over is None:
                transaction.commit()
            else:
                transaction.rollback()
        if commit and over is not None:
            raise GridClosedError(over)

    def _tell(self, before: TransactionFace | None) -> None:
        if self._transaction is not before and self._changed is not None:
            self._changed(self)


def _changes_rows_it_reads(statement: Prepared) -> bool:
    """Whether a statement changes rows that it has read."""
    return statement.kind in ("UPDATE", "DELETE") or isinstance(statement.node, exp.Merge)


def _begin(session: Session, statement: Prepared) -> None:
    session.open()


def _commit(session: Session, statement: Prepared) -> None:
    _check_open(session, statement)
    session.end(commit=True)


def _rollback(session: Session, statement: Prepared) -> None:
    _check_open(session, statement)
    session.end(commit=False)


def _check_open(session: Session, statement: Prepared) -> None:
    if not session.in_transaction:
        message = f"{statement.kind} without a transaction: BEGIN opens one"
        raise syntax_error(statement.text, statement.node.start, message, len(statement.kind))


_CONTROLS = dict(zip(CONTROLS, (_begin, _begin, _commit, _rollback), strict=True))
