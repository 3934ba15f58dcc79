"""connect: the way to a grid, whoever owns it."""

from __future__ import annotations

import os
from pathlib import Path

from .client import connect_unix
from .config import SOCKET_NAME, resolve_home
from .errors import GridOwnedError, UsageError
from .grid import Grid
from .registry import open_owner, open_reader
from .storage.lock import holder


def connect(
    path: str | os.PathLike[str] | None = None, *, read_only: bool = False, durability: str = "process"
) -> Grid:
    """Open a grid, making it if it is not there.

    The first process to come owns the grid. If a ``gridflow serve`` owns it, a client of that server is returned, with
    the same methods: it reads the mapped grid itself and sends its writes. A process that owns a grid and connects
    again gets the same Grid; it closes with its last user, or when the process ends.

    Args:
        path: the grid's directory; without it the default grid, ``$GRIDFLOW_HOME``, else
            ``/dev/shm/gridflow-<uid>/default``.
        read_only: only read, whoever owns the grid; every acknowledged write is seen.
        durability: ``process``: an acknowledged write survives the death of this process; ``fsync``: and a power cut,
            on a disk. It counts for the owner.

    Returns:
        A Grid, or a ServedGrid of the same face; both are context managers.

    Raises:
        GridOwnedError: a process that does not serve owns the grid; the message names its pid.
        GridAccessError: the directory cannot be read or written.
        GridNotFound: with ``read_only``, there is no grid.
        GridCorruptError, GridVersionError: a file is damaged, or of a newer format.
        UsageError: the directory holds something else.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home, connect(home) as grid:
    ...     grid.tables()
    []
    """
    if durability not in ("process", "fsync"):
        raise UsageError(f"durability is process or fsync, not {durability!r}")
    home = resolve_home(path)
    if read_only:
        return open_reader(home)
    try:
        return open_owner(home, durability == "fsync", default=path is None)
    except BlockingIOError:
        return _join(home)


def _join(home: Path) -> Grid:
    """The grid for a process that is not the first to come."""
    if (home / SOCKET_NAME).exists():
        return connect_unix(home)
    raise GridOwnedError(
        f"grid {home} is owned by process {holder(home)}, which does not serve it: close it there, run "
        "`gridflow serve` instead of it so that others can join, or connect with read_only=True"
    )
