"""A parsed statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...catalog.activity import TEXT_LENGTH
from ..text.cutter import Statement
from ..text.params import Marks

#: Characters. Statements of longer texts are not kept: they hold data, and are not sent twice.
CACHED_LENGTH = 16384


@dataclass(frozen=True, eq=False)
class Prepared:
    """A parsed statement, the same for every grid: plans for one grid lie in ``plans`` of that grid.

    Attributes:
        kind: ``SELECT``, ``EXPLAIN``, ``INSERT``, ``CREATE TABLE``, ...
        node: sqlglot's tree, or the dataclass of one of our own grammars.
        marks: the statement's parameters.
        text: the whole text that holds the statement.
        labels: of each column of a query, the text of its expression: its name if it has no other.
        own_text: the statement alone, for lists of statements: without passwords, and cut if it is long.
        statement: the statement's place in the text; None for a query within another statement.
        shape: of a statement of one row of literals, the one of parameters that is executed in its place, with
            ``literals`` for them. Places in ``node`` count in its text.
        literals: mark -> value.
    """

    kind: str
    node: Any
    marks: Marks
    text: str
    labels: tuple[str, ...] = ()
    own_text: str = ""
    statement: Statement | None = field(default=None, repr=False)
    shape: Prepared | None = field(default=None, repr=False)
    literals: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def placed(self) -> str:
        """The statement alone, in the line and column in which it stands in the whole text."""
        assert self.statement is not None  # else it is a query within another statement
        return self.statement.placed()

    @property
    def line(self) -> int | None:
        """The line of the whole text in which the statement begins; None for a query within another statement."""
        return None if self.statement is None else self.statement.line

    @property
    def is_cached(self) -> bool:
        """Whether the same text, when it comes again, is this very statement."""
        return len(self.text) <= CACHED_LENGTH


def own_text(text: str, start: int = 0, end: int | None = None) -> str:
    """A statement's text as lists of statements show it; a long one is cut."""
    end = len(text) if end is None else end
    return text[start:end] if end - start <= TEXT_LENGTH else f"{text[start : start + TEXT_LENGTH - 3]}..."
