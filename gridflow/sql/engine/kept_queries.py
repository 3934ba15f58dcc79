"""Queries that a thread asks DuckDB again and again: views over their tables that stay, and the query bound to them.

To register a table, to bind a query and to unregister the table takes DuckDB longer than a query of a small table. So
a view stands over a ``Window``, which shows another version of the table's rows each time, and none in between: a kept
query holds no rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from .relation import quoted

#: How many queries a thread keeps.
_MOST_QUERIES = 64
# Types whose Arrow form only DuckDB knows: results have them as text.
_AS_TEXT = ("TIME WITH TIME ZONE", "BIT", "BIGNUM", "UHUGEINT", "VARINT", "VARIANT", "GEOMETRY")


class Window:
    """Rows of one schema, as DuckDB reads Arrow: those of the table that is in it."""

    def __init__(self, schema: pa.Schema):
        self.schema = schema
        self.table: pa.Table | None = None
        self.reads = 0

    def __arrow_c_schema__(self) -> Any:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        if self.table is None:
            raise RuntimeError("a query is read that does not run")
        self.reads += 1
        return self.table.__arrow_c_stream__(requested_schema)


class KeptQueries:
    """The kept queries of one connection. Its thread alone uses it."""

    def __init__(self, con: duckdb.DuckDBPyConnection):
        self._con = con
        # What was used last is at the end.
        self._windows: OrderedDict[str, Window] = OrderedDict()  # by the names of their views
        # By text, of queries without parameters: the query, and the names of its views.
        self._relations: OrderedDict[str, tuple[Any, frozenset[str]]] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        """Whether there is a view of that name."""
        return name in self._windows

    def run(self, sql: str, tables: Sequence[tuple[str, pa.Table]], params: Mapping[str, Any]) -> pa.Table:
        """Run a query.

        Args:
            sql: a SELECT, or EXPLAIN of one.
            tables: its tables, by name: there is no other table of that name.
            params: values of its marks, by name.
        """
        windows = [self._window(name, table.schema) for name, table in tables]
        relation, _ = self._relations.pop(sql, (None, None))
        try:
            for window, (_, table) in zip(windows, tables, strict=True):
                window.table, window.reads = table, 0
            if relation is None:
                relation = relation_of(self._con, sql, params)
            # What DuckDB has to run to know its columns holds an answer; so does EXPLAIN.
            is_lazy = not any(window.reads for window in windows) and not sql.startswith("EXPLAIN ")
            answer = relation.to_arrow_table()
        finally:
            for window in windows:
                window.table = None
        if is_lazy and not params:
            self._relations[sql] = relation, frozenset(name for name, _ in tables)
        if len(self._relations) > _MOST_QUERIES:
            self._relations.popitem(last=False)
        while len(self._windows) > max(_MOST_QUERIES, len(tables)):
            name, _ = self._windows.popitem(last=False)
            self._con.unregister(name)
            self._forget(name)
        return answer

    def _window(self, name: str, schema: pa.Schema) -> Window:
        window = self._windows.pop(name, None)
        if window is None or not window.schema.equals(schema):
            window = Window(schema)
            self._con.register(name, window)
            self._forget(name)
        self._windows[name] = window
        return window

    def _forget(self, view: str) -> None:
        """Let go of the queries that are bound to a view as it was."""
        for sql in [sql for sql, (_, views) in self._relations.items() if view in views]:
            del self._relations[sql]


def relation_of(con: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, Any]) -> Any:
    """A statement as DuckDB's relation, with columns that Arrow knows; None for a statement without rows."""
    relation = con.sql(sql, params=dict(params)) if params else con.sql(sql)
    if relation is not None and any(str(t) in _AS_TEXT for t in relation.types):
        relation = relation.project(", ".join(map(_readable, relation.columns, relation.types)))
    return relation


def _readable(name: str, dtype: Any) -> str:
    return f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" if str(dtype) in _AS_TEXT else quoted(name)
