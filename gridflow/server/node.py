"""Node: owns a grid, has services listen for other processes, and stops without losing a write."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from ..catalog.activity import Limits
from ..config import DEFAULT_PARTITIONS, MAX_PARTITIONS, resolve_home
from ..errors import GridOwnedError, UsageError
from ..grid import Grid
from ..protocols.address import Endpoint
from ..registry import has_socket, open_owner, other_owner
from .access import Access, check_address, check_users
from .flight import FlightService
from .framed import FramedService
from .requests import Requests
from .rings import RingService
from .tls import LOOK_SECONDS, Certificates, TlsFiles

#: Seconds that running requests get to end when the node stops, and those after that their statements are interrupted.
STOP_GRACE = 2.0
_INTERRUPTED_GRACE = 1.0


class Service(Protocol):
    """A door of a node: it takes requests in at one endpoint, has ``Requests`` carry them out, and sends the answers.

    The node calls each method once, in this order: ``start``, ``drain``, ``close``. Of a service that could not start
    only ``close`` is called.
    """

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""

    def start(self, requests: Requests) -> None:
        """Listen. Requests are taken when it returns; if it raises, none are."""

    def drain(self) -> None:
        """Take no more requests and wait for those that run, without a limit: the node may not wait for its end."""

    def close(self) -> None:
        """Let go of the endpoint, while the node still owns the grid."""


class Node:
    """One process's hold on a grid, and the services that it gives.

    ::

        open_owner()       take the owner's lock; from here on nobody else serves this grid
        start()            of each service: it replaces what a node that died has left
        ... requests ...
        stop_accepting()   refuse new requests, wait for running ones: drain() of each service
        close()            of each service: while we still hold the lock, so that nothing can be a successor's
        grid.close()       flush, release the lock

    Args:
        home: the grid's directory; None for the default grid.
        partitions: of a table that is created without a count.
        durability: "process" survives the death of the node, "fsync" also a loss of power.
        query_seconds, query_memory: what a statement of a client may take at most, in seconds and in bytes of the
            engine's memory; None for no limit but the client's own.
        listen: addresses at which it listens besides the socket, such as ``grid://127.0.0.1:10850``; a port of 0 is
            one that is free, see ``endpoints``. Who comes by them says who they are, see ``gridflow.server.access``.
        insecure: listen also where what is sent can be read on its way, and let in everybody while the grid has no
            user.
        tls: the certificate of addresses of ``grid+tls://``; when its files change, the new one is shown.
        services: its other doors. None: Arrow Flight at the socket in the grid's directory, where ``connect`` looks,
            and the rings that are opened there.
        stays_served: leave the socket when the node stops, as one does that is killed: then who connects waits for the
            next node, and does not own the grid.

    Raises:
        GridOwnedError: another process owns the grid; names its pid.
        UsageError: ``listen`` has what is no address, or one that is refused.
        GridConnectionError: it cannot listen there.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        partitions: int = DEFAULT_PARTITIONS,
        durability: str = "process",
        query_seconds: float | None = None,
        query_memory: int | None = None,
        listen: Sequence[str] = (),
        insecure: bool = False,
        tls: TlsFiles | None = None,
        services: Sequence[Service] | None = None,
        stays_served: bool = False,
    ):
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise UsageError(f"a table has 1 to {MAX_PARTITIONS} partitions, not {partitions}")
        if durability not in ("process", "fsync"):
            raise UsageError(f"durability is process or fsync, not {durability!r}")
        endpoints = [Endpoint.parse(address, any_port=True) for address in listen]
        for endpoint in endpoints:
            check_address(endpoint, insecure)
            if endpoint.scheme == "grid+tls" and tls is None:
                raise UsageError(f"{endpoint}: give the certificate and its key, --tls-cert and --tls-key")
        if tls is not None and all(endpoint.scheme != "grid+tls" for endpoint in endpoints):
            raise UsageError("a certificate is for an address of grid+tls://: say --listen grid+tls://HOST:PORT")
        self._certificates = None if tls is None else Certificates(tls)
        path = resolve_home(home)
        try:
            grid = open_owner(path, durability == "fsync", default=home is None, serves=True)
        except BlockingIOError:
            pid = other_owner(path)
            raise GridOwnedError(
                f"grid {path} is served by process {pid} already; use that one, or stop it with 'kill {pid}'"
                if has_socket(path)
                else f"grid {path} is owned by process {pid}, which does not serve it: close it there first",
                filename=str(path),
            ) from None
        grid.default_partitions = partitions
        grid._activity.limits = Limits(query_seconds, query_memory)
        self.grid: Grid = grid
        self.home: Path = grid.home
        self._stopped = False
        self._pid = os.getpid()
        self._requests = Requests(grid.open_grid, durability, Access(grid.open_grid, insecure=insecure))
        self._services: list[Service] = []
        self._stopping = threading.Event()
        try:
            if services is None:
                services = [FlightService(Endpoint.of_grid(grid.home), keep=stays_served), RingService(grid.home)]
            for endpoint in endpoints:
                check_users(endpoint, grid.open_grid, insecure)
            for service in services:
                self._start(service)
            for endpoint in endpoints:
                flight = self._service_of(endpoint)
                self._start(flight)
                self._start(FramedService(flight.endpoint, self._certificates_of(endpoint)))
            if self._certificates is not None:
                threading.Thread(target=self._look_at_certificates, name="gridflow-tls", daemon=True).start()
        except BaseException:
            self.stop()
            raise

    def _service_of(self, endpoint: Endpoint) -> FlightService:
        return FlightService(endpoint, certificates=self._certificates_of(endpoint))

    def _certificates_of(self, endpoint: Endpoint) -> Certificates | None:
        return self._certificates if endpoint.scheme == "grid+tls" else None

    def _look_at_certificates(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self.renew_certificates(always=False)

    def renew_certificates(self, *, always: bool = True) -> None:
        """Read the files of the certificate, and show what is in them from now on.

        Args:
            always: read them also where they seem to be the same.
        """
        if self._certificates is not None and self._certificates.look(always=always):
            for service in self._services:
                if isinstance(service, FlightService) and service.endpoint.scheme == "grid+tls":
                    service.renew()

    def _start(self, service: Service) -> None:
        try:
            service.start(self._requests)
        except BaseException:
            service.close()
            raise
        self._services.append(service)

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where it listens."""
        return list(dict.fromkeys(service.endpoint for service in self._services))

    @property
    def running(self) -> int:
        """How many requests are being worked on."""
        return self._requests.running

    def stop(self, grace: float = STOP_GRACE) -> int:
        """Refuse new requests, let running ones end, flush, and release the grid. May be called again.

        Args:
            grace: seconds that running requests get.

        Returns:
            how many requests were cut off; none of them was acknowledged.
        """
        if self._stopped or os.getpid() != self._pid:  # in a forked child it is the parent's
            return 0
        self._stopped = True
        self._stopping.set()
        self._requests.stop_accepting()
        # drain() has no limit of its own: a client that never ends its load must not keep the node.
        waiters = [threading.Thread(target=s.drain, name="gridflow-drain", daemon=True) for s in self._services]
        for waiter in waiters:
            waiter.start()
        for interrupt, seconds in ((False, grace), (True, _INTERRUPTED_GRACE)):
            if interrupt:
                self._requests.interrupt()
            deadline = time.monotonic() + seconds
            for waiter in waiters:
                waiter.join(max(0.0, deadline - time.monotonic()))
        cut = self.running if any(waiter.is_alive() for waiter in waiters) else 0
        for service in self._services:
            service.close()
        self._requests.close()
        self.grid.close()
        return cut

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
