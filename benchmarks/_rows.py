"""Rows of a value and a label, and the conversions that the peers need to write and to read them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

import gridflow

LABEL_BYTES = 8
Batch = tuple[np.ndarray, np.ndarray]


@dataclass
class Rows:
    """Values and labels: ``uint8[n, *shape]``, or byte strings if there is no shape; and ``int64[n]``."""

    values: Sequence[Any]
    labels: np.ndarray
    shape: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        """The element spec of a batch."""
        value = tf.TensorSpec([None], tf.string) if self.shape is None else tf.TensorSpec([None, *self.shape], tf.uint8)
        return value, tf.TensorSpec([None], tf.int64)

    def records(self) -> Iterator[bytes]:
        """Each row as one byte string: the label, then the value."""
        for value, label in zip(self.values, self.labels, strict=True):
            yield label.tobytes() + (value if self.shape is None else value.tobytes())

    def unpack(self, records: list[Any]) -> Batch:
        """A batch of byte strings from ``records``."""
        if self.shape is None:
            labels = np.frombuffer(b"".join(record[:LABEL_BYTES] for record in records), np.int64)
            return np.array([bytes(record[LABEL_BYTES:]) for record in records], object), labels
        whole = np.frombuffer(b"".join(records), np.uint8).reshape(len(records), -1)
        labels = np.ascontiguousarray(whole[:, :LABEL_BYTES]).view(np.int64)[:, 0]
        return whole[:, LABEL_BYTES:].reshape(-1, *self.shape), labels

    def to_arrow(self) -> pa.Table:
        """The columns VALUE and LABEL."""
        if self.shape is None:
            values = pa.array(self.values, pa.binary())
        else:
            flat = pa.array(np.asarray(self.values).reshape(-1))
            values = pa.FixedSizeListArray.from_arrays(flat, math.prod(self.shape))
        return pa.table({"VALUE": values, "LABEL": self.labels})

    def from_arrow(self, batch: pa.RecordBatch) -> Batch:
        """A batch of the columns VALUE and LABEL."""
        values, labels = batch.column("VALUE"), batch.column("LABEL")
        if self.shape is None:
            return np.array(values.to_pylist(), object), labels.to_numpy()
        return values.flatten().to_numpy().reshape(-1, *self.shape), labels.to_numpy()

    def example(self, number: int) -> bytes:
        """A row as a ``tf.train.Example``."""
        value = self.values[number] if self.shape is None else self.values[number].tobytes()
        features = {
            "value": tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(self.labels[number])])),
        }
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    def parse(self, examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A batch of the examples of ``example``."""
        features = {"value": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
        columns = tf.io.parse_example(examples, features)
        if self.shape is None:
            return columns["value"], columns["label"]
        return tf.reshape(tf.io.decode_raw(columns["value"], tf.uint8), [-1, *self.shape]), columns["label"]

    def to_grid(self, home: Path) -> None:
        """Create a grid with the table ROWS."""
        kind = "BINARY" if self.shape is None else f"UINT8[{','.join(map(str, self.shape))}]"
        with gridflow.connect(home) as grid:
            table = grid.create_table("ROWS", {"ID": "LONG", "VALUE": kind, "LABEL": "LONG"}, key="ID")
            table.load({"ID": np.arange(len(self)), "VALUE": self.values, "LABEL": self.labels})


def random_rows(count: int, shape: tuple[int, ...]) -> Rows:
    """Rows of random bytes, which no peer can compress."""
    generator = np.random.default_rng(1)
    values = np.frombuffer(generator.bytes(count * math.prod(shape)), np.uint8).reshape(count, *shape)
    return Rows(values, generator.integers(0, 1000, count), shape)
