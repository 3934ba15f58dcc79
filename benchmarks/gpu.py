"""Rows of a table on a GPU: over the bus from pinned segments, and from its own memory

Every path is checked against numpy first. Then each is timed against the limits that the same run measures: the largest
copy from pinned memory, one from pageable memory, and a copy within the GPU's memory, whose bytes are counted as read
and as written. Each table has 1 GiB of fresh random rows; a round goes over many batches of 64 MiB or more, of other
rows each time and into one array after the other, and events of the GPU take the time. Row numbers are in the GPU's
memory but where it says that they are not.

    copies      the limits
    sequential  rows of 1 MiB, one batch after the other
    compressed  the same of drawings, three quarters of which are empty, with and without compressed copies of them
    over bus    rows at random, of 64 bytes to 1 MiB
    resident    rows of 512 bytes at random, as they are and as float32; images cropped, mirrored, channels first
    calls       what a batch costs that is shown where it lies
    bringing    a table opened, its files pinned, or loaded
    tensorflow  rows of 1 MiB as a dataset and from a DeviceTable, in its loop and by its clock

Beside it are PyTorch (a pinned tensor, ``index_select`` and ``to``; a resident one, ``index_select`` and ``float``),
CuPy (``take``) and TensorFlow (``from_tensor_slices`` and ``prefetch_to_device``), where they are installed.

    python benchmarks/gpu.py [--quick]

With --quick all is done in host memory, unless there is a GPU, and with little data: its figures mean nothing.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from ctypes import c_void_p
from typing import Any

import numpy as np
from _harness import GIB, MIB, Benchmark, Measured

import gridflow
from gridflow.cuda import Array, Convert, DeviceTable, Event, devices, is_available, library

CPU = "cpu"
IMAGE = (224, 224, 3)
CROP = (196, 196)
SETS = 8  # of row numbers, and of arrays for results


class Rows:
    """A table of random rows, and the same rows as a numpy array in the order of its ordinals."""

    def __init__(self, grid: gridflow.Grid, name: str, shape: tuple[int, ...], size: int, *, drawn: int | None = None):
        self.shape = shape
        self.row_bytes = int(np.prod(shape))
        self.count = max(size // self.row_bytes, 16)
        rng = np.random.default_rng()
        data = np.frombuffer(rng.bytes(self.count * self.row_bytes), np.uint8).reshape(self.count, *shape)
        if drawn is not None:  # a square of that many pixels in the middle, else nothing
            begin, end = (shape[0] - drawn) // 2, (shape[0] + drawn) // 2
            part, data = data[:, begin:end, begin:end], np.zeros_like(data)
            data[:, begin:end, begin:end] = part
        columns = {"ID": "LONG", "X": f"UINT8[{','.join(map(str, shape))}]"}
        self.table = grid.create_table(name, columns, key="ID")
        self.table.load({"ID": np.arange(self.count), "X": data})
        with DeviceTable(self.table, device=CPU, columns="ID") as device:
            self.data = data[device.gather(np.arange(self.count))["ID"].numpy()]

    def open(self, device: int | str, **options: Any) -> DeviceTable:
        return DeviceTable(self.table, device=device, columns="X", **options)


class Bench:
    """The device, what is timed on it, and with what."""

    def __init__(self, bench: Benchmark):
        self.it = bench
        self.on_gpu = is_available()
        self.device: int | str = 0 if self.on_gpu else CPU
        self.size = GIB if not bench.quick else 4 * MIB
        self.piece = 64 * MIB if not bench.quick else MIB
        self.rng = np.random.default_rng()
        self.torch = self._peer("torch", lambda torch: torch.cuda.is_available())
        self.cupy = self._peer("cupy", lambda cupy: cupy.cuda.is_available())
        if self.on_gpu:
            self._events = Event(), Event()

    def _peer(self, name: str, usable: Callable[[Any], bool]) -> Any:
        if not self.on_gpu:
            self.it.skip(name, "it is compared on a GPU, and there is none")
            return None
        try:
            module = importlib.import_module(name)
            if usable(module):
                self.it.machine["versions"][name] = module.__version__
                return module
            self.it.skip(name, "it does not find the GPU")
        except ImportError as error:
            self.it.skip(name, str(error))
        return None

    def seconds(self, work: Callable[[], object]) -> float:
        """What the device takes, from the first of what is begun to the last."""
        if not self.on_gpu:
            began = time.perf_counter()
            work()
            return time.perf_counter() - began
        begin, end = self._events
        begin.record()
        work()
        end.record()
        return end.elapsed(begin)

    def rate(self, works: list[Callable[[], object]], size: float) -> Measured:
        """GiB/s of several pieces of work, of ``size`` bytes each."""

        def all_of_them() -> None:
            for work in works:
                work()

        return {"rate": size * len(works) / self.seconds(all_of_them) / GIB}

    def measure(self, group: str, contenders: Mapping[str, Callable[[], Measured]]) -> None:
        self.it.measure(group, contenders, unit="GiB/s")

    def target(self, name: str, reached: float, wanted: float | None, unit: str, **options: Any) -> None:
        self.it.target(name, reached, wanted if self.on_gpu and not self.it.quick else None, unit, **options)

    def empty(self, shape: tuple[int, ...], dtype: str = "uint8") -> Array:
        return Array.empty(shape, dtype, self.device)

    def copy(self, to: Array, at: int, size: int) -> None:
        library.call("copy", to.device, to.pointer, c_void_p(at), size, None)

    def rows(self, count: int, size: int) -> list[np.ndarray]:
        """Numbers of so many rows, in several sets."""
        return [self.rng.integers(0, count, size) for _ in range(SETS)]

    def on_device(self, rows: list[np.ndarray]) -> list[Any]:
        return [Array.of(numbers, self.device) if self.on_gpu else numbers for numbers in rows]


def main() -> None:
    bench = Benchmark("gpu", __doc__, packages=[], rounds=11)
    it = Bench(bench)
    if it.on_gpu:
        card = devices()[0]
        bench.machine["gpu"] = {
            "name": card.name,
            "capability": ".".join(map(str, card.capability)),
            "memory_gib": round(card.memory_bytes / GIB, 1),
        }
        if not bench.quick:
            bench.file = "gpu-" + re.sub(r"[^a-z0-9]+", "-", card.name.lower()).strip("-")
    elif not bench.quick:
        bench.console.print("[yellow]skipped: there is no GPU, or no driver; --quick runs in host memory[/yellow]")
        return
    bench.settings |= {"device": "GPU" if it.on_gpu else "host memory", "bytes of a table": it.size}
    bench.settings |= {"bytes of a batch": it.piece}
    with bench.scratch(7 * it.size) as folder, ExitStack() as opened:
        grid = opened.enter_context(gridflow.connect(folder / "grid"))
        largest = Rows(grid, "MEBIBYTES", (MIB if not bench.quick else MIB // 16,), it.size)
        check(it, largest)
        bringing(it, largest)
        pinned, pageable = host_copies(it, largest)
        within = device_copies(it)
        sequential(it, largest, pinned, pageable)
        for width in (64, 512, 784, 4096):
            rows = Rows(grid, f"BYTES{width}", (width,), it.size)
            check(it, rows)
            over_bus(it, rows, pinned)
            if width == 512:
                resident(it, rows, within)
                calls(it, rows)
            grid.drop_table(rows.table.name)
        over_bus(it, largest, pinned)
        drawings = Rows(grid, "DRAWINGS", (28, 28), it.size, drawn=14)
        compressed(it, drawings, pinned)
        grid.drop_table(drawings.table.name)
        pictures = Rows(grid, "IMAGES", IMAGE, it.size)
        check(it, pictures)
        images(it, pictures, within)
        with_tensorflow(it, largest)
    bench.finish()


def same(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(found.numpy() if isinstance(found, Array) else found, expected)


def as_float(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float32) * np.float32(1 / 255)


def check(it: Bench, rows: Rows) -> None:
    """Every path gives what numpy gives."""
    numbers = it.rng.integers(0, rows.count, min(rows.count, 300))
    convert = Convert("float32", scale=1 / 255)
    few = min(20, rows.count)
    for resident in (False, True):
        with rows.open(it.device, resident=resident) as device:
            for named in [numbers, *it.on_device([numbers])]:
                same(device.gather(named)["X"], rows.data[numbers])
                same(device.gather(named, convert)["X"], as_float(rows.data[numbers]))
            same(device.batch(1, few - 1)["X"], rows.data[1:few])
            same(device.batch(1, few - 1, convert)["X"], as_float(rows.data[1:few]))
            if len(rows.shape) == 3:
                places = it.rng.integers([0, 0, 0], [29, 29, 2], (few, 3))
                found = device.gather(numbers[:few], picture(places))["X"].numpy()
                for i, (top, left, mirrored) in enumerate(places):
                    part = rows.data[numbers[i], top : top + CROP[0], left : left + CROP[1]]
                    same(found[i], as_float(part[:, ::-1] if mirrored else part).transpose(2, 0, 1))


def picture(places: Any) -> Convert:
    return Convert("float32", scale=1 / 255, channels=3, image=IMAGE[:2], crop=CROP, channels_first=True, places=places)


def bringing(it: Bench, rows: Rows) -> None:
    """Nothing of the table is open when the clock starts."""

    def took(**options: Any) -> Measured:
        began = time.perf_counter()
        device = rows.open(it.device, **options)
        seconds = time.perf_counter() - began
        device.close()
        return {"opened": seconds}

    group = f"{it.size / GIB:.3g} GiB"
    contenders = {"gridflow, pinned": took, "gridflow, loaded": lambda: took(resident=True)}
    it.it.measure(group, contenders, unit="s", better="lower", rounds=min(5, it.it.rounds))
    reached = it.it.median(group, "opened", "gridflow, pinned") / it.size * GIB
    it.target("a table pinned, of 1 GiB", reached, 1.0, "s", at_least=False)


def host_copies(it: Bench, rows: Rows) -> tuple[float, float]:
    """The largest rates from pinned and from pageable memory, in one piece."""
    group = "copies, host to device"
    with rows.open(it.device) as pinned, rows.open(CPU) as mapped:
        # The same mapping, of which the first GiB is registered as one piece; the segment's header is in it, too.
        whole = mapped.batch(0, rows.count * 15 // 16)["X"]
        assert whole.read_only, "it lies in one piece"
        size, to = whole.nbytes, it.empty(whole.shape)
        private = np.array(rows.data.reshape(-1)[:size])
        contenders = {
            "gridflow, pinned table": lambda: it.rate([lambda: it.copy(to, whole.pointer, size)], size),
            "pageable memory": lambda: it.rate([lambda: it.copy(to, private.ctypes.data, size)], size),
        }
        if it.torch:
            torch = it.torch
            theirs, source = torch.empty(size, dtype=torch.uint8, device="cuda"), torch.from_numpy(private)
            locked = source.pin_memory()
            contenders["torch, pinned"] = lambda: it.rate([lambda: theirs.copy_(locked, non_blocking=True)], size)
            contenders["torch, pageable"] = lambda: it.rate([lambda: theirs.copy_(source)], size)
        it.measure(group, contenders)
        assert len(pinned) == rows.count
    best = {kind: [name for name in contenders if kind in name] for kind in ("pinned", "pageable")}
    return it.it.best(group, "rate", best["pinned"]), it.it.best(group, "rate", best["pageable"])


def device_copies(it: Bench) -> float:
    """The largest rate within the device's memory, bytes read and written together."""
    group = "copies, within the device"
    parts = [it.empty((it.size // 2,)) for _ in range(4)]
    size = parts[0].nbytes

    def copies() -> Measured:
        works = [lambda i=i: it.copy(parts[i + 1], parts[i].pointer, size) for i in (0, 2, 0, 2)]
        return it.rate(works, 2 * size)

    contenders = {"gridflow, copy": copies}
    if it.torch:
        theirs = [it.torch.empty(size, dtype=it.torch.uint8, device="cuda") for _ in range(4)]
        pairs = [lambda i=i: theirs[i + 1].copy_(theirs[i]) for i in (0, 2, 0, 2)]
        contenders["torch, copy_"] = lambda: it.rate(pairs, 2 * size)
    it.measure(group, contenders)
    return it.it.best(group, "rate", list(contenders))


def sequential(it: Bench, rows: Rows, pinned: float, pageable: float) -> None:
    group, count = f"sequential, rows of {rows.row_bytes} bytes", it.piece // rows.row_bytes
    outs = [it.empty((count, *rows.shape)) for _ in range(SETS)]
    starts = range(0, rows.count - count + 1, count)
    with rows.open(it.device) as device:
        works = [
            lambda start=start, out=outs[i % SETS]: device.batch(start, count, out={"X": out})
            for i, start in enumerate(starts)
        ]
        contenders = {"gridflow": lambda: it.rate(works, count * rows.row_bytes)}
        if it.torch:
            torch = it.torch
            theirs = [torch.empty(count * rows.row_bytes, dtype=torch.uint8, device="cuda") for _ in range(SETS)]
            locked = torch.from_numpy(rows.data.reshape(-1)).pin_memory()

            def copied(start: int, out: Any) -> None:
                begin = start * rows.row_bytes
                out.copy_(locked[begin : begin + out.numel()], non_blocking=True)

            their_works = [lambda start=s, out=theirs[i % SETS]: copied(start, out) for i, s in enumerate(starts)]
            contenders["torch, slices of a pinned tensor"] = lambda: it.rate(their_works, count * rows.row_bytes)
        it.measure(group, contenders)
    reached = it.it.median(group, "rate", "gridflow")
    it.target("sequential 1 MiB rows, of the largest pinned copy", reached / pinned * 100, 90, "%")
    it.target("sequential 1 MiB rows, against pageable memory", reached / pageable, 2, "x")


def compressed(it: Bench, rows: Rows, pinned: float) -> None:
    group, count = f"sequential, drawings of {rows.row_bytes} bytes", it.piece // rows.row_bytes
    outs = [it.empty((count, *rows.shape)) for _ in range(SETS)]
    starts = range(0, rows.count - count + 1, count)

    def rate(device: DeviceTable) -> Measured:
        return it.rate(
            [lambda s=s, out=outs[i % SETS]: device.batch(s, count, out={"X": out}) for i, s in enumerate(starts)],
            count * rows.row_bytes,
        )

    try:
        with rows.open(it.device) as plain:
            rows.table.compress("X")
            with rows.open(it.device) as device:
                same(device.batch(7, count)["X"], rows.data[7 : 7 + count])
                it.measure(group, {"gridflow, compressed": lambda: rate(device), "gridflow": lambda: rate(plain)})
                device.check()
    except ImportError as error:
        it.it.skip(group, str(error))
        return
    reached = it.it.median(group, "rate", "gridflow, compressed") / pinned
    it.target(f"{group}, compressed, against the largest pinned copy", reached, None, "x")


def over_bus(it: Bench, rows: Rows, pinned: float) -> None:
    group, count = f"over bus, random rows of {rows.row_bytes} bytes", it.piece // rows.row_bytes
    size = count * rows.row_bytes
    numbers = it.rows(rows.count, count)
    named = it.on_device(numbers)
    outs = [it.empty((count, *rows.shape)) for _ in range(SETS)]
    with rows.open(it.device) as device:

        def gathers(sets: list[Any]) -> list[Callable[[], object]]:
            pairs = zip(sets, outs, strict=True)
            return [lambda n=n, out=out: device.gather(n, out={"X": out}, check=False) for n, out in pairs]

        contenders = {
            "gridflow": lambda: it.rate(gathers(named), size),
            "gridflow, numbers in host memory": lambda: it.rate(gathers(numbers), size),
        }
        if it.torch:
            torch = it.torch
            locked = torch.from_numpy(rows.data).pin_memory()
            chosen = [torch.from_numpy(n) for n in numbers]
            staging = torch.empty((count, *rows.shape), dtype=torch.uint8, pin_memory=True)

            def torch_rows(chosen: Any) -> None:
                torch.index_select(locked, 0, chosen, out=staging)
                staging.to("cuda", non_blocking=True)
                torch.cuda.current_stream().synchronize()  # before the next ones are written over it

            their_works = [lambda n=n: torch_rows(n) for n in chosen]
            contenders["torch, index_select and to"] = lambda: it.rate(their_works, size)
        it.measure(group, contenders)
        device.check()
    best = max(it.it.median(group, "rate", name) for name in contenders if name.startswith("gridflow"))
    wanted = 60 if rows.row_bytes >= 512 else None
    it.target(f"random rows of {rows.row_bytes} bytes, of the largest pinned copy", best / pinned * 100, wanted, "%")


def resident(it: Bench, rows: Rows, within: float) -> None:
    count = 2 * it.piece // rows.row_bytes  # so that a call takes the GPU longer than the processor
    numbers = it.rows(rows.count, count)
    named = it.on_device(numbers)
    convert = Convert("float32", scale=1 / 255)
    with rows.open(it.device, resident=True) as device, ExitStack() as peers:
        data = peers.enter_context(Peers(it, rows))
        for what, conversion, dtype, item in (("as they are", None, "uint8", 1), ("as float32", convert, "float32", 4)):
            group, size = (
                f"resident, random rows of {rows.row_bytes} bytes, {what}",
                count * rows.row_bytes * (1 + item),
            )
            outs = [it.empty((count, *rows.shape), dtype) for _ in range(SETS)]
            pairs = list(zip(named, outs, strict=True))
            works = [
                lambda n=n, out=out, c=conversion: device.gather(n, c, out={"X": out}, check=False) for n, out in pairs
            ]
            contenders = {"gridflow": lambda works=works, size=size: it.rate(works, size)}
            contenders |= data.gathers(numbers, conversion is not None, size)
            it.measure(group, contenders)
            reached = it.it.median(group, "rate", "gridflow") / within * 100
            it.target(f"{group}, of a copy", reached, 60, "%")
        device.check()


class Peers:
    """The same rows in the other libraries' arrays on the GPU; gone when the block ends."""

    def __init__(self, it: Bench, rows: Rows):
        self._it = it
        self._tensor = it.torch.from_numpy(rows.data).cuda() if it.torch else None
        self._array = it.cupy.asarray(rows.data) if it.cupy else None

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._tensor = self._array = None

    def gathers(self, numbers: list[np.ndarray], convert: bool, size: int) -> dict[str, Callable[[], Measured]]:
        it, contenders = self._it, {}
        if it.torch:
            torch, tensor = it.torch, self._tensor
            chosen = [torch.from_numpy(n).cuda() for n in numbers]

            def torch_rows(n: Any) -> Any:
                found = torch.index_select(tensor, 0, n)
                return found.float().mul_(1 / 255) if convert else found

            works = [lambda n=n: torch_rows(n) for n in chosen]
            contenders["torch, index_select"] = lambda: it.rate(works, size)
        if it.cupy:
            cupy, array = it.cupy, self._array
            their = [cupy.asarray(n) for n in numbers]

            def cupy_rows(n: Any) -> Any:
                found = cupy.take(array, n, axis=0)
                return found.astype(cupy.float32) * cupy.float32(1 / 255) if convert else found

            cupy_works = [lambda n=n: cupy_rows(n) for n in their]
            contenders["cupy, take"] = lambda: it.rate(cupy_works, size)
        return contenders


def calls(it: Bench, rows: Rows) -> None:
    """A loop of Python over batches that are shown where they lie."""
    group, count = "calls, resident contiguous batch", 256
    count = min(count, rows.count // 2)
    starts = it.rng.integers(0, rows.count - count, 2000 if not it.it.quick else 50).tolist()
    with rows.open(it.device, resident=True) as device:

        def took() -> Measured:
            began = time.perf_counter()
            for start in starts:
                device.batch(start, count)
            return {"call": (time.perf_counter() - began) / len(starts) * 1e6}

        shown = device.batch(3, count)["X"]
        same(shown, rows.data[3 : 3 + count])
        it.it.measure(group, {"gridflow": took}, unit="us", better="lower")
    assert shown.read_only, "it is a view"
    it.target("a resident contiguous batch", it.it.median(group, "call", "gridflow"), 20, "us", at_least=False)


def images(it: Bench, rows: Rows, within: float) -> None:
    group, count = "resident, images cropped, mirrored, channels first, float32", max(it.piece // rows.row_bytes, 4)
    size = count * CROP[0] * CROP[1] * 3 * (1 + 4)
    numbers = it.rows(rows.count, count)
    named = it.on_device(numbers)
    places = [it.rng.integers([0, 0, 0], [29, 29, 2], (count, 3), np.int32) for _ in range(SETS)]
    converts = [picture(found) for found in it.on_device(places)]
    outs = [it.empty((count, 3, *CROP), "float32") for _ in range(SETS)]
    with rows.open(it.device, resident=True) as device:
        works = [
            lambda n=n, c=c, out=out: device.gather(n, c, out={"X": out}, check=False)
            for n, c, out in zip(named, converts, outs, strict=True)
        ]
        contenders = {"gridflow": lambda: it.rate(works, size)}
        if it.torch:
            torch = it.torch
            tensor = torch.from_numpy(rows.data).cuda()
            chosen = [torch.from_numpy(n).cuda() for n in numbers]
            top = left = 14

            def torch_images(n: Any) -> Any:
                part = torch.index_select(tensor, 0, n)[:, top : top + CROP[0], left : left + CROP[1]]
                return part.flip(2).permute(0, 3, 1, 2).float().mul_(1 / 255).contiguous()

            their_works = [lambda n=n: torch_images(n) for n in chosen]
            contenders["torch, all alike"] = lambda: it.rate(their_works, size)
        it.measure(group, contenders)
        device.check()
    it.target(f"{group}, of a copy", it.it.median(group, "rate", "gridflow") / within * 100, None, "%")


def with_tensorflow(it: Bench, rows: Rows) -> None:
    """Last of all: it takes what it likes of the GPU's memory."""
    try:
        import tensorflow as tf
    except ImportError as error:
        it.it.skip("tensorflow", str(error))
        return
    for card in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(card, True)
    if it.on_gpu and not tf.config.list_logical_devices("GPU"):
        it.it.skip("tensorflow", "it does not find the GPU")
        return
    import gridflow.tf

    it.it.machine["versions"]["tensorflow"] = tf.__version__
    device = "/GPU:0" if it.on_gpu else "/CPU:0"
    count = it.piece // rows.row_bytes
    size = rows.count // count * count * rows.row_bytes
    options = {"columns": ["X"], "batch_size": count, "drop_remainder": True}
    ours = gridflow.Dataset(rows.table, device=device, **options)
    shuffled = gridflow.Dataset(rows.table, device=device, shuffle=True, **options)
    batches = rows.data[: size // rows.row_bytes].reshape(-1, count, rows.row_bytes)
    theirs = tf.data.Dataset.from_tensor_slices(batches).apply(tf.data.experimental.prefetch_to_device(device, 2))
    table = gridflow.tf.DeviceTable(rows.table, device, "X")

    def loop(elements: Callable[[], Any], rows_of: Callable[[Any], Any]) -> Measured:
        began, last = time.perf_counter(), None
        for element in elements():
            last = rows_of(element)
        with tf.device(device):
            int(tf.cast(last[-1, -1], tf.int32))  # waits for the last copy
        return {"rate": size / (time.perf_counter() - began) / GIB}

    same(table.batch(1, count)["X"].numpy(), rows.data[1 : count + 1])
    group = f"tensorflow, rows of {rows.row_bytes} bytes"
    contenders = {
        "gridflow.Dataset(device=)": lambda: loop(lambda: ours, lambda element: element["val"]["X"]),
        "gridflow.Dataset(device=, shuffle=True)": lambda: loop(lambda: shuffled, lambda element: element["val"]["X"]),
        "gridflow.tf.DeviceTable.batches": lambda: loop(
            lambda: table.batches(count, drop_remainder=True), lambda element: element["X"]
        ),
        "gridflow.tf.DeviceTable.batches(shuffle=True)": lambda: loop(
            lambda: table.batches(count, drop_remainder=True, shuffle=True), lambda element: element["X"]
        ),
        "from_tensor_slices, prefetch_to_device": lambda: loop(lambda: theirs, lambda element: element),
    }
    it.measure(group, contenders)
    table.close()


if __name__ == "__main__":
    main()
