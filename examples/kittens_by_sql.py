"""Rows made by SQL, read by TensorFlow: the first example of Apache Ignite's dataset, on Gridflow.

Uses the default grid; set GRIDFLOW_HOME for another one.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import gridflow

np.set_printoptions(legacy="1.25")  # prints 1 instead of np.int64(1)

with gridflow.connect() as grid:
    grid.sql("DROP TABLE IF EXISTS KITTEN_CACHE")
    grid.sql("CREATE TABLE KITTEN_CACHE (ID LONG PRIMARY KEY, NAME VARCHAR)")
    grid.sql("INSERT INTO KITTEN_CACHE VALUES (1, 'WARM KITTY')")
    grid.sql("INSERT INTO KITTEN_CACHE VALUES (2, 'SOFT KITTY')")
    grid.sql("INSERT INTO KITTEN_CACHE VALUES (3, 'LITTLE BALL OF FUR')")

# Ignite calls the cache behind table KITTEN_CACHE so; "KITTEN_CACHE" alone works as well.
dataset = gridflow.Dataset("SQL_PUBLIC_KITTEN_CACHE")

for element in dataset.as_numpy_iterator():  # rows come in the order of their key hashes
    print(element)
