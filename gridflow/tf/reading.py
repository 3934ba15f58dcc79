"""Reading: what a dataset reads and how, which is all that its op is told."""

from __future__ import annotations

import operator
import secrets
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import random_seed

from ..cuda.devices import CPU
from ..sql.execution.select_rows import Condition
from ..stored_table import StoredTable
from ..table import partition_ranges
from . import selection, sharding, specs, stages
from .placing import Place
from .stages import Kind, Stages

_NO_PARTITIONS = [0, 0]  # an empty range, where no range at all would mean all partitions


@dataclass(frozen=True, eq=False)
class Reading:
    """What a dataset reads, in which order and in which pieces. Immutable: a call on a dataset makes another reading.

    Attributes:
        table: the table, or the version of it.
        is_default_grid, is_default_table, are_default_partitions: whether the environment of a process that executes
            the dataset may name another grid, another table, other partitions.
        leaves: the components of an element (``specs.Leaf``), nested as the element is.
        partition_bounds: int64[2 * n], begin and end of n ranges of partitions, maybe a tensor; none for all of them.
        is_share: whether these are one worker's share.
        condition: which rows, in which order or with which weights; None for all, as they come.
        follow_ms: for how many milliseconds the dataset waits for rows at the end of the newest version; 0: not at
            all, negative: for ever.
        place: the device that elements are for; None for host memory.
        stages: what was called on the dataset.
        seeds: of the shuffle and of draws.
        instance: the number by which copies of the dataset in one process count together, and are stopped.
        epochs: the number by which a dataset and those made of it share seed and epochs, from its shuffle on.
    """

    table: StoredTable
    is_default_grid: bool
    is_default_table: bool
    are_default_partitions: bool
    leaves: Any
    partition_bounds: Any
    is_share: bool
    condition: Condition | None
    follow_ms: int
    place: Place | None
    stages: Stages
    seeds: tuple[int, int]
    instance: int
    epochs: int

    def inputs(self) -> dict[str, Any]:
        """The op's inputs and attributes by name, but for those that every source of tf.data has."""
        return {
            "instance": self.instance,
            "epochs": self.epochs,
            "directory": self.table.directory,
            "default_grid": self.is_default_grid,
            "default_table": self.is_default_table,
            "default_partitions": self.are_default_partitions,
            "table_id": self.table.table_id,
            "table": self.table.name,
            "version": self.table.version,
            "columns": [leaf.path for leaf in tf.nest.flatten(self.leaves)],
            "partitions": self.partition_bounds,
            "follow_ms": self.follow_ms,
            "selection": "" if self.condition is None else selection.to_text(self.condition),
            "gpu": CPU if self.place is None else self.place.number,
            "stages": np.array([number for stage in self.stages for number in stage], np.int64),  # not on a GPU
            "seeds": self.seeds,
        }

    def after(self, kind: Kind, first: Any, second: Any = 0, seed: Any = None) -> Reading | None:
        """The reading with one more call on the dataset; None if tf.data has to do it.

        Args:
            kind: what is called.
            first, second: its arguments, as ``stages.push`` takes them.
            seed: of a shuffle, as ``seeds_of`` takes it.
        """
        calls = stages.push(self.stages, kind, first, second)
        if calls is None or (self.follows and kind is not Kind.BATCH):
            return None
        if self.follows and second and not self.is_dense:
            return None  # a batch of lists ends with its version: rows would be lost
        made = replace(self, stages=calls, instance=self.instance if self.follows else new_number())
        if kind is not Kind.SHUFFLE:
            return made
        try:
            return replace(made, seeds=seeds_of(seed), epochs=new_number())
        except TypeError:  # a tensor that has its value only when the graph runs
            return None

    @property
    def follows(self) -> bool:
        """Whether the dataset goes on with rows that are written later."""
        return self.follow_ms != 0

    @property
    def repeats(self) -> bool:
        """Whether ``repeat`` was called."""
        return stages.find(self.stages, Kind.REPEAT) is not None

    @cached_property
    def is_dense(self) -> bool:
        """Whether all rows have the same shapes."""
        return specs.is_dense(self.leaves)

    @cached_property
    def element_spec(self) -> Any:
        """The structure, dtypes and shapes of an element."""
        batch = stages.find(self.stages, Kind.BATCH)
        size, drop_remainder = (None, False) if batch is None else (batch.first, bool(batch.second))
        return tf.nest.map_structure(lambda leaf: leaf.spec(size, drop_remainder), self.leaves)


def new_number() -> int:
    """A number that no other reading has, as instance or for its epochs."""
    return secrets.randbits(62)


def seeds_of(seed: int | None) -> tuple[int, int]:
    """The op's two seeds, by TensorFlow's rules; where they say at random, one of TF_CONFIG's cluster if there is one.

    Raises:
        TypeError: the seed is no number before the graph runs.
    """
    graph_seed, op_seed = random_seed.get_seed(None if seed is None else operator.index(seed))
    if graph_seed is None and op_seed is None:
        return sharding.seeds_of_cluster() or (secrets.randbits(63), secrets.randbits(63))
    return graph_seed or 0, op_seed or 0


def partition_bounds(partitions: Any, count: int, table: str) -> Any:
    """Partitions, as ``Dataset`` takes them, as the op does: begin and end of ranges; none for all ``count`` of them.

    Raises:
        SchemaError: one of them is not there.
    """
    if partitions is None:
        return np.empty(0, np.int64)
    if tf.is_tensor(partitions):  # of a map or interleave: checked by the op, when its value is known
        numbers = tf.reshape(tf.cast(partitions, tf.int64), [-1])
        pairs = tf.reshape(tf.stack([numbers, numbers + 1], axis=1), [-1])
        return tf.concat([pairs, _NO_PARTITIONS], axis=0)
    if isinstance(partitions, slice):
        partitions = range(*partitions.indices(count))
    numbers = [partitions] if hasattr(partitions, "__index__") else partitions
    ranges = partition_ranges([operator.index(number) for number in numbers], count, table)
    return [bound for pair in ranges for bound in pair] or _NO_PARTITIONS
