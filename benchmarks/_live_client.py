"""A process that writes to a served grid: the writer beside the readers, and the clients of the writes.

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
from pathlib import Path
from typing import Any

VALUE = bytes(range(100))
#: Puts that the writer does between two looks at the clock and at its orders.
BURST = 5
#: Seconds before each put of a client that is idle in between, and those that all of them take at most.
PAUSE, MOST_SECONDS = 0.02, 60.0


class Client:
    """The process, for the one that started it; a context manager that ends it."""

    def __init__(self, home: Path, rows: int):
        command = [sys.executable, __file__, str(home), str(rows)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, order: str, *arguments: float) -> None:
        """Tell it what to do.

        steady RATE           overwrite rows of T at so many puts a second, until ``stop``
        put SECONDS THREADS   put rows into KV, in so many threads
        insert SECONDS        the same by SQL, in one
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


def main(home: str, rows: int) -> None:
    import gridflow

    keys = itertools.count(os.getpid() << 32)  # none is another client's, and none is written twice
    with gridflow.connect(home) as grid:

        def put(key: int) -> None:
            kv.put(key, VALUE)

        def insert(key: int) -> None:
            grid.sql("INSERT INTO KV (K, _VAL) VALUES (?, ?)", (key, VALUE))

        kv = grid.table("KV") if "KV" in grid else None
        for line in iter(sys.stdin.readline, ""):
            order, *numbers = line.split()
            amount = float(numbers[0])
            if order == "steady":
                result = steady(grid.table("T").put, rows, amount)
            elif order == "put":
                result = in_threads(put, keys, amount, int(numbers[1]))
            elif order == "insert":
                result = timed(insert, keys, amount)
            else:
                result = timed(put, itertools.islice(keys, int(amount)), MOST_SECONDS, PAUSE)
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
