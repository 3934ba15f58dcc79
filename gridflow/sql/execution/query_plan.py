"""The plan of a query: one of several ways to run it. ``plan`` chooses; none changes what the result is.

KeyPlan     SELECT of plain columns where a WHERE fixes the primary key: values as they come, without the engine
CountPlan   SELECT COUNT(*) and nothing else: what the version says
MappedPlan  SELECT of plain columns and nothing else: the answer is the mapping itself
IndexPlan   SELECT of plain columns where indexes or keys know the whole WHERE: the rows of the index, if just these
LatePlan    a tensor that only passes through does not go to the engine: it answers with row numbers, and the
            tensors of those rows are then taken from the mapping in one copy
FirstsPlan  ORDER BY with a LIMIT and a WHERE: zones of rows that come first, then all rows if these hold too few
EnginePlan  everything else: the engine computes over the rows to which ``access`` knows a path

The first four stand in ``plain_plans``, ``FirstsPlan`` by itself, the others in ``engine_plans``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ...faces import GridFace, ReadableTable
from ...schema import Type
from ..access.path import AccessPath
from ..binding.bound import Bound
from ..result import Result
from .cut import at_one_moment
from .fast_path import FastPath


@dataclass(eq=False)
class QueryPlan:
    """A query made ready for the tables it names. Threads share it: it never changes but for ``fast_path``.

    Attributes:
        bound: the statement, bound to its tables.
        fast_path: what runs the query when it is executed again, if there is such a thing.
    """

    bound: Bound
    fast_path: FastPath | None = field(default=None, init=False)

    def is_for(self, tables: Sequence[ReadableTable]) -> bool:
        """Whether tables have the columns that the plan is for."""
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
        """The lines of EXPLAIN: how each table would be read, and the engine's own plan."""
        raise NotImplementedError

    def schema(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> pa.Schema:
        """The names and types of the result's columns; no row is read for it."""
        raise NotImplementedError

    def types(self, columns: Iterable[str | None]) -> list[Type | None]:
        """The types of columns of the only table; None for each None."""
        return [None if name is None else self.bound.sources[0].schema[name].type for name in columns]


def path_line(path: AccessPath, columns: Iterable[str]) -> str:
    """The line of EXPLAIN for one table."""
    return f"{path.table.name}: {path.describe()}, columns {', '.join(columns)}"
