"""A bulk load that comes in as a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue

import pyarrow as pa

from ..errors import GridClosedError, GridConnectionError
from ..protocols.messages import LoadEnd
from ..table import Table
from ..transaction import TransactionTable

#: Batches that have come in and are not yet in the load: the next ones arrive while some are written.
_WAITING_BATCHES = 8
#: Seconds after which a side that waits for the other looks whether there still is a reason to.
_LOOK_AGAIN = 0.1


class StreamLoad:
    """Loads what a client streams into a table, as one commit.

    ::

        the door's thread: client -> run() -> queue -> writer thread: table.load()

    Two threads, because reading from a client cannot be interrupted: when the node stops, the writer gives up at once,
    even if the client never sends another byte. And the next batches come while some are written.

    Args:
        table: a table of the owner's grid, or of a transaction on it.
        on_duplicate: as of ``Table.load``.
        stopping: whether the node is about to stop, so that a load ends: one that waits for its client (True), or
            any (False).
    """

    def __init__(self, table: Table | TransactionTable, on_duplicate: str, stopping: Callable[[bool], bool]):
        self._table = table
        self._on_duplicate = on_duplicate
        self._stopping = stopping
        self._queue: Queue[pa.RecordBatch | BaseException | None] = Queue(_WAITING_BATCHES)
        self._count = 0  # these two are the writer's, until it has ended
        self._failure: BaseException | None = None

    def run(self, schema: pa.Schema, stream: Iterator[pa.RecordBatch | LoadEnd]) -> int:
        """Read the client's stream to its end and return how many rows were loaded.

        Args:
            schema: of the batches.
            stream: batches, then how many rows they were.

        Raises:
            GridConnectionError: the stream was cut; nothing of it is kept.
            GridflowError: the table's reason not to take it; nothing of it is kept.
        """
        writer = threading.Thread(target=self._write, args=(schema,), name="gridflow-load", daemon=True)
        writer.start()
        try:
            self._read(stream, writer)
        except BaseException as error:
            self._offer(error, writer)
        writer.join()
        if self._failure is not None:
            raise self._failure
        return self._count

    def _read(self, stream: Iterator[pa.RecordBatch | LoadEnd], writer: threading.Thread) -> None:
        count = 0
        for item in stream:
            if isinstance(item, LoadEnd):
                if item.count == count:
                    self._offer(None, writer)
                    return
                break
            count += item.num_rows
            self._offer(item, writer)
            if not writer.is_alive():
                return
        # A client that dies looks like one that has sent everything.
        name = self._table.name
        raise GridConnectionError(f"the load of {name} was cut after {count} rows; nothing of it was kept")

    def _offer(self, item: pa.RecordBatch | BaseException | None, writer: threading.Thread) -> None:
        while writer.is_alive():
            try:
                return self._queue.put(item, timeout=_LOOK_AGAIN)
            except Full:
                continue

    def _write(self, schema: pa.Schema) -> None:
        try:
            batches = pa.RecordBatchReader.from_batches(schema, self._batches())
            self._count = self._table.load(batches, on_duplicate=self._on_duplicate)
        except BaseException as error:
            self._failure = error

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                item = self._queue.get(timeout=_LOOK_AGAIN)
            except Empty:
                if self._stopping(True):
                    raise GridClosedError("the node is stopping; nothing of the load was kept") from None
                continue
            if self._stopping(False):
                raise GridClosedError("the node is stopping; nothing of the load was kept")
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
