"""Reading a table in a uniformly random order, another one in every epoch

Rows of 784 bytes and a label, all in memory (files in tmpfs, arrays on the heap), in batches of 256. Rows per second:

    delivered   `for batch in dataset: pass`
    touched     a Python loop that adds up every byte of every batch, as 64-bit words, with numpy
    per core    delivered rows per second of processor time, of all threads together

numpy's fancy indexing gathers the same batches from an array, by a ready permutation, on one thread: the cost of
gathering alone. TensorFlow's `shuffle(N)` has a buffer as large as the table and fills it at the start of every epoch,
within the clock. The others read single rows by shuffled numbers, at most 20,000 of them. The clock covers the same as
in read.py.

Memory is the largest growth of the heap (anonymous pages) of a fresh process in an epoch. Pages of files do not count,
nor do the arrays under the slices: only the memory that shuffling takes.

    python benchmarks/shuffle.py [--quick]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _peers
import numpy as np
import tensorflow as tf
from _harness import GIB, MIB, Benchmark, Figures
from _loops import add_up, batches_and_rows, deliver, loop_speed, touch
from _rows import Rows, random_rows

import gridflow

SHAPE = (28, 28)
BATCH = 256
OURS = "gridflow.Dataset(shuffle=True)"
#: Batches between two looks at the heap.
SAMPLING = 16
GATHER = "numpy fancy indexing"
KINDS = [_peers.TFRecord, _peers.ArrayRecord, _peers.Lance, _peers.Lmdb, _peers.HuggingFace]


def main() -> None:
    bench = Benchmark("shuffle", __doc__, packages=["tensorflow", *_peers.packages()], rounds=3, quick_rounds=1)
    count, seconds = 5_000 if bench.quick else 1_000_000, bench.least_seconds
    bench.settings |= {"least seconds for a figure": seconds, "batch": BATCH}
    rows = random_rows(count, SHAPE)
    group = f"{count:,} rows of 784 bytes and a label, batch {BATCH}, shuffled"
    with bench.scratch(rows.values.nbytes * 10 + GIB) as folder:
        rows.to_grid(folder / "grid")
        peers = _peers.write_peers(bench, folder, rows, KINDS)
        rows.values = tf.constant(rows.values)
        buffer_datasets = shuffled_slices(rows.values, rows.labels)
        datasets = {
            OURS: gridflow.Dataset("ROWS", home=folder / "grid", shuffle=True, batch_size=BATCH),
            **buffer_datasets,
        }
        datasets |= {name: dataset for peer in peers for name, dataset in peer.shuffled(BATCH).items()}
        contenders = {name: partial(loop_speeds, dataset, count, seconds) for name, dataset in datasets.items()}
        bench.measure(group, {**contenders, GATHER: partial(gather, rows)}, unit="rows/s")
        compare_memory(bench, folder, count, list(buffer_datasets))
    share = bench.median(group, "per core", OURS) / bench.median(group, "per core", GATHER)
    bench.target("rate per core used, of numpy's", share * 100, 60.0, "%")
    for metric in ("delivered", "touched"):
        ratio = bench.median(group, metric, OURS) / bench.best(group, metric, list(buffer_datasets))
        bench.target(f"{metric}, against shuffle(N).batch", ratio, 5.0, "x")
    bench.finish()


def shuffled_slices(values: object, labels: np.ndarray) -> _peers.Datasets:
    slices = tf.data.Dataset.from_tensor_slices((values, labels)).shuffle(len(labels))
    parallel = slices.batch(BATCH, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return {"shuffle(N).batch": slices.batch(BATCH), "shuffle(N), parallel batch, prefetch": parallel}


def loop_speeds(dataset: tf.data.Dataset, rows: int, seconds: float) -> Figures:
    """The speeds of a dataset: delivered, touched, and delivered per core."""
    _, rows = batches_and_rows(dataset, rows, BATCH)
    delivered = loop_speed(dataset, deliver, rows, seconds)
    touched = loop_speed(dataset, touch, rows, seconds)
    return {"delivered": delivered.rate, "touched": touched.rate, "per core": delivered.per_core}


def gather(rows: Rows) -> Figures:
    """The speeds of numpy: an epoch of batches, and one in which the batches are added up."""
    values = np.frombuffer(memoryview(rows.values), np.uint8).reshape(len(rows), *SHAPE)
    numbers = np.random.default_rng().permutation(len(rows))
    rates = {}
    for metric in ("delivered", "touched"):
        began = time.perf_counter()
        for first in range(0, len(rows), BATCH):
            indices = numbers[first : first + BATCH]
            batch = values[indices], rows.labels[indices]
            if metric == "touched":
                for part in batch:
                    add_up(part.reshape(-1).view(np.uint8))
        rates[metric] = len(rows) / (time.perf_counter() - began)
    return {**rates, "per core": rates["delivered"]}


def compare_memory(bench: Benchmark, folder: Path, count: int, buffer_names: list[str]) -> None:
    group = f"{count:,} rows, memory that shuffling takes"
    contenders = {OURS: partial(in_fresh_process, "grid", folder / "grid", count)}
    contenders |= {name: partial(in_fresh_process, name, folder, count) for name in buffer_names}
    bench.measure(group, contenders, unit="MiB", better="lower", warm_up=False)
    least = min(bench.median(group, "growth", name) for name in buffer_names)
    share = bench.median(group, "growth", OURS) / least
    bench.target("memory, of shuffle(N).batch", share * 100, 10.0, "%", at_least=False)


def in_fresh_process(kind: str, folder: Path, count: int) -> Figures:
    """The figure of ``heap_growth`` in a process of its own."""
    command = [sys.executable, __file__, "--read", kind, str(folder), str(count)]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"the process that reads {kind} failed:\n{process.stderr}")
    return {"growth": float(process.stdout)}


def heap_growth(kind: str, folder: Path, count: int) -> float:
    """The largest growth of the heap in an epoch, in MiB."""
    if kind == "grid":
        dataset = gridflow.Dataset("ROWS", home=folder, shuffle=True, batch_size=BATCH)
    else:
        rows = random_rows(count, SHAPE)
        dataset = shuffled_slices(tf.constant(rows.values), rows.labels)[kind]
        del rows
    before = heap_bytes()
    most = 0
    for number, _ in enumerate(dataset):
        if number % SAMPLING == 0:
            most = max(most, heap_bytes() - before)
    return most / MIB


def heap_bytes() -> int:
    """The anonymous pages of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        print(heap_growth(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
