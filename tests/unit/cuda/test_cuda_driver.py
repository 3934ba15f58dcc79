"""What gridflow.cuda asks of a driver, with one of the tests' own: pinned files, memory, eviction.

A process has one driver for its life, so each test's body runs in a process of its own that has the fake one.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import fake_gpu
import numpy as np
import pytest
from device_rows import RandomTable, assert_same, by_hash, check_table, converted
from fake_gpu import ask, failing
from many_segments import separate_segments

import gridflow
import gridflow.storage.compaction
from gridflow import DeviceError, UsageError
from gridflow.cuda import Array, Convert, DeviceTable, library, open_shared
from gridflow.testing import temporary_home

MIB = 1 << 20


@pytest.fixture
def with_driver(built_gpu, monkeypatch) -> Callable[..., Any]:
    """Calls a function of this module in a process that has the driver."""

    def run(body: Callable[..., Any], *arguments: Any, memory: int = 64 * MIB) -> Any:
        for name, value in fake_gpu.environment(built_gpu, memory).items():
            monkeypatch.setenv(name, value)
        with ProcessPoolExecutor(1, get_context("spawn"), initializer=fake_gpu.use_if_asked) as pool:
            return pool.submit(in_separate_segments, body, *arguments).result()

    return run


def in_separate_segments(body: Callable[..., Any], *arguments: Any) -> Any:
    with separate_segments(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(gridflow.storage.compaction, "FAN_IN", 100)  # nor do large ones become one
        return body(*arguments)


# --- over the bus ---


def over_the_bus() -> None:
    columns = {"X": ("uint8", (3,)), "Y": ("float64", (40,)), "Z": ("int16", ())}
    with temporary_home() as home, gridflow.connect(home) as grid:
        model = RandomTable(grid, columns, 3000)
        for names in (["ID", "X", "Y", "Z"], ["ID"]):
            with DeviceTable(model.table, columns=names) as device:
                assert ask("registered") >= 3000 * 8
                check_table(model, device)
                assert device.resident_rows == 0
        assert ask("registered") == ask("allocated") == 0
        grid.drop_table("T")
        assert ask("registered") == 0


def test_rows_are_read_where_they_are_pinned(with_driver):
    with_driver(over_the_bus)


def accesses_are_counted() -> None:
    with temporary_home() as home, gridflow.connect(home) as grid:
        model = RandomTable(grid, {"X": ("int32", ())}, 500, segments=1, deleted=0)
        with DeviceTable(model.table, columns="X") as device:
            counts = []
            for size in (10, 20):
                numbers = Array.of(np.arange(size), 0)
                before = ask("accesses")
                device.gather(numbers)["X"].numpy()
                counts.append(ask("accesses") - before)
            assert counts[0] >= 10 * 2, "each row is read and written"
            assert counts[1] > counts[0]
            before = ask("accesses"), ask("copied")
            device.batch(100, 20)["X"].numpy()
            assert (ask("accesses"), ask("copied")) == (before[0], before[1] + 20 * 4), "no kernel is needed"


def test_accesses_are_counted(with_driver):
    with_driver(accesses_are_counted)


def rows_that_are_not_there() -> None:
    with temporary_home() as home, gridflow.connect(home) as grid:
        model = RandomTable(grid, {"X": ("uint8", (3,))}, 50)
        with DeviceTable(model.table) as device:
            from gridflow.cuda import Array

            rows = Array.of(np.array([0, len(device)]), 0)
            with pytest.raises(gridflow.cuda.RowNotFoundError, match=f"no row {len(device)}: there are {len(device)}"):
                device.gather(rows)
            made = device.gather(rows, check=False)
            assert not made["X"].numpy()[1].any()
            with pytest.raises(gridflow.cuda.RowNotFoundError):
                device.check()
            device.check()


def test_rows_that_are_not_there(with_driver):
    with_driver(rows_that_are_not_there)


# --- in the GPU's memory ---


def resident() -> None:
    with temporary_home() as home, gridflow.connect(home) as grid:
        model = RandomTable(grid, {"X": ("uint8", (5,)), "Y": ("float64", (40,))}, 3000)
        with DeviceTable(model.table, resident=True) as device:
            assert device.resident_rows == len(device)
            assert ask("registered") == 0, "files are not needed any more"
            check_table(model, device)
            model.table.load({name: numbers[:10] for name, numbers in model.data.items()}, on_duplicate="replace")
            assert device.refresh()
            assert device.resident_rows == len(device)
        assert ask("allocated") == 0


def test_resident(with_driver):
    with_driver(resident)


class Quarters:
    """A table of four segments of 1 MiB, each with a quarter of the order, of which the budget loads some."""

    ROWS = 256

    def __init__(self, grid: gridflow.Grid, budget: int):
        self.table = grid.create_table("T", {"ID": "LONG", "X": "UINT8[4096]"}, key="ID", partitions=1)
        rng = np.random.default_rng(0)
        for ids in np.split(by_hash(grid, 4 * self.ROWS), 4):
            pixels = rng.integers(0, 256, (self.ROWS, 4096), np.uint8)
            self.table.load({"ID": ids, "X": pixels}, on_duplicate="replace")
        self.host = DeviceTable(self.table, device="cpu", columns=["X"])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.device = DeviceTable(self.table, columns=["X"], resident="auto", budget=budget)
        assert len(caught) == 1 and "of 1,024 rows fit into the memory of" in str(caught[0].message)

    def batch(self, quarter: int) -> bool:
        """Reads a quarter; whether it is in the GPU's memory."""
        made = self.device.batch(quarter * self.ROWS, self.ROWS)["X"]
        assert_same(made.numpy(), self.host.batch(quarter * self.ROWS, self.ROWS)["X"].numpy())
        return made.read_only

    def gather(self, *quarters: int) -> None:
        """Reads all rows of some quarters."""
        rows = np.concatenate([np.arange(self.ROWS) + quarter * self.ROWS for quarter in quarters])
        np.random.default_rng(1).shuffle(rows)
        assert_same(self.device.gather(rows)["X"].numpy(), self.host.gather(rows)["X"].numpy())


def table_read_from_end_to_end() -> None:
    with temporary_home() as home, gridflow.connect(home) as grid:
        table = Quarters(grid, 2 * MIB + 100)
        for _ in range(6):
            assert [table.batch(quarter) for quarter in range(4)] == [True, True, False, False]
        for _ in range(6):
            table.gather(0, 1, 2, 3)
        assert [table.batch(quarter) for quarter in range(4)] == [True, True, False, False]
        assert table.device.resident_rows == 2 * table.ROWS


def test_a_table_that_does_not_fit_and_is_read_from_end_to_end_stays_as_it_is(with_driver):
    with_driver(table_read_from_end_to_end)


def rows_read_often() -> None:
    with temporary_home() as home, gridflow.connect(home) as grid:
        table = Quarters(grid, 2 * MIB + 100)
        assert table.batch(1) and table.batch(0)  # 1 is the one that was not used for longer
        shown = table.device.batch(table.ROWS, table.ROWS)["X"]
        table.batch(0)
        expected = table.host.batch(table.ROWS, table.ROWS)["X"].numpy()
        assert not table.batch(3), "read over the bus, once"
        table.batch(3)
        assert table.batch(3), "and now it has been read often enough"
        assert table.batch(0), "the least recently used one made room"
        assert not table.batch(1)
        assert table.device.resident_rows == 2 * table.ROWS
        assert_same(shown.numpy(), expected), "a view stays"
        assert ask("allocated") >= 3 * MIB
        del shown
        assert ask("allocated") < 2 * MIB + 200_000

        table.gather(1, 2)
        table.gather(1, 2)
        table.gather(1, 2)
        assert [table.batch(quarter) for quarter in range(4)] == [False, True, True, False]
        registered = ask("registered")
        assert registered >= 4 * MIB, "each may have to be read over the bus"
        table.device.close()
        assert ask("registered") == 0


def test_rows_that_are_read_often_come_to_be_loaded(with_driver):
    with_driver(rows_read_often)


def table_that_does_not_fit() -> None:
    with temporary_home() as home, gridflow.connect(home) as grid:
        model = RandomTable(grid, {"X": ("uint8", (4096,))}, 1024, segments=4, deleted=0)
        with pytest.raises(DeviceError, match="and .* are free on the GPU") as caught:
            DeviceTable(model.table, resident=True)
        assert caught.value.code == "NO_MEMORY"
        del caught  # its traceback holds the table
        assert ask("allocated") == ask("registered") == 0
        with pytest.warns(UserWarning, match="of 1,024 rows fit into the memory of /GPU:0"):
            device = DeviceTable(model.table, resident="auto", budget=1 << 40)
        assert 0 < device.resident_rows < 1024
        for row in range(1024):
            found = device.gather([row, 1023 - row])
            assert_same(found["X"].numpy(), model.data["X"][found["ID"].numpy()])
        del found
        device.close()
        assert ask("allocated") == ask("registered") == 0


def test_a_table_that_does_not_fit(with_driver):
    with_driver(table_that_does_not_fit, memory=3 * MIB + MIB // 2)


# --- calls that fail ---


def calls_that_fail(resident: bool | str, result: int, compressed: bool) -> None:
    os.environ["GRIDFLOW_CUDA_DECODE"] = "always"
    with temporary_home() as home, gridflow.connect(home) as grid:
        columns = {"X": ("uint8", (300,)), "Y": ("float32", (3,))}
        model = RandomTable(grid, columns, 2500 if compressed else 300, segments=2)
        if compressed:
            model.table.compress("X")
        model.table.keep_versions(2)
        count = len(model.ids)
        rows, few = np.random.default_rng().integers(0, count, 70), {"Y": Convert("float16", scale=2)}

        def work() -> None:
            budget = count * 170 if resident == "auto" else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                device = DeviceTable(model.table, resident=resident, budget=budget)
            with device:
                named = Array.of(rows, 0)
                for _ in range(2):
                    found = device.gather(rows, few)
                    ids = found["ID"].numpy()
                    assert_same(found["X"].numpy(), model.data["X"][ids])
                    assert_same(found["Y"].numpy(), converted(model.data["Y"][ids], few["Y"]))
                    assert_same(device.gather(named)["ID"].numpy(), ids)
                    batch = device.batch(5, count - 5)
                    assert_same(batch["X"].numpy(), model.data["X"][batch["ID"].numpy()])
                if resident is True:
                    with device.share(home / "socket"), open_shared(home / "socket") as other:
                        assert_same(other.gather(rows)["X"].numpy(), model.data["X"][ids])
                device.refresh()

        call = failed = 0
        while True:
            with failing(call, result) as came:
                try:
                    work()
                except DeviceError as error:
                    failed += 1
                    assert str(error)
            if not came[0]:
                break
            assert ask("registered") == ask("allocated") == 0, call
            call += 1
        assert failed > call / 2 > 20
        work()


@pytest.mark.parametrize(
    ("resident", "result", "compressed"),
    [
        ("auto", 2, False),
        *(pytest.param(resident, 2, True, marks=pytest.mark.long) for resident in (False, True, "auto")),
        *(pytest.param(resident, 999, True, marks=pytest.mark.long) for resident in (False, True)),
    ],
)
def test_calls_that_fail(with_driver, resident, result, compressed):
    """Whichever it is, for want of memory or unknown: an error or the right rows come of it; nothing stays behind."""
    with_driver(calls_that_fail, resident, result, compressed)


# --- a driver that lacks something ---


def read_with_what_there_is(said: dict[bool | str, str]) -> None:
    with temporary_home() as home, gridflow.connect(home) as grid:
        model = RandomTable(grid, {"X": ("uint8", (30,))}, 300)
        for resident in (False, True, "auto"):
            if resident in said:
                with pytest.raises(DeviceError, match=said[resident]) as caught:
                    DeviceTable(model.table, resident=resident)
                assert caught.value.code == "NO_DEVICE"
                del caught
            else:
                with DeviceTable(model.table, resident=resident) as device:
                    check_table(model, device)
            assert ask("registered") == ask("allocated") == 0
        if not said:
            with DeviceTable(model.table, resident=True) as device, pytest.raises(UsageError, match="does not share"):
                device.share(home / "socket")


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        (113, {False: "does not read pinned mappings of files: load the whole table"}),
        (91, {False: "does not read pinned mappings of files: load the whole table"}),
        (75, dict.fromkeys((False, True, "auto"), "GPU 0 is too old: compute capability 0.9, and 7.5 is needed")),
        (103, {}),
    ],
    ids=["read-only memory", "addresses of the host", "new kernels", "shared memory"],
)
def test_a_driver_that_lacks_something(with_driver, monkeypatch, attribute, said):
    monkeypatch.setenv("FAKE_GPU_LACKS", str(attribute))
    with_driver(read_with_what_there_is, said)


# --- memory that others have mapped ---


def memory_of_others() -> None:
    room = np.zeros(3 * 4096, np.uint8)
    begin = -(-room.ctypes.data // 4096) * 4096
    pinned = ctypes.c_void_p()
    library.call("pin_memory", 0, begin, 2 * 4096, ctypes.byref(pinned))
    assert ask("registered") == 2 * 4096
    library.load().gf_cuda_unpin_memory(pinned)
    assert ask("registered") == 0
    with pytest.raises(DeviceError, match="cannot register 4096 bytes with the GPU's driver: result 1"):
        library.call("pin_memory", 0, begin + 1, 4096, ctypes.byref(pinned))
    with pytest.raises(DeviceError, match="no GPU 1: there are 1"):
        library.call("pin_memory", 1, begin, 4096, ctypes.byref(pinned))
    assert pinned.value is None
    library.load().gf_cuda_unpin_memory(pinned)


def test_memory_of_others(with_driver):
    with_driver(memory_of_others)


# --- TensorFlow ---


def tensors_for_a_gpu() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    from gridflow.cuda.devices import CPU
    from gridflow.tf import dataset as module
    from gridflow.tf.placing import Place

    # This TensorFlow has no GPU: elements stay where they are, of files that are pinned as for one.
    module.place = lambda device: Place("/CPU:0", CPU if device == "cpu" else 0)
    with temporary_home() as home, gridflow.connect(home) as grid:
        pixels = np.random.default_rng(0).integers(0, 256, (1000, 64), np.uint8)
        table = grid.create_table("T", {"ID": "LONG", "X": "UINT8[64]", "S": "STRING"}, key="ID", partitions=1)
        table.load({"ID": np.arange(1000), "X": pixels, "S": [f"row number {i}" for i in range(1000)]})

        def read(**options: Any) -> gridflow.Dataset:
            rows = gridflow.Dataset("T", grid=grid, **options).batch(100)
            for element in rows:
                assert_same(element["val"]["X"].numpy(), pixels[element["key"].numpy()])
                assert element["val"]["S"].numpy()[7] == f"row number {element['key'].numpy()[7]}".encode()
            return rows

        for options in ({}, {"device": "cpu"}):
            rows = read(**options)
            assert rows.counters()["viewed_bytes"] > rows.counters()["pinned_bytes"] == ask("registered") == 0
            assert "pinned" not in rows.describe()
        rows = read(device="/GPU:0")
        numbers = rows.counters()
        assert numbers["pinned_bytes"] >= pixels.nbytes and "pinned)" in rows.describe()
        registered = ask("registered")
        assert registered >= pixels.nbytes
        again = read(device="/GPU:0")
        assert ask("registered") == registered, "once for all"
        shuffled = read(device="/GPU:0", shuffle=True, columns=["X", "S"])
        assert shuffled.counters()["pinned_bytes"] == 0, "what is gathered is copied"
        kept = next(iter(rows))["val"]["X"]
        del rows, again, shuffled
        grid.drop_table("T")
        assert ask("registered") == registered, "a tensor shows it"
        assert kept.numpy().any()
        del kept
        tf.keras.backend.clear_session()
        assert ask("registered") == 0


def test_tensors_for_a_gpu_lie_in_pinned_files(with_driver):
    with_driver(tensors_for_a_gpu)


# --- compressed over the bus ---


def compressed(decodes: bool) -> None:
    """Numbers that compress well, some that do not, and rows whose bytes do not fit into blocks."""
    with temporary_home() as home, gridflow.connect(home) as grid:
        rng = np.random.default_rng(0)
        count = 40_000
        data = {
            "ID": by_hash(grid, count),  # so that a batch lies in one segment, or two
            "FEW": rng.integers(0, 3, (count, 33), np.uint8),
            "NOISE": rng.integers(0, 256, (count, 24), np.uint8),
            "TIMES": np.arange(count, dtype="int64") // 1000,
        }
        types = {"ID": "LONG", "FEW": "UINT8[33]", "NOISE": "UINT8[24]", "TIMES": "LONG"}
        table = grid.create_table("T", types, key="ID", partitions=4)
        half = count // 2
        for part in (slice(half), slice(half, count)):
            table.load({name: numbers[part] for name, numbers in data.items()})
        table.compress("FEW", "NOISE", "TIMES")
        table.remove_all(range(5, 15))
        with DeviceTable(table, device="cpu") as host:
            expected = {name: numbers.numpy() for name, numbers in host.batch(0, len(host)).items()}
        before = ask("decoded")
        with DeviceTable(table) as device:
            tried = ask("decoded")
            assert tried > before, "both ways are tried"
            for start, size in ((0, len(device)), (1, 15_000), (12_345, 20_000), (19_000, 2), (30_000, 5_000)):
                batch = device.batch(start, size)
                for name, numbers in batch.items():
                    assert_same(numbers.numpy(), expected[name][start : start + size], name)
            device.check()
            assert (ask("decoded") > tried) == decodes
        tried = ask("decoded")
        with DeviceTable(table, resident=True) as device:
            assert (ask("decoded") > tried + 2 * 3) == decodes, "loaded that way, too"
            for name, numbers in device.batch(0, len(device)).items():
                assert_same(numbers.numpy(), expected[name], name)
        del batch, numbers
        assert ask("registered") == ask("allocated") == 0
        # Where a copy is missing or damaged the segment is read.
        for path in table.folder.glob("*.lz4"):
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2] ^= 1
            path.unlink()
            path.write_bytes(raw)
            break
        assert len(grid.check()) == 1
        with DeviceTable(table) as device:
            for name, numbers in device.batch(0, len(device)).items():
                assert_same(numbers.numpy(), expected[name], name)
        table.compress()
        before = ask("decoded")
        with DeviceTable(table) as device:
            assert_same(device.batch(0, 9000)["FEW"].numpy(), expected["FEW"][:9000])
        assert ask("decoded") == before


def test_columns_that_are_compressed(with_driver, monkeypatch):
    monkeypatch.setenv("FAKE_GPU_DECODES", "1")
    with_driver(compressed, True)


@pytest.mark.long
def test_columns_that_are_compressed_where_that_is_not_faster(with_driver):
    with_driver(compressed, False)
