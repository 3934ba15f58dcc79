"""Clone: a grid of its own, of all tables of another one, whatever address that has. ``restore`` ends here, too."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._native.catalog import write_catalog
from .._native.sealed import ManifestBytes
from .._native.snapshot import Snapshot
from .._native.store import sync_file_system
from ..config import resolve_home
from ..errors import GridCorruptError, GridOwnedError, UsageError, os_failure
from ..registry import open_owner
from ..storage.expected_files import CATALOG, IDENTITY, LOCK, LOG, TABLES, foreign_names, table_folder
from ..storage.lock import OwnerLock, holder
from ..storage.versions import MANIFEST, Kept, manifest_name
from .cut import HeldFile, held_file, held_grid
from .place import copy_file, is_url
from .publish import THREADS, Report, Reported
from .source import SealedFile, Source, Version
from .url_source import UrlSource

#: Is there as long as a directory is no grid yet.
UNFINISHED = "clone.part"
#: Writes the bytes of a file to a descriptor; called with that.
Fill = Callable[[int], None]


@dataclass(frozen=True)
class CopiedVersion:
    """A version that is to be in the new grid."""

    number: int
    manifest: bytes


@dataclass(frozen=True)
class CopiedTable:
    """A table that is to be in the new grid.

    Attributes:
        current: its newest version.
        files: what its versions name, and what writes the bytes of each; and where they come from, for messages.
        past: older versions, which ``kept`` keeps.
    """

    name: str
    table_id: int
    options: dict[str, Any]
    current: CopiedVersion
    files: Sequence[tuple[SealedFile, Fill, str]]
    past: tuple[CopiedVersion, ...] = ()
    kept: Kept = field(default_factory=Kept)


def clone(address: str | os.PathLike[str], home: str | os.PathLike[str], *, progress: Report | None = None) -> Path:
    """Make a grid of all tables of another one.

    Of a directory it has system tables, tags and kept versions too, all as they are at one moment; of a URL the newest
    version of each table. It is a grid of its own: nothing that is done to one of the two changes the other.

    Args:
        address: a directory, whoever owns the grid there, or a URL that tables were published to.
        home: a directory, which is made, or is empty, or what a clone has left that was killed: that goes on.
        progress: called with the bytes that are copied, and all that are to be.

    Returns:
        The directory.

    Raises:
        UsageError: there is something else in the directory.
        GridNotFoundError, GridCorruptError, GridAccessError, GridConnectionError: the grid cannot be read.
        GridFullError: there is no room. What was copied stays, and the clone can go on.
    """
    target = resolve_home(home)
    if isinstance(address, str) and is_url(address):
        source = UrlSource(address)
        try:
            return clone_source(source, target, progress)
        finally:
            source.close()
    with held_grid(resolve_home(address)) as grid:
        tables = []
        for table in grid.tables:
            versions = {version.number: version for version in (*table.past, table.current)}
            files = {file.name: file for version in versions.values() for file in version.files}
            tables.append(
                CopiedTable(
                    table.name,
                    table.table_id,
                    dict(table.options),
                    CopiedVersion(table.current.number, table.current.manifest),
                    [(file, _filler_of(file), file.path) for file in files.values()],
                    tuple(CopiedVersion(version.number, version.manifest) for version in table.past),
                    table.kept,
                )
            )
        return make_grid(target, tables, grid.next_table_id, progress)


def _filler_of(file: HeldFile) -> Fill:
    return lambda fd: copy_file(file.fd, fd, file.bytes, lambda count: None)


def clone_source(source: Source, home: Path, progress: Report | None = None) -> Path:
    """Make a grid of the newest version of each table of a source."""
    source.identity()  # raises where there is none
    versions = [source.version(table) for table in source.tables()]
    held: list[Version] = []
    try:
        for version in versions:
            source.hold(version)
            held.append(version)
        tables = [
            CopiedTable(
                version.table,
                version.table_id,
                dict(version.options),
                CopiedVersion(version.number, version.manifest),
                [
                    (file, _filler_from(source, version.table_id, file), f"{source.address}: {file.name}")
                    for file in version.files
                ],
            )
            for version in versions
        ]
        following = max((version.table_id for version in versions), default=0) + 1
        return make_grid(home, tables, following, progress)
    finally:
        for version in held:
            source.release(version)


def _filler_from(source: Source, table_id: int, file: SealedFile) -> Fill:
    def fill(fd: int) -> None:
        for at, piece in source.read(table_id, file, [(0, file.bytes)]):
            with memoryview(piece) as view:
                done = 0
                while done < len(view):
                    done += os.pwrite(fd, view[done:], at + done)

    return fill


def make_grid(home: Path, tables: Sequence[CopiedTable], next_table_id: int, progress: Report | None = None) -> Path:
    """Make a grid of copied tables: its catalog comes last, and before that the directory is no grid.

    Raises:
        UsageError: there is something else in the directory.
        GridOwnedError: another process is at it.
        GridCorruptError: a file is damaged where it comes from, which the message names.
        GridFullError: there is no room; what was copied stays.
    """
    _prepare(home)
    try:
        lock = OwnerLock(home)
    except BlockingIOError:
        raise GridOwnedError(
            f"process {holder(home)} makes a grid in {home}: wait for it, or name another directory", filename=str(home)
        ) from None
    try:
        if (home / CATALOG).exists():
            raise _taken(home)
        reported = Reported(progress, sum(file.bytes for table in tables for file, _, _ in table.files))
        for table in tables:
            _copy_table(home, table, reported)
        sync_file_system(str(home))
        (home / UNFINISHED).unlink(missing_ok=True)
        rows = [
            (table.table_id, table.name, json.dumps(table.kept.joined(table.options), sort_keys=True))
            for table in tables
        ]
        write_catalog(str(home), 1, next_table_id, rows, True)
    except OSError as error:
        if type(error).__module__.startswith("gridflow"):
            raise
        raise os_failure(error, f"cannot write {home}", of_grid=True) from None
    finally:
        lock.release()
    open_owner(home, None).close()  # readers need what an owner makes, such as its identity
    return home


def _taken(home: Path) -> UsageError:
    return UsageError(f"there is a grid in {home} already: name a directory that is empty, or is not there")


def _prepare(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = os.listdir(home)
        if CATALOG in names:
            raise _taken(home)
        foreign = [name for name in foreign_names(names) if name != UNFINISHED]
        if foreign or (names and UNFINISHED not in names and set(names) - {LOCK, LOG, TABLES, IDENTITY}):
            raise UsageError(f"{home} is not empty (it holds {sorted(foreign or names)[0]}): name an empty directory")
        for folder in (LOG, TABLES):
            (home / folder).mkdir(mode=0o700, exist_ok=True)
        (home / UNFINISHED).touch(mode=0o600)
    except FileExistsError:
        raise UsageError(f"{home} is a file, not a directory") from None
    except OSError as error:
        raise os_failure(error, f"cannot make a grid in {home}", of_grid=True) from None


def _copy_table(home: Path, table: CopiedTable, reported: Reported) -> None:
    folder = table_folder(home, table.table_id)
    folder.mkdir(mode=0o700, exist_ok=True)
    wanted = {file.name for file, _, _ in table.files}
    for path in folder.iterdir():  # of a clone that was killed, of an older version
        if path.name not in wanted:
            path.unlink()
    with ThreadPoolExecutor(THREADS) as pool:
        copies = [pool.submit(_copy, folder, *file, reported) for file in table.files]
        try:
            for copy in copies:
                copy.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for version in table.past:
        _write(folder / manifest_name(version.number), version.manifest)
    _write(folder / MANIFEST, table.current.manifest)
    for version in (*table.past, table.current):
        snapshot = Snapshot.open(str(home), table.table_id, version.number)
        snapshot.verify_manifest(str(folder / MANIFEST))
        if snapshot.version != version.number:
            raise GridCorruptError(
                f"table {table.name}: its manifest is that of version {snapshot.version}", table.name
            )


def _write(path: Path, data: bytes) -> None:
    ManifestBytes(data, str(path))  # raises what is wrong with it
    path.write_bytes(data)
    path.chmod(0o600)


def _copy(folder: Path, file: SealedFile, fill: Fill, origin: str, reported: Reported) -> None:
    path = folder / file.name
    if not _is_there(path, file):
        temporary = path.with_name(f"{file.name}.part")
        for attempt in range(2):  # what was damaged on its way comes again, and whole
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fill(fd)
                check_copy(fd, file, origin)
                break
            except GridCorruptError:
                if attempt == 1:
                    temporary.unlink(missing_ok=True)
                    raise
            finally:
                os.close(fd)
        temporary.rename(path)
    reported.add(file.bytes)


def check_copy(fd: int, file: SealedFile, origin: str) -> None:
    """Raise if what a descriptor has is not this file, byte by byte; ``origin`` is named then.

    Raises:
        GridCorruptError: says which block is damaged.
    """
    size = os.fstat(fd).st_size
    if size != file.bytes:
        raise GridCorruptError(f"{origin} has {size} bytes, not the {file.bytes} of {file.name}", origin, size)
    held = held_file(file.name, fd, origin)
    held.check()
    if held.fingerprint != file.fingerprint:
        raise GridCorruptError(f"{origin} is sound, but it is another file than {file.name}", origin, 0)


def _is_there(path: Path, file: SealedFile) -> bool:
    with contextlib.suppress(OSError, GridCorruptError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            check_copy(fd, file, str(path))
            return True
        finally:
            os.close(fd)
    return False
