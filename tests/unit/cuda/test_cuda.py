"""Tables as a GPU has them, in host memory: every function, to the last bit what numpy makes of the same rows."""

from __future__ import annotations

import gc
import json
import os
import re
import socket
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from damage import flip, rows_at
from device_rows import (
    DTYPES,
    RESULTS,
    TENSOR_DTYPES,
    RandomTable,
    assert_same,
    by_hash,
    check_conversion,
    check_table,
    converted,
    random_numbers,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import gridflow
from gridflow import (
    ColumnNotFoundError,
    DeviceError,
    GridClosedError,
    GridConnectionError,
    GridCorruptError,
    GridNotFoundError,
    SchemaError,
    TableNotFoundError,
    UsageError,
    VersionNotFoundError,
)
from gridflow.cuda import (
    Array,
    Convert,
    DeviceTable,
    RowNotFoundError,
    devices,
    is_available,
    library,
    open_shared,
    sharing,
)
from gridflow.cuda.devices import number_of
from gridflow.registry import open_reader
from gridflow.server import ServerProcess
from gridflow.testing import temporary_home, verified

pytestmark = pytest.mark.usefixtures("many_segments")

without_gpu = pytest.mark.skipif(is_available(), reason="there is a GPU")


def on_cpu(table, **options) -> DeviceTable:
    return DeviceTable(table, device="cpu", **options)


@pytest.fixture
def images(grid):
    """500 rows of 7 x 5 pixels in 3 colours, and others of a number."""
    columns = {"PIXELS": ("uint8", (7, 5, 3)), "LABEL": ("int16", ()), "SCORE": ("float64", ())}
    return RandomTable(grid, columns, 500)


# --- rows ---


@st.composite
def shapes(draw) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, 5), max_size=3)))


@settings(max_examples=40)
@given(st.data())
def test_rows_of_any_schema(data):
    kinds = st.tuples(st.sampled_from(TENSOR_DTYPES), shapes()).filter(lambda kind: kind[0] != "bool" or kind[1])
    columns = {f"C{i}": kind for i, kind in enumerate(data.draw(st.lists(kinds, min_size=1, max_size=4)))}
    rows, segments = data.draw(st.integers(0, 200)), data.draw(st.integers(1, 4))
    deleted, seed = data.draw(st.sampled_from([0, 0.05, 0.9])), data.draw(st.integers(0, 1 << 32))
    with temporary_home() as home, verified(home) as grid:
        model = RandomTable(grid, columns, rows, segments=segments, deleted=deleted, seed=seed)
        with on_cpu(model.table) as device:
            assert {name: (column.dtype_name, column.shape) for name, column in device.columns.items()} == {
                "ID": ("int64", ()),
                **columns,
            }
            check_table(model, device)


def test_rows_come_in_the_order_of_their_hashes(grid):
    model = RandomTable(grid, {"X": ("float32", (2,))}, 1000, segments=4, deleted=0.2)
    order = by_hash(grid, 1000)
    assert model.order(on_cpu(model.table)).tolist() == order[np.isin(order, model.ids)].tolist()


def test_rows_of_a_column_that_came_later(grid):
    """What its older segments do not have, they have in memory."""
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.load({"ID": np.arange(100)})
    grid.alter_table("T", add={"LABEL": "INT NOT NULL"}, fill={"LABEL": 7})
    table.load({"ID": np.arange(100, 150), "LABEL": np.arange(50, dtype="i4")})
    device = on_cpu(table)
    found = device.gather(np.arange(150))
    ids = found["ID"].numpy()
    np.testing.assert_array_equal(found["LABEL"].numpy(), np.where(ids < 100, 7, ids - 100))


def test_dates_and_times_are_the_integers_that_they_are_stored_as(grid):
    table = grid.create_table("T", {"ID": "LONG", "D": "DATE", "T": "TIMESTAMP"}, key="ID")
    moments = np.array(["2024-02-29T12:00:00.000001", "1969-12-31T23:59:59"], "datetime64[us]")
    table.load({"ID": np.arange(2), "D": moments.astype("datetime64[D]"), "T": moments})
    found = on_cpu(table).batch(0, 2)
    order = found["ID"].numpy()
    np.testing.assert_array_equal(found["D"].numpy(), moments.astype("datetime64[D]").astype(np.int32)[order])
    np.testing.assert_array_equal(found["T"].numpy(), moments.astype(np.int64)[order])


def test_consecutive_rows_of_a_segment_are_shown_where_they_lie(grid):
    table = grid.create_table("T", {"ID": "LONG", "X": "FLOAT32[4]"}, key="ID")
    table.load({"ID": np.arange(100), "X": np.ones((100, 4), "f4")})
    device = on_cpu(table, columns="X")
    one, other = device.batch(0, 10)["X"], device.batch(5, 10)["X"]
    assert one.read_only and other.pointer == one.pointer + 5 * 16
    with pytest.raises(ValueError, match="read-only"):
        one.numpy()[0] = 0
    copied = device.batch(0, 10, convert=Convert("float32"))["X"]
    assert not copied.read_only and copied.numpy().flags.writeable


@pytest.mark.parametrize("rows", [[], [3], (0, 0), range(5), np.arange(4, dtype="u1"), np.arange(20)[::3]])
def test_row_numbers_in_any_form(images, rows):
    device = on_cpu(images.table)
    order = images.order(device)
    found = device.gather(rows)
    assert len(found["PIXELS"]) == len(rows)
    for name in device.columns:
        assert_same(found[name].numpy(), images.data[name][order[np.asarray(rows, np.int64)]])


def test_into_arrays_that_are_there(images):
    device = on_cpu(images.table, columns=["PIXELS", "LABEL"])
    pixels, labels = Array.empty((4, 7, 5, 3), "float16", "cpu"), np.empty(4, np.int16)
    convert = {"PIXELS": Convert("float16", scale=0.5)}
    for rows in ([1, 2, 3, 4], [9, 9, 0, 9]):
        expected = device.gather(rows, convert)
        found = device.gather(rows, convert, out={"PIXELS": pixels, "LABEL": labels})
        assert found["PIXELS"] is pixels and found["LABEL"] is labels
        assert_same(pixels.numpy(), expected["PIXELS"].numpy())
        assert_same(labels, expected["LABEL"].numpy())
    device.batch(0, 4, out={"LABEL": labels})
    assert_same(labels, device.batch(0, 4)["LABEL"].numpy())
    frozen = labels.copy()
    frozen.flags.writeable = False
    for wrong, message in [
        ({"LABEL": np.empty(3, np.int16)}, r"out of column LABEL is int16\[4\] here, not int16\[3\]"),
        ({"LABEL": np.empty(4, np.int32)}, "not int32"),
        ({"LABEL": np.empty(8, np.int16)[::2]}, "not C-contiguous"),
        ({"LABEL": frozen}, "is read only"),
        ({"LABEL": Array((4,), "int16", -1, labels.ctypes.data, labels, read_only=True)}, "view of a table"),
        ({"PIXELS": pixels}, "out of column PIXELS is uint8"),
    ]:
        with pytest.raises(UsageError, match=message):
            device.gather([1, 2, 3, 4], out=wrong)
    with pytest.raises(ColumnNotFoundError, match="out has column NO; there are PIXELS, LABEL"):
        device.gather([1], out={"NO": labels})


# --- epochs ---


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 450, 10_000])
def test_an_epoch_has_every_row_once(images, shuffle, batch_size):
    device = on_cpu(images.table)
    batches = [{name: array.numpy() for name, array in b.items()} for b in device.batches(batch_size, shuffle=shuffle)]
    ids = np.concatenate([batch["ID"] for batch in batches])
    np.testing.assert_array_equal(np.sort(ids), images.ids)
    assert [len(batch["ID"]) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert_same(np.concatenate([batch["PIXELS"] for batch in batches]), images.data["PIXELS"][ids])
    whole = sum(len(batch["ID"]) for batch in device.batches(batch_size, shuffle=shuffle, drop_remainder=True))
    assert whole == len(ids) // batch_size * batch_size


def test_epochs_differ_and_a_seed_repeats_one(images):
    device = on_cpu(images.table, columns=["ID"])

    def epoch(**options) -> list[int]:
        return np.concatenate([b["ID"].numpy() for b in device.batches(64, shuffle=True, **options)]).tolist()

    assert epoch(seed=1) == epoch(seed=1) != epoch(seed=2)
    assert epoch() != epoch()


def test_an_epoch_goes_on_over_the_version_that_it_began_with(images):
    device = on_cpu(images.table)
    batches = device.batches(100, convert={"LABEL": Convert("float32")})
    first = next(batches)
    images.table.truncate()
    assert device.refresh() and len(device) == 0
    device.close()
    ids = np.concatenate([batch["ID"].numpy() for batch in [first, *batches]])
    np.testing.assert_array_equal(np.sort(ids), images.ids)


# --- conversions ---


@pytest.mark.parametrize("dtype", TENSOR_DTYPES)
def test_numbers_of_every_type_become_floats(grid, dtype):
    model = RandomTable(grid, {"X": (dtype, (6,))}, 700)
    with on_cpu(model.table) as device:
        for result in RESULTS:
            for convert in (
                Convert(result),
                Convert(result, scale=1 / 255),
                Convert(result, offset=-0.5),
                Convert(result, scale=[0.5, -3, 1e-30], offset=[1e-3, 0, 7], channels=3),
            ):
                check_conversion(model, device, "X", convert)
    if dtype != "bool":
        model = RandomTable(grid, {"X": (dtype, ())}, 700, name="SCALARS")
        check_conversion(model, on_cpu(model.table), "X", Convert("float32", scale=3, offset=1))


def test_rounding_is_to_the_nearest_and_to_even(home):
    """Every float16 and bfloat16 that there is, what lies in the middle of two, and the next float32 beside that."""
    halves = np.arange(1 << 16, dtype=np.uint16)
    finite = [np.sort(halves.view(np.float16)[np.isfinite(halves.view(np.float16))].astype(np.float32))]
    finite.append(np.sort((halves.astype(np.uint32) << 16).view(np.float32)))
    numbers = []
    for values in (finite[0], finite[1][np.isfinite(finite[1])]):
        middles = (values[1:].astype(np.float64) + values[:-1]).astype(np.float64) / 2
        middles = middles.astype(np.float32)
        numbers += [
            values,
            middles,
            np.nextafter(middles, np.float32(np.inf)),
            np.nextafter(middles, np.float32(-np.inf)),
        ]
    special = np.float32([65504, 65519.996, 65520, -65520, 3.4e38, np.inf, -np.inf, np.nan, -0.0, 1e-45, 6e-8, 2.98e-8])
    column = np.concatenate([*numbers, special])
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "FLOAT32"}, key="ID")
        table.load({"ID": np.arange(len(column)), "X": column})
        device = on_cpu(table)
        found = device.gather(np.arange(len(column)))
        np.testing.assert_array_equal(np.sort(found["ID"].numpy()), np.arange(len(column)))
        for result in RESULTS:
            convert = Convert(result)
            made = device.gather(np.arange(len(column)), convert={"X": convert})["X"].numpy()
            assert_same(made, converted(column[found["ID"].numpy()], convert))


@settings(max_examples=60)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.integers(1, 4),
    dtype=st.sampled_from(TENSOR_DTYPES),
    result=st.sampled_from(RESULTS),
    channels_first=st.booleans(),
    cropped=st.booleans(),
    placed=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
def test_parts_of_images(height, width, channels, dtype, result, channels_first, cropped, placed, seed):
    rng = np.random.default_rng(seed)
    crop = (int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))) if cropped else None
    places = rng.integers([-2, -2, 0], [height + 2, width + 2, 2], (20, 3)) if placed else None
    convert = Convert(
        result,
        scale=rng.normal(size=channels),
        offset=rng.normal(size=channels),
        channels=channels,
        image=(height, width),
        crop=crop,
        channels_first=channels_first,
        places=places,
    )
    with temporary_home() as home, verified(home) as grid:
        model = RandomTable(grid, {"X": (dtype, (height * width, channels))}, 30, segments=2, deleted=0, seed=seed)
        with on_cpu(model.table) as device:
            check_conversion(model, device, "X", convert)
            size = library.c_int64()
            native, _ = convert.native(20, -1, 0)
            handle = device.open_rows().handle
            library.call("result_bytes", handle, 1, library.byref(native), library.byref(size))
            assert size.value == device.gather(range(20), {"X": convert})["X"].nbytes // 20


def test_a_conversion_of_all_columns_or_of_some(images):
    device = on_cpu(images.table)
    found = device.gather([0, 1], Convert("bfloat16"))
    assert {array.dtype_name for array in found.values()} == {"bfloat16"}
    found = device.gather([0, 1], {"SCORE": Convert("float16")})
    assert {name: array.dtype_name for name, array in found.items()} == {
        "ID": "int64",
        "PIXELS": "uint8",
        "LABEL": "int16",
        "SCORE": "float16",
    }


def test_places_for_another_batch(images):
    convert = Convert("float32", channels=3, image=(7, 5), crop=(3, 3))
    device = on_cpu(images.table, columns="PIXELS")
    for count in (1, 5):
        places = np.random.default_rng().integers(0, 3, (count, 3))
        whole = device.gather(range(count))["PIXELS"].numpy()
        found = device.gather(range(count), convert.at(places))["PIXELS"].numpy()
        assert_same(found, converted(whole, convert, places))
    with pytest.raises(SchemaError, match=r"places is int32\[2, 3\] here, not int32\[5, 3\]"):
        device.gather([0, 1], convert.at(places))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dtype": "int8"}, "numbers become float32, float16 or bfloat16, not int8"),
        ({"dtype": "complex64"}, "no numbers of type 'complex64' on a device"),
        ({"scale": [1, 2]}, "scale is a number, or one for each of the 1 channels"),
        ({"offset": "x"}, "offset is a number"),
        ({"channels": 0}, "channels is a whole number of at least 1"),
        ({"channels": 1.5}, "channels is a whole number"),
        ({"image": 28}, r"image is \(height, width\), not 28"),
        ({"image": (28, 0)}, "the width of image"),
        ({"crop": (2, 2)}, "crop is for images"),
        ({"channels_first": True}, "channels_first is for images"),
        ({"image": (4, 4), "crop": (4, 5)}, r"crop \(4, 5\) does not fit into image \(4, 4\)"),
    ],
)
def test_conversions_that_make_no_sense(arguments, message):
    with pytest.raises(SchemaError, match=message):
        Convert(**{"dtype": "float32", **arguments})


def test_a_conversion_is_told_by_what_it_does():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    one = Convert(np.float16, scale=2, channels=3)
    assert one == Convert("float16", scale=[2, 2, 2], channels=3) and hash(one) == hash(one.at(None))
    assert Convert(ml_dtypes.bfloat16).dtype == Convert(np.dtype(ml_dtypes.bfloat16)).dtype == "bfloat16"


def test_images_that_a_column_does_not_have(images):
    device = on_cpu(images.table)
    with pytest.raises(SchemaError, match="a row of column PIXELS is 7 x 5 x 3 numbers, no image of 7 x 6 x 3"):
        device.gather([0], {"PIXELS": Convert("float32", channels=3, image=(7, 6))})
    with pytest.raises(SchemaError, match="has no 4 channels"):
        device.gather([0], {"PIXELS": Convert("float32", channels=4)})
    with pytest.raises(ColumnNotFoundError, match="convert has column NO; there are ID, PIXELS, LABEL, SCORE"):
        device.batch(0, 1, {"NO": Convert("float32")})
    with pytest.raises(UsageError, match="convert of column LABEL is a Convert"):
        device.batches(10, convert={"LABEL": "float32"})


# --- arrays ---


def test_numpy_takes_arrays_without_a_copy(images):
    device = on_cpu(images.table)
    for array in [*device.batch(0, 10).values(), *device.gather([1, 2]).values(), *device.gather([]).values()]:
        for taken in (np.from_dlpack(array), np.asarray(array), array.numpy()):
            assert (taken.shape, taken.dtype, taken.nbytes) == (array.shape, array.dtype, array.nbytes)
            assert taken.flags.writeable != array.read_only
            assert not array.size or taken.ctypes.data == array.pointer
        assert array.__dlpack_device__() == (1, 0) and array.ndim == taken.ndim and array.size == taken.size
        assert not hasattr(array, "__cuda_array_interface__")


@pytest.mark.parametrize("dtype", TENSOR_DTYPES)
def test_dlpack_of_every_type(dtype):
    numbers = random_numbers(np.random.default_rng(), dtype, (3, 1, 5))
    array = Array.of(numbers, "cpu")
    assert_same(np.from_dlpack(array), numbers)
    assert_same(np.from_dlpack(array.copy()), numbers)
    copied = np.from_dlpack(array, copy=True)
    assert_same(copied, numbers)
    assert copied.ctypes.data != array.pointer


def test_an_array_outlives_its_table(images):
    device = on_cpu(images.table, columns="PIXELS")
    view, made = device.batch(3, 1)["PIXELS"], device.gather([3])["PIXELS"]
    taken = np.from_dlpack(view)
    expected, owner = made.numpy().copy(), weakref.ref(view._owner)
    device.close()
    images.table.truncate()
    images.table.compact()
    assert_same(view.numpy(), expected)
    del device, view
    gc.collect()
    assert owner() is not None
    assert_same(taken, expected)
    del taken
    gc.collect()
    assert owner() is None, "the version is let go"


def test_a_capsule_that_nobody_takes_lets_go():
    array = Array.empty(3, "float32", "cpu")
    held = sys.getrefcount(array)
    for version in (None, (1, 0)):
        capsule = array.__dlpack__(max_version=version)
        assert sys.getrefcount(array) == held + 1
        assert ("versioned" in repr(capsule)) == (version is not None)
        del capsule
        assert sys.getrefcount(array) == held


def test_what_a_taker_refuses_with_is_seen():
    """Its capsule goes while the error is on its way."""
    array = Array.empty(3, "bfloat16", "cpu")
    held = sys.getrefcount(array)
    with pytest.raises((RuntimeError, BufferError), match="(?i)dtype"):
        np.from_dlpack(array)
    assert sys.getrefcount(array) == held
    assert array.dtype is None and array.numpy().dtype == np.uint16 and array.nbytes == 6
    with pytest.raises(BufferError, match="device"):
        array.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="no streams"):
        array.__dlpack__(stream=1)


# --- which table, which version ---


def test_rows_that_were_acknowledged_are_seen(images):
    images.table.put(1_000_000, {"PIXELS": np.ones((7, 5, 3), "u1"), "LABEL": 5, "SCORE": 0.5})
    device = on_cpu(images.table)
    assert len(device) == len(images.ids) + 1
    version = device.version
    assert not device.refresh() and device.version == version
    images.table.put(1_000_001, {"PIXELS": np.ones((7, 5, 3), "u1"), "LABEL": 6, "SCORE": 0.5})
    view = device.batch(0, 5)["LABEL"]
    before = view.numpy().copy()
    assert device.refresh() and device.version > version and len(device) == len(images.ids) + 2
    assert_same(view.numpy(), before)


def test_a_table_of_another_process(home):
    with ServerProcess(home) as _, gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG"}, key="ID")
        table.put_all((i, {}) for i in range(10))
        assert len(on_cpu("T", home=home)) == len(on_cpu("T", grid=grid)) == len(on_cpu(table)) == 10
        device = on_cpu(table)
        table.put(10, {})
        assert device.refresh() and len(device) == 11


def test_snapshots_are_read_by_tag_and_by_number(images):
    version = images.table.tag("old")
    images.table.truncate()
    assert len(on_cpu(images.table)) == 0
    with pytest.warns(DeprecationWarning, match="snapshot= is deprecated: use version="):
        assert len(on_cpu(images.table, snapshot="old")) > 0
    for snapshot in ("old", version):
        device = on_cpu(images.table, version=snapshot)
        assert device.version == version and not device.refresh()
        check_table(images, device)
    device = on_cpu(images.table, version="old")
    images.table.tag("old", replace=True)
    assert device.refresh() and len(device) == 0
    with pytest.raises(VersionNotFoundError, match="no tag new"):
        on_cpu(images.table, version="new")


def test_tables_that_are_not_there(grid, home):
    with pytest.raises(TableNotFoundError, match="no table NO"):
        on_cpu("NO", grid=grid)
    with pytest.raises(GridNotFoundError):
        on_cpu("NO", home=home / "nowhere")
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    device = on_cpu(table)
    grid.drop_table("T")
    with pytest.raises(TableNotFoundError):
        device.refresh()


# --- what goes wrong ---


def test_columns_that_a_device_cannot_hold(grid):
    columns = {"ID": "LONG", "S": "VARCHAR", "B": "BOOL", "L": "INT[]", "X": "DOUBLE", "P": "UINT8[2]"}
    table = grid.create_table("T", columns, key="ID")
    table.put(1, {"S": "a", "B": True, "L": [1], "X": None, "P": np.zeros(2, "u1")})
    for name in ("S", "B", "L"):
        with pytest.raises(SchemaError, match=f"column {name} .*: a device holds numbers, tensors"):
            on_cpu(table, columns=[name])
    with pytest.raises(SchemaError, match="column X has nulls"):
        on_cpu(table)
    with pytest.raises(ColumnNotFoundError, match="no column Q"):
        on_cpu(table, columns=["ID", "Q"])
    assert list(on_cpu(table, columns=["P", "ID"]).columns) == ["P", "ID"]
    table.put(1, {"S": "a", "B": True, "L": [1], "X": 0.5, "P": np.zeros(2, "u1")})
    assert list(on_cpu(table).columns) == ["ID", "X", "P"]
    texts = grid.create_table("TEXTS", {"S": "VARCHAR"}, key="S")
    with pytest.raises(SchemaError, match="table TEXTS has no column of numbers"):
        on_cpu(texts)


@pytest.mark.parametrize("row", [-1, 1 << 40, -(1 << 63)])
def test_rows_that_are_not_there(images, row):
    device = on_cpu(images.table)
    last = len(device) - 1
    device.gather([0, last])
    for action in (lambda: device.gather([0, row]), lambda: device.gather([last + 1]), lambda: device.batch(row, 1)):
        with pytest.raises(RowNotFoundError) as caught:
            action()
        assert isinstance(caught.value, UsageError) and isinstance(caught.value, IndexError)
    for start, count in ((0, last + 2), (last, 2), (last + 1, 1), (0, -1)):
        with pytest.raises(RowNotFoundError, match=f"table T has rows 0 to {last}, not"):
            device.batch(start, count)
    device.check()


@pytest.mark.parametrize("rows", [[0.5], [[1, 2]], 3, ["a"], [True], None])
def test_what_is_no_row_number(images, rows):
    with pytest.raises(UsageError, match=r"rows are int64\[n\], not"):
        on_cpu(images.table).gather(rows)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"resident": "some"}, "resident is True, False or 'auto', not 'some'"),
        ({"budget": 5}, "budget goes with resident='auto'"),
        ({"resident": "auto", "budget": 0}, "budget is a number of bytes"),
        ({"columns": []}, "columns names none"),
        ({"columns": ["ID", "ID"]}, "named twice"),
        ({"device": "tpu"}, "no device 'tpu'; there are cpu"),
        ({"device": -2}, "no device -2; there are cpu"),
        ({"device": 1.0}, "a device is a number or a name"),
    ],
)
def test_options_that_make_no_sense(images, options, message):
    with pytest.raises(UsageError, match=message):
        DeviceTable(images.table, **{"device": "cpu", **options})
    for batch_size in (0, 2.5, True):
        with pytest.raises(UsageError, match="batch_size is a number of rows"):
            on_cpu(images.table).batches(batch_size)


def test_host_memory_has_all_rows_whatever_is_asked_for(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for resident in (True, False, "auto"):
            device = on_cpu(images.table, resident=resident)
            assert device.resident_rows == len(device) and "cpu" in repr(device)
            check_table(images, device)


def test_a_table_that_was_closed(images):
    device = on_cpu(images.table)
    with device:
        made = device.gather([0])
    device.close()
    for action in (
        lambda: len(device),
        lambda: device.gather([0]),
        lambda: device.version,
        device.refresh,
        device.check,
    ):
        with pytest.raises(GridClosedError, match="table T on cpu was closed"):
            action()
    assert "closed" in repr(device)
    made["PIXELS"].numpy()


def test_a_damaged_block_is_found_before_its_rows_are_handed_out(home):
    with gridflow.connect(home / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "P": "UINT8[1000]"}, key="ID")
        table.load({"ID": np.arange(1000), "P": np.zeros((1000, 1000), "u1")})
    (segment,) = (home / "grid").glob("tables/1/*.seg")
    rows = rows_at(segment.read_bytes())
    flip(segment, rows.start + (rows.stop - rows.start) // 2)
    with open_reader(home / "grid") as reader:
        with pytest.raises(GridCorruptError, match=re.escape(str(segment))) as caught:
            on_cpu("T", grid=reader)
        assert caught.value.file == str(segment) and rows.start <= caught.value.offset < rows.stop
        assert len(on_cpu("T", grid=reader, columns="ID")) == 1000, "of what is not asked for nothing is read"


@without_gpu
def test_without_a_gpu_it_says_what_is_missing(images):
    assert not is_available() and devices() == []
    for device in (0, "gpu", "/GPU:0", "cuda:1"):
        with pytest.raises(DeviceError, match="driver") as caught:
            DeviceTable(images.table, device=device)
        assert caught.value.code == "NO_DRIVER" and isinstance(caught.value, RuntimeError)


@without_gpu
def test_names_of_devices():
    for name in ("cpu", "CPU", "/CPU:0", "/device:CPU:0", -1):
        assert number_of(name) == library.CPU
    for name in ("gpu:x", "", "cpu1", "gpus"):
        with pytest.raises(UsageError, match="no device"):
            number_of(name)


def test_threads_that_gather_while_versions_come_and_go(images):
    device = on_cpu(images.table)
    stop, failed = threading.Event(), []

    def gather():
        rng = np.random.default_rng()
        while not stop.is_set():
            try:
                found = device.gather(rng.integers(0, len(images.ids), 50))
                assert_same(found["PIXELS"].numpy(), images.data["PIXELS"][found["ID"].numpy()])
            except GridClosedError:
                return
            except BaseException as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=gather) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        row = {name: numbers[images.ids[0]] for name, numbers in images.data.items() if name != "ID"}
        images.table.put(int(images.ids[0]), {**row, "LABEL": int(row["LABEL"]), "SCORE": float(row["SCORE"])})
        assert device.refresh()
    device.close()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed


def test_kernels_compile():
    if library.find_compiler() is None:
        pytest.skip("no NVRTC: pip install nvidia-cuda-nvrtc")
    with ThreadPoolExecutor() as threads:
        for size in threads.map(library.compile_kernels, (75, 80, 90, 100)):
            assert size > 1000


def test_kernels_for_a_gpu_that_is_too_old():
    with pytest.raises(DeviceError) as caught:
        library.compile_kernels(10)
    assert caught.value.code == "NO_COMPILER"


def test_a_progress_that_raises_ends_the_work():
    for raised in (ValueError("enough"), KeyboardInterrupt()):

        def progress(done, of, raised=raised):
            raise raised

        with pytest.raises(type(raised)):
            with library.reported(progress) as callback:
                assert callback(1, 2, None) != 0
                raise library.to_error(9, "interrupted")
    with library.reported(None) as callback:
        assert callback(1, 2, None) == 0


# --- sharing, but for the memory ---


@pytest.fixture
def offered(images, tmp_path):
    """A table that is shared, with the descriptors of 300 files instead of a GPU's memory."""

    def share():
        made = []
        for i in range(300):
            descriptor = os.memfd_create("piece")
            os.write(descriptor, b"%d" % i)
            made.append(descriptor)
        return made

    device = on_cpu(images.table)
    rows = device.open_rows()
    stub = SimpleNamespace(share=share, table_id=rows.table_id, version=rows.version, columns=rows.columns, device=-1)
    path = tmp_path / ("shared-" + "x" * 120)  # longer than a socket's path may be
    with sharing.Shared(device, stub, path) as shared:
        yield shared


def test_descriptors_reach_whoever_asks(offered, images):
    for _ in range(3):
        hello, descriptors = sharing._ask(offered.path)
        assert hello["table"] == "T" and hello["columns"] == ["ID", "PIXELS", "LABEL", "SCORE"]
        assert hello["version"] == images.table.version() and hello["device"] == "cpu"
        assert [os.pread(descriptor, 9, 0) for descriptor in descriptors] == [b"%d" % i for i in range(300)]
        sharing._close_all(descriptors)
    assert offered.path.stat().st_mode & 0o777 == 0o600
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises((SchemaError, UsageError), match="without a GPU|nothing to share"):
        open_shared(offered.path)
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_path_is_for_one_table_at_a_time(offered, tmp_path):
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UsageError, match="is shared there already"):
        sharing._listen(offered.path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="no socket"):
        sharing._listen(tmp_path / "file")
    (tmp_path / "file").unlink()
    assert sorted(os.listdir(tmp_path)) == before
    offered.close()
    offered.close()
    assert not offered.path.exists() and "closed" in repr(offered)
    with pytest.raises(GridConnectionError, match="nobody shares a table at"):
        open_shared(offered.path)


def test_a_socket_that_was_left_behind_is_replaced(home):
    path = home / "left"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))
    with pytest.raises(GridConnectionError, match="nobody shares"):
        open_shared(path)
    sharing._listen(path).close()


@pytest.mark.parametrize("said", [b"", b"hello", b"{}", json.dumps({"gridflow": 2}).encode()])
def test_somebody_else_listens(home, said):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(home / "socket"))
        listener.listen()

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.send(said) if said else None

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises((UsageError, GridConnectionError), match=re.escape(str(home / "socket"))):
            open_shared(home / "socket")
        thread.join()


def test_memory_of_another_gpu_is_not_opened(home):
    with pytest.raises(
        DeviceError, match="shares memory of GPU 00ff, which this process does not see; it sees"
    ) as caught:
        sharing._device_of("00ff", None, home)
    assert caught.value.code == "NO_DEVICE"


def test_host_memory_is_not_shared(images, home):
    with pytest.raises(UsageError, match="every process maps it"):
        on_cpu(images.table).share(home / "socket")


def test_there_are_names_for_all_numbers():
    assert set(TENSOR_DTYPES) | {"bfloat16"} == set(library.DTYPES.values())
    assert set(DTYPES) < set(TENSOR_DTYPES)
