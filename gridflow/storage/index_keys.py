"""Columns as keys of an index, in a form whose order as numbers or bytes is that of SQL; and how keys are searched.

``kernels/include/gridflow/index_format.h`` says what the key of a value is. Here one key is an int or bytes.
"""

from __future__ import annotations

import decimal
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import SchemaError
from ..kinds import KINDS, ByKind, Refused
from ..schema import FLOATS, INTEGERS, NESTED, Column, Type

_INT64_DIGITS = 18


def check_indexable(column: Column) -> None:
    """Raise SchemaError if a column cannot be in an index."""
    if column.type.kind not in INDEXABLE:
        raise SchemaError(f"column {column}: an index is over numbers, texts, dates and the like, not {column.type}")


def key_dtype(t: Type) -> np.dtype | None:
    """The numpy type of a column's keys; None where they are bytes."""
    return _form(t).dtype(t)


def key_width(t: Type) -> int:
    """Bytes of a key, if all keys of the column have the same; else 0."""
    dtype = key_dtype(t)
    return dtype.itemsize if dtype is not None else _form(t).width


def key_of(value: Any, t: Type) -> int | bytes:
    """The key of one value: a float, for a DECIMAL its digits as an int, else the key itself.

    >>> key_of(-0.0, Type("FLOAT64")) == key_of(0.0, Type("FLOAT64")) < key_of(1.0, Type("FLOAT64"))
    True
    """
    return _form(t).key(value, t)


def keys_of(array: pa.Array, t: Type) -> pa.Array:
    """The keys of a column's values, in their order: numbers, or binary."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return _form(t).keys(array, t)


def _rising(values: np.ndarray) -> np.ndarray:
    bits = (values + values.dtype.type(0)).view(f"u{values.itemsize}")  # -0.0 + 0.0 is 0.0
    sign = bits.dtype.type(1 << (8 * values.itemsize - 1))
    rising = np.where(bits & sign, ~bits, bits | sign)
    rising[np.isnan(values)] = ~bits.dtype.type(0)
    return rising


def _key_of_float(value: float, t: Type) -> int:
    width = np.float64 if t.kind == "FLOAT64" else np.float32
    return int(_rising(np.array([value], width))[0])


def _key_of_decimal(value: int, t: Type) -> int | bytes:
    return value if t.precision <= _INT64_DIGITS else (int(value) + (1 << 127)).to_bytes(16, "big")


def _keys_of_floats(array: pa.Array, t: Type) -> pa.Array:
    if t.kind == "FLOAT16":
        array = array.cast(pa.float32())
    mask = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    values = np.frombuffer(array.buffers()[1] or b"", array.type.to_pandas_dtype())
    return pa.array(_rising(values[array.offset : array.offset + len(array)]), mask=mask)


def _keys_of_decimals(array: pa.Array, t: Type) -> pa.Array:
    words = np.frombuffer(array.buffers()[1] or b"", "<u8").reshape(-1, 2)[array.offset : array.offset + len(array)]
    if t.precision <= _INT64_DIGITS:
        mask = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
        return pa.array(words[:, 0].view("i8"), mask=mask)
    keys = np.empty((len(array), 2), ">u8")
    keys[:, 0] = words[:, 1] ^ np.uint64(1 << 63)
    keys[:, 1] = words[:, 0]
    valid = array.is_valid().buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(pa.binary(16), len(array), [valid, pa.py_buffer(keys)])


@dataclass(frozen=True)
class _Form:
    """How an index has the keys of a kind.

    Attributes:
        keys: of a column's storage.
        key: of one value, as ``key_of`` takes it.
        dtype: of keys that are numbers; None where they are bytes.
        width: of keys that are bytes, if all have as many; else 0.
    """

    keys: Callable[[pa.Array, Type], pa.Array]
    key: Callable[[Any, Type], int | bytes]
    dtype: Callable[[Type], np.dtype | None] = lambda t: None
    width: int = 0


def _same(value: Any, _: Type) -> Any:
    return value


def _numbers(keys: Callable[[pa.Array, Type], pa.Array], dtype: Any, key: Callable[[Any, Type], int] = _same) -> _Form:
    return _Form(keys, key, lambda t: np.dtype(dtype))


def _as_numbers(array: pa.Array, t: Type) -> pa.Array:
    return array.view(pa.from_numpy_dtype(KINDS[t.kind].dtype))


_NOT_ORDERED = Refused("SQL has no order for it that rows could be sorted by")
_FORMS: ByKind[_Form | Refused] = ByKind(
    "keys of an index",
    {
        "BOOL": _numbers(lambda array, t: array.cast(pa.uint8()), "u1"),
        **{kind: _numbers(_same, KINDS[kind].dtype) for kind in INTEGERS},
        **dict.fromkeys(FLOATS, _numbers(_keys_of_floats, "u4", _key_of_float)),
        "FLOAT64": _numbers(_keys_of_floats, "u8", _key_of_float),
        "DECIMAL": _Form(
            _keys_of_decimals,
            _key_of_decimal,
            lambda t: np.dtype("i8") if t.precision <= _INT64_DIGITS else None,
            width=16,
        ),
        "STRING": _Form(lambda array, t: array.cast(pa.large_binary()), _same),
        "BINARY": _Form(_same, _same),
        **{kind: _numbers(_as_numbers, KINDS[kind].dtype) for kind in ("DATE", "TIME", "TIMESTAMP")},
        "UUID": _Form(_same, _same, width=16),
        **dict.fromkeys(("TENSOR", *NESTED), _NOT_ORDERED),
    },
)
#: Kinds of columns that an index may have.
INDEXABLE = _FORMS.taken


def _form(t: Type) -> _Form:
    form = _FORMS[t.kind]
    assert isinstance(form, _Form), "check_indexable lets no other column into an index"
    return form


def decimal_digits(value: decimal.Decimal | int, t: Type) -> decimal.Decimal:
    """A number as one of so many steps of a DECIMAL: whole, if the type can hold it."""
    with decimal.localcontext() as context:
        context.prec = 200
        return decimal.Decimal(value).scaleb(t.scale)


@dataclass(frozen=True)
class Interval:
    """Keys of one column: from ``low`` to ``high``, None for no bound; or, if ``null``, the nulls and nothing else."""

    low: int | bytes | None = None
    high: int | bytes | None = None
    low_open: bool = False
    high_open: bool = False
    null: bool = False

    @property
    def one(self) -> bool:
        """Whether it holds one key at most."""
        return self.null or (self.low is not None and self.low == self.high)

    def clipped(self, t: Type) -> Interval | None:
        """Without bounds that no key of the type can pass; None if no key can be in it."""
        dtype = key_dtype(t)
        if dtype is None or self.null:
            return self
        least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        low, high = self.low, self.high
        if (low is not None and low > most) or (high is not None and high < least):  # type: ignore[operator]
            return None
        if low is not None and low < least:  # type: ignore[operator]
            low = None
        if high is not None and high > most:  # type: ignore[operator]
            high = None
        return Interval(low, high, self.low_open and low is not None, self.high_open and high is not None)

    def narrowed(self, other: Interval) -> Interval:
        """What lies in both; of keys that are not null."""
        low, low_open = max(((i.low, i.low_open) for i in (self, other) if i.low is not None), default=(None, False))
        highs = [(i.high, not i.high_open) for i in (self, other) if i.high is not None]
        high, closed = min(highs, default=(None, True))
        return Interval(low, high, low_open, not closed)


class SortedKeys:
    """One column of an index: keys that rise among rows that are equal in the columns before it. Immutable.

    Args:
        nulls: uint8[rows], 1 for a null; None if there is none.
        values: the keys as numbers, or None.
        offsets, data: keys as bytes, key i from ``offsets[i]`` to ``offsets[i + 1]`` of ``data``.
        width: of keys as bytes, if they have no offsets.
    """

    def __init__(
        self,
        nulls: np.ndarray | None,
        values: np.ndarray | None,
        offsets: np.ndarray | None = None,
        data: memoryview | None = None,
        width: int = 0,
    ):
        self._nulls = nulls
        self._values = values
        self._offsets = offsets
        self._data = data
        self._width = width

    def within(self, begin: int, end: int, interval: Interval) -> tuple[int, int]:
        """Of rows [begin, end), which agree in the columns before, those in the interval."""
        nulls = end
        if self._nulls is not None and begin < end:
            nulls = begin + int(np.searchsorted(self._nulls[begin:end], np.uint8(1)))
        if interval.null:
            return nulls, end
        first, last = begin, nulls
        if interval.low is not None:
            first = self._search(first, last, interval.low, after=interval.low_open)
        if interval.high is not None:
            last = self._search(first, last, interval.high, after=not interval.high_open)
        return first, last

    def _search(self, begin: int, end: int, key: int | bytes, after: bool) -> int:
        """The first row of [begin, end) whose key is not less than ``key``; with ``after``, greater."""
        if self._values is not None:
            bound = self._values.dtype.type(key)
            return begin + int(np.searchsorted(self._values[begin:end], bound, "right" if after else "left"))
        bisect = bisect_right if after else bisect_left
        return begin + bisect(range(begin, end), key, key=self._at)

    def _at(self, row: int) -> bytes:
        assert self._data is not None  # else there are values, of which no one is asked for
        if self._offsets is None:
            return bytes(self._data[row * self._width : (row + 1) * self._width])
        return bytes(self._data[self._offsets[row] : self._offsets[row + 1]])
