"""Arrow columns as Python values: the same ones that ``Table.get`` gives.

pyarrow's own ``to_pylist`` needs pandas for nanoseconds, a time zone database for UTC, and has nothing for dates
after the year 9999.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_EPOCH = dt.datetime(1970, 1, 1)
_UNITS = {
    "D": dt.timedelta(days=1),
    "s": dt.timedelta(seconds=1),
    "ms": dt.timedelta(milliseconds=1),
    "us": dt.timedelta(microseconds=1),
}


def to_python(array: pa.Array | pa.ChunkedArray, *, pairs: bool = False) -> list[Any]:
    """The values of an array, None for a null.

    Args:
        array: of any type; of extension types only those that pyarrow knows.
        pairs: whether a map becomes a list of (key, value) instead of a dict.

    >>> to_python(pa.array([1, None], pa.timestamp("us", "UTC")))
    [datetime.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=datetime.timezone.utc), None]
    >>> to_python(pa.array([[1], None], pa.list_(pa.timestamp("ns"))))
    [[np.datetime64('1970-01-01T00:00:00.000000001')], None]
    """
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in to_python(chunk, pairs=pairs)]
    kind = array.type
    if not _is_special(kind):
        return array.to_pylist()
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _moments(array)
    valid = array.is_valid().to_pylist()
    if pa.types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        columns = [to_python(column, pairs=pairs) for column in array.flatten()]
        rows = zip(*columns, strict=True)
        return [dict(zip(names, row, strict=True)) if ok else None for row, ok in zip(rows, valid, strict=True)]
    if pa.types.is_map(kind):
        first, last = (array.offsets[0].as_py(), array.offsets[-1].as_py()) if len(array) else (0, 0)
        keys, values = (to_python(a.slice(first, last - first), pairs=pairs) for a in (array.keys, array.items))
        items = list(zip(keys, values, strict=True))
        ends = (array.offsets.to_numpy() - first).tolist()
        make = list if pairs else dict
        bounds = zip(ends[:-1], ends[1:], valid, strict=True)
        return [make(items[start:end]) if ok else None for start, end, ok in bounds]
    flat = iter(to_python(array.flatten(), pairs=pairs))  # without what lies under nulls
    lengths = pc.list_value_length(array).to_pylist()
    return [[next(flat) for _ in range(n)] if ok else None for n, ok in zip(lengths, valid, strict=True)]


def _is_special(kind: pa.DataType) -> bool:
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_map(kind):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return False
    return any(_is_special(kind.field(i).type) for i in range(kind.num_fields))


def _moments(array: pa.Array) -> list[Any]:
    kind = array.type
    if pa.types.is_date(kind):
        return _in_range(array.cast(pa.date32()), "D")
    naive = array.cast(pa.timestamp(kind.unit))
    if kind.unit == "ns":
        return [None if number is None else np.datetime64(number, "ns") for number in _numbers(naive)]
    moments = _in_range(naive, kind.unit)
    if kind.tz is None:
        return moments
    return [v.replace(tzinfo=dt.timezone.utc) if isinstance(v, dt.datetime) else v for v in moments]


def _in_range(array: pa.Array, unit: str) -> list[Any]:
    """Dates and times of Python's; of numpy's, beyond the year 9999."""
    try:
        return array.to_pylist()
    except (OverflowError, ValueError):
        return [None if number is None else _moment(number, unit) for number in _numbers(array)]


def _numbers(array: pa.Array) -> list[int | None]:
    return array.view(pa.int32() if pa.types.is_date32(array.type) else pa.int64()).to_pylist()


def _moment(number: int, unit: str) -> Any:
    try:
        moment = _EPOCH + number * _UNITS[unit]
    except OverflowError:
        return np.datetime64(number, unit)  # type: ignore[call-overload]  # numpy's types know units by literals only
    return moment.date() if unit == "D" else moment
