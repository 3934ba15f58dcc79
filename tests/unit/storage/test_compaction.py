"""Which segments are merged, what stays true of a table while that is done, and what it costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from many_segments import separate_segments

import gridflow
import gridflow.testing
from gridflow import GridClosedError, GridCorruptError, TableNotFoundError, UsageError
from gridflow._native.merge import Merge
from gridflow._native.store import DEFAULT_SMALL_BYTES, MOST_SMALL
from gridflow.storage import compaction
from gridflow.storage.compaction import FAN_IN, MOST_LIVE, Segment, choose, live_bytes, most_segments, tier, tiers

MIB = 1 << 20
MOST = 512 * MIB  # as where 4 GiB are free

#: Segments of 1 KiB to 1 GiB, with rows of 100 bytes to 150 KB.
SEGMENTS = st.lists(
    st.tuples(st.floats(10, 30), st.sampled_from([100, 800, 150_000]), st.integers(0, 9)).map(
        lambda drawn: segment(int(2 ** drawn[0]), drawn[1], drawn[2] / 10)
    ),
    max_size=60,
)


def segment(size: int, row: int = 100, deleted: float = 0.0) -> Segment:
    rows = max(1, size // row)
    return (0, rows, int(rows * deleted), size)


def merged(segments: list[Segment], chosen: list[int]) -> list[Segment]:
    """What is there after a merge."""
    rows = sum(segments[i][1] - segments[i][2] for i in chosen)
    size = sum(live_bytes(segments[i]) for i in chosen)
    return [s for i, s in enumerate(segments) if i not in chosen] + ([(0, rows, 0, size)] if rows else [])


def settled(segments: list[Segment], at_rest: bool = False) -> tuple[list[Segment], int]:
    """What is there when nothing is left to do, and how many bytes were moved until then."""
    moved = 0
    while chosen := choose(segments, at_rest=at_rest, most=MOST):
        moved += sum(live_bytes(segments[i]) for i in chosen)
        segments = merged(segments, chosen)
    return segments, moved


# ---- the rules ----


@given(SEGMENTS, st.booleans())
def test_a_merge_keeps_within_its_bounds(segments, at_rest):
    for _ in range(100):
        chosen = choose(segments, at_rest=at_rest, most=MOST)
        if not chosen:
            break
        assert sum(live_bytes(segments[i]) for i in chosen) <= (MOST if len(chosen) > 1 else 4 * MOST)
        assert len(chosen) == 1 or sum(segments[i][1] - segments[i][2] for i in chosen) <= compaction.MOST_ROWS
        if len(chosen) == 1:
            _, rows, deleted, _ = segments[chosen[0]]
            assert 0 < rows - deleted <= MOST_LIVE * deleted or rows == deleted
        segments = merged(segments, chosen)
    else:
        raise AssertionError("it never ends")


@given(SEGMENTS)
def test_a_settled_table_has_few_segments(segments):
    segments, _ = settled(segments)
    by_tier = tiers(segments, MOST)
    assert len(by_tier.get(0, [])) <= MOST_SMALL
    assert all(len(positions) < FAN_IN for number, positions in by_tier.items() if number)
    size = sum(live_bytes(one) for one in segments)
    full = [one for one in segments if live_bytes(one) > MOST // 2 or one[1] - one[2] > compaction.MOST_ROWS // 2]
    assert len(segments) - len(full) <= most_segments(min(size, MOST // 2 - 1), MOST)


@given(SEGMENTS)
def test_a_table_at_rest_has_one_segment_in_a_tier(segments):
    segments, _ = settled(segments, at_rest=True)
    assert all(len(positions) == 1 for positions in tiers(segments, MOST).values())


@given(st.lists(st.integers(1, 40), min_size=1, max_size=300))
def test_a_row_is_moved_once_for_each_tier(sizes):
    """Loads of 1 to 40 MiB, each settled before the next one comes."""
    segments: list[Segment] = []
    added = moved = 0
    for size in sizes:
        added += size * MIB
        segments, more = settled([*segments, segment(size * MIB)])
        moved += more
        assert len(segments) <= most_segments(added, MOST)
    assert moved <= added * tier(min(added, MOST))


@given(st.integers(1, 1000))
def test_where_there_is_room_large_rows_become_long_runs(parts):
    """30 loads of 1 GiB of rows of 150 KB: too large to be merged in little room, a few segments in much."""
    loads = [segment(1 << 30, 150_000)] * min(parts, 30)
    assert settled(loads)[0] == loads
    segments = loads
    while chosen := choose(segments, at_rest=True, most=compaction.most_bytes(1000 << 30)):
        segments = merged(segments, chosen)
    assert len(segments) <= 2 + len(loads) // 4


# ---- what is there to be seen ----


def rows_of(table: gridflow.Table) -> dict[int, int]:
    found = table.to_arrow(["ID", "X"]).to_pydict()
    assert len(set(found["ID"])) == len(found["ID"])
    return dict(zip(found["ID"], found["X"], strict=True))


@pytest.fixture
def table(grid: gridflow.Grid) -> gridflow.Table:
    return grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")


PARTS = MOST_SMALL


def load_parts(grid: gridflow.Grid, count: int) -> gridflow.Table:
    """Segments of 100 rows; X is 0."""
    table = grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")
    for part in range(count):
        table.load({"ID": np.arange(part * 100, part * 100 + 100), "X": np.zeros(100, int)})
    assert len(table.snapshot().segments()) == count
    return table


@pytest.fixture
def parts(home: Path) -> Iterator[gridflow.Table]:
    """A table of as many segments as the background leaves alone."""
    with separate_segments(), gridflow.testing.verified(home) as grid:
        yield load_parts(grid, PARTS)


def test_a_thousand_commits_leave_few_segments(table):
    most = 0
    for i in range(1000):
        table.put_all((i * 10 + j, {"X": i}) for j in range(10))
        table.flush()
        most = max(most, len(table.snapshot().segments()))
    assert most <= MOST_SMALL and len(table) == 10_000
    stats = table.stats()
    assert stats["bytes"] < DEFAULT_SMALL_BYTES, "so all of it is the work of flushes"
    assert stats["moved_bytes"] < 10 * stats["added_bytes"]


def test_what_is_written_while_a_merge_runs_is_not_lost(parts):
    expected = rows_of(parts)
    snapshot = parts.snapshot()
    with parts.merging, Merge(parts, snapshot, list(range(PARTS))) as merge:
        parts.put(5, {"X": 1})
        parts.remove(105)
        parts.flush()
        assert merge.run()
        parts.put(6, {"X": 2})
        parts.load({"ID": [7, 5000], "X": [3, 3]}, on_duplicate="replace")
        parts.remove(705)
        parts.flush()
        parts.put(8, {"X": 4})  # in memory still
        assert merge.publish()
    expected |= {5: 1, 6: 2, 7: 3, 5000: 3, 8: 4}
    del expected[105], expected[705]
    assert parts.get(8) == {"X": 4} and parts.get(6) == {"X": 2} and parts.get(105) is None
    assert rows_of(parts) == expected
    assert max(rows for _, rows, _, _ in parts.snapshot().segments()) == 100 * PARTS, "deleted ones among them"


def test_a_merge_of_what_is_gone_has_no_effect(parts):
    with parts.merging, Merge(parts, parts.snapshot(), list(range(PARTS))) as merge:
        assert merge.run()
        parts.truncate()
        version = parts.version()
        assert not merge.publish()
    assert parts.version() == version and len(parts) == 0
    assert gridflow.testing.stray_files(parts.grid.home) == []


def test_columns_may_change_while_a_merge_runs(parts):
    with parts.merging, Merge(parts, parts.snapshot(), list(range(PARTS))) as merge:
        assert merge.run()
        parts.grid.alter_table("T", add={"Y": "INT"}, fill={"Y": 7})
        assert merge.publish()
    assert parts.get(5) == {"X": 0, "Y": 7} and len(parts.snapshot().segments()) == 1


def test_a_table_that_is_dropped_ends_its_merge(parts):
    def drop() -> None:
        parts.grid.drop_table("T")

    thread = threading.Thread(target=drop)
    with parts.merging, Merge(parts, parts.snapshot(), list(range(PARTS))) as merge:
        thread.start()
        while merge.run():
            pass
    thread.join()
    with pytest.raises(TableNotFoundError):
        parts.compact()


def test_a_grid_that_closes_ends_its_merges(parts):
    home = parts.grid.home
    thread = threading.Thread(target=parts.grid.close)
    with parts.merging, Merge(parts, parts.snapshot(), list(range(PARTS))) as merge:
        thread.start()
        while merge.run():
            pass
    thread.join()
    with pytest.raises(GridClosedError):
        parts.compact()
    assert gridflow.testing.stray_files(home) == []


def test_who_writes_a_table_cannot_merge_it_meanwhile(parts):
    with parts.edit(), pytest.raises(UsageError, match="cannot merge meanwhile"):
        parts.compact()
    parts.compact()
    assert len(parts.snapshot().segments()) == 1


def test_a_damaged_segment_is_not_merged(home: Path):
    with separate_segments(), gridflow.connect(home) as grid:
        path = load_parts(grid, 3).snapshot().path(1)
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).write_bytes(bytes(data))
    with gridflow.connect(home) as grid:
        version = grid.table("T").version()
        with pytest.raises(GridCorruptError):
            grid.table("T").compact()
        assert grid.table("T").version() == version
        ids = np.arange(1000, 2000)  # so many that all three would be taken over
        grid.table("T").load({"ID": ids, "X": ids})
        sizes = [rows for _, rows, _, _ in grid.table("T").snapshot().segments()]
        assert sorted(sizes) == [100, 1200], "it keeps nobody from writing"
        assert grid.table("T").get(1500) == {"X": 1500}


def test_many_deleted_rows_have_a_segment_rewritten(table):
    table.load({"ID": np.arange(100_000), "X": np.zeros(100_000, int)})
    table.remove_all(range(20_000))
    table.flush()
    table._merge_some(False, lambda: False)
    assert table.stats()["deleted"] == 20_000, "to move 80,000 rows for 20,000 is too much"
    table.remove_all(range(20_000, 25_000))
    table.flush()
    table._merge_some(False, lambda: False)
    assert table.stats()["deleted"] == 0 and len(table) == 75_000


def test_metrics_say_what_was_moved(grid, table):
    for i in range(20):
        table.put(i, {"X": i})
        table.flush()
    table.remove(3)
    table.compact()
    found = {row["NAME"]: row["VALUE"] for row in grid.system_view("METRICS").to_pylist()}
    stats = table.stats()
    assert found["grid.AddedBytes"] == stats["added_bytes"] > 0
    assert found["grid.MovedBytes"] == stats["moved_bytes"] > 0
    assert found["grid.BitmapBytes"] == stats["bitmap_bytes"] > 0
