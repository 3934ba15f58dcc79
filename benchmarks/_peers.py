"""The other ways to feed TensorFlow from files: each writes the same rows, and reads them in order or shuffled.

Every peer has a plain form and the parallelism of the peer's documentation. A peer without a tf.data source is read
by Python, in a generator or in a mapped function, a batch at a time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import tensorflow as tf
from _harness import Benchmark
from _rows import Batch, Rows

AUTOTUNE = tf.data.AUTOTUNE
SHARDS = 8
#: Most rows that a slow peer reads.
SLOW_ROWS = 20_000
#: Bytes of an LMDB map beside twice the rows; the file is sparse.
MAP_RESERVE = 1 << 26
Datasets = dict[str, tf.data.Dataset]


class Peer:
    """Rows in the format of a peer, in a folder of their own.

    Attributes:
        name: the name in the results.
        package: the distribution of the peer; None if TensorFlow is enough.
    """

    name: str
    package: str | None = None

    def __init__(self, folder: Path, rows: Rows):
        self.folder = folder
        self.rows = rows
        self.write()

    def write(self) -> None:
        raise NotImplementedError

    def sequential(self, batch: int) -> Datasets:
        """Datasets of batches in the order of the files, by the name of the form."""
        raise NotImplementedError

    def shuffled(self, batch: int) -> Datasets:
        """Datasets of batches of rows in a uniformly random order."""
        raise NotImplementedError

    def from_generator(self, batches: Callable[[], Iterator[Batch]], form: str) -> Datasets:
        """Datasets over a Python generator, plain and with a thread of its own."""
        dataset = tf.data.Dataset.from_generator(batches, output_signature=self.rows.spec)
        return {f"{self.name}, {form}": dataset, f"{self.name}, {form}, prefetch": dataset.prefetch(AUTOTUNE)}

    def from_function(self, fetch: Callable[[np.ndarray], Batch], numbers: tf.data.Dataset, form: str) -> Datasets:
        """Datasets over a Python function of batches of row numbers, one after the other and in parallel."""

        def apply(batch: tf.Tensor) -> list[tf.Tensor]:
            tensors = tf.numpy_function(fetch, [batch], [spec.dtype for spec in self.rows.spec])
            return tuple(tf.ensure_shape(part, spec.shape) for part, spec in zip(tensors, self.rows.spec, strict=True))

        parallel = numbers.map(apply, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)
        return {f"{self.name}, {form}": numbers.map(apply), f"{self.name}, parallel {form}, prefetch": parallel}

    def shuffled_numbers(self, batch: int) -> tf.data.Dataset:
        """The first batches of row numbers of an epoch; the first are enough, as each row costs the same."""
        return first_of(tf.data.Dataset.range(len(self.rows)).shuffle(len(self.rows)).batch(batch), batch)


def first_of(batches: tf.data.Dataset, batch: int) -> tf.data.Dataset:
    """A tenth of a slow peer's batches, and at most ``SLOW_ROWS`` rows."""
    return batches.take(max(1, min(int(batches.cardinality()) // 10, SLOW_ROWS // batch)))


class TFRecord(Peer):
    name = "TFRecord"

    def write(self) -> None:
        self.folder.mkdir()
        self.files = [str(self.folder / f"{shard}.tfrecord") for shard in range(SHARDS)]
        for shard, file in enumerate(self.files):
            with tf.io.TFRecordWriter(file) as writer:
                for number in range(shard, len(self.rows), SHARDS):
                    writer.write(self.rows.example(number))

    def sequential(self, batch: int) -> Datasets:
        return self._forms(lambda records: records.batch(batch), "")

    def shuffled(self, batch: int) -> Datasets:
        return self._forms(lambda records: records.shuffle(len(self.rows)).batch(batch), ", shuffle(N)")

    def _forms(self, make_batches: Callable[[tf.data.Dataset], tf.data.Dataset], how: str) -> Datasets:
        plain = tf.data.TFRecordDataset(self.files)
        parallel = tf.data.TFRecordDataset(self.files, num_parallel_reads=AUTOTUNE)
        return {
            f"TFRecord{how}, batch, parse": make_batches(plain).map(self.rows.parse),
            f"TFRecord{how}, parallel reads and parse, prefetch": make_batches(parallel)
            .map(self.rows.parse, num_parallel_calls=AUTOTUNE, deterministic=False)
            .prefetch(AUTOTUNE),
        }


class Snapshot(Peer):
    name = "snapshot"

    def write(self) -> None:
        tf.data.Dataset.from_tensor_slices((self.rows.values, self.rows.labels)).save(str(self.folder))

    def sequential(self, batch: int) -> Datasets:
        snapshot = tf.data.Dataset.load(str(self.folder))
        return {
            "snapshot, batch": snapshot.batch(batch),
            "snapshot, parallel batch, prefetch": snapshot.batch(batch, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE),
        }


class ArrayRecord(Peer):
    name = "ArrayRecord"
    package = "array-record"

    def write(self) -> None:
        from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

        writer = ArrayRecordWriter(str(self.folder), "group_size:1,uncompressed")
        for record in self.rows.records():
            writer.write(record)
        writer.close()
        self.reader = ArrayRecordReader(str(self.folder))
        # Options for random access, as in ArrayRecord's documentation.
        self.random_reader = ArrayRecordReader(str(self.folder), "readahead_buffer_size:0,max_parallelism:0")

    def sequential(self, batch: int) -> Datasets:
        count = len(self.rows)

        def ranges() -> Iterator[Batch]:
            for first in range(0, count, batch):
                yield self.rows.unpack(self.reader.read(first, min(first + batch, count)))

        return self.from_generator(ranges, "ranges")

    def shuffled(self, batch: int) -> Datasets:
        def fetch(numbers: np.ndarray) -> Batch:
            return self.rows.unpack(self.random_reader.read(numbers.tolist()))

        return self.from_function(fetch, self.shuffled_numbers(batch), "random access")


class Lance(Peer):
    name = "Lance"
    package = "pylance"

    def write(self) -> None:
        import lance

        self.dataset = lance.write_dataset(self.rows.to_arrow(), str(self.folder))

    def sequential(self, batch: int) -> Datasets:
        def scan() -> Iterator[Batch]:
            return map(self.rows.from_arrow, self.dataset.to_batches(batch_size=batch))

        return self.from_generator(scan, "scan")

    def shuffled(self, batch: int) -> Datasets:
        def fetch(numbers: np.ndarray) -> Batch:
            return self.rows.from_arrow(self.dataset.take(numbers.tolist()).combine_chunks().to_batches()[0])

        return self.from_function(fetch, self.shuffled_numbers(batch), "take")


class Lmdb(Peer):
    name = "LMDB"
    package = "lmdb"

    def write(self) -> None:
        import lmdb

        nbytes = sum(map(len, self.rows.values)) if self.rows.shape is None else self.rows.values.nbytes
        room = 2 * nbytes + MAP_RESERVE
        self.environment = lmdb.open(str(self.folder), map_size=room, lock=False, sync=False, readahead=False)
        with self.environment.begin(write=True) as transaction:
            for number, record in enumerate(self.rows.records()):
                transaction.put(number.to_bytes(8, "big"), record, append=True)

    def sequential(self, batch: int) -> Datasets:
        def scan() -> Iterator[Batch]:
            with self.environment.begin(buffers=True) as transaction:
                records: list[memoryview] = []
                for record in transaction.cursor().iternext(keys=False):
                    records.append(record)
                    if len(records) == batch:
                        yield self.rows.unpack(records)
                        records = []
                if records:
                    yield self.rows.unpack(records)

        return self.from_generator(scan, "cursor")

    def shuffled(self, batch: int) -> Datasets:
        def fetch(numbers: np.ndarray) -> Batch:
            with self.environment.begin(buffers=True) as transaction:
                return self.rows.unpack([transaction.get(number.to_bytes(8, "big")) for number in numbers.tolist()])

        return self.from_function(fetch, self.shuffled_numbers(batch), "get")


class HuggingFace(Peer):
    """HF datasets convert a batch row by row, and integers to int64.

    ``num_workers`` is left out: it starts processes for every epoch, and so short an epoch would measure the start.
    """

    name = "HF datasets"
    package = "datasets"

    def write(self) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import datasets

        datasets.disable_progress_bars()
        datasets.Dataset(self.rows.to_arrow()).save_to_disk(str(self.folder))
        self.dataset = datasets.load_from_disk(str(self.folder))

    def sequential(self, batch: int) -> Datasets:
        return self._forms(batch, False)

    def shuffled(self, batch: int) -> Datasets:
        return self._forms(batch, True)

    def _forms(self, batch: int, shuffle: bool) -> Datasets:
        forms = {}
        for prefetch in (False, True):
            dataset = self.dataset.to_tf_dataset(
                batch, "VALUE", shuffle, label_cols="LABEL", prefetch=prefetch, num_test_batches=1
            )
            forms[f"HF datasets, to_tf_dataset{', prefetch' if prefetch else ''}"] = first_of(dataset, batch)
        return forms


ALL = [TFRecord, Snapshot, ArrayRecord, Lance, Lmdb, HuggingFace]


def packages() -> list[str]:
    """The distributions of the installed peers, for the list of versions."""
    return [kind.package for kind in ALL if kind.package is not None and is_installed(kind.package)]


def is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def install_hint(package: str) -> str:
    return f"{package} is not installed: pip install 'gridflow[peers]'"


def write_peers(bench: Benchmark, folder: Path, rows: Rows, kinds: list[type[Peer]] = ALL) -> list[Peer]:
    """Write the rows in the format of every peer that is installed; the others are noted as skipped."""
    peers = []
    for kind in kinds:
        if kind.package is not None and not is_installed(kind.package):
            bench.skip(kind.name, install_hint(kind.package))
            continue
        path = folder / kind.__name__
        if path.exists():
            shutil.rmtree(path)
        with bench.console.status(f"writing {kind.name}"):
            peers.append(kind(path, rows))
    return peers


def slices(values: object, labels: np.ndarray, batch: int) -> Datasets:
    """Datasets over rows in the memory of the process."""
    rows = tf.data.Dataset.from_tensor_slices((values, labels))
    parallel = rows.batch(batch, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)
    return {"from_tensor_slices, batch": rows.batch(batch), "from_tensor_slices, parallel batch, prefetch": parallel}
