"""What a message does: each becomes one call of the grid. Every door of a node comes here; none is known here."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from .._native.small_requests import SmallRequests
from .._native.table_store import COMMIT_MODES
from ..catalog import grants
from ..catalog.grants import ADMIN
from ..catalog.rules import is_system
from ..config import VERSION
from ..errors import (
    GridAccessError,
    GridConnectionError,
    GridflowError,
    GridNotFoundError,
    SqlError,
    TableNotFoundError,
    UsageError,
)
from ..open_grid import OpenGrid
from ..protocols import messages
from ..protocols.address import Endpoint
from ..protocols.json_values import decode_values
from ..protocols.messages import Done, Message
from ..schema import Schema
from ..sql import FastPaths, Result, Session
from ..sql.engine.watch import watching
from ..table import Table
from ..transport.directory import as_batches, is_sealed, pieces, version_at
from ..transport.source import SealedFile
from . import audit
from .access import Access, Peer
from .guarded import GuardedGrid, grid_of
from .leases import Leases
from .limits import RequestLimit
from .loading import StreamLoad
from .remote import RemoteRequests, demand_within, table_of

T = TypeVar("T")


class Rings(Protocol):
    """The door of shared memory, as far as messages concern it."""

    def open(self, name: str, peer: Peer) -> None:
        """Serve a ring that a client has made."""


class Requests:
    """Carries out what clients ask of one grid. Any thread may call it, several at a time; the grid orders its writers.

    Each method first asks ``Access.authorize`` whether the peer may. All raise GridConnectionError once the node is
    stopping, and else what the grid raises.

    Args:
        grid: the grid, open as its owner; the caller closes it when ``running`` is 0 or of no interest any more.
        durability: what the grid was opened with, for clients to know.
        access: says who comes in.

    Attributes:
        access: as given.
        actions: the messages that ``handle`` takes, by kind.
        rings: the door of shared memory, once there is one.
        small: what carries out small requests, once a door has them.
        small_ports: where frames are taken, by the address beside which that is.
        run_name: a random name of this node, from its start to its end.
    """

    def __init__(self, grid: OpenGrid, durability: str, access: Access | None = None):
        self.grid = grid
        self.access = access or Access(grid)
        self.durability = durability
        self._lock = threading.Lock()  # guards _running and _statements
        self._running = 0
        self._statements: dict[tuple[str, str], GridflowError | None] = {}  # owner and run of an Sql -> what ends it
        self._stopping = self._interrupting = False
        self._limit = RequestLimit()
        self.rings: Rings | None = None
        self.small: SmallRequests | None = None
        self.small_ports: dict[Endpoint, int] = {}
        self._leases = Leases(grid.home)
        self.run_name = secrets.token_hex(16)
        self._fast_paths: FastPaths = {}  # of the statements of all clients
        self._handlers: dict[type[Message], Callable[[Any, Peer], Message]] = {
            messages.Hello: self._hello,
            messages.Goodbye: self._goodbye,
            messages.CreateTable: self._create_table,
            messages.DropTable: self._drop_table,
            messages.Truncate: self._truncate,
            messages.Flush: self._flush,
            messages.Compact: self._compact,
            messages.AlterTable: self._alter_table,
            messages.Tag: self._tag,
            messages.Untag: self._untag,
            messages.Restore: self._restore,
            messages.KeepVersions: self._keep_versions,
            messages.Compress: self._compress,
            messages.Commit: self._commit,
            messages.CommitTransaction: self._commit_transaction,
            messages.Cancel: self._cancel,
            messages.AskVersion: self._ask_version,
            messages.Hold: self._hold,
        }
        self._remote = RemoteRequests(grid, self._admit)
        self.actions: dict[str, type[Message]] = {
            message.kind: message for message in (*self._handlers, *self._remote.handlers)
        }
        self.actions[messages.OpenRing.kind] = messages.OpenRing

    @property
    def running(self) -> int:
        """How many requests are being worked on."""
        return self._running

    def stop_accepting(self) -> None:
        """Refuse requests from now on; those that run go on, but for a load that waits for its client."""
        self._stopping = True
        if self.small is not None:
            self.small.ask_anew()

    def interrupt(self) -> None:
        """Have the statements and loads end that still run."""
        self._interrupting = True

    def close(self) -> None:
        """Roll back the transactions that the node keeps for clients; no requests run any more."""
        self._remote.transactions.close()

    def handle(self, message: Message, peer: Peer) -> Message:
        """Do what a message of ``actions`` asks, and return the answer."""
        with self._request(message, peer):
            if isinstance(message, messages.OpenRing):  # what comes through it comes from this peer
                return self._open_ring(message, peer)
            try:
                answer = self._carried_out(message, peer)
            except Exception as error:
                audit.message(peer, message, error)
                raise
            audit.message(peer, message)
            return answer

    def _carried_out(self, message: Message, peer: Peer) -> Message:
        remote = self._remote.handlers.get(type(message))
        if remote is not None:
            return remote(message, peer)
        reply = self._handlers[type(message)](message, peer)
        if isinstance(reply, messages.Welcome):
            home = reply.home if peer.user is None or ADMIN in grants.roles_of(self.grid, peer.user) else ""
            return replace(reply, small_port=self.small_ports.get(peer.endpoint, 0), home=home)
        return reply

    def handle_at_once(self, message: messages.Sql | messages.CommitTransaction, peer: Peer) -> Done | None:
        """Do what a message asks if it takes but a moment; None if it may take longer, and then nothing has happened.

        Of statements those are an INSERT that was executed before and has a fast path by now. For a thread that serves
        many clients and must not wait (``Store.begin_hurry``).
        """
        with self._request(message, peer):
            if isinstance(message, messages.CommitTransaction):
                return self._commit_transaction(message, peer)
            session = self.session(peer, self._fast_paths)
            try:
                result = session.insert_at_once(message.text, decode_values(message.params, message.body))
            except GridAccessError as error:
                audit.message(peer, message, error)
                raise
            return None if result is None else Done(result.rowcount)

    def query(
        self, message: messages.Sql, peer: Peer, is_gone: Callable[[], bool] = lambda: False
    ) -> tuple[messages.SqlDone, pa.Table]:
        """Run SQL; returns what there is to say about it, and the rows.

        Args:
            is_gone: whether nobody waits for the answer any more, which ends the statement; asked by other threads.
        """

        def execute(session: Session) -> Result:
            return session.execute(message.text, decode_values(message.params, message.body))

        if message.transaction:
            with self._request(message, peer), self._cancellable(message, peer, is_gone):
                with self._remote.transactions.using(message.transaction, peer.owner) as transaction:
                    told = partial(audit.statement, peer)
                    return _answer(execute(Session(transaction, has_files=False, told=told)))
        return _answer(self.run(message, peer, execute, is_gone))

    def run(
        self,
        message: messages.Sql,
        peer: Peer,
        execute: Callable[[Session], T],
        is_gone: Callable[[], bool] = lambda: False,
        session: Session | None = None,
    ) -> T:
        """Have the text of a message executed, or looked at, in a session; returns what ``execute`` does.

        Args:
            execute: called with the session.
            is_gone: as of ``query``.
            session: one of ``session``, of the same peer, which goes on; None: each text is by itself.
        """
        with self._request(message, peer):
            used = session or self.session(peer, self._fast_paths)
            with self._cancellable(message, peer, is_gone):
                result = execute(used)
            if session is None and used.in_transaction:
                used.rollback()
                raise UsageError(
                    "a transaction is its client's, which sends its writes when it commits; drivers of Flight SQL "
                    "begin one when autocommit is off"
                )
            return result

    def session(self, peer: Peer, fast_paths: FastPaths | None = None) -> Session:
        """A session of a peer, whose statements belong together; see ``run``."""
        grid, told = grid_of(self.grid, peer), partial(audit.statement, peer)
        return Session(grid, has_files=False, fast_paths=fast_paths, told=told)

    def ask_again(self, peer: Peer, demanded: Iterable[tuple[int, str]]) -> None:
        """Raise unless a peer may still see what was demanded for it; see ``guarded.demanded_of``."""
        self.access.recognize(peer)
        grid: object = grid_of(self.grid, peer)
        if isinstance(grid, GuardedGrid):
            grid.demand_again(demanded)

    def view(self, message: messages.SystemView, peer: Peer) -> pa.Table:
        """The rows of a system view."""
        with self._request(message, peer):
            return grid_of(self.grid, peer).system_view(message.name, message.columns)

    def scan(self, message: messages.Scan, peer: Peer) -> pa.RecordBatchReader:
        """The rows of a table, batch after batch."""
        with self._request(message, peer):
            return self._remote.scan(message, peer)

    def blocks(self, message: messages.Blocks, peer: Peer) -> pa.RecordBatchReader:
        """Ranges of a sealed file, as batches of one column of bytes: views of the mapped file."""
        with self._request(message, peer):
            file = SealedFile(*message.file)
            entry = self.grid.catalog_entry(message.table_id)
            if entry is None or is_system(entry.name) or not is_sealed(file.name):
                raise GridNotFoundError(f"no file {file.name} of table {message.table_id}")
            mapped = self._leases.open(message.table_id, file)
            for begin, end in message.ranges:
                if not begin < end <= file.bytes:
                    raise UsageError(f"{file.name} has {file.bytes} bytes, and {begin} to {end} are asked for")
            return as_batches(pieces(mapped, message.ranges))

    def load(
        self,
        message: messages.Load,
        schema: pa.Schema,
        stream: Iterator[pa.RecordBatch | messages.LoadEnd],
        peer: Peer,
    ) -> Done:
        """Load batches as one commit; Done counts their rows.

        Args:
            schema: of all batches.
            stream: the batches as they come in, then LoadEnd; where that is missing the stream was cut.
        """
        with self._request(message, peer):

            def stopping(waits: bool) -> bool:
                return self._interrupting or (waits and self._stopping)

            if message.transaction:
                with self._remote.transactions.using(message.transaction, peer.owner) as transaction:
                    table = transaction.table(message.table)
                    demand_within(transaction, message)
                    return Done(StreamLoad(table, message.on_duplicate, stopping).run(schema, stream))

            def asked_again() -> Iterator[pa.RecordBatch | messages.LoadEnd]:
                for item in stream:
                    if isinstance(item, messages.LoadEnd):  # it commits now, and may have run for hours
                        self.access.authorize(peer, message)
                    yield item

            load = StreamLoad(self.grid.table(message.table), message.on_duplicate, stopping)
            return Done(load.run(schema, asked_again()))

    # ---- one method for each message of `actions` ----

    def _hello(self, m: messages.Hello, peer: Peer) -> Message:
        door, address = ("", "") if peer.endpoint.is_local else (str(peer.endpoint), peer.address)
        self.grid._activity.connected(
            m.client,
            m.pid,
            m.release,
            peer.owner,
            user=peer.user,
            door=door,
            address=address,
            is_here=peer.user is None and (peer.endpoint.is_local or peer.endpoint.is_loopback),
        )
        return messages.Welcome(
            os.getpid(),
            str(self.grid.home),
            VERSION,
            self.grid.default_partitions,
            self.durability,
            0,
            self.grid.identity or "",
            self.run_name,
        )

    def _open_ring(self, m: messages.OpenRing, peer: Peer) -> Message:
        if self.rings is None:
            raise UsageError("this node has no rings")
        self.rings.open(m.name, peer)
        return Done(0)

    def _goodbye(self, m: messages.Goodbye, peer: Peer) -> Message:
        self.grid._activity.disconnected(m.client, peer.owner)
        self._remote.transactions.end_of(peer.owner, m.client)
        return Done(0)

    def _create_table(self, m: messages.CreateTable, peer: Peer) -> Message:
        schema = Schema.of(m.columns, m.key)
        self.grid.create_table(
            m.name,
            schema,
            schema.key,
            m.partitions,
            if_not_exists=m.if_not_exists,
            options=m.options,
            keep_versions=m.keep_versions,
            defaults=_by_column(decode_values(m.defaults, m.body), "create_table: defaults"),
        )
        return Done(0)

    def _alter_table(self, m: messages.AlterTable, peer: Peer) -> Message:
        values = decode_values(m.values, m.body)
        if not isinstance(values, list) or len(values) != 2:
            raise UsageError("message alter_table: values are not two")
        fill, defaults = (_by_column(some, "alter_table: values") for some in values)
        self.grid.alter_table(m.name, add=dict(m.add), drop=m.drop, rename=dict(m.rename), fill=fill, defaults=defaults)
        return Done(0)

    def _drop_table(self, m: messages.DropTable, peer: Peer) -> Message:
        self.grid.drop_table(m.name, if_exists=m.if_exists)
        return Done(0)

    def _truncate(self, m: messages.Truncate, peer: Peer) -> Message:
        return Done(self._table(m.table, m.table_id).truncate())

    def _flush(self, m: messages.Flush, peer: Peer) -> Message:
        if m.table is None:
            self.grid.flush()
        elif m.to_read:
            self.grid.table(m.table)._flush_to_read(waits=m.waits)
        else:
            self.grid.table(m.table).flush()
        return Done(0)

    def _compact(self, m: messages.Compact, peer: Peer) -> Message:
        self.grid.table(m.table).compact()
        return Done(0)

    def _tag(self, m: messages.Tag, peer: Peer) -> Message:
        return Done(self._table(m.table, m.table_id).tag(m.name, replace=m.replace))

    def _untag(self, m: messages.Untag, peer: Peer) -> Message:
        self._table(m.table, m.table_id).untag(m.name)
        return Done(0)

    def _restore(self, m: messages.Restore, peer: Peer) -> Message:
        return Done(self._table(m.table, m.table_id).restore(m.number))

    def _keep_versions(self, m: messages.KeepVersions, peer: Peer) -> Message:
        self._table(m.table, m.table_id).keep_versions(m.count)
        return Done(0)

    def _compress(self, m: messages.Compress, peer: Peer) -> Message:
        self._table(m.table, m.table_id).compress(*m.columns)
        return Done(0)

    def _commit(self, m: messages.Commit, peer: Peer) -> Message:
        if m.mode not in COMMIT_MODES:
            raise UsageError(f"no commit mode {m.mode}; there are {', '.join(COMMIT_MODES)}")
        table = self._table(m.table, m.table_id)
        count = table._commit_encoded(m.operations, m.mode, m.columns)
        self._admit(table)
        return Done(count)

    def _admit(self, table: Table) -> None:
        """Let small requests name a table: one by this door has shown that it is one that clients may name."""
        if self.small is not None:
            self.small.admit(table)

    def _commit_transaction(self, m: messages.CommitTransaction, peer: Peer) -> Done:
        self.grid._commit_checked(m.body[m.digests :], m.body[: m.digests], dict(m.columns))
        return Done(0)

    def _ask_version(self, m: messages.AskVersion, peer: Peer) -> Message:
        table = self.grid.table(m.table)
        asked = m.number if m.tag is None else m.tag
        if asked is None:
            table._flush_to_read(waits=True)
        while True:
            entry = self.grid.catalog_entry(table.table_id)
            if entry is None:
                raise TableNotFoundError(f"table {m.table} was dropped", table=m.table)
            version, _ = version_at(self.grid.home, entry, asked)
            try:
                self._leases.hold(_lease(m, peer), version, m.seconds)
            except GridNotFoundError:  # a compaction was faster
                continue
            break
        files = [(file.name, file.bytes, file.fingerprint) for file in version.files]
        return messages.VersionIs(
            *(version.table, version.table_id, version.number, files, dict(version.options)),
            *(list(version.tags.items()), self.grid.identity or "", version.manifest),
        )

    def _hold(self, m: messages.Hold, peer: Peer) -> Message:
        return Done(self._leases.renew(_lease(m, peer), m.seconds, m.versions))

    def _cancel(self, m: messages.Cancel, peer: Peer) -> Message:
        with self._lock:
            if (peer.owner, m.run) not in self._statements:
                return Done(0)
            self._statements[peer.owner, m.run] = SqlError("cancelled; nothing of the statement was done")
            return Done(1)

    def _table(self, name: str, table_id: int) -> Table:
        table: Table = table_of(self.grid, name, table_id)
        return table

    @contextmanager
    def _cancellable(self, message: messages.Sql, peer: Peer, is_gone: Callable[[], bool]) -> Iterator[None]:
        """Let a Cancel of its run end a statement, and the end of its client or of the node."""
        run = peer.owner, message.run

        def is_unwanted() -> GridflowError | None:
            if self._interrupting:
                return GridConnectionError("the node is stopping; nothing of the statement was done")
            if is_gone():
                return SqlError("the client of the statement is gone; nothing of it was done")
            return self._statements.get(run)

        with self._lock:
            self._statements[run] = None
        try:
            with (
                watching(is_unwanted) as watch,
                watch.limited(message.milliseconds / 1000 or None, message.memory or None),
            ):
                yield
        finally:
            with self._lock:
                self._statements.pop(run, None)

    def allow(self, message: Message, peer: Peer) -> None:
        """Raise unless ``peer`` may have this done, and the node takes requests."""
        if self._stopping:
            raise GridConnectionError("the node is stopping")
        self.access.authorize(peer, message)

    @contextmanager
    def _request(self, message: Message, peer: Peer) -> Iterator[None]:
        """Count a request, unless it is refused."""
        with self._lock:
            self._running += 1
        try:
            try:
                self.allow(message, peer)
            except GridAccessError as error:
                audit.message(peer, message, error)
                raise
            with nullcontext() if peer.endpoint.is_local else self._limit.running((peer.user, peer.address)):
                yield
        finally:
            with self._lock:
                self._running -= 1


def _lease(m: messages.AskVersion | messages.Hold, peer: Peer) -> str:
    """What a lease is called here: of what one owner calls so another one knows nothing."""
    return f"{peer.owner} {m.lease}"


def _answer(result: Result) -> tuple[messages.SqlDone, pa.Table]:
    return messages.SqlDone(result.statement, result.rowcount, list(result.notes)), result.to_arrow()


def _by_column(values: Any, where: str) -> dict[str, Any]:
    """Values by the names of columns, from a message."""
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UsageError(f"message {where} holds no values by the names of columns")
    return values
