"""What an owner does until it is killed, and what must be there afterwards.

Everything follows from a seed, so the parent knows each operation without being told: the child only says which are
done. Operations of one thread are in order and threads write different tables, so after a kill a table is as the
operations that were acknowledged leave it, or one further.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
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
#: By name of table; a table that is not there is missing. "T@tag" is what a tag of T reads, "T+X" is there if T has the
#: column X.
State = dict[str, Rows]


def table_of(name: str) -> str:
    """The table that a name in a state is of."""
    return re.split("[@+]", name)[0]


@dataclass
class Operation:
    """One call: ``rows`` are written, ``keys`` removed; what else it does follows from ``kind``.

    A transaction is made of ``parts``, each of which puts or removes. ``tag`` is given or taken.
    """

    kind: str
    table: str = ""
    rows: Rows | None = None
    keys: tuple[int, ...] = ()
    parts: tuple[Operation, ...] = ()
    tag: str = ""

    def apply(self, state: State) -> None:
        """Do to ``state`` what the call does to the grid."""
        if self.kind == "create":
            state[self.table] = {}
        elif self.kind == "drop":
            for name in [name for name in state if table_of(name) == self.table]:
                del state[name]
        elif self.kind == "tag":
            state[f"{self.table}@{self.tag}"] = dict(state[self.table])
        elif self.kind == "untag":
            state.pop(f"{self.table}@{self.tag}", None)
        elif self.kind == "alter":
            if state.pop(f"{self.table}+X", None) is None:
                state[f"{self.table}+X"] = {}
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
        if self.kind == "alter":
            has = "X" in table.schema.names
            grid.alter_table(self.table, drop=["X"] if has else [], add={} if has else {"X": "INT"})
            return
        if self.kind == "tag":
            table.tag(self.tag, replace=True)
            return
        if self.kind == "untag":
            if self.tag in table.tags():
                table.untag(self.tag)
            return
        values = {key: {"N": n, "B": b} for key, (n, b) in (self.rows or {}).items()}
        if self.kind in ("put", "put_if_absent", "replace"):
            for key, value in values.items():
                getattr(table, self.kind)(key, value)
        elif self.kind == "put_all":
            table.put_all(values)
        elif self.kind == "load rows":
            table.load(({"ID": key, **value} for key, value in values.items()), on_duplicate="replace")
        elif self.kind == "load columns":
            columns = {name: [value[name] for value in values.values()] for name in ("N", "B")}
            table.load({"ID": list(values), **columns}, on_duplicate="replace")
        elif self.kind == "remove":
            table.remove(self.keys[0])
        elif self.kind == "remove_all":
            table.remove_all(self.keys)
        else:
            getattr(table, self.kind)()  # flush, compact, truncate


WRITES = ["put"] * 8 + ["put_if_absent", "replace", "remove", "put_all", "put_all", "remove_all"]
WRITES += ["load rows", "load columns", "flush", "compact", "truncate", "tag", "untag", "alter"]


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
        elif kind in ("flush", "compact", "truncate", "alter"):
            yield Operation(kind, table)
        elif kind in ("tag", "untag"):
            yield Operation(kind, table, tag=chance.choice(["one", "two"]))
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


def owner(
    home: Path, seed: str, durability: str, say: Callable[[str], object], begin: Callable[[State], object]
) -> None:
    """Own the grid and work, until killed. What ``say`` gets is a thread's number: its next operation is done.

    Args:
        home: the grid's directory.
        seed: of the operations.
        durability: as ``connect`` takes it.
        say: called by each thread, and with an error.
        begin: called with what is in the grid at first.
    """
    hurry()
    grid = gridflow.connect(home, durability=durability)
    state = found(grid)
    begin(state)

    def work(number: int) -> None:
        try:
            for operation in operations(f"{seed} {number}", THREADS[number], state):
                operation.run(grid)
                say(str(number))
        except BaseException:
            say(f"error {traceback.format_exc()!r}")
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
            os.write(writer, b"start\n")
            owner(home, seed, durability, lambda text: os.write(writer, f"{text}\n".encode()), lambda _: None)
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


class Progress:
    """What one thread has done of its operations: ``before`` is as acknowledged, ``after`` with the one under way."""

    def __init__(self, seed: str, number: int, state: State):
        self.tables = THREADS[number]
        self.before = {name: dict(rows) for name, rows in state.items() if table_of(name) in self.tables}
        self._stream = operations(f"{seed} {number}", self.tables, state)
        self._next = next(self._stream)

    def done(self) -> None:
        """The operation under way was acknowledged."""
        self._next.apply(self.before)
        self._next = next(self._stream)

    @property
    def after(self) -> State:
        """As if the operation under way were done."""
        state = {name: dict(rows) for name, rows in self.before.items()}
        self._next.apply(state)
        return state

    def check(self, state: State, context: str) -> None:
        """Assert that of this thread's tables a state has what there must be."""
        there = {name: rows for name, rows in state.items() if table_of(name) in self.tables}
        states = [self.before, self.after]
        assert there in states, f"{context}: {difference(there, states)}"


def difference(there: State, states: list[State]) -> str:
    """For people: how what is there differs from each of the states that it may be."""
    lines = []
    for wanted in states:
        for name in sorted(there.keys() | wanted.keys()):
            rows, other = there.get(name, {}), wanted.get(name, {})
            differ = sorted(key for key in rows.keys() | other.keys() if rows.get(key) != other.get(key))
            shown = [f"{k}: {str(rows.get(k))[:30]} not {str(other.get(k))[:30]}" for k in differ[:5]]
            if differ or (name in there) != (name in wanted):
                lines.append(f"table {name}: {len(differ)} rows differ ({'; '.join(shown)})")
        lines.append("or")
    return ", ".join(lines[:-1])


def found(grid: gridflow.Grid) -> State:
    """What is in the grid."""
    state: State = {}
    for name in grid.tables():
        table = grid.table(name)
        state[name] = _rows(name, table, None)
        for tag in table.tags():
            state[f"{name}@{tag}"] = _rows(name, table, tag)
        if "X" in table.schema.names:
            state[f"{name}+X"] = {}
    return state


def _rows(name: str, table: gridflow.Table, tag: str | None) -> Rows:
    rows: Rows = {}
    for batch in table.scan(["ID", "N", "B"], version=tag):
        columns: list[list[Any]] = [column.to_pylist() for column in batch.columns]
        for key, n, b in zip(*columns, strict=True):
            assert key not in rows, f"table {name}: key {key} is there twice"
            rows[key] = (n, b)
    return rows
