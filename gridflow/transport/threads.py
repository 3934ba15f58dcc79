"""Threads that wait for places elsewhere: a process may end while they do."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ..errors import GridConnectionError

_T = TypeVar("_T")
_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class Threads:
    """Threads that carry out calls, in the order in which these come; unlike an executor's they keep no process alive.

    Args:
        count: how many there are at most.
        name: what theirs begin with.
    """

    def __init__(self, count: int, name: str):
        self._count = count
        self._name = name
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the rest
        self._started = 0
        self._waiting = 0  # calls that are not done

    def submit(self, call: Callable[..., _T], *arguments: Any) -> Future[_T]:
        """Have a call carried out.

        Raises:
            GridConnectionError: the process ends.
        """
        result: Future[_T] = Future()
        with self._lock:
            self._waiting += 1
            if self._started < min(self._count, self._waiting):
                name = f"{self._name}-{self._started}"
                try:
                    threading.Thread(target=self._work, name=name, daemon=True).start()
                except RuntimeError:
                    self._waiting -= 1
                    raise GridConnectionError("the process ends: nothing is asked for any more") from None
                self._started += 1
        self._calls.put((result, call, arguments))
        return result

    def _work(self) -> None:
        while (one := self._calls.get()) is not None:
            result, call, arguments = one
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(call(*arguments))
                except BaseException as error:
                    result.set_exception(error)
            del one, result, call, arguments
            with self._lock:
                self._waiting -= 1

    def close(self) -> None:
        """Have the threads end once what they are at is done; what was not begun is cancelled."""
        with contextlib.suppress(queue.Empty):
            while (one := self._calls.get_nowait()) is not None:
                one[0].cancel()
        for _ in range(self._count):
            self._calls.put(None)
