"""CREATE INDEX and DROP INDEX, in Ignite's grammar."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ..errors import SchemaError, SqlError, did_you_mean
from ..storage.index import Index
from ..storage.index_keys import check_indexable
from .bound import span
from .names import SCHEMA, find_column, find_table
from .text import point, syntax_error
from .tokens import Tokens, identifier


@dataclass(frozen=True)
class CreateIndex:
    """A parsed CREATE INDEX.

    Attributes:
        name: the index's.
        table: the table's.
        columns: each with whether it says DESC.
        if_not_exists: whether an index of that name is left as it is.
        without_effect: the options it has, as written.
    """

    name: exp.Identifier
    table: exp.Table
    columns: tuple[tuple[exp.Identifier, bool], ...]
    if_not_exists: bool
    without_effect: tuple[str, ...]


@dataclass(frozen=True)
class DropIndex:
    """A parsed DROP INDEX."""

    name: exp.Identifier
    if_exists: bool


def parse_create_index(tokens: list[Token], text: str) -> CreateIndex:
    """``CREATE INDEX [IF NOT EXISTS] name ON table (column [ASC|DESC], ...) [INLINE_SIZE n] [PARALLEL n]``"""
    reader = Tokens(tokens, text)
    reader.expect("CREATE", "INDEX")
    if_not_exists = reader.accept("IF", "NOT", "EXISTS")
    name = _name(reader, "an index's name")
    reader.expect("ON")
    table = reader.table()
    reader.expect("(")
    columns = []
    while True:
        column = _name(reader, "a column's name")
        descending = reader.accept("DESC")
        if not descending:
            reader.accept("ASC")
        columns.append((column, descending))
        if not reader.accept(","):
            break
    reader.expect(")")
    options: dict[str, str] = {}
    while reader.word() in ("INLINE_SIZE", "PARALLEL"):
        option = reader.word()
        if option in options:
            raise reader.fail(f"{option} is given twice")
        reader.at += 1
        reader.accept("=")
        value = reader.now
        if value is None or value.token_type is not TokenType.NUMBER or not value.text.isdigit():
            raise reader.fail(f"{option} is a whole number")
        reader.at += 1
        options[option] = value.text
    reader.end()
    said = tuple(f"{option} {value}" for option, value in options.items())
    return CreateIndex(name, table, tuple(columns), if_not_exists, said)


def parse_drop_index(tokens: list[Token], text: str) -> DropIndex:
    """``DROP INDEX [IF EXISTS] name``"""
    reader = Tokens(tokens, text)
    reader.expect("DROP", "INDEX")
    if_exists = reader.accept("IF", "EXISTS")
    name = _name(reader, "an index's name", schema=True)
    reader.end()
    return DropIndex(name, if_exists)


def refuse_spatial(tokens: list[Token], text: str) -> Any:
    """CREATE SPATIAL INDEX is Ignite's for geometries, which are no type here."""
    raise syntax_error(text, tokens[1].start, "there are no spatial indexes; write CREATE INDEX", len(tokens[1].text))


def _name(reader: Tokens, what: str, *, schema: bool = False) -> exp.Identifier:
    first = reader.now
    name = reader.name(what)
    if schema and reader.accept("."):
        if name.upper() != SCHEMA:
            assert first is not None  # name() has read it
            raise syntax_error(reader.text, first.start, f"no schema {name}; there is {SCHEMA}", len(name))
        first = reader.now
        name = reader.name(what)
    return identifier(name, first)


def create_index(grid: Any, node: CreateIndex, text: str) -> None:
    """Make an index and its files.

    Raises:
        TableNotFound, ColumnNotFound: it names what is not there.
        SqlError: there is an index of that name; a column is named twice or can have none.
        GridFullError: there is no room; nothing has changed.
    """
    table = find_table(grid, node.table, text)
    columns = []
    for column_node, _ in node.columns:
        start, length = span(column_node)
        column = find_column(table.schema, column_node, text, table.name)
        if column in columns:
            raise syntax_error(text, start, f"column {column.name} is named twice", length)
        try:
            check_indexable(column)
        except SchemaError as error:
            raise syntax_error(text, start, str(error), length) from None
        columns.append(column)
    name = node.name.name
    with table.indexes.changing():
        owner = _table_of(grid, name)
        if owner is not None:
            if node.if_not_exists:
                return
            start, length = span(node.name)
            raise SqlError(point(text, start, f"index {name} exists already, on table {owner}", length))
        taken = [index.index_id for index in table.indexes.all()]
        index = Index(name, max(taken, default=0) + 1, tuple(columns), tuple(down for _, down in node.columns))
        table.indexes.make(index)
        try:
            grid.alter_options(table.name, lambda options: _with_index(grid, options, index))
        except BaseException:
            table.indexes.remove_stale()
            raise
    table.store.wake.set()  # there may be new segments meanwhile
    if node.without_effect:
        warnings.warn(f"without effect here: {', '.join(node.without_effect)}", UserWarning, stacklevel=2)


def drop_index(grid: Any, node: DropIndex, text: str) -> None:
    """Forget an index and remove its files.

    Raises:
        SqlError: there is none of that name.
    """
    name = node.name.name
    owner = _table_of(grid, name)
    if owner is None:
        if node.if_exists:
            return
        start, length = span(node.name)
        known = [index for indexes in _names(grid).values() for index in indexes]
        raise SqlError(point(text, start, f"no index {name}; {did_you_mean(name, known)}", length))
    table = grid.table(owner)
    with table.indexes.changing():
        grid.alter_options(owner, lambda options: _without_index(options, name))
        table.indexes.remove_stale()


def _names(grid: Any) -> dict[str, list[str]]:
    """The names of all indexes, by table."""
    return {table.name: [index.name for index in table.indexes.all()] for table in grid.all_tables()}


def _table_of(grid: Any, name: str) -> str | None:
    return next((table for table, names in _names(grid).items() if name in names), None)


def _with_index(grid: Any, options: dict[str, Any], index: Index) -> dict[str, Any]:
    owner = _table_of(grid, index.name)
    if owner is not None:  # another thread was faster
        raise SqlError(f"index {index.name} exists already, on table {owner}")
    options.setdefault("sql", {}).setdefault("indexes", {})[index.name] = index.option()
    return options


def _without_index(options: dict[str, Any], name: str) -> dict[str, Any]:
    indexes = (options.get("sql") or {}).get("indexes") or {}
    indexes.pop(name, None)
    if not indexes:
        options.get("sql", {}).pop("indexes", None)
    return options
