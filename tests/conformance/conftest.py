"""A grid of each kind: embedded, served by another process, or by a node that is spoken to by TCP alone."""

from __future__ import annotations

import pytest

import gridflow
from gridflow.client import remote_grid
from gridflow.server import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("served") / "grid", "--listen", "grid://127.0.0.1:0") as server:
        yield server


@pytest.fixture(params=["embedded", "served", "remote"])
def grid(request, tmp_path, monkeypatch):
    home = tmp_path / "grid" if request.param == "embedded" else request.getfixturevalue("server").home
    if request.param == "remote":
        monkeypatch.setattr(remote_grid, "MAPS_LOCAL", False)
        printed = request.getfixturevalue("server").printed
        (home,) = [word for line in printed for word in line.split() if word.startswith("grid://")]
    with gridflow.connect(home) as grid:
        assert grid.owner == (request.param == "embedded")
        yield grid
        assert grid.check() == []
        for name in grid.tables():
            grid.drop_table(name)
