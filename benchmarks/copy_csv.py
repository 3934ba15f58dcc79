"""CSV in and out with COPY

A CSV file in tmpfs becomes rows of a table (parsed, hashed, ordered, checksummed, written and published: the whole
statement), beside readers that only make columns in memory, and DuckDB, which makes a table. Then the table becomes a
CSV file. MB of text per second.

The files have rows of five numbers, or of twenty columns of which some are text; a few fields are empty.

    python benchmarks/copy_csv.py [--quick]
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
from _harness import GIB, Benchmark, as_rates, seconds_of

import gridflow

OURS, ARROW, STREAM = "gridflow COPY", "pyarrow read_csv", "pyarrow open_csv"
DUCK, DUCK_KEY = "DuckDB COPY", "DuckDB COPY, primary key"
#: Bytes of scratch for a row: the files, and the grids.
ROW_SPACE = 1200
_DUCKDB = {"LONG": "BIGINT", "REAL": "FLOAT", "INT": "INTEGER"}  # types with another name there


def main() -> None:
    bench = Benchmark("copy_csv", __doc__, packages=["pyarrow", "duckdb"], rounds=5)
    bench.settings |= {"duckdb": "in memory", "pyarrow": "types as it finds them"}
    run(bench, "five numbers", number_columns, 20_000 if bench.quick else 4_000_000)
    run(bench, "twenty columns", mixed_columns, 5_000 if bench.quick else 1_000_000)
    bench.finish()


def number_columns(rows: int) -> tuple[pa.Table, dict[str, str]]:
    """A key and four numbers, as in load.py."""
    generator = np.random.default_rng(1)
    table = pa.table(
        {
            "ID": generator.permutation(rows),
            "A": generator.integers(0, 1 << 40, rows),
            "B": generator.random(rows),
            "C": generator.random(rows, np.float32),
            "D": generator.integers(0, 100, rows, np.int32),
        }
    )
    return table, {"ID": "LONG", "A": "LONG", "B": "DOUBLE", "C": "REAL", "D": "INT"}


def mixed_columns(rows: int) -> tuple[pa.Table, dict[str, str]]:
    """A key, texts, dates and numbers, as in the export of a business."""
    generator = np.random.default_rng(2)
    columns: dict[str, pa.Array] = {"ID": pa.array(generator.permutation(rows))}
    types = {"ID": "LONG"}
    words = pa.array([f"word {i}, and more" if i % 7 == 0 else f"word {i}" for i in range(1000)])
    for i in range(6):
        columns[f"TEXT{i}"], types[f"TEXT{i}"] = words.take(pa.array(generator.integers(0, 1000, rows))), "VARCHAR"
        columns[f"PRICE{i}"], types[f"PRICE{i}"] = pa.array(generator.integers(0, 10**6, rows) / 100), "DOUBLE"
        missing = generator.random(rows) < 0.05
        columns[f"COUNT{i}"], types[f"COUNT{i}"] = pa.array(generator.integers(0, 10**6, rows), mask=missing), "INT"
    days = pa.array(generator.integers(10_000, 20_000, rows, np.int32)).cast(pa.date32())
    columns["DAY"], types["DAY"] = days, "DATE"
    return pa.table(columns), types


def run(bench: Benchmark, name: str, make: Callable[[int], tuple[pa.Table, dict[str, str]]], rows: int) -> None:
    """Measure one file in both directions."""
    table, types = make(rows)
    group = f"{rows:,} rows of {name}"
    with bench.scratch(rows * ROW_SPACE + GIB // 4) as folder:
        path = folder / "rows.csv"
        arrow_csv.write_csv(table, path)
        size = path.stat().st_size / 1e6
        contenders = {
            OURS: partial(copy_from, folder, path, types, rows),
            ARROW: partial(read_csv, path, rows),
            STREAM: partial(open_csv, path, rows),
            DUCK: partial(copy_duckdb, path, types, rows, ""),
            DUCK_KEY: partial(copy_duckdb, path, types, rows, " PRIMARY KEY"),
        }
        bench.measure(group, as_rates(contenders, "read", size), unit="MB/s")
        with gridflow.connect(folder / "source") as grid:
            grid.create_table("ROWS", types, key="ID").load(table)
            out = {
                OURS: partial(seconds_of, lambda: grid.sql("COPY ROWS TO ?", [str(folder / "out.csv")])),
                "pyarrow write_csv": partial(seconds_of, lambda: arrow_csv.write_csv(table, folder / "out.csv")),
            }
            bench.measure(f"{group}, out", as_rates(out, "written", size), unit="MB/s")
    ours = bench.median(group, "read", OURS)
    bench.target(f"{group}, against {ARROW}", ours / bench.median(group, "read", ARROW) * 100, 90, "%")
    bench.target(f"{group}, against {DUCK_KEY}", ours / bench.median(group, "read", DUCK_KEY) * 100, None, "%")


def copy_from(folder: Path, path: Path, types: dict[str, str], rows: int) -> float:
    home = folder / "grid"
    try:
        with gridflow.connect(home) as grid:
            grid.create_table("ROWS", types, key="ID")
            began = time.perf_counter()
            result = grid.sql("COPY FROM ? INTO ROWS FORMAT CSV HEADER", [str(path)])
            seconds = time.perf_counter() - began
            assert result.rowcount == rows
            return seconds
    finally:
        shutil.rmtree(home)


def read_csv(path: Path, rows: int) -> float:
    began = time.perf_counter()
    table = arrow_csv.read_csv(path)
    seconds = time.perf_counter() - began
    assert table.num_rows == rows
    return seconds


def open_csv(path: Path, rows: int) -> float:
    began = time.perf_counter()
    count = sum(batch.num_rows for batch in arrow_csv.open_csv(path))
    seconds = time.perf_counter() - began
    assert count == rows
    return seconds


def copy_duckdb(path: Path, types: dict[str, str], rows: int, key: str) -> float:
    columns = ", ".join(
        f"{name} {_DUCKDB.get(kind, kind)}{key if name == 'ID' else ''}" for name, kind in types.items()
    )
    with duckdb.connect() as database:
        database.execute(f"CREATE TABLE ROWS ({columns})")
        began = time.perf_counter()
        database.execute(f"COPY ROWS FROM '{path}' (FORMAT CSV, HEADER)")
        seconds = time.perf_counter() - began
        assert database.execute("SELECT COUNT(*) FROM ROWS").fetchone() == (rows,)
        return seconds


if __name__ == "__main__":
    main()
