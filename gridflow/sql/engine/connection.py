"""DuckDB: one in-memory database a process, one connection a thread, and no way out of it.

The database never holds data. A statement registers the Arrow tables it needs under names of its own,
runs, and takes them away again; DuckDB reads the mapped columns where they lie. Files, other
databases, extensions and Python variables are out of its reach, and its settings are locked.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    # This optimizer turns the range of a join's keys into a filter of pyarrow's: DuckDB 1 fails there for a UUID and
    # for UINT64s from 2^63, and no time saved can be measured on columns in memory.
    "SET GLOBAL disabled_optimizers = 'join_filter_pushdown'",
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
# Types whose Arrow form only DuckDB knows: results have them as text.
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


@dataclass(frozen=True)
class Relation:
    """The rows of one of a query's tables.

    Attributes:
        rows: rows of it.
        tested: others, with a last column more, which is null where the row is one of the relation's.
        unless: the name of that column.
    """

    rows: pa.Table
    tested: pa.Table | None = None
    unless: str = ""


def run(sql: str, tables: Mapping[str, Relation], params: Mapping[str, Any] | None = None) -> pa.Table:
    """Run one query over Arrow tables.

    Args:
        sql: one statement in DuckDB's dialect.
        tables: the rows of the statement's tables, by name.
        params: values of all ``$name`` marks of the statement, by name, and no others.

    Returns:
        The whole result, in DuckDB's Arrow types.

    Raises:
        duckdb.Error: the query fails; ``execution.errors.translate`` makes an error of ours of this one.
    """
    con = connection()
    views: list[str] = []
    copies: list[str] = []
    thread = threading.get_ident()
    _busy[thread] = con
    try:
        for name, table in _parts(tables):
            view = f"{name} mapped" if _MISSES_NAN and _has_nan(table) else name
            con.register(view, table)
            views.append(view)
            if view != name:
                con.execute(f'CREATE TEMP TABLE "{name}" AS FROM "{view}"')
                copies.append(name)
        sql = _with_tests(sql, tables)
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
        for name in copies:
            con.execute(f'DROP TABLE "{name}"')
        for name in views:
            con.unregister(name)


#: What a part of a relation is registered as, after its name.
_ROWS, _TESTED = " rows", " tested"
_BEGINNING = re.compile(r"(EXPLAIN )?(WITH (?:RECURSIVE )?)?")


def _parts(tables: Mapping[str, Relation]) -> Iterator[tuple[str, pa.Table]]:
    """The tables to register, by name."""
    for name, relation in tables.items():
        if relation.tested is None:
            yield name, relation.rows
        else:
            if relation.rows.num_rows:
                yield name + _ROWS, relation.rows
            yield name + _TESTED, relation.tested


def _with_tests(sql: str, tables: Mapping[str, Relation]) -> str:
    """The statement with each relation that has rows to be tested as a query of its own, which goes before it."""
    queries = []
    for name, relation in tables.items():
        if relation.tested is not None:
            names = ", ".join(map(_quoted, relation.rows.column_names))
            test = f"SELECT {names} FROM {_quoted(name + _TESTED)} WHERE {_quoted(relation.unless)} IS NULL"
            both = f"SELECT {names} FROM {_quoted(name + _ROWS)} UNION ALL " if relation.rows.num_rows else ""
            queries.append(f"{_quoted(name)} AS NOT MATERIALIZED ({both}{test})")
    if not queries:
        return sql
    beginning = _BEGINNING.match(sql)
    assert beginning is not None  # it matches anything
    explain, with_ = beginning.groups()
    rest = sql[beginning.end() :]
    return f"{explain or ''}{with_ or 'WITH '}{', '.join(queries)}{', ' if with_ else ' '}{rest}"


def interrupt(thread: int) -> bool:
    """Make the query that another thread runs fail; returns whether that thread runs one."""
    con = _busy.get(thread)
    if con is not None:
        con.interrupt()
    return con is not None


def _has_nan(table: pa.Table) -> bool:
    """Whether a column, or a field of a struct, has a NaN."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    floats = (c for c in table.columns if pa.types.is_float32(c.type) or pa.types.is_float64(c.type))
    return any(pc.any(pc.is_nan(column)).as_py() for column in floats)


def _readable(name: str, dtype: Any) -> str:
    quoted = _quoted(name)
    return f"CAST({quoted} AS VARCHAR) AS {quoted}" if str(dtype) in _AS_TEXT else quoted


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
