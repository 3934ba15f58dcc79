"""Datasets that follow their table: rows come as they are committed, each once, until it is enough."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

import gridflow
from gridflow import UsageError


@pytest.fixture
def events(grid):
    table = grid.create_table("EVENTS", {"ID": "LONG", "V": "INT", "XS": "LIST<INT>"}, key="ID")
    table.put_all((i, {"V": i, "XS": [i] * (i % 3)}) for i in range(10))
    return table


def in_background(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_rows_come_as_they_are_written(events):
    rows = gridflow.Dataset(events, follow=True, columns=["V"])
    seen = {}
    for row in rows:
        key, value = int(row["key"]), int(row["val"]["V"])
        assert key not in seen
        seen[key] = value
        if len(seen) in (10, 20, 30):  # one by one, as a load, and merged before they are seen
            start = len(seen)
            if start == 10:
                for i in range(start, start + 10):
                    events.put(i, {"V": i})
            else:
                ids = np.arange(start, start + 10)
                events.load({"ID": ids, "V": ids, "XS": [[1]] * 10})
                if start == 30:
                    events.remove(0)
                    events.compact()
        if len(seen) == 40:
            rows.stop()
    assert seen == {i: i for i in range(40)}


def test_changed_rows_come_again(events):
    rows = gridflow.Dataset(events, follow=True, columns=["V"], batch_size=5)
    seen = []
    for batch in rows:
        seen += zip(batch["key"].numpy().tolist(), batch["val"]["V"].numpy().tolist(), strict=True)
        if len(seen) == 10:
            events.put_all({i: {"V": i + 100} for i in range(5)})
        if len(seen) == 15:
            rows.stop()
    assert sorted(seen[:10]) == [(i, i) for i in range(10)] and sorted(seen[10:]) == [(i, i + 100) for i in range(5)]


def test_a_batch_fills_up_with_what_comes(events):
    rows = gridflow.Dataset(events, follow=True, timeout=0.3, columns=["V"]).batch(8)
    iterator = iter(rows)
    assert len(next(iterator)["key"]) == 8
    writer = in_background(lambda: [events.put(i, {"V": i}) for i in range(10, 20)])
    assert len(next(iterator)["key"]) == 8
    writer.join()
    assert [len(batch["key"]) for batch in iterator] == [4], "the rest comes when the time is over"
    dropped = gridflow.Dataset(events, follow=True, timeout=0.1, columns=[], batch_size=8, drop_remainder=True)
    assert [len(batch["key"]) for batch in dropped] == [8, 8]


def test_lists_are_not_put_together(events):
    rows = gridflow.Dataset(events, follow=True, timeout=5.0, batch_size=8)
    sizes = []
    for batch in rows:
        sizes.append(len(batch["key"]))
        if sizes == [8, 2]:
            events.put(99, {"V": 1, "XS": [1, 2]})
        if sizes == [8, 2, 1]:
            rows.stop()
    assert sizes == [8, 2, 1]


def test_where(events):
    rows = gridflow.Dataset(events, follow=True, where="V % 2 = 0", columns=["V"])
    seen = []
    for row in rows:
        seen.append(int(row["val"]["V"]))
        if len(seen) == 5:
            events.put_all((i, {"V": i}) for i in range(10, 20))
        if len(seen) == 10:
            rows.stop()
    assert sorted(seen) == list(range(0, 20, 2))


def test_partitions(events):
    """Two followers of one half of the table each see every row once."""
    halves = [gridflow.Dataset(events, follow=True, timeout=0.3, columns=[], partitions=part) for part in HALVES]
    seen = [[], []]
    readers = [in_background(lambda i=i: seen[i].extend(int(row["key"]) for row in halves[i])) for i in range(2)]
    for i in range(10, 200):
        events.put(i, {})
        if i % 50 == 0:
            events.compact()
    for reader in readers:
        reader.join()
    assert sorted(seen[0] + seen[1]) == list(range(200))


HALVES = [range(0, 512), range(512, 1024)]


def test_the_end(events):
    assert len(list(gridflow.Dataset(events, follow=True, timeout=0.05))) == 10
    stopped = gridflow.Dataset(events, follow=True)
    stopped.stop()
    assert len(list(stopped)) == 10, "what is there comes first"
    pipeline = gridflow.Dataset(events, follow=True, columns=[]).batch(4).map(lambda e: e).prefetch(2)
    iterator = iter(pipeline)
    assert len(next(iterator)["key"]) == 4
    del iterator  # while its thread waits for rows
    empty = gridflow.Dataset(events, follow=True, timeout=0.05, where="V > 1000")
    assert list(empty) == []
    assert int(empty.cardinality()) == tf.data.UNKNOWN_CARDINALITY


def test_a_table_that_is_dropped(grid, events):
    iterator = iter(gridflow.Dataset(events, follow=True, columns=[]))
    for _ in range(10):
        next(iterator)
    grid.drop_table("EVENTS")
    with pytest.raises(tf.errors.NotFoundError, match="no table EVENTS"):
        next(iterator)


def test_it_goes_on_where_it_was(grid, events, tmp_path):
    events.keep_versions(20)
    rows = gridflow.Dataset(events, follow=True, timeout=0.2, columns=["V"]).batch(4)
    iterator = iter(rows)
    saved = tf.train.Checkpoint(iterator=iterator)
    batches, paths = [], []
    for number in range(8):
        paths.append(saved.save(str(tmp_path / "at")))
        if number in (2, 4):
            start = 10 + number * 10
            events.put_all((i, {"V": i}) for i in range(start, start + 7))
        batches.append(sorted(next(iterator)["key"].numpy().tolist()))
        if sum(map(len, batches)) == 24:
            break
    for number, path in enumerate(paths):
        restored = iter(gridflow.Dataset(events, follow=True, timeout=0.2, columns=["V"]).batch(4))
        tf.train.Checkpoint(iterator=restored).restore(path)
        rest = [key for batch in restored for key in batch["key"].numpy().tolist()]
        assert sorted(rest) == sorted(key for batch in batches[number:] for key in batch)


def test_what_does_not_go_together(events):
    for options in ({"shuffle": True}, {"order_by": "V"}, {"weights": "V"}, {"version": 1}):
        with pytest.raises(UsageError, match="follow goes on"):
            gridflow.Dataset(events, follow=True, **options)
    for options in ({"timeout": 1.0}, {"follow": True, "timeout": 0}):
        with pytest.raises(UsageError, match="timeout"):
            gridflow.Dataset(events, **options)
    taken = gridflow.Dataset(events, follow=True, columns=[]).take(3)  # tf.data's
    assert len(list(taken)) == 3


def test_an_owner_in_another_process(tmp_path):
    """It has not asked anybody to serve the grid: what it flushes by itself is seen."""
    code = (
        "import sys, gridflow\n"
        "with gridflow.connect(sys.argv[1]) as grid:\n"
        "    table = grid.create_table('T', {'ID': 'LONG'}, key='ID')\n"
        "    table.put(0, {}); table.flush(); print('made', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    for i in range(1, 50): table.put(i, {})\n"
        "    sys.stdin.readline()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "grid")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout.readline() == "made\n"
        rows = gridflow.Dataset("T", home=tmp_path / "grid", follow=True)
        seen = []
        for row in rows:
            seen.append(int(row["key"]))
            if len(seen) == 1:
                owner.stdin.write("go on\n")
                owner.stdin.flush()
            if len(seen) == 50:
                rows.stop()
        assert sorted(seen) == list(range(50))
    finally:
        owner.communicate("end\n", timeout=60)


# ---- what is seen of a dataset ----


def test_counters_and_description(images, grid):
    rows = gridflow.Dataset(images, grid=grid, columns=["PIXELS"]).batch(64)
    assert rows.counters() == dict.fromkeys(("views", "viewed_bytes", "copies", "copied_bytes", "pinned_bytes"), 0)
    list(rows)
    numbers = rows.counters()
    assert numbers["viewed_bytes"] + numbers["copied_bytes"] == 1000 * (784 + 8) and numbers["views"] > 15
    mapped = rows.map(lambda e: e).prefetch(1)
    list(mapped)
    assert rows.counters()["views"] == 2 * numbers["views"], "a copy of the dataset counts for it, too"
    text = rows.describe()
    assert text.startswith(f"IMAGES, version {images.version()}: 1,000 rows in 1 segment, ")
    assert "16 elements: batch(64)" in text and "val.PIXELS  uint8[28, 28]: a view" in text and "so far" in text
    chosen = gridflow.Dataset(images, grid=grid, where="LABEL = 3", as_supervised=("PIXELS", "LABEL")).shuffle(10)
    assert "100 elements: where LABEL = 3, shuffle(10)" in chosen.describe() and "\n0  uint8" in chosen.describe()
    assert "elements without an end" in rows.repeat().describe()


def test_no_row_of_lists_is_dropped_with_a_remainder(events):
    with pytest.raises(UsageError, match="drop_remainder would lose rows"):
        gridflow.Dataset(events, follow=True, batch_size=3, drop_remainder=True)
    rows = gridflow.Dataset(events, follow=True, timeout=0.3)
    seen = []
    for batch in rows.ragged_batch(4, drop_remainder=True):  # tf.data's
        seen += batch["key"].numpy().tolist()
        if len(seen) == 8:
            events.put_all((i, {"V": i, "XS": []}) for i in range(10, 12))
    assert sorted(seen) == list(range(12))


def test_a_timeout_beside_a_busy_table(grid, events):
    other = grid.create_table("OTHER", {"ID": "LONG"}, key="ID")
    stop = threading.Event()

    def write():
        i = 0
        while not stop.is_set():
            other.put(i := i + 1, {})

    writer = in_background(write)
    try:
        assert len(list(gridflow.Dataset(events, follow=True, timeout=0.2))) == 10
    finally:
        stop.set()
        writer.join()


def test_a_trace_names_what_the_op_does(images, grid, tmp_path):
    with tf.profiler.experimental.Profile(str(tmp_path / "trace")):
        list(gridflow.Dataset(images, grid=grid, batch_size=100, where="LABEL < 5"))
    (trace,) = (tmp_path / "trace").rglob("*.xplane.pb")
    found = trace.read_bytes()
    for name in (b"Gridflow", b"Gridflow::Read", b"Gridflow::Refresh", b"Gridflow::Select", b"IMAGES", b"batch_size"):
        assert name in found, name
