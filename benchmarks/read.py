"""Sequential reading of a table as a tf.data.Dataset

Every byte lies in memory before the clock runs (files in tmpfs, arrays on the heap), so this measures the way from there to
the consumer. Rows per second, in three ways:

    drained     tf.data throws the batches away itself: what the pipeline can supply
    delivered   a Python loop that does nothing: what `for batch in dataset` gets, at most
    touched     a Python loop that adds up every byte of every batch, as 64-bit words, with numpy

Each peer runs in its plain form and with the parallelism that TensorFlow's guide recommends; the better one counts. Two more
have their batches made beforehand, which fixes the batch size in the data: they are shown, and do not count as peers. "the
same tensor again" hands out one constant batch: what TensorFlow itself costs.

    python benchmarks/read.py [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
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
    bench.settings["least seconds for a figure"] = 0.05 if bench.quick else 0.25
    narrow, wide = (7_000, 64) if bench.quick else (70_000, 1024)
    compare(bench, f"{narrow:,} rows of 784 bytes and a label, batch 128", narrow, (28, 28), 128, bench.rounds)
    compare(bench, f"{wide:,} rows of 1 MiB and a label, batch 32", wide, (1024, 1024), 32, min(5, bench.rounds))
    bench.finish()


def compare(bench: Benchmark, group: str, rows: int, shape: tuple[int, ...], batch: int, rounds: int) -> None:
    """Run all contenders over the same rows, and state the target."""
    # Grid, records, and snapshots of rows and of batches in tmpfs; the array, its tensor and batches in flight on the heap.
    with bench.scratch(rows * int(np.prod(shape)) * 7 + 512 * MIB) as folder:
        generator = np.random.default_rng(1)
        pixels = np.frombuffer(generator.bytes(rows * int(np.prod(shape))), np.uint8).reshape(rows, *shape)
        labels = generator.integers(0, 1000, rows)
        with gridflow.connect(folder / "grid") as grid:
            sides = ",".join(map(str, shape))
            table = grid.create_table("IMAGES", {"ID": "LONG", "PIXELS": f"UINT8[{sides}]", "LABEL": "LONG"}, key="ID")
            table.load({"ID": np.arange(rows), "PIXELS": pixels, "LABEL": labels})
            datasets = {OURS: gridflow.Dataset("IMAGES", grid=grid, batch_size=batch)}
            datasets |= peers(folder, pixels, labels, batch)
            seconds = bench.settings["least seconds for a figure"]
            contenders = {name: contender(dataset, rows, batch, seconds) for name, dataset in datasets.items()}
            bench.measure(group, contenders, unit="rows/s", rounds=rounds)
    for metric in ("drained", "delivered", "touched"):
        ratio = bench.median(group, metric, OURS) / bench.best(group, metric, PEERS)
        wanted = None if metric == "touched" else 5.0  # adding up costs everybody the same
        bench.target(f"{group}: {metric}, against the best peer", ratio, wanted, "x")


def peers(folder: Path, pixels: np.ndarray, labels: np.ndarray, batch: int) -> dict[str, tf.data.Dataset]:
    """The other ways to hold these rows, each plain and tuned."""
    slices = tf.data.Dataset.from_tensor_slices((pixels, labels))
    files = write_records(folder / "records", pixels, labels)
    slices.save(str(folder / "rows"))
    slices.batch(batch).save(str(folder / "batches"))
    snapshot = tf.data.Dataset.load(str(folder / "rows"))
    whole = len(labels) // batch * batch
    made = pixels[:whole].reshape(-1, batch, *pixels.shape[1:]), labels[:whole].reshape(-1, batch)

    def parse(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = {"pixels": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
        parsed = tf.io.parse_example(records, features)
        flat = tf.io.decode_raw(parsed["pixels"], tf.uint8)
        return tf.reshape(flat, [-1, *pixels.shape[1:]]), parsed["label"]

    one = tf.zeros([batch, *pixels.shape[1:]], tf.uint8), tf.zeros([batch], tf.int64)
    datasets = [
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
    return dict(zip(PEERS, datasets, strict=True)) | {
        "from_tensor_slices of batches": tf.data.Dataset.from_tensor_slices(made),
        "snapshot of batches": tf.data.Dataset.load(str(folder / "batches")),
        "the same tensor again": tf.data.Dataset.from_tensors(one).repeat(-(-len(labels) // batch)),
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
    """What measures a dataset. Making the iterator is part of each pass."""
    batches = int(dataset.cardinality())
    if batches < 0:  # records do not say how many they are
        batches = -(-rows // batch)
    rows = min(rows, batches * batch)
    # `skip` has every batch made, and drops it; the step before keeps it from asking the source to skip by itself.
    drained = dataset.apply(tf.data.experimental.assert_cardinality(batches)).skip(batches)

    def drain() -> None:
        for _ in drained:
            raise AssertionError("more batches than there are rows")

    def deliver() -> None:
        for _ in dataset:
            pass

    def touch() -> int:
        total = 0
        for element in dataset:
            pixels, label = parts(element)
            total += int(words(pixels).sum()) + int(words(label).sum())
        return total

    return lambda: {
        "drained": repeated(drain, rows, seconds),
        "delivered": repeated(deliver, rows, seconds),
        "touched": repeated(touch, rows, seconds),
    }


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
