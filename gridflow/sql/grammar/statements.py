"""The statements of a text, parsed. Texts are cached, so a repeated one costs a look-up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ...errors import GridflowError, SqlError, did_you_mean
from ..text.cutter import Statement, split_statements
from ..text.params import Marks
from ..text.places import syntax_error
from ..text.secrets import hide_passwords
from . import alter_table, create_index, create_table, create_table_as, grants, show, upkeep, users
from .copy import CopyTo, parse_copy
from .dialect import parse, tokenize
from .prepared import CACHED_LENGTH, Prepared, own_text
from .queries import parse_explain, parse_marks, parse_query, parse_select, parse_table
from .runs import MANY_ROWS, blank, rows_token, without
from .spelling import nearest
from .tokens import QUERY_STARTS, Tokens

_CACHED_TEXTS = 512
#: How alike the name of a statement must be to be proposed; of two words, the first is right already.
_NAME_LIKENESS = 0.8

# First word of a statement that is not there -> what to do without it.
_REFUSALS = {
    "SAVEPOINT": "savepoints are not there; a statement that fails inside a transaction changes nothing",
    "CALL": "procedures are not there",
    "USE": "there is no schema to choose: tables are in PUBLIC, system views in SYS (write SYS.TABLES)",
    "REPLACE": "REPLACE is not there; write MERGE INTO t (columns) VALUES (...)",
}
_STATEMENT_NAMES = ("SELECT", "WITH", "VALUES", "FROM", "EXPLAIN", "SHOW", "DESCRIBE", "SUMMARIZE", "CREATE TABLE")
_STATEMENT_NAMES += ("CREATE INDEX", "DROP TABLE", "DROP INDEX", "INSERT", "MERGE", "UPDATE", "DELETE", "COPY")
_STATEMENT_NAMES += ("BEGIN", "COMMIT", "ROLLBACK", "TRUNCATE TABLE", "ANALYZE", "KILL QUERY")
_STATEMENT_NAMES += ("ALTER TABLE", "CREATE USER", "ALTER USER", "DROP USER", "GRANT", "REVOKE")


def prepare(text: str) -> tuple[Prepared, ...]:
    """Parse all statements of a text.

    Raises:
        SqlError: with the place where one does not parse, or naming what is not there.
    """
    try:
        return _prepare_cached(text) if len(text) <= CACHED_LENGTH else _prepare(text)
    except _HoldsPassword as error:
        return error.statements
    except RecursionError:
        raise SqlError("the statement is nested too deeply") from None


class _HoldsPassword(Exception):
    """The statements of a text with a password: raised, since the cache keeps what ``_prepare`` returns."""

    def __init__(self, statements: tuple[Prepared, ...]):
        self.statements = statements


def _prepare(text: str) -> tuple[Prepared, ...]:
    if not isinstance(text, str):
        raise SqlError(f"a statement is a str, not {type(text).__name__}")
    safe_text = hide_passwords(text)  # messages quote this one alone
    if not text.isascii():
        _check_characters(text, safe_text)
    result = []
    for statement, tokens in tokens_of_each(text, safe_text):
        own = own_text(safe_text, statement.start, statement.end)
        # Stars as many as the password's signs would tell its length.
        own = own if safe_text is text else re.sub(r"'\*+'", "'***'", own)
        prepared = tokens if isinstance(tokens, Prepared) else _prepare_one(tokens, safe_text)
        result.append(replace(prepared, own_text=own, statement=statement))
    if not result:
        raise SqlError("there is no statement in the text")
    if safe_text != text:
        raise _HoldsPassword(tuple(result))
    return tuple(result)


def _check_characters(text: str, safe_text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = "half a character stands here (a lone surrogate), which no text in UTF-8 has"
        safe = safe_text.encode(errors="replace").decode()
        raise syntax_error(safe, error.start, message) from None


_prepare_cached = lru_cache(maxsize=_CACHED_TEXTS)(_prepare)


def tokens_of_each(text: str, safe_text: str) -> Iterator[tuple[Statement, list[Token] | Prepared]]:
    """The statements of a text, each with its tokens; the tokens' offsets count in the whole text.

    An INSERT or MERGE of one row of literals, such as make up the scripts that others write, has no tokens: it is
    prepared already, as the statement of parameters that it is like.

    Args:
        text: any number of statements.
        safe_text: the same without passwords, for messages.
    """
    statements = split_statements(text)
    known = [_known(statement, text) if safe_text is text else None for statement in statements]
    runs = {run.begin: run for statement in statements for run in statement.runs if len(run.rows) >= MANY_ROWS}
    done = [statement for statement, prepared in zip(statements, known, strict=True) if prepared is not None]
    # Of a script that has nothing else, not even the spaces are looked at.
    rest = "" if done and len(done) == len(statements) else without(text, runs.values(), done)
    tokens = iter(tokenize(rest, safe_text))
    token = next(tokens, None)
    for statement, prepared in zip(statements, known, strict=True):
        part: list[Token] = []
        while token is not None and token.start < statement.end:
            if token.start >= statement.start:  # else it is a semicolon
                run = runs.get(token.start)
                part.append(token if run is None else rows_token(token, run, text))
            token = next(tokens, None)
        if not part and prepared is None:
            raise syntax_error(safe_text, statement.start, "expected a statement", statement.end - statement.start)
        yield statement, prepared or part


def _known(statement: Statement, text: str) -> Prepared | None:
    """A statement of one row of literals, if one of parameters in their place is known or can be prepared."""
    row = statement.only_row
    if row is None:
        return None
    (values,) = row.rows
    shape = _shape(text[statement.start : row.begin], len(values))
    if shape is None:
        return None
    literals = {f"p{i}": value for i, value in enumerate(values, 1)}
    return Prepared(shape.kind, shape.node, Marks(), text, statement=statement, shape=shape, literals=literals)


def as_written(prepared: Prepared) -> Prepared:
    """A statement that has a ``shape``, parsed with its own literals: places in ``node`` count in the whole text."""
    statement = prepared.statement
    assert statement is not None  # what has a shape was cut from a text
    tokens = tokenize(blank(prepared.text[: statement.start]) + prepared.text[statement.start : statement.end])
    return replace(_prepare_one(tokens, prepared.text), own_text=prepared.own_text, statement=statement)


@lru_cache(maxsize=_CACHED_TEXTS)
def _shape(head: str, width: int) -> Prepared | None:
    """The statement with parameters after ``... VALUES``; None where it is wrong, which the whole text is to say."""
    try:
        (shape,) = _prepare(f"{head}({', '.join('?' * width)})")
    except (GridflowError, _HoldsPassword):
        return None
    return shape


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
        objects = [kind.split()[1] for kind in _OWN_GRAMMAR if kind.startswith(f"{word} ") and kind != "CREATE SPATIAL"]
        names = [f"{word} {name}" for name in (["TABLE", *objects] if word == "CREATE" else objects)]
        hint = nearest(what, names, _NAME_LIKENESS) or f"; there are {', '.join(names).replace(f', {word}', ',')}"
        raise syntax_error(text, tokens[0].start, f"{what} is not there{hint}", len(word))
    if word in _REFUSALS:
        raise syntax_error(text, tokens[0].start, _REFUSALS[word], len(word))
    hint = nearest(word, ["CREATE", "DROP"]) or f"; {did_you_mean(word, _STATEMENT_NAMES)}"
    raise syntax_error(text, tokens[0].start, f"no statement {word}{hint}", len(word))


def _prepare_create_table(tokens: list[Token], text: str) -> Prepared:
    start = create_table_as.split_query(tokens)
    if start is None:
        return Prepared("CREATE TABLE", create_table.parse_create_table(tokens, text), Marks(), text)
    query = parse_query("SELECT", tokens[start:], text)
    node = create_table_as.parse_head(tokens[:start], text, query)
    return Prepared("CREATE TABLE AS", node, query.marks, text)


def _prepare_change(tokens: list[Token], text: str) -> Prepared:
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
    """The tokens of an INSERT without the words DIRECT and SORTED before the SELECT, which are hints to H2."""
    begin = next((i for i, t in enumerate(tokens) if t.token_type in (TokenType.SELECT, TokenType.WITH)), 0)
    while begin > 3 and tokens[begin - 1].text.upper() in ("DIRECT", "SORTED"):
        tokens = tokens[: begin - 1] + tokens[begin:]
        begin -= 1
    return tokens


def _prepare_copy(tokens: list[Token], text: str) -> Prepared:
    node = parse_copy(tokens, text)
    parts = [node.path]
    if isinstance(node, CopyTo) and node.tokens:
        node.query = parse_query("SELECT", node.tokens, text)
        parts.append(node.query.node)
    # Parameters of the path and of the query count together, in the text's order: so both hang on one tree meanwhile.
    marks = parse_marks(exp.Tuple(expressions=parts), tokens, text)
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


# A statement's first word or two -> its parser, which calls sqlglot.
_SQLGLOT_GRAMMAR: dict[str, Callable[[list[Token], str], Prepared]] = {
    **dict.fromkeys((*QUERY_STARTS, "SUMMARIZE", "PIVOT", "UNPIVOT"), parse_select),
    **dict.fromkeys(("INSERT", "MERGE", "UPDATE", "DELETE"), _prepare_change),
    "TABLE": parse_table,
    "EXPLAIN": parse_explain,
    "CREATE TABLE": _prepare_create_table,
    "COPY": _prepare_copy,
}
# A statement's first word or two -> its parser, which is ours. Such a statement takes no parameters.
_OWN_GRAMMAR: dict[str, Callable[[list[Token], str], Any]] = {
    "ALTER TABLE": alter_table.parse_alter_table,
    "DROP TABLE": create_table.parse_drop_table,
    **dict.fromkeys(("BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK"), _control),
    "CREATE INDEX": create_index.parse_create_index,
    "CREATE SPATIAL": create_index.refuse_spatial,
    "DROP INDEX": create_index.parse_drop_index,
    "CREATE USER": users.parse_create_user,
    "ALTER USER": users.parse_alter_user,
    "DROP USER": users.parse_drop_user,
    **dict.fromkeys(("GRANT", "REVOKE"), grants.parse_grant),
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
