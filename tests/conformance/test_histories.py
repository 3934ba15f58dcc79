"""Clients at work at the same time: an order of their calls explains all results, and transactions are snapshots.

Threads of the owner in one form, threads and processes beside a node in the other.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
from collections.abc import Iterator

import pytest
from history import KEYS, NEVER, Call, Client, explain, search, step, work

import gridflow
from gridflow.server import ServerProcess

ONE_KEY = ["get", "get", "put", "put_if_absent", "replace", "remove", "add"]
SEVERAL = ["get", "put", "put_all", "read", "remove", "add", "transaction", "transaction"]


@pytest.fixture
def short_turns() -> Iterator[None]:
    """Threads take turns more often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def history(grid, seed: str, count: int, kinds: list[str]) -> list[Call]:
    """What threads, and processes if there is a node, have called."""
    grid.create_table("T", {"K": "LONG", "V": "LONG"}, key="K")
    clients = [] if grid.owner else [Client(grid.home, number, seed, count, kinds) for number in (10, 11)]
    calls: list[Call] = []
    stopping = threading.Event()

    def run(number: int) -> None:
        calls.extend(work(grid, number, seed, count, kinds))

    def disturb() -> None:  # what moves rows about and must not be seen
        for turn in itertools.count():
            grid.table("T").flush()
            if turn % 3 == 0:
                grid.table("T").compact()
            if stopping.wait(0.001):
                return

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 4)]
    disturber = threading.Thread(target=disturb)
    for thread in (*threads, disturber):
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.wait()
        calls += client.calls()
    stopping.set()
    disturber.join()
    lives = [call for call in calls if call.kind != "read"]
    assert len(lives) >= count
    grid.drop_table("T")
    return calls


@pytest.mark.parametrize("kinds", [ONE_KEY, SEVERAL], ids=["one key", "several"])
def test_an_order_explains_what_happened(grid, short_turns, kinds):
    explain(history(grid, "short", 40, kinds))


@pytest.mark.long
@pytest.mark.parametrize("turn", range(20))
@pytest.mark.parametrize("kinds", [ONE_KEY, SEVERAL], ids=["one key", "several"])
def test_an_order_explains_a_long_history(grid, short_turns, kinds, turn):
    seed = f"long {turn} {random.SystemRandom().randrange(1 << 60)}"
    calls = history(grid, seed, 300 if kinds is ONE_KEY else 60, kinds)
    try:
        explain(calls)
    except AssertionError as error:
        raise AssertionError(f"seed {seed!r}: {error}") from None


@pytest.mark.long
@pytest.mark.parametrize("turn", range(5))
def test_an_order_explains_what_happened_when_nodes_died(tmp_path, turn):
    """A call whose node died may have happened; all others have, over several nodes."""
    home, calls = tmp_path / "grid", []
    for life in range(4):
        with ServerProcess(home) as server:
            with gridflow.connect(home) as grid:
                if life == 0:
                    grid.create_table("T", {"K": "LONG", "V": "LONG"}, key="K")
                clients = [Client(home, 4 * life + number, f"{turn}", 100_000, ONE_KEY) for number in range(1, 4)]
                for client in clients:
                    client.wait()
                calls += work(grid, 4 * life + 4, f"{turn}", 200, ONE_KEY)
            server.kill()
            calls += [call for client in clients for call in client.calls()]
    assert any(call.end == NEVER for call in calls)
    explain(calls)


# ---- the judge ----


def call(begin: int, end: int, kind: str, values: dict, result=None, transaction: int = 0, written=()) -> Call:
    return Call(begin, end, kind, values, result, transaction, tuple(written))


GOOD = {
    "one after the other": [call(0, 1, "put", {0: 5}), call(2, 3, "get", {0: 5})],
    "a read beside a write sees it": [call(0, 9, "put", {0: 5}), call(1, 2, "get", {0: 5})],
    "or not": [call(0, 9, "put", {0: 5}), call(1, 2, "get", {0: None})],
    "what is lost has happened": [call(0, NEVER, "put", {0: 5}), call(1, 2, "get", {0: 5})],
    "or not, and another's has": [
        call(0, NEVER, "put", {0: 5}),
        call(1, 2, "get", {0: None}),
        call(3, 4, "remove", {0: None}, False),
    ],
    "it may happen late": [call(0, NEVER, "put", {0: 5}), call(1, 2, "get", {0: None}), call(3, 4, "get", {0: 5})],
    "one of two is first": [call(0, 9, "put_if_absent", {0: 1}, True), call(0, 9, "put_if_absent", {0: 2}, False)],
    "one transaction of two": [
        call(0, 1, "begin", {0: None}, None, 1, [0]),
        call(2, 3, "begin", {0: None}, None, 2, [0]),
        call(4, 5, "commit", {0: 1}, True, 1, [0]),
        call(6, 7, "commit", {0: 2}, False, 2, [0]),
    ],
    "write skew": [  # which snapshot isolation lets pass
        call(0, 1, "begin", {0: None, 1: None}, None, 1, [0]),
        call(0, 1, "begin", {0: None, 1: None}, None, 2, [1]),
        call(2, 3, "commit", {0: 1}, True, 1, [0]),
        call(2, 3, "commit", {1: 2}, True, 2, [1]),
    ],
    "the same value again is no conflict": [
        call(0, 1, "begin", {0: None}, None, 1, [0]),
        call(2, 3, "put", {0: 7}),
        call(4, 5, "remove", {0: None}, True),
        call(6, 7, "commit", {0: 1}, True, 1, [0]),
    ],
}
BAD = {
    "a write is lost": [call(0, 1, "put", {0: 5}), call(2, 3, "get", {0: None})],
    "what nobody wrote": [call(0, 1, "get", {0: 5})],
    "new, then old": [call(0, 9, "put", {0: 5}), call(1, 2, "get", {0: 5}), call(3, 4, "get", {0: None})],
    "old again": [call(0, 1, "put", {0: 1}), call(2, 3, "put", {0: 2}), call(4, 5, "get", {0: 1})],
    "two are first": [call(0, 9, "put_if_absent", {0: 1}, True), call(0, 9, "put_if_absent", {0: 2}, True)],
    "none is first": [call(0, 9, "put_if_absent", {0: 1}, False), call(0, 9, "put_if_absent", {0: 2}, False)],
    "what is gone goes again": [
        call(0, 1, "put", {0: 1}),
        call(2, 9, "remove", {0: None}, True),
        call(2, 9, "remove", {0: None}, True),
    ],
    "a lost addition": [
        call(0, 1, "put", {0: 10}),
        call(2, 9, "add", {0: None}, True),
        call(2, 9, "add", {0: None}, True),
        call(10, 11, "get", {0: 11}),
    ],
    "half of a commit of several rows": [
        call(0, 9, "put", {0: 1, 1: 1}),
        call(1, 2, "read", {0: 1, 1: None, 2: None, 3: None}),
    ],
    "two readers disagree": [
        call(0, 99, "put", {0: 1}),
        call(0, 99, "put", {1: 1}),
        call(1, 2, "get", {0: 1}),
        call(3, 4, "get", {1: None}),
        call(1, 2, "get", {1: 1}),
        call(3, 4, "get", {0: None}),
        call(0, 99, "read", {0: 1, 1: 1, 2: None, 3: None}),
    ],
    "two transactions write a row": [
        call(0, 1, "begin", {0: None}, None, 1, [0]),
        call(0, 1, "begin", {0: None}, None, 2, [0]),
        call(2, 3, "commit", {0: 1}, True, 1, [0]),
        call(2, 3, "commit", {0: 2}, True, 2, [0]),
    ],
    "a conflict with nobody": [call(0, 1, "begin", {}, None, 1, [0]), call(2, 3, "commit", {0: 1}, False, 1, [0])],
    "read skew": [
        call(0, 1, "put", {0: 1, 1: 1}),
        call(2, 9, "begin", {0: 1, 1: 2}, None, 1, [2]),
        call(3, 4, "put", {0: 2, 1: 2}),
        call(10, 11, "commit", {2: 1}, True, 1, [2]),
    ],
    "what was rolled back is read": [call(0, 1, "begin", {}, None, 1, [0]), call(2, 3, "get", {0: 1})],
    "a snapshot of before its begin": [
        call(0, 1, "put", {0: 1}),
        call(2, 3, "begin", {0: None}, None, 1, [1]),
        call(4, 5, "commit", {1: 1}, True, 1, [1]),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_the_judge_lets_pass(name):
    explain(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_the_judge_finds(name):
    with pytest.raises(AssertionError, match="no order explains"):
        explain(BAD[name])


def by_trying(calls: list[Call]) -> bool:
    """Whether one of all orders that keep to the intervals explains a history."""
    for order in itertools.permutations(calls):
        if any(b.end < a.begin for a, b in itertools.combinations(order, 2)):
            continue
        state = (None,) * KEYS, frozenset()
        for one in order:
            state = step(state, one) if state else None
        if state:
            return True
    return False


def test_the_judge_finds_what_trying_all_orders_finds():
    """Histories that are right as they are made, of which results and times are then changed."""
    chance, answers = random.Random(1), []
    for _ in range(2000):
        state, calls = ((None,) * KEYS, frozenset()), []
        for turn in range(chance.randrange(1, 6)):
            kind, key = chance.choice(ONE_KEY), chance.randrange(2)
            values, result = {key: None if kind in ("remove", "add") else turn}, chance.random() < 0.5
            if kind == "get":
                values = {key: state[0][key] if chance.random() < 0.7 else chance.choice([None, 0, 1])}
            begin = 10 * turn - chance.choice([0, 0, 15, 30])
            one = call(begin, max(10 * turn, begin) + chance.choice([1, 1, 15, 30]), kind, values, result)
            state = step(state, one) or state
            calls.append(one)
        chance.shuffle(calls)
        answers.append(by_trying(calls))
        assert search(calls, ((None,) * KEYS, frozenset()), step) == answers[-1], calls
    assert 0.2 < sum(answers) / len(answers) < 0.8
