"""Every kernel, on few rows: what compute-sanitizer runs, under which the other tests take too long."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from device_rows import RESULTS, TENSOR_DTYPES, RandomTable, check_conversion, check_table

from gridflow.cuda import Array, Convert, DeviceTable, RowNotFoundError

WIDTHS = [1, 2, 3, 4, 8, 16, 20, 48, 64, 100, 256, 272, 1000]


@pytest.fixture(params=[False, True, "some"])
def opened(request):
    """Opens a table over the bus, resident, or half of each."""

    def table(model: RandomTable) -> DeviceTable:
        if request.param != "some":
            return DeviceTable(model.table, resident=request.param)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            size = sum(numbers[0].nbytes for numbers in model.data.values()) * len(model.ids)
            return DeviceTable(model.table, resident="auto", budget=size // 2)

    return table


def test_copies(grid, opened):
    model = RandomTable(grid, {f"B{width}": ("uint8", (width,)) for width in WIDTHS}, 200)
    with opened(model) as device:
        check_table(model, device)
        rows = Array.of(np.array([0, -1, len(device), 1 << 40]), 0)
        with pytest.raises(RowNotFoundError):
            device.gather(rows)


@pytest.mark.parametrize("dtype", RESULTS)
def test_conversions(grid, opened, dtype):
    columns = {f"C{i}": (kind, (2, 3)) for i, kind in enumerate(TENSOR_DTYPES)}
    # More images than blocks of threads, of a GPU with one multiprocessor.
    model = RandomTable(grid, columns | {"PIXELS": ("uint8", (6, 5, 3))}, 100)
    with opened(model) as device:
        for column in columns:
            check_conversion(model, device, column, Convert(dtype, scale=[1, 2, 3], offset=0.5, channels=3))
        for first, crop in itertools.product((False, True), (None, (4, 3), (3, 3))):
            images = Convert(dtype, scale=0.1, channels=3, image=(6, 5), crop=crop, channels_first=first)
            check_conversion(model, device, "PIXELS", images)
            check_conversion(model, device, "PIXELS", images.at(model.rng.integers(-1, 4, (20, 3))))


def test_compressed_columns(grid, monkeypatch):
    pytest.importorskip("lz4.block", reason="the package lz4 compresses")
    monkeypatch.setenv("GRIDFLOW_CUDA_DECODE", "always")
    rng = np.random.default_rng()
    words = rng.integers(0, 256, (9, 37), np.uint8)
    numbers = words[rng.integers(0, 9, 16_000)].reshape(-1, 74)
    table = grid.create_table("T", {"ID": "LONG", "X": "UINT8[74]"}, key="ID")
    table.load({"ID": np.arange(len(numbers)), "X": numbers})
    table.compress("X")
    with DeviceTable(table, device="cpu") as host:
        ids = host.gather(np.arange(len(host)))["ID"].numpy()
    for resident in (False, True):
        with DeviceTable(table, columns="X", resident=resident) as device:
            found = device.batch(11, 7000)["X"].numpy()
            np.testing.assert_array_equal(found, numbers[ids[11:7011]])
            device.check()
