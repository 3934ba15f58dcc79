"""Rows of several datasets, mixed by ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ..errors import UsageError

_CHOICES = 1024  # are drawn at once: tf.data's own sampling calls a function for each


def sample_from(
    datasets: Sequence[tf.data.Dataset],
    ratios: Sequence[float],
    *,
    seed: int | None = None,
    stop_on_empty_dataset: bool = True,
) -> tf.data.Dataset:
    """Mix datasets: each element is the next one of a dataset that is drawn at random by ``ratios``.

    Give datasets of single rows and batch the mixture; batched datasets are mixed batch by batch. Which dataset comes
    next is drawn anew in each epoch. An iterator can be saved and restored if those of the datasets can.

    Args:
        datasets: of elements of the same structure. Repeat and shuffle them before.
        ratios: how often each is drawn, as against the others; not negative.
        seed: of the draws; None for ``tf.random.set_seed``'s, or at random.
        stop_on_empty_dataset: whether the mixture ends with the first dataset that ends, so that the ratios hold to the
            end. Else it goes on with the others.

    Returns:
        A dataset of their elements.

    Raises:
        UsageError: there is not one ratio for each dataset, or one that is negative, or none above 0.

    >>> import gridflow, tempfile
    >>> with gridflow.connect(tempfile.mkdtemp()) as grid:
    ...     for name in ("CATS", "DOGS"):
    ...         grid.create_table(name, {"ID": "LONG"}, key="ID").put_all((i, {}) for i in range(100))
    ...     pets = [gridflow.Dataset(name, grid=grid).repeat() for name in ("CATS", "DOGS")]
    ...     mixed = gridflow.sample_from(pets, [0.9, 0.1], seed=1).batch(32)
    ...     print(next(iter(mixed))["key"].shape)
    (32,)
    """
    ratios = [float(ratio) for ratio in ratios]
    if not datasets or len(ratios) != len(datasets):
        raise UsageError(
            f"there are {len(datasets)} datasets and {len(ratios)} ratios: give one ratio for each dataset"
        )
    if not all(math.isfinite(ratio) and ratio >= 0 for ratio in ratios) or not any(ratios):
        raise UsageError(f"ratios {ratios}: they are numbers from 0, one of them above it")
    # What is never drawn would never end, either.
    datasets = [dataset for dataset, ratio in zip(datasets, ratios, strict=True) if ratio > 0]
    shares = np.array([ratio for ratio in ratios if ratio > 0])
    logits = np.log(shares / shares.max())[None]

    def draw(seeds: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_categorical(logits, _CHOICES, seeds, tf.int64)[0]

    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    choices = seeds.map(draw).unbatch()
    return tf.data.Dataset.choose_from_datasets(datasets, choices, stop_on_empty_dataset)
