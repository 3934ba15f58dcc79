"""Python loops over a tf.data.Dataset, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from _harness import Measured, repeated


def deliver(batches: Iterable[Any]) -> None:
    """A loop that only gets the batches."""
    for _ in batches:
        pass


def touch(batches: Iterable[Any]) -> int:
    """A loop that reads every byte: numbers are added up as 64-bit words, and strings hashed, which copies none."""
    total = 0
    for element in batches:
        for tensor in tf.nest.flatten(element):
            if tensor.dtype == tf.string:
                total += int(tf.strings.to_hash_bucket_fast(tensor, 1 << 40).numpy().sum())
            else:
                total += add_up(np.frombuffer(memoryview(tensor), np.uint8))
    return total


def add_up(raw: np.ndarray) -> int:
    """Bytes as 64-bit words, and those that are left over."""
    whole = len(raw) // 8 * 8
    return int(raw[:whole].view(np.int64).sum()) + int(raw[whole:].sum())


class Speed(NamedTuple):
    """Rows per second: of the clock, and of processor time, that of all threads together."""

    rate: float
    per_core: float


def looped(dataset: tf.data.Dataset, consume: Callable[[Any], object], rows: int, seconds: float) -> Speed:
    """The speed of a loop over a dataset of ``rows``, done again until ``seconds`` have passed.

    The clock starts before the iterator is made and stops at the end of the rows. Not in it is the end of the iterator
    itself: TensorFlow's autotuning lets none go before it is about 20 ms old, whatever it read.
    """
    elapsed = busy = done = 0.0
    while elapsed < seconds:
        began, busy_before = time.perf_counter(), time.process_time()
        iterator = iter(dataset)
        consume(iterator)
        elapsed += time.perf_counter() - began
        busy += time.process_time() - busy_before
        done += rows
        del iterator
    return Speed(done / elapsed, done / busy)


def rows_of(dataset: tf.data.Dataset, rows: int, batch: int) -> tuple[int, int]:
    """How many batches a dataset has, and how many of ``rows`` are in them."""
    batches = int(dataset.cardinality())
    if batches < 0:  # records and generators do not say how many they are
        batches = -(-rows // batch)
    return batches, min(rows, batches * batch)


def contender(dataset: tf.data.Dataset, rows: int, batch: int, seconds: float) -> Callable[[], Measured]:
    """What measures a dataset, delivered and touched."""
    _, rows = rows_of(dataset, rows, batch)
    return lambda: {name: looped(dataset, loop, rows, seconds).rate for name, loop in LOOPS.items()}


LOOPS = {"delivered": deliver, "touched": touch}


def same_again(dataset: tf.data.Dataset, batch: int | None = None) -> tf.data.Dataset:
    """``from_tensors(...).repeat()`` of an element that is structured as those of a dataset: TensorFlow's own cost."""

    def blank(spec: tf.TensorSpec) -> tf.Tensor:
        return tf.zeros([batch if size is None else size for size in spec.shape], spec.dtype)

    return tf.data.Dataset.from_tensors(tf.nest.map_structure(blank, dataset.element_spec)).repeat()


def cost_of_element(dataset: tf.data.Dataset, seconds: float) -> Measured:
    """Of a dataset without an end, in microseconds."""
    elements = iter(dataset)
    next(elements)
    return {"delivered": 1e6 / repeated(lambda: next(elements), 1, seconds)}
