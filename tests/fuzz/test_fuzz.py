"""Damaged files end in an error of Gridflow's or in right results: never in a crash, a hang, or memory without end.

Each kind of file is tried in a process of its own (``child.py``), a few hundred cases in the usual run. The long form
goes on for ``GRIDFLOW_FUZZ_SECONDS`` a kind, 60 if it is not set, from ``GRIDFLOW_FUZZ_FIRST`` on. What once ended a
process is kept in ``seeds``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CASES = {"arrow": 200, "parquet": 150, "csv": 100, "json": 100, "npz": 100, "tfrecord": 100, "grid": 50, "seeds": 32}


def run(kind: str, first: int, count: int, folder: Path) -> list[str]:
    """Try some cases; what went wrong."""
    command = [sys.executable, str(HERE / "child.py"), kind, str(first), str(count), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600)
    wrong = [text for text in done.stdout.split("\nbegin ") if "wrong" in text]
    if not done.stdout.rsplit("\n", 2)[-2:][0].startswith("end"):
        case = done.stdout.rpartition("begin ")[2].strip()
        wrong.append(f"case {case} ended the process ({done.returncode}): {done.stderr[-3000:]}")
    return wrong


@pytest.mark.parametrize("kind", CASES)
def test_damaged_files(kind, home):
    wrong = run(kind, 0, CASES[kind], home)
    assert not wrong, "\n\n".join(wrong[:5])


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "seeds"])
def test_many_damaged_files(kind, home):
    seconds = float(os.environ.get("GRIDFLOW_FUZZ_SECONDS", "60"))
    first = int(os.environ.get("GRIDFLOW_FUZZ_FIRST", str(CASES[kind])))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        (home / str(first)).mkdir()
        wrong = run(kind, first, CASES[kind], home / str(first))
        assert not wrong, "\n\n".join(wrong[:5])
        first += CASES[kind]
