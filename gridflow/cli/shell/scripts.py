"""A script cut into its statements and the shell's own commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import GridflowError, UsageError, os_failure
from ...sql import split_statements

_MARKS = ("!", "\\")
_PLACE = re.compile(r"line (\d+), column (\d+): ")


@dataclass(frozen=True)
class Piece:
    """A statement or a command of a script; ``line`` and ``column``, from 1, say where it starts."""

    text: str
    line: int
    column: int
    is_command: bool


def is_command(text: str) -> bool:
    """Whether a text is for the shell and not SQL."""
    return text.lstrip().startswith(_MARKS)


def pieces(text: str) -> Iterator[Piece]:
    """The statements of a script, and the commands: lines that start with ``!`` or ``\\`` outside of statements.

    Lines that start with ``#`` there are comments, as in sqlline.

    >>> [(p.line, p.text) for p in pieces("SELECT 1;\\n# it's one\\n!tables\\nSELECT\\n2;")]
    [(1, 'SELECT 1'), (3, '!tables'), (4, 'SELECT\\n2')]
    """
    base, line_base = 0, 1  # where the rest starts, always at a line's start but for the first
    while True:
        rest = text[base:]
        for statement in split_statements(rest):
            line = line_base + statement.line - 1
            if statement.text.startswith((*_MARKS, "#")):
                # The splitter knows nothing of commands: their quotes mislead it. Go on behind this line.
                end = rest.find("\n", statement.start)
                end = len(rest) if end < 0 else end
                if not statement.text.startswith("#"):
                    yield Piece(rest[statement.start : end].strip(), line, statement.column, True)
                base, line_base = base + end, line
                break
            yield Piece(statement.text, line, statement.column, False)
        else:
            return


def placed(error: GridflowError, piece: Piece) -> str:
    """An error's message with the line and column of the whole script instead of those of one statement."""
    message = str(error)
    found = _PLACE.match(message)
    if found is None:
        return message
    line, column = int(found[1]), int(found[2])
    column += piece.column - 1 if line == 1 else 0
    return f"line {line + piece.line - 1}, column {column}: {message[found.end() :]}"


def decoded(data: bytes, name: str) -> str:
    """The text of a script.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8: byte {error.start} is no part of a character") from None


def read_script(path: Path) -> str:
    """The text of a script in a file.

    Raises:
        GridAccessError: the file cannot be read.
        UsageError: it is not UTF-8.
    """
    try:
        return decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise os_failure(error, f"cannot read {path}") from None
