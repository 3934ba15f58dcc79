"""Node: owns a grid, listens for other processes of the machine, and stops without losing a write."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

from ..client import RemoteGrid
from ..config import DEFAULT_PARTITIONS, MAX_PARTITIONS
from ..errors import GridOwnedError, UsageError
from ..grid import Grid
from ..open import connect
from ..protocols.address import SocketAddress
from .flight import FlightService

#: Seconds that running requests get to end when the node stops.
STOP_GRACE = 10.0


class Node:
    """One process's hold on a grid, and the service it gives.

    ::

        connect()          take the owner's lock; from here on nobody else serves this grid
        bind <socket>      replacing what a node that died has left: the lock says that it is dead
        ... requests ...
        shutdown()         refuse new requests, wait for running ones
        unlink <socket>    while we still hold the lock, so that it cannot be a successor's
        grid.close()       flush, release the lock

    Args:
        home: the grid's directory; None for the default grid.
        partitions: of a table that is created without a count.
        durability: "process" survives the death of the node, "fsync" also a loss of power.

    Raises:
        GridOwnedError: another process owns the grid; names its pid.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        partitions: int = DEFAULT_PARTITIONS,
        durability: str = "process",
    ):
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise UsageError(f"a table has 1 to {MAX_PARTITIONS} partitions, not {partitions}")
        grid = connect(home, durability=durability)
        if isinstance(grid, RemoteGrid):
            pid = grid.owner_pid
            grid.close()
            raise GridOwnedError(
                f"grid {grid.home} is served by process {pid} already; use that one, or stop it with 'kill {pid}'"
            )
        grid.default_partitions = partitions
        self.grid: Grid = grid
        self.home: Path = grid.home
        self._stopped = False
        self._address = SocketAddress(self.home)
        try:
            self._service = self._listen(durability)
        except BaseException:
            self._address.close()
            grid.close()
            raise

    @property
    def location(self) -> str:
        """Where it listens, for people. Clients find it by the grid's directory."""
        return f"grpc+unix://{self._address.path}"

    @property
    def running(self) -> int:
        """How many requests are being worked on."""
        return self._service.running

    def _listen(self, durability: str) -> FlightService:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._address.path)
        before = os.umask(0o177)
        try:
            return FlightService(self._address.uri, self.grid, durability)
        finally:
            os.umask(before)

    def stop(self, grace: float = STOP_GRACE) -> int:
        """Refuse new requests, let running ones end, flush, and release the grid. May be called again.

        Args:
            grace: seconds that running requests get.

        Returns:
            how many requests were cut off; none of them was acknowledged.
        """
        if self._stopped:
            return 0
        self._stopped = True
        self._service.stop_accepting()
        # shutdown() waits for running requests with no limit of its own: a client that never ends its load
        # must not keep the node.
        waiter = threading.Thread(target=self._service.shutdown, name="gridflow-shutdown", daemon=True)
        waiter.start()
        waiter.join(grace)
        cut = self._service.running if waiter.is_alive() else 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._address.path)
        self._address.close()
        self.grid.close()
        return cut

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
