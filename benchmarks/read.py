"""Sequential reading of a table as a tf.data.Dataset

Every byte lies in memory before the clock runs (files in tmpfs, arrays on the heap), so this measures the way from
there to the consumer. Rows per second, in three ways:

    drained     tf.data throws the batches away itself, epoch after epoch: what the pipeline can supply
    delivered   `for batch in dataset: pass`: what a Python loop gets, at most
    touched     a Python loop that adds up every byte of every batch, as 64-bit words, with numpy

The clock of a loop starts before its iterator is made and stops at the end of the rows. Not in it is the end of the
iterator itself: TensorFlow's autotuning lets none go before it is about 20 ms old, whatever it read. Loops that take
less than a quarter of a second are run again.

Each peer runs in its plain form and with the parallelism that its documentation recommends; the better one counts.
Peers read from files, outside the process; from_tensor_slices and cache() have the rows in it, and cache() is the
best of its two forms, from the second epoch on. Two more have their batches made beforehand, which fixes the batch
size in the data: they are shown, and do not count. HF datasets are read for a tenth of the rows: they make int64 of
each byte. ArrayRecord, Lance and LMDB have no tf.data source in their packages, and are read in a generator.

What a batch costs, in microseconds, is measured by one iterator that goes on from epoch to epoch. Beside it
`from_tensors(...).repeat()` hands out one constant element, structured as Gridflow's: what TensorFlow itself costs.

A last group reads a table that the process has not mapped yet, twice: GiB/s that are touched in the first epoch, page
faults included, and in the second. Beside it numpy adds up a tensor in memory, in pieces of the same size.

    python benchmarks/read.py [--quick]
"""

from __future__ import annotations

import gc
import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _peers
import numpy as np
import tensorflow as tf
from _harness import GIB, MIB, Benchmark, Measured, repeated
from _loops import add_up, contender, cost_of_element, rows_of, same_again, touch
from _memory import mapped
from _rows import Rows, random_rows

import gridflow

OURS = "gridflow.Dataset(batch_size=)"
CACHED = ["batch, cache()", "cache(), batch"]
CONSTANT = "from_tensors(...).repeat()"
MAPPED, TENSOR = "gridflow.Dataset(batch_size=), mapped anew", "numpy over a tensor in memory"
EPOCHS = ["first epoch", "second epoch"]


def main() -> None:
    bench = Benchmark("read", __doc__, packages=["tensorflow", "keras", *_peers.packages()], rounds=5)
    bench.settings["least seconds for a figure"] = 0.01 if bench.quick else 0.25
    narrow, wide = (2_000, 16) if bench.quick else (70_000, 512)
    compare(bench, narrow, (28, 28), [128, 1024])
    compare(bench, wide, (1024, 1024), [8 if bench.quick else 32])
    epochs(bench, 64 if bench.quick else 2048, 32)
    bench.finish()


def compare(bench: Benchmark, count: int, shape: tuple[int, ...], batches: list[int]) -> None:
    """Run all contenders over the same rows, and state the targets."""
    rows = random_rows(count, shape)
    # In tmpfs: the grid and six peers, and batches. On the heap: the rows twice, in two caches, and batches in flight.
    with bench.scratch(count * math.prod(shape) * 13 + GIB) as folder:
        rows.to_grid(folder / "grid")
        peers = _peers.write(bench, folder, rows)
        rows.values = tf.constant(rows.values)  # slices and batches of a tensor are views
        for batch in batches:
            measure(bench, folder, rows, peers, batch)


def measure(bench: Benchmark, folder: Path, rows: Rows, peers: list[_peers.Peer], batch: int) -> None:
    width = math.prod(rows.shape)
    size = f"{width:,} bytes" if width < MIB else f"{width // MIB} MiB"
    what, group = f"{size}, batch {batch:,}", f"{len(rows):,} rows of {size} and a label, batch {batch:,}"
    outside = {name: dataset for peer in peers for name, dataset in peer.sequential(batch).items()}
    ours = gridflow.Dataset("ROWS", home=folder / "grid", batch_size=batch)
    datasets = {OURS: ours, **outside, **inside(folder / f"batches-{batch}", rows, batch)}
    seconds = bench.settings["least seconds for a figure"]
    contenders = {name: measured(dataset, len(rows), batch, seconds) for name, dataset in datasets.items()}
    bench.measure(group, contenders, unit="rows/s")
    for metric in ("drained", "delivered", "touched"):
        mine = bench.median(group, metric, OURS)
        # Adding up 1 MiB costs everybody the same; what is wanted of that, the group of the epochs says.
        wanted = 5.0 if width < MIB or metric != "touched" else None
        ratio = mine / bench.best(group, metric, list(outside))
        bench.target(f"{what}: {metric}, against the best peer", ratio, wanted, "x")
        if width < MIB and metric != "drained":
            bench.target(f"{what}: {metric}, against cache()", mine / bench.best(group, metric, CACHED), 1.0, "x")
    forever = {OURS: ours.repeat(), CACHED[0]: datasets[CACHED[0]].repeat(), CONSTANT: same_again(ours, batch)}
    group = f"{group}, epoch after epoch"
    costs = {name: partial(cost_of_element, dataset, seconds) for name, dataset in forever.items()}
    bench.measure(group, costs, unit="us per batch", better="lower")
    for name, wanted in ((CONSTANT, 1.3), (CACHED[0], 1.0)):
        times = bench.median(group, "delivered", OURS) / bench.median(group, "delivered", name)
        bench.target(f"{what}: cost of a batch, against {name}", times, wanted, "x", at_least=False)


def inside(folder: Path, rows: Rows, batch: int) -> _peers.Datasets:
    """The rows in the process's memory, and batches that are made beforehand."""
    slices = tf.data.Dataset.from_tensor_slices((rows.values, rows.labels))
    slices.batch(batch).save(str(folder))
    whole = len(rows) // batch * batch
    made = tf.reshape(rows.values[:whole], [-1, batch, *rows.shape]), rows.labels[:whole].reshape(-1, batch)
    return {
        **_peers.slices(rows.values, rows.labels, batch),
        **dict(zip(CACHED, [slices.batch(batch).cache(), slices.cache().batch(batch)], strict=True)),
        "from_tensor_slices of batches": tf.data.Dataset.from_tensor_slices(made),
        "snapshot of batches": tf.data.Dataset.load(str(folder)),
    }


def measured(dataset: tf.data.Dataset, rows: int, batch: int, seconds: float) -> Callable[[], Measured]:
    """What measures a dataset."""
    loops = contender(dataset, rows, batch, seconds)
    batches, rows = rows_of(dataset, rows, batch)
    # `skip` has every batch made and drops it, up to the last one of each epoch. The step before it is there because
    # some sources can skip without making anything, and would.
    steps = dataset.apply(tf.data.experimental.assert_cardinality(batches)).skip(batches - 1).repeat()

    def drained() -> float:
        epochs = iter(steps)
        return repeated(lambda: next(epochs), rows, seconds)

    return lambda: {"drained": drained(), **loops()}


def epochs(bench: Benchmark, count: int, batch: int) -> None:
    """The first two epochs of a table of 1 MiB rows, against a tensor."""
    group = f"{count:,} rows of 1 MiB, batch {batch}, epoch by epoch"
    rows = random_rows(count, (1024, 1024))
    with bench.scratch(count * MIB * 3 + GIB) as folder:
        rows.to_grid(folder)
        tensor = tf.constant(rows.values)
        del rows
        contenders = {MAPPED: partial(two_epochs, folder, count, batch), TENSOR: partial(add_tensor, tensor, batch)}
        bench.measure(group, contenders, unit="GiB/s touched")
    for epoch, wanted in zip(EPOCHS, (0.6, 0.9), strict=True):
        share = bench.median(group, epoch, MAPPED) / bench.median(group, epoch, TENSOR)
        bench.target(f"1 MiB, batch {batch}: {epoch}, of what a tensor reaches", share * 100, wanted * 100, "%")


def two_epochs(home: Path, count: int, batch: int) -> Measured:
    gc.collect()
    assert mapped(home)["rss"] == 0, "an epoch is the first one where nothing is mapped yet"
    dataset = gridflow.Dataset("ROWS", home=home, batch_size=batch)
    return {epoch: count * MIB / GIB / seconds(lambda: touch(dataset)) for epoch in EPOCHS}


def add_tensor(tensor: tf.Tensor, batch: int) -> Measured:
    raw = np.frombuffer(memoryview(tensor), np.uint8)

    def work() -> None:
        for first in range(0, len(raw), batch * MIB):
            add_up(raw[first : first + batch * MIB])

    return {epoch: len(raw) / GIB / seconds(work) for epoch in EPOCHS}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
