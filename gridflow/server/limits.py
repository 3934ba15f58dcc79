"""What one client may take of a node: logins that fail, and requests at once."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import GridAccessError, GridConnectionError

#: So many logins of one name at one address may fail one after the other, and of any names at one address, before the
#: next has to wait: a second, then twice as long each time, up to LONGEST_WAIT.
FREE_BY_NAME, FREE_BY_ADDRESS = 5, 20
LONGEST_WAIT = 60.0
#: What is remembered of failed logins at most.
_MOST_KEPT = 10_000
#: Passwords that are looked at at once, each of which takes a core for some tenths of a second and 32 MiB; and logins
#: that wait for that.
PASSWORDS_AT_ONCE, _MOST_WAITING = 2, 32
_WAIT_SECONDS = 10.0
#: Requests of one user at one address that run at once.
REQUESTS_AT_ONCE = 256


class Logins:
    """Slows down who guesses passwords. Any thread may call it.

    Where an address is not known (a Handshake of Arrow Flight tells none) it is empty, and only names count.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._failed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # how many, and until when
        self._waiting = 0
        self._turn = threading.BoundedSemaphore(PASSWORDS_AT_ONCE)

    @contextmanager
    def attempt(self, user: str, address: str) -> Iterator[None]:
        """Around the look at a password: refuses it, or waits for its turn.

        Raises:
            GridAccessError: too many have failed, or wait.
        """
        now = time.monotonic()
        with self._lock:
            left = max((self._failed.get(key, (0, 0.0))[1] - now for key in _keys(user, address)), default=0.0)
            if left > 0:
                raise GridAccessError(f"too many logins have failed: try again in {left:.0f} s")
            if self._waiting >= _MOST_WAITING:
                raise GridAccessError("too many logins at once: try again in a moment")
            self._waiting += 1
        try:
            if not self._turn.acquire(timeout=_WAIT_SECONDS):
                raise GridAccessError("too many logins at once: try again in a moment")
        finally:
            with self._lock:
                self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()

    def failed(self, user: str, address: str) -> None:
        """Take note that a login was wrong."""
        now = time.monotonic()
        with self._lock:
            for key in _keys(user, address):
                count = self._failed.pop(key, (0, 0.0))[0] + 1
                over = count - (FREE_BY_NAME if key[0] else FREE_BY_ADDRESS)
                wait = min(LONGEST_WAIT, 2.0 ** min(over, 10)) if over >= 0 else 0.0
                self._failed[key] = count, now + wait
            while len(self._failed) > _MOST_KEPT:
                self._failed.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        """Take note that a login was right: those of this name that failed here are forgotten."""
        with self._lock:
            self._failed.pop((f"name {user}", address), None)


def _keys(user: str, address: str) -> list[tuple[str, str]]:
    return [(f"name {user}", address), *([("", address)] if address else [])]


class RequestLimit:
    """How many requests of one client run at once.

    >>> limit = RequestLimit(1)
    >>> with limit.running("KATE"), limit.running("BOB"):
    ...     with limit.running("KATE"):
    ...         pass
    Traceback (most recent call last):
    ...
    gridflow.errors.GridConnectionError: 1 request of this client runs already: try again when one has ended
    """

    def __init__(self, most: int = REQUESTS_AT_ONCE):
        self._most = most
        self._lock = threading.Lock()  # guards _running
        self._running: Counter[object] = Counter()

    @contextmanager
    def running(self, client: object) -> Iterator[None]:
        """Around a request of ``client``.

        Raises:
            GridConnectionError: too many run.
        """
        with self._lock:
            if self._running[client] >= self._most:
                what = "request of this client runs" if self._most == 1 else "requests of this client run"
                raise GridConnectionError(f"{self._most} {what} already: try again when one has ended")
            self._running[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[client] -= 1
                if not self._running[client]:
                    del self._running[client]
