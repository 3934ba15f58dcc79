"""What needs no engine: literals and parameters, and how they become values of a column."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from sqlglot import exp

from ...errors import SchemaError
from ...schema import INTEGERS, Column, Type
from ...storage.moments import read_date, read_moment, read_time
from .dialect import even_hex


@dataclass(frozen=True)
class Constant:
    """An expression of literals and parameters only.

    Attributes:
        get: gives its value for mark -> value.
        fixed: whether it holds no parameter.
        mark: the parameter that it is, if it is one.
    """

    get: Callable[[Mapping[str, Any]], Any]
    fixed: bool
    mark: str | None = None


def constant(node: exp.Expression | None) -> Constant | None:
    """The Constant of an expression, or None where DuckDB has to evaluate it."""
    if isinstance(node, exp.Placeholder):
        mark = node.name
        return Constant(itemgetter(mark), False, mark)
    if isinstance(node, exp.Paren):
        return constant(node.this)
    if isinstance(node, exp.Literal):
        value = node.name if node.is_string else _number(node.name)
    elif isinstance(node, exp.Null):
        value = None
    elif isinstance(node, exp.Boolean):
        value = bool(node.this)
    elif isinstance(node, exp.HexString):
        value = bytes.fromhex(even_hex(node.name))
    elif isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and not node.this.is_string:
        value = -_number(node.this.name)
    elif isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.this.is_string:
        # DATE '2020-01-01' is a cast too
        reader = _CASTS.get(node.to.this)
        if reader is None or type(node) is not exp.Cast:
            return None
        try:
            value = reader(node.this.name)
        except (ValueError, TypeError):
            return None  # DuckDB says what is wrong, or knows the form
    else:
        return _nested(node)
    return Constant(lambda params: value, True)


def _nested(node: exp.Expression | None) -> Constant | None:
    """Lists, structs and maps of constants."""
    if isinstance(node, exp.Array):
        items = [constant(item) for item in node.expressions]
        if any(item is None for item in items):
            return None
        return Constant(lambda params: [i.get(params) for i in items], all(i.fixed for i in items))  # type: ignore[union-attr]
    if isinstance(node, exp.ToMap) and isinstance(node.this, exp.Struct):
        node, is_map = node.this, True
    else:
        is_map = False
    if not isinstance(node, exp.Struct):
        return None
    pairs: list[tuple[Any, Constant]] = []
    for field in node.expressions:
        if not isinstance(field, exp.PropertyEQ):
            return None
        value = constant(field.expression)
        key = constant(field.this) if is_map else Constant(lambda _, name=field.name: name, True)
        if value is None or key is None or not key.fixed:
            return None
        pairs.append((key.get({}), value))
    return Constant(lambda params: {k: v.get(params) for k, v in pairs}, all(v.fixed for _, v in pairs))


def _number(text: str) -> int | float | decimal.Decimal:
    text = text.replace("_", "")
    if text.isdigit():
        return int(text)
    return float(text) if "e" in text.lower() else decimal.Decimal(text)


_CASTS: dict[Any, Callable[[str], Any]] = {
    exp.DType.DATE: read_date,
    exp.DType.TIME: read_time,
    exp.DType.TIMESTAMP: read_moment,
    exp.DType.TIMESTAMPNTZ: read_moment,
    exp.DType.UUID: uuid.UUID,
}

_WORDS = {
    "true": True,
    "t": True,
    "1": True,
    "yes": True,
    "false": False,
    "f": False,
    "0": False,
    "no": False,
}


def _to_bool(value: Any) -> Any:
    if isinstance(value, str):
        return _WORDS[value.strip().lower()]
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise ValueError


def _to_int(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return int(value)
    if isinstance(value, (decimal.Decimal, float)):  # as a CAST does, half away from zero
        number = decimal.Decimal(value) if isinstance(value, float) else value
        return int(number.quantize(decimal.Decimal(1), rounding=decimal.ROUND_HALF_UP))
    raise ValueError


def _to_float(value: Any) -> Any:
    return float(value)


def _to_decimal(value: Any) -> Any:
    return decimal.Decimal(str(value) if isinstance(value, float) else value)


def _to_text(value: Any) -> Any:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, decimal.Decimal)):
        return str(value)
    raise ValueError


def _to_date(value: Any) -> Any:
    if isinstance(value, str):
        return read_date(value)
    raise ValueError


def _to_time(value: Any) -> Any:
    return read_time(value)


def _to_moment(value: Any) -> Any:
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)
    return read_moment(value)


def _to_uuid(value: Any) -> Any:
    return uuid.UUID(value) if isinstance(value, str) else uuid.UUID(bytes=value)


# kind -> (types that the table takes as they are, how others are read)
_READERS: dict[str, tuple[tuple[type, ...], Callable[[Any], Any]]] = {
    "BOOL": ((bool, np.bool_), _to_bool),
    **dict.fromkeys(INTEGERS, ((int, np.integer), _to_int)),
    **dict.fromkeys(("FLOAT16", "FLOAT32", "FLOAT64"), ((float, np.floating), _to_float)),
    "DECIMAL": ((decimal.Decimal,), _to_decimal),
    "STRING": ((str,), _to_text),
    "BINARY": ((bytes, bytearray, memoryview), bytes),
    "DATE": ((dt.date, np.datetime64), _to_date),
    "TIME": ((dt.time,), _to_time),
    "TIMESTAMP": ((dt.datetime, np.datetime64), _to_moment),
    "UUID": ((uuid.UUID,), _to_uuid),
}


def convert(value: Any, column: Column) -> Any:
    """A literal or parameter as a value of the column.

    Strings become dates, times, UUIDs and numbers, and numbers each other's kinds, as SQL's implicit casts
    do. Ranges, shapes and nulls are the table's to check.

    Raises:
        SchemaError: it cannot be one; names the column and the value.
    """
    if value is None:
        return None
    dtype = column.type
    if dtype.kind == "TENSOR" or dtype.children:
        return _convert_nested(value, column.name, dtype)
    known = _READERS.get(dtype.kind)
    if known is None or (isinstance(value, known[0]) and not (known[0][0] is int and isinstance(value, bool))):
        result = value
    else:
        try:
            if isinstance(value, str) and dtype.kind == "BINARY":
                raise ValueError
            result = known[1](value)
        except (ValueError, TypeError, KeyError, decimal.InvalidOperation, OverflowError):
            raise SchemaError(f"column {column.name} {dtype.text()}: {_shown(value)} does not fit") from None
    if dtype.kind == "DECIMAL" and isinstance(result, decimal.Decimal) and result.is_finite():
        step = decimal.Decimal(1).scaleb(-dtype.scale)
        with decimal.localcontext() as context:
            context.prec = 80
            rounded = result.quantize(step, rounding=decimal.ROUND_HALF_UP)
        if len(rounded.as_tuple().digits) > dtype.precision:
            raise SchemaError(f"column {column.name} {dtype.text()}: {_shown(value)} has too many digits")
        return rounded
    if dtype.kind == "TIMESTAMP" and dtype.utc and isinstance(result, dt.datetime) and result.tzinfo is None:
        return result.replace(tzinfo=dt.timezone.utc)
    return result


def _convert_nested(value: Any, name: str, dtype: Type) -> Any:
    """A literal or parameter as a tensor, list, struct or map; numpy arrays stay as they are."""
    children = [Column(f"{name}.{part}", child) for part, child in dtype.children]
    if dtype.kind == "TENSOR" and isinstance(value, list):
        return [_plain_numbers(item) for item in value] if dtype.dtype.kind == "f" else value
    if dtype.kind == "LIST" and isinstance(value, list):
        return [convert(item, children[0]) for item in value]
    if dtype.kind == "STRUCT" and isinstance(value, dict):
        by_name = {part: column for (part, _), column in zip(dtype.children, children, strict=True)}
        return {k: convert(item, by_name[k]) if k in by_name else item for k, item in value.items()}
    if dtype.kind == "MAP" and isinstance(value, dict):
        return {convert(k, children[0]): convert(item, children[1]) for k, item in value.items()}
    return value


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain_numbers(item) for item in value]
    return float(value) if isinstance(value, decimal.Decimal) else value


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, decimal.Decimal) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
