"""Lookups by an indexed column that is not the key

A table of numbers and short texts, about five rows under each value of the indexed column N; all of them in segments.
Every lookup is a statement of its own with a parameter, its text the same, and fetches its rows as Python tuples.
Lookups per second:

    rows        SELECT ID, NAME FROM T WHERE N = ?
    aggregate   SELECT COUNT(*), MAX(ID) FROM T WHERE N = ?: through DuckDB, which gridflow's first does without
    range       SELECT ID, NAME FROM T WHERE N BETWEEN ? AND ?, about 100 rows
    made        rows per second of CREATE INDEX

SQLite holds its database in memory. Its table has the same index, or none.

    python benchmarks/index.py [--quick]
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
from _harness import GIB, Benchmark, Measured

import gridflow

INDEX = "CREATE INDEX BY_N ON T (N)"
STATEMENTS = {
    "rows": "SELECT ID, NAME FROM T WHERE N = ?",
    "aggregate": "SELECT COUNT(*), MAX(ID) FROM T WHERE N = ?",
    "range": "SELECT ID, NAME FROM T WHERE N BETWEEN ? AND ?",
}
WITH, WITHOUT, SQLITE = "gridflow, index", "gridflow, scan", "SQLite, index"
#: Seconds for which each statement is repeated.
SECONDS = 1.0


def main() -> None:
    bench = Benchmark("index", __doc__, packages=["pyarrow", "duckdb"], rounds=5)
    bench.machine["versions"]["sqlite"] = sqlite3.sqlite_version
    rows = 50_000 if bench.quick else 1_000_000
    seconds = 0.05 if bench.quick else SECONDS
    group = f"{rows:,} rows"
    with bench.scratch(rows * 300 + GIB // 4) as folder:
        columns = made_up(rows)
        values = columns["N"].tolist()
        with gridflow.connect(folder / "grid") as grid, closing(sqlite3.connect(":memory:")) as lite:
            load(grid, lite, columns)
            contenders = {
                WITH: lambda: with_index(grid, values, seconds),
                WITHOUT: lambda: timed(grid_rows(grid), values, seconds),
                SQLITE: lambda: with_index_in_sqlite(lite, values, seconds),
                "SQLite, scan": lambda: timed(sqlite_rows(lite), values, seconds),
            }
            bench.measure(group, contenders, unit=dict.fromkeys(STATEMENTS, "lookups/s") | {"made": "rows/s"})
    for metric in STATEMENTS:
        ours = bench.median(group, metric, WITH)
        bench.target(f"{metric}: against a scan", ours / bench.median(group, metric, WITHOUT), None, "x")
        bench.target(f"{metric}: SQLite's, against ours", bench.median(group, metric, SQLITE) / ours, None, "x")
    bench.finish()


def made_up(rows: int) -> dict[str, Any]:
    generator = np.random.default_rng(1)
    return {
        "ID": np.arange(rows),
        "N": generator.integers(0, rows // 5, rows),
        "NAME": [f"name {i}" for i in generator.integers(0, rows, rows)],
        "X": generator.random(rows),
    }


def load(grid: gridflow.Grid, lite: sqlite3.Connection, columns: dict[str, Any]) -> None:
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, N LONG, NAME VARCHAR, X DOUBLE)")
    grid.table("T").load(columns)
    lite.execute("CREATE TABLE T (ID INTEGER PRIMARY KEY, N INTEGER, NAME TEXT, X REAL)")
    listed = [column if isinstance(column, list) else column.tolist() for column in columns.values()]
    lite.executemany("INSERT INTO T VALUES (?, ?, ?, ?)", zip(*listed, strict=True))


def grid_rows(grid: gridflow.Grid) -> Callable[[str, list[int]], list]:
    return lambda text, params: grid.sql(text, params).fetchall()


def sqlite_rows(lite: sqlite3.Connection) -> Callable[[str, list[int]], list]:
    return lambda text, params: lite.execute(text, params).fetchall()


def with_index(grid: gridflow.Grid, values: list[int], seconds: float) -> Measured:
    began = time.perf_counter()
    grid.sql(INDEX)
    took = time.perf_counter() - began
    try:
        return {**timed(grid_rows(grid), values, seconds), "made": len(values) / took}
    finally:
        grid.sql("DROP INDEX BY_N")


def with_index_in_sqlite(lite: sqlite3.Connection, values: list[int], seconds: float) -> Measured:
    began = time.perf_counter()
    lite.execute(INDEX)
    took = time.perf_counter() - began
    try:
        return {**timed(sqlite_rows(lite), values, seconds), "made": len(values) / took}
    finally:
        lite.execute("DROP INDEX BY_N")


def timed(fetch: Callable[[str, list[int]], list], values: list[int], seconds: float) -> dict[str, float]:
    """Each statement, for values that are there, until the time is over."""
    result = {}
    for metric, text in STATEMENTS.items():
        done = 0
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            value = values[done % len(values)]
            fetch(text, [value, value + 20] if metric == "range" else [value])
            done += 1
        result[metric] = done / elapsed
    return result


if __name__ == "__main__":
    main()
