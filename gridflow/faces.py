"""What a grid and a table offer, whoever implements it. Protocols only: nothing is done here.

    ReadableTable              a query reads it: any table, and the views of schema SYS
      TableFace                rows under keys, to read and to write: Table, ServedTable, TransactionTable
        StoredTableFace        and what lies of it in files: Table, ServedTable
        ChangedTableFace       and rows that are changed where they lie: TransactionTable

    GridFace                   tables by name, and what a statement does to them: OpenGrid, Transaction
      OpenGridFace             a grid that is open in this process: OpenGrid
        HandleFace             what connect gives, until it is closed: Grid, ServedGrid
      TransactionFace          until it is committed or rolled back: Transaction
    SessionFace                statements, and the transaction that may be open between them: Session

An implementation says what it cannot do: by an attribute (``alone``, ``is_transaction``), by an empty answer
(``indexes`` of a view), or by UsageError. Nobody need probe for a method. ``tests/conformance/test_faces.py`` and mypy
hold each implementation to its face.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from ._native.rows import RowCodec
from ._native.snapshot import Snapshot
from .schema import Column, Schema

Rows = Mapping[Any, Any] | Iterable[tuple[Any, Any]]
#: What a load calls with the number of rows written so far.
Progress = Callable[[int], Any]
#: What a statement calls with a ``sql.Progress``.
Report = Callable[[Any], Any]


# ---- what belongs to a table ----


class IndexFace(Protocol):
    """An index as the catalog has it: ``storage.index_definition.Index``."""

    @property
    def name(self) -> str: ...
    @property
    def index_id(self) -> int: ...
    @property
    def columns(self) -> tuple[Column, ...]: ...
    @property
    def descending(self) -> tuple[bool, ...]: ...


class IndexSet(Protocol):
    """The indexes that a query may use: those of a table, or none, as a view has."""

    def all(self) -> Sequence[IndexFace]:
        """The indexes, by name."""


class IndexesFace(IndexSet, Protocol):
    """The indexes of a table, to be made and removed as well: ``storage.table_indexes.TableIndexes``."""

    def changing(self) -> AbstractContextManager[None]:
        """Keep others from making and removing indexes, or dropping the table, meanwhile."""

    def make(self, index: Any) -> None:
        """Make the files of one index for all segments of now."""

    def remove_stale(self) -> None:
        """Unlink the files of segments and indexes that are gone."""


class AddressedRows(Protocol):
    """Rows of a version, and where they lie: ``storage.addressed_rows.AddressedRows``."""

    @property
    def snapshot(self) -> Snapshot:
        """The version."""

    @property
    def rows(self) -> pa.Table | RowsInPlace:
        """Some columns of them."""

    @property
    def addresses(self) -> pa.ChunkedArray:
        """Where each lies; of rows in place first those that are live, then the others."""


class NumberedRows(Protocol):
    """Rows that are known by their numbers: ``storage.index_rows.NumberedRows``."""

    @property
    def exact(self) -> bool:
        """Whether these are exactly the rows asked for; else there may be others among them."""

    def take(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows."""

    def _addressed(self, columns: Sequence[str]) -> AddressedRows:
        """These columns of the rows, and where the rows lie."""

    def spread(self, columns: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
        """These columns of the segments that have such rows, and the numbers of the rows in those, int64."""


class IndexedRows(NumberedRows, Protocol):
    """Rows that an index has found: ``storage.index_rows.IndexRows``."""

    @property
    def index(self) -> IndexFace:
        """Which index."""


class RowsInPlace(Protocol):
    """Rows as they are mapped: ``storage.mapped_rows.MappedRows``."""

    @property
    def live(self) -> pa.Table:
        """Rows that are all live."""

    @property
    def mixed(self) -> pa.Table | None:
        """Others, with a last column that is null where a row is live; None if there are none."""

    @property
    def size(self) -> int:
        """How many rows there are, deleted ones too."""

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of all of them: first those of ``live``, then those of ``mixed``."""


Narrowed = TypeVar("Narrowed")
_Narrowed = TypeVar("_Narrowed", covariant=True)


class Narrowing(Protocol[_Narrowed]):
    """A question to a table that leaves only some of its rows: one of ``storage.narrowing``."""

    def find(self, snapshot: Snapshot, zones: Any) -> _Narrowed | None:
        """What it leaves of the rows of a version; None if a scan would be as good."""


# ---- tables ----


class ReadableTable(Protocol):
    """What a query reads: Table, ServedTable, TransactionTable, SystemView."""

    @property
    def name(self) -> str:
        """As a message names it."""

    @property
    def schema(self) -> Schema:
        """Its columns and key; a view has no key."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of CREATE TABLE; empty for a view."""

    @property
    def indexes(self) -> IndexSet:
        """Its indexes; none for a view."""

    def _find_indexed(self, choices: Sequence[Any]) -> IndexedRows | None:
        """The rows of the best of some choices of ``indexes``; None if a scan would be as good."""

    def to_arrow(self, columns: Iterable[str] | None = None) -> pa.Table:
        """All rows."""

    def _mapped(self, columns: Iterable[str]) -> RowsInPlace:
        """All rows, and deleted ones with them, for an engine that leaves those out itself."""

    def _narrow(self, narrowing: Narrowing[Narrowed]) -> Narrowed | None:
        """What a narrowing leaves of the rows; None if a scan would be as good."""

    def __len__(self) -> int: ...


class TableFace(ReadableTable, Protocol):
    """Rows under keys: Table, ServedTable, TransactionTable."""

    @property
    def table_id(self) -> int: ...

    @property
    def codec(self) -> RowCodec | None:
        """The encoder of its rows, another one with other columns; None in a transaction, whose columns stay."""

    @property
    def partitions_count(self) -> int:
        """How many partitions it has."""

    @property
    def indexes(self) -> IndexesFace:
        """Its indexes."""

    def __contains__(self, key: Any) -> bool: ...
    def __getitem__(self, key: Any) -> Any: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def __delitem__(self, key: Any) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...
    def keys(self) -> KeysView[Any]: ...
    def values(self) -> ValuesView[Any]: ...
    def items(self) -> ItemsView[Any, Any]: ...
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

    def update(self, key: Any, values: Mapping[str, Any] | None = None, /, **columns: Any) -> None:
        """Change some columns of the row under ``key``."""

    def increment(self, key: Any, column: str | None = None, by: Any = 1, **columns: Any) -> Any:
        """Add to numbers of the row under ``key``; returns the new ones."""

    def compare_and_set(self, key: Any, expected: Any, value: Any) -> bool:
        """Write the row under ``key`` only if its value is ``expected``."""

    def get_and_put(self, key: Any, value: Any) -> Any:
        """Write the row under ``key``; returns what was there."""

    def get_and_replace(self, key: Any, value: Any) -> Any:
        """The same only if there is one."""

    def get_and_remove(self, key: Any) -> Any:
        """Remove the row under ``key``; returns what was there, or None."""

    def pop(self, key: Any, default: Any = ...) -> Any:
        """Remove the row under ``key``; returns what was there, or ``default``."""

    def popitem(self) -> tuple[Any, Any]:
        """Remove any row."""

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value under ``key``, which is ``default`` if there was none."""

    def clear(self) -> None:
        """Remove all rows, as ``truncate``."""

    def get(self, key: Any, default: Any = None) -> Any:
        """The value under ``key``, or ``default``."""

    def get_all(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The values under these keys; keys without a row are left out."""

    def contains(self, key: Any) -> bool:
        """Whether there is a row under ``key``."""

    def scan(
        self,
        columns: Iterable[str] | None = None,
        partitions: int | Iterable[int] | None = None,
        batch_size: int = 65536,
    ) -> Iterator[pa.RecordBatch]:
        """All rows of some partitions, batch after batch."""

    def snapshot(self) -> Snapshot:
        """A version of it."""

    def past(self, version: str | int) -> Any:
        """It as it was at a version, to be read: a ``storage.past_table.PastTable``; refused in a transaction."""

    def put(self, key: Any, value: Any) -> None:
        """Write the row under ``key``."""

    def put_all(self, rows: Any) -> None:
        """Write several rows in one commit: ``Rows``, or Arrow data."""

    def insert_all(self, rows: Rows) -> None:
        """Write several rows in one commit, or none if a key is there."""

    def _put_rows(self, rows: Any, *, on_duplicate: str = "error") -> int:
        """Write rows given as Arrow data in one commit, through the log; returns how many."""

    def put_if_absent(self, key: Any, value: Any, codec: RowCodec | None = None) -> bool:
        """Write the row unless there is one under ``key``; ``codec``: only if that is still the table's."""

    def replace(self, key: Any, value: Any, *, expected: Any = ...) -> bool:
        """Write the row only if there is one under ``key``."""

    def remove(self, key: Any) -> bool:
        """Remove the row under ``key``; returns whether there was one."""

    def remove_all(self, keys: Iterable[Any]) -> int:
        """Remove the rows under these keys in one commit; returns how many there were."""

    def load(
        self,
        data: Any,
        *,
        on_duplicate: str = "error",
        progress: Progress | None = None,
        mode: str | None = None,
    ) -> int:
        """Write many rows in one commit; returns how many."""

    def truncate(self) -> int:
        """Remove all rows; refused in a transaction."""

    def flush(self) -> Any:
        """Move the writes in memory to a segment."""

    def _savepoint(self) -> AbstractContextManager[None]:
        """In a transaction: of what the block writes nothing stays if it raises. Else each write commits by itself."""

    def _wake_maintenance(self) -> None:
        """Have the owner's background thread look now at what the table lacks, such as files of an index."""


class ChangedTableFace(TableFace, Protocol):
    """A table whose rows a statement reads to change them: TransactionTable."""

    def _addressed(self, columns: Iterable[str]) -> AddressedRows:
        """All rows, and where each lies."""

    def _update_rows(self, rows: AddressedRows, addresses: np.ndarray, values: pa.Table) -> int:
        """Give rows that lie at these addresses new values of some columns; returns how many."""

    def _remove_rows(self, rows: AddressedRows, addresses: np.ndarray) -> int:
        """Remove rows that lie at these addresses; returns how many."""


class WrittenTable(Protocol):
    """What a ``Writer`` writes: Table, ServedTable, RemoteTable."""

    @property
    def name(self) -> str: ...
    @property
    def table_id(self) -> int: ...
    @property
    def schema(self) -> Schema: ...

    def _row_codec(self) -> RowCodec:
        """The encoder of its rows, of the columns that ``schema`` had last."""

    def _refuse_past(self) -> None:
        """Raise where a transaction is open that a write would not be part of."""

    def _write_batch(self, writer: str, number: int, mode: str, operations: bytes, codec: RowCodec) -> None:
        """Commit a batch, once, however often it is sent."""

    def _end_writer(self, writer: str) -> None:
        """All batches of a writer are acknowledged."""


class StoredTableFace(TableFace, WrittenTable, Protocol):
    """A table and what lies of it in files: Table, ServedTable."""

    def scan(
        self,
        columns: Iterable[str] | None = None,
        partitions: int | Iterable[int] | None = None,
        batch_size: int = 65536,
        *,
        version: str | int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """All rows of some partitions of one version, batch after batch."""

    def to_arrow(self, columns: Iterable[str] | None = None, *, version: str | int | None = None) -> pa.Table:
        """All rows of one version."""

    def get(self, key: Any, default: Any = None, *, version: str | int | None = None) -> Any:
        """The value under ``key`` in one version, or ``default``."""

    def get_all(self, keys: Iterable[Any], *, version: str | int | None = None) -> dict[Any, Any]:
        """The values under these keys in one version; keys without a row are left out."""

    def contains(self, key: Any, *, version: str | int | None = None) -> bool:
        """Whether there is a row under ``key`` in one version."""

    def restore(self, version: str | int) -> int:
        """Give the table the rows and columns of a version again; returns the number of the new one."""

    def _insert_values(
        self, codec: RowCodec, places: tuple[int, ...], fixed: tuple[Any, ...], values: Sequence[Any]
    ) -> bool:
        """Write the row of values by their place, unless there is one under its key; returns whether it wrote."""

    def _select_values(self, codec: RowCodec, places: tuple[int, ...], key: Any) -> tuple[Any, ...] | None:
        """Some columns of the row under a key; None if there is none."""

    @property
    def folder(self) -> Path:
        """The folder of its files."""

    @property
    def memory(self) -> tuple[int, int]:
        """Rows and bytes of what is in no segment yet."""

    def flush(self) -> int:
        """Move the writes in memory to a segment; returns the version that holds them."""

    def _flush_to_read(self, *, waits: bool = False) -> int:
        """Flush for a reader, so that no version comes of it that is kept."""

    def _flush_unless_busy(self) -> None:
        """Flush, if that can be done at once and there is room."""

    def compact(self) -> None:
        """Merge all segments and drop deleted rows."""

    def compress(self, *columns: str) -> None:
        """Keep compressed copies of these columns, and of no others."""

    def version(self) -> int:
        """The number of the current version."""

    def tag(self, name: str, *, replace: bool = False) -> int:
        """Give the table as it is now a name; returns the version."""

    def untag(self, name: str) -> None:
        """Take a tag away."""

    def tags(self) -> dict[str, int]:
        """The tags, and the version that each names."""

    def keep_versions(self, count: int) -> None:
        """Keep so many versions before the current one."""

    def versions(self) -> list[int]:
        """The versions that can be read, rising."""

    def _snapshot_version(self, version: str | int) -> int:
        """The number of a version, given that or a tag."""

    def _open_version(self, version: int) -> Snapshot:
        """A version by its number."""

    def stats(self) -> dict[str, int]:
        """Figures about the table as it lies there."""

    def partitions(self) -> Sequence[tuple[int, int, int]]:
        """Number, rows and bytes of every partition."""

    def partition_of(self, key: Any) -> int:
        """The partition that a key belongs to."""


# ---- what runs on a grid ----


class RunningStatement(Protocol):
    """A statement that runs, since ``clock`` of ``perf_counter``."""

    @property
    def number(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def clock(self) -> float: ...


class ExecutedStatement(Protocol):
    """What the history knows of one text; times are seconds."""

    @property
    def kind(self) -> str: ...
    @property
    def executions(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def error(self) -> str | None: ...
    @property
    def clock(self) -> float: ...
    @property
    def shortest(self) -> float: ...
    @property
    def longest(self) -> float: ...
    @property
    def last(self) -> float: ...
    @property
    def total(self) -> float: ...


class ConnectedClient(Protocol):
    """A client of the grid's server, since a wall clock's seconds."""

    @property
    def number(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def release(self) -> str: ...
    @property
    def since(self) -> float: ...
    @property
    def user(self) -> str | None: ...
    @property
    def door(self) -> str: ...
    @property
    def address(self) -> str: ...


class LimitsFace(Protocol):
    """What a statement may take: ``catalog.activity.Limits``."""

    seconds: float | None
    memory: int | None


class ActivityFace(Protocol):
    """The statements and clients of one open grid: ``catalog.activity.Activity``."""

    @property
    def node(self) -> uuid.UUID: ...
    @property
    def started(self) -> float: ...
    @property
    def limits(self) -> LimitsFace: ...

    def begin(self, text: str, kind: str) -> tuple[int, str, str, int, float]:
        """A statement begins to run in this thread; the first item of what it gives is its number."""

    def end(self, run: tuple[int, str, str, int, float], rows: int, error: BaseException | None = None) -> None:
        """A statement is done, or has failed."""

    def ran(self, text: str, kind: str, clock: float, rows: int) -> None:
        """A statement that nobody could have seen run has run since ``clock``, without an error."""

    def forget(self, run: tuple[int, str, str, int, float]) -> None:
        """A statement has not run after all."""

    def was_cancelled(self, run: tuple[int, str, str, int, float]) -> bool:
        """Whether a statement that fails was cancelled."""

    def is_cancelled_here(self) -> bool:
        """Whether a statement that this thread runs was cancelled."""

    def query_id(self, number: int) -> str:
        """The id of a statement."""

    def cancel(self, query_id: str, interrupt: Callable[[int], bool]) -> bool | None:
        """Cancel a statement; None if there is none of that id."""

    def running(self) -> Sequence[RunningStatement]:
        """The statements that run now."""

    def history(self) -> Sequence[tuple[str, ExecutedStatement]]:
        """Texts, the one that ran last first."""

    def totals(self) -> tuple[Mapping[str, int], int, int]:
        """Statements that ended, by kind; how many of them failed, and of these were cancelled."""

    def clients(self, is_alive: Callable[[int], bool]) -> Sequence[ConnectedClient]:
        """The clients whose process lives."""

    def connected(self, client: str, pid: int, release: str) -> None:
        """A client says that it is there."""

    def disconnected(self, client: str) -> None:
        """A client says that it leaves."""


# ---- grids ----


class GridFace(Protocol):
    """What a statement runs on: OpenGrid, Transaction; and handles, which are more than that."""

    @property
    def home(self) -> Path:
        """The grid's directory."""

    @property
    def owner(self) -> bool:
        """Whether this process owns the grid."""

    @property
    def _activity(self) -> ActivityFace:
        """The statements that run on it here."""

    @property
    def _plans(self) -> dict[Any, Any]:
        """The plans that SQL keeps for its tables, by statement."""

    @property
    def _is_transaction(self) -> bool:
        """Whether it is a transaction, so that none can begin in it."""

    @property
    def alone(self) -> bool:
        """Whether other writers are kept out: by a transaction that holds its tables."""

    def tables(self) -> list[str]:
        """The names of all tables, sorted."""

    def _all_tables(self) -> Sequence[TableFace]:
        """All tables, by name."""

    def table(self, name: str) -> TableFace:
        """The table of a name."""

    def _system_table(self, name: str, columns: Any = None, key: str = "") -> TableFace | None:
        """A system table, made if need be where ``columns`` are given; refused in a transaction."""

    def system_view(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """The rows of a view of schema SYS."""

    def _together(self, tables: Sequence[TableFace]) -> Sequence[TableFace]:
        """The same tables as they all are at one moment, to be read."""

    def _demand(self, table: TableFace, *rights: str) -> None:
        """Raise unless who uses it has these rights on a table."""

    def _demand_statement(self, kind: str) -> None:
        """Raise unless who uses it may execute statements of a kind."""

    def transaction(self, *, of_statement: bool = False, alone: bool = False) -> TransactionFace:
        """Begin a transaction; refused in a transaction."""

    def _check_changeable(self) -> None:
        """Raise if nothing can be written here."""

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
    ) -> TableFace:
        """Make a table; refused in a transaction."""

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
        """Change a table's columns; refused in a transaction."""

    def _alter_options(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Change what is kept with a table; refused but by the owner itself."""

    def drop_table(self, name: str, *, if_exists: bool = False) -> None:
        """Drop a table; refused in a transaction."""


class OpenGridFace(GridFace, Protocol):
    """A grid that is open: OpenGrid, and the handles on it."""

    @property
    def closed(self) -> bool:
        """Whether it cannot be used any more."""

    @property
    def default_partitions(self) -> int:
        """Of a new table that does not say how many it wants."""

    @property
    def last_commit(self) -> int:
        """The number of the last commit."""

    def __contains__(self, name: str) -> bool: ...

    def _all_tables(self) -> Sequence[StoredTableFace]:
        """All tables, by name."""

    def table(self, name: str) -> StoredTableFace:
        """The table of a name."""

    def _commit_checked(self, operations: bytes, digests: bytes, columns: dict[int, int]) -> None:
        """Commit what a transaction has written, unless a row has changed since."""

    def flush(self) -> None:
        """Move all writes in memory to segments."""

    def check(self) -> Sequence[Any]:
        """Read every byte; returns what is wrong."""

    def close(self) -> None:
        """Let go of it."""


class HandleFace(OpenGridFace, Protocol):
    """What ``connect`` gives, until it is closed: Grid, ServedGrid."""

    @property
    def in_transaction(self) -> bool:
        """Whether this context has a transaction open that ``sql("BEGIN")`` has begun."""

    def __enter__(self) -> HandleFace: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def cache(self, name: str) -> Any:
        """A ``Cache`` of nested values."""

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Any:
        """Run SQL; returns the last statement's ``sql.Result``."""

    def session(self) -> SessionFace:
        """Statements with a transaction of their own, in whatever thread or task."""

    def run(self, function: Callable[[Any], Any], *, retries: int = 10) -> Any:
        """Run a function in a transaction and commit, again where somebody else was faster."""


class SessionFace(Protocol):
    """Statements one after the other, and the transaction that may be open between them: Session."""

    @property
    def transaction(self) -> TransactionFace | None:
        """The transaction that is open, if one is."""

    @property
    def in_transaction(self) -> bool:
        """Whether one is."""

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Any:
        """Run SQL; returns the last statement's ``sql.Result``."""

    def table(self, name: str) -> TableFace:
        """The table of a name: the transaction's, where one is open."""

    def begin(self) -> None:
        """Open a transaction."""

    def commit(self) -> None:
        """Commit it."""

    def rollback(self) -> None:
        """Roll it back."""

    def close(self) -> None:
        """Roll back what is open, and end."""


class TransactionFace(GridFace, Protocol):
    """A grid as a transaction sees it, until that ends: Transaction.

    Attributes:
        past_tables: the past versions that its statement reads, opened once: by table id and version.
    """

    past_tables: dict[tuple[int, str | int], Any]

    def table(self, name: str) -> ChangedTableFace:
        """The table of a name."""

    @property
    def active(self) -> bool:
        """Whether it has not ended."""

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to commit."""

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Any:
        """Run SQL inside it; returns the last statement's ``sql.Result``."""

    def _read_tables(self) -> list[str]:
        """The names of the tables that it has looked at so far, in an order that all transactions have in common."""

    def __enter__(self) -> TransactionFace: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def commit(self) -> None:
        """Make all writes durable and visible, or none."""

    def rollback(self) -> None:
        """Forget all writes."""
