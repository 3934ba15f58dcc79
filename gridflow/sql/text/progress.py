"""The progress of a long statement, for whoever waits for the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The progress of a statement.

    Attributes:
        what: the file that is read or written.
        rows: how many so far.
        done: bytes of a file that is read so far, or rows of one that is written.
        total: how many of them there are.
    """

    what: str
    rows: int
    done: int
    total: int


#: The ``progress`` of ``Grid.sql``. The thread that runs the statement calls the function, many times a second.
Report = Callable[[Progress], None]

_listener: ContextVar[Report | None] = ContextVar("gridflow_progress", default=None)


@contextmanager
def reporting(report: Report | None) -> Iterator[None]:
    """Have the statements inside the ``with`` block call ``report``; None for silence."""
    token = _listener.set(report)
    try:
        yield
    finally:
        _listener.reset(token)


def report(what: str, rows: int, done: int, total: int) -> None:
    """Tell the listener, if there is one, how far the statement is."""
    listener = _listener.get()
    if listener is not None:
        listener(Progress(what, rows, done, total))
