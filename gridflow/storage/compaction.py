"""Which segments to merge: size tiers, as in log-structured stores.

Segments are merged when ``FAN_IN`` of about the same size have come together, so a row is rewritten a number of times
that is the logarithm of the table's size; and alone, when half of a segment's rows are deleted. A merge reads at most
``MOST_BYTES``. Source: P. O'Neil et al., "The log-structured merge-tree", 1996, in its tiered form.
"""

from __future__ import annotations

FAN_IN = 8
MOST_BYTES = 512 << 20
_SMALLEST = 64 << 10  # all below count as one tier


def tier(size: int) -> int:
    """The tier of a segment of ``size`` bytes: each holds sizes four times those of the one before."""
    return max(0, (max(size, 1) // _SMALLEST).bit_length() + 1) // 2


def choose(segments: list[tuple[int, int, int, int]]) -> list[int]:
    """The indexes of the segments to merge next; empty if there is nothing to do.

    Args:
        segments: (id, rows, deleted rows, bytes) of each, as ``Snapshot.segments`` gives them.
    """
    tiers: dict[int, list[int]] = {}
    for index, (_, rows, deleted, size) in enumerate(segments):
        live = int(size * (rows - deleted) / rows)
        if live <= MOST_BYTES // 2:
            tiers.setdefault(tier(live), []).append(index)
    for _, indexes in sorted(tiers.items()):
        if len(indexes) >= FAN_IN:
            chosen: list[int] = []
            total = 0
            for index in indexes:
                if total + segments[index][3] > MOST_BYTES and len(chosen) >= 2:
                    break
                chosen.append(index)
                total += segments[index][3]
            return chosen
    for index, (_, rows, deleted, _size) in enumerate(segments):
        if 2 * deleted >= rows:
            return [index]
    return []
