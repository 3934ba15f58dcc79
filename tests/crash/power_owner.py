"""An owner whose every change of a file is recorded; see ``test_power_loss.py``.

    python power_owner.py HOME SEED DURABILITY TRACE MOST

Dies by SIGKILL once that many operations are acknowledged.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from crash.disk import say  # noqa: E402
from crash.workload import owner  # noqa: E402


def run(home: Path, seed: str, durability: str, trace: int, most: int) -> None:
    """Work, and say in the trace what is done."""
    said = itertools.count(1)

    def acknowledge(text: str) -> None:
        say(trace, text)
        if next(said) >= most:
            os.kill(os.getpid(), signal.SIGKILL)

    owner(home, seed, durability, acknowledge, lambda state: say(trace, f"begin {seed}\n{state!r}"))


if __name__ == "__main__":
    path, told, kind, file, count = sys.argv[1:]
    run(Path(path), told, kind, os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT), int(count))
