"""Writer: many rows of one table, one after the other, written in batches by a thread of its own."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._native.row_operations import encode_puts
from ._native.rows import RowCodec
from .errors import ColumnNotFoundError, GridClosedError, GridConnectionError, SchemaError, UsageError

if TYPE_CHECKING:
    from .faces import Progress, WrittenTable

#: How rows commit, by ``on_duplicate``; see ``TableStore._commit_encoded``.
COMMIT_MODE_OF = {"error": "insert", "replace": "put", "ignore": "put_if_absent"}
#: Bytes of a batch, and how many batches wait to be written before ``put`` waits for them.
BATCH_BYTES, WAITING_BATCHES = 1 << 20, 4
#: Seconds that a batch is sent again and again while its node cannot be reached.
RETRY_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class Writer:
    """Writes many rows of a table by key; made by ``Table.writer``, a context manager.

    ``put`` keeps a row until a batch is full. A thread of the writer's writes the batches in their order, each as one
    commit; when too many wait, ``put`` waits. What was put is written for certain when ``flush`` or ``close`` returns,
    or the ``with`` block has ended; after an error in the block what was not sent yet is not written.

    If a served or remote grid's node cannot be reached, or is started again, a batch is sent until it is acknowledged.
    It is committed once, however often it is sent: the node keeps the number of each writer's last batch in the same
    commit. Any thread may call it.

    Args:
        table: which.
        on_duplicate: what becomes of a row whose key is there: ``replace``, ``ignore``, or ``error``: the batch is not
            written and the writer is at its end.
        batch_bytes: of a batch, encoded.
        timeout: seconds that a batch is sent again and again.
        progress: called in the writer's thread with the number of rows written so far.

    Attributes:
        rows: how many rows were put.
        written: how many of them are acknowledged.

    >>> import gridflow, tempfile
    >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
    ...     table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID")
    ...     with table.writer() as writer:
    ...         for i in range(1000):
    ...             writer.put(i, {"X": i})
    ...     len(table), writer.written
    (1000, 1000)
    """

    def __init__(
        self,
        table: WrittenTable,
        *,
        on_duplicate: str = "replace",
        batch_bytes: int = BATCH_BYTES,
        timeout: float = RETRY_SECONDS,
        progress: Progress | None = None,
    ):
        if on_duplicate not in COMMIT_MODE_OF:
            raise UsageError(f"on_duplicate is error, replace or ignore, not {on_duplicate!r}")
        if isinstance(batch_bytes, bool) or not isinstance(batch_bytes, int) or not 1 <= batch_bytes <= 1 << 28:
            raise UsageError(f"batch_bytes is a number from 1 to {1 << 28}, not {batch_bytes!r}")
        self._table = table
        self._mode = COMMIT_MODE_OF[on_duplicate]
        self._batch_bytes = batch_bytes
        self._timeout = timeout
        self._progress = progress
        self.rows = self.written = 0
        self._name = uuid.uuid4().hex
        self._number = 0  # of the last batch that was handed to the thread
        self._changed = threading.Condition()  # guards what follows, and the fields above
        self._buffer = bytearray()
        self._count = 0  # rows in _buffer
        self._codec: RowCodec = table._row_codec()
        self._waiting: deque[tuple[int, int, bytes, RowCodec]] = deque()  # the first one is being written
        self._error: BaseException | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<gridflow.Writer of {self._table.name} ({self.written} of {self.rows} rows written, {state})>"

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def put(self, key: Any, value: Any) -> None:
        """Write the row under ``key``, soon. Waits while too much is on its way.

        Raises:
            SchemaError, ColumnNotFoundError: the row does not fit; the others are written.
            GridflowError: why an earlier batch could not be written; nothing after that is.
        """
        self.put_all([(key, value)])

    def put_all(self, rows: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        """Write rows, given as (key, value) or a mapping; see ``put``. They need not be one commit."""
        self._table._refuse_past()
        for key, value in rows.items() if isinstance(rows, Mapping) else rows:
            with self._changed:
                self._check()
                self._add(key, value)
                while len(self._waiting) > WAITING_BATCHES and self._error is None and not self._closed:
                    self._changed.wait()
                self._check()

    def _add(self, key: Any, value: Any) -> None:
        try:
            operation = encode_puts(self._codec, self._table.table_id, [(key, value)])
        except (SchemaError, ColumnNotFoundError):
            self._table.schema  # noqa: B018 - looks whether it has got other columns
            codec = self._table._row_codec()
            if codec.digest == self._codec.digest:
                raise
            self._hand_over()
            self._codec = codec
            operation = encode_puts(codec, self._table.table_id, [(key, value)])
        self._buffer += operation
        self._count += 1
        self.rows += 1
        if len(self._buffer) >= self._batch_bytes:
            self._hand_over()

    def flush(self) -> int:
        """Wait until all that was put is written; returns how many rows that are so far.

        Raises:
            GridflowError: why a batch could not be written; it and what came after it are not.
        """
        with self._changed:
            self._check()
            self._hand_over()
            while self._waiting and self._error is None:
                self._changed.wait()
            self._check()
            return self.written

    def close(self) -> None:
        """Write what was put, and end. A second call does nothing.

        Raises:
            GridflowError: as of ``flush``.
        """
        if self._closed:
            return
        try:
            self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End without what was not sent yet; a batch under way may be written or not."""
        with self._changed:
            self._closed = True
            self._buffer.clear()
            while len(self._waiting) > 1:
                self._waiting.pop()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if self._error is None and self._number:
            self._table._end_writer(self._name)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise GridClosedError("the writer is closed; table.writer() makes another")

    def _hand_over(self) -> None:
        """Give what was put so far to the thread. Under ``_changed``."""
        if not self._buffer:
            return
        self._number += 1
        self._waiting.append((self._number, self._count, bytes(self._buffer), self._codec))
        self._buffer.clear()
        self._count = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gridflow-writer", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    # ---- the thread ----

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                number, count, operations, codec = self._waiting[0]
            try:
                self._write(number, operations, codec)
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._waiting.clear()
                    self._changed.notify_all()
                return
            with self._changed:
                if self._waiting:
                    self._waiting.popleft()
                self.written += count
                self._changed.notify_all()
            if self._progress is not None:
                self._progress(self.written)

    def _write(self, number: int, operations: bytes, codec: RowCodec) -> None:
        deadline, pause = time.monotonic() + self._timeout, _FIRST_PAUSE
        while True:
            try:
                self._table._write_batch(self._name, number, self._mode, operations, codec)
                return
            except GridConnectionError:
                if time.monotonic() + pause > deadline or self._closed:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
