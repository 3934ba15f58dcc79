"""Rows of several tables, mixed by ratio."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import gridflow
from gridflow import UsageError


@pytest.fixture
def pets(grid):
    """Two tables of 300 rows; IDs of the second are from 1000 on."""
    datasets = []
    for name, first in (("CATS", 0), ("DOGS", 1000)):
        table = grid.create_table(name, {"ID": "LONG", "XS": "LIST<INT>"}, key="ID")
        table.put_all((first + i, {"XS": [i] * (i % 3)}) for i in range(300))
        datasets.append(gridflow.Dataset(table, columns=[]))
    return datasets


def keys(dataset):
    return list(itertools.chain.from_iterable(np.ravel(e["key"]).tolist() for e in dataset))


def test_rows_come_by_ratio(pets):
    mixed = gridflow.sample_from([d.shuffle(1000).repeat() for d in pets], [3, 1], seed=1).batch(50).take(200)
    found = keys(mixed)
    assert abs(sum(key < 1000 for key in found) / len(found) - 0.75) < 0.02
    assert found[:50] != found[50:100] and found != keys(mixed), "each epoch is drawn anew"
    batch = next(iter(mixed))["key"].numpy()
    assert {bool(key < 1000) for key in batch} == {True, False}, "within a batch, too"


def test_nothing_is_lost_or_repeated(pets):
    everything = keys(gridflow.sample_from(pets, [0.8, 0.2], stop_on_empty_dataset=False))
    assert sorted(everything) == [*range(300), *range(1000, 1300)]
    stopped = keys(gridflow.sample_from(pets, [0.8, 0.2]))
    assert len(stopped) == len(set(stopped)) < 600
    assert sum(key < 1000 for key in stopped) == 300 or sum(key >= 1000 for key in stopped) == 300
    assert {key < 1000 for key in keys(gridflow.sample_from(pets, [0, 1]))} == {False}


def test_a_seed_gives_the_same_mixture(pets):
    def mix(seed):
        return keys(gridflow.sample_from(pets, [0.5, 0.5], seed=seed))

    assert mix(1) == mix(1) != mix(2)


def test_an_iterator_resumes(pets, tmp_path):
    mixed = gridflow.sample_from([d.shuffle(50, seed=1).repeat() for d in pets], [0.7, 0.3], seed=2).batch(7).take(40)
    iterator = iter(mixed)
    saved = tf.train.Checkpoint(iterator=iterator)
    for _ in range(11):
        next(iterator)
    path = saved.save(str(tmp_path / "at"))
    rest = keys(iterator)
    restored = iter(mixed)
    tf.train.Checkpoint(iterator=restored).restore(path)
    assert keys(restored) == rest


@pytest.mark.parametrize("ratios", [[1], [1, 2, 3], [1, -1], [0, 0], [1, float("nan")]])
def test_what_is_no_ratio(pets, ratios):
    with pytest.raises(UsageError, match="ratio"):
        gridflow.sample_from(pets, ratios)


def test_what_is_never_drawn_does_not_keep_the_mixture_from_ending(pets):
    assert sorted(keys(gridflow.sample_from(pets, [1, 0], stop_on_empty_dataset=False))) == list(range(300))
