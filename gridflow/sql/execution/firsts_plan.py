"""The plan of a query with a WHERE that asks for the first rows in an order: it looks where they are likely to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...faces import ReadableTable
from ...storage.narrowing import ByExtremes, are_first
from ..access.path import AccessPath, ByZones, Scan
from ..access.zones import Firsts
from ..engine.from_duckdb import fit, from_duckdb
from ..result import Result
from .engine_plans import EnginePlan
from .query_plan import path_line

#: The name of the column by which the rows are ordered, where DuckDB is asked for it.
ORDER = "gridflow order"


@dataclass(eq=False)
class FirstsPlan(EnginePlan):
    """A query with a WHERE, an ORDER BY and a LIMIT: over the zones with the first rows, and over all rows only if the
    WHERE leaves too few of those.

    Attributes:
        order: which rows come first, and how many are asked for.
        ordered: the query with a last column more, by which it orders.
    """

    order: Firsts = field(kw_only=True)
    ordered: str = field(kw_only=True)

    def compute(self, paths: list[AccessPath], params: Mapping[str, Any]) -> Result:
        attempt, zones = self.order.attempt(params), self._zones(paths, params)
        if attempt is not None and zones is not None:
            extreme, limit = attempt
            answer = from_duckdb(self._engine(self.ordered, self._rows([zones]), params))
            at = answer.num_columns - 1
            if answer.num_rows == limit:
                last = fit(answer.column(at).slice(limit - 1), extreme.column.type).combine_chunks()
                if are_first(zones.selection, extreme, last):
                    return self._result(answer.remove_column(at))
        return super().compute(paths, params)

    def explain(self, tables: list[ReadableTable], params: Mapping[str, Any]) -> list[str]:
        paths = self.paths(tables, params)
        lines, zones = self.explain_paths(paths, params), self._zones(paths, params)
        if zones is not None:
            lines[0] = f"{path_line(zones, self.bound.sources[0].columns)}; if these are too few: {paths[0].describe()}"
        return lines

    def _zones(self, paths: list[AccessPath], params: Mapping[str, Any]) -> ByZones | None:
        """The zones to look at first, if the query would read all rows otherwise."""
        (path,) = paths
        attempt = self.order.attempt(params) if isinstance(path, Scan) else None
        rows = None if attempt is None else path.table._narrow(ByExtremes((attempt[0],)))
        return None if rows is None else ByZones(path.table, rows, self.order.text())
