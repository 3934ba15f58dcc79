"""Small writes of other processes by shared memory: what goes that way, and who may not get in the way."""

from __future__ import annotations

import mmap
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import gridflow
import gridflow.testing
from gridflow._native.ring_client import ClientRing, RingClosed, RingFull, RingSilent
from gridflow._native.ring_owner import RingDrain
from gridflow._native.small_requests import SmallRequests
from gridflow._native.store import set_failpoints
from gridflow.client.grid import ServedGrid, connect_unix
from gridflow.errors import (
    ColumnNotFoundError,
    DuplicateKeyError,
    GridAccessError,
    GridConnectionError,
    GridCorruptError,
    InternalError,
    TransactionConflictError,
    UsageError,
)
from gridflow.protocols import messages
from gridflow.protocols.address import Endpoint
from gridflow.server import Node, ServerProcess
from gridflow.server.access import Access
from gridflow.server.flight import FlightService
from gridflow.server.rings import RingService
from gridflow.storage.ring_files import BELL, new_ring_name, ring_folder

COLUMNS = {"ID": "LONG", "V": "BINARY"}
HEAD = 256  # where gf_ring_header has it


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "grid"


@pytest.fixture
def node(home: Path) -> Iterator[Node]:
    with Node(home) as node:
        node.grid.create_table("T", COLUMNS, key="ID")
        yield node


@pytest.fixture
def client(node: Node, home: Path) -> Iterator[ServedGrid]:
    """In the node's own process, which is a client as any other but that it cannot be watched."""
    with connect_unix(home) as client:
        yield client


@pytest.fixture
def asked(node: Node, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the messages that came by the socket."""
    kinds: list[str] = []
    handle, query = node._requests.handle, node._requests.query
    monkeypatch.setattr(node._requests, "handle", lambda m, peer: (kinds.append(m.kind), handle(m, peer))[1])
    monkeypatch.setattr(node._requests, "query", lambda m, *more: (kinds.append(m.kind), query(m, *more))[1])
    return kinds


def rings(home: Path) -> list[Path]:
    return sorted(ring_folder(home).glob("*.ring"))


def rows(grid: gridflow.Grid, table: str = "T") -> int:
    return len(grid.table(table))


# ---- what goes by a ring ----


def test_writes_go_by_the_ring_once_a_table_is_known(client, asked):
    table = client.table("T")
    for key in range(100):
        table.put(key, {"V": b"x" * key})
        assert table.get(key) == {"V": b"x" * key}  # at once
    assert table.put_if_absent(1, {"V": b""}) is False and table.put_if_absent(100, {"V": b""}) is True
    assert table.replace(1, {"V": b"new"}) is True and table.replace(1000, {"V": b"new"}) is False
    assert table.remove(2) is True and table.remove(2) is False
    table.put_all({key: {"V": None} for key in range(200, 300)})
    assert table.remove_all(range(250, 350)) == 50
    table.insert_all({key: {"V": None} for key in range(400, 410)})
    with client.transaction() as transaction:
        transaction.table("T").put(1, {"V": b"newer"})
    assert asked == ["hello", "open_ring", "commit"] or asked == ["open_ring", "commit"]
    assert table.get(1) == {"V": b"newer"} and rows(client) == 100 + 50 + 10


def test_an_insert_that_is_executed_again_goes_by_the_ring(client, asked):
    text = "INSERT INTO T (ID, V) VALUES (?, ?)"
    for key in range(10):
        result = client.sql(text, [key, b"v"])
        assert (result.rowcount, result.statement) == (1, "INSERT")
    assert asked.count("sql") <= 2
    with pytest.raises(DuplicateKeyError, match="key 3"):
        client.sql(text, [3, b"other"])
    with pytest.raises(gridflow.GridflowError):
        client.sql(text, ["no number", b"v"])
    client.sql("ALTER TABLE T DROP COLUMN V")
    with pytest.raises(gridflow.GridflowError, match="V"):
        client.sql(text, [11, b"v"])
    query = "SELECT SUM(EXECUTIONS) FROM SYS.SQL_QUERIES_HISTORY WHERE SQL LIKE 'INSERT%'"
    assert client.sql(query).fetchall() == [(13,)]
    assert rows(client) == 10


def test_what_is_large_goes_by_the_socket(client, asked):
    table = client.table("T")
    table.put(1, {"V": b"small"})
    before = len(asked)
    table.put(2, {"V": bytes(60_000)})
    assert len(asked) == before
    table.put(3, {"V": bytes(70_000)})
    table.put_all({key: {"V": bytes(1000)} for key in range(100, 200)})
    assert asked[before:] == ["commit", "commit"]
    assert [len(table.get(key)["V"]) for key in (1, 2, 3, 150)] == [5, 60_000, 70_000, 1000]


def test_a_change_of_columns_is_seen_by_the_next_write(client, node):
    table = client.table("T")
    table.put(1, {"V": b"v"})
    node.grid.alter_table("T", add={"N": "INT"}, drop=["V"])
    table.put(2, {"N": 2})
    node.grid.alter_table("T", add={"V": "BINARY"})
    table.put(3, {"N": 3})
    with pytest.raises(ColumnNotFoundError):
        table.put(4, {"M": 1})
    assert table.get(3) == {"N": 3, "V": None}
    node.grid.drop_table("T")
    with pytest.raises(gridflow.TableNotFoundError):
        table.put(5, {"N": 5})
    node.grid.create_table("T", COLUMNS, key="ID")
    with pytest.raises(gridflow.TableNotFoundError):
        table.put(5, {"N": 5})
    client.table("T").put(5, {"V": b"v"})
    assert rows(client) == 1


def test_transactions_conflict_by_the_ring_too(client, node):
    client.table("T").put(1, {"V": b"1"})
    transaction = client.transaction()
    transaction.table("T").put(1, {"V": b"mine"})
    node.grid.table("T").put(1, {"V": b"theirs"})
    with pytest.raises(TransactionConflictError, match="key 1"):
        transaction.commit()
    assert client.table("T").get(1) == {"V": b"theirs"}


def test_who_must_wait_waits_alone(client, node):
    """A table that is being loaded keeps its writers waiting, and nobody else."""
    client.create_table("OTHER", COLUMNS, key="ID")
    for name in ("T", "OTHER"):
        client.table(name).put(0, {"V": b""})
    with ThreadPoolExecutor(2) as pool:
        with node.grid.table("T").edit():
            waiting = pool.submit(client.table("T").put, 1, {"V": b"waits"})
            inserted = pool.submit(client.sql, "INSERT INTO T (ID, V) VALUES (?, ?)", [2, b"waits"])
            for key in range(100):
                client.table("OTHER").put(key, {"V": b""})
            assert not waiting.done() and not inserted.done()
        waiting.result(60)
        inserted.result(60)
    assert client.table("T").contains(1) and client.table("T").contains(2)


def test_many_threads_of_a_client_share_its_ring(client, home):
    table = client.table("T")

    def work(number: int) -> None:
        for i in range(200):
            table.put(number * 1000 + i, {"V": b"%d" % number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert rows(client) == 1600 and len(rings(home)) == 1
    assert all(table.get(number * 1000 + 199) == {"V": b"%d" % number} for number in range(8))


# ---- who may use one ----


def test_a_ring_is_as_protected_as_the_socket(client, home):
    client.table("T").put(1, {"V": b""})
    (ring,) = rings(home)
    for file in (ring, ring_folder(home) / BELL):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(ring_folder(home).stat().st_mode) == 0o700
    assert client.check() == []


def test_each_write_is_asked_for(client, monkeypatch):
    table = client.table("T")
    table.put(1, {"V": b""})
    authorize = Access.authorize

    def refuse(self, peer, message):
        if isinstance(message, messages.Commit):
            assert (message.table, message.mode) == ("T", "put")
            raise GridAccessError("only to read")
        authorize(self, peer, message)

    monkeypatch.setattr(Access, "authorize", refuse)
    with pytest.raises(GridAccessError, match="only to read"):
        table.put(2, {"V": b""})
    monkeypatch.undo()
    table.put(3, {"V": b""})
    assert rows(client) == 2


def test_no_ring_for_who_may_not_have_one(client, home, monkeypatch):
    authorize = Access.authorize

    def refuse(self, peer, message):
        if isinstance(message, messages.OpenRing):
            raise GridAccessError("no rings")
        authorize(self, peer, message)

    monkeypatch.setattr(Access, "authorize", refuse)
    for key in range(3):
        client.table("T").put(key, {"V": b""})
    assert rows(client) == 3 and rings(home) == []


def test_a_node_without_rings_is_asked_by_the_socket(home):
    with Node(home, services=[FlightService(Endpoint.of_grid(home))]) as node, connect_unix(home) as client:
        node.grid.create_table("T", COLUMNS, key="ID")
        for key in range(3):
            client.table("T").put(key, {"V": b""})
        assert rows(client) == 3


def test_system_tables_are_not_for_rings(client, node):
    client.sql("CREATE USER ANNA WITH PASSWORD 'secret'")
    table = client.table("T")
    table.put(1, {"V": b""})
    others = {entry.table_id for entry in node.grid.open_grid._catalog.all_entries} - {table.table_id}
    assert others
    operation = table._encode_put(2, {"V": b""})
    for table_id in others:
        assert client.open_grid.connection.ring.commit(table_id, table.codec.digest, 0, operation, 60.0) is None


@pytest.mark.parametrize("name", ["../control", "x.ring", "", "0" * 32 + ".ring", "bell"])
def test_a_ring_that_is_not_there_is_not_opened(client, name):
    with pytest.raises(gridflow.GridflowError):
        client.open_grid.connection.call(messages.OpenRing(name), messages.Done)


def test_a_ring_is_opened_once(client, home):
    client.table("T").put(1, {"V": b""})
    with pytest.raises(UsageError, match="no name of a new ring"):
        client.open_grid.connection.call(messages.OpenRing(rings(home)[0].name), messages.Done)
    stray = ring_folder(home) / new_ring_name()
    stray.write_bytes(bytes(4096 + (256 << 10)))
    with pytest.raises(GridCorruptError, match="not a ring"):
        client.open_grid.connection.call(messages.OpenRing(stray.name), messages.Done)


# ---- clients that do what no client does, or nothing any more ----


@pytest.mark.parametrize("published", [64, 1 << 20, (1 << 64) - 1, 3])
def test_a_hostile_client_loses_its_ring_and_nobody_else(node, home, published, caplog):
    with connect_unix(home) as one, connect_unix(home) as other:
        other.table("T").put(1, {"V": b""})
        (theirs,) = rings(home)
        one.table("T").put(2, {"V": b""})
        (mine,) = set(rings(home)) - {theirs}
        with open(mine, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            before = struct.unpack_from("<Q", memory, HEAD)[0]
            memory[4096:] = os.urandom(len(memory) - 4096)
            struct.pack_into("<Q", memory, HEAD, (before + published) % (1 << 64))
        other.table("T").put(4, {"V": b""})  # with which the node looks at all rings
        other.table("T").put(5, {"V": b""})
        assert rings(home) == [theirs]
        assert "closed a ring of process" in caplog.text
        one.table("T").put(6, {"V": b""})  # by a new one
        assert len(rings(home)) == 2
        assert sorted(one.table("T").to_arrow(["ID"])["ID"].to_pylist()) == [1, 2, 4, 5, 6]


def test_a_client_whose_ring_is_refused_is_told_why(home, server):
    client = gridflow.connect(home)
    table = client.create_table("T", COLUMNS, key="ID")
    table.put(1, {"V": b""})
    (ring,) = rings(home)
    stop(server.pid)
    with ThreadPoolExecutor(1) as pool, open(ring, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        head = memory[HEAD : HEAD + 8]
        (at,) = struct.unpack("<Q", head)
        under_way = pool.submit(table.put, 2, {"V": b""})
        while memory[HEAD : HEAD + 8] == head:  # it has not written yet
            pass
        memory[4096 + at + 40] ^= 1
        os.kill(server.pid, signal.SIGCONT)
        with pytest.raises(
            GridConnectionError, match="ring of this process: a request's checksum does not match; nothing"
        ):
            under_way.result(60)
    table.put(3, {"V": b""})
    assert sorted(table.to_arrow(["ID"])["ID"].to_pylist()) == [1, 3]
    client.close()


def test_malformed_operations_are_refused_as_ever(client):
    table = client.table("T")
    table.put(1, {"V": b"v"})
    operations = table._encode_put(2, {"V": b"v"})
    ring = client.open_grid.connection.ring
    for wrong in (operations[:-1], operations + b"x", b"", bytes(len(operations)), operations[:4] + b"\xff" * 20):
        assert ring.commit(table.table_id, table.codec.digest, 0, wrong, 60.0) in (None, 0)
    assert ring.commit(table.table_id, table.codec.digest, 7, operations, 60.0) is None
    assert ring.commit(table.table_id, 1, 0, operations, 60.0) is None
    assert ring.ask(messages.Sql("DROP TABLE T", None, b""), 60.0) is None
    assert ring.ask(messages.Flush(None), 60.0) is None  # is no message for rings
    assert rows(client) == 1


def test_the_ring_of_a_client_that_dies_is_freed(node, home, monkeypatch):
    (service,) = [s for s in node._services if isinstance(s, RingService)]
    freed = threading.Event()
    closed = service.closed
    monkeypatch.setattr(service, "closed", lambda ring: (closed(ring), freed.set()))
    reader, writer = os.pipe()
    script = (
        "import gridflow, os, sys\n"
        f"grid = gridflow.connect({str(home)!r})\n"
        "grid.table('T').put(1, {'V': b''})\n"
        f"os.write({writer}, b'r')\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, pass_fds=[writer])
    assert os.read(reader, 1) == b"r"
    assert len(rings(home)) == 1 and not freed.is_set()
    child.kill()
    child.communicate()
    assert freed.wait(60)
    assert rings(home) == []
    os.close(reader)
    os.close(writer)


def test_a_client_that_closes_frees_its_ring(node, home, monkeypatch):
    (service,) = [s for s in node._services if isinstance(s, RingService)]
    freed = threading.Event()
    monkeypatch.setattr(service, "closed", lambda ring: freed.set())
    with connect_unix(home) as client:
        client.table("T").put(1, {"V": b""})
    assert freed.wait(60) and rings(home) == []


# ---- nodes that come and go ----


@pytest.fixture
def server(home: Path) -> Iterator[ServerProcess]:
    with ServerProcess(home) as server:
        yield server


def test_the_next_node_is_found(home):
    with ServerProcess(home):
        client = gridflow.connect(home)
        table = client.create_table("T", COLUMNS, key="ID")
        table.put(1, {"V": b""})
        (first,) = rings(home)
    assert not ring_folder(home).exists()
    with pytest.raises(GridConnectionError, match="cannot be reached"):
        table.put(2, {"V": b""})
    with ServerProcess(home):
        table.put(3, {"V": b""})  # by the socket, which greets the new node
        table.put(4, {"V": b""})
        assert rings(home) != [first] and len(rings(home)) == 1
        assert sorted(table.to_arrow(["ID"])["ID"].to_pylist()) == [1, 3, 4]
        client.close()


def test_the_next_node_is_found_after_one_that_was_killed(home):
    with ServerProcess(home) as server:
        client = gridflow.connect(home)
        table = client.create_table("T", COLUMNS, key="ID")
        table.put(1, {"V": b""})
        server.kill()
    with pytest.raises(GridConnectionError, match="cannot be reached"):
        table.put(2, {"V": b""})
    assert len(rings(home)) <= 1
    with ServerProcess(home):
        table.put(3, {"V": b""})
        assert len(rings(home)) == 1
        assert {1, 3} <= set(table.to_arrow(["ID"])["ID"].to_pylist())
        client.close()


def test_an_embedding_owner_removes_the_rings_of_a_node_that_was_killed(home):
    with ServerProcess(home) as server:
        client = gridflow.connect(home)
        client.create_table("T", COLUMNS, key="ID").put(1, {"V": b""})
        server.kill()
    assert len(rings(home)) == 1
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with gridflow.connect(home, embedded=True) as grid:
                status = int(ring_folder(home).exists() or grid.check() != [] or rows(grid) != 1)
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    client.close()


def test_a_write_that_a_dying_node_had_is_reported_as_unknown(home, server):
    client = gridflow.connect(home)
    table = client.create_table("T", COLUMNS, key="ID")
    table.put(1, {"V": b""})
    stop(server.pid)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(table.put, 2, {"V": b""})
        server.kill()
        with pytest.raises(GridConnectionError, match="cannot be reached"):
            under_way.result(60)
    client.close()


def stop(pid: int) -> None:
    """Stop a child, and wait until all of its threads have stopped."""
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)


def test_a_full_ring_says_what_it_waits_for(home, server, monkeypatch):
    client = gridflow.connect(home)
    table = client.create_table("T", COLUMNS, key="ID")
    table.put(1, {"V": b""})
    monkeypatch.setattr("gridflow.client.table.COMMIT_TIMEOUT", 0.05)
    stop(server.pid)
    try:
        for key in range(2, 6):
            with pytest.raises(GridConnectionError, match=r"did not answer within 0\.05 s; whether it did"):
                table.put(key, {"V": bytes(60_000)})
        with pytest.raises(
            GridConnectionError, match="has left 4 requests .* no room for more; this write was not sent"
        ):
            table.put(6, {"V": bytes(60_000)})
    finally:
        os.kill(server.pid, signal.SIGCONT)
    monkeypatch.undo()
    table.put(7, {"V": b""})
    # What was in the ring was done when the node went on; what was not sent was not.
    assert sorted(table.to_arrow(["ID"])["ID"].to_pylist()) == [1, 2, 3, 4, 5, 7]
    client.close()


def test_a_forked_child_has_a_ring_of_its_own(home, server):
    client = gridflow.connect(home)
    table = client.create_table("T", COLUMNS, key="ID")
    table.put(1, {"V": b""})
    before = rings(home)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for key in range(100, 150):
                table.put(key, {"V": b""})
            status = int(len(set(rings(home)) - set(before)) != 1)
        finally:
            os._exit(status)
    for key in range(2, 50):
        table.put(key, {"V": b""})
    assert os.waitpid(pid, 0)[1] == 0
    table.put(50, {"V": b""})
    assert before[0] in rings(home)
    assert sorted(table.to_arrow(["ID"])["ID"].to_pylist()) == [*range(1, 51), *range(100, 150)]
    client.close()


def test_a_foreign_file_among_rings_is_left_alone(home):
    foreign = ring_folder(home) / "notes"
    with Node(home) as node:
        node.grid.create_table("T", COLUMNS, key="ID")
        foreign.write_text("mine")
        assert node.grid.check() == []
        assert gridflow.testing.stray_files(home) == ["rings/notes"]
    with gridflow.connect(home) as grid:
        assert rows(grid) == 0 and foreign.read_text() == "mine"
    assert not (ring_folder(home) / BELL).exists()


# ---- durability ----


def test_a_write_that_the_disk_did_not_take_is_no_acknowledged_one(home):
    with Node(home, durability="fsync") as node, connect_unix(home) as client:
        table = node.grid.create_table("T", COLUMNS, key="ID")
        served = client.table("T")
        for key in range(3):
            served.put(key, {"V": b""})
        for write in (served.put, table.put):
            set_failpoints("log.sync=io")
            try:
                with pytest.raises(InternalError, match="log.sync"):
                    write(3, {"V": b""})
            finally:
                set_failpoints("")
        served.put(4, {"V": b""})
        assert rows(client) == 5  # it is in the log all the same


def test_threads_wait_for_the_disk_together(home):
    with gridflow.connect(home, durability="fsync") as grid:
        table = grid.create_table("T", COLUMNS, key="ID")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: table.put(key, {"V": b"v"}), range(400)))
        assert rows(grid) == 400


def test_a_bug_in_the_thread_of_rings_keeps_nobody_waiting(client, node, home, monkeypatch):
    table = client.table("T")
    table.put(1, {"V": b""})
    table.put(2, {"V": b""})
    small = node._requests.small

    def broken(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(small.carrier, "allow", broken)
    monkeypatch.setattr(small.carrier, "describe", broken)
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    small.ask_anew()
    with pytest.raises(GridConnectionError, match="the thread that served it has failed"):
        table.put(3, {"V": b""})
    table.put(4, {"V": b""})  # by the socket
    assert rings(home) == [] and table.contains(4)


# ---- the ring by itself ----


class NoKeeper:
    """Of a drain that does not run."""

    def closed(self, ring: object) -> None: ...


def test_a_ring_without_answers(tmp_path):
    bell, path = str(tmp_path / "bell"), str(tmp_path / "ring")
    with gridflow.connect(tmp_path / "grid") as grid:
        with pytest.raises(gridflow.GridNotFoundError):
            ClientRing(path, bell)
        drain = RingDrain(SmallRequests(grid.store, None), bell, NoKeeper())
        ring = ClientRing(path, bell)
        served = drain.open(path, "anybody")
        for _ in range(4):
            with pytest.raises(RingSilent):
                ring.ask(bytes(64_000), 0.0)
        with pytest.raises(RingFull) as full:
            ring.ask(bytes(64_000), 0.0)
        assert full.value.requests == 4
        with pytest.raises(InternalError, match="no request of"):
            ring.ask(bytes(70_000), 0.0)
        drain.close(served, "it stops")
        assert ring.closed and not os.path.exists(path)
        with pytest.raises(RingClosed) as stopped:
            ring.ask(b"", 60.0)
        assert (stopped.value.done, stopped.value.reason) == (False, "it stops")
