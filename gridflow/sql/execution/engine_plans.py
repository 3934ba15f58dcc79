"""The plans of queries that the engine runs: with all columns that it needs, or with tensors that come late."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ...faces import ReadableTable
from ..access.index_rows import Conditions
from ..access.keys import KeyLookup
from ..access.path import AccessPath, ByIndex, ByKeyRange, NoRows, access_path
from ..access.zones import Firsts
from ..binding.bound import BoundTable
from ..engine.connection import run
from ..engine.from_duckdb import fit, from_duckdb
from ..engine.relation import Relation
from ..result import Result
from ..text.params import plain
from .errors import translated
from .query_plan import QueryPlan, path_line
from .rows import register, take_rows, with_lists


@dataclass(eq=False)
class EnginePlan(QueryPlan):
    """A query that the engine runs.

    Attributes:
        sql: the query, for the engine.
        lookups: table -> the keys that the WHERE fixes.
        conditions: what of the WHERE narrows the only table.
        firsts: what of all rows of the only table is asked for, if it is not all.
        columns: for each result column, the column of the only table that it is; None if it is none.
        kept: whether the engine may keep the query: it has one table, no query within, and is planned in the same way
            however many rows there are.
    """

    sql: str
    lookups: dict[str, KeyLookup]
    conditions: Conditions | None
    columns: list[str | None]
    firsts: Firsts | None = field(default=None, kw_only=True)
    kept: bool = field(default=False, kw_only=True)

    def paths(self, tables: Sequence[ReadableTable], params: Mapping[str, Any]) -> list[AccessPath]:
        """The access path to the rows of each table."""
        return [
            access_path(table, self.lookups.get(source.name), self.conditions, params, self.firsts)
            for source, table in zip(self.bound.sources, tables, strict=True)
        ]

    def result(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> Result:
        return self.compute(self.paths(tables, params), params)

    def schema(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> pa.Schema:
        # A sum of integers is said to be an INT64, which it is unless it is larger than one.
        return self.compute([NoRows(table) for table in tables], params).to_arrow().schema

    def compute(self, paths: list[AccessPath], params: Mapping[str, Any]) -> Result:
        """The result, from the rows of some paths, each of which is read once."""
        return self._result(from_duckdb(self._engine(self.sql, self._rows(paths), params)))

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        return self.explain_paths(self.paths(tables, params), params)

    def explain_paths(self, paths: list[AccessPath], params: Mapping[str, Any]) -> list[str]:
        """A line for each path, and the engine's own plan."""
        lines = [self.explain_path(path, source) for source, path in zip(self.bound.sources, paths, strict=True)]
        engine_plan = self._engine(f"EXPLAIN {self.sql}", self._rows(paths), params)
        for text in engine_plan.column(engine_plan.num_columns - 1).to_pylist():
            lines += text.rstrip().splitlines()
        return lines

    def explain_path(self, path: AccessPath, source: BoundTable) -> str:
        """The line of one path."""
        return path_line(path, source.columns)

    def _rows(self, paths: list[AccessPath]) -> dict[str, Relation]:
        """Registered name -> rows, for the engine."""
        return {
            source.registered: register(path._mapped(source.columns), source, self.bound)
            for source, path in zip(self.bound.sources, paths, strict=True)
        }

    def _engine(self, sql: str, rows: dict[str, Relation], params: Mapping[str, Any]) -> pa.Table:
        values = {mark: plain(value) for mark, value in params.items() if mark not in self.bound.version_marks}
        sql, lists = with_lists(sql, self.bound, values)
        # A list's table has the name of another one the next time, or none.
        again = self.kept and not (self.bound.lists or self.bound.mark_lists)
        with translated(self.bound):
            return run(sql, {**rows, **lists}, values, stack=self.bound.stack, again=again)

    def _result(self, rows: pa.Table) -> Result:
        """Rows as a result, with the names and types of the table's own columns."""
        types = self.types(self.columns)
        for i, dtype in enumerate(types[: rows.num_columns]):
            if dtype is not None:  # the engine may not know it
                rows = rows.set_column(i, rows.column_names[i], fit(rows.column(i), dtype))
        names = [self.bound.originals.get(name, name) for name in rows.column_names]
        return Result(rows.rename_columns(names), statement="SELECT", types=types)


@dataclass(eq=False)
class LatePlan(EnginePlan):
    """A query of one table that the engine runs without some of its tensors.

    Attributes:
        late: number of a result column -> the table's column that comes late.
        labels: of all result columns.
    """

    late: dict[int, str]
    labels: list[str]

    def compute(self, paths: list[AccessPath], params: Mapping[str, Any]) -> Result:
        rows, late_column = self._rows_and_tensors(paths)
        answer = from_duckdb(self._engine(self.sql, rows, params))
        numbers = answer.column(0).to_numpy()
        tensors = {name: take_rows(late_column(name), numbers) for name in set(self.late.values())}
        others = iter(answer.columns[1:])
        columns = [tensors[self.late[i]] if i in self.late else next(others) for i in range(len(self.labels))]
        return self._result(pa.Table.from_arrays(columns, names=self.labels))

    def _rows(self, paths: list[AccessPath]) -> dict[str, Relation]:
        return self._rows_and_tensors(paths)[0]

    def _rows_and_tensors(
        self, paths: list[AccessPath]
    ) -> tuple[dict[str, Relation], Callable[[str], pa.ChunkedArray]]:
        """The rows for the engine, with a column of numbers, and what gives a column of the rows that these count."""
        (path,), (source,) = paths, self.bound.sources
        late = list(dict.fromkeys(self.late.values()))
        if isinstance(path, (ByIndex, ByKeyRange)):
            whole, numbers = path.spread(late)
            rows = register(path.rows(source.columns), source, self.bound, numbers=pa.array(numbers))
            return {source.registered: rows}, whole.column
        mapped = path._mapped(list(dict.fromkeys([*source.columns, *late])))
        rows = register(mapped, source, self.bound, numbers=pa.array(np.arange(mapped.size)))
        return {source.registered: rows}, mapped.column

    def explain_path(self, path: AccessPath, source: BoundTable) -> str:
        late = ", ".join(dict.fromkeys(self.late.values()))
        return f"{path_line(path, source.columns)}; after the engine: {late}"
