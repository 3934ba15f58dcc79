"""A statement whose tables are found, and how an error points into it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from ..errors import ColumnNotFound, did_you_mean
from ..schema import Schema
from .text import point


@dataclass
class Source:
    """A grid's table in a statement.

    Attributes:
        name, schema: of the table. Not the Table itself: a plan outlives its grid.
        registered: the name under which DuckDB finds its rows.
        columns: those that the statement needs, in the table's order, at least one.
        every: whether it needs all of them, whatever it names.
    """

    name: str
    schema: Schema
    registered: str
    columns: list[str] = field(default_factory=list)
    every: bool = False


@dataclass
class Bound:
    """A statement whose tables are found.

    Attributes:
        tree: a copy that names ``registered`` tables; names that DuckDB would confuse are replaced.
        sources: the tables, each once.
        originals: replaced name -> the column's name.
        text: the text it came from, for messages.
        exact: whether every table was found under the very name written.
    """

    tree: exp.Expression
    sources: list[Source]
    originals: dict[str, str]
    text: str
    exact: bool = True

    def column_names(self) -> list[str]:
        """All columns of all its tables."""
        return sorted({name for source in self.sources for name in source.schema.names})


def span(node: Any) -> tuple[int, int]:
    """Offset and length of an identifier in the text."""
    meta = node.meta if isinstance(node, exp.Expression) else {}
    return meta.get("start", 0), meta.get("end", 0) - meta.get("start", 0) + 1


def no_column(name: str, bound: Bound) -> ColumnNotFound:
    """No such column: says what columns the statement's tables have."""
    if len(bound.sources) == 1:
        known = bound.sources[0].schema.names
        text = f"no column {name} in {bound.sources[0].name}; {did_you_mean(name, known)}"
    elif bound.sources:
        each = (f"{s.name} has {', '.join(s.schema.names[:20])}" for s in bound.sources)
        text = f"no column {name}; {'; '.join(each)}"
    else:
        text = f"no column {name}: the statement names no table"
    return ColumnNotFound(pointed(bound, name, text))


def pointed(bound: Bound, name: str, message: str) -> str:
    """The message with the place of a name in the text, where one can be told."""
    for node in bound.tree.find_all(exp.Identifier):
        if node.name.upper() == name.upper() and "start" in node.meta:
            start, length = span(node)
            return point(bound.text, start, message, length)
    return message
