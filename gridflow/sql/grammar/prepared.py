"""A parsed statement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...catalog.activity import TEXT_LENGTH
from ..text.params import Marks


@dataclass(eq=False)
class Prepared:
    """A parsed statement. Never changed after it is made, but for ``plan`` and ``shortcut``.

    Attributes:
        kind: ``SELECT``, ``EXPLAIN``, ``INSERT``, ``CREATE TABLE``, ...
        node: its tree, or what our own grammar made of it.
        marks: its parameters.
        text: the whole text it stands in.
        labels: names of a query's columns as the text has them, where they have no others.
        plan: what its executor worked out for the tables it met; it checks that they are still the same.
        shortcut: given a grid and the parameters as they came, the result if they are plain enough, else None,
            and then nothing has happened.
        own_text: the statement's own text, for lists of statements: without passwords, and not too long.
    """

    kind: str
    node: Any
    marks: Marks
    text: str
    labels: tuple[str, ...] = ()
    plan: Any = field(default=None, repr=False)
    shortcut: Callable[[Any, Any], Any] | None = field(default=None, repr=False)
    own_text: str = ""


def own_text(text: str, start: int = 0, end: int | None = None) -> str:
    """A statement's text as lists of statements show it; a long one is cut."""
    end = len(text) if end is None else end
    return text[start:end] if end - start <= TEXT_LENGTH else f"{text[start : start + TEXT_LENGTH - 3]}..."
