"""The grammar of TRUNCATE, ANALYZE, REFRESH and DROP STATISTICS, KILL QUERY, SET."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ...config import MOST_BYTES, MOST_MILLISECONDS
from ...errors import did_you_mean
from ..text.places import syntax_error
from .spelling import is_count
from .tokens import Tokens


def parse_truncate(tokens: list[Token], text: str) -> exp.Table:
    """``TRUNCATE [TABLE] name [CONTINUE IDENTITY | RESTART IDENTITY]``; no column has an IDENTITY to continue."""
    reader = Tokens(tokens, text)
    reader.expect("TRUNCATE")
    reader.accept("TABLE")
    table = reader.table()
    if not reader.accept("CONTINUE", "IDENTITY"):
        reader.accept("RESTART", "IDENTITY")
    reader.end()
    return table


# ---- statistics ----

#: The options of Ignite's statistics; the value of each is a whole number.
_STATISTICS = ("MAX_CHANGED_PARTITION_ROWS_PERCENT", "NULLS", "TOTAL", "SIZE", "DISTINCT")


@dataclass(frozen=True)
class Targets:
    """The tables that a statement about statistics names, each with the columns named of it."""

    tables: tuple[tuple[exp.Table, tuple[exp.Identifier, ...]], ...]


def parse_analyze(tokens: list[Token], text: str) -> Targets:
    """``ANALYZE [table [(columns)], ...] [WITH 'name=value, ...']``"""
    reader = Tokens(tokens, text)
    reader.expect("ANALYZE")
    targets = _targets(reader) if reader.token is not None and reader.word() != "WITH" else ()
    if reader.accept("WITH"):
        option = reader.token
        if option is None or option.token_type not in (TokenType.STRING, TokenType.IDENTIFIER):
            raise reader.fail("expected 'name=value, ...'")
        reader.at += 1
        for part in option.text.split(","):
            name, _, value = (piece.strip() for piece in part.partition("="))
            length = option.end - option.start + 1
            if name.upper() not in _STATISTICS:
                message = f"no option {name} of ANALYZE; {did_you_mean(name, _STATISTICS)}"
                raise syntax_error(text, option.start, message, length)
            if not is_count(value):
                message = f"option {name}={value} of ANALYZE: its value is a whole number"
                raise syntax_error(text, option.start, message, length)
    reader.end()
    return Targets(targets)


def parse_statistics(tokens: list[Token], text: str) -> Targets:
    """``REFRESH | DROP STATISTICS table [(columns)], ...``"""
    reader = Tokens(tokens, text)
    if not reader.accept("REFRESH", "STATISTICS"):
        reader.expect("DROP", "STATISTICS")
    targets = _targets(reader)
    reader.end()
    return Targets(targets)


def _targets(reader: Tokens) -> tuple[tuple[exp.Table, tuple[exp.Identifier, ...]], ...]:
    targets = []
    while True:
        targets.append(reader.table_and_columns())
        if not reader.accept(","):
            return tuple(targets)


# ---- sessions ----


def parse_kill(tokens: list[Token], text: str) -> str:
    """``KILL QUERY [ASYNC] 'id'``; returns the id."""
    reader = Tokens(tokens, text)
    if not reader.accept("KILL", "QUERY"):
        message = "KILL ends a query: KILL QUERY 'id', with the QUERY_ID that SYS.SQL_QUERIES shows"
        raise syntax_error(text, tokens[0].start, message, len("KILL"))
    reader.accept("ASYNC")
    token = reader.token
    if token is None or token.token_type is not TokenType.STRING:
        raise reader.fail("expected a query's id in single quotes, as SYS.SQL_QUERIES shows it")
    reader.at += 1
    reader.end()
    return token.text


#: What SET sets for the statements after it, and in which unit its number is.
QUERY_TIMEOUT, QUERY_MEMORY = "QUERY_TIMEOUT", "QUERY_MEMORY"


@dataclass(frozen=True)
class SetLimit:
    """``SET QUERY_TIMEOUT = milliseconds`` or ``SET QUERY_MEMORY = bytes``: 0 for no limit."""

    name: str
    value: int


def parse_set(tokens: list[Token], text: str) -> SetLimit | None:
    """``SET STREAMING [ON | OFF] ...``, which is None, or a limit; nothing else can be set."""
    reader = Tokens(tokens, text)
    if reader.accept("SET", "STREAMING"):
        return None
    for name in (QUERY_TIMEOUT, QUERY_MEMORY):
        if reader.accept("SET", name):
            if not reader.accept("="):
                reader.accept("TO")
            token = reader.token
            unit = "milliseconds" if name == QUERY_TIMEOUT else "bytes"
            if token is None or token.token_type is not TokenType.NUMBER or not token.text.isdigit():
                raise reader.fail(f"expected a whole number of {unit}, or 0 for no limit")
            most = MOST_MILLISECONDS if name == QUERY_TIMEOUT else MOST_BYTES
            if len(token.text) > len(str(most)) or int(token.text) > most:
                raise reader.fail(f"{name} is {most} {unit} at most; 0 is no limit")
            reader.at += 1
            reader.end()
            return SetLimit(name, int(token.text))
    message = (
        "SET sets QUERY_TIMEOUT (milliseconds) or QUERY_MEMORY (bytes), what a statement may take; a table's name may "
        "be written with its schema, PUBLIC.T or SYS.TABLES"
    )
    raise syntax_error(text, tokens[0].start, message, len("SET"))
