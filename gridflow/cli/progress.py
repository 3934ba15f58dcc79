"""The progress of a load or a COPY, as a bar on the terminal; without a terminal there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .common import human_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from ..sql import Report


def progress_bar(console: Console) -> Progress:
    """A bar with rows, bytes and elapsed time; a task needs the fields ``rows`` and ``size``."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rows]:,} rows"),
        TextColumn("{task.fields[size]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


@contextmanager
def copy_progress(console: Console, what: str) -> Iterator[Callable[[int, int], None] | None]:
    """The ``progress`` argument of what copies files: called with the bytes that are done, and all that there are."""
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeElapsedColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def statement_progress(console: Console) -> Iterator[Report | None]:
    """The ``progress`` argument of ``Grid.sql``; the bar appears with the first report and goes with the block."""
    if not console.is_terminal:
        yield None
        return
    bar = progress_bar(console)
    task: Any = None

    def report(progress: Any) -> None:
        nonlocal task
        if task is None:
            bar.start()
            task = bar.add_task(progress.what, total=progress.total or 1, rows=0, size="")
        size = human_bytes(progress.done) if progress.done != progress.rows else ""
        completed = min(progress.done, progress.total)
        bar.update(task, description=progress.what, completed=completed, rows=progress.rows, size=size)

    try:
        yield report
    finally:
        bar.stop()
