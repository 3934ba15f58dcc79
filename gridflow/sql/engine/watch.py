"""Statements that are ended before they are done: at their time limit, or as nobody waits for them any more."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...errors import GridflowError, QueryTimeoutError

#: Seconds between two looks at the statements under watch.
_LOOK_SECONDS = 0.05


class Watch:
    """A statement under watch, in the thread that has begun it.

    Attributes:
        error: what the statement is to raise, once it is to end.
        memory: bytes that the engine may take for such statements; None for what the machine has.
        interrupt: ends what the engine does for it now.
    """

    def __init__(self, is_unwanted: Callable[[], GridflowError | None] | None = None):
        self.error: GridflowError | None = None
        self.memory: int | None = None
        self.interrupt: Callable[[], object] | None = None
        self._is_unwanted = is_unwanted
        self._deadline = float("inf")
        self._seconds = 0.0

    def check(self) -> None:
        """Raise what there is to raise."""
        self.look()
        if self.error is not None:
            raise self.error

    def look(self) -> None:
        """See whether the statement is to end."""
        if self.error is None and time.monotonic() > self._deadline:
            self.error = QueryTimeoutError(
                f"the statement has run for {self._seconds:g} s, its time limit; nothing of it was done. "
                "SET QUERY_TIMEOUT = milliseconds sets another one, 0 none"
            )
        if self.error is None and self._is_unwanted is not None:
            self.error = self._is_unwanted()

    @contextmanager
    def limited(self, seconds: float | None, memory: int | None) -> Iterator[None]:
        """Within the block, the statement takes no more than this; an outer limit that is lower stays."""
        before = self._deadline, self._seconds, self.memory
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        if seconds is not None and deadline < self._deadline:
            self._deadline, self._seconds = deadline, seconds
        if memory is not None and (self.memory is None or memory < self.memory):
            self.memory = memory
        try:
            yield
        finally:
            self._deadline, self._seconds, self.memory = before


_local = threading.local()  # .watch: of what this thread runs now, if it is under watch
_wake = threading.Event()  # set while something is under watch
_lock = threading.Lock()  # guards what follows
_watches: set[Watch] = set()
_thread: threading.Thread | None = None


def current() -> Watch | None:
    """The watch of what this thread runs now."""
    return getattr(_local, "watch", None)


def check() -> None:
    """Raise if the statement of this thread is to end."""
    watch = current()
    if watch is not None:
        watch.check()


@contextmanager
def watching(is_unwanted: Callable[[], GridflowError | None] | None = None) -> Iterator[Watch]:
    """Have what this thread runs within the block under watch; within another such block it is that one's.

    Args:
        is_unwanted: asked now and then, by another thread: the error that ends it, or None.
    """
    watch = current()
    if watch is not None:
        yield watch
        return
    watch = _local.watch = Watch(is_unwanted)
    _add(watch)
    try:
        yield watch
    finally:
        _local.watch = None
        with _lock:
            _watches.discard(watch)


def _add(watch: Watch) -> None:
    global _thread
    with _lock:
        _watches.add(watch)
        if _thread is None:
            _thread = threading.Thread(target=_look_at_all, name="gridflow-watch", daemon=True)
            _thread.start()
    _wake.set()


def _look_at_all() -> None:
    while True:
        _wake.wait()
        time.sleep(_LOOK_SECONDS)
        with _lock:
            watches = list(_watches)
            if not watches:
                _wake.clear()
        for watch in watches:
            with _lock:  # so that it does not end meanwhile, and what it asks with it
                if watch not in _watches:
                    continue
                watch.look()
                interrupt = watch.interrupt
                if watch.error is not None and interrupt is not None:  # again and again: one that comes early is lost
                    interrupt()


def _after_fork_in_child() -> None:
    global _lock, _wake, _thread
    _lock, _wake, _thread = threading.Lock(), threading.Event(), None
    _watches.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
