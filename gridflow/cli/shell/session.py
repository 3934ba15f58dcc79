"""A session: a grid, the settings of the output, and the run of statements and commands."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ...client import RemoteGrid, ServedGrid
from ...errors import GridflowError, SqlError, UsageError
from ...sql import split_statements
from ...sql.text.secrets import hide_passwords
from ..common import quantity
from ..progress import statement_progress
from . import commands
from .layout import Look
from .output import Output
from .rendering import chunks_of, write_arrow
from .scripts import Piece, is_command, message_in_script, pieces, read_script
from .settings import Settings
from .worker import Worker

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from ...grid import Grid
    from ...sql import Report

#: Most rows of a result on a terminal without a pager.
PERSON_ROWS = 1000


class Leave(Exception):
    """Raised by ``!quit``: the user leaves the shell."""


class Session:
    """Runs statements and commands and prints their results. For the main thread only.

    Args:
        grid: an open grid; the session owns it and closes it.
        out: the console of rows.
        err: the console of errors.
        style: one of ``rendering.FORMATS``.
        interactive: whether a person reads the output: only then are there remarks.
        debug: whether errors are raised instead of printed.
        read_only: whether a grid that it goes on with is to be read only, too.

    Attributes:
        history: gives the texts typed so far, the oldest first; the prompt sets it.
        failed: whether any statement or command has failed.
        in_transaction: whether a transaction is open: after BEGIN, until COMMIT or ROLLBACK.
    """

    def __init__(
        self,
        grid: Grid,
        out: Console,
        err: Console,
        *,
        style: str = "table",
        interactive: bool = False,
        debug: bool = False,
        read_only: bool = False,
    ):
        self.grid = grid
        self.output = Output(out, err, interactive=interactive)
        self.settings = Settings(outputformat=style, timing=interactive)
        self.interactive = interactive
        self.debug = debug
        self.read_only = read_only
        self.history: Callable[[], Iterable[str]] = list
        self.arrow_path: Path | None = None  # see `to_arrow_file`
        self.script: TextIO | None = None  # the file of `!script`, for the input
        self.failed = self.in_transaction = False
        self._worker = Worker(self._cancel)
        self._running_scripts: list[Path] = []  # scripts within scripts
        self._arrow_written = False

    def close(self) -> None:
        """Close the grid and all files. An open transaction is rolled back."""
        self._forget_transaction()
        self._worker.close()
        if self.script is not None:
            self.script.close()
        self.output.close()
        self.grid.close()

    def run(self, text: str, source: str = "") -> bool:
        """Run statements and commands and print their results.

        Args:
            source: the name of the file of the text, for messages.

        Returns:
            whether everything worked. After an error the rest runs only if the setting onerror is ``continue``.

        Raises:
            Leave: the text has a ``!quit``.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        worked = True
        for piece in pieces(text):
            if not self._run_piece(piece, source):
                worked = False
                if self.settings.onerror == "stop":
                    break
        return worked

    def run_typed(self, text: str) -> bool:
        """``run`` an input of the user, and save it to the files of ``!record`` and ``!script``, without passwords."""
        saved = hide_passwords(text)
        self.output.note_down(f"gridflow> {saved}\n")
        script = self.script
        worked = self.run(text)
        # The command that opens or closes the script is no part of it.
        if script is not None and script is self.script and text.strip():
            try:
                script.write(saved.rstrip() + "\n")
                script.flush()
            except OSError as error:
                self.script = None
                self.output.fail(f"{script.name} is saved no further: {error.strerror}")
        return worked

    def to_arrow_file(self, path: Path | None) -> None:
        """Set the file of the output format arrow."""
        self.arrow_path, self._arrow_written = path, False

    def run_file(self, path: Path) -> None:
        """Run a script.

        Raises:
            UsageError: the script cannot be read, is running already, or one of its statements failed.
        """
        real = path.resolve()
        if real in self._running_scripts:
            raise UsageError(f"{path} is running already: it would never end")
        text = read_script(path)
        self._running_scripts.append(real)
        try:
            worked = self.run(text, str(path))
        finally:
            self._running_scripts.pop()
        if not worked:
            raise ScriptFailed(f"{path}: not all of it worked")

    def connect(self, grid: Grid) -> None:
        """Change to another grid, and close the previous one."""
        self._forget_transaction()
        self._worker.close()
        previous, self.grid = self.grid, grid
        previous.close()

    def _forget_transaction(self) -> None:
        if self.in_transaction:
            self.output.warn("the transaction was not committed: nothing of it is kept")
            self.in_transaction = False

    def report_cancellation(self) -> None:
        """Print that Ctrl-C has ended the statement, and what became of it and of the transaction."""
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
        """Run one statement and return the Result. Ctrl-C ends it."""

        def run() -> Any:  # in the worker's thread: a transaction belongs to the thread that began it
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
        head = rows.slice(0, limit) if limit else rows
        if style == "table" and self._is_expanded(head, look):
            style = "vertical"
        self.output.rows(chunks_of(head, style, look), wraps=style != "table")
        if head.num_rows < rows.num_rows:
            rest = rows.num_rows - head.num_rows
            self.output.say(f"... {quantity(rest, 'more row')}; !set rowlimit 0 shows all")

    def show_listing(self, rows: pa.Table) -> None:
        """Print the rows of a command in the output format; in place of arrow, which is for queries, as a table."""
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
        self.output.note(f"{self.arrow_path}: {quantity(rows.num_rows, 'row')}, {quantity(rows.num_columns, 'column')}")

    def _run_piece(self, piece: Piece, source: str) -> bool:
        try:
            if piece.is_command:
                commands.run_command(self, piece.text)
            else:
                self._run_statement(piece.text)
        except Leave:
            raise
        except ScriptFailed:
            return False  # the errors of the script are printed already
        except GridflowError as error:
            self.failed = True
            if self.debug:
                raise
            kind = "command" if piece.is_command else "statement"
            place = f"{source}, {kind} in line {piece.line}: " if source else ""
            self.output.fail(f"{place}{message_in_script(error, piece)}")
            return False
        except Exception as error:
            self.failed = True
            if self.debug or not self.interactive:
                raise
            name = type(error).__name__
            self.output.fail(f"{name}: {error} (a bug: please report it, with what 'gridflow --debug sql' shows)")
            return False
        return True

    def _run_statement(self, text: str) -> None:
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as records:
            warnings.simplefilter("always", UserWarning)
            with statement_progress(self.output.bars) as progress:
                result = self.query(text, progress=progress)
            rows = result.to_arrow() if result.columns else None
        seconds = time.perf_counter() - start
        for message in dict.fromkeys(str(w.message) for w in records if issubclass(w.category, UserWarning)):
            self.output.warn(message)
        duration = f" in {seconds:.3f} s" if self.settings.timing else ""
        if rows is not None:
            if result.statement == "EXPLAIN" and self.settings.outputformat == "table":  # a drawing, not cells
                self.output.rows(f"{line}\n" for line in rows.column(0).to_pylist())
            else:
                self.show(rows)
            if self.interactive or self.settings.timing:
                remark = f"{quantity(rows.num_rows, 'row')}{duration}"
                self.output.note(remark) if self.interactive else self.output.aside(remark)
        elif self.interactive or self.settings.outputformat in ("table", "vertical"):
            self.output.say(f"{result!r}{duration}")
        if self._worker.interrupted:  # Ctrl-C came too late for this statement, but not for the next
            raise KeyboardInterrupt

    def _cancel(self) -> bool:
        return isinstance(self.grid, ServedGrid | RemoteGrid) and self.grid.cancel() > 0


class ScriptFailed(UsageError):
    """A statement of a script failed; the error is printed already."""


def check_complete(text: str) -> bool:
    """Whether an input can run: a command, an empty text, or statements that all end with ``;``.

    >>> [check_complete(text) for text in ("SELECT 1", "SELECT ';", "SELECT 1;", "!tables")]
    [False, False, True, True]
    """
    if is_command(text) or not text.strip():
        return True
    try:
        statements = split_statements(text)
    except SqlError:
        return True  # the run will report the error
    return all(statement.complete for statement in statements)
