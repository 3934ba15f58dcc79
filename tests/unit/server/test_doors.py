"""Who comes in at a node: by which address, with what proof, and for how long."""

from __future__ import annotations

import base64
import os
import time

import pyarrow.flight as flight
import pytest

import gridflow
from gridflow.errors import GridAccessError, GridConnectionError, UsageError
from gridflow.protocols import local_tokens, messages
from gridflow.protocols.address import Endpoint
from gridflow.server import Node, ServerProcess, access
from gridflow.server.access import Access

LOOPBACK = "grid://127.0.0.1:0"


@pytest.fixture
def node(tmp_path):
    with Node(tmp_path / "grid", listen=[LOOPBACK]) as node:
        yield node


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Door:
    """A client that says no more than a header and one word; ``answer`` has the header of the answer."""

    def __init__(self, endpoint: Endpoint):
        self._client = flight.FlightClient(endpoint.flight_uri)

    def hello(self, authorization: str = "") -> messages.Welcome:
        return messages.decode(
            self.ask(messages.Hello("test", os.getpid(), gridflow.__version__), authorization), messages.Welcome
        )

    def ask(self, message: messages.Message, authorization: str = "") -> bytes:
        headers = [(b"authorization", authorization.encode())] if authorization else []
        options = flight.FlightCallOptions(timeout=10, headers=headers)
        (result,) = self._client.do_action(flight.Action(message.kind, messages.encode(message)), options)
        return result.body.to_pybytes()

    def log_in(self, user: str, password: str) -> str:
        name, value = self._client.authenticate_basic_token(user, password)
        assert name == b"authorization"
        return value.decode()


def test_a_loopback_address_lets_in_who_can_read_the_token_of_the_grid_s_user(node):
    (endpoint,) = [each for each in node.endpoints if not each.is_local]
    door = Door(endpoint)
    token = local_tokens.read_token(endpoint.port)
    assert door.hello(f"Bearer {token}").home == str(node.home)
    for shown in ("", "Bearer ", f"Bearer {token[:-1]}", f"Bearer {token}x", "Digest x", "x" * 5000):
        with pytest.raises(flight.FlightUnauthenticatedError) as caught:
            door.hello(shown)
        assert isinstance(messages.decode_error(caught.value.extra_info), GridAccessError)
    node.stop()
    assert local_tokens.read_token(endpoint.port) is None


def test_a_user_comes_in_by_password_and_then_by_token(node):
    node.grid.sql("CREATE USER KATE WITH PASSWORD 'warm: kitty'")
    door = Door(node.endpoints[-1])
    token = door.log_in("kate", "warm: kitty")
    assert door.hello(token).pid == os.getpid()
    assert door.hello(basic("KATE", "warm: kitty")).pid == os.getpid()
    for shown in (
        basic("KATE", "cold"),
        basic("", ""),
        basic("KATE", ""),
        basic("NOBODY", "warm: kitty"),
        "Basic !",
        "Basic " + base64.b64encode(b"\xff\xff:\xff").decode(),
        "Basic " + base64.b64encode(b"KATE").decode(),
    ):
        with pytest.raises(flight.FlightUnauthenticatedError):
            door.hello(shown)
        with pytest.raises(flight.FlightUnauthenticatedError):
            door.log_in("KATE", "cold")


@pytest.mark.parametrize("change", ["ALTER USER KATE WITH PASSWORD 'b'", "DROP USER KATE"])
def test_a_token_ends_with_the_password_that_it_was_given_for(node, change):
    node.grid.sql("CREATE USER KATE WITH PASSWORD 'a'")
    door = Door(node.endpoints[-1])
    token = door.log_in("KATE", "a")
    node.grid.sql(change)
    with pytest.raises(flight.FlightUnauthenticatedError, match="log in again"):
        door.hello(token)
    node.grid.sql("DROP USER IF EXISTS KATE")
    node.grid.sql("CREATE USER KATE WITH PASSWORD 'a'")  # another user of that name and password
    with pytest.raises(flight.FlightUnauthenticatedError, match="log in again"):
        door.hello(token)


def test_a_token_ends_when_it_is_old_or_idle_and_clocks_that_jump_do_not_matter(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    endpoint = Endpoint.parse("grid://localhost")
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE USER KATE WITH PASSWORD 'a'")
        doors = Access(grid.open_grid)
        token = doors.authenticate(endpoint, "", basic("KATE", "a")).token
        for _ in range(int(access.TOKEN_LIFE / access.TOKEN_IDLE)):
            now[0] += access.TOKEN_IDLE
            assert doors.authenticate(endpoint, "", f"Bearer {token}").peer.user == "KATE"
        now[0] += 1
        with pytest.raises(GridAccessError, match="log in again"):
            doors.authenticate(endpoint, "", f"Bearer {token}")
        token = doors.authenticate(endpoint, "", basic("KATE", "a")).token
        now[0] += access.TOKEN_IDLE + 1
        with pytest.raises(GridAccessError, match="log in again"):
            doors.authenticate(endpoint, "", f"Bearer {token}")


def test_so_many_tokens_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(access, "MOST_TOKENS", 2)
    endpoint = Endpoint.parse("grid://localhost")
    with gridflow.connect(tmp_path / "grid") as grid:
        users = ("ANN", "BOB", "KATE")
        for user in users:
            grid.sql(f"CREATE USER {user} WITH PASSWORD 'a'")
        doors = Access(grid.open_grid)
        tokens = [doors.authenticate(endpoint, "", basic(user, "a")).token for user in users]
        with pytest.raises(GridAccessError):
            doors.authenticate(endpoint, "", f"Bearer {tokens[0]}")
        assert doors.authenticate(endpoint, "", f"Bearer {tokens[1]}").peer.user == "BOB"


@pytest.mark.parametrize("address", ["grid://0.0.0.0:0", "grid://[::]:0", "grid://10.0.0.1:0", "grid://host.example:0"])
def test_other_machines_are_not_listened_to_without_encryption(tmp_path, address):
    with pytest.raises(UsageError, match="--insecure"):
        Node(tmp_path / "grid", listen=[address])
    assert not (tmp_path / "grid").exists()


def test_insecure_lets_in_everybody_until_there_is_a_user(tmp_path):
    with Node(tmp_path / "grid", listen=["grid://0.0.0.0:0"], insecure=True) as node:
        port = node.endpoints[-1].port
        door = Door(Endpoint.parse(f"grid://127.0.0.1:{port}"))
        assert door.hello().home == str(node.home)
        assert local_tokens.read_token(port) is None
        with pytest.raises(flight.FlightError, match="GridAccessError"):
            door.ask(messages.OpenRing("a" * 32))
        node.grid.sql("CREATE USER KATE WITH PASSWORD 'a'")
        with pytest.raises(flight.FlightUnauthenticatedError, match="say who you are"):
            door.hello()
        assert door.hello(door.log_in("KATE", "a")).pid == os.getpid()


def test_a_port_that_is_taken_is_not_shared(node, tmp_path):
    with pytest.raises(GridConnectionError, match="in use"):
        Node(tmp_path / "other", listen=[str(node.endpoints[-1])])
    with Node(tmp_path / "other") as other:
        assert [each.scheme for each in other.endpoints] == ["unix"]


@pytest.mark.parametrize("address", ["grid://127.0.0.1:0/x", "10.0.0.1:80", "grid://nowhere.invalid:1", "unix://x"])
def test_what_cannot_be_listened_at_is_said(tmp_path, address):
    with pytest.raises((UsageError, GridConnectionError)):
        Node(tmp_path / "grid", listen=[address], insecure=True)
    with Node(tmp_path / "grid"):
        pass


def test_the_command_says_where_it_listens(tmp_path):
    with ServerProcess(tmp_path / "grid", "--listen", LOOPBACK) as server:
        addresses = [line.split()[2] for line in server.printed if line.startswith("listens on")]
        endpoint = Endpoint.parse(addresses[-1])
        assert endpoint.port and len(addresses) == 2
        token = local_tokens.read_token(endpoint.port)
        assert Door(endpoint).hello(f"Bearer {token}").pid == server.pid


def test_a_token_s_file_is_the_user_s_own(tmp_path, monkeypatch):
    monkeypatch.setattr(local_tokens, "temporary_root", lambda: tmp_path)
    token = local_tokens.write_token(7)
    (path,) = tmp_path.glob("gridflow-*/tokens/7")
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    assert local_tokens.read_token(7) is None
    path.chmod(0o600)
    assert local_tokens.read_token(7) == token != local_tokens.write_token(7)
    local_tokens.remove_token(7, token)  # it is another node's by now
    assert local_tokens.read_token(7)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert local_tokens.read_token(7) is None
    path.parent.chmod(0o777)
    with pytest.raises(GridAccessError, match="open to others"):
        local_tokens.write_token(7)


def test_grpc_rests_when_a_node_has_stopped(node):
    """Nothing keeps its server: the process may be forked again."""
    import multiprocessing

    node.grid.sql("CREATE USER KATE WITH PASSWORD 'a'")
    door = Door(node.endpoints[-1])
    door.hello(door.log_in("KATE", "a"))
    del door
    node.stop()
    with ServerProcess(node.home):
        child = multiprocessing.get_context("fork").Process(target=_reads, args=(str(node.home),))
        child.start()
        child.join(60)
        assert child.exitcode == 0


def _reads(home: str) -> None:
    with gridflow.connect(home) as grid:
        assert not grid.owner
