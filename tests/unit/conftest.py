"""Grids in a bad way, damaged ones and ones without room; and a GPU in host memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fake_gpu
import pytest
from damage import make_sound
from small_room import COLUMNS, SIZE, Writer, compare

import gridflow
import gridflow.testing
from gridflow import GridFullError
from gridflow.storage.verify import check_home


@pytest.fixture(scope="session")
def sound() -> Iterator[Path]:
    """A grid as a crash leaves it, not to be changed; see ``make_sound``."""
    with gridflow.testing.temporary_home() as home:
        make_sound(home / "sound")
        yield home / "sound"


@pytest.fixture(scope="session")
def built_gpu(tmp_path_factory) -> Path:
    """The GPU of ``fake_gpu``, for processes that a test starts."""
    return fake_gpu.build(tmp_path_factory.mktemp("gpu"))


@pytest.fixture
def damaged(sound: Path, home: Path) -> Path:
    """A copy of it for a test to damage."""
    shutil.copytree(sound, home / "grid")
    return home / "grid"


@pytest.fixture
def small() -> Iterator[Path]:
    """A directory with room for 16 MiB."""
    folder = tempfile.mkdtemp(prefix="gridflow-full-")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", folder]
    mounted = None
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        reason = str(error)
    else:
        reason = mounted.stderr.strip()
    if mounted is None or mounted.returncode:
        os.rmdir(folder)
        pytest.skip(f"cannot mount a small tmpfs: {reason}")
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        os.rmdir(folder)


@pytest.fixture
def full(small: Path) -> Iterator[tuple[gridflow.Grid, Writer]]:
    """A grid in a small file system and a writer; what was acknowledged is there after it is opened again."""
    grid = gridflow.connect(small / "grid")
    writer = Writer(grid.create_table("T", COLUMNS, key="ID"))
    try:
        yield grid, writer
        assert grid.check() == []
        if not grid.closed:
            writer.check()
    finally:
        try:
            grid.close()
        except GridFullError:
            pass
        assert grid.closed
    expected = writer.rows
    (small / "ballast").unlink(missing_ok=True)
    assert check_home(small / "grid") == []
    with gridflow.connect(small / "grid") as again:
        if "T" in again:
            compare(again.table("T"), expected)
