"""The ways in which a query is run. ``plan`` chooses one; none changes what the result is.

KeyPlan     SELECT of plain columns where a WHERE fixes the primary key: values as they come, without the engine
MappedPlan  SELECT of plain columns and nothing else: the answer is the mapping itself
IndexPlan   SELECT of plain columns where indexes know the whole WHERE: the rows of the index, if just these
LatePlan    a tensor that only passes through is not given to the engine: it answers with row numbers, and the
            tensors of those rows are then taken from the mapping in one copy
EnginePlan  everything else: the engine computes over the rows to which ``access`` has found a path
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import SqlError
from ...faces import GridFace, ReadableTable
from ...schema import Type
from ..access.index_rows import Conditions
from ..access.keys import KeyLookup
from ..access.path import AccessPath, ByIndex, ByKey, Scan, access_path
from ..binding.bound import Bound, BoundTable
from ..engine.connection import run
from ..engine.from_duckdb import fit, from_duckdb
from ..grammar.literals import Constant
from ..result import Result
from ..text.params import Marks, plain
from ..views.views import is_table
from .cut import at_one_moment
from .errors import translated
from .fast_path import FastPath, select_fast_path
from .rows import register, take_rows

#: (column of the only table, label in the result) of each column of a result.
Projection = list[tuple[str, str]]


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
class QueryPlan:
    """A query made ready for the tables it names. Threads share it: it never changes but for ``fast_path``.

    Attributes:
        bound: the statement with its tables found.
        fast_path: what runs it when it is executed again, where there is such a thing.
    """

    bound: Bound
    fast_path: FastPath | None = field(default=None, init=False)

    def is_for(self, tables: Sequence[ReadableTable]) -> bool:
        """Whether tables have the columns that the plan was made for."""
        return all(
            table.schema is source.schema or table.schema == source.schema
            for source, table in zip(self.bound.sources, tables, strict=True)
        )

    def run(self, grid: GridFace, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result | None:
        """The result, from these tables; None if they have got other columns just now."""
        tables = at_one_moment(grid, tables)
        return self.result(tables, params) if self.is_for(tables) else None

    def result(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result:
        """The result, from tables as they are at one moment."""
        raise NotImplementedError

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        """What would be read, a line a table, and what the engine would do."""
        raise NotImplementedError


@dataclass(eq=False)
class EnginePlan(QueryPlan):
    """A query that the engine runs.

    Attributes:
        sql: for the engine.
        lookups: table -> the keys that its WHERE fixes.
        conditions: what indexes of its only table may answer.
        columns: of each result column the column of the only table that it is, where that can be told.
    """

    sql: str
    lookups: dict[str, KeyLookup]
    conditions: Conditions | None
    columns: list[str | None]

    def paths(self, tables: Sequence[ReadableTable], params: Mapping[str, Any]) -> list[AccessPath]:
        """How the rows of each table are reached."""
        return [
            access_path(table, self.lookups.get(source.name), self.conditions, params)
            for source, table in zip(self.bound.sources, tables, strict=True)
        ]

    def result(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result:
        return self.compute(self.paths(tables, params), params)

    def compute(self, paths: list[AccessPath], params: Mapping[str, Any]) -> Result:
        """The result, from the rows to which there are paths. Each is read once."""
        return self._finished(self._engine(self.sql, self._read(paths), params))

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        return self.explain_paths(self.paths(tables, params), params)

    def explain_paths(self, paths: list[AccessPath], params: Mapping[str, Any]) -> list[str]:
        """A line for each path, and the engine's own plan."""
        lines = [self.explain_path(path, source) for source, path in zip(self.bound.sources, paths, strict=True)]
        explained = self._engine(f"EXPLAIN {self.sql}", self._read(paths), params)
        for text in explained.column(explained.num_columns - 1).to_pylist():
            lines += text.rstrip().splitlines()
        return lines

    def explain_path(self, path: AccessPath, source: BoundTable) -> str:
        """The line of one path."""
        return _line(path, source.columns)

    def _read(self, paths: list[AccessPath]) -> dict[str, pa.Table]:
        """What the engine gets."""
        return {
            source.registered: register(path.rows(source.columns), source, self.bound)
            for source, path in zip(self.bound.sources, paths, strict=True)
        }

    def _engine(self, sql: str, rows: dict[str, pa.Table], params: Mapping[str, Any]) -> pa.Table:
        values = {mark: plain(value) for mark, value in params.items()}
        with translated(self.bound):
            try:
                return run(sql, rows, values)
            except pa.ArrowException as error:
                raise SqlError(f"the result does not fit Arrow: {error}") from None

    def _finished(self, rows: pa.Table) -> Result:
        """What the engine gives as a result, with the names and types of the table's own columns."""
        return self._named(from_duckdb(rows))

    def _named(self, rows: pa.Table) -> Result:
        types = _types(self.bound, self.columns)
        for i, dtype in enumerate(types[: rows.num_columns]):
            if dtype is not None:  # the engine may not know it
                rows = rows.set_column(i, rows.column_names[i], fit(rows.column(i), dtype))
        names = [self.bound.originals.get(name, name) for name in rows.column_names]
        return Result(rows.rename_columns(names), statement="SELECT", types=types)


@dataclass(eq=False)
class LatePlan(EnginePlan):
    """A query of one table that the engine runs without some of its tensors.

    Attributes:
        late: result column -> the table's column that it is.
        labels: of all result columns.
    """

    late: dict[int, str]
    labels: list[str]

    def compute(self, paths: list[AccessPath], params: Mapping[str, Any]) -> Result:
        rows, whole = self._read_with_tensors(paths)
        found = from_duckdb(self._engine(self.sql, rows, params))
        numbers = found.column(0).to_numpy()
        tensors = {name: take_rows(whole.column(name), numbers) for name in set(self.late.values())}
        others = iter(found.columns[1:])
        columns = [tensors[self.late[i]] if i in self.late else next(others) for i in range(len(self.labels))]
        return self._named(pa.Table.from_arrays(columns, names=self.labels))

    def _read(self, paths: list[AccessPath]) -> dict[str, pa.Table]:
        return self._read_with_tensors(paths)[0]

    def _read_with_tensors(self, paths: list[AccessPath]) -> tuple[dict[str, pa.Table], pa.Table]:
        """What the engine gets, with numbers for the rows, and the rows that these are the numbers of."""
        (path,), (source,) = paths, self.bound.sources
        late = list(dict.fromkeys(self.late.values()))
        if isinstance(path, ByIndex):
            whole, numbers = path.spread(late)
            rows = path.rows(source.columns)
        else:
            rows = whole = path.rows(list(dict.fromkeys([*source.columns, *late])))
            numbers = np.arange(rows.num_rows)
        return {source.registered: register(rows, source, self.bound, numbers=numbers)}, whole

    def explain_path(self, path: AccessPath, source: BoundTable) -> str:
        late = ", ".join(dict.fromkeys(self.late.values()))
        return f"{_line(path, source.columns)}; after the engine: {late}"


@dataclass(eq=False)
class MappedPlan(QueryPlan):
    """Some columns of a table, as they lie."""

    projection: Projection
    limits: Limits

    def result(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result:
        return _projected(self.bound, self.projection, self.limits, Scan(tables[0]), params)

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        return [f"{_line(Scan(tables[0]), _names(self.projection))}; without the engine"]


@dataclass(eq=False)
class IndexPlan(QueryPlan):
    """Some columns of the rows of an index; ``otherwise`` where these parameters call for more."""

    projection: Projection
    limits: Limits
    otherwise: EnginePlan

    def result(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result:
        paths = self.otherwise.paths(tables, params)
        if self._is_whole(paths[0]):
            return _projected(self.bound, self.projection, self.limits, paths[0], params)
        return self.otherwise.compute(paths, params)

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        paths = self.otherwise.paths(tables, params)
        if self._is_whole(paths[0]):
            return [f"{self.otherwise.explain_path(paths[0], self.bound.sources[0])}; without the engine"]
        return self.otherwise.explain_paths(paths, params)

    @staticmethod
    def _is_whole(path: AccessPath) -> bool:
        return isinstance(path, ByIndex) and path.exact


@dataclass(eq=False)
class KeyPlan(QueryPlan):
    """Some columns of the rows under some keys; ``otherwise`` where these parameters call for a scan.

    Attributes:
        lookup: the keys.
        row: makes a row of the result of a key and a value.
        marks: the statement's parameters.
    """

    projection: Projection
    limits: Limits
    lookup: KeyLookup
    row: Callable[[Any, Any], tuple[Any, ...]]
    marks: Marks
    otherwise: EnginePlan

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the result's columns."""
        return tuple(label for _, label in self.projection)

    @cached_property
    def types(self) -> tuple[Type, ...]:
        """Of the result's columns."""
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
        except KeyError:  # of other columns than planned
            if self.is_for(tables):
                raise
            return None
        if not self.is_for(tables):
            return None
        if self.limits:
            first, count = self.limits.range(params)
            rows = rows[first:] if count is None else rows[first : first + count]
        if not self.limits:
            # Anew each time: the table may be another one with the same columns. One of a transaction gives none.
            source = self.bound.sources[0]
            fast_path = select_fast_path(table, source, self.lookup, self.names, self.types, self.row, self.marks)
            self.fast_path = fast_path or self.fast_path
        return Result.of_values(self.names, self.types, rows)

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        keys = self.lookup.keys_if_exact(params)
        if keys is None:
            return self.otherwise.explain(tables, params)
        (table,) = tables
        assert is_table(table)
        return [f"{_line(ByKey(table, keys), _names(self.projection))}; without the engine"]


def _line(path: AccessPath, columns: Iterable[str]) -> str:
    return f"{path.table.name}: {path.describe()}, columns {', '.join(columns)}"


def _names(projection: Projection) -> list[str]:
    return list(dict.fromkeys(name for name, _ in projection))


def _types(bound: Bound, columns: Iterable[str | None]) -> list[Type | None]:
    """The types of the result's columns that are the only table's own."""
    return [None if name is None else bound.sources[0].schema[name].type for name in columns]


def _projected(
    bound: Bound, projection: Projection, limits: Limits, path: AccessPath, params: Mapping[str, Any]
) -> Result:
    """The rows of a path as they are."""
    table = path.rows(_names(projection))
    columns = [table.column(name) for name, _ in projection]
    rows = pa.Table.from_arrays(columns, names=[label for _, label in projection])
    first, count = limits.range(params)
    types = _types(bound, [name for name, _ in projection])
    return Result(rows.slice(min(first, rows.num_rows), count), statement="SELECT", types=types)
