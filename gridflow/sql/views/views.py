"""The views of schema SYS: what a grid is and does, as tables that any query may read and join.

Names and columns are those of Apache Ignite 2.x where that has such a view; columns of our own come after them.
Things that Ignite has and a grid has not (cache groups, for instance) have a value that says so. A view is read once
for a statement. Times are in UTC; durations in milliseconds, as in Ignite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import pyarrow as pa

from ...errors import TableNotFoundError, did_you_mean
from ...faces import GridFace, IndexFace, Narrowing, OpenGridFace, ReadableTable, TableFace
from ...schema import Column, Schema, parse_columns
from ...storage.mapped_rows import MappedRows
from ...storage.past_table import PastTable
from ...storage.python_columns import arrow_column
from ..grammar.schemas import PUBLIC_SCHEMA, SYSTEM_SCHEMA
from . import process_rows, table_rows

Rows = Callable[[OpenGridFace, set[str]], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True)
class View:
    """A system view. ``rows`` returns the rows for a grid, with these columns at least."""

    name: str
    description: str
    schema: Schema
    rows: Rows


class NoIndexes:
    """The indexes of a view: there are none."""

    def all(self) -> Sequence[IndexFace]:
        """None."""
        return ()


class SystemView:
    """A view of schema SYS of one grid: a ``ReadableTable``.

    Attributes:
        name: with the schema: ``SYS.TABLES``.
        schema: its columns; it has no key.
        options: none, as it has no table.
        indexes: none: the rows come into being when they are read.
    """

    options: Mapping[str, Any] = {}
    indexes = NoIndexes()

    def __init__(self, grid: GridFace, view: View):
        self._grid = grid
        self._view = view
        self.name = f"{SYSTEM_SCHEMA}.{view.name}"
        self.schema = view.schema

    def __len__(self) -> int:
        return self.to_arrow(self.schema.names[:1]).num_rows

    def to_arrow(self, columns: Iterable[str] | None = None) -> pa.Table:
        """The rows as they are now, as the grid's owner sees them."""
        return self._grid.system_view(self._view.name, columns)

    def _mapped(self, columns: Iterable[str]) -> MappedRows:
        """The rows as they are now; none of them is deleted."""
        return MappedRows(self.to_arrow(columns))

    def _narrow(self, narrowing: Narrowing[Any]) -> None:
        """None: a view is read as a whole."""
        return None

    def _find_indexed(self, choices: Sequence[Any]) -> None:
        """None: a view is read as a whole."""
        return None


def is_table(relation: ReadableTable) -> TypeGuard[TableFace]:
    """Whether a relation is a table as it is; else it is a view, or a past version of one."""
    return not isinstance(relation, SystemView | PastTable)


def find_view(name: str) -> View:
    """The view of a name without its schema.

    Raises:
        TableNotFoundError: there is no such view; the message lists the views.
    """
    if name not in _VIEWS:
        raise TableNotFoundError(
            f"no system view {SYSTEM_SCHEMA}.{name}; {did_you_mean(name, _VIEWS)}", table=f"{SYSTEM_SCHEMA}.{name}"
        )
    return _VIEWS[name]


def view_names() -> list[str]:
    """The names of all views, sorted."""
    return sorted(_VIEWS)


def rows_of(grid: OpenGridFace, name: str, columns: Iterable[str] | None = None) -> pa.Table:
    """The rows of a view, of a grid that this process has open itself.

    Raises:
        TableNotFoundError, ColumnNotFoundError: there is no such view or column.
    """
    view = find_view(name)
    names = view.schema.names if columns is None else list(columns)
    schema = Schema(tuple(view.schema[column] for column in names))
    rows = list(view.rows(grid, set(names)))
    arrays = [arrow_column([row.get(column.name) for row in rows], column.type) for column in schema.columns]
    return pa.Table.from_arrays(arrays, names=schema.names)


def _views(grid: OpenGridFace, columns: set[str]) -> Iterable[Mapping[str, Any]]:
    return [{"NAME": view.name, "SCHEMA": SYSTEM_SCHEMA, "DESCRIPTION": view.description} for view in sorted_views()]


def _view_columns(grid: OpenGridFace, columns: set[str]) -> Iterable[Mapping[str, Any]]:
    return [
        {"VIEW_NAME": view.name, "SCHEMA_NAME": SYSTEM_SCHEMA, **table_rows.column_facts(column)}
        for view in sorted_views()
        for column in view.schema.columns
    ]


def _schemas(grid: OpenGridFace, columns: set[str]) -> Iterable[Mapping[str, Any]]:
    return [{"NAME": name, "PREDEFINED": True} for name in (PUBLIC_SCHEMA, SYSTEM_SCHEMA)]


def sorted_views() -> list[View]:
    """All views, by name."""
    return [_VIEWS[name] for name in view_names()]


def _view(name: str, description: str, columns: str, rows: Rows) -> View:
    pairs = parse_columns(columns)
    schema = Schema(tuple(Column(column, dtype, i + 1) for i, (column, dtype) in enumerate(pairs)))
    return View(name, description, schema, rows)


_TABLE = "SCHEMA_NAME VARCHAR NOT NULL, TABLE_NAME VARCHAR NOT NULL"
_CACHE = "CACHE_ID INT NOT NULL, CACHE_NAME VARCHAR NOT NULL"
_GROUP = "CACHE_GROUP_ID INT NOT NULL, CACHE_GROUP_NAME VARCHAR NOT NULL"
_COLUMN = """AFFINITY_COLUMN BOOLEAN NOT NULL, AUTO_INCREMENT BOOLEAN NOT NULL, DEFAULT_VALUE VARCHAR,
    NULLABLE BOOLEAN NOT NULL, PK BOOLEAN NOT NULL, PRECISION INT, SCALE INT, TYPE VARCHAR NOT NULL,
    ORDINAL_POSITION INT NOT NULL"""
_QUERY = """SQL VARCHAR NOT NULL, SCHEMA_NAME VARCHAR NOT NULL, LOCAL BOOLEAN NOT NULL, KIND VARCHAR NOT NULL"""

_VIEWS = {
    view.name: view
    for view in (
        _view(
            "TABLES",
            "The tables, with the options that they were made with",
            f"""{_TABLE}, {_CACHE}, {_GROUP}, AFFINITY_KEY_COLUMN VARCHAR, KEY_ALIAS VARCHAR, KEY_TYPE_NAME VARCHAR,
            VALUE_ALIAS VARCHAR, VALUE_TYPE_NAME VARCHAR, IS_INDEX_REBUILD_IN_PROGRESS BOOLEAN NOT NULL,
            CACHE_MODE VARCHAR NOT NULL, ATOMICITY_MODE VARCHAR NOT NULL, OPTIONS VARCHAR NOT NULL,
            PARTITIONS_COUNT INT NOT NULL, ROWS_COUNT LONG NOT NULL, SEGMENTS_COUNT INT NOT NULL,
            BYTES LONG NOT NULL, VERSION LONG NOT NULL, TABLE_ID INT NOT NULL, KEPT_VERSIONS INT NOT NULL,
            KEPT_BYTES LONG NOT NULL""",
            table_rows.tables,
        ),
        _view(
            "TABLE_VERSIONS",
            "The versions of all tables that can be read; bytes are those of its segments, which versions may share",
            f"""{_TABLE}, VERSION LONG NOT NULL, IS_CURRENT BOOLEAN NOT NULL, TAGS VARCHAR, ROWS_COUNT LONG NOT NULL,
            SEGMENTS_COUNT INT NOT NULL, BYTES LONG NOT NULL""",
            table_rows.table_versions,
        ),
        _view(
            "TABLE_COLUMNS",
            "The columns of all tables",
            f"{_TABLE}, COLUMN_NAME VARCHAR NOT NULL, {_COLUMN}",
            table_rows.table_columns,
        ),
        _view(
            "INDEXES",
            "Primary keys (_key_PK: rows are found by the hash of their key) and the indexes of CREATE INDEX",
            f"""{_TABLE}, INDEX_NAME VARCHAR NOT NULL, INDEX_TYPE VARCHAR NOT NULL, COLUMNS VARCHAR NOT NULL,
            IS_PK BOOLEAN NOT NULL, IS_UNIQUE BOOLEAN NOT NULL, INLINE_SIZE INT, {_CACHE}, {_GROUP}""",
            table_rows.indexes,
        ),
        _view(
            "PARTITIONS",
            "The partitions of all tables, empty ones too; bytes are those of column data",
            f"""{_TABLE}, PARTITION_ID INT NOT NULL, CACHE_GROUP_ID INT NOT NULL, NODE_ID UUID, STATE VARCHAR NOT NULL,
            IS_PRIMARY BOOLEAN NOT NULL, ROWS_COUNT LONG NOT NULL, BYTES LONG NOT NULL""",
            table_rows.partitions,
        ),
        _view(
            "SEGMENTS",
            "The files that hold the tables' rows; what was written last is in the log and in none of them yet",
            f"""{_TABLE}, SEGMENT_ID LONG NOT NULL, ROWS_COUNT LONG NOT NULL, DELETED_COUNT LONG NOT NULL,
            BYTES LONG NOT NULL, FILE VARCHAR NOT NULL""",
            table_rows.segments,
        ),
        _view(
            "FILES",
            "The files of the grid's file tier. There is none yet, so there are no rows",
            "PATH VARCHAR NOT NULL, IS_DIRECTORY BOOLEAN NOT NULL, SIZE LONG NOT NULL, MTIME TIMESTAMP NOT NULL",
            lambda grid, columns: (),
        ),
        _view(
            "USERS",
            "The users that CREATE USER has made; none is there by itself",
            "NAME VARCHAR NOT NULL, CREATED TIMESTAMP NOT NULL, CHANGED TIMESTAMP NOT NULL",
            process_rows.users,
        ),
        _view(
            "GRANTS",
            "What users were granted: rights on a table, or roles, which are for all of them",
            "USER_NAME VARCHAR NOT NULL, TABLE_NAME VARCHAR, PRIVILEGE VARCHAR NOT NULL",
            process_rows.grants,
        ),
        _view(
            "NODES",
            "The process that owns the grid; none while nobody does",
            """NODE_ID UUID, CONSISTENT_ID VARCHAR NOT NULL, VERSION VARCHAR, IS_CLIENT BOOLEAN NOT NULL,
            IS_LOCAL BOOLEAN NOT NULL, NODE_ORDER INT NOT NULL, ADDRESSES VARCHAR, HOSTNAMES VARCHAR NOT NULL,
            PID INT NOT NULL, START_TIME TIMESTAMP""",
            process_rows.nodes,
        ),
        _view(
            "CLIENT_CONNECTIONS",
            "The processes that use the grid through its server; USER is empty where nobody was asked for one",
            """CONNECTION_ID LONG NOT NULL, LOCAL_ADDRESS VARCHAR NOT NULL, REMOTE_ADDRESS VARCHAR NOT NULL,
            TYPE VARCHAR NOT NULL, "USER" VARCHAR, VERSION VARCHAR NOT NULL, PID INT NOT NULL,
            START_TIME TIMESTAMP NOT NULL""",
            process_rows.client_connections,
        ),
        _view(
            "SQL_QUERIES",
            "The statements that run now. A client runs queries itself: it shows its own, and those of the owner",
            f"""QUERY_ID VARCHAR NOT NULL, {_QUERY}, ORIGIN_NODE_ID UUID NOT NULL, START_TIME TIMESTAMP NOT NULL,
            DURATION LONG NOT NULL, INITIATOR_ID VARCHAR, SUBJECT_ID UUID, PID INT NOT NULL""",
            process_rows.sql_queries,
        ),
        _view(
            "SQL_QUERIES_HISTORY",
            "The last 1000 different statements that ran, by text, since the grid was opened",
            f"""{_QUERY}, EXECUTIONS LONG NOT NULL, FAILURES LONG NOT NULL, DURATION_MIN LONG NOT NULL,
            DURATION_MAX LONG NOT NULL, LAST_START_TIME TIMESTAMP NOT NULL, DURATION_LAST DOUBLE NOT NULL,
            DURATION_TOTAL DOUBLE NOT NULL, ROWS_COUNT LONG NOT NULL, LAST_ERROR VARCHAR, PID INT NOT NULL""",
            process_rows.sql_queries_history,
        ),
        _view(
            "METRICS",
            "Counts and sizes of the grid and of the process that owns it",
            "NAME VARCHAR NOT NULL, VALUE LONG NOT NULL, DESCRIPTION VARCHAR NOT NULL",
            process_rows.metrics,
        ),
        _view(
            "MIRROR",
            "What has come of the tables of grids elsewhere, by user and machine; it is the same in all grids",
            f"""GRID VARCHAR NOT NULL, {_TABLE}, SEGMENTS_COUNT INT NOT NULL, BYTES LONG NOT NULL,
            PRESENT_BYTES LONG NOT NULL, LAST_USED TIMESTAMP NOT NULL, IN_USE BOOLEAN NOT NULL""",
            process_rows.mirror,
        ),
        _view("SCHEMAS", "The schemas", "NAME VARCHAR NOT NULL, PREDEFINED BOOLEAN NOT NULL", _schemas),
        _view(
            "VIEWS",
            "The views of this schema",
            "NAME VARCHAR NOT NULL, SCHEMA VARCHAR NOT NULL, DESCRIPTION VARCHAR NOT NULL",
            _views,
        ),
        _view(
            "VIEW_COLUMNS",
            "The columns of the views of this schema",
            """VIEW_NAME VARCHAR NOT NULL, SCHEMA_NAME VARCHAR NOT NULL, COLUMN_NAME VARCHAR NOT NULL,
            DEFAULT_VALUE VARCHAR, NULLABLE BOOLEAN NOT NULL, PRECISION INT, SCALE INT, TYPE VARCHAR NOT NULL""",
            _view_columns,
        ),
    )
}
