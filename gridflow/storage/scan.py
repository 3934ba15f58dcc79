"""Reading rows of a version of a table as Arrow data: views of its mapped segments, where that is possible."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ..config import MAX_PARTITIONS, temporary_root
from ..errors import GridFullError
from ..schema import Schema
from .arrow import deleted_column, export_batch, live_batches, user_schema

if TYPE_CHECKING:
    from .._native.snapshot import Snapshot


def positions_of(schema: Schema, columns: Iterable[str] | None) -> list[int]:
    """Where these columns stand in the schema; None: all of them.

    Raises:
        ColumnNotFoundError: there is no such column.
    """
    if columns is None:
        return list(range(len(schema.columns)))
    if isinstance(columns, str):
        columns = [columns]
    order = {c.name: i for i, c in enumerate(schema.columns)}
    return [order[schema[name].name] for name in columns]


def scan_batches(
    snapshot: Snapshot, positions: list[int], ranges: list[tuple[int, int]], batch_size: int
) -> Iterator[pa.RecordBatch]:
    """The live rows of ranges [first, last) of partitions, in batches of at most ``batch_size`` rows."""
    for segment in range(len(snapshot.segments())):
        gone = deleted_column(snapshot, segment)
        for first, last in ranges:
            begin, end = snapshot.partition_rows(segment, first, last)
            for batch in live_batches(snapshot, segment, gone, positions, begin, end):
                for start in range(0, batch.num_rows, batch_size):
                    yield batch.slice(start, batch_size)


def whole_table(snapshot: Snapshot, columns: Iterable[str] | None) -> pa.Table:
    """All live rows as one Arrow table; its schema is that of users (``storage.arrow.user_schema``)."""
    schema = snapshot.schema
    positions = positions_of(schema, columns)
    batches = scan_batches(snapshot, positions, [(0, MAX_PARTITIONS + 1)], 1 << 62)
    return pa.Table.from_batches(batches, schema=user_schema([schema.columns[i] for i in positions]))


_LONG_RUN = 16384  # rows: a batch of fewer costs more to hand on than to copy


def read_runs(snapshot: Snapshot, positions: list[int], runs: np.ndarray) -> pa.Table:
    """Runs of rows, in any order, as one Arrow table: views of long runs, one copy of each stretch of short ones.

    Args:
        snapshot: the version.
        positions: where the columns stand in its schema.
        runs: as ``RowPlan.runs`` gives them.

    Raises:
        GridCorruptError: a block that they lie in is damaged.
    """
    schema = user_schema([snapshot.schema.columns[i] for i in positions])
    if not positions:  # rows of no columns: they still count
        return pa.table({"": pa.nulls(int(runs["count"].sum()))}).select([])
    is_long = runs["count"] >= _LONG_RUN
    stretch_starts = np.flatnonzero(is_long[1:] != is_long[:-1]) + 1
    batches: list[pa.RecordBatch] = []
    for stretch in np.split(runs, stretch_starts) if len(runs) else ():
        if stretch["count"][0] >= _LONG_RUN:
            for segment, begin, count in stretch.tolist():
                batches.append(export_batch(snapshot, segment, positions, begin, begin + count))
        else:
            batches += _gathered(snapshot, positions, stretch)
    return pa.Table.from_batches(batches, schema=schema)


def _row_numbers(begins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers in runs of rising numbers, one run after the other.

    >>> _row_numbers(np.array([7, 0]), np.array([2, 3]))
    array([7, 8, 0, 1, 2])
    """
    ends = np.cumsum(counts)
    numbers = np.repeat(begins - (ends - counts), counts)
    numbers += np.arange(len(numbers))
    return numbers


def _gathered(snapshot: Snapshot, positions: list[int], runs: np.ndarray) -> list[pa.RecordBatch]:
    """A copy of the rows of short runs, in their order."""
    # Parts of segments are viewed that the runs fill but for small gaps, so that no block is checked in vain.
    order = np.lexsort((runs["begin"], runs["segment"]))
    segments, begins, ends = (field[order] for field in (runs["segment"], runs["begin"], runs["begin"] + runs["count"]))
    is_first = np.ones(len(runs), bool)
    is_first[1:] = (segments[1:] != segments[:-1]) | (begins[1:] - ends[:-1] > _LONG_RUN)
    firsts = np.flatnonzero(is_first)
    part_begins, part_ends = begins[firsts], np.maximum.reduceat(ends, firsts)
    parts = [
        export_batch(snapshot, segment, positions, begin, end)
        for segment, begin, end in zip(segments[firsts].tolist(), part_begins.tolist(), part_ends.tolist(), strict=True)
    ]
    sizes = part_ends - part_begins
    shifts = np.cumsum(sizes) - sizes - part_begins  # from a row of a segment to one of all parts
    places = np.empty(len(runs), np.int64)
    places[order] = begins + shifts[np.cumsum(is_first) - 1]
    rows = pa.Table.from_batches(parts).take(pa.array(_row_numbers(places, runs["count"])))
    return rows.to_batches()


def in_scratch(make: Callable[[str], Snapshot]) -> Snapshot:
    """A version that needs files for a moment: in memory, or on the disk where there is no room for them."""
    try:
        with tempfile.TemporaryDirectory(prefix="gridflow-", dir=temporary_root()) as folder:
            return make(folder)
    except (GridFullError, OSError) as error:
        if error.errno != errno.ENOSPC:
            raise
    with tempfile.TemporaryDirectory(prefix="gridflow-") as folder:
        return make(folder)
