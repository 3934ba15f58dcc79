"""Rows of a table on a GPU: over the bus from pinned segments, and from its own memory

Every path is checked against numpy first, then timed against the limits of the same run: the largest copy from pinned
memory, one from pageable memory, and a copy within the GPU's memory, whose bytes count as read and as written. Each
table has 1 GiB of fresh random rows; a round goes over many batches of 64 MiB or more, of other rows each time and into
one array after the other, and events of the GPU take the time. Row numbers lie in the GPU's memory unless a name says
otherwise.

    copies      the limits
    sequential  rows of 1 MiB, one batch after the other
    compressed  the same of drawings, three quarters of them empty, with and without compressed copies
    over bus    rows at random, of 64 bytes to 1 MiB
    resident    rows of 512 bytes at random, as they are and as float32; images cropped, mirrored, channels first
    calls       the cost of a batch that is a view
    opening     a table opened, with pinned files or loaded
    tensorflow  rows of 1 MiB as a dataset and from a DeviceTable, in TensorFlow's loop and by its clock

Beside gridflow, where installed: PyTorch (a pinned tensor, ``index_select`` and ``to``; a resident one,
``index_select`` and ``float``), CuPy (``take``) and TensorFlow (``from_tensor_slices`` and ``prefetch_to_device``).

    python benchmarks/gpu.py [--quick]

With --quick the data is little, and in host memory unless there is a GPU: the figures mean nothing.
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
from _harness import GIB, MIB, Benchmark, Figures

import gridflow
from gridflow.cuda import Array, Convert, DeviceTable, Event, devices, is_available, library

CPU = "cpu"
IMAGE = (224, 224, 3)
CROP = (196, 196)
#: Places of a crop along a side of an image, and the one in the middle.
OFFSETS, MIDDLE = IMAGE[0] - CROP[0] + 1, (IMAGE[0] - CROP[0]) // 2
#: Sets of row numbers, and of arrays for results.
SETS = 8


class RandomTable:
    """A table of random rows, and the same rows as a numpy array in the order of the ordinals."""

    def __init__(self, grid: gridflow.Grid, name: str, shape: tuple[int, ...], size: int, *, drawn: int | None = None):
        self.shape = shape
        self.row_bytes = int(np.prod(shape))
        self.count = max(size // self.row_bytes, 16)
        rng = np.random.default_rng()
        data = np.frombuffer(rng.bytes(self.count * self.row_bytes), np.uint8).reshape(self.count, *shape)
        if drawn is not None:  # only a square of so many pixels in the middle is not 0
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


class DeviceBench:
    """The device of the run: sizes, clock and peers, and the benchmark of the results."""

    def __init__(self, bench: Benchmark):
        self.bench = bench
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
            self.bench.skip(name, "it is compared on a GPU, and there is none")
            return None
        try:
            module = importlib.import_module(name)
            if usable(module):
                self.bench.machine["versions"][name] = module.__version__
                return module
            self.bench.skip(name, "it does not find the GPU")
        except ImportError as error:
            self.bench.skip(name, str(error))
        return None

    def seconds(self, work: Callable[[], object]) -> float:
        """The seconds of the device, from the start of the first operation to the end of the last."""
        if not self.on_gpu:
            began = time.perf_counter()
            work()
            return time.perf_counter() - began
        begin, end = self._events
        begin.record()
        work()
        end.record()
        return end.elapsed(begin)

    def rate(self, works: list[Callable[[], object]], size: float) -> Figures:
        """GiB/s of several works of ``size`` bytes each."""

        def all_of_them() -> None:
            for work in works:
                work()

        return {"rate": size * len(works) / self.seconds(all_of_them) / GIB}

    def measure(self, group: str, contenders: Mapping[str, Callable[[], Figures]]) -> None:
        self.bench.measure(group, contenders, unit="GiB/s")

    def target(self, name: str, figure: float, goal: float | None, unit: str, **options: Any) -> None:
        self.bench.target(name, figure, goal if self.on_gpu and not self.bench.quick else None, unit, **options)

    def empty(self, shape: tuple[int, ...], dtype: str = "uint8") -> Array:
        return Array.empty(shape, dtype, self.device)

    def copy(self, to: Array, at: int, size: int) -> None:
        library.call("copy", to.device, to.pointer, c_void_p(at), size, None)

    def rows(self, count: int, size: int) -> list[np.ndarray]:
        """Sets of ``size`` random numbers of ``count`` rows."""
        return [self.rng.integers(0, count, size) for _ in range(SETS)]

    def on_device(self, rows: list[np.ndarray]) -> list[Any]:
        return [Array.of(numbers, self.device) if self.on_gpu else numbers for numbers in rows]


def main() -> None:
    bench = Benchmark("gpu", __doc__, packages=[], rounds=11)
    gpu = DeviceBench(bench)
    if gpu.on_gpu:
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
    bench.settings |= {"device": "GPU" if gpu.on_gpu else "host memory", "bytes of a table": gpu.size}
    bench.settings |= {"bytes of a batch": gpu.piece}
    with bench.scratch(7 * gpu.size) as folder, ExitStack() as stack:
        grid = stack.enter_context(gridflow.connect(folder / "grid"))
        largest = RandomTable(grid, "MEBIBYTES", (MIB if not bench.quick else MIB // 16,), gpu.size)
        check(gpu, largest)
        measure_opening(gpu, largest)
        pinned_rate, pageable_rate = host_copies(gpu, largest)
        device_rate = device_copies(gpu)
        measure_sequential(gpu, largest, pinned_rate, pageable_rate)
        for width in (64, 512, 784, 4096):
            rows = RandomTable(grid, f"BYTES{width}", (width,), gpu.size)
            check(gpu, rows)
            measure_over_bus(gpu, rows, pinned_rate)
            if width == 512:
                measure_resident(gpu, rows, device_rate)
                measure_calls(gpu, rows)
            grid.drop_table(rows.table.name)
        measure_over_bus(gpu, largest, pinned_rate)
        drawings = RandomTable(grid, "DRAWINGS", (28, 28), gpu.size, drawn=14)
        measure_compressed(gpu, drawings, pinned_rate)
        grid.drop_table(drawings.table.name)
        pictures = RandomTable(grid, "IMAGES", IMAGE, gpu.size)
        check(gpu, pictures)
        measure_images(gpu, pictures, device_rate)
        measure_tensorflow(gpu, largest)
    bench.finish()


def check_same(result: Any, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(result.numpy() if isinstance(result, Array) else result, expected)


def as_float(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float32) * np.float32(1 / 255)


def check(gpu: DeviceBench, rows: RandomTable) -> None:
    """Check that every path gives the rows of numpy."""
    numbers = gpu.rng.integers(0, rows.count, min(rows.count, 300))
    convert = Convert("float32", scale=1 / 255)
    few = min(20, rows.count)
    for resident in (False, True):
        with rows.open(gpu.device, resident=resident) as device:
            for row_numbers in [numbers, *gpu.on_device([numbers])]:
                check_same(device.gather(row_numbers)["X"], rows.data[numbers])
                check_same(device.gather(row_numbers, convert)["X"], as_float(rows.data[numbers]))
            check_same(device.batch(1, few - 1)["X"], rows.data[1:few])
            check_same(device.batch(1, few - 1, convert)["X"], as_float(rows.data[1:few]))
            if len(rows.shape) == 3:
                places = gpu.rng.integers([0, 0, 0], [OFFSETS, OFFSETS, 2], (few, 3))
                images = device.gather(numbers[:few], picture(places))["X"].numpy()
                for i, (top, left, mirrored) in enumerate(places):
                    part = rows.data[numbers[i], top : top + CROP[0], left : left + CROP[1]]
                    check_same(images[i], as_float(part[:, ::-1] if mirrored else part).transpose(2, 0, 1))


def picture(places: Any) -> Convert:
    return Convert("float32", scale=1 / 255, channels=3, image=IMAGE[:2], crop=CROP, channels_first=True, places=places)


def measure_opening(gpu: DeviceBench, rows: RandomTable) -> None:
    """Measure the opening of a table; nothing of it is open when the clock starts."""

    def open_time(**options: Any) -> Figures:
        began = time.perf_counter()
        device = rows.open(gpu.device, **options)
        seconds = time.perf_counter() - began
        device.close()
        return {"opened": seconds}

    group = f"{gpu.size / GIB:.3g} GiB"
    contenders = {"gridflow, pinned": open_time, "gridflow, loaded": lambda: open_time(resident=True)}
    gpu.bench.measure(group, contenders, unit="s", better="lower", rounds=min(5, gpu.bench.rounds))
    figure = gpu.bench.median(group, "opened", "gridflow, pinned") / gpu.size * GIB
    gpu.target("a table pinned, of 1 GiB", figure, 1.0, "s", at_least=False)


def host_copies(gpu: DeviceBench, rows: RandomTable) -> tuple[float, float]:
    """The largest rates of copies in one piece, from pinned and from pageable memory."""
    group = "copies, host to device"
    with rows.open(gpu.device) as pinned, rows.open(CPU) as mapped:
        # The pinned mapping: its first GiB is registered as one piece, with the header of the segment in it.
        whole = mapped.batch(0, rows.count * 15 // 16)["X"]
        assert whole.read_only, "it lies in one piece"
        size, own_target = whole.nbytes, gpu.empty(whole.shape)
        private = np.array(rows.data.reshape(-1)[:size])
        contenders = {
            "gridflow, pinned table": lambda: gpu.rate([lambda: gpu.copy(own_target, whole.pointer, size)], size),
            "pageable memory": lambda: gpu.rate([lambda: gpu.copy(own_target, private.ctypes.data, size)], size),
        }
        if gpu.torch:
            torch = gpu.torch
            target, source = torch.empty(size, dtype=torch.uint8, device="cuda"), torch.from_numpy(private)
            pinned_copy = source.pin_memory()
            contenders["torch, pinned"] = lambda: gpu.rate([lambda: target.copy_(pinned_copy, non_blocking=True)], size)
            contenders["torch, pageable"] = lambda: gpu.rate([lambda: target.copy_(source)], size)
        gpu.measure(group, contenders)
        assert len(pinned) == rows.count
    best = {kind: [name for name in contenders if kind in name] for kind in ("pinned", "pageable")}
    return gpu.bench.best(group, "rate", best["pinned"]), gpu.bench.best(group, "rate", best["pageable"])


def device_copies(gpu: DeviceBench) -> float:
    """The largest rate of copies within the device's memory, in bytes read and written."""
    group = "copies, within the device"
    parts = [gpu.empty((gpu.size // 2,)) for _ in range(4)]
    size = parts[0].nbytes

    def copies() -> Figures:
        works = [lambda i=i: gpu.copy(parts[i + 1], parts[i].pointer, size) for i in (0, 2, 0, 2)]
        return gpu.rate(works, 2 * size)

    contenders = {"gridflow, copy": copies}
    if gpu.torch:
        tensors = [gpu.torch.empty(size, dtype=gpu.torch.uint8, device="cuda") for _ in range(4)]
        pairs = [lambda i=i: tensors[i + 1].copy_(tensors[i]) for i in (0, 2, 0, 2)]
        contenders["torch, copy_"] = lambda: gpu.rate(pairs, 2 * size)
    gpu.measure(group, contenders)
    return gpu.bench.best(group, "rate", list(contenders))


def measure_sequential(gpu: DeviceBench, rows: RandomTable, pinned_rate: float, pageable_rate: float) -> None:
    group, count = f"sequential, rows of {rows.row_bytes} bytes", gpu.piece // rows.row_bytes
    outs = [gpu.empty((count, *rows.shape)) for _ in range(SETS)]
    starts = range(0, rows.count - count + 1, count)
    with rows.open(gpu.device) as device:
        works = [
            lambda start=start, out=outs[i % SETS]: device.batch(start, count, out={"X": out})
            for i, start in enumerate(starts)
        ]
        contenders = {"gridflow": lambda: gpu.rate(works, count * rows.row_bytes)}
        if gpu.torch:
            torch = gpu.torch
            torch_outs = [torch.empty(count * rows.row_bytes, dtype=torch.uint8, device="cuda") for _ in range(SETS)]
            pinned_tensor = torch.from_numpy(rows.data.reshape(-1)).pin_memory()

            def copy_slice(start: int, out: Any) -> None:
                begin = start * rows.row_bytes
                out.copy_(pinned_tensor[begin : begin + out.numel()], non_blocking=True)

            torch_works = [lambda s=s, out=torch_outs[i % SETS]: copy_slice(s, out) for i, s in enumerate(starts)]
            contenders["torch, slices of a pinned tensor"] = lambda: gpu.rate(torch_works, count * rows.row_bytes)
        gpu.measure(group, contenders)
    figure = gpu.bench.median(group, "rate", "gridflow")
    gpu.target("sequential 1 MiB rows, of the largest pinned copy", figure / pinned_rate * 100, 90, "%")
    gpu.target("sequential 1 MiB rows, against pageable memory", figure / pageable_rate, 2, "x")


def measure_compressed(gpu: DeviceBench, rows: RandomTable, pinned_rate: float) -> None:
    group, count = f"sequential, drawings of {rows.row_bytes} bytes", gpu.piece // rows.row_bytes
    outs = [gpu.empty((count, *rows.shape)) for _ in range(SETS)]
    starts = range(0, rows.count - count + 1, count)

    def rate(device: DeviceTable) -> Figures:
        return gpu.rate(
            [lambda s=s, out=outs[i % SETS]: device.batch(s, count, out={"X": out}) for i, s in enumerate(starts)],
            count * rows.row_bytes,
        )

    try:
        with rows.open(gpu.device) as plain:
            rows.table.compress("X")
            with rows.open(gpu.device) as device:
                check_same(device.batch(7, count)["X"], rows.data[7 : 7 + count])
                gpu.measure(group, {"gridflow, compressed": lambda: rate(device), "gridflow": lambda: rate(plain)})
                device.check()
    except ImportError as error:
        gpu.bench.skip(group, str(error))
        return
    figure = gpu.bench.median(group, "rate", "gridflow, compressed") / pinned_rate
    gpu.target(f"{group}, compressed, against the largest pinned copy", figure, None, "x")


def measure_over_bus(gpu: DeviceBench, rows: RandomTable, pinned_rate: float) -> None:
    group, count = f"over bus, random rows of {rows.row_bytes} bytes", gpu.piece // rows.row_bytes
    size = count * rows.row_bytes
    numbers = gpu.rows(rows.count, count)
    row_numbers = gpu.on_device(numbers)
    outs = [gpu.empty((count, *rows.shape)) for _ in range(SETS)]
    with rows.open(gpu.device) as device:

        def gathers(sets: list[Any]) -> list[Callable[[], object]]:
            pairs = zip(sets, outs, strict=True)
            return [lambda n=n, out=out: device.gather(n, out={"X": out}, check=False) for n, out in pairs]

        contenders = {
            "gridflow": lambda: gpu.rate(gathers(row_numbers), size),
            "gridflow, numbers in host memory": lambda: gpu.rate(gathers(numbers), size),
        }
        if gpu.torch:
            torch = gpu.torch
            pinned_tensor = torch.from_numpy(rows.data).pin_memory()
            indices = [torch.from_numpy(n) for n in numbers]
            staging = torch.empty((count, *rows.shape), dtype=torch.uint8, pin_memory=True)

            def torch_rows(indices: Any) -> None:
                torch.index_select(pinned_tensor, 0, indices, out=staging)
                staging.to("cuda", non_blocking=True)
                torch.cuda.current_stream().synchronize()  # before the next rows overwrite the staging memory

            torch_works = [lambda n=n: torch_rows(n) for n in indices]
            contenders["torch, index_select and to"] = lambda: gpu.rate(torch_works, size)
        gpu.measure(group, contenders)
        device.check()
    best = max(gpu.bench.median(group, "rate", name) for name in contenders if name.startswith("gridflow"))
    goal = 60 if rows.row_bytes >= 512 else None
    gpu.target(
        f"random rows of {rows.row_bytes} bytes, of the largest pinned copy", best / pinned_rate * 100, goal, "%"
    )


def measure_resident(gpu: DeviceBench, rows: RandomTable, device_rate: float) -> None:
    count = 2 * gpu.piece // rows.row_bytes  # enough that a call takes the GPU longer than the processor
    numbers = gpu.rows(rows.count, count)
    row_numbers = gpu.on_device(numbers)
    convert = Convert("float32", scale=1 / 255)
    with rows.open(gpu.device, resident=True) as device, ExitStack() as peers:
        data = peers.enter_context(ResidentArrays(gpu, rows))
        for what, conversion, dtype, item in (("as they are", None, "uint8", 1), ("as float32", convert, "float32", 4)):
            group, size = (
                f"resident, random rows of {rows.row_bytes} bytes, {what}",
                count * rows.row_bytes * (1 + item),
            )
            outs = [gpu.empty((count, *rows.shape), dtype) for _ in range(SETS)]
            pairs = list(zip(row_numbers, outs, strict=True))
            works = [
                lambda n=n, out=out, c=conversion: device.gather(n, c, out={"X": out}, check=False) for n, out in pairs
            ]
            contenders = {"gridflow": lambda works=works, size=size: gpu.rate(works, size)}
            contenders |= data.gathers(numbers, conversion is not None, size)
            gpu.measure(group, contenders)
            figure = gpu.bench.median(group, "rate", "gridflow") / device_rate * 100
            gpu.target(f"{group}, of a copy", figure, 60, "%")
        device.check()


class ResidentArrays:
    """The rows in arrays of the other libraries on the GPU; the end of the block frees them."""

    def __init__(self, gpu: DeviceBench, rows: RandomTable):
        self._gpu = gpu
        self._tensor = gpu.torch.from_numpy(rows.data).cuda() if gpu.torch else None
        self._array = gpu.cupy.asarray(rows.data) if gpu.cupy else None

    def __enter__(self) -> ResidentArrays:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._tensor = self._array = None

    def gathers(self, numbers: list[np.ndarray], convert: bool, size: int) -> dict[str, Callable[[], Figures]]:
        gpu, contenders = self._gpu, {}
        if gpu.torch:
            torch, tensor = gpu.torch, self._tensor
            indices = [torch.from_numpy(n).cuda() for n in numbers]

            def torch_rows(n: Any) -> Any:
                rows = torch.index_select(tensor, 0, n)
                return rows.float().mul_(1 / 255) if convert else rows

            works = [lambda n=n: torch_rows(n) for n in indices]
            contenders["torch, index_select"] = lambda: gpu.rate(works, size)
        if gpu.cupy:
            cupy, array = gpu.cupy, self._array
            indices = [cupy.asarray(n) for n in numbers]

            def cupy_rows(n: Any) -> Any:
                rows = cupy.take(array, n, axis=0)
                return rows.astype(cupy.float32) * cupy.float32(1 / 255) if convert else rows

            cupy_works = [lambda n=n: cupy_rows(n) for n in indices]
            contenders["cupy, take"] = lambda: gpu.rate(cupy_works, size)
        return contenders


def measure_calls(gpu: DeviceBench, rows: RandomTable) -> None:
    """Measure the cost of a batch that is a view of resident rows."""
    group, count = "calls, resident contiguous batch", 256
    count = min(count, rows.count // 2)
    starts = gpu.rng.integers(0, rows.count - count, 2000 if not gpu.bench.quick else 50).tolist()
    with rows.open(gpu.device, resident=True) as device:

        def call_time() -> Figures:
            began = time.perf_counter()
            for start in starts:
                device.batch(start, count)
            return {"call": (time.perf_counter() - began) / len(starts) * 1e6}

        view = device.batch(3, count)["X"]
        check_same(view, rows.data[3 : 3 + count])
        gpu.bench.measure(group, {"gridflow": call_time}, unit="us", better="lower")
    assert view.read_only, "it is a view"
    gpu.target("a resident contiguous batch", gpu.bench.median(group, "call", "gridflow"), 20, "us", at_least=False)


def measure_images(gpu: DeviceBench, rows: RandomTable, device_rate: float) -> None:
    group, count = "resident, images cropped, mirrored, channels first, float32", max(gpu.piece // rows.row_bytes, 4)
    size = count * CROP[0] * CROP[1] * 3 * (1 + 4)
    numbers = gpu.rows(rows.count, count)
    row_numbers = gpu.on_device(numbers)
    places = [gpu.rng.integers([0, 0, 0], [OFFSETS, OFFSETS, 2], (count, 3), np.int32) for _ in range(SETS)]
    converts = [picture(offsets) for offsets in gpu.on_device(places)]
    outs = [gpu.empty((count, 3, *CROP), "float32") for _ in range(SETS)]
    with rows.open(gpu.device, resident=True) as device:
        works = [
            lambda n=n, c=c, out=out: device.gather(n, c, out={"X": out}, check=False)
            for n, c, out in zip(row_numbers, converts, outs, strict=True)
        ]
        contenders = {"gridflow": lambda: gpu.rate(works, size)}
        if gpu.torch:
            torch = gpu.torch
            tensor = torch.from_numpy(rows.data).cuda()
            indices = [torch.from_numpy(n).cuda() for n in numbers]
            top = left = MIDDLE

            def torch_images(n: Any) -> Any:
                part = torch.index_select(tensor, 0, n)[:, top : top + CROP[0], left : left + CROP[1]]
                return part.flip(2).permute(0, 3, 1, 2).float().mul_(1 / 255).contiguous()

            torch_works = [lambda n=n: torch_images(n) for n in indices]
            contenders["torch, all alike"] = lambda: gpu.rate(torch_works, size)
        gpu.measure(group, contenders)
        device.check()
    gpu.target(f"{group}, of a copy", gpu.bench.median(group, "rate", "gridflow") / device_rate * 100, None, "%")


def measure_tensorflow(gpu: DeviceBench, rows: RandomTable) -> None:
    """Measure TensorFlow, after all others: it may take most of the GPU's memory."""
    try:
        import tensorflow as tf
    except ImportError as error:
        gpu.bench.skip("tensorflow", str(error))
        return
    for card in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(card, True)
    if gpu.on_gpu and not tf.config.list_logical_devices("GPU"):
        gpu.bench.skip("tensorflow", "it does not find the GPU")
        return
    import gridflow.tf

    gpu.bench.machine["versions"]["tensorflow"] = tf.__version__
    device = "/GPU:0" if gpu.on_gpu else "/CPU:0"
    count = gpu.piece // rows.row_bytes
    size = rows.count // count * count * rows.row_bytes
    options = {"columns": ["X"], "batch_size": count, "drop_remainder": True}
    ours = gridflow.Dataset(rows.table, device=device, **options)
    shuffled = gridflow.Dataset(rows.table, device=device, shuffle=True, **options)
    batches = rows.data[: size // rows.row_bytes].reshape(-1, count, rows.row_bytes)
    slices = tf.data.Dataset.from_tensor_slices(batches).apply(tf.data.experimental.prefetch_to_device(device, 2))
    table = gridflow.tf.DeviceTable(rows.table, device, "X")

    def loop(elements: Callable[[], Any], rows_of: Callable[[Any], Any]) -> Figures:
        began, last = time.perf_counter(), None
        for element in elements():
            last = rows_of(element)
        with tf.device(device):
            int(tf.cast(last[-1, -1], tf.int32))  # waits for the last copy
        return {"rate": size / (time.perf_counter() - began) / GIB}

    check_same(table.batch(1, count)["X"].numpy(), rows.data[1 : count + 1])
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
        "from_tensor_slices, prefetch_to_device": lambda: loop(lambda: slices, lambda element: element),
    }
    gpu.measure(group, contenders)
    table.close()


if __name__ == "__main__":
    main()
