"""Columns that are copied compressed and decoded on the GPU, to the last bit what they were."""

from __future__ import annotations

import numpy as np
import pytest
from device_rows import assert_same
from fake_gpu import scaled

from gridflow.cuda import Array, DeviceTable

pytest.importorskip("lz4.block", reason="the package lz4 compresses")

RANGES = scaled(20)


def numbers(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Some that compress very well, well, hardly, and not at all; repeats are near, far, and within themselves."""
    count, width = shape
    if kind == "ZEROS":
        return np.zeros(shape, np.uint8)
    if kind == "FEW":
        return rng.integers(0, 3, shape, np.uint8)
    if kind == "PERIODS":
        return np.tile((np.arange(width) % rng.integers(1, 40)).astype(np.uint8), (count, 1))
    if kind == "TEXT":
        words = rng.integers(0, 256, (50, 23), np.uint8)
        return words[rng.integers(0, 50, -(-count * width // 23))].reshape(-1)[: count * width].reshape(shape)
    return rng.integers(0, 256, shape, np.uint8)


KINDS = ("ZEROS", "FEW", "PERIODS", "TEXT", "NOISE")


@pytest.mark.parametrize("decode", ["always", "never", ""])
@pytest.mark.parametrize("width", [64, 97, 4096])
def test_columns(grid, width, decode, monkeypatch):
    monkeypatch.setenv("GRIDFLOW_CUDA_DECODE", decode)
    rng = np.random.default_rng()
    count = scaled(8 << 20) // width
    types = {"ID": "LONG"} | dict.fromkeys(KINDS, f"UINT8[{width}]")
    table = grid.create_table("T", types, key="ID", partitions=4)
    for begin, end in ((0, count // 3), (count // 3, count)):
        columns = {kind: numbers(rng, kind, (end - begin, width)) for kind in KINDS}
        table.load({"ID": np.arange(begin, end), **columns})
    table.compress(*KINDS)
    table.remove_all(range(7, 20))
    with DeviceTable(table, device="cpu") as host, DeviceTable(table) as over_bus:
        expected = {name: made.numpy() for name, made in host.batch(0, len(host)).items()}
        ends = np.sort(rng.integers(0, len(host) + 1, (RANGES, 2)), axis=1).tolist()
        for start, end in [(0, len(host)), *ends]:
            for name, made in over_bus.batch(start, end - start).items():
                assert_same(made.numpy(), expected[name][start:end], f"{name} {start} {end}")
        over_bus.check()
        size = len(host) // 2
        out = {name: Array.empty((size, *made.shape[1:]), made.dtype.name, 0) for name, made in expected.items()}
        for start in range(0, size, size // RANGES):  # one after the other without a stop between
            over_bus.batch(start, size, out=out)
        for name, made in out.items():
            assert_same(made.numpy(), expected[name][start : start + size], name)
    with DeviceTable(table, resident=True) as loaded:
        for name, made in loaded.batch(0, len(loaded)).items():
            assert_same(made.numpy(), expected[name], name)
