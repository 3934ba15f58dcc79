"""Transaction: several writes to several tables that happen together or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa

from ._native.changes import Changes, cut
from ._native.row_changes import RowChanges
from ._native.rows import LEFT_OUT
from .cache import Cache
from .contexts import FORKED
from .errors import (
    ColumnNotFoundError,
    DuplicateKeyError,
    GridConnectionError,
    GridFullError,
    SchemaError,
    SqlError,
    TableBusyError,
    TableNotFoundError,
    TransactionConflictError,
    UsageError,
    about,
    did_you_mean,
)
from .keyed import ABSENT, KeyedRows
from .storage.addressed_rows import all_rows
from .storage.arrow_input import checked_batches, has_columns
from .storage.cast import cast_column
from .storage.defaults import default_values
from .storage.index_rows import IndexRows
from .storage.input_columns import refuse_nulls, to_columns
from .storage.load import (
    MOST_LOGGED,
    MOST_LOGGED_BYTES,
    duplicates,
    in_groups,
    looked_at,
    record_batches,
    row_batches,
    with_remedy,
)
from .storage.mapped_rows import MappedRows, mapped_rows
from .storage.past_table import PastTable
from .storage.scan import in_scratch, positions_of, scan_batches, whole_table
from .storage.table_indexes import Choice, TableIndexes
from .table import PartitionInfo, partition_ranges

if TYPE_CHECKING:
    from ._native.rows import RowCodec
    from ._native.snapshot import Snapshot
    from .catalog.activity import Activity
    from .contexts import Mark
    from .faces import AddressedRows, Narrowed, Narrowing, Progress, Report, TableFace
    from .grid import Grid  # circle: a transaction is begun by its grid, and commits to it
    from .open_grid import OpenGrid  # circle: the same, for one of a statement
    from .schema import Schema
    from .sql import Result
    from .table import Table

#: Seconds that a transaction which keeps other writers out waits for one that has begun.
HOLD_SECONDS = 30.0
_REMEDY = (
    "it is that of a 'with grid.transaction() as transaction:' block; write with transaction.table(...) and "
    "transaction.sql(...), or after the block"
)
#: So many rows and bytes in memory are few: to look them up in the segments and to write them takes about 1 ms.
_FEW_ROWS, _FEW_BYTES = 2000, 1 << 20


class Transaction:
    """Several reads and writes as one; made by ``Grid.transaction``, a context manager.

    It sees all tables as they were when it began, and its own writes. These are kept in memory, and are nobody else's
    to see until ``commit`` makes them one record of the log: then everybody sees all of them, and a crash loses all or
    none. Nothing is locked meanwhile. If somebody else has written one of the same rows since the transaction began,
    ``commit`` raises and nothing of it has happened: the first committer wins, as snapshot isolation has it
    (H. Berenson et al., "A Critique of ANSI SQL Isolation Levels", SIGMOD 1995).

    Within its ``with`` block a write past it, such as ``grid.table("T").put`` or an INSERT of ``grid.sql``, is an
    error, also in tasks and calls of ``asyncio.to_thread`` that the block starts. Not for use from several threads at
    once.

    Args:
        grid: an open grid.
        of_statement: whether the transaction is for a single statement: then it sees each table as it is at the first
            look, and need not remember the others.
        alone: whether other writers of the tables that the transaction looks at wait until it ends, so that none can
            be faster.

    >>> import gridflow, tempfile
    >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
    ...     accounts = grid.create_table("ACCOUNTS", {"ID": "LONG", "CENTS": "LONG"}, key="ID")
    ...     accounts.put_all({1: {"CENTS": 100}, 2: {"CENTS": 0}})
    ...     with grid.transaction() as t:
    ...         t.table("ACCOUNTS").put(1, {"CENTS": 50})
    ...         t.table("ACCOUNTS").put(2, {"CENTS": 50})
    ...     accounts.get_all([1, 2])
    {1: {'CENTS': 50}, 2: {'CENTS': 50}}
    """

    def __init__(self, grid: Grid | OpenGrid, *, of_statement: bool = False, alone: bool = False):
        self._grid = grid
        self._locked_tables: list[Table] = []  # if ``alone``
        self._tables: dict[int, TransactionTable] = {}
        self.alone = alone
        self.of_statement = of_statement
        #: Past versions that a statement reads, by table id and name. They outlive the flushes that it asks for.
        self.past_tables: dict[tuple[int, str | int], PastTable] = {}
        self.active = True
        self._over = "the transaction has ended; grid.transaction() begins another"  # what is said once it has
        self._mark: Mark | None = None
        if not of_statement:
            tables = [self._take(table) for table in grid._all_tables()]
            existing = set(cut([table.changes for table in tables]))
            self._tables = {table.table_id: table for table in tables if table.changes in existing}

    def _take(self, table: Table) -> TransactionTable:
        if self.alone:
            table.hold(HOLD_SECONDS, self._locked_tables)
            if table not in self._locked_tables:
                raise TransactionConflictError(f"table {table.name} is being written all the time", table=table.name)
        view = TransactionTable(self, table, Changes(table))
        self._tables[table.table_id] = view
        return view

    def __repr__(self) -> str:
        return f"<gridflow.Transaction on {self._grid.home} ({'open' if self.active else 'ended'})>"

    def __enter__(self) -> Transaction:
        if not self.of_statement:
            self._mark = self._grid._marks.enter(self, _REMEDY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.active:
            self.commit()
        self.rollback()

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to commit."""
        return any(table.changes.changed for table in list(self._tables.values()))

    @property
    def home(self) -> Path:
        """The grid's directory."""
        return self._grid.home

    @property
    def _is_transaction(self) -> bool:
        """True: none can begin inside it."""
        return True

    @property
    def owner(self) -> bool:
        """Whether this process owns the grid."""
        return self._grid.owner

    @property
    def _activity(self) -> Activity:
        """The statements that run on the grid."""
        return self._grid._activity

    @property
    def _plans(self) -> dict[Any, Any]:
        """The plans that SQL keeps for the grid's tables, by statement."""
        return self._grid._plans

    def system_view(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """The rows of a view of schema SYS: it shows the grid, and nothing of what the transaction has written."""
        return self._grid.system_view(name, columns)

    def _check_changeable(self) -> None:
        """Raise if nothing can be written here; see ``Grid._check_changeable``."""
        self._grid._check_changeable()

    def _demand(self, table: TableFace, *rights: str) -> None:
        """Raise unless who uses the grid has these rights on a table."""
        self._grid._demand(table, *rights)

    def _demand_statement(self, kind: str) -> None:
        """Raise unless who uses the grid may execute statements of a kind."""
        self._grid._demand_statement(kind)

    def tables(self) -> list[str]:
        """The names of all tables, sorted."""
        return self._grid.tables()

    def table(self, name: str) -> TransactionTable:
        """A table as the transaction sees it.

        Raises:
            TableNotFoundError: there is none.
            UsageError: the transaction has ended.
        """
        self._check_active()
        table = self._grid.table(name)
        view = self._tables.get(table.table_id)
        if view is None:
            view = self._take(table)
            if not self.of_statement:  # made since the transaction began
                _cut_all([view])
        return view

    def _read_tables(self) -> list[str]:
        """The names of the tables that it has looked at so far, in the order of their numbers."""
        return [self._tables[table_id].name for table_id in sorted(self._tables)]

    def _all_tables(self) -> list[TransactionTable]:
        """All tables as the transaction sees them, sorted by name; one that is dropped meanwhile is left out."""
        views = []
        for name in self.tables():
            with contextlib.suppress(TableNotFoundError):
                views.append(self.table(name))
        return views

    def _together(self, tables: Sequence[TableFace]) -> list[TransactionTable]:
        """The same tables at one moment: that at which the transaction began, or for a single statement this one."""
        self._check_active()
        views = [self._tables[table.table_id] for table in tables]
        live = [table for table in views if table.changes.live]
        for table in live:
            table.flush()
        columns = [table.changes.columns for table in live]
        _cut_all(live)
        if self.of_statement and [table.changes.columns for table in live] != columns:
            raise TransactionConflictError("a table has got other columns since the statement began")
        return views

    def cache(self, name: str) -> Cache:
        """A cache as the transaction sees it. Its table is made outside of one, by the first put."""
        self._check_active()
        return Cache(self, name)

    def transaction(self, *, of_statement: bool = False, alone: bool = False) -> NoReturn:
        """Not inside a transaction."""
        raise UsageError("this is a transaction already, and one cannot begin inside another")

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
    ) -> NoReturn:
        """Not inside a transaction."""
        raise _no_ddl()

    def alter_table(
        self,
        name: str,
        *,
        add: Mapping[str, Any] | None = None,
        drop: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
        fill: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> NoReturn:
        """Not inside a transaction."""
        raise _no_ddl()

    def _alter_options(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> NoReturn:
        """Not inside a transaction."""
        raise _no_ddl()

    def drop_table(self, name: str, *, if_exists: bool = False) -> NoReturn:
        """Not inside a transaction."""
        raise _no_ddl()

    def _system_table(self, name: str, columns: Any = None, key: str = "") -> NoReturn:
        """Not inside a transaction."""
        raise UsageError("a transaction has no system tables: commit or roll back first")

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Result:
        """Run SQL inside the transaction; see ``Grid.sql``."""
        from .sql import execute

        self._check_active()
        return execute(self, text, params, progress)

    def commit(self) -> None:
        """Make all writes durable and visible, or none.

        Raises:
            TransactionConflictError: somebody else has written one of the rows. Nothing has happened; run the
                transaction again.
            GridFullError, TableNotFoundError: there is no room, or a table is gone. Nothing has happened.
        """
        tables = list(self._tables.values())
        self._check_active()  # after the look: who rolls back, perhaps in another thread, says so first
        try:
            self._commit([table for table in tables if table.changes.changed])
        finally:
            self.rollback()

    def _commit(self, changed: list[TransactionTable]) -> None:
        pieces = [table.changes.operations() for table in changed]
        operations, digests = (b"".join(part) for part in zip(*pieces, strict=True)) if pieces else (b"", b"")
        if operations:
            columns = {table.table_id: table.changes.columns for table in changed}
            self._grid._commit_checked(operations, digests, columns)

    def rollback(self) -> None:
        """Forget all writes. Does nothing if the transaction has ended already."""
        self.active = False
        self._tables.clear()
        while self._locked_tables:
            self._locked_tables[-1].release(self._locked_tables)
        mark, self._mark = self._mark, None
        if mark is not None:
            self._grid._marks.leave(mark)

    def _forked(self) -> None:
        """In a forked child: the transaction is the parent's, and so are the locks of its tables."""
        self.active, self._over, self._mark = False, FORKED, None
        self._tables.clear()
        self._locked_tables.clear()

    def _check_active(self) -> None:
        """Raise if the transaction has ended, or the grid is closed."""
        self._grid.check_open()
        if not self.active:
            raise UsageError(self._over)


def _no_ddl() -> UsageError:
    return UsageError("a transaction cannot make or drop tables: commit or roll back first")


def _cut_all(tables: list[TransactionTable]) -> None:
    existing = cut([table.changes for table in tables])
    for table in tables:
        if table.changes not in existing:
            raise TableNotFoundError(f"table {table.name} was dropped", table=table.name)


class TransactionTable(KeyedRows):
    """A table as a transaction sees it. Its methods are those of ``Table``, and raise the same errors.

    Attributes:
        name, options, table_id: as of the table.
        changes: the writes that are not committed.
    """

    def __init__(self, transaction: Transaction, table: Table, changes: Changes):
        self._transaction = transaction
        self._table = table
        self.changes = changes
        self.name = table.name
        self.options = table.options
        self.table_id = table.table_id

    def __repr__(self) -> str:
        return f"<gridflow.TransactionTable {self.name} ({self.schema})>"

    @property
    def schema(self) -> Schema:
        """Its columns and key."""
        return self.changes.schema

    @property
    def partitions_count(self) -> int:
        """How many partitions the table has."""
        return self._table.partitions_count

    def _check(self) -> None:
        self._transaction._check_active()

    @property
    def codec(self) -> None:
        """None: a statement prepared for these columns must not outlive the transaction."""
        return None

    def truncate(self) -> NoReturn:
        """Not inside a transaction."""
        raise UsageError(f"table {self.name} cannot be emptied in a transaction: remove_all takes keys")

    def tag(self, name: str, *, replace: bool = False) -> NoReturn:
        """Not inside a transaction."""
        raise self._refusal("tagged")

    def untag(self, name: str) -> NoReturn:
        """Not inside a transaction."""
        raise self._refusal("untagged")

    def keep_versions(self, count: int) -> NoReturn:
        """Not inside a transaction."""
        raise self._refusal("told which versions to keep")

    def compact(self) -> NoReturn:
        """Not inside a transaction."""
        raise self._refusal("compacted")

    def compress(self, *columns: str) -> NoReturn:
        """Not inside a transaction."""
        raise self._refusal("compressed")

    def restore(self, version: str | int) -> NoReturn:
        """Not inside a transaction."""
        raise self._refusal("restored")

    def _refusal(self, what: str) -> UsageError:
        return UsageError(f"table {self.name} cannot be {what} in a transaction: commit or roll back first")

    def tags(self) -> dict[str, int]:
        """The tags of the table, and the version that each names."""
        return self._table.tags()

    def versions(self) -> list[int]:
        """The versions of the table that can be read, rising."""
        return self._table.versions()

    def version(self) -> int:
        """The number of the table's current version, in which nothing of the transaction is."""
        return self._table.version()

    def stats(self) -> dict[str, int]:
        """Figures about the table as it lies there; see ``Table.stats``."""
        return self._table.stats()

    def partitions(self) -> list[PartitionInfo]:
        """Rows and bytes of every partition of the table, without those of the transaction."""
        return self._table.partitions()

    def partition_of(self, key: Any) -> int:
        """The partition that a key belongs to, whether there is a row or not."""
        return self._table.partition_of(key)

    def _wake_maintenance(self) -> None:
        """Have the owner's background thread look now at what the table lacks, such as files of an index."""
        self._table._wake_maintenance()

    def past(self, version: str | int) -> PastTable:
        """The table as it was at a version; for a single statement: a tag may move while a transaction runs."""
        self._check()
        self._refuse_version(version)
        known = self._transaction.past_tables
        if (self.table_id, version) not in known:
            known[self.table_id, version] = self._table.past(version)
        return known[self.table_id, version]

    def _refuse_version(self, version: str | int | None) -> None:
        if version is not None and not self._transaction.of_statement:
            raise SqlError(
                f"table {self.name}: a transaction sees what there was when it began, and no past version; read that "
                "before BEGIN or after COMMIT"
            )

    @contextlib.contextmanager
    def _savepoint(self) -> Iterator[None]:
        """If the block raises, what it has written to the table is forgotten. Not one inside another."""
        self.changes.save()
        try:
            yield
        except BaseException:
            self.changes.restore()
            raise

    def flush(self) -> None:
        """Move the table's writes in memory to a segment, if there is room; not those of the transaction.

        Beside an owner in another process a few of them stay where they are: to copy them into a version of one's own
        takes less time than to ask the owner for one.
        """
        if not self._table.store.owner and self._few_in_memory():
            return
        # Where it cannot be done soon, they are copied where they are needed.
        with contextlib.suppress(GridFullError, GridConnectionError, TableBusyError):
            self._table._flush_to_read()

    def _few_in_memory(self) -> bool:
        self._table.store.catch_up()
        rows, size = self._table.memory
        return rows <= _FEW_ROWS and size <= _FEW_BYTES

    def get(self, key: Any, default: Any = None, *, version: str | int | None = None) -> Any:
        """The value under ``key``, or ``default``. A transaction has no past: any ``version`` is refused."""
        self._check()
        self._refuse_version(version)
        return self.changes.get(key, default)

    def __len__(self) -> int:
        self._check()
        self._transaction._together([self])
        return self.changes.count()

    def snapshot(self) -> Snapshot:
        """A version of the table that holds what the transaction sees."""
        self._check()
        self._transaction._together([self])
        return self.changes.snapshot("") if self.changes.plain else in_scratch(self.changes.snapshot)

    def scan(
        self,
        columns: Iterable[str] | None = None,
        partitions: int | Iterable[int] | None = None,
        batch_size: int = 65536,
        *,
        version: str | int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """All rows of some partitions, as ``Table.scan`` gives them; any ``version`` is refused."""
        self._refuse_version(version)
        snapshot = self.snapshot()
        ranges = partition_ranges(partitions, snapshot.partitions, self.name)
        with about(table=self.name):
            return scan_batches(snapshot, positions_of(snapshot.schema, columns), ranges, batch_size)

    def to_arrow(self, columns: Iterable[str] | None = None, *, version: str | int | None = None) -> pa.Table:
        """The whole table, as ``Table.to_arrow`` gives it; any ``version`` is refused."""
        self._refuse_version(version)
        with about(table=self.name):
            return whole_table(self.snapshot(), columns)

    def _mapped(self, columns: Iterable[str]) -> MappedRows:
        """All rows as they are mapped, as ``Table._mapped`` gives them."""
        return mapped_rows(self.snapshot(), columns)

    @property
    def indexes(self) -> TableIndexes:
        """The indexes of the table."""
        return self._table.indexes

    def _find_indexed(self, choices: Sequence[Choice]) -> IndexRows | None:
        """The rows of the best of some choices of ``indexes``; see ``Table._find_indexed``."""
        return self._table.indexes.find(choices, self.snapshot())

    def _narrow(self, narrowing: Narrowing[Narrowed]) -> Narrowed | None:
        """What a narrowing leaves of the rows; see ``Table._narrow``."""
        return narrowing.find(self.snapshot(), self._table.zones)

    def put(self, key: Any, value: Any) -> None:
        """Write the row under ``key``."""
        self.put_all([(key, value)])

    def put_all(self, rows: Any) -> None:
        """Write many rows; see ``Table.put_all``."""
        if has_columns(rows):
            self._put_rows(rows, on_duplicate="replace")
            return
        self._check()
        self.changes.put_all(rows.items() if isinstance(rows, Mapping) else rows)

    def insert_all(self, rows: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        """Write many rows, or none if one of the keys is there already or twice among them."""
        self._check()
        self.changes.put_all(rows.items() if isinstance(rows, Mapping) else rows, "error")

    def _put_rows(self, rows: Any, *, on_duplicate: str = "error") -> int:
        """Write rows given as columns; see ``Table._put_rows``."""
        duplicates(on_duplicate)
        self._check()
        return self._put_batches(row_batches(rows, self.schema, self.name), on_duplicate)

    def _put_batches(self, batches: Iterable[pa.RecordBatch], on_duplicate: str) -> int:
        columns = [to_columns(batch, self.schema, self.name) for batch in batches]
        try:
            return self.changes.put_batches(columns, on_duplicate)
        except DuplicateKeyError as error:
            raise with_remedy(error) from None

    def put_if_absent(self, key: Any, value: Any, codec: RowCodec | None = None) -> bool:
        """Write the row unless there is one under ``key``; returns whether it wrote."""
        if codec is not None and codec.python_schema is not self.schema:
            raise SchemaError(f"table {self.name} has got other columns meanwhile: nothing was written, try again")
        absent = not self.contains(key)
        if absent:
            self.put(key, value)
        return absent

    def replace(self, key: Any, value: Any, *, expected: Any = ABSENT) -> bool:
        """Write the row only if there is one under ``key``; see ``Table.replace``."""
        if expected is not ABSENT:
            return self.compare_and_set(key, expected, value)
        exists = self.contains(key)
        if exists:
            self.put(key, value)
        return exists

    def remove(self, key: Any) -> bool:
        """Remove the row under ``key``; returns whether there was one."""
        return self.remove_all([key]) == 1

    def remove_all(self, keys: Iterable[Any]) -> int:
        """Remove the rows under these keys; returns how many there were."""
        self._check()
        return self.changes.remove_all(keys)

    def _addressed(self, columns: Iterable[str]) -> AddressedRows:
        """All rows, with where each lies: for ``update_rows`` and ``remove_rows``."""
        return all_rows(self.snapshot(), columns)

    def _update_rows(self, rows: AddressedRows, addresses: np.ndarray, values: pa.Table) -> int:
        """Give rows new values of some columns, none of the key.

        Args:
            rows: what the table has said of its rows, ``addressed`` or by an index, after its last change.
            addresses: of the rows to be changed, each once, int64; not changed afterwards.
            values: the new values, in the order of ``addresses``.

        Returns:
            How many rows there are.

        Raises:
            SchemaError: a value does not fit its column; nothing is changed.
            TransactionConflictError: somebody else has written one of the rows; nothing is changed.
            GridFullError: there is no room; nothing is changed.
        """
        refuse_nulls(values, self.schema, self.name)
        columns = [self.schema[name] for name in values.column_names]
        batches = [
            [
                cast_column(array, column.type, f"table {self.name}, column {column}")
                for array, column in zip(batch.columns, columns, strict=True)
            ]
            for batch in checked_batches(values.to_batches(), f"table {self.name}")
        ]
        changes = RowChanges(rows.snapshot, self.changes.codec, addresses, values.column_names, batches)
        return self._change(changes, values.nbytes)

    def _remove_rows(self, rows: AddressedRows, addresses: np.ndarray) -> int:
        """Remove rows; else as ``update_rows``."""
        return self._change(RowChanges(rows.snapshot, self.changes.codec, addresses, None, []), 0)

    def _change(self, changes: RowChanges, new_bytes: int) -> int:
        """Make changes part of the transaction. One of a single statement that are many need not go through memory."""
        self._check()
        if (
            self.changes.untouched  # commits that its version does not have yet are in what was read, as a preview
            and self._transaction.of_statement
            and self._transaction.owner
            and self._are_many(changes, new_bytes)
        ):
            try:
                return self._table._change_rows(changes, self.changes.columns)
            except GridFullError:
                if not changes.removes:
                    raise  # for removals there is always some room in the log
        self.changes._change_rows(changes)
        return changes.rows

    def _are_many(self, changes: RowChanges, new_bytes: int) -> bool:
        if changes.rows > MOST_LOGGED:
            return True
        segments = self._table.snapshot().segments()
        row_bytes = sum(size for _, _, _, size in segments) // max(1, sum(rows for _, rows, _, _ in segments))
        return not changes.removes and changes.rows * row_bytes + new_bytes > MOST_LOGGED_BYTES

    def _row_codec(self) -> RowCodec:
        return self.changes.codec

    def _change_row(self, key: Any, change: Callable[[Any], Any]) -> tuple[Any, Any]:
        old = self.get(key, ABSENT)
        new = change(old)
        if new is ABSENT and old is not ABSENT:
            self.remove(key)
        elif new is not old:
            self.put(key, new)
        return old, self.get(key, ABSENT)

    def load(
        self,
        data: Any,
        *,
        on_duplicate: str = "error",
        progress: Progress | None = None,
        mode: str | None = None,
    ) -> int:
        """Write many rows, given as ``Table.load`` takes them. Until the commit they are kept in memory."""
        on_duplicate = duplicates(on_duplicate, mode)
        self._check()
        version = self.changes.version
        if version and self._transaction.of_statement and self._transaction.owner:  # it need not be kept in memory
            return self._table._load_unchanged(data, on_duplicate, progress, version)
        data = looked_at(data)
        batches = record_batches(data, self.schema, self.name)
        if batches is not None:
            count = self._put_batches(batches, on_duplicate)
        else:
            defaults = default_values(self.schema, self.name)
            rows = [self._pair(row, defaults) for group in in_groups(data) for row in group]
            try:
                count = self.changes.put_all(rows, on_duplicate)
            except DuplicateKeyError as error:
                raise with_remedy(error) from None
        if progress:
            progress(count)
        return count

    def _pair(self, row: Any, defaults: Mapping[str, Any]) -> tuple[Any, Any]:
        if not isinstance(row, Mapping):
            raise SchemaError(
                f"table {self.name}: a row is a dict of columns, got {type(row).__name__}", table=self.name
            )
        for name in row.keys() - set(self.schema.names):
            raise ColumnNotFoundError(
                f"table {self.name} has no column {name}; {did_you_mean(str(name), self.schema.names)}"
            )
        key = tuple(row.get(name, defaults.get(name)) for name in self.schema.key)
        value = {name: item for name, item in row.items() if name not in self.schema.key}
        return key if len(key) > 1 else key[0], value.get("_VAL", LEFT_OUT) if self.schema.plain_value else value
