"""What clients hold in a node by a name that nobody can guess: limited in number and in time."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import UsageError

T = TypeVar("T")


@dataclass
class _Held(Generic[T]):
    thing: T
    owner: str
    used: float
    size: int


class Handles(Generic[T]):
    """Things of one kind, by handle. Any thread may call it.

    Args:
        what: what they are, for messages.
        each: how many one owner may have; of more the one that was used the longest ago goes, or, with ``refuses``,
            the new one is refused.
        most: the same of all owners together.
        seconds: after its last use one goes.
        end: called with each that goes by itself.
        is_busy: whether one is in use just now, so that it stays.
        refuses: whether a new one is refused where there are too many.
        each_bytes, most_bytes: as ``each`` and ``most``, of the bytes that they take; one that takes more is refused.
    """

    def __init__(
        self,
        what: str,
        *,
        each: int,
        most: int,
        seconds: float,
        end: Callable[[T], None] = lambda thing: None,
        is_busy: Callable[[T], bool] = lambda thing: False,
        refuses: bool = False,
        each_bytes: int = 1 << 62,
        most_bytes: int = 1 << 62,
    ):
        self._what, self._each, self._most, self._seconds = what, each, most, seconds
        self._end, self._is_busy, self._refuses = end, is_busy, refuses
        self._each_bytes, self._most_bytes = each_bytes, most_bytes
        self._lock = threading.Lock()  # guards what follows
        self._held: OrderedDict[bytes, _Held[T]] = OrderedDict()  # by time of use
        self._counts: Counter[str] = Counter()  # by owner, and so is the next
        self._sizes: Counter[str] = Counter()
        self._timer: threading.Timer | None = None

    def __len__(self) -> int:
        return len(self._held)

    def add(self, owner: str, thing: T, size: int = 0) -> bytes:
        """Hold a thing that takes so many bytes; returns its handle.

        Raises:
            UsageError: the owner has too many, or it is too large.
        """
        self._check_size(size)
        self.sweep()
        with self._lock:
            if self._refuses and (self._counts[owner] >= self._each or len(self._held) >= self._most):
                raise UsageError(
                    f"there are {self._each} {self._what}s of this user, or {self._most} in all: end some of them first"
                )
            gone = self._make_room(owner, size, 1)
            handle = secrets.token_bytes(16)
            self._held[handle] = _Held(thing, owner, time.monotonic(), size)
            self._counts[owner] += 1
            self._sizes[owner] += size
            self._set_timer()
        for one in gone:
            self._end(one)
        return handle

    def resize(self, owner: str, handle: bytes, size: int) -> None:
        """Say that a thing takes another number of bytes by now.

        Raises:
            UsageError: as ``get`` and ``add``; the thing stays as large as it was.
        """
        self._check_size(size)
        self.get(owner, handle)  # which puts it at the end
        with self._lock:
            held = self._held.get(handle)
            if held is None:
                return
            gone = self._make_room(owner, size - held.size, 0)
            self._sizes[owner] += size - held.size
            held.size = size
        for one in gone:
            self._end(one)

    def _check_size(self, size: int) -> None:
        if size > min(self._each_bytes, self._most_bytes):
            raise UsageError(f"a {self._what} takes {self._each_bytes >> 20} MiB at most")

    def _make_room(self, owner: str, size: int, count: int) -> list[T]:
        """Take away what was used the longest ago, so that so much more can be held; with the lock held."""
        gone = []
        for whose, each, most in ((owner, self._each, self._each_bytes), (None, self._most, self._most_bytes)):
            while (len(self._held) if whose is None else self._counts[whose]) + count > each or (
                self._sizes.total() if whose is None else self._sizes[whose]
            ) + size > most:
                gone.append(self._pop(next(h for h, held in self._held.items() if whose in (None, held.owner))))
        return gone

    def get(self, owner: str, handle: bytes) -> T:
        """The thing of a handle, which is in use now.

        Raises:
            UsageError: the owner has none of that handle, or it is gone.
        """
        with self._lock:
            held = self._held.get(handle)
            if held is None or held.owner != owner:
                raise UsageError(
                    f"there is no such {self._what}: it was closed, or nobody asked for it for {self._seconds:g} s"
                )
            held.used = time.monotonic()
            self._held.move_to_end(handle)
            return held.thing

    def has(self, owner: str, handle: bytes) -> bool:
        """Whether the owner has a thing of that handle."""
        with self._lock:
            held = self._held.get(handle)
            return held is not None and held.owner == owner

    def take(self, owner: str, handle: bytes) -> T:
        """The same, and hold it no more."""
        thing = self.get(owner, handle)
        with self._lock:
            if handle in self._held:
                self._pop(handle)
        return thing

    def clear(self) -> None:
        """Hold nothing more."""
        with self._lock:
            gone = [self._pop(handle) for handle in list(self._held)]
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for one in gone:
            self._end(one)

    def sweep(self) -> None:
        """Let go of what nobody has asked for in time."""
        gone = []
        with self._lock:
            before = time.monotonic() - self._seconds
            for handle, held in list(self._held.items()):
                if held.used > before:
                    break
                if self._is_busy(held.thing):
                    held.used = time.monotonic()
                    self._held.move_to_end(handle)
                else:
                    gone.append(self._pop(handle))
        for one in gone:
            self._end(one)

    def _pop(self, handle: bytes) -> T:
        held = self._held.pop(handle)
        self._counts[held.owner] -= 1
        self._sizes[held.owner] -= held.size
        if not self._counts[held.owner]:
            del self._counts[held.owner], self._sizes[held.owner]
        return held.thing

    def _set_timer(self) -> None:
        """Have ``sweep`` called when the oldest thing is due; with the lock held."""
        if self._timer is None and self._held:
            self._timer = threading.Timer(self._seconds, self._on_time)
            self._timer.daemon = True
            self._timer.start()

    def _on_time(self) -> None:
        self.sweep()
        with self._lock:
            self._timer = None
            self._set_timer()
