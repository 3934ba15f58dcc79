"""Runs of literals: long lists after IN, and many rows after VALUES, each of which becomes one leaf of the tree.

To parse a literal, and to walk over it whenever the tree is walked over, costs a hundred times what its value does.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterable, Iterator
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ..._native.literal_rows import Run
from ..text.cutter import Statement
from ..text.params import MarkList

#: Literals after IN from which on they are a run: keys of a table are looked up one by one up to a thousand of them.
_LONG_LIST = 1001
#: Rows after VALUES, the same.
MANY_ROWS = 100
#: What stands for a run among the tokens: the parser knows no other of its kind.
STAND_IN = TokenType.BLOCK_START
#: Digits of a whole number that Python reads; none that fits a column has as many.
_MOST_INT_DIGITS = 4000
_NO_LINE_END = re.compile(r"[^\n]+")


class LiteralList(exp.Expression, exp.Condition):
    """The literals after IN: ``this`` is their text, ``values`` are their values."""

    arg_types = {"this": True, "values": True}


class LiteralRows(exp.Expression):
    """Rows of literals after VALUES: ``this`` is their text, ``values`` the tuples of their values."""

    arg_types = {"this": True, "values": True}


class RowsToken(Token):
    """The token that stands for rows of literals; ``rows`` is their node."""

    __slots__ = ("rows",)

    def __init__(self, token: Token, end: int, rows: LiteralRows):
        super().__init__(STAND_IN, token.text, token.line, token.col, token.start, end)
        self.rows = rows


def number(text: str) -> int | float | decimal.Decimal:
    """The value of a number in a statement.

    Raises:
        ValueError, decimal.InvalidOperation: it is none.
    """
    text = text.replace("_", "")
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= _MOST_INT_DIGITS else decimal.Decimal(text)
    return float(text) if "e" in text.lower() else decimal.Decimal(text)


def without(text: str, runs: Iterable[Run], statements: Iterable[Statement]) -> str:
    """A text with a 0 in place of each run of rows, and nothing of some statements; all else keeps its place."""
    cuts = [(run.begin, run.end, "0") for run in runs]
    cuts += [(statement.start, statement.end, "") for statement in statements]
    parts, at = [], 0
    for begin, end, left in sorted(cuts):
        parts += [text[at:begin], left, blank(text[begin + len(left) : end])]
        at = end
    return "".join([*parts, text[at:]])


def blank(text: str) -> str:
    """Spaces in place of all characters but line ends."""
    return _NO_LINE_END.sub(lambda match: " " * (match.end() - match.start()), text)


def rows_token(token: Token, run: Run, text: str) -> RowsToken:
    """The token that stands for a run of rows, of the one that ``without`` has left there."""
    rows = LiteralRows(this=text[run.begin : run.end], values=tuple(run.rows))
    return RowsToken(token, run.end - 1, rows)


def shortened(tokens: list[Token], text: str) -> tuple[list[Token], dict[int, exp.Expression]]:
    """A statement's tokens with one in place of each long list, and the nodes of all runs by that token's ``start``."""
    runs: dict[int, exp.Expression] = {token.start: token.rows for token in tokens if isinstance(token, RowsToken)}
    if len(tokens) < 2 * _LONG_LIST or "{#" in text:  # the engine does not know the comments of templates
        return tokens, runs
    result: list[Token] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        result.append(token)
        at += 1
        if token.token_type is TokenType.IN and _is(tokens, at, TokenType.L_PAREN):
            values, end = _literals(tokens, at + 1)
            offsets, end = ((), end) if values else _marks(tokens, at + 1)
            if max(len(values), len(offsets)) >= _LONG_LIST and _is(tokens, end, TokenType.R_PAREN):
                result += (tokens[at], _stand_in(tokens, at + 1, end))
                node: exp.Expression = MarkList(offsets=offsets)
                if values:
                    node = LiteralList(this=_text(tokens, at + 1, end, text), values=values)
                runs[tokens[at + 1].start] = node
                at = end
    return result, runs


def _stand_in(tokens: list[Token], begin: int, end: int) -> Token:
    first = tokens[begin]
    return Token(STAND_IN, first.text, first.line, first.col, first.start, tokens[end - 1].end)


def _text(tokens: list[Token], begin: int, end: int, text: str) -> str:
    return text[tokens[begin].start : tokens[end - 1].end + 1]


def _is(tokens: list[Token], at: int, kind: TokenType) -> bool:
    return at < len(tokens) and tokens[at].token_type is kind


def _literals(tokens: list[Token], at: int) -> tuple[tuple[Any, ...], int]:
    """The literals with commas between them from a token on, and the token after them; none where that is no end."""
    values: list[Any] = []
    while at < len(tokens):
        token = tokens[at]
        read = _READERS.get(token.token_type)
        if read is None:
            return (), at
        if token.token_type is TokenType.DASH:
            at += 1
            if not _is(tokens, at, TokenType.NUMBER):
                return (), at
        try:
            values.append(read(tokens[at].text))
        except (ValueError, decimal.InvalidOperation):
            return (), at
        at += 1
        if not _is(tokens, at, TokenType.COMMA):
            break
        at += 1
    return tuple(values), at


def _marks(tokens: list[Token], at: int) -> tuple[tuple[int, ...], int]:
    """The places of the ``?`` with commas between them from a token on, and the token after them."""
    offsets: list[int] = []
    while _is(tokens, at, TokenType.PLACEHOLDER):
        offsets.append(tokens[at].start)
        at += 1
        if not _is(tokens, at, TokenType.COMMA):
            return tuple(offsets), at
        at += 1
    return (), at


_READERS: dict[TokenType, Any] = {
    TokenType.NUMBER: number,
    TokenType.DASH: lambda text: -number(text),
    TokenType.STRING: lambda text: text,
    TokenType.NULL: lambda text: None,
    TokenType.TRUE: lambda text: True,
    TokenType.FALSE: lambda text: False,
}


def lists_of(tree: exp.Expr) -> Iterator[tuple[exp.In, LiteralList | MarkList]]:
    """The runs after IN in a statement, and the conditions that they belong to."""
    for node in tree.find_all(LiteralList, MarkList):
        if isinstance(node.parent, exp.In):
            yield node.parent, node
