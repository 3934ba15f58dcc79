"""Keys and values, as a dict has them: the same tests over a Table, a ServedTable, a TransactionTable and a Cache."""

from __future__ import annotations

import decimal
import subprocess
import sys
import threading
from collections.abc import MutableMapping

import numpy as np
import pyarrow as pa
import pytest

import gridflow
from gridflow import KeyNotFoundError, SchemaError, UsageError

COLUMNS = {"_KEY": "LONG", "N": "LONG", "S": "VARCHAR", "F": "FLOAT", "D": "DECIMAL(10,2)", "P": "UINT8[2]"}


@pytest.fixture(params=["table", "transaction", "cache", "cache in a transaction"])
def rows(request, grid):
    """An empty table of COLUMNS, by one of its faces."""
    grid.create_table("T", COLUMNS, key="_KEY")
    if "transaction" in request.param:
        with grid.transaction() as t:
            yield t.cache("T") if "cache" in request.param else t.table("T")
    else:
        yield grid.cache("T") if request.param == "cache" else grid.table("T")


def value(n=None, s=None, **more):
    return {"N": n, "S": s, "F": None, "D": None, "P": None, **more}


def test_all_that_a_mapping_has_is_there(rows):
    """Of each method what MutableMapping says, but for ``update``, which is of one row."""
    names = {name for name in dir(MutableMapping) if not name.startswith("_")}
    assert {name for name in names if not callable(getattr(rows, name, None))} == set()
    model: dict = {}
    for key in range(5):
        rows[key] = model[key] = value(key, f"s{key}")
    assert sorted(rows) == sorted(rows.keys()) == sorted(model) and len(rows) == len(rows.keys()) == 5
    assert dict(rows.items()) == model and len(rows.items()) == 5
    assert sorted(rows.values(), key=str) == sorted(model.values(), key=str)
    assert 3 in rows.keys() and (3, model[3]) in rows.items() and 9 not in rows  # noqa: SIM118
    assert rows[3] == model[3] and rows.get(9) is None and rows.get(9, "no") == "no"
    del rows[3], model[3]
    for action in (lambda: rows[3], lambda: rows.pop(3), lambda: rows.__delitem__(3)):
        with pytest.raises(KeyNotFoundError, match="no row under key 3"):
            action()
    assert rows.pop(4) == model.pop(4) and rows.pop(4, "none") == "none"
    assert rows.setdefault(0, value(9)) == value(0, "s0") and rows.setdefault(7, value(7)) == value(7)
    model[7] = value(7)
    while model:
        key, popped = rows.popitem()
        assert model.pop(key) == popped
    assert len(rows) == 0 and list(rows) == [] and list(rows.items()) == []
    with pytest.raises(KeyError, match="no rows"):
        rows.popitem()


def test_update_changes_what_it_names(rows):
    rows.put(1, value(1, "one", P=np.array([1, 2], np.uint8)))
    rows.update(1, S="uno")
    rows.update(1, {"N": 2}, F=0.5)
    got = rows.get(1)
    assert got.pop("P").tolist() == [1, 2] and got == {"N": 2, "S": "uno", "F": 0.5, "D": None}
    rows.update(1, {"P": None, "N": None})
    assert rows.get(1) == value(s="uno", F=0.5)
    with pytest.raises(KeyNotFoundError, match="under key 2"):
        rows.update(2, S="two")
    with pytest.raises(UsageError, match="update\\(key, NAME=value\\)"):
        rows.update(1)
    with pytest.raises(gridflow.GridflowError, match="NOPE"):
        rows.update(1, NOPE=1)
    with pytest.raises(SchemaError, match="column N|N INT64"):
        rows.update(1, N="x")
    assert rows.get(1) == value(s="uno", F=0.5)


def test_numbers_are_counted(rows):
    assert rows.increment(1, "N") == 1, "a row that is not there is made, and begins at 0"
    assert rows.increment(1, "N", by=-3) == -2 and rows.increment(1, N=2, F=0.5) == {"N": 0, "F": 0.5}
    assert rows.increment(1, "D", by=decimal.Decimal("1.25")) == decimal.Decimal("1.25")
    assert rows.increment(1, "D", by=2) == decimal.Decimal("3.25")
    rows.update(1, S="kept")
    rows.increment(1, "N", 5)
    assert rows.get(1) == {"N": 5, "S": "kept", "F": 0.5, "D": decimal.Decimal("3.25"), "P": None}
    for column in ("S", "P", "_KEY"):
        with pytest.raises(SchemaError, match=column):
            rows.increment(1, column)
    with pytest.raises(SchemaError, match="no number"):
        rows.increment(1, "N", by="1")
    with pytest.raises(SchemaError, match="N"):
        rows.increment(1, "N", by=1 << 63)
    with pytest.raises(gridflow.ColumnNotFoundError, match="NOPE"):
        rows.increment(1, "NOPE")
    with pytest.raises(UsageError, match="names the column"):
        rows.increment(1)
    assert rows.get(1)["N"] == 5


def test_rows_are_replaced_where_they_are_as_expected(rows):
    tensor = np.array([1, 2], np.uint8)
    one, two = value(1, "one", P=tensor), value(2, "two", P=tensor + 1)
    assert rows.compare_and_set(1, one, two) is False and 1 not in rows
    rows.put(1, one)
    assert rows.replace(1, two, expected=two) is False and rows.get(1)["N"] == 1
    assert rows.replace(1, two, expected=one) is True and rows.get(1)["N"] == 2
    assert rows.compare_and_set(1, {**two, "P": tensor}, one) is False
    assert rows.compare_and_set(1, rows.get(1), one) is True and rows.get(1)["S"] == "one"


def test_what_was_there_comes_back(rows):
    assert rows.get_and_put(1, value(1)) is None and rows.get_and_put(1, value(2)) == value(1)
    assert rows.get_and_replace(2, value(3)) is None and 2 not in rows
    assert rows.get_and_replace(1, value(3)) == value(2)
    assert rows.get_and_remove(1) == value(3) and rows.get_and_remove(1) is None and len(rows) == 0


def test_the_methods_of_a_table_are_those_of_all(rows):
    """What cannot be in a transaction says so."""
    assert rows.schema.names == list(COLUMNS) and rows.partition_of(1) in range(1024) and rows.tags() == {}
    rows.load([{"_KEY": 1, "N": 1}, {"_KEY": 2}])
    rows.insert_all({3: value(3)})
    assert rows.to_arrow(["N"]).num_rows == 3 and rows.remove_all([3, 9]) == 1
    assert isinstance(rows.version(), int) and rows.versions() and rows.stats()["partitions"] == len(rows.partitions())
    rows.flush()
    within = hasattr(rows, "_transaction") or hasattr(getattr(rows, "table", None), "_transaction")
    for call in (
        lambda: rows.tag("v1"),
        lambda: rows.restore("v1"),
        lambda: rows.keep_versions(1),
        lambda: rows.untag("v1"),
        rows.compact,
        rows.compress,
        rows.clear,
        rows.truncate,
    ):
        if within:
            with pytest.raises(UsageError, match="in a transaction"):
                call()
        else:
            call()
    assert len(rows) == (2 if within else 0)


def test_a_table_is_an_arrow_stream(rows):
    rows.put_all({key: value(key, "x") for key in range(10)})
    assert sorted(pa.table(rows)["N"].to_pylist()) == list(range(10))
    reader = pa.RecordBatchReader.from_stream(rows)
    assert reader.schema.names == list(COLUMNS) and reader.read_all().num_rows == 10


def test_plain_values(grid):
    table = grid.create_table("T", {"_KEY": "VARCHAR", "_VAL": "LONG"}, key="_KEY")
    faces = [table, grid.cache("T")]
    for name, rows in zip("ab", faces, strict=True):
        assert [rows.increment(name) for _ in range(3)] == [1, 2, 3] and rows.increment(name, by=10) == 13
        assert rows.compare_and_set(name, 13, 5) and rows.get_and_put(name, 6) == 5
        rows.update(name, {"_VAL": 7})
        assert rows.setdefault(name, 1) == 7 and dict(rows.items())[name] == 7
    with grid.transaction() as t:
        assert t.table("T").increment("a") == 8 and dict(t.table("T").items()) == {"a": 8, "b": 7}
    assert table["a"] == 8


def test_a_cache_counts_before_anything_was_put_in_it(grid):
    hits, pages = grid.cache("HITS"), grid.cache("PAGES")
    assert list(hits) == [] and hits.pop("/", 0) == 0 and hits.get_and_remove("/") is None and hits.truncate() == 0
    with pytest.raises(KeyNotFoundError):
        hits.update("/", N=1)
    assert hits.increment("/") == 1 and hits.increment("/", by=2) == 3
    assert pages.increment("/", HITS=1, SECONDS=0.5) == {"HITS": 1, "SECONDS": 0.5}
    other = grid.cache("OTHER")
    assert other.get_and_put("k", {"X": 1}) is None and other.setdefault("l", {"X": 2}) == {"X": 2}
    with pytest.raises(gridflow.StructureError):
        other.get_and_put("k", {"Y": 1})


def test_a_key_of_several_columns_and_no_values(grid):
    table = grid.create_table("T", {"A": "LONG", "B": "VARCHAR"}, key=("A", "B"))
    table.put((1, "x"), {})
    assert list(table.items()) == [((1, "x"), {})] and table.pop((1, "x")) == {}
    assert table.setdefault((2, "y"), {}) == {} and list(table) == [(2, "y")]


# ---- others at the same time ----


def in_threads(count, work):
    errors = []

    def run():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == [] and not any(thread.is_alive() for thread in threads)


def test_four_threads_that_get_and_put_lost_what_others_added(grid):
    """With ``increment`` nothing is lost, nor with ``compare_and_set`` in a loop, nor in a transaction run again."""
    table = grid.create_table("T", {"ID": "LONG", "N": "LONG", "M": "LONG"}, key="ID")
    table.put(1, {"N": 0, "M": 0})

    def count():
        for _ in range(50):
            table.increment(1, "N")
            while True:
                row = table.get(1)
                if table.compare_and_set(1, row, {**row, "M": row["M"] + 1}):
                    break

    in_threads(4, count)
    assert table.get(1) == {"N": 200, "M": 200}


def test_a_row_is_popped_once(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "LONG"}, key="ID")
    table.load({"ID": range(100), "V": range(100)})
    popped: list = []

    def pop():
        while True:
            try:
                popped.append(table.popitem())
            except KeyNotFoundError:
                return

    in_threads(4, pop)
    assert sorted(key for key, _ in popped) == list(range(100)) and len(table) == 0


COUNTER = """
import sys, gridflow
with gridflow.connect(sys.argv[1]) as grid:
    assert not grid.owner
    sys.stdin.readline()
    for i in range(100):
        grid.table("T").increment(i % 3, "N")
"""


def test_four_processes_and_the_owner_lose_nothing(tmp_path):
    from gridflow.server import Node

    with Node(tmp_path / "grid") as node:
        table = node.grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
        command = [sys.executable, "-c", COUNTER, str(node.home)]
        processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
        for process in processes:
            process.stdin.write(b"\n")
            process.stdin.close()
        for i in range(100):
            table.increment(i % 3, "N")
            if i % 25 == 0:
                table.flush()
        assert [process.wait(60) for process in processes] == [0] * 4
        assert sum(row["N"] for row in table.values()) == 500


def test_an_increment_in_a_transaction_is_part_of_it(grid):
    table = grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
    table.put(1, {"N": 1})
    t = grid.transaction()
    assert t.table("T").increment(1, "N") == 2
    assert table.get(1) == {"N": 1} and table.increment(1, "N", by=10) == 11
    with pytest.raises(gridflow.TransactionConflictError):
        t.commit()
    assert table.get(1) == {"N": 11}
    with grid.transaction() as t:
        t.table("T").increment(1, "N")
        t.rollback()
    assert table.get(1) == {"N": 11}
