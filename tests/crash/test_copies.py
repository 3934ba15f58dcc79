"""Who copies to or from a place is killed at each step: what is listed can be read, and what was cut off can go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("action", ["publish", "backup", "clone", "restore", "prune"])
def test_kills_at_each_step(action: str, home: Path) -> None:
    script = Path(__file__).with_name("copier.py")
    done = subprocess.run([sys.executable, str(script), action, str(home)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
