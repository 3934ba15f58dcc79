"""SELECT and its kin, and EXPLAIN: ``plan`` chooses a ``query_plan``, which runs and explains the query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ...errors import SqlError
from ...faces import GridFace
from ..grammar.prepared import Prepared
from ..result import Result
from .plan import plan_for

#: A query is planned so often at most, if its tables get other columns meanwhile.
_TRIES = 20


def execute_query(grid: GridFace, prepared: Prepared, params: Mapping[str, Any]) -> Result:
    """Run a query.

    Raises:
        TableNotFoundError, ColumnNotFoundError: a name means nothing; says what there is.
        SqlError: whatever else the engine finds wrong, in its words.
    """
    for _ in range(_TRIES):
        plan, tables = plan_for(grid, prepared, params)
        result = plan.run(grid, tables, params)
        if result is not None:
            return result
    raise SqlError("the columns of its tables change all the time: try again")


def explain(grid: GridFace, prepared: Prepared, params: Mapping[str, Any]) -> Result:
    """The lines of a query's plan: how each table would be read, and the engine's own plan."""
    plan, tables = plan_for(grid, prepared, params)
    lines = plan.explain(tables, params)
    return Result(pa.table({"PLAN": pa.array(lines, pa.string())}), statement="EXPLAIN")
