"""Primary keys that a WHERE fixes, so that no scan is needed."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlglot import exp

from ...kinds import ByKind, Refused
from ...schema import FLOATS, INTEGERS, NESTED, Column, Schema, Type
from ...storage.moments import read_date
from ..grammar.literals import Constant, constant

#: A WHERE that fixes more keys than this is a scan: looking each up would cost more.
MOST_KEYS = 1000
#: ANDs and ORs within each other beyond which nobody looks for keys.
_MOST_LEVELS = 20
#: Digits for arithmetic with DECIMALs: more than twice those of any.
_DECIMAL_DIGITS = 80


class NotExact(Exception):
    """A constant that cannot be compared with a key without SQL's casts."""


@dataclass(frozen=True)
class KeyLookup:
    """The keys to which a WHERE narrows a table.

    Attributes:
        columns: the key columns, in the key's order.
        alternatives: for each side of an OR, or once, the constants that each key column may equal.
        whole: whether the WHERE says nothing else.
    """

    columns: tuple[Column, ...]
    alternatives: tuple[tuple[tuple[Constant, ...], ...], ...]
    whole: bool

    def keys(self, params: Mapping[str, Any]) -> list[Any]:
        """The keys for these parameters, each once, as ``Table.get`` takes them.

        Raises:
            NotExact: a parameter's type calls for a scan.
        """
        keys: dict[Any, None] = {}
        for alternative in self.alternatives:
            each = [
                # Nothing equals a null.
                [exact(v, column) for v in (choice.get(params) for choice in choices) if v is not None]
                for column, choices in zip(self.columns, alternative, strict=True)
            ]
            keys.update(dict.fromkeys(each[0] if len(each) == 1 else itertools.product(*each)))
        return list(keys)

    def keys_if_exact(self, params: Mapping[str, Any]) -> list[Any] | None:
        """``keys``, or None where these parameters call for a scan."""
        try:
            return self.keys(params)
        except NotExact:
            return None


# Key column (upper case) -> the constants that it may equal, in one alternative.
_Choices = dict[str, tuple[Constant, ...]]


def find_lookup(
    where: exp.Expression | None, schema: Schema, labels: set[str], bare: Callable[[str], bool] | None = None
) -> KeyLookup | None:
    """The lookup of a WHERE that fixes every key column by ``=`` or ``IN`` of constants, else None.

    Args:
        where: the condition, or a Where node.
        schema: the table's.
        labels: upper-case names by which the statement may qualify the table's columns.
        bare: whether a column's upper-case name without a label means this table's; None: always.
    """
    if isinstance(where, exp.Where):
        where = where.this
    if where is None or not schema.key:
        return None
    names = {c.name.upper(): c.name.upper() for c in schema.key_columns}
    if len(names) != len(schema.key):  # keys that differ only in case
        return None
    if len(schema.key) == 1 and "_KEY" not in (name.upper() for name in schema.names):
        names["_KEY"] = schema.key[0].upper()

    def key_column(node: exp.Expression) -> str:
        if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
            return ""
        label = node.table.upper()
        if label not in labels if label else bare is not None and not bare(node.name.upper()):
            return ""
        return names.get(node.name.upper(), "")

    alternatives, whole = _alternatives(where, key_column)
    key = [name.upper() for name in schema.key]
    if any(set(one) != set(key) for one in alternatives):
        return None
    total = sum(math.prod(len(choices) for choices in one.values()) for one in alternatives)
    if total > MOST_KEYS:
        return None
    return KeyLookup(schema.key_columns, tuple(tuple(one[name] for name in key) for one in alternatives), whole)


def _alternatives(
    node: exp.Expr, key_column: Callable[[exp.Expression], str], level: int = 0
) -> tuple[list[_Choices], bool]:
    """The alternatives that a condition leaves to the key, and whether it says nothing else; ``{}`` leaves all."""
    node = node.unnest()
    if level > _MOST_LEVELS:
        return [{}], False
    if isinstance(node, exp.Or):
        parts = [_alternatives(part, key_column, level + 1) for part in node.flatten()]
        either = [one for alternatives, _ in parts for one in alternatives]
        return (either, all(whole for _, whole in parts)) if len(either) <= MOST_KEYS else ([{}], False)
    if isinstance(node, exp.And):
        both: list[_Choices] = [{}]
        all_whole = True
        for part in node.flatten():
            alternatives, whole = _alternatives(part, key_column, level + 1)
            if len(both) * len(alternatives) > MOST_KEYS or any(set(a) & set(b) for a in both for b in alternatives):
                whole = False  # the engine applies this part
            else:
                both = [{**a, **b} for a in both for b in alternatives]
            all_whole = all_whole and whole
        return both, all_whole
    equalities = _equalities(node, key_column)
    return (equalities, True) if equalities else ([{}], False)


def _equalities(node: exp.Expr, key_column: Callable[[exp.Expression], str]) -> list[_Choices]:
    """The alternatives of ``c = x``, ``c IN (x, y)`` and the same of tuples; none of any other condition."""
    if isinstance(node, exp.EQ):
        return _equal(node.this, node.expression, key_column) or _equal(node.expression, node.this, key_column)
    if not isinstance(node, exp.In) or not node.expressions or node.args.get("query"):
        return []
    if isinstance(node.this.unnest(), exp.Tuple):
        each = [_equal(node.this, item, key_column) for item in node.expressions]
        return [one for equalities in each for one in equalities] if all(each) else []
    name = key_column(node.this)
    values = tuple(constant(item) for item in node.expressions)
    return [{name: values}] if name and all(v is not None for v in values) else []  # type: ignore[dict-item]


def _equal(left: exp.Expr, right: exp.Expr, key_column: Callable[[exp.Expression], str]) -> list[_Choices]:
    """The one alternative of ``column = constant``, or of tuples of them."""
    left, right = left.unnest(), right.unnest()
    if isinstance(left, exp.Tuple) and isinstance(right, exp.Tuple):
        pairs = list(zip(left.expressions, right.expressions, strict=False))
        if len(left.expressions) != len(right.expressions):
            return []
    else:
        pairs = [(left, right)]
    choices: _Choices = {}
    for column, node in pairs:
        name, value = key_column(column), constant(node)
        if not name or name in choices or value is None:
            return []
        choices[name] = (value,)
    return [choices]


def exact(value: Any, column: Column) -> Any:
    """A constant as a key, if ``=`` means the same in SQL and to the key.

    Raises:
        NotExact: the constant needs a cast.
    """
    if hasattr(value, "dtype") and hasattr(value, "item"):
        value = value.item()
    entry = _EXACT[column.type.kind]
    if isinstance(entry, Refused):
        raise NotExact
    return entry(value, column.type)


def _of_type(python: type, but: tuple[type, ...] = ()) -> Callable[[Any, Type], Any]:
    def same(value: Any, _: Type) -> Any:
        if not isinstance(value, python) or isinstance(value, but):
            raise NotExact
        return value

    return same


def _or_text(same: Callable[[Any, Type], Any], read: Callable[[str], Any]) -> Callable[[Any, Type], Any]:
    def read_or_same(value: Any, dtype: Type) -> Any:
        if not isinstance(value, str):
            return same(value, dtype)
        try:
            return read(value)
        except ValueError:
            raise NotExact from None

    return read_or_same


def _exact_integer(value: Any, dtype: Type) -> int:
    limits = np.iinfo(dtype.dtype)
    if type(value) is int and limits.min <= value <= limits.max:
        return value
    raise NotExact


def _exact_decimal(value: Any, dtype: Type) -> decimal.Decimal:
    if not isinstance(value, (int, decimal.Decimal)) or type(value) is bool:
        raise NotExact
    number = decimal.Decimal(value)
    with decimal.localcontext() as context:
        context.prec = _DECIMAL_DIGITS
        if not number.is_finite() or abs(number) >= decimal.Decimal(10) ** (dtype.precision - dtype.scale):
            raise NotExact
        rounded = number.quantize(decimal.Decimal(1).scaleb(-dtype.scale))
    if rounded != number:
        raise NotExact
    return rounded


_EXACT: ByKind[Callable[[Any, Type], Any] | Refused] = ByKind(
    "constants as keys",
    {
        "BOOL": _of_type(bool),
        **dict.fromkeys(INTEGERS, _exact_integer),
        **dict.fromkeys(FLOATS, Refused("SQL compares them with numbers of other widths, after rounding")),
        "DECIMAL": _exact_decimal,
        "STRING": _of_type(str),
        "BINARY": _of_type(bytes),
        "DATE": _or_text(_of_type(dt.date, but=(dt.datetime,)), read_date),
        "TIME": _of_type(dt.time),
        "TIMESTAMP": Refused("a text or a date is cast to its unit first"),
        "UUID": _or_text(_of_type(uuid.UUID), uuid.UUID),
        **dict.fromkeys(("TENSOR", *NESTED), Refused("it is no scalar, so it is in no key")),
    },
)
