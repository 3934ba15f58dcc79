"""A grid of each kind: embedded, served by another process, or by a node that is spoken to by TCP alone."""

from __future__ import annotations

import pytest

import gridflow
from gridflow.client import remote_grid
from gridflow.server import ServerProcess, lab_certificates


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("served") / "grid", "--listen", "grid://127.0.0.1:0") as server:
        yield server


@pytest.fixture(scope="module")
def encrypted_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encrypted")
    lab_certificates.make_authority(folder)
    lab_certificates.make_server(folder, ["localhost", "127.0.0.1"])
    files = "--tls-cert", str(folder / "server.crt"), "--tls-key", str(folder / "server.key")
    with ServerProcess(folder / "grid", "--listen", "grid+tls://localhost:0", *files) as server:
        server.ca = folder / "ca.crt"
        yield server


@pytest.fixture(params=["embedded", "served", "remote", pytest.param("encrypted", marks=pytest.mark.long)])
def grid(request, tmp_path, monkeypatch):
    home = tmp_path / "grid" if request.param == "embedded" else request.getfixturevalue("server").home
    monkeypatch.setattr(remote_grid, "MAPS_LOCAL", False)
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(tmp_path / "mirror"))
    if request.param in ("remote", "encrypted"):
        server = request.getfixturevalue("server" if request.param == "remote" else "encrypted_server")
        (home,) = [
            word for line in server.printed for word in line.split() if word.startswith(("grid://", "grid+tls://"))
        ]
        monkeypatch.setenv("GRIDFLOW_CA", str(getattr(server, "ca", "")))
    with gridflow.connect(home) as grid:
        assert grid.owner == (request.param == "embedded")
        yield grid
        assert grid.check() == []
        for name in grid.tables():
            grid.drop_table(name)
