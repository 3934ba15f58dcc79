"""Which rows of a version a query can need, by its zone maps or by its keys: what it need not read is left out.

What is left may be too much and is never too little: the engine applies the query's conditions and orders to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

from .._native.snapshot import Snapshot
from ..schema import Column
from .index_keys import Interval, key_dtype
from .index_rows import NumberedRows
from .mapped_rows import MappedRows, Range, mapped_rows
from .ranks import is_exact, rank_of, ranks_of
from .zone_file import ZoneFile, Zones

#: To read rows in a range of their own takes as long as to read so many rows more in another.
_RANGE_COST = 8192
#: What costs more than this share of a scan is not worth it.
_MOST_SHARE = 0.5


#: More of a column are looked at as one, from the first to the last.
_MOST_INTERVALS = 16


class ZoneMaps(Protocol):
    """The zone maps of a table: ``table_zones.TableZones``."""

    def of(self, snapshot: Snapshot, segment: int) -> ZoneFile | None:
        """That of a segment; None if there is none."""


@dataclass(frozen=True)
class ZoneRows:
    """Zones of one version of a table.

    Attributes:
        ranges: of each segment, the rows; deleted ones are among them.
        bound: where they are the first in one order, the rank below which all other rows are: see ``are_first``.
    """

    ranges: Sequence[Sequence[Range]]
    _snapshot: Snapshot
    bound: int = 0

    @property
    def size(self) -> int:
        """How many rows there are, deleted ones too."""
        return sum(end - begin for ranges in self.ranges for begin, end in ranges)

    @property
    def total(self) -> int:
        """How many rows the version has."""
        return self._snapshot.rows

    def _mapped(self, columns: Sequence[str]) -> MappedRows:
        """These columns of the rows, as they are mapped."""
        return mapped_rows(self._snapshot, columns, self.ranges)

    def take(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the live rows."""
        return self._mapped(columns).compact()


def zone_rows(
    snapshot: Snapshot, files: Sequence[ZoneFile | None], wanted: Sequence[np.ndarray | None]
) -> ZoneRows | None:
    """Some zones of a version; None if a scan would be as good.

    Args:
        snapshot: the version.
        files: the zone map of each segment; all of one without is read.
        wanted: of each segment, which zones, bool[zones]; None for all.
    """
    ranges: list[list[Range]] = []
    for (_, rows, _, _), file, zones in zip(snapshot.segments(), files, wanted, strict=True):
        if file is None or zones is None:
            ranges.append([(0, rows)])
            continue
        edges = np.flatnonzero(np.diff(zones.view(np.int8), prepend=0, append=0)) * file.zone_rows
        ranges.append([(begin, min(end, rows)) for begin, end in edges.reshape(-1, 2).tolist()])
    result = ZoneRows(ranges, snapshot)
    total = sum(rows for _, rows, _, _ in snapshot.segments())
    cost = result.size + _RANGE_COST * sum(map(len, ranges))
    return result if cost <= _MOST_SHARE * total else None


@dataclass(frozen=True)
class ByIntervals:
    """The zones in which each of some columns may have a value in one of its intervals."""

    conditions: tuple[tuple[Column, tuple[Interval, ...]], ...]

    def find(self, snapshot: Snapshot, zones: ZoneMaps) -> ZoneRows | None:
        """Those zones of a version; None if a scan would be as good."""
        files = [zones.of(snapshot, segment) for segment in range(len(snapshot.segments()))]
        if not any(files):
            return None
        return zone_rows(snapshot, files, [None if file is None else self._wanted(file) for file in files])

    def _wanted(self, file: ZoneFile) -> np.ndarray:
        wanted = np.ones(file.zones, bool)
        for column, intervals in self.conditions:
            known = file.column(column.id)
            if known is not None:
                few = intervals if len(intervals) <= _MOST_INTERVALS else [_hull(intervals)]
                wanted &= np.logical_or.reduce([_may_have(known, column, each) for each in few], initial=False)
        return wanted


def _hull(intervals: Sequence[Interval]) -> Interval:
    """One interval in which all of some are, of which none is that of the nulls."""
    lows, highs = [each.low for each in intervals], [each.high for each in intervals]
    low = None if None in lows else min(lows)  # type: ignore[type-var]
    return Interval(low, None if None in highs else max(highs))  # type: ignore[type-var]


def _may_have(zones: Zones, column: Column, interval: Interval) -> np.ndarray:
    """Which zones may have a value in an interval, bool[zones]."""
    if interval.null:
        return zones.nulls > 0
    wanted = zones.least <= zones.most  # not all are null
    if interval.low is not None:
        wanted &= zones.most >= np.uint64(rank_of(interval.low, column.type))
    if interval.high is not None:
        wanted &= zones.least <= np.uint64(rank_of(interval.high, column.type))
    return wanted


@dataclass(frozen=True)
class ByKeyRange:
    """The rows of a table whose only key column has whole numbers or dates, under the keys from one to another.

    Each key is looked up, as their order is not that of the rows.

    Attributes:
        column: the key column.
        low, high: the first and the last key.
        exact: whether the query wants them all.
    """

    column: Column
    low: int
    high: int
    exact: bool

    def find(self, snapshot: Snapshot, zones: ZoneMaps) -> NumberedRows | None:
        """Those rows of a version; None if a scan would be as good."""
        count = self.high - self.low + 1
        segments = snapshot.segments()
        if count * len(segments) > _LOOKUPS + snapshot.rows // _ROWS_FOR_A_LOOKUP:
            return None
        dtype = key_dtype(self.column.type)
        assert dtype is not None  # it has whole numbers
        # Sums of unsigned numbers wrap as those of signed ones do.
        keys = (np.arange(count, dtype=np.uint64) + np.uint64(self.low % (1 << 64))).astype(dtype.str.replace("i", "u"))
        found, rows = snapshot.find(keys.view(np.uint8).reshape(count, dtype.itemsize))
        parts = [(segment, np.sort(rows[found == segment])) for segment in range(len(segments))]
        return NumberedRows(self.exact, snapshot, [(segment, rows) for segment, rows in parts if len(rows)])


#: A lookup of a key in a segment takes as long as to scan so many rows; and so many are worth it in any table.
_ROWS_FOR_A_LOOKUP = 64
_LOOKUPS = 1000


@dataclass(frozen=True)
class Extreme:
    """The first rows of a table in the order of a column.

    Attributes:
        column: the column.
        greatest: whether the greatest values come first; else the least.
        count: how many rows, from 1.
        ties: whether rows whose values equal the last one's are needed, too, as another column orders them.
        nulls_first: whether nulls come before all values. Otherwise rows without a value are not needed.
    """

    column: Column
    greatest: bool
    count: int
    ties: bool = False
    nulls_first: bool = False


@dataclass(frozen=True)
class ByExtremes:
    """The zones in which the first rows are in each of some orders."""

    extremes: tuple[Extreme, ...]

    def find(self, snapshot: Snapshot, zones: ZoneMaps) -> ZoneRows | None:
        """Those zones of a version; None if a scan would be as good."""
        files = [zones.of(snapshot, segment) for segment in range(len(snapshot.segments()))]
        if not any(files):
            return None
        wanted = [None if file is None else np.zeros(file.zones, bool) for file in files]
        bound = 0
        for extreme in self.extremes:
            lower = _mark(snapshot, files, extreme, wanted)
            if lower is None:
                return None
            bound = lower
        rows = zone_rows(snapshot, files, wanted)
        return None if rows is None else replace(rows, bound=bound)


def are_first(rows: ZoneRows, extreme: Extreme, last: pa.Array) -> bool:
    """Whether a row of some zones comes before all rows that are in others, in an order that counts ties.

    Args:
        rows: the zones, as found for the order.
        extreme: the order.
        last: the row's value, an array of it alone.
    """
    assert extreme.ties, "else rows of other zones may be equal"
    ranks, valid = ranks_of(last, extreme.column.type)
    if valid is not None and not valid[0]:
        return extreme.nulls_first  # then all zones with nulls are among these
    return int(ranks[0] if extreme.greatest else ~ranks[0]) >= rows.bound


def _mark(
    snapshot: Snapshot, files: Sequence[ZoneFile | None], extreme: Extreme, wanted: Sequence[np.ndarray | None]
) -> int | None:
    """Mark the zones that an order needs; returns the rank below which all rows of others are, with the first rows of
    the order having the greatest ranks. None if there are too few rows in zones to tell.

    A zone's greatest value is that of a row which is known. So if that row is live in ``count`` zones, there are as
    many rows from the least of these values on, and no zone of lesser values is needed.
    """
    edges, live, places = [], [], []
    for segment, (file, marks) in enumerate(zip(files, wanted, strict=True)):
        known = None if file is None else file.column(extreme.column.id)
        if file is None or marks is None:
            continue
        if known is None:
            marks[:] = True
            continue
        if extreme.nulls_first:
            marks |= known.nulls > 0
        has_values = np.flatnonzero(known.least <= known.most)
        ranks, rows = (known.most, known.most_row) if extreme.greatest else (~known.least, known.least_row)
        edge_rows = (has_values * file.zone_rows + rows[has_values]).astype(np.uint32)
        is_live = snapshot.still_live(segment, edge_rows)
        edges.append(ranks[has_values])
        live.append(np.ones(len(has_values), bool) if is_live is None else is_live)
        places.append((marks, has_values))
    if not edges:
        return None
    every, is_live = np.concatenate(edges), np.concatenate(live)
    sure = np.flatnonzero(is_live)
    if len(sure) < extreme.count:
        return None
    first = sure[np.argpartition(every[sure], len(sure) - extreme.count)[len(sure) - extreme.count :]]
    least = every[first].min()
    chosen = every >= least if extreme.ties or not is_exact(extreme.column.type) else every > least
    chosen[first] = True
    begin = 0
    for marks, zones in places:
        marks[zones] |= chosen[begin : begin + len(zones)]
        begin += len(zones)
    return int(least)
