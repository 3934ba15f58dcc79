"""RemoteTable: a table of a grid on another machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import pyarrow as pa

from .._native.row_operations import (
    decode_puts,
    decode_value,
    encode_columns,
    encode_key,
    encode_puts,
    encode_removals,
    schema_of,
)
from .._native.rows import RowCodec
from .._native.snapshot import Snapshot
from ..deprecation import renamed
from ..errors import (
    ColumnNotFoundError,
    DuplicateKeyError,
    GridflowError,
    SchemaError,
    TableNotFoundError,
    TransactionConflictError,
    UsageError,
    about,
)
from ..keyed import ABSENT, KeyedRows
from ..protocols import messages
from ..protocols.json_values import decode_values, encode_values
from ..schema import Schema
from ..storage.arrow_input import has_columns
from ..storage.compressed_file import check_compressible
from ..storage.expected_files import table_folder
from ..storage.input_columns import to_columns
from ..storage.load import duplicates, looked_at, record_batches, row_batches, with_remedy
from ..storage.past_table import PastTable
from ..storage.scan import positions_of, scan_batches, whole_table
from ..storage.versions import Kept, describe
from ..table import PartitionInfo, dataset_of, partition_ranges
from ..writer import COMMIT_MODE_OF, Writer
from .connection import COMMIT_TIMEOUT
from .rows import batches_of_rows
from .table import _of_one_schema

if TYPE_CHECKING:
    from pathlib import Path

    from ..faces import IndexesFace, Progress
    from ..grid import Grid
    from ..table import Table
    from .remote_grid import RemoteOpenGrid  # circle: a table is made by its grid

_T = TypeVar("_T")
#: How often a call is made with other columns, where they change all the time.
_TRIES = 20
#: What the node says where columns are others by now.
OTHER_COLUMNS = "has got other columns"


class RemoteRows(KeyedRows):
    """Rows of a table at a node, as they are now or as a transaction there sees them: what both ask in the same way.

    Attributes:
        name, table_id, options: as the node has said them.
    """

    def __init__(self, grid: RemoteOpenGrid, info: messages.TableInfo, transaction: str = ""):
        self._grid = grid
        self._transaction_name = transaction
        self.name = info.name
        self.table_id = info.table_id
        self._schema_bytes = b""
        self._take(info)

    def _take(self, info: messages.TableInfo) -> None:
        self.options = dict(info.options)
        self._partitions_count = info.partitions
        if info.schema != self._schema_bytes:
            self._schema_bytes = info.schema
            self._codec = RowCodec(schema_of(info.schema), info.name)

    def _call(self, message: messages.Message, reply: type[messages.M], timeout: float | None = None) -> messages.M:
        self._check_usable()
        return self._grid.connection.call(message, reply, timeout=timeout)

    def _check_usable(self) -> None:
        self._grid.check_open()

    def _refuse_past(self) -> None:
        """Raise where a transaction is open that a write would not be part of."""

    def _refresh(self) -> None:
        """Ask the node for the columns that the table has now."""
        info = self._call(messages.Describe(self.name, self._transaction_name), messages.TableInfo)
        if info.table_id == self.table_id:
            self._take(info)

    def _encoded(self, do: Callable[[RowCodec], _T]) -> _T:
        """Do something with the columns that the table has, and again if they turn out to be others by now."""
        for _ in range(_TRIES):
            codec = self._codec
            try:
                return do(codec)
            except (SchemaError, ColumnNotFoundError) as error:
                self._refresh()
                if self._codec.digest == codec.digest and OTHER_COLUMNS not in str(error):
                    raise
        return do(self._codec)

    @property
    def schema(self) -> Schema:
        """Its columns and key, as the node has them now."""
        self._refresh()
        return self._codec.python_schema

    @property
    def partitions_count(self) -> int:
        """How many partitions the table has."""
        return self._partitions_count

    def _row_codec(self) -> RowCodec:
        return self._codec

    def _get_bytes(self, codec: RowCodec, key: bytes) -> bytes | None:
        """The encoded value under an encoded key."""
        self._check_usable()
        return self._grid.connection.get(self.name, self.table_id, codec.digest, self._transaction_name, key)

    def _value(self, key: Any, default: Any) -> Any:
        def get(codec: RowCodec) -> Any:
            value = self._get_bytes(codec, encode_key(codec, key))
            return default if value is None else decode_value(codec, value)

        return self._encoded(get)

    def _values(self, keys: Iterable[Any]) -> dict[Any, Any]:
        asked = list(keys)

        def get_all(codec: RowCodec) -> dict[Any, Any]:
            encoded = {key: encode_key(codec, key) for key in asked}
            removals = encode_removals(codec, self.table_id, encoded)
            message = messages.GetAll(self.name, self.table_id, codec.digest, self._transaction_name, removals)
            rows = self._call(message, messages.Rows)
            found = {encode_key(codec, key): value for key, value in decode_puts(codec, self.table_id, rows.operations)}
            return {key: found[data] for key, data in encoded.items() if data in found}

        return self._encoded(get_all) if asked else {}

    def _ask(self, method: Any, *arguments: Any) -> Any:
        """What a method of the table says at the node."""
        message = messages.Ask(
            self.name, self.table_id, method, self._transaction_name, *encode_values(list(arguments))
        )
        answer = self._call(message, messages.Answer)
        (value,) = decode_values(answer.values, answer.body)
        return value

    def __len__(self) -> int:
        return int(self._ask("count"))

    def partition_of(self, key: Any) -> int:
        """The partition that a key belongs to, whether there is a row or not."""
        return self._codec.partition_of(key, self.partitions_count)


class RemoteTable(RemoteRows):
    """The face of :class:`gridflow.Table` on a grid of another machine.

    Each call of a key is one message and its answer; nothing is kept here, so each sees every acknowledged write.
    Values are encoded here: what does not fit is found before anything is sent. If others have changed the columns
    since, that is found at the node, and the call is made again with the new ones.
    """

    def __repr__(self) -> str:
        return f"<gridflow.RemoteTable {self.name} ({self._codec.python_schema})>"

    @property
    def grid(self) -> Grid:
        """A handle on the grid that the table belongs to: the first that is not closed."""
        return self._grid.handle

    @property
    def codec(self) -> RowCodec:
        """The encoder of its rows, of the columns that were known last."""
        return self._codec

    def _refuse_past(self) -> None:
        self._grid._check_changeable()
        guard = self._grid.store.guard
        if guard is not None:
            guard(f"table {self.name}")

    # ---- by key ----

    def get(self, key: Any, default: Any = None, *, version: str | int | None = None) -> Any:
        """The value under ``key``, or ``default``; see :meth:`gridflow.Table.get`. One message."""
        if version is not None:
            return self.get_all((key,), version=version).get(key, default)
        return self._value(key, default)

    def get_all(self, keys: Iterable[Any], *, version: str | int | None = None) -> dict[Any, Any]:
        """The values under these keys; see :meth:`gridflow.Table.get_all`. One message."""
        if version is None:
            return self._values(keys)
        asked = list(keys)
        return {asked[i]: value for i, value in self._ask("get_all", asked, version)}

    def _write(self, mode: str, encode: Callable[[RowCodec], bytes], *, codec: RowCodec | None = None) -> int:
        """Commit operations; of the columns of ``codec``, if that is given, else of those that the table has."""
        self._refuse_past()

        def write(codec: RowCodec) -> int:
            operations = encode(codec)
            if not operations:
                return 0
            if len(operations) > messages.MAX_OPERATIONS_BYTES:
                raise UsageError(
                    f"table {self.name}: one commit of {len(operations):,} bytes cannot be sent, "
                    f"{messages.MAX_OPERATIONS_BYTES:,} can; use load"
                )
            self._check_usable()
            return self._grid.connection.commit(self.name, self.table_id, codec.digest, mode, operations)

        return self._encoded(write) if codec is None else write(codec)

    def put(self, key: Any, value: Any) -> None:
        """Write the row under ``key``; see :meth:`gridflow.Table.put`."""
        self._write("put", lambda codec: encode_puts(codec, self.table_id, [(key, value)]))

    def put_all(self, rows: Any) -> None:
        """Write several rows in one commit; see :meth:`gridflow.Table.put_all`.

        Raises:
            UsageError: together they have more than 1 GiB; ``load`` takes any amount.
        """
        if has_columns(rows):
            self._put_rows(rows, on_duplicate="replace")
            return
        pairs = _listed(rows)
        self._write("put", lambda codec: encode_puts(codec, self.table_id, pairs))

    def insert_all(self, rows: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        """Write several rows in one commit, or none if a key is there; see :meth:`gridflow.Table.insert_all`."""
        pairs = _listed(rows)
        self._write("insert", lambda codec: encode_puts(codec, self.table_id, pairs))

    def _put_rows(self, rows: Any, *, on_duplicate: str = "error") -> int:
        """Write rows given as columns in one commit; see :meth:`gridflow.Table._put_rows`."""
        duplicates(on_duplicate)
        self._refuse_past()
        schema = self.schema
        batches = [to_columns(batch, schema, self.name) for batch in row_batches(rows, schema, self.name)]
        codec = self._codec
        operations = encode_columns(codec, self.table_id, batches)
        try:
            return self._write(COMMIT_MODE_OF[on_duplicate], lambda _: operations, codec=codec)
        except DuplicateKeyError as error:
            raise with_remedy(error) from None

    def put_if_absent(self, key: Any, value: Any, codec: RowCodec | None = None) -> bool:
        """Write the row unless there is one under ``key``; returns whether it wrote."""
        count = self._write(
            "put_if_absent", lambda codec: encode_puts(codec, self.table_id, [(key, value)]), codec=codec
        )
        return count == 1

    def replace(self, key: Any, value: Any, *, expected: Any = ABSENT) -> bool:
        """Write the row only if there is one under ``key``; see :meth:`gridflow.Table.replace`."""
        if expected is not ABSENT:
            return self.compare_and_set(key, expected, value)
        return self._write("replace", lambda codec: encode_puts(codec, self.table_id, [(key, value)])) == 1

    def remove(self, key: Any) -> bool:
        """Remove the row under ``key``; returns whether there was one."""
        return self.remove_all([key]) == 1

    def remove_all(self, keys: Iterable[Any]) -> int:
        """Remove the rows under these keys in one commit; returns how many there were."""
        asked = list(keys)
        return self._write("remove", lambda codec: encode_removals(codec, self.table_id, asked))

    def _change_row(self, key: Any, change: Callable[[Any], Any]) -> tuple[Any, Any]:
        self._refuse_past()

        def swap(codec: RowCodec) -> tuple[Any, Any]:
            while True:
                encoded = encode_key(codec, key)
                data = self._get_bytes(codec, encoded)
                old = ABSENT if data is None else decode_value(codec, data)
                new = change(old)
                if new is old:
                    return old, old
                new_data = None if new is ABSENT else codec.value_bytes(new)
                message = messages.Swap(
                    self.name,
                    self.table_id,
                    codec.digest,
                    len(encoded),
                    -1 if data is None else len(data),
                    -1 if new_data is None else len(new_data),
                    encoded + (data or b"") + (new_data or b""),
                )
                try:
                    if self._call(message, messages.Done, timeout=COMMIT_TIMEOUT).count:
                        return old, ABSENT if new_data is None else decode_value(codec, new_data)
                except TransactionConflictError:  # somebody else has written the row since
                    pass

        return self._encoded(swap)

    # ---- in bulk ----

    def load(
        self,
        data: Any,
        *,
        on_duplicate: str = "error",
        progress: Progress | None = None,
        mode: str | None = None,
    ) -> int:
        """Write many rows at once, in one commit; see :meth:`gridflow.Table.load`.

        The rows are streamed to the node; ``progress`` is called with how many have been sent.
        """
        on_duplicate = duplicates(on_duplicate, mode)
        self._refuse_past()
        return _load(self, data, on_duplicate, progress)

    def writer(self, **arguments: Any) -> Writer:
        """A writer of many rows by key; see :meth:`gridflow.Table.writer`."""
        return Writer(self, **arguments)

    def _write_batch(self, writer: str, number: int, mode: str, operations: bytes, codec: RowCodec) -> None:
        message = messages.WriteBatch(self.name, self.table_id, codec.digest, mode, writer, number, operations)
        self._call(message, messages.Done, timeout=COMMIT_TIMEOUT)

    def _end_writer(self, writer: str) -> None:
        with contextlib.suppress(GridflowError):  # the node forgets it after some days
            self._call(messages.EndWriter(writer), messages.Done, timeout=COMMIT_TIMEOUT)

    # ---- what is read in bulk comes as blocks of sealed files, which the mirror keeps ----

    def _mirrored(self, number: int | None = None) -> Snapshot:
        """A version in the mirror of the grid, whose blocks come when they are read; None: the newest."""
        self._check_usable()
        found = self._grid.follow(self.name, number)
        if found.table_id != self.table_id:
            raise TableNotFoundError(
                f"table {self.name} was dropped and created again since it was opened; get it anew with "
                f"grid.table({self.name!r})",
                table=self.name,
            )
        return Snapshot.open(str(self._grid.mirror()), self.table_id, *([] if number is None else [number]))

    def _version(self, version: str | int | None) -> Snapshot:
        return self._mirrored(None if version is None else self._snapshot_version(version))

    def scan(
        self,
        columns: Iterable[str] | None = None,
        partitions: int | Iterable[int] | None = None,
        batch_size: int = 65536,
        *,
        version: str | int | None = None,
        snapshot: str | int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """All rows of some partitions of one version; see :meth:`gridflow.Table.scan`."""
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
        """The whole table; see :meth:`gridflow.Table.to_arrow`."""
        read = self._version(renamed("snapshot", snapshot, "version", version))
        with about(table=self.name):
            return whole_table(read, columns)

    def snapshot(self) -> Snapshot:
        """The newest version, in the mirror."""
        return self._mirrored()

    def _open_version(self, version: int) -> Snapshot:
        return self._mirrored(version)

    @property
    def folder(self) -> Path:
        """The folder of its files in the mirror."""
        return table_folder(self._grid.mirror(), self.table_id)

    def _check_named(self, version: str | int | None) -> None:
        if version is None:
            raise UsageError(
                f"table {self.name}: None is no version; give a tag or a number: {describe(self.kept, self.versions())}"
            )

    def past(self, version: str | int) -> PastTable:
        """The table as it was at a version; see :meth:`gridflow.Table.past`."""
        self._check_named(version)
        return PastTable(self.name, version, self._version(version))

    def dataset(self, **arguments: Any) -> Any:
        """The rows as a ``tf.data.Dataset``; see :meth:`gridflow.Table.dataset`."""
        return dataset_of(cast("Table", self), arguments)

    # ---- the table ----

    def truncate(self) -> int:
        """Remove all rows in one commit; see :meth:`gridflow.Table.truncate`."""
        self._refuse_past()
        return self._call(messages.Truncate(self.name, self.table_id), messages.Done).count

    def flush(self) -> int:
        """Have the node move the writes in memory to a segment. Returns the version that holds them."""
        self._call(messages.Flush(self.name), messages.Done)
        return self.version()

    def _flush_to_read(self, *, waits: bool = False) -> int:
        """Have the node flush for a reader."""
        self._call(messages.Flush(self.name, to_read=True, waits=waits), messages.Done)
        return self.version()

    def _flush_unless_busy(self) -> None:
        """Nothing: the node flushes for itself."""

    def _wake_maintenance(self) -> None:
        """Nothing: the node looks after its tables."""

    def _savepoint(self) -> AbstractContextManager[None]:
        """Each write in the block commits by itself."""
        return nullcontext()

    def compact(self) -> None:
        """Have the node merge all segments into one and drop deleted rows."""
        self._call(messages.Compact(self.name), messages.Done)

    def compress(self, *columns: str) -> None:
        """Have the node keep compressed copies of columns; see :meth:`gridflow.Table.compress`."""
        check_compressible(self.schema, columns)
        self._call(messages.Compress(self.name, self.table_id, list(columns)), messages.Done)

    @property
    def memory(self) -> tuple[int, int]:
        """Rows and bytes of what is in no segment yet."""
        rows, size = self._ask("memory")
        return rows, size

    def stats(self) -> dict[str, int]:
        """Figures about the table as it lies at the node; see :meth:`gridflow.Table.stats`."""
        return dict(self._ask("stats"))

    def partitions(self) -> list[PartitionInfo]:
        """Rows and bytes (of column data) of every partition, empty ones too."""
        return [PartitionInfo(*partition) for partition in self._ask("partitions")]

    # ---- versions ----

    def version(self) -> int:
        """The number of the table's current version."""
        return int(self._ask("version"))

    def versions(self) -> list[int]:
        """The versions that can be read, rising."""
        return list(self._ask("versions"))

    @property
    def kept(self) -> Kept:
        """Which of its versions are kept, as the catalog says it now."""
        return Kept(self.tags(), int(self._ask("last")))

    def tags(self) -> dict[str, int]:
        """The tags of the table, and the version that each names."""
        return dict(self._ask("tags"))

    def tag(self, name: str, *, replace: bool = False) -> int:
        """Have the node give the table as it is now a name; see :meth:`gridflow.Table.tag`."""
        Kept().check_tag(self.name, name, 1, replace)  # raises where it cannot be a name
        self._refuse_past()
        return self._call(messages.Tag(self.name, self.table_id, name, replace), messages.Done).count

    def untag(self, name: str) -> None:
        """Have the node take a tag away; see :meth:`gridflow.Table.untag`."""
        self.kept.check_untag(self.name, name)  # raises where there is none
        self._refuse_past()
        self._call(messages.Untag(self.name, self.table_id, name), messages.Done)

    def restore(self, version: str | int) -> int:
        """Have the node give the table the rows and columns of a version again; see :meth:`gridflow.Table.restore`."""
        self._check_named(version)
        self._refuse_past()
        number = self._snapshot_version(version)
        return self._call(messages.Restore(self.name, self.table_id, number), messages.Done).count

    def keep_versions(self, count: int) -> None:
        """Have the node keep so many past versions; see :meth:`gridflow.Table.keep_versions`."""
        Kept().with_last(count)  # raises where it is no number
        self._refuse_past()
        self._call(messages.KeepVersions(self.name, self.table_id, count), messages.Done)

    def _snapshot_version(self, version: str | int) -> int:
        """The number of a version, given that or the name of a tag."""
        return int(self._ask("number", version))

    # ---- what only a process of the node's machine has ----

    @property
    def indexes(self) -> IndexesFace:
        """Refused: indexes are the node's; SYS.INDEXES lists them."""
        raise self._elsewhere("indexes")

    def publish(self, url: str, *, tag: str | None = None, version: str | int | None = None) -> NoReturn:
        """Refused: who publishes reads the files; 'gridflow clone' makes a grid here that can be published."""
        raise UsageError(
            f"table {self.name}: publishing reads the files, which are at {self._grid.home}: run 'gridflow publish' on "
            f"that machine, or make a grid of its tables here first: gridflow clone {self._grid.home} DIR"
        )

    def _find_indexed(self, choices: Sequence[Any]) -> NoReturn:
        raise self._elsewhere("index")

    def _mapped(self, columns: Iterable[str]) -> NoReturn:
        raise self._elsewhere("rows in place")

    def _narrow(self, narrowing: Any) -> NoReturn:
        raise self._elsewhere("zone maps")

    def _insert_values(
        self, codec: RowCodec, places: tuple[int, ...], fixed: tuple[Any, ...], values: Sequence[Any]
    ) -> bool:
        """Write the row of values by their place, unless there is one under its key; returns whether it wrote."""
        row = [fixed[i] if place < 0 else values[place] for i, place in enumerate(places)]
        names = (column.name for column in codec.python_schema.value_columns)
        return self.put_if_absent(row[0], dict(zip(names, row[1:], strict=True)), codec)

    def _select_values(self, codec: RowCodec, places: tuple[int, ...], key: Any) -> tuple[Any, ...] | None:
        """Some columns of the row under a key; None if there is none."""
        data = self._get_bytes(codec, encode_key(codec, key))
        if data is None:
            return None
        value = decode_value(codec, data)
        items = [value] if codec.plain_value else list(value.values())
        return tuple(key if place < 0 else items[place] for place in places)

    def _elsewhere(self, what: str) -> UsageError:
        return UsageError(
            f"table {self.name}: {what} is where the files are, at {self._grid.home}; ask there, or by SQL"
        )


def _load(table: RemoteRows, data: Any, on_duplicate: str, progress: Progress | None) -> int:
    """Stream rows to the node as one commit, or into a transaction."""
    table._check_usable()
    table._grid._check_changeable()
    data = looked_at(data)
    schema = table.schema
    batches = record_batches(data, schema, table.name)
    if batches is None:
        batches = batches_of_rows(data, schema, table.name)
    first = next(batches, None)
    if first is None:
        return 0
    pieces = _of_one_schema(chain([first], batches), first.schema, table.name)
    message = messages.Load(table.name, cast(messages.OnDuplicate, on_duplicate), table._transaction_name)
    return table._grid.connection.load(message, first.schema, pieces, progress)


def _listed(rows: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return list(rows.items() if isinstance(rows, Mapping) else rows)
