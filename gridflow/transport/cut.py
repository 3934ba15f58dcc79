"""Tables of a grid's directory at one moment, with all of their files open: nothing that goes on takes them away."""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._native.catalog import read_catalog
from .._native.changes import Changes, cut
from .._native.sealed import ManifestBytes, check_sealed, read_head
from ..catalog import TableEntry
from ..config import temporary_root
from ..errors import (
    GridCorruptError,
    GridEnvironmentError,
    GridflowError,
    GridNotFoundError,
    TableNotFoundError,
    os_failure,
)
from ..open_grid import OpenGrid
from ..registry import open_reader, using_owned
from ..storage.identity import read_identity
from ..storage.versions import MANIFEST, Kept, kept_versions, manifest_name
from ..table import Table
from .source import SealedFile

#: So often a cut is made anew because merges took files away before they were open.
_ATTEMPTS = 200
#: For so many seconds at least a cut is made anew because tables came and went.
_PATIENCE_SECONDS = 10.0
#: More bytes than any header of a sealed file has at its beginning.
_FIRST_BYTES = 128


@dataclass(frozen=True)
class HeldFile(SealedFile):
    """A sealed file of a grid's directory that is open: it can be read, whether it still has a name or not.

    Attributes:
        fd: a descriptor of it.
        path: where it was, for messages.
        head: its header.
        tail: the checksum of what follows the header.
    """

    fd: int = -1
    path: str = ""
    head: bytes = b""
    tail: int = 0

    def check(self) -> None:
        """Compare every byte with its checksums.

        Raises:
            GridCorruptError: says which block is damaged.
        """
        with mmap.mmap(self.fd, self.bytes, prot=mmap.PROT_READ) as data, memoryview(data) as view:
            check_sealed(view, self.path)


@dataclass(frozen=True)
class HeldVersion:
    """A version of a table, and its files."""

    number: int
    manifest: bytes
    files: tuple[HeldFile, ...]


@dataclass(frozen=True)
class HeldTable:
    """A table at the moment of the cut.

    Attributes:
        name, table_id: as the grid has them.
        options: of the table.
        current: what it was at that moment.
        past: the versions that were kept then, rising.
        kept: which those are, and their tags.
    """

    name: str
    table_id: int
    options: Mapping[str, Any]
    current: HeldVersion
    past: tuple[HeldVersion, ...] = ()
    kept: Kept = field(default_factory=Kept)


@dataclass(frozen=True)
class HeldGrid:
    """Some tables of a grid, all at one moment.

    Attributes:
        identity: what the grid is called for good; a new name each time where it has none yet.
        home: its directory.
        next_table_id: the number of the next table that is made in it.
        tables: in the order of their numbers.
    """

    identity: str
    home: Path
    next_table_id: int
    tables: tuple[HeldTable, ...]


class _Gone(Exception):
    """A file of a version was taken away before it was open."""


@contextmanager
def held_tables(home: Path, names: Iterable[str], version: str | int | None = None) -> Iterator[HeldGrid]:
    """Some tables as they are now, all at one moment, for the block.

    Args:
        home: the grid's directory, whoever owns it.
        names: of the tables.
        version: the tag or number of a kept version, to have that instead.

    Raises:
        TableNotFoundError, VersionNotFoundError: there is no such table, or version.
        GridCorruptError: a file is damaged, or missing.
    """
    # A flush lets go of the oldest version that is kept.
    with _open_grid(home, flushes=version is None) as grid, ExitStack() as files:
        tables = [grid.table(name) for name in dict.fromkeys(names)]
        if version is None:
            held = _cut([(_entry(grid, table), table) for table in tables], grid, files, with_past=False)
        else:
            held = tuple(_past_table(table, version, files) for table in tables)
        yield HeldGrid(read_identity(grid.home) or secrets.token_hex(16), grid.home, 0, held)


@contextmanager
def held_grid(home: Path) -> Iterator[HeldGrid]:
    """A whole grid as it is now, system tables, kept versions and tags too, for the block.

    Raises:
        GridCorruptError: a file is damaged, or missing.
    """
    with _open_grid(home, flushes=True) as grid, ExitStack() as files:
        lost: GridflowError | None = None
        attempts, until = 0, time.monotonic() + _PATIENCE_SECONDS
        while attempts < _ATTEMPTS or time.monotonic() < until:
            attempts += 1
            before: list[tuple[TableEntry, Table]] = []
            try:
                before = grid.stored_tables()
                held = _cut(before, grid, files, with_past=True)
                _, next_table_id, _, _, _ = read_catalog(str(grid.home))
                if _is_unchanged(grid, before):
                    break
                lost = None
            except (TableNotFoundError, GridNotFoundError, GridCorruptError) as error:
                lost = error  # of a table that was dropped meanwhile, if there was one
                if before and _is_unchanged(grid, before):
                    raise
            files.close()  # a table came, went, or was altered meanwhile
        else:
            raise lost or GridEnvironmentError(f"grid {home}: tables come, go and change all the time; try again later")
        yield HeldGrid(read_identity(grid.home) or secrets.token_hex(16), grid.home, next_table_id, held)


def _is_unchanged(grid: OpenGrid, before: list[tuple[TableEntry, Table]]) -> bool:
    try:
        return [entry for entry, _ in grid.stored_tables()] == [entry for entry, _ in before]
    except (TableNotFoundError, GridNotFoundError):
        return False


@contextmanager
def _open_grid(home: Path, *, flushes: bool) -> Iterator[OpenGrid]:
    with using_owned(home) as handle:
        if handle is not None:
            if flushes:  # what is in segments need not be written for the cut
                handle.flush()
            yield handle.open_grid
            return
    with open_reader(home) as handle:
        yield handle.open_grid


def _entry(grid: OpenGrid, table: Table) -> TableEntry:
    entry = grid._find_entry(table.name)
    if entry.table_id != table.table_id:
        raise TableNotFoundError(f"table {table.name} was dropped", table=table.name)
    return entry


@contextmanager
def _few_files() -> Iterator[None]:
    """Whoever comes to the limit of files that a process may have open, Python or the native side, says what to do."""
    try:
        yield
    except (OSError, GridflowError) as error:
        if os.strerror(errno.EMFILE) not in str(error):
            raise
        raise GridEnvironmentError(
            f"all files of what is copied are open at once, and this process may have no more: {error}; allow it more "
            "with 'ulimit -n'"
        ) from None


def _cut(
    tables: list[tuple[TableEntry, Table]], grid: OpenGrid, files: ExitStack, *, with_past: bool
) -> tuple[HeldTable, ...]:
    for _ in range(_ATTEMPTS):
        with _few_files(), _scratch_folder() as scratch, ExitStack() as attempt:
            changes = [Changes(table) for _, table in tables]
            existing = cut(changes)
            held = []
            try:
                for (entry, table), change in zip(tables, changes, strict=True):
                    if change not in existing:
                        raise TableNotFoundError(f"table {entry.name} was dropped", table=entry.name)
                    held.append(_held_table(entry, table, change, Path(scratch), attempt, with_past))
            except _Gone:
                continue
            files.enter_context(attempt.pop_all())
            return tuple(sorted(held, key=lambda one: one.table_id))
    lost = ", ".join(entry.name for entry, _ in tables)
    raise GridCorruptError(f"grid {grid.home}: files of tables {lost} are missing; 'gridflow check' says which")


def _scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """For what is in memory; it can stay behind where no more files may be open."""
    return tempfile.TemporaryDirectory(prefix="gridflow-", dir=temporary_root(), ignore_cleanup_errors=True)


def _held_table(
    entry: TableEntry, table: Table, change: Changes, scratch: Path, files: ExitStack, with_past: bool
) -> HeldTable:
    folder = scratch / str(entry.table_id)
    folder.mkdir()
    change.write(str(folder))
    manifest = (folder / MANIFEST).read_bytes()
    current = _held_version(manifest, [folder, table.folder], files, entry.table_id)
    if not with_past:
        return HeldTable(entry.name, entry.table_id, dict(entry.options), current)
    past = []
    for number in kept_versions(table.folder, entry.kept, current.number):
        if number <= current.number:
            try:
                data = (table.folder / manifest_name(number)).read_bytes()
            except FileNotFoundError:
                raise _Gone from None
            past.append(_held_version(data, [table.folder], files, entry.table_id))
    there = {version.number for version in past}
    tags = {tag: number for tag, number in entry.kept.tags.items() if number in there}
    kept = Kept(tags, entry.kept.last)
    return HeldTable(entry.name, entry.table_id, dict(entry.options), current, tuple(past), kept)


def _past_table(table: Table, version: str | int, files: ExitStack) -> HeldTable:
    for _ in range(_ATTEMPTS):
        number = table._snapshot_version(version)
        try:
            with _few_files(), ExitStack() as attempt:
                name = MANIFEST if number == table.version() else manifest_name(number)
                data = (table.folder / name).read_bytes()
                held = _held_version(data, [table.folder], attempt, table.table_id)
                if held.number != number:
                    continue
                files.enter_context(attempt.pop_all())
                return HeldTable(table.name, table.table_id, dict(table.options), held)
        except (_Gone, FileNotFoundError):
            pass
    raise GridCorruptError(f"table {table.name}: files of version {version} are missing; 'gridflow check' says which")


def _held_version(manifest: bytes, folders: list[Path], files: ExitStack, table_id: int) -> HeldVersion:
    said = ManifestBytes(manifest, str(folders[-1] / MANIFEST))
    held = tuple(_open_file(name, folders, files) for name, _, _ in said.files())
    if said.table_id != table_id:
        raise GridCorruptError(f"{folders[-1] / MANIFEST} is that of another table", str(folders[-1] / MANIFEST), 0)
    return HeldVersion(said.version, manifest, held)


def _open_file(name: str, folders: list[Path], files: ExitStack) -> HeldFile:
    for folder in folders:
        path = folder / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise
            raise os_failure(error, f"cannot open {path}", of_grid=True) from None
        files.callback(os.close, fd)
        return held_file(name, fd, str(path))
    raise _Gone


def held_file(name: str, fd: int, path: str) -> HeldFile:
    """A sealed file that is open.

    Raises:
        GridCorruptError, GridVersionError: its header is damaged, or of a newer format.
    """
    size = os.fstat(fd).st_size
    first = os.pread(fd, _FIRST_BYTES, 0)
    head_bytes = read_head(first, path)[1]
    head = os.pread(fd, head_bytes, 0) if head_bytes > len(first) else first[:head_bytes]
    is_segment, _, file_bytes, _, _, _, _, header_crc, body_crc = read_head(head, path)
    if is_segment and file_bytes != size:
        raise GridCorruptError(f"{path} is damaged: it has {size} bytes, and its header says {file_bytes}", path, size)
    tail = int.from_bytes(os.pread(fd, 4, size - 4), "little") if is_segment else body_crc
    return HeldFile(name, size, header_crc << 32 | tail, fd, path, head, tail)
