"""DuckDB: in-memory databases, one for each limit of memory, one connection a thread, and no way out of it.

A database never holds data. A statement shows DuckDB the Arrow tables it needs under names of its own, runs, and
takes them away again (``kept_queries`` keeps their names); DuckDB reads the mapped columns where they lie. Files, other
databases, extensions and Python variables are out of its reach, and its settings are locked.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ... import aside
from ..._native.stack import stack_left
from ...errors import SqlError
from .errors import EngineError
from .kept_queries import KeptQueries, relation_of
from .relation import Relation, parts_of, with_tests
from .watch import Watch, current

# GLOBAL, because each thread's connection starts from the global settings.
_SETTINGS = (
    "SET GLOBAL python_enable_replacements = false",
    "SET GLOBAL integer_division = true",  # 5 / 2 is 2, as in Ignite
    "SET GLOBAL arrow_large_buffer_size = true",  # 64-bit offsets: a column may hold more than 2 GiB
    "SET GLOBAL arrow_lossless_conversion = true",  # UUID stays UUID
    "SET GLOBAL TimeZone = 'UTC'",
    # This optimizer turns the range of a join's keys into a filter of pyarrow's: DuckDB 1 fails there for a UUID and
    # for UINT64s from 2^63, and no time saved can be measured on columns in memory.
    "SET GLOBAL disabled_optimizers = 'join_filter_pushdown'",
    "SET GLOBAL max_expression_depth = 5000",  # grammar.nesting has limits of its own
    "SET GLOBAL enable_external_access = false",
    "SET GLOBAL lock_configuration = true",
)
_CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",  # nothing of a grid is written elsewhere
}
# To DuckDB a NaN is greater than any number. DuckDB 1 (for Python 3.10) leaves parts of a WHERE to pyarrow, where every
# comparison with a NaN is false: so a table with a NaN is copied into DuckDB.
_MISSES_NAN = duckdb.__version__.startswith("1.")

_lock = threading.Lock()  # guards the two below
_databases: dict[int | None, duckdb.DuckDBPyConnection] = {}  # by the bytes that they may take
_made: weakref.WeakSet[Any] = weakref.WeakSet()  # all that is of DuckDB, or holds it
_local = threading.local()  # .connections: of this thread, with their kept queries, by the bytes that they may take
_busy: dict[int, duckdb.DuckDBPyConnection] = {}  # by thread, while its connection runs a query
_ending = False  # whether the interpreter ends
_forking: list[Any] = []  # what _made has, during a fork

#: Seconds that queries of other threads get to end when the interpreter does.
_EXIT_SECONDS = 10.0


def connection(memory: int | None = None) -> tuple[duckdb.DuckDBPyConnection, KeptQueries | None]:
    """This thread's connection to the database that may take so many bytes, and the queries that it keeps, if it may.

    Only this thread may use them.
    """
    if memory is not None:  # of the few powers of two, as each database has threads of its own and stays
        memory = 1 << (memory.bit_length() - 1)
    mine: dict[int | None, Any] = _local.__dict__.setdefault("connections", {})
    if memory not in mine:
        with _lock:
            if memory not in _databases:
                limit = {} if memory is None else {"memory_limit": f"{memory}B"}
                database = duckdb.connect(":memory:", config={**_CONFIG, **limit})
                _made.add(database)
                for setting in _SETTINGS:
                    database.execute(setting)
                _databases[memory] = database
            con = _databases[memory].cursor()
            # What a thread keeps is destroyed when it ends; for one of another library, as gRPC's, that is after each
            # call, where no object may be left that needs the interpreter.
            is_python = not isinstance(threading.current_thread(), threading._DummyThread)
            kept = KeptQueries(con) if is_python and not _MISSES_NAN else None
            _made.update(each for each in (con, kept) if each is not None)
            mine[memory] = con, kept
    return mine[memory]


def run(
    sql: str,
    tables: Mapping[str, Relation],
    params: Mapping[str, Any] | None = None,
    *,
    stack: int = 0,
    again: bool = False,
) -> pa.Table:
    """Run one query over Arrow tables.

    Args:
        sql: one statement in DuckDB's dialect.
        tables: the rows of the statement's tables, by name.
        params: values of all ``$name`` marks of the statement, by name, and no others.
        stack: bytes of stack that the query may need: DuckDB does not look whether this thread has them.
        again: whether the same is likely to be asked again, of other rows: a SELECT of one table, which is the only
            one of its name. DuckDB is not told how many rows there are then, as it should be for a join.

    Returns:
        The whole result, in DuckDB's Arrow types.

    Raises:
        duckdb.Error: the query fails; ``execution.errors.translate`` makes an error of ours of this one.
        SqlError: the thread that runs it has too little stack, or the result does not fit Arrow.
        GridflowError: the statement is under watch (``watch``), and to end.
    """
    watch = current()
    if watch is not None:
        watch.check()
    is_main = threading.get_ident() == threading.main_thread().ident
    if _ending and not is_main:
        _sleep_on()
    try:
        return aside.run(partial(_run, watch, sql, tables, params, stack, again), _interrupt)
    except duckdb.InterruptException:
        if watch is not None:
            watch.check()
        raise
    finally:
        if _ending and not is_main:
            _sleep_on()


def _run(
    watch: Watch | None,
    sql: str,
    tables: Mapping[str, Relation],
    params: Mapping[str, Any] | None,
    stack: int,
    again: bool,
) -> pa.Table:
    left = stack_left()
    if left and left < stack:
        raise SqlError(
            f"the statement is nested so deeply, or joins so much, that it may need {stack >> 10:,} KiB of stack, and "
            f"this thread has {left >> 10:,}; run it in a thread with more, as of threading.stack_size({2 * stack:,})"
        )
    con, kept = connection(None if watch is None else watch.memory)
    thread = threading.get_ident()
    values = params or {}
    parts = list(parts_of(tables))
    sql = with_tests(sql, tables)
    _busy[thread] = con
    if watch is not None:
        watch.interrupt = con.interrupt
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            if again and kept is not None:
                return kept.run(sql, parts, values)
            return _run_once(con, kept, sql, parts, values)
    except UnicodeDecodeError as error:  # of its message, which quotes half a character or any bytes
        raise EngineError(error.object.decode(errors="replace")) from None
    except pa.ArrowException as error:
        raise SqlError(f"the result does not fit Arrow: {error}") from None
    finally:
        if watch is not None:
            watch.interrupt = None
        _busy.pop(thread, None)


def _run_once(
    con: duckdb.DuckDBPyConnection,
    kept: KeptQueries | None,
    sql: str,
    parts: Sequence[tuple[str, pa.Table]],
    params: Mapping[str, Any],
) -> pa.Table:
    views: list[str] = []
    copies: list[str] = []
    try:
        for name, table in parts:
            assert kept is None or name not in kept, "a kept view would be gone with the statement"
            view = f"{name} mapped" if _MISSES_NAN and _has_nan(table) else name
            con.register(view, table)
            views.append(view)
            if view != name:
                con.execute(f'CREATE TEMP TABLE "{name}" AS FROM "{view}"')
                copies.append(name)
        relation = relation_of(con, sql, params)
        return pa.table({}) if relation is None else relation.to_arrow_table()
    finally:
        for name in copies:
            con.execute(f'DROP TABLE "{name}"')
        for name in views:
            con.unregister(name)


def interrupt(thread: int) -> bool:
    """Make the query of another thread fail; returns whether that thread has one running."""
    return _interrupt(aside.thread_for(thread))


def _interrupt(thread: int | None) -> bool:
    con = _busy.get(thread or 0)
    if con is not None:
        con.interrupt()
    return con is not None


def _sleep_on() -> None:
    """Never return: this thread has no part any more in an interpreter that ends.

    A thread that came back from DuckDB then would bring the process down.
    """
    while True:
        time.sleep(3600)


def _end_queries() -> None:
    """At the end of the interpreter, end the queries of threads that it does not wait for."""
    global _ending
    _ending = True
    give_up = time.monotonic() + _EXIT_SECONDS
    while _busy and time.monotonic() < give_up:
        for con in list(_busy.values()):
            con.interrupt()
        time.sleep(0.001)
    if _busy:  # who destroys a database waits for its queries
        with _lock:
            _never_destroy(list(_made))


def _never_destroy(objects: list[Any]) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(objects))


def _before_fork() -> None:
    _lock.acquire()
    _forking[:] = _made  # what other threads hold would be destroyed in the child before the function below runs


def _after_fork_in_parent() -> None:
    _forking.clear()
    _lock.release()


def _after_fork_in_child() -> None:
    # The parent's database is neither to be used nor to be destroyed here: it has threads and locks that are not.
    global _lock, _local
    _never_destroy(list(_forking))
    _lock, _local = threading.Lock(), threading.local()
    _databases.clear()
    _forking.clear()
    _busy.clear()
    _made.clear()


atexit.register(_end_queries)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _has_nan(table: pa.Table) -> bool:
    """Whether a column, or a field of a struct, has a NaN."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    floats = (c for c in table.columns if pa.types.is_float32(c.type) or pa.types.is_float64(c.type))
    return any(pc.any(pc.is_nan(column)).as_py() for column in floats)
