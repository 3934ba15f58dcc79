"""Literals and parameters, which need no engine, and their conversion to values of a column."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from ...errors import SchemaError
from ...kinds import ByKind
from ...schema import FLOATS, INTEGERS, MAX_DEPTH, Column
from ...storage.moments import read_date, read_moment, read_time
from .dialect import even_hex
from .runs import number


@dataclass(frozen=True)
class Constant:
    """An expression of literals and parameters only.

    Attributes:
        get: gives the value for the parameters, a mapping mark -> value.
        fixed: whether the expression has no parameter.
        mark: the mark of an expression that is one parameter and nothing else.
    """

    get: Callable[[Mapping[str, Any]], Any]
    fixed: bool
    mark: str | None = None


def constant(node: exp.Expression | None, level: int = 0) -> Constant | None:
    """The Constant of an expression, or None where DuckDB has to evaluate the expression.

    ``level``: how many lists, structs and maps are around it.
    """
    if isinstance(node, exp.Paren):
        node = node.unnest()
    if isinstance(node, exp.Placeholder):
        mark = node.name
        return Constant(itemgetter(mark), False, mark)
    if isinstance(node, exp.Literal):
        value = node.name if node.is_string else _number_or_none(node.name)
        if value is None:
            return None  # the engine says what is wrong
    elif isinstance(node, exp.Null):
        value = None
    elif isinstance(node, exp.Boolean):
        value = bool(node.this)
    elif isinstance(node, exp.HexString):
        try:
            value = bytes.fromhex(even_hex(node.name))
        except ValueError:
            return None
    elif isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and not node.this.is_string:
        value = _number_or_none(node.this.name)
        if value is None:
            return None
        value = -value
    elif isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.this.is_string:
        # DATE '2020-01-01' is a cast too
        reader = _CASTS.get(node.to.this)
        if reader is None or type(node) is not exp.Cast:
            return None
        try:
            value = reader(node.this.name)
        except (ValueError, TypeError):
            return None  # DuckDB says what is wrong, or reads more forms than we do
    else:
        return _nested(node, level + 1) if level <= MAX_DEPTH else None
    return Constant(lambda params: value, True)


def _nested(node: exp.Expression | None, level: int) -> Constant | None:
    """Lists, structs and maps of constants."""
    if isinstance(node, exp.Array):
        items = [constant(item, level) for item in node.expressions]
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
        value = constant(field.expression, level)
        key = constant(field.this, level) if is_map else Constant(lambda _, name=field.name: name, True)
        if value is None or key is None or not key.fixed:
            return None
        pairs.append((key.get({}), value))
    return Constant(lambda params: {k: v.get(params) for k, v in pairs}, all(v.fixed for _, v in pairs))


def _number_or_none(text: str) -> int | float | decimal.Decimal | None:
    try:
        return number(text)
    except (ValueError, decimal.InvalidOperation):
        return None


_CASTS: dict[Any, Callable[[str], Any]] = {
    exp.DType.DATE: read_date,
    exp.DType.TIME: read_time,
    exp.DType.TIMESTAMP: read_moment,
    exp.DType.TIMESTAMPNTZ: read_moment,
    exp.DType.UUID: uuid.UUID,
}

_BOOLEANS = {
    "true": True,
    "t": True,
    "1": True,
    "yes": True,
    "false": False,
    "f": False,
    "0": False,
    "no": False,
}


def _to_bool(value: Any) -> bool:
    if isinstance(value, str):
        return _BOOLEANS[value.strip().lower()]
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


#: What has values of Arrow's. No parameter: nothing tells whether a scalar's bytes lie where it says.
_ARROW = (pa.Scalar, pa.Array, pa.ChunkedArray, pa.RecordBatch, pa.Table)


def _to_bytes(value: Any) -> Any:
    if isinstance(value, _ARROW):
        raise ValueError
    view = memoryview(value)  # of no text, and of no number, of which bytes() would make so many zeros
    if view.ndim != 1:  # a number of numpy's
        raise ValueError
    return bytes(view)


def _to_moment(value: Any) -> Any:
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)
    return read_moment(value)


def _to_uuid(value: Any) -> Any:
    return uuid.UUID(value) if isinstance(value, str) else uuid.UUID(bytes=value)


def convert(value: Any, column: Column) -> Any:
    """A literal or parameter as a value of the column.

    Strings become dates, times, UUIDs and numbers, and numbers become numbers of other types, as by SQL's implicit
    casts. The table checks ranges, shapes and nulls.

    Raises:
        SchemaError: the value does not fit; names the column and the value.
    """
    return None if value is None else _CONVERTERS[column.type.kind](value, column)


def _scalar(read: Callable[[Any], Any], *types: type) -> Callable[[Any, Column], Any]:
    """A converter that leaves values of these Python types, which the table takes, and applies ``read`` to others."""

    def scalar(value: Any, column: Column) -> Any:
        if isinstance(value, types) and not (type(value) is bool and bool not in types):
            return value
        try:
            return read(value)
        except (ValueError, TypeError, KeyError, decimal.InvalidOperation, OverflowError):
            raise SchemaError(
                f"column {column.name} {column.type.text()}: {_value_text(value)} does not fit", column=column.name
            ) from None

    return scalar


# More digits than the widest DECIMAL has before and after the point, so that rounding is exact.
_MOST_DIGITS = 80
_decimal_of = _scalar(_to_decimal, decimal.Decimal)
_moment_of = _scalar(_to_moment, dt.datetime, np.datetime64)


def _decimal(value: Any, column: Column) -> Any:
    dtype, result = column.type, _decimal_of(value, column)
    if not result.is_finite():
        return result
    with decimal.localcontext() as context:
        context.prec = _MOST_DIGITS
        try:
            rounded = result.quantize(decimal.Decimal(1).scaleb(-dtype.scale), rounding=decimal.ROUND_HALF_UP)
        except decimal.InvalidOperation:  # more than the widest type has
            rounded = None
    if rounded is None or len(rounded.as_tuple().digits) > dtype.precision:
        raise SchemaError(
            f"column {column.name} {dtype.text()}: {_value_text(value)} has too many digits", column=column.name
        )
    return rounded


def _timestamp(value: Any, column: Column) -> Any:
    result = _moment_of(value, column)
    if column.type.utc and isinstance(result, dt.datetime) and result.tzinfo is None:
        return result.replace(tzinfo=dt.timezone.utc)
    return result


def _child_columns(column: Column) -> list[Column]:
    return [Column(f"{column.name}.{part}", child) for part, child in column.type.children]


# The table takes or refuses other values for nested types than lists and dicts, such as arrays.
def _tensor(value: Any, column: Column) -> Any:
    floats = isinstance(value, list) and column.type.dtype.kind == "f"
    return [_plain_numbers(item) for item in value] if floats else value


def _list(value: Any, column: Column) -> Any:
    (item,) = _child_columns(column)
    return [convert(v, item) for v in value] if isinstance(value, list) else value


def _struct(value: Any, column: Column) -> Any:
    if not isinstance(value, dict):
        return value
    by_name = {part: field for (part, _), field in zip(column.type.children, _child_columns(column), strict=True)}
    return {k: convert(item, by_name[k]) if k in by_name else item for k, item in value.items()}


def _map(value: Any, column: Column) -> Any:
    key, item = _child_columns(column)
    return {convert(k, key): convert(v, item) for k, v in value.items()} if isinstance(value, dict) else value


_CONVERTERS: ByKind[Callable[[Any, Column], Any]] = ByKind(
    "literals and parameters of SQL",
    {
        "BOOL": _scalar(_to_bool, bool, np.bool_),
        **dict.fromkeys(INTEGERS, _scalar(_to_int, int, np.integer)),
        **dict.fromkeys(FLOATS, _scalar(float, float, np.floating)),
        "DECIMAL": _decimal,
        "STRING": _scalar(_to_text, str),
        "BINARY": _scalar(_to_bytes, bytes, bytearray, memoryview),
        "DATE": _scalar(_to_date, dt.date, np.datetime64),
        "TIME": _scalar(read_time, dt.time),
        "TIMESTAMP": _timestamp,
        "UUID": _scalar(_to_uuid, uuid.UUID),
        "TENSOR": _tensor,
        "LIST": _list,
        "STRUCT": _struct,
        "MAP": _map,
    },
)


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain_numbers(item) for item in value]
    return float(value) if isinstance(value, decimal.Decimal) else value


#: Characters of a value in a message.
_TEXT_LENGTH = 60


def _value_text(value: Any) -> str:
    if isinstance(value, _ARROW):  # to show it would be to read what nobody has checked
        return f"a {type(value).__name__} of pyarrow"
    text = repr(value) if not isinstance(value, decimal.Decimal) else str(value)
    return text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 3] + "..."
