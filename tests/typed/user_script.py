"""A program of a user's, as type checkers see it: tests/typed/test_types.py has them look at it. It is never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from typing_extensions import assert_type

import gridflow
from gridflow import Cache, Grid, GridflowError, Result, Schema, Table, TransactionConflictError

grid = gridflow.connect("grid")
assert_type(grid, Grid)
with gridflow.connect(read_only=True, timeout=1.0) as reader:
    assert_type(reader, Grid)
    assert_type(reader.tables(), list[str])

table = grid.create_table("KITTENS", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
assert_type(table, Table)
assert_type(grid.table("KITTENS"), Table)
assert_type(table.schema, Schema)
assert_type(len(table), int)
table.put(1, {"NAME": "WARM"})
table[2] = {"NAME": "SOFT"}
assert_type(table.put_if_absent(1, {"NAME": "WARM"}), bool)
assert_type(table.remove(2), bool)
assert_type(table.load({"ID": np.arange(3), "NAME": ["a", "b", "c"]}), int)
assert_type(table.tags(), dict[str, int])
frame: pd.DataFrame = table.to_pandas()
arrow: pa.Table = table.to_arrow(["NAME"])
names: np.ndarray[Any, np.dtype[Any]] = table.to_numpy()["NAME"]

result = grid.sql("SELECT ID, NAME FROM KITTENS WHERE ID > ?", [0])
assert_type(result, Result)
assert_type(result.rowcount, int)
assert_type(result.columns, list[str])
assert_type(result.fetchall(), list[tuple[Any, ...]])
assert_type(result.fetchone(), tuple[Any, ...] | None)
assert_type(result[0], tuple[Any, ...])
assert_type(result[:2], list[tuple[Any, ...]])
assert_type(iter(result), Iterator[tuple[Any, ...]])
assert_type(result.to_dicts(), list[dict[str, Any]])

cache = grid.cache("NUMBERS")
assert_type(cache, Cache)

with grid.transaction() as transaction:
    transaction.table("KITTENS").put(3, {"NAME": "SLEEPY"})
    assert_type(transaction, gridflow.Transaction)

try:
    grid.sql("INSERT INTO KITTENS VALUES (1, 'WARM')")
except gridflow.DuplicateKeyError as error:
    assert_type(error.table, str | None)
    assert_type(error.line, int | None)
    assert_type(error.retryable, bool)
except TransactionConflictError:
    pass
except GridflowError as error:
    print(error)

dataset = gridflow.Dataset("KITTENS", batch_size=2)
for batch in dataset.take(1):
    print(batch)
gridflow.sample_from([dataset, dataset], [0.5, 0.5])

# What is not there is an error: each line needs its comment, which says so to mypy and to pyright.
gridflow.connct("grid")  # type: ignore[attr-defined]
gridflow.Dataste("KITTENS")  # type: ignore[attr-defined]
grid.sql(1)  # type: ignore[arg-type]
grid.tabel("KITTENS")  # type: ignore[attr-defined]
gridflow.connect(durabilty="fsync")  # type: ignore[call-arg]
result.fetchall().rows  # type: ignore[attr-defined]  # noqa: B018
