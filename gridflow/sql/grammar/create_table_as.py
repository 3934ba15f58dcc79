"""The grammar of ``CREATE TABLE t ... AS SELECT ...``:

CREATE TABLE [IF NOT EXISTS] t [([column, ...] [,] [PRIMARY KEY (column, ...)])] [PRIMARY KEY (column, ...)]
    [WITH "..."] AS query
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ..text.places import place_of, syntax_error
from .schemas import PUBLIC_SCHEMA
from .tokens import QUERY_STARTS, Tokens, key_list, with_texts


@dataclass(frozen=True)
class CreateTableAs:
    """A parsed CREATE TABLE AS.

    Attributes:
        table: the table's name, with its place in the text.
        if_not_exists: whether an existing table is left as it is.
        names: of the columns; empty where the query names them.
        key: the primary key's columns.
        with_texts: what stands in quotes after WITH.
        query: the Prepared query whose rows fill the table.
    """

    table: exp.Table
    if_not_exists: bool
    names: tuple[str, ...]
    key: tuple[str, ...]
    with_texts: tuple[str, ...]
    query: Any


def split_query(tokens: list[Token]) -> int | None:
    """The index of the token that begins the query of a CREATE TABLE ... AS; None for a CREATE TABLE without one."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        if depth == 0 and token.token_type is TokenType.ALIAS and i + 1 < len(tokens):
            return i + 1 if tokens[i + 1].text.upper() in QUERY_STARTS else None
    return None


def parse_head(tokens: list[Token], text: str, query: Any) -> CreateTableAs:
    """The statement, from the tokens before the query (``AS`` included) and the query.

    Raises:
        SqlError: where the text is wrong.
    """
    reader = Tokens(tokens, text)
    reader.expect("CREATE", "TABLE")
    if_not_exists = reader.accept("IF", "NOT", "EXISTS")
    table = reader.table()
    if table.db and table.db.upper() != PUBLIC_SCHEMA:
        start, length = place_of(table.args["db"])
        raise syntax_error(text, start, f"no schema {table.db}; there is {PUBLIC_SCHEMA}", length)
    names: list[str] = []
    key: tuple[str, ...] = ()
    if reader.accept("("):
        while True:
            if reader.accept("PRIMARY", "KEY"):
                key = key_list(reader)
            else:
                names.append(reader.name("a column's name"))
                if reader.accept("PRIMARY", "KEY"):
                    key = (names[-1],)
            if not reader.accept(","):
                break
        if reader.word() != ")":
            raise reader.fail("the columns of CREATE TABLE ... AS take their types from the query: expected , or )")
        reader.expect(")")
    if reader.accept("PRIMARY", "KEY"):
        if key:
            raise reader.fail("the primary key is given twice")
        key = key_list(reader)
    texts = with_texts(reader)
    reader.expect("AS")
    reader.end()
    return CreateTableAs(table, if_not_exists, tuple(names), key, texts, query)
