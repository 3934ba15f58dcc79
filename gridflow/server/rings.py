"""A door of a node: shared memory, for small writes of processes of the same machine.

A client opens its ring (``ring_format.h``) with a message by the grid's socket, and what comes through it comes from
whom that message came from. What a message does, and who may have it done, is ``Requests``' matter, as at every door.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from pathlib import Path
from typing import Protocol

from .._native.ring_owner import RingDrain, ServedRing
from ..errors import UsageError
from ..protocols.address import Endpoint
from ..storage.expected_files import make_own_folder
from ..storage.ring_files import BELL, discard_rings, is_ring_name, ring_folder
from .access import Peer
from .requests import Requests
from .small import small_requests

_log = logging.getLogger("gridflow.server")


class Keeper(Protocol):
    """Who takes note of what becomes of rings."""

    def refused(self, ring: ServedRing, reason: str) -> None:
        """Take note of a client that has written what no client writes; in the thread of the rings."""

    def closed(self, ring: ServedRing) -> None:
        """Take note of a ring that is served no more. Any thread."""


class RingService:
    """Serves the rings of one grid; see ``node.Service``.

    One thread does all that comes through them; another sleeps until a client dies, whose ring then goes.

    Args:
        home: the grid's directory.
    """

    def __init__(self, home: Path):
        self.endpoint = Endpoint.of_grid(home)  # by which rings are opened
        self._home = home
        self._drain: RingDrain | None = None
        self._thread: threading.Thread | None = None
        self._deaths = _Deaths()

    def start(self, requests: Requests) -> None:
        """Serve rings from now on."""
        discard_rings(self._home)
        folder = ring_folder(self._home)
        make_own_folder(folder)
        self._drain = RingDrain(small_requests(requests), str(folder / BELL), self)
        self._thread = threading.Thread(target=self._drain.run, name="gridflow-rings", daemon=True)
        self._thread.start()
        requests.rings = self

    def drain(self) -> None:
        """Answer what was taken, and take no more."""
        if self._drain is None or self._thread is None:
            return
        self._drain.stop()
        self._thread.join()
        for ring in self._drain.opened:
            self._drain.close(ring, "the node is stopping")

    def close(self) -> None:
        """Remove the rings' files."""
        self._deaths.close()
        if self._drain is not None:
            discard_rings(self._home)

    # ---- of Requests ----

    def open(self, name: str, peer: Peer) -> None:
        """Serve the ring that a client has made under this name, for as long as the client lives.

        Raises:
            UsageError: it is no name of a ring, or that of one that is served.
            GridflowError: there is no ring.
        """
        assert self._drain is not None  # requests know of it since start
        path = str(ring_folder(self._home) / name)
        if not is_ring_name(name) or any(ring.path == path for ring in self._drain.opened):
            raise UsageError(f"{name!r} is no name of a new ring")
        ring = self._drain.open(path, peer)
        if not self._deaths.watch(ring.pid, lambda: self._died(ring), ring):
            self._died(ring)
            raise UsageError(f"the process that has made ring {name} does not live")

    def _died(self, ring: ServedRing) -> None:
        assert self._drain is not None
        self._drain.close(ring, "the client has died")

    # ---- Keeper ----

    def refused(self, ring: ServedRing, reason: str) -> None:
        _log.warning("closed a ring of process %s: %s", ring.pid, reason)

    def closed(self, ring: ServedRing) -> None:
        self._deaths.forget(ring)


class _Deaths:
    """Says when processes die. A thread of its own sleeps until one does; it begins with the first process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._epoll: select.epoll | None = None
        self._thread: threading.Thread | None = None
        self._end = -1, -1  # a pipe: what is written to it ends the thread
        self._calls: dict[int, tuple[object, object]] = {}  # pidfd -> what to call, whose it is

    def watch(self, pid: int, call: object, key: object) -> bool:
        """Call once when a process dies, unless ``forget(key)`` comes first. False if it is dead already.

        Of a process that cannot be watched (this one, one of another pid namespace) nothing is said.
        """
        if pid <= 0:
            return True
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        except OSError:  # the system cannot
            return True
        with self._lock:
            if self._epoll is None:
                self._epoll = select.epoll()
                self._end = os.pipe()
                self._epoll.register(self._end[0], select.EPOLLIN)
                self._thread = threading.Thread(target=self._run, name="gridflow-ring-deaths", daemon=True)
                self._thread.start()
            self._calls[fd] = call, key
            self._epoll.register(fd, select.EPOLLIN)
        return True

    def forget(self, key: object) -> None:
        """Say nothing of a process any more. May be called again."""
        with self._lock:
            for fd in [fd for fd, (_, other) in self._calls.items() if other is key]:
                self._drop(fd)

    def close(self) -> None:
        """End the thread, and wait for it."""
        with self._lock:
            thread, self._thread = self._thread, None
            for fd in list(self._calls):
                self._drop(fd)
            if thread is not None:
                os.write(self._end[1], b"\0")
        if thread is not None and self._epoll is not None:
            thread.join()
            self._epoll.close()
            for end in self._end:
                os.close(end)

    def _drop(self, fd: int) -> None:
        del self._calls[fd]
        if self._epoll is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)
        os.close(fd)

    def _run(self) -> None:
        assert self._epoll is not None
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._end[0]:
                    return
                with self._lock:
                    # The number may be another client's by now.
                    ended = fd in self._calls and select.select([fd], [], [], 0)[0]
                    call = self._calls[fd][0] if ended else None
                    if call is not None:
                        self._drop(fd)
                if callable(call):
                    call()
