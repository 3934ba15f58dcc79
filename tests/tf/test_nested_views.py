"""Views inside of nested values: alignment, what writes in place, how long they live, and processes that fork."""

import gc
import os

import numpy as np
import pytest
import tensorflow as tf

import gridflow

TEXT = "a string that is too long to lie in a tstring itself: {}"
KINDS = {"L": "LIST<LIST<FLOAT32[16]>>", "M": "MAP<INT64, STRING>", "S": "LIST<STRUCT<A INT64, B BINARY>>"}


def value(i):
    items = [np.full(16, i, np.float32)] * 2
    return {
        "L": [items, [], items[:1]],
        "M": {8 * i + j: TEXT.format(i) for j in range(8)},
        "S": [{"A": i, "B": bytes([i % 256]) * 100}] * 8,
    }


def load(grid, count=64):
    table = grid.create_table("T", {"ID": "LONG", **KINDS}, key="ID")
    table.put_all({i: value(i) for i in range(count)})
    return table


def check(element):
    val = element["val"]
    for row, key in enumerate(element["key"].numpy().tolist()):
        assert val["L"][row].to_list() == [[[float(key)] * 16] * 2, [], [[float(key)] * 16]]
        assert val["M"]["key"][row].numpy().tolist() == list(range(8 * key, 8 * key + 8))
        assert val["M"]["value"][row].numpy().tolist() == [TEXT.format(key).encode()] * 8
        assert val["S"]["A"][row].numpy().tolist() == [key] * 8
        assert val["S"]["B"][row].numpy().tolist() == [bytes([key % 256]) * 100] * 8


def address(tensor):
    return np.asarray(memoryview(tensor)).ctypes.data


def is_view(tensor):
    return not np.asarray(memoryview(tensor)).flags.writeable


@pytest.mark.parametrize("width", [1, 3, 13, 61, 64])
@pytest.mark.parametrize("kind", ["UINT8", "INT16", "FLOAT64"])
def test_any_item_size_survives_vector_kernels(grid, kind, width):
    """TensorFlow ends the process if it meets a misaligned tensor in a cast or a reduction."""
    table = grid.create_table("T", {"ID": "LONG", "L": f"LIST<LIST<{kind}[{width}]>>"}, key="ID")
    item = np.ones(width, kind.lower())
    table.put_all({i: {"L": [[item * i] * (i % 3), [item * i] * (i % 5)]} for i in range(60)})
    for batch_size in (None, 1, 2, 7, 60):
        for element in gridflow.Dataset(table, grid=grid, batch_size=batch_size):
            lists = element["val"]["L"]
            assert address(lists.flat_values) % 64 == 0 or not lists.flat_values.shape[0]
            keys = np.atleast_1d(element["key"].numpy())
            total = int(tf.reduce_sum(tf.cast(lists.flat_values, tf.int64)))
            assert total == sum(k * width * (k % 3 + k % 5) for k in keys.tolist())
            assert float(tf.reduce_max(tf.cast(lists.flat_values, tf.float32) * 1.5, axis=None)) <= 1.5 * max(keys)


def test_nothing_writes_into_the_file(grid):
    dataset = gridflow.Dataset(load(grid), grid=grid, batch_size=16)
    element = next(iter(dataset))
    flat = element["val"]["L"].flat_values
    longs = element["val"]["S"]["A"].flat_values
    assert is_view(flat) and is_view(longs) and is_view(element["val"]["M"]["key"].flat_values)
    for _ in dataset.map(lambda e: (e["val"]["L"] + 1.0, -e["val"]["S"]["A"], e["val"]["M"]["key"] * 2)):
        pass
    for tensor in (flat, longs):
        variable = tf.Variable(tensor)
        variable.assign_add(tf.ones_like(tensor))
        variable = tf.Variable(tensor)
        variable[0:2].assign(tf.zeros_like(tensor[0:2]))
        variable.scatter_nd_update([[3]], tf.zeros_like(tensor[3:4]))
    for string in (element["val"]["M"]["value"], element["val"]["S"]["B"]):
        tf.strings.join([string.flat_values, string.flat_values])
        tf.strings.upper(string.flat_values)
    check(element)
    for again in dataset.take(1):
        check(again)


def test_tensors_outlive_their_table_and_grid(tmp_path):
    grid = gridflow.connect(tmp_path / "grid")
    table = load(grid)
    kept = list(gridflow.Dataset(table, grid=grid, batch_size=16))
    reading = iter(gridflow.Dataset(table, grid=grid, batch_size=16))
    kept.append(next(reading))
    table.remove_all(range(0, 64, 2))
    table.put_all({i: dict.fromkeys(KINDS) for i in range(1, 64, 2)})
    table.compact()
    grid.drop_table("T")
    grid.close()
    del grid, table
    gc.collect()
    kept += list(reading)
    assert len(kept) == 8
    for element in kept:
        check(element)


def test_a_fork_has_the_views_too(grid):
    element = next(iter(gridflow.Dataset(load(grid), grid=grid, batch_size=64)))
    flat, keys = element["val"]["L"].flat_values, element["key"].numpy()
    view = np.asarray(memoryview(flat))
    child = os.fork()
    if child == 0:  # TensorFlow's threads are not here: only memory is looked at
        os._exit(0 if (view == np.repeat(keys, 3)[:, None]).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    grid.drop_table("T")
    check(element)


def test_batches_of_many_runs(grid):
    """Every other row deleted, and rows in several segments: each row of a batch is a run of its own."""
    table = load(grid, 300)
    table.flush()
    table.remove_all(range(0, 300, 2))
    table.put_all({i: value(i) for i in range(300, 400)})
    for batch_size in (1, 7, 100, 500):
        found = []
        for element in gridflow.Dataset(table, grid=grid, batch_size=batch_size):
            check(element)
            found += element["key"].numpy().tolist()
        assert sorted(found) == [*range(1, 300, 2), *range(300, 400)]
