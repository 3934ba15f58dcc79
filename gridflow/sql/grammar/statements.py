"""A text made into statements, each parsed once: texts are cached, so a repeated one costs a look-up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ...errors import SqlError, did_you_mean
from ..text.cutter import Statement, split_statements
from ..text.params import Marks
from ..text.places import syntax_error
from ..text.secrets import hide_passwords
from . import alter_table, create_index, create_table, create_table_as, show, upkeep, users
from .copy import CopyTo, parse_copy
from .dialect import parse, tokenize
from .prepared import Prepared, own_text
from .queries import parse_explain, parse_marks, parse_query, parse_select, parse_table
from .spelling import nearest
from .tokens import Tokens

#: Longer texts are not kept: they hold data, and are not sent twice.
_CACHED_LENGTH = 16384

_REFUSED = {
    "SAVEPOINT": "savepoints are not there; a statement that fails inside a transaction changes nothing",
    "GRANT": "there are no rights to grant: whoever may open the grid may read and change all of it",
    "REVOKE": "there are no rights to take away: whoever may open the grid may read and change all of it",
    "CALL": "procedures are not there",
    "USE": "there is no schema to choose: tables are in PUBLIC, system views in SYS (write SYS.TABLES)",
    "REPLACE": "REPLACE is not there; write MERGE INTO t (columns) VALUES (...)",
}
_KNOWN = ("SELECT", "WITH", "VALUES", "FROM", "EXPLAIN", "SHOW", "DESCRIBE", "SUMMARIZE", "CREATE TABLE")
_KNOWN += ("CREATE INDEX", "DROP TABLE", "DROP INDEX", "INSERT", "MERGE", "UPDATE", "DELETE", "COPY")
_KNOWN += ("BEGIN", "COMMIT", "ROLLBACK", "TRUNCATE TABLE", "ANALYZE", "KILL QUERY")
_KNOWN += ("ALTER TABLE", "CREATE USER", "ALTER USER", "DROP USER")


def prepare(text: str) -> tuple[Prepared, ...]:
    """Parse all statements of a text.

    Raises:
        SqlError: with the place where one does not parse, or naming what is not there.
    """
    try:
        return _prepare_cached(text) if len(text) <= _CACHED_LENGTH else _prepare(text)
    except _HoldsPassword as found:
        return found.statements


class _HoldsPassword(Exception):  # raised past the cache, which keeps no password
    def __init__(self, statements: tuple[Prepared, ...]):
        self.statements = statements


def _prepare(text: str) -> tuple[Prepared, ...]:
    if not isinstance(text, str):
        raise SqlError(f"a statement is a str, not {type(text).__name__}")
    shown = hide_passwords(text)  # all that messages are made of
    result = []
    for statement, tokens in tokens_of_each(text, shown):
        own = own_text(shown, statement.start, statement.end)
        own = own if shown is text else re.sub(r"'\*+'", "'***'", own)  # nor how long it is
        result.append(replace(_prepare_one(tokens, shown), own_text=own, statement=statement))
    if not result:
        raise SqlError("there is no statement in the text")
    if shown != text:
        raise _HoldsPassword(tuple(result))
    return tuple(result)


_prepare_cached = lru_cache(maxsize=512)(_prepare)


def tokens_of_each(text: str, shown: str) -> Iterator[tuple[Statement, list[Token]]]:
    """The statements of a text, each with its tokens; their offsets are those in the whole text."""
    tokens = iter(tokenize(text, shown))
    token = next(tokens, None)
    for statement in split_statements(text):
        part: list[Token] = []
        while token is not None and token.start < statement.end:
            if token.start >= statement.start:  # else it is a semicolon
                part.append(token)
            token = next(tokens, None)
        if part:
            yield statement, part


def _prepare_one(tokens: list[Token], text: str) -> Prepared:
    word = tokens[0].text.upper()
    second = tokens[1].text.upper() if len(tokens) > 1 else ""
    if tokens[0].token_type in (TokenType.IDENTIFIER, TokenType.STRING):
        raise syntax_error(text, tokens[0].start, "expected a statement", len(word))
    for kind in (f"{word} {second}", word):
        if kind in _OWN_GRAMMAR:
            return Prepared(kind, _OWN_GRAMMAR[kind](tokens, text), Marks(), text)
        if kind in _SQLGLOT_GRAMMAR:
            return _SQLGLOT_GRAMMAR[kind](tokens, text)
    if word in ("CREATE", "ALTER", "DROP"):
        what = f"{word} {second}".strip()
        known = [kind.split()[1] for kind in _OWN_GRAMMAR if kind.startswith(f"{word} ") and kind != "CREATE SPATIAL"]
        known = [f"{word} {name}" for name in (["TABLE", *known] if word == "CREATE" else known)]
        hint = nearest(what, known, 0.8) or f"; there are {', '.join(known).replace(f', {word}', ',')}"
        raise syntax_error(text, tokens[0].start, f"{what} is not there{hint}", len(word))
    if word in _REFUSED:
        raise syntax_error(text, tokens[0].start, _REFUSED[word], len(word))
    hint = nearest(word, ["CREATE", "DROP"]) or f"; {did_you_mean(word, _KNOWN)}"
    raise syntax_error(text, tokens[0].start, f"no statement {word}{hint}", len(word))


def _create_table(tokens: list[Token], text: str) -> Prepared:
    start = create_table_as.split_query(tokens)
    if start is None:
        return Prepared("CREATE TABLE", create_table.parse_create(tokens, text), Marks(), text)
    query = parse_query("SELECT", tokens[start:], text)
    node = create_table_as.parse_head(tokens[:start], text, query)
    return Prepared("CREATE TABLE AS", node, query.marks, text)


def _change(tokens: list[Token], text: str) -> Prepared:
    word = tokens[0].text.upper()
    if word == "INSERT":
        tokens = _without_hints(tokens)
    if word == "DELETE" and len(tokens) > 2 and tokens[1].text.upper() == "TOP":
        tree = parse([tokens[0], *tokens[3:]], text)
        tree.set("limit", exp.Limit(expression=parse(tokens[2:3], text)))
    else:
        tree = parse(tokens, text)
    if word == "DELETE" and not tree.this and len(tree.args.get("tables") or ()) == 1:
        tree.set("this", tree.args["tables"][0])  # DELETE t WHERE ..., as H2 has it
        tree.set("tables", None)
    return Prepared(word, tree, parse_marks(tree, tokens, text), text)


def _without_hints(tokens: list[Token]) -> list[Token]:
    """An INSERT without DIRECT and SORTED before its SELECT, which would say how H2 is to go about it."""
    begin = next((i for i, t in enumerate(tokens) if t.token_type in (TokenType.SELECT, TokenType.WITH)), 0)
    while begin > 3 and tokens[begin - 1].text.upper() in ("DIRECT", "SORTED"):
        tokens = tokens[: begin - 1] + tokens[begin:]
        begin -= 1
    return tokens


def _copy(tokens: list[Token], text: str) -> Prepared:
    node = parse_copy(tokens, text)
    parts = [node.path]
    if isinstance(node, CopyTo) and node.tokens:
        node.query = parse_query("SELECT", node.tokens, text)
        parts.append(node.query.node)
    whole = exp.Tuple(expressions=parts)
    marks = parse_marks(whole, tokens, text)  # of the path and of the query together, in the text's order
    for part in parts:
        part.parent = None
    return Prepared("COPY", node, marks, text)


@dataclass(frozen=True)
class Control:
    """BEGIN, COMMIT or ROLLBACK, and where it stands in the text."""

    start: int


def _control(tokens: list[Token], text: str) -> Control:
    reader = Tokens(tokens, text)
    if reader.accept("START"):
        reader.expect("TRANSACTION")
    else:
        reader.at += 1
        reader.accept("TRANSACTION") or reader.accept("WORK")
    reader.end()
    return Control(tokens[0].start)


# What sqlglot parses, by a statement's first word or two.
_SQLGLOT_GRAMMAR: dict[str, Callable[[list[Token], str], Prepared]] = {
    **dict.fromkeys(("SELECT", "WITH", "VALUES", "FROM", "(", "SUMMARIZE", "PIVOT", "UNPIVOT"), parse_select),
    **dict.fromkeys(("INSERT", "MERGE", "UPDATE", "DELETE"), _change),
    "TABLE": parse_table,
    "EXPLAIN": parse_explain,
    "CREATE TABLE": _create_table,
    "COPY": _copy,
}
# What is parsed here; it takes no parameters.
_OWN_GRAMMAR: dict[str, Callable[[list[Token], str], Any]] = {
    "ALTER TABLE": alter_table.parse_alter,
    "DROP TABLE": create_table.parse_drop,
    **dict.fromkeys(("BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK"), _control),
    "CREATE INDEX": create_index.parse_create_index,
    "CREATE SPATIAL": create_index.refuse_spatial,
    "DROP INDEX": create_index.parse_drop_index,
    "CREATE USER": users.parse_create,
    "ALTER USER": users.parse_alter,
    "DROP USER": users.parse_drop,
    "TRUNCATE": upkeep.parse_truncate,
    "ANALYZE": upkeep.parse_analyze,
    "REFRESH STATISTICS": upkeep.parse_statistics,
    "DROP STATISTICS": upkeep.parse_statistics,
    "KILL": upkeep.parse_kill,
    "SET": upkeep.parse_set,
    "SHOW": show.parse_show,
    "DESCRIBE": show.parse_show,
    "DESC": show.parse_show,
}
