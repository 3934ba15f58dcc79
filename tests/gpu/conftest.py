"""Tests that need a GPU. They use a grid and gridflow.cuda, and neither SQL nor TensorFlow."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # for device_rows.py and fake_gpu
pytest.register_assert_rewrite("device_rows")

import fake_gpu  # noqa: E402
from many_segments import separate_segments  # noqa: E402

import gridflow  # noqa: E402
import gridflow.cuda  # noqa: E402

fake_gpu.use_if_asked()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    absent = mine and not gridflow.cuda.is_available()
    for item in mine:
        item.add_marker(pytest.mark.gpu)
        if absent:
            item.add_marker(pytest.mark.skip(reason="no GPU, or no driver of one"))


@pytest.fixture(scope="module", autouse=True)
def several_segments() -> Iterator[None]:
    """What is written here in several steps is read from several segments."""
    with separate_segments():
        yield


@pytest.fixture(scope="module")
def module_grid() -> Iterator[gridflow.Grid]:
    """A grid for all tests of a file."""
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="gridflow-gpu-", dir=shared) as home, gridflow.connect(home) as grid:
        yield grid


@pytest.fixture
def grid() -> Iterator[gridflow.Grid]:
    """A grid of its own, looked through after the test."""
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="gridflow-gpu-", dir=shared) as home, gridflow.connect(home) as grid:
        yield grid
        assert grid.check() == []
