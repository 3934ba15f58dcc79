"""Lookups by an indexed column that is not the key

A table of numbers and short texts, about five rows under each value of the indexed column N; all rows are in segments.
Every lookup is a statement of its own, of one text with parameters, and fetches the rows as Python tuples. Lookups per
second:

    rows        SELECT ID, NAME FROM T WHERE N = ?
    aggregate   SELECT COUNT(*), MAX(ID) FROM T WHERE N = ?: through DuckDB, which `rows` does without
    range       SELECT ID, NAME FROM T WHERE N BETWEEN ? AND ?, about 100 rows
    made        rows per second of CREATE INDEX

SQLite has the database in memory, and the table with the same index or none.

    python benchmarks/index.py [--quick]
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
from _harness import GIB, Benchmark, Figures

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
#: Values of N in a range, at five rows each; bytes of scratch for a row.
RANGE, ROW_SPACE = 20, 300


def main() -> None:
    bench = Benchmark("index", __doc__, packages=["pyarrow", "duckdb"], rounds=5)
    bench.machine["versions"]["sqlite"] = sqlite3.sqlite_version
    rows = 50_000 if bench.quick else 1_000_000
    seconds = 0.05 if bench.quick else SECONDS
    group = f"{rows:,} rows"
    with bench.scratch(rows * ROW_SPACE + GIB // 4) as folder:
        columns = random_columns(rows)
        values = columns["N"].tolist()
        with gridflow.connect(folder / "grid") as grid, closing(sqlite3.connect(":memory:")) as lite:
            load(grid, lite, columns)
            contenders = {
                WITH: lambda: with_index(grid, values, seconds),
                WITHOUT: lambda: lookup_rates(grid_fetch(grid), values, seconds),
                SQLITE: lambda: with_index_in_sqlite(lite, values, seconds),
                "SQLite, scan": lambda: lookup_rates(sqlite_fetch(lite), values, seconds),
            }
            bench.measure(group, contenders, unit=dict.fromkeys(STATEMENTS, "lookups/s") | {"made": "rows/s"})
    for metric in STATEMENTS:
        ours = bench.median(group, metric, WITH)
        bench.target(f"{metric}: against a scan", ours / bench.median(group, metric, WITHOUT), None, "x")
        bench.target(f"{metric}: SQLite's, against ours", bench.median(group, metric, SQLITE) / ours, None, "x")
    bench.finish()


def random_columns(rows: int) -> dict[str, Any]:
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
    lists = [column if isinstance(column, list) else column.tolist() for column in columns.values()]
    lite.executemany("INSERT INTO T VALUES (?, ?, ?, ?)", zip(*lists, strict=True))


def grid_fetch(grid: gridflow.Grid) -> Callable[[str, list[int]], list]:
    return lambda text, params: grid.sql(text, params).fetchall()


def sqlite_fetch(lite: sqlite3.Connection) -> Callable[[str, list[int]], list]:
    return lambda text, params: lite.execute(text, params).fetchall()


def with_index(grid: gridflow.Grid, values: list[int], seconds: float) -> Figures:
    began = time.perf_counter()
    grid.sql(INDEX)
    index_seconds = time.perf_counter() - began
    try:
        return {**lookup_rates(grid_fetch(grid), values, seconds), "made": len(values) / index_seconds}
    finally:
        grid.sql("DROP INDEX BY_N")


def with_index_in_sqlite(lite: sqlite3.Connection, values: list[int], seconds: float) -> Figures:
    began = time.perf_counter()
    lite.execute(INDEX)
    index_seconds = time.perf_counter() - began
    try:
        return {**lookup_rates(sqlite_fetch(lite), values, seconds), "made": len(values) / index_seconds}
    finally:
        lite.execute("DROP INDEX BY_N")


def lookup_rates(fetch: Callable[[str, list[int]], list], values: list[int], seconds: float) -> dict[str, float]:
    """Lookups per second of each statement, for values of the table, over ``seconds`` of time."""
    result = {}
    for metric, text in STATEMENTS.items():
        done = 0
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            value = values[done % len(values)]
            fetch(text, [value, value + RANGE] if metric == "range" else [value])
            done += 1
        result[metric] = done / elapsed
    return result


if __name__ == "__main__":
    main()
