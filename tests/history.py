"""Histories of what several clients called at the same time, and whether there is an order that explains them.

``Call`` is one call with its interval and its result, ``work`` makes calls at random and notes them, and ``explain``
looks for a moment within each interval at which the call can have happened at once, so that every result is right: the
history is *linearizable* (Herlihy and Wing). The search is that of Wing and Gong, with Lowe's memory of what was tried
("Testing for linearizability", 2017), as in porcupine; calls that touch one key each are judged key by key.

A transaction is two calls: ``begin`` reads all that it reads at one moment, ``commit`` writes all that it writes at
another, and succeeds if and only if the rows that it writes are what they were at the first. That is snapshot isolation
in which the first committer wins, with moments that lie between call and return.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gridflow
from gridflow.client import connect_remote, connect_unix, remote_grid

Value = int | None  # None: there is no row
Rows = tuple[Value, ...]  # by key, from 0 on
State = tuple[Rows, frozenset[tuple[int, Rows]]]  # rows; of each open transaction what the rows that it writes were
NEVER = 1 << 62
KEYS = 4


@dataclass(frozen=True)
class Call:
    """One call. ``end`` is NEVER if nobody knows whether it happened; then ``result`` is None.

    ``values`` are what is written, or what was read, by key.
    """

    begin: int
    end: int
    kind: str
    values: dict[int, Value] = field(default_factory=dict)
    result: Any = None
    transaction: int = 0
    written: tuple[int, ...] = ()

    @property
    def keys(self) -> set[int] | None:
        """The keys that it touches; None: all."""
        return None if self.kind == "read" else {*self.values, *self.written}


def step(state: State, call: Call) -> State | None:
    """The state after a call; None if it cannot have that result there."""
    rows, snapshots = state
    known = call.end != NEVER
    if call.kind in ("get", "read", "begin"):
        if any(rows[key] != value for key, value in call.values.items()):
            return None
        if call.kind == "begin":
            snapshots |= {(call.transaction, tuple(rows[key] for key in call.written))}
        return rows, snapshots
    if call.kind == "commit":
        seen = next(seen for number, seen in snapshots if number == call.transaction)
        done = seen == tuple(rows[key] for key in call.written)
        snapshots -= {(call.transaction, seen)}
    elif call.kind == "put":
        done = True
    else:
        (key,) = call.values
        done = (rows[key] is None) == (call.kind == "put_if_absent")  # else replace, remove and add
    if known and call.kind != "put" and done != call.result:
        return None
    if done:
        changed = list(rows)
        for key, value in call.values.items():
            changed[key] = (rows[key] or 0) + 1 if call.kind == "add" else value
        rows = tuple(changed)
    return rows, snapshots


def search(calls: list[Call], state: Hashable, step: Callable[[Any, Call], Any]) -> bool:
    """Whether there is an order in which all calls can have happened."""
    # A list of calls and returns in the order of time, out of which calls are taken as they find their places.
    events = [(call.begin, 0, i) for i, call in enumerate(calls)] + [(call.end, 1, i) for i, call in enumerate(calls)]
    events.sort()
    count = len(events)
    after, before = [*range(1, count + 1), 0], [count, *range(count)]  # of events; number `count` is the list itself
    after[count] = 0 if count else count
    places = {(i, end): at for at, (_, end, i) in enumerate(events)}
    done, tried, stack = 0, set(), []
    at = after[count]
    while after[count] != count:
        _, is_return, i = events[at]
        if is_return:  # of a call without a place: the last one that was placed must be elsewhere
            if not stack:
                return False
            at, state = stack.pop()
            i = events[at][2]
            done ^= 1 << i
            for event in (places[i, 1], at):
                after[before[event]] = before[after[event]] = event
            at = after[at]
            continue
        following = step(state, calls[i])
        if following is not None and (done | 1 << i, following) not in tried:
            done |= 1 << i
            tried.add((done, following))
            stack.append((at, state))
            state = following
            for event in (at, places[i, 1]):
                after[before[event]], before[after[event]] = after[event], before[event]
            at = after[count]
        else:
            at = after[at]
    return True


def explain(calls: list[Call], initial: Rows = (None,) * KEYS) -> None:
    """Assert that there is an order; if not, show the shortest beginning of the history that has none."""
    if all(call.keys is not None and len(call.keys) == 1 and not call.transaction for call in calls):
        parts = [[call for call in calls if call.keys == {key}] for key in range(len(initial))]
    else:
        parts = [calls]
    for part in parts:
        if not search(part, (initial, frozenset()), step):
            raise AssertionError("no order explains:\n" + "\n".join(map(str, shortest(part, initial))))


def shortest(calls: list[Call], initial: Rows) -> list[Call]:
    """The shortest beginning of a history without an order that has none, either."""
    ends = sorted(call.end for call in calls)
    for end in ends:
        # What has not returned by then may have happened or not.
        part = [call if call.end <= end else _open(call) for call in calls if call.begin <= end]
        if not search(part, (initial, frozenset()), step):
            return sorted(part, key=lambda call: call.begin)
    return calls


def _open(call: Call) -> Call:
    values = {} if call.kind in ("get", "read", "begin") else call.values
    return Call(call.begin, NEVER, call.kind, values, None, call.transaction, call.written)


# ---- calls at random ----


def work(grid: Any, number: int, seed: str, count: int, kinds: Iterable[str]) -> list[Call]:
    """Make calls, one after the other; ``number`` tells this client from all others.

    A call that is lost with its connection ends the work: it may have happened.
    """
    chance = random.Random(f"{seed} {number}")
    calls: list[Call] = []
    kinds = list(kinds)
    for turn in range(count):
        kind, key = chance.choice(kinds), chance.randrange(KEYS)
        value = (number * 10_000 + turn + 1) * 1000  # nobody else's
        if kind == "transaction":
            calls += _transaction(grid, chance, value)
            continue
        values: dict[int, Value] = {key: value}
        if kind in ("put_all", "remove"):
            keys = chance.sample(range(KEYS), 2) if kind == "put_all" else [key]
            values = {key: None if kind == "remove" else value + i for i, key in enumerate(keys)}
        begin, end, result = time.monotonic_ns(), NEVER, None
        try:
            result = _call(grid, kind, key, values)
            end = time.monotonic_ns()
        except gridflow.GridConnectionError:
            pass
        if kind in ("get", "read"):
            values = result
        if values is not None:  # else a read that nobody has an answer to
            calls.append(Call(begin, end, "put" if kind == "put_all" else kind, values, result))
        if end == NEVER:
            break
    return calls


def _call(grid: Any, kind: str, key: int, values: dict[int, Value]) -> Any:
    table = grid.table("T")
    value = values.get(key)
    if kind == "get":
        return {key: _value(table.get(key))}
    if kind == "read":
        found = dict(grid.sql("SELECT K, V FROM T WHERE V >= 0").fetchall())
        return {key: found.get(key) for key in range(KEYS)}
    if kind == "put":
        return table.put(key, {"V": value})
    if kind == "put_all":
        return table.put_all({key: {"V": value} for key, value in values.items()})
    if kind == "add":
        return grid.sql("UPDATE T SET V = V + 1 WHERE K = ?", [key]).rowcount == 1
    if kind == "remove":
        return table.remove(key)
    return getattr(table, kind)(key, {"V": value})  # put_if_absent, replace


def _value(row: dict[str, Any] | None) -> Value:
    return None if row is None else row["V"]


def _transaction(grid: Any, chance: random.Random, number: int) -> list[Call]:
    read, write = (chance.sample(range(KEYS), chance.choice([1, 2])) for _ in range(2))
    begin = time.monotonic_ns()
    transaction = grid.transaction()
    begun = time.monotonic_ns()
    table = transaction.table("T")
    values = {key: _value(table.get(key)) for key in read}
    writes: dict[int, Value] = {}
    for i, key in enumerate(write):
        writes[key] = None if chance.random() < 0.2 else number + i
        if writes[key] is None:
            table.remove(key)
        else:
            table.put(key, {"V": writes[key]})
    again = {key: _value(table.get(key)) for key in read if key not in write}
    assert again == {key: values[key] for key in again}, "a transaction has read a row twice, and not the same"
    first = Call(begin, begun, "begin", values, None, number, tuple(write))
    if chance.random() < 0.2:
        transaction.rollback()
        return [first]
    start = time.monotonic_ns()
    try:
        transaction.commit()
        result = True
    except gridflow.TransactionConflictError:
        result = False
    return [first, Call(start, time.monotonic_ns(), "commit", writes, result, number, tuple(write))]


class Client:
    """A client in a process of its own."""

    def __init__(self, home: Path, number: int, seed: str, count: int, kinds: Iterable[str]):
        command = [sys.executable, __file__, str(home), str(number), seed, str(count), *kinds]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def wait(self) -> None:
        """Until it is about to make calls."""
        assert self._process.stdout is not None and self._process.stdout.readline() == "ready\n"

    def calls(self) -> list[Call]:
        """What it has called, once it has ended."""
        text, _ = self._process.communicate()
        assert self._process.returncode == 0
        calls = []
        for told in json.loads(text):
            told["values"] = {int(key): value for key, value in told["values"].items()}
            calls.append(Call(**{**told, "written": tuple(told["written"])}))
        return calls


if __name__ == "__main__":
    address, client, told, many, *chosen = sys.argv[1:]
    remote_grid.MAPS_LOCAL = False
    is_remote = address.startswith("grid://")
    # Never an owner, should the node have died.
    with connect_remote(address) if is_remote else connect_unix(Path(address)) as served:
        print("ready", flush=True)
        done = work(served, int(client), told, int(many), chosen)
    os.write(1, json.dumps([asdict(call) for call in done]).encode())
