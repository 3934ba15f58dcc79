"""What a grid is called for good: 32 hex digits, which no other grid has, wherever it is reached from."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from ..errors import GridCorruptError, os_failure
from .expected_files import IDENTITY

_DIGITS = re.compile(r"[0-9a-f]{32}")


def read_identity(home: Path) -> str | None:
    """The identity of the grid at ``home``; None if no owner has given it one yet.

    Raises:
        GridCorruptError: the file says something else.
        GridAccessError: it cannot be read.
    """
    path = home / IDENTITY
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_failure(error, f"cannot read {path}", of_grid=True) from None
    with os.fdopen(fd, "rb") as file:
        text = file.read(64).decode("ascii", "replace").strip()
    if not _DIGITS.fullmatch(text):
        raise GridCorruptError(
            f"{path} is not the identity of a grid, 32 hex digits: remove it, and the grid gets another one; mirrors "
            "of the grid begin anew then",
            str(path),
            0,
        )
    return text


def make_identity(home: Path, durable: bool) -> str:
    """The identity of the grid at ``home``, which gets one if it has none. For its owner.

    Raises:
        GridCorruptError: the file says something else.
        GridAccessError, GridFullError: it cannot be made.
    """
    known = read_identity(home)
    if known is not None:
        return known
    identity, path = secrets.token_hex(16), home / IDENTITY
    temporary = home / f"{IDENTITY}.tmp"
    try:
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(f"{identity}\n".encode())
            if durable:
                file.flush()
                os.fsync(fd)
        temporary.rename(path)
    except OSError as error:
        raise os_failure(error, f"cannot write {path}", of_grid=True) from None
    return identity
