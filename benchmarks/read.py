"""Sequential reading of a table as a tf.data.Dataset

Every byte lies in memory before the clock runs (files in tmpfs, arrays on the heap), so only the way from memory to the
consumer is measured. Rows per second, in three ways:

    drained     tf.data throws the batches away, epoch after epoch: the supply of the pipeline
    delivered   `for batch in dataset: pass`: the most that a Python loop can get
    touched     a Python loop that adds up every byte of every batch, as 64-bit words, with numpy

The clock of a loop starts before the creation of the iterator and stops at the end of the rows. The end of the iterator
is left out: TensorFlow's autotuning lets no iterator go before it is about 20 ms old, whatever it read. A loop of less
than a quarter of a second is repeated.

Each peer runs in a plain form and with the parallelism of the peer's documentation; the better form counts. Peers read
from files, outside the process; from_tensor_slices and cache() have the rows in the process, and cache() is the best of
two forms, from the second epoch on. Two more contenders have ready batches, which fixes the batch size in the data:
they are shown, and do not count. HF datasets are read for a tenth of the rows: they make int64 of each byte.
ArrayRecord, Lance and LMDB have no tf.data source in their packages, and are read in a generator.

One iterator that goes on from epoch to epoch measures the cost of a batch in microseconds. Beside it
`from_tensors(...).repeat()` hands out one constant element of Gridflow's structure: the cost of TensorFlow alone.

A last group reads a table that the process has not mapped yet, twice: GiB/s touched in the first epoch, page faults
included, and in the second. Beside it numpy adds up a tensor in memory, in pieces of the same size.

    python benchmarks/read.py [--quick]
"""

from __future__ import annotations

import gc
import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from functools import partial
from pathlib import Path

import _peers
import numpy as np
import tensorflow as tf
from _harness import GIB, MIB, Benchmark, Figures, rate_of, seconds_of
from _loops import add_up, batches_and_rows, constant_like, contender, cost_of_element, touch
from _memory import mapped_bytes
from _rows import Rows, random_rows

import gridflow

OURS = "gridflow.Dataset(batch_size=)"
CACHED = ["batch, cache()", "cache(), batch"]
CONSTANT = "from_tensors(...).repeat()"
MAPPED, TENSOR = "gridflow.Dataset(batch_size=), mapped anew", "numpy over a tensor in memory"
#: Copies of the rows that a comparison needs.
COPIES = 13
EPOCHS = ["first epoch", "second epoch"]


def main() -> None:
    bench = Benchmark("read", __doc__, packages=["tensorflow", "keras", *_peers.packages()], rounds=5)
    bench.settings["least seconds for a figure"] = bench.least_seconds
    narrow_rows, wide_rows = (2_000, 16) if bench.quick else (70_000, 512)
    compare(bench, narrow_rows, (28, 28), [128, 1024])
    compare(bench, wide_rows, (1024, 1024), [8 if bench.quick else 32])
    epochs(bench, 64 if bench.quick else 2048, 32)
    bench.finish()


def compare(bench: Benchmark, count: int, shape: tuple[int, ...], batches: list[int]) -> None:
    """Write the rows once, and measure all contenders for each size of batch."""
    rows = random_rows(count, shape)
    # In tmpfs: the grid, six peers, and batches. On the heap: the rows twice, two caches, and batches in flight.
    with bench.scratch(count * math.prod(shape) * COPIES + GIB) as folder:
        rows.to_grid(folder / "grid")
        peers = _peers.write_peers(bench, folder, rows)
        rows.values = tf.constant(rows.values)  # slices and batches of a tensor are views
        for batch in batches:
            measure(bench, folder, rows, peers, batch)


def measure(bench: Benchmark, folder: Path, rows: Rows, peers: list[_peers.Peer], batch: int) -> None:
    width = math.prod(rows.shape)
    size = f"{width:,} bytes" if width < MIB else f"{width // MIB} MiB"
    what, group = f"{size}, batch {batch:,}", f"{len(rows):,} rows of {size} and a label, batch {batch:,}"
    outside = {name: dataset for peer in peers for name, dataset in peer.sequential(batch).items()}
    ours = gridflow.Dataset("ROWS", home=folder / "grid", batch_size=batch)
    datasets = {OURS: ours, **outside, **in_process(folder / f"batches-{batch}", rows, batch)}
    seconds = bench.least_seconds
    contenders = {name: loop_contender(dataset, len(rows), batch, seconds) for name, dataset in datasets.items()}
    bench.measure(group, contenders, unit="rows/s")
    for metric in ("drained", "delivered", "touched"):
        our_rate = bench.median(group, metric, OURS)
        # The sum of 1 MiB costs every contender the same, so the group of the epochs has the target instead.
        goal = 5.0 if width < MIB or metric != "touched" else None
        ratio = our_rate / bench.best(group, metric, list(outside))
        bench.target(f"{what}: {metric}, against the best peer", ratio, goal, "x")
        if width < MIB and metric != "drained":
            bench.target(f"{what}: {metric}, against cache()", our_rate / bench.best(group, metric, CACHED), 1.0, "x")
    forever = {OURS: ours.repeat(), CACHED[0]: datasets[CACHED[0]].repeat(), CONSTANT: constant_like(ours, batch)}
    group = f"{group}, epoch after epoch"
    costs = {name: partial(cost_of_element, dataset, seconds) for name, dataset in forever.items()}
    bench.measure(group, costs, unit="us per batch", better="lower")
    for name, goal in ((CONSTANT, 1.3), (CACHED[0], 1.0)):
        times = bench.median(group, "delivered", OURS) / bench.median(group, "delivered", name)
        bench.target(f"{what}: cost of a batch, against {name}", times, goal, "x", at_least=False)


def in_process(folder: Path, rows: Rows, batch: int) -> _peers.Datasets:
    """Datasets over the rows in the memory of the process, and over ready batches."""
    slices = tf.data.Dataset.from_tensor_slices((rows.values, rows.labels))
    slices.batch(batch).save(str(folder))
    whole = len(rows) // batch * batch
    whole_batches = tf.reshape(rows.values[:whole], [-1, batch, *rows.shape]), rows.labels[:whole].reshape(-1, batch)
    return {
        **_peers.slices(rows.values, rows.labels, batch),
        **dict(zip(CACHED, [slices.batch(batch).cache(), slices.cache().batch(batch)], strict=True)),
        "from_tensor_slices of batches": tf.data.Dataset.from_tensor_slices(whole_batches),
        "snapshot of batches": tf.data.Dataset.load(str(folder)),
    }


def loop_contender(dataset: tf.data.Dataset, rows: int, batch: int, seconds: float) -> Callable[[], Figures]:
    """The contender that measures a dataset: drained, delivered and touched."""
    loops = contender(dataset, rows, batch, seconds)
    batches, rows = batches_and_rows(dataset, rows, batch)
    # `skip` makes every batch of an epoch but the last one, and drops it. Without the assertion before it some sources
    # would skip without making anything.
    steps = dataset.apply(tf.data.experimental.assert_cardinality(batches)).skip(batches - 1).repeat()

    def drain_rate() -> float:
        epochs = iter(steps)
        return rate_of(lambda: next(epochs), rows, seconds)

    return lambda: {"drained": drain_rate(), **loops()}


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
    for epoch, goal in zip(EPOCHS, (0.6, 0.9), strict=True):
        share = bench.median(group, epoch, MAPPED) / bench.median(group, epoch, TENSOR)
        bench.target(f"1 MiB, batch {batch}: {epoch}, of what a tensor reaches", share * 100, goal * 100, "%")


def two_epochs(home: Path, count: int, batch: int) -> Figures:
    gc.collect()
    assert mapped_bytes(home)["rss"] == 0, "an epoch is the first one where nothing is mapped yet"
    dataset = gridflow.Dataset("ROWS", home=home, batch_size=batch)
    return {epoch: count * MIB / GIB / seconds_of(lambda: touch(dataset)) for epoch in EPOCHS}


def add_tensor(tensor: tf.Tensor, batch: int) -> Figures:
    raw = np.frombuffer(memoryview(tensor), np.uint8)

    def work() -> None:
        for first in range(0, len(raw), batch * MIB):
            add_up(raw[first : first + batch * MIB])

    return {epoch: len(raw) / GIB / seconds_of(work) for epoch in EPOCHS}


if __name__ == "__main__":
    main()
