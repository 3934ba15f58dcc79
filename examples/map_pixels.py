"""Elements are dicts of key and value; `map` turns them into the input of a model.

Uses the default grid; set GRIDFLOW_HOME for another one.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import gridflow

with gridflow.connect() as grid:
    grid.drop_table("SQUARES", if_exists=True)
    squares = {i: {"label": i % 10, "pixels": np.full((28, 28), i, np.uint8)} for i in range(100)}
    grid.cache("SQUARES").put_all(squares)

# As with Ignite: one row at a time.
dataset = gridflow.Dataset("SQUARES").map(lambda row: row["val"]["pixels"])
print("one row: ", dataset.element_spec)
print("mean of all pixels:", np.mean([pixels.numpy().mean() for pixels in dataset]))

# Better: let the dataset make the batches, and map those. A batch costs about as much as a row.
batches = gridflow.Dataset("SQUARES", batch_size=32, drop_remainder=True)
dataset = batches.map(lambda row: (tf.cast(row["val"]["pixels"], tf.float32) / 255, row["val"]["label"]))
print("a batch: ", dataset.element_spec)
print("batches: ", int(dataset.cardinality()))
