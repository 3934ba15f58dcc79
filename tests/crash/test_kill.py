"""Owners under load are killed at random: every acknowledged write is there, no commit is there in part."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crash.workload import State, candidates, found, run_and_kill

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
        possible = candidates(told, state, done)
        with gridflow.connect(home) as grid:
            state = found(grid)
            for tables, states in possible:
                there = {name: rows for name, rows in state.items() if name in tables}
                assert there in states, f"seed {told!r}: {difference(there, states)}"
            for name, rows in state.items():
                assert len(grid.table(name)) == len(rows)
                for key in list(rows)[:10]:
                    assert grid.table(name).get(key) == {"N": rows[key][0], "B": rows[key][1]}
        assert check_home(home) == [], f"seed {told!r}"
    gridflow.testing.verify(home)
    return total


def difference(there: State, states: list[State]) -> str:
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


@pytest.mark.parametrize("seed", range(20))
def test_20_kills(home: Path, seed: int) -> None:
    assert kill_often(home, f"short {seed}", 20) > 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_200_kills_of_new_kinds(home: Path, seed: int) -> None:
    """With another seed every time; it is shown if something is wrong."""
    kill_often(home, f"long {random.SystemRandom().randrange(1 << 60)}", 200)
