"""Proof that a client on a loopback address is the user whose grid it is: a token that only that user can read.

Over TCP the kernel does not say who connects. So a node that listens on a loopback address writes a random token to
``/dev/shm/gridflow-<uid>/tokens/<port>`` (mode 0600, in a folder of mode 0700), and who shows it is the grid's user.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from ..config import temporary_root
from ..errors import GridAccessError

#: A token's bytes in the file, at most.
_MOST_BYTES = 200


def write_token(port: int) -> str:
    """Make a new token for the node that listens at ``port``, and return it.

    Raises:
        GridAccessError: the folder belongs to somebody else.
    """
    folder = _folder()
    for each in (folder.parent, folder):
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=0o700)
        if not _is_ours(each.lstat(), stat.S_ISDIR):
            raise GridAccessError(
                f"{each} is a link, belongs to another user, or is open to others", filename=str(each)
            )
    token = secrets.token_urlsafe(32)
    path = folder / str(port)
    fresh = folder / f"{port}.{token[:8]}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(token)
    os.replace(fresh, path)
    return token


def read_token(port: int) -> str | None:
    """The token of this user's node at a loopback address and ``port``; None if there is none.

    >>> token = write_token(1)
    >>> read_token(1) == token
    True
    >>> remove_token(1, token)
    >>> read_token(1)
    """
    try:
        with open(os.open(_folder() / str(port), os.O_RDONLY | os.O_NOFOLLOW)) as file:
            if not _is_ours(os.fstat(file.fileno()), stat.S_ISREG):
                return None
            return file.read(_MOST_BYTES)
    except (OSError, ValueError):
        return None


def remove_token(port: int, token: str) -> None:
    """Remove a token, unless another node has put its own there."""
    if read_token(port) == token:
        with contextlib.suppress(OSError):
            os.unlink(_folder() / str(port))


def _folder() -> Path:
    uid = os.getuid() if hasattr(os, "getuid") else "user"
    return temporary_root() / f"gridflow-{uid}" / "tokens"


def _is_ours(status: os.stat_result, is_kind: object) -> bool:
    assert callable(is_kind)
    mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return mine and is_kind(status.st_mode) and not status.st_mode & 0o077
