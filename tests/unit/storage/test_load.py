"""Bulk load: every kind of input, both modes, one commit whatever happens on the way."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import threading
import uuid
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gridflow.storage.load
from gridflow import (
    DuplicateKeyError,
    GridClosedError,
    GridflowError,
    SchemaError,
    TableBusyError,
    TableNotFoundError,
)
from gridflow.testing import contents, temporary_home, verified

COLUMNS = {
    "ID": "LONG",
    "N": "VARCHAR",
    "X": "DOUBLE",
    "P": "UINT8[2,3]",
    "B": "BOOL[2]",
    "U": "UUID",
    "D": "DECIMAL(8,2)",
    "T": "TIMESTAMP",
    "L": "LIST<STRUCT<A INT, S VARCHAR>>",
    "M": "MAP<VARCHAR, INT>",
}
COUNT = 6
IDS = np.arange(COUNT)
PIXELS = np.arange(COUNT * 6, dtype=np.uint8).reshape(COUNT, 2, 3)
FLAGS = np.arange(COUNT * 2).reshape(COUNT, 2) % 3 == 0
UUIDS = [uuid.UUID(int=i) for i in range(COUNT)]
TIMES = [dt.datetime(2024, 1, 1, i) for i in range(COUNT)]
LISTS = [[{"A": i, "S": None}] * (i % 3) if i != 4 else None for i in range(COUNT)]
MAPS = [{"a": i, "b": None} if i % 2 else {} for i in range(COUNT)]
NAMES = [None if i == 3 else f"row {i}" for i in range(COUNT)]
ROWS = [
    {"ID": i, "N": NAMES[i], "X": i / 2, "P": PIXELS[i], "B": FLAGS[i], "U": UUIDS[i], "D": decimal.Decimal(i)}
    | {"T": TIMES[i], "L": LISTS[i], "M": MAPS[i]}
    for i in range(COUNT)
]
COLUMN_LISTS = {name: [row[name] for row in ROWS] for name in COLUMNS}
COLUMN_ARRAYS = {**COLUMN_LISTS, "ID": IDS, "X": IDS / 2, "P": PIXELS, "B": FLAGS, "T": np.array(TIMES, "M8[us]")}


def arrow(kind: str) -> pa.Table:
    """The rows as Arrow: as the store lays them out, as other programs do, and in rarer layouts."""
    fixed = lambda a, t: pa.FixedSizeListArray.from_arrays(a, t)  # noqa: E731
    item = pa.struct([("A", pa.int32()), ("S", pa.string())])
    columns = {
        "ID": pa.array(IDS),
        "N": pa.array(NAMES),
        "X": pa.array(IDS / 2),
        "P": fixed(fixed(pa.array(PIXELS.reshape(-1)), 3), 2),
        "B": pa.array(FLAGS.tolist(), pa.list_(pa.bool_())),
        "U": pa.array([str(u) for u in UUIDS]),
        "D": pa.array(IDS.tolist(), pa.decimal128(20, 4)),
        "T": pa.array(TIMES, pa.timestamp("ns")),
        "L": pa.array(LISTS, pa.list_(item)),
        "M": pa.array([list(m.items()) for m in MAPS], pa.map_(pa.string(), pa.int64())),
    }
    if kind == "own":
        columns |= {
            "N": pa.array(NAMES, pa.large_string()),
            "P": pa.FixedShapeTensorArray.from_numpy_ndarray(PIXELS),
            "U": pa.array(UUIDS, pa.uuid()),
            "L": pa.array(LISTS, pa.large_list(item)),
        }
    if kind == "rare":
        columns |= {
            "ID": pa.array(IDS, pa.int8()),
            "N": pa.array(NAMES).dictionary_encode(),
            "X": pa.array(IDS / 2, pa.float16()),
            "P": pa.array(PIXELS.reshape(COUNT, 6).tolist(), pa.large_list(pa.int64())),
            "B": pa.array(FLAGS.astype("u1").tolist(), pa.list_(pa.uint8(), 2)),
            "U": pa.array([u.bytes for u in UUIDS], pa.binary()),
            "D": pa.array(IDS.tolist(), pa.int32()),
            "T": pa.array(TIMES, pa.timestamp("s")),
            "L": pa.array(LISTS, pa.list_view(pa.struct([("S", pa.string_view()), ("A", pa.uint8())]))),
        }
    if kind == "views":
        columns |= {
            "N": pa.array(NAMES, pa.string_view()),
            "X": pa.array(IDS / 2, pa.float32()),
            "P": pa.array(PIXELS.tolist(), pa.list_(pa.list_(pa.uint8()))),
            "B": pa.array(FLAGS.tolist(), pa.list_(pa.bool_(), 2)),
            "U": pa.array([u.bytes for u in UUIDS], pa.binary(16)),
            "T": pa.array(TIMES, pa.timestamp("ms")),
        }
    return pa.table(columns)


def sliced(table: pa.Table) -> pa.Table:
    """The same rows as slices of something larger, in chunks of uneven size."""
    more = pa.concat_tables([table.slice(3, 2), table, table.slice(0, 3)]).combine_chunks()
    whole = more.slice(2, COUNT)
    return pa.concat_tables([whole.slice(0, 1), whole.slice(1, 3), whole.slice(4)])


INPUTS = {
    "rows": lambda: ROWS,
    "generator of rows": lambda: (row for row in ROWS),
    "columns of lists": lambda: COLUMN_LISTS,
    "columns of arrays": lambda: COLUMN_ARRAYS,
    "columns of objects": lambda: {
        **{n: np.array([*v, None], object)[:-1] for n, v in COLUMN_LISTS.items() if n not in "PB"},
        "P": PIXELS[::-1][::-1],
        "B": list(FLAGS),
    },
    "pandas": lambda: pd.DataFrame({name: list(values) for name, values in COLUMN_ARRAYS.items()}),
    "batches": lambda: arrow("plain").to_batches(max_chunksize=2),
    "generator of batches": lambda: iter(arrow("plain").to_batches(max_chunksize=4)),
    "reader": lambda: arrow("plain").to_reader(max_chunksize=4),
    "batch": lambda: arrow("plain").to_batches()[0],
    "columns backwards": lambda: arrow("plain").select(list(COLUMNS)[::-1]),
    **{kind: lambda kind=kind: arrow(kind) for kind in ("plain", "own", "rare", "views")},
    **{f"{kind} in slices": lambda kind=kind: sliced(arrow(kind)) for kind in ("plain", "own", "rare", "views")},
}


@pytest.mark.parametrize("kind", INPUTS)
def test_every_kind_of_input(grid, kind):
    expected = grid.create_table("EXPECTED", COLUMNS, key="ID")
    for row in ROWS:
        expected.put(row["ID"], {name: value for name, value in row.items() if name != "ID"})
    table = grid.create_table("T", COLUMNS, key="ID")
    told: list[int] = []
    assert table.load(INPUTS[kind](), progress=told.append) == COUNT and told[-1] == COUNT
    assert contents(grid)["T"] == contents(grid)["EXPECTED"]
    assert table.load(expected.scan(batch_size=2), on_duplicate="replace") == COUNT
    assert contents(grid)["T"] == contents(grid)["EXPECTED"]


EMPTY = [[], {}, {"ID": []}, iter(()), pa.table({"ID": pa.array([], pa.int64())}), pd.DataFrame()]


@pytest.mark.parametrize("empty", EMPTY)
def test_nothing_is_no_commit(grid, empty):
    table = grid.create_table("T", COLUMNS, key="ID")
    version = table.version()
    assert table.load(empty) == 0 and table.version() == version and len(table) == 0


def test_columns_left_out_are_null(grid):
    table = grid.create_table("T", {**COLUMNS, "W": "INT NOT NULL"}, key="ID")
    inputs = [dict, pa.table, lambda columns: [{"ID": columns["ID"][0], "W": 5}], pd.DataFrame]
    for key, kind in enumerate(inputs, 1):
        assert table.load(kind({"ID": [key], "W": [5]})) == 1
    for key in range(1, 5):
        assert table.get(key) == {**{name: None for name in COLUMNS if name != "ID"}, "W": 5}
    with pytest.raises(SchemaError, match="the data has no column W INT32 NOT NULL; it has ID"):
        table.load({"ID": [5]})


def test_pandas_has_its_own_nulls(grid):
    columns = {"ID": "LONG", "I": "INT", "X": "DOUBLE", "S": "VARCHAR", "T": "TIMESTAMP"}
    table = grid.create_table("T", columns, key="ID")
    frame = pd.DataFrame({"ID": [1, 2], "I": [1, None], "X": [0.5, float("nan")], "S": ["a", None]})
    frame["T"] = pd.to_datetime(["2024-01-01", None])
    frame["I"] = frame["I"].astype("Int64")
    table.load(frame)
    assert table.get(1) == {"I": 1, "X": 0.5, "S": "a", "T": dt.datetime(2024, 1, 1)}
    assert table.get(2) == {"I": None, "X": None, "S": None, "T": None}


@pytest.mark.parametrize("as_rows", [True, False])
def test_replace_takes_the_last_of_a_key_and_insert_refuses_two(grid, monkeypatch, as_rows):
    """In one chunk and in several."""
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    keys = [1, 2, 1, 3, 2, 1] * 5
    data = [{"ID": k, "V": i} for i, k in enumerate(keys)] if as_rows else {"ID": keys, "V": list(range(30))}
    for size in (1 << 30, 64):
        monkeypatch.setattr(gridflow.storage.load, "SEGMENT_BYTES", size)
        monkeypatch.setattr(gridflow.storage.load, "ROWS_AT_ONCE", size)
        table.load(data, on_duplicate="replace")
        assert table.get_all([1, 2, 3]) == {1: {"V": 29}, 2: {"V": 28}, 3: {"V": 27}} and len(table) == 3
        before, version = contents(grid), table.version()
        fresh = [{"ID": 10, "V": 0}, {"ID": 11, "V": 0}]
        for bad in ([*fresh, {"ID": 2, "V": 0}], [*fresh, {"ID": 12}, *fresh], [*fresh * 100]):
            given = bad if as_rows else pa.Table.from_pylist(bad)
            with pytest.raises(DuplicateKeyError, match=r"table T has a row under key (2|10|11) already"):
                table.load(given, on_duplicate="error")
            assert contents(grid) == before and table.version() == version
        assert table.load(fresh, on_duplicate="error") == 2
        table.remove_all([10, 11])
        assert table.load(fresh, on_duplicate="error") == 2, "a key that was removed is free again"
        table.remove_all([10, 11])


def failing_inputs():
    def rows():
        yield from ({"ID": i, "V": i} for i in range(50))
        yield {"ID": 50, "V": "x"}

    def raising():
        yield from ({"ID": i, "V": i} for i in range(50))
        raise RuntimeError("the source broke")

    batches = [pa.record_batch({"ID": pa.array(range(i, i + 10)), "V": pa.array(range(10))}) for i in range(0, 50, 10)]
    wrong = pa.record_batch({"ID": pa.array([60]), "V": pa.array(["x"])})
    null = pa.record_batch({"ID": pa.array([None], pa.int64()), "V": pa.array([1])})

    def broken_reader():
        yield from batches
        raise RuntimeError("the source broke")

    return {
        "row": (rows, SchemaError),
        "source of rows": (raising, RuntimeError),
        "batch": (lambda: iter([*batches, wrong]), SchemaError),
        "null": (lambda: iter([*batches, null]), SchemaError),
        "no batch": (lambda: iter([*batches, 7]), SchemaError),
        "source of batches": (broken_reader, RuntimeError),
        "reader": (lambda: pa.RecordBatchReader.from_batches(batches[0].schema, broken_reader()), RuntimeError),
    }


@pytest.mark.parametrize("kind", failing_inputs())
def test_an_error_in_a_later_chunk_keeps_nothing(grid, monkeypatch, kind):
    monkeypatch.setattr(gridflow.storage.load, "SEGMENT_BYTES", 100)
    monkeypatch.setattr(gridflow.storage.load, "ROWS_AT_ONCE", 10)
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    table.put(1, {"V": 1000})
    table.flush()
    before, files = contents(grid), sorted(table.folder.iterdir())
    make, error = failing_inputs()[kind]
    told: list[int] = []
    with pytest.raises(error):
        table.load(make(), progress=told.append, on_duplicate="replace")
    assert told and told[-1] > 10, "it failed before there was something to keep"
    assert contents(grid) == before and sorted(table.folder.iterdir()) == files
    assert table.load({"ID": [1], "V": [2]}, on_duplicate="replace") == 1, "the table is free again"


def test_rows_that_are_all_superseded_leave_no_file(grid, monkeypatch):
    monkeypatch.setattr(gridflow.storage.load, "ROWS_AT_ONCE", 10)
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.load([{"ID": i % 10} for i in range(50)], on_duplicate="replace")
    assert len(table) == 10 and len(list(table.folder.glob("*.seg"))) == table.stats()["segments"]


WRITES = {
    "put": lambda table: table.put(3, {}),
    "put_if_absent": lambda table: table.put_if_absent(3, {}),
    "load": lambda table: table.load([{"ID": 3}]),
    "remove": lambda table: table.remove(1),
    "compact": lambda table: table.compact(),
    "truncate": lambda table: table.truncate(),
    "flush": lambda table: table.flush(),
    "tag": lambda table: table.tag("v1"),
}


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("chunks", [1, 2])
def test_data_that_changes_the_table_it_is_loaded_to(grid, monkeypatch, action, chunks):
    """The load is one commit, which comes when its data has ended: what its data does comes before."""
    monkeypatch.setattr(gridflow.storage.load, "SEGMENT_BYTES", 8 if chunks > 1 else 1 << 30)
    monkeypatch.setattr(gridflow.storage.load, "ROWS_AT_ONCE", 1)
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.put(1, {})

    def rows():
        yield {"ID": 2}
        WRITES[action](table)
        assert not table.contains(2)
        yield {"ID": 4}

    assert table.load(rows()) == 2
    expected = {1, 2, 3, 4} if action in ("put", "put_if_absent", "load") else {1, 2, 4}
    if action in ("remove", "truncate"):
        expected = {2, 4}
    assert set(table.get_all(range(9))) == expected
    if action == "tag":
        assert table.to_arrow(version="v1")["ID"].to_pylist() == [1]


def test_data_that_drops_the_table_it_is_loaded_to(grid, monkeypatch):
    monkeypatch.setattr(gridflow.storage.load, "SEGMENT_BYTES", 8)
    monkeypatch.setattr(gridflow.storage.load, "ROWS_AT_ONCE", 1)
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")

    def rows():
        yield {"ID": 2}
        grid.drop_table("T")
        yield {"ID": 3}

    with pytest.raises(TableNotFoundError, match="table T was dropped"):
        table.load(rows())
    assert grid.tables() == [] and not table.folder.exists()


def test_a_column_that_comes_during_a_load_ends_it(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")

    def rows():
        yield {"ID": 2}
        grid.alter_table("T", add={"X": "INT"})

    with pytest.raises(SchemaError, match="has got other columns during the load: nothing was written, try again"):
        table.load(rows())
    assert len(table) == 0 and table.load([{"ID": 1, "X": 1}]) == 1


@contextmanager
def stalled_load(table, on_duplicate="replace", keys=range(100), wait_for=None):
    """A load in another thread whose data does not go on until the block ends; gives how it has ended, then."""
    arrived, go_on = threading.Event(), threading.Event()

    def batches():
        yield pa.record_batch({"ID": pa.array(keys), "V": pa.array([-1] * len(keys))})
        arrived.set()
        assert go_on.wait(60)

    def work():
        try:
            outcome.append(table.load(batches(), on_duplicate=on_duplicate))
        except Exception as error:
            outcome.append(error)

    outcome = []
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert arrived.wait(60), outcome
    try:
        yield outcome
    finally:
        go_on.set()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(params=[1 << 30, 64], ids=["in memory", "in files"])
def loadable(grid, monkeypatch, request):
    monkeypatch.setattr(gridflow.storage.load, "SEGMENT_BYTES", request.param)
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    table.put_all((i, {"V": 0}) for i in range(90, 110))
    table.flush()
    return table


def test_a_load_that_stalls_keeps_nobody_waiting(grid, loadable):
    """All that others do to the table meanwhile is done, and comes before the load."""
    with stalled_load(loadable) as outcome:
        loadable.put(5, {"V": 1})
        loadable.flush()
        grid.sql("UPDATE T SET V = 2 WHERE ID = 95")
        grid.sql("CREATE INDEX I ON T (V)")
        loadable.remove(96)
        loadable.load({"ID": [6, 200], "V": [1, 1]}, on_duplicate="replace")
        loadable.compact()
        with grid.transaction() as transaction:
            transaction.table("T").put(300, {"V": 1})
        loadable.put(7, {"V": 1})
        assert len(loadable) == 24 and outcome == []
    assert outcome == [100]
    rows = {key: row["V"] for key, row in loadable.get_all(range(400)).items()}
    assert rows == {**dict.fromkeys(range(100), -1), **dict.fromkeys(range(100, 110), 0), 200: 1, 300: 1}
    loadable.indexes.settle()  # else files of it may go while the grid is copied
    assert len(loadable) == len(rows) and grid.check() == []


@pytest.mark.parametrize("where", ["memory", "segment", "merged", "there before"])
def test_a_key_that_comes_during_a_load_that_inserts(grid, loadable, where):
    keys = range(50, 60)
    with stalled_load(loadable, "error", range(95, 99) if where == "there before" else keys) as outcome:
        if where != "there before":
            loadable.put(55, {"V": 1})
        if where in ("segment", "merged"):
            loadable.flush()
        if where == "merged":
            loadable.compact()
    (error,) = outcome
    assert isinstance(error, DuplicateKeyError) and "has a row under key" in str(error)
    assert len(loadable) == 20 + (where != "there before")
    loadable.remove(55)
    assert loadable.load({"ID": list(keys), "V": [0] * 10}, on_duplicate="error") == 10


def test_two_loads_of_a_table_at_once(grid, loadable):
    with stalled_load(loadable, keys=range(50)) as first, stalled_load(loadable, keys=range(25, 75)) as second:
        pass
    assert first == [50] and second == [50]
    assert set(loadable.get_all(range(200))) == {*range(75), *range(90, 110)} and len(loadable) == 95


def test_a_load_that_stalls_when_the_grid_is_closed(home, monkeypatch):
    monkeypatch.setattr(gridflow.storage.load, "SEGMENT_BYTES", 64)
    grid = gridflow.connect(home / "grid")
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    with stalled_load(table) as outcome:
        assert len(list(table.folder.glob("load-*.tmp"))) > 1
        grid.close()
        assert not list(table.folder.glob("*.tmp"))
    assert isinstance(outcome[0], GridClosedError)
    with verified(home / "grid") as grid:
        assert len(grid.table("T")) == 0


def test_who_waits_too_long_for_a_table_learns_who_has_it(grid):
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY)")
    table = grid.table("T")
    table.put(1, {})
    grid.store.lock_seconds = 0.05
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with table.edit():
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold, name="the-holder")
    thread.start()
    assert held.wait(60)
    try:
        for work in (
            lambda: table.put(2, {}),
            lambda: table.load([{"ID": 3}]),
            table.truncate,
            lambda: table.tag("v1"),
            lambda: grid.sql("ALTER TABLE T ADD X INT"),
            lambda: grid.sql("INSERT INTO T VALUES (9)"),
            lambda: grid.drop_table("T"),
        ):
            with pytest.raises(TableBusyError, match=f"table T has been held .* by thread the-holder .*{os.getpid()}"):
                work()
        assert len(table) == 1 and table.contains(1), "who reads does not wait"
    finally:
        done.set()
        thread.join()
    assert len(table) == 1
    grid.store.lock_seconds = 60


def test_a_statement_that_holds_a_table_is_named(grid, monkeypatch):
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY)")
    table, errors = grid.table("T"), []
    grid.store.lock_seconds = 0.05

    def hold(self, version=None):
        def put() -> None:
            try:
                table.put(9, {})
            except TableBusyError as error:
                errors.append(str(error))

        with table.edit():
            other = threading.Thread(target=put)
            other.start()
            other.join()

    monkeypatch.setattr(gridflow.table, "Load", type("Load", (gridflow.table.Load,), {"publish": hold}))
    grid.sql("INSERT INTO T SELECT * FROM RANGE(5000)")
    assert "runs 'INSERT INTO T SELECT * FROM RANGE(5000)'; KILL QUERY '" in errors[0]
    grid.store.lock_seconds = 60


def test_a_table_is_loaded_from_itself(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    table.put_all((i, {"V": i}) for i in range(100))
    table.flush()
    table.remove_all(range(0, 100, 2))
    before = contents(grid)
    assert table.load(table.scan(batch_size=7), on_duplicate="replace") == 50
    assert table.load(table.to_arrow(), on_duplicate="replace") == 50
    assert contents(grid) == before


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1000)), max_size=80), st.integers(1, 500), st.booleans())
def test_loads_of_any_size_in_any_chunks(pairs, size, as_rows):
    with pytest.MonkeyPatch.context() as patch, temporary_home() as home, verified(home) as grid:
        patch.setattr(gridflow.storage.load, "SEGMENT_BYTES", size)
        patch.setattr(gridflow.storage.load, "ROWS_AT_ONCE", size)
        table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
        table.put_all((i, {"V": -1}) for i in range(10))
        data = [{"ID": k, "V": v} for k, v in pairs]
        expected = {**dict.fromkeys(range(10), -1), **dict(pairs)}
        table.load(
            data if as_rows else {"ID": [k for k, _ in pairs], "V": [v for _, v in pairs]}, on_duplicate="replace"
        )
        assert {k: v["V"] for k, v in table.get_all(range(40)).items()} == expected
        try:
            table.load(data, on_duplicate="error")
            assert not data
        except GridflowError as error:
            assert isinstance(error, DuplicateKeyError)
