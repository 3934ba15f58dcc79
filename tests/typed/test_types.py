"""What type checkers make of a program of a user's: mypy, and pyright as basedpyright brings it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gridflow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("user_script.py")

pytestmark = pytest.mark.skipif(
    tuple(map(int, np.__version__.split(".")[:2])) < (2, 3),
    reason="the types of numpy before 2.3, the last for Python 3.10, say less than checkers are to see",
)


def test_mypy_knows_the_types_of_a_user_s_program():
    """``connect`` gave a Grid and ``sql`` Any, and ``gridflow.Dataset`` was not there."""
    options = ["--strict", "--config-file=", "--follow-imports=silent", "--cache-dir=.mypy_cache/user"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--ignore-missing-imports", SCRIPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_knows_the_types_of_a_user_s_program():
    pyright = shutil.which("basedpyright", path=str(Path(sys.executable).parent))
    if pyright is None:
        pytest.skip("basedpyright is not installed: pip install 'gridflow[lint]'")
    command = [pyright, "--project", SCRIPT.parent, "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_public_is_listed():
    listed = [name for name in dir(gridflow) if not name.startswith("__")]
    assert listed == sorted(set(gridflow.__all__))
    assert {"Dataset", "sample_from", "Result"} <= set(listed)


def test_the_stubs_and_their_marker_are_packaged(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    package = tmp_path / "gridflow"
    assert (package / "py.typed").exists()
    stubs = {path.name for path in (ROOT / "gridflow").rglob("*.pyi")}
    assert {path.name for path in package.rglob("*.pyi")} == stubs != set()
