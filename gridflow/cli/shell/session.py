"""A session: a grid, the settings of its output, and the text that is run on it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from ...errors import GridflowError, SqlError
from ...sql import split_statements
from ...sql.engine import connection
from ..common import counted
from ..progress import statement_progress
from . import commands
from .rendering import MAX_ROWS, show

if TYPE_CHECKING:
    from rich.console import Console

    from ...client import RemoteGrid
    from ...grid import Grid


class Leave(Exception):
    """The user has asked to leave the shell."""


class Session:
    """Runs statements and commands and prints what they give. One thread uses it.

    Args:
        grid: an open grid; the caller closes it.
        out: where rows go.
        err: where errors go.
        style: one of ``rendering.FORMATS``.
        interactive: whether a person is there: then there are remarks, too.
        debug: whether an error is raised instead of printed.
    """

    def __init__(
        self,
        grid: Grid | RemoteGrid,
        out: Console,
        err: Console,
        *,
        style: str = "table",
        interactive: bool = False,
        debug: bool = False,
    ):
        self.grid = grid
        self.out = out
        self.err = err
        self.style = style
        self.timing = interactive
        self.interactive = interactive
        self.debug = debug
        self.limit = MAX_ROWS if interactive else 10 * MAX_ROWS

    def run(self, text: str, source: str = "") -> bool:
        """Run statements, or one command, and print what they give; stop at the first that fails.

        Args:
            source: the file the text is from, for messages.

        Returns:
            whether all of it worked.

        Raises:
            Leave: the text is ``!quit`` or the like.
        """
        if commands.is_command(text):
            return self._guarded(lambda: commands.run(self, text))
        for statement in split_statements(text):
            # At its place, so that an error tells line and column of the whole text.
            placed = "\n" * (statement.line - 1) + " " * (statement.column - 1) + statement.text
            place = f"{source}, statement in line {statement.line}: " if source else ""
            if not self._guarded(lambda s=placed: self._statement(s), place):
                return False
        return True

    def _guarded(self, action, place: str = "") -> bool:  # noqa: ANN001 a call without arguments
        try:
            action()
        except GridflowError as error:
            if self.debug:
                raise
            self.fail(f"{place}{error}")
            return False
        return True

    def fail(self, message: str) -> None:
        """Print an error."""
        self.err.print(Text("error: ", style="bold red").append(message, style="red not bold"))

    def cancelled(self) -> None:
        """Say that Ctrl-C has ended a statement."""
        owner = self.grid.owner
        self.fail("cancelled" if owner else "cancelled; if it was a change, its server may have made it: look")

    def note(self, message: str) -> None:
        """Print a remark, for people only."""
        if self.interactive:
            self.out.print(Text(message, style="dim"))

    def _statement(self, text: str) -> None:
        start = time.perf_counter()
        try:
            with _cancellable(), statement_progress(self.err) as progress:
                result = self.grid.sql(text, progress=progress)
                rows = result.arrow() if result.columns else None
        except RuntimeError as error:
            if "interrupt" in str(error).lower() and not isinstance(error, GridflowError):
                raise KeyboardInterrupt from None  # the engine's word for Ctrl-C
            raise
        seconds = time.perf_counter() - start
        took = f" in {seconds:.3f} s" if self.timing else ""
        if rows is not None:
            show(rows, self.style, self.out, self.limit)
            self.note(f"{counted(rows.num_rows, 'row')}{took}")
        elif self.style in ("table", "vertical"):
            self.out.print(Text(f"{result!r}{took}", style="dim" if self.interactive else ""))


@contextmanager
def _cancellable() -> Iterator[None]:
    """Let Ctrl-C reach the query engine while it works.

    Python's own handler makes DuckDB stop waiting for its threads, but not the threads, for which it then waits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    engine = connection()

    def cancel(number: int, frame: object) -> None:
        engine.interrupt()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def check_complete(text: str) -> bool:
    """Whether typed text can be run: a command, nothing at all, or statements that all end with ``;``.

    >>> [check_complete(text) for text in ("SELECT 1", "SELECT ';", "SELECT 1;", "!tables")]
    [False, False, True, True]
    """
    if commands.is_command(text) or not text.strip():
        return True
    try:
        statements = split_statements(text)
    except SqlError:
        return True  # let it be run, and fail with its message
    return all(statement.complete for statement in statements)
