"""A bound statement: the tables that its names mean, and how an error points into its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
from sqlglot import exp

from ...errors import ColumnNotFoundError, GridflowError, did_you_mean
from ...schema import Schema, Type
from ..grammar.spelling import KEYWORDS, nearest
from ..text.params import MarkList
from ..text.places import error_at, place_of
from .scopes import is_in_sight

_Error = TypeVar("_Error", bound=GridflowError)


@dataclass
class BoundTable:
    """A grid's table in a statement.

    Attributes:
        name, schema: of the table. Not the Table itself: a plan outlives its grid.
        version: the version of it that is read, and ``table`` its own name; None for the table as it is.
        registered: the name under which DuckDB finds the table's rows.
        columns: the columns that the statement needs, in the table's order, at least one.
        every: whether the statement needs all columns, whatever names it has.
        target: whether this is the table that a change is made to, at the place where its rows are selected.
    """

    name: str
    schema: Schema
    registered: str
    columns: list[str] = field(default_factory=list)
    every: bool = False
    target: bool = False
    version: str | int | None = None
    table: str = ""


@dataclass
class Bound:
    """A statement bound to the tables of a grid.

    Attributes:
        tree: a copy that names ``registered`` tables; names that DuckDB would confuse are replaced.
        sources: the tables, each once.
        originals: replaced name -> the column's name.
        text: the statement's text, for messages.
        exact: whether every table is called exactly as the text has it.
        lists: name -> a table of one column, of the literals of a long list after IN; the engine finds it by that name.
        mark_lists: name -> the marks of a long list after IN, which become such a table, and the type of the column.
        stack: bytes of stack that the engine may need for the statement.
        version_marks: the parameters that are versions of tables and nothing else.
    """

    tree: exp.Expression
    sources: list[BoundTable]
    originals: dict[str, str]
    text: str
    exact: bool = True
    lists: dict[str, pa.Table] = field(default_factory=dict)
    mark_lists: dict[str, tuple[MarkList, Type]] = field(default_factory=dict)
    stack: int = 0
    version_marks: frozenset[str] = frozenset()

    def column_names(self) -> list[str]:
        """The names of all columns of all tables, sorted."""
        return sorted({name for source in self.sources for name in source.schema.names})


def no_column(name: str, bound: Bound) -> ColumnNotFoundError:
    """The error of a column that is in no table; it lists the columns that the tables have."""
    keyword = nearest(name, KEYWORDS, 0.8)
    if len(bound.sources) == 1:
        names = bound.sources[0].schema.names
        if name in names:
            text = f"no column {name} here: the query in FROM does not give it"
        elif keyword:
            text = f"no column {name} in {bound.sources[0].name}{keyword}"
        else:
            text = f"no column {name} in {bound.sources[0].name}; {did_you_mean(name, names)}"
    elif bound.sources:
        each = (f"{s.name} has {', '.join(s.schema.names[:20])}" for s in bound.sources)
        text = f"no column {name}; {'; '.join(each)}"
    else:
        text = f"no column {name}: the statement names no table"
    table = bound.sources[0].name if len(bound.sources) == 1 else None
    return error_at_name(ColumnNotFoundError, bound, name, text, table=table, column=name)


def error_at_name(kind: type[_Error], bound: Bound, name: str, message: str, **place: Any) -> _Error:
    """An error that points at a name in the text, if the name is there.

    Of several places the first counts where no table in sight has a column of that name.
    """
    schemas = {table.registered: table.schema for table in bound.sources}
    nodes = [n for n in bound.tree.find_all(exp.Identifier) if n.name.upper() == name.upper() and "start" in n.meta]
    nodes.sort(key=lambda node: node.meta["start"])
    if not nodes:
        return kind(message, **place)
    unknown = [node for node in nodes if isinstance(node.parent, exp.Column) and not is_in_sight(node.parent, schemas)]
    start, length = place_of((unknown or nodes)[0])
    return error_at(kind, bound.text, start, message, length, **place)
