"""Reading a table that lies on a disk, with the kernel's cache dropped and with it warm

Rows of 150,000 bytes under an integer key, on a disk and not in memory. GiB per second, of batches of 32 rows from
which a Python loop reads a byte of each page, so that all of them are there:

    cold    before each epoch the files are synced and dropped from the cache; `mincore` says that they are not there
    warm    the same epoch again at once

Gridflow reads in a process of its own for each figure, so that nothing is mapped before. Beside it, by one thread:

    read    the grid's files from begin to end, 1 MiB at a time, as `cat` does: what the disk gives in sequence
    pread   the bytes of one row after the other, in the order of Gridflow's shuffled epoch: what the disk gives at
            random to whoever waits for each read

A virtual disk has a cache in its host, too, which nothing here can drop: where rounds lie far apart, look at each.

    python benchmarks/disk.py [--quick] [--gb 4.5] [--dir FOLDER]
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
from _disk import cached_share, disk_folder, drop_cache, file_system, files_of, read_ahead_kib
from _harness import GIB, MIB, Benchmark, Figures
from _machine import memory_available

import gridflow

ROW_BYTES, BATCH, SEED = 150_000, 32, 7
ORDERS = ["sequential", "shuffled"]
READ, PREAD = "read, as cat", "pread of each row"
PAGE = 4096
#: Rows of a load's batch; the part of the pages that may stay in the cache and still count as cold.
PIECE, STILL_COLD = 256, 0.02
#: What a cold epoch has to reach of the other way to read, as the project's targets have it.
GOALS = {"sequential": (READ, 0.8), "shuffled": (PREAD, 0.8)}


def main() -> None:
    bench = Benchmark(
        "disk",
        __doc__,
        packages=["tensorflow", "pyarrow"],
        rounds=3,
        quick_rounds=1,
        options={
            "--gb": {"type": float, "help": "gigabytes of rows (default 4.5, with --quick 0.5)"},
            "--dir": {"type": Path, "help": "a folder on the disk to measure"},
        },
    )
    size = (bench.options.gb or (0.5 if bench.quick else 4.5)) * 1e9
    rows = max(int(size) // ROW_BYTES, 2 * BATCH)
    parent = disk_folder(bench.options.dir)
    if shutil.disk_usage(parent).free < size * 1.2:
        sys.exit(f"disk: needs {size * 1.2 / GIB:.1f} GiB of room on the disk")
    if memory_available() < size * 1.2:
        sys.exit(f"disk: needs {size * 1.2 / GIB:.1f} GiB of memory, or a warm epoch would not be warm")
    bench.settings |= {"rows": rows, "file system": file_system(parent), "read-ahead KiB": read_ahead_kib(parent)}
    with tempfile.TemporaryDirectory(prefix="gridflow-bench-", dir=parent) as folder:
        home = Path(folder) / "grid"
        with bench.console.status("writing the table"):
            write(home, rows)
        files = files_of(home / "tables")
        ranges = shuffled_ranges(home, files)
        gc.collect()  # nothing of the grid stays mapped, or its pages could not be dropped
        contenders: dict[str, Callable[[], Figures]] = {
            f"gridflow, {order}": partial(epochs, files, partial(ours, home, order, rows)) for order in ORDERS
        }
        contenders[READ] = partial(epochs, files, partial(read_files, files))
        contenders[PREAD] = partial(epochs, files, partial(read_ranges, files, ranges))
        group = f"{rows:,} rows of {ROW_BYTES:,} bytes on a disk"
        bench.measure(group, contenders, unit="GiB/s", warm_up=False)
        for order, (judge, goal) in GOALS.items():
            for metric in ("cold", "warm"):
                share = bench.median(group, metric, f"gridflow, {order}") / bench.median(group, metric, judge)
                bench.target(f"{order}, {metric}, of {judge}", share, goal if metric == "cold" else None, "x")
    bench.finish()


def write(home: Path, rows: int) -> None:
    noise = np.frombuffer(np.random.default_rng(1).bytes(PIECE * ROW_BYTES), np.uint8)
    column = pa.FixedSizeListArray.from_arrays(pa.array(noise), ROW_BYTES)
    schema = pa.schema([("ID", pa.int64()), ("PIXELS", column.type)])

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, PIECE):
            ids = np.arange(first, min(rows, first + PIECE))
            yield pa.record_batch([pa.array(ids), column[: len(ids)]], schema)

    with gridflow.connect(home) as grid:
        table = grid.create_table("ROWS", {"ID": "LONG", "PIXELS": f"UINT8[{ROW_BYTES}]"}, key="ID")
        assert table.load(pa.RecordBatchReader.from_batches(schema, batches())) == rows


def epochs(files: list[Path], read: Callable[[], float]) -> Figures:
    """An epoch with nothing of the files in memory, and one after it."""
    drop_cache(files)
    share = cached_share(files)
    if share > STILL_COLD:
        sys.exit(f"disk: {share:.0%} of the files stay in the kernel's cache: this is no disk, or somebody maps them")
    return {"cold": read(), "warm": read()}


def ours(home: Path, order: str, rows: int) -> float:
    """GiB/s of an epoch in a process of its own."""
    command = [sys.executable, __file__, "--epoch", str(home), order]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"the process that reads the table failed:\n{process.stderr}")
    result = json.loads(process.stdout)
    assert result["rows"] == rows
    return rows * ROW_BYTES / GIB / result["seconds"]


def epoch(home: Path, order: str) -> dict[str, float]:
    """Read the table once, a byte of each page; the clock starts when the dataset is there."""
    dataset = shuffled(home) if order == "shuffled" else gridflow.Dataset("ROWS", home=home, batch_size=BATCH)
    rows = total = 0
    began = time.perf_counter()
    for batch in dataset:
        pixels = np.frombuffer(memoryview(batch["val"]["PIXELS"]), np.uint8)
        total += int(pixels[::PAGE].sum())
        rows += len(pixels) // ROW_BYTES
    return {"rows": rows, "seconds": time.perf_counter() - began, "total": total}


def shuffled(home: Path, **options: Any) -> gridflow.Dataset:
    return gridflow.Dataset("ROWS", home=home, batch_size=BATCH, shuffle=True, seed=SEED, **options)


def shuffled_ranges(home: Path, files: list[Path]) -> np.ndarray:
    """For each row in the order of the shuffled epoch: the number of its file, and where its bytes begin in there."""
    places: dict[int, tuple[int, int]] = {}
    numbers = {str(path): number for number, path in enumerate(files)}
    with gridflow.connect(home, read_only=True) as grid:
        for batch in grid.table("ROWS").scan(["ID", "PIXELS"]):
            pixels = batch.column("PIXELS").storage.flatten()
            name, offset = place_of(pixels.buffers()[1].address + pixels.offset)
            for row, key in enumerate(batch.column("ID").to_pylist()):
                places[key] = (numbers[name], offset + row * ROW_BYTES)
    keys = [key for batch in shuffled(home, columns=[]) for key in batch["key"].numpy().tolist()]
    return np.array([places[key] for key in keys], np.int64)


def place_of(address: int) -> tuple[str, int]:
    """The file that is mapped at an address of this process, and which of its bytes lies there."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, _, offset, _, _, *name = line.split(maxsplit=5)
        begin, end = (int(bound, 16) for bound in bounds.split("-"))
        if begin <= address < end:
            return name[0], int(offset, 16) + address - begin
    raise ValueError(f"nothing is mapped at {address:#x}")


def read_files(files: list[Path]) -> float:
    """GiB/s of all files from begin to end."""
    buffer = bytearray(MIB)
    total = 0
    began = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += count
    return total / GIB / (time.perf_counter() - began)


def read_ranges(files: list[Path], ranges: np.ndarray) -> float:
    """GiB/s of the rows one by one."""
    buffer = bytearray(ROW_BYTES)
    descriptors = [os.open(path, os.O_RDONLY) for path in files]
    try:
        for descriptor in descriptors:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        began = time.perf_counter()
        for number, offset in ranges.tolist():
            assert os.preadv(descriptors[number], [buffer], offset) == ROW_BYTES
        return len(ranges) * ROW_BYTES / GIB / (time.perf_counter() - began)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--epoch":
        print(json.dumps(epoch(Path(sys.argv[2]), sys.argv[3])))
    else:
        main()
