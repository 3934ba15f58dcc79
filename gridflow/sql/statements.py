"""A text made into statements, each parsed once: texts are cached, so a repeated one costs a look-up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ..catalog.activity import TEXT_LENGTH
from ..errors import SqlError, did_you_mean
from . import alter, create_as, ddl, index_ddl, show, upkeep, users
from .copy_syntax import CopyTo, parse_copy
from .dialect import parse, tokenize
from .params import Marks
from .secrets import hide_passwords
from .spelling import nearest
from .text import syntax_error
from .tokens import Tokens, parse_table_name

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


@dataclass(eq=False)
class Prepared:
    """A parsed statement. Never changed after it is made, but for ``plan`` and ``shortcut``.

    Attributes:
        kind: ``SELECT``, ``EXPLAIN``, ``INSERT``, ``CREATE TABLE``, ...
        node: its tree, or what ``ddl`` made of it.
        marks: its parameters.
        text: the whole text it stands in.
        labels: names of a query's columns as the text has them, where they have no others.
        plan: what its executor worked out for the tables it met; it checks that they are still the same.
        shortcut: given a grid and the parameters as they came, the result if they are plain enough, else None,
            and then nothing has happened.
        own_text: the statement's own text, for lists of statements: without passwords, and not too long.
    """

    kind: str
    node: Any
    marks: Marks
    text: str
    labels: tuple[str, ...] = ()
    plan: Any = field(default=None, repr=False)
    shortcut: Callable[[Any, Any], Any] | None = field(default=None, repr=False)
    own_text: str = ""


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
    for part in _cut(tokenize(text, shown)):
        statement = _prepare_one(part, shown)
        own = own_text(shown, part[0].start, part[-1].end + 1)
        statement.own_text = own if shown is text else re.sub(r"'\*+'", "'***'", own)  # nor how long it is
        result.append(statement)
    if not result:
        raise SqlError("there is no statement in the text")
    if shown != text:
        raise _HoldsPassword(tuple(result))
    return tuple(result)


def own_text(text: str, start: int = 0, end: int | None = None) -> str:
    """A statement's text as lists of statements show it; a long one is cut."""
    end = len(text) if end is None else end
    return text[start:end] if end - start <= TEXT_LENGTH else f"{text[start : start + TEXT_LENGTH - 3]}..."


_prepare_cached = lru_cache(maxsize=512)(_prepare)


def _cut(tokens: list[Token]) -> Iterator[list[Token]]:
    part: list[Token] = []
    for token in tokens:
        if token.token_type is TokenType.SEMICOLON:
            if part:
                yield part
            part = []
        else:
            part.append(token)
    if part:
        yield part


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


def _select(tokens: list[Token], text: str) -> Prepared:
    return _query("SELECT", tokens, tokens, text)


def _table(tokens: list[Token], text: str) -> Prepared:
    """``TABLE t``: all of it."""
    tree = exp.select("*").from_(parse_table_name(tokens[1:], text)) if len(tokens) > 1 else None
    if tree is None:
        raise syntax_error(text, tokens[0].start, "a table's name is missing after TABLE", len("TABLE"))
    return Prepared("SELECT", tree, Marks(), text)


def _explain(tokens: list[Token], text: str) -> Prepared:
    rest = tokens[1:]
    if rest and rest[0].text.upper() == "PLAN":  # EXPLAIN PLAN FOR
        rest = rest[2:]
    if not rest or rest[0].text.upper() not in ("SELECT", "WITH", "VALUES", "FROM", "(", "PIVOT", "UNPIVOT"):
        raise syntax_error(text, tokens[0].start, "EXPLAIN takes a query", len("EXPLAIN"))
    return _query("EXPLAIN", rest, rest, text)


def _create_table(tokens: list[Token], text: str) -> Prepared:
    start = create_as.split_query(tokens)
    if start is None:
        return Prepared("CREATE TABLE", ddl.parse_create(tokens, text), Marks(), text)
    query = _query("SELECT", tokens[start:], tokens[start:], text)
    node = create_as.parse_head(tokens[:start], text, query)
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
    return Prepared(word, tree, _marks(tree, tokens, text), text)


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
        node.query = _query("SELECT", node.tokens, node.tokens, text)
        parts.append(node.query.node)
    whole = exp.Tuple(expressions=parts)
    marks = _marks(whole, tokens, text)  # of the path and of the query together, in the text's order
    for part in parts:
        part.parent = None
    return Prepared("COPY", node, marks, text)


def _query(kind: str, tokens: list[Token], rest: list[Token], text: str) -> Prepared:
    tree = parse(rest, text)
    if not isinstance(tree, (exp.Query, exp.Values, exp.Summarize, exp.Pivot)):
        raise syntax_error(text, tokens[0].start, f"cannot read {tokens[0].text} here", len(tokens[0].text))
    if isinstance(tree, exp.Values):
        tree = _named_values(tree)
    elif isinstance(tree, exp.Summarize) and isinstance(tree.this, exp.Table):
        tree.set("this", exp.select("*").from_(tree.this))
    for token, following in zip(rest, rest[1:], strict=False):
        if token.token_type is TokenType.SELECT and following.token_type is TokenType.FROM:
            raise syntax_error(text, following.start, "something is missing between SELECT and FROM", len("FROM"))
    labels = _labels(rest, text)
    return Prepared(kind, tree, _marks(tree, tokens, text), text, labels)


def _marks(tree: exp.Expression, tokens: list[Token], text: str) -> Marks:
    try:
        return Marks.of(tree)
    except SqlError as error:
        raise syntax_error(text, tokens[0].start, str(error)) from None


def _named_values(values: exp.Values) -> exp.Expression:
    """VALUES alone: a query whose columns are C1, C2, ..."""
    first = values.expressions[0] if values.expressions else exp.Tuple()
    width = len(first.expressions) if isinstance(first, exp.Tuple) else 1
    names = [exp.to_identifier(f"C{i + 1}", quoted=True) for i in range(width)]
    modifiers = {key: values.args.get(key) for key in ("order", "limit", "offset") if values.args.get(key)}
    for key in modifiers:
        values.set(key, None)
    alias = exp.TableAlias(this=exp.to_identifier("VALUES", quoted=True), columns=names)
    values.set("alias", alias)
    query = exp.Select(expressions=[exp.Star()], from_=exp.From(this=values))
    for key, modifier in modifiers.items():
        query.set(key, modifier)
    return query


_ENDS_PROJECTION = {
    "FROM", "WHERE", "GROUP BY", "HAVING", "QUALIFY", "WINDOW", "ORDER BY", "LIMIT", "OFFSET", "FETCH",
    "UNION", "EXCEPT", "MINUS", "INTERSECT",
}  # fmt: skip


def _labels(tokens: list[Token], text: str) -> tuple[str, ...]:
    """The text of each projection of the first SELECT outside parentheses, in upper case but for quotes."""
    depth, start, last = 0, -1, -1
    result: list[str] = []
    for i, token in enumerate(tokens):
        word = token.text.upper()
        if token.token_type in (TokenType.IDENTIFIER, TokenType.STRING):
            word = ""
        if word in ("(", "[", "{"):
            depth += 1
        elif word in (")", "]", "}"):
            depth -= 1
        elif depth == 0 and start < 0 and word == "SELECT":
            skipped = i + 1
            if skipped < len(tokens) and tokens[skipped].text.upper() in ("DISTINCT", "ALL"):
                skipped += 1
            if skipped < len(tokens) and tokens[skipped].text.upper() == "TOP":
                skipped += 2
            if skipped < len(tokens):
                start = tokens[skipped].start
        elif depth == 0 and start >= 0 and (word == "," or word in _ENDS_PROJECTION):
            result.append(_upper(text[start : last + 1]))
            if word != ",":
                return tuple(result)
            start = tokens[i + 1].start if i + 1 < len(tokens) else len(text)
        last = token.end
    if start >= 0:
        result.append(_upper(text[start : last + 1]))
    return tuple(result)


def _upper(text: str) -> str:
    """Space runs as one space and letters in upper case, outside quotes."""
    out, quote = [], ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char.isspace():
            if out and out[-1] != " ":
                out.append(" ")
            continue
        else:
            char = char.upper()
        out.append(char)
    return "".join(out)


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
    **dict.fromkeys(("SELECT", "WITH", "VALUES", "FROM", "(", "SUMMARIZE", "PIVOT", "UNPIVOT"), _select),
    **dict.fromkeys(("INSERT", "MERGE", "UPDATE", "DELETE"), _change),
    "TABLE": _table,
    "EXPLAIN": _explain,
    "CREATE TABLE": _create_table,
    "COPY": _copy,
}
# What is parsed here; it takes no parameters.
_OWN_GRAMMAR: dict[str, Callable[[list[Token], str], Any]] = {
    "ALTER TABLE": alter.parse_alter,
    "DROP TABLE": ddl.parse_drop,
    **dict.fromkeys(("BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK"), _control),
    "CREATE INDEX": index_ddl.parse_create_index,
    "CREATE SPATIAL": index_ddl.refuse_spatial,
    "DROP INDEX": index_ddl.parse_drop_index,
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
