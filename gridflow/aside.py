"""Calls of the main thread that run in a thread beside it, so that it goes on to answer signals.

Python runs handlers of signals in the main thread, between two of its own steps. A call of DuckDB's or gRPC's is one
step, however long it takes: what looks for signals within it comes late or never, and loses what the handler raises. So
the main thread only waits, and an exception of a handler ends the wait at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds of one wait: a signal that comes just before an endless wait would not end it.
_GLANCE_SECONDS = 0.1
#: Seconds between two requests to end; they are repeated, as one between two queries of a call is lost.
_REPEAT_SECONDS = 0.02
#: Seconds that a call gets to end, before it is left to itself.
_PATIENCE_SECONDS = 0.3


class _Call:
    """One call. ``ended`` is set, then ``waiter`` released, when there is an outcome."""

    __slots__ = ("action", "ended", "error", "result", "waiter")

    def __init__(self, action: Callable[[], Any]):
        self.action = action
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended = False
        self.waiter = threading.Lock()
        self.waiter.acquire()

    def run(self) -> None:
        """Run the action and keep its outcome."""
        try:
            self.result = self.action()
        except BaseException as error:  # the waiting thread raises it
            self.error = error
        self.ended = True
        self.waiter.release()


class _Aside:
    """The thread for the calls of the main thread, which alone may call it.

    Attributes:
        ident: of the thread that runs the calls now; None if there is none.
    """

    def __init__(self) -> None:
        self.ident: int | None = None
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()

    def run(self, action: Callable[[], T], interrupt: Callable[[int], object]) -> T:
        """As ``run`` below."""
        call = _Call(action)
        try:
            if self.ident is None:
                self._start()
            self._calls.put(call)
            while not call.ended:
                call.waiter.acquire(timeout=_GLANCE_SECONDS)
        except BaseException:
            self._end(call, interrupt)
            raise
        if call.error is not None:
            try:
                raise call.error
            finally:
                del call
        return call.result

    def _start(self) -> None:
        self._calls = SimpleQueue()
        thread = threading.Thread(target=_work, args=(self._calls,), name="gridflow-engine", daemon=True)
        thread.start()
        self.ident = thread.ident

    def _end(self, call: _Call, interrupt_thread: Callable[[int], object]) -> None:
        """Have a call end."""
        ident, ended = self.ident, False
        if ident is None:  # it has not begun
            return
        interrupt = partial(interrupt_thread, ident)
        try:
            ended = _wait_interrupting(call, interrupt, _PATIENCE_SECONDS)
        finally:
            if not ended:
                self.ident = None
                self._calls.put(None)
                waiting = (call, interrupt)
                threading.Thread(
                    target=_wait_interrupting, args=waiting, name="gridflow-interrupt", daemon=True
                ).start()


def _work(calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        call.run()
        del call


def _wait_interrupting(call: _Call, interrupt: Callable[[], object], seconds: float = float("inf")) -> bool:
    """Ask for the end of a call until it has ended, or time is up; whether it has."""
    give_up = time.monotonic() + seconds
    while not call.ended:
        if time.monotonic() > give_up:
            return False
        interrupt()
        call.waiter.acquire(timeout=_REPEAT_SECONDS)
    return True


_aside = _Aside()


def run(action: Callable[[], T], interrupt: Callable[[int], object]) -> T:
    """Call ``action`` and return its result, or raise its error; for the main thread, in a thread beside it.

    What a handler of a signal raises meanwhile is raised after the call has ended. One that does not end in time goes
    on by itself, and has nothing more to say: it may change nothing but its own.

    Args:
        action: the call.
        interrupt: has the call of a thread end, whose ident it gets; called again and again until it does, maybe by
            another thread. It does not wait.

    >>> run(lambda: 1 + 1, lambda thread: None)
    2
    """
    if threading.get_ident() != threading.main_thread().ident:
        return action()
    return _aside.run(action, interrupt)


def thread_for(waiting: int) -> int | None:
    """The thread that runs what a thread waits for: another one for the main thread."""
    return _aside.ident if waiting == threading.main_thread().ident else waiting


def _after_fork_in_child() -> None:
    _aside.ident = None  # the thread is the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
