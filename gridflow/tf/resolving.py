"""Which table a dataset reads, and having its newest rows flushed before it does.

A dataset reads files and never owns a grid. Whenever an iterator is made, kernels/ops calls `_refresh` here, once, so
that whoever writes the table flushes it first: this process, or the node that serves the grid.
"""

from __future__ import annotations

import atexit
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import tensorflow as tf

from ..errors import GridConnectionError, GridEnvironmentError, GridflowError, GridFullError
from ..sql.execution.select_rows import Condition
from ..stored_table import StoredTable, flush, open_table
from . import ops, selection

if TYPE_CHECKING:
    from ..grid import Grid
    from ..table import Table


def resolve(
    table: str | Table,
    grid: Grid | None = None,
    home: str | os.PathLike[str] | None = None,
    condition: Condition | None = None,
    version: str | int | None = None,
) -> StoredTable:
    """Find a table, see whether a condition on its rows makes sense, and have it flushed.

    Args:
        table: a name, also ``SQL_PUBLIC_<NAME>``, or a table of an open grid.
        grid: the open grid, embedded or served, that has the table. It need not stay open.
        home: the grid's directory or address if there is no ``grid``; None for the default grid.
        condition: which rows are going to be read; None for all.
        version: the number or tag of a version; None for the current one.

    Raises:
        TableNotFoundError: the grid has no such table.
        SqlError, ColumnNotFoundError: the condition is none.
        VersionNotFoundError: there is no such version.
        UsageError: two of table, grid and home say where the table is, and not the same.
        GridNotFoundError: there is no grid in the directory.
        GridFullError: the newest rows could not be flushed.
        GridConnectionError: the node that serves the grid does not answer.
    """
    with open_table(table, grid, home, version) as (open_grid, grid_table):
        stored = StoredTable.of(grid_table, version)
        if condition is not None:
            selection.check(open_grid, SimpleNamespace(name=stored.name, schema=stored.schema), condition)
    if version is None:
        flush(stored.directory, stored.name)
    return stored


def _refresh(directory: str, table: str) -> tuple[int, str]:
    """`flush` for kernels/ops, which makes an iterator: what it raises as a code and a message."""
    try:
        flush(directory, table, lasting=True)
    except GridflowError as error:
        codes = [(GridFullError, tf.errors.RESOURCE_EXHAUSTED), (GridConnectionError, tf.errors.UNAVAILABLE)]
        codes += [(GridEnvironmentError, tf.errors.FAILED_PRECONDITION), (GridflowError, tf.errors.INTERNAL)]
        code = next(code for kind, code in codes if isinstance(error, kind))
        return code, f"table {table} cannot be flushed before it is read: {error}"
    except Exception as error:  # nothing may pass through C++
        return tf.errors.INTERNAL, f"table {table} cannot be flushed before it is read: {error!r}"
    return 0, ""


def install() -> None:
    """Load the op, and have it call what Python does for it; once in a process.

    Raises:
        GridEnvironmentError: the op's library is missing, or was built for another TensorFlow.
    """
    ops.set_python(_refresh, selection.select)
    # TensorFlow's threads may make iterators to the very end, when there is no interpreter to call any more.
    atexit.register(ops.set_python, None, None)
