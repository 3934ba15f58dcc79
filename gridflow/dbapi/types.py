"""PEP 249's types: what a column of a result is, and how dates and bytes are made for parameters."""

from __future__ import annotations

import datetime as dt

from ..schema import FLOATS, INTEGERS

Date = dt.date
Time = dt.time
Timestamp = dt.datetime
Binary = bytes


def DateFromTicks(ticks: float) -> dt.date:
    """The local date at so many seconds since 1970."""
    return dt.date.fromtimestamp(ticks)


def TimeFromTicks(ticks: float) -> dt.time:
    """The local time of day at so many seconds since 1970."""
    return dt.datetime.fromtimestamp(ticks).time()


def TimestampFromTicks(ticks: float) -> dt.datetime:
    """The local date and time at so many seconds since 1970."""
    return dt.datetime.fromtimestamp(ticks)


class TypeObject:
    """A family of types. A column's ``type_code`` is its type as text (``INT64``, ``DECIMAL(10,2)``, ``UINT8[28,28]``),
    and equal to the family it belongs to.

    >>> NUMBER == "INT32", STRING == "INT32", DATETIME == "TIMESTAMP_NS"
    (True, False, True)
    """

    def __init__(self, name: str, *kinds: str):
        self.name, self.kinds = name, frozenset(kinds)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return other.partition("(")[0] in self.kinds
        return self is other

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name


STRING = TypeObject("STRING", "STRING", "UUID")
BINARY = TypeObject("BINARY", "BINARY")
NUMBER = TypeObject("NUMBER", "BOOL", "DECIMAL", *INTEGERS, *FLOATS)
DATETIME = TypeObject(
    "DATETIME", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP_TZ"
)
ROWID = TypeObject("ROWID")
