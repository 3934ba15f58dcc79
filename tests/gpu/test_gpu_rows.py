"""Rows and conversions on a GPU, to the last bit what numpy makes of them; fresh random rows in every run."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from device_rows import (
    DTYPES,
    RESULTS,
    TENSOR_DTYPES,
    RandomTable,
    assert_same,
    check_conversion,
    check_table,
    converted,
)
from fake_gpu import scaled

from gridflow import DeviceError, SchemaError, UsageError
from gridflow.cuda import Array, Convert, DeviceTable, RowNotFoundError, Stream

WIDTHS = [*range(1, 34), 512, 784, 1000]


@pytest.fixture(scope="module")
def widths(module_grid):
    """Rows of many sizes, most of which begin at odd addresses."""
    columns = {f"B{width}": ("uint8", (width,)) for width in WIDTHS}
    return RandomTable(module_grid, columns, scaled(3000), segments=4, name="WIDTHS")


@pytest.fixture(scope="module")
def numbers(module_grid):
    """Every type, as a number, and as rows of odd and even sizes."""
    shapes = {"N": (), "ROW": (3, 5), "LONG": (40,)}
    columns = {
        f"{name}_{dtype.upper()}": (dtype, shape)
        for dtype in TENSOR_DTYPES
        for name, shape in shapes.items()
        if shape or dtype != "bool"
    }
    return RandomTable(module_grid, columns, scaled(2000), name="NUMBERS")


@pytest.fixture(scope="module", params=[False, True, "auto", "some"])
def opened(request, module_grid, widths, numbers):
    """Both on the GPU, in every way in which they can be."""

    def table(model):
        if request.param != "some":
            return DeviceTable(model.table, resident=request.param)
        size = sum(column.row_bytes for column in DeviceTable(model.table).columns.values()) * len(model.ids)
        with pytest.warns(UserWarning, match=f"table {model.table.name}: .* rows fit into the memory of /GPU:0"):
            device = DeviceTable(model.table, resident="auto", budget=size // 2)
        assert 0 < device.resident_rows < len(device)
        return device

    with table(widths) as one, table(numbers) as other:
        for device in (one, other):
            if request.param != "some":
                assert device.resident_rows == (0 if request.param is False else len(device))
        yield one, other


def test_rows_of_all_widths(opened, widths):
    check_table(widths, opened[0])


def test_rows_of_all_types(opened, numbers):
    check_table(numbers, opened[1])


@pytest.mark.parametrize("dtype", TENSOR_DTYPES)
@pytest.mark.parametrize("result", RESULTS)
def test_numbers_of_every_type_become_floats(opened, numbers, dtype, result):
    for name, channels in (("N", 1), ("ROW", 1), ("ROW", 3), ("ROW", 5), ("LONG", 1), ("LONG", 4), ("LONG", 8)):
        if name == "N" and dtype == "bool":
            continue
        rng = np.random.default_rng()
        for convert in (
            Convert(result, channels=channels),
            Convert(result, scale=rng.normal(size=channels), offset=rng.normal(size=channels), channels=channels),
        ):
            check_conversion(numbers, opened[1], f"{name}_{dtype.upper()}", convert)


@pytest.mark.parametrize("dtype", TENSOR_DTYPES)
@pytest.mark.parametrize("result", RESULTS)
def test_parts_of_images(opened, numbers, dtype, result):
    rng = np.random.default_rng()
    for image, channels in (((8, 5), 1), ((5, 4), 2), ((10, 1), 4), ((1, 8), 5)):
        for _ in range(3):
            convert = Convert(
                result,
                scale=rng.normal(size=channels),
                offset=rng.normal(),
                channels=channels,
                image=image,
                crop=tuple(rng.integers(1, np.array(image) + 1).tolist()) if rng.random() < 0.7 else None,
                channels_first=bool(rng.random() < 0.5),
                places=rng.integers(-2, 11, (100, 3)) % [11, 11, 2] if rng.random() < 0.7 else None,
            )
            check_conversion(numbers, opened[1], f"LONG_{dtype.upper()}", convert)


@pytest.mark.parametrize("resident", [False, True])
def test_large_images(module_grid, resident):
    name = f"LARGE{int(resident)}"
    model = RandomTable(module_grid, {"X": ("uint8", (224, 224, 3))}, 70, segments=2, name=name)
    rng = np.random.default_rng()
    with DeviceTable(model.table, resident=resident) as device:
        check_table(model, device)
        for convert in (
            Convert("float32", scale=1 / 255),
            Convert("bfloat16", scale=[1, 2, 3], channels=3, image=(224, 224), channels_first=True),
            Convert(
                "float16",
                scale=[0.01, 0.02, 0.03],
                offset=[-1, 0, 1],
                channels=3,
                image=(224, 224),
                crop=(199, 201),
                channels_first=True,
                places=rng.integers([0, 0, 0], [26, 24, 2], (40, 3)),
            ),
        ):
            check_conversion(model, device, "X", convert)


@pytest.mark.parametrize("resident", [False, True])
def test_rows_of_a_mebibyte(module_grid, resident):
    name = f"HUGE{int(resident)}"
    model = RandomTable(module_grid, {"X": ("uint8", (1 << 20,))}, 40, segments=2, name=name)
    with DeviceTable(model.table, resident=resident) as device:
        check_table(model, device)
        check_conversion(model, device, "X", Convert("float16", scale=1 / 255))


@pytest.mark.parametrize("resident", [False, True])
def test_rounding_is_to_the_nearest_and_to_even(module_grid, resident):
    """Every float16 and bfloat16 that there is, what lies in the middle of two, and the next float32 beside that."""
    halves = np.arange(1 << 16, dtype=np.uint16)
    numbers = []
    for values in (halves.view(np.float16).astype(np.float32), (halves.astype(np.uint32) << 16).view(np.float32)):
        values = np.sort(values[np.isfinite(values)])
        middles = ((values[1:].astype(np.float64) + values[:-1]) / 2).astype(np.float32)
        numbers += [values, middles, *(np.nextafter(middles, np.float32(end)) for end in (-np.inf, np.inf))]
    special = np.float32([65504, 65519.996, 65520, -65520, 3.4e38, np.inf, -np.inf, np.nan, -0.0, 1e-45, 6e-8, 2.98e-8])
    column = np.concatenate([*numbers, special])
    table = module_grid.create_table(f"ROUNDED{int(resident)}", {"ID": "LONG", "X": "FLOAT32"}, key="ID")
    table.load({"ID": np.arange(len(column)), "X": column})
    with DeviceTable(table, resident=resident) as device:
        rows = np.arange(len(column))
        ids = device.gather(rows)["ID"].numpy()
        for result in RESULTS:
            made = device.gather(rows, convert={"X": Convert(result)})["X"].numpy()
            assert_same(made, converted(column[ids], Convert(result)))


def test_rows_that_are_named_on_the_gpu(opened, widths):
    device = opened[0]
    order = widths.order(device)
    for dtype_of_size in (0, 1, 31, 32, 33, 5000):
        rows = np.random.default_rng().integers(0, len(device), dtype_of_size)
        found = device.gather(Array.of(rows))
        for name in ("ID", "B1", "B3", "B16", "B784"):
            assert_same(found[name].numpy(), widths.data[name][order[rows]], name)


def test_rows_that_are_not_there(opened, widths):
    device = opened[0]
    order, count = widths.order(device), len(device)
    for row in (-1, count, 1 << 40, -(1 << 62)):
        rows = np.array([5, row, 7])
        with pytest.raises(RowNotFoundError, match=f"no row {row}: there are {count}"):
            device.gather(Array.of(rows))
        with pytest.raises(RowNotFoundError, match=f"no row {row}"):
            device.gather(rows)
        for convert in (None, {name: Convert("float16", offset=3) for name in ("B3", "B32", "B784")}):
            found = device.gather(Array.of(rows), convert, check=False)
            with pytest.raises(RowNotFoundError, match=f"no row {row}: there are {count}"):
                device.check()
            device.check()  # it has been said
            for name in ("ID", "B1", "B3", "B32", "B784"):
                expected = widths.data[name][order[[5, 5, 7]]]
                if convert and name in convert:
                    expected = converted(expected, convert[name])
                expected[1] = 0
                assert_same(found[name].numpy(), expected, name)


def test_results_at_any_address(opened, widths):
    """An array that begins where no word does, as another library may give one."""
    device = opened[0]
    order = widths.order(device)
    count = scaled(500)
    rows = np.random.default_rng().integers(0, len(device), count)
    for width in (1, 4, 12, 16, 17, 32, 512, 784):
        for shift in (1, 2, 4, 8):
            base = Array.empty(count * width + 16, "uint8")
            out = Array((count, width), "uint8", 0, base.pointer + shift, base)
            device.gather(rows, out={f"B{width}": out})
            assert_same(out.numpy(), widths.data[f"B{width}"][order[rows]], f"{width} bytes from {shift}")
            device.batch(10, count, out={f"B{width}": out})
            assert_same(out.numpy(), widths.data[f"B{width}"][order[10 : 10 + count]], f"{width} bytes from {shift}")
        base = Array.empty(count * width + 4, "float16")
        out = Array((count, width), "float16", 0, base.pointer + 2, base)
        convert = {f"B{width}": Convert("float16", scale=0.5)}
        device.gather(rows, convert, out={f"B{width}": out})
        assert_same(out.numpy(), converted(widths.data[f"B{width}"][order[rows]], convert[f"B{width}"]))


def test_resident_rows_are_shown_where_they_lie(module_grid):
    model = RandomTable(module_grid, {"X": ("float32", (12,))}, 1000, segments=1, deleted=0, name="VIEWS")
    with DeviceTable(model.table, resident=True, columns=["X", "ID"]) as device:
        one, other = device.batch(0, 10)["X"], device.batch(5, 10)["X"]
        assert one.read_only and other.read_only and other.pointer == one.pointer + 5 * 48
        again = device.batch(0, 1000)["X"]
        assert again.pointer == one.pointer
        assert not device.batch(0, 10, convert=Convert("float32"))["X"].read_only
    with DeviceTable(model.table, columns=["X", "ID"]) as device:
        made = device.batch(0, 10)["X"]
        assert not made.read_only and made.device == 0
        assert_same(made.numpy(), one.numpy())


@pytest.mark.parametrize("batch_size", [1, 100, 999, 5000])
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_has_every_row_once(opened, widths, batch_size, shuffle):
    device = opened[0]
    if batch_size == 1:
        batches = [batch for _, batch in zip(range(50), device.batches(1, shuffle=shuffle), strict=False)]
        assert len(np.unique([batch["ID"].numpy() for batch in batches])) == 50
        return
    ids = []
    for batch in device.batches(batch_size, shuffle=shuffle, convert={"B784": Convert("float16", scale=0.25)}):
        ids.append(batch["ID"].numpy())
        expected = converted(widths.data["B784"][ids[-1]], Convert("float16", scale=0.25))
        assert_same(batch["B784"].numpy(), expected)
    np.testing.assert_array_equal(np.sort(np.concatenate(ids)), widths.ids)


def test_work_in_several_streams(opened, numbers):
    device = opened[1]
    order = numbers.order(device)
    streams = [Stream() for _ in range(5)]
    rng, convert = np.random.default_rng(), {"LONG_UINT8": Convert("float32", scale=1 / 255)}
    for _ in range(10):
        begun = []
        for stream in streams:  # more than the library has buffers for row numbers
            rows = rng.integers(0, len(device), 700)
            begun.append((rows, device.gather(rows, convert, stream)))
        for rows, found in begun:
            assert_same(found["ID"].numpy(), order[rows])
            assert_same(
                found["LONG_UINT8"].numpy(), converted(numbers.data["LONG_UINT8"][order[rows]], convert["LONG_UINT8"])
            )


def test_numbers_on_the_gpu_and_back():
    rng = np.random.default_rng()
    for dtype in DTYPES:
        numbers = rng.integers(0, 100, (5, 1, 3)).astype(dtype)
        array = Array.of(numbers)
        assert_same(array.numpy(), numbers)
        assert_same(array.copy().numpy(), numbers)
        assert array.__dlpack_device__() == (2, 0) and not hasattr(array, "__array_interface__")
        assert_same(np.from_dlpack(array, device="cpu"), numbers)
        with pytest.raises((RuntimeError, BufferError)):
            np.from_dlpack(array)


def test_what_lies_elsewhere(opened, numbers):
    device = opened[1]
    with pytest.raises(UsageError, match="lies on cpu, not on /GPU:0"):
        device.gather([0], out={"ID": Array.empty(1, "int64", "cpu")})
    with pytest.raises(UsageError, match="lies in host memory, not on /GPU:0"):
        device.gather([0], out={"ID": np.empty(1, np.int64)})
    on_cpu = DeviceTable(numbers.table, device="cpu")
    with pytest.raises(UsageError, match="lies on /GPU:0, not on cpu"):
        on_cpu.gather(Array.of(np.arange(3)))
    with pytest.raises(UsageError, match=r"rows are int64\[n\], not int32"):
        device.gather(Array.of(np.arange(3, dtype=np.int32)))
    with pytest.raises(SchemaError, match="no image of 2 x 2 x 1"):
        device.gather([0], {"LONG_INT8": Convert("float32", image=(2, 2))})
    with pytest.raises(DeviceError, match="no GPU 999; there are cpu, /GPU:0") as caught:
        DeviceTable(numbers.table, device=999)
    assert caught.value.code == "NO_DEVICE"


def test_a_gpu_and_host_memory_agree(opened, numbers):
    """What is the same for numpy and for the GPU is for host memory, too, of other rows and factors."""
    device, rng = opened[1], np.random.default_rng()
    with DeviceTable(numbers.table, device="cpu") as on_cpu:
        rows = rng.integers(0, len(device), 300)
        for result in RESULTS:
            convert = Convert(result, scale=rng.normal(), offset=rng.normal())
            one, other = device.gather(rows, convert), on_cpu.gather(rows, convert)
            for name in one:
                assert_same(one[name].numpy(), other[name].numpy(), name)


def test_nothing_is_warned_of_where_all_fits(numbers):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with DeviceTable(numbers.table, resident="auto") as device:
            assert device.resident_rows == len(device)
