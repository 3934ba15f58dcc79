"""The owner's lock: at most one process may write a grid, and a dead one's lock is free.

It is a POSIX record lock on ``<grid>/LOCK``: the kernel drops it when the process dies, does not hand it to forked
children, and can say who holds it. Such a lock is also dropped when its process closes *any* descriptor of the file, so
nothing else in Gridflow ever opens LOCK in a process that may own the grid.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

from ..errors import GridAccessError, os_failure
from .expected_files import LOCK

_FLOCK = "hhqqi"  # struct flock: l_type, l_whence, l_start, l_len, l_pid
#: What stands in the file: the pid of who took the lock last, and this word if that serves the grid.
_SERVES = "serves"
_TEXT_BYTES = 32


class OwnerLock:
    """Held from construction to ``release``. Not to be shared between threads without care."""

    def __init__(self, home: Path, *, serves: bool = False):
        """Take the lock.

        Args:
            home: the grid's directory.
            serves: whether the grid is to be served: ``holder_serves`` says so, from now on.

        Raises:
            BlockingIOError: another process holds it; ``holder(home)`` says which.
            GridAccessError, GridFullError: the file cannot be opened or made.
        """
        path = home / LOCK
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise os_failure(error, f"cannot write {path}", of_grid=True) from None
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise BlockingIOError(f"{path} is locked") from None
        if os.fstat(self._fd).st_nlink > 1:  # a link that somebody has made, to have us write to another file
            os.close(self._fd)
            raise GridAccessError(f"{path} is a link to another file: remove it", filename=str(path))
        with contextlib.suppress(OSError):  # who holds it, the kernel says better
            os.pwrite(self._fd, f"{os.getpid()} {_SERVES if serves else ''}\n".encode().ljust(_TEXT_BYTES), 0)

    def release(self) -> None:
        """Give the lock back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder(home: Path) -> int | None:
    """The pid of the other process that owns a grid, or None. Never call it in the owner itself."""
    try:
        fd = os.open(home / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, request))
        if kind == fcntl.F_UNLCK:
            return None
        if pid > 0:
            return pid
        return int(os.pread(fd, _TEXT_BYTES, 0).split()[0])  # held from another pid namespace
    except (OSError, ValueError, IndexError):
        return None
    finally:
        os.close(fd)


def holder_serves(home: Path) -> bool:
    """Whether the other process that owns a grid serves it, or is about to. Never call it in the owner itself."""
    if holder(home) is None:
        return False
    try:
        return (home / LOCK).read_text(errors="replace").split()[1:2] == [_SERVES]
    except OSError:
        return False
