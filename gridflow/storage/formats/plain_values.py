"""Values as JSON has them, and back: for JSON files, nested cells of CSV, and programs that read our output."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import SchemaError, did_you_mean
from ...kinds import ByKind
from ...schema import FLOATS, INTEGERS, SCALARS, Type
from ..arrow_to_python import to_python
from ..moments import read_date, read_moment, read_time


def plain(value: Any) -> Any:
    """A value as JSON has it, the same in every release.

    An integer is a number with all its digits, a DECIMAL text with all of its; bytes are base64; dates, times and
    intervals are ISO 8601; a UUID is text, a tensor nested lists, a MAP a list of [key, value]; a float that JSON
    does not have is "NaN", "Infinity" or "-Infinity".

    >>> plain({"A": b"abc", "B": decimal.Decimal("1.50"), "C": math.nan})
    {'A': 'YWJj', 'B': '1.50', 'C': 'NaN'}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (dt.datetime, np.datetime64)):
        return moment_text(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (dt.timedelta, pa.MonthDayNano)):  # the latter is a tuple, too
        return duration_text(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    return str(value)  # a UUID, say


def moment_text(value: dt.datetime | np.datetime64) -> str:
    """A moment as ISO 8601 writes it, without a fraction of zeros."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    text = str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration_text(value: dt.timedelta | pa.MonthDayNano) -> str:
    """An interval as ISO 8601 writes it: P1M2DT3.5S."""
    if isinstance(value, dt.timedelta):
        months, days, seconds = 0, value.days, decimal.Decimal(value.seconds * 10**6 + value.microseconds) / 10**6
    else:
        months, days, seconds = value.months, value.days, decimal.Decimal(value.nanoseconds) / 10**9
    parts = "".join(f"{count}{unit}" for count, unit in ((months, "M"), (days, "D")) if count)
    time = f"T{format(seconds.normalize(), 'f')}S" if seconds else ""
    return f"P{parts}{time}" if parts or time else "PT0S"


def plain_column(array: pa.Array, dtype: Type | None) -> list[Any]:
    """A column's values as JSON has them.

    Args:
        array: the column, in the types that users see.
        dtype: the column's type in its table, which says more than Arrow's; None where only Arrow's is known.
    """
    if pa.types.is_float16(array.type) or pa.types.is_float32(array.type):
        # Texts of 32-bit floats have their own digits: 0.1 and not 0.10000000149011612.
        texts = array.cast(pa.float32()).cast(pa.string()).to_pylist()
        return [None if text is None else plain(float(text)) for text in texts]
    if dtype is None or not _needs_type(dtype):
        return [plain(v) for v in to_python(_storage(array), pairs=True)]
    return [_plain_typed(v, dtype) for v in to_python(_storage(array), pairs=True)]


def _storage(array: pa.Array) -> pa.Array:
    """An array with tensors as flat lists, of which pyarrow makes Python values faster."""
    return array.storage if isinstance(array.type, pa.FixedShapeTensorType) else array


def _needs_type(t: Type) -> bool:
    """Whether the Arrow type of a column says too little to write its values."""
    if t.children:
        return any(_needs_type(child) for _, child in t.children)
    return _WRITERS[t.kind] is not _plain_scalar


def _plain_typed(value: Any, t: Type) -> Any:
    return None if value is None else _WRITERS[t.kind](value, t)


def _plain_scalar(value: Any, _: Type) -> Any:
    return plain(value)


def _plain_map(value: Any, t: Type) -> list[list[Any]]:
    (_, key), (_, item) = t.children
    return [[_plain_typed(k, key), _plain_typed(v, item)] for k, v in value]


_WRITERS: ByKind[Callable[[Any, Type], Any]] = ByKind(
    "values written as JSON",
    {
        **dict.fromkeys(SCALARS, _plain_scalar),
        "UUID": lambda value, t: str(uuid.UUID(bytes=value) if isinstance(value, bytes) else value),
        "TENSOR": lambda value, t: plain(np.asarray(value, t.dtype).reshape(t.shape)),
        "LIST": lambda value, t: [_plain_typed(v, t.children[0][1]) for v in value],
        "STRUCT": lambda value, t: {name: _plain_typed(value[name], child) for name, child in t.children},
        "MAP": _plain_map,
    },
)


def column_of_plain(values: Sequence[Any], t: Type) -> pa.Array:
    """JSON's values as a column in the layout of segments.

    Raises:
        Misfit: a value does not fit; has the row of the first such value.
    """
    read = reader_of(t)
    result = []
    for row, value in enumerate(values):
        try:
            result.append(None if value is None else read(value))
        except (ValueError, TypeError, KeyError, ArithmeticError, AttributeError) as error:
            raise Misfit(row, _why(value, error)) from None
    try:
        return pa.array(result, t.arrow())
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        for row, value in enumerate(result):
            try:
                pa.array([value], t.arrow())
            except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
                raise Misfit(row, f"{value_text(values[row])} does not fit: {error}") from None
        raise


class Misfit(Exception):
    """A value that does not fit the column: ``row`` counts from 0, ``why`` goes on from the column's name."""

    def __init__(self, row: int, why: str):
        super().__init__(why)
        self.row, self.why = row, why


def _why(value: Any, error: Exception) -> str:
    why = f": {error}" if isinstance(error, SchemaError) else ""
    return f"{value_text(value)} does not fit{why}"


#: Characters of a value in a message.
_TEXT_LENGTH = 60


def value_text(value: Any) -> str:
    """A value for a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 3] + "..."


def reader_of(t: Type) -> Callable[[Any], Any]:
    """A function that turns a value of JSON, not null, into one that ``pa.array`` takes for the type."""
    return _READERS[t.kind](t)


def _optional(t: Type) -> Callable[[Any], Any]:
    read = reader_of(t)

    def optional(value: Any) -> Any:
        if value is None:
            if not t.nullable:
                raise SchemaError("a null is not allowed in it")
            return None
        return read(value)

    return optional


def _list_reader(t: Type) -> Callable[[Any], Any]:
    item = _optional(t.children[0][1])
    return lambda value: [item(v) for v in _checked_list(value)]


def _map_reader(t: Type) -> Callable[[Any], Any]:
    key, item = reader_of(t.children[0][1]), _optional(t.children[1][1])
    return lambda value: [(key(k), item(v)) for k, v in (value.items() if isinstance(value, dict) else value)]


def _struct_reader(t: Type) -> Callable[[Any], Any]:
    fields = {name: _optional(child) for name, child in t.children}

    def read(value: Any) -> Any:
        for name in value.keys() - fields.keys():
            raise SchemaError(f"no field {name}; {did_you_mean(name, fields)}")
        return {name: field(value.get(name)) for name, field in fields.items()}

    return read


def _checked_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError
    return value


def _bool(value: Any) -> bool:
    if value in (0, 1):
        return bool(value)
    raise ValueError


def _int(value: Any) -> int:
    number = int(value) if not isinstance(value, (bool, str)) else None
    if number is None or number != value:
        raise ValueError
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def _decimal(value: Any) -> decimal.Decimal:
    if isinstance(value, bool):
        raise ValueError
    return decimal.Decimal(repr(value) if isinstance(value, float) else value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise SchemaError("bytes are written in base64") from None


def _date(value: Any) -> Any:
    try:
        return read_date(value)
    except ValueError:  # beyond the year 9999
        return int(np.datetime64(_text(value), "D").astype(np.int64))


def _moment(value: Any, t: Type) -> int:
    """A timestamp as its number in the type's unit."""
    try:
        moment = read_moment(value)
    except ValueError:  # beyond the year 9999
        moment = np.datetime64(_text(value))
    if isinstance(moment, dt.datetime) and moment.tzinfo is not None:
        moment = moment.astimezone(dt.timezone.utc).replace(tzinfo=None)
    instant = np.datetime64(moment)
    result = instant.astype(f"datetime64[{t.unit}]")
    if result != instant:
        raise SchemaError(f"it is finer than {t.text()} holds")
    return int(result.astype(np.int64))


def _tensor(value: Any, t: Type) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != t.shape:
        raise SchemaError(f"shape {list(array.shape)} is not {list(t.shape)}")
    if array.dtype.kind in "fO" and t.dtype.kind == "u":  # numpy makes floats of numbers below and from 2^63
        objects = np.asarray(value, object)
        array = objects.astype(t.dtype) if all(type(v) is int for v in objects.flat) else array
    if array.dtype.kind in "UO" and t.dtype.kind == "f":  # NaN and Infinity are text, and a Decimal may be there
        array = array.astype(np.float64)
    if (array.dtype.kind == "b") != (t.element == "BOOL") or array.dtype.kind not in "biuf":
        raise SchemaError(f"a number in it is no {t.element}")
    with np.errstate(all="ignore"):
        result = array.astype(t.dtype)
    if t.dtype.kind != "f" and not np.array_equal(result, array):
        raise SchemaError(f"a number in it does not fit {t.element}")
    return result.reshape(-1).view(np.uint8) if t.element == "BOOL" else result.reshape(-1)


def _same_reader(read: Callable[[Any], Any]) -> Callable[[Type], Callable[[Any], Any]]:
    return lambda t: read


_READERS: ByKind[Callable[[Type], Callable[[Any], Any]]] = ByKind(
    "values read from JSON",
    {
        "BOOL": _same_reader(_bool),
        **dict.fromkeys(INTEGERS, _same_reader(_int)),
        **dict.fromkeys(FLOATS, _same_reader(_float)),
        "DECIMAL": _same_reader(_decimal),
        "STRING": _same_reader(_text),
        "BINARY": _same_reader(_bytes),
        "DATE": _same_reader(_date),
        "TIME": _same_reader(read_time),
        "TIMESTAMP": lambda t: lambda value: _moment(value, t),
        "UUID": _same_reader(lambda value: uuid.UUID(value).bytes),
        "TENSOR": lambda t: lambda value: _tensor(value, t),
        "LIST": _list_reader,
        "STRUCT": _struct_reader,
        "MAP": _map_reader,
    },
)
