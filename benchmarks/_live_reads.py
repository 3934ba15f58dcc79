"""What reads a table in a state: datasets, keys, rows of several widths. Nanoseconds of a row."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf
from _harness import GIB, Benchmark, Figures, rate_of
from _live_states import FEW, NARROW, STATES, X_END, Lived, lived, pieces

import gridflow

BATCH = 4096
HALF = f"X < {X_END // 2}"
#: Ways to read a dataset, by the name of the path.
ORDERS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "shuffled": {"shuffle": True},
    "where=": {"where": HALF},
    "where= shuffled": {"where": HALF, "shuffle": True},
    "weights=": {"weights": "X"},
}
#: What opens a table, in milliseconds: a reader, one that has been there before, and one with a new condition.
OPENED, NEW_WHERE = "first batch", "new where="
KEYS = ["get", "get_all"]
#: Keys of a call of ``get_all``.
CALL_KEYS = 1000
#: How much longer than other paths keys are asked for: these are loops of Python, and the machine hits them at random.
KEYS_LONGER = 3
#: Rows of these bytes, so many of them (with --quick a tenth), in batches of so many.
WIDE = {800: (200_000, 512), 150_000: (2_000, 32)}
GATHER = "numpy fancy indexing"
PARQUET = "DuckDB over Parquet"
MEMCPY = ["memcpy", "memcpy to new memory"]

#: How much longer a figure may take than it counts.
ENDS = 5

_new = itertools.count(1)  # no condition is ever asked for twice


def cost_of_rows(dataset: tf.data.Dataset, seconds: float) -> tuple[float, float]:
    """Seconds to the first batch, and of a row after it: epoch after epoch, for about so long, at least two batches.

    The ends of iterators, for which TensorFlow's autotuning takes 20 ms, are left out, and limited in number.
    """
    first, spent, rows = 0.0, 0.0, 0
    end = time.perf_counter() + ENDS * seconds
    while not rows or spent < seconds and time.perf_counter() < end:
        began = time.perf_counter()
        batches = iter(dataset)
        next(batches)
        start = time.perf_counter()
        first = first or start - began
        for batch in batches:
            rows += batch["key"].shape[0]
            if time.perf_counter() - start >= seconds:
                break
        spent += time.perf_counter() - start
        del batches
    return first, spent / rows


def read_orders(table: Lived, seconds: float, batch: int = BATCH, orders: dict[str, Any] = ORDERS) -> Figures:
    figures = {}
    with table.written():
        for path, options in orders.items():
            dataset = gridflow.Dataset("T", home=table.home, batch_size=batch, **options)
            first, row = cost_of_rows(dataset, seconds)
            figures[path] = row * 1e9
            if path == "sequential":
                figures[OPENED] = first * 1e3
    return figures


def open_where(table: Lived) -> float:
    """Milliseconds from a new condition to its first batch."""
    condition = f"X < {X_END // 2 + next(_new)}"
    began = time.perf_counter()
    next(iter(gridflow.Dataset("T", home=table.home, batch_size=BATCH, where=condition)))
    return (time.perf_counter() - began) * 1e3


def read_keys(table: Lived, seconds: float) -> Figures:
    generator = np.random.default_rng(3)
    numbers = generator.integers(0, table.rows, 20 * CALL_KEYS)
    keys = numbers[numbers % 10 != 3].tolist()  # those that no state has deleted
    calls = itertools.cycle([keys[i : i + CALL_KEYS] for i in range(0, len(keys) - CALL_KEYS, CALL_KEYS)])
    rows = table.table
    get = rows.get

    def single() -> None:
        for key in next(calls):
            get(key)

    with table.written():
        rates = {
            "get": rate_of(single, CALL_KEYS, seconds),
            "get_all": rate_of(lambda: rows.get_all(next(calls)), CALL_KEYS, seconds),
        }
    return {metric: 1e9 / rate for metric, rate in rates.items()}


def measure_reads(bench: Benchmark, tables: list[Lived], seconds: float) -> None:
    """Datasets of a narrow table, beside numpy's cost of a row in random order: what cache misses take."""
    rows = tables[0].rows
    group = f"{rows:,} rows of {NARROW} bytes, datasets"
    contenders: dict[str, Callable[[], Figures]] = {
        f"gridflow, {table.state.name}": partial(read_orders, table, seconds) for table in tables
    }
    unit = {**dict.fromkeys(ORDERS, "ns a row"), OPENED: "ms"}
    bench.measure(group, {**contenders, GATHER: partial(gather, rows)}, unit=unit, better="lower")


def measure_where(bench: Benchmark, tables: list[Lived], folder: Path) -> None:
    rows = tables[0].rows
    path = folder / f"{rows}.parquet"
    with pq.ParquetWriter(path, pieces(0, rows, 1, NARROW).schema, compression="none") as writer:
        for piece in pieces(0, rows, 1, NARROW):
            writer.write_batch(piece)
    database = duckdb.connect()

    def scan() -> Figures:
        text = f"SELECT ID, X FROM '{path}' WHERE X < {X_END // 2 + next(_new)}"
        began = time.perf_counter()
        database.sql(text).to_arrow_table()
        return {NEW_WHERE: (time.perf_counter() - began) * 1e3}

    def new_where(table: Lived) -> Figures:
        with table.written():
            return {NEW_WHERE: open_where(table)}

    contenders = {f"gridflow, {table.state.name}": partial(new_where, table) for table in tables}
    group = f"{rows:,} rows of {NARROW} bytes, a new condition"
    bench.measure(group, {**contenders, PARQUET: scan}, unit="ms", better="lower")
    path.unlink()


def measure_keys(bench: Benchmark, tables: list[Lived], seconds: float) -> None:
    seconds *= KEYS_LONGER
    contenders = {f"gridflow, {table.state.name}": partial(read_keys, table, seconds) for table in tables}
    group = f"{tables[0].rows:,} rows of {NARROW} bytes, by key"
    bench.measure(group, contenders, unit="ns a row", better="lower")


def measure_wide(bench: Benchmark, seconds: float) -> None:
    """Wide rows in sequence, beside copies of the same bytes."""
    for width, (count, batch) in WIDE.items():
        rows = count // 10 if bench.quick else count
        states = [state for state in STATES if state in FEW or state.name.startswith("40 ")]
        with (
            bench.scratch(rows * width * (len(states) + 3) + GIB // 4) as folder,
            lived(folder, states, rows, width) as tables,
        ):
            contenders: dict[str, Callable[[], Figures]] = {
                f"gridflow, {table.state.name}": partial(read_wide, table, seconds, batch) for table in tables
            }
            data = np.random.default_rng(1).integers(0, 255, rows * width, np.uint8)
            contenders |= {name: partial(copy, name, data, width, batch, seconds) for name in MEMCPY}
            group = f"{rows:,} rows of {width:,} bytes, batch {batch}"
            bench.measure(group, contenders, unit="ns a row", better="lower")


def read_wide(table: Lived, seconds: float, batch: int) -> Figures:
    return {"sequential": read_orders(table, seconds, batch, {"sequential": {}})["sequential"]}


def copy(name: str, data: np.ndarray, width: int, batch: int, seconds: float) -> Figures:
    """The cost of a row that is copied from memory, a batch at a time."""
    size = batch * width
    starts = itertools.cycle(range(0, len(data) - size + 1, size))
    out = np.empty(size, np.uint8)

    def work() -> None:
        start = next(starts)
        part = data[start : start + size]
        if name == MEMCPY[0]:
            np.copyto(out, part)
        else:
            part.copy()

    return {"sequential": 1e9 / rate_of(work, batch, seconds)}


def gather(rows: int) -> Figures:
    """The cost of a row of two columns that numpy takes in random order: a miss of the caches for each."""
    generator = np.random.default_rng(4)
    ids, xs = np.arange(rows), np.zeros(rows, np.int32)
    numbers = generator.integers(0, rows, min(rows, 1 << 20))
    began = time.perf_counter()
    for first in range(0, len(numbers), BATCH):
        part = numbers[first : first + BATCH]
        ids[part], xs[part]
    return {"shuffled": (time.perf_counter() - began) / len(numbers) * 1e9}
