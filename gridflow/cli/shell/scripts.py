"""Scripts: the cut into statements and the shell's own commands, and places in messages."""

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
    """A statement or a command of a script; it starts at ``line`` and ``column``, both from 1."""

    text: str
    line: int
    column: int
    is_command: bool


def is_command(text: str) -> bool:
    """Whether a text is a command of the shell, and not SQL."""
    return text.lstrip().startswith(_MARKS)


def pieces(text: str) -> Iterator[Piece]:
    """The statements of a script, and the commands: lines that start with ``!`` or ``\\`` outside of statements.

    Lines that start with ``#`` there are comments, as in sqlline.

    >>> [(p.line, p.text) for p in pieces("SELECT 1;\\n# it's one\\n!tables\\nSELECT\\n2;")]
    [(1, 'SELECT 1'), (3, '!tables'), (4, 'SELECT\\n2')]
    """
    base, line_base = 0, 1  # the offset of the rest, and the line there
    while True:
        rest = text[base:]
        for statement in split_statements(rest):
            line = line_base + statement.line - 1
            if statement.text.startswith((*_MARKS, "#")):
                # The quotes of a command mislead the splitter: split anew behind the line of the command.
                end = rest.find("\n", statement.start)
                end = len(rest) if end < 0 else end
                if not statement.text.startswith("#"):
                    yield Piece(rest[statement.start : end].strip(), line, statement.column, True)
                base, line_base = base + end, line
                break
            yield Piece(statement.text, line, statement.column, False)
        else:
            return


def message_in_script(error: GridflowError, piece: Piece) -> str:
    """The message of an error in a piece, with line and column counted from the start of the script."""
    message = str(error)
    match = _PLACE.match(message)
    if match is None:
        return message
    line, column = int(match[1]), int(match[2])
    column += piece.column - 1 if line == 1 else 0
    return f"line {line + piece.line - 1}, column {column}: {message[match.end() :]}"


def decode_script(data: bytes, name: str) -> str:
    """The text of a script; ``name`` stands in messages.

    Raises:
        UsageError: the data is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8: byte {error.start} is no part of a character") from None


def read_script(path: Path) -> str:
    """The text of a script in a file.

    Raises:
        GridAccessError: the file cannot be read.
        UsageError: the file is not UTF-8.
    """
    try:
        return decode_script(path.read_bytes(), str(path))
    except OSError as error:
        raise os_failure(error, f"cannot read {path}") from None
