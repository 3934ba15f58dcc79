"""The grammar of queries beyond sqlglot's: TABLE, VALUES alone, EXPLAIN, and the names of columns without names."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ...errors import SqlError
from ..text.params import Marks
from ..text.places import syntax_error
from .dialect import parse
from .prepared import Prepared
from .tokens import QUERY_STARTS, parse_table_name


def parse_select(tokens: list[Token], text: str) -> Prepared:
    """SELECT, WITH, VALUES and their kin."""
    return parse_query("SELECT", tokens, text)


def parse_table(tokens: list[Token], text: str) -> Prepared:
    """``TABLE t``: all rows and columns of a table."""
    tree = exp.select("*").from_(parse_table_name(tokens[1:], text)) if len(tokens) > 1 else None
    if tree is None:
        raise syntax_error(text, tokens[0].start, "a table's name is missing after TABLE", len("TABLE"))
    return Prepared("SELECT", tree, Marks(), text)


def parse_explain(tokens: list[Token], text: str) -> Prepared:
    """``EXPLAIN [PLAN FOR] query``"""
    rest = tokens[1:]
    if rest and rest[0].text.upper() == "PLAN":  # EXPLAIN PLAN FOR
        rest = rest[2:]
    if not rest or rest[0].text.upper() not in (*QUERY_STARTS, "PIVOT", "UNPIVOT"):
        raise syntax_error(text, tokens[0].start, "EXPLAIN takes a query", len("EXPLAIN"))
    return parse_query("EXPLAIN", rest, text)


def parse_query(kind: str, tokens: list[Token], text: str) -> Prepared:
    """A query, whatever word it begins with, as a statement of this kind."""
    tree = parse(tokens, text)
    if not isinstance(tree, (exp.Query, exp.Values, exp.Summarize, exp.Pivot)):
        raise syntax_error(text, tokens[0].start, f"cannot read {tokens[0].text} here", len(tokens[0].text))
    if isinstance(tree, exp.Values):
        tree = _named_values(tree)
    elif isinstance(tree, exp.Summarize) and isinstance(tree.this, exp.Table):
        tree.set("this", exp.select("*").from_(tree.this))
    for token, following in zip(tokens, tokens[1:], strict=False):
        if token.token_type is TokenType.SELECT and following.token_type is TokenType.FROM:
            raise syntax_error(text, following.start, "something is missing between SELECT and FROM", len("FROM"))
    labels = _labels(tokens, text)
    return Prepared(kind, tree, parse_marks(tree, tokens, text), text, labels)


def parse_marks(tree: exp.Expression, tokens: list[Token], text: str) -> Marks:
    """The parameters of a statement; an error points at the statement's beginning."""
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
            first = i + 1
            if first < len(tokens) and tokens[first].text.upper() in ("DISTINCT", "ALL"):
                first += 1
            if first < len(tokens) and tokens[first].text.upper() == "TOP":
                first += 2
            if first < len(tokens):
                start = tokens[first].start
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
    """The text with one space for each run of them and letters in upper case, except inside quotes."""
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
