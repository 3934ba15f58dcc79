"""Commands that list the content of a grid: tables, columns, keys and indexes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ...schema import from_arrow, quote_name
from ...storage.defaults import default_texts
from ..common import human_bytes, quantity
from .registry import Words, check_at_most, only_word, shell_command, unquoted
from .rendering import table_list, table_overview

if TYPE_CHECKING:
    from .session import Session  # circle: a session runs commands, which are about it

_SCHEMA = re.compile(r'("(?:[^"]|"")*"|\w+)\.(?=.)')


def find_table(session: Session, word: str) -> Any:
    """The table of a name: a quoted name is exact, another one is read as SQL reads it.

    Raises:
        TableNotFoundError: there is no such table; the message lists the tables.
    """
    if word.upper().startswith("PUBLIC."):
        word = word[len("PUBLIC.") :]
    name, names = unquoted(word), session.grid.tables()
    if name == word and name not in names:
        candidates = [candidate for candidate in names if candidate.upper() == name.upper()]
        name = candidates[0] if len(candidates) == 1 else name.upper()
    return session.grid.table(name)


@shell_command("!tables", "\\dt", arguments="[PATTERN]")
def _tables(session: Session, words: Words) -> None:
    """List the tables with their rows and bytes; of a pattern like KIT% only those"""
    check_at_most(words, 1, "!tables [PATTERN]")
    tables = table_list(session.grid)
    if words:
        pattern = unquoted(words[0]).upper().replace("%", "*")
        tables = tables.filter(pa.array([fnmatchcase(n.upper(), pattern) for n in tables.column("TABLE").to_pylist()]))
    if not tables and session.settings.outputformat in ("table", "vertical"):
        session.output.note("no such tables" if words else "no tables yet; CREATE TABLE makes one")
        return
    session.show_listing(table_overview(tables) if session.settings.outputformat == "table" else tables)


@shell_command("!describe", "\\d", arguments="[TABLE]", takes="table")
def _describe(session: Session, words: Words) -> None:
    """Show the columns of a table; without a name, the tables"""
    if not words:
        _tables(session, words)
        return
    word = only_word(words, "!describe TABLE")
    schema = _SCHEMA.match(words[0])
    if schema is not None and unquoted(schema[1]).upper() != "PUBLIC":
        _describe_query(session, words[0])
        return
    table = find_table(session, words[0] if words[0].startswith('"') else word)
    key = list(table.schema.key)
    defaults = default_texts(table)
    columns = table.schema.columns
    rows = {
        "COLUMN": [c.name for c in columns],
        "TYPE": [c.type.text() for c in columns],
        "NULLABLE": ["yes" if c.type.nullable else "no" for c in columns],
        "KEY": [str(key.index(c.name) + 1) if c.name in key else "" for c in columns],
        "DEFAULT": [defaults.get(c.name, "") for c in columns],
    }
    session.show_listing(pa.table({name: pa.array(values, pa.string()) for name, values in rows.items()}))
    size = human_bytes(table.stats()["bytes"])
    key_text = ", ".join(map(quote_name, key))
    session.output.note(
        f"key ({key_text}); {quantity(len(table), 'row')} in {quantity(table.partitions_count, 'partition')}, {size}"
    )


def _describe_query(session: Session, name: str) -> None:
    """Show the columns of a system view, from the types of an empty query."""
    schema = session.query(f"SELECT * FROM {name} LIMIT 0").to_arrow().schema
    rows = {"COLUMN": schema.names, "TYPE": [from_arrow(field.type).text() for field in schema]}
    session.show_listing(pa.table({name: pa.array(values, pa.string()) for name, values in rows.items()}))


@shell_command("!columns", arguments="[TABLE]", takes="table")
def _columns(session: Session, words: Words) -> None:
    """List the columns of a table, or of all"""
    rows = [
        (table.name, c.name, c.type.text(), "YES" if c.type.nullable else "NO", number)
        for table in _tables_of(session, words, "!columns [TABLE]")
        for number, c in enumerate(table.schema.columns, 1)
    ]
    names = ("TABLE_NAME", "COLUMN_NAME", "TYPE_NAME", "IS_NULLABLE", "ORDINAL_POSITION")
    session.show_listing(_rows_table(names, rows))


@shell_command("!primarykeys", arguments="[TABLE]", takes="table")
def _primary_keys(session: Session, words: Words) -> None:
    """List the columns of the primary key of a table, or of all"""
    tables = _tables_of(session, words, "!primarykeys [TABLE]")
    rows = [(t.name, name, number) for t in tables for number, name in enumerate(t.schema.key, 1)]
    session.show_listing(_rows_table(("TABLE_NAME", "COLUMN_NAME", "KEY_SEQ"), rows))


@shell_command("!indexes", "\\di", arguments="[TABLE]", takes="table")
def _indexes(session: Session, words: Words) -> None:
    """List the indexes of a table, or of all"""
    check_at_most(words, 1, "!indexes [TABLE]")
    condition = "WHERE TABLE_NAME = ?" if words else ""
    result = session.query(
        f"SELECT TABLE_NAME, INDEX_NAME, INDEX_TYPE, COLUMNS, IS_UNIQUE FROM SYS.INDEXES {condition} "
        "ORDER BY TABLE_NAME, NOT IS_PK, INDEX_NAME",
        [find_table(session, words[0]).name] if words else None,
    )
    session.show_listing(result.to_arrow())


def _tables_of(session: Session, words: Words, usage: str) -> list[Any]:
    check_at_most(words, 1, usage)
    if words:
        return [find_table(session, words[0])]
    return session.grid._all_tables()


def _rows_table(names: Iterable[str], rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    types = {int: pa.int32(), str: pa.string()}
    arrays = [pa.array(c, types[type(c[0])] if len(c) else pa.string()) for c in map(list, columns)]
    return pa.Table.from_arrays(arrays, names=list(names))
