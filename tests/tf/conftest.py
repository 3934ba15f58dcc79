"""A grid of its own for every test, verified when the test is done."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import fake_gpu
import numpy as np
import pytest

import gridflow

fake_gpu.use_in_tensorflow()


@pytest.fixture(autouse=True, scope="module")
def several_segments(many_segments):
    """What is written here in several steps is read from several segments."""


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        yield grid
        assert grid.check() == []


@pytest.fixture
def images(grid):
    """1000 rows in one segment; every pixel of row ID is ID % 251, so rows are told apart."""
    table = grid.create_table("IMAGES", {"ID": "LONG", "PIXELS": "UINT8[28,28]", "LABEL": "INT32"}, key="ID")
    table.load(image_rows(range(1000)))
    return table


def image_rows(ids):
    ids = np.asarray(ids, np.int64)
    pixels = np.broadcast_to((ids % 251).astype(np.uint8)[:, None, None], (len(ids), 28, 28))
    return {"ID": ids, "PIXELS": np.ascontiguousarray(pixels), "LABEL": (ids % 10).astype(np.int32)}
