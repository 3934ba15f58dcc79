"""gridflow.tf.DeviceTable, on a GPU if there is one: the same rows as numpy's, in graphs and outside."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from device_rows import RESULTS, TENSOR_DTYPES, RandomTable, assert_same, converted

import gridflow
from gridflow import ColumnNotFoundError, DeviceError, GridClosedError, SchemaError, UsageError, VersionNotFoundError
from gridflow.cuda import is_available
from gridflow.tf import Convert, DeviceTable
from gridflow.tf.placing import place

DEVICE = "/GPU:0" if is_available() else "/CPU:0"

without_gpu = pytest.mark.skipif(is_available(), reason="there is a GPU")


@pytest.fixture
def model(grid):
    columns = {f"C{i}": (dtype, (2, 3)[: i % 3]) for i, dtype in enumerate(TENSOR_DTYPES) if dtype != "bool" or i % 3}
    return RandomTable(grid, columns, 400)


@pytest.fixture
def images(grid):
    return RandomTable(grid, {"PIXELS": ("uint8", (7, 5, 3)), "LABEL": ("int16", ())}, 200, name="IMAGES")


def order_of(table: DeviceTable) -> np.ndarray:
    return table.gather(np.arange(len(table)))["ID"].numpy()


def numpy_of(tensor: tf.Tensor) -> np.ndarray:
    """bfloat16 as its bits."""
    return tf.bitcast(tensor, tf.uint16).numpy() if tensor.dtype == tf.bfloat16 else tensor.numpy()


# --- rows ---


def test_rows_by_number(model):
    table = DeviceTable(model.table, DEVICE)
    order = order_of(table)
    assert sorted(order) == sorted(model.ids) and len(table) == len(order)
    assert table.resident_rows == (len(order) if DEVICE == "/CPU:0" else 0)
    wanted = model.rng.integers(0, len(order), 1000)
    for rows in (wanted, wanted.tolist(), tf.constant(wanted), wanted.astype(np.int32), [], np.empty(0, np.int64)):
        gathered = table.gather(rows)
        assert list(gathered) == list(table.columns)
        for name, tensor in gathered.items():
            assert_same(tensor.numpy(), model.data[name][order[np.asarray(rows, np.int64)]], name)
            assert tensor.device.endswith(DEVICE.lstrip("/"))


def test_batches(model):
    table = DeviceTable(model.table, DEVICE)
    order = order_of(table)
    for start, count in ((0, len(order)), (3, 0), (len(order), 0), (100, 17), (0, 1)):
        for name, tensor in table.batch(start, count).items():
            assert_same(tensor.numpy(), model.data[name][order[start : start + count]], name)
    sizes = [len(batch["ID"]) for batch in table.batches(64)]
    assert sizes == [64] * (len(order) // 64) + ([len(order) % 64] if len(order) % 64 else [])
    whole = np.concatenate([batch["ID"].numpy() for batch in table.batches(64)])
    assert_same(whole, order)
    shuffled = [
        np.concatenate([batch["ID"].numpy() for batch in table.batches(64, shuffle=True, seed=s)]) for s in (1, 1, 2)
    ]
    assert_same(shuffled[0], shuffled[1])
    assert (shuffled[0] != shuffled[2]).any() and sorted(shuffled[0]) == sorted(order)
    assert all(len(batch["ID"]) == 64 for batch in table.batches(64, drop_remainder=True))


def test_a_batch_that_lies_together_is_a_view(grid):
    numbers = np.arange(1000 * 16, dtype=np.float32).reshape(1000, 16)
    rows = grid.create_table("T", {"ID": "LONG", "X": "FLOAT32[16]"}, key="ID", partitions=1)
    rows.load({"ID": np.arange(1000), "X": numbers})
    table = DeviceTable(rows, DEVICE, "X", resident=DEVICE != "/CPU:0")
    first, again = (table.batch(0, 1000)["X"] for _ in range(2))
    if DEVICE == "/CPU:0":
        pointers = [np.from_dlpack(tensor).ctypes.data for tensor in (first, again)]
        assert pointers[0] == pointers[1], "both are where the rows lie"
    changed = first + 1  # must not be done in place
    assert_same((first + 1).numpy(), changed.numpy())
    expected = first.numpy().copy()
    assert_same(np.sort(expected[:, 0]), numbers[:, 0])
    part, batch = first[10:20], table.batch(16, 32)["X"]
    table.close()
    grid.drop_table("T")
    del first, again, table
    gc.collect()
    assert_same(part.numpy(), expected[10:20])
    assert_same(batch.numpy(), expected[16:48])


# --- conversions ---


@pytest.mark.parametrize("dtype", RESULTS)
def test_converted_numbers(model, dtype):
    table = DeviceTable(model.table, DEVICE)
    order = order_of(table)
    rows = model.rng.integers(0, len(order), 50)
    convert = Convert(dtype, scale=0.1, offset=-3)
    for name, tensor in table.gather(rows, convert).items():
        assert tensor.dtype == tf.as_dtype(dtype)
        assert_same(numpy_of(tensor), converted(model.data[name][order[rows]], convert), name)
    for name, tensor in table.batch(5, 20, {"C4": convert}).items():
        expected = model.data[name][order[5:25]]
        assert_same(numpy_of(tensor), converted(expected, convert) if name == "C4" else expected, name)


@pytest.mark.parametrize("dtype", RESULTS)
@pytest.mark.parametrize("channels_first", [False, True])
def test_parts_of_images(images, dtype, channels_first):
    table = DeviceTable(images.table, DEVICE)
    order = order_of(table)
    rows = images.rng.integers(0, len(order), 60)
    how = {"scale": [1, 2, 0.5], "offset": [0, -1, 7], "channels": 3, "image": (7, 5), "crop": (4, 3)}
    convert = Convert(dtype, **how, channels_first=channels_first)
    places = np.stack([images.rng.integers(-1, 6, 60), images.rng.integers(-1, 6, 60), rows % 2], axis=1)
    for given in (None, places, places * (1 << 33), tf.constant(places), tf.constant(places, tf.int32)):
        found = table.gather(rows, {"PIXELS": convert if given is None else convert.at(given)})["PIXELS"]
        wanted = None if given is None else np.asarray(given)
        expected = converted(images.data["PIXELS"][order[rows]], convert, wanted)
        assert_same(numpy_of(found), expected)


# --- graphs ---


def test_in_a_function(images):
    table = DeviceTable(images.table, DEVICE)
    order = order_of(table)
    traced = []

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int64)])
    def step(rows, start):
        traced.append(True)
        pixels = table.gather(rows, {"PIXELS": Convert("float32")})["PIXELS"]
        labels = table.batch(start, 3)["LABEL"]
        assert pixels.shape.as_list() == [None, 7, 5, 3] and labels.shape.as_list() == [3]
        return pixels, labels

    for rows in ([1, 2, 3], [], [len(order) - 1]):
        pixels, labels = step(np.array(rows, np.int64), len(rows))
        assert_same(pixels.numpy(), images.data["PIXELS"][order[np.array(rows, int)]].astype(np.float32))
        assert_same(labels.numpy(), images.data["LABEL"][order[len(rows) : len(rows) + 3]])
    assert len(traced) == 1

    @tf.function
    def corner(row, top):
        left = Convert("float32", channels=3, image=(7, 5), crop=(1, 1)).at([[top, 0, 0]])
        return table.gather([row], {"PIXELS": left})["PIXELS"]

    found = corner(tf.constant(3, tf.int64), tf.constant(2))
    assert_same(found.numpy(), images.data["PIXELS"][order[[3]], 2:3, 0:1].astype(np.float32))
    expected = step(np.array([0]), 0)[0].numpy()
    table.close()
    gc.collect()
    assert_same(step(np.array([0]), 0)[0].numpy(), expected, "a function keeps what it reads")


def test_in_a_dataset(images):
    table = DeviceTable(images.table, DEVICE)
    order = order_of(table)
    rows = tf.data.Dataset.range(len(table)).shuffle(1000, seed=3).batch(32)
    seen = np.concatenate([batch["ID"].numpy() for batch in rows.map(table.gather)])
    assert sorted(seen) == sorted(order)


def test_many_threads(images):
    table = DeviceTable(images.table, DEVICE)
    order = order_of(table)

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(30):
            rows = rng.integers(0, len(order), 100)
            assert_same(table.gather(rows)["ID"].numpy(), order[rows])
            if DEVICE != "/CPU:0":  # there TensorFlow tells a thread of errors that are another's, as with tf.reshape
                continue
            with pytest.raises(tf.errors.InvalidArgumentError):
                table.gather([seed, 1000 + seed])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(read, range(4)))


# --- versions ---


def test_versions(images, grid):
    table = DeviceTable(images.table, DEVICE, ["ID"])
    before, count = table.version, len(table)
    assert not table.refresh()
    old = table.gather([0, 1])["ID"].numpy()

    @tf.function
    def first():
        return table.gather([0, 1])["ID"]

    assert_same(first().numpy(), old)
    images.table.put(10_000, {"PIXELS": np.zeros((7, 5, 3), np.uint8), "LABEL": 1})
    assert table.refresh() and table.version > before and len(table) == count + 1
    assert 10_000 in order_of(table)
    assert_same(first().numpy(), old, "what was traced reads the older version")
    with pytest.raises(VersionNotFoundError):
        DeviceTable("IMAGES", DEVICE, grid=grid, version="none")


# --- wrong things ---


def test_rows_that_are_not_there(images):
    table = DeviceTable(images.table, DEVICE)
    count = len(table)
    for rows in ([count], [-1], [0, 1, 1 << 40]):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"no row {rows[-1]}: there are {count}"):
            table.gather(rows)
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"no row {rows[-1]}: there are {count}"):
            made = table.gather(rows, check=False)
            assert DEVICE != "/CPU:0" and not made["PIXELS"].numpy()[-1].any()
            table.gather([0])  # waits
        table.gather([0])
    for start, size in ((0, count + 1), (-1, 3), (count, 1), (3, -1), (1 << 62, 1 << 62)):
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match="no rows|negative"):
            table.batch(start, size)


def test_arguments(images, grid):
    table = DeviceTable(images.table, DEVICE)
    for rows in ([[1]], 1, [1.5], ["a"]):
        with pytest.raises((SchemaError, tf.errors.InvalidArgumentError, ValueError), match="rows|rank"):
            table.gather(rows)
    with pytest.raises(ColumnNotFoundError, match="convert has column NONE"):
        table.gather([0], {"NONE": Convert("float32")})
    with pytest.raises(SchemaError, match="no image of 9 x 9 x 1"):
        table.gather([0], {"PIXELS": Convert("float32", image=(9, 9))})
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"places has shape \[2,3\], not \[1,3\]"):
        table.gather([0], {"PIXELS": Convert("float32", channels=3, image=(7, 5)).at([[0, 0, 0], [0, 0, 0]])})
    for arguments, message in (
        ({"batch_size": 0}, "batch_size is a number of rows"),
        ({"batch_size": 2, "seed": 1}, "seed goes with shuffle"),
    ):
        with pytest.raises(UsageError, match=message):
            table.batches(**arguments)
    with pytest.raises(SchemaError, match="places is int32"):
        table.gather([0], {"PIXELS": Convert("float32", channels=3, image=(7, 5)).at([[0.5, 0.0, 0.0]])})
    with pytest.raises(SchemaError, match="column NAME"):
        DeviceTable(grid.create_table("NAMES", {"ID": "LONG", "NAME": "STRING"}, key="ID"), DEVICE, ["NAME"])
    table.close()
    table.close()
    for use in (lambda: table.gather([0]), lambda: table.batch(0, 1), lambda: table.batches(1), table.refresh):
        with pytest.raises(GridClosedError, match="table IMAGES on .* was closed"):
            use()
    assert repr(table) == "<gridflow.tf.DeviceTable IMAGES (closed)>"


def test_an_op_that_is_called_with_nonsense(images):
    """By a graph of another process, say: an error, not a stray read."""
    from gridflow.tf import ops

    library = ops.load()
    with pytest.raises(tf.errors.NotFoundError, match="no such table is open in this process"):
        library.gridflow_device_table(table=12345)
    with pytest.raises(tf.errors.InvalidArgumentError, match="table is one number"):
        library.gridflow_device_table(table=[1, 2])
    table = DeviceTable(images.table, DEVICE, ["ID", "LABEL"])
    table.gather([0])
    (handle,) = table._handles.values()
    variable = tf.Variable(1.0).handle
    how = {"rows": np.array([0]), "places": tf.zeros([0, 3], tf.int32)}
    for arguments, message in (
        ({"handle": handle, "column": 2, "dtype": tf.int64, "shape": []}, "no column 2 of 2"),
        ({"handle": handle, "column": 0, "dtype": tf.int32, "shape": []}, "8 bytes, not those of int32"),
        ({"handle": handle, "column": 0, "dtype": tf.int64, "shape": [2]}, "8 bytes, not those of int64"),
        ({"handle": handle, "column": 1, "dtype": tf.int64, "shape": [], "convert": True}, "converted to float, half"),
        (
            {"handle": handle, "column": 1, "dtype": tf.float32, "shape": [], "convert": True, "scale": [1.0, 2.0]},
            "scale has 2 numbers for 1 channels",
        ),
        ({"handle": variable, "column": 0, "dtype": tf.int64, "shape": []}, "type|table"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            library.gridflow_device_table_gather(**how, **arguments)


def test_a_thread_that_goes_on_with_an_older_version(images):
    table = DeviceTable(images.table, DEVICE, ["ID"])
    order = order_of(table)
    batches = table.batches(50)
    found = [next(batches)["ID"].numpy()]
    images.table.put(10_000, {"PIXELS": np.zeros((7, 5, 3), np.uint8), "LABEL": 1})
    assert table.refresh() and 10_000 in order_of(table)
    for batch in batches:
        found.append(batch["ID"].numpy())
        assert 10_000 in order_of(table)
    assert_same(np.concatenate(found), order)


def test_importing_it_does_not_start_tensorflow():
    """So that a program can still say which devices there are, and join a cluster."""
    code = "import gridflow.tf; from tensorflow.python.eager import context; "
    code += "assert context.context()._context_handle is None"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- devices ---


def test_kernels_for_gpus_are_in_the_library():
    from tensorflow.python.framework import kernels

    from gridflow.tf import ops

    ops.load()
    for op in ("GridflowDeviceTable", "GridflowDeviceTableGather", "GridflowDeviceTableBatch"):
        registered = kernels.get_registered_kernels_for_op(op).kernel
        assert sorted(kernel.device_type for kernel in registered) == ["CPU", "GPU"], op


@without_gpu
def test_there_is_no_gpu(images, grid):
    assert place().name == "/CPU:0"
    assert DeviceTable(images.table).device == "/CPU:0"
    for make in (lambda: DeviceTable(images.table, "/GPU:0"), lambda: gridflow.Dataset("IMAGES", grid=grid, device=0)):
        with pytest.raises(DeviceError) as caught:
            make()
        assert caught.value.code in ("NO_DRIVER", "NO_DEVICE")


def test_names_of_devices(images):
    here = tf.config.list_logical_devices("CPU")[0]
    for name in ("cpu", "/CPU:0", "CPU", "/device:CPU:0", here.name, here, -1):
        assert place(name) == ("/CPU:0", -1)
    with pytest.raises(UsageError, match="no device 'tpu'"):
        place("tpu")
    with pytest.raises(UsageError, match="a device is a number or a name"):
        place(1.5)
    with pytest.raises(UsageError, match="device of another process"):
        place("/job:worker/replica:0/task:3/device:CPU:0")
    with pytest.raises(UsageError, match="device of another process"):
        place("/job:localhost/replica:0/task:1/device:CPU:0")


# --- Dataset(device=) ---


def test_a_dataset_on_a_device(images, grid):
    plain = gridflow.Dataset("IMAGES", grid=grid).batch(32)
    expected = [element["key"].numpy() for element in plain]
    placed = gridflow.Dataset("IMAGES", grid=grid, device=DEVICE).batch(32)
    assert isinstance(placed, gridflow.tf.Dataset)
    for _ in range(2):
        found = list(placed)
        assert len(found) == len(expected)
        for element, keys in zip(found, expected, strict=True):
            assert_same(element["key"].numpy(), keys)
            assert_same(element["val"]["PIXELS"].numpy(), images.data["PIXELS"][keys])
            assert element["key"].device.endswith(DEVICE.lstrip("/"))
    mapped = placed.map(lambda element: element["key"] + 1)
    assert_same(np.concatenate(list(mapped)), np.concatenate(expected) + 1)
    assert int(placed.cardinality()) == len(expected)

    @tf.function
    def total():
        count = tf.constant(0)
        for element in placed:
            count += tf.size(element["key"])
        return count

    assert int(total()) == len(images.ids)


@pytest.mark.parametrize("eagerly", [False, True])
def test_fit_with_a_device(images, grid, eagerly):
    """The batches are on the device, and what the model learns of them is what it learns without one."""
    seen = []

    class Model(tf.keras.Sequential):
        def train_step(self, batch):
            seen.extend(tensor.device for tensor in batch if eagerly)
            return super().train_step(batch)

    def fitted(device):
        rows = gridflow.Dataset("IMAGES", grid=grid, device=device, as_supervised=("PIXELS", "LABEL")).batch(64)
        tf.keras.utils.set_random_seed(1)
        flat = [tf.keras.layers.Rescaling(1 / 255), tf.keras.layers.Flatten()]
        model = Model([*flat, tf.keras.layers.Dense(1, kernel_initializer="zeros")])
        model.compile(loss="mse", optimizer=tf.keras.optimizers.SGD(1e-4), run_eagerly=eagerly)
        history = model.fit(rows, validation_data=rows, epochs=2, verbose=0).history
        more = model.fit(rows.repeat(), steps_per_epoch=3, verbose=0).history
        return [*history["loss"], *history["val_loss"], *more["loss"], *model.predict(rows, verbose=0).ravel()]

    np.testing.assert_allclose(fitted(DEVICE), fitted(None), rtol=1e-3, equal_nan=False)
    assert bool(seen) == eagerly
    placed, plain = np.split(np.array(seen), 2)
    assert all(device.endswith(DEVICE.lstrip("/")) for device in placed)
    assert all("CPU" in device for device in plain)


def test_a_model_gathers_its_rows_itself(images):
    table = DeviceTable(images.table, DEVICE, columns=["PIXELS", "LABEL"])
    pixels = Convert("float32", scale=1 / 255, channels=3)

    class Model(tf.keras.Sequential):
        def train_step(self, rows):
            batch = table.gather(rows, {"PIXELS": pixels})
            return super().train_step((batch["PIXELS"], batch["LABEL"]))

    def fitted(kind, *data, **how):
        model = kind(
            [tf.keras.Input((7, 5, 3)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(1, kernel_initializer="zeros")]
        )
        model.compile(tf.keras.optimizers.SGD(1e-4), "mse", jit_compile=False)
        return model.fit(*data, **how, epochs=3, verbose=0).history["loss"]

    numbers = np.arange(len(table))
    found = fitted(Model, tf.data.Dataset.from_tensor_slices(numbers).batch(32))
    batch = table.gather(numbers, {"PIXELS": pixels})
    arrays = (batch["PIXELS"].numpy(), batch["LABEL"].numpy())
    expected = fitted(tf.keras.Sequential, *arrays, batch_size=32, shuffle=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, equal_nan=False)


def test_lists_and_strings_on_a_device(grid):
    table = grid.create_table("L", {"ID": "LONG", "S": "STRING", "N": "LIST<INT>"}, key="ID")
    table.put_all((i, {"S": f"s{i}", "N": list(range(i))}) for i in range(10))
    rows = {}
    for element in gridflow.Dataset("L", grid=grid, device=DEVICE).ragged_batch(4):
        for key, text, numbers in zip(element["key"], element["val"]["S"], element["val"]["N"], strict=True):
            rows[int(key)] = (text.numpy().decode(), numbers.numpy().tolist())
    assert rows == {i: (f"s{i}", list(range(i))) for i in range(10)}
