"""Single rows, and the first batch

Single rows: elements without a batch dimension, 784 bytes and a label, in rows per second: delivered to a Python loop
that does nothing with them, and touched by a loop that adds up the bytes. The clock covers the same as in read.py. One
iterator that goes on from epoch to epoch measures the cost of a row in microseconds; beside it
`from_tensors(row).repeat()` hands out one constant row of Gridflow's structure: the cost of TensorFlow alone.

First batch: milliseconds from Dataset() to the first batch of 128 rows, in a process that has used TensorFlow and
Gridflow before but has mapped nothing of the table; delivered, and touched.

    python benchmarks/rows.py [--quick]
"""

from __future__ import annotations

import gc
import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from functools import partial
from itertools import islice
from pathlib import Path

import _peers
import tensorflow as tf
from _harness import GIB, MIB, Benchmark, Figures
from _loops import constant_like, contender, cost_of_element, touch
from _memory import mapped_bytes
from _rows import Rows, random_rows

import gridflow

SHAPE = (28, 28)
ROW_BYTES = math.prod(SHAPE)
BATCH = 128
OURS = "gridflow.Dataset"
CONSTANT = "from_tensors(row).repeat()"


def main() -> None:
    bench = Benchmark("rows", __doc__, packages=["tensorflow"], rounds=7)
    bench.settings["least seconds for a figure"] = bench.least_seconds
    measure_rows(bench, 1_000 if bench.quick else 20_000)
    measure_first_batch(bench, (64 * MIB if bench.quick else GIB) // ROW_BYTES)
    bench.finish()


def measure_rows(bench: Benchmark, count: int) -> None:
    rows = random_rows(count, SHAPE)
    group = f"{count:,} single rows of {ROW_BYTES} bytes and a label"
    seconds = bench.least_seconds
    with bench.scratch(rows.values.nbytes * 8 + GIB // 4) as folder:
        rows.to_grid(folder / "grid")
        ours = gridflow.Dataset("ROWS", home=folder / "grid")
        peers = _peers.write_peers(bench, folder, rows, [_peers.TFRecord, _peers.Snapshot])
        datasets = {OURS: ours, **single(peers, rows)}
        contenders = {name: contender(dataset, count, 1, seconds) for name, dataset in datasets.items()}
        bench.measure(group, contenders, unit="rows/s")
        for metric in ("delivered", "touched"):
            others = [name for name in datasets if name != OURS]
            ratio = bench.median(group, metric, OURS) / bench.best(group, metric, others)
            bench.target(f"single rows: {metric}, against the best peer", ratio, None, "x")
        group = f"{group}, epoch after epoch"
        forever = {OURS: ours.repeat(), CONSTANT: constant_like(ours)}
        costs = {name: partial(cost_of_element, dataset, seconds) for name, dataset in forever.items()}
        bench.measure(group, costs, unit="us per row", better="lower")
        times = bench.median(group, "delivered", OURS) / bench.median(group, "delivered", CONSTANT)
        bench.target(f"cost of a row, against {CONSTANT}", times, 1.5, "x", at_least=False)


def single(peers: list[_peers.Peer], rows: Rows) -> _peers.Datasets:
    """Datasets over the same rows by the others, one row at a time."""

    def first(batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return batch[0][0], batch[1][0]

    records, snapshot = peers
    return {
        "from_tensor_slices": tf.data.Dataset.from_tensor_slices((rows.values, rows.labels)),
        "cache()": tf.data.Dataset.from_tensor_slices((rows.values, rows.labels)).cache(),
        "TFRecord, parse": tf.data.TFRecordDataset(records.files).map(lambda one: first(rows.parse(one[tf.newaxis]))),
        "snapshot": tf.data.Dataset.load(str(snapshot.folder)),
    }


def measure_first_batch(bench: Benchmark, count: int) -> None:
    group = f"first batch of {BATCH} of a table of {count * ROW_BYTES / MIB:,.0f} MiB"
    rows = random_rows(count, SHAPE)
    with bench.scratch(rows.values.nbytes * 3 + GIB // 4) as home:
        rows.to_grid(home)
        del rows
        contenders = {
            OURS: partial(first_batch, home, False),
            f"{OURS}(shuffle=True)": partial(first_batch, home, True),
        }
        bench.measure(group, contenders, unit="ms", better="lower")
    for name in contenders:
        for metric in ("delivered", "touched"):
            bench.target(f"{group}, {name}: {metric}", bench.median(group, metric, name), 20.0, "ms", at_least=False)


def first_batch(home: Path, shuffle: bool) -> Figures:
    gc.collect()
    assert mapped_bytes(home)["size"] == 0, "it is the first batch where nothing is mapped yet"
    began = time.perf_counter()
    batches = islice(gridflow.Dataset("ROWS", home=home, shuffle=shuffle, batch_size=BATCH), 1)
    batch = next(batches)
    delivery = time.perf_counter()
    touch([batch])
    return {"delivered": (delivery - began) * 1e3, "touched": (time.perf_counter() - began) * 1e3}


if __name__ == "__main__":
    main()
