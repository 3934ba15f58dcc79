"""Primary keys that a WHERE fixes, so that no scan is needed."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlglot import exp

from ..schema import INTEGERS, Column, Schema, Type
from ..storage.moments import read_date
from .constants import Constant, constant

#: A WHERE that fixes more keys than this is a scan: looking each up would cost more.
MOST_KEYS = 1000


class NotExact(Exception):
    """A constant that cannot be compared with a key without SQL's casts."""


@dataclass(frozen=True)
class KeyLookup:
    """For each key column the constants it may equal.

    Attributes:
        columns: the key columns, in the key's order.
        choices: their constants.
        whole: whether the WHERE says nothing else.
    """

    columns: tuple[Column, ...]
    choices: tuple[tuple[Constant, ...], ...]
    whole: bool

    def keys(self, params: Mapping[str, Any]) -> list[Any]:
        """The keys for these parameters, each once, as ``Table.get`` takes them.

        Raises:
            NotExact: a parameter's type calls for a scan.
        """
        each = [
            [exact(choice.get(params), column) for choice in choices]
            for column, choices in zip(self.columns, self.choices, strict=True)
        ]
        if len(each) == 1:
            return list(dict.fromkeys(each[0]))
        return list(dict.fromkeys(itertools.product(*each)))


def find_lookup(where: exp.Expression | None, schema: Schema, labels: set[str]) -> KeyLookup | None:
    """The lookup of a WHERE that fixes every key column by ``=`` or ``IN`` of constants, else None.

    Args:
        where: the condition, or a Where node.
        schema: the table's.
        labels: upper-case names by which the statement may qualify the table's columns.
    """
    if isinstance(where, exp.Where):
        where = where.this
    if where is None or not schema.key:
        return None
    by_name = {c.name.upper(): c for c in schema.key_columns}
    if len(by_name) != len(schema.key):  # keys that differ only in case
        return None
    found: dict[str, tuple[Constant, ...]] = {}
    whole = True
    for part in conjuncts(where):
        name, choices = _fixed(part, labels)
        column = by_name.get(name.upper())
        if column is None or not choices or column.name in found:
            whole = False
        else:
            found[column.name] = choices
    if len(found) != len(schema.key):
        return None
    total = 1
    for choices in found.values():
        total *= len(choices)
    if total > MOST_KEYS:
        return None
    return KeyLookup(schema.key_columns, tuple(found[name] for name in schema.key), whole)


def conjuncts(node: exp.Expression) -> Iterator[exp.Expression]:
    """The parts of a condition that all must hold."""
    if isinstance(node, exp.Paren):
        yield from conjuncts(node.this)
    elif isinstance(node, exp.And):
        yield from conjuncts(node.this)
        yield from conjuncts(node.expression)
    else:
        yield node


def _fixed(part: exp.Expression, labels: set[str]) -> tuple[str, tuple[Constant, ...]]:
    """The column and the constants of ``c = x`` or ``c IN (x, y)``."""
    if isinstance(part, exp.EQ):
        for column, other in ((part.this, part.expression), (part.expression, part.this)):
            value = constant(other)
            if value is not None and is_column(column, labels):
                return column.name, (value,)
    elif isinstance(part, exp.In) and is_column(part.this, labels) and part.expressions:
        values = tuple(constant(item) for item in part.expressions)
        if not part.args.get("query") and all(value is not None for value in values):
            return part.this.name, values  # type: ignore[return-value]
    return "", ()


def is_column(node: exp.Expression, labels: set[str]) -> bool:
    """Whether an expression is a column, by its name alone or qualified with one of the labels."""
    if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
        return False
    return not node.table or node.table.upper() in labels


_EXACT: dict[str, type | tuple[type, ...]] = {
    "STRING": str,
    "BINARY": bytes,
    "UUID": uuid.UUID,
    "DATE": dt.date,
    "TIME": dt.time,
    "BOOL": bool,
}


def exact(value: Any, column: Column) -> Any:
    """A constant as a key, where ``=`` means the same in SQL and to the key.

    Raises:
        NotExact: it needs a cast, or is null.
    """
    dtype: Type = column.type
    if hasattr(value, "dtype") and hasattr(value, "item"):
        value = value.item()
    if dtype.kind in INTEGERS:
        limits = np.iinfo(dtype.dtype)
        if type(value) is int and limits.min <= value <= limits.max:
            return value
        raise NotExact
    if dtype.kind == "UUID" and isinstance(value, str):
        try:
            return uuid.UUID(value)
        except ValueError:
            raise NotExact from None
    if dtype.kind == "DATE" and isinstance(value, str):
        try:
            return read_date(value)
        except ValueError:
            raise NotExact from None
    if dtype.kind == "DECIMAL" and isinstance(value, (int, decimal.Decimal)) and type(value) is not bool:
        number = decimal.Decimal(value)
        with decimal.localcontext() as context:
            context.prec = 80  # more than twice the digits of any DECIMAL
            if not number.is_finite() or abs(number) >= decimal.Decimal(10) ** (dtype.precision - dtype.scale):
                raise NotExact
            fitted = number.quantize(decimal.Decimal(1).scaleb(-dtype.scale))
        if fitted == number:
            return fitted
        raise NotExact
    kind = _EXACT.get(dtype.kind)
    if kind is None or not isinstance(value, kind) or (kind is dt.date and isinstance(value, dt.datetime)):
        raise NotExact
    return value
