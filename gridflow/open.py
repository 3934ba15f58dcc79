"""connect: the way to a grid, whoever owns it."""

from __future__ import annotations

import os
import time

from .client import connect_remote, connect_unix
from .config import MEMORY, resolve_home, shown_url
from .credentials import NAMES
from .deprecation import renamed
from .errors import GridConnectionError, GridOwnedError, UsageError
from .grid import Grid
from .protocols.address import is_address
from .registry import check_durability, is_served, open_owner, open_reader, open_temporary, other_owner
from .transport.place import is_url
from .transport.published_grid import open_published

#: Seconds that ``connect`` waits for a server that has died to be started again.
CONNECT_SECONDS = 10.0
_POLL_SECONDS = 0.05


def connect(
    home: str | os.PathLike[str] | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    read_only: bool = False,
    durability: str | None = None,
    embedded: bool = False,
    timeout: float | None = None,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    key_password: str | None = None,
) -> Grid:
    """Open a grid, making it if it is not there.

    The first process to come owns the grid. If a ``gridflow serve`` owns it, a client of that server is returned, with
    the same methods: it reads the mapped grid itself and sends its writes. A process that owns a grid and connects
    again gets another handle on it; each is closed once, and the grid closes with the last, or when the process ends.

    A grid whose server was killed stays a served one: nobody comes to own it by chance, so that the server finds it
    free when it is started again. Who connects meanwhile waits for that. A server that is stopped, by Ctrl-C or
    SIGTERM, leaves the grid to the next who comes.

    At a node's address a ``RemoteGrid`` comes, of the same methods; docs/remote.md says how each is done. A node of
    this machine whose grid this process can read is mapped instead, unless credentials are given here.

    Args:
        home: the grid's directory; or a node's address, ``grid://host[:port]`` or ``grid+tls://host[:port]``; or a URL
            of fsspec's, such as ``s3://bucket/grid``: what was published there, to be read. Without it the default
            grid, ``$GRIDFLOW_HOME``, else ``/dev/shm/gridflow-<uid>/default``. ``":memory:"`` is a new grid each time,
            in a directory in shared memory that goes with its last handle or its process; its ``home`` is for others to
            read it by.
        read_only: only read, whoever owns the grid; every acknowledged write is seen.
        durability: ``process``: an acknowledged write survives the death of this process; ``fsync``: and a power cut,
            on a disk. It counts for the owner, and for all handles on the grid. None: what the grid is open with, else
            ``process``.
        embedded: own the grid in this process, also one whose server was killed.
        timeout: seconds to wait for such a server, or for one that is just starting; 10 unless it is given. At an
            address: seconds that each call may take; None: as long as it takes, a single write at most 300.
        user, password: who this is at an address; or ``token``, one that the node has given out. Without any of these
            and the next ones: ``$GRIDFLOW_USER``, ... or ``~/.config/gridflow/credentials.toml``.
        ca: the file of the certificates that vouch for the node; the system's without it.
        cert, key, key_password: the files of this client's own certificate and its key, and the word of an encrypted
            one.
        path: the old name of ``home``.

    Returns:
        A Grid, or a ServedGrid or RemoteGrid of the same face; all are context managers. Of a URL, a Grid that is only
        read: each table as it was published last when it is first asked for, and its versions by the numbers and tags
        that they have there.

    Raises:
        GridOwnedError: a process that does not serve owns the grid, or with ``embedded`` any other; the message names
            its pid.
        GridConnectionError: the grid's server was killed, and was not started again in time.
        GridAccessError: the directory cannot be read or written; the node does not let us in.
        GridNotFoundError: with ``read_only``, there is no grid.
        GridCorruptError, GridVersionError: a file is damaged, or of a newer format.
        UsageError: the directory holds something else; ``home`` is no path or address, or an address that holds a
            password; the grid is open with another durability; credentials do not fit together, or stand beside a
            directory; ``read_only`` stands beside ``embedded`` or ``durability="fsync"``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home, connect(home) as grid:
    ...     grid.tables()
    []
    """
    if durability not in (None, "process", "fsync"):
        raise UsageError(f"durability is process or fsync, not {durability!r}")
    if read_only and (embedded or durability == "fsync"):
        said = "embedded=True" if embedded else "durability='fsync'"
        raise UsageError(
            f"read_only=True does not go with {said}, which is about the grid's owner: leave one of them out"
        )
    asked = renamed("path", path, "home", home)
    given = dict(zip(NAMES, (user, password, token, ca, cert, key, key_password), strict=True))
    if is_address(asked):
        if embedded or durability is not None:
            raise UsageError(
                f"{shown_url(str(asked))}: embedded and durability are about the grid's files, and those "
                "are the node's; leave them out"
            )
        return connect_remote(str(asked), given, timeout, read_only=read_only)
    if is_url(asked):
        if embedded or durability is not None or any(value is not None for value in given.values()):
            raise UsageError(
                f"{shown_url(str(asked))}: what is published at a URL is only read, with its scheme's credentials; "
                "leave out embedded, durability, user, password, token, ca, cert and key"
            )
        return open_published(str(asked))
    if any(value is not None for value in given.values()):
        raise UsageError(
            "user, password, token, ca, cert and key are for a grid's address, grid://host or grid+tls://host"
        )
    timeout = CONNECT_SECONDS if timeout is None else timeout
    durable = None if durability is None else durability == "fsync"
    if asked == MEMORY:
        if read_only:
            raise UsageError(f"{MEMORY!r} is a new grid, which has nothing to read: leave out read_only=True")
        return open_temporary(durable)
    home = resolve_home(asked)
    if read_only:
        return open_reader(home)
    deadline = time.monotonic() + timeout
    while True:
        # A server's socket goes with one that is stopped, and stays of one that was killed.
        served = is_served(home)
        if embedded or not served:
            try:
                return open_owner(home, durable, default=asked is None)
            except BlockingIOError:
                pass
        pid = other_owner(home)
        if pid is not None and (embedded or not served):
            raise GridOwnedError(
                f"grid {home} is owned by process {pid}, which does not serve it: close it there, run "
                "`gridflow serve` instead of it so that others can join, or connect with read_only=True"
                if not served
                else f"grid {home} is served by process {pid}: connect without embedded=True, or stop it",
                filename=str(home),
            )
        error: GridOwnedError | GridConnectionError | None = None
        if pid is not None:
            try:
                grid = connect_unix(home)
            except GridOwnedError as silent:  # it is just starting
                error = silent
            except GridConnectionError:
                if other_owner(home) is not None:
                    raise
            else:
                try:
                    check_durability(home, durable, grid.durability == "fsync")
                except UsageError:
                    grid.close()
                    raise
                return grid
        if time.monotonic() >= deadline:
            raise error or GridConnectionError(
                f"grid {home} is served, but its server was killed and has not come back within {timeout:g} s: start "
                f"it again with 'gridflow serve --home {home}', or own the grid in this process, with "
                f"gridflow.connect({str(home)!r}, embedded=True) or the option --embedded"
            )
        time.sleep(_POLL_SECONDS)
