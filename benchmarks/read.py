"""Sequential reading of a table as a tf.data.Dataset

Every byte lies in memory before the clock runs (files in tmpfs, arrays on the heap), so this measures the way from
there to the consumer. Rows per second, in three ways:

    drained     tf.data throws the batches away itself, epoch after epoch: what the pipeline can supply
    delivered   `for batch in dataset: pass`: what a Python loop gets, at most
    touched     a Python loop that adds up every byte of every batch, as 64-bit words, with numpy

The clock of a loop starts before its iterator is made and stops at the end of the rows. Not in it is the end of the
iterator itself: TensorFlow's autotuning lets none go before it is about 20 ms old, whatever it read. Loops that take
less than a quarter of a second are run again.

Each peer runs in its plain form and with the parallelism that TensorFlow's guide recommends; the better one counts.
Two more have their batches made beforehand, which fixes the batch size in the data: they are shown, and do not
count as peers. "the same tensor again" hands out one constant batch: what TensorFlow itself costs.

    python benchmarks/read.py [--quick]
"""

from __future__ import annotations

import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from _harness import MIB, Benchmark, Measured, repeated

import gridflow

AUTOTUNE = tf.data.AUTOTUNE
SHARDS = 8
OURS = "gridflow.Dataset(batch_size=)"
PEERS = [
    "from_tensor_slices, batch",
    "from_tensor_slices, parallel batch, prefetch",
    "TFRecord, batch, parse",
    "TFRecord, parallel reads and parse, prefetch",
    "snapshot, batch",
    "snapshot, parallel batch, prefetch",
]


def main() -> None:
    bench = Benchmark("read", __doc__, packages=["tensorflow", "keras"], rounds=7)
    bench.settings["least seconds for a figure"] = 0.01 if bench.quick else 0.25
    narrow, wide = (2_000, 64) if bench.quick else (70_000, 1024)
    compare(bench, f"{narrow:,} rows of 784 bytes and a label, batch 128", narrow, (28, 28), 128, bench.rounds)
    compare(bench, f"{wide:,} rows of 1 MiB and a label, batch 32", wide, (1024, 1024), 32, min(5, bench.rounds))
    bench.finish()


def compare(bench: Benchmark, group: str, rows: int, shape: tuple[int, ...], batch: int, rounds: int) -> None:
    """Run all contenders over the same rows, and state the target."""
    # In tmpfs: the grid, records, snapshots of rows and of batches. On the heap: the rows twice, and batches in flight.
    with bench.scratch(rows * math.prod(shape) * 6 + 512 * MIB) as folder:
        datasets = make_datasets(folder, rows, shape, batch)
        seconds = bench.settings["least seconds for a figure"]
        contenders = {name: contender(dataset, rows, batch, seconds) for name, dataset in datasets.items()}
        bench.measure(group, contenders, unit="rows/s", rounds=rounds)
    for metric in ("drained", "delivered", "touched"):
        ratio = bench.median(group, metric, OURS) / bench.best(group, metric, PEERS)
        wanted = None if metric == "touched" else 5.0  # adding up costs everybody the same
        bench.target(f"{group}: {metric}, against the best peer", ratio, wanted, "x")


def make_datasets(folder: Path, rows: int, shape: tuple[int, ...], batch: int) -> dict[str, tf.data.Dataset]:
    """The same rows in a grid and in each peer's form."""
    generator = np.random.default_rng(1)
    pixels = np.frombuffer(generator.bytes(rows * math.prod(shape)), np.uint8).reshape(rows, *shape)
    labels = generator.integers(0, 1000, rows)
    with gridflow.connect(folder / "grid") as grid:
        columns = {"ID": "LONG", "PIXELS": f"UINT8[{','.join(map(str, shape))}]", "LABEL": "LONG"}
        table = grid.create_table("IMAGES", columns, key="ID")
        table.load({"ID": np.arange(rows), "PIXELS": pixels, "LABEL": labels})
    files = write_records(folder / "records", pixels, labels)
    images = tf.constant(pixels)
    del pixels  # the tensor is a copy, and slices and batches of it are views
    slices = tf.data.Dataset.from_tensor_slices((images, labels))
    slices.save(str(folder / "rows"))
    slices.batch(batch).save(str(folder / "batches"))
    snapshot = tf.data.Dataset.load(str(folder / "rows"))
    whole = rows // batch * batch
    made = tf.reshape(images[:whole], [-1, batch, *shape]), labels[:whole].reshape(-1, batch)

    def parse(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = {"pixels": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
        parsed = tf.io.parse_example(records, features)
        return tf.reshape(tf.io.decode_raw(parsed["pixels"], tf.uint8), [-1, *shape]), parsed["label"]

    peers = [
        slices.batch(batch),
        slices.batch(batch, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE),
        tf.data.TFRecordDataset(files).batch(batch).map(parse),
        tf.data.TFRecordDataset(files, num_parallel_reads=AUTOTUNE)
        .batch(batch)
        .map(parse, num_parallel_calls=AUTOTUNE, deterministic=False)
        .prefetch(AUTOTUNE),
        snapshot.batch(batch),
        snapshot.batch(batch, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE),
    ]
    one = tf.zeros([batch, *shape], tf.uint8), tf.zeros([batch], tf.int64)
    return {
        OURS: gridflow.Dataset("IMAGES", home=folder / "grid", batch_size=batch),
        **dict(zip(PEERS, peers, strict=True)),
        "from_tensor_slices of batches": tf.data.Dataset.from_tensor_slices(made),
        "snapshot of batches": tf.data.Dataset.load(str(folder / "batches")),
        "the same tensor again": tf.data.Dataset.from_tensors(one).repeat(-(-rows // batch)),
    }


def write_records(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> list[str]:
    """The rows as TFRecord files of tf.train.Example, in SHARDS files."""
    folder.mkdir()
    files = [str(folder / f"{shard}.tfrecord") for shard in range(SHARDS)]
    for shard, file in enumerate(files):
        with tf.io.TFRecordWriter(file) as writer:
            for row in range(shard, len(labels), SHARDS):
                value = tf.train.BytesList(value=[pixels[row].tobytes()])
                label = tf.train.Int64List(value=[int(labels[row])])
                features = {"pixels": tf.train.Feature(bytes_list=value), "label": tf.train.Feature(int64_list=label)}
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return files


def contender(dataset: tf.data.Dataset, rows: int, batch: int, seconds: float) -> Callable[[], Measured]:
    """What measures a dataset."""
    batches = int(dataset.cardinality())
    if batches < 0:  # records do not say how many they are
        batches = -(-rows // batch)
    rows = min(rows, batches * batch)
    # `skip` has every batch made and drops it, up to the last one of each epoch. The step before it is there because
    # some sources can skip without making anything, and would.
    steps = dataset.apply(tf.data.experimental.assert_cardinality(batches)).skip(batches - 1).repeat()

    def drained() -> float:
        epochs = iter(steps)
        return repeated(lambda: next(epochs), rows, seconds)

    def looped(consume: Callable[[Any], object]) -> float:
        elapsed = done = 0.0
        while elapsed < seconds:
            began = time.perf_counter()
            iterator = iter(dataset)
            consume(iterator)
            elapsed += time.perf_counter() - began
            done += rows
            del iterator
        return done / elapsed

    return lambda: {"drained": drained(), "delivered": looped(deliver), "touched": looped(touch)}


def deliver(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass


def touch(batches: Iterable[Any]) -> int:
    total = 0
    for element in batches:
        pixels, label = parts(element)
        total += int(words(pixels).sum()) + int(words(label).sum())
    return total


def parts(element: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Pixels and label, as this dataset names them."""
    if isinstance(element, dict):
        return element["val"]["PIXELS"], element["val"]["LABEL"]
    return element


def words(tensor: tf.Tensor) -> np.ndarray:
    """A tensor's bytes as 64-bit words, without a copy."""
    return np.frombuffer(memoryview(tensor), np.int64)


if __name__ == "__main__":
    main()
