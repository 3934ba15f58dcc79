"""The Arrow Flight face of a grid: each message of ``protocols`` becomes one call of the grid."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow.flight as flight

from ..config import VERSION
from ..errors import GridConnectionError, GridflowError, TableNotFound, UsageError
from ..grid import Grid
from ..protocols import flight_messages as messages
from ..protocols.flight_messages import Done, Message
from ..protocols.values import decode_values
from ..schema import Schema
from ..sql import Session, copies_files
from ..sql.engine.connection import connection
from ..table import Table
from .loading import StreamLoad

_log = logging.getLogger("gridflow.server")


class FlightService(flight.FlightServerBase):
    """Serves one grid at one location. It starts to accept in the constructor and ends with ``shutdown``.

    Flight calls the methods from its own threads, several at a time; the grid itself orders its writers.

    Args:
        location: a URI such as ``grpc+unix:///dev/shm/gridflow-0/default/serve.sock``.
        grid: the grid, open as its owner; the caller closes it after ``shutdown``.
    """

    def __init__(self, location: str, grid: Grid, durability: str):
        self.grid = grid
        self.durability = durability
        self._lock = threading.Lock()  # guards _running and _statements
        self._running = 0
        self._statements: dict[str, Any] = {}  # run of an Sql -> the engine's connection that it uses
        self._stopping = False
        self._actions: dict[str, tuple[type[Message], Callable[[Any], Message]]] = {
            m.kind: (m, handler)
            for m, handler in (
                (messages.Hello, self._hello),
                (messages.Goodbye, self._goodbye),
                (messages.CreateTable, self._create_table),
                (messages.DropTable, self._drop_table),
                (messages.Truncate, self._truncate),
                (messages.Flush, self._flush),
                (messages.Compact, self._compact),
                (messages.AlterTable, self._alter_table),
                (messages.Tag, self._tag),
                (messages.Untag, self._untag),
                (messages.KeepVersions, self._keep_versions),
                (messages.Compress, self._compress),
                (messages.Commit, self._commit),
                (messages.CommitTransaction, self._commit_transaction),
                (messages.Cancel, self._cancel),
            )
        }
        super().__init__(location)
        _services.add(self)

    @property
    def running(self) -> int:
        """How many requests are being worked on."""
        return self._running

    def stop_accepting(self) -> None:
        """Refuse requests from now on; those that run go on, but for a load that waits for its client."""
        self._stopping = True

    # What Flight calls.

    def list_actions(self, context: flight.ServerCallContext) -> list[flight.ActionType]:
        return [
            flight.ActionType(kind, (message.__doc__ or "").splitlines()[0])
            for kind, (message, _) in self._actions.items()
        ]

    def do_action(self, context: flight.ServerCallContext, action: flight.Action) -> Iterator[bytes]:
        with self._request():
            if action.type not in self._actions:
                raise UsageError(f"no action {action.type}; there are {', '.join(self._actions)}")
            message, handler = self._actions[action.type]
            body = action.body.to_pybytes() if action.body is not None else b""
            reply = handler(messages.decode(body, message))
        return iter([messages.encode(reply)])

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.FlightDataStream:
        with self._request():
            request = messages.decode(ticket.ticket, messages.Sql, messages.SystemView)
            if isinstance(request, messages.SystemView):
                return flight.RecordBatchStream(self.grid.system_view(request.name, request.columns))
            if copies_files(request.text):
                raise UsageError("COPY reads and writes files of the client: it runs there, not at the server")
            session = Session(self.grid)
            with self._cancellable(request.run):
                result = session.execute(request.text, decode_values(request.params, request.body))
            if session.in_transaction:
                raise UsageError("a transaction is its client's: it sends its writes when it commits")
            rows = result.arrow()
            done = messages.encode(messages.SqlDone(result.statement, result.rowcount, list(result.notes)))
            metadata = {**(rows.schema.metadata or {}), messages.SQL_DONE: done}
            return flight.RecordBatchStream(rows.replace_schema_metadata(metadata))

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        with self._request():
            request = messages.decode(descriptor.command or b"", messages.Load)
            if request.mode not in messages.LOAD_MODES:
                raise UsageError(f"no load mode {request.mode}; there are {', '.join(messages.LOAD_MODES)}")
            table = self.grid.table(request.table)
            count = StreamLoad(table, request.mode, lambda: self._stopping).run(reader)
            writer.write(messages.encode(Done(count)))

    # One method for each message.

    def _hello(self, m: messages.Hello) -> Message:
        self.grid.activity.connected(m.client, m.pid, m.release)
        return messages.Welcome(
            os.getpid(), str(self.grid.home), VERSION, self.grid.default_partitions, self.durability
        )

    def _goodbye(self, m: messages.Goodbye) -> Message:
        self.grid.activity.disconnected(m.client)
        return Done(0)

    def _create_table(self, m: messages.CreateTable) -> Message:
        schema = Schema.of([(name, text) for name, text in m.columns], m.key)
        self.grid.create_table(
            m.name,
            schema,
            schema.key,
            m.partitions,
            if_not_exists=m.if_not_exists,
            options=m.options,
            keep_versions=m.keep_versions,
        )
        return Done(0)

    def _alter_table(self, m: messages.AlterTable) -> Message:
        fill = decode_values(m.fill, m.body)
        self.grid.alter_table(m.name, add=dict(m.add), drop=m.drop, rename=dict(m.rename), fill=fill)
        return Done(0)

    def _drop_table(self, m: messages.DropTable) -> Message:
        self.grid.drop_table(m.name, if_exists=m.if_exists)
        return Done(0)

    def _truncate(self, m: messages.Truncate) -> Message:
        return Done(self._table(m.table, m.table_id).truncate())

    def _flush(self, m: messages.Flush) -> Message:
        if m.table is None:
            self.grid.flush()
        else:
            self.grid.table(m.table).flush()
        return Done(0)

    def _compact(self, m: messages.Compact) -> Message:
        self.grid.table(m.table).compact()
        return Done(0)

    def _tag(self, m: messages.Tag) -> Message:
        return Done(self._table(m.table, m.table_id).tag(m.name, replace=m.replace))

    def _untag(self, m: messages.Untag) -> Message:
        self._table(m.table, m.table_id).untag(m.name)
        return Done(0)

    def _keep_versions(self, m: messages.KeepVersions) -> Message:
        self._table(m.table, m.table_id).keep_versions(m.count)
        return Done(0)

    def _compress(self, m: messages.Compress) -> Message:
        self._table(m.table, m.table_id).compress(*m.columns)
        return Done(0)

    def _commit(self, m: messages.Commit) -> Message:
        if m.mode not in messages.COMMIT_MODES:
            raise UsageError(f"no commit mode {m.mode}; there are {', '.join(messages.COMMIT_MODES)}")
        return Done(self._table(m.table, m.table_id).commit_encoded(m.operations, m.mode, m.columns))

    def _table(self, name: str, table_id: int) -> Table:
        table = self.grid.table(name)
        if table.table_id != table_id:
            raise TableNotFound(
                f"table {name} was dropped and created again since it was opened; get it anew with grid.table({name!r})"
            )
        return table

    def _commit_transaction(self, m: messages.CommitTransaction) -> Message:
        self.grid._commit_checked(m.body[m.digests :], m.body[: m.digests], dict(map(tuple, m.columns)))
        return Done(0)

    def _cancel(self, m: messages.Cancel) -> Message:
        with self._lock:  # so that it is this statement, and not the thread's next one, that ends
            engine = self._statements.get(m.run)
            if engine is not None:
                engine.interrupt()
        return Done(0 if engine is None else 1)

    @contextmanager
    def _cancellable(self, run: str) -> Iterator[None]:
        """Let a Cancel of ``run`` reach what the engine does in this thread meanwhile."""
        with self._lock:
            self._statements[run] = connection()
        try:
            yield
        finally:
            with self._lock:
                self._statements.pop(run, None)

    @contextmanager
    def _request(self) -> Iterator[None]:
        """Count a request, and send its error to the client in a form that keeps its class."""
        with self._lock:
            self._running += 1
        try:
            if self._stopping:
                raise GridConnectionError("the node is stopping")
            yield
        except GridflowError as error:
            raise _for_flight(error) from None
        except flight.FlightError:
            raise
        except Exception as error:
            _log.exception("a request failed")
            raise _for_flight(error) from None
        finally:
            with self._lock:
                self._running -= 1


def _for_flight(error: Exception) -> flight.FlightError:
    # Only the class goes into the text: all of it is in extra_info, and gRPC takes little of both.
    return flight.FlightServerError(type(error).__name__, extra_info=messages.encode_error(error))


_services: weakref.WeakSet[FlightService] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # A service that has ended may be garbage still. Here its end would wait for threads that are not.
    for service in list(_services):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(service))
    _services.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
