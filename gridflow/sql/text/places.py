"""Places in a text: of a name, of an offset, and in the message of an error."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlglot import exp

from ...errors import GridflowError, SqlError

#: Characters of a long line that a message shows, and how many of them stand before the place.
_EXCERPT_LENGTH = 100
_EXCERPT_BEFORE = 60

_Error = TypeVar("_Error", bound=GridflowError)


def place_of(node: Any) -> tuple[int, int]:
    """Offset and length of an identifier in the text; (0, 1) for a node that is in no text."""
    meta = node.meta if isinstance(node, exp.Expression) else {}
    return meta.get("start", 0), meta.get("end", 0) - meta.get("start", 0) + 1


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of an offset in characters."""
    before = text[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


def error_at(kind: type[_Error], text: str, offset: int, message: str, length: int = 1, **place: Any) -> _Error:
    """An error that points at a place of the text: its line and column, that line of the text, and a caret under it.

    Args:
        kind: the error's class.
        text, offset, length: the place, in characters.
        message: what is wrong there.
        place: ``table``, ``column``, ``key``, where the error is about one.
    """
    offset = max(0, min(offset, len(text)))
    line, column = position(text, offset)
    line_text = text.split("\n")[line - 1].replace("\t", " ")
    start = max(0, column - 1 - _EXCERPT_BEFORE)
    excerpt = line_text[start : start + _EXCERPT_LENGTH]
    length = max(1, min(length, len(excerpt) - (column - 1 - start)))
    pointer = f"{' ' * (column - 1 - start)}{'^' * length}"
    return kind(f"line {line}, column {column}: {message}\n  {excerpt}\n  {pointer}", line=line, **place)


def syntax_error(text: str, offset: int, message: str, length: int = 1) -> SqlError:
    """An SqlError that points at a place of the text."""
    return error_at(SqlError, text, offset, message, length)
