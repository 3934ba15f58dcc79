"""ALTER TABLE: columns come, go and get other names, while the rows stay where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token

from ..errors import TableNotFound
from ..schema import Column, Type
from ..storage.index import indexes_of
from .bound import span
from .changes import changing
from .constants import constant, convert
from .ddl import column_definition
from .dialect import parse, tokenize
from .names import find_column, find_table
from .text import syntax_error
from .tokens import Tokens, identifier


@dataclass(frozen=True)
class AlterTable:
    """A parsed ALTER TABLE; one of the three lists is not empty.

    Attributes:
        table: its name as written.
        if_exists: whether there need not be such a table.
        add: names and types of new columns.
        defaults: of these, the literal of its DEFAULT as written.
        drop: names of columns to drop.
        rename: pairs of names, old and new.
        lenient: whether columns that are there already, or are not there, are passed over.
    """

    table: exp.Table
    if_exists: bool
    add: tuple[tuple[str, Type], ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    drop: tuple[exp.Identifier, ...] = ()
    rename: tuple[tuple[exp.Identifier, str], ...] = ()
    lenient: bool = False


def parse_alter(tokens: list[Token], text: str) -> AlterTable:
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
        found = _add(reader, table, if_exists)
    elif reader.accept("DROP"):
        found = _drop(reader, table, if_exists)
    elif reader.accept("RENAME"):
        reader.accept("COLUMN")
        found = AlterTable(table, if_exists, rename=(_renamed(reader, "TO"),))
    elif reader.accept("ALTER", "COLUMN"):
        found = AlterTable(table, if_exists, rename=(_renamed(reader, "RENAME TO"),))
    else:
        raise reader.fail("expected ADD, DROP or RENAME COLUMN")
    reader.end()
    return found


def _column_name(reader: Tokens) -> exp.Identifier:
    first = reader.now
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


def _renamed(reader: Tokens, words: str) -> tuple[exp.Identifier, str]:
    old = _column_name(reader)
    reader.expect(*words.split())
    return old, reader.name("a column's new name")


def alter_table(grid: Any, node: AlterTable, text: str) -> None:
    """Change the table.

    Raises:
        TableNotFound, ColumnNotFound: there is none of that name, and nobody said IF EXISTS.
        SqlError, SchemaError: it cannot be done; names the column.
    """
    try:
        table = find_table(grid, node.table, text)
    except TableNotFound:
        if node.if_exists:
            return
        raise
    with changing(grid, table):  # so that no statement that is under way misses a DEFAULT
        _alter(grid, table, node, text)


def _alter(grid: Any, table: Any, node: AlterTable, text: str) -> None:
    schema = table.schema
    add = {name: dtype for name, dtype in node.add if not (node.lenient and name in schema)}
    wanted = [name for name in node.drop if not (node.lenient and name.name not in schema)]
    drop = [find_column(schema, name, text, table.name).name for name in wanted]
    rename = {find_column(schema, old, text, table.name).name: new for old, new in node.rename}
    _check_indexes(table, drop, node, text)
    if len(add) + len(drop) + len(rename) == 0:
        return
    defaults = {name: written for name, written in node.defaults if name in add}
    fill = {name: _value(Column(name, add[name]), written) for name, written in defaults.items()}
    # A DEFAULT without a column does nothing, a column without its DEFAULT would: so the options change first where
    # columns come, and what is left over goes afterwards.
    grid.alter_options(table.name, lambda options: _with(options, defaults, rename, add))
    grid.alter_table(table.name, add=add, drop=drop, rename=rename, fill=fill)
    grid.alter_options(table.name, lambda options: _without(options, drop, rename, table.schema.names))


def _value(column: Column, written: str) -> Any:
    found = constant(parse(tokenize(written), written))
    assert found is not None  # it was checked when it was parsed
    return convert(found.get({}), column)


def _check_indexes(table: Any, drop: list[str], node: AlterTable, text: str) -> None:
    for index in indexes_of(table.options, table.schema):
        for column in index.columns:
            if column.name in drop:
                start, length = span(node.drop[0])
                message = (
                    f"column {column.name} of {table.name} is in index {index.name}: DROP INDEX {index.name} first"
                )
                raise syntax_error(text, start, message, length)


def _sql(options: Mapping[str, Any]) -> dict[str, Any]:
    return dict((options or {}).get("sql") or {})


def _with(
    options: dict[str, Any], defaults: Mapping[str, str], rename: Mapping[str, str], add: Mapping[str, Type]
) -> dict[str, Any]:
    """The options with the DEFAULTs of new columns and of new names, the old ones still among them."""
    sql = _sql(options)
    before = dict(sql.get("defaults") or {})
    kept = {name: written for name, written in before.items() if name not in add}
    kept |= {new: before[old] for old, new in rename.items() if old in before}
    sql["defaults"] = kept | dict(defaults)
    return {**options, "sql": sql}


def _without(options: dict[str, Any], drop: list[str], rename: Mapping[str, str], names: list[str]) -> dict[str, Any]:
    """The options without the DEFAULTs of columns that are no more, and the affinity key by its name of now."""
    sql = _sql(options)
    gone = {*drop, *rename}
    for old, new in rename.items():
        if str(sql.get("affinity_key", "")).upper() == old.upper():
            sql["affinity_key"] = new
    sql["defaults"] = {n: w for n, w in (sql.get("defaults") or {}).items() if n not in gone or n in names}
    if not sql["defaults"]:
        del sql["defaults"]
    return {**options, "sql": sql}
