"""The outputs of a session: the terminal, a pager, a file for rows, and a record of everything."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from ...errors import GridflowError, UsageError, os_failure
from .cells import width_of
from .layout import Look, look_of

#: Options of ``less`` if the user has set none: long lines are cut and scroll, colours stay, and a text that fits the
#: screen is printed and left there.
_LESS = "SRXF"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class _RecordingFile:
    """A text file; the record, if there is one, gets a copy of every write without colours."""

    def __init__(self, file: Any, output: Output):
        self._file = file
        self._output = output

    def write(self, text: str) -> int:
        self._output.note_down(text)
        return self._file.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Output:
    """The consoles, pager and files of a session. It owns the files. For one thread.

    Args:
        out: the console of rows and remarks.
        err: the console of errors.
        interactive: whether a person reads the output: only then are there remarks and a pager.

    Attributes:
        bars: the console of progress bars: the file of ``err``, without the record.
        pager: the command that shows output higher than the terminal; empty for no pager.
        record_path, rows_path: the files that ``record`` and ``redirect`` opened.
    """

    def __init__(self, out: Console, err: Console, *, interactive: bool = False):
        self.out = out
        self.err = err
        self.interactive = interactive
        self.pager = default_pager() if interactive and out.is_terminal else ""
        self.record_path: Path | None = None
        self.rows_path: Path | None = None
        self._record: TextIO | None = None
        self._rows: TextIO | None = None
        # A console writes to its file, so a file in between is enough for the record.
        self.bars = Console(file=err.file)
        self._restore = [(console, console.file) for console in (out, err)]
        for console in (out, err):
            console.file = _RecordingFile(console.file, self)  # type: ignore[assignment]

    def close(self) -> None:
        """Close the files."""
        self.record(None)
        self.redirect(None)
        for console, file in self._restore:
            console.file = file

    @property
    def pages(self) -> bool:
        """Whether rows may go through the pager."""
        return bool(self.pager) and self._rows is None

    @property
    def look(self) -> Look:
        """The look of rows: plain in a file, else that of the terminal."""
        if self._rows is not None:
            return Look()
        return replace(look_of(self.out), scrolls=self.pages)

    def fail(self, message: str) -> None:
        """Print an error."""
        self._complain("error: ", message, "red")

    def warn(self, message: str) -> None:
        """Print a warning."""
        self._complain("warning: ", message, "yellow")

    def _complain(self, kind: str, message: str, colour: str) -> None:
        first, _, rest = message.partition("\n")
        self.err.print(Text(kind, style=f"bold {colour}").append(first, style=f"{colour} not bold"))
        if rest:  # a line of the statement and a caret under it must keep their columns
            self.err.print(Text(rest, style=colour), soft_wrap=True)

    def note(self, message: str) -> None:
        """Print a remark for people; where rows go to a program, the remark goes to the console of errors."""
        if self.interactive:
            console = self.out if self.out.is_terminal or not self.err.is_terminal else self.err
            console.print(Text(message, style="dim"))

    def aside(self, message: str) -> None:
        """Print a remark that the user asked for, on the console of errors: rows may go to a program."""
        self.err.print(Text(message), soft_wrap=True)

    def say(self, message: str) -> None:
        """Print the outcome of a statement without rows."""
        console = self.out if self._rows is None else self.err
        console.print(Text(message, style="dim" if self.interactive else ""), soft_wrap=True)

    def rows(self, chunks: Iterator[str], *, wraps: bool = True) -> None:
        """Print rows to the file of ``redirect``, else to the terminal; many rows go through the pager.

        Args:
            wraps: whether a line wider than the terminal may wrap; else it also calls for the pager.

        Raises:
            GridFullError, GridAccessError: the file cannot be written.
        """
        if self._rows is not None:
            assert self.rows_path is not None
            with _file_errors(self.rows_path):
                for chunk in chunks:
                    self._rows.write(chunk)
                self._rows.flush()
        elif self.pages:
            self._page(chunks, wraps)
        else:
            for chunk in chunks:
                self.out.file.write(chunk)
            self.out.file.flush()

    def _page(self, chunks: Iterator[str], wraps: bool) -> None:
        room, width, first = self.out.height - 2, self.out.width, []
        for chunk in chunks:
            first.append(chunk)
            lengths = [width_of(line) for line in _ESCAPES.sub("", chunk).splitlines()]
            room -= sum(max(1, -(-length // width)) for length in lengths)
            if room < 0 or (not wraps and max(lengths, default=0) > width):
                self._through_pager(chain(first, chunks))
                return
        for chunk in first:
            self.out.file.write(chunk)
        self.out.file.flush()

    def _through_pager(self, chunks: Iterator[str]) -> None:
        environment = {"LESS": _LESS, "LESSCHARSET": "utf-8", **os.environ}
        self.out.file.flush()
        # Ctrl-C belongs to the pager while it runs. SIG_IGN would not do: the pager would inherit it.
        handler = signal.signal(signal.SIGINT, lambda number, frame: None)
        try:
            # A shell, as $PAGER is a command line: that of the user, who has this very shell.
            child = subprocess.Popen(  # nosec B602
                self.pager, shell=True, stdin=subprocess.PIPE, env=environment, encoding="utf-8"
            )
            assert child.stdin is not None
            try:
                for chunk in chunks:
                    child.stdin.write(chunk)
                    self.note_down(chunk)
                child.stdin.close()
            except BrokenPipeError:  # the user has seen enough
                try:
                    child.stdin.close()
                except BrokenPipeError:
                    pass
            child.wait()
        finally:
            signal.signal(signal.SIGINT, handler)

    def note_down(self, text: str) -> None:
        """Write to the record, if there is one."""
        if self._record is not None:
            try:
                self._record.write(_ESCAPES.sub("", text))
                self._record.flush()
            except OSError as error:
                record, self._record = self.record_path, None
                self.fail(f"recording to {record} stopped: {error.strerror}")

    def record(self, path: Path | None) -> None:
        """Copy all output from now on to a file; None ends the copy.

        Raises:
            GridAccessError: the file cannot be written.
        """
        if self._record is not None:
            self._record.close()
        self._record, self.record_path = None, None
        if path is not None:
            self._record, self.record_path = open_text(path, private=True), path

    def redirect(self, path: Path | None) -> None:
        """Write rows from now on to a file instead of the terminal; None ends that.

        Raises:
            GridAccessError: the file cannot be written.
        """
        if self._rows is not None:
            self._rows.close()
        self._rows, self.rows_path = None, None
        if path is not None:
            self._rows, self.rows_path = open_text(path), path

    def set_pager(self, word: str) -> None:
        """Set the pager: on, off, or a command.

        Raises:
            UsageError: there is no such command.
        """
        if word.lower() == "on":
            word = default_pager() or "less"
        if word.lower() == "off":
            word = ""
        if word and not _program(word):
            raise UsageError(f"there is no command {word!r} to use as a pager")
        self.pager = word


def default_pager() -> str:
    """``$PAGER``, else ``less``; empty if the program is missing, or is cat."""
    command = os.environ.get("PAGER", "less")
    return command if _program(command) not in ("", "cat") else ""


def _program(command: str) -> str:
    """The program of a command line; empty if there is no such program."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote is open
        return ""
    return words[0] if words and shutil.which(words[0]) else ""


def open_text(path: Path, *, private: bool = False) -> TextIO:
    """A new text file; a ``private`` one is for the user alone, also if it was there.

    Raises:
        GridAccessError: the file cannot be created.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600 if private else 0o666)
        if private and stat.S_ISREG(os.fstat(fd).st_mode):
            os.fchmod(fd, 0o600)
        return os.fdopen(fd, "w", encoding="utf-8")
    except OSError as error:
        raise os_failure(error, f"cannot write {path}") from None


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except GridflowError:  # some are errors of the system, too
        raise
    except OSError as error:
        raise os_failure(error, f"cannot write {path}") from None
