"""A folder at a URL, through fsspec: small documents, large files, and who comes first."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from ..config import shown_url
from ..errors import (
    GridAccessError,
    GridConnectionError,
    GridCorruptError,
    GridEnvironmentError,
    GridNotFoundError,
    UsageError,
    os_failure,
)

_T = TypeVar("_T")

#: So often something is asked of a place that does not answer, and seconds before the second time; twice as many later.
ATTEMPTS, FIRST_PAUSE = 5, 0.1
#: Bytes that are read or written at a time.
CHUNK_BYTES = 8 << 20
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*", re.DOTALL)
#: Schemes of fsspec's that have no folders which can be listed.
_NO_PLACES = {"http", "https", "data"}
#: Those of folders of this machine, and those where nothing but a path names a folder.
_LOCAL, _WITHOUT_QUERY = ("file", "local"), ("s3", "s3a", "gs", "gcs")
#: Errors that stay, however often something is asked for.
_LASTING = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_LASTING_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG}
#: What an object's time of change is called in a listing of fsspec's file systems.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "timeModified", "created")


def is_url(home: Any) -> bool:
    """Whether an address is a URL in a scheme of fsspec's where files can be listed: no directory, and no node.

    >>> is_url("s3://bucket/grid"), is_url("grid://box"), is_url("/grids/one"), is_url("http://box/grid")
    (True, False, False, False)
    """
    if not isinstance(home, str) or not _URL.fullmatch(home):
        return False
    import fsspec

    scheme = home.partition("://")[0]
    return scheme not in _NO_PLACES and scheme in fsspec.available_protocols()


def _checked_url(url: Any) -> str:
    """What a folder of copies is named by: a URL, or an absolute path. Raises ``UsageError`` for all else.

    A word alone may be a table, or a folder, whose URL was forgotten.
    """
    text = url if isinstance(url, str) else os.fspath(url)
    if text.startswith(("grid://", "grid+tls://", "unix://")):
        raise UsageError(
            f"{shown_url(text)} is a node, and copies lie in a folder: name its URL, such as s3://bucket/grid or "
            "file:///nfs/grid; 'gridflow clone' makes a grid of a node's tables"
        )
    is_full = _URL.fullmatch(text) is not None
    scheme, _, path = text.partition("://") if is_full else ("", "", text)
    if scheme in ("", *_LOCAL) and not path.startswith("/"):
        raise UsageError(
            f"{shown_url(text)!r} is neither a URL nor an absolute path: name a folder as s3://bucket/grid, "
            "file:///nfs/grid or /nfs/grid"
        )
    if scheme in _WITHOUT_QUERY and re.search("[?#]", path):
        raise UsageError(f"{shown_url(text)}: a folder's URL has no ? and no # in that scheme: leave what follows out")
    return text


@dataclass(frozen=True)
class Entry:
    """A file of a place's folder.

    Attributes:
        name: in its folder.
        bytes: how many it has.
        changed: when it was written, in seconds by the place's own clock; None where that is not known.
        is_folder: whether it is a folder.
    """

    name: str
    bytes: int
    changed: float | None
    is_folder: bool = False


class Place:
    """A folder at a URL. Names are relative to it, with ``/`` between their parts. Any thread may use it.

    Args:
        url: of the folder, in any scheme that fsspec knows, or an absolute path.

    Attributes:
        url: as messages have it, without a password.

    Raises:
        UsageError: there is no such scheme, its package is not installed, or it is no URL.
    """

    def __init__(self, url: str):
        self._full_url = _checked_url(url)
        self.url = shown_url(self._full_url)
        self._lock = threading.Lock()  # guards the next two
        self._pid = -1
        self._system: Any = None
        self._root = ""
        self.local: Path | None = None
        self._connect()

    def _connect(self) -> Any:
        """The file system; another one in a forked child, where the threads of the parent's are gone."""
        with self._lock:
            if self._pid != os.getpid():
                import fsspec

                try:
                    system, root = fsspec.url_to_fs(self._full_url, use_listings_cache=False)
                except ImportError as error:
                    raise UsageError(f"{self.url}: {error}") from None
                except ValueError:  # which says the URL as it was given
                    raise UsageError(f"{self.url} cannot be opened: no fsspec scheme takes such a URL") from None
                except Exception as error:
                    raise self._failure(error, "cannot be opened") from None
                self._system, self._root, self._pid = system, root.rstrip("/"), os.getpid()
                protocols = system.protocol if isinstance(system.protocol, (tuple, list)) else (system.protocol,)
                self.local = Path(root) if "file" in protocols or "local" in protocols else None
            return self._system

    def path(self, name: str) -> str:
        """Where a file is, as the file system has it."""
        return f"{self._root}/{name}" if name else self._root

    def shown(self, name: str) -> str:
        """Where a file is, for messages."""
        return f"{self.url}/{name}"

    def _failure(self, error: BaseException, what: str) -> GridEnvironmentError:
        if isinstance(error, GridEnvironmentError):
            return error
        text = f"{self.url}: {what}"
        if isinstance(error, FileNotFoundError):
            return GridNotFoundError(f"{text}: there is no such file, folder or bucket", filename=self.url)
        if isinstance(error, PermissionError):
            return GridAccessError(
                f"{text}: {error.strerror or 'it is not permitted'}; look at the credentials of that address and what "
                "they may do",
                filename=self.url,
            )
        if isinstance(error, OSError) and error.errno in _LASTING_CODES:
            return os_failure(error, text)
        # Nothing of the error's own text: libraries put addresses with credentials there.
        return GridConnectionError(f"{text}: {type(error).__name__}", filename=self.url)

    def ask(self, what: str, action: Callable[[Any], _T]) -> _T:
        """Do something with the file system, again where it fails and may not the next time.

        Raises:
            FileExistsError: as the file system says it.
            GridNotFoundError, GridAccessError, GridFullError, GridConnectionError: what the error means.
        """
        pause = FIRST_PAUSE
        for attempt in range(ATTEMPTS):
            try:
                return action(self._connect())
            except FileExistsError:
                raise
            except (*_LASTING, GridEnvironmentError) as error:
                raise self._failure(error, what) from None
            except Exception as error:
                if attempt == ATTEMPTS - 1 or (isinstance(error, OSError) and error.errno in _LASTING_CODES):
                    raise self._failure(error, what) from error
                # Others that failed at the same moment do not come again at the same moment.
                time.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
                pause *= 2
        raise AssertionError("unreachable")

    # ---- reading ----

    def list(self, folder: str) -> list[Entry]:
        """What a folder holds; nothing if it is not there."""

        def listing(system: Any) -> list[dict[str, Any]]:
            system.invalidate_cache(self.path(folder))
            try:
                return list(system.ls(self.path(folder), detail=True))
            except (FileNotFoundError, NotADirectoryError):
                return []

        found = []
        for info in self.ask(f"folder {folder or '/'} cannot be listed", listing):
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            if name and not name.endswith(_TEMPORARY):
                is_folder = info.get("type") == "directory"
                found.append(Entry(name, int(info.get("size") or 0), _time_of(info), is_folder))
        return sorted(found, key=lambda entry: entry.name)

    def find(self, folder: str) -> Sequence[str]:
        """The files of a folder and of those within it, by their names from the folder on; nothing if it is not there.

        One request for each thousand of them, where the place can list all at once.
        """

        def finding(system: Any) -> list[str]:
            system.invalidate_cache(self.path(folder))
            try:
                return list(system.find(self.path(folder)))
            except (FileNotFoundError, NotADirectoryError):
                return []

        found = self.ask(f"folder {folder or '/'} cannot be listed", finding)
        before = f"{self.path(folder).strip('/')}/"
        names = [str(name).strip("/").partition(before)[2] for name in found]
        return sorted(name for name in names if name and not name.endswith(_TEMPORARY))

    def read(self, name: str) -> bytes:
        """A whole file, in one request.

        Raises:
            GridNotFoundError: there is none.
        """
        return bytes(self.ask(f"{name} cannot be read", lambda system: system.cat_file(self.path(name), start=0)))

    def read_range(self, name: str, begin: int, end: int) -> bytes:
        """Bytes [begin, end) of a file, in one request.

        Raises:
            GridNotFoundError: there is none.
            GridCorruptError: it has fewer.
            GridConnectionError: it cannot be read.
        """

        def reading(system: Any) -> bytes:
            data = bytes(system.cat_file(self.path(name), start=begin, end=end))
            if len(data) != end - begin:
                there = int(system.size(self.path(name)) or 0)
                if there < end:
                    raise GridCorruptError(
                        f"{self.shown(name)} has {there} bytes, and should have at least {end}", self.shown(name), there
                    )
                raise EOFError
            return data

        return self.ask(f"bytes {begin} to {end} of {name} cannot be read", reading)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """A descriptor of a file of a local place, to read it, for the block.

        Raises:
            GridNotFoundError, GridAccessError: there is none, or it may not be read.
        """
        try:
            fd = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._failure(error, f"{name} cannot be read") from None
        try:
            yield fd
        finally:
            os.close(fd)

    def exists(self, name: str) -> bool:
        """Whether there is a file."""
        return bool(self.ask(f"{name} cannot be looked up", lambda system: system.exists(self.path(name))))

    def now(self) -> float | None:
        """The time by the place's own clock; None where it does not tell."""
        name = f"clock-{secrets.token_hex(8)}"
        self.write(name, b"x")
        try:
            folder, _, _ = name.rpartition("/")
            return next((entry.changed for entry in self.list(folder) if entry.name == name), None)
        finally:
            self.remove(name)

    # ---- writing ----

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, also over another one."""
        if self.local is not None:
            path = self._make_parent(name)
            with self._local_errors(f"{name} cannot be written"), _temporary(path) as temporary:
                temporary.write_bytes(data)
                temporary.replace(path)
        else:
            self.ask(f"{name} cannot be written", lambda system: system.pipe_file(self.path(name), data))

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file if there is none of that name; of several who try only one does.

        Returns:
            Whether it did: False if there is one with other bytes.
        """
        try:
            if self.local is not None:
                path = self._make_parent(name)
                with self._local_errors(f"{name} cannot be written"), _temporary(path) as temporary:
                    with open(temporary, "wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    os.link(temporary, path)
            else:
                self.ask(
                    f"{name} cannot be made",
                    lambda system: system.pipe_file(self.path(name), data, mode="create"),
                )
            return True
        except FileExistsError:
            # Where the answer to the first try was lost, it is the second that fails.
            return self.read(name) == data

    def check_creating(self, name: str, data: bytes) -> None:
        """Raise if the place lets two writers create the same file, the second over the first; ``name`` is there.

        Raises:
            UsageError: it does: nobody could publish there without losing what another has.
        """
        other = data + b" "
        try:
            made = self.create(name, other)
        except (NotImplementedError, TypeError, ValueError):
            made = True
        if made:
            self.write(name, data)
            raise UsageError(
                f"{self.url}: files there can be written over by whoever comes second (mode 'create' of fsspec does "
                "nothing there), so that versions could be lost: publish to s3://, gs://, file:// or another place "
                "that keeps the first"
            )

    def make_private(self) -> None:
        """Make the folder for this user alone, where it is one of this machine and not there."""
        if self.local is not None and not self.local.exists():
            with self._local_errors("the folder cannot be made"):
                self.local.parent.mkdir(parents=True, exist_ok=True)
                self.local.mkdir(mode=0o700)

    def _make_parent(self, name: str) -> Path:
        path = Path(self.path(name))
        with self._local_errors(f"the folder of {name} cannot be made"):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def _local_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            raise os_failure(error, f"{self.url}: {what}", of_grid=True) from None

    def put(self, name: str, fd: int, size: int, check: Callable[[], Any], done: Callable[[int], Any]) -> None:
        """Write a large file, all of what a descriptor has; it gets its name when it is whole.

        Args:
            check: raises if the file is not what it should be, and then there is none of that name.
            done: called with the bytes that were written, piece by piece.
        """
        if self.local is not None:
            path = self._make_parent(name)
            with (
                self._local_errors(f"{name} cannot be written"),
                _temporary(path) as temporary,
                _meanwhile(check) as checked,
            ):
                with open(temporary, "wb") as file:
                    copy_file(fd, file.fileno(), size, done)
                    if size >= CHUNK_BYTES:  # others are copied meanwhile; of small ones settle() takes care together
                        os.fdatasync(file.fileno())
                checked()
                temporary.replace(path)
            return
        check()

        def writing(system: Any) -> None:
            written = 0
            with system.open(self.path(name), "wb", block_size=CHUNK_BYTES) as file:
                while written < size:
                    chunk = os.pread(fd, min(CHUNK_BYTES, size - written), written)
                    if not chunk:
                        raise EOFError
                    file.write(chunk)
                    written += len(chunk)
            done(size)

        self.ask(f"{name} cannot be written", writing)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens if there is none."""

        def removing(system: Any) -> None:
            with contextlib.suppress(FileNotFoundError):
                system.rm_file(self.path(name))

        self.ask(f"{name} cannot be removed", removing)

    def settle(self) -> None:
        """Have what was written outlive a power cut, where that is a disk of this machine."""
        if self.local is not None and self.local.is_dir():
            from .._native.store import sync_file_system

            sync_file_system(str(self.local))


@contextlib.contextmanager
def _meanwhile(action: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """Does something in a thread while the block runs; what it gives waits for that, and raises what it has raised."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(action).result


#: Ends the names of local files that are not whole yet.
_TEMPORARY = ".part"


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name for a file until it is whole; removed in the end, where it has not got another."""
    temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def copy_file(source: int, target: int, size: int, done: Callable[[int], Any]) -> None:
    """Copy the first bytes of a local file to another, by the kernel where it can."""
    at = 0
    while at < size:
        count = _copy_some(source, target, at, min(8 * CHUNK_BYTES, size - at))
        if count == 0:
            raise OSError(errno.EIO, "the file ends early")
        at += count
        done(count)


def _copy_some(source: int, target: int, at: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, count, at, at)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            raise
    except AttributeError:  # a system that has no such call
        pass
    data = os.pread(source, min(count, CHUNK_BYTES), at)
    written = 0
    while written < len(data):
        written += os.pwrite(target, data[written:], at + written)
    return len(data)


def _time_of(info: dict[str, Any]) -> float | None:
    for key in _TIMES:
        value = info.get(key)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None
