"""Runs of literals: long lists after IN, and many rows after VALUES, each of which becomes one leaf of the tree.

To parse a literal, and to walk over it whenever the tree is walked over, costs a hundred times what its value does.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ..text.params import MarkList

#: Literals after IN from which on they are a run: keys of a table are looked up one by one up to a thousand of them.
_LONG_LIST = 1001
#: Rows after VALUES, the same.
_MANY_ROWS = 100
#: What stands for a run among the tokens: the parser knows no other of its kind.
STAND_IN = TokenType.BLOCK_START
#: Digits of a whole number that Python reads; none that fits a column has as many.
_MOST_INT_DIGITS = 4000


class LiteralList(exp.Expression, exp.Condition):
    """The literals after IN: ``this`` is their text, ``values`` are their values."""

    arg_types = {"this": True, "values": True}


class LiteralRows(exp.Expression):
    """Rows of literals after VALUES: ``this`` is their text, ``values`` the tuples of their values."""

    arg_types = {"this": True, "values": True}


def number(text: str) -> int | float | decimal.Decimal:
    """The value of a number in a statement.

    Raises:
        ValueError, decimal.InvalidOperation: it is none.
    """
    text = text.replace("_", "")
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= _MOST_INT_DIGITS else decimal.Decimal(text)
    return float(text) if "e" in text.lower() else decimal.Decimal(text)


def shortened(tokens: list[Token], text: str) -> tuple[list[Token], dict[int, exp.Expression]]:
    """A statement's tokens with one in place of each run, and the run's node by that token's ``start``."""
    if len(tokens) < 2 * _MANY_ROWS or "{#" in text:  # the engine does not know the comments of templates
        return tokens, {}
    is_insert = tokens[0].token_type in (TokenType.INSERT, TokenType.MERGE)
    runs: dict[int, exp.Expression] = {}
    result: list[Token] = []
    at, depth, in_values = 0, 0, False
    while at < len(tokens):
        token = tokens[at]
        kind = token.token_type
        result.append(token)
        at += 1
        if kind is TokenType.L_PAREN:
            depth += 1
        elif kind is TokenType.R_PAREN:
            depth -= 1
        elif kind is TokenType.IN and at < len(tokens) and tokens[at].token_type is TokenType.L_PAREN:
            values, end = _literals(tokens, at + 1)
            offsets, end = ((), end) if values else _marks(tokens, at + 1)
            if max(len(values), len(offsets)) >= _LONG_LIST and _is(tokens, end, TokenType.R_PAREN):
                result += (tokens[at], _stand_in(tokens, at + 1, end))
                node: exp.Expression = MarkList(offsets=offsets)
                if values:
                    node = LiteralList(this=_text(tokens, at + 1, end, text), values=values)
                runs[tokens[at + 1].start] = node
                at, depth = end, depth + 1
        elif is_insert and depth == 0:
            in_values = kind is TokenType.VALUES or (in_values and kind is TokenType.COMMA)
            rows, end = _rows(tokens, at) if in_values else ([], at)
            if len(rows) >= _MANY_ROWS:
                result.append(_stand_in(tokens, at, end))
                runs[tokens[at].start] = LiteralRows(this=_text(tokens, at, end, text), values=tuple(rows))
                at = end
    return result, runs


def _stand_in(tokens: list[Token], begin: int, end: int) -> Token:
    first = tokens[begin]
    return Token(STAND_IN, first.text, first.line, first.col, first.start, tokens[end - 1].end)


def _text(tokens: list[Token], begin: int, end: int, text: str) -> str:
    return text[tokens[begin].start : tokens[end - 1].end + 1]


def _is(tokens: list[Token], at: int, kind: TokenType) -> bool:
    return at < len(tokens) and tokens[at].token_type is kind


def _rows(tokens: list[Token], at: int) -> tuple[list[tuple[Any, ...]], int]:
    """The rows of literals from a token on, all as wide as the first, and the token after them."""
    rows: list[tuple[Any, ...]] = []
    end = at
    while _is(tokens, at, TokenType.L_PAREN):
        values, at = _literals(tokens, at + 1)
        if not values or not _is(tokens, at, TokenType.R_PAREN) or (rows and len(rows[0]) != len(values)):
            break
        following = tokens[at + 1].token_type if at + 1 < len(tokens) else None
        if following not in (TokenType.COMMA, None):
            break
        rows.append(values)
        end = at + 1
        at += 2
    return rows, end


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
