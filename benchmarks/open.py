"""From nothing to the first batch of a large grid

A fresh process makes a gridflow.Dataset over a grid that no process has open, takes the first batch of 32 rows of
1 MiB and adds up the bytes. The time would grow with the grid if the opening read the data: so a smaller grid is opened
as well, and the kernel tells which pages of the files the process has touched by then.

    python benchmarks/open.py [--quick]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _grid import ROW_BYTES, make_grid
from _harness import GIB, MIB, Benchmark, Figures
from _memory import mapped_bytes, page_faults

BATCH = 32
BUFFER_BYTES = 16 * MIB
DATASET, PROCESS, TOUCHED, FAULTS = "Dataset() to batch", "process to batch", "of its files touched", "page faults"
UNITS = {DATASET: "s", PROCESS: "s", TOUCHED: "MiB", FAULTS: "faults"}


def main() -> None:
    bench = Benchmark("open", __doc__, packages=["tensorflow", "pyarrow"], rounds=5, quick_rounds=1)
    bench.settings |= {"row bytes": ROW_BYTES, "batch": BATCH}
    sizes = [128 * MIB, 64 * MIB] if bench.quick else [4 * GIB, GIB // 4]
    with bench.scratch(sum(sizes) + GIB) as folder:
        homes = {f"gridflow, a grid of {size / MIB:,.0f} MiB": folder / str(size) for size in sizes}
        for home, size in zip(homes.values(), sizes, strict=True):
            make_grid(home, size // ROW_BYTES)
        group = "opening a grid and reading its first batch"
        contenders = {name: partial(in_fresh_process, home) for name, home in homes.items()}
        contenders["for scale: read() of all its files"] = partial(read_files, next(iter(homes.values())))
        bench.measure(group, contenders, unit=UNITS, better="lower", warm_up=not bench.quick)
    large, small = homes
    bench.target(f"{large}: {DATASET}", bench.median(group, DATASET, large), 1.0, "s", at_least=False)
    bench.target(f"{large}: {PROCESS}, with its imports", bench.median(group, PROCESS, large), None, "s")
    times = bench.median(group, DATASET, large) / bench.median(group, DATASET, small)
    bench.target(f"{DATASET}: {sizes[0] / MIB:,.0f} MiB against {sizes[1] / MIB:,.0f} MiB", times, None, "x")
    # The batch, the next one, which is read ahead, and a little for headers and pages mapped around a fault.
    bench.target(f"{large}: {TOUCHED}", bench.median(group, TOUCHED, large), 2.25 * BATCH, "MiB", at_least=False)
    bench.finish()


def in_fresh_process(home: Path) -> Figures:
    """The figures of ``first_batch`` in a process of its own."""
    command = [sys.executable, __file__, "--first-batch", str(home), repr(time.monotonic())]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"the process that opens the grid failed:\n{process.stderr}")
    return json.loads(process.stdout)


def first_batch(home: Path, started: float) -> Figures:
    """Open the grid and read one batch; ``started`` is the start of this process on the monotonic clock."""
    from gridflow.tf import Dataset

    faults = page_faults()
    began = time.monotonic()
    batches = iter(Dataset("IMAGES", home=home, batch_size=BATCH))
    batch = next(batches)
    total = np.frombuffer(memoryview(batch["val"]["PIXELS"]), np.uint64).sum()
    now = time.monotonic()
    faults = page_faults() - faults
    assert total > 0
    return {
        DATASET: now - began,
        PROCESS: now - started,
        TOUCHED: mapped_bytes(home)["rss"] / MIB,  # the iterator keeps the mapping until here
        FAULTS: faults,
    }


def read_files(home: Path) -> Figures:
    """The seconds of one read of all bytes of the grid, into a small buffer."""
    buffer = bytearray(BUFFER_BYTES)
    began = time.monotonic()
    for path in home.rglob("*.seg"):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return {DATASET: time.monotonic() - began}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first-batch"]:
        print(json.dumps(first_batch(Path(sys.argv[2]), float(sys.argv[3]))))
    else:
        main()
