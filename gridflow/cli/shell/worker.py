"""The thread of a session's statements, so that Ctrl-C can end one and leave the rest sound."""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ...sql.engine.connection import interrupt

T = TypeVar("T")

#: Seconds between two requests to end; requests are repeated, as one between two queries of a statement is lost.
_REPEAT_SECONDS = 0.2
#: Seconds for the engine or an owner to end a statement, before the Python code of the thread is interrupted, too.
_PATIENCE_SECONDS = 1.0
#: Seconds of one wait, so that a Ctrl-C just before a wait is noticed soon.
_GLANCE_SECONDS = 0.2


class _Task:
    """One call: the action, then the result or the error. ``done`` is set last.

    The thread that wins ``claim`` decides whether the action runs; only the thread that runs it writes the outcome.
    """

    def __init__(self, action: Callable[[], Any]):
        self.action = action
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self._claim_lock = threading.Lock()

    def claim(self) -> bool:
        """Whether the caller is the first one, and so decides whether the action runs."""
        return self._claim_lock.acquire(blocking=False)

    def run(self) -> None:
        """Run the action, and keep the result or the error."""
        try:
            self.result = self.action()
        except BaseException as error:  # the waiting thread raises it
            self.error = error


class Worker:
    """Owns a thread and runs one call at a time in it, waiting for the end. For the main thread only.

    Ctrl-C reaches the main thread in the wait. The main thread then asks the query engine to stop, and through
    ``cancel`` the owner of a served grid, until the call ends. The outcome is always the real one: a call that
    finished its change all the same returns normally. Python code, such as a file being read, gets a
    KeyboardInterrupt after a second.

    Args:
        cancel: asks the owner to end the requests of this client; returns whether there were any.

    Attributes:
        interrupted: whether Ctrl-C was pressed during the last call, whatever the outcome.
        left: whether the last call still runs: the owner did not answer, and Ctrl-C was pressed again.
        lost: whether the next call gets a new thread; a transaction of the old thread is rolled back.
    """

    def __init__(self, cancel: Callable[[], bool]):
        self.interrupted = self.left = self.lost = False
        self._cancel = cancel
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._old_threads: list[threading.Thread] = []  # threads in their last call

    def run(self, action: Callable[[], T]) -> T:
        """Call ``action`` in the thread and return the result.

        Raises:
            KeyboardInterrupt: Ctrl-C has ended the call.
        """
        self.interrupted = self.left = self.lost = False
        if self._thread is None:
            self._start()
        task = _Task(action)
        try:
            self._tasks.put(task)
            # Short waits: a signal just before an endless wait would not end it.
            while not task.done.wait(_GLANCE_SECONDS):
                pass
        except KeyboardInterrupt:
            self.interrupted = True
            if task.claim():  # the action had not begun, and now never will
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
        """End the thread; the next ``run`` starts another.

        The thread must end before the interpreter: a return from the engine after that brings the process down.
        """
        self._leave()
        for thread in self._old_threads:
            thread.join(timeout=_PATIENCE_SECONDS)
        self._old_threads.clear()

    def _start(self) -> None:
        ready = threading.Event()
        self._tasks = queue.SimpleQueue()
        target = (self._tasks, ready)
        self._thread = threading.Thread(target=self._loop, args=target, name="gridflow-statements", daemon=True)
        self._thread.start()
        ready.wait()

    def _loop(self, tasks: queue.SimpleQueue[_Task | None], ready: threading.Event) -> None:
        ready.set()
        while (task := tasks.get()) is not None:
            if task.claim():
                task.run()
                task.done.set()

    def _leave(self) -> None:
        """Give the thread up; it ends after its call. A late interrupt could hit the next call of the same thread."""
        self.lost = True
        self._tasks.put(None)
        if self._thread is not None:
            self._old_threads = [*(thread for thread in self._old_threads if thread.is_alive()), self._thread]
        self._thread = None

    def _end(self, task: _Task) -> None:
        """Ask for the end of the call until it ends. Another Ctrl-C leaves a call at an owner elsewhere alone."""
        thread, elapsed, remote, struck = self._thread, 0.0, False, False
        assert thread is not None  # that of the task
        try:
            while thread.is_alive() and not task.done.is_set():
                interrupt(thread.ident or 0)
                remote = self._cancel()
                task.done.wait(_REPEAT_SECONDS)
                elapsed += _REPEAT_SECONDS
                if elapsed >= _PATIENCE_SECONDS and not remote and not struck:
                    struck = True
                    _interrupt(thread)
        except KeyboardInterrupt:
            while not remote and thread.is_alive() and not task.done.is_set():
                task.done.wait(_REPEAT_SECONDS)  # a change in this process must end first, not stay half done
        self.left = not task.done.is_set() and thread.is_alive()
        if struck:
            self._leave()


def _interrupt(thread: threading.Thread) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt))
