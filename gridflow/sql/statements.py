"""A text made into statements, each parsed once: texts are cached, so a repeated one costs a look-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ..errors import SqlError, did_you_mean
from . import ddl
from .copy_syntax import CopyTo, parse_copy
from .dialect import parse, tokenize
from .params import Marks
from .text import point, syntax_error
from .tokens import Tokens, parse_table_name

#: Longer texts are not kept: they hold data, and are not sent twice.
_CACHED_LENGTH = 16384

_REFUSED = {
    "SAVEPOINT": "savepoints are not there; a statement that fails inside a transaction changes nothing",
    "ALTER": "ALTER is not there yet",
    "TRUNCATE": "TRUNCATE is not there yet; write DELETE FROM t",
    "SET": "SET is not there yet",
    "GRANT": "users and rights are not there yet",
    "REVOKE": "users and rights are not there yet",
    "KILL": "KILL is not there yet",
    "ANALYZE": "ANALYZE is not there: statistics are not needed",
    "CALL": "procedures are not there",
    "USE": "there is one schema, PUBLIC",
    "REPLACE": "REPLACE is not there; write MERGE INTO t (columns) VALUES (...)",
}
_KNOWN = ("SELECT", "WITH", "VALUES", "FROM", "EXPLAIN", "SHOW", "DESCRIBE", "SUMMARIZE", "CREATE TABLE")
_KNOWN += ("DROP TABLE", "INSERT", "MERGE", "UPDATE", "DELETE", "COPY", "BEGIN", "COMMIT", "ROLLBACK")


@dataclass(eq=False)
class Prepared:
    """A parsed statement. Never changed after it is made, but for ``plan``.

    Attributes:
        kind: ``SELECT``, ``EXPLAIN``, ``INSERT``, ``CREATE TABLE``, ...
        node: its tree, or what ``ddl`` made of it.
        marks: its parameters.
        text: the whole text it stands in.
        labels: names of a query's columns as the text has them, where they have no others.
        plan: what its executor worked out for the tables it met; it checks that they are still the same.
    """

    kind: str
    node: Any
    marks: Marks
    text: str
    labels: tuple[str, ...] = ()
    plan: Any = field(default=None, repr=False)


def prepare(text: str) -> tuple[Prepared, ...]:
    """Parse all statements of a text.

    Raises:
        SqlError: with the place where one does not parse, or naming what is not there.
    """
    return _prepare_cached(text) if len(text) <= _CACHED_LENGTH else _prepare(text)


def _prepare(text: str) -> tuple[Prepared, ...]:
    if not isinstance(text, str):
        raise SqlError(f"a statement is a str, not {type(text).__name__}")
    result = tuple(_prepare_one(tokens, text) for tokens in _cut(tokenize(text)))
    if not result:
        raise SqlError("there is no statement in the text")
    return result


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
    if word in ("CREATE", "DROP"):
        what = f"{word} {second}".strip()
        raise syntax_error(text, tokens[0].start, f"{what} is not there; there is {word} TABLE", len(word))
    if word in _REFUSED:
        raise syntax_error(text, tokens[0].start, _REFUSED[word], len(word))
    raise syntax_error(text, tokens[0].start, f"no statement {word}; {did_you_mean(word, _KNOWN)}", len(word))


def _select(tokens: list[Token], text: str) -> Prepared:
    return _query("SELECT", tokens, tokens, text)


def _explain(tokens: list[Token], text: str) -> Prepared:
    rest = tokens[1:]
    if rest and rest[0].text.upper() == "PLAN":  # EXPLAIN PLAN FOR
        rest = rest[2:]
    if not rest or rest[0].text.upper() not in ("SELECT", "WITH", "VALUES", "FROM", "("):
        raise syntax_error(text, tokens[0].start, "EXPLAIN takes a query", len("EXPLAIN"))
    return _query("EXPLAIN", rest, rest, text)


def _change(tokens: list[Token], text: str) -> Prepared:
    word = tokens[0].text.upper()
    tree = parse(tokens, text)
    if word == "DELETE" and not tree.this and len(tree.args.get("tables") or ()) == 1:
        tree.set("this", tree.args["tables"][0])  # DELETE t WHERE ..., as H2 has it
        tree.set("tables", None)
    return Prepared(word, tree, _marks(tree, tokens, text), text)


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
    if not isinstance(tree, (exp.Query, exp.Values, exp.Summarize)):
        raise syntax_error(text, tokens[0].start, f"cannot read {tokens[0].text} here", len(tokens[0].text))
    if isinstance(tree, exp.Values):
        tree = _named_values(tree)
    elif isinstance(tree, exp.Summarize) and isinstance(tree.this, exp.Table):
        tree.set("this", exp.select("*").from_(tree.this))
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


@dataclass(frozen=True)
class Show:
    """SHOW TABLES, or the columns of ``table``."""

    table: exp.Table | None = None


def _show(tokens: list[Token], text: str) -> Show:
    words = [t.text.upper() for t in tokens]
    if words[0] == "SHOW" and words[1:2] == ["TABLES"]:
        if words[2:] not in ([], ["FROM", "PUBLIC"]):
            raise syntax_error(text, tokens[2].start, f"cannot read {tokens[2].text} here", len(words[2]))
        return Show()
    if words[0] == "SHOW" and words[1:2] == ["COLUMNS"] and words[2:3] in (["FROM"], ["IN"]):
        rest = tokens[3:]
    elif words[0] == "SHOW":
        found = tokens[1] if len(tokens) > 1 else tokens[0]
        what = "SHOW TABLES and SHOW COLUMNS FROM t"
        raise syntax_error(text, found.start, f"cannot show {found.text}; there are {what}", len(found.text))
    else:
        rest = tokens[2:] if words[1:2] == ["TABLE"] else tokens[1:]
    if not rest:
        raise SqlError(point(text, tokens[-1].start, f"a table's name is missing after {tokens[-1].text}"))
    return Show(parse_table_name(rest, text))


# What sqlglot parses, by a statement's first word or two.
_SQLGLOT_GRAMMAR: dict[str, Callable[[list[Token], str], Prepared]] = {
    **dict.fromkeys(("SELECT", "WITH", "VALUES", "FROM", "(", "SUMMARIZE"), _select),
    **dict.fromkeys(("INSERT", "MERGE", "UPDATE", "DELETE"), _change),
    "EXPLAIN": _explain,
    "COPY": _copy,
}
# What is parsed here; it takes no parameters.
_OWN_GRAMMAR: dict[str, Callable[[list[Token], str], Any]] = {
    "CREATE TABLE": ddl.parse_create,
    "DROP TABLE": ddl.parse_drop,
    **dict.fromkeys(("BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK"), _control),
    "SHOW": _show,
    "DESCRIBE": _show,
    "DESC": _show,
}
