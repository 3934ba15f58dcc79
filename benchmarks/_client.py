"""A process that writes to a served grid, or to a peer of it: the writer of live.py, and the clients of writes.py.

Run as a program it connects, and does what it is told by the lines of its standard input; see ``Client.ask``.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

VALUE = bytes(range(100))
#: Puts that the writer does between two looks at the clock and at its orders.
BURST = 5
#: Rows that are read by key, over and over.
GET_KEYS = 1000
#: Seconds before each put of a client that is idle in between, and those that all of them take at most.
PAUSE, MOST_SECONDS = 0.02, 60.0


class Client:
    """The process, for the one that started it; a context manager that ends it."""

    def __init__(self, target: str | Path, rows: int = 0):
        """A client of a grid's home or address, of ``sqlite=FILE`` or of ``ignite=HOST:PORT``; T has ``rows``."""
        command = [sys.executable, __file__, str(target), str(rows)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, order: str, *arguments: float) -> None:
        """Tell it what to do.

        steady RATE           overwrite rows of T at so many puts a second, until ``stop``
        put SECONDS THREADS   put rows into KV, in so many threads
        insert SECONDS        the same by SQL, in one
        get SECONDS           get rows of KV by their keys
        idle COUNT            put so many, with 20 ms before each
        """
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join([order, *map(str, arguments)]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, float]:
        """What came of it: ``count``, ``seconds``, and median and 99th percentile of a write in us."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a client of the benchmark has ended; stderr says why")
        return json.loads(line)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate(timeout=60)  # closes its input, which ends it


def timed(write: Callable[[int], Any], keys: Iterator[int], seconds: float, pause: float = 0.0) -> dict[str, float]:
    """Write under one key after the other, for so long or until there are none."""
    took = []
    began = now = time.perf_counter()
    for key in keys:
        if pause:
            time.sleep(pause)
        start = time.perf_counter()
        write(key)
        now = time.perf_counter()
        took.append(now - start)
        if now - began >= seconds:
            break
    return summary(took, now - began)


def summary(took: list[float], seconds: float) -> dict[str, float]:
    """Of the seconds that each write took."""
    ordered = sorted(took)
    worst = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    median = statistics.median(ordered)
    return {"count": len(ordered), "seconds": seconds, "median": median * 1e6, "p99": worst * 1e6}


def in_threads(write: Callable[[int], Any], keys: Iterator[int], seconds: float, threads: int) -> dict[str, float]:
    """``timed`` in several threads at once, which take turns at the keys."""
    with ThreadPoolExecutor(threads) as pool:
        parts = [pool.submit(timed, write, keys, seconds) for _ in range(threads)]
    return joined([part.result() for part in parts])


def joined(parts: list[dict[str, float]]) -> dict[str, float]:
    """Of writers that were at work at the same time."""
    return {
        "count": sum(part["count"] for part in parts),
        "seconds": max(part["seconds"] for part in parts),
        "median": statistics.median(part["median"] for part in parts),
        "p99": max(part["p99"] for part in parts),
    }


def steady(put: Callable[[int, Any], Any], rows: int, rate: float) -> dict[str, float]:
    """Overwrite rows at a rate, until a line says to stop."""
    keys = [random.randrange(rows) for _ in range(1 << 16)]
    took: list[float] = []
    began = time.perf_counter()
    while True:
        ahead = began + len(took) / rate - time.perf_counter()
        if select.select([sys.stdin], [], [], max(0.0, ahead))[0]:
            sys.stdin.readline()
            return summary(took or [0.0], time.perf_counter() - began)
        for _ in range(BURST):
            key = keys[len(took) % len(keys)]
            start = time.perf_counter()
            put(key, {"X": len(took)})
            took.append(time.perf_counter() - start)


class Store(Protocol):
    """What a client writes to: rows of a number and 100 bytes, each acknowledged before the next one."""

    def put(self, key: int) -> object: ...
    def insert(self, key: int) -> object: ...
    def get(self, key: int) -> object: ...


class GridClient:
    """Table KV of a grid, served or not."""

    def __init__(self, grid: Any):
        self._sql, self._table = grid.sql, grid.table("KV")

    def put(self, key: int) -> None:
        self._table.put(key, VALUE)

    def insert(self, key: int) -> None:
        self._sql("INSERT INTO KV (K, _VAL) VALUES (?, ?)", (key, VALUE))

    def get(self, key: int) -> object:
        return self._table.get(key)


class SqliteClient:
    """The same table in a file that all processes open. Writers take turns by its lock; nothing is synced."""

    def __init__(self, path: str):
        import sqlite3

        self._execute = sqlite3.connect(
            path, isolation_level=None, timeout=MOST_SECONDS, check_same_thread=False
        ).execute
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = OFF")
        self._execute("CREATE TABLE IF NOT EXISTS KV (K INTEGER PRIMARY KEY, V BLOB)")

    def insert(self, key: int) -> None:
        self._execute("INSERT INTO KV VALUES (?, ?)", (key, VALUE))

    def put(self, key: int) -> None:
        self._execute("INSERT OR REPLACE INTO KV VALUES (?, ?)", (key, VALUE))

    def get(self, key: int) -> object:
        return self._execute("SELECT V FROM KV WHERE K = ?", (key,)).fetchone()


class IgniteClient:
    """Cache KV and table KVT of a node of Apache Ignite."""

    def __init__(self, host: str, port: int):
        import pyignite

        client = pyignite.Client()
        client.connect(host, port)
        self._sql, self._cache = client.sql, client.get_or_create_cache("KV")
        self._has_table = False

    def put(self, key: int) -> None:
        self._cache.put(key, VALUE)

    def insert(self, key: int) -> None:
        if not self._has_table:
            with self._sql("CREATE TABLE IF NOT EXISTS KVT (K BIGINT PRIMARY KEY, V BINARY)"):
                self._has_table = True
        with self._sql("INSERT INTO KVT (K, V) VALUES (?, ?)", query_args=[key, VALUE]):
            pass

    def get(self, key: int) -> object:
        return self._cache.get(key)


def main(target: str, rows: int) -> None:
    with ExitStack() as stack:
        kind, _, rest = target.partition("=")
        table, store = None, None
        if kind == "sqlite":
            store = SqliteClient(rest)
        elif kind == "ignite":
            store = IgniteClient(rest.rpartition(":")[0], int(rest.rpartition(":")[2]))
        else:
            import gridflow
            from gridflow.client import remote_grid

            remote_grid.MAPS_LOCAL = False  # an address is to be spoken to
            grid = stack.enter_context(gridflow.connect(target))
            table = grid.table("T") if "T" in grid else None
            store = GridClient(grid) if "KV" in grid else None
        serve(store, table, rows)


def serve(store: Store | None, table: Any, rows: int) -> None:
    first = os.getpid() << 32  # none is another client's, and none is written twice
    keys = itertools.count(first)
    for line in iter(sys.stdin.readline, ""):
        order, *numbers = line.split()
        amount = float(numbers[0])
        if order == "steady":
            result = steady(table.put, rows, amount)
        else:
            assert store is not None
            if order == "put":
                result = in_threads(store.put, keys, amount, int(numbers[1]))
            elif order == "insert":
                result = timed(store.insert, keys, amount)
            elif order == "get":
                for key in range(first - GET_KEYS, first):
                    store.put(key)
                result = timed(store.get, itertools.cycle(range(first - GET_KEYS, first)), amount)
            else:
                result = timed(store.put, itertools.islice(keys, int(amount)), MOST_SECONDS, PAUSE)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
