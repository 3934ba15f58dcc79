"""ServedTable: a table of a grid that another process owns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from .._native.table_store import COMMIT_MODES
from ..catalog import TableEntry
from ..errors import GridConnectionError, GridflowError, SchemaError, TableBusyError, UsageError
from ..keyed import ABSENT
from ..protocols import messages
from ..schema import Schema
from ..storage.arrow_input import has_columns
from ..storage.compressed_file import check_compressible
from ..storage.load import duplicates, looked_at, record_batches
from ..storage.versions import Kept
from ..table import Table
from .connection import COMMIT_TIMEOUT, LocalConnection
from .ring import MOST_OPERATIONS_BYTES
from .rows import batches_of_rows

if TYPE_CHECKING:
    from .._native.rows import RowCodec
    from .._native.snapshot import Snapshot
    from .._native.store import Store
    from ..faces import Progress
    from .open_grid import ServedOpenGrid  # circle: a table is made by its grid


#: Rows are sent in pieces of about this size: gRPC copies a message several times, and small ones stay in the cache.
PIECE_BYTES = 2 << 20

_PUT, _PUT_IF_ABSENT, _REPLACE = map(COMMIT_MODES.index, ("put", "put_if_absent", "replace"))


class ServedTable(Table):
    """The face of :class:`gridflow.Table` on a grid that another process serves.

    ``get``, ``get_all`` and ``contains`` read the mapped segments and log and see every acknowledged write.
    What reads all rows asks the owner to flush first, unless nothing is waiting for it. Writes are encoded
    here, by the table's own codec: what does not fit is found before anything is sent.
    """

    def __init__(
        self, grid: ServedOpenGrid, store: Store, entry: TableEntry, schema: Schema, connection: LocalConnection
    ):
        super().__init__(grid, store, entry, schema)
        self._connection = connection
        self._ring = connection.ring

    def __repr__(self) -> str:
        return f"<gridflow.ServedTable {self.name} ({self.schema})>"

    def put(self, key: Any, value: Any) -> None:
        """Write the row under ``key``; see :meth:`gridflow.Table.put`."""
        self._refuse_past()
        if self._ring.put(self, self.codec, _PUT, key, value, COMMIT_TIMEOUT) is None:
            self._commit("put", lambda: self._encode_put(key, value), by_ring=False)

    def put_all(self, rows: Any) -> None:
        """Write several rows in one commit; see :meth:`gridflow.Table.put_all`.

        Raises:
            UsageError: together they have more than 1 GiB; ``load`` takes any amount.
        """
        if has_columns(rows):
            self._put_rows(rows, on_duplicate="replace")
            return
        pairs = rows.items() if isinstance(rows, Mapping) else rows
        self._commit("put", lambda: b"".join(self._encode_put(key, value) for key, value in pairs))

    def insert_all(self, rows: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        """Write several rows in one commit, or none if a key is there; see :meth:`gridflow.Table.insert_all`."""
        pairs = rows.items() if isinstance(rows, Mapping) else rows
        self._commit("insert", lambda: b"".join(self._encode_put(key, value) for key, value in pairs))

    def _commit_rows(self, operations: bytes, mode: str, codec: RowCodec) -> int:
        return self._commit(mode, lambda: operations, codec=codec)

    def put_if_absent(self, key: Any, value: Any, codec: RowCodec | None = None) -> bool:
        """Write the row unless there is one under ``key``; returns whether it wrote."""
        self._refuse_past()
        if codec is not None:
            self._check_columns(codec)
        count = self._ring.put(self, codec or self.codec, _PUT_IF_ABSENT, key, value, COMMIT_TIMEOUT)
        if count is None:
            count = self._put_by_socket(key, value, codec)
        return count == 1

    def _put_by_socket(self, key: Any, value: Any, codec: RowCodec | None) -> int:
        return self._commit("put_if_absent", lambda: self._encode_put(key, value), by_ring=False, codec=codec)

    def _insert_values(
        self, codec: RowCodec, places: tuple[int, ...], fixed: tuple[Any, ...], values: Sequence[Any]
    ) -> bool:
        """Write the row of values by their place, unless there is one under its key; returns whether it wrote."""
        self._refuse_past()
        count = self._ring._insert_values(self, codec, places, fixed, values, COMMIT_TIMEOUT)
        if count is None:
            row = [fixed[i] if place < 0 else values[place] for i, place in enumerate(places)]
            names = (column.name for column in codec.python_schema.value_columns)
            count = self._put_by_socket(row[0], dict(zip(names, row[1:], strict=True)), codec)
        return count == 1

    def replace(self, key: Any, value: Any, *, expected: Any = ABSENT) -> bool:
        """Write the row only if there is one under ``key``; see :meth:`gridflow.Table.replace`."""
        if expected is not ABSENT:
            return self.compare_and_set(key, expected, value)
        self._refuse_past()
        count = self._ring.put(self, self.codec, _REPLACE, key, value, COMMIT_TIMEOUT)
        if count is None:
            count = self._commit("replace", lambda: self._encode_put(key, value), by_ring=False)
        return count == 1

    def remove(self, key: Any) -> bool:
        """Remove the row under ``key``; returns whether there was one."""
        self._refuse_past()
        count = self._ring.remove(self, key, COMMIT_TIMEOUT)
        if count is None:
            count = self._commit("remove", lambda: self._encode_remove(key), by_ring=False)
        return count == 1

    def remove_all(self, keys: Iterable[Any]) -> int:
        """Remove the rows under these keys in one commit; returns how many there were."""
        return self._commit("remove", lambda: b"".join(map(self._encode_remove, keys)))

    def load(
        self,
        data: Any,
        *,
        on_duplicate: str = "error",
        progress: Progress | None = None,
        mode: str | None = None,
    ) -> int:
        """Write many rows at once, in one commit; see :meth:`gridflow.Table.load`.

        The rows are streamed to the owner; ``progress`` is called with how many have been sent.
        """
        on_duplicate = duplicates(on_duplicate, mode)
        self._refuse_past()
        self._check_usable()
        data = looked_at(data)
        batches = record_batches(data, self.schema, self.name)
        if batches is None:
            batches = batches_of_rows(data, self.schema, self.name)
        first = next(batches, None)
        if first is None:
            return 0
        pieces = _of_one_schema(chain([first], batches), first.schema, self.name)
        message = messages.Load(self.name, cast(messages.OnDuplicate, on_duplicate))
        return self._connection.load(message, first.schema, pieces, progress)

    def _write_batch(self, writer: str, number: int, mode: str, operations: bytes, codec: RowCodec) -> None:
        self._check_usable()
        message = messages.WriteBatch(self.name, self.table_id, codec.digest, mode, writer, number, operations)
        self._connection.call(message, messages.Done, timeout=COMMIT_TIMEOUT)

    def _end_writer(self, writer: str) -> None:
        with contextlib.suppress(GridflowError):  # the node forgets it after some days
            self._connection.call(messages.EndWriter(writer), messages.Done, timeout=COMMIT_TIMEOUT)

    def truncate(self) -> int:
        """Remove all rows in one commit; see :meth:`gridflow.Table.truncate`."""
        self._refuse_past()
        self._check_usable()
        return self._connection.call(messages.Truncate(self.name, self.table_id), messages.Done).count

    def flush(self) -> int:
        """Have the owner move the writes in memory to a segment. Returns the version that holds them."""
        self._check_usable()
        self._connection.call(messages.Flush(self.name), messages.Done)  # also to say that the version is no reader's
        return self.snapshot().version

    def _flush_to_read(self, *, waits: bool = False) -> int:
        """Have the owner flush for a reader; see :meth:`gridflow.Table._flush_to_read`."""
        version = self.snapshot().version  # sees every acknowledged write
        rows, _ = self.memory
        if rows == 0:
            return version  # all of them are in segments: nobody need be asked, or even be there
        self._connection.call(messages.Flush(self.name, to_read=True, waits=waits), messages.Done)
        return self.snapshot().version

    def compact(self) -> None:
        """Have the owner merge all segments into one and drop deleted rows."""
        self._check_usable()
        self._connection.call(messages.Compact(self.name), messages.Done)

    def tag(self, name: str, *, replace: bool = False) -> int:
        """Have the owner give the table as it is now a name; see :meth:`gridflow.Table.tag`."""
        Kept().check_tag(self.name, name, 1, replace)  # raises where it cannot be a name
        self._refuse_past()
        self._check_usable()
        return self._connection.call(messages.Tag(self.name, self.table_id, name, replace), messages.Done).count

    def untag(self, name: str) -> None:
        """Have the owner take a tag away; see :meth:`gridflow.Table.untag`."""
        self.kept.check_untag(self.name, name)  # raises where there is none
        self._refuse_past()
        self._check_usable()
        self._connection.call(messages.Untag(self.name, self.table_id, name), messages.Done)

    def restore(self, version: str | int) -> int:
        """Have the owner give the table the rows and columns of a version again; see :meth:`gridflow.Table.restore`."""
        self._check_named(version)
        number = self._snapshot_version(version)  # raises where there is none
        self._refuse_past()
        self._check_usable()
        return self._connection.call(messages.Restore(self.name, self.table_id, number), messages.Done).count

    def keep_versions(self, count: int) -> None:
        """Have the owner keep so many past versions; see :meth:`gridflow.Table.keep_versions`."""
        Kept().with_last(count)  # raises where it is no number
        self._refuse_past()
        self._check_usable()
        self._connection.call(messages.KeepVersions(self.name, self.table_id, count), messages.Done)

    def compress(self, *columns: str) -> None:
        """Have the owner keep compressed copies of columns; see :meth:`gridflow.Table.compress`."""
        check_compressible(self.schema, columns)
        self._check_usable()
        self._connection.call(messages.Compress(self.name, self.table_id, list(columns)), messages.Done)

    def _commit_by_ring(self, mode: str, codec: RowCodec, operations: bytes) -> int | None:
        if len(operations) > MOST_OPERATIONS_BYTES:
            return None
        place = COMMIT_MODES.index(mode)
        return self._ring.commit(self.table_id, codec.digest, place, operations, COMMIT_TIMEOUT)

    def _commit(
        self, mode: str, encode: Callable[[], bytes], *, by_ring: bool = True, codec: RowCodec | None = None
    ) -> int:
        """Commit operations of the columns that the table has now, which are those of ``codec``, if that is given."""
        self._refuse_past()
        self.store.catch_up()
        codec = codec or self.codec
        self._check_columns(codec)  # before values of other columns are taken for wrong ones
        operations = encode()
        if not operations:
            return 0
        self._check_columns(codec)
        if len(operations) > messages.MAX_OPERATIONS_BYTES:
            raise UsageError(
                f"table {self.name}: one commit of {len(operations):,} bytes cannot be sent, "
                f"{messages.MAX_OPERATIONS_BYTES:,} can; use load"
            )
        self._check_usable()
        count = self._commit_by_ring(mode, codec, operations) if by_ring else None
        if count is not None:
            return count
        message = messages.Commit(self.name, self.table_id, codec.digest, mode, operations)
        return self._connection.call(message, messages.Done, timeout=COMMIT_TIMEOUT).count

    def _check_columns(self, codec: RowCodec) -> None:
        if self.codec is not codec:
            raise SchemaError(f"table {self.name} has got other columns meanwhile: nothing was written, try again")

    def _flushed(self) -> Snapshot:
        try:
            self._flush_to_read()
        except (GridConnectionError, TableBusyError):
            return super()._flushed()  # as any reader does that has no owner to ask
        return self.snapshot()

    def _check_usable(self) -> None:
        self._grid.check_open()


def _of_one_schema(batches: Iterator[pa.RecordBatch], schema: pa.Schema, table: str) -> Iterator[pa.RecordBatch]:
    """The batches, which must have one schema, cut into pieces of a size that travels well."""
    for batch in batches:
        if not batch.schema.equals(schema):
            raise SchemaError(f"table {table}: a batch has columns {batch.schema}, the first one {schema}")
        rows = max(1, batch.num_rows * PIECE_BYTES // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
