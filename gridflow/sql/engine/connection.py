"""DuckDB: one in-memory database a process, one connection a thread, and no way out of it.

The database never holds data. A statement registers the Arrow tables it needs under names of its own,
runs, and takes them away again; DuckDB reads the mapped columns where they lie. Files, other
databases, extensions and Python variables are out of its reach, and its settings are locked.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

# GLOBAL, because each thread's connection starts from the global settings.
_SETTINGS = (
    "SET GLOBAL python_enable_replacements = false",
    "SET GLOBAL integer_division = true",  # 5 / 2 is 2, as in Ignite
    "SET GLOBAL arrow_large_buffer_size = true",  # 64-bit offsets: a column may hold more than 2 GiB
    "SET GLOBAL arrow_lossless_conversion = true",  # UUID stays UUID
    "SET GLOBAL TimeZone = 'UTC'",
    # What a join finds out of its keys would become a filter of pyarrow's: DuckDB 1 fails there for a UUID and for
    # UINT64s from 2^63, and the time it saves cannot be measured on columns in memory.
    "SET GLOBAL disabled_optimizers = 'join_filter_pushdown'",
    "SET GLOBAL enable_external_access = false",
    "SET GLOBAL lock_configuration = true",
)
_CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",  # nothing of a grid is written elsewhere
}
# To DuckDB a NaN is greater than any number. DuckDB 1 (for Python 3.10) has pyarrow apply what it can of a WHERE, to
# which a NaN compares as false: so it gets a copy of a table that has one.
_MISSES_NAN = duckdb.__version__.startswith("1.")
# Types whose Arrow form only DuckDB knows: they leave as text.
_AS_TEXT = ("TIME WITH TIME ZONE", "BIT", "BIGNUM", "UHUGEINT", "VARINT", "VARIANT", "GEOMETRY")

_lock = threading.Lock()  # guards the three below
_database: duckdb.DuckDBPyConnection | None = None
_database_pid = 0
_abandoned: list[Any] = []  # a forked child must neither use nor destroy its parent's database
_local = threading.local()  # .connection, .pid: of this thread
_busy: dict[int, duckdb.DuckDBPyConnection] = {}  # by thread, while its connection runs a query


def connection() -> duckdb.DuckDBPyConnection:
    """This thread's connection. Only this thread may use it."""
    global _database, _database_pid
    pid = os.getpid()
    if getattr(_local, "pid", 0) == pid:
        return _local.connection
    with _lock:
        if _database is None or _database_pid != pid:
            _abandoned.extend([_database, getattr(_local, "connection", None)])
            _database = duckdb.connect(":memory:", config=_CONFIG)
            for setting in _SETTINGS:
                _database.execute(setting)
            _database_pid = pid
        _local.connection, _local.pid = _database.cursor(), pid
    return _local.connection


def run(sql: str, tables: Mapping[str, pa.Table], params: Mapping[str, Any] | None = None) -> pa.Table:
    """Run one query over Arrow tables.

    Args:
        sql: one statement in DuckDB's dialect.
        tables: what the names in it mean.
        params: values of its ``$name`` marks, exactly those.

    Returns:
        The whole result, in DuckDB's Arrow types.

    Raises:
        duckdb.Error: as DuckDB says it; ``execution.errors.translate`` makes it ours.
    """
    con = connection()
    registered, copied = [], []
    thread = threading.get_ident()
    _busy[thread] = con
    try:
        for name, table in tables.items():
            mapped = f"{name} mapped" if _MISSES_NAN and _has_nan(table) else name
            con.register(mapped, table)
            registered.append(mapped)
            if mapped != name:
                con.execute(f'CREATE TEMP TABLE "{name}" AS FROM "{mapped}"')
                copied.append(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            relation = con.sql(sql, params=dict(params)) if params else con.sql(sql)
            if relation is None:  # a statement without rows
                return pa.table({})
            if any(str(t) in _AS_TEXT for t in relation.types):
                relation = relation.project(", ".join(map(_readable, relation.columns, relation.types)))
            return relation.to_arrow_table()
    finally:
        _busy.pop(thread, None)
        for name in copied:
            con.execute(f'DROP TABLE "{name}"')
        for name in registered:
            con.unregister(name)


def interrupt(thread: int) -> bool:
    """Make the query that a thread runs fail, from another one. Returns whether it runs one."""
    found = _busy.get(thread)
    if found is not None:
        found.interrupt()
    return found is not None


def _has_nan(table: pa.Table) -> bool:
    """Whether there is a NaN in a column, or in a field of one."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    floats = (c for c in table.columns if pa.types.is_float32(c.type) or pa.types.is_float64(c.type))
    return any(pc.any(pc.is_nan(column)).as_py() for column in floats)


def _readable(name: str, dtype: Any) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    return f"CAST({quoted} AS VARCHAR) AS {quoted}" if str(dtype) in _AS_TEXT else quoted
