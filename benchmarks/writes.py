"""Single writes of 100-byte values from other processes, through a node of the same machine

Every put and every INSERT is a commit of its own, which the node acknowledges before the next one is sent:

    one client      puts and INSERTs one after the other; the median of each, in microseconds
    after a rest    the same put, 20 ms after the last one: both processes have gone to sleep
    many clients    as many processes as it says, together: puts per second
    fsync           durability="fsync", on a disk: puts per second of 1 and of 32 threads of the owner, and of 32
                    clients; all who wait at the same time wait for one sync

SQLite is a file in memory that all processes open, with WAL and without syncs; its writers take turns by its lock.

    python benchmarks/writes.py [--quick]
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from _harness import GIB, Benchmark, Figures

import gridflow
from gridflow.server import ServerProcess

VALUE = b"v" * 100
REST = 0.02
#: Of several clients each writes keys of its own.
KEYS = 10_000_000
SPAWN = multiprocessing.get_context("spawn")
INSERT = "INSERT INTO T (K, V) VALUES (?, ?)"


def main() -> None:
    bench = Benchmark("writes", __doc__, packages=["pyarrow"], rounds=5)
    bench.machine["versions"]["sqlite"] = sqlite3.sqlite_version
    puts = 2_000 if bench.quick else 20_000
    rests = 5 if bench.quick else 50
    most, writers = (2, 4) if bench.quick else (16, 32)
    with bench.scratch(GIB) as folder:
        one = {"gridflow": partial(one_client, folder / "one", puts, rests)}
        bench.measure("one client", one, unit="us", better="lower")
        for clients in (1, most) if bench.quick else (1, 4, most):
            contenders: dict[str, Callable[[], Figures]] = {
                "gridflow": partial(through_node, folder / f"many {clients}", clients, puts),
                "SQLite": partial(through_sqlite, folder / f"sqlite {clients}", clients, puts // 4),
            }
            bench.measure(f"{clients} clients", contenders, unit="puts/s", rounds=min(3, bench.rounds))
    with tempfile.TemporaryDirectory(prefix="gridflow-bench-") as disk:
        syncs = {
            "1 thread": partial(threads_rate, Path(disk) / "one", 1, puts // 20),
            f"{writers} threads": partial(threads_rate, Path(disk) / "many", writers, puts // 20),
            f"{writers} clients": partial(clients_rate, Path(disk) / "clients", writers, puts // 20, "fsync"),
        }
        bench.measure("fsync", syncs, unit="puts/s", rounds=min(3, bench.rounds))
    bench.target("a put, one client", bench.median("one client", "put", "gridflow"), 15, "us", at_least=False)
    bench.target(
        "a put after a rest", bench.median("one client", "put after a rest", "gridflow"), 70, "us", at_least=False
    )
    bench.target("an INSERT, one client", bench.median("one client", "INSERT", "gridflow"), 40, "us", at_least=False)
    for clients, goal in ((1, 60_000), (most, 100_000)):
        bench.target(f"{clients} clients", bench.median(f"{clients} clients", "puts", "gridflow"), goal, "puts/s")
    for many in (f"{writers} threads", f"{writers} clients"):
        ratio = bench.median("fsync", "puts", many) / bench.median("fsync", "puts", "1 thread")
        bench.target(f"fsync: {many}, against 1 thread", ratio, 20, "x")
    bench.finish()


def one_client(home: Path, puts: int, rests: int) -> Figures:
    with ServerProcess(home), gridflow.connect(home) as grid:
        table = new_table(grid)
        table.put(0, {"V": VALUE})
        put = median_us(lambda i: table.put(i, {"V": VALUE}), puts)
        rested = median_us(lambda i: table.put(i, {"V": VALUE}), rests, REST)
        for i in range(3):  # its fast path is known then
            grid.sql(INSERT, [KEYS + i, VALUE])
        insert = median_us(lambda i: grid.sql(INSERT, [KEYS + 10 + i, VALUE]), puts)
        grid.drop_table("T")
    return {"put": put, "put after a rest": rested, "INSERT": insert}


def median_us(call: Callable[[int], object], count: int, rest: float = 0.0) -> float:
    taken = []
    for i in range(count):
        if rest:
            time.sleep(rest)
        began = time.perf_counter_ns()
        call(i)
        taken.append(time.perf_counter_ns() - began)
    return statistics.median(taken) / 1000


def new_table(grid: gridflow.Grid) -> gridflow.Table:
    return grid.create_table("T", {"K": "LONG", "V": "BINARY"}, key="K", if_not_exists=True)


def through_node(home: Path, clients: int, puts: int) -> Figures:
    return clients_rate(home, clients, puts, "process")


def clients_rate(home: Path, clients: int, puts: int, durability: str) -> Figures:
    with ServerProcess(home, "--durability", durability), gridflow.connect(home) as grid:
        new_table(grid)
        rate = together(grid_client, home, clients, puts)
        grid.drop_table("T")
    return {"puts": rate}


def through_sqlite(path: Path, clients: int, puts: int) -> Figures:
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE T (K INTEGER PRIMARY KEY, V BLOB)")
        return {"puts": together(sqlite_client, path, clients, puts)}


def together(client: Callable[..., None], path: Path, clients: int, puts: int) -> float:
    """Puts per second of all clients, from when the first one begins until the last one ends."""
    barrier, times = SPAWN.Barrier(clients), SPAWN.Queue()
    processes = [SPAWN.Process(target=client, args=(path, n, puts, barrier, times)) for n in range(clients)]
    for process in processes:
        process.start()
    spans = [times.get() for _ in processes]
    for process in processes:
        process.join()
    return clients * puts / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def grid_client(home: Path, number: int, puts: int, barrier: Any, times: Any) -> None:
    with gridflow.connect(home) as grid:
        table = grid.table("T")
        table.put(number * KEYS, {"V": VALUE})
        barrier.wait()
        began = time.time()
        for key in range(number * KEYS, number * KEYS + puts):
            table.put(key, {"V": VALUE})
        times.put((began, time.time()))


def sqlite_client(path: Path, number: int, puts: int, barrier: Any, times: Any) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as store:
        store.execute("PRAGMA synchronous = OFF")
        barrier.wait()
        began = time.time()
        for key in range(number * KEYS, number * KEYS + puts):
            store.execute("INSERT OR REPLACE INTO T VALUES (?, ?)", (key, VALUE))
        times.put((began, time.time()))


def threads_rate(home: Path, threads: int, puts: int) -> Figures:
    with gridflow.connect(home, durability="fsync") as grid:
        table = new_table(grid)

        def work(number: int) -> None:
            for key in range(number * KEYS, number * KEYS + puts):
                table.put(key, {"V": VALUE})

        with ThreadPoolExecutor(threads) as pool:
            began = time.perf_counter()
            list(pool.map(work, range(threads)))
            rate = threads * puts / (time.perf_counter() - began)
        grid.drop_table("T")
    return {"puts": rate}


if __name__ == "__main__":
    main()
