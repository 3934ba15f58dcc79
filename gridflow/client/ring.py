"""NodeRing: the way of small writes to a node of the same machine, by shared memory (``ring_format.h``)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._native.ring_client import MOST_BYTES, ClientRing, RingClosed, RingFull, RingSilent
from .._native.rows import RowCodec
from .._native.table_store import TableStore
from ..errors import GridConnectionError, GridflowError
from ..protocols import messages
from ..protocols.messages import Message
from ..storage.ring_files import BELL, new_ring_name, ring_folder

if TYPE_CHECKING:
    from .connection import Connection  # circle: a connection has a ring

#: Bytes of operations or of a message that go by a ring; what is larger goes by the socket.
MOST_OPERATIONS_BYTES = MOST_BYTES - 64
#: Seconds for the node to take a ring over; a node that is there does it at once.
OPEN_TIMEOUT = 10.0


class NodeRing:
    """This process's ring to the node of a connection: made when it is first needed, and again for the next node.

    Each call says None where the node did nothing, and cannot at once, or has no rings: then the same goes by the
    socket. Any thread may call it. After a fork the child gets a ring of its own.

    Args:
        connection: to the node.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        assert connection.endpoint.path is not None  # it is local
        self._home: Path = connection.endpoint.path.parent
        self._lock = threading.Lock()  # while a ring is made
        self._ring: ClientRing | None = None
        self._without: messages.Welcome | None = None  # of the node that has no rings for us

    def commit(self, table_id: int, columns: int, mode: int, operations: bytes, timeout: float) -> int | None:
        """Have operations committed: how many were applied.

        Args:
            columns: digest of those that they were encoded for.
            mode: a place in COMMIT_MODES.
            timeout: seconds to wait.

        Raises:
            GridConnectionError: the node went away or did not answer in time.
        """
        return self._send(ClientRing.commit, timeout, table_id, columns, mode, operations)

    def put(self, table: TableStore, codec: RowCodec, mode: int, key: Any, value: Any, timeout: float) -> int | None:
        """Have one row put, as ``commit``; None also where it does not fit, and then nothing was sent.

        Args:
            codec: of the columns that the value is meant for; nothing is sent, either, if the table has others by now.
        """
        return self._send(ClientRing.commit_put, timeout, table, codec, mode, key, value)

    def _insert_values(
        self,
        table: TableStore,
        codec: RowCodec,
        places: tuple[int, ...],
        fixed: tuple[Any, ...],
        values: Sequence[Any],
        timeout: float,
    ) -> int | None:
        """As ``put`` unless there is a row: of values, as ``TableStore._insert_values`` takes them."""
        return self._send(ClientRing.commit_values, timeout, table, codec, places, fixed, values)

    def remove(self, table: TableStore, key: Any, timeout: float) -> int | None:
        """Have the row under a key removed, as ``put``."""
        return self._send(ClientRing.commit_removal, timeout, table, key)

    def ask(self, message: Message, timeout: float) -> int | None:
        """Have a message carried out, if the node can at once: how many rows it concerned. Else as ``commit``."""
        data = messages.encode(message)
        if len(data) > MOST_OPERATIONS_BYTES:
            return None
        return self._send(ClientRing.ask, timeout, data)

    def _send(self, request: Callable[..., int | bytes | None], timeout: float, *arguments: Any) -> int | None:
        """Have the ring, which is made if there is none, carry a request out; None if it is to go by the socket.

        Args:
            request: a method of ``ClientRing``, whose last argument is the time-out.
        """
        ring = self._ring
        if ring is None or ring.closed:
            ring = self._made(timeout)
            if ring is None:
                return None
        try:
            result = request(ring, *arguments, timeout)
        except (RingClosed, RingFull, RingSilent) as error:
            self._check(error, timeout)
            return None
        if isinstance(result, bytes):
            raise messages.decode_error(result) from None
        return result

    def close(self) -> None:
        """Let go of the ring: the node removes it once nobody waits for an answer. May be called again."""
        self._ring = None
        self._without = self._connection.welcome

    def forget(self) -> None:
        """In a forked child: the ring is the parent's."""
        self._lock = threading.Lock()
        self._ring = None

    def _made(self, timeout: float) -> ClientRing | None:
        """A new ring, which the node serves; None if it does not."""
        with self._lock:
            if self._ring is not None and not self._ring.closed:
                return self._ring  # another thread was faster
            welcome = self._connection.welcome
            if welcome is not None and welcome is self._without:
                return None
            self._ring = None
            name = new_ring_name()
            path = ring_folder(self._home) / name
            try:
                ring = ClientRing(str(path), str(path.with_name(BELL)))
                opening = messages.OpenRing(name)
                self._connection.call(opening, messages.Done, timeout=min(OPEN_TIMEOUT, timeout))
            except GridflowError as error:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
                if isinstance(error, GridConnectionError):  # by the socket it would be no better
                    raise
                self._without = self._connection.welcome
                return None
            self._ring = ring
            return ring

    def _check(self, error: RingClosed | RingFull | RingSilent, timeout: float) -> None:
        """Raise what a call raises that got no answer, unless it may go by the socket instead."""
        connection, pid = self._connection, self._connection.pid
        if isinstance(error, RingFull):
            raise GridConnectionError(
                f"the node that serves {self._home} (pid {pid}) has left {error.requests} requests of this process "
                f"unanswered for {timeout:g} s, and its ring has no room for more; this write was not sent"
            ) from None
        if isinstance(error, RingSilent):
            raise GridConnectionError(connection.silent(timeout)) from None
        if error.refused:
            raise GridConnectionError(
                f"the node that serves {self._home} (pid {pid}) has closed the ring of this process: {error.reason}; "
                "nothing was written"
            ) from None
        if error.done is None:
            connection.drop_channel()
            raise GridConnectionError(connection.gone(error.reason or "it has died", unknown=True)) from None
