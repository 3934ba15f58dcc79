"""A grid of either kind: embedded, or served by another process."""

from __future__ import annotations

import pytest

import gridflow
from gridflow.server import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("served") / "grid") as server:
        yield server


@pytest.fixture(params=["embedded", "served"])
def grid(request, tmp_path):
    home = tmp_path / "grid" if request.param == "embedded" else request.getfixturevalue("server").home
    with gridflow.connect(home) as grid:
        assert grid.owner == (request.param == "embedded")
        yield grid
        assert grid.check() == []
        for name in grid.tables():
            grid.drop_table(name)
