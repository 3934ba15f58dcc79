"""Rows of a version as they are mapped, deleted ones among them: what an engine reads, which leaves those out itself.

Which rows are deleted goes to the engine as a column more, ``DELETED``, whose validity is the mapped deletion bitmap:
it is null where a row is live. So ``WHERE "gridflow deleted" IS NULL`` is a test of mapped bits, and no row is copied
and no bit unpacked for it. Stretches of rows without a deleted one do without the test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .._native.snapshot import Snapshot
from .arrow import deleted_column, export_batch, user_schema
from .scan import positions_of

#: The name of the column that is null where a row is live.
DELETED = "gridflow deleted"
#: The name of the column that says where a row lies: the index of its segment, and in the lower ``ROW_BITS`` its row.
ADDRESS = "gridflow address"
ROW_BITS = 32

#: Rows [begin, end) of a segment; ``begin`` is a multiple of 8, so that the bits of the bitmap need no shifting.
Range = tuple[int, int]

#: Stretches are told apart by so many rows; coarser where there would be more than ``_MOST_STRETCHES`` otherwise.
_GRAINS = (1024, 8192, 65536)
_MOST_STRETCHES = 32
#: A range of so few rows is one stretch.
_SHORT = 8192
#: So few rows and bytes are copied without the deleted ones rather than tested.
_COPIED_ROWS, _COPIED_BYTES = 65536, 8 << 20


@dataclass(frozen=True)
class MappedRows:
    """Rows of a version of a table.

    Attributes:
        live: rows that are all live.
        mixed: others, of which some are deleted, with a last column ``DELETED``; None if there are none.
    """

    live: pa.Table
    mixed: pa.Table | None = None

    @property
    def size(self) -> int:
        """How many rows there are, deleted ones too."""
        return self.live.num_rows + (0 if self.mixed is None else self.mixed.num_rows)

    def compact(self) -> pa.Table:
        """The rows that are live; those of ``mixed`` are copied."""
        if self.mixed is None:
            return self.live
        live = self.mixed.filter(self.mixed.column(DELETED).is_null()).drop_columns(DELETED)
        return pa.concat_tables([self.live, live])

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of all rows, deleted ones too: first those of ``live``, then those of ``mixed``."""
        parts = [self.live.column(name)] + ([] if self.mixed is None else [self.mixed.column(name)])
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)


def mapped_rows(
    snapshot: Snapshot,
    columns: Iterable[str] | None,
    ranges: Sequence[Sequence[Range]] | None = None,
    *,
    addressed: bool = False,
) -> MappedRows:
    """Rows of a version, as views.

    Args:
        snapshot: the version.
        columns: which; None for all.
        ranges: for each segment, which rows; they rise and do not overlap. None: all.
        addressed: whether to add a column ``ADDRESS``, which says where each row lies.

    Raises:
        ColumnNotFoundError: there is no such column.
        GridCorruptError: a block that the rows lie in is damaged.
    """
    positions = positions_of(snapshot.schema, columns)
    schema = user_schema([snapshot.schema.columns[i] for i in positions])
    # In four bytes if those do, which is half the work of eight.
    address_type = np.uint32 if len(snapshot.segments()) <= 1 else np.int64
    if addressed:
        schema = schema.append(pa.field(ADDRESS, pa.from_numpy_dtype(address_type)))
    tested = schema.append(pa.field(DELETED, pa.int8()))
    live: list[pa.RecordBatch] = []
    mixed: list[pa.RecordBatch] = []
    for segment, (_, rows, _, _) in enumerate(snapshot.segments()):
        wanted = [(0, rows)] if ranges is None else ranges[segment]
        if not wanted:
            continue
        gone = deleted_column(snapshot, segment)
        for part in _parts(wanted):
            begin, end = part[0][0], part[-1][1]
            batch = export_batch(snapshot, segment, positions, begin, end)
            if addressed:
                first_address = segment << ROW_BITS
                addresses = np.arange(first_address + begin, first_address + end, dtype=address_type)
                batch = pa.RecordBatch.from_arrays([*batch.columns, pa.array(addresses)], schema=schema)
            if gone is None:
                live += [batch.slice(first - begin, last - first) for first, last in part]
                continue
            both = pa.RecordBatch.from_arrays([*batch.columns, gone.slice(begin, end - begin)], schema=tested)
            for first, last in part:
                for start, stop, is_mixed in _stretches(gone, first, last):
                    pieces, source = (mixed, both) if is_mixed else (live, batch)
                    pieces.append(source.slice(start - begin, stop - start))
    rows_of = MappedRows(pa.Table.from_batches(live, schema), pa.Table.from_batches(mixed, tested) if mixed else None)
    if rows_of.mixed is not None and rows_of.mixed.num_rows <= _COPIED_ROWS and rows_of.mixed.nbytes <= _COPIED_BYTES:
        return MappedRows(rows_of.compact())
    return rows_of


_NEAR = 16384  # rows between ranges that are exported as one: about what a block whose checksum is looked at has


def _parts(ranges: Sequence[Range]) -> Iterator[Sequence[Range]]:
    """The ranges, those that are near one another together."""
    start = 0
    for i in range(1, len(ranges)):
        if ranges[i][0] - ranges[i - 1][1] > _NEAR:
            yield ranges[start:i]
            start = i
    yield ranges[start:]


def _stretches(gone: pa.Array, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Rows [begin, end) as (begin, end, whether there are deleted ones)."""
    bits = np.frombuffer(gone.buffers()[0], np.uint8)[begin // 8 : -(-end // 8)]
    if end % 8:  # bits of rows behind the end
        bits = np.append(bits[:-1], bits[-1] & np.uint8((1 << end % 8) - 1))
    if end - begin <= _SHORT:
        yield begin, end, bool(bits.any())
        return
    for grain in _GRAINS:
        step = grain // 8
        whole = len(bits) // step * step
        has = bits[:whole].reshape(-1, step).max(axis=1, initial=0) > 0
        if whole < len(bits):
            has = np.append(has, bits[whole:].any())
        edges = np.flatnonzero(has[1:] != has[:-1]) + 1
        if len(edges) < _MOST_STRETCHES:
            starts = [0, *(edges * grain).tolist()]
            for start, stop in zip(starts, [*starts[1:], end - begin], strict=True):
                yield begin + start, begin + stop, bool(has[start // grain])
            return
    yield begin, end, True
