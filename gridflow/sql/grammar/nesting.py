"""How deeply a statement may be nested, and how one that is nested deeply is read and written.

sqlglot's parser and generator call themselves for what is nested, some twenty calls for a parenthesis, and Python ends
that after a thousand. So a statement that is nested deeply is read and written by those of ``deep_parser`` and
``deep_generator``, which go on in another thread wherever a stack becomes full.

DuckDB calls itself as well, in C++, where too little stack is the end of the process: so ``stack_need`` says how much a
statement may take of it, before it is run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from ..text.places import syntax_error
from ..text.stacks import spread_over_stacks

#: Parentheses, calls, CASEs, subqueries, types within each other; a few more than the message says, for the statement.
_MOST_LEVELS = 1024
#: Expressions within each other, those in a chain of operators too, that a statement may have.
MOST_EXPRESSIONS = 2500
#: Operands of a chain from which on its tree is balanced.
_LONG_CHAIN = 64
#: Lists, structs and maps within each other: Arrow has at most 64.
_MOST_NESTED = 60
_TOO_NESTED = f"lists, structs and maps are nested at most {_MOST_NESTED} deep"
_TOO_DEEP = "this is nested more than 1,000 deep"
_TOO_LONG = "this is nested too deeply, or part of too long a chain of operators other than AND, OR, || and UNION"
#: Methods of the parser: on each way from one level to the next is one of them;
#: and how often each may be at work at a time.
_RECURSIVE = {
    "_parse_unary": _MOST_LEVELS,
    "_parse_range": _MOST_LEVELS,
    "_parse_types": _MOST_NESTED,
    "_parse_table": 2 * _MOST_LEVELS,  # a query in FROM takes two of each
    "_parse_select": 2 * _MOST_LEVELS,
    "_parse_wrapped_select": 2 * _MOST_LEVELS,
}


#: Tokens of a statement that cannot be nested too deeply for anybody.
FEW_TOKENS = 60
#: Levels from which on a statement is nested deeply.
_MANY_LEVELS = 20
_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE, TokenType.LT}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END, TokenType.GT}
_PREFIXES = {TokenType.NOT, TokenType.DASH, TokenType.TILDE, TokenType.PLUS, TokenType.INTERVAL}


def is_deep(tokens: list[Token]) -> bool:
    """Whether a statement is nested deeply, by its brackets and by what stands before an expression."""
    if len(tokens) <= FEW_TOKENS:
        return False
    level = prefixes = 0
    for token in tokens:
        kind = token.token_type
        if kind in _OPENING:
            level += 1
        elif kind in _CLOSING:
            level -= 1
        prefixes = prefixes + 1 if kind in _PREFIXES else 0
        if level + prefixes > _MANY_LEVELS:
            return True
    return False


def is_deep_tree(tree: exp.Expr) -> bool:
    """Whether a statement is nested deeply."""
    return deepest(tree, (exp.Expr,), ())[0] > 4 * _MANY_LEVELS


def deep_parser(parser: Any) -> Any:
    """A parser's class for statements that are nested deeply."""
    methods = {name: _counted(name, getattr(parser, name)) for name in _RECURSIVE}
    return type(parser)("DeepParser", (parser,), methods)


def _counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    spread = spread_over_stacks(method)

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        levels = self.__dict__.setdefault("levels", dict.fromkeys(_RECURSIVE, 0))
        if levels[name] == _RECURSIVE[name]:
            message = _TOO_NESTED if name == "_parse_types" else _TOO_DEEP
            raise syntax_error(self.sql, (self._curr or self._prev).start, message)
        levels[name] += 1
        try:
            return spread(self, *args, **kwargs)
        finally:
            levels[name] -= 1

    return counted


def deep_generator(generator: Any) -> Any:
    """A generator's class for statements that are nested deeply."""
    return type(generator)("DeepGenerator", (generator,), {"sql": spread_over_stacks(generator.sql)})


def balanced(operands: list[Any], join: Callable[[Any, Any], Any]) -> Any:
    """Operands joined by an operator that is associative, in a tree of low depth."""
    while len(operands) > 1:
        pairs = [join(left, right) for left, right in zip(operands[::2], operands[1::2], strict=False)]
        operands = pairs + operands[len(pairs) * 2 :]
    return operands[0]


def balanced_unions(tree: Any) -> Any:
    """A long chain of UNIONs of one kind in a tree of low depth, written the same; any other query as it is."""
    if not isinstance(tree, exp.Union):
        return tree
    kind = _options(tree)
    operands = [tree.expression]
    first = tree.this
    while isinstance(first, exp.Union) and _options(first) == kind and not _has_modifiers(first):
        operands.append(first.expression)
        first = first.this
    if len(operands) < _LONG_CHAIN:
        return tree

    def join(left: Any, right: Any) -> exp.Union:
        return exp.Union(this=left, expression=right, **kind)

    middle = len(operands) // 2
    tree.set("expression", balanced(operands[:middle][::-1], join))
    tree.set("this", balanced([first, *operands[middle:][::-1]], join))
    return tree


def _options(union: exp.Union) -> dict[str, Any]:
    return {key: union.args.get(key) for key in ("distinct", "by_name", "side", "kind", "on")}


def _has_modifiers(union: exp.Union) -> bool:
    return any(value for key, value in union.args.items() if key not in ("this", "expression", *_options(union)))


def balanced_texts(tree: Any) -> Any:
    """A long chain of ``||`` with parentheses that make its depth low; any other expression as it is."""
    operands = []
    node = tree
    while isinstance(node, exp.DPipe):
        operands.append(node.expression)
        node = node.this
    if len(operands) < _LONG_CHAIN:
        return tree

    def join(left: Any, right: Any) -> exp.Paren:
        return exp.Paren(this=exp.DPipe(this=left, expression=right, safe=tree.args.get("safe")))

    return balanced([node, *operands[::-1]], join)


# ---- how deep a tree is ----

# They add no call to those of the engine.
_WEIGHTLESS = (exp.Paren, exp.If, exp.Column, exp.Literal, exp.Placeholder)
_NESTED = (exp.Array, exp.List, exp.Struct, exp.Map, exp.ToMap, exp.DataType)
# The engine makes one plan of another for each of these, wherever they stand.
_PLANS = (exp.Join, exp.Select, exp.SetOperation, exp.CTE, exp.Lateral)
_STEPS = (exp.Except, exp.Intersect)

# Bytes of stack, twice what DuckDB was seen to take.
_LEAST_STACK = 128 << 10
_STACK_OF_EXPRESSION = 2560
_STACK_OF_PLAN = 4096
_STACK_OF_STEP = 12288
_EXPRESSIONS_OF_DIVISION = 3  # within each other, that division.py writes for one


def deepest(tree: exp.Expr, kinds: tuple[type, ...], but: tuple[type, ...] = _WEIGHTLESS) -> tuple[int, exp.Expr]:
    """How many expressions of some kinds, but not of others, are within each other at most, and the innermost one."""
    most, innermost = 0, tree
    stack = [(tree, 0)]
    while stack:
        node, level = stack.pop()
        if isinstance(node, kinds) and not isinstance(node, but):
            level += 1
            if level > most:
                most, innermost = level, node
        stack += [(child, level) for child in node.iter_expressions()]
    return most, innermost


def check_depth(tree: exp.Expr, text: str, start: int) -> None:
    """Refuse a statement that is nested too deeply for what comes after the parser.

    Args:
        tree: the statement.
        text: the whole text.
        start: where the statement begins in it.

    Raises:
        SqlError: points at the deepest place, if that is known.
    """
    most, node = deepest(tree, _NESTED)
    message = _TOO_NESTED
    if most <= _MOST_NESTED:
        most, node = deepest(tree, (exp.Condition, exp.Select))
        message = _TOO_LONG
        if most <= MOST_EXPRESSIONS:
            return
    places = [n.meta["start"] for n in node.walk() if "start" in n.meta]
    raise syntax_error(text, min(places, default=start), message)


def stack_need(tree: exp.Expr) -> int:
    """The bytes of stack that DuckDB may need for a statement."""
    plans = 0
    for node in tree.find_all(*_PLANS):
        # DuckDB makes one plan of all queries of a UNION.
        is_of_union = isinstance(node, exp.Union) or (
            isinstance(node, exp.Select) and isinstance(node.parent, exp.Union)
        )
        plans += _STACK_OF_STEP if isinstance(node, _STEPS) else 0 if is_of_union else _STACK_OF_PLAN
    levels, _ = deepest(tree, (exp.Condition, exp.Select))
    if tree.find(exp.Div, exp.IntDiv, exp.Mod):
        levels *= _EXPRESSIONS_OF_DIVISION
    return _LEAST_STACK + levels * _STACK_OF_EXPRESSION + plans
