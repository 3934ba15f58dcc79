"""Framed TCP: what comes through it, and what a client does that is none of ours."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import time

import pytest

import gridflow
from gridflow.errors import GridAccessError, GridConnectionError, SchemaError
from gridflow.protocols import frames, local_tokens, messages
from gridflow.server import framed


@pytest.fixture
def port(node):
    return node._requests.small_ports[node.endpoints[-1]]


def raw(port, data=b"", *, logs_in=None):
    connected = socket.create_connection(("127.0.0.1", port), 10)
    if logs_in is not None:
        run, token = logs_in
        connected.sendall(frames.frame(0, frames.LOGIN, frames.login(run, f"Bearer {token}".encode())))
        assert answer(connected)[1] == frames.DONE
    if data:
        connected.sendall(data)
    return connected


def answer(connected):
    head = b""
    while len(head) < 12:
        piece = connected.recv(12 - len(head))
        if not piece:
            return None
        head += piece
    size, number, kind = frames.HEAD.unpack(head)
    body = b""
    while len(body) < size:
        body += connected.recv(size - len(body))
    return number, kind, body


def is_closed(connected, seconds=5.0):
    connected.settimeout(seconds)
    try:
        return connected.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_who_has_not_logged_in_takes_little(port, monkeypatch):
    """Neither memory, with a frame that is never whole, nor all connections."""
    monkeypatch.setattr(framed, "MOST_UNKNOWN", 5)
    with raw(port, frames.HEAD.pack(framed.MOST_LOGIN_BYTES + 1, 1, frames.LOGIN)) as connected:
        assert is_closed(connected)
    silent = [raw(port) for _ in range(5)]
    with raw(port) as connected:
        assert is_closed(connected)
    for connected in silent:
        assert not is_closed(connected, 0.01)
        connected.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with raw(port) as connected:
            if not is_closed(connected, 0.1):
                return
    pytest.fail("nobody may connect any more")


def channel(grid):
    return grid.open_grid.connection._small


def test_keys_go_by_frames_and_only_what_takes_longer_by_flight(grid, table, monkeypatch):
    table.put(1, {"N": 1, "S": "a"})  # by Flight: it shows that T may be named
    asked = []
    original = type(grid.open_grid.connection).call
    monkeypatch.setattr(
        type(grid.open_grid.connection), "call", lambda *a, **k: asked.append(a[1].kind) or original(*a, **k)
    )
    table.put(2, {"N": 2, "S": "b"})
    assert table.get(2) == {"N": 2, "S": "b"} and table.get(3) is None and table.remove(2) and not table.replace(2, {})
    assert table.put_if_absent(4, {"N": 4}) and not table.put_if_absent(4, {"N": 5})
    assert asked == []
    with pytest.raises(gridflow.DuplicateKeyError, match="key 4"):
        table.insert_all({4: {}})  # what is wrong Flight says
    assert asked[:1] == ["commit"]
    table.put(5, {"S": "x" * frames.MOST_BYTES})
    assert len(table.get(5)["S"]) == frames.MOST_BYTES


def test_many_threads_share_one_connection(grid, table):
    table.put(0, {"N": 0})

    def work(i):
        for j in range(40):
            table.put(i * 100 + j, {"N": j, "S": str(i)})
            assert table.get(i * 100 + j) == {"N": j, "S": str(i)}

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(table) == 8 * 40
    assert not channel(grid)._waiters


def test_a_forked_child_has_a_connection_of_its_own(grid, table):
    table.put(1, {"N": 1})
    pid = os.fork()
    if pid == 0:
        try:
            table.put(2, {"N": 2})
            os._exit(0 if table.get(1) == {"N": 1, "S": None} else 2)
        except BaseException:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert table.get(2)["N"] == 2


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frames.frame(1, frames.GET, bytes(24)),
        frames.frame(1, frames.LOGIN, b""),
        frames.frame(1, frames.LOGIN, struct.pack("<II", 1, 1)),
        frames.HEAD.pack(0xFFFFFFFF, 1, frames.LOGIN),
        frames.HEAD.pack(frames.MOST_BYTES + 1, 1, frames.LOGIN),
    ],
)
def test_who_does_not_log_in_is_closed(port, data):
    with raw(port, data) as connected:
        assert is_closed(connected)


def test_a_wrong_token_is_answered_and_closed(node, port):
    run = node._requests.run_name
    login = frames.login(run, b"Bearer nonsense")
    with raw(port, frames.frame(7, frames.LOGIN, login)) as connected:
        number, kind, body = answer(connected)
        assert (number, kind) == (7, frames.ERROR)
        assert isinstance(messages.decode_error(body), GridAccessError)
        assert is_closed(connected)
    basic = frames.login(run, b"Basic S0FURTpzZWNyZXQ=")
    with raw(port, frames.frame(7, frames.LOGIN, basic)) as connected:  # scrypt would keep the only thread
        assert isinstance(messages.decode_error(answer(connected)[2]), GridAccessError)
    other = frames.frame(7, frames.LOGIN, frames.LOGIN_HEAD.pack(frames.MAGIC, 99))
    with raw(port, other) as connected:
        assert isinstance(messages.decode_error(answer(connected)[2]), GridConnectionError)


def test_nonsense_of_a_client_that_has_logged_in(node, port, table):
    token = node._requests.run_name, local_tokens.read_token(node.endpoints[-1].port)
    table.put(1, {"N": 1})
    head = frames.COMMIT_HEAD.pack(table.table_id, 0, table.codec.digest)
    with raw(port, logs_in=token) as connected:
        for kind, body in (
            (frames.GET, b""),
            (frames.GET, head),
            (frames.GET, head + b"123"),
            (frames.GET, frames.COMMIT_HEAD.pack(99, 0, 0) + bytes(8)),
            (frames.COMMIT, b"\0"),
            (frames.COMMIT, head + b"nonsense that is no operation"),
            (frames.COMMIT, frames.COMMIT_HEAD.pack(table.table_id, 77, table.codec.digest) + b"x"),
            (frames.MESSAGE, b""),
            (frames.MESSAGE, messages.encode(messages.Flush(None))),
        ):
            connected.sendall(frames.frame(5, kind, body))
            assert answer(connected) == (5, frames.ELSEWHERE, b"")
        connected.sendall(frames.frame(5, 4711, b""))
        assert is_closed(connected)
    with raw(port, frames.HEAD.pack(1 << 31, 1, frames.GET), logs_in=token) as connected:
        assert is_closed(connected)
    assert table.get(1)["N"] == 1 and len(table) == 1


def test_a_client_that_sends_a_byte_at_a_time_keeps_nobody(monkeypatch, node, port, table):
    monkeypatch.setattr(framed, "LOGIN_SECONDS", 0.5)
    monkeypatch.setattr(framed, "FRAME_SECONDS", 0.5)
    monkeypatch.setattr(framed, "_LOOK_SECONDS", 0.1)
    token = node._requests.run_name, local_tokens.read_token(node.endpoints[-1].port)
    silent = raw(port)
    slow = raw(port, logs_in=token)
    slow.sendall(frames.frame(1, frames.GET, bytes(100))[:20])
    idle = raw(port, logs_in=token)
    for i in range(20):
        table.put(i, {"N": i})
    assert is_closed(silent) and is_closed(slow) and not is_closed(idle, 1.0)
    for connected in (silent, slow, idle):
        connected.close()


def test_a_client_that_takes_no_answers_is_not_read_from(monkeypatch, node, port, table):
    monkeypatch.setattr(framed, "FRAME_SECONDS", 0.5)
    monkeypatch.setattr(framed, "_LOOK_SECONDS", 0.1)
    table.put(1, {"S": "x" * 100_000})
    assert len(table.get(1)["S"]) == 100_000
    request = frames.frame(
        1, frames.GET, frames.COMMIT_HEAD.pack(table.table_id, 0, table.codec.digest) + (1).to_bytes(8, "little")
    )
    token = node._requests.run_name, local_tokens.read_token(node.endpoints[-1].port)
    with raw(port, logs_in=token) as greedy:
        greedy.settimeout(0.5)
        with pytest.raises(OSError):  # the node closes it, or takes nothing more
            while True:
                greedy.sendall(request * 100)
        (service,) = [s for s in node._services if isinstance(s, framed.FramedService)]
        kept = sum(len(c.output) for c in list(service._connections.values()))
        assert kept < framed.MOST_UNTAKEN_BYTES + (framed._READ_BYTES // len(request) + 1) * 100_100
    assert table.get(1) is not None


def test_hundreds_of_idle_connections(node, port, table):
    token = node._requests.run_name, local_tokens.read_token(node.endpoints[-1].port)
    idle = [raw(port, logs_in=token) for _ in range(200)]
    began = time.monotonic()
    for i in range(50):
        table.put(i, {"N": i})
    assert time.monotonic() - began < 10
    for connected in idle:
        connected.close()


def test_what_columns_are_others_by_now_is_done_with_the_new_ones(grid, node, table):
    table.put(1, {"N": 1})
    table.get(1)
    node.grid.alter_table("T", add={"M": "INT"}, drop=["S"])
    assert table.get(1) == {"N": 1, "M": None}
    node.grid.alter_table("T", add={"O": "INT"})
    table.put(2, {"N": 2, "O": 3})
    assert table.get(2) == {"N": 2, "M": None, "O": 3}
    with pytest.raises(SchemaError, match="column N"):
        table.put(2, {"N": "two"})


def test_without_the_port_all_goes_by_flight(node, address):
    node._requests.small_ports[node.endpoints[-1]] = 1  # nobody listens there
    with gridflow.connect(address) as grid:
        table = grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
        table.put(1, {"N": 1})
        assert table.get(1) == {"N": 1} and channel(grid) is None and grid.sql("SELECT N FROM T").scalar() == 1


@pytest.mark.parametrize("seed", range(3))
def test_frames_come_in_pieces_of_any_size_and_several_at_once(node, port, table, seed):
    chance = random.Random(seed)
    table.put_all({i: {"N": i} for i in range(50)})
    table.get(1)
    head = frames.COMMIT_HEAD.pack(table.table_id, 0, table.codec.digest)
    asked = [chance.randrange(80) for _ in range(300)]
    data = b"".join(
        frames.frame(number, frames.GET, head + key.to_bytes(8, "little")) for number, key in enumerate(asked)
    )
    token = node._requests.run_name, local_tokens.read_token(node.endpoints[-1].port)
    with raw(port, logs_in=token) as connected:
        at = 0
        while at < len(data):
            size = chance.choice([1, 5, 11, 12, 13, 40, 1000])
            connected.sendall(data[at : at + size])
            at += size
        for number, key in enumerate(asked):
            got, kind, _ = answer(connected)
            assert (got, kind) == (number, frames.VALUE if key < 50 else frames.ABSENT)
