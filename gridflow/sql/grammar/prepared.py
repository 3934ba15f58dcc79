"""A parsed statement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...catalog.activity import TEXT_LENGTH
from ..text.cutter import Statement
from ..text.params import Marks


@dataclass(frozen=True, eq=False)
class Prepared:
    """A parsed statement. It knows no grid: what is worked out for one lies in ``plans`` of that grid.

    Attributes:
        kind: ``SELECT``, ``EXPLAIN``, ``INSERT``, ``CREATE TABLE``, ...
        node: its tree, or what our own grammar made of it.
        marks: its parameters.
        text: the whole text it stands in.
        labels: names of a query's columns as the text has them, where they have no others.
        own_text: the statement's own text, for lists of statements: without passwords, and not too long.
        statement: where it stands; None for a query within another statement.
    """

    kind: str
    node: Any
    marks: Marks
    text: str
    labels: tuple[str, ...] = ()
    own_text: str = ""
    statement: Statement | None = field(default=None, repr=False)


def own_text(text: str, start: int = 0, end: int | None = None) -> str:
    """A statement's text as lists of statements show it; a long one is cut."""
    end = len(text) if end is None else end
    return text[start:end] if end - start <= TEXT_LENGTH else f"{text[start : start + TEXT_LENGTH - 3]}..."
