"""Which tensors are views of the grid's files, that nothing writes through them, and how long they live."""

import gc

import numpy as np
import pytest
import tensorflow as tf

import gridflow


def address(tensor):
    return np.asarray(memoryview(tensor)).ctypes.data


def mapped_file(tensor):
    """The file that the tensor's bytes lie in; '' if they are the process's own memory."""
    at = address(tensor)
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            low, high = (int(x, 16) for x in fields[0].split("-"))
            if low <= at < high:
                return fields[5].strip() if len(fields) > 5 and "/" in fields[5] else ""
    raise AssertionError("not mapped at all")


def is_view(tensor):
    return ".seg" in mapped_file(tensor)


def test_batches_are_views_one_behind_the_other(grid, images):
    batches = list(gridflow.Dataset(images, grid=grid, batch_size=128))
    first, second = batches[:2]
    assert is_view(first["val"]["PIXELS"]) and is_view(first["val"]["LABEL"]) and is_view(first["key"])
    assert address(second["val"]["PIXELS"]) - address(first["val"]["PIXELS"]) == 128 * 784
    assert address(second["key"]) - address(first["key"]) == 128 * 8
    assert is_view(batches[-1]["val"]["PIXELS"]) and len(batches[-1]["key"]) == 1000 - 7 * 128
    for batch in batches:
        assert (batch["val"]["PIXELS"].numpy() == (batch["key"].numpy() % 251)[:, None, None]).all()


def test_single_rows_are_views_where_they_are_aligned(grid, images):
    seen = [is_view(e["val"]["PIXELS"]) for e in gridflow.Dataset(images, grid=grid)]
    assert seen == [row % 4 == 0 for row in range(1000)]  # 784 = 12.25 * 64


def test_values_of_lists_are_views(grid):
    table = grid.create_table("T", {"ID": "LONG", "L": "LIST<FLOAT32>"}, key="ID")
    table.put_all({i: {"L": np.arange(16, dtype=np.float32) + i} for i in range(20)})
    for element in gridflow.Dataset(table, grid=grid, batch_size=5):
        assert is_view(element["val"]["L"].values)
        np.testing.assert_array_equal(
            element["val"]["L"].to_tensor().numpy(), element["key"].numpy()[:, None] + np.arange(16)
        )
    assert all(is_view(e["val"]["L"]) for e in gridflow.Dataset(table, grid=grid))


@pytest.mark.parametrize("width", [1, 3, 7, 13, 61, 64, 100])
@pytest.mark.parametrize("kind", ["UINT8", "INT16", "FLOAT32"])
def test_any_row_size_survives_vector_kernels(grid, width, kind):
    """TensorFlow ends the process if it meets a misaligned tensor in a cast or a reduction."""
    table = grid.create_table("T", {"ID": "LONG", "V": f"{kind}[{width}]"}, key="ID")
    dtype = np.dtype(kind.lower())
    ids = np.arange(50)
    table.load({"ID": ids, "V": np.repeat(ids[:, None], width, axis=1).astype(dtype)})
    for batch_size in (None, 1, 2, 3, 5, 7, 50):
        for begin in (0, 100, 500):
            count = 0
            dataset = gridflow.Dataset(table, grid=grid, batch_size=batch_size, partitions=range(begin, 1024))
            for element in dataset:
                value, key = element["val"]["V"], element["key"]
                assert address(value) % 64 == 0 and address(key) % 64 == 0
                total = tf.reduce_sum(tf.cast(value, tf.float32) * 1.5)
                assert float(total) == float(tf.reduce_sum(key)) * width * 1.5
                assert int(tf.reduce_max(tf.cast(value, tf.int64))) == int(tf.reduce_max(key))
                count += 1 if batch_size is None else len(key)
            if begin == 0:
                assert count == 50


def test_rows_sliced_off_a_batch(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "UINT8[13]"}, key="ID")
    table.load({"ID": np.arange(64), "V": np.repeat(np.arange(64, dtype=np.uint8)[:, None], 13, axis=1)})
    (batch,) = gridflow.Dataset(table, grid=grid, batch_size=64)
    assert is_view(batch["val"]["V"])
    for i in range(64):
        assert int(tf.reduce_sum(tf.cast(batch["val"]["V"][i], tf.int32))) == 13 * int(batch["key"][i])
    for element in gridflow.Dataset(table, grid=grid, batch_size=64).unbatch().batch(3):
        expected = tf.cast(element["key"], tf.int32) * 13
        assert (tf.reduce_sum(tf.cast(element["val"]["V"], tf.int32), axis=1) == expected).numpy().all()


def test_nothing_writes_into_the_file(grid, images):
    dataset = gridflow.Dataset(images, grid=grid, batch_size=128)
    element = next(iter(dataset))
    pixels, ids = element["val"]["PIXELS"], element["key"]
    expected = ids.numpy() % 251

    def untouched():
        return (pixels.numpy() == expected[:, None, None]).all()

    # Each of these computes in place where it may.
    for _ in dataset.map(lambda e: e["val"]["PIXELS"] + 1):
        pass
    assert untouched()
    variable = tf.Variable(pixels)
    assert address(variable.read_value()) == address(pixels)
    variable.assign_add(tf.ones_like(variable))
    assert untouched()
    variable = tf.Variable(pixels)
    variable[0:2].assign(tf.zeros([2, 28, 28], tf.uint8))
    variable.scatter_nd_add([[3]], tf.ones([1, 28, 28], tf.uint8))
    assert untouched()

    variable = tf.Variable(pixels)

    @tf.function(jit_compile=True)
    def compiled(x):
        variable.assign_add(x)
        return tf.reduce_sum(tf.cast(x + 1, tf.int32))

    compiled(pixels)
    compiled(pixels)
    assert untouched()
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(pixels)[0] = 1
    for again in dataset.take(1):
        assert (again["val"]["PIXELS"].numpy() == expected[:, None, None]).all()


def test_a_tensor_outlives_its_table_and_grid(tmp_path):
    grid = gridflow.connect(tmp_path / "grid")
    table = grid.create_table("T", {"ID": "LONG", "V": "INT64[8]", "S": "STRING"}, key="ID")
    names = {i: f"a string that is a view of the file, not a copy of it: {i}" for i in range(256)}
    table.put_all({i: {"V": [i] * 8, "S": names[i]} for i in range(256)})
    kept = list(gridflow.Dataset(table, grid=grid, batch_size=64))
    dataset = gridflow.Dataset("T", grid=grid, batch_size=64)
    reading = iter(dataset)
    seen = [next(reading)]
    assert is_view(kept[0]["val"]["V"])

    def check():
        assert sorted(k for e in kept for k in e["key"].numpy().tolist()) == list(range(256))
        for element in kept:
            assert (element["val"]["V"].numpy() == element["key"].numpy()[:, None]).all()
            assert element["val"]["S"].numpy().tolist() == [names[k].encode() for k in element["key"].numpy()]

    table.remove_all(range(0, 256, 2))
    table.put_all({i: {"V": [0] * 8, "S": ""} for i in range(1, 256, 2)})
    table.compact()
    check()
    seen.append(next(reading))
    grid.drop_table("T")
    gc.collect()
    check()
    seen.append(next(reading))
    grid.close()
    del grid, table
    gc.collect()
    check()
    seen += list(reading)
    assert sorted(k for e in seen for k in e["key"].numpy().tolist()) == list(range(256))
    with pytest.raises(tf.errors.NotFoundError, match="no table T"):
        next(iter(dataset))


def test_dataset_needs_no_open_grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": "INT64"}, key="ID")
        table.put_all({i: {"V": i} for i in range(10)})
        dataset = gridflow.Dataset(table)
    assert sorted(int(e["val"]["V"]) for e in dataset) == list(range(10))
    dataset = gridflow.Dataset("T", home=tmp_path / "grid")
    assert sorted(int(e["val"]["V"]) for e in dataset) == list(range(10))
    gridflow.connect(tmp_path / "grid").close()  # nobody else owns it


def test_a_large_batch_of_scattered_rows(grid):
    """It is gathered by several threads, each of which takes whole rows."""
    table = grid.create_table("T", {"ID": "LONG", "P": "UINT8[28,28]", "X": "DOUBLE"}, key="ID")
    for part in range(3):
        ids = np.arange(part * 2000, part * 2000 + 2000)
        pixels = np.repeat((ids % 251).astype(np.uint8), 784).reshape(-1, 28, 28)
        table.load({"ID": ids, "P": pixels, "X": ids * 0.5})
    table.remove_all(range(0, 6000, 7))
    for rows in (gridflow.Dataset(table, shuffle=True, seed=1), gridflow.Dataset(table, where="ID % 3 = 1")):
        (batch,) = rows.batch(200_000)
        ids = batch["key"].numpy()
        assert len(set(ids)) == len(ids) > 1500
        assert (batch["val"]["P"].numpy() == (ids % 251).astype(np.uint8)[:, None, None]).all()
        assert (batch["val"]["X"].numpy() == ids * 0.5).all()
