"""Tables with random rows, and what a device must make of them, worked out with numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import gridflow
from gridflow.cuda import Convert, DeviceTable

DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
TENSOR_DTYPES = ["bool", *DTYPES]
RESULTS = ["float32", "float16", "bfloat16"]


def random_numbers(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Any bits: with NaNs, infinities, denormals and the extremes of integers among them."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    kind = np.dtype(dtype)
    numbers = np.frombuffer(rng.bytes(int(np.prod(shape)) * kind.itemsize), kind).reshape(shape).copy()
    if kind.kind == "f" and numbers.size:  # few of all bits are numbers of a size that people have
        usual = rng.random(shape) < 0.5
        numbers[usual] = rng.normal(size=shape).astype(kind)[usual]
    return numbers


def by_hash(grid: gridflow.Grid, count: int) -> np.ndarray:
    """The numbers 0 to ``count`` - 1, int64, in the order that a table has whose keys they are."""
    with_all = grid.create_table("BY_HASH", {"ID": "LONG"}, key="ID")
    with_all.load({"ID": np.arange(count)})
    with DeviceTable(with_all, device="cpu") as device:
        ids = device.batch(0, count)["ID"].numpy().copy()
    grid.drop_table("BY_HASH")
    return ids


class RandomTable:
    """A table of random rows in several segments, some of them deleted, and its rows by their ID.

    Args:
        columns: name -> (dtype, shape of a row).
        segments: how many loads there are.
        deleted: which share of the rows.
    """

    def __init__(
        self,
        grid: gridflow.Grid,
        columns: dict[str, tuple[str, tuple[int, ...]]],
        rows: int,
        *,
        segments: int = 3,
        deleted: float = 0.1,
        seed: int | None = None,
        name: str = "T",
    ):
        seed = np.random.SeedSequence().entropy if seed is None else seed
        print(f"RandomTable: seed={seed}")  # pytest shows it where a test fails
        rng = self.rng = np.random.default_rng(seed)
        self.data = {column: random_numbers(rng, dtype, (rows, *shape)) for column, (dtype, shape) in columns.items()}
        self.data["ID"] = np.arange(rows)
        types = {
            column: dtype.upper() + (f"[{','.join(map(str, shape))}]" if shape else "")
            for column, (dtype, shape) in columns.items()
        }
        self.table = grid.create_table(name, {"ID": "LONG", **types}, key="ID", partitions=8)
        for ids in np.array_split(rng.permutation(rows), segments):
            if len(ids):
                self.table.load({column: numbers[ids] for column, numbers in self.data.items()}, on_duplicate="replace")
        gone = np.flatnonzero(rng.random(rows) < deleted)
        self.table.remove_all(gone.tolist())
        self.ids = np.setdiff1d(self.data["ID"], gone)

    def order(self, device: DeviceTable) -> np.ndarray:
        """The IDs of a device's rows, each of which is there once."""
        ids = device.gather(np.arange(len(device)))["ID"].numpy()
        np.testing.assert_array_equal(np.sort(ids), self.ids)
        return ids


def bits(numbers: np.ndarray) -> np.ndarray:
    """Numbers to be compared to the last bit."""
    contiguous = np.ascontiguousarray(numbers)
    return contiguous.view(f"u{contiguous.dtype.itemsize}") if contiguous.dtype.kind == "f" else contiguous


def assert_same(found: np.ndarray, expected: np.ndarray, what: str = "") -> None:
    """To the last bit."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), what
    np.testing.assert_array_equal(bits(found), bits(expected), what)


def converted(rows: np.ndarray, convert: Convert, places: Sequence[Sequence[int]] | None = None) -> np.ndarray:
    """What a conversion makes of rows; bfloat16 as uint16 bits."""
    numbers = rows.reshape(len(rows), -1)
    channel = np.arange(numbers.shape[1]) % convert.channels
    factors = [np.float32([1, 0][i]) if given is None else np.asarray(given, np.float32)[channel]
               for i, given in enumerate((convert.scale, convert.offset))]  # fmt: skip
    with np.errstate(all="ignore"):
        result = numbers.astype(np.float32) * factors[0] + factors[1]
    if convert.image is None:
        return rounded(result.reshape(rows.shape), convert.dtype)
    images = result.reshape(len(rows), *convert.image, convert.channels)
    height, width = convert.crop or convert.image
    parts = np.empty((len(rows), height, width, convert.channels), np.float32)
    for i, image in enumerate(images):
        room = np.array(convert.image) - (height, width)
        top, left = room // 2 if places is None else np.clip(places[i][:2], 0, room)
        part = image[top : top + height, left : left + width]
        parts[i] = part[:, ::-1] if places is not None and places[i][2] else part
    return rounded(parts.transpose(0, 3, 1, 2) if convert.channels_first else parts, convert.dtype)


def rounded(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Of float32, to the nearest, ties to even; a NaN is the usual one."""
    numbers = np.ascontiguousarray(numbers)
    wrong = np.isnan(numbers)
    if dtype == "bfloat16":
        whole = numbers.view(np.uint32).astype(np.uint64)
        result = ((whole + 0x7FFF + (whole >> 16 & 1)) >> 16).astype(np.uint16)
        result[wrong] = 0x7FC0
        return result
    with np.errstate(all="ignore"):
        result = numbers.astype(dtype)
    result.view(f"u{result.dtype.itemsize}")[wrong] = {"float32": 0x7FC00000, "float16": 0x7E00}[dtype]
    return result


def check_table(model: RandomTable, device: DeviceTable) -> None:
    """Every row of every column, by number and in batches, as it was loaded."""
    order, count = model.order(device), len(device)
    rng = model.rng
    wanted = rng.integers(0, count, rng.integers(0, 2 * count + 1)) if count else np.empty(0, np.int64)
    for rows in (wanted, np.arange(count), np.arange(count)[::-1]):
        gathered = device.gather(rows)
        for name in device.columns:
            assert_same(gathered[name].numpy(), model.data[name][order[rows]], name)
    for start, size in [(0, count), (0, 0), (count // 3, count - count // 3), (count // 2, min(3, count - count // 2))]:
        batch = device.batch(start, size)
        for name in device.columns:
            assert_same(batch[name].numpy(), model.data[name][order[start : start + size]], name)


def check_conversion(model: RandomTable, device: DeviceTable, column: str, convert: Convert) -> None:
    """Of all rows in any order, and of a batch."""
    order, count = model.order(device), len(device)
    rows = model.rng.integers(0, count, count + 3)
    places = convert.places
    found = device.gather(rows[: len(places) if places is not None else None], convert={column: convert})[column]
    expected = model.data[column][order[rows]]
    if places is not None:
        expected = expected[: len(places)]
    assert found.dtype_name == convert.dtype
    assert_same(found.numpy(), converted(expected, convert, places), f"{column} {convert}")
    if places is None:
        start = count // 4
        found = device.batch(start, count - start, convert={column: convert})[column]
        assert_same(found.numpy(), converted(model.data[column][order[start:]], convert), f"{column} {convert}")
