"""One rule for a key that is there already, or twice in the data: ``on_duplicate``, which is "error" unless said."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import gridflow
from gridflow import DuplicateKeyError, UsageError

KINDS = {
    "dicts": lambda rows: [{"ID": key, "V": value} for key, value in rows],
    "columns": lambda rows: {"ID": [key for key, _ in rows], "V": [value for _, value in rows]},
    "batches": lambda rows: iter([pa.record_batch({"ID": [key], "V": [value]}) for key, value in rows]),
}


@pytest.fixture
def table(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "LONG"}, key="ID")
    table.put_all({1: {"V": 1}, 2: {"V": 2}})
    table.flush()
    table.put(3, {"V": 3})
    return table


def rows_of(table) -> dict:
    return {key: value["V"] for key, value in table.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("within", ["table", "transaction"])
@pytest.mark.parametrize(
    ("on_duplicate", "expected", "count"),
    [
        ("replace", {1: 1, 2: -2, 3: -3, 4: -40}, {3, 4}),
        ("ignore", {1: 1, 2: 2, 3: 3, 4: -4}, {1}),
        (None, DuplicateKeyError, None),
        ("error", DuplicateKeyError, None),
    ],
)
def test_a_load_does_what_it_is_told(grid, table, kind, within, on_duplicate, expected, count):
    data = KINDS[kind]([(4, -4), (2, -2), (3, -3), (4, -40)])
    how = {} if on_duplicate is None else {"on_duplicate": on_duplicate}
    before = rows_of(table)

    def load():
        if within == "table":
            return table.load(data, **how)
        with grid.transaction() as t:
            return t.table("T").load(data, **how)

    if expected is DuplicateKeyError:
        with pytest.raises(DuplicateKeyError, match=r'key [234] .*; on_duplicate="replace" writes over it$'):
            load()
        assert rows_of(table) == before
    else:
        assert load() in count
        assert rows_of(table) == expected


@pytest.mark.parametrize("within", ["table", "transaction"])
def test_put_rows_does_what_it_is_told(grid, table, within):
    rows = pa.table({"ID": [4, 2, 4], "V": [-4, -2, -40]})

    def put(**how):
        if within == "table":
            return table._put_rows(rows, **how)
        with grid.transaction() as t:
            return t.table("T")._put_rows(rows, **how)

    with pytest.raises(DuplicateKeyError, match="on_duplicate"):
        put()
    assert rows_of(table) == {1: 1, 2: 2, 3: 3}
    assert put(on_duplicate="ignore") == 1
    assert rows_of(table) == {1: 1, 2: 2, 3: 3, 4: -4}
    assert put(on_duplicate="replace") == 3
    assert rows_of(table) == {1: 1, 2: -2, 3: 3, 4: -40}


def test_a_load_that_ignores_leaves_what_others_write_and_takes_what_they_remove(grid, table, monkeypatch):
    monkeypatch.setattr("gridflow.storage.load.SEGMENT_BYTES", 1)  # each batch goes to a file at once

    def batches():
        yield pa.record_batch({"ID": [1, 4, 5], "V": [-1, -4, -5]})
        table.put(4, {"V": 4})
        table.remove(1)
        table.put(2, {"V": 22})
        yield pa.record_batch({"ID": [2, 5, 6], "V": [-2, -50, -6]})

    assert table.load(batches(), on_duplicate="ignore") == 3
    assert rows_of(table) == {1: -1, 2: 22, 3: 3, 4: 4, 5: -5, 6: -6}


def test_a_load_that_ignores_everything_makes_no_version(table):
    table.flush()
    version = table.version()
    assert table.load({"ID": [1, 2, 3], "V": [0, 0, 0]}, on_duplicate="ignore") == 0
    assert table.version() == version and rows_of(table) == {1: 1, 2: 2, 3: 3}


@pytest.mark.parametrize("seed", range(3))
def test_loads_of_random_keys_do_as_a_dict_would(grid, seed, monkeypatch):
    if seed == 1:
        monkeypatch.setattr("gridflow.storage.load.SEGMENT_BYTES", 256)
    random = np.random.default_rng(seed)
    table = grid.create_table("T", {"K": "VARCHAR", "V": "LONG"}, key="K")
    model: dict[str, int] = {}
    for step in range(12):
        keys = [f"k{k}" for k in random.integers(0, 60, 25)]
        values = [step * 100 + i for i in range(25)]
        on_duplicate = ["replace", "ignore"][int(random.integers(2))]
        if random.integers(2):
            data = {"K": keys, "V": values}
        else:
            data = (pa.record_batch({"K": keys[i : i + 7], "V": values[i : i + 7]}) for i in range(0, 25, 7))
        table.load(data, on_duplicate=on_duplicate)
        for key, value in zip(keys, values, strict=True):
            if on_duplicate == "replace" or key not in model:
                model[key] = value
        if random.integers(2):
            gone = keys[:5]
            table.remove_all(gone)
            for key in gone:
                model.pop(key, None)
        if random.integers(3) == 0:
            table.flush()
    assert rows_of(table) == model


def test_insert_and_copy_name_their_own_remedies(grid, table, tmp_path):
    with pytest.raises(DuplicateKeyError, match="; MERGE INTO T writes over it$"):
        grid.sql("INSERT INTO T VALUES (1, 0)")
    many = ", ".join(f"({i}, 0)" for i in range(3000))
    with pytest.raises(DuplicateKeyError, match="already; MERGE INTO T writes over it$"):
        grid.sql(f"INSERT INTO T VALUES {many}")
    with pytest.raises(DuplicateKeyError, match="already; MERGE INTO T writes over it$"):
        grid.sql("INSERT INTO T SELECT ID, 0 FROM T")
    path = tmp_path / "t.csv"
    path.write_text("ID,V\n4,-4\n2,-2\n4,-40\n")
    for option in ("", "ON_DUPLICATE ERROR"):
        with pytest.raises(DuplicateKeyError, match="already; ON_DUPLICATE REPLACE writes over it$"):
            grid.sql(f"COPY FROM '{path}' INTO T {option}")
    assert rows_of(table) == {1: 1, 2: 2, 3: 3}
    assert grid.sql(f"COPY FROM '{path}' INTO T ON_DUPLICATE IGNORE").rowcount == 1
    assert rows_of(table) == {1: 1, 2: 2, 3: 3, 4: -4}
    grid.sql(f"COPY FROM '{path}' INTO T ON_DUPLICATE REPLACE")
    assert rows_of(table) == {1: 1, 2: -2, 3: 3, 4: -40}


def test_old_spellings_do_the_same_and_say_so(grid, table, tmp_path):
    with pytest.warns(DeprecationWarning, match='mode="replace" is deprecated: use on_duplicate="replace"'):
        table.load({"ID": [1], "V": [-1]}, mode="replace")
    with (
        pytest.warns(DeprecationWarning, match='use on_duplicate="error"') as caught,
        pytest.raises(DuplicateKeyError),
    ):
        table.load({"ID": [1], "V": [-1]}, mode="insert")
    assert caught[0].filename == __file__
    path = tmp_path / "t.csv"
    path.write_text("ID,V\n2,-2\n")
    with (
        pytest.warns(DeprecationWarning, match="ON_DUPLICATE STOP is deprecated: use ON_DUPLICATE ERROR"),
        pytest.raises(DuplicateKeyError),
    ):
        grid.sql(f"COPY FROM '{path}' INTO T ON_DUPLICATE STOP")
    for wrong in ({"on_duplicate": "stop"}, {"mode": "upsert"}):
        with pytest.raises(UsageError, match="on_duplicate is error, replace or ignore"):
            table.load([], **wrong)
    with (
        gridflow.connect(grid.home) as other,
        other.transaction() as t,
        pytest.raises(UsageError, match="on_duplicate"),
    ):
        t.table("T").load([], on_duplicate="stop")
