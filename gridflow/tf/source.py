"""Which table a dataset reads, and having its newest rows flushed before it does.

A dataset reads files and never owns a grid. Whenever an iterator is made, kernels/ops calls `_refresh` here, once, so
that whoever writes the table flushes it first: this process, or the node that serves the grid.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from ..config import SOCKET_NAME, resolve_home
from ..errors import (
    GridClosedError,
    GridConnectionError,
    GridEnvironmentError,
    GridflowError,
    GridFullError,
    TableNotFound,
)
from ..grid import open_reader, owned_grid
from ..protocols.address import SocketAddress
from ..schema import Schema
from ..sql.selection import Condition
from . import ops, selection

if TYPE_CHECKING:
    from ..client.connection import Connection
    from ..table import Table


@dataclass(frozen=True)
class Source:
    """A table as the op wants to know it. ``directory`` is the grid's, as an absolute path."""

    directory: str
    table_id: int
    name: str
    schema: Schema
    partitions: int
    version: int  # 0: the current one, whenever it is asked for


def resolve(
    table: str | Table,
    grid: Any = None,
    home: str | os.PathLike[str] | None = None,
    condition: Condition | None = None,
    snapshot: str | int | None = None,
) -> Source:
    """Find a table, see whether a condition on its rows makes sense, and have it flushed.

    Args:
        table: a name, also ``SQL_PUBLIC_<NAME>``, or a table of an open grid.
        grid: the open grid, embedded or remote, that has the table. It need not stay open.
        home: the grid's directory if there is no ``grid``; None for the default grid.
        condition: which rows are going to be read; None for all.
        snapshot: the number or tag of a version; None for the current one.

    Raises:
        TableNotFound: the grid has no such table.
        SqlError, ColumnNotFound: the condition is none.
        SnapshotNotFound: there is no such version.
        GridNotFound: there is no grid in the directory.
        GridFullError: the newest rows could not be flushed.
        GridConnectionError: the node that serves the grid does not answer.
    """
    with contextlib.ExitStack() as opened:
        if grid is None:
            path = resolve_home(home) if isinstance(table, str) else Path(table.folder).parent.parent
            grid = owned_grid(path) or opened.enter_context(open_reader(path))
        found = grid.table(table) if isinstance(table, str) else table
        source = _describe(found, snapshot)
        if condition is not None:
            selection.check(grid, SimpleNamespace(name=source.name, schema=source.schema), condition)
    if snapshot is None:
        flush(source.directory, source.name)
    return source


def _describe(table: Table, snapshot: str | int | None) -> Source:
    directory = Path(table.folder).absolute().parent.parent
    version, schema = 0, table.schema
    if snapshot is not None:
        version = table.snapshot_version(snapshot)
        schema = table.open_version(version).schema
    return Source(str(directory), table.table_id, table.name, schema, table.partitions_count, version)


def flush(directory: str, table: str) -> None:
    """Have every write acknowledged so far moved to segments, where it can be.

    If nobody owns the grid there is nothing newer. If a process owns it that does not serve it, that process cannot be
    asked: what it has not flushed by itself is not seen.

    Raises:
        GridFullError: there was no room to flush.
        GridConnectionError: the node that serves the grid does not answer.
    """
    home = Path(directory)
    owner = owned_grid(home)
    try:
        if owner is not None:
            found = owner.table(table)
            # Not to wait where there is nothing to flush: a load, for instance, that reads what it loads from a
            # dataset over the same table holds what flush() waits for.
            if found.stats()["memory_rows"]:
                found.flush()
        elif (home / SOCKET_NAME).exists():
            _flush_remote(home, table)
    except (GridClosedError, TableNotFound):
        pass  # closing flushes; a table that is gone is for the op to report


_connections: dict[str, Connection] = {}  # by real path of the grid
_lock = threading.Lock()  # guards _connections


def _flush_remote(home: Path, table: str) -> None:
    from ..client.connection import Connection
    from ..protocols import flight_messages as messages

    with _lock:
        connection = _connections.setdefault(os.path.realpath(home), Connection(home))
    try:
        connection.call(messages.Flush(table), messages.Done)
    except GridConnectionError:
        if _is_served(home):
            raise


def _is_served(home: Path) -> bool:
    """Whether a process listens there; the socket of one that was killed stays behind."""
    address = SocketAddress(home)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(address.short_path)
        return True
    except OSError:
        return False
    finally:
        address.close()


def _refresh(directory: str, table: str) -> tuple[int, str]:
    """`flush` for kernels/ops: what it raises as a code and a message."""
    try:
        flush(directory, table)
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
