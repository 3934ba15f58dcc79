"""A session: a grid, the settings of its output, and the text that is run on it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ...client import ServedGrid
from ...errors import GridflowError, SqlError, UsageError
from ...sql import split_statements
from ..common import counted
from ..progress import statement_progress
from . import commands
from .layout import Look
from .output import Output
from .rendering import chunks_of, write_arrow
from .scripts import Piece, is_command, pieces, placed, read_script
from .settings import Settings
from .worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from ...grid import Grid
    from ...sql import Report

#: Rows that a person gets to see of a result where there is no pager.
PERSON_ROWS = 1000


class Leave(Exception):
    """The user has asked to leave the shell."""


class Session:
    """Runs statements and commands and prints what they give. Only the main thread uses it.

    Args:
        grid: an open grid, which the session closes.
        out: where rows go.
        err: where errors go.
        style: one of ``rendering.FORMATS``.
        interactive: whether a person is there: then there are remarks, too.
        debug: whether an error is raised instead of printed.

    Attributes:
        history: the texts typed so far, the oldest first; the prompt sets it.
        failed: whether any statement or command has.
        in_transaction: whether BEGIN was run, and neither COMMIT nor ROLLBACK since.
    """

    def __init__(
        self,
        grid: Grid | ServedGrid,
        out: Console,
        err: Console,
        *,
        style: str = "table",
        interactive: bool = False,
        debug: bool = False,
    ):
        self.grid = grid
        self.output = Output(out, err, interactive=interactive)
        self.settings = Settings(outputformat=style, timing=interactive)
        self.interactive = interactive
        self.debug = debug
        self.history: Callable[[], Iterable[str]] = list
        self.arrow_path: Path | None = None  # see `to_arrow_file`
        self.script: TextIO | None = None  # where `!script` keeps what is typed
        self.failed = self.in_transaction = False
        self._worker = Worker(self._cancel)
        self._running: list[Path] = []  # scripts within scripts
        self._arrow_written = False

    def close(self) -> None:
        """Close the grid and all files. A transaction that is open is rolled back."""
        self._forget_transaction()
        self._worker.close()
        if self.script is not None:
            self.script.close()
        self.output.close()
        self.grid.close()

    def run(self, text: str, source: str = "") -> bool:
        """Run statements and commands and print what they give.

        Args:
            source: the file the text is from, for messages.

        Returns:
            whether all of it worked. After an error the rest is run only if the setting onerror says so.

        Raises:
            Leave: the text has ``!quit`` or the like.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        worked = True
        for piece in pieces(text):
            if not self._piece(piece, source):
                worked = False
                if self.settings.onerror == "stop":
                    break
        return worked

    def typed(self, text: str) -> bool:
        """``run`` what a person typed, and keep it where ``!record`` and ``!script`` say."""
        self.output.note_down(f"gridflow> {text}\n")
        script = self.script
        worked = self.run(text)
        if script is not None and script is self.script and text.strip():  # not the command that opens or closes it
            try:
                script.write(text.rstrip() + "\n")
                script.flush()
            except OSError as error:
                self.script = None
                self.output.fail(f"{script.name} is saved no further: {error.strerror}")
        return worked

    def to_arrow_file(self, path: Path | None) -> None:
        """Set the file that the output format arrow writes."""
        self.arrow_path, self._arrow_written = path, False

    def run_file(self, path: Path) -> None:
        """Run a script.

        Raises:
            UsageError: it cannot be read, is running already, or a statement of it failed.
        """
        real = path.resolve()
        if real in self._running:
            raise UsageError(f"{path} is running already: it would never end")
        text = read_script(path)
        self._running.append(real)
        try:
            worked = self.run(text, str(path))
        finally:
            self._running.pop()
        if not worked:
            raise ScriptFailed(f"{path}: not all of it worked")

    def connect(self, grid: Grid | ServedGrid) -> None:
        """Go on with another grid; the one of before is closed."""
        self._forget_transaction()
        self._worker.close()
        before, self.grid = self.grid, grid
        before.close()

    def _forget_transaction(self) -> None:
        if self.in_transaction:
            self.output.warn("the transaction was not committed: nothing of it is kept")
            self.in_transaction = False

    def cancelled(self) -> None:
        """Say that Ctrl-C has ended what ran."""
        if self.interactive:
            self.output.note("")  # behind the terminal's ^C
        if self._worker.left:
            self.output.fail("left alone; if it was a change, the server may still make it: look")
        else:
            self.output.fail("cancelled")
        if self._worker.lost and self.in_transaction:
            self.output.fail("the transaction is rolled back")
            self.in_transaction = False

    def query(self, text: str, params: Any = None, *, progress: Report | None = None) -> Any:
        """Run one statement of a command's own, and return its Result. Ctrl-C ends it."""

        def run() -> Any:  # a transaction belongs to the thread that runs this
            try:
                return self.grid.sql(text, params, progress=progress)
            finally:
                self.in_transaction = self.grid.in_transaction

        return self._worker.run(run)

    def show(self, rows: pa.Table) -> None:
        """Print rows in the output format."""
        style, settings = self.settings.outputformat, self.settings
        if style == "arrow":
            self._to_arrow(rows)
            return
        look = self._look()
        limit = settings.rowlimit if style in ("table", "vertical") else 0
        if limit is None:
            limit = PERSON_ROWS if look.width is not None and not self.output.pages else 0
        shown = rows.slice(0, limit) if limit else rows
        if style == "table" and self._is_expanded(shown, look):
            style = "vertical"
        self.output.rows(chunks_of(shown, style, look), wraps=style != "table")
        if shown.num_rows < rows.num_rows:
            rest = rows.num_rows - shown.num_rows
            self.output.say(f"... {counted(rest, 'more row')}; !set rowlimit 0 shows all")

    def listing(self, rows: pa.Table) -> None:
        """Print what a command found, in the output format; an Arrow file is for queries."""
        if self.settings.outputformat == "arrow":
            self.output.rows(chunks_of(rows, "table", self._look()), wraps=False)
        else:
            self.show(rows)

    def _look(self) -> Look:
        return replace(self.output.look, cell=self.settings.maxcolumnwidth)

    def _is_expanded(self, rows: pa.Table, look: Look) -> bool:
        if self.settings.expanded != "auto" or look.width is None:
            return self.settings.expanded == "on"
        whole = Look(None, look.cell)
        return len(next(iter(chunks_of(rows.slice(0, PERSON_ROWS), "table", whole))).split("\n", 1)[0]) > look.width

    def _to_arrow(self, rows: pa.Table) -> None:
        if self.arrow_path is None:
            raise UsageError("no file for the format arrow: type !outputformat arrow FILE")
        if self._arrow_written and not self.interactive:
            raise UsageError(f"{self.arrow_path} has the rows of a query before: an Arrow file takes those of one")
        write_arrow(rows, str(self.arrow_path))
        self._arrow_written = True
        self.output.note(f"{self.arrow_path}: {counted(rows.num_rows, 'row')}, {counted(rows.num_columns, 'column')}")

    def _piece(self, piece: Piece, source: str) -> bool:
        try:
            if piece.is_command:
                commands.run(self, piece.text)
            else:
                self._statement(piece.text)
        except Leave:
            raise
        except ScriptFailed:
            return False  # its errors have been printed
        except GridflowError as error:
            self.failed = True
            if self.debug:
                raise
            kind = "command" if piece.is_command else "statement"
            place = f"{source}, {kind} in line {piece.line}: " if source else ""
            self.output.fail(f"{place}{placed(error, piece)}")
            return False
        except Exception as error:
            self.failed = True
            if self.debug or not self.interactive:
                raise
            name = type(error).__name__
            self.output.fail(f"{name}: {error} (a bug: please report it, with what 'gridflow --debug sql' shows)")
            return False
        return True

    def _statement(self, text: str) -> None:
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always", UserWarning)
            with statement_progress(self.output.bars) as progress:
                result = self.query(text, progress=progress)
            rows = result.arrow() if result.columns else None
        seconds = time.perf_counter() - start
        for message in dict.fromkeys(str(w.message) for w in raised if issubclass(w.category, UserWarning)):
            self.output.warn(message)
        took = f" in {seconds:.3f} s" if self.settings.timing else ""
        if rows is not None:
            if result.statement == "EXPLAIN" and self.settings.outputformat == "table":  # a drawing, not cells
                self.output.rows(f"{line}\n" for line in rows.column(0).to_pylist())
            else:
                self.show(rows)
            if self.interactive or self.settings.timing:
                remark = f"{counted(rows.num_rows, 'row')}{took}"
                self.output.note(remark) if self.interactive else self.output.aside(remark)
        elif self.interactive or self.settings.outputformat in ("table", "vertical"):
            self.output.say(f"{result!r}{took}")
        if self._worker.interrupted:  # too late for this statement, but not for the next
            raise KeyboardInterrupt

    def _cancel(self) -> bool:
        return isinstance(self.grid, ServedGrid) and self.grid.cancel() > 0


class ScriptFailed(UsageError):
    """A statement of a script failed; what is to be said about it has been."""


def check_complete(text: str) -> bool:
    """Whether typed text can be run: a command, nothing at all, or statements that all end with ``;``.

    >>> [check_complete(text) for text in ("SELECT 1", "SELECT ';", "SELECT 1;", "!tables")]
    [False, False, True, True]
    """
    if is_command(text) or not text.strip():
        return True
    try:
        statements = split_statements(text)
    except SqlError:
        return True  # let it be run, and fail with its message
    return all(statement.complete for statement in statements)
