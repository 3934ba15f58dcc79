"""kernels/core by itself: the programs of this folder, under the sanitizers if `make asan` has built them.

If it has not, or something has changed since, plain ones are built, which is quick; they find the same, but for memory
errors without consequences.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path.stem for path in Path(__file__).parent.glob("*.cc"))


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the programs are."""
    if not shutil.which("make") or not shutil.which("g++"):
        pytest.skip("needs make and g++")
    if subprocess.run(["make", "-q", "asan-programs"], cwd=ROOT, capture_output=True).returncode == 0:
        return ROOT / "build/asan/tests/native"
    built = subprocess.run(["make", "-j2", "native-programs"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return ROOT / "build/native/tests/native"


@pytest.mark.parametrize("program", PROGRAMS)
def test_native(folder: Path, program: str) -> None:
    """One program: it ends with 0, and says which of its tests failed if it does not."""
    result = subprocess.run([folder / program], capture_output=True, text=True, errors="replace", timeout=300)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-8000:]
