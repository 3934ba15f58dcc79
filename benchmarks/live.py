"""A table that is lived in: each way to read and to write it, after all that happens to tables

One table of a key and a number, 12 bytes a row, in memory, in these states:

    just loaded         one load
    one row deleted     and a DELETE of one row
    1 % updated         and an UPDATE of every hundredth row
    10 % deleted        and a DELETE of every tenth row
    100, 1,000 commits  and so many commits of ten rows that are there, each flushed
    40 segments         40 loads of a fortieth of the rows, kept from being merged
    a writer at work    just loaded, in a server; another process overwrites rows, 1,000 puts a second, while this one
                        reads as a client: three processes, as where a node serves a trainer and a producer

A table is made by its owner, with merges in the background as they come, and then read by a process that owns nothing,
so that it stays as it is; the settings say how many segments it came to. The paths:

    datasets    nanoseconds a row of a Python loop over batches of 4,096, first batches left out: sequential, shuffled,
                half of the rows by where=, the same shuffled, drawn by weights=; and milliseconds to a first batch
    new where=  milliseconds to the first batch of a condition that nobody has asked for yet
    by key      get of one key, and get_all of 1,000
    device      accesses to memory of a GPU's kernels, a row, by the tests' GPU that counts them: 1,024 rows at random,
                and in sequence, where a copy without a kernel counts as one for each 16 bytes
    wide rows   sequential, of 800 bytes and of 150,000, beside memcpy
    SQL         milliseconds of queries and of updates, beside DuckDB's own table after the same statements; updates on
                a table made anew for each

numpy's fancy indexing of the same two columns shows what cache misses cost at that size, and DuckDB over Parquet what a
condition costs. A path that is slow is cut short after about the seconds that the settings name, so it still ends.

    python benchmarks/live.py [--quick] [--sizes 2000000 20000000] [--only datasets keys]

With more sizes, all but the first measure datasets, new conditions and keys only, in the states that are quick to make.
"""

from __future__ import annotations

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _live_device
import _live_plot
import _live_reads
import _live_sql
from _harness import GIB, Benchmark
from _live_states import FEW, JUST_LOADED, NARROW, STATES, lived, segments
from rich.table import Table

#: Bytes of scratch for a row of a state: of a small table with all of its history, and of a larger one.
ROW_SPACE, LARGE_ROW_SPACE = 60, 30
PARTS = ["datasets", "where", "keys", "device", "wide", "sql", "changes"]
#: How much slower than just loaded a path may be; the others 1.3 times. DuckDB's time likewise.
BOUNDS = {"sequential": 2.0}
BOUND = 1.3
#: Rows that are wider than this are judged by a copy of them, as a view costs next to nothing.
NARROWER = 1000
READS = [*_live_reads.ORDERS, *_live_reads.KEYS, _live_reads.NEW_WHERE, "gathered"]


def main() -> None:
    bench = Benchmark(
        "live",
        __doc__,
        packages=["tensorflow", "duckdb", "pyarrow"],
        rounds=5,
        quick_rounds=2,
        options={
            "--sizes": {"type": int, "nargs": "+", "help": "rows of the table; all parts with the first of them"},
            "--only": {"nargs": "+", "choices": PARTS, "default": PARTS, "help": "these parts (default: all)"},
        },
    )
    gc.freeze()  # or a collection of all that TensorFlow has made, 30 ms, hits some figure at random
    sizes = bench.options.sizes or ([200_000] if bench.quick else [2_000_000])
    seconds = 0.03 if bench.quick else 0.5
    only = set(bench.options.only)
    bench.settings |= {"sizes": sizes, "seconds for a figure": seconds, "batch": _live_reads.BATCH}
    for size in sizes:
        measure_size(bench, size, seconds, only if size == sizes[0] else only & {"datasets", "where", "keys"})
    if "wide" in only:
        _live_reads.measure_wide(bench, seconds)
    compare(bench, sizes[0])
    bench.finish(_live_plot.draw)


def measure_size(bench: Benchmark, rows: int, seconds: float, only: set[str]) -> None:
    states, space = (STATES, ROW_SPACE) if rows == bench.settings["sizes"][0] else (FEW, LARGE_ROW_SPACE)
    with bench.scratch(rows * space * len(states) + GIB // 4) as folder:
        if only & {"datasets", "where", "keys", "device", "sql"}:
            with bench.console.status(f"{rows:,} rows in all states"):
                opened = lived(folder, states, rows)
            with opened as tables:
                bench.settings[f"segments, {rows:,} rows"] = {t.state.name: segments(t) for t in tables}
                if "datasets" in only:
                    _live_reads.measure_reads(bench, tables, seconds)
                if "where" in only:
                    _live_reads.measure_where(bench, tables, folder)
                if "keys" in only:
                    _live_reads.measure_keys(bench, tables, seconds)
                if "device" in only:
                    _live_device.measure_device(bench, tables, folder)
                if "sql" in only:
                    _live_sql.measure_queries(bench, tables, seconds)
        if "changes" in only:
            _live_sql.measure_changes(bench, folder, rows)


def compare(bench: Benchmark, first_size: int) -> None:
    """Print each path in each state against the table just loaded, or against DuckDB; the worst state is the target."""
    names = [state.name for state in STATES]
    table = Table(title="times of just loaded; of SQL: times of DuckDB", title_justify="left", header_style="bold")
    table.add_column("path", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    medians = {(r.group, r.metric, r.contender): r.median for r in bench.results}
    for group, metric in dict.fromkeys((r.group, r.metric) for r in bench.results):
        is_sql = metric in _live_sql.QUERIES or metric in _live_sql.CHANGES
        if metric not in READS and not is_sql:
            continue
        ratios = {}
        for name in names:
            ours = medians.get((group, metric, f"gridflow, {name}"))
            base = medians[group, metric, f"gridflow, {JUST_LOADED}"]
            if is_sql:
                base = medians.get((group, metric, f"DuckDB, {name}"), medians[group, metric, f"DuckDB, {JUST_LOADED}"])
            if ours is not None:
                ratios[name] = ours / base
        what = f"{label(group, first_size)}{metric}"
        table.add_row(what, *(f"{ratios[name]:.2f}" if name in ratios else "" for name in names))
        worst = max(ratios, key=lambda name: ratios[name])
        copied = medians.get((group, metric, _live_reads.MEMCPY[0]))
        if copied is not None and width_of(group) > NARROWER:
            share = copied / medians[group, metric, f"gridflow, {worst}"]
            bench.target(f"{what}, {worst}, of memcpy", share, 0.8, "x")
            continue
        judge = "DuckDB" if is_sql else JUST_LOADED
        bound = BOUNDS.get(metric, BOUND)
        bench.target(f"{what}, {worst}, against {judge}", ratios[worst], bound, "x", at_least=False)
        if metric == "COUNT(*)":
            slowest = max(medians[group, metric, f"gridflow, {name}"] for name in ratios)
            bench.target(f"{what}, in any state", slowest, 1.0, "ms", at_least=False)
    bench.console.print(table)


def width_of(group: str) -> int:
    """The bytes of a row, as the name of a group has them."""
    return int(group.partition(" rows of ")[2].partition(" bytes")[0].replace(",", ""))


def label(group: str, first_size: int) -> str:
    """What tells a path from the same one of another group: the rows of a larger table, or their width."""
    if width_of(group) != NARROW:
        return f"{width_of(group):,} bytes: "
    rows = group.partition(" rows of ")[0]
    return "" if int(rows.replace(",", "")) == first_size else f"{rows} rows: "


if __name__ == "__main__":
    main()
