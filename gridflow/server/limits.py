"""What one client may take of a node: logins that fail, and requests at once."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from ..errors import GridAccessError, GridConnectionError

#: So many logins of one name at one address may fail one after the other, and of any names at one address, before the
#: next has to wait: a second, then twice as long each time, up to LONGEST_WAIT.
FREE_BY_NAME, FREE_BY_ADDRESS = 5, 20
LONGEST_WAIT = 60.0
#: Seconds after the last failure when those before it count no more, and after a login when it does.
FORGET_SECONDS, KNOWN_SECONDS = 600.0, 12 * 3600.0
#: What is remembered of failed logins at most, and of others.
_MOST_KEPT = 10_000
#: Passwords that are looked at at once, each of which takes a core for some tenths of a second and 32 MiB; and of those
#: where it is not known from where they come.
PASSWORDS_AT_ONCE, _OF_UNKNOWN = 2, 1
#: Logins that wait for that, of one address and of all.
MOST_WAITING_OF_ONE, MOST_WAITING = 8, 64
_WAIT_SECONDS = 10.0
#: Requests of one user at one address that run at once.
REQUESTS_AT_ONCE = 256


class _Failures(NamedTuple):
    """Logins that have failed: how many, when the last, and until when the next has to wait."""

    times: int = 0
    last: float = -math.inf
    until: float = 0.0


class Logins:
    """Slows down who guesses passwords, and keeps a way in for the others. Any thread may call it.

    Whoever floods a node with wrong logins takes neither all turns nor makes others wait for good:

    - An address that has failed too often holds back only names that have failed there, too.
    - Where the address is not known (a Handshake of Arrow Flight tells none) it is empty. All of those share one
      counter, one turn and one queue, so who shows the password with a call, which has an address, waits for none of
      them.
    - A name that has logged in at an address within KNOWN_SECONDS is held back by its own failures alone.
    - Failures are forgotten FORGET_SECONDS after the last one; a login that is right forgets those of its name and half
      of its address's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._failed: OrderedDict[tuple[str, str], _Failures] = OrderedDict()  # by name, or "", and address
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()  # name and address -> when it has logged in
        self._waiting: Counter[str] = Counter()  # by address
        self._turn = threading.BoundedSemaphore(PASSWORDS_AT_ONCE)
        self._turn_of_unknown = threading.BoundedSemaphore(_OF_UNKNOWN)

    @contextmanager
    def attempt(self, user: str, address: str) -> Iterator[None]:
        """Around the look at a password: refuses it, or waits for its turn.

        Raises:
            GridAccessError: too many have failed, or wait.
        """
        name, of_address = _keys(user, address)
        now = time.monotonic()
        with self._lock:
            is_known = now - self._known.get(name, -math.inf) < KNOWN_SECONDS
            until = self._failures(name, now).until
            if not is_known and (not address or self._failures(name, now).times):
                until = max(until, self._failures(of_address, now).until)
            if until > now:
                raise GridAccessError(f"too many logins have failed: try again in {until - now:.0f} s")
            if (self._waiting[address] >= MOST_WAITING_OF_ONE and not is_known) or (
                self._waiting.total() >= MOST_WAITING
            ):
                raise _busy()
            self._waiting[address] += 1
        with ExitStack() as turns:
            try:
                for turn in (self._turn,) if address else (self._turn_of_unknown, self._turn):
                    if not turn.acquire(timeout=_WAIT_SECONDS):
                        raise _busy()
                    turns.callback(turn.release)
            finally:
                with self._lock:
                    self._waiting[address] -= 1
                    if not self._waiting[address]:
                        del self._waiting[address]
            yield

    def failed(self, user: str, address: str) -> None:
        """Take note that a login was wrong."""
        now = time.monotonic()
        with self._lock:
            for key, free in zip(_keys(user, address), (FREE_BY_NAME, FREE_BY_ADDRESS), strict=True):
                count = self._failures(key, now).times + 1
                wait = min(LONGEST_WAIT, 2.0 ** min(count - free, 10)) if count >= free else 0.0
                self._failed[key] = _Failures(count, now, now + wait)
                self._failed.move_to_end(key)
            while len(self._failed) > _MOST_KEPT:
                self._failed.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        """Take note that a login was right."""
        name, of_address = _keys(user, address)
        now = time.monotonic()
        with self._lock:
            self._failed.pop(name, None)
            failures = self._failures(of_address, now)
            if failures.times:
                self._failed[of_address] = _Failures(failures.times // 2, failures.last)
            self._known[name] = now
            self._known.move_to_end(name)
            while len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)

    def _failures(self, key: tuple[str, str], now: float) -> _Failures:
        """Those of a name or an address that still count; with the lock held."""
        failures = self._failed.get(key, _NONE)
        return failures if now - failures.last < FORGET_SECONDS else _NONE


_NONE = _Failures()


def _keys(user: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    # A name may be shown in upper or lower case: those are not as many names.
    return (f"name {user.upper()}", address), ("", address)


def _busy() -> GridAccessError:
    return GridAccessError("too many logins at once: try again in a moment")


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
