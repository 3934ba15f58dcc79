"""Three of twenty numeric columns, all rows and a tenth of them

A table of 10 M rows and 20 columns of FLOAT32, FLOAT64, INT32 and INT64; three columns go to a Python loop as tensors:

    all rows    the three columns of all rows
    where       of a tenth of the rows: another column is below a bound
    where again the same condition once more, as in every epoch but the first

Rows of the table per second, filtered rows included; delivered (a loop gets the batches) and touched (a loop adds up
the bytes). Gridflow has batches of 4,096 rows, and of 131,072, the size of pyarrow's scanner. Every loop has a new
dataset, with the key beside the three columns. Gridflow evaluates a condition once for each version of the table and
keeps the last four results, so the bound of `where` differs in every loop, by a billionth.

Parquet is uncompressed, without dictionaries, and read by pyarrow with threads, in two forms: a scanner whose batches
become tensors in any size (the filter makes them uneven), and `read_table`, whose columns become tensors, cut into
batches of 4,096 by from_tensor_slices. Both evaluate the condition every time. Lance reads by a scanner, too. All files
lie in tmpfs.

    python benchmarks/narrow.py [--quick]
"""

from __future__ import annotations

import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import _peers
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import tensorflow as tf
from _harness import GIB, Benchmark, Figures
from _loops import LOOPS

import gridflow

BATCH = 4096
#: pyarrow's own batch of a scan.
SCAN_BATCH = 1 << 17
#: Rows that are generated at once, and bytes of scratch for a row: five copies of the table.
PIECE, ROW_SPACE = 1 << 20, 5 * 128
TYPES = {"FLOAT32": pa.float32(), "FLOAT64": pa.float64(), "INT32": pa.int32(), "INT64": pa.int64()}
COLUMNS = {f"C{number}": name for number, name in zip(range(20), itertools.cycle(TYPES), strict=False)}
READ = ["C4", "C9", "C14"]  # FLOAT32, FLOAT64, INT32
FILTER = "C1"  # FLOAT64, from 0 to 1
OURS = {f"gridflow.Dataset(columns=, where=), batch {batch:,}": batch for batch in (BATCH, SCAN_BATCH)}
PARQUET = ["Parquet, scanner", "Parquet, read_table, slices"]
ALL_ROWS, WHERE, AGAIN = "all rows", "where", "where again"

#: Gives batches of the rows in which FILTER is below a bound; of all rows for None.
Read = Callable[[float | None], Iterable[Any]]


def main() -> None:
    bench = Benchmark("narrow", __doc__, packages=["tensorflow", "pyarrow", *_peers.packages()], rounds=5)
    count = 100_000 if bench.quick else 10_000_000
    bench.settings |= {"batch": BATCH, "columns": list(COLUMNS.values()), "read": READ}
    with bench.scratch(count * ROW_SPACE + GIB) as folder:
        readers = write_table(bench, folder, count)
        bounds = {
            ALL_ROWS: itertools.repeat(None),
            WHERE: (0.1 + n * 1e-9 for n in itertools.count()),
            AGAIN: itertools.repeat(0.1),
        }
        for part, bound in bounds.items():
            group = f"{count:,} rows x 20 columns, 3 of them: {part}"
            contenders = {name: partial(loop_rates, read, bound, count) for name, read in readers.items()}
            bench.measure(group, contenders, unit="rows/s")
            for (ours, batch), metric in itertools.product(OURS.items(), LOOPS):
                ratio = bench.median(group, metric, ours) / bench.best(group, metric, PARQUET)
                bench.target(f"{part}, batch {batch:,}: {metric}, against Parquet", ratio, 3.0, "x")
    bench.finish()


def loop_rates(read: Read, bounds: Iterator[float | None], count: int) -> Figures:
    rates = {}
    for metric, loop in LOOPS.items():
        bound = next(bounds)
        began = time.perf_counter()
        loop(read(bound))
        rates[metric] = count / (time.perf_counter() - began)
    return rates


def write_table(bench: Benchmark, folder: Path, count: int) -> dict[str, Read]:
    """Write the table in each format. Returns the readers by name."""
    columns = {"ID": "LONG", **COLUMNS}
    with gridflow.connect(folder / "grid") as grid:
        assert grid.create_table("T", columns, key="ID").load(pieces(count)) == count
    with pa.parquet.ParquetWriter(folder / "t.parquet", SCHEMA, compression="none", use_dictionary=False) as writer:
        for piece in pieces(count):
            writer.write_batch(piece)
    parquet = pa.dataset.dataset(folder / "t.parquet")
    readers = {
        **{name: partial(read_grid, folder / "grid", batch) for name, batch in OURS.items()},
        PARQUET[0]: partial(scan_parquet, parquet),
        PARQUET[1]: partial(read_parquet, parquet),
    }
    if _peers.is_installed("pylance"):
        import lance

        lance_table = lance.write_dataset(pieces(count), str(folder / "lance"))
        readers["Lance, scanner"] = partial(scan_lance, lance_table)
    else:
        bench.skip("Lance", _peers.missing("pylance"))
    return readers


SCHEMA = pa.schema([("ID", pa.int64()), *((name, TYPES[kind]) for name, kind in COLUMNS.items())])


def pieces(count: int) -> pa.RecordBatchReader:
    """The table, a piece at a time."""

    def batches() -> Iterator[pa.RecordBatch]:
        generator = np.random.default_rng(1)
        for first in range(0, count, PIECE):
            rows = min(PIECE, count - first)
            arrays = [np.arange(first, first + rows)]
            for kind in COLUMNS.values():
                dtype = TYPES[kind].to_pandas_dtype()
                if kind.startswith("FLOAT"):
                    arrays.append(generator.random(rows, dtype))
                else:
                    arrays.append(generator.integers(0, 1 << 31, rows, dtype))
            yield pa.record_batch(arrays, SCHEMA)

    return pa.RecordBatchReader.from_batches(SCHEMA, batches())


def read_grid(home: Path, batch: int, bound: float | None) -> Iterable[Any]:
    where = None if bound is None else f"{FILTER} < {bound}"
    return gridflow.Dataset("T", home=home, columns=READ, where=where, batch_size=batch)


def scan_parquet(table: pa.dataset.Dataset, bound: float | None) -> Iterable[Any]:
    for batch in table.to_batches(columns=READ, filter=below(bound)):
        yield tensors(batch)


def read_parquet(table: pa.dataset.Dataset, bound: float | None) -> Iterable[Any]:
    whole = tensors(table.to_table(columns=READ, filter=below(bound)))
    return tf.data.Dataset.from_tensor_slices(whole).batch(BATCH)


def scan_lance(table: Any, bound: float | None) -> Iterable[Any]:
    condition = None if bound is None else f"{FILTER} < {bound}"
    for batch in table.to_batches(columns=READ, filter=condition):
        yield tensors(batch)


def below(bound: float | None) -> pa.dataset.Expression | None:
    return None if bound is None else pa.dataset.field(FILTER) < bound


def tensors(columns: pa.Table | pa.RecordBatch) -> dict[str, tf.Tensor]:
    return {name: tf.constant(columns.column(name).to_numpy()) for name in READ}


if __name__ == "__main__":
    main()
