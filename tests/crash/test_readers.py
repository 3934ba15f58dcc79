"""Readers in other processes while owners write, flush, merge and die: commits are whole, in order, without errors."""

from __future__ import annotations

import os
import random
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from crash.workload import hurry

import gridflow
import gridflow.testing
from gridflow.registry import open_reader

ROWS = 40
BATCHES = 1000
FINAL = -1  # a row that says that no more comes


def body(generation: int, key: int) -> bytes:
    return f"{generation} {key} ".encode() * 30


def child(work: Callable[[], None]) -> tuple[int, int]:
    """Run ``work`` in a process: its pid, and a pipe that gives its error, or nothing."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            work()
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader


def wait(process: tuple[int, int]) -> str:
    pid, reader = process
    with os.fdopen(reader) as text:
        result = text.read()
    os.waitpid(pid, 0)
    return result


def make(home: Path) -> None:
    with gridflow.connect(home) as grid:
        for name in ("PUT", "LOADED", "GROWING"):
            grid.create_table(name, {"ID": "LONG", "G": "LONG", "B": "BINARY"}, key="ID", partitions=4)
        write(grid, 0)


def write(grid: gridflow.Grid, generation: int) -> None:
    """One generation: all rows of PUT in a commit, then those of LOADED, then one more row of GROWING."""
    rows = {key: {"G": generation, "B": body(generation, key)} for key in range(ROWS)}
    grid.table("PUT").put_all(rows)
    columns = {"ID": np.arange(ROWS), "G": np.full(ROWS, generation), "B": [row["B"] for row in rows.values()]}
    grid.table("LOADED").load(columns, on_duplicate="replace")
    grid.table("GROWING").put(generation, {"G": generation, "B": body(generation, generation)})


def write_all(home: Path, first: int, seed: int) -> None:
    hurry()
    chance = random.Random(seed)
    with gridflow.connect(home) as grid:
        for generation in range(first, BATCHES + 1):
            write(grid, generation)
            if chance.random() < 0.2:
                table = grid.table(chance.choice(["PUT", "LOADED", "GROWING"]))
                chance.choice([table.flush, table.compact])()
        grid.table("GROWING").put(FINAL, {})


class Watcher:
    """Looks at a grid until the final row is there; what it has seen once must never be undone."""

    def __init__(self, home: Path, again: bool):
        self.home = home
        self.again = again  # open the grid anew each time
        self.least = {"PUT": 0, "LOADED": 0, "GROWING": 0}
        self.keys = dict.fromkeys(range(ROWS), 0)

    def watch(self) -> None:
        rounds = 0
        grid = open_reader(self.home)
        last = False
        while not last:
            if self.again:
                grid.close()
                grid = open_reader(self.home)
            last = FINAL in grid.table("GROWING")
            self.look(grid)
            if rounds % 10 == 0:
                assert grid.check() == []
            rounds += 1
        assert self.least == {"PUT": BATCHES, "LOADED": BATCHES, "GROWING": BATCHES}, self.least

    def look(self, grid: gridflow.Grid) -> None:
        for key in (0, ROWS // 2, ROWS - 1):
            row = grid.table("PUT").get(key)
            assert row["B"] == body(row["G"], key)
            assert row["G"] >= self.keys[key], f"key {key} went back from {self.keys[key]} to {row['G']}"
            self.keys[key] = row["G"]
        assert min(self.keys[0], self.keys[ROWS - 1]) >= self.least["PUT"], "get is behind a scan that came before"
        for name in ("PUT", "LOADED"):
            table = grid.table(name)
            for batches in (table.to_arrow().to_batches(), list(table.scan(batch_size=7))):
                rows = {k: (g, b) for batch in batches for k, g, b in zip(*map(list_of, batch.columns), strict=True)}
                generations = {g for g, _ in rows.values()}
                assert sorted(rows) == list(range(ROWS)) and len(generations) == 1, f"part of a commit: {generations}"
                generation = generations.pop()
                assert all(b == body(generation, key) for key, (_, b) in rows.items())
                assert generation >= self.least[name], f"{name} went back from {self.least[name]} to {generation}"
                self.least[name] = generation
            assert len(table) == ROWS
        growing = grid.table("GROWING").to_arrow(["ID"])["ID"].to_pylist()
        newest = max(growing)
        assert sorted(set(growing) - {FINAL}) == list(range(newest + 1)) and len(growing) == len(set(growing))
        assert newest >= self.least["GROWING"]
        assert self.least["PUT"] <= grid.table("PUT").get(0)["G"] and newest <= BATCHES
        self.least["GROWING"] = newest


def list_of(array) -> list:
    return array.to_pylist()


@pytest.mark.parametrize("seed", range(3))
def test_readers_beside_an_owner(home: Path, seed: int) -> None:
    make(home / "grid")
    readers = [child(Watcher(home / "grid", again).watch) for again in (False, False, True)]
    write_all_in = child(lambda: write_all(home / "grid", 1, seed))
    assert wait(write_all_in) == ""
    assert [wait(reader) for reader in readers] == ["", "", ""]
    gridflow.testing.verify(home / "grid")


def test_readers_while_owners_die(home: Path) -> None:
    """Each owner goes on where the last one was killed; the readers stay."""
    make(home / "grid")
    readers = [child(Watcher(home / "grid", again).watch) for again in (False, True)]
    for turn in range(20):
        first = newest(home / "grid") + 1
        owner = child(lambda first=first, turn=turn: write_all(home / "grid", first, turn))
        enough = first + 5
        with open_reader(home / "grid") as grid:
            while grid.table("GROWING").get(min(enough, BATCHES)) is None:
                assert os.waitpid(owner[0], os.WNOHANG) == (0, 0), os.read(owner[1], 10_000).decode()
        os.kill(owner[0], signal.SIGKILL)
        assert wait(owner) == ""
    assert wait(child(lambda: write_all(home / "grid", newest(home / "grid") + 1, 99))) == ""
    assert [wait(reader) for reader in readers] == ["", ""]
    gridflow.testing.verify(home / "grid")


def newest(home: Path) -> int:
    with open_reader(home) as grid:
        return max(set(grid.table("GROWING")))


def test_readers_while_tables_come_and_go(home: Path) -> None:
    """A reader finds a table whole or not at all, whenever it looks."""
    with gridflow.connect(home / "grid") as grid:
        grid.create_table("STAYS", {"ID": "LONG"}, key="ID")

    def come_and_go() -> None:
        hurry()
        with gridflow.connect(home / "grid") as grid:
            for turn in range(150):
                table = grid.create_table("T", {"ID": "LONG", "V": "LONG"}, key="ID")
                table.load({"ID": np.arange(100), "V": np.full(100, turn)})
                table.put(1, {"V": turn})
                if turn % 3:
                    table.remove_all(range(10, 20))
                grid.drop_table("T")
            grid.table("STAYS").put(FINAL, {})

    def watch() -> None:
        with open_reader(home / "grid") as grid:
            while FINAL not in grid.table("STAYS"):
                names = grid.tables()
                assert names in (["STAYS"], ["STAYS", "T"])
                try:
                    rows = grid.table("T").to_arrow()
                except gridflow.TableNotFoundError:
                    continue
                assert rows.num_rows in (0, 90, 100) and len(set(rows["V"].to_pylist())) <= 1
                assert grid.check() == []

    readers = [child(watch), child(watch)]
    assert wait(child(come_and_go)) == ""
    assert [wait(reader) for reader in readers] == ["", ""]
    gridflow.testing.verify(home / "grid")
