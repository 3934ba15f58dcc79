"""Datasets over columns that are younger than the rows: their values lie in no file."""

from __future__ import annotations

import decimal
import uuid

import numpy as np
import pytest
import tensorflow as tf

import gridflow

LONG = "a text that is too long to lie in a tstring itself"
FILLS = {
    "I": ("INT", 7),
    "B": ("BOOL", True),
    "S": ("VARCHAR", LONG),
    "P": ("FLOAT[16]", np.arange(16, dtype=np.float32)),
    "D": ("DECIMAL(5,2)", decimal.Decimal("-1.25")),
    "U": ("UUID", uuid.UUID(int=7)),
    "L": ("LIST<INT>", [1, 2]),
    "T": ("STRUCT<X INT, Y VARCHAR>", {"X": 3, "Y": LONG}),
}


@pytest.mark.parametrize("batch_size", [None, 4, 32])
def test_rows_that_are_older_than_a_column(grid, batch_size):
    table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID")
    table.load({"ID": np.arange(64), "X": np.arange(64)})
    grid.alter_table(
        "T",
        add={name: kind for name, (kind, _) in FILLS.items()},
        fill={name: value for name, (_, value) in FILLS.items()},
    )
    kept = list(gridflow.Dataset(table, grid=grid, batch_size=batch_size))
    rows = kept if batch_size is None else [row for batch in kept for row in tf.data.Dataset.from_tensor_slices(batch)]
    grid.drop_table("T")  # what was taken out stays
    assert len(rows) == 64 and sorted(int(row["key"]) for row in rows) == list(range(64))
    for row in rows:
        value = row["val"]
        assert int(value["X"]) == int(row["key"]) and int(value["I"]) == 7 and bool(value["B"])
        assert value["S"].numpy().decode() == LONG and value["T"]["Y"].numpy().decode() == LONG
        assert value["P"].numpy().tolist() == list(range(16)) and int(value["T"]["X"]) == 3
        assert value["D"].numpy() == b"-1.25" and value["U"].numpy() == uuid.UUID(int=7).bytes
        assert value["L"].numpy().tolist() == [1, 2]


def test_a_column_without_a_value_is_null(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.load({"ID": np.arange(3)})
    grid.alter_table("T", add={"N": "INT"})
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"column N of table T is null in the row where ID = \d:"):
        list(gridflow.Dataset(table, grid=grid, batch_size=2))
    grid.sql("UPDATE T SET N = ID")
    (batch,) = gridflow.Dataset(table, grid=grid, batch_size=3)
    assert batch["val"]["N"].numpy().tolist() == batch["key"].numpy().tolist()


def test_a_dataset_that_was_made_before(grid):
    table = grid.create_table("T", {"ID": "LONG", "X": "INT", "Y": "INT"}, key="ID")
    table.load({"ID": np.arange(4), "X": np.arange(4), "Y": np.arange(4) * 10})
    dataset = gridflow.Dataset(table, grid=grid, columns=["Y"], batch_size=4)
    grid.alter_table("T", drop=["X"], rename={"Y": "Z"}, add={"Y": "INT"})
    (batch,) = dataset
    assert batch["val"]["Y"].numpy().tolist() == (batch["key"].numpy() * 10).tolist(), "the column that it was made for"
    grid.alter_table("T", drop=["Z"])
    with pytest.raises(tf.errors.NotFoundError, match="has no column Y any more: make the dataset again"):
        list(dataset)
