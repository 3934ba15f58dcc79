"""The grids that this process owns: each is open once, whoever asks for it, and closes with its last handle."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .config import SOCKET_NAME, resolve_home, temporary_root
from .errors import GridAccessError, GridNotFoundError, UsageError, os_failure
from .grid import Grid
from .open_grid import OpenGrid, open_grids
from .storage.expected_files import CATALOG, foreign_names
from .storage.lock import OwnerLock, holder, holder_serves
from .storage.mirrors import is_mirror

#: Seconds after which a temporary grid that nobody owns is one whose process was killed, and not one that is just made.
_LEFT_SECONDS = 60.0

_grids: dict[str, OpenGrid] = {}  # by real path, until they are closed
_temporary: set[str] = set()  # real paths of those whose directory goes with them
_lock = threading.RLock()  # guards both, and the opening and closing of those


def open_owner(home: Path, durable: bool | None, *, default: bool = False, serves: bool = False) -> Grid:
    """A new handle on a grid, which is opened as its owner, unless this process owns it already.

    Args:
        home: the grid's directory; made if it is not there.
        durable: whether a commit waits for the disk; None: as it does already, else no.
        default: whether nobody named the directory, so that it must be this user's own.
        serves: whether it is to be served: then a socket that a node has left stays until there is another.

    Raises:
        BlockingIOError: another process owns it.
        GridAccessError, GridCorruptError, GridVersionError, UsageError: as ``connect``.
    """
    with _lock:
        path = os.path.realpath(home)
        owned = owned_grid(home)
        if owned is not None:
            check_durability(home, durable, owned.durable)
            return Grid(owned)
        _make_home(home, default)
        lock = OwnerLock(home, serves=serves)
        try:
            grid = OpenGrid(home, lock, bool(durable), closing=lambda: _closing(path))
        except BaseException:
            lock.release()
            raise
        if not serves:
            with contextlib.suppress(OSError):  # of a node that was killed: the lock says that none lives
                os.unlink(home / SOCKET_NAME)
        _grids[path] = grid
        return Grid(grid)


def open_temporary(durable: bool | None) -> Grid:
    """Open a new grid in memory, whose directory goes when it is closed, or the process ends."""
    parent = temporary_root() / f"gridflow-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    with _lock:
        _make_private(parent)
        for left in parent.glob("memory-*"):
            with contextlib.suppress(OSError):
                if (
                    time.time() - left.stat().st_mtime > _LEFT_SECONDS
                    and other_owner(left) is None
                    and not owned_grid(left)
                ):
                    shutil.rmtree(left, ignore_errors=True)
        home = parent / f"memory-{secrets.token_hex(8)}"
        home.mkdir(mode=0o700)
        _temporary.add(os.path.realpath(home))
        return open_owner(home, durable)


def check_durability(home: Path, asked: bool | None, actual: bool) -> None:
    """Raise if a grid that is open has another durability than somebody asks for.

    Raises:
        UsageError: says what it has.
    """
    if asked is not None and asked != actual:
        names = {False: "process", True: "fsync"}
        raise UsageError(
            f"grid {home} is open with durability={names[actual]!r}, which holds for all of its users: leave out "
            f"durability={names[asked]!r}, or have it closed first"
        )


def has_socket(home: Path) -> bool:
    """Whether the grid at ``home`` is served, or was by a node that was killed: its socket is there."""
    try:
        return stat.S_ISSOCK((home / SOCKET_NAME).lstat().st_mode)
    except OSError:
        return False


def is_served(home: Path) -> bool:
    """Whether another process serves the grid at ``home``, or is about to, or did until it was killed."""
    with _lock:  # as below
        return owned_grid(home) is None and (has_socket(home) or holder_serves(home))


def other_owner(home: Path) -> int | None:
    """The pid of another process that owns the grid at ``home``; None if there is none."""
    with _lock:  # to ask while this process comes to own it would let go of its lock
        return None if owned_grid(home) is not None else holder(home)


def owned_grid(home: Path) -> OpenGrid | None:
    """The grid at ``home`` if this process owns it."""
    grid = _grids.get(os.path.realpath(home))
    return None if grid is None or grid.closed else grid


@contextmanager
def using_owned(home: Path) -> Iterator[Grid | None]:
    """A handle on the grid at ``home``, for the block, if this process owns it."""
    with _lock:
        grid = owned_grid(home)
        handle = None if grid is None else Grid(grid)
    try:
        yield handle
    finally:
        if handle is not None:
            handle.close()


def open_reader(path: str | os.PathLike[str] | None = None) -> Grid:
    """Open a grid that exists to read only, beside whoever owns it.

    Raises:
        GridNotFoundError: there is none.
    """
    home = resolve_home(path)
    if not (home / CATALOG).exists():
        raise GridNotFoundError(
            f"there is no grid at {home}; gridflow.connect({str(home)!r}) or `gridflow serve` makes one",
            filename=str(home),
        )
    return Grid(OpenGrid(home, None, False))


@contextmanager
def _closing(path: str) -> Iterator[None]:
    """A handle of a grid is closed in the block, and with the last one the grid."""
    with _lock:
        try:
            yield
        finally:
            grid = _grids.get(path)
            if grid is not None and not grid.handles:
                del _grids[path]
                if path in _temporary:
                    _temporary.discard(path)
                    shutil.rmtree(path, ignore_errors=True)


def _make_home(home: Path, default: bool) -> None:
    try:
        if default and not os.environ.get("GRIDFLOW_HOME") and hasattr(os, "getuid"):
            for folder in (home.parent, home):
                _make_private(folder)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if home.stat().st_mode & stat.S_IWOTH:
            raise GridAccessError(
                f"every user can write to {home}, and so to the grid: chmod o-w {home}", filename=str(home)
            )
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            raise GridAccessError(
                f"cannot write to {home}: pick another directory, or connect with read_only=True", filename=str(home)
            )
        if is_mirror(home):
            raise UsageError(
                f"{home} is the mirror of a grid elsewhere, which nobody owns here: connect to that one's address"
            )
        names = os.listdir(home)
        foreign = foreign_names(names)
        if CATALOG in names:
            _check_owner(home)
        if CATALOG not in names and foreign:
            raise UsageError(
                f"{home} is not a grid and not empty (it holds {foreign[0]}): name an empty or a new directory"
            )
    except FileExistsError:
        raise GridAccessError(f"{home} is a file, not a directory", filename=str(home)) from None
    except NotADirectoryError:
        raise GridAccessError(
            f"cannot use {home} as a grid: a part of the path is a file", filename=str(home)
        ) from None
    except GridAccessError:
        raise
    except OSError as error:
        raise os_failure(error, f"cannot use {home} as a grid", of_grid=True) from None


def _make_private(folder: Path) -> None:
    """Make a folder for this user alone, in a place where others can make folders, too."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise GridAccessError(
            f"{folder} is a link or a file of somebody's: set GRIDFLOW_HOME to a folder of yours", filename=str(folder)
        )
    if status.st_uid != os.getuid():
        raise GridAccessError(
            f"{folder} belongs to another user: set GRIDFLOW_HOME to a folder of yours", filename=str(folder)
        )
    if status.st_mode & 0o077:  # of an older release
        folder.chmod(0o700)


def _check_owner(home: Path) -> None:
    """A grid's files are for one user alone: what root wrote to another's, that user could not read."""
    user = (home / CATALOG).lstat().st_uid
    if hasattr(os, "geteuid") and user != os.geteuid():
        raise GridAccessError(
            f"the grid {home} belongs to the user {user}, and this is {os.geteuid()}, whose files that user could not "
            f"read: run it as that user ('sudo -u \\#{user} ...'), or connect with read_only=True",
            filename=str(home),
        )


def _close_all() -> None:
    # Each, also where what another has to warn of is an error.
    with contextlib.ExitStack() as stack:
        for grid in open_grids():
            for handle in list(grid.handles):
                stack.callback(handle.close if grid.owner else handle._end)


def _abandon_all() -> None:
    global _lock
    _lock = threading.RLock()
    for grid in list(_grids.values()):
        grid._abandon()
    _grids.clear()
    _temporary.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
