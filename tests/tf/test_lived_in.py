"""A table that was written, deleted from, flushed and merged is read as one that was just loaded with the same rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import gridflow
from gridflow.cuda import DeviceTable

KEYS = 400
_PRIME1, _PRIME2 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F
_MASK = (1 << 64) - 1

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("load"), st.integers(0, KEYS - 1), st.integers(1, 150)),
        st.tuples(st.just("put"), st.integers(0, KEYS - 1), st.integers(1, 12)),
        st.tuples(st.just("remove"), st.integers(0, KEYS - 1), st.integers(1, 60)),
        st.tuples(st.just("update"), st.integers(2, 9), st.integers(0, 8)),
        st.tuples(st.just("delete"), st.integers(2, 9), st.integers(0, 8)),
        st.tuples(st.just("flush"), st.just(0), st.just(0)),
    ),
    min_size=1,
    max_size=12,
)


def write(table, grid, steps) -> dict[int, int]:
    """Do what the steps say, and the same to a dict."""
    model: dict[int, int] = {}
    for number, (step, a, b) in enumerate(steps):
        if step == "load":
            ids = [(a + i) % KEYS for i in range(b)]
            table.load(
                {"ID": np.array(ids), "X": np.full(len(ids), number), "S": [f"{i}:{number}" for i in ids]},
                on_duplicate="replace",
            )
            model |= dict.fromkeys(ids, number)
        elif step == "put":
            for i in range(a, min(a + b, KEYS)):
                table.put(i, {"X": number, "S": f"{i}:{number}"})
                model[i] = number
        elif step == "remove":
            ids = range(a, min(a + b, KEYS))
            table.remove_all(ids)
            model = {i: x for i, x in model.items() if i not in ids}
        elif step == "update":
            text = f"CONCAT(CAST(ID AS VARCHAR), ':{number}')"
            grid.sql(f"UPDATE LIVED SET X = {number}, S = {text} WHERE ID % {a} = {b}")
            model |= {i: number for i in model if i % a == b}
        elif step == "delete":
            grid.sql(f"DELETE FROM LIVED WHERE ID % {a} = {b}")
            model = {i: x for i, x in model.items() if i % a != b}
        else:
            table.flush()
    return model


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Iterator[gridflow.Grid]:
    with gridflow.connect(tmp_path_factory.mktemp("lived") / "grid") as grid:
        yield grid
        assert grid.check() == []


def pair(grid, steps):
    """A table after these steps, and one that was loaded with what they leave, in one go and another order."""
    columns = {"ID": "LONG", "X": "LONG", "S": "STRING"}
    for name in ("LIVED", "FRESH"):
        if name in grid.tables():
            grid.drop_table(name)
    lived, fresh = (grid.create_table(name, columns, key="ID", partitions=16) for name in ("LIVED", "FRESH"))
    model = write(lived, grid, steps)
    ids = sorted(model, reverse=True)
    if ids:
        fresh.load({"ID": np.array(ids), "X": np.array([model[i] for i in ids]), "S": [f"{i}:{model[i]}" for i in ids]})
    return lived, fresh


def rows_of(dataset) -> list[tuple[int, int, bytes]]:
    found = []
    for element in dataset:
        parts = [np.atleast_1d(part.numpy()).tolist() for part in (element["key"], *element["val"].values())]
        found += list(zip(*parts, strict=True))
    return found


READS = {
    "in order": lambda rows: rows(batch_size=7),
    "row by row": lambda rows: rows(),
    "large batches": lambda rows: rows(batch_size=1000),
    "skip and take": lambda rows: rows().skip(13).take(60).batch(9),
    "shard": lambda rows: rows().shard(3, 1).batch(8),
    "shuffled": lambda rows: rows(shuffle=True, seed=5, batch_size=16),
    "through a buffer": lambda rows: rows().shuffle(20, seed=3).batch(11),
    "split": lambda rows: rows().shuffle(1000, seed=1, reshuffle_each_iteration=False).skip(20).batch(10),
    "where": lambda rows: rows(where="ID % 3 <> 1", batch_size=6),
    "where, shuffled": lambda rows: rows(where="ID % 3 = 1", shuffle=True, seed=2, batch_size=5),
    "few": lambda rows: rows(where="ID = 77 OR X = 1", batch_size=5),
    "ordered": lambda rows: rows(order_by="X", batch_size=13),
    "where, ordered": lambda rows: rows(where="ID > 40", order_by="X DESC", batch_size=13),
    "drawn": lambda rows: rows(weights="ID + 1", seed=4, batch_size=10),
    "balanced": lambda rows: rows(balance="X", where="ID < 300", seed=4, batch_size=10),
    "partitions": lambda rows: rows(partitions=[1, 2, 7, 11], batch_size=10),
    "where in partitions": lambda rows: rows(partitions=range(3, 9), where="ID % 2 = 0", batch_size=10),
    "a worker's": lambda rows: rows(workers=(1, 3), share_by="rows", batch_size=10),
    "a worker's, where": lambda rows: rows(workers=(0, 2), share_by="rows", where="ID % 5 > 1", batch_size=10),
    "a worker's, ordered": lambda rows: rows(workers=(1, 2), share_by="rows", order_by="X", batch_size=10),
}


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_every_way_of_reading_is_that_of_a_table_just_loaded(grid, steps):
    lived, fresh = pair(grid, steps)
    for name, read in READS.items():
        lived_rows, fresh_rows = (rows_of(read(lambda t=t, **o: gridflow.Dataset(t, **o))) for t in (lived, fresh))
        assert lived_rows == fresh_rows, name
    assert sorted(rows_of(gridflow.Dataset(lived))) == sorted(lived_rows_of(lived))


def lived_rows_of(table) -> list[tuple[int, int, bytes]]:
    return [(row["ID"], row["X"], row["S"].encode()) for row in table.to_arrow().to_pylist()]


@settings(max_examples=20, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 100))
def test_rows_on_a_device_have_the_numbers_of_a_table_just_loaded(grid, steps, seed):
    lived, fresh = pair(grid, steps)
    numbers = [DeviceTable(table, device="cpu", columns=["ID", "X"]) for table in (lived, fresh)]
    assert len(numbers[0]) == len(numbers[1])
    places = np.random.default_rng(seed).integers(0, len(numbers[0]), 50) if len(numbers[0]) else np.empty(0, int)
    for column in ("ID", "X"):
        one, other = (table.gather(places)[column].numpy().tolist() for table in numbers)
        assert one == other
        one, other = ([b[column].numpy().tolist() for b in table.batches(17)] for table in numbers)
        assert one == other


@pytest.mark.parametrize("loads", [3, 40])
def test_chunks_and_pages_of_many_segments(tmp_path, many_segments, loads):
    """More rows than chunks and pages have, of which many are left out: numbers of four bytes."""
    ids = np.random.default_rng(loads).permutation(240_000)
    with gridflow.connect(tmp_path / "grid") as grid:
        lived, fresh = (grid.create_table(name, {"ID": "LONG", "X": "INT"}, key="ID") for name in ("LIVED", "FRESH"))
        fresh.load({"ID": ids[ids % 7 != 3], "X": (ids % 1000)[ids % 7 != 3].astype(np.int32)})
        grid.open_grid._maintenance.stop()  # or segments are merged
        for part in range(loads):
            some = ids[part::loads]
            lived.load({"ID": some, "X": (some % 1000).astype(np.int32)})
        grid.sql("DELETE FROM LIVED WHERE ID % 7 = 3")
        assert len(lived.snapshot().segments()) == loads
        half = {"where": "X < 500"}
        for options in ({}, half, {"where": "X < 20"}, half | {"shuffle": True, "seed": 1}):
            one, other = (
                np.concatenate([batch["key"].numpy() for batch in gridflow.Dataset(t, batch_size=4096, **options)])
                for t in (lived, fresh)
            )
            assert one.tolist() == other.tolist(), options
        places = np.random.default_rng(1).integers(0, len(fresh), 5000)
        devices = [DeviceTable(table, device="cpu", columns=["ID", "X"]) for table in (lived, fresh)]
        one, other = (device.gather(places)["ID"].numpy().tolist() for device in devices)
        assert one == other


def test_a_split_does_not_leak_whatever_happens_to_the_table(grid):
    grid.sql("CREATE TABLE SPLITS (ID LONG PRIMARY KEY, LABEL LONG)")
    table = grid.table("SPLITS")
    for part in range(40):  # each of one class, as files come
        table.load({"ID": np.arange(part * 100, part * 100 + 100), "LABEL": np.full(100, part)})
    rows = gridflow.Dataset(table).shuffle(4000, seed=1, reshuffle_each_iteration=False)
    train = {key for key, _ in labels(rows.take(3200))}
    first_shard = {key for key, _ in labels(gridflow.Dataset(table).shard(2, 0))}
    order = labels(gridflow.Dataset(table))
    grid.sql("UPDATE SPLITS SET LABEL = LABEL + 1 WHERE ID % 10 = 3")
    table.flush()
    test = {key for key, _ in labels(rows.skip(3200))}
    assert len(train) == 3200 and len(test) == 800 and not train & test
    second_shard = {key for key, _ in labels(gridflow.Dataset(table).shard(2, 1))}
    assert first_shard | second_shard == set(range(4000)) and not first_shard & second_shard
    assert [key for key, _ in labels(gridflow.Dataset(table))] == [key for key, _ in order]
    changes = np.flatnonzero(np.diff([label for _, label in order]))
    assert len(changes) > 3500, "classes come mixed"


def labels(dataset) -> list[tuple[int, int]]:
    return [(int(e["key"]), int(e["val"]["LABEL"])) for e in dataset.as_numpy_iterator()]


def test_tables_with_the_same_keys_are_read_side_by_side(grid):
    for name in ("ONE", "OTHER"):
        grid.sql(f"CREATE TABLE {name} (ID LONG PRIMARY KEY, X LONG)")
    ids = np.arange(1000)
    grid.table("ONE").load({"ID": ids, "X": ids})
    for part in np.array_split(np.random.default_rng(0).permutation(ids), 7):
        grid.table("OTHER").load({"ID": part, "X": part})
    grid.sql("UPDATE ONE SET X = X WHERE ID % 7 = 2")
    both = tf.data.Dataset.zip(gridflow.Dataset("ONE", grid=grid), gridflow.Dataset("OTHER", grid=grid))
    assert all(int(one["key"]) == int(other["key"]) for one, other in both.as_numpy_iterator())


def test_an_iterator_goes_on_in_the_same_order_after_a_merge(grid, tmp_path):
    grid.sql("CREATE TABLE RESUMED (ID LONG PRIMARY KEY, X LONG)")
    table = grid.table("RESUMED")
    for part in range(4):
        table.load({"ID": np.arange(part, 2000, 4), "X": np.arange(part, 2000, 4)})
    order = [int(e["key"]) for e in gridflow.Dataset(table).as_numpy_iterator()]
    with gridflow.connect(tmp_path / "other") as other:  # the same rows, written otherwise
        other.sql("CREATE TABLE RESUMED (ID LONG PRIMARY KEY, X LONG)")
        other.table("RESUMED").put_all((i, {"X": i}) for i in range(2000))
        assert [int(e["key"]) for e in gridflow.Dataset("RESUMED", grid=other).as_numpy_iterator()] == order
    head = [int(e["key"]) for e in gridflow.Dataset(table).take(700).as_numpy_iterator()]
    table.put(5, {"X": -1})
    table.flush()
    tail = [int(e["key"]) for e in gridflow.Dataset(table).skip(700).as_numpy_iterator()]
    assert head + tail == order


def _rotate(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & _MASK


def colliding(first: int, second: int, other_first: int) -> int:
    """The second part that gives a key of two LONGs, the first of them other_first, the hash of (first, second).

    Each step of XXH64 can be undone, so what the first parts make of the state is made up for by the second.
    """

    def round_(value: int) -> int:
        return _rotate(value * _PRIME2 & _MASK, 31) * _PRIME1 & _MASK

    wanted = round_(second & _MASK)
    state, other = (0x27D4EB2F165667C5 + 16 for _ in range(2))
    state = (_rotate(state ^ round_(first & _MASK), 27) * _PRIME1 + 0x85EBCA77C2B2AE63) & _MASK
    other = (_rotate(other ^ round_(other_first & _MASK), 27) * _PRIME1 + 0x85EBCA77C2B2AE63) & _MASK
    value = (wanted ^ state ^ other) * pow(_PRIME1, -1, 1 << 64) & _MASK
    value = _rotate(value, 33) * pow(_PRIME2, -1, 1 << 64) & _MASK
    return value - (1 << 64) if value >> 63 else value


@pytest.mark.parametrize("loads", [1, 2, 5])
def test_keys_of_one_hash_come_in_the_order_of_the_keys(loads):
    keys = [(a, colliding(7, 7, a)) for a in (7, 1, 2, 3, 4, 5, 6, 8, 9, 10)] + [(a, a) for a in range(20, 40)]
    orders = []
    for seed in range(3):
        with tempfile.TemporaryDirectory() as home, gridflow.connect(home + "/grid") as grid:
            table = grid.create_table("T", {"A": "LONG", "B": "LONG", "X": "LONG"}, key=["A", "B"])
            mixed = np.random.default_rng(seed).permutation(keys)
            for part in np.array_split(mixed, loads):
                table.load({"A": part[:, 0], "B": part[:, 1], "X": part[:, 0]})
            for a, b in mixed[:5].tolist():
                table.put((a, b), {"X": a})
            elements = gridflow.Dataset(table).as_numpy_iterator()
            orders.append([int(e["val"]["X"]) for e in elements])
            assert grid.check() == []
    assert orders[0] == orders[1] == orders[2] and sorted(orders[0]) == sorted(a for a, _ in keys)
    alike = [a for a in orders[0] if a <= 10]
    places = [orders[0].index(a) for a in alike]
    assert places == list(range(places[0], places[0] + 10)), "they have one hash"
    assert alike == sorted(alike), "encoded, a small LONG is its bytes"
