"""What a constant means to an index: a range of a column's keys, with all rows for which a comparison can be true.

DuckDB casts before it compares, and it sees every row that an index finds: so a range may be wider than the comparison
asks, and says whether it is. A range is never narrower; a constant that does not allow to promise that has no range.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kinds import ByKind, Refused
from ...schema import FLOATS, INTEGERS, NESTED, Column, Type
from ...storage.index_keys import Interval, decimal_digits, key_of
from ...storage.moments import read_moment, read_time
from .keys import NotExact, exact

Key = int | bytes
KeyRange = tuple[Key, Key, bool]
_MICROSECOND = dt.timedelta(microseconds=1)
_EPOCH = dt.datetime(1970, 1, 1)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
#: Integers up to this, of either sign, are exact as doubles.
_EXACT_IN_DOUBLE = 2**53
_END_OF_INT64 = 2**63
#: Decimals of so many digits are exact as an INT64, or come back from a double.
_INT64_DIGITS = 18
_DOUBLE_DIGITS = 15


def key_range(value: Any, column: Column) -> KeyRange:
    """The keys (low, high), both included, of all rows that may equal a constant, and whether all keys between do.

    A row is greater than the constant only if its key is at least ``low``, or above ``low`` if all keys between equal
    the constant; and less likewise. The keys may lie outside of what the column can hold.

    Raises:
        NotExact: the constant has no such range; only a scan helps.
    """
    if hasattr(value, "dtype") and hasattr(value, "item") and not isinstance(value, np.datetime64):
        value = value.item()
    entry = _RANGES[column.type.kind]
    if isinstance(entry, Refused):
        raise NotExact
    return entry(value, column)


def beginning(pattern: Any, column: Column) -> Interval:
    """The keys of all texts that a LIKE can match: those that begin as its pattern does.

    Raises:
        NotExact: a match may begin with anything, or the pattern is no text.

    >>> beginning("ab_c%", Column("NAME", Type("STRING"), 1))
    Interval(low=b'ab', high=b'ac', low_open=False, high_open=True, null=False)
    """
    if column.type.kind != "STRING" or not isinstance(pattern, str):
        raise NotExact
    prefix = re.split(r"[%_\\]", pattern)[0]
    low = _text_key(prefix, column.type)
    if not low:
        raise NotExact
    return Interval(low, low[:-1] + bytes([low[-1] + 1]), high_open=True)  # no byte of UTF-8 is 255


def _exactly(key_of_exact: Callable[[Any, Type], Key]) -> Callable[[Any, Column], KeyRange]:
    """The range of a constant that ``keys.exact`` takes: the one key of the exact value."""

    def range_of(value: Any, column: Column) -> KeyRange:
        key = key_of_exact(exact(value, column), column.type)
        return key, key, True

    return range_of


def _text_key(value: str, _: Type) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise NotExact from None


def _date_key(value: dt.date, _: Type) -> int:
    return (value - _EPOCH.date()).days


def _time_key(value: dt.time, _: Type) -> int:
    if value.tzinfo is not None:
        raise NotExact
    return ((value.hour * 60 + value.minute) * 60 + value.second) * _PER_SECOND["us"] + value.microsecond


def _integers(value: Any, _: Column) -> KeyRange:
    if isinstance(value, bool) or not isinstance(value, (int, float, decimal.Decimal)):
        raise NotExact
    if isinstance(value, decimal.Decimal) and (not value.is_finite() or len(value.as_tuple().digits) > _INT64_DIGITS):
        raise NotExact
    limit = _EXACT_IN_DOUBLE if isinstance(value, float) else _END_OF_INT64
    if value != value or not -limit < value < limit:
        raise NotExact
    low, high = math.floor(value), math.ceil(value)
    return low, high, isinstance(value, int)


def _floats(value: Any, column: Column) -> KeyRange:
    t = column.type
    if isinstance(value, bool) or not isinstance(value, (int, float, decimal.Decimal)):
        raise NotExact
    if isinstance(value, decimal.Decimal) and (not value.is_finite() or len(value.as_tuple().digits) > _DOUBLE_DIGITS):
        raise NotExact
    if isinstance(value, int) and abs(value) > _EXACT_IN_DOUBLE:
        raise NotExact
    if isinstance(value, float) and t.kind == "FLOAT64":
        return key_of(value, t), key_of(value, t), True
    width = np.float64 if t.kind == "FLOAT64" else np.float32
    with np.errstate(over="ignore"):
        near = width(value)  # rounded, as the number may be that DuckDB compares with
    return key_of(np.nextafter(near, width(-math.inf)), t), key_of(np.nextafter(near, width(math.inf)), t), False


def _timestamps(value: Any, column: Column) -> KeyRange:
    t = column.type
    zoned = isinstance(value, dt.datetime) and value.tzinfo is not None
    is_text = isinstance(value, str)
    if is_text:
        try:
            value = read_moment(value)
        except ValueError:
            raise NotExact from None
        if isinstance(value, dt.datetime) and value.tzinfo is not None and not t.utc:
            raise NotExact
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()  # an int where Python has no such date, None where there is none
    elif isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    if not isinstance(value, dt.datetime):
        raise NotExact
    if value.tzinfo is not None:
        try:
            value = value.astimezone(dt.timezone.utc).replace(tzinfo=None)
        except OverflowError:  # the moment is at the very end of the calendar
            raise NotExact from None
    moment = (value - _EPOCH) // _MICROSECOND
    if t.unit == "us" and not is_text and zoned == t.utc:
        return moment, moment, True
    low, high = (moment - 1) * _PER_SECOND[t.unit], (moment + 1) * _PER_SECOND[t.unit]
    return low // _PER_SECOND["us"], -(-high // _PER_SECOND["us"]), False


def _times(value: Any, column: Column) -> KeyRange:
    if not isinstance(value, str):
        return _exact_times(value, column)
    try:
        key = _time_key(read_time(value), column.type)
    except ValueError:
        raise NotExact from None
    return key - 1, key + 1, False  # read_time cuts off what is finer than a microsecond


def _dates(value: Any, column: Column) -> KeyRange:
    if not isinstance(value, dt.datetime):
        return _exact_dates(value, column)
    if value.tzinfo is not None:
        raise NotExact
    day = _date_key(value.date(), column.type)
    return day, day + (value.time() != dt.time()), False


def _bytes(value: Any, column: Column) -> KeyRange:
    return _exact_bytes(bytes(value) if isinstance(value, (bytearray, memoryview)) else value, column)


_exact_bytes = _exactly(lambda value, t: value)
_exact_dates = _exactly(_date_key)
_exact_times = _exactly(_time_key)
_RANGES: ByKind[Callable[[Any, Column], KeyRange] | Refused] = ByKind(
    "constants as keys of an index",
    {
        "BOOL": _exactly(lambda value, t: int(value)),
        **dict.fromkeys(INTEGERS, _integers),
        **dict.fromkeys(FLOATS, _floats),
        "DECIMAL": _exactly(lambda value, t: key_of(int(decimal_digits(value, t)), t)),
        "STRING": _exactly(_text_key),
        "BINARY": _bytes,
        "DATE": _dates,
        "TIME": _times,
        "TIMESTAMP": _timestamps,
        "UUID": _exactly(lambda value, t: value.bytes),
        **dict.fromkeys(("TENSOR", *NESTED), Refused("no index is over it")),
    },
)
