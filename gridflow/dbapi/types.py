"""PEP 249's types: families of column types, and constructors of dates and bytes for parameters."""

from __future__ import annotations

import datetime as dt

from ..kinds import ByKind, Refused
from ..schema import FLOATS, INTEGERS, NESTED

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
    """A family of types. The ``type_code`` of a column is the type as text (``INT64``, ``DECIMAL(10,2)``,
    ``UINT8[28,28]``) and equals the family of the type.

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


_OBJECTS: ByKind[str | Refused] = ByKind(
    "type objects of PEP 249",
    {
        **dict.fromkeys(("BOOL", *INTEGERS, *FLOATS, "DECIMAL"), "NUMBER"),
        **dict.fromkeys(("STRING", "UUID"), "STRING"),
        "BINARY": "BINARY",
        **dict.fromkeys(("DATE", "TIME", "TIMESTAMP"), "DATETIME"),
        **dict.fromkeys(("TENSOR", *NESTED), Refused("PEP 249 has no type object for it")),
    },
)


def _object(name: str, *texts: str) -> TypeObject:
    return TypeObject(name, *(kind for kind, entry in _OBJECTS.items() if entry == name), *texts)


STRING = _object("STRING")
BINARY = _object("BINARY")
NUMBER = _object("NUMBER")
DATETIME = _object("DATETIME", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP_TZ")
ROWID = TypeObject("ROWID")
