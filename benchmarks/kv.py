"""Single puts and gets of 100-byte values under integer keys, one thread

Every put is a commit of its own and every get a read of its own, as in an application that has one row at a time. Puts
take the keys in random order, gets in another one. Operations per second:

    put     new rows; gridflow's flushes in the background share the machine's cores
    get     every row by its key, again and again up to 200,000 gets: the time of 10,000 would tell more about the
            machine than about any contender

Gridflow's gets are measured twice: from the memory table (where a row stays for about a second after the put), and
from segments, as many as the work in the background has left. LMDB runs with every option that is fast and keeps
single transactions: sync and metasync off, writemap and map_async on, keys packed before the clock runs; with locks,
and without (lock=False: the caller must be the only writer). SQLite has the database in memory, without a journal; a
dict is there for scale.

    python benchmarks/kv.py [--quick]
"""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from _harness import GIB, Benchmark, Figures

import gridflow

VALUE_BYTES = 100
LEAST_GETS = 200_000
#: Bytes of a row in the memory table beside the value; bytes of scratch for a row, of all contenders.
ROW_OVERHEAD, ROW_SPACE = 80, 2_000
LMDB = ["LMDB", "LMDB without locks"]


class Work:
    """The keys and values of a group, and a folder in which each contender starts empty."""

    def __init__(self, rows: int, folder: Path):
        generator = np.random.default_rng(1)
        self.rows = rows
        self.folder = folder
        self.keys: list[int] = generator.permutation(rows).tolist()
        self.order: list[int] = generator.permutation(rows).tolist() * -(-LEAST_GETS // rows)
        distinct = [generator.bytes(VALUE_BYTES) for _ in range(1000)]
        self.values = list(itertools.islice(itertools.cycle(distinct), rows))

    @contextmanager
    def fresh(self, name: str) -> Iterator[Path]:
        """The path of a new folder; the end of the block removes it."""
        path = self.folder / name
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def rate(self, loop: Callable[[Iterable[Any]], None], items: list[Any]) -> float:
        """Items per second of a loop over them."""
        began = time.perf_counter()
        loop(items)
        return len(items) / (time.perf_counter() - began)


def main() -> None:
    bench = Benchmark("kv", __doc__, packages=["lmdb"], rounds=5)
    bench.machine["versions"]["sqlite"] = sqlite3.sqlite_version
    bench.settings |= {"value bytes": VALUE_BYTES, "gridflow": "defaults: durability=process"}
    for rows in [5_000] if bench.quick else [10_000, 100_000, 1_000_000]:
        group = f"{rows:,} rows"
        with bench.scratch(rows * ROW_SPACE + GIB // 4) as folder:
            work = Work(rows, folder)
            contenders = {
                "gridflow, memory table": partial(grid_memory_rates, work),
                "gridflow, segments": partial(grid_segment_rates, work),
                LMDB[0]: partial(lmdb_rates, work, True),
                LMDB[1]: partial(lmdb_rates, work, False),
                "SQLite in memory": partial(sqlite_rates, work),
                "dict": partial(dict_rates, work),
            }
            if rows * (VALUE_BYTES + ROW_OVERHEAD) > GIB // 8:
                # The memory table never has so many rows: the flush in the background takes the oldest before.
                del contenders["gridflow, memory table"]
            rounds = bench.rounds if rows < 500_000 else min(3, bench.rounds)
            bench.measure(group, contenders, unit="operations/s", rounds=rounds)
        for metric in ("put", "get"):
            peer = bench.best(group, metric, LMDB)
            for name in contenders:
                if name.startswith("gridflow"):
                    figure = bench.median(group, metric, name) / peer
                    bench.target(f"{group}: {metric}, {name}, against LMDB", figure, 2.0, "x")
    bench.finish()


def new_table(grid: gridflow.Grid) -> gridflow.Table:
    """Create a table of a key and a plain value, as a cache of bytes has it."""
    return grid.create_table("KV", {"K": "LONG", "_VAL": "BINARY"}, key="K")


def grid_puts(work: Work, table: gridflow.Table) -> float:
    put = table.put

    def puts(pairs: Iterable[tuple[int, bytes]]) -> None:
        for key, value in pairs:
            put(key, value)

    return work.rate(puts, list(zip(work.keys, work.values, strict=True)))


def grid_gets(work: Work, table: gridflow.Table) -> float:
    get = table.get

    def gets(keys: Iterable[int]) -> None:
        for key in keys:
            get(key)

    assert get(work.keys[0]) == work.values[0]
    return work.rate(gets, work.order)


def grid_memory_rates(work: Work) -> Figures:
    with work.fresh("grid") as path, gridflow.connect(path) as grid:
        puts = grid_puts(work, new_table(grid))
        # Once more under the table's lock: the flush in the background waits, and every row stays in the memory table.
        grid.drop_table("KV")
        table = new_table(grid)
        with table.lock:
            grid_puts(work, table)
            gets = grid_gets(work, table)
            assert table.stats()["memory_rows"] == work.rows
    return {"put": puts, "get": gets}


def grid_segment_rates(work: Work) -> Figures:
    with work.fresh("grid") as path, gridflow.connect(path) as grid:
        table = new_table(grid)
        puts = grid_puts(work, table)
        table.flush()
        gets = grid_gets(work, table)
        assert table.stats()["rows"] == work.rows
    return {"put": puts, "get": gets}


def lmdb_rates(work: Work, lock: bool) -> Figures:
    pack = struct.Struct(">q").pack
    pairs = [(pack(key), value) for key, value in zip(work.keys, work.values, strict=True)]
    options: dict[str, Any] = {"sync": False, "metasync": False, "writemap": True, "map_async": True}
    with work.fresh("lmdb") as path, closing(lmdb.open(str(path), map_size=GIB, lock=lock, **options)) as store:
        begin = store.begin

        def puts(pairs: Iterable[tuple[bytes, bytes]]) -> None:
            for key, value in pairs:
                transaction = begin(None, None, True)  # faster than write=True, and than a with block
                transaction.put(key, value)
                transaction.commit()

        def gets(keys: Iterable[bytes]) -> None:
            for key in keys:
                begin().get(key)  # the last reference ends the transaction; the binding reuses its reader

        put_rate = work.rate(puts, pairs)
        assert begin().get(pairs[0][0]) == pairs[0][1]
        return {"put": put_rate, "get": work.rate(gets, [pack(key) for key in work.order])}


def sqlite_rates(work: Work) -> Figures:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = OFF")
        store.execute("CREATE TABLE KV (K INTEGER PRIMARY KEY, V BLOB)")
        execute = store.execute

        def puts(pairs: Iterable[tuple[int, bytes]]) -> None:
            for pair in pairs:
                execute("INSERT OR REPLACE INTO KV VALUES (?, ?)", pair)

        def gets(keys: Iterable[int]) -> None:
            for key in keys:
                execute("SELECT V FROM KV WHERE K = ?", (key,)).fetchone()

        put_rate = work.rate(puts, list(zip(work.keys, work.values, strict=True)))
        return {"put": put_rate, "get": work.rate(gets, work.order)}


def dict_rates(work: Work) -> Figures:
    store: dict[int, bytes] = {}

    def puts(pairs: Iterable[tuple[int, bytes]]) -> None:
        for key, value in pairs:
            store[key] = value

    def gets(keys: Iterable[int]) -> None:
        for key in keys:
            store[key]

    put_rate = work.rate(puts, list(zip(work.keys, work.values, strict=True)))
    return {"put": put_rate, "get": work.rate(gets, work.order)}


if __name__ == "__main__":
    main()
