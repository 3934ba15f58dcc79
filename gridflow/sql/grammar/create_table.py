"""The grammar of CREATE TABLE and DROP TABLE: ours, since the types are."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp
from sqlglot.tokens import Token

from ...errors import SchemaError
from ...schema import Type, parse_type
from ..text.places import error_at, syntax_error
from .dialect import parse
from .literals import constant
from .schemas import PUBLIC_SCHEMA, SYSTEM_SCHEMA
from .tokens import Tokens, key_list, with_texts

# Words that end a column's type or default.
_AFTER_TYPE = {"NOT", "NULL", "DEFAULT", "PRIMARY"}
_UNSUPPORTED = {
    "UNIQUE",
    "CHECK",
    "REFERENCES",
    "FOREIGN",
    "AUTO_INCREMENT",
    "IDENTITY",
    "GENERATED",
    "COLLATE",
}


@dataclass(frozen=True)
class CreateTable:
    """A parsed CREATE TABLE.

    Attributes:
        name: the table's, folded.
        if_not_exists: whether an existing table is left as it is.
        columns: names and types.
        key: the primary key's columns.
        with_texts: what stands in quotes after WITH.
        defaults: column -> the literal of its DEFAULT as written.
    """

    name: str
    if_not_exists: bool
    columns: tuple[tuple[str, Type], ...]
    key: tuple[str, ...]
    with_texts: tuple[str, ...]
    defaults: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DropTable:
    """A parsed DROP TABLE."""

    table: exp.Table
    if_exists: bool


def parse_drop_table(tokens: list[Token], text: str) -> DropTable:
    """``DROP TABLE [IF EXISTS] name``"""
    reader = Tokens(tokens, text)
    reader.expect("DROP", "TABLE")
    if_exists = reader.accept("IF", "EXISTS")
    table = reader.table()
    reader.end()
    return DropTable(table, if_exists)


def parse_create_table(tokens: list[Token], text: str) -> CreateTable:
    """``CREATE TABLE [IF NOT EXISTS] name (columns, PRIMARY KEY (...)) [WITH "..."]``

    Raises:
        SqlError: where the text is wrong, or there is no primary key.
        SchemaError: a type is not known; names the column.
    """
    reader = Tokens(tokens, text)
    reader.expect("CREATE", "TABLE")
    if_not_exists = reader.accept("IF", "NOT", "EXISTS")
    table = reader.table()
    if table.db and table.db.upper() != PUBLIC_SCHEMA:
        start = table.args["db"].meta["start"]
        why = "holds only system views" if table.db.upper() == SYSTEM_SCHEMA else "is not there"
        raise syntax_error(text, start, f"schema {table.db} {why}; tables are in {PUBLIC_SCHEMA}", len(table.db))
    reader.expect("(")
    columns: list[tuple[str, Type]] = []
    defaults: list[tuple[str, str]] = []
    key: tuple[str, ...] = ()
    while True:
        in_key: tuple[str, ...] = ()
        if reader.accept("CONSTRAINT"):
            reader.name("a constraint's name")
            in_key = _key_clause(reader)
        elif reader.word() in ("PRIMARY", "PRIMARY KEY") and reader.accept("PRIMARY", "KEY"):
            in_key = key_list(reader)
        elif reader.word() in _UNSUPPORTED:
            raise reader.fail(f"{reader.word()} is not there yet")
        else:
            in_key = column_definition(reader, columns, defaults)
        if in_key and key:
            raise reader.fail("the primary key is given twice")
        key = key or in_key
        if not reader.accept(","):
            break
    reader.expect(")")
    if not key:
        raise syntax_error(
            text,
            table.this.meta["start"],
            f"table {table.name} has no primary key; write PRIMARY KEY after one column, or "
            f"PRIMARY KEY ({columns[0][0]}) after the last",
            len(table.name),
        )
    texts = with_texts(reader)
    reader.end()
    return CreateTable(table.name, if_not_exists, tuple(columns), key, texts, tuple(defaults))


def _key_clause(reader: Tokens) -> tuple[str, ...]:
    reader.expect("PRIMARY", "KEY")
    return key_list(reader)


def column_definition(
    reader: Tokens, columns: list[tuple[str, Type]], defaults: list[tuple[str, str]]
) -> tuple[str, ...]:
    """Read ``name type [NOT NULL] [DEFAULT x] [PRIMARY KEY]`` and append it to both lists.

    Returns:
        The primary key: this column, or empty.
    """
    name = reader.name("a column's name")
    dtype = _type(reader, name)
    key: tuple[str, ...] = ()
    while True:
        if reader.accept("NOT", "NULL"):
            dtype = dtype.not_null()
        elif reader.accept("NULL"):
            pass
        elif reader.accept("PRIMARY", "KEY"):
            key = (name,)
        elif reader.accept("DEFAULT"):
            defaults.append((name, _literal(reader)))
        elif reader.word() in _UNSUPPORTED:
            raise reader.fail(f"{reader.word()} is not there yet")
        else:
            break
    columns.append((name, dtype))
    return key


def _type(reader: Tokens, column: str) -> Type:
    """Read a column's type: the tokens up to its end, parsed by ``schema.parse_type``."""
    first = reader.token
    depth = 0
    while reader.token is not None:
        word = reader.word()
        if depth <= 0 and (word in (",", ")") or word in _AFTER_TYPE or word.startswith("PRIMARY")):
            break
        if depth <= 0 and word in _UNSUPPORTED:
            break
        depth += sum(word.count(sign) for sign in "<([") - sum(word.count(sign) for sign in ">)]")
        reader.at += 1
    if first is None or first is reader.token:
        raise reader.fail(f"expected the type of column {column}")
    begin, end = first.start, reader.tokens[reader.at - 1].end + 1
    # A name without quotes is upper case everywhere, so also that of a STRUCT's field.
    parts = reader.text[begin:end].split('"')
    folded = '"'.join(part if i % 2 else part.upper() for i, part in enumerate(parts))
    try:
        return parse_type(folded)
    except SchemaError as error:
        raise error_at(
            SchemaError, reader.text, begin, f"column {column}: {error}", end - begin, column=column
        ) from None


def _literal(reader: Tokens) -> str:
    """Read a DEFAULT's literal; returns it as written."""
    begin = reader.at
    depth = 0
    while reader.token is not None:
        word = reader.word()
        if depth == 0 and reader.at > begin and (word in (",", ")") or word in _AFTER_TYPE):
            break
        if depth == 0 and word.startswith("PRIMARY"):
            break
        depth += (word in ("(", "[", "{")) - (word in (")", "]", "}"))
        reader.at += 1
    if reader.at == begin:
        raise reader.fail("expected a literal after DEFAULT")
    tokens = reader.tokens[begin : reader.at]
    literal = constant(parse(tokens, reader.text))
    source = reader.text[tokens[0].start : tokens[-1].end + 1]
    if literal is None or not literal.fixed:
        raise syntax_error(reader.text, tokens[0].start, f"DEFAULT {source}: a default is a literal", len(source))
    return source
