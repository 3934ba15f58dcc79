"""The grids that this process owns: each is open once, whoever asks for it, and closes with its last user."""

from __future__ import annotations

import atexit
import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .config import SOCKET_NAME, resolve_home
from .errors import GridAccessError, GridNotFoundError, UsageError, os_failure
from .grid import Grid
from .storage.expected_files import CATALOG, foreign_names
from .storage.lock import OwnerLock, holder


@dataclass
class _OwnedGrid:
    grid: Grid
    uses: int


_grids: dict[str, _OwnedGrid] = {}  # by real path, until they are closed
_lock = threading.RLock()  # guards _grids, and the opening and closing of those


def open_owner(home: Path, durable: bool, *, default: bool = False, serves: bool = False) -> Grid:
    """Open a grid as its owner, or share the one that this process owns already.

    Args:
        home: the grid's directory; made if it is not there.
        durable: whether a commit waits for the disk.
        default: whether nobody named the directory, so that it must be this user's own.
        serves: whether it is to be served: then a socket that a node has left stays until there is another.

    Raises:
        BlockingIOError: another process owns it.
        GridAccessError, GridCorruptError, GridVersionError, UsageError: as ``connect``.
    """
    with _lock:
        path = os.path.realpath(home)
        owned = _grids.get(path)
        if owned is not None and not owned.grid.closed:
            owned.uses += 1
            return owned.grid
        _make_home(home, default)
        lock = OwnerLock(home)
        try:
            grid = Grid(home, lock, durable, leaving=lambda grid: _leaving(path, grid))
        except BaseException:
            lock.release()
            raise
        if not serves:
            with contextlib.suppress(OSError):  # of a node that was killed: the lock says that none lives
                os.unlink(home / SOCKET_NAME)
        _grids[path] = _OwnedGrid(grid, 1)
        return grid


def has_socket(home: Path) -> bool:
    """Whether the grid at ``home`` is served, or was by a node that was killed: its socket is there."""
    try:
        return stat.S_ISSOCK((home / SOCKET_NAME).lstat().st_mode)
    except OSError:
        return False


def other_owner(home: Path) -> int | None:
    """The pid of another process that owns the grid at ``home``; None if there is none."""
    with _lock:  # to ask while this process comes to own it would let go of its lock
        return None if owned_grid(home) is not None else holder(home)


def owned_grid(home: Path) -> Grid | None:
    """The grid at ``home`` if this process owns it."""
    owned = _grids.get(os.path.realpath(home))
    return None if owned is None or owned.grid.closed else owned.grid


@contextmanager
def using_owned(home: Path) -> Iterator[Grid | None]:
    """The grid at ``home`` if this process owns it, which it goes on to do within the block."""
    with _lock:
        grid = owned_grid(home)
        if grid is not None:
            _grids[os.path.realpath(home)].uses += 1
    try:
        yield grid
    finally:
        if grid is not None:
            grid.close()


def open_reader(path: str | os.PathLike[str] | None = None) -> Grid:
    """Open a grid that exists to read only, beside whoever owns it.

    Raises:
        GridNotFoundError: there is none.
    """
    home = resolve_home(path)
    if not (home / CATALOG).exists():
        raise GridNotFoundError(
            f"there is no grid at {home}; gridflow.connect({str(home)!r}) or `gridflow serve` makes one"
        )
    return Grid(home, None, False)


@contextmanager
def _leaving(path: str, grid: Grid) -> Iterator[bool]:
    """One user of a grid leaves; gives whether it was the last, who closes the grid within the block."""
    with _lock:
        owned = _grids.get(path)
        if owned is not None and owned.grid is grid:
            owned.uses -= 1
            if owned.uses > 0:
                yield False
                return
            del _grids[path]
        yield True


def _make_home(home: Path, default: bool) -> None:
    try:
        if default and not os.environ.get("GRIDFLOW_HOME") and hasattr(os, "getuid"):
            for folder in (home.parent, home):
                _make_private(folder)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if home.stat().st_mode & stat.S_IWOTH:
            raise GridAccessError(f"every user can write to {home}, and so to the grid: chmod o-w {home}")
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            raise GridAccessError(f"cannot write to {home}: pick another directory, or connect with read_only=True")
        names = os.listdir(home)
        foreign = foreign_names(names)
        if CATALOG in names:
            _check_owner(home)
        if CATALOG not in names and foreign:
            raise UsageError(
                f"{home} is not a grid and not empty (it holds {foreign[0]}): name an empty or a new directory"
            )
    except FileExistsError:
        raise GridAccessError(f"{home} is a file, not a directory") from None
    except NotADirectoryError:
        raise GridAccessError(f"cannot use {home} as a grid: a part of the path is a file") from None
    except GridAccessError:
        raise
    except OSError as error:
        raise os_failure(error, f"cannot use {home} as a grid") from None


def _make_private(folder: Path) -> None:
    """Make a folder for this user alone, in a place where others can make folders, too."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise GridAccessError(f"{folder} is a link or a file of somebody's: set GRIDFLOW_HOME to a folder of yours")
    if status.st_uid != os.getuid():
        raise GridAccessError(f"{folder} belongs to another user: set GRIDFLOW_HOME to a folder of yours")
    if status.st_mode & 0o077:  # of an older release
        folder.chmod(0o700)


def _check_owner(home: Path) -> None:
    """A grid's files are for one user alone: what root wrote to another's, that user could not read."""
    user = (home / CATALOG).lstat().st_uid
    if hasattr(os, "geteuid") and user != os.geteuid():
        raise GridAccessError(
            f"the grid {home} belongs to the user {user}, and this is {os.geteuid()}, whose files that user could not "
            f"read: run it as that user ('sudo -u \\#{user} ...'), or connect with read_only=True"
        )


def _close_all() -> None:
    for owned in list(_grids.values()):
        owned.uses = 1
        owned.grid.close()


def _abandon_all() -> None:
    global _lock
    _lock = threading.RLock()
    for owned in list(_grids.values()):
        owned.grid.abandon()
    _grids.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
