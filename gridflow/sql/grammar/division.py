"""Division by zero: an error here as in Ignite, whatever DuckDB makes of it.

Its versions differ (2 raises an error where 1 gives null), and so do its types (the remainder of doubles is NaN).
So a divisor that may be zero is compared first: ``A / B`` is written for DuckDB as

    A / CASE WHEN B = 0 THEN LIST_EXTRACT([B], CAST('Division by zero: ...' AS INT)) ELSE B END

The cast never succeeds, and ``execution.errors`` takes the message out of DuckDB's error. The function ``ERROR()``
would be plainer, but DuckDB counts it as volatile: no window can be ordered by it, and no condition with it moves below
a join.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

DIVISIONS = (exp.Div, exp.IntDiv, exp.Mod)
# A divisor with one of these must stand once: three copies would have three values, or treble the text at each level.
_ONCE = (*DIVISIONS, exp.Query, exp.Window, exp.Rand, exp.Uuid, exp.Anonymous)
_EXPRESSION_LENGTH = 60  # of an expression in a message


def guard_divisors(tree: exp.Expression, write: Callable[[exp.Expression], str]) -> None:
    """Make each division of a statement fail where the divisor is zero; in place.

    Args:
        tree: the statement.
        write: writes an expression as a person would, for the message.
    """
    for node in list(tree.find_all(*DIVISIONS)):  # the outer ones first: their messages show what was written
        divisor = node.expression
        value = _literal_value(divisor)
        if value == 0:
            node.set("expression", _guarded(exp.Literal.number(0), "Division by zero"))
        elif value is None:
            text = write(divisor.unnest())
            text = text if len(text) <= _EXPRESSION_LENGTH else text[: _EXPRESSION_LENGTH - 3] + "..."
            node.set("expression", _guarded(divisor, f"Division by zero: {text} is zero"))


def _literal_value(node: exp.Expression) -> float | None:
    """The value of a number in the text, with quotes or without; None for any other expression."""
    while isinstance(node, (exp.Paren, exp.Neg)):
        node = node.this
    if not isinstance(node, exp.Literal):
        return None
    try:
        return float(node.name)
    except ValueError:
        return 1.0  # no number: DuckDB says so


def _guarded(divisor: exp.Expression, message: str) -> exp.Expression:
    if not divisor.find(*_ONCE):
        return _case(divisor, message)
    name = exp.to_identifier("divisor")
    check = exp.Lambda(this=_case(exp.column(name.copy()), message), expressions=[name], colon=True)
    checked = exp.Anonymous(this="LIST_TRANSFORM", expressions=[exp.Array(expressions=[divisor]), check])
    return exp.Anonymous(this="LIST_EXTRACT", expressions=[checked, exp.Literal.number(1)])


def _case(divisor: exp.Expression, message: str) -> exp.Case:
    is_zero = exp.EQ(this=divisor.copy(), expression=exp.Literal.number(0))
    never = exp.cast(exp.Literal.string(message), exp.DType.INT)
    values = exp.Array(expressions=[divisor.copy()])  # so that the result's type is the divisor's
    failure = exp.Anonymous(this="LIST_EXTRACT", expressions=[values, never])
    return exp.Case(ifs=[exp.If(this=is_zero, true=failure)], default=divisor)
