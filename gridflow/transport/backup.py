"""Backup: a whole grid is copied to a URL, again and again; what is there already is not copied again. And restore."""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..config import resolve_home
from ..errors import (
    GridCorruptError,
    GridEnvironmentError,
    GridNotFoundError,
    GridVersionError,
    UsageError,
    VersionNotFoundError,
    os_failure,
    reworded,
)
from ..storage.versions import Kept
from .clone import CopiedTable, CopiedVersion, Fill, check_copy, make_grid
from .cut import HeldFile, HeldGrid, HeldTable, held_grid
from .place import Place, copy_file
from .publish import THREADS, Report, Reported, Uploaded, gone
from .published import (
    BACKUPS,
    FILES,
    Fields,
    PublishedFile,
    PublishedPlace,
    as_document,
    document_name,
    file_fields,
    object_path,
)
from .source import SealedFile

_ATTEMPTS = 1000
#: So often files are copied anew that have gone before they were named.
_UPLOADS = 3
#: So many bytes of a file are asked for at a time.
_REQUEST_BYTES = 8 << 20


@dataclass(frozen=True)
class BackupTable:
    """A table in a backup; versions rise, and the last one is the current one."""

    name: str
    table_id: int
    options: Mapping[str, Any]
    kept: Kept
    versions: tuple[CopiedVersion, ...]
    files: tuple[PublishedFile, ...]


@dataclass(frozen=True)
class Backup:
    """What the document of a backup says.

    Attributes:
        number: of the backup: a later one has a higher one.
        created: when it was made, for people.
        grid: what the grid is called for good.
        next_table_id: the number of the next table that would be made in it.
        tables: all of them, system tables too.
        copied_bytes: of what was copied for it, as the others were there.
    """

    number: int
    created: str
    grid: str
    next_table_id: int
    tables: tuple[BackupTable, ...]
    copied_bytes: int = 0
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def files(self) -> list[PublishedFile]:
        """What it is made of."""
        return list({file.source: file for table in self.tables for file in table.files}.values())

    @property
    def total_bytes(self) -> int:
        """Of all files that it is made of."""
        return sum(file.bytes for file in self.files)

    def document(self) -> bytes:
        """The bytes of its document."""
        return as_document(
            "backup",
            number=self.number,
            created=self.created,
            nonce=self.nonce,
            grid=self.grid,
            next_table_id=self.next_table_id,
            copied_bytes=self.copied_bytes,
            tables=[
                {
                    "name": table.name,
                    "table_id": table.table_id,
                    "options": dict(table.options),
                    "tags": [{"tag": tag, "version": version} for tag, version in sorted(table.kept.tags.items())],
                    "keep_versions": table.kept.last,
                    "versions": [
                        {"number": version.number, "manifest": base64.b64encode(version.manifest).decode()}
                        for version in table.versions
                    ],
                    "files": [file_fields(file) for file in table.files],
                }
                for table in self.tables
            ],
        )


@dataclass(frozen=True)
class Unreadable:
    """A backup whose document cannot be read.

    Attributes:
        number: of the backup.
        error: why.
    """

    number: int
    error: GridEnvironmentError


def parse_backup(data: bytes, name: str, number: int) -> Backup:
    """The backup of a document.

    Raises:
        GridCorruptError, GridVersionError: it is damaged, of another number, or of a newer format.
    """
    fields = Fields(data, name, "backup")
    if fields.number("number", 1) != number:
        raise fields.wrong("number", str(number))
    tables = tuple(_parse_table(part) for part in fields.objects("tables"))
    next_table_id = fields.number("next_table_id", 1, (1 << 32) - 1)
    ids = [table.table_id for table in tables]
    if len(set(ids)) < len(ids) or max(ids, default=0) >= next_table_id:
        raise fields.wrong("tables", "a list of tables with numbers of their own")
    if len({table.name for table in tables}) < len(tables):
        raise fields.wrong("tables", "a list of tables with names of their own")
    return Backup(
        number,
        fields.text("created"),
        fields.text("grid"),
        next_table_id,
        tables,
        fields.number("copied_bytes"),
        fields.text("nonce"),
    )


def _parse_table(fields: Fields) -> BackupTable:
    table_id = fields.number("table_id", 1, (1 << 32) - 2)
    files = tuple(part.file() for part in fields.objects("files"))
    versions = []
    for part in fields.objects("versions"):
        number = part.number("number", 1)
        versions.append(CopiedVersion(number, part.manifest("manifest", table_id, number, files)))
    numbers = [version.number for version in versions]
    if not numbers or numbers != sorted(set(numbers)):
        raise fields.wrong("versions", "a list of versions that rise")
    tags = {part.text("tag"): part.number("version", 1) for part in fields.objects("tags")}
    if not set(tags.values()) <= set(numbers):
        raise fields.wrong("tags", "a list of tags of those versions")
    kept = Kept(tags, fields.number("keep_versions", 0, (1 << 31) - 1))
    name, options = fields.table("name", "options", system=True)
    return BackupTable(name, table_id, options, kept, tuple(versions), files)


def backup(
    home: str | os.PathLike[str] | None, url: str, *, verify: bool = False, progress: Report | None = None
) -> Backup:
    """Back a whole grid up: its tables and system tables, kept versions, tags and options, all at one moment.

    Writes go on meanwhile. Files that the last backup there has are not copied again; each other one is compared with
    its checksums as it is copied.

    Args:
        home: the grid's directory, whoever owns it; the default grid without it.
        url: of the folder, in any scheme of fsspec. For each grid one of its own.
        verify: read the backup back when it is made, all of it.
        progress: called with the bytes that are copied, and all that are to be.

    Returns:
        What was made.

    Raises:
        GridNotFoundError, GridCorruptError: the grid cannot be read, or a file of it is damaged.
        GridAccessError, GridFullError, GridConnectionError, UsageError: the URL cannot be written.
    """
    place = PublishedPlace(url)
    with held_grid(resolve_home(home)) as grid:
        place.place.make_private()
        place.prepare()
        reported = Reported(progress, sum(file.bytes for file in _files_of(grid)))
        for _ in range(_UPLOADS):
            made = _back_up(grid, place, reported)
            if not gone(place, made.files):
                break
            place.place.remove(document_name(BACKUPS, made.number))
        else:
            raise GridEnvironmentError(
                f"{place.url}: files go as soon as they are there: look for what removes them, then back up again"
            )
    if verify:
        verify_backup(url, made.number)
    return made


def _back_up(grid: HeldGrid, place: PublishedPlace, reported: Reported) -> Backup:
    known = _newest_readable(place, place.listing(BACKUPS).numbers)
    if known is not None:
        _check_same_grid(grid, known, place)
    uploaded = Uploaded(place)
    tables = _copy(grid, known, uploaded, reported)
    place.place.settle()
    for attempt in range(_ATTEMPTS):
        number = place.listing(BACKUPS).newest + 1
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        made = Backup(number, created, grid.identity, grid.next_table_id, tables, uploaded.copied_bytes)
        if place.place.create(document_name(BACKUPS, number), made.document()):
            return made
        time.sleep(min(attempt, 10) * 0.01 * (0.5 + secrets.randbelow(1000) / 1000))
    raise GridEnvironmentError(f"{place.url}: other backups are faster all the time; try again later")


def _newest_readable(place: PublishedPlace, numbers: Sequence[int]) -> Backup | None:
    """The newest backup, or the newest but those whose documents cannot be read; of these there is a warning."""
    for number in reversed(numbers):
        try:
            return read_backup(place, number)
        except GridNotFoundError:  # pruned meanwhile
            continue
        except (GridCorruptError, GridVersionError) as error:
            warnings.warn(
                f"{error}; this backup goes on from an older one: remove that document if it is of no use",
                stacklevel=4,
            )
    return None


def _check_same_grid(grid: HeldGrid, known: Backup, place: PublishedPlace) -> None:
    """Raise if the backups there are of another grid, and this one was not made of one of them.

    A grid that was restored has another name, and at first the same files.
    """
    if known.grid == grid.identity:
        return
    there = {_content(file) for file in known.files}
    if there.isdisjoint(_content(file) for file in _files_of(grid)):
        raise UsageError(
            f"the backups at {place.url} are of another grid, {known.grid}, and this one, {grid.identity}, shares no "
            "file with them: give each grid a URL of its own"
        )


def _content(file: SealedFile) -> tuple[str, int, int]:
    return file.name, file.bytes, file.fingerprint


def _files_of(grid: HeldGrid) -> list[HeldFile]:
    return [file for table in grid.tables for file in _files_of_table(table)]


def _files_of_table(table: HeldTable) -> list[HeldFile]:
    return list({file.name: file for version in (*table.past, table.current) for file in version.files}.values())


def _copy(grid: HeldGrid, known: Backup | None, uploaded: Uploaded, reported: Reported) -> tuple[BackupTable, ...]:
    there = {file.source for file in known.files} if known else set()
    tables = []
    for table in grid.tables:
        files = _files_of_table(table)
        sources = uploaded.all(grid.identity, table.table_id, files, there, reported)
        versions = {version.number: version for version in (*table.past, table.current)}
        tables.append(
            BackupTable(
                table.name,
                table.table_id,
                table.options,
                table.kept,
                tuple(CopiedVersion(version.number, version.manifest) for _, version in sorted(versions.items())),
                tuple(PublishedFile(file.name, file.bytes, file.fingerprint, sources[file.name]) for file in files),
            )
        )
    return tuple(tables)


def read_backup(place: PublishedPlace, number: int) -> Backup:
    """A backup by its number.

    Raises:
        GridNotFoundError: there is none.
        GridCorruptError, GridVersionError: its document is damaged, or of a newer format.
    """
    name = document_name(BACKUPS, number)
    return parse_backup(place.place.read(name), place.place.shown(name), number)


def backups(url: str) -> list[Backup | Unreadable]:
    """The backups at a URL, the oldest first, also those whose documents are damaged, or of a newer format.

    Raises:
        GridNotFoundError: there is nothing.
    """
    place = PublishedPlace(url)
    place.identity()
    found: list[Backup | Unreadable] = []
    for number in place.listing(BACKUPS).numbers:
        try:
            found.append(read_backup(place, number))
        except GridNotFoundError:  # pruned meanwhile
            continue
        except (GridCorruptError, GridVersionError) as error:
            found.append(Unreadable(number, error))
    return found


def _find(place: PublishedPlace, number: int | None) -> Backup:
    place.identity()
    numbers = place.listing(BACKUPS).numbers
    if not numbers:
        raise GridNotFoundError(f"there is no backup at {place.url}", filename=place.url)
    if number is None:
        return _newest(place, numbers)
    if number not in numbers:
        raise VersionNotFoundError(
            f"there is no backup {number} at {place.url}; there are {', '.join(map(str, numbers))}"
        )
    return read_backup(place, number)


def _newest(place: PublishedPlace, numbers: Sequence[int]) -> Backup:
    try:
        return read_backup(place, numbers[-1])
    except (GridCorruptError, GridVersionError) as error:
        others = f"; older ones are {', '.join(map(str, numbers[:-1]))}" if numbers[1:] else ""
        raise reworded(error, f"{error}; that is the newest backup: name another by its number{others}") from None


def restore(
    url: str, home: str | os.PathLike[str], *, number: int | None = None, progress: Report | None = None
) -> Backup:
    """Make a grid of a backup, as the other was.

    Args:
        url: where backups were made to.
        home: a directory, which is made, or is empty, or what a restore has left that was killed: that goes on.
        number: of the backup; the newest without it.
        progress: called with the bytes that are copied, and all that are to be.

    Returns:
        The backup.

    Raises:
        VersionNotFoundError: there is no backup of that number.
        UsageError: there is something else in the directory.
        GridNotFoundError, GridCorruptError: there is no backup, or a file of it is missing or damaged: the message
            names it.
        GridFullError: there is no room. What was copied stays, and the restore can go on.
    """
    place = PublishedPlace(url)
    found = _find(place, number)
    _check_there(place, found)
    tables = []
    for table in found.tables:
        files = [
            (file, _filler(place.place, file), place.place.shown(object_path(file.source))) for file in table.files
        ]
        *past, current = table.versions
        kept = [*past, *([current] if current.number in table.kept.tags.values() else [])]
        tables.append(
            CopiedTable(table.name, table.table_id, dict(table.options), current, files, tuple(kept), table.kept)
        )
    make_grid(resolve_home(home), tables, found.next_table_id, progress)
    return found


def _check_there(place: PublishedPlace, found: Backup) -> None:
    """Raise if a file is missing, or has another size than it should: one listing, before anything is copied."""
    for file in gone(place, found.files):
        name = object_path(file.source)
        there = {entry.name: entry.bytes for entry in place.place.list(FILES)}
        if file.source not in there:
            raise GridNotFoundError(
                f"{place.place.shown(name)} is missing: backup {found.number} cannot be restored without it",
                filename=place.place.shown(name),
            )
        raise GridCorruptError(
            f"{place.place.shown(name)} has {there[file.source]} bytes, and should have {file.bytes}: backup "
            f"{found.number} cannot be restored without it",
            place.place.shown(name),
            there[file.source],
        )


def _filler(place: Place, file: PublishedFile) -> Fill:
    name = object_path(file.source)

    def fill(fd: int) -> None:
        if place.local is not None:
            with place.opened(name) as source:
                size = os.fstat(source).st_size
                if size == file.bytes:  # of another one the copy is compared, and its size named
                    copy_file(source, fd, size, lambda count: None)
            return
        for at in range(0, file.bytes, _REQUEST_BYTES):
            data, done = place.read_range(name, at, min(file.bytes, at + _REQUEST_BYTES)), 0
            while done < len(data):
                done += os.pwrite(fd, memoryview(data)[done:], at + done)

    return fill


def verify_backup(url: str, number: int | None = None) -> Backup:
    """Read a backup back, every byte of it.

    Args:
        url: where backups were made to.
        number: of the backup; the newest without it.

    Raises:
        GridCorruptError, GridNotFoundError: a file is damaged, or missing: the message names it, and the block.
    """
    place = PublishedPlace(url)
    found = _find(place, number)
    _check_there(place, found)

    def check(file: PublishedFile) -> None:
        with tempfile.TemporaryFile() as copy:
            _filler(place.place, file)(copy.fileno())
            check_copy(copy.fileno(), file, place.place.shown(object_path(file.source)))

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(check, found.files))
    except GridEnvironmentError:
        raise
    except OSError as error:
        raise os_failure(error, f"cannot write a temporary file in {tempfile.gettempdir()}") from None
    return found
