"""Places in a text: of a name, of an offset, and in the message of an error."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from ...errors import SqlError

#: Characters of a long line that a message shows, and how many of them stand before the place.
_EXCERPT_LENGTH = 100
_EXCERPT_BEFORE = 60


def place_of(node: Any) -> tuple[int, int]:
    """Offset and length of an identifier in the text; (0, 1) for a node that is in no text."""
    meta = node.meta if isinstance(node, exp.Expression) else {}
    return meta.get("start", 0), meta.get("end", 0) - meta.get("start", 0) + 1


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of an offset in characters."""
    before = text[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


def point(text: str, offset: int, message: str, length: int = 1) -> str:
    """A message with the line and column of an offset, that line of the text, and a caret under it."""
    offset = max(0, min(offset, len(text)))
    line, column = position(text, offset)
    line_text = text.split("\n")[line - 1].replace("\t", " ")
    start = max(0, column - 1 - _EXCERPT_BEFORE)
    excerpt = line_text[start : start + _EXCERPT_LENGTH]
    length = max(1, min(length, len(excerpt) - (column - 1 - start)))
    return f"line {line}, column {column}: {message}\n  {excerpt}\n  {' ' * (column - 1 - start)}{'^' * length}"


def syntax_error(text: str, offset: int, message: str, length: int = 1) -> SqlError:
    """An SqlError that points at a place of the text."""
    return SqlError(point(text, offset, message, length))
