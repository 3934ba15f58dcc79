"""The catalog: names of tables, their ids and options, and their folders."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .._native.catalog import (
    append_put,
    append_remove,
    append_tag,
    read_catalog,
    write_catalog,
    write_first_manifest,
)
from .._native.rows import RowCodec
from .._native.snapshot import Snapshot
from .._native.store import catalog_version, check_catalog
from ..config import MAX_PARTITIONS
from ..errors import (
    GridCorruptError,
    GridflowError,
    GridNotFoundError,
    SchemaError,
    TableExistsError,
    TableNotFoundError,
    did_you_mean,
    os_failure,
)
from ..schema import Schema
from ..storage.expected_files import (
    CATALOG,
    Stray,
    grid_strays,
    manifests_first,
    remove_strays,
    table_files,
    table_folder,
    table_strays,
)
from ..storage.versions import MANIFEST, Kept
from .rules import IGNITE_PREFIX, check_name, check_options, is_system


def sync_folder(path: Path) -> None:
    """Make new entries of a folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True)
class TableEntry:
    """A table as the catalog knows it.

    Attributes:
        table_id: its number.
        name: its name.
        text: its options as JSON, as they were written whole; which versions are kept is one of them, under a name that
            no face can use.
        changes: what has come to its tags since: tag -> version, 0 for one that is gone.
    """

    table_id: int
    name: str
    text: str = "{}"
    changes: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def _split(self) -> tuple[dict[str, Any], Kept]:
        return Kept.split(json.loads(self.text), self.changes)

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options: they are there for the faces and mean nothing here. Parsed when they are first asked for."""
        return self._split[0]

    @property
    def kept(self) -> Kept:
        """The versions that stay readable. In an owner its tags follow ``Catalog.tag``."""
        return self._split[1]

    @property
    def cache_name(self) -> str | None:
        """Another name that it is found by."""
        return self.options.get("cache_name") if '"cache_name"' in self.text else None


def _as_text(table: str, options: Mapping[str, Any], kept: Kept) -> str:
    """What the file of the catalog has as a table's options.

    Raises:
        UsageError: they cannot be written as JSON, or one has a name of ours.
    """
    check_options(table, options)
    return json.dumps(kept.joined(options), sort_keys=True)


#: Bytes of changes that there may be before the catalog is written whole; more, if what is written whole is larger.
_CHANGES_BYTES = 64 << 10


class Catalog:
    """The catalog of one grid. Owner: changes are on disk when a method returns.

    What a change costs does not grow with what is there: it is appended to the file, which is written whole once the
    changes are as long as that (``catalog_format.h``).

    System tables are tables as others are, but only ``find_system`` finds them.

    Not for use from several threads at once: ``Grid`` guards it.
    """

    def __init__(self, home: Path, durable: bool = False):
        self._home = home
        self._durable = durable
        self._state: tuple[int, int, int] | None = None  # of the file that was read: inode, bytes, time of change
        self.refresh()

    @staticmethod
    def create(home: Path, durable: bool) -> None:
        """Write the catalog of a grid without tables."""
        write_catalog(str(home), 1, 1, [], durable)

    def refresh(self) -> None:
        """Read the catalog again, unless its file is as it was.

        Raises:
            GridNotFoundError: there is none.
            GridCorruptError, GridVersionError: it is damaged, lacks changes, or is of a newer format.
        """
        try:
            info = os.stat(self._home / CATALOG)
            state = info.st_ino, info.st_size, info.st_mtime_ns
        except OSError:
            state = None  # reading it says what is wrong
        if state is not None and state == self._state:
            return
        acknowledged = catalog_version(str(self._home))
        self.version, self._next_id, tables, self._whole_bytes, self._end = read_catalog(str(self._home))
        check_catalog(str(self._home), acknowledged, self.version, self._end or self._whole_bytes)
        self._by_id: dict[int, TableEntry] = {}
        self._by_name: dict[str, TableEntry] = {}
        self._by_cache_name: dict[str, TableEntry] = {}
        for table in tables:
            self._enter(TableEntry(*table))
        self._state = state

    def _enter(self, entry: TableEntry) -> None:
        self._by_id[entry.table_id] = self._by_name[entry.name] = entry
        if entry.cache_name is not None:
            self._by_cache_name.setdefault(entry.cache_name, entry)

    def _forget(self, entry: TableEntry) -> None:
        del self._by_id[entry.table_id], self._by_name[entry.name]
        if self._by_cache_name.get(entry.cache_name or "") is entry:
            del self._by_cache_name[entry.cache_name or ""]
            for other in self._by_id.values():
                if other.cache_name == entry.cache_name:
                    self._by_cache_name.setdefault(other.cache_name or "", other)

    @property
    def names(self) -> list[str]:
        """The names of all tables, sorted, without system tables."""
        return sorted(name for name in self._by_name if not is_system(name))

    @property
    def entries(self) -> list[TableEntry]:
        """All tables, by name, without system tables."""
        return [self._by_name[name] for name in self.names]

    @property
    def all_entries(self) -> list[TableEntry]:
        """All tables, system tables too, in whatever order."""
        return list(self._by_id.values())

    def find_system(self, name: str) -> TableEntry | None:
        """The system table of a name, if it was ever made."""
        return self._by_name.get(name) if is_system(name) else None

    def _find(self, name: str) -> TableEntry | None:
        for entry in (self._by_name.get(name), self._by_cache_name.get(name)):
            if entry is not None and not is_system(entry.name):
                return entry
        if name.startswith(IGNITE_PREFIX):
            entry = self._by_name.get(name[len(IGNITE_PREFIX) :])
            if entry is not None and not is_system(entry.name):
                return entry
        return None

    def find(self, name: str) -> TableEntry:
        """The table of a name, of its CACHE_NAME, or of Ignite's SQL_PUBLIC_<name>.

        Raises:
            TableNotFoundError: there is none; the message lists what there is.
        """
        entry = self._find(name)
        if entry is None:
            raise TableNotFoundError(
                f"no table {name} in grid {self._home}; {did_you_mean(name, self.names)}", table=name
            )
        return entry

    def of_id(self, table_id: int) -> TableEntry | None:
        """The table of an id, if there is one."""
        return self._by_id.get(table_id)

    def find_id(self, table_id: int, name: str) -> TableEntry:
        """The table of an id; ``name`` is its name until now, for the message.

        Raises:
            TableNotFoundError: it was dropped.
        """
        entry = self._by_id.get(table_id)
        if entry is None:
            raise TableNotFoundError(f"table {name} was dropped", table=name)
        return entry

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def folder(self, entry: TableEntry) -> Path:
        """Where a table's files are."""
        return table_folder(self._home, entry.table_id)

    def snapshot(self, entry: TableEntry) -> Snapshot:
        """The current version of a table that the catalog names.

        Raises:
            GridCorruptError, GridVersionError: a file of it is damaged, missing, or of a newer format.
        """
        try:
            return Snapshot.open(str(self._home), entry.table_id)
        except GridNotFoundError:
            manifest = self.folder(entry) / MANIFEST
            raise GridCorruptError(f"{manifest} is missing: table {entry.name} has none", str(manifest), 0) from None

    def add(
        self,
        name: str,
        schema: Schema,
        partitions: int,
        options: Mapping[str, Any],
        last_lsn: int,
        *,
        system: bool = False,
        kept: Kept = Kept(),  # noqa: B008 - it is immutable
    ) -> TableEntry:
        """Make a table without rows. One whose name is reserved is a ``system`` table, which no list has.

        Raises:
            TableExistsError: there is one of that name.
            SchemaError: the name or the number of partitions is impossible.
        """
        check_name(name, system=system)
        if isinstance(partitions, bool) or not isinstance(partitions, int) or not 1 <= partitions <= MAX_PARTITIONS:
            raise SchemaError(f"table {name}: partitions is 1 to {MAX_PARTITIONS}, not {partitions!r}")
        cache = options.get("cache_name")
        if cache:
            check_name(cache, system=system)
        for new in (name, cache):
            if new and new in self:
                raise TableExistsError(f"table {self.find(new).name} exists already in grid {self._home}", table=new)
        entry = TableEntry(self._next_id, name, _as_text(name, options, kept))
        folder = self.folder(entry)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise os_failure(error, f"cannot make {folder}", of_grid=True) from None
        try:
            codec = RowCodec(schema, name)
            write_first_manifest(str(folder), entry.table_id, codec, partitions, last_lsn, self._durable)
            Snapshot.open(str(self._home), entry.table_id)  # a table that cannot be read would keep the grid shut
            if self._durable:  # the catalog must not outlive the folder that it names
                sync_folder(folder.parent)
            self._put(entry, self._next_id + 1)
        except BaseException:
            if self._is_written(entry):  # only the sync after the rename failed
                raise
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return entry

    def _is_written(self, entry: TableEntry) -> bool:
        """Whether the file of the catalog names a table."""
        try:
            return any(table[0] == entry.table_id for table in read_catalog(str(self._home))[2])
        except GridflowError:
            return True  # unknown: its files stay

    def remove(self, entry: TableEntry) -> None:
        """Forget a table, then unlink its files."""

        def append(version: int) -> int:
            return append_remove(str(self._home), self._end, version, self._next_id, entry.table_id, self._durable)

        self._change(append, [other for other in self._by_id.values() if other is not entry], self._next_id)
        self._forget(entry)
        folder = self.folder(entry)
        with contextlib.suppress(OSError):  # what stays is swept at the next start
            for file in manifests_first(folder):  # a reader sees a table that is gone, not one that lacks files
                file.unlink()
        self.remove_folder(entry)

    def remove_folder(self, entry: TableEntry) -> None:
        """Remove the folder of a table that was forgotten, with all that is in it."""
        shutil.rmtree(self.folder(entry), ignore_errors=True)

    def replace_options(self, entry: TableEntry, options: Mapping[str, Any]) -> TableEntry:
        """Keep other options with a table; all of them change at once.

        Raises:
            UsageError: they cannot be written as JSON; nothing has changed.
        """
        return self._replace(entry, _as_text(entry.name, options, entry.kept))

    def replace_kept(self, entry: TableEntry, kept: Kept) -> TableEntry:
        """Change which versions of a table stay; the files are the caller's to keep and to let go of."""
        return self._replace(entry, _as_text(entry.name, entry.options, kept))

    def tag(self, entry: TableEntry, tag: str, version: int | None) -> None:
        """Give a version of a table a tag, or take it away; the files are the caller's to keep and to let go of."""
        tags = entry.kept.tags
        before = tags.get(tag)

        def change(to: int | None) -> None:
            if to is None:
                tags.pop(tag, None)
            else:
                tags[tag] = to

        def append(number: int) -> int:
            return append_tag(
                str(self._home), self._end, number, self._next_id, entry.table_id, tag, version or 0, self._durable
            )

        change(version)
        try:
            self._change(append, self._by_id.values(), self._next_id)
        except BaseException:
            change(before)
            raise

    def _replace(self, entry: TableEntry, text: str) -> TableEntry:
        changed = TableEntry(entry.table_id, entry.name, text)
        self._put(changed, self._next_id)
        return changed

    def _put(self, entry: TableEntry, next_id: int) -> None:
        def append(version: int) -> int:
            return append_put(
                str(self._home), self._end, version, next_id, entry.table_id, entry.name, entry.text, self._durable
            )

        self._change(append, [*(e for e in self._by_id.values() if e.table_id != entry.table_id), entry], next_id)
        if entry.table_id in self._by_id:
            self._forget(self._by_id[entry.table_id])
        self._enter(entry)

    def _change(self, append: Callable[[int], int], entries: Iterable[TableEntry], next_id: int) -> None:
        """Write a change: appended, or all of it, as ``entries``."""
        version = self.version + 1
        try:
            if self._end and self._end - self._whole_bytes < max(_CHANGES_BYTES, self._whole_bytes):
                self._end = append(version)
            else:
                rows = ((e.table_id, e.name, _as_text(e.name, e.options, e.kept)) for e in entries)
                self._end = self._whole_bytes = write_catalog(str(self._home), version, next_id, rows, self._durable)
        except BaseException:
            self._state = None
            with contextlib.suppress(GridflowError):  # only the sync after the rename may have failed
                self.refresh()
            raise
        self._next_id, self.version = next_id, version

    def strays(self) -> list[Stray]:
        """Files of the grid's directory that no catalog and no manifest names. Nobody may write the grid meanwhile.

        Raises:
            GridCorruptError, GridVersionError: a manifest is damaged, missing, or of a newer format.
        """
        return [*grid_strays(self._home, self._by_id), *(stray for e in self.all_entries for stray in self._strays(e))]

    def _strays(self, entry: TableEntry) -> list[Stray]:
        folder = self.folder(entry)
        return table_strays(folder, table_files(folder, entry.options, entry.kept, self.snapshot(entry)))

    def sweep(self) -> None:
        """Owner, at start: remove what a crash left behind, but for what lies in the folders of tables.

        Only at start: later, files that nothing names yet may belong to a flush or a load under way.
        """
        remove_strays(grid_strays(self._home, self._by_id))

    def sweep_table(self, entry: TableEntry) -> None:
        """Owner, before it opens a table: remove what a crash left behind of it.

        Raises:
            GridCorruptError, GridVersionError: a manifest is damaged, missing, or of a newer format.
        """
        remove_strays(self._strays(entry))
