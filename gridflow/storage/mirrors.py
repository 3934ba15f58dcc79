"""The folder of all mirrors of a user, and what is in it; ``transport.mirror`` says what a mirror is, and fills it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .._native import mirror as native
from .._native.catalog import read_catalog
from ..config import temporary_root
from ..errors import GridAccessError, GridflowError, UsageError, os_failure
from .expected_files import TABLES, table_folder

#: The file that makes a folder a mirror.
MARK = "mirror"
#: What was opened within so many seconds is not evicted: somebody may be just opening it.
RECENT_SECONDS = 10.0
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def root() -> Path:
    """Where mirrors are: ``$GRIDFLOW_MIRROR``, else beside the default grid. It need not be there."""
    said = os.environ.get("GRIDFLOW_MIRROR")
    if said:
        return Path(said).expanduser().absolute()
    uid = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return temporary_root() / f"gridflow-{uid}" / "mirror"


def make_private(folder: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise os_failure(error, f"cannot make the mirror's folder {folder}", of_grid=True) from None
    for wrong, what in (
        (not stat.S_ISDIR(status.st_mode), "is a link or a file"),
        (status.st_uid != os.geteuid(), "belongs to another user"),
        (bool(status.st_mode & 0o022), "can be written to by others"),
    ):
        if wrong:
            raise GridAccessError(
                f"the mirror's folder {folder} {what}: remove it, or set GRIDFLOW_MIRROR to a folder of yours",
                filename=str(folder),
            )


def is_mirror(home: Path) -> bool:
    """Whether a folder is a mirror of a grid, and not a grid."""
    return (home / MARK).exists()


def budget() -> int | None:
    """How many bytes all mirrors of this user may have; None for no limit but the file system's.

    ``$GRIDFLOW_MIRROR_BYTES``, else what ``gridflow mirror limit`` has set.
    """
    said = os.environ.get("GRIDFLOW_MIRROR_BYTES")
    try:
        if said is None:
            said = (root() / "limit").read_text()
    except FileNotFoundError:
        return None
    return number_of_bytes(said)


def number_of_bytes(text: str) -> int:
    """The bytes that a budget has as a text: 500000, 512M or 8G.

    Raises:
        UsageError: it is no such number.
    """
    unit = _UNITS.get(text.strip()[-1:].upper())
    try:
        count = int(float(text.strip()[:-1]) * unit) if unit else int(text)
    except (ValueError, OverflowError):
        count = -1
    if count < 0:
        raise UsageError(f"the mirror's budget is a number of bytes, such as 500000, 512M or 8G, not {text!r}")
    return count


def set_budget(limit: int | None) -> None:
    """Set the budget for all processes of this user that have no ``$GRIDFLOW_MIRROR_BYTES``."""
    if not os.environ.get("GRIDFLOW_MIRROR"):
        make_private(root().parent)
    make_private(root())
    path = root() / "limit"
    if limit is None:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name("limit.tmp")
    write_whole(temporary, str(limit).encode())
    temporary.rename(path)


def _segments(top: Path) -> Iterator[Path]:
    yield from top.glob(f"*/{TABLES}/*/*.seg")


def bytes_on_disk(top: Path) -> int:
    total = 0
    for path in top.glob(f"*/{TABLES}/*/*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_blocks * 512
    return total


def trim(top: Path, limit: int) -> bool:
    """Evict segments that nobody has open, those used longest ago first, until at most ``limit`` bytes are there.

    Returns:
        Whether it is so now.
    """
    total = bytes_on_disk(top)
    if total <= limit:
        return True
    unused = []
    for path in _segments(top):
        with contextlib.suppress(GridflowError, FileNotFoundError):
            _, _, used, is_used = native.use_of(str(path))
            if not is_used and time.time() - used > RECENT_SECONDS:
                unused.append((used, path, path.lstat().st_blocks * 512))
    for _, path, size in sorted(unused):
        if total <= limit:
            break
        remove(path)
        total -= size
    return total <= limit


@dataclass(frozen=True)
class MirroredTable:
    """What is in the mirror of a table.

    Attributes:
        address: of its grid.
        name: its name.
        segments: how many have been asked for, with ``bytes`` in all, of which ``present`` have come.
        used: when one was opened last, in seconds since 1970.
        is_used: whether somebody has one open.
    """

    address: str
    name: str
    segments: int
    bytes: int
    present: int
    used: float
    is_used: bool


def mirrors() -> Iterator[tuple[Path, str]]:
    """The folder and the address of each mirror of this user."""
    for path in sorted(root().glob(f"*/{MARK}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            yield path.parent, str(json.loads(path.read_bytes())["address"])


def listing() -> list[MirroredTable]:
    """Each table in this user's mirrors."""
    tables = []
    for home, address in mirrors():
        with contextlib.suppress(GridflowError):
            for table_id, name, _, _ in read_catalog(str(home))[2]:
                uses = []
                for path in table_folder(home, table_id).glob("*.seg"):
                    with contextlib.suppress(GridflowError):
                        uses.append(native.use_of(str(path)))
                sums = (sum(use[0] for use in uses), sum(use[1] for use in uses))
                used = max((use[2] for use in uses), default=0.0)
                tables.append(MirroredTable(address, name, len(uses), *sums, used, any(use[3] for use in uses)))
    return tables


def clear(address: str | None = None) -> int:
    """Remove this user's mirrors, or that of one grid; who reads one goes on, and has the rest come anew.

    Returns:
        How many there were.
    """
    found = [home for home, of in mirrors() if address in (None, of)]
    for home in found:
        # All at once: who is just following the grid finds it gone, and makes it again.
        gone = home.with_name(f"{home.name}.cleared-{os.getpid()}")
        with contextlib.suppress(OSError):
            home.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    return len(found)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of a mirror anew."""
    try:
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        raise os_failure(error, f"cannot write {path}", of_grid=True) from None


def remove(path: Path) -> None:
    """Remove a file of a mirror, and its map; who has them open keeps them."""
    # The segment first: without its map it is none.
    for one in (path, path.with_name(path.name + ".map")):
        with contextlib.suppress(FileNotFoundError):
            one.unlink()
