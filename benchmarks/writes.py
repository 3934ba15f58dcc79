"""Single writes of 100 bytes, each acknowledged before the next one

    in the owner        put, and INSERT by SQL, by the process that owns the grid
    through a server    by 1, 4 and 16 other processes of the machine together; by one of them 20 ms after the last one,
                        when all have gone to sleep; by SQL; and get of a row
    synced              durability="fsync", on a disk: by one writer and by 32, who wait for one sync together

Beside it SQLite: in memory; as a file in memory that all processes open, with WAL and without syncs, whose writers take
turns by its lock; and on the disk, synced. LMDB in the owner and synced. And a node of Apache Ignite, if --ignite says
where one listens for thin clients, asked by pyignite.

    python benchmarks/writes.py [--quick] [--disk FOLDER] [--ignite 127.0.0.1:10800]
"""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lmdb
from _client import VALUE, Client, in_threads, joined, timed
from _disk import disk_folder
from _harness import GIB, Benchmark, Figures

import gridflow
from gridflow.server import ServerProcess

CLIENTS = [1, 4, 16]
#: Writers of the group with fsync, and the processes that they are in when there is a server.
WRITERS, WRITER_PROCESSES = 32, 16
UNIT = {"rate": "calls/s", "median": "us", "99th percentile": "us"}
CREATE = {"K": "LONG", "_VAL": "BINARY"}
INSERT = "INSERT INTO KV (K, _VAL) VALUES (?, ?)"
#: Puts of a client that pauses before each.
IDLE_PUTS = 50
EMBEDDED, SERVED, SYNCED = "in the owner", "through a server", "each synced to a disk"
SQLITE = "SQLite in memory, INSERT"
ONE_SYNCED = "gridflow, server, 1 writer"
MANY = f"gridflow, server, {WRITERS} writers in {WRITER_PROCESSES} processes"
MANY_THREADS = f"gridflow, {WRITERS} threads"


def main() -> None:
    bench = Benchmark(
        "writes",
        __doc__,
        packages=["lmdb"],
        rounds=5,
        quick_rounds=2,
        options={
            "--disk": {"type": Path, "help": "folder on a disk, for writes that are synced"},
            "--ignite": {"metavar": "HOST:PORT", "help": "where a node of Ignite listens for thin clients"},
        },
    )
    bench.machine["versions"]["sqlite"] = sqlite3.sqlite_version
    seconds = 0.2 if bench.quick else 2.0
    with (
        bench.scratch(4 * GIB) as folder,
        tempfile.TemporaryDirectory(prefix="gridflow-bench-", dir=disk_folder(bench.options.disk)) as disk,
    ):
        measure_owner(bench, folder, seconds)
        measure_served(bench, folder, seconds)
        measure_synced(bench, Path(disk), seconds)
    targets(bench)
    bench.finish()


def measure_owner(bench: Benchmark, folder: Path, seconds: float) -> None:
    contenders = {
        "gridflow, put": partial(in_owner, folder / "put", False, seconds),
        "gridflow, INSERT": partial(in_owner, folder / "insert", True, seconds),
        SQLITE: partial(in_sqlite, ":memory:", "OFF", seconds),
        "LMDB, put": partial(in_lmdb, folder / "lmdb", False, seconds),
    }
    rates(bench, EMBEDDED, contenders)


def measure_served(bench: Benchmark, folder: Path, seconds: float) -> None:
    with ExitStack() as stack:
        targets = {"gridflow": str(folder / "served"), "SQLite": f"sqlite={folder / 'lite.db'}"}
        if not bench.options.ignite:
            bench.skip("Ignite", "--ignite does not say where a node is")
        elif find_spec("pyignite") is None:
            bench.skip("Ignite", "pyignite is not installed: pip install 'gridflow[peers]'")
        else:
            bench.machine["versions"]["pyignite"] = version("pyignite")
            targets["Ignite"] = f"ignite={bench.options.ignite}"
        stack.enter_context(node(folder / "served"))
        contenders: dict[str, Callable[[], Figures]] = {}
        for name, target in targets.items():
            clients = [stack.enter_context(Client(target)) for _ in range(max(CLIENTS))]
            for count in CLIENTS:
                contenders[by_so_many(name, count)] = partial(by_clients, clients[:count], "put", seconds, 1)
            contenders[f"{name}, put 20 ms after the last one"] = partial(by_clients, clients[:1], "idle", IDLE_PUTS)
            contenders[f"{name}, INSERT"] = partial(by_clients, clients[:1], "insert", seconds)
            contenders[f"{name}, get"] = partial(by_clients, clients[:1], "get", seconds / 4)
        rates(bench, SERVED, contenders)


def measure_synced(bench: Benchmark, disk: Path, seconds: float) -> None:
    contenders: dict[str, Callable[[], Figures]] = {
        "gridflow, 1 writer": partial(in_owner, disk / "one", False, seconds, "fsync"),
        MANY_THREADS: partial(threads_in_owner, disk / "many", seconds),
        "SQLite, 1 writer": partial(in_sqlite, disk / "lite.db", "WAL", seconds),
        "LMDB, 1 writer": partial(in_lmdb, disk / "lmdb", True, seconds),
    }
    with node(disk / "served", "--durability", "fsync"), ExitStack() as stack:
        clients = [stack.enter_context(Client(disk / "served")) for _ in range(WRITER_PROCESSES)]
        contenders[ONE_SYNCED] = partial(by_clients, clients[:1], "put", seconds, 1)
        contenders[MANY] = partial(by_clients, clients, "put", seconds, WRITERS // WRITER_PROCESSES)
        rates(bench, SYNCED, contenders)


def targets(bench: Benchmark) -> None:
    """What a write through a server may cost, and what many writers gain on a disk."""
    names = [by_so_many("gridflow", 1), "gridflow, put 20 ms after the last one", "gridflow, INSERT"]
    for name, goal in zip(names, (15, 70, 40), strict=True):
        figure = bench.median(SERVED, "median", name)
        bench.target(f"through a server: {name.partition(', ')[2]}", figure, goal, "us", at_least=False)
    for count, goal in ((1, 60e3), (16, 100e3)):
        figure = bench.median(SERVED, "rate", by_so_many("gridflow", count))
        bench.target(f"through a server: put by {count}", figure, goal, "calls/s")
    ratio = bench.median(EMBEDDED, "rate", "gridflow, INSERT") / bench.median(EMBEDDED, "rate", SQLITE)
    bench.target("INSERT in the owner, against SQLite", ratio, 1.0, "x")
    for many, one in ((MANY, ONE_SYNCED), (MANY_THREADS, "gridflow, 1 writer")):
        gain = bench.median(SYNCED, "rate", many) / bench.median(SYNCED, "rate", one)
        bench.target(f"synced: {many.partition(', ')[2]}, against one", gain, 20, "x")


def by_so_many(name: str, count: int) -> str:
    return f"{name}, put by {count} client{'s' * (count > 1)}"


def figures(result: dict[str, float]) -> Figures:
    return {
        "rate": result["count"] / result["seconds"],
        "median": result["median"],
        "99th percentile": result["p99"],
    }


def rates(bench: Benchmark, group: str, contenders: dict[str, Callable[[], Figures]]) -> None:
    bench.measure(
        group, contenders, unit=UNIT, better={"rate": "higher", "median": "lower", "99th percentile": "lower"}
    )


def in_owner(home: Path, by_sql: bool, seconds: float, durability: str = "process") -> Figures:
    with fresh(home), gridflow.connect(home, durability=durability) as grid:
        put = grid.create_table("KV", CREATE, key="K").put
        if by_sql:
            return figures(timed(lambda key: grid.sql(INSERT, (key, VALUE)), itertools.count(), seconds))
        return figures(timed(lambda key: put(key, VALUE), itertools.count(), seconds))


def threads_in_owner(home: Path, seconds: float) -> Figures:
    with fresh(home), gridflow.connect(home, durability="fsync") as grid:
        put = grid.create_table("KV", CREATE, key="K").put
        return figures(in_threads(lambda key: put(key, VALUE), itertools.count(), seconds, WRITERS))


def in_sqlite(path: Any, journal: str, seconds: float) -> Figures:
    with fresh(path if isinstance(path, Path) else None), closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute(f"PRAGMA journal_mode = {journal}")
        store.execute("PRAGMA synchronous = FULL")
        store.execute("CREATE TABLE KV (K INTEGER PRIMARY KEY, V BLOB)")
        text = "INSERT INTO KV VALUES (?, ?)"
        return figures(timed(lambda key: store.execute(text, (key, VALUE)), itertools.count(), seconds))


def in_lmdb(path: Path, sync: bool, seconds: float) -> Figures:
    pack = struct.Struct(">q").pack
    options: dict[str, Any] = {"sync": sync, "metasync": sync, "writemap": True, "map_async": not sync}
    with fresh(path), closing(lmdb.open(str(path), map_size=GIB, **options)) as store:

        def put(key: int) -> None:
            transaction = store.begin(None, None, True)
            transaction.put(pack(key), VALUE)
            transaction.commit()

        return figures(timed(put, itertools.count(), seconds))


def by_clients(clients: list[Client], order: str, *arguments: float) -> Figures:
    for client in clients:
        client.ask(order, *arguments)
    return figures(joined([client.answer() for client in clients]))


@contextmanager
def node(home: Path, *arguments: str) -> Iterator[None]:
    """A server of a grid with an empty table KV."""
    with ServerProcess(home, *arguments):
        with gridflow.connect(home) as grid:
            grid.create_table("KV", CREATE, key="K")
        yield


@contextmanager
def fresh(path: Path | None) -> Iterator[None]:
    """A place that is empty after the block; None: there is nothing to remove."""
    try:
        yield
    finally:
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()


if __name__ == "__main__":
    main()
