"""Writes and reads by key, and what a table says about itself."""

from __future__ import annotations

import sys
import threading
import uuid

import numpy as np
import pytest

import gridflow
from gridflow import GridflowError, KeyNotFoundError, SchemaError, TableNotFoundError
from gridflow.testing import contents


@pytest.fixture
def table(grid):
    return grid.create_table("T", {"ID": "LONG", "N": "VARCHAR", "X": "DOUBLE"}, key="ID")


@pytest.fixture(params=["memory", "segment", "both"])
def filled(request, table):
    """Rows 0 to 99 with N = str(ID): not flushed, flushed, or overwritten in memory."""
    table.put_all((i, {"N": str(i)}) for i in range(100))
    if request.param != "memory":
        table.flush()
    if request.param == "both":
        table.put_all((i, {"N": str(i)}) for i in range(0, 100, 3))
    return table


def n(text: str) -> dict:
    return {"N": text, "X": None}


def test_get(filled):
    assert filled.get(5) == filled[5] == n("5")
    assert filled.get(100) is None and filled.get(100, "none") == "none"
    with pytest.raises(KeyNotFoundError, match="table T has no row under key 100"):
        filled[100]
    assert isinstance(pytest.raises(KeyError, lambda: filled[100]).value, KeyNotFoundError)
    assert 5 in filled and filled.contains(5) is True and 100 not in filled
    assert filled.get_all(iter([5, 100, 6, 5])) == {5: n("5"), 6: n("6")}
    assert filled.get_all([]) == {}
    assert len(filled) == 100


def test_put_overwrites_a_row_whole(filled):
    filled.put(5, {"X": 0.5})
    assert filled.get(5) == {"N": None, "X": 0.5}
    filled.put(100, {})
    assert filled.get(100) == {"N": None, "X": None} and len(filled) == 101


def test_put_if_absent_and_replace(filled):
    assert filled.put_if_absent(5, n("new")) is False and filled.get(5) == n("5")
    assert filled.put_if_absent(100, n("new")) is True and filled.get(100) == n("new")
    assert filled.replace(5, n("other")) is True and filled.get(5) == n("other")
    assert filled.replace(101, n("other")) is False and 101 not in filled
    assert len(filled) == 101


def test_remove(filled):
    assert filled.remove(5) is True and filled.remove(5) is False and 5 not in filled
    assert filled.put_if_absent(5, n("back")) is True and filled.get(5) == n("back")
    assert filled.remove_all([5, 5, 6, 1000]) == 2 and filled.remove_all(iter(())) == 0
    assert filled.get_all([5, 6, 7]) == {7: n("7")}
    assert len(filled) == 98
    assert filled.remove_all(range(200)) == 98 and len(filled) == 0
    filled.flush()
    assert filled.stats()["segments"] == 0 and filled.to_arrow().num_rows == 0


def test_put_all_takes_mappings_and_pairs_and_the_last_of_a_key_counts(table):
    table.put_all({1: n("a"), 2: n("b")})
    table.put_all([(2, n("c")), (3, n("d")), (3, n("e"))])
    table.put_all({})
    table.put_all(iter(()))
    assert table.get_all(range(5)) == {1: n("a"), 2: n("c"), 3: n("e")}


@pytest.mark.parametrize("bad", [(3, {"N": 7}), (None, n("x")), (3, {"M": 1}), ("x", n("x"))])
def test_put_all_is_all_or_nothing(filled, bad):
    before = contents(filled.grid)
    with pytest.raises(GridflowError):
        filled.put_all([(1, n("changed")), (1000, n("new")), bad])
    assert contents(filled.grid) == before


def test_an_error_in_the_rows_of_put_all_is_the_callers(filled):
    def rows():
        yield 1, n("changed")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        filled.put_all(rows())
    assert filled.get(1) == n("1")


def test_put_all_may_read_and_write_the_table_while_its_rows_are_made(table):
    def rows():
        for i in range(3):
            table.put(100 + i, n("inner"))
            yield i, n(str(len(table)))

    table.put_all(rows())
    assert table.get_all(range(3)) == {0: n("1"), 1: n("2"), 2: n("3")}
    assert len(table) == 6


def test_flush_and_compaction_change_nothing_but_speed(filled):
    grid = filled.grid
    filled.remove_all(range(10))
    before = contents(grid)
    versions = [filled.version()]
    filled.flush()
    assert contents(grid) == before
    filled.compact()
    assert contents(grid) == before
    stats = filled.stats()
    assert stats["segments"] == 1 and stats["deleted"] == 0 and stats["rows"] == 90
    versions.append(filled.version())
    filled.compact()
    filled.flush()
    versions.append(filled.version())
    assert versions[0] <= versions[1] == versions[2]


def test_stats(table):
    empty = table.stats()
    assert {empty[name] for name in ("rows", "segments", "bytes", "deleted", "memory_rows", "memory_bytes")} == {0}
    assert empty["partitions"] == 1024
    table.put_all((i, n("x")) for i in range(10))
    assert table.stats()["memory_rows"] == 10 and table.stats()["memory_bytes"] > 0
    version = table.flush()
    flushed = table.stats()
    assert (flushed["rows"], flushed["segments"], flushed["memory_rows"], flushed["version"]) == (10, 1, 0, version)
    assert flushed["bytes"] == sum(file.stat().st_size for file in table.folder.glob("*.seg"))
    assert flushed["flushed_lsn"] == empty["flushed_lsn"] + 1 > 0
    table.remove_all([1, 2])
    assert table.stats()["rows"] == 10, "nothing is flushed for figures"
    table.flush()
    assert table.stats()["rows"] == 8 and table.stats()["deleted"] == 2


def test_versions_grow_with_what_is_published(table):
    seen = [table.version()]
    for change in (
        lambda: table.put(1, {}),
        lambda: table.load({"ID": [2]}),
        lambda: table.load([{"ID": 3}]),
        lambda: table.remove(2),
        table.compact,
    ):
        change()
        table.flush()
        seen.append(table.version())
    assert seen == sorted(set(seen))
    table.put(1, {})
    assert table.version() == seen[-1], "a write in memory is no version"


def test_a_plain_value_needs_no_dict(grid):
    table = grid.create_table("P", {"K": "STRING", "_VAL": "UINT8[2]"}, key="K")
    array = np.array([1, 2], np.uint8)
    table.put("a", array)
    table.put_all({"b": None})
    table.load([{"K": "c", "_VAL": array}])
    table.load({"K": ["d"], "_VAL": [array]})
    for key in "acd":
        assert (table.get(key) == array).all()
    assert table.get("b", "none") is None and "b" in table
    strict = grid.create_table("Q", {"K": "STRING", "_VAL": "INT NOT NULL"}, key="K")
    with pytest.raises(SchemaError, match="column _VAL INT32 NOT NULL: a null is not allowed"):
        strict.put("a", None)


def test_a_table_of_nothing_but_keys(grid):
    table = grid.create_table("K", {"A": "INT", "B": "DATE"}, key=("B", "A"))
    single = grid.create_table("S", {"A": "INT"}, key="A")
    single.put(1, {})
    single.put(2, None)
    single.load({"A": [3]})
    assert single.get(1) == {} and single.get(4) is None and len(single) == 3
    assert table.schema.value_columns == ()


def test_a_dropped_table_is_gone_for_all_who_hold_it(grid, filled):
    reader = filled.to_arrow()
    grid.drop_table("T")
    for action in (
        lambda: filled.get(1),
        lambda: 1 in filled,
        lambda: filled.put(1, {}),
        lambda: filled.remove(1),
        lambda: len(filled),
        lambda: list(filled.scan()),
        lambda: filled.load({"ID": [1]}),
        lambda: filled.compact(),
        lambda: filled.stats(),
    ):
        with pytest.raises(TableNotFoundError, match="table T was dropped"):
            action()
    assert sorted(reader["ID"].to_pylist()) == list(range(100)), "what is mapped stays readable"
    assert grid.create_table("T", {"ID": "LONG"}, key="ID").get(1) is None


def test_threads_that_write_the_same_rows(table):
    """Every thread adds to counters under put_if_absent and replace; flushes, loads and compactions go on meanwhile."""
    lock, rounds, workers = threading.Lock(), 60, 4
    errors: list[BaseException] = []
    made = [0]

    def work(worker: int) -> None:
        try:
            for turn in range(rounds):
                if table.put_if_absent(turn, {"N": str(worker)}):
                    with lock:
                        made[0] += 1
                table.put(1000 + worker, {"X": float(turn)})
                assert table.get(1000 + worker)["X"] == turn
                table.load({"ID": [2000 + worker], "X": [float(turn)]}, on_duplicate="replace")
                assert table.get(2000 + worker)["X"] == turn
                if turn % 10 == worker:
                    table.compact()
                if turn % 7 == worker:
                    table.flush()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(w,)) for w in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert made[0] == rounds and len(table) == rounds + 2 * workers
    assert table.get_all(range(2000, 2004)) == {2000 + w: {"N": None, "X": rounds - 1.0} for w in range(workers)}


def test_a_value_is_read_while_the_log_that_holds_it_is_dropped(grid):
    """Decoding runs Python and lets other threads in: it read from a log file that a flush had just unmapped."""
    table = grid.create_table("U", {"ID": "LONG", "L": "LIST<UUID>", "B": "BINARY"}, key="ID")
    ids = [uuid.UUID(int=i) for i in range(30_000)]
    table.put(1, {"L": ids})
    done = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                assert table.get(1)["L"][-1] == ids[-1]
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(5):
            table.put(2, {"B": b"x" * (65 << 20)})  # more than fits in a file of the log: a new one begins
            table.flush()
            table.put(1, {"L": ids})
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert not errors
    table.remove(2)
    table.compact()


def test_a_write_that_waited_for_another_finds_the_table_as_it_is_then(grid, table):
    entered, go_on, results = threading.Event(), threading.Event(), []

    def hold():
        held = []
        table.hold(60, held)
        entered.set()
        go_on.wait(60)
        table.load([{"ID": 1, "N": "loaded"}])
        table.release(held)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()
    writer = threading.Thread(target=lambda: results.append(table.put_if_absent(1, n("put"))))
    writer.start()
    assert table.get(1) is None, "readers do not wait"
    go_on.set()
    holder.join()
    writer.join()
    assert results == [False] and table.get(1) == n("loaded")
    assert isinstance(table.grid, gridflow.Grid)
