"""What a node does with messages, whatever door they come through; and the doors: when they open and close."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import gridflow
from gridflow.errors import GridConnectionError, GridflowError, UsageError
from gridflow.protocols import messages
from gridflow.protocols.address import Endpoint
from gridflow.server import Node
from gridflow.server.access import Peer
from gridflow.server.flight import FlightService
from gridflow.server.requests import Requests


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        yield grid


@pytest.fixture
def requests(grid):
    return Requests(grid, "process")


@pytest.fixture
def peer(grid):
    return Peer(Endpoint.of_grid(grid.home))


CREATE = messages.CreateTable(
    "T", [("ID", "INT64 NOT NULL"), ("X", "INT32")], ["ID"], None, False, {}, 0, {"m": []}, b""
)


def test_messages_need_no_transport(grid, requests, peer):
    assert requests.handle(CREATE, peer) == messages.Done(0)
    batches = [pa.record_batch({"ID": np.arange(i, i + 3), "X": np.arange(3, dtype="i4")}) for i in (0, 3)]
    done = requests.load(messages.Load("T", "error"), batches[0].schema, iter([*batches, messages.LoadEnd(6)]), peer)
    assert done == messages.Done(6) and len(grid.table("T")) == 6
    said, rows = requests.query(messages.Sql("SELECT COUNT(*) AS N FROM T", None, b""), peer)
    assert said == messages.SqlDone("SELECT", 1, []) and rows.to_pylist() == [{"N": 6}]
    assert requests.view(messages.SystemView("TABLES", ["TABLE_NAME"]), peer).to_pylist() == [{"TABLE_NAME": "T"}]
    assert requests.running == 0


def test_a_load_whose_stream_ends_early_keeps_nothing(grid, requests, peer):
    requests.handle(CREATE, peer)
    batch = pa.record_batch({"ID": np.arange(3), "X": np.arange(3, dtype="i4")})
    for stream in ([batch], [batch, messages.LoadEnd(4)], [messages.LoadEnd(1)]):
        with pytest.raises(GridConnectionError, match="was cut"):
            requests.load(messages.Load("T", "replace"), batch.schema, iter(stream), peer)
    assert len(grid.table("T")) == 0


def test_what_is_stopping_takes_no_more(requests, peer):
    requests.stop_accepting()
    with pytest.raises(GridConnectionError, match="stopping"):
        requests.handle(CREATE, peer)


@pytest.mark.parametrize(
    "text, host, port, uri",
    [
        ("grid://a.example", "a.example", 10850, "grpc+tcp://a.example:10850"),
        ("grid://10.0.0.1:7", "10.0.0.1", 7, "grpc+tcp://10.0.0.1:7"),
        ("grid+tls://[::1]:65535", "::1", 65535, "grpc+tls://[::1]:65535"),
    ],
)
def test_an_endpoint_is_read_and_written(text, host, port, uri):
    endpoint = Endpoint.parse(text)
    assert (endpoint.host, endpoint.port, endpoint.flight_uri) == (host, port, uri)
    assert Endpoint.parse(str(endpoint)) == endpoint and not endpoint.is_local


def test_the_socket_of_a_grid_is_an_endpoint():
    endpoint = Endpoint.of_grid(Path("/a b/grid"))
    assert endpoint.is_local and endpoint.grid == "/a b/grid"
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    ["", "a.example", "http://a", "grid://", "grid://a:0", "grid://a:65536", "grid://a/b", "unix://x", "grid://::1"],
)
def test_what_is_no_endpoint_is_refused(text):
    with pytest.raises(UsageError):
        Endpoint.parse(text)


class Door:
    """A service that only says when it is called."""

    def __init__(self, name: str, calls: list[str], fails: bool = False):
        self.endpoint = Endpoint.parse(f"grid://{name}")
        self._name, self._calls, self._fails = name, calls, fails

    def _called(self, what: str) -> None:
        self._calls.append(f"{self._name} {what}")

    def start(self, requests: Requests) -> None:
        self._called("start")
        if self._fails:
            raise OSError("the port is taken")

    def drain(self) -> None:
        self._called("drain")

    def close(self) -> None:
        self._called("close")


def test_a_node_opens_all_its_doors_and_closes_them_before_the_grid(tmp_path):
    calls: list[str] = []
    doors = [Door("a", calls), FlightService(Endpoint.of_grid(tmp_path / "grid")), Door("b", calls)]
    with Node(tmp_path / "grid", services=doors) as node:
        assert calls == ["a start", "b start"]
        assert node.endpoints == [door.endpoint for door in doors]
        assert (node.home / "serve.sock").exists()
    assert sorted(calls[2:4]) == ["a drain", "b drain"] and calls[4:] == ["a close", "b close"]
    assert node.grid.closed and not (node.home / "serve.sock").exists()


def test_a_node_one_of_whose_doors_does_not_open_lets_go_of_the_others_and_of_the_grid(tmp_path):
    calls: list[str] = []
    with pytest.raises(OSError, match="the port is taken"):
        Node(tmp_path / "grid", services=[Door("a", calls), Door("b", calls, fails=True), Door("c", calls)])
    assert calls == ["a start", "b start", "b close", "a drain", "a close"]
    with gridflow.connect(tmp_path / "grid") as grid:
        assert grid.owner


def test_a_door_replaces_a_socket_and_nothing_else(tmp_path):
    file = tmp_path / "thesis.txt"
    file.write_text("all of it")
    with pytest.raises(UsageError, match="thesis.txt: there is a file of that name"):
        Node(tmp_path / "grid", services=[FlightService(Endpoint.parse(f"unix://{file}"))])
    assert file.read_text() == "all of it"


def test_a_node_that_does_not_start_leaves_no_link_behind(tmp_path, monkeypatch):
    """The link by which a socket with a long path is reached is made when the door opens."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(links))
    home = tmp_path / ("long" * 30) / "grid"
    with pytest.raises(GridflowError):
        Node(home, partitions=0, services=[FlightService(Endpoint.of_grid(home))])
    with Node(home) as node:
        assert len(list(links.iterdir())) == 1, "the path is long enough"
        assert (node.home / "serve.sock").exists()
    assert not list(links.iterdir())
