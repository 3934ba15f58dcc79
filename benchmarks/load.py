"""Bulk loading of Arrow data into a table

Arrow columns on the heap become a table in tmpfs: hashed, ordered by key hash, checksummed, written, published.
Bytes per second for rows of 1 MiB, rows per second for narrow ones.

The first touch of memory is slow on some machines and bounds every write to new pages, so the copies beside the load
have two forms: into memory that was touched before, and into new memory each time, as in a new file. Before the
rounds a script fills as much tmpfs as they need and frees it again, so that no contender pays for pages that the
machine itself gets for the first time (the host of a virtual machine hands them out slowly).

    python benchmarks/load.py [--quick]
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from _harness import GIB, MIB, Benchmark, as_rates

import gridflow

CHUNK = 64 * MIB
#: Rows of an Arrow batch of narrow rows, and bytes of scratch for a narrow row: of all files, and of the largest.
BATCH_ROWS, ROW_SPACE, ROW_FILE = 1 << 20, 500, 80
COLD, WARM, ALL_CORES = "memcpy to new memory", "memcpy to warm memory", "memcpy to warm memory, all cores"
WRITE = "os.write to a new file"
OURS = "gridflow"


def main() -> None:
    bench = Benchmark("load", __doc__, packages=["pyarrow", "duckdb"], rounds=5)
    bench.settings |= {"bytes of an Arrow batch": CHUNK, "parquet": "uncompressed", "duckdb": "in memory"}
    wide(bench, 64 * MIB if bench.quick else GIB)
    narrow(bench, 50_000 if bench.quick else 5_000_000)
    bench.finish()


def wide(bench: Benchmark, total: int) -> None:
    """Rows of 1 MiB: a load against a plain copy of the bytes."""
    rows = total // MIB
    group = f"{rows} rows of 1 MiB"
    with bench.scratch(4 * total + GIB // 4) as folder:
        warm_up(folder, 2 * total)
        pixels = np.frombuffer(np.random.default_rng(1).bytes(MIB) * rows, np.uint8)
        target = np.zeros_like(pixels)
        ids = pa.array(np.arange(rows))
        column = pa.FixedSizeListArray.from_arrays(pa.array(pixels), MIB)
        table = rechunk(pa.table({"ID": ids, "PIXELS": column}), CHUNK // MIB)
        # Plain bytes are the best form for the others: they go through a list number by number.
        blobs = pa.Array.from_buffers(pa.binary(MIB), rows, [None, column.values.buffers()[1]])
        blob_table = rechunk(pa.table({"ID": ids, "PIXELS": blobs}), CHUNK // MIB)
        contenders = {
            OURS: partial(load_grid, folder, table, {"ID": "LONG", "PIXELS": f"UINT8[{MIB}]"}),
            WARM: partial(copy, pixels, lambda: target, 1),
            ALL_CORES: partial(copy, pixels, lambda: target, bench.machine["cores"]),
            COLD: partial(copy, pixels, lambda: np.empty_like(pixels), 1),
            WRITE: partial(write_file, folder, pixels),
            "feather": partial(write_feather, folder, blob_table),
            "parquet": partial(write_parquet, folder, blob_table),
            "DuckDB": partial(insert_duckdb, blob_table, "ID BIGINT, PIXELS BLOB"),
        }
        bench.measure(group, as_rates(contenders, "loaded", total / GIB), unit="GiB/s")
    ours = bench.median(group, "loaded", OURS)
    for name in (COLD, WARM):
        bench.target(f"{group}, against {name}", ours / bench.median(group, "loaded", name) * 100, 50, "%")
    write_rate = bench.median(group, "loaded", WRITE)
    bench.target(f"{group}, against {WRITE}", ours / write_rate * 100, None, "%")


def narrow(bench: Benchmark, rows: int) -> None:
    """A key and four numbers: the cost of a row."""
    group = f"{rows:,} rows of five numbers"
    generator = np.random.default_rng(1)
    table = rechunk(
        pa.table(
            {
                "ID": generator.permutation(rows),
                "A": generator.integers(0, 1 << 40, rows),
                "B": generator.random(rows),
                "C": generator.random(rows, np.float32),
                "D": generator.integers(0, 100, rows, np.int32),
            }
        ),
        BATCH_ROWS,
    )
    with bench.scratch(rows * ROW_SPACE + GIB // 4) as folder:
        warm_up(folder, rows * ROW_FILE)
        types = {"ID": "LONG", "A": "LONG", "B": "DOUBLE", "C": "FLOAT", "D": "INT"}
        columns = "A BIGINT, B DOUBLE, C FLOAT, D INTEGER"
        contenders = {
            OURS: partial(load_grid, folder, table, types),
            "feather": partial(write_feather, folder, table),
            "parquet": partial(write_parquet, folder, table),
            "DuckDB": partial(insert_duckdb, table, f"ID BIGINT, {columns}"),
            "DuckDB, primary key": partial(insert_duckdb, table, f"ID BIGINT PRIMARY KEY, {columns}"),
        }
        bench.measure(group, as_rates(contenders, "loaded", rows), unit="rows/s")
    bench.target(f"{group}", bench.median(group, "loaded", OURS), 1e6, "rows/s")


def rechunk(table: pa.Table, rows: int) -> pa.Table:
    """The same data in batches of ``rows`` rows, as from a reader, without a copy."""
    return pa.Table.from_batches(table.to_batches(max_chunksize=rows))


def warm_up(folder: Path, total: int) -> None:
    """Touch as much memory as the files will need."""
    write_file(folder, np.zeros(min(total, CHUNK), np.uint8), -(-total // CHUNK))


@contextmanager
def scratch_path(folder: Path, name: str) -> Iterator[Path]:
    """A path for a file or folder; the end of the block removes it."""
    path = folder / name
    try:
        yield path
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def load_grid(folder: Path, data: pa.Table, types: dict[str, str]) -> float:
    with scratch_path(folder, "grid") as path, gridflow.connect(path) as grid:
        table = grid.create_table("ROWS", types, key="ID")
        began = time.perf_counter()
        count = table.load(data)
        seconds = time.perf_counter() - began
        assert count == data.num_rows
        return seconds


def copy(source: np.ndarray, make_target: Callable[[], np.ndarray], threads: int) -> float:
    """The seconds of a copy by numpy: a memcpy that releases the interpreter, so threads run in parallel."""
    began = time.perf_counter()
    target = make_target()
    pieces = zip(np.array_split(target, threads), np.array_split(source, threads), strict=True)
    workers = [Thread(target=np.copyto, args=piece) for piece in pieces]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began


def write_file(folder: Path, data: np.ndarray, times: int = 1) -> float:
    view = memoryview(data)
    with scratch_path(folder, "file") as path:
        began = time.perf_counter()
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        try:
            for _ in range(times):
                done = 0
                while done < len(view):
                    done += os.write(file, view[done : done + CHUNK])
        finally:
            os.close(file)
        return time.perf_counter() - began


def write_feather(folder: Path, data: pa.Table) -> float:
    with scratch_path(folder, "feather") as path:
        began = time.perf_counter()
        feather.write_feather(data, path, compression="uncompressed")
        return time.perf_counter() - began


def write_parquet(folder: Path, data: pa.Table) -> float:
    with scratch_path(folder, "parquet") as path:
        began = time.perf_counter()
        pq.write_table(data, path, compression="NONE", use_dictionary=False, write_statistics=False)
        return time.perf_counter() - began


def insert_duckdb(data: pa.Table, columns: str) -> float:
    with duckdb.connect() as database:
        database.execute(f"CREATE TABLE ROWS ({columns})")
        database.register("data", data)
        began = time.perf_counter()
        database.execute("INSERT INTO ROWS SELECT * FROM data")
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
