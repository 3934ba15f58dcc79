"""RemoteTransaction: a transaction that a node of another machine keeps for this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from .._native.row_operations import encode_columns, encode_puts, encode_removals
from .._native.rows import RowCodec
from ..contexts import FORKED
from ..errors import DuplicateKeyError, GridflowError, SchemaError, UsageError, about
from ..protocols import messages
from ..storage.input_columns import to_columns
from ..storage.load import duplicates, with_remedy
from ..storage.scan import positions_of
from ..table import partition_ranges
from ..transaction import Transaction, TransactionTable
from .connection import COMMIT_TIMEOUT
from .remote_table import RemoteRows, RemoteTable, _listed, _load

if TYPE_CHECKING:
    from .._native.snapshot import Snapshot
    from ..faces import Progress, Report
    from ..sql import Result
    from .remote_grid import RemoteOpenGrid  # circle: a transaction is begun by its grid


class RemoteTransaction(Transaction):
    """The face of :class:`gridflow.Transaction` on a grid of another machine.

    The node keeps what it sees and what it writes; each call is a message. It ends by itself if nothing is asked of it
    for ten minutes, or if the node is started again: its commit says so, and nothing of it has happened.
    """

    def __init__(self, grid: Any, open_grid: RemoteOpenGrid, *, of_statement: bool = False):
        self._grid = grid
        self._open_grid = open_grid
        self._locked_tables = []
        self._tables = {}
        self._by_id: dict[int, RemoteTransactionTable] = {}
        self.alone = False
        self.of_statement = of_statement
        self.past_tables = {}
        self.active = True
        self.wrote = False
        self._over = "the transaction has ended; grid.transaction() begins another"
        self._mark = None
        self.key = open_grid.connection.begin()

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to commit."""
        return self.wrote and self.active

    def table(self, name: str) -> RemoteTransactionTable:
        """A table as the transaction sees it; see :meth:`gridflow.Transaction.table`."""
        self._check_active()
        info = self._open_grid.connection.call(messages.Describe(name, self.key), messages.TableInfo)
        table = self._by_id.get(info.table_id)
        if table is None:
            table = self._by_id[info.table_id] = RemoteTransactionTable(self, self._open_grid, info)
        return table

    def _read_tables(self) -> list[str]:
        return [table.name for _, table in sorted(self._by_id.items())]

    def _together(self, tables: Any) -> list[Any]:
        return [self.table(table.name) for table in tables]

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Result:
        """Run SQL inside it; see ``Grid.sql``."""
        self._check_active()
        return self._open_grid._sql_session(transaction=self).execute(text, params, progress)

    def commit(self) -> None:
        """Make all writes durable and visible, or none; see :meth:`gridflow.Transaction.commit`."""
        self._check_active()
        try:
            message = messages.End(self.key, True)
            with self._open_grid.connection.awaiting(object()):
                self._open_grid.connection.call(message, messages.Done, timeout=COMMIT_TIMEOUT)
        finally:
            self._let_go()

    def rollback(self) -> None:
        """Forget all writes. Does nothing if the transaction has ended already."""
        if self.active:
            self._let_go()
            with contextlib.suppress(GridflowError):  # a node that is not there has forgotten it
                self._open_grid.connection.call(messages.End(self.key, False), messages.Done, timeout=COMMIT_TIMEOUT)

    def __del__(self) -> None:
        if getattr(self, "active", False) and hasattr(self, "key") and not self._open_grid.closed:
            self._open_grid.connection.end_later(self.key)

    def _check_active(self) -> None:
        super()._check_active()

    def _let_go(self) -> None:
        self.active = False
        self._by_id.clear()
        mark, self._mark = self._mark, None
        if mark is not None:
            self._grid._marks.leave(mark)

    def _forked(self) -> None:
        self.active, self._over, self._mark = False, FORKED, None
        self._by_id.clear()


class RemoteTransactionTable(RemoteRows, TransactionTable):
    """A table as a transaction at a node sees it. Its methods are those of ``TransactionTable``."""

    _transaction: RemoteTransaction

    def __init__(self, transaction: RemoteTransaction, grid: RemoteOpenGrid, info: messages.TableInfo):
        RemoteRows.__init__(self, grid, info, transaction.key)
        self._transaction = transaction
        self._table = RemoteTable(grid, info)  # type: ignore[assignment]  # for what is no part of the transaction

    def _check_usable(self) -> None:
        self._transaction._check_active()

    @property
    def schema(self) -> Any:
        """Its columns and key: those that it had when the transaction began."""
        return self._codec.python_schema

    @property
    def codec(self) -> None:
        """None: a statement prepared for these columns must not outlive the transaction."""
        return None

    def _write(self, mode: str, operations: bytes) -> int:
        self._check_usable()
        self._grid._check_changeable()
        if not operations:
            return 0
        message = messages.Write(self._transaction.key, self.name, self.table_id, self._codec.digest, mode, operations)
        count = self._call(message, messages.Done, timeout=COMMIT_TIMEOUT).count
        self._transaction.wrote = self._transaction.wrote or count > 0
        return count

    def get(self, key: Any, default: Any = None, *, version: str | int | None = None) -> Any:
        """The value under ``key``, or ``default``. A transaction has no past: any ``version`` is refused."""
        self._check()
        self._refuse_version(version)
        return self._value(key, default)

    def get_all(self, keys: Iterable[Any], *, version: str | int | None = None) -> dict[Any, Any]:
        """The values under these keys; keys without a row are left out."""
        self._refuse_version(version)
        return self._values(keys)

    def put_all(self, rows: Any) -> None:
        """Write many rows; see ``Table.put_all``."""
        from ..storage.arrow_input import has_columns

        if has_columns(rows):
            self._put_rows(rows, on_duplicate="replace")
        else:
            self._write("put", encode_puts(self._codec, self.table_id, _listed(rows)))

    def insert_all(self, rows: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        """Write many rows, or none if one of the keys is there already or twice among them."""
        self._write("insert", encode_puts(self._codec, self.table_id, _listed(rows)))

    def _put_batches(self, batches: Iterable[pa.RecordBatch], on_duplicate: str) -> int:
        columns = [to_columns(batch, self.schema, self.name) for batch in batches]
        mode = {"replace": "put", "error": "insert", "ignore": "put_if_absent"}[on_duplicate]
        try:
            return self._write(mode, encode_columns(self._codec, self.table_id, columns))
        except DuplicateKeyError as error:
            raise with_remedy(error) from None

    def put_if_absent(self, key: Any, value: Any, codec: RowCodec | None = None) -> bool:
        """Write the row unless there is one under ``key``; returns whether it wrote."""
        if codec is not None and codec.digest != self._codec.digest:
            raise SchemaError(f"table {self.name} has got other columns meanwhile: nothing was written, try again")
        return self._write("put_if_absent", encode_puts(self._codec, self.table_id, [(key, value)])) == 1

    def remove_all(self, keys: Iterable[Any]) -> int:
        """Remove the rows under these keys; returns how many there were."""
        return self._write("remove", encode_removals(self._codec, self.table_id, list(keys)))

    def load(
        self,
        data: Any,
        *,
        on_duplicate: str = "error",
        progress: Progress | None = None,
        mode: str | None = None,
    ) -> int:
        """Write many rows, given as ``Table.load`` takes them. Until the commit the node keeps them in memory."""
        on_duplicate = duplicates(on_duplicate, mode)
        count = _load(self, data, on_duplicate, progress)
        self._transaction.wrote = self._transaction.wrote or count > 0
        return count

    @contextlib.contextmanager
    def _savepoint(self) -> Iterator[None]:
        """Refused: statements run at the node."""
        raise self._at_node()
        yield

    def flush(self) -> None:
        """Nothing: the node flushes what it needs to."""

    def __len__(self) -> int:
        return RemoteRows.__len__(self)

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
        if batch_size < 1:
            raise SchemaError(f"batch_size is at least 1, not {batch_size}")
        ranges = partition_ranges(partitions, self.partitions_count, self.name)
        names = None if columns is None else list(columns)
        with about(table=self.name):
            positions_of(self.schema, names)  # raises where there is no such column
        numbers = None if partitions is None else [p for first, last in ranges for p in range(first, last)]
        _, batches = self._stream(names, numbers)
        return (batch.slice(i, batch_size) for batch in batches for i in range(0, batch.num_rows, batch_size))

    def to_arrow(self, columns: Iterable[str] | None = None, *, version: str | int | None = None) -> pa.Table:
        """The whole table, as ``Table.to_arrow`` gives it; any ``version`` is refused."""
        self._refuse_version(version)
        schema, batches = self._stream(columns, None)
        return pa.Table.from_batches(batches, schema)

    def _stream(
        self, columns: Iterable[str] | None, partitions: list[int] | None
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        names = None if columns is None else list(columns)
        self._check_usable()
        message = messages.Scan(self.name, self.table_id, self._transaction_name, names, partitions)
        return self._grid.connection.stream(message)

    def _row_codec(self) -> RowCodec:
        return self._codec

    def partition_of(self, key: Any) -> int:
        """The partition that a key belongs to, whether there is a row or not."""
        return RemoteRows.partition_of(self, key)

    # ---- what a statement does where it runs: at the node ----

    def snapshot(self) -> Snapshot:
        """Refused: its segments are the node's."""
        raise self._at_node()

    def past(self, version: str | int) -> NoReturn:
        """Refused: a transaction sees what there was when it began."""
        self._refuse_version(version)
        raise self._at_node()

    @property
    def indexes(self) -> Any:
        """Refused: indexes are the node's."""
        raise self._at_node()

    def _mapped(self, columns: Iterable[str]) -> NoReturn:
        raise self._at_node()

    def _find_indexed(self, choices: Any) -> NoReturn:
        raise self._at_node()

    def _narrow(self, narrowing: Any) -> NoReturn:
        raise self._at_node()

    def _addressed(self, columns: Iterable[str]) -> NoReturn:
        raise self._at_node()

    def _update_rows(self, rows: Any, addresses: Any, values: Any) -> NoReturn:
        raise self._at_node()

    def _remove_rows(self, rows: Any, addresses: Any) -> NoReturn:
        raise self._at_node()

    def _at_node(self) -> UsageError:
        return UsageError(f"table {self.name}: that is done where the files are, at {self._grid.home}; use SQL")
