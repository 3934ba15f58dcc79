"""The thread that statements run in: Ctrl-C ends one, and what is reported is what came of it."""

from __future__ import annotations

import os
import queue
import signal
import threading

import pytest

from gridflow.cli.shell.worker import Worker, _Task
from gridflow.errors import SqlError
from gridflow.sql.engine import connection as engine

ENDLESS = "SELECT COUNT(*) FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3"


@pytest.fixture
def worker():
    worker = Worker(lambda: False)
    yield worker
    worker.close()


class ControlC:
    """Presses Ctrl-C, once for each ``press``, from a thread of its own."""

    def __init__(self):
        self.pressed = threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()

    def press(self) -> None:
        self.pressed.release()

    def _run(self) -> None:
        while self.pressed.acquire(timeout=60):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_call_gives_its_result_or_raises_its_error(worker):
    assert worker.run(lambda: 41 + 1) == 42
    with pytest.raises(ZeroDivisionError):
        worker.run(lambda: 1 / 0)
    assert worker.run(threading.current_thread) is worker.run(threading.current_thread)


def test_control_c_ends_a_query_of_the_engine(worker):
    control_c = ControlC()

    def query():
        control_c.press()
        engine.run(ENDLESS, {})

    with pytest.raises(KeyboardInterrupt):
        worker.run(query)
    assert worker.interrupted and not worker.left
    assert worker.run(lambda: engine.run("SELECT 1 AS A", {}).to_pydict()) == {"A": [1]}
    assert not worker.interrupted


@pytest.mark.parametrize("begun", [False, True])
def test_control_c_just_when_the_thread_is_told(worker, begun):
    """The query has begun or it never will: none goes on that nobody waits for, and keeps the process from its end."""
    worker.run(lambda: None)
    begin, started, ended = threading.Event(), threading.Event(), threading.Event()

    def query():
        started.set()
        try:
            engine.run(ENDLESS, {})
        finally:
            ended.set()

    class Told(queue.SimpleQueue):
        def put(self, task):
            if not begun:  # the thread has other things to do
                super().put(_Task(begin.wait))
            super().put(task)
            assert not begun or started.wait(60)
            raise KeyboardInterrupt

    tasks = worker._tasks
    told = Told()
    worker._tasks = told
    tasks.put(_Task(lambda: worker._loop(told, threading.Event())))
    with pytest.raises(KeyboardInterrupt):
        worker.run(query)
    begin.set()
    assert ended.is_set() == started.is_set() == begun
    queue.SimpleQueue.put(told, None)
    worker._tasks = tasks
    assert worker.run(lambda: engine.run("SELECT 1 AS A", {}).to_pydict()) == {"A": [1]}
    assert started.is_set() == begun


def test_control_c_ends_code_that_the_engine_knows_nothing_of(worker):
    control_c = ControlC()

    def spin():
        control_c.press()
        while True:
            pass

    with pytest.raises(KeyboardInterrupt):
        worker.run(spin)
    assert worker.run(lambda: 1) == 1


def test_what_was_done_before_control_c_came_is_reported_as_done():
    asked = threading.Event()

    def cancel() -> bool:
        asked.set()
        return True

    worker, control_c = Worker(cancel), ControlC()

    def commit():
        control_c.press()
        asked.wait()
        return "done"

    assert worker.run(commit) == "done"
    assert worker.interrupted
    worker.close()


def test_an_error_of_what_was_cancelled_is_no_error():
    asked = threading.Event()
    worker, control_c = Worker(lambda: not asked.set()), ControlC()

    def statement():
        control_c.press()
        asked.wait()
        raise SqlError("cancelled; nothing of the statement was done")

    with pytest.raises(KeyboardInterrupt):
        worker.run(statement)
    worker.close()


def test_control_c_twice_leaves_an_owner_alone_that_does_not_answer():
    control_c, answer = ControlC(), threading.Event()

    def cancel() -> bool:
        control_c.press()
        return True

    worker = Worker(cancel)

    def statement():
        control_c.press()
        answer.wait()

    with pytest.raises(KeyboardInterrupt):
        worker.run(statement)
    assert worker.left
    assert worker.run(lambda: 1) == 1 and not worker.left
    answer.set()
    worker.close()


def test_a_thread_that_was_struck_is_given_up_with_what_it_holds(worker):
    control_c = ControlC()
    assert worker.run(lambda: 1) == 1 and not worker.lost

    def spin():
        control_c.press()
        while True:
            pass

    before = worker.run(threading.current_thread)
    with pytest.raises(KeyboardInterrupt):
        worker.run(spin)
    assert worker.lost
    assert worker.run(threading.current_thread) is not before
    assert not worker.lost
