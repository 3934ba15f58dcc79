"""SQL: a query over many rows, a row by its key, and single rows inserted, one thread that asks

Every statement goes through `grid.sql` as a whole: a look-up of the text among the prepared ones and of the tables in
the catalog, a check of the parameters, and a result that is fetched.

    query     aggregates behind a filter, and grouped, over 10 M rows of five columns: milliseconds
    select    one row by its key, ? parameters, every key once, in random order: operations/s
    insert    one row a statement, ? parameters, each a transaction of its own: operations/s

Beside gridflow are DuckDB over the same mapped Arrow table (in a database of its own, with the defaults), and SQLite in
memory, with statements cached by the Python module: in autocommit, the fastest form of one transaction a statement, by
the connection and by one cursor that stays open, and with a journal, without which SQLite could not take a statement
back, as gridflow can.

    python benchmarks/sql.py [--quick]
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from _harness import GIB, Benchmark, Figures

import gridflow

QUERIES = {
    "filter and aggregate": "SELECT COUNT(*), SUM(A), AVG(X), MIN(Y), MAX(Y) FROM T WHERE B < 500 AND X > 0.25",
    "group by": "SELECT B % 100, COUNT(*), SUM(A), AVG(X * Y) FROM T WHERE Y < 0.75 GROUP BY B % 100",
}
INSERT = "INSERT INTO T VALUES (?, ?, ?)"
SELECT = "SELECT NAME, X FROM T WHERE ID = ?"
#: Bytes of scratch for a row: of five columns, and one that is inserted singly.
ROW_SPACE, SINGLE_ROW_SPACE = 100, 1000
SQLITE = ["SQLite in memory", "SQLite in memory, one cursor"]


def main() -> None:
    bench = Benchmark("sql", __doc__, packages=["duckdb"], rounds=7)
    bench.machine["versions"]["sqlite"] = sqlite3.sqlite_version
    bench.settings |= {"gridflow": "defaults: durability=process"}
    measure_queries(bench, 200_000 if bench.quick else 10_000_000)
    measure_statements(bench, 5_000 if bench.quick else 100_000)
    bench.finish()


def measure_queries(bench: Benchmark, rows: int) -> None:
    group = f"{rows:,} rows x 5 columns"
    with bench.scratch(rows * ROW_SPACE + GIB // 4) as folder, gridflow.connect(folder / "grid") as grid:
        generator = np.random.default_rng(1)
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, A LONG, B INT, X DOUBLE, Y DOUBLE)")
        table = grid.table("T")
        data = {
            "ID": np.arange(rows),
            "A": generator.integers(0, 1 << 40, rows),
            "B": generator.integers(0, 1000, rows, np.int32),
            "X": generator.random(rows),
            "Y": generator.random(rows),
        }
        table.load(data)
        bench.settings["segments"] = len(table.snapshot().segments())
        with closing(duckdb.connect()) as database:
            database.register("T", table.to_arrow())
            for text in QUERIES.values():
                assert close(grid.sql(text).fetchall(), database.execute(text).fetchall())
            contenders = {
                "gridflow": partial(time_queries, lambda text: grid.sql(text).fetchall()),
                "DuckDB over the Arrow table": partial(time_queries, lambda text: database.execute(text).fetchall()),
            }
            bench.measure(group, contenders, unit="ms", better="lower")
        for metric in QUERIES:
            grid_time, duckdb_time = (bench.median(group, metric, name) for name in contenders)
            bench.target(f"{metric}, against DuckDB's own time", grid_time / duckdb_time, 1.3, "x", at_least=False)


def close(first: list[tuple], second: list[tuple]) -> bool:
    """Whether two results are equal up to the order of rows and of additions."""
    return np.allclose(np.array(sorted(first), float), np.array(sorted(second), float), rtol=1e-9)


def time_queries(ask: Callable[[str], object]) -> Figures:
    times = {}
    for name, text in QUERIES.items():
        began = time.perf_counter()
        ask(text)
        times[name] = (time.perf_counter() - began) * 1e3
    return times


def measure_statements(bench: Benchmark, rows: int) -> None:
    group = f"{rows:,} single rows"
    generator = np.random.default_rng(1)
    names = [f"name {i}" for i in range(1000)]
    pairs = [(key, names[key % 1000], key / 7) for key in generator.permutation(rows).tolist()]
    keys = [(key,) for key in generator.permutation(rows).tolist()]
    with bench.scratch(rows * SINGLE_ROW_SPACE + GIB // 4) as folder:
        contenders = {
            "gridflow": partial(grid_statements, folder, pairs, keys),
            SQLITE[0]: partial(sqlite_statements, False, pairs, keys),
            SQLITE[1]: partial(sqlite_statements, True, pairs, keys),
        }
        bench.measure(group, contenders, unit="operations/s")
    insert_ratio = bench.median(group, "insert", "gridflow") / bench.median(group, "insert", SQLITE[0])
    bench.target("single INSERTs, against SQLite in memory", insert_ratio, 1.0, "x")
    select_cost = bench.best(group, "select", SQLITE) / bench.median(group, "select", "gridflow")
    bench.target("cost of a SELECT by key, against SQLite", select_cost, 10, "x", at_least=False)


def grid_statements(folder: Path, pairs: list[tuple], keys: list[tuple]) -> Figures:
    with fresh_grid(folder) as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR, X DOUBLE)")
        rates = statement_rates(grid.sql, pairs, keys)
        assert grid.sql(SELECT, pairs[0][:1]).fetchall() == [pairs[0][1:]]
    return rates


def statement_rates(execute: Callable[[str, tuple], Any], pairs: list[tuple], keys: list[tuple]) -> Figures:
    """INSERTs and SELECTs by key per second, a row a statement."""
    began = time.perf_counter()
    for pair in pairs:
        execute(INSERT, pair)
    insert_end = time.perf_counter()
    for key in keys:
        execute(SELECT, key).fetchall()
    select_end = time.perf_counter()
    return {"insert": len(pairs) / (insert_end - began), "select": len(keys) / (select_end - insert_end)}


@contextmanager
def fresh_grid(folder: Path) -> Iterator[gridflow.Grid]:
    with gridflow.connect(folder / "rows") as grid:
        grid.drop_table("T", if_exists=True)
        yield grid


def sqlite_statements(by_cursor: bool, pairs: list[tuple], keys: list[tuple]) -> Figures:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as store:
        store.execute("CREATE TABLE T (ID INTEGER PRIMARY KEY, NAME TEXT, X REAL)")
        return statement_rates(store.cursor().execute if by_cursor else store.execute, pairs, keys)


if __name__ == "__main__":
    main()
