"""Python loops over a tf.data.Dataset, and the speed of such loops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from _harness import Figures, rate_of

#: Buckets of the hash of strings: few enough that the sum of a batch stays in 64 bits.
HASH_BUCKETS = 1 << 40


def deliver(batches: Iterable[Any]) -> None:
    """A loop that only gets the batches."""
    for _ in batches:
        pass


def touch(batches: Iterable[Any]) -> int:
    """A loop that reads every byte: numbers are added up as 64-bit words; strings are hashed, which copies none."""
    total = 0
    for element in batches:
        for tensor in tf.nest.flatten(element):
            if tensor.dtype == tf.string:
                total += int(tf.strings.to_hash_bucket_fast(tensor, HASH_BUCKETS).numpy().sum())
            else:
                total += add_up(np.frombuffer(memoryview(tensor), np.uint8))
    return total


def add_up(raw: np.ndarray) -> int:
    """The sum of all 64-bit words, and of the bytes after the last word."""
    whole = len(raw) // 8 * 8
    return int(raw[:whole].view(np.int64).sum()) + int(raw[whole:].sum())


class Speed(NamedTuple):
    """Rows per second of the clock, and per second of the processor time of all threads."""

    rate: float
    per_core: float


def loop_speed(dataset: tf.data.Dataset, consume: Callable[[Any], object], rows: int, seconds: float) -> Speed:
    """The speed of a loop over a dataset of ``rows``, which is repeated until ``seconds`` have passed.

    The clock starts before the creation of the iterator and stops at the end of the rows. The end of the iterator is
    left out: TensorFlow's autotuning lets no iterator go before it is about 20 ms old, whatever it read.
    """
    elapsed = busy = total_rows = 0.0
    while elapsed < seconds:
        began, busy_before = time.perf_counter(), time.process_time()
        iterator = iter(dataset)
        consume(iterator)
        elapsed += time.perf_counter() - began
        busy += time.process_time() - busy_before
        total_rows += rows
        del iterator
    return Speed(total_rows / elapsed, total_rows / busy)


def batches_and_rows(dataset: tf.data.Dataset, rows: int, batch: int) -> tuple[int, int]:
    """The number of batches of a dataset, and of the rows in them, at most ``rows``."""
    batches = int(dataset.cardinality())
    if batches < 0:  # datasets of records and of generators have no cardinality
        batches = -(-rows // batch)
    return batches, min(rows, batches * batch)


def contender(dataset: tf.data.Dataset, rows: int, batch: int, seconds: float) -> Callable[[], Figures]:
    """The contender that measures a dataset, delivered and touched."""
    _, rows = batches_and_rows(dataset, rows, batch)
    return lambda: {name: loop_speed(dataset, loop, rows, seconds).rate for name, loop in LOOPS.items()}


LOOPS = {"delivered": deliver, "touched": touch}


def constant_like(dataset: tf.data.Dataset, batch: int | None = None) -> tf.data.Dataset:
    """``from_tensors(...).repeat()`` of an element of the structure of a dataset: the cost of TensorFlow alone."""

    def blank(spec: tf.TensorSpec) -> tf.Tensor:
        return tf.zeros([batch if size is None else size for size in spec.shape], spec.dtype)

    return tf.data.Dataset.from_tensors(tf.nest.map_structure(blank, dataset.element_spec)).repeat()


def cost_of_element(dataset: tf.data.Dataset, seconds: float) -> Figures:
    """Microseconds of an element of an endless dataset."""
    elements = iter(dataset)
    next(elements)
    return {"delivered": 1e6 / rate_of(lambda: next(elements), 1, seconds)}
