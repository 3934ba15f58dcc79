"""What a constant means to an index: between which keys of a column the rows lie that a comparison can be true for.

DuckDB casts before it compares, and it sees every row that an index finds: so a span may be wider than the rows that
are wanted, and says whether it is. It is never narrower; where that cannot be promised, there is none.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import uuid
from typing import Any

import numpy as np

from ...schema import FLOATS, INTEGERS, Column, Type
from ...storage.index_keys import Interval, decimal_digits, key_of
from ...storage.moments import read_moment, read_time
from .keys import NotExact, exact

Key = int | bytes
_MICROSECOND = dt.timedelta(microseconds=1)
_EPOCH = dt.datetime(1970, 1, 1)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def key_range(value: Any, column: Column) -> tuple[Key, Key, bool]:
    """Keys (low, high) between which, both included, a row's must be to equal a constant, and whether all there do.

    A row is greater than the constant only if its key is at least ``low``, or above it where all equal it; and less
    likewise. Keys may lie outside of what the column can hold.

    Raises:
        NotExact: that cannot be told; only a scan helps.
    """
    if hasattr(value, "dtype") and hasattr(value, "item") and not isinstance(value, np.datetime64):
        value = value.item()
    kind = column.type.kind
    if kind in INTEGERS:
        return _integers(value)
    if kind in FLOATS:
        return _floats(value, column.type)
    if kind == "TIMESTAMP":
        return _timestamps(value, column.type)
    if kind == "TIME" and isinstance(value, str):
        return _times(value)
    if kind == "DATE" and isinstance(value, dt.datetime):
        return _dates(value)
    if kind == "BINARY" and isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    return _same(exact(value, column), column.type)


def beginning(pattern: Any, column: Column) -> Interval:
    """The keys of all texts that a LIKE can match: those that begin as its pattern does.

    Raises:
        NotExact: it may begin with anything, or is no text.

    >>> beginning("ab_c%", Column("NAME", Type("STRING"), 1))
    Interval(low=b'ab', high=b'ac', low_open=False, high_open=True, null=False)
    """
    if column.type.kind != "STRING" or not isinstance(pattern, str):
        raise NotExact
    fixed = re.split(r"[%_\\]", pattern)[0]
    low, _, _ = _same(fixed, column.type)
    if not low:
        raise NotExact
    assert isinstance(low, bytes)
    return Interval(low, low[:-1] + bytes([low[-1] + 1]), high_open=True)  # no byte of UTF-8 is 255


def _same(value: Any, t: Type) -> tuple[Key, Key, bool]:
    """The span of a value as ``keys.exact`` gives it."""
    kind = t.kind
    if kind == "STRING":
        try:
            key: Key = value.encode()
        except UnicodeEncodeError:
            raise NotExact from None
    elif kind == "UUID":
        key = value.bytes if isinstance(value, uuid.UUID) else value
    elif kind == "DATE":
        key = (value - _EPOCH.date()).days
    elif kind == "TIME":
        if value.tzinfo is not None:
            raise NotExact
        key = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    elif kind == "DECIMAL":
        key = key_of(int(decimal_digits(value, t)), t)
    else:
        key = int(value) if kind == "BOOL" else value
    return key, key, True


def _integers(value: Any) -> tuple[Key, Key, bool]:
    if isinstance(value, bool) or not isinstance(value, (int, float, decimal.Decimal)):
        raise NotExact
    if isinstance(value, decimal.Decimal) and (not value.is_finite() or len(value.as_tuple().digits) > 18):
        raise NotExact
    limit = 2**53 if isinstance(value, float) else 2**63
    if value != value or not -limit < value < limit:
        raise NotExact
    low, high = math.floor(value), math.ceil(value)
    return low, high, isinstance(value, int)


def _floats(value: Any, t: Type) -> tuple[Key, Key, bool]:
    if isinstance(value, bool) or not isinstance(value, (int, float, decimal.Decimal)):
        raise NotExact
    if isinstance(value, decimal.Decimal) and (not value.is_finite() or len(value.as_tuple().digits) > 15):
        raise NotExact
    if isinstance(value, int) and abs(value) > 2**53:
        raise NotExact
    if isinstance(value, float) and t.kind == "FLOAT64":
        return key_of(value, t), key_of(value, t), True
    width = np.float64 if t.kind == "FLOAT64" else np.float32
    with np.errstate(over="ignore"):
        near = width(value)  # rounded; and so may be what DuckDB compares with
    return key_of(np.nextafter(near, width(-math.inf)), t), key_of(np.nextafter(near, width(math.inf)), t), False


def _timestamps(value: Any, t: Type) -> tuple[Key, Key, bool]:
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
        value = value.astype("datetime64[us]").item()  # which may be an int, out of Python's range, or None
    elif isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    if not isinstance(value, dt.datetime):
        raise NotExact
    if value.tzinfo is not None:
        try:
            value = value.astimezone(dt.timezone.utc).replace(tzinfo=None)
        except OverflowError:  # at the very ends of the calendar
            raise NotExact from None
    moment = (value - _EPOCH) // _MICROSECOND
    if t.unit == "us" and not is_text and zoned == t.utc:
        return moment, moment, True
    low, high = (moment - 1) * _PER_SECOND[t.unit], (moment + 1) * _PER_SECOND[t.unit]
    return low // 1_000_000, -(-high // 1_000_000), False


def _times(text: str) -> tuple[Key, Key, bool]:
    try:
        key, _, _ = _same(read_time(text), Type("TIME"))
    except ValueError:
        raise NotExact from None
    assert isinstance(key, int)
    return key - 1, key + 1, False  # what is finer than a microsecond was cut off


def _dates(value: dt.datetime) -> tuple[Key, Key, bool]:
    if value.tzinfo is not None:
        raise NotExact
    day = (value.date() - _EPOCH.date()).days
    return day, day + (value.time() != dt.time()), False
