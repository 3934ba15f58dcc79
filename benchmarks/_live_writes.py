"""Single rows written: in the owner, by SQL, through a server from several processes, and synced to a disk."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
from _harness import GIB, Benchmark, Figures
from _live_client import VALUE, Client, in_threads, joined, timed

import gridflow
from gridflow.server import ServerProcess

CLIENTS = [1, 4, 16]
#: Writers of the group with fsync, and the processes that they are in when there is a server.
WRITERS, WRITER_PROCESSES = 32, 16
UNIT = {"rate": "writes/s", "median": "us", "99th percentile": "us"}
CREATE = {"K": "LONG", "_VAL": "BINARY"}
INSERT = "INSERT INTO KV (K, _VAL) VALUES (?, ?)"
#: Puts of a client that pauses before each.
IDLE_PUTS = 25
EMBEDDED = "writes of 100 bytes in the owner"
SERVED = "writes of 100 bytes through a server"
SYNCED = "writes of 100 bytes, each synced to a disk"
SQLITE = "SQLite in memory, INSERT"
ONE, INSERTS, IDLE = (
    "gridflow, put by 1 client",
    "gridflow, INSERT by 1 client",
    "gridflow, put by 1 client, 20 ms apart",
)
ONE_SYNCED = "gridflow, server, 1 writer"
MANY = f"gridflow, server, {WRITERS} writers in {WRITER_PROCESSES} processes"


def figures(result: dict[str, float]) -> Figures:
    return {
        "rate": result["count"] / result["seconds"],
        "median": result["median"],
        "99th percentile": result["p99"],
    }


def measure_writes(bench: Benchmark, folder: Path, disk: Path, seconds: float) -> None:
    embedded = {
        "gridflow, put": partial(in_owner, folder / "put", False, seconds),
        "gridflow, INSERT": partial(in_owner, folder / "insert", True, seconds),
        SQLITE: partial(in_sqlite, ":memory:", "OFF", seconds),
        "LMDB, put": partial(in_lmdb, folder / "lmdb", False, seconds),
    }
    rates(bench, EMBEDDED, embedded)
    with served(folder / "served", max(CLIENTS)) as clients:
        contenders: dict[str, Callable[[], Figures]] = {
            by_so_many(count): partial(by_clients, clients[:count], "put", seconds, 1) for count in CLIENTS
        }
        contenders[INSERTS] = partial(by_clients, clients[:1], "insert", seconds)
        contenders[IDLE] = partial(by_clients, clients[:1], "idle", IDLE_PUTS)
        rates(bench, SERVED, contenders)
    synced = {
        "gridflow, 1 writer": partial(in_owner, disk / "one", False, seconds, "fsync"),
        f"gridflow, {WRITERS} threads": partial(threads_in_owner, disk / "many", seconds),
        "SQLite, 1 writer": partial(in_sqlite, disk / "lite.db", "WAL", seconds),
        "LMDB, 1 writer": partial(in_lmdb, disk / "lmdb", True, seconds),
    }
    with served(disk / "served", WRITER_PROCESSES, "--durability", "fsync") as clients:
        synced[ONE_SYNCED] = partial(by_clients, clients[:1], "put", seconds, 1)
        synced[MANY] = partial(by_clients, clients, "put", seconds, WRITERS // WRITER_PROCESSES)
        rates(bench, SYNCED, synced)
    targets(bench)


def targets(bench: Benchmark) -> None:
    """What a write through a server may cost, and what many writers gain on a disk."""
    group = SERVED
    for name, goal in ((ONE, 15), (IDLE, 70), (INSERTS, 40)):
        figure = bench.median(group, "median", name)
        bench.target(f"through a server: {name.partition(', ')[2]}", figure, goal, "us", at_least=False)
    for count, goal in ((1, 60e3), (16, 100e3)):
        figure = bench.median(group, "rate", by_so_many(count))
        bench.target(f"through a server: {by_so_many(count).partition(', ')[2]}", figure, goal, "writes/s")
    ratio = bench.median(EMBEDDED, "rate", "gridflow, INSERT") / bench.median(EMBEDDED, "rate", SQLITE)
    bench.target("INSERT in the owner, against SQLite", ratio, 1.0, "x")
    gain = bench.median(SYNCED, "rate", MANY) / bench.median(SYNCED, "rate", ONE_SYNCED)
    bench.target(f"synced, through a server: {WRITERS} writers, against one", gain, 20, "x")


def by_so_many(count: int) -> str:
    return f"gridflow, put by {count} client{'s' * (count > 1)}"


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
def served(home: Path, count: int, *arguments: str) -> Iterator[list[Client]]:
    """Clients of a server with an empty table KV."""
    with ExitStack() as stack:
        stack.enter_context(ServerProcess(home, *arguments))
        with gridflow.connect(home) as grid:
            grid.create_table("KV", CREATE, key="K")
        yield [stack.enter_context(Client(home, 0)) for _ in range(count)]


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
