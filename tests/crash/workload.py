"""What an owner does until it is killed, and what must be there afterwards.

Everything follows from a seed, so the parent knows each operation without being told: the child only says which are
done. Operations of one thread are in order and threads write different tables, so after a kill a table is as the
operations that were acknowledged leave it, or one further.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gridflow
import gridflow._native.store
import gridflow.storage.compaction
import gridflow.storage.load
import gridflow.storage.maintenance

COLUMNS = {"ID": "LONG", "N": "INT", "B": "BINARY"}
KEYS = 150
Rows = dict[int, tuple[int, bytes]]
State = dict[str, Rows]  # by name of table; a table that is not there is missing


@dataclass
class Operation:
    """One call: ``rows`` are written, ``keys`` removed; what else it does follows from ``kind``.

    A transaction is made of ``parts``, each of which puts or removes.
    """

    kind: str
    table: str = ""
    rows: Rows | None = None
    keys: tuple[int, ...] = ()
    parts: tuple[Operation, ...] = ()

    def apply(self, state: State) -> None:
        """Do to ``state`` what the call does to the grid."""
        if self.kind == "create":
            state[self.table] = {}
        elif self.kind == "drop":
            del state[self.table]
        elif self.rows is not None:
            rows = state[self.table]
            wanted = {"put_if_absent": False, "replace": True}.get(self.kind)
            rows.update({k: v for k, v in self.rows.items() if wanted is None or (k in rows) == wanted})
        elif self.kind == "truncate":
            state[self.table] = {}
        for key in self.keys:
            state[self.table].pop(key, None)
        for part in self.parts:
            part.apply(state)

    def run(self, grid: gridflow.Grid | gridflow.Transaction) -> None:
        """The call itself."""
        if self.kind == "create":
            grid.create_table(self.table, COLUMNS, key="ID", partitions=8)
            grid.sql(f"CREATE INDEX BY_N_{self.table} ON {self.table} (N)")
            return
        if self.kind == "drop":
            grid.drop_table(self.table)
            return
        if self.kind == "transaction":
            with grid.transaction() as transaction:
                for part in self.parts:
                    part.run(transaction)
            return
        table = grid.table(self.table)
        values = {key: {"N": n, "B": b} for key, (n, b) in (self.rows or {}).items()}
        if self.kind in ("put", "put_if_absent", "replace"):
            for key, value in values.items():
                getattr(table, self.kind)(key, value)
        elif self.kind == "put_all":
            table.put_all(values)
        elif self.kind == "load rows":
            table.load({"ID": key, **value} for key, value in values.items())
        elif self.kind == "load columns":
            columns = {name: [value[name] for value in values.values()] for name in ("N", "B")}
            table.load({"ID": list(values), **columns})
        elif self.kind == "remove":
            table.remove(self.keys[0])
        elif self.kind == "remove_all":
            table.remove_all(self.keys)
        else:
            getattr(table, self.kind)()  # flush, compact, truncate


WRITES = ["put"] * 8 + ["put_if_absent", "replace", "remove", "put_all", "put_all", "remove_all"]
WRITES += ["load rows", "load columns", "flush", "compact", "truncate"]


def operations(seed: str, tables: list[str], state: State) -> Iterator[Operation]:
    """An endless series of operations on these tables, some of which come and go. ``state`` is followed, not kept."""
    chance = random.Random(seed)
    there = {name for name in tables if name in state}
    for number in range(1 << 30):
        table = chance.choice(tables)
        if table not in there:
            there.add(table)
            yield Operation("create", table)
            continue
        if table.startswith("TEMPORARY") and chance.random() < 0.1:
            there.remove(table)
            yield Operation("drop", table)
            continue
        if there.issuperset(tables) and len(tables) > 1 and chance.random() < 0.2:
            yield Operation("transaction", parts=tuple(_parts(chance, tables, number)))
            continue
        kind = chance.choice(WRITES)
        keys = tuple(chance.sample(range(KEYS), chance.choice([1, 3, 40]) if "_all" in kind or "load" in kind else 1))
        if kind in ("remove", "remove_all"):
            yield Operation(kind, table, keys=keys)
        elif kind in ("flush", "compact", "truncate"):
            yield Operation(kind, table)
        else:
            size = chance.choice([0, 10, 100, 2000])
            yield Operation(kind, table, {key: (number, bytes([number % 251]) * size) for key in keys})


def _parts(chance: random.Random, tables: list[str], number: int) -> Iterator[Operation]:
    for table in tables * 2:
        keys = tuple(chance.sample(range(KEYS), chance.choice([1, 3, 40])))
        if chance.random() < 0.3:
            yield Operation("remove_all", table, keys=keys)
        else:
            yield Operation("put_all", table, {key: (number, bytes([number % 251]) * 10) for key in keys})


THREADS = [["A"], ["B", "C"], ["TEMPORARY", "D"]]


def hurry() -> None:
    """Make what happens seldom happen often: background work, new files of the log, merges."""
    gridflow.storage.maintenance.FLUSH_SECONDS = 0.001
    gridflow.storage.maintenance.REST_SECONDS = 0.02
    gridflow.storage.compaction.FAN_IN = 3
    gridflow.storage.compaction.MOST_SMALL = 2
    gridflow.storage.compaction._SMALLEST = 4000
    gridflow._native.store.DEFAULT_SMALL_BYTES = 3000
    gridflow._native.store.DEFAULT_LISTED_BYTES = 0
    gridflow.storage.load.SEGMENT_BYTES = 5000
    gridflow.storage.load.ROWS_AT_ONCE = 15
    gridflow._native.store.LOG_BYTES_KEPT = 2000
    gridflow._native.store.DEFAULT_FLUSH_BYTES = 20_000


def owner(home: Path, seed: str, state: State, durability: str, say: int) -> None:
    """Own the grid and work, until killed. Each line to ``say`` is a thread's number: its next operation is done."""
    hurry()
    os.write(say, b"start\n")
    grid = gridflow.connect(home, durability=durability)

    def work(number: int) -> None:
        try:
            for operation in operations(f"{seed} {number}", THREADS[number], state):
                operation.run(grid)
                os.write(say, b"%d\n" % number)
        except BaseException:
            os.write(say, f"error {traceback.format_exc()!r}\n".encode())
            os._exit(1)

    for number in range(1, len(THREADS)):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    work(0)


def run_and_kill(home: Path, seed: str, state: State, durability: str, acknowledgements: int) -> list[int]:
    """Have a child work, kill it once it has said so much; returns how many operations each thread has had done."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            owner(home, seed, state, durability, writer)
        finally:
            os._exit(2)
    os.close(writer)
    done = [0] * len(THREADS)
    with os.fdopen(reader) as lines:
        for count, line in enumerate(lines):
            if count == acknowledgements:
                os.kill(pid, signal.SIGKILL)
            if line[0].isdigit():
                done[int(line)] += 1
            elif line.startswith("error"):
                raise AssertionError(f"seed {seed!r}: {line}")
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"seed {seed!r}: the owner ended by itself"
    return done


def candidates(seed: str, state: State, done: list[int]) -> list[tuple[list[str], list[State]]]:
    """For each thread its tables, and what may be in them: as acknowledged, or with the operation under way done."""
    result = []
    for number, tables in enumerate(THREADS):
        before = {name: dict(state[name]) for name in tables if name in state}
        stream = operations(f"{seed} {number}", tables, state)
        for _ in range(done[number]):
            next(stream).apply(before)
        after = {name: dict(rows) for name, rows in before.items()}
        next(stream).apply(after)
        result.append((tables, [before, after]))
    return result


def found(grid: gridflow.Grid) -> State:
    """What is in the grid."""
    state: State = {}
    for name in grid.tables():
        rows: Rows = {}
        for batch in grid.table(name).scan():
            columns: list[list[Any]] = [column.to_pylist() for column in batch.columns]
            for key, n, b in zip(*columns, strict=True):
                assert key not in rows, f"table {name}: key {key} is there twice"
                rows[key] = (n, b)
        state[name] = rows
    return state
