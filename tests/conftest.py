"""What all tests share: a directory for a grid, and a grid that is verified when the test is done with it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import gridflow
import gridflow.testing

sys.path.insert(0, str(Path(__file__).parent))  # for strategies.py and the like, which tests of several folders share
from many_segments import separate_segments  # noqa: E402

pytest.register_assert_rewrite("strategies", "damage", "small_room", "crash.workload")

# What a shell starts in the background ignores Ctrl-C, and so would all processes that tests start, to press it there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: how long an example takes says nothing about whether it is right.
settings.register_profile("gridflow", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("gridflow")


@pytest.fixture
def home() -> Iterator[Path]:
    """A fresh directory in memory, removed after the test."""
    with gridflow.testing.temporary_home() as home:
        yield home


@pytest.fixture(scope="module")
def many_segments() -> Iterator[None]:
    """Each flush and load leaves a segment of its own; see ``separate_segments``."""
    with separate_segments():
        yield


@pytest.fixture
def grid(home: Path) -> Iterator[gridflow.Grid]:
    """A grid that this process owns, in ``home``; see ``gridflow.testing.verified`` for what is verified after."""
    with gridflow.testing.verified(home) as grid:
        yield grid
