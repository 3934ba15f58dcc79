"""OpenGrid: a grid directory that is open in this process, owned by it or only read, whoever has a handle on it."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import contexts
from ._native.rows import RowCodec
from ._native.store import Store, sync_file_system
from .catalog import Catalog, TableEntry
from .catalog.activity import Activity
from .catalog.catalog import sync_folder
from .config import DEFAULT_PARTITIONS
from .contexts import Marks, is_marked
from .errors import (
    GridAccessError,
    GridClosedError,
    GridCorruptError,
    GridflowError,
    GridNotFoundError,
    SchemaError,
    SqlError,
    TableExistsError,
    TableNotFoundError,
    TransactionConflictError,
    UsageError,
    os_failure,
)
from .schema import Schema
from .storage import verify
from .storage.alter import altered, check_same, filled
from .storage.compaction import no_merge
from .storage.defaults import old_default_texts, with_defaults, without_default_texts
from .storage.expected_files import CATALOG, LOG, TABLES, make_own_folder
from .storage.identity import make_identity, read_identity
from .storage.lock import OwnerLock
from .storage.maintenance import Maintenance
from .storage.ring_files import discard_rings
from .storage.versions import Kept, kept_versions
from .table import CATALOG_ROOM, Table
from .transaction import Transaction, TransactionTable

if TYPE_CHECKING:
    import pyarrow as pa

    from .faces import TableFace
    from .grid import Grid  # circle: a handle has its open grid, which knows who has it
    from .sql import Session

_log = logging.getLogger("gridflow")


#: All that are open in this process, and some that were.
_open_grids: weakref.WeakSet[OpenGrid] = weakref.WeakSet()
_open_grids_lock = threading.RLock()  # guards it


def open_grids() -> list[OpenGrid]:
    """All that are open in this process, and some that were."""
    with _open_grids_lock:
        return list(_open_grids)


def remember(grid: OpenGrid) -> None:
    """Count an open grid among those that a fork and the end of the process concern."""
    with _open_grids_lock:
        _open_grids.add(grid)
    grid._marks.tell(grid)


def other_grids_with(table: str, home: Path) -> list[Path]:
    """The directories of grids that are open in this process and have a table, but for that of ``home``."""
    homes = set()
    for grid in open_grids():
        with contextlib.suppress(GridflowError):  # closed, or closing
            if grid.home != home and table in grid:
                homes.add(grid.home)
    return sorted(homes)


class OpenGrid:
    """A grid that is open in this process: its catalog, its store, its tables. Any thread may use it.

    It has a handle, a ``Grid``, for each ``connect``, and closes with the last of them. SQL runs on it, and its tables
    belong to it: a table is one object, whichever handle it was asked of.

    Args:
        home: the grid's directory.
        lock: what makes this process its owner; None to read only.
        durable: whether a commit waits for the disk.
        closing: what a handle is closed in.

    Attributes:
        home: the grid's directory.
        owner: whether this process owns the grid and may write.
        durable: whether a commit waits for the disk.
        closing: what a handle is closed in.
        handles: those that are not closed, in the order in which they were made.
        activity: the statements that run and ran on it here, and the clients that it is served to.
        plans: the plans that ``gridflow.sql`` keeps for the grid's tables, by statement.
        default_partitions: of a new table that does not say how many it wants; may be set.
        alone: False: of itself a grid keeps no writer out; see ``Transaction``.
        is_transaction: False.
    """

    alone = False
    _is_transaction = False
    default_partitions: int = DEFAULT_PARTITIONS

    def __init__(
        self,
        home: Path,
        lock: OwnerLock | None,
        durable: bool,
        *,
        closing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ):
        self.home = home
        self.owner = lock is not None
        self._activity = Activity()
        self._plans: dict[Any, Any] = {}
        self._lock = lock
        self.durable = durable
        self.closing = closing
        self.handles: list[Grid] = []
        self._marks = Marks.of(self)  # of the transactions that are open on the grid in some context
        self._names = threading.RLock()  # guards the catalog and _tables
        self._tables: dict[int, Table] = {}
        # In an owner: name -> table_id as of a version of the catalog, so that a statement looks up only once.
        self._ids: tuple[int, dict[str, int]] = (-1, {})
        self._maintenance: Maintenance | None = None
        self._recovered = False
        if lock is not None:
            self._prepare()
        self._catalog = Catalog(home, durable)
        if lock is not None:
            self._catalog.sweep()
        self._store = Store(str(home), lock is not None, durable)
        self._store.doing = self._activity.doing
        if lock is not None:
            self._store.catalog_changed(self._catalog.version)
            for table_id in sorted(self._store.logged_tables()):  # all others are opened when they are asked for
                entry = self._catalog.of_id(table_id)
                if entry is not None:
                    self._open(entry)
            last_flushed = 0 if self._store.knows_last_commit else self._last_flushed()
            if self._store.recover():
                self._empty_log()
            self._admit(last_flushed)
            self._recovered = True
            for table in self._open_tables():
                self._try_adopting_defaults(table)
            self._maintenance = Maintenance(self._open_tables, self._store.wake, self._sweep_tables)
        remember(self)

    def _marks_changed(self, are_there: bool) -> None:
        self._store.guard = self.refuse_past if are_there else None
        for handle in list(self.handles):
            handle._look()

    def refuse_past(self, what: str) -> None:
        """Raise in a context in which a transaction is open: it would not have this write of ``what`` in it.

        Raises:
            UsageError: says what to call.
        """
        mark = self._marks.here() if is_marked() else None
        if mark is not None:
            raise UsageError(f"{what} would be written past the transaction that is open here: {mark.remedy}")

    @property
    def handle(self) -> Grid:
        """The first handle that is not closed.

        Raises:
            GridClosedError: there is none.
        """
        for handle in list(self.handles):
            return handle
        self.check_open()
        raise GridClosedError(f"grid {self.home}: the grid is closed")

    def _sweep_tables(self, stopping: Callable[[], bool]) -> None:
        """In the background: remove what a crash left of tables that nobody has opened since."""
        with self._names:
            entries = self._catalog.all_entries
        for entry in entries:
            with self._names:
                if stopping():
                    return
                if entry.table_id not in self._tables and self._catalog.of_id(entry.table_id) is not None:
                    try:
                        self._catalog.sweep_table(entry)
                    except GridflowError as error:  # whoever asks for the table gets the error itself
                        _log.warning("table %s: %s", entry.name, error)

    def _prepare(self) -> None:
        # What is there may not be on the disk: an owner was killed, or had another durability, or the folder is new.
        # From now on acknowledged writes rely on it.
        if self.durable:
            sync_file_system(str(self.home))
        discard_rings(self.home)
        try:
            for folder in (LOG, TABLES):
                make_own_folder(self.home / folder)
        except GridAccessError:
            raise
        except OSError as error:
            raise os_failure(error, f"cannot make {self.home / folder}", of_grid=True) from None
        make_identity(self.home, self.durable)
        if self.durable:
            sync_folder(self.home)
        catalog = self.home / CATALOG
        if not catalog.exists():
            if any((self.home / TABLES).iterdir()):  # an empty catalog would make them garbage
                raise GridCorruptError(f"{catalog} is missing, and there are tables", str(catalog), 0)
            Catalog.create(self.home, self.durable)

    @property
    def identity(self) -> str | None:
        """What the grid is called for good, 32 hex digits; None in a reader of one that no owner has given it yet."""
        return read_identity(self.home)

    @property
    def closed(self) -> bool:
        """Whether the grid cannot be used any more, by whatever handle."""
        return self._store.closed

    @property
    def last_commit(self) -> int:
        """The number of the last commit."""
        return self._store.last_lsn

    @property
    def store(self) -> Store:
        """The log and the commits in it."""
        return self._store

    def check_open(self) -> None:
        """Raise GridClosedError if the grid is closed."""
        if self._store.closed:
            raise GridClosedError(f"grid {self.home}: {self._store.closed_because}")

    def _last_flushed(self) -> int:
        """The number of the last commit that is in segments of any table."""
        numbers = [0]
        for entry in self._catalog.all_entries:
            with contextlib.suppress(GridflowError):  # whoever asks for the table gets the error itself
                numbers.append(self._catalog.snapshot(entry).flushed_lsn)
        return max(numbers)

    def _admit(self, flushed_lsn: int) -> None:
        """Have commits that come now get higher numbers. Before anybody else has the grid."""
        while not self._store.admit(flushed_lsn):
            self._empty_log()

    def _empty_log(self) -> None:
        self.flush()
        self._store.forget_log()

    def _open(self, entry: TableEntry) -> Table:
        """The table of an entry; the first time it is opened, in the owner also swept. Under ``_names``."""
        table = self._tables.get(entry.table_id)
        if table is None:
            if self.owner:
                self._catalog.sweep_table(entry)
            snapshot = self._catalog.snapshot(entry)
            # To flush others now could be to wait for somebody who waits for the names.
            if self.owner and not self._store.admit(snapshot.flushed_lsn):
                page = str(self.home / "control")
                raise GridCorruptError(
                    f"table {entry.name} has later commits than {page} knows of, as where a grid was copied while it "
                    "was written: close the grid, remove that file, and open it again",
                    page,
                    0,
                )
            table = Table(self, self._store, entry, snapshot.schema)
            if self.owner and entry.kept:
                table._take_kept(kept_versions(table.folder, entry.kept, table.version()))
                table._keep_only(entry.kept.tags.values(), entry.kept.last)
            self._tables[entry.table_id] = table
            if self.owner and self._recovered:
                self._try_adopting_defaults(table)
        return table

    def _try_adopting_defaults(self, table: Table) -> None:
        """Adopt a table's DEFAULTs now, or leave it as it is until it is opened next."""
        try:
            self._adopt_defaults(table)
        except GridflowError as error:  # such as that there is no room: the rows are there to be read all the same
            _log.warning("table %s: its DEFAULTs are not in its schema yet: %s", table.name, error)

    def _adopt_defaults(self, table: Table) -> None:
        """Make DEFAULTs part of the schema of a table that is older than those are: only its options have them.

        A crash between the two steps is harmless: what has a DEFAULT in the schema keeps it when this is repeated.
        """
        texts = old_default_texts(table)
        if texts is None:
            return
        from .sql.binding.filling import default_value

        schema = table.schema
        values: dict[str, Any] = {}
        for name, text in texts.items():
            if not schema[name].default:
                try:
                    value = default_value(schema[name], text)
                    with_defaults(schema, table.name, {name: value})
                    values[name] = value
                except (SchemaError, SqlError) as error:
                    _log.warning("table %s: DEFAULT %s of column %s is dropped: %s", table.name, text, name, error)
        if any(value is not None for value in values.values()):
            with table.edit() as edit:
                edit.alter(RowCodec(with_defaults(schema, table.name, values), table.name))
                edit.commit()
        with self._names:
            self._store.check_room(CATALOG_ROOM)
            entry = self._entry_of(table)
            entry = self._catalog.replace_options(entry, without_default_texts(entry.options))
            table.options = dict(entry.options)
            self._store.catalog_changed(self._catalog.version)

    def catalog_entry(self, table_id: int) -> TableEntry | None:
        """What the catalog has of a table, by its number; None if there is none, or none any more."""
        with self._names:
            self.check_open()
            return self._catalog.of_id(table_id)

    def _open_tables(self) -> list[Table]:
        """The tables that are open here, system tables too; nothing is opened for it.

        Of an owner they are all that have anything in memory.
        """
        return list(self._tables.values())

    def stored_tables(self) -> list[tuple[TableEntry, Table]]:
        """All tables, system tables too, each with what the catalog says of it now; for that they are opened."""
        with self._names:
            self.check_open()
            if not self.owner:
                self._catalog.refresh()
            return [(entry, self._open(entry)) for entry in self._catalog.all_entries]

    def _find_entry(self, name: str) -> TableEntry:
        self.check_open()
        if not self.owner:
            self._catalog.refresh()
        return self._catalog.find(name)

    def tables(self) -> list[str]:
        """The names of all tables, sorted."""
        self.check_open()
        with self._names:
            if not self.owner:
                self._catalog.refresh()
            return self._catalog.names

    def _all_tables(self) -> list[Table]:
        """All tables, sorted by name; one that is dropped meanwhile is left out."""
        tables = []
        for name in self.tables():
            with contextlib.suppress(TableNotFoundError):
                tables.append(self.table(name))
        return tables

    def __contains__(self, name: str) -> bool:
        return name in self.tables()

    def table(self, name: str) -> Table:
        """The table called ``name``; Ignite's ``SQL_PUBLIC_<NAME>`` and a CACHE_NAME are understood, too.

        Raises:
            TableNotFoundError: there is none; the message lists what there is.
        """
        version, ids = self._ids
        if version == self._catalog.version and not self._store.closed:
            table = self._tables.get(ids.get(name, -1))
            if table is not None:
                return table
        with self._names:
            while True:
                entry = self._find_entry(name)
                try:
                    table = self._open(entry)
                    if not self.owner and table.options != entry.options:  # an owner sets them where it changes them
                        table.options = dict(entry.options)
                    if self.owner:
                        if self._ids[0] != self._catalog.version:
                            self._ids = (self._catalog.version, {})
                        self._ids[1][name] = entry.table_id
                    return table
                except (GridCorruptError, GridNotFoundError):
                    if self._find_entry(name) == entry:
                        raise  # else the owner has dropped it just now, and made another

    def _system_table(self, name: str, columns: Any = None, key: str = "") -> Table | None:
        """A system table; with ``columns`` it is made if it is not there, without them it may be None."""
        with self._names:
            self.check_open()
            if not self.owner:
                self._catalog.refresh()
            entry = self._catalog.find_system(name)
            if entry is None and columns is not None:
                self._check_changeable()
                self._store.check_room(CATALOG_ROOM)
                schema = Schema.of(columns, key)
                entry = self._catalog.add(name, schema, 1, {}, self._store.last_lsn, system=True)
                self._store.catalog_changed(self._catalog.version)
            return None if entry is None else self._open(entry)

    def _demand(self, table: TableFace, *rights: str) -> None:
        """Nothing: who has a grid open may do everything. ``server.guarded`` has one who may not."""

    def _demand_statement(self, kind: str) -> None:
        """Nothing, as ``_demand``."""

    def create_table(
        self,
        name: str,
        schema: Any,
        key: str | Iterable[str],
        partitions: int | None = None,
        *,
        if_not_exists: bool = False,
        options: Mapping[str, Any] | None = None,
        keep_versions: int = 0,
        defaults: Mapping[str, Any] | None = None,
    ) -> Table:
        """See ``Grid.create_table``."""
        schema = with_defaults(Schema.of(schema, key), name, defaults or {})
        kept = Kept().with_last(keep_versions)
        with self._names:
            self._check_changeable()
            try:
                count = self.default_partitions if partitions is None else partitions
                self._store.check_room(CATALOG_ROOM)
                entry = self._catalog.add(name, schema, count, options or {}, self._store.last_lsn, kept=kept)
            except TableExistsError:
                if not if_not_exists:
                    raise
                table = self._open(self._catalog.find(name))
                check_same(name, table.schema, schema)
                if partitions not in (None, table.partitions_count):
                    raise SchemaError(
                        f"table {name} is there and has {table.partitions_count} partitions, not {partitions}"
                    ) from None
                return table
            self._store.catalog_changed(self._catalog.version)
            return self._open(entry)

    def _check_changeable(self) -> None:
        """Raise if nothing can be written here.

        Raises:
            GridAccessError: the grid is open to read only.
            GridClosedError: it is closed.
        """
        self.check_open()
        if not self.owner:
            raise GridAccessError(f"grid {self.home} is open to read only")

    def alter_table(
        self,
        name: str,
        *,
        add: Mapping[str, Any] | None = None,
        drop: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
        fill: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """See ``Grid.alter_table``."""
        self._check_changeable()
        table, drop = self.table(name), list(drop)
        self._adopt_defaults(table)  # while its columns have the names that the DEFAULTs were written for
        with table.edit() as edit:
            for index in table.indexes.all():
                for column in index.columns:
                    if column.name in drop:
                        raise SchemaError(f"column {column.name} of {name} is in index {index.name}: drop that first")
            schema = altered(table.schema, table.name, add or {}, drop, rename or {})
            has_rows = bool(table.snapshot().segments())
            edit.alter(filled(schema, table.schema, table.name, fill or {}, defaults or {}, has_rows))
            edit.commit()

    def drop_table(self, name: str, *, if_exists: bool = False) -> None:
        """See ``Grid.drop_table``."""
        with self._names:
            self._check_changeable()
            try:
                entry = self._catalog.find(name)
            except TableNotFoundError:
                if if_exists:
                    return
                raise
            table = self._open(entry)
        if table._held_here:
            raise UsageError(f"table {entry.name} is being changed by this very thread: it cannot be dropped meanwhile")
        # A flush under way ends first, a load under way has no table any more. The lock of names comes last.
        with table.indexes.lock, table.zones.lock, table.copies.lock, no_merge(table), table.lock, self._names:
            self.check_open()
            if entry.table_id not in self._tables:  # another thread was faster
                if if_exists:
                    return
                raise TableNotFoundError(f"table {entry.name} was dropped", table=entry.name)
            self._catalog.remove(entry)
            table._drop_store()
            self._tables.pop(entry.table_id, None)
            self._store.catalog_changed(self._catalog.version)
            self._store.trim()
        table._stop_loads()
        self._catalog.remove_folder(entry)  # in which a load may have written since

    def _alter_options(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """See ``Grid._alter_options``."""
        with self._names:
            self._check_changeable()
            table = self._open(self._catalog.find(name))
            entry = self._entry_of(table)
            self._store.check_room(CATALOG_ROOM)
            entry = self._catalog.replace_options(entry, change(copy.deepcopy(dict(entry.options))))
            table.options = dict(entry.options)
            self._store.catalog_changed(self._catalog.version)

    def kept(self, table: Table) -> Kept:
        """Which versions of a table are kept, as the catalog says it now."""
        with self._names:
            kept = self._entry_of(table).kept
            return Kept(dict(kept.tags), kept.last)

    def _entry_of(self, table: Table) -> TableEntry:
        self.check_open()
        if not self.owner:
            self._catalog.refresh()
        return self._catalog.find_id(table.table_id, table.name)

    def keep_versions(self, table: Table, count: int) -> None:
        """Keep so many versions before the current one of a table, and let go of others. In the owner only."""
        with table.lock, self._names:
            self._check_changeable()
            try:
                entry = self._entry_of(table)
                self._catalog.replace_kept(entry, entry.kept.with_last(count))
            finally:  # the catalog decides, whether it has changed or not
                kept = self._entry_of(table).kept
                table._keep_only(kept.tags.values(), kept.last)
            self._store.catalog_changed(self._catalog.version)

    def tag(self, table: Table, tag: str, move: bool) -> int:
        """Give a table as it is now a tag; see ``Table.tag``. In the owner only."""
        with table.lock:
            self._check_changeable()
            self._store.check_room(CATALOG_ROOM)
            version = table._keep_current()
            with self._names:
                tags = self._entry_of(table).kept.tags
                before = tags.get(tag)
                try:
                    self._entry_of(table).kept.check_tag(table.name, tag, version, move)
                    if before != version:
                        self._catalog.tag(self._entry_of(table), tag, version)
                finally:  # the catalog decides, whether it has changed or not
                    self._follow_tag(table, tag, before)
        return version

    def untag(self, table: Table, tag: str) -> None:
        """Take a tag away; see ``Table.untag``. In the owner only."""
        with table.lock, self._names:
            self._check_changeable()
            entry = self._entry_of(table)
            entry.kept.check_untag(table.name, tag)
            before = entry.kept.tags[tag]
            try:
                self._catalog.tag(entry, tag, None)
            finally:
                self._follow_tag(table, tag, before)

    def _follow_tag(self, table: Table, tag: str, before: int | None) -> None:
        """Keep the version that has a tag now, and let go of the one that had it."""
        entry = self._catalog.of_id(table.table_id)
        now = before if entry is None else entry.kept.tags.get(tag)
        if now != before:
            table._keep_tagged(now, before)
            self._store.catalog_changed(self._catalog.version)
        else:
            table._keep_tagged(None, None)

    def transaction(self, *, of_statement: bool = False, alone: bool = False) -> Transaction:
        """Begin a transaction; see ``Transaction``."""
        self.check_open()
        return Transaction(self, of_statement=of_statement, alone=alone and self.owner)

    def _sql_session(
        self,
        *,
        changed: Callable[[Session], None] | None = None,
        guard: Callable[[str], None] | None = None,
    ) -> Session:
        """A new session for SQL on the grid."""
        from .sql import Session

        return Session(self, changed=changed, guard=guard)

    def _together(self, tables: Sequence[TableFace]) -> list[TransactionTable]:
        """The same tables as they all are at one moment, to be read.

        Reading one after the other could show the half of a transaction that was committed in between.
        """
        while True:
            moment = Transaction(self, of_statement=True)
            try:
                return moment._together([moment.table(table.name) for table in tables])
            except TransactionConflictError:  # one has got other columns just now
                pass

    def _commit_checked(self, operations: bytes, digests: bytes, columns: dict[int, int]) -> None:
        """Commit what a transaction has written; see ``Changes.operations``.

        Args:
            operations, digests: of all its tables.
            columns: table id -> digest of the columns that its rows were encoded for.

        Raises:
            TransactionConflictError: somebody has written one of the rows since. Nothing has happened.
        """
        self._check_changeable()
        self._store._commit_checked(operations, digests, columns)

    def system_view(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """See ``Grid.system_view``."""
        from .sql.views.views import rows_of

        self.check_open()
        return rows_of(self, name, columns)

    def flush(self) -> None:
        """Move all writes in memory to segments."""
        self.check_open()
        for table in self._open_tables():
            table.flush()

    def check(self) -> list[verify.Problem]:
        """Read every byte of the grid; returns what is wrong with it, nothing if it is sound."""
        return verify.check_home(self.home)

    def close(self) -> None:
        """Flush and give the grid back.

        Raises:
            GridFullError: there was no room to flush. The grid is closed all the same, and what was acknowledged is in
                the log: it is there when the grid is opened next.
        """
        if self._maintenance is not None:
            self._maintenance.stop()
        try:
            if self.owner:
                self._store.begin_close()
                for table in self._open_tables():
                    table._stop_loads()
                    # None can begin any more. What is under way comes to its end: nobody must write a file, and no
                    # version may be published, when the lock is gone and another process may own the grid.
                    with no_merge(table):
                        pass
                    table._await_writers()
                self.flush()
                self._store.forget_log()
                self._settle()
        finally:
            self._store.close()
            # Where the wait for a writer was interrupted, the lock goes with the process.
            if self._lock is not None and not any(table._has_writer for table in self._open_tables()):
                self._lock.release()

    def _settle(self) -> None:
        """Make what lies beside the last segments, for readers of a grid that nobody owns."""
        for table in self._open_tables():
            try:
                table.indexes.settle(verify=False)
                table.zones.settle(verify=False)
                table.copies.settle(verify=False)
            except GridflowError as error:
                _log.warning("indexes, zone maps and compressed copies of table %s: %s", table.name, error)

    def forked(self) -> None:
        """In a forked child: what is open on it is the parent's."""
        for handle in list(self.handles):
            handle._forked()

    def _abandon(self) -> None:
        """In a forked child: the grid belongs to the parent."""
        self._store.close("it was opened before this process was forked; connect again in the child")
        for handle in self.handles:
            handle._look()
        self._maintenance = None
        self._lock = None


def _after_fork_in_child() -> None:
    global _open_grids_lock
    _open_grids_lock = threading.RLock()
    contexts.forked()
    for grid in open_grids():
        grid.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
