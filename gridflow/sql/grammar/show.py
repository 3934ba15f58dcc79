"""The grammar of SHOW TABLES, SHOW COLUMNS and DESCRIBE."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp
from sqlglot.tokens import Token

from ..text.places import syntax_error
from .schemas import PUBLIC_SCHEMA, SYSTEM_SCHEMA
from .tokens import Tokens, parse_table_name


@dataclass(frozen=True)
class Show:
    """SHOW TABLES of a schema, or the columns of ``table``."""

    table: exp.Table | None = None
    schema: str = PUBLIC_SCHEMA


def parse_show(tokens: list[Token], text: str) -> Show:
    """``SHOW TABLES [FROM schema]``, ``SHOW COLUMNS FROM table``, ``DESCRIBE [TABLE] table``"""
    words = [t.text.upper() for t in tokens]
    if words[0] == "SHOW" and words[1:2] == ["TABLES"]:
        reader = Tokens(tokens, text)
        reader.expect("SHOW", "TABLES")
        schema = PUBLIC_SCHEMA
        if reader.accept("FROM") or reader.accept("IN"):
            token = reader.token
            schema = reader.name("a schema's name")
            if token is not None and schema not in (PUBLIC_SCHEMA, SYSTEM_SCHEMA):
                message = f"no schema {schema}; there are {PUBLIC_SCHEMA} and {SYSTEM_SCHEMA}"
                raise syntax_error(text, token.start, message, len(token.text))
        reader.end()
        return Show(schema=schema)
    if words[0] == "SHOW" and words[1:2] == ["COLUMNS"] and words[2:3] in (["FROM"], ["IN"]):
        rest = tokens[3:]
    elif words[0] == "SHOW":
        token = tokens[1] if len(tokens) > 1 else tokens[0]
        what = "SHOW TABLES and SHOW COLUMNS FROM t"
        raise syntax_error(text, token.start, f"cannot show {token.text}; there are {what}", len(token.text))
    else:
        rest = tokens[2:] if words[1:2] == ["TABLE"] else tokens[1:]
    if not rest:
        raise syntax_error(text, tokens[-1].start, f"a table's name is missing after {tokens[-1].text}")
    return Show(parse_table_name(rest, text))
