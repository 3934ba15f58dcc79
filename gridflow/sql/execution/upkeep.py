"""TRUNCATE, ANALYZE and what belongs to it, KILL QUERY and SET, carried out."""

from __future__ import annotations

from sqlglot import exp

from ...catalog.grants import DELETE, SELECT
from ...errors import SqlError
from ...faces import GridFace
from ..binding.find import find_column, find_table
from ..engine.connection import interrupt
from ..grammar.upkeep import QUERY_TIMEOUT, SetLimit, Targets
from .changes import changing

NO_STATISTICS = "statistics are neither kept nor needed here: a query looks at the columns themselves"
NO_STREAMING = (
    "SET STREAMING has no effect: each statement is committed when it returns. COPY, an INSERT of many rows, or "
    "Table.load are how many rows come in fast"
)


def truncate(grid: GridFace, node: exp.Table, text: str) -> int:
    """Remove all rows of a table in one commit; returns how many there were."""
    table = find_table(grid, node, text, (DELETE,))
    with changing(grid, table):
        return table.truncate()


def analyze(grid: GridFace, targets: Targets, text: str) -> None:
    """Check that the tables and columns are there: that is all there is to do.

    Raises:
        TableNotFoundError, ColumnNotFoundError: one is not.
    """
    for node, columns in targets.tables:
        table = find_table(grid, node, text, (SELECT,))
        for column in columns:
            find_column(table.schema, column, text, table.name)


def set_limit(grid: GridFace, limit: SetLimit) -> None:
    """Set what the statements after this one may take, of all users of this grid object."""
    if limit.name == QUERY_TIMEOUT:
        grid._activity.limits.seconds = limit.value / 1000 or None
    else:
        grid._activity.limits.memory = limit.value or None


def kill(grid: GridFace, query_id: str) -> None:
    """Cancel a query of this grid's owner, or of this process where it does not own the grid.

    Raises:
        SqlError: it does not run, or not in the engine, where alone it can be interrupted.
    """
    done = grid._activity.cancel(query_id, interrupt)
    if done is None:
        raise SqlError(f"no query {query_id} runs here; SYS.SQL_QUERIES lists those that do")
    if not done:
        raise SqlError(f"query {query_id} cannot be interrupted where it is now: the engine does not work for it")
