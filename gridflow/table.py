"""Table: rows of one schema under a primary key, read and written in the process that has the grid open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pyarrow as pa

from ._native.changes import Changes
from ._native.edit import Edit
from ._native.load import Load
from ._native.row_changes import RowChanges
from ._native.rows import RowCodec
from ._native.snapshot import Snapshot
from ._native.store import Store
from ._native.table_store import TableStore
from .catalog import TableEntry
from .deprecation import renamed
from .errors import (
    DuplicateKeyError,
    GridFullError,
    SchemaError,
    TableBusyError,
    TransactionConflictError,
    UsageError,
    VersionNotFoundError,
    about,
)
from .keyed import ABSENT, KeyedRows
from .schema import Schema
from .storage import compaction, load
from .storage.arrow import deleted_column, live_batches
from .storage.arrow_input import has_columns
from .storage.compressed_copies import CompressedCopies
from .storage.compressed_file import OPTION, check_compressible
from .storage.expected_files import table_folder
from .storage.index_rows import IndexRows
from .storage.input_columns import to_columns
from .storage.load import duplicates, in_groups, in_segments, looked_at, row_batches, with_remedy
from .storage.mapped_rows import MappedRows, mapped_rows
from .storage.past_table import PastTable
from .storage.scan import in_scratch, positions_of, scan_batches, whole_table
from .storage.table_indexes import Choice, TableIndexes
from .storage.table_zones import TableZones
from .storage.versions import Kept, bytes_of, describe, kept_versions
from .writer import COMMIT_MODE_OF, Writer

if TYPE_CHECKING:
    from .faces import Narrowed, Narrowing, Progress
    from .grid import Grid  # circle: a table names the first handle on its grid
    from .open_grid import OpenGrid  # circle: a table is made by its grid, and asks it what is kept of it

#: Bytes that must be free before the catalog is written: else tables could be made until none can be dropped.
CATALOG_ROOM = 16 << 10
#: Seconds that who reads waits for a writer; then it reads what is in memory from a segment of its own.
READ_SECONDS = 1.0


class PartitionInfo(NamedTuple):
    """What one partition holds."""

    partition: int
    rows: int
    bytes: int


class Table(TableStore, KeyedRows):
    """A table of an open grid; made by ``Grid.create_table`` and ``Grid.table``.

    A key is the value of the key column, or a tuple where the key has several. A value is a dict of the other columns,
    or the plain value where the only other column is ``_VAL``. Any thread may call any method. ``put``, ``put_all``,
    ``put_if_absent``, ``get``, ``replace``, ``remove``, ``remove_all`` and ``contains`` are native.

    Attributes:
        name: the table's name.
        options: what CREATE TABLE ... WITH said, and the like.
    """

    def __init__(self, grid: OpenGrid, store: Store, entry: TableEntry, schema: Schema):
        super().__init__(store, RowCodec(schema, entry.name), entry.table_id)
        self.name = entry.name
        self.options = dict(entry.options)
        self._indexes = TableIndexes(self)
        self._zones = TableZones(self)
        self._copies = CompressedCopies(self)
        self._grid = grid

    def __repr__(self) -> str:
        return f"<gridflow.Table {self.name} ({self.schema})>"

    @property
    def schema(self) -> Schema:
        """Its columns and key; another one after ``Grid.alter_table``."""
        self.store.catch_up()
        return self.codec.python_schema

    @property
    def grid(self) -> Grid:
        """A handle on the grid that the table belongs to: the first that is not closed.

        Raises:
            GridClosedError: there is none.
        """
        return self._grid.handle

    def _refuse_past(self) -> None:
        """Raise where a transaction is open that a write would not be part of; see ``OpenGrid.refuse_past``."""
        guard = self.store.guard
        if guard is not None:
            guard(f"table {self.name}")

    @property
    def indexes(self) -> TableIndexes:
        """The indexes that SQL has made on the table."""
        return self._indexes

    def _find_indexed(self, choices: Sequence[Choice]) -> IndexRows | None:
        """The rows of the best of some choices of ``indexes``; see ``TableIndexes.find``."""
        return self._indexes.find(choices, self._flushed())

    def _narrow(self, narrowing: Narrowing[Narrowed]) -> Narrowed | None:
        """What a narrowing leaves of the rows; None if a scan would be as good."""
        return narrowing.find(self._flushed(), self._zones)

    @property
    def folder(self) -> Path:
        """The folder that holds the table's files."""
        return table_folder(self._grid.home, self.table_id)

    @property
    def partitions_count(self) -> int:
        """How many partitions the table has."""
        return self.snapshot().partitions

    def __len__(self) -> int:
        return self._flushed().rows

    def _flushed(self) -> Snapshot:
        """A version that holds every write acknowledged before the call."""
        if self.store.owner:
            try:
                self._flush_store(READ_SECONDS, True)
                return self.snapshot()
            except (GridFullError, TableBusyError):  # a full grid stays readable, and one that is written for long
                pass
        return in_scratch(self.preview)

    def scan(
        self,
        columns: Iterable[str] | None = None,
        partitions: int | Iterable[int] | None = None,
        batch_size: int = 65536,
        *,
        version: str | int | None = None,
        snapshot: str | int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """All rows of some partitions of one version of the table, as Arrow batches that view the mapped segments.

        Args:
            columns: which, in what order; all without it.
            partitions: a number, several, or None for all.
            batch_size: at most so many rows in a batch.
            version: a tag, or the number of a version that is kept, to read that and not the table as it is now. Its
                columns are those of then.
            snapshot: its old name.

        Raises:
            ColumnNotFoundError, SchemaError: there is no such column or partition.
            VersionNotFoundError: there is no such tag, or the version is not kept.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG", "X": "DOUBLE"}, key="ID")
        ...     table.put_all((i, {"X": i / 2}) for i in range(10))
        ...     sum(batch.num_rows for batch in table.scan(["X"], partitions=range(512)))
        3
        """
        if batch_size < 1:
            raise SchemaError(f"batch_size is at least 1, not {batch_size}")
        read = self._version(renamed("snapshot", snapshot, "version", version))
        ranges = partition_ranges(partitions, read.partitions, self.name)
        with about(table=self.name):
            return scan_batches(read, positions_of(read.schema, columns), ranges, batch_size)

    def to_arrow(
        self,
        columns: Iterable[str] | None = None,
        *,
        version: str | int | None = None,
        snapshot: str | int | None = None,
    ) -> pa.Table:
        """The whole table as a ``pyarrow.Table`` whose columns view the mapped segments: nothing is copied.

        Tensors come as ``fixed_shape_tensor``, UUIDs as ``uuid``, texts as ``large_string``, lists as ``large_list``.

        Args:
            columns: which, in what order; all without it.
            version: a tag, or the number of a version that is kept, to read that and not the table as it is now.
            snapshot: its old name.

        Raises:
            ColumnNotFoundError: there is no such column.
            VersionNotFoundError: there is no such tag, or the version is not kept.
        """
        read = self._version(renamed("snapshot", snapshot, "version", version))
        with about(table=self.name):
            return whole_table(read, columns)

    #: What makes a dataset of a table and the arguments of ``dataset``. It lies above, so ``gridflow`` puts it here.
    _dataset_maker: ClassVar[Callable[[Table, dict[str, Any]], Any]]

    def dataset(self, **arguments: Any) -> Any:
        """The rows as a ``tf.data.Dataset``; this call imports TensorFlow, and nothing before it does.

        Args:
            arguments: as ``gridflow.Dataset`` has them, but for ``table``, ``grid`` and ``home``.

        Returns:
            A ``gridflow.Dataset``. The grid need not stay open.
        """
        return Table._dataset_maker(self, arguments)

    #: What publishes tables of a grid. It lies above, so ``gridflow`` puts it here.
    _publisher: ClassVar[Callable[..., dict[str, int]]]

    def publish(self, url: str, *, tag: str | None = None, version: str | int | None = None) -> int:
        """Copy the table as it is now to a URL, where ``gridflow.connect(url)`` and ``Dataset(home=url)`` read it.

        Files that are there already are not copied again. Whoever publishes the same table at the same time gets the
        number before this one, or after it.

        Args:
            url: of a folder, in any scheme of fsspec, such as ``s3://bucket/grid``.
            tag: a name for the new version there.
            version: the tag or the number of a version that is kept, to publish that.

        Returns:
            The number of the new version at the URL.

        Raises:
            UsageError: the tag is taken there, or nobody can publish at that URL.
            GridAccessError, GridFullError, GridConnectionError: it cannot be written.
        """
        return Table._publisher(self._grid.home, [self.name], url, tag=tag, version=version)[self.name]

    def _mapped(self, columns: Iterable[str]) -> MappedRows:
        """All rows as they are mapped, and deleted ones with them; see ``storage.mapped_rows``."""
        return mapped_rows(self._flushed(), columns)

    def put_all(self, rows: Any) -> None:
        """Write many rows in one commit: all or none. They replace what is there under their keys; ``load`` need not.

        Args:
            rows: a mapping or an iterable of (key, value), each as ``put`` takes it; or Arrow data or a DataFrame of
                all columns.

        Raises:
            SchemaError, ColumnNotFoundError, GridFullError: as ``put``; nothing is written.
        """
        if has_columns(rows):
            self._put_rows(rows, on_duplicate="replace")
        else:
            super().put_all(rows)

    def replace(self, key: Any, value: Any, *, expected: Any = ABSENT) -> bool:
        """Write the row only if there is one under ``key``; returns whether it wrote.

        Args:
            key, value: as of ``put``.
            expected: the value that it must have; any without it. See ``compare_and_set``.

        Raises:
            SchemaError, ColumnNotFoundError, GridFullError: as ``put``.
        """
        if expected is ABSENT:
            return super().replace(key, value)
        return self.compare_and_set(key, expected, value)

    def _row_codec(self) -> RowCodec:
        return self.codec

    def _change_row(self, key: Any, change: Callable[[Any], Any]) -> tuple[Any, Any]:
        self._refuse_past()
        while True:
            changes = Changes(self)
            try:
                old = changes.get(key, ABSENT)
                new = change(old)
                if new is old:
                    return old, old
                if new is ABSENT:
                    changes.remove_all([key])
                else:
                    changes.put_all([(key, new)])
                written = changes.get(key, ABSENT)
                self._grid._commit_checked(*changes.operations(), {self.table_id: changes.columns})
                return old, written
            except TransactionConflictError:  # somebody else has written the row since
                pass

    def _put_rows(self, rows: Any, *, on_duplicate: str = "error") -> int:
        """Write a few rows, given as columns, in one commit, through the log; ``load`` is for many.

        Args:
            rows: anything that ``load`` takes, but dicts of rows: Arrow data, a DataFrame, a dict of numpy arrays.
            on_duplicate: as of ``load``.

        Returns:
            The number of rows written; with ``replace`` that of the rows given, though a key may be twice among them.

        Raises:
            DuplicateKeyError: with ``error``, a key is there already or twice; nothing is written.
            SchemaError, ColumnNotFoundError, GridFullError: as ``load``; nothing is written.
        """
        duplicates(on_duplicate)
        self._refuse_past()
        self.store.catch_up()  # before values of other columns are taken for wrong ones
        codec = self.codec
        operations = self._encode_rows(codec, self._columns_of(rows))
        try:
            return self._commit_rows(operations, COMMIT_MODE_OF[on_duplicate], codec) if operations else 0
        except DuplicateKeyError as error:
            raise with_remedy(error) from None

    def _commit_rows(self, operations: bytes, mode: str, codec: RowCodec) -> int:
        return self._commit_encoded(operations, mode, codec.digest)

    def _columns_of(self, rows: Any) -> list[list[pa.Array]]:
        """Rows given as columns, as the native side takes them.

        Raises:
            SchemaError, ColumnNotFoundError: they do not fit the table.
        """
        schema = self.schema
        return [to_columns(batch, schema, self.name) for batch in row_batches(rows, schema, self.name)]

    def load(
        self,
        data: Any,
        *,
        on_duplicate: str = "error",
        progress: Progress | None = None,
        mode: str | None = None,
    ) -> int:
        """Write many rows at once, straight to segments: one commit and one copy of the data.

        The commit comes when the data has ended, and what others wrote meanwhile is there by then. They wait for it
        only then, however long the data takes to come.

        Args:
            data: anything with Arrow's interface (a ``pyarrow`` Table, RecordBatch or RecordBatchReader, a polars
                DataFrame, a duckdb relation, a table of ours), or an iterable of record batches; a pandas DataFrame; a
                dict of numpy arrays (rows first: ``[rows, 28, 28]`` for ``UINT8[28,28]``) or lists; or an iterable of
                dicts of columns. A column that the data, or a dict, does not name has its DEFAULT, which is null where
                nothing else was said.
            on_duplicate: what becomes of a row whose key is there already, in the table or before it in the data:
                ``error`` refuses the load; ``replace`` writes over it, and of several rows in the data the last one
                stays; ``ignore`` leaves the row that is there, and of several in the data the first.
            progress: called with the number of rows written so far.
            mode: deprecated: ``insert`` is ``on_duplicate="error"``, ``replace`` is ``on_duplicate="replace"``.

        Returns:
            The number of rows written; with ``replace`` that of the rows given, though a key may be twice among them.

        Raises:
            DuplicateKeyError: with ``error``; nothing is written.
            SchemaError, ColumnNotFoundError: the data does not fit; nothing is written.
            GridFullError: there is no room; nothing is written.

        >>> import gridflow, tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("IMAGES", {"ID": "LONG", "PIXELS": "UINT8[28,28]"}, key="ID")
        ...     table.load({"ID": np.arange(100), "PIXELS": np.zeros((100, 28, 28), "uint8")})
        100
        """
        self._refuse_past()
        return self._load_unchanged(data, duplicates(on_duplicate, mode), progress, None)

    def writer(self, **arguments: Any) -> Writer:
        """A writer of many rows by key, in batches and in a thread of its own; a context manager.

        Args:
            arguments: ``on_duplicate``, ``batch_bytes``, ``timeout`` and ``progress`` of ``Writer``.
        """
        return Writer(self, **arguments)

    def _write_batch(self, writer: str, number: int, mode: str, operations: bytes, codec: RowCodec) -> None:
        """Commit a batch of a writer's. Nothing can lose its answer here, so it comes once."""
        self._commit_rows(operations, mode, codec)

    def _end_writer(self, writer: str) -> None:
        """A writer has ended."""

    def edit(self) -> Edit:
        """A new version in the making, as a context manager; other writers of the table wait meanwhile."""
        return Edit(self)

    def _load_unchanged(self, data: Any, on_duplicate: str, progress: Progress | None, version: int | None) -> int:
        """Load, with ``version`` only if that is still the table's.

        Raises:
            TransactionConflictError: somebody has written since. Else as ``load``.
        """
        try:
            return self._load(looked_at(data), on_duplicate, progress, version)
        except DuplicateKeyError as error:
            raise with_remedy(error) from None

    def _load(self, data: Any, on_duplicate: str, progress: Progress | None, version: int | None) -> int:
        least = min(self.store.small_bytes, load.SEGMENT_BYTES)
        given = 0
        with Load(self, on_duplicate, least) as rows:
            schema = rows.codec.python_schema
            batches = load.record_batches(data, schema, self.name)
            if batches is None:
                for group in in_groups(data):
                    self._check_rows(group)
                    rows.add_rows(group)
                    given += len(group)
                    if progress:
                        progress(rows.rows)
            else:
                for group in in_segments(batches):
                    rows.add_batches([to_columns(batch, schema, self.name) for batch in group])
                    given += sum(batch.num_rows for batch in group)
                    if progress:
                        progress(rows.rows)
            if rows.rows:
                rows.publish(version)
                if self.indexes.all():
                    self._wake_maintenance()  # until its index is made, the new segment is scanned
            return given if on_duplicate == "replace" else rows.rows

    def _change_rows(self, changes: RowChanges, columns: int) -> int:
        """Write rows that a statement has read anew, or remove them, in one commit and past the log.

        Args:
            changes: the rows, of this version of the table or an earlier one.
            columns: the digest of the columns that it had then.

        Returns:
            How many rows there are.

        Raises:
            TransactionConflictError: somebody else has written one of the rows; nothing is changed.
            GridFullError: there is no room; nothing is changed.
        """
        with self.edit() as edit:
            if self.codec.digest != columns:
                raise TransactionConflictError(f"table {self.name} has got other columns", table=self.name)
            edit._change_rows(changes)
            edit.commit()
            if self.indexes.all():
                self._wake_maintenance()  # until its index is made, the new segment is scanned
        return changes.rows

    def _check_rows(self, rows: list[Any]) -> None:
        for row in rows:
            if not isinstance(row, Mapping):
                raise SchemaError(
                    f"table {self.name}: a row is a dict of columns, got {type(row).__name__}", table=self.name
                )

    def truncate(self) -> int:
        """Remove all rows in one commit, however many there are. Readers keep what they have mapped.

        Returns:
            How many rows there were.
        """
        self._refuse_past()
        with self.edit() as edit:
            rows = self.snapshot().rows
            if rows:
                edit.clear()
                edit.commit()
                if self.indexes.all():
                    self._wake_maintenance()  # their files go with the segments
            return rows

    def flush(self) -> int:
        """Move the writes in memory to a segment. Returns the version of the table that holds them."""
        return self._flush_store() if self.store.owner else self.snapshot().version

    def _flush_to_read(self, *, waits: bool = False) -> int:
        """Flush for a reader; the version that it makes is none of those that ``keep_versions`` keeps.

        Args:
            waits: for another writer, as ``flush`` does; else not long, as what is in memory can be read there, too.

        Raises:
            TableBusyError: another writer holds the table.
        """
        if not self.store.owner:
            return self.snapshot().version
        return self._flush_store(-1 if waits else READ_SECONDS, True)

    def _flush_unless_busy(self) -> None:
        """Flush for a reader, unless that has to wait for another writer, or there is no room."""
        if self.store.owner:
            try:
                self._flush_store(0, True)
            except (GridFullError, TableBusyError):  # readers see what is in memory, too
                pass

    def _wake_maintenance(self) -> None:
        """Have the owner's background thread look now at what the table lacks, such as files of an index."""
        self.store.wake.set()

    def _savepoint(self) -> AbstractContextManager[None]:
        """Each write in the block commits by itself: none is taken back. See ``TransactionTable._savepoint``."""
        return nullcontext()

    def compact(self) -> None:
        """Merge all segments into one and drop deleted rows. Readers keep what they have mapped.

        Raises:
            GridFullError: there is no room for a second copy of the rows. The deleted ones of each segment for which
                there is are dropped all the same.
        """
        try:
            self._merge(None)
            return
        except GridFullError:
            pass  # and no more here: the error holds on to what the merge has seen, and so to the room that it takes
        # One after the other they take less room, and each gives some back.
        segments = self.snapshot().segments()
        for segment_id, rows, deleted, _ in sorted(segments, key=lambda entry: entry[1] - entry[2]):
            if 0 < deleted < rows:
                self._merge(segment_id)
        self._merge(None)

    def _merge(self, segment_id: int | None) -> None:
        """Rewrite one segment, or all as one."""

        def choice(segments: list[compaction.Segment]) -> list[int]:
            positions = [i for i, segment in enumerate(segments) if segment_id in (None, segment[0])]
            return positions if len(positions) > 1 or any(segments[i][2] for i in positions) else []

        self.flush()
        compaction.merge(self, choice)

    def _merge_some(self, at_rest: bool, stopping: Callable[[], bool]) -> None:
        """What the background work does to keep segments few and long; see ``compaction.settle``."""
        compaction.settle(self, at_rest, stopping)

    def compress(self, *columns: str) -> None:
        """Keep compressed copies of these columns beside the segments, and of no others, from now on.

        They are for GPUs (``gridflow.cuda.DeviceTable``, ``gridflow.tf.DeviceTable``), which copy them over the bus and
        decode them where that is faster: if the numbers take half the room compressed, say. Everybody else reads
        the segments, which stay as they are. The copies are in blocks of LZ4; those of segments that come later are
        made in the background.

        Args:
            columns: of numbers, tensors, dates or times. None: no column is compressed any more.

        Raises:
            ColumnNotFoundError: there is none of that name.
            SchemaError: a column is of another type.
            GridFullError: there is no room for the copies.
        """
        ids = sorted(column.id for column in check_compressible(self.schema, columns))

        def change(options: dict[str, Any]) -> dict[str, Any]:
            rest = {name: value for name, value in options.items() if name != OPTION}
            return rest | {OPTION: ids} if ids else rest

        self._grid._alter_options(self.name, change)
        self.flush()
        self._copies.settle()

    @property
    def zones(self) -> TableZones:
        """The zone maps of its segments, by which queries leave rows out."""
        return self._zones

    @property
    def copies(self) -> CompressedCopies:
        """The compressed copies of some of its columns; see ``compress``."""
        return self._copies

    def version(self) -> int:
        """The number of the table's current version; it grows with every flush, load and compaction."""
        return self.snapshot().version

    # ---- past versions ----

    def tag(self, name: str, *, replace: bool = False) -> int:
        """Give the table as it is now a name, under which it stays readable until ``untag``.

        Nothing is copied: later changes go to new files, and the version keeps its own.

        Args:
            name: a text that is no number, of characters that can be shown and without commas.
            replace: move a tag of that name that an older version has; the older one may go then.

        Returns:
            The number of the version, which holds every write that was acknowledged before the call.

        Raises:
            UsageError: an older version has a tag of that name, or none can have it.
            GridFullError: there is no room.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID")
        ...     table.put(1, {"X": 1})
        ...     version = table.tag("v1")
        ...     table.put(1, {"X": 2})
        ...     table.get(1), table.get(1, version="v1"), table.to_arrow(version="v1").to_pylist()
        ({'X': 2}, {'X': 1}, [{'ID': 1, 'X': 1}])
        """
        self._refuse_past()
        return self._grid.tag(self, name, replace)

    def untag(self, name: str) -> None:
        """Take a tag away. Its version goes, unless it has another tag or is one of the last that are kept.

        Raises:
            VersionNotFoundError: there is no such tag; the message lists what there is.
        """
        self._refuse_past()
        self._grid.untag(self, name)

    @property
    def kept(self) -> Kept:
        """Which of its versions are kept, as the catalog says it now."""
        return self._grid.kept(self)

    def tags(self) -> dict[str, int]:
        """The tags of the table, and the version that each names."""
        return dict(self.kept.tags)

    def keep_versions(self, count: int) -> None:
        """Keep so many versions before the current one readable by their number, besides those that have tags.

        Every flush, load, merge and change of columns makes a version, also those of the background work. To read makes
        none that is kept: where ``len``, a scan or a query has writes flushed, the next flush replaces that version,
        which does not count; but the version that an iterator of a dataset reads does, so that it can be restored. What
        a version has in common with others takes no room; rows that it alone has are given back only when it goes.

        Raises:
            UsageError: ``count`` is negative, or no number; or a transaction is open here, which it is no part of.
        """
        self._refuse_past()
        self._grid.keep_versions(self, count)

    def versions(self) -> list[int]:
        """The versions that can be read, rising: those with a tag, the last ones that are kept, the current one."""
        current = self.version()
        return sorted({*kept_versions(self.folder, self.kept, current), current})

    def _snapshot_version(self, version: str | int) -> int:
        """The number of a version, given that or the name of a tag.

        Raises:
            VersionNotFoundError: there is no such tag, or the version is not kept; the message lists what there is.
        """
        kept = self.kept
        if isinstance(version, str) and version in kept.tags:
            return kept.tags[version]
        versions = self.versions()
        if not isinstance(version, bool | str) and hasattr(version, "__index__") and index(version) in versions:
            return index(version)
        what = f"tag {version}" if isinstance(version, str) else f"version {version!r} that is kept"
        raise VersionNotFoundError(f"table {self.name} has no {what}; {describe(kept, versions)}", table=self.name)

    def _open_version(self, version: int) -> Snapshot:
        """A version by its number, mapped; what ``scan`` and ``to_arrow`` read of it.

        Raises:
            VersionNotFoundError: it is not kept.
        """
        return Snapshot.open(str(self._grid.home), self.table_id, version)

    def _version(self, version: str | int | None) -> Snapshot:
        """A version to be read; None for the current one with every write acknowledged before the call."""
        if version is None:
            return self._flushed()
        while True:
            number = self._snapshot_version(version)
            try:
                return self._open_version(number)
            except VersionNotFoundError:
                if self._snapshot_version(version) == number:  # else the tag was moved just now
                    raise

    def past(self, version: str | int) -> PastTable:
        """The table as it was at a version, given by its tag or its number: what ``get`` and SQL read of it.

        Raises:
            VersionNotFoundError: there is no such tag, or the version is not kept.
            UsageError: ``version`` is None.
        """
        self._check_named(version)
        return PastTable(self.name, version, self._version(version))

    def _check_named(self, version: str | int | None) -> None:
        if version is None:
            raise UsageError(
                f"table {self.name}: None is no version; give a tag or a number: {describe(self.kept, self.versions())}"
            )

    def restore(self, version: str | int) -> int:
        """Give the table the rows and the columns again that it had at a version, as its newest version: one commit.

        What was written since is not in the new version; tag the table first to be able to go back. Rows that still lie
        where they did are not written again. DEFAULTs come back with the columns that they belong to; options, indexes
        and tags stay as they are now. Who writes the table waits meanwhile.

        Args:
            version: a tag, or the number of a version that is kept.

        Returns:
            The number of the new version.

        Raises:
            VersionNotFoundError: there is no such tag, or the version is not kept.
            UsageError: ``version`` is None.
            SchemaError: an index is over a column that the version does not have.
            GridFullError: there is no room; nothing has changed.

        >>> import gridflow, tempfile
        >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        ...     table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID")
        ...     table.put(1, {"X": 1})
        ...     before = table.tag("v1")
        ...     table.put_all({1: {"X": 2}, 3: {"X": 3}})
        ...     after = table.restore("v1")
        ...     table.get(1), len(table), after > before
        ({'X': 1}, 1, True)
        """
        self._check_named(version)
        self._refuse_past()
        past = self._version(version)  # before the flush with which an edit begins: that may let go of it
        with self.edit() as edit:
            for index in self.indexes.all():
                for column in index.columns:
                    if column.id not in {other.id for other in past.schema.columns}:
                        raise SchemaError(
                            f"table {self.name}: column {column.name} is not in version {past.version}, and index "
                            f"{index.name} is over it: drop the index first"
                        )
            if past.version != self.version():
                edit.restore(past)
                edit.commit()
        if self.indexes.all():
            self._wake_maintenance()  # until its index is made, a new segment is scanned
        return self.version()

    def stats(self) -> dict[str, int]:
        """Figures about the table as it lies there; nothing is flushed for them.

        Returns:
            A dict: ``rows`` (live, in segments), ``deleted`` (rows in segments that are gone), ``bytes`` (of segments),
            ``segments``, ``memory_rows`` and ``memory_bytes`` (writes not yet in a segment), ``partitions``,
            ``version``, ``flushed_lsn`` (the last commit that is in segments), ``kept_versions`` (versions besides the
            current one that can be read) and ``kept_bytes`` (of files that only those need). Since this process has
            opened the table as its owner: ``added_bytes`` (of segments, for rows that came from outside),
            ``moved_bytes`` (for rows that were in one already) and ``bitmap_bytes`` (of bitmaps of deleted rows).
        """
        snapshot = self.snapshot()
        segments = snapshot.segments()
        memory_rows, memory_bytes = self.memory
        kept = set(kept_versions(self.folder, self.kept, snapshot.version)) - {snapshot.version}
        return {
            "rows": snapshot.rows,
            "deleted": sum(deleted for _, _, deleted, _ in segments),
            "bytes": sum(size for _, _, _, size in segments),
            "segments": len(segments),
            "memory_rows": memory_rows,
            "memory_bytes": memory_bytes,
            "partitions": snapshot.partitions,
            "version": snapshot.version,
            "flushed_lsn": snapshot.flushed_lsn,
            "kept_versions": len(kept),
            "kept_bytes": bytes_of(self.folder, kept, snapshot.files()),
            "added_bytes": self.added_bytes,
            "moved_bytes": self.moved_bytes,
            "bitmap_bytes": self.bitmap_bytes,
        }

    def partitions(self) -> list[PartitionInfo]:
        """Rows and bytes (of column data) of every partition, empty ones too."""
        snapshot = self._flushed()
        count = snapshot.partitions
        rows, sizes = [0] * count, [0] * count
        positions = positions_of(snapshot.schema, None)
        for segment in range(len(snapshot.segments())):
            gone = deleted_column(snapshot, segment)
            for partition in range(count):
                begin, end = snapshot.partition_rows(segment, partition, partition + 1)
                for batch in live_batches(snapshot, segment, gone, positions, begin, end):
                    rows[partition] += batch.num_rows
                    sizes[partition] += batch.nbytes
        return [PartitionInfo(p, rows[p], sizes[p]) for p in range(count)]

    def partition_of(self, key: Any) -> int:
        """The partition that a key belongs to, whether there is a row or not."""
        return self.codec.partition_of(key, self.partitions_count)


def dataset_of(table: Table, arguments: dict[str, Any]) -> Any:
    """The dataset that ``Table.dataset`` makes, of anything with the face of a table."""
    return Table._dataset_maker(table, arguments)


def partition_ranges(partitions: int | Iterable[int] | None, count: int, table: str) -> list[tuple[int, int]]:
    """Some partitions as ranges [first, last), in order, without overlaps.

    Raises:
        SchemaError: one of them is not there.

    >>> partition_ranges([5, 0, 1, 2], 8, "T")
    [(0, 3), (5, 6)]
    """
    if partitions is None:
        return [(0, count)]
    numbers = list(partitions) if isinstance(partitions, Iterable) else [partitions]
    for partition in numbers:  # numpy's integers will do, booleans and floats not
        if isinstance(partition, bool) or not hasattr(partition, "__index__") or not 0 <= partition < count:
            raise SchemaError(f"table {table} has partitions 0 to {count - 1}, not {partition!r}", table=table)
    ranges: list[tuple[int, int]] = []
    for partition in sorted(set(map(index, numbers))):
        if ranges and ranges[-1][1] == partition:
            ranges[-1] = (ranges[-1][0], partition + 1)
        else:
            ranges.append((partition, partition + 1))
    return ranges
