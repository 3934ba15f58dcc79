"""Every kind of column becomes a tensor, or says why it is none; see ``tests/unit/test_kinds.py``."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from elements import leaves, shown
from kind_samples import sample

import gridflow
from gridflow.kinds import Refused
from gridflow.schema import KINDS, NESTED
from gridflow.tf.specs import _READINGS, Leaf


def test_every_kind_is_in_the_table():
    assert _READINGS.keys() == KINDS.keys()
    assert {kind for kind, entry in _READINGS.items() if isinstance(entry, Refused)} == set(NESTED)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NESTED])
def test_a_dataset_shows_what_was_put(grid, kind):
    t, value = sample(kind)
    table = grid.create_table("T", {"ID": "LONG", "V": t.not_null()}, key="ID")
    table.put(1, {"V": value})
    dataset = gridflow.Dataset(table)
    (element,) = dataset
    tensor = element["val"]["V"]
    assert tensor.dtype == Leaf(2, ("V",), t).dtype == dataset.element_spec["val"]["V"].dtype
    assert tensor.shape == t.shape
    found = tensor.numpy()
    assert (found if isinstance(found, bytes) else found.tolist()) == shown(t, value)


@pytest.mark.parametrize("kind", NESTED)
def test_the_parts_of_a_nested_column_are_leaves(grid, kind):
    t, value = sample(kind)
    table = grid.create_table("T", {"ID": "LONG", "V": t.not_null()}, key="ID")
    table.put(1, {"V": value})
    (element,) = gridflow.Dataset(table)
    found = tf.nest.flatten(element["val"]["V"], expand_composites=False)
    assert len(found) == len(list(leaves("V", t)))
    assert all(np.size(part.numpy()) for part in found)
