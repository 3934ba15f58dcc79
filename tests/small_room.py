"""File systems with little room, and a writer that knows what was acknowledged there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

import gridflow
from gridflow import GridFullError

COLUMNS = {"ID": "LONG", "B": "BINARY"}
SIZE = 16 << 20
WRITES = ["put", "put_all", "load"]  # methods of Writer


def room(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes all of the room but ``leave`` bytes."""
    ballast = folder / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        try:
            while room(folder) > leave:
                file.write(bytes(min(1 << 20, max(4096, room(folder) - leave))))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return ballast


def value(i: int, size: int = 20_000) -> dict:
    return {"B": i.to_bytes(8, "little") * (size // 8)}


class Writer:
    """Writes to a table and knows what was acknowledged."""

    def __init__(self, table: gridflow.Table):
        self.table = table
        self.rows: dict[int, dict] = {}
        self.next = 0

    def put(self, size: int = 20_000) -> None:
        self.table.put(self.next, value(self.next, size))
        self.done(1, size)

    def put_all(self, count: int = 20) -> None:
        self.table.put_all((self.next + i, value(self.next + i)) for i in range(count))
        self.done(count)

    def load(self, count: int = 20) -> None:
        ids = np.arange(self.next, self.next + count)
        self.table.load({"ID": ids, "B": [value(i)["B"] for i in ids.tolist()]})
        self.done(count)

    def done(self, count: int, size: int = 20_000) -> None:
        for _ in range(count):
            self.rows[self.next] = value(self.next, size)
            self.next += 1

    def until_full(self, write: Callable[[], None]) -> int:
        """Write until there is no room; returns how often that went well."""
        for count in range(100_000):
            try:
                write()
            except GridFullError as error:
                assert error.errno == errno.ENOSPC and isinstance(error, OSError)
                assert "no room left" in str(error)
                return count
        raise AssertionError("it is never full")

    def check(self) -> None:
        """All that was acknowledged is there, by key and in scans, and nothing else."""
        compare(self.table, self.rows)


def compare(table: gridflow.Table, rows: dict[int, dict]) -> None:
    assert table.get_all(range(max(rows, default=0) + 100)) == rows
    assert len(table) == len(rows)
    whole = table.to_arrow()
    found = dict(zip(whole["ID"].to_pylist(), whole["B"].to_pylist(), strict=True))
    assert found == {key: row["B"] for key, row in rows.items()}
    assert sum(batch.num_rows for batch in table.scan(batch_size=7)) == len(rows)
