"""The grammar of ALTER TABLE."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp
from sqlglot.tokens import Token

from ...schema import Type
from .create_table import column_definition
from .tokens import Tokens, identifier


@dataclass(frozen=True)
class AlterTable:
    """A parsed ALTER TABLE; one of the three lists is not empty.

    Attributes:
        table: the table's name as written.
        if_exists: whether a missing table is fine.
        add: names and types of new columns.
        defaults: name of a new column and the literal of its DEFAULT as written.
        drop: names of columns to drop.
        rename: pairs of names, old and new.
        lenient: whether to pass over columns to add that exist and columns to drop that do not.
    """

    table: exp.Table
    if_exists: bool
    add: tuple[tuple[str, Type], ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    drop: tuple[exp.Identifier, ...] = ()
    rename: tuple[tuple[exp.Identifier, str], ...] = ()
    lenient: bool = False


def parse_alter_table(tokens: list[Token], text: str) -> AlterTable:
    """``ALTER TABLE [IF EXISTS] t ADD | DROP | RENAME [COLUMN] ...``, as Ignite has it, and RENAME as H2 has it.

    Raises:
        SqlError: where the text is wrong.
        SchemaError: a type is not known; names the column.
    """
    reader = Tokens(tokens, text)
    reader.expect("ALTER", "TABLE")
    if_exists = reader.accept("IF", "EXISTS")
    table = reader.table()
    if reader.accept("ADD"):
        statement = _add(reader, table, if_exists)
    elif reader.accept("DROP"):
        statement = _drop(reader, table, if_exists)
    elif reader.accept("RENAME"):
        reader.accept("COLUMN")
        statement = AlterTable(table, if_exists, rename=(_rename(reader, "TO"),))
    elif reader.accept("ALTER", "COLUMN"):
        statement = AlterTable(table, if_exists, rename=(_rename(reader, "RENAME TO"),))
    else:
        raise reader.fail("expected ADD, DROP or RENAME COLUMN")
    reader.end()
    return statement


def _column_name(reader: Tokens) -> exp.Identifier:
    first = reader.token
    return identifier(reader.name("a column's name"), first)


def _add(reader: Tokens, table: exp.Table, if_exists: bool) -> AlterTable:
    reader.accept("COLUMN")
    lenient = reader.accept("IF", "NOT", "EXISTS")
    columns: list[tuple[str, Type]] = []
    defaults: list[tuple[str, str]] = []
    several = reader.accept("(")
    while True:
        if column_definition(reader, columns, defaults):
            raise reader.fail(f"column {columns[-1][0]} cannot become part of the primary key")
        if not several or not reader.accept(","):
            break
    if several:
        reader.expect(")")
    return AlterTable(table, if_exists, tuple(columns), tuple(defaults), lenient=lenient)


def _drop(reader: Tokens, table: exp.Table, if_exists: bool) -> AlterTable:
    reader.accept("COLUMN")
    lenient = reader.accept("IF", "EXISTS")
    several = reader.accept("(")
    names = [_column_name(reader)]
    while several and reader.accept(","):
        names.append(_column_name(reader))
    if several:
        reader.expect(")")
    return AlterTable(table, if_exists, drop=tuple(names), lenient=lenient)


def _rename(reader: Tokens, words: str) -> tuple[exp.Identifier, str]:
    old = _column_name(reader)
    reader.expect(*words.split())
    return old, reader.name("a column's new name")
