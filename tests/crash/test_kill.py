"""Owners under load are killed at random: every acknowledged write is there, no commit is there in part."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crash.workload import THREADS, Progress, State, found, run_and_kill, table_of

import gridflow
import gridflow.testing
from gridflow.storage.verify import check_home


def kill_often(home: Path, seed: str, rounds: int) -> int:
    """Kill owners of one grid, one after the other, and compare after each. Returns how many operations were done."""
    state: State = {}
    chance = random.Random(seed)
    total = 0
    for turn in range(rounds):
        durability = chance.choice(["process", "process", "fsync"])
        told = f"{seed} {turn}"
        # 0: as soon as it begins to open the grid
        done = run_and_kill(
            home, told, state, durability, chance.choice([0, 3, chance.randrange(300), chance.randrange(4000)])
        )
        total += sum(done)
        assert not (home / "catalog").exists() or check_home(home) == [], f"seed {told!r}"
        threads = [Progress(told, number, state) for number in range(len(THREADS))]
        for thread, count in zip(threads, done, strict=True):
            for _ in range(count):
                thread.done()
        with gridflow.connect(home) as grid:
            state = found(grid)
            for thread in threads:
                thread.check(state, f"seed {told!r}")
            for name, rows in state.items():
                if name != table_of(name):
                    continue
                assert len(grid.table(name)) == len(rows)
                for key in list(rows)[:10]:
                    value = grid.table(name).get(key)
                    assert value is not None and (value["N"], value["B"]) == rows[key]
        assert check_home(home) == [], f"seed {told!r}"
    gridflow.testing.verify(home)
    return total


@pytest.mark.parametrize("seed", range(20))
def test_20_kills(home: Path, seed: int) -> None:
    assert kill_often(home, f"short {seed}", 20) > 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_200_kills_of_new_kinds(home: Path, seed: int) -> None:
    """With another seed every time; it is shown if something is wrong."""
    kill_often(home, f"long {random.SystemRandom().randrange(1 << 60)}", 200)
