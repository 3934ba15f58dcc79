"""The catalog: names of tables, their ids and options, and their folders."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._native.catalog import read_catalog, write_catalog, write_first_manifest
from .._native.rows import RowCodec
from .._native.snapshot import Snapshot
from ..config import MAX_PARTITIONS
from ..errors import (
    GridCorruptError,
    GridflowError,
    GridNotFound,
    SchemaError,
    TableExists,
    TableNotFound,
    UsageError,
    did_you_mean,
    os_failure,
)
from ..schema import Schema
from ..storage.expected_files import Stray, manifests_first, strays, table_files, table_folder
from ..storage.versions import MANIFEST, Kept

#: Ignite calls the cache of table T in schema PUBLIC so.
IGNITE_PREFIX = "SQL_PUBLIC_"
#: What names of system tables begin with: nobody else's table is called so.
SYSTEM_PREFIX = "SYS."
_MAX_NAME_BYTES = 255


def is_system(name: str) -> bool:
    """Whether a name is reserved for system tables."""
    return name.upper().startswith(SYSTEM_PREFIX)


def sync_folder(path: Path) -> None:
    """Make new entries of a folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True)
class TableEntry:
    """A table as the catalog knows it; ``options`` are there for the faces and mean nothing here.

    ``kept`` are the versions that stay readable. In the file it is an option, too, of a name that no face can use.
    """

    table_id: int
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    kept: Kept = Kept()


def _check_options(entry: TableEntry) -> None:
    for name in entry.options:
        if is_system(str(name)):
            raise UsageError(f"table {entry.name}: {name} cannot be an option, {SYSTEM_PREFIX} begins those of ours")
    try:
        json.dumps(entry.options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"table {entry.name}: its options cannot be written as JSON: {error}") from None


class Catalog:
    """The catalog of one grid. Owner: changes are on disk when a method returns.

    System tables are tables as others are, but only ``find_system`` finds them.

    Not for use from several threads at once: ``Grid`` guards it.
    """

    def __init__(self, home: Path, durable: bool = False):
        self._home = home
        self._durable = durable
        self.refresh()

    @staticmethod
    def create(home: Path, durable: bool) -> None:
        """Write the catalog of a grid without tables."""
        write_catalog(str(home), 1, 1, [], durable)

    def refresh(self) -> None:
        """Read the catalog again."""
        self.version, self._next_id, tables = read_catalog(str(self._home))
        entries = {name: TableEntry(table_id, name, *Kept.split(json.loads(text))) for table_id, name, text in tables}
        self._system = {name: entry for name, entry in entries.items() if is_system(name)}
        self._entries = {name: entry for name, entry in entries.items() if name not in self._system}

    @property
    def entries(self) -> list[TableEntry]:
        """All tables, by name, without system tables."""
        return [self._entries[name] for name in sorted(self._entries)]

    @property
    def all_entries(self) -> list[TableEntry]:
        """All tables, system tables last."""
        return [*self.entries, *self._system.values()]

    def find_system(self, name: str) -> TableEntry | None:
        """The system table of a name, if it was ever made."""
        return self._system.get(name)

    def find(self, name: str) -> TableEntry:
        """The table of a name, of its CACHE_NAME, or of Ignite's SQL_PUBLIC_<name>.

        Raises:
            TableNotFound: there is none; the message lists what there is.
        """
        if name in self._entries:
            return self._entries[name]
        for entry in self._entries.values():
            if entry.options.get("cache_name") == name:
                return entry
        if name.startswith(IGNITE_PREFIX) and name[len(IGNITE_PREFIX) :] in self._entries:
            return self._entries[name[len(IGNITE_PREFIX) :]]
        raise TableNotFound(f"no table {name} in grid {self._home}; {did_you_mean(name, self._entries)}")

    def find_id(self, table_id: int, name: str) -> TableEntry:
        """The table of an id; ``name`` is its name until now, for the message.

        Raises:
            TableNotFound: it was dropped.
        """
        for entry in self.all_entries:
            if entry.table_id == table_id:
                return entry
        raise TableNotFound(f"table {name} was dropped")

    def __contains__(self, name: str) -> bool:
        try:
            self.find(name)
        except TableNotFound:
            return False
        return True

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
        except GridNotFound:
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
            TableExists: there is one of that name.
            SchemaError: the name or the number of partitions is impossible.
        """
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            raise SchemaError(f"{name!r} cannot be a table name: it cannot be written as UTF-8") from None
        if not 1 <= size <= _MAX_NAME_BYTES or "\x00" in name:
            raise SchemaError(f"{name!r} cannot be a table name: it must have 1 to {_MAX_NAME_BYTES} bytes, no NUL")
        if isinstance(partitions, bool) or not isinstance(partitions, int) or not 1 <= partitions <= MAX_PARTITIONS:
            raise SchemaError(f"table {name}: partitions is 1 to {MAX_PARTITIONS}, not {partitions!r}")
        for new in (name, options.get("cache_name")):
            if new and is_system(new.removeprefix(IGNITE_PREFIX)) and not system:
                raise SchemaError(f"{new!r} cannot be a table name: {SYSTEM_PREFIX} begins those of system tables")
            if new and new in self:
                raise TableExists(f"table {self.find(new).name} exists already in grid {self._home}")
        entry = TableEntry(self._next_id, name, dict(options), kept)
        _check_options(entry)
        folder = self.folder(entry)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise os_failure(error, f"cannot make {folder}") from None
        try:
            codec = RowCodec(schema, name)
            write_first_manifest(str(folder), entry.table_id, codec, partitions, last_lsn, self._durable)
            Snapshot.open(str(self._home), entry.table_id)  # a table that cannot be read would keep the grid shut
            if self._durable:  # the catalog must not outlive the folder that it names
                sync_folder(folder.parent)
            self._write([*self.all_entries, entry], self._next_id + 1)
        except BaseException:
            if self._is_written(entry):  # only the sync after the rename failed
                raise
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return entry

    def _is_written(self, entry: TableEntry) -> bool:
        """Whether the file of the catalog names a table."""
        try:
            return any(table_id == entry.table_id for table_id, _, _ in read_catalog(str(self._home))[2])
        except GridflowError:
            return True  # unknown: its files stay

    def remove(self, entry: TableEntry) -> None:
        """Forget a table, then unlink its files."""
        self._write([e for e in self.all_entries if e.name != entry.name], self._next_id)
        folder = self.folder(entry)
        with contextlib.suppress(OSError):  # what stays is swept at the next start
            for file in manifests_first(folder):  # a reader sees a table that is gone, not one that lacks files
                file.unlink()
        shutil.rmtree(folder, ignore_errors=True)

    def replace_options(self, entry: TableEntry, options: Mapping[str, Any]) -> TableEntry:
        """Keep other options with a table; all of them change at once.

        Raises:
            UsageError: they cannot be written as JSON; nothing has changed.
        """
        changed = replace(entry, options=dict(options))
        _check_options(changed)
        return self._replace(entry, changed)

    def replace_kept(self, entry: TableEntry, kept: Kept) -> TableEntry:
        """Change which versions of a table stay; the files are the caller's to keep and to let go of."""
        return self._replace(entry, replace(entry, kept=kept))

    def _replace(self, entry: TableEntry, changed: TableEntry) -> TableEntry:
        try:
            self._write([changed if e.name == entry.name else e for e in self.all_entries], self._next_id)
        except BaseException:
            with contextlib.suppress(GridflowError):  # only the sync after the rename may have failed
                self.refresh()
            raise
        return changed

    def _write(self, entries: list[TableEntry], next_id: int) -> None:
        rows = [(e.table_id, e.name, json.dumps(e.kept.joined(e.options), sort_keys=True)) for e in entries]
        write_catalog(str(self._home), self.version + 1, next_id, rows, self._durable)
        self._system = {e.name: e for e in entries if is_system(e.name)}
        self._entries = {e.name: e for e in entries if e.name not in self._system}
        self._next_id, self.version = next_id, self.version + 1

    def strays(self) -> list[Stray]:
        """Files of the grid's directory that no catalog and no manifest names. Nobody may write the grid meanwhile.

        Raises:
            GridCorruptError, GridVersionError: a manifest is damaged, missing, or of a newer format.
        """
        names = {}
        for entry in self.all_entries:
            snapshot = self.snapshot(entry)
            names[entry.table_id] = table_files(self.folder(entry), entry.options, entry.kept, snapshot)
        return strays(self._home, names)

    def sweep(self) -> None:
        """Owner, at start: remove what a crash left behind.

        Only at start: later, files that nothing names yet may belong to a flush or a load under way.
        """
        for stray in self.strays():
            if stray.leftover and stray.path.is_dir():
                shutil.rmtree(stray.path, ignore_errors=True)
            elif stray.leftover:
                stray.path.unlink()
