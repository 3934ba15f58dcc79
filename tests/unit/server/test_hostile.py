"""Clients over the network that mean no good, or mean nothing: the node goes on, and others are served."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import ssl
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
import pytest

import gridflow
from gridflow.errors import GridflowError
from gridflow.protocols import local_tokens, messages
from gridflow.protocols.address import Endpoint
from gridflow.server import ServerProcess, lab_certificates

pytest.importorskip("cryptography")


@pytest.fixture(scope="module", params=["grid", "grid+tls"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    options = ["--listen", f"{request.param}://127.0.0.1:0"]
    if request.param == "grid+tls":
        lab_certificates.make_authority(folder)
        lab_certificates.make_server(folder, ["localhost"])
        options += ["--tls-cert", str(folder / "server.crt"), "--tls-key", str(folder / "server.key")]
    with ServerProcess(folder / "grid", *options) as server:
        with gridflow.connect(server.home) as grid:
            grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY); CREATE USER KATE WITH PASSWORD 'a'; GRANT READER TO KATE")
        yield server


@pytest.fixture
def endpoint(server) -> Endpoint:
    return Endpoint.parse([line.split()[2] for line in server.printed if line.startswith("listens on")][-1])


@pytest.fixture
def door(server, endpoint):
    door = open_door(server, endpoint)
    yield door
    assert ask(door, endpoint).pid == server.pid  # it goes on
    door.close()


def open_door(server, endpoint: Endpoint) -> flight.FlightClient:
    if endpoint.scheme == "grid":
        return flight.FlightClient(endpoint.flight_uri)
    roots = (server.home.parent / "ca.crt").read_bytes()
    return flight.FlightClient(f"grpc+tls://localhost:{endpoint.port}", tls_root_certs=roots)


def options_of(endpoint: Endpoint, *headers: tuple[bytes, bytes]) -> flight.FlightCallOptions:
    token = f"Bearer {local_tokens.read_token(endpoint.port)}".encode()
    return flight.FlightCallOptions(timeout=30, headers=[(b"authorization", token), *headers])


def ask(door: flight.FlightClient, endpoint: Endpoint, *headers: tuple[bytes, bytes]) -> messages.Welcome:
    hello = messages.encode(messages.Hello("t", os.getpid(), "0"))
    (result,) = door.do_action(flight.Action("hello", hello), options_of(endpoint, *headers))
    return messages.decode(result.body.to_pybytes(), messages.Welcome)


def test_a_thousand_connections_that_say_nothing(server, endpoint, door):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1000, soft - 200)
    with contextlib.ExitStack() as stack:
        idle = [
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", endpoint.port), 30)))
            for _ in range(count)
        ]
        assert ask(door, endpoint).pid == server.pid
        with gridflow.connect(server.home) as grid:
            assert grid.sql("SELECT COUNT(*) FROM T").scalar() is not None
        assert len(idle) == count


def test_one_who_speaks_slowly_keeps_nobody_waiting(server, endpoint, door):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", endpoint.port), 30)))
            for _ in range(20)
        ]
        for i in range(3):
            for each in slow:
                with contextlib.suppress(OSError):
                    each.sendall(preface[i : i + 1])
            assert ask(door, endpoint).pid == server.pid
            time.sleep(0.05)


@pytest.mark.parametrize(
    "sent", [b"", b"\0" * 10_000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000]
)
def test_what_is_no_http_2(endpoint, door, sent):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", endpoint.port), 30) as raw, contextlib.suppress(OSError):
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(0.2)
            while raw.recv(65536):
                pass


def test_headers_without_end(endpoint, door):
    for headers in (
        [(b"x-big", b"a" * 60_000)],
        [(b"x-many", b"a" * 100)] * 2000,
        [(b"authorization", b"Bearer a")] * 3,
        [(b"authorization", b"Basic " + b"a" * 6000)],
    ):
        with pytest.raises((flight.FlightError, pa.ArrowException)):
            ask(door, endpoint, *headers)
        time.sleep(0.01)


def test_names_of_files_are_names_of_tables_and_no_more(server, endpoint, door):
    options = options_of(endpoint)
    outside = sorted(path.name for path in server.home.parent.iterdir())
    for name in ("../x", "../../tables", "/etc/passwd", "a/b", ".", "..", "T\0", "x" * 5000):
        create = messages.CreateTable(name, [("ID", "INT64 NOT NULL")], ["ID"], None, False, {}, 0, {"m": []}, b"")
        for message in (
            create,
            messages.Tag("T", 1, name, False),
            messages.OpenRing(name),
            messages.DropTable(name, False),
            messages.Sql(f'SELECT * FROM "{name}"', None, b""),
        ):
            with contextlib.suppress(flight.FlightError):  # a table may be called so: its folder is its number
                if isinstance(message, messages.Sql):
                    door.do_get(flight.Ticket(messages.encode(message)), options).read_all()
                else:
                    list(door.do_action(flight.Action(message.kind, messages.encode(message)), options))
    assert sorted(path.name for path in server.home.parent.iterdir()) == outside
    with gridflow.connect(server.home) as grid:
        assert grid.check() == []


def test_loads_that_are_cut_and_who_may_not(server, endpoint, door):
    schema = pa.schema({"ID": pa.int64()})
    descriptor = flight.FlightDescriptor.for_command(messages.encode(messages.Load("T", "replace")))
    _, token = door.authenticate_basic_token("KATE", "a")
    for options in (options_of(endpoint), flight.FlightCallOptions(headers=[(b"authorization", token)])):
        other = open_door(server, endpoint)
        writer, _ = other.do_put(descriptor, schema, options)
        with contextlib.suppress(flight.FlightError, pa.ArrowException, OSError):
            for start in range(0, 100_000, 10_000):
                writer.write_batch(pa.record_batch({"ID": np.arange(start, start + 10_000)}))
        del writer
        other.close()
    with gridflow.connect(server.home) as grid:
        assert len(grid.table("T")) == 0


def test_an_endless_tls_handshake(endpoint, door):
    if endpoint.scheme == "grid":
        pytest.skip("it has none")
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            raw = stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", endpoint.port), 30)))
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with contextlib.suppress(ssl.SSLWantReadError):
                context.wrap_bio(incoming, outgoing).do_handshake()
            raw.sendall(outgoing.read()[:-1])
        ask(door, endpoint)


@pytest.mark.parametrize("sends", [True, False], ids=["load", "query"])
def test_sigterm_in_the_midst_of_a_transfer(tmp_path, sends):
    with ServerProcess(tmp_path / "grid", "--listen", "grid://127.0.0.1:0") as server:
        endpoint = Endpoint.parse([line.split()[2] for line in server.printed if line.startswith("listens on")][-1])
        with gridflow.connect(server.home) as grid:
            grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY)")
            grid.table("T").put(-1, {})
        door, options = open_door(server, endpoint), options_of(endpoint)
        stop = threading.Event()

        def send() -> None:
            load = flight.FlightDescriptor.for_command(messages.encode(messages.Load("T", "error")))
            with contextlib.suppress(flight.FlightError, pa.ArrowException, OSError, GridflowError):
                writer, _ = door.do_put(load, pa.schema({"ID": pa.int64()}), options)
                for start in range(0, 10**9, 1000):
                    writer.write_batch(pa.record_batch({"ID": np.arange(start, start + 1000)}))
                    if stop.is_set():
                        return

        def read() -> None:
            sql = messages.Sql("SELECT RANGE AS A FROM RANGE(50000000)", None, b"", run="r")
            with contextlib.suppress(flight.FlightError, pa.ArrowException, OSError):
                for _ in door.do_get(flight.Ticket(messages.encode(sql)), options):
                    time.sleep(0.01)
                    if stop.is_set():
                        return

        client = threading.Thread(target=send if sends else read)
        client.start()
        time.sleep(0.3)
        os.kill(server.pid, signal.SIGTERM)
        assert server.stop(60) == 0
        stop.set()
        client.join(30)
        door.close()
        assert not client.is_alive()
    with gridflow.connect(server.home) as grid:
        assert grid.owner and grid.table("T").to_arrow()["ID"].to_pylist() == [-1]
        assert grid.check() == []
