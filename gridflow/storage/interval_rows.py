"""The rows whose values lie in intervals of keys, by a look at the columns themselves, on all cores.

For a condition that only compares columns of numbers with constants that is what an engine does, too, but it takes the
rows' numbers in and gives them back, one by one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from .._native.key_marks import mark_numbers, mark_reals, packed
from ..schema import FLOATS, Column, Type
from .index_keys import Interval, key_dtype, keys_of

#: Rows that a thread looks at at a time, a multiple of eight: their marks stay in its cache.
_PIECE = 1 << 18
#: Marks of a row for which all conditions hold so far.
_BOTH = 3


@dataclass(frozen=True)
class Within:
    """A condition on one column: it can hold of values in one interval, and it holds in one that lies in that."""

    column: Column
    possible: Sequence[Interval]
    sure: Sequence[Interval]


def can_look(conditions: Sequence[Within]) -> bool:
    """Whether ``rows_within`` takes these conditions."""
    return all(
        key_dtype(each.column.type) is not None
        and each.column.type.kind not in ("FLOAT16", "DECIMAL")
        and max(len(each.possible), len(each.sure)) <= 1
        and not any(interval.null for interval in each.possible)
        for each in conditions
    )


def rows_within(
    batches: Sequence[pa.RecordBatch], conditions: Sequence[Within]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Find the rows for which all conditions hold, and others for which they may.

    Returns:
        For each batch a bit for each row for which they hold, the lowest first, uint8[(rows + 7) // 8]; and the numbers
        of the others, int64, rising.
    """
    bounds = [_bounds(each) for each in conditions]
    names = [each.column.name for each in conditions]
    bits = [np.empty((batch.num_rows + 7) // 8, np.uint8) for batch in batches]
    pieces = [(i, first) for i, batch in enumerate(batches) for first in range(0, batch.num_rows, _PIECE)]

    def look(piece: tuple[int, int]) -> np.ndarray:
        i, first = piece
        batch = batches[i].slice(first, _PIECE)
        marks = np.full(batch.num_rows, _BOTH, np.uint8)
        for name, each, bound in zip(names, conditions, bounds, strict=True):
            column = batch.column(name)
            mark: Callable[..., None] = mark_reals if each.column.type.kind in FLOATS else mark_numbers
            mark(_numbers(column, each.column.type), *bound, marks)
            if column.null_count:
                marks *= column.is_valid().to_numpy(zero_copy_only=False)
        return packed(marks, bits[i][first // 8 : (first + batch.num_rows + 7) // 8]) + first

    if len(pieces) < 2:
        parts = list(map(look, pieces))
    else:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, len(pieces))) as threads:
            parts = list(threads.map(look, pieces))
    others: list[list[np.ndarray]] = [[np.empty(0, np.int64)] for _ in batches]
    for (i, _), part in zip(pieces, parts, strict=True):
        others[i].append(part)
    return bits, [np.concatenate(each) for each in others]


def _numbers(array: pa.Array, t: Type) -> np.ndarray:
    """The keys of a column, of floats the numbers themselves; of a null any."""
    keys = array if t.kind in FLOATS else keys_of(array, t)
    dtype = np.dtype(keys.type.to_pandas_dtype())
    return np.frombuffer(keys.buffers()[1] or b"", dtype)[keys.offset : keys.offset + len(keys)]


def _bounds(condition: Within) -> tuple[Any, ...]:
    """The bounds as ``mark_numbers`` or ``mark_reals`` takes them."""
    t = condition.column.type
    dtype = key_dtype(t)
    assert dtype is not None  # ``can_look`` says so
    low, high = _closed(condition.possible, dtype)
    sure_low, sure_high = _closed(condition.sure, dtype)
    if t.kind not in FLOATS:
        return low, high, sure_low, sure_high
    last = int(np.iinfo(dtype).max)  # the key of every NaN
    floats = (_float_above(low, dtype), _float_below(high, dtype), _float_above(sure_low, dtype))
    return *floats, _float_below(sure_high, dtype), low <= last == high, sure_low <= last == sure_high


def _closed(intervals: Sequence[Interval], dtype: np.dtype) -> tuple[int, int]:
    """The first and the last key of the only interval; none is between them if there is no interval."""
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if not intervals:
        return most, least
    low = least if intervals[0].low is None else int(intervals[0].low) + intervals[0].low_open
    high = most if intervals[0].high is None else int(intervals[0].high) - intervals[0].high_open
    return (low, high) if low <= most and high >= least else (most, least)


def _float_above(key: int, dtype: np.dtype) -> float:
    """The least number whose key is at least ``key``; NaN, which no number is above, if that is none."""
    number = _float_of(key, dtype)
    return -np.inf if np.isnan(number) and key < int(np.iinfo(dtype).max) // 2 else number


def _float_below(key: int, dtype: np.dtype) -> float:
    """The greatest number whose key is at most ``key``; NaN if that is none."""
    number = _float_of(key, dtype)
    if np.isnan(number):
        return np.inf if key > int(np.iinfo(dtype).max) // 2 else number
    if number == 0 and np.signbit(number):  # its key is that of 0.0
        return float(np.nextafter(number, number.dtype.type(-1)))
    return number


def _float_of(key: int, dtype: np.dtype) -> Any:
    """The float whose bits a key is made of."""
    bits = dtype.type(key)
    sign = dtype.type(1 << (8 * dtype.itemsize - 1))
    turned = bits ^ sign if bits & sign else ~bits
    return np.array([turned], dtype).view(f"f{dtype.itemsize}")[0]
