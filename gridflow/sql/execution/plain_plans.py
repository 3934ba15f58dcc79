"""The plans of queries of one table that need no engine: its plain columns, or how many rows it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from ...errors import SqlError
from ...faces import GridFace, ReadableTable
from ...schema import Type
from ...storage.arrow import user_type
from ..access.keys import KeyLookup
from ..access.path import AccessPath, ByIndex, ByKey, ByKeyRange, Scan
from ..grammar.literals import Constant
from ..result import Result
from ..text.params import Marks, plain
from ..views.views import is_table
from .engine_plans import EnginePlan
from .fast_path import select_fast_path
from .query_plan import QueryPlan, path_line


@dataclass(frozen=True)
class Limits:
    """LIMIT and OFFSET of a query; None where there is none."""

    limit: Constant | None = None
    offset: Constant | None = None

    def __bool__(self) -> bool:
        return self.limit is not None or self.offset is not None

    def range(self, params: Mapping[str, Any]) -> tuple[int, int | None]:
        """How many rows are left out, and how many follow at most; None: all.

        Raises:
            SqlError: a parameter is no number of rows.
        """
        first = _count("OFFSET", self.offset.get(params)) if self.offset else 0
        return first or 0, _count("LIMIT", self.limit.get(params)) if self.limit else None


def _count(what: str, value: Any) -> int | None:
    """The number of a LIMIT or OFFSET; null means there is none."""
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SqlError(f"{what} {value!r}: it takes a whole number from 0")
    return value


@dataclass(eq=False)
class CountPlan(QueryPlan):
    """How many rows the only table has, which its version says.

    Attributes:
        label: of the result's column.
    """

    label: str

    def result(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result:
        count = pa.array([len(tables[0])], pa.int64())
        return Result(pa.table({self.label: count}), statement="SELECT", types=[None])

    def schema(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> pa.Schema:
        return pa.schema({self.label: pa.int64()})

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        return [f"{tables[0].name}: number of its rows, {len(tables[0]):,}; without the engine"]


@dataclass(eq=False)
class PlainPlan(QueryPlan):
    """Plain columns of the only table, and how many rows of them.

    Attributes:
        projection: (column of the table, label in the result) of each result column.
        limits: LIMIT and OFFSET.
    """

    projection: list[tuple[str, str]]
    limits: Limits

    @property
    def columns(self) -> list[str]:
        """The table's columns that are read, each once."""
        return list(dict.fromkeys(name for name, _ in self.projection))

    def schema(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> pa.Schema:
        types = self.bound.sources[0].schema
        return pa.schema([pa.field(label, user_type(types[name].type)) for name, label in self.projection])

    def _result_of(self, path: AccessPath, params: Mapping[str, Any]) -> Result:
        """The rows of a path as they lie."""
        table = path.rows(self.columns)
        columns = [table.column(name) for name, _ in self.projection]
        rows = pa.Table.from_arrays(columns, names=[label for _, label in self.projection])
        first, count = self.limits.range(params)
        types = self.types(name for name, _ in self.projection)
        count = rows.num_rows if count is None else min(count, rows.num_rows)
        return Result(rows.slice(min(first, rows.num_rows), count), statement="SELECT", types=types)

    def _line(self, path: AccessPath) -> str:
        return f"{path_line(path, self.columns)}; without the engine"


@dataclass(eq=False)
class MappedPlan(PlainPlan):
    """All rows, as they lie."""

    def result(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result:
        return self._result_of(Scan(tables[0]), params)

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        return [self._line(Scan(tables[0]))]


@dataclass(eq=False)
class IndexPlan(PlainPlan):
    """The rows of an index, or under keys in a row; ``otherwise`` where these parameters call for more."""

    otherwise: EnginePlan

    def result(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result:
        paths = self.otherwise.paths(tables, params)
        if self._is_whole(paths[0]):
            return self._result_of(paths[0], params)
        return self.otherwise.compute(paths, params)

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        paths = self.otherwise.paths(tables, params)
        if self._is_whole(paths[0]):
            return [f"{self.otherwise.explain_path(paths[0], self.bound.sources[0])}; without the engine"]
        return self.otherwise.explain_paths(paths, params)

    @staticmethod
    def _is_whole(path: AccessPath) -> bool:
        return isinstance(path, (ByIndex, ByKeyRange)) and path.exact


@dataclass(eq=False)
class KeyPlan(PlainPlan):
    """The rows under some keys; ``otherwise`` where these parameters call for a scan.

    Attributes:
        lookup: the keys.
        row: makes a row of the result of a key and a value.
        marks: the statement's parameters.
    """

    lookup: KeyLookup
    row: Callable[[Any, Any], tuple[Any, ...]]
    marks: Marks
    otherwise: EnginePlan

    @cached_property
    def result_names(self) -> tuple[str, ...]:
        """The names of the result's columns."""
        return tuple(label for _, label in self.projection)

    @cached_property
    def result_types(self) -> tuple[Type, ...]:
        """The types of the result's columns."""
        schema = self.bound.sources[0].schema
        return tuple(schema[name].type for name, _ in self.projection)

    def run(self, grid: GridFace, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result | None:
        keys = self.lookup.keys_if_exact(params)
        if keys is None:
            return self.otherwise.run(grid, tables, params)
        (table,) = tables
        assert is_table(table)  # it has a key
        try:
            rows = [self.row(key, value) for key, value in table.get_all(keys).items()]
        except KeyError:  # the table has other columns than planned
            if self.is_for(tables):
                raise
            return None
        if not self.is_for(tables):
            return None
        names, types = self.result_names, self.result_types
        if self.limits:
            first, count = self.limits.range(params)
            rows = rows[first:] if count is None else rows[first : first + count]
        else:
            # Anew each time: the table may be another one with the same columns. One of a transaction gives none.
            source = self.bound.sources[0]
            columns = [name for name, _ in self.projection]
            fast_path = select_fast_path(table, source, self.lookup, names, types, columns, self.marks)
            self.fast_path = fast_path or self.fast_path
        return Result.of_values(names, types, rows)

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        keys = self.lookup.keys_if_exact(params)
        if keys is None:
            return self.otherwise.explain(tables, params)
        (table,) = tables
        assert is_table(table)  # it has a key
        return [self._line(ByKey(table, keys))]
