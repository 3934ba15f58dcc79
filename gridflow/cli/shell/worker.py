"""The thread that a session's statements run in, so that Ctrl-C can end one and leave the rest sound."""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ...sql.engine.connection import connection

T = TypeVar("T")

#: Seconds between two requests to end: one that comes between two queries of a statement is lost.
_AGAIN = 0.2
#: Seconds that the engine or an owner has to end a statement, before Python code of ours is interrupted, too.
_PATIENCE = 1.0
#: Seconds after which a wait looks whether Ctrl-C was pressed.
_GLANCE = 0.2


class _Task:
    """One call: what to do, and then what came of it. ``done`` is set last."""

    def __init__(self, action: Callable[[], Any]):
        self.action = action
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """Whether it falls to the caller, the first one, to run it or not."""
        return self._claimed.acquire(blocking=False)

    def run(self) -> None:
        """Run it, and keep what comes of it."""
        try:
            self.result = self.action()
        except BaseException as error:  # the one who waits raises it
            self.error = error


class Worker:
    """Runs one call at a time in a thread of its own and waits for it. Only the main thread uses it.

    Ctrl-C reaches the main thread, which waits. It asks the query engine to stop, and with ``cancel`` the owner of a
    served grid, until the call ends. What is reported is always what came of it: a change that had been made is
    reported as made. Code that is neither the engine's nor the owner's, say a file being read, gets a
    KeyboardInterrupt after a second.

    Args:
        cancel: asks the owner to end what it does for us; returns whether there was something.

    Attributes:
        interrupted: whether Ctrl-C was pressed during the last call, whatever came of it.
        left: whether the last call was left to itself: its owner did not answer, and Ctrl-C was pressed again.
        lost: whether the next call has another thread than the last one: a transaction of the old one is rolled back.
    """

    def __init__(self, cancel: Callable[[], bool]):
        self.interrupted = self.left = self.lost = False
        self._cancel = cancel
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ending: list[threading.Thread] = []  # those of before, which may still be about to end
        self._engine: Any = None  # the query engine's connection of that thread

    def run(self, action: Callable[[], T]) -> T:
        """Call ``action`` and return what it returns.

        Raises:
            KeyboardInterrupt: Ctrl-C has ended it.
        """
        self.interrupted = self.left = self.lost = False
        if self._thread is None:
            self._start()
        task = _Task(action)
        try:
            self._tasks.put(task)
            # Not for ever at once: a signal that comes just before the wait begins would not end it.
            while not task.done.wait(_GLANCE):
                pass
        except KeyboardInterrupt:
            self.interrupted = True
            if task.claim():  # it had not begun, and now it will not
                raise
            self._end(task)
        if not task.done.is_set():
            self._leave()
        if not task.done.is_set() or (self.interrupted and task.error is not None):
            raise KeyboardInterrupt
        if task.error is not None:
            raise task.error
        return task.result

    def close(self) -> None:
        """End the thread. The next ``run`` starts another.

        Python must not end before it: a thread that comes back from the engine then brings the process down.
        """
        self._leave()
        for thread in self._ending:
            thread.join(timeout=_PATIENCE)
        self._ending.clear()

    def _start(self) -> None:
        ready = threading.Event()
        self._tasks = queue.SimpleQueue()
        target = (self._tasks, ready)
        self._thread = threading.Thread(target=self._loop, args=target, name="gridflow-statements", daemon=True)
        self._thread.start()
        ready.wait()

    def _loop(self, tasks: queue.SimpleQueue[_Task | None], ready: threading.Event) -> None:
        self._engine = connection()
        ready.set()
        while (task := tasks.get()) is not None:
            if task.claim():
                task.run()
                task.done.set()

    def _leave(self) -> None:
        """Have the thread end after what it does, and use it no more: a late interrupt may still reach it."""
        self.lost = True
        self._tasks.put(None)
        if self._thread is not None:
            self._ending = [*(thread for thread in self._ending if thread.is_alive()), self._thread]
        self._thread = self._engine = None

    def _end(self, task: _Task) -> None:
        """Ask for an end until there is one. Ctrl-C again leaves an owner elsewhere alone."""
        thread, waited, remote, struck = self._thread, 0.0, False, False
        assert thread is not None  # it runs the task
        try:
            while thread.is_alive() and not task.done.is_set():
                self._engine.interrupt()
                remote = self._cancel()
                task.done.wait(_AGAIN)
                waited += _AGAIN
                if waited >= _PATIENCE and not remote and not struck:
                    struck = True
                    _interrupt(thread)
        except KeyboardInterrupt:
            while not remote and thread.is_alive() and not task.done.is_set():
                task.done.wait(_AGAIN)  # a change that is half made here ends before anything else is done
        self.left = not task.done.is_set() and thread.is_alive()
        if struck:
            self._leave()


def _interrupt(thread: threading.Thread) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt))
