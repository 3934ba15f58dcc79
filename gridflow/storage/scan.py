"""Reading a version of a table from end to end, as Arrow data that views its mapped segments."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from ..config import MAX_PARTITIONS, temporary_root
from ..errors import GridFullError
from ..schema import Schema
from .arrow import live_batches, user_schema

if TYPE_CHECKING:
    from .._native.snapshot import Snapshot


def positions_of(schema: Schema, columns: Iterable[str] | None) -> list[int]:
    """Where these columns stand in the schema; None: all of them.

    Raises:
        ColumnNotFound: there is no such column.
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
        live = snapshot.live(segment)
        for first, last in ranges:
            begin, end = snapshot.partition_rows(segment, first, last)
            for batch in live_batches(snapshot, segment, live, positions, begin, end):
                for start in range(0, batch.num_rows, batch_size):
                    yield batch.slice(start, batch_size)


def whole_table(snapshot: Snapshot, columns: Iterable[str] | None) -> pa.Table:
    """All live rows as one Arrow table; its schema is that of users (``storage.arrow.user_schema``)."""
    schema = snapshot.schema
    positions = positions_of(schema, columns)
    batches = scan_batches(snapshot, positions, [(0, MAX_PARTITIONS + 1)], 1 << 62)
    return pa.Table.from_batches(batches, schema=user_schema([schema.columns[i] for i in positions]))


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
