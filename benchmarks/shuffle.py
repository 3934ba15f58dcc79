"""Reading a table in a uniformly random order, another one in every epoch

Rows of 784 bytes and a label, all in memory (files in tmpfs, arrays on the heap), in batches of 256. Rows per second:

    delivered   `for batch in dataset: pass`
    touched     a Python loop that adds up every byte of every batch, as 64-bit words, with numpy
    per core    delivered rows per second of processor time, of all threads together

numpy's fancy indexing gathers the same batches from an array, by a permutation that is there already, on one thread:
what gathering itself costs. `shuffle(N)` is TensorFlow's, with a buffer as large as the table, which it fills at the
start of every epoch: that is in its time. The others read single rows by shuffled numbers, 20,000 of them at most.
What the clock covers is as in read.py.

Memory is the growth of what a fresh process has on its heap (anonymous pages), at most, while it reads an epoch.
Pages of files are in nobody's figure, nor are the arrays that slices are made of: only what shuffling takes.

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
from _harness import GIB, MIB, Benchmark, Measured
from _loops import add_up, deliver, looped, rows_of, touch
from _rows import Rows, random_rows

import gridflow

SHAPE = (28, 28)
BATCH = 256
OURS = "gridflow.Dataset(shuffle=True)"
GATHER = "numpy fancy indexing"
KINDS = [_peers.TFRecord, _peers.ArrayRecord, _peers.Lance, _peers.Lmdb, _peers.HuggingFace]


def main() -> None:
    bench = Benchmark("shuffle", __doc__, packages=["tensorflow", *_peers.packages()], rounds=3, quick_rounds=1)
    seconds = 0.01 if bench.quick else 0.25
    count = 5_000 if bench.quick else 1_000_000
    bench.settings |= {"least seconds for a figure": seconds, "batch": BATCH}
    rows = random_rows(count, SHAPE)
    group = f"{count:,} rows of 784 bytes and a label, batch {BATCH}, shuffled"
    with bench.scratch(rows.values.nbytes * 10 + GIB) as folder:
        rows.to_grid(folder / "grid")
        peers = _peers.write(bench, folder, rows, KINDS)
        rows.values = tf.constant(rows.values)
        buffered = shuffled_slices(rows.values, rows.labels)
        datasets = {OURS: gridflow.Dataset("ROWS", home=folder / "grid", shuffle=True, batch_size=BATCH), **buffered}
        datasets |= {name: dataset for peer in peers for name, dataset in peer.shuffled(BATCH).items()}
        contenders = {name: partial(measured, dataset, count, seconds) for name, dataset in datasets.items()}
        bench.measure(group, {**contenders, GATHER: partial(gather, rows)}, unit="rows/s")
        compare_memory(bench, folder, count, list(buffered))
    share = bench.median(group, "per core", OURS) / bench.median(group, "per core", GATHER)
    bench.target("rate per core used, of numpy's", share * 100, 60.0, "%")
    for metric in ("delivered", "touched"):
        ratio = bench.median(group, metric, OURS) / bench.best(group, metric, list(buffered))
        bench.target(f"{metric}, against shuffle(N).batch", ratio, 5.0, "x")
    bench.finish()


def shuffled_slices(values: object, labels: np.ndarray) -> _peers.Datasets:
    slices = tf.data.Dataset.from_tensor_slices((values, labels)).shuffle(len(labels))
    parallel = slices.batch(BATCH, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return {"shuffle(N).batch": slices.batch(BATCH), "shuffle(N), parallel batch, prefetch": parallel}


def measured(dataset: tf.data.Dataset, rows: int, seconds: float) -> Measured:
    """A dataset's speeds."""
    _, rows = rows_of(dataset, rows, BATCH)
    delivered = looped(dataset, deliver, rows, seconds)
    touched = looped(dataset, touch, rows, seconds)
    return {"delivered": delivered.rate, "touched": touched.rate, "per core": delivered.per_core}


def gather(rows: Rows) -> Measured:
    """An epoch of batches by numpy, and one in which they are added up."""
    values = np.frombuffer(memoryview(rows.values), np.uint8).reshape(len(rows), *SHAPE)
    numbers = np.random.default_rng().permutation(len(rows))
    found = {}
    for metric in ("delivered", "touched"):
        began = time.perf_counter()
        for first in range(0, len(rows), BATCH):
            some = numbers[first : first + BATCH]
            batch = values[some], rows.labels[some]
            if metric == "touched":
                for part in batch:
                    add_up(part.reshape(-1).view(np.uint8))
        found[metric] = len(rows) / (time.perf_counter() - began)
    return {**found, "per core": found["delivered"]}


def compare_memory(bench: Benchmark, folder: Path, count: int, buffered: list[str]) -> None:
    group = f"{count:,} rows, memory that shuffling takes"
    contenders = {OURS: partial(in_fresh_process, "grid", folder / "grid", count)}
    contenders |= {name: partial(in_fresh_process, name, folder, count) for name in buffered}
    bench.measure(group, contenders, unit="MiB", better="lower", warm_up=False)
    least = min(bench.median(group, "growth", name) for name in buffered)
    share = bench.median(group, "growth", OURS) / least
    bench.target("memory, of shuffle(N).batch", share * 100, 10.0, "%", at_least=False)


def in_fresh_process(kind: str, folder: Path, count: int) -> Measured:
    """What ``read`` measures, in a process of its own."""
    command = [sys.executable, __file__, "--read", kind, str(folder), str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the process that reads {kind} failed:\n{done.stderr}")
    return {"growth": float(done.stdout)}


def read(kind: str, folder: Path, count: int) -> float:
    """MiB that the heap grows by, at most, in an epoch."""
    if kind == "grid":
        dataset = gridflow.Dataset("ROWS", home=folder, shuffle=True, batch_size=BATCH)
    else:
        rows = random_rows(count, SHAPE)
        dataset = shuffled_slices(tf.constant(rows.values), rows.labels)[kind]
        del rows
    before = on_the_heap()
    most = 0
    for number, _ in enumerate(dataset):
        if number % 16 == 0:
            most = max(most, on_the_heap() - before)
    return most / MIB


def on_the_heap() -> int:
    """Bytes of anonymous pages that this process has."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        print(read(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
