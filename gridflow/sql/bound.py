"""A statement whose tables are found, and how an error points into it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from ..errors import ColumnNotFound, did_you_mean
from ..schema import Schema
from .spelling import KEYWORDS, nearest
from .text import point


@dataclass
class Source:
    """A grid's table in a statement.

    Attributes:
        name, schema: of the table. Not the Table itself: a plan outlives its grid.
        registered: the name under which DuckDB finds its rows.
        columns: those that the statement needs, in the table's order, at least one.
        every: whether it needs all of them, whatever it names.
        target: whether it is the place in a change where the rows that are changed are looked for.
    """

    name: str
    schema: Schema
    registered: str
    columns: list[str] = field(default_factory=list)
    every: bool = False
    target: bool = False


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
    keyword = nearest(name, KEYWORDS, 0.8)
    if len(bound.sources) == 1:
        known = bound.sources[0].schema.names
        if name in known:
            text = f"no column {name} here: the query in FROM does not give it"
        elif keyword:
            text = f"no column {name} in {bound.sources[0].name}{keyword}"
        else:
            text = f"no column {name} in {bound.sources[0].name}; {did_you_mean(name, known)}"
    elif bound.sources:
        each = (f"{s.name} has {', '.join(s.schema.names[:20])}" for s in bound.sources)
        text = f"no column {name}; {'; '.join(each)}"
    else:
        text = f"no column {name}: the statement names no table"
    return ColumnNotFound(pointed(bound, name, text))


def pointed(bound: Bound, name: str, message: str) -> str:
    """The message with the place of a name in the text, where one can be told.

    Of several places it is the first where no table in sight has a column of that name.
    """
    nodes = [n for n in bound.tree.find_all(exp.Identifier) if n.name.upper() == name.upper() and "start" in n.meta]
    nodes.sort(key=lambda node: node.meta["start"])
    if not nodes:
        return message
    unknown = [node for node in nodes if isinstance(node.parent, exp.Column) and not _is_known(bound, node.parent)]
    start, length = span((unknown or nodes)[0])
    return point(bound.text, start, message, length)


def _is_known(bound: Bound, column: exp.Column) -> bool:
    """Whether a table that a column can see has one of its name; a query in FROM whose columns are not told may."""
    schemas = {source.registered: source.schema for source in bound.sources}
    name, label = column.name.upper(), column.table.upper()
    select = column.find_ancestor(exp.Select)
    while select is not None:
        for part in parts_of(select):
            if label and part.alias_or_name.upper() != label:
                continue
            schema = schemas.get(part.name) if isinstance(part, exp.Table) else None
            if schema is not None:
                names = schema.names
            elif isinstance(part, exp.Subquery) and not part.is_star:
                names = part.named_selects
            else:
                return True
            if name in (other.upper() for other in names):
                return True
        select = select.find_ancestor(exp.Select)
    return False


def parts_of(select: exp.Select) -> Iterator[exp.Expression]:
    """What stands in a SELECT's FROM: tables, queries, and what is joined to them."""
    from_ = select.args.get("from_")
    if from_ is not None:
        yield from_.this
        yield from (join.this for join in from_.this.args.get("joins") or [])
    yield from (join.this for join in select.args.get("joins") or [])
