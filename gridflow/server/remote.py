"""What clients of other machines ask: single rows, facts about tables, and transactions that the node keeps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa

from .._native.changes import Changes
from .._native.row_operations import decode_key, decode_removals, decode_value, encode_puts, schema_bytes
from .._native.rows import RowCodec
from ..errors import SchemaError, TableNotFoundError, TransactionConflictError, UsageError
from ..faces import TransactionFace
from ..open_grid import OpenGrid
from ..protocols import messages
from ..protocols.json_values import decode_values, encode_values
from ..protocols.messages import Done, Message
from ..sql import Session
from ..storage.space import in_memory, used_bytes
from ..table import Table
from ..transaction import TransactionTable
from . import audit
from .access import RULES, Peer
from .guarded import grid_of
from .transactions import Transactions
from .writers import Writers

#: Messages that read one table, perhaps in a transaction.
_Reading = messages.Scan | messages.Get | messages.GetAll | messages.Ask
#: What a transaction does with puts, by the mode of Write.
_ON_DUPLICATE = {"put": "replace", "insert": "error", "put_if_absent": "ignore"}
#: Rows of a batch that is sent.
_BATCH_ROWS = 65536
#: How often a row that others write meanwhile is looked at again before the client is asked to.
_TRIES = 4


class RemoteRequests:
    """Carries out messages for ``Requests``, which has asked who may.

    Args:
        grid: open as its owner.
        admit: called with a table of which a row was asked for.

    Attributes:
        handlers: by message.
        transactions: those of clients.
        writers: those of clients, too.
    """

    def __init__(self, grid: OpenGrid, admit: Callable[[Table], None]):
        self.grid = grid
        self._admit = admit
        self.transactions = Transactions()
        self.writers = Writers(grid)
        self.handlers: dict[type[Message], Callable[[Any, Peer], Message]] = {
            messages.ListTables: lambda m, peer: messages.Names(grid_of(self.grid, peer).tables()),
            messages.Describe: self._describe,
            messages.Get: self._get,
            messages.GetAll: self._get_all,
            messages.Ask: self._ask,
            messages.Swap: self._swap,
            messages.Begin: self._begin,
            messages.Write: self._write,
            messages.End: self._end,
            messages.SqlMany: self._sql_many,
            messages.AskGrid: self._facts,
            messages.WriteBatch: self._write_batch,
            messages.EndWriter: self._end_writer,
            messages.Check: self._check,
        }

    def scan(self, m: messages.Scan, peer: Peer) -> pa.RecordBatchReader:
        """The rows of a table as a transaction sees it."""
        with self._table(m, peer) as table:
            whole: pa.Table = table.to_arrow(m.columns)
            if m.partitions is None:
                return whole.to_reader(max_chunksize=_BATCH_ROWS)
            batches = table.scan(m.columns, m.partitions)
        return pa.RecordBatchReader.from_batches(whole.schema, batches)

    @contextmanager
    def _table(self, m: _Reading, peer: Peer) -> Iterator[Any]:
        """The table of a message, of the grid or as a transaction of the peer sees it, for a call.

        Raises:
            TableNotFoundError: it is not the one that the client means.
        """
        if not m.transaction:
            yield table_of(self.grid, m.table, m.table_id)
            return
        with self.transactions.using(m.transaction, peer.owner) as transaction:
            yield table_of(transaction, m.table, m.table_id)

    def _facts(self, m: messages.AskGrid, peer: Peer) -> Message:
        home = self.grid.home
        free = shutil.disk_usage(home).free
        return messages.GridFacts(self.grid.last_commit, used_bytes(home), free, in_memory(home))

    def _check(self, m: messages.Check, peer: Peer) -> Message:
        problems = self.grid.check()
        return messages.Problems([(p.file, -1 if p.offset is None else p.offset, p.message) for p in problems])

    def _describe(self, m: messages.Describe, peer: Peer) -> Message:
        table = grid_of(self.grid, peer).table(m.name)  # which has to be one that the peer sees
        if m.transaction:
            with self.transactions.using(m.transaction, peer.owner) as transaction:
                return _info(transaction.table(m.name))
        return _info(table)

    def _get(self, m: messages.Get, peer: Peer) -> Message:
        with self._table(m, peer) as table:
            if isinstance(table, Table):
                value = table._get_encoded(m.key, m.columns)
                self._admit(table)
                return messages.Row(value is not None, value or b"")
            codec = _codec(table, m.columns)
            key = decode_key(codec, m.key)
            found = table.contains(key)
            return messages.Row(found, codec.value_bytes(table.get(key)) if found else b"")

    def _get_all(self, m: messages.GetAll, peer: Peer) -> Message:
        with self._table(m, peer) as table:
            codec = _codec(table, m.columns)
            rows = table.get_all(decode_removals(codec, table.table_id, m.removals))
            return messages.Rows(encode_puts(codec, table.table_id, rows.items()))

    def _ask(self, m: messages.Ask, peer: Peer) -> Message:
        arguments = decode_values(m.arguments, m.body)
        if not isinstance(arguments, list) or len(arguments) != _ARGUMENTS.get(m.method, 0):
            raise UsageError(f"message ask: {m.method} takes other arguments")
        if m.method == "get_all" and not isinstance(arguments[0], list):
            raise UsageError("message ask: keys are no list")
        with self._table(m, peer) as table:
            return messages.Answer(*encode_values([_ANSWERS[m.method](table, *arguments)]))

    def _swap(self, m: messages.Swap, peer: Peer) -> Message:
        table = table_of(self.grid, m.table, m.table_id)
        codec = _codec(table, m.columns)
        if m.key + max(0, m.old) + max(0, m.new) != len(m.body):
            raise UsageError("message swap: its body has another length than it says")
        key = decode_key(codec, m.body[: m.key])
        old = m.body[m.key : m.key + m.old] if m.old >= 0 else None
        new = decode_value(codec, m.body[m.key + max(0, m.old) :]) if m.new >= 0 else None
        for tries_left in reversed(range(_TRIES)):
            changes = Changes(table)
            now = changes.get(key, _ABSENT)
            if (None if now is _ABSENT else codec.value_bytes(now)) != old:
                return Done(0)
            if m.new < 0:
                changes.remove_all([key])
            else:
                changes.put_all([(key, new)])
            try:
                self.grid._commit_checked(*changes.operations(), {table.table_id: changes.columns})
                return Done(1)
            except TransactionConflictError:
                if not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    def _begin(self, m: messages.Begin, peer: Peer) -> Message:
        name = self.transactions.begin(grid_of(self.grid, peer), peer.owner, m.client)
        return messages.Begun(name, max(1, round(self.transactions.idle_seconds)))

    def _write(self, m: messages.Write, peer: Peer) -> Message:
        with self.transactions.using(m.transaction, peer.owner) as transaction:
            table = table_of(transaction, m.table, m.table_id)
            demand_within(transaction, m)
            codec = _codec(table, m.columns)
            if m.mode == "remove":
                return Done(table.remove_all(decode_removals(codec, table.table_id, m.operations)))
            if m.mode not in _ON_DUPLICATE:
                raise UsageError(f"no mode {m.mode} in a transaction; there are remove, {', '.join(_ON_DUPLICATE)}")
            return Done(table.changes.put_operations(m.operations, _ON_DUPLICATE[m.mode]))

    def _write_batch(self, m: messages.WriteBatch, peer: Peer) -> Message:
        return Done(self.writers.write(table_of(self.grid, m.table, m.table_id), m, peer.user))

    def _end_writer(self, m: messages.EndWriter, peer: Peer) -> Message:
        self.writers.end(m.writer, peer.user)
        return Done(0)

    def _end(self, m: messages.End, peer: Peer) -> Message:
        self.transactions.end(m.transaction, peer.owner, commit=m.commit)
        return Done(0)

    def _sql_many(self, m: messages.SqlMany, peer: Peer) -> Message:
        sets = decode_values(m.sets, m.body)
        if not isinstance(sets, list):
            raise UsageError("message sql_many: sets is no list")
        told = partial(audit.statement, peer)
        if not m.transaction:
            session = Session(grid_of(self.grid, peer), has_files=False, told=told)
            return Done(session.execute_many(m.text, sets).rowcount)
        with self.transactions.using(m.transaction, peer.owner) as transaction:
            return Done(Session(transaction, has_files=False, told=told).execute_many(m.text, sets).rowcount)


_ABSENT = object()
#: How many arguments a question has, if any.
_ARGUMENTS = {"get_all": 2, "number": 1}
_ANSWERS: dict[str, Callable[..., Any]] = {
    "count": len,
    "version": lambda table: table.version(),
    "versions": lambda table: table.versions(),
    "tags": lambda table: table.tags(),
    "last": lambda table: table.kept.last,
    "stats": lambda table: table.stats(),
    "partitions": lambda table: [list(partition) for partition in table.partitions()],
    "memory": lambda table: list(table.memory),
    "number": lambda table, version: table._snapshot_version(version),
    "get_all": lambda table, keys, version: [
        [i, value] for i, key in enumerate(keys) for value in table.get_all([_key(key)], version=version).values()
    ],
}


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def demand_within(transaction: TransactionFace, m: Message) -> None:
    """Demand what a message needs of a transaction's grid, which demands it again at the commit."""
    for need in RULES[type(m)](m):
        assert isinstance(need.table, str)  # as in all messages that name a transaction
        transaction._demand(transaction.table(need.table), *need.rights)


def table_of(grid: Any, name: str, table_id: int) -> Any:
    """The table of a name, if it is still the one of that id.

    Raises:
        TableNotFoundError: it is not.
    """
    table = grid.table(name)
    if table.table_id != table_id:
        raise TableNotFoundError(
            f"table {name} was dropped and created again since it was opened; get it anew with grid.table({name!r})"
        )
    return table


def _codec(table: Table | TransactionTable, digest: int) -> RowCodec:
    codec = table._row_codec()
    if codec.digest != digest:
        raise SchemaError(
            f"table {table.name} has got other columns while the rows were on their way: nothing was written, try "
            "again",
            table=table.name,
        )
    return codec


def _info(table: Table | TransactionTable) -> messages.TableInfo:
    codec = table._row_codec()
    return messages.TableInfo(
        table.name, table.table_id, table.partitions_count, dict(table.options), schema_bytes(codec)
    )
