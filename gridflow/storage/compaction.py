"""Merges: which segments become one, and how.

Small segments are few already: a flush or a load that would add one to ``MOST_SMALL`` others takes some of them over
(``core/small_segments.h``). What is left to do here, in the background:

* segments are merged when ``FAN_IN`` of a tier have come together; each tier holds sizes four times those of the one
  before. So there are at most ``FAN_IN - 1`` segments in a tier, and a row is moved once for each tier that it passes:
  the logarithm of the table's size. P. O'Neil et al., "The log-structured merge-tree", 1996, in its tiered form;
* once nobody has written the table for a while, two of a tier are enough, so a table at rest has one segment in a tier;
* a segment is rewritten alone when its live rows, which that moves, are at most ``MOST_LIVE`` times those that were
  deleted: so each row that is deleted has at most so many moved.

A merge reads at most ``most_bytes`` and ``MOST_ROWS``: it needs as much room again until it is done, and 16 bytes of
memory a row. Segments of more than half of that are as large as they get.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from .._native.merge import Merge
from .._native.store import MOST_SMALL, Store
from .._native.table_versions import TableVersions

FAN_IN = 4
FAN_IN_AT_REST = 2
MOST_LIVE = 3
MOST_ROWS = 32 << 20
#: A merge may read so many bytes, and no more than this part of what is free: what it writes must have room beside the
#: writers, and so must what a user rewrites later to make room.
MOST_BYTES = 8 << 30
_PART_OF_FREE = 8
#: Bytes of live rows below which all segments are of tier 0.
_SMALLEST = 1 << 20

#: Whoever ends merges looks again after that: another may have begun just then.
_SECONDS_BETWEEN_STOPS = 0.05

#: (id, rows, deleted rows, bytes), as ``Snapshot.segments`` gives it.
Segment = tuple[int, int, int, int]
Choice = Callable[[list[Segment]], list[int]]


def most_bytes(free: int) -> int:
    """How much a merge may read where so many bytes are free.

    >>> [most_bytes(gib << 30) >> 20 for gib in (1, 16, 1000)]
    [128, 2048, 8192]
    """
    return min(MOST_BYTES, free // _PART_OF_FREE)


def tier(size: int) -> int:
    """The tier of a segment of ``size`` bytes of live rows.

    >>> [tier(mib << 20) for mib in (0, 1, 3, 4, 15, 16, 64)]
    [0, 1, 1, 2, 2, 3, 4]
    """
    return ((size // _SMALLEST).bit_length() + 1) // 2


def live_bytes(segment: Segment) -> int:
    """About the bytes of a segment's live rows."""
    _, rows, deleted, size = segment
    return size * (rows - deleted) // rows


def tiers(segments: list[Segment], most: int) -> dict[int, list[int]]:
    """Which segments are in which tier, without those that are as large as they get; the lowest tier first."""
    result: dict[int, list[int]] = {}
    for index, segment in enumerate(segments):
        if live_bytes(segment) <= most // 2 and segment[1] - segment[2] <= MOST_ROWS // 2:
            result.setdefault(tier(live_bytes(segment)), []).append(index)
    return dict(sorted(result.items()))


def choose(segments: list[Segment], *, at_rest: bool = False, most: int = MOST_BYTES) -> list[int]:
    """The positions of the segments to merge next; empty if there is nothing to do: the table is settled.

    Args:
        segments: of the table.
        at_rest: whether nobody has written it for a while.
        most: how many bytes may be read.
    """
    for number, positions in tiers(segments, most).items():
        fan_in = FAN_IN_AT_REST if at_rest else FAN_IN if number else MOST_SMALL + 1
        if len(positions) >= fan_in:
            chosen: list[int] = []
            size = rows = 0
            for index in sorted(positions, key=lambda position: live_bytes(segments[position])):
                size += live_bytes(segments[index])
                rows += segments[index][1] - segments[index][2]
                if size > most or rows > MOST_ROWS:
                    break  # two fit in any case
                chosen.append(index)
            return sorted(chosen)
    for index, segment in enumerate(segments):
        _, rows, deleted, _ = segment
        if MOST_LIVE * deleted >= rows - deleted and deleted and live_bytes(segment) <= _PART_OF_FREE // 2 * most:
            return [index]
    return []


def most_segments(size: int, most: int = MOST_BYTES) -> int:
    """How many segments a table of so many bytes has at most once it is settled, if none has many deleted rows.

    ``MOST_SMALL`` small ones, ``FAN_IN - 1`` in each tier, and those that are as large as they get.

    >>> [most_segments(mib << 20) for mib in (1, 100, 1000)]
    [11, 20, 23]
    """
    largest = size // (most // 2)
    return MOST_SMALL + (FAN_IN - 1) * tier(min(size, most // 2)) + largest


def merge(table: TableVersions, choice: Choice, *, yielding: bool = False) -> bool:
    """Merge segments of a table's current version, while others read and write it.

    Args:
        table: the table.
        choice: which segments; see ``choose``.
        yielding: whether to leave processor and disk to whoever else wants them.

    Returns:
        Whether there is a new version.

    Raises:
        GridFullError: there is no room for what is moved; nothing has changed.
        GridCorruptError: a segment is damaged.
        UsageError: this very thread is writing the table.
    """
    table._check_mergeable()
    with table.merging:
        snapshot = table.snapshot()
        segments = snapshot.segments()
        chosen = choice(segments)
        if not chosen:
            return False
        if yielding:  # nobody has asked for it: it must not take the room of those who write
            table.store.check_room(sum(live_bytes(segments[index]) for index in chosen))
        with Merge(table, snapshot, chosen, yielding) as under_way:
            return under_way.run() and under_way.publish()


@contextmanager
def no_merge(table: TableVersions) -> Iterator[None]:
    """Ends the merge of a table that is under way, without effect, and keeps others out."""
    while True:
        table._stop_merge()
        if table.merging.acquire(timeout=_SECONDS_BETWEEN_STOPS):
            break
    try:
        yield
    finally:
        table.merging.release()


def settle(table: TableVersions, at_rest: bool, stopping: Callable[[], bool]) -> None:
    """Merge while there is something worth it, and nobody says that it is time to stop."""
    while not stopping():
        choice = partial(choose, at_rest=at_rest, most=most_bytes(free_bytes(table.store)))
        if not merge(table, choice, yielding=True):
            return


def free_bytes(store: Store) -> int:
    """How many bytes are free on the grid's file system."""
    room = os.statvfs(store.home)
    return room.f_bavail * room.f_frsize
