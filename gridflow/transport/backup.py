"""Backup: a whole grid is copied to a URL, again and again; what is there already is not copied again. And restore."""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..config import resolve_home
from ..errors import GridEnvironmentError, GridNotFoundError, VersionNotFoundError, reworded
from ..storage.versions import Kept
from .clone import CopiedTable, CopiedVersion, Fill, check_copy, make_grid
from .cut import HeldGrid, HeldTable, held_grid
from .place import Place, copy_file
from .publish import THREADS, Report, Reported, Uploaded
from .published import (
    BACKUPS,
    Fields,
    PublishedFile,
    PublishedPlace,
    as_document,
    document_name,
    file_fields,
    object_path,
)

_ATTEMPTS = 1000
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
    def total_bytes(self) -> int:
        """Of all files that it is made of."""
        return sum({file.source: file.bytes for table in self.tables for file in table.files}.values())

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
    return BackupTable(fields.text("name"), table_id, fields.object("options"), kept, tuple(versions), files)


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
        files = [file for table in grid.tables for file in _files_of(table).values()]
        reported = Reported(progress, sum(file.bytes for file in files))
        uploaded = Uploaded(place)
        for attempt in range(_ATTEMPTS):
            newest = place.listing(BACKUPS).newest
            known = read_backup(place, newest) if newest else None
            made = _copy(grid, newest + 1, known, uploaded, reported)
            place.place.settle()
            if place.place.create(document_name(BACKUPS, made.number), made.document()):
                break
            time.sleep(min(attempt, 10) * 0.01 * (0.5 + secrets.randbelow(1000) / 1000))
        else:
            raise GridEnvironmentError(f"{place.url}: other backups are faster all the time; try again later")
    if verify:
        verify_backup(url, made.number)
    return made


def _files_of(table: HeldTable) -> dict[str, Any]:
    return {file.name: file for version in (*table.past, table.current) for file in version.files}


def _copy(grid: HeldGrid, number: int, known: Backup | None, uploaded: Uploaded, reported: Reported) -> Backup:
    there = {file.source for table in known.tables for file in table.files} if known else set()
    tables = []
    for table in grid.tables:
        files = list(_files_of(table).values())
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
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Backup(number, created, grid.identity, grid.next_table_id, tuple(tables), uploaded.copied_bytes)


def read_backup(place: PublishedPlace, number: int) -> Backup:
    """A backup by its number.

    Raises:
        GridNotFoundError: there is none.
        GridCorruptError, GridVersionError: its document is damaged, or of a newer format.
    """
    name = document_name(BACKUPS, number)
    return parse_backup(place.place.read(name), place.place.shown(name), number)


def backups(url: str) -> list[Backup]:
    """The backups at a URL, the oldest first.

    Raises:
        GridNotFoundError: there is nothing.
        GridCorruptError, GridVersionError: a document is damaged, or of a newer format.
    """
    place = PublishedPlace(url)
    place.identity()
    return [read_backup(place, number) for number in place.listing(BACKUPS).numbers]


def _find(place: PublishedPlace, number: int | None) -> Backup:
    place.identity()
    numbers = place.listing(BACKUPS).numbers
    if not numbers:
        raise GridNotFoundError(f"there is no backup at {place.url}", filename=place.url)
    if number is None:
        return read_backup(place, numbers[-1])
    if number not in numbers:
        raise VersionNotFoundError(
            f"there is no backup {number} at {place.url}; there are {', '.join(map(str, numbers))}"
        )
    return read_backup(place, number)


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


def _filler(place: Place, file: PublishedFile) -> Fill:
    name = object_path(file.source)

    def fill(fd: int) -> None:
        try:
            if place.local is not None:
                with open(place.path(name), "rb") as source:
                    copy_file(source.fileno(), fd, file.bytes, lambda count: None)
                return
            for at in range(0, file.bytes, _REQUEST_BYTES):
                data, done = place.read_range(name, at, min(file.bytes, at + _REQUEST_BYTES)), 0
                while done < len(data):
                    done += os.pwrite(fd, memoryview(data)[done:], at + done)
        except (FileNotFoundError, GridNotFoundError) as error:
            message = f"{place.shown(name)} is missing: the backup cannot be restored without it"
            if isinstance(error, GridNotFoundError):
                raise reworded(error, message) from None
            raise GridNotFoundError(message, filename=place.shown(name)) from None

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
    files = {file.source: file for table in found.tables for file in table.files}

    def check(file: PublishedFile) -> None:
        with tempfile.TemporaryFile() as copy:
            _filler(place.place, file)(copy.fileno())
            check_copy(copy.fileno(), file, place.place.shown(object_path(file.source)))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(check, files.values()))
    return found
