"""A node that is spoken to by TCP alone, and a proxy that cuts, delays and swallows."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

import gridflow
from gridflow.client import remote_grid
from gridflow.protocols.address import Endpoint
from gridflow.server import Node


@pytest.fixture(autouse=True)
def not_mapped(monkeypatch, tmp_path):
    monkeypatch.setattr(remote_grid, "MAPS_LOCAL", False)
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(tmp_path / "mirror"))


@pytest.fixture
def node(tmp_path):
    with Node(tmp_path / "grid", listen=["grid://127.0.0.1:0"]) as node:
        yield node


@pytest.fixture
def address(node):
    return str(node.endpoints[-1])


@pytest.fixture
def grid(address):
    with gridflow.connect(address, timeout=20) as grid:
        yield grid


@pytest.fixture
def table(grid):
    return grid.create_table("T", {"ID": "LONG", "N": "LONG", "S": "VARCHAR"}, key="ID")


class Proxy:
    """Passes bytes on between a client and a node, until it is told otherwise.

    Attributes:
        swallows: whether what the node says is lost.
        passed: bytes that clients have sent.
    """

    def __init__(self, host: str, port: int):
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.swallows = False
        self.refuses = False
        self.passed = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuses:
                    client.close()
                    continue
                node = socket.create_connection(self._target)
                self._pairs.append((client, node))
                threading.Thread(target=self._pump, args=(client, node, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(node, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_request:
                    self.passed += len(data)
                if is_request or not self.swallows:
                    target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cut all connections that there are."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        self._listener.close()


@pytest.fixture
def proxied(node, monkeypatch):
    """A grid behind proxies: of Flight's port and of that of frames; ``proxied.open()`` connects."""

    class Proxied:
        def __init__(self) -> None:
            endpoint = node.endpoints[-1]
            self.flight = Proxy(endpoint.host, endpoint.port)
            self.frames = Proxy(endpoint.host, node._requests.small_ports[endpoint])
            node._requests.small_ports[endpoint] = self.frames.port
            token = node._requests.access.local_tokens[endpoint]
            self.address = str(Endpoint("grid", host="127.0.0.1", port=self.flight.port))
            self.token = token

        def open(self, **options):
            return gridflow.connect(self.address, token=self.token, **options)

        def cut(self) -> None:
            self.flight.cut()
            self.frames.cut()

        def close(self) -> None:
            self.flight.close()
            self.frames.close()

    proxied = Proxied()
    yield proxied
    proxied.close()
