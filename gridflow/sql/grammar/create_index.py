"""The grammar of CREATE INDEX and DROP INDEX, which is Ignite's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ..text.places import syntax_error
from .schemas import PUBLIC_SCHEMA
from .spelling import is_count
from .tokens import Tokens, identifier


@dataclass(frozen=True)
class CreateIndex:
    """A parsed CREATE INDEX.

    Attributes:
        name: the index's.
        table: the table's.
        columns: the columns; True beside one is DESC.
        if_not_exists: whether an index of that name is left as it is.
        without_effect: the options as written; none changes anything here.
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
        value = reader.token
        if value is None or value.token_type is not TokenType.NUMBER or not is_count(value.text):
            raise reader.fail(f"{option} is a whole number")
        reader.at += 1
        options[option] = value.text
    reader.end()
    without_effect = tuple(f"{option} {value}" for option, value in options.items())
    return CreateIndex(name, table, tuple(columns), if_not_exists, without_effect)


def parse_drop_index(tokens: list[Token], text: str) -> DropIndex:
    """``DROP INDEX [IF EXISTS] name``"""
    reader = Tokens(tokens, text)
    reader.expect("DROP", "INDEX")
    if_exists = reader.accept("IF", "EXISTS")
    name = _name(reader, "an index's name", schema=True)
    reader.end()
    return DropIndex(name, if_exists)


def refuse_spatial(tokens: list[Token], text: str) -> Any:
    """Refuse CREATE SPATIAL INDEX, which is Ignite's for geometries: no column has that type here."""
    raise syntax_error(text, tokens[1].start, "there are no spatial indexes; write CREATE INDEX", len(tokens[1].text))


def _name(reader: Tokens, what: str, *, schema: bool = False) -> exp.Identifier:
    first = reader.token
    name = reader.name(what)
    if schema and reader.accept("."):
        if name.upper() != PUBLIC_SCHEMA:
            assert first is not None  # name() has read it
            raise syntax_error(reader.text, first.start, f"no schema {name}; there is {PUBLIC_SCHEMA}", len(name))
        first = reader.token
        name = reader.name(what)
    return identifier(name, first)
