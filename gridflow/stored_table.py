"""The files of a table, for code that reads files itself, and the flush of the newest rows before it does.

A dataset, and a table on a GPU, read files and own no grid. So whoever writes the table flushes it first: this process,
or the node that serves the grid.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import SOCKET_NAME, resolve_home
from .errors import GridClosedError, GridConnectionError, GridNotFoundError, TableNotFoundError, UsageError
from .grid import Grid
from .open_grid import other_grids_with
from .protocols.address import Endpoint, Route
from .registry import open_reader, owned_grid, using_owned
from .schema import Schema
from .storage.mirrors import is_mirror
from .table import Table
from .transport.mirror import is_followed, update

if TYPE_CHECKING:
    from .client.connection import Connection


@dataclass(frozen=True)
class StoredTable:
    """Where the files of a table, or of one of its versions, lie: what code that reads files itself has to know.

    Attributes:
        directory: the grid's, as an absolute path.
        table_id: the table's number in the grid's catalog.
        name: the table's name.
        schema: of the version.
        partitions: how many partitions the table has.
        version: the number of a version that is kept; 0 for the current one, whenever it is asked for.
    """

    directory: str
    table_id: int
    name: str
    schema: Schema
    partitions: int
    version: int

    @staticmethod
    def of(table: Table, version: str | int | None = None) -> StoredTable:
        """Of an open table; ``version`` is the tag or the number of a version.

        Raises:
            VersionNotFoundError: there is no such version.
        """
        directory = Path(table.folder).absolute().parent.parent
        number, schema = 0, table.schema
        if version is not None:
            number = table._snapshot_version(version)
            schema = table._open_version(number).schema
        return StoredTable(str(directory), table.table_id, table.name, schema, table.partitions_count, number)


@contextlib.contextmanager
def open_table(
    table: str | Table,
    grid: Grid | None = None,
    home: str | os.PathLike[str] | None = None,
    version: str | int | None = None,
) -> Iterator[tuple[Grid, Table]]:
    """A table and its grid, which is open until the block ends.

    Args:
        table: a name, also ``SQL_PUBLIC_<NAME>``, or a table of an open grid.
        grid: the open grid, embedded or served, that has the table.
        home: the grid's directory or address if there is no ``grid``; None for the default grid.
        version: a kept one that is going to be read, by number or tag: a mirror gets it.

    Raises:
        TableNotFoundError: the grid has no such table.
        UsageError: two of table, grid and home say where the table is, and not the same.
        GridNotFoundError: there is no grid in the directory.
    """
    if grid is not None and home is not None:
        raise UsageError(f"grid= and home= both say where table {table} is: give one of them")
    elsewhere = _directory_here(table, grid, home, version)
    if elsewhere is not None:
        grid, home = None, elsewhere
        table = table if isinstance(table, str) else table.name
    if not isinstance(table, str):
        place = Path(table.folder).parent.parent
        for other in (None if grid is None else grid.home, None if home is None else resolve_home(home)):
            if other is not None and os.path.realpath(other) != os.path.realpath(place):
                raise UsageError(f"table {table.name} is of grid {place}, not of {other}: leave grid= and home= out")
    with contextlib.ExitStack() as stack:
        if grid is None:
            path = resolve_home(home) if isinstance(table, str) else Path(table.folder).parent.parent
            try:
                grid = stack.enter_context(using_owned(path)) or stack.enter_context(open_reader(path))
                found = grid.table(table) if isinstance(table, str) else table
            except (GridNotFoundError, TableNotFoundError) as error:
                others = other_grids_with(table, path) if isinstance(table, str) and home is None else []
                if others:
                    raise type(error)(_elsewhere(str(table), path, others)) from error
                raise
        else:
            found = grid.table(table) if isinstance(table, str) else table
        yield grid, found


def _directory_here(
    table: str | Table, grid: Grid | None, home: str | os.PathLike[str] | None, version: str | int | None
) -> Path | None:
    """Where a table of a grid elsewhere is read on this machine; None where it is of a grid of this machine."""
    name = table if isinstance(table, str) else table.name
    if isinstance(home, str) and "://" in home:
        from .client.sources import directory_of

        return directory_of(home, name, version)
    opened: Any = None if grid is None else grid.open_grid
    if opened is None and not isinstance(table, str):
        opened = table._grid
    connection = getattr(opened, "connection", None)
    if connection is None or not hasattr(connection, "credentials"):
        return None
    from .client.sources import directory_of

    return directory_of(str(connection.endpoint), name, version, connection.credentials)


def _elsewhere(table: str, home: Path, others: list[Path]) -> str:
    return (
        f"no table {table} in the default grid, {home}, which is read where neither grid= nor home= is given; this "
        f"process has it open in {others[0]}: say home={str(others[0])!r}, or grid= with that grid"
    )


def flush(directory: str, table: str, *, lasting: bool = False) -> None:
    """Have every write acknowledged so far moved to segments, where it can be.

    With ``lasting`` the version counts among those that ``keep_versions`` keeps, as if somebody had written: that of an
    iterator does, which may be saved and gone on with as long as its version is there. Else it is only read.

    A mirror gets what its grid has now, as far as the table's files are concerned: blocks come when they are read.

    If nobody owns the grid there is nothing newer. If a process owns it that does not serve it, that process cannot be
    asked: what it has not flushed by itself is not seen.

    Raises:
        GridFullError: there was no room to flush.
        GridConnectionError: the node that serves the grid does not answer.
    """
    home = Path(directory)
    if is_mirror(home) or is_followed(home):
        update(home, table)
        return
    owner = owned_grid(home)
    try:
        if owner is not None:
            owned_table = owner.table(table)
            # Neither waits for a load of the table where there is nothing to flush: a load may read its data from a
            # dataset over the same table.
            if lasting:
                owned_table.flush()
            else:
                owned_table._flush_to_read(waits=True)
        elif (home / SOCKET_NAME).exists():
            _flush_served(home, table, lasting)
    except (GridClosedError, TableNotFoundError):
        pass  # closing flushes; a table that is gone is for the reader to report


_connections: dict[str, Connection] = {}  # by real path of the grid
_lock = threading.Lock()  # guards _connections


def _flush_served(home: Path, table: str, lasting: bool) -> None:
    from .client.connection import Connection
    from .protocols import messages

    with _lock:
        connection = _connections.setdefault(os.path.realpath(home), Connection(Endpoint.of_grid(home)))
    try:
        connection.call(messages.Flush(table, to_read=not lasting, waits=True), messages.Done)
    except GridConnectionError:
        if _is_served(home):
            raise


def _is_served(home: Path) -> bool:
    """Whether a process listens there; the socket of one that was killed stays behind."""
    route = Route(Endpoint.of_grid(home))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(route.path))
        return True
    except OSError:
        return False
    finally:
        route.close()
