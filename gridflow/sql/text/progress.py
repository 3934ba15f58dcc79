"""How far a long statement is, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a statement is.

    Attributes:
        what: the file that is read or written.
        rows: how many so far.
        done, total: bytes of a file that is read, rows of one that is written.
    """

    what: str
    rows: int
    done: int
    total: int


#: What ``Grid.sql`` takes as ``progress``. It is called from the thread that runs the statement, many times a second.
Report = Callable[[Progress], None]

_report: ContextVar[Report | None] = ContextVar("gridflow_progress", default=None)


@contextmanager
def reporting(report: Report | None) -> Iterator[None]:
    """Have the statements that run inside report."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def report(what: str, rows: int, done: int, total: int) -> None:
    """Say how far the statement is, if somebody wants to know."""
    wanted = _report.get()
    if wanted is not None:
        wanted(Progress(what, rows, done, total))
