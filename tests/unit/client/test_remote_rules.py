"""Rules of remote grids, each over all its members: what is lost, refused, repeated, bounded and interrupted."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from functools import partial

import pyarrow as pa
import pyarrow.flight as flight
import pytest

import gridflow
from gridflow import dbapi
from gridflow.client.connection import UNKNOWN, Connection
from gridflow.client.effects import changes
from gridflow.client.remote_connection import RemoteConnection
from gridflow.client.remote_grid import RemoteGrid
from gridflow.client.remote_table import RemoteTable
from gridflow.credentials import Credentials
from gridflow.errors import GridAccessError, GridConnectionError, UsageError
from gridflow.protocols import local_tokens, messages
from gridflow.protocols.address import Endpoint
from gridflow.server import Node
from gridflow.server.access import RULES

COLUMNS = {"ID": "LONG", "N": "LONG"}
WELCOME = messages.Welcome(1, "/nowhere", "0.1.0", 1, "process", 0, "f" * 32, "0" * 32)
#: One of each message that a client sends and that changes something.
CHANGES = [
    messages.Truncate("T", 3),
    messages.Tag("T", 3, "v1", True),
    messages.Untag("T", 3, "v1"),
    messages.Restore("T", 3, 2),
    messages.KeepVersions("T", 3, 2),
    messages.Compress("T", 7, ["X"]),
    messages.CreateTable("T", [("ID", "INT64 NOT NULL")], ["ID"], None, True, {}, 3, {"m": []}, b""),
    messages.DropTable("T", False),
    messages.Flush(None),
    messages.Compact("T"),
    messages.AlterTable("T", [("N", "INT")], [], [], [{}, {}], b""),
    messages.Commit("T", 3, 1, "put", b"1"),
    messages.CommitTransaction([(3, 1)], 0, b""),
    messages.Sql("UPDATE T SET N = 1", [], b""),
    messages.SqlMany("INSERT INTO T VALUES (?)", "", [[]], b""),
    messages.Swap("T", 1, 1, 8, -1, -1, b"12345678"),
    messages.Write("none", "T", 1, 1, "put", b"1234"),
    messages.End("none", True),
    messages.WriteBatch("T", 1, 1, "put", "w1", 1, b"1234"),
    messages.EndWriter("w1"),
    messages.Load("T", "error"),
]


# ---- an answer that was lost ----


class Deaf(flight.FlightServerBase):
    """Welcomes everybody, and loses each answer after that."""

    def _lose(self):
        raise flight.FlightUnavailableError("the wire is cut")

    def do_action(self, context, action):
        if action.type == messages.Hello.kind:
            return iter([messages.encode(WELCOME)])
        self._lose()

    def do_get(self, context, ticket):
        self._lose()

    def do_put(self, context, descriptor, reader, writer):
        with contextlib.suppress(StopIteration):
            while True:
                reader.read_chunk()
        self._lose()


@pytest.fixture(scope="module")
def deaf():
    with Deaf("grpc://127.0.0.1:0") as server:
        yield server


@pytest.fixture(params=["remote", "served"])
def lossy(request, deaf):
    endpoint = Endpoint("grid", host="127.0.0.1", port=deaf.port)
    connection = RemoteConnection(endpoint, Credentials(), 20) if request.param == "remote" else Connection(endpoint)
    connection.hello()
    yield connection
    connection.close()


def send(connection, message):
    if isinstance(message, messages.Sql):
        return connection.query(message)
    if isinstance(message, messages.Load):
        batch = pa.record_batch({"ID": [1]})
        return connection.load(message, batch.schema, iter([batch]))
    return connection.call(message, messages.Done)


def test_each_message_is_known_to_change_something_or_not():
    assert {type(m) for m in CHANGES} | {c for c in RULES if not may_change(c)} == set(RULES)
    assert all(changes(message) for message in CHANGES)
    assert not changes(messages.Flush("T", to_read=True)) and not changes(messages.Sql("SELECT 1", [], b""))


def may_change(cls):
    return cls in {type(m) for m in CHANGES}


@pytest.mark.parametrize("message", CHANGES, ids=lambda m: m.kind)
def test_a_change_whose_answer_was_lost_is_never_said_to_be_tried_again(lossy, message):
    with pytest.raises(GridConnectionError) as caught:
        send(lossy, message)
    assert UNKNOWN in str(caught.value) and "try again" not in str(caught.value)


@pytest.mark.parametrize("message", [messages.ListTables(), messages.Sql("SELECT 1", [], b"")], ids=lambda m: m.kind)
def test_a_read_whose_answer_was_lost_may_be_tried_again(lossy, message):
    with pytest.raises(GridConnectionError, match="try again") as caught:
        send(lossy, message)
    assert UNKNOWN not in str(caught.value)


@pytest.mark.parametrize("message", CHANGES, ids=lambda m: m.kind)
def test_what_was_not_sent_may_be_tried_again(message):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    connection = RemoteConnection(Endpoint("grid", host="127.0.0.1", port=port), Credentials(), 20)
    with pytest.raises(GridConnectionError, match="try again") as caught:
        send(connection, message)
    assert UNKNOWN not in str(caught.value)


def test_a_load_that_fails_before_its_end_is_not_kept(deaf):
    connection = RemoteConnection(Endpoint("grid", host="127.0.0.1", port=deaf.port), Credentials(), 20)
    batch = pa.record_batch({"ID": [1]})

    def batches():
        yield batch
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        connection.load(messages.Load("T", "error"), batch.schema, batches())
    connection.close()


def test_an_update_whose_answer_is_cut_off_says_that_it_may_have_happened(node, proxied):
    node.grid.create_table("T", COLUMNS, key="ID").put(1, {"N": 1})
    with proxied.open(timeout=20) as grid:
        assert grid.sql("SELECT N FROM T").scalar() == 1
        proxied.flight.swallows = True
        passed, errors = proxied.flight.passed, []

        def update():
            try:
                grid.sql("UPDATE T SET N = N + 1 WHERE ID = 1")
            except GridConnectionError as error:
                errors.append(str(error))

        thread = threading.Thread(target=update)
        thread.start()
        deadline = time.monotonic() + 20
        while node.grid.table("T").get(1) == {"N": 1} and time.monotonic() < deadline:
            time.sleep(0.01)
        assert proxied.flight.passed > passed
        proxied.flight.cut()
        thread.join()
        proxied.flight.swallows = False
        (error,) = errors
        assert UNKNOWN in error and "try again" not in error


# ---- another node ----


@pytest.mark.parametrize("user", [None, "KATE"])
def test_frames_are_for_the_node_that_is_meant(tmp_path, monkeypatch, user):
    monkeypatch.setattr(local_tokens, "read_token", lambda *place: None)
    options = {"user": user, "password": "warm kitty 1"} if user else {}
    with (
        Node(tmp_path / "a", listen=["grid://127.0.0.1:0"], insecure=True) as other,
        Node(tmp_path / "b", listen=["grid://127.0.0.1:0"], insecure=True) as meant,
    ):
        for each in (other, meant):
            each.grid.create_table("T", COLUMNS, key="ID")
            if user:
                each.grid.sql("CREATE USER KATE WITH PASSWORD 'warm kitty 1'; GRANT WRITER TO KATE")
        other.grid.table("T").put(1, {"N": 111})
        meant.grid.table("T").put(1, {"N": 1})
        with gridflow.connect(str(other.endpoints[-1]), **options) as grid:  # so that its frames know the table
            grid.table("T").get(1)
        # As where the port of Flight is a forwarded one, and the other one is not.
        meant._requests.small_ports[meant.endpoints[-1]] = other._requests.small_ports[other.endpoints[-1]]
        with gridflow.connect(str(meant.endpoints[-1]), **options) as grid:
            table = grid.table("T")
            for _ in range(3):
                assert table.get(1) == {"N": 1}
                table.put(2, {"N": 2})
        assert other.grid.table("T").get(2) is None and meant.grid.table("T").get(2) == {"N": 2}


# ---- who may not write ----

#: How each method that writes is called; all others of a grid and a table write nothing.
GRID_WRITES = {
    "create_table": lambda g: g.create_table("U", COLUMNS, key="ID"),
    "alter_table": lambda g: g.alter_table("T", add={"M": "INT"}),
    "drop_table": lambda g: g.drop_table("T"),
    "flush": lambda g: g.flush(),
    "sql": lambda g: g.sql("DELETE FROM T"),
    "run": lambda g: g.run(lambda t: t.table("T").put(1, {"N": 7})),
    "transaction": lambda g: g.transaction().table("T").put(1, {"N": 7}),
    "session": lambda g: g.session().sql("DELETE FROM T"),
    "cache": lambda g: g.cache("C").put("a", 1),
}
GRID_READS = {
    *("alone", "cancel", "check", "check_open", "close", "closed", "default_partitions", "durability"),
    *("in_transaction", "last_commit", "owner_pid", "store", "system_view", "table", "tables"),
}
TABLE_WRITES = {
    "__setitem__": lambda t: t.__setitem__(1, {"N": 7}),
    "__delitem__": lambda t: t.__delitem__(1),
    "clear": lambda t: t.clear(),
    "compact": lambda t: t.compact(),
    "compare_and_set": lambda t: t.compare_and_set(1, {"N": 1}, {"N": 7}),
    "compress": lambda t: t.compress("N"),
    "flush": lambda t: t.flush(),
    "get_and_put": lambda t: t.get_and_put(1, {"N": 7}),
    "get_and_remove": lambda t: t.get_and_remove(1),
    "get_and_replace": lambda t: t.get_and_replace(1, {"N": 7}),
    "increment": lambda t: t.increment(1, "N"),
    "insert_all": lambda t: t.insert_all({7: {"N": 7}}),
    "keep_versions": lambda t: t.keep_versions(3),
    "load": lambda t: t.load({"ID": [7], "N": [7]}),
    "pop": lambda t: t.pop(1),
    "popitem": lambda t: t.popitem(),
    "put": lambda t: t.put(1, {"N": 7}),
    "put_all": lambda t: t.put_all({1: {"N": 7}}),
    "put_if_absent": lambda t: t.put_if_absent(7, {"N": 7}),
    "remove": lambda t: t.remove(1),
    "remove_all": lambda t: t.remove_all([1]),
    "replace": lambda t: t.replace(1, {"N": 7}),
    "restore": lambda t: t.restore("v1"),
    "setdefault": lambda t: t.setdefault(7, {"N": 7}),
    "tag": lambda t: t.tag("v2"),
    "truncate": lambda t: t.truncate(),
    "untag": lambda t: t.untag("v1"),
    "update": lambda t: t.update(1, N=7),
    "writer": lambda t: t.writer().put(7, {"N": 7}),
}
TABLE_READS = {
    *("codec", "contains", "dataset", "folder", "get", "get_all", "grid", "indexes", "items", "keys", "kept"),
    *(
        "memory",
        "partition_of",
        "partitions",
        "partitions_count",
        "past",
        "publish",
        "scan",
        "schema",
        "snapshot",
        "stats",
    ),
    *("tags", "to_arrow", "to_numpy", "to_pandas", "values", "version", "versions"),
}
STATEMENTS = [
    "INSERT INTO T VALUES (7, 7)",
    "SELECT 1; DELETE FROM T",
    "EXPLAIN ANALYZE DELETE FROM T",
    "WITH X AS (SELECT 7 AS ID, 7 AS N) INSERT INTO T SELECT * FROM X",
    "ALTER TABLE T ADD COLUMN M INT",
    "CREATE INDEX I ON T (N)",
    "CREATE USER BOB",
    "ANALYZE T",
    "BEGIN; INSERT INTO T VALUES (7, 7); COMMIT",
]


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


def test_each_method_is_known_to_write_or_not():
    assert public(RemoteGrid) == set(GRID_WRITES) | GRID_READS
    assert public(RemoteTable) | {"__setitem__", "__delitem__"} == set(TABLE_WRITES) | TABLE_READS


def test_nothing_is_written_where_a_grid_is_open_to_read_only(node, address):
    mine = node.grid.create_table("T", COLUMNS, key="ID")
    mine.put(1, {"N": 1})
    mine.tag("v1")
    before = node.grid.last_commit
    with gridflow.connect(address, read_only=True) as grid:
        table = grid.table("T")
        done = []
        for name, write in [*GRID_WRITES.items(), *((f"T.{n}", partial(_of, w)) for n, w in TABLE_WRITES.items())]:
            try:
                write(grid)
            except GridAccessError as error:
                assert "open to read only" in str(error)
            else:
                done.append(name)
        for text in STATEMENTS:
            try:
                grid.sql(text)
            except (GridAccessError, gridflow.SqlError):
                continue
            done.append(text)
        cursor = dbapi.connect(grid).cursor()
        with pytest.raises(GridAccessError):
            cursor.executemany("INSERT INTO T VALUES (?, ?)", [(8, 8), (9, 9)])
        assert done == []
        with grid.transaction() as transaction:
            assert transaction.table("T").get(1) == {"N": 1}
        assert (
            table.get(1) == {"N": 1} and table.to_arrow().num_rows == 1 == len(table) and list(table.tags()) == ["v1"]
        )
        assert grid.sql("SELECT SUM(N) FROM T").scalar() == 1
    assert node.grid.last_commit == before and node.grid.tables() == ["T"]


def _of(write, grid):
    return write(grid.table("T"))


# ---- a node that does not know any more who this is ----

CALLS = {
    "tables": lambda g, t: g.tables(),
    "select": lambda g, t: g.sql("SELECT N FROM T WHERE ID = 1").scalar(),
    "get": lambda g, t: t.get(1),
    "put": lambda g, t: t.put(2, {"N": 2}),
    "insert": lambda g, t: g.sql("INSERT INTO T (ID, N) VALUES (?, ?)", (time.time_ns(), 1)),
    "update": lambda g, t: t.update(1, N=5),
    "scan": lambda g, t: list(t.scan()),
    "view": lambda g, t: g.system_view("TABLES"),
    "transaction": lambda g, t: g.transaction().rollback(),
    "load": lambda g, t: t.load({"ID": [time.time_ns()], "N": [1]}),
    "create": lambda g, t: g.create_table(f"U{time.time_ns()}", COLUMNS, key="ID"),
}


def forget(node):
    """Have a node forget who its clients are, as one that was started again has."""
    endpoint = node.endpoints[-1]
    access = node._requests.access
    access.local_tokens[endpoint] = local_tokens.write_token(endpoint.port)


@pytest.mark.parametrize("name", CALLS)
def test_who_is_known_no_more_logs_in_again(node, address, name):
    node.grid.create_table("T", COLUMNS, key="ID").put(1, {"N": 1})
    with gridflow.connect(address) as grid:
        table = grid.table("T")
        table.put(1, {"N": 1})
        assert table.get(1) == {"N": 1}
        for _ in range(2):
            forget(node)
            grid.open_grid.connection._small = None
            CALLS[name](grid, table)


def test_all_threads_log_in_again(node, address):
    node.grid.create_table("T", COLUMNS, key="ID").put(1, {"N": 1})
    with gridflow.connect(address) as grid:
        errors = []

        def ask():
            try:
                for _ in range(5):
                    grid.tables()
            except GridAccessError as error:
                errors.append(error)

        for _ in range(3):
            forget(node)
            threads = [threading.Thread(target=ask) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert errors == []


def test_an_idle_client_finds_its_node_started_again(tmp_path):
    home = tmp_path / "grid"
    first = Node(home, listen=["grid://127.0.0.1:0"])
    with first:
        address = str(first.endpoints[-1])
        grid = gridflow.connect(address)
        table = grid.create_table("T", COLUMNS, key="ID")
        writer = table.writer()
        writer.put(1, {"N": 1})
        writer.flush()
        table.put(2, {"N": 2})
    with Node(home, listen=[address]):
        time.sleep(0.02)
        table.put(3, {"N": 3})  # the first call: it is certain that the old connection had not taken it
        writer.put(4, {"N": 4})
        writer.close()
        assert sorted(table.to_arrow()["ID"].to_pylist()) == [1, 2, 3, 4]
        grid.close()


def test_a_token_that_is_wrong_is_not_shown_again_and_again(node, address, monkeypatch):
    shown = []
    authenticate = node._requests.access.authenticate

    def counted(*arguments, **more):
        shown.append(arguments)
        return authenticate(*arguments, **more)

    monkeypatch.setattr(node._requests.access, "authenticate", counted)
    with pytest.raises(GridAccessError):
        gridflow.connect(address, token="wrong")
    assert len(shown) == 1


# ---- who somebody is ----


def test_at_a_loopback_address_given_credentials_count(node, address, monkeypatch):
    node.grid.sql("CREATE USER BOB WITH PASSWORD 'warm kitty 1'")
    node.grid.create_table("T", COLUMNS, key="ID")
    with pytest.raises(UsageError, match="give password=, token= or cert="):
        gridflow.connect(address, user="BOB")
    with gridflow.connect(address, user="BOB", password="warm kitty 1") as grid, pytest.raises(GridAccessError):
        grid.sql("DROP TABLE T")
    monkeypatch.setenv("GRIDFLOW_USER", "BOB")
    with pytest.raises(UsageError):
        gridflow.connect(address)
    assert node.grid.tables() == ["T"]


# ---- time ----


@pytest.mark.parametrize("scheme", ["grid", "grid+tls"])
def test_a_node_that_says_nothing_is_waited_for_no_longer_than_that(scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(GridConnectionError):
            gridflow.connect(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", timeout=0.5)
        assert time.monotonic() - began < 5


def test_frames_that_nobody_answers_are_waited_for_no_longer_than_that(node, address):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node._requests.small_ports[node.endpoints[-1]] = silent.getsockname()[1]
        with gridflow.connect(address, timeout=0.5) as grid:
            table = grid.create_table("T", COLUMNS, key="ID")
            began = time.monotonic()
            table.put(1, {"N": 1})
            assert table.get(1) == {"N": 1} and time.monotonic() - began < 4


# ---- signals ----


class Interrupt(BaseException):
    pass


def interrupt(*arguments):
    raise Interrupt


@pytest.fixture
def alarms():
    before = signal.signal(signal.SIGALRM, interrupt)
    yield signal.setitimer
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Interrupting:
    """A lock whose holder is interrupted as soon as it has it, once."""

    def __init__(self, lock):
        self.lock = lock
        self.left = 1

    def acquire(self, blocking=True, timeout=-1):
        got = self.lock.acquire(blocking, timeout)
        if got and self.left:
            self.left = 0
            raise Interrupt
        return got

    def release(self):
        self.lock.release()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one in a callback of Python itself
def test_an_interrupt_between_any_two_steps_leaves_a_grid_that_works(grid, table, alarms):
    table.put(1, {"N": 1})
    assert table.get(1)["N"] == 1
    channel = grid.open_grid.connection._small
    channel._reading = Interrupting(channel._reading)
    with pytest.raises(Interrupt):
        table.get(1)
    assert table.get(1)["N"] == 1
    interrupts, stop = 0, time.monotonic() + 0.7
    while time.monotonic() < stop:
        try:
            alarms(signal.ITIMER_REAL, 0.002, 0.02)
            while True:
                assert table.get(1)["N"] == 1
        except Interrupt:
            interrupts += 1
    assert interrupts > 10
    began = time.monotonic()
    assert table.get(1)["N"] == 1 and time.monotonic() - began < 10


def test_an_interrupt_keeps_the_other_threads_going(grid, table, alarms):
    table.put_all({i: {"N": i, "S": str(i) * 500} for i in range(50)})
    table.get(1)
    wrong, stop = [], time.monotonic() + 1

    def ask(i):
        while time.monotonic() < stop:
            if table.get(i) != {"N": i, "S": str(i) * 500}:
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    while time.monotonic() < stop:
        with contextlib.suppress(Interrupt):
            alarms(signal.ITIMER_REAL, 0.005, 0.02)
            while time.monotonic() < stop:
                assert table.get(9)["N"] == 9
    alarms(signal.ITIMER_REAL, 0)
    for thread in threads:
        thread.join(10)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)


def test_what_a_handler_raises_is_raised(grid, table):
    table.put(1, {"N": 1})
    table.get(1)
    channel = grid.open_grid.connection._small

    def fail(deadline):
        raise TimeoutError("of a handler")

    channel._wire.receive = fail
    with pytest.raises(TimeoutError, match="of a handler"):
        table.get(1)
    assert table.get(1)["N"] == 1


class Slow(Deaf):
    """Sends one batch, and the next one when it is told to."""

    def __init__(self, place):
        super().__init__(place)
        self.goes_on = threading.Event()

    def do_get(self, context, ticket):
        batch = pa.record_batch({"ID": [1]})

        def batches():
            yield batch
            self.goes_on.wait(30)
            yield batch

        return flight.GeneratorStream(batch.schema, batches())


@pytest.mark.parametrize("ends", ["interrupted", "left"])
def test_a_scan_that_waits_ends_at_once(alarms, ends):
    with Slow("grpc://127.0.0.1:0") as server:
        connection = RemoteConnection(Endpoint("grid", host="127.0.0.1", port=server.port), Credentials())
        _, batches = connection.stream(messages.Scan("T", 1, "", None, None))
        next(batches)
        began = time.monotonic()
        if ends == "left":
            batches.close()
        else:
            alarms(signal.ITIMER_REAL, 0.3)
            with pytest.raises(Interrupt):
                next(batches)
        assert time.monotonic() - began < 10
        server.goes_on.set()
        connection.close()


# ---- addresses ----


@pytest.mark.parametrize(
    "home",
    [
        *("grid:/box", "grid//box", "grid ://box", "grid:box", "GRID:/kate:s3cret@box", "grid+tcp://box"),
        *("http://kate:s3cret@box:10850", "tcp://box:10850", "grpc://box", "GRID://kate:s3cret@box", "grid+tls:/box"),
    ],
)
def test_what_is_nearly_an_address_is_refused_and_shows_no_password(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        gridflow.connect(home)
    assert "s3cret" not in str(caught.value)
    assert "grid://host[:port]" in str(caught.value) or "an address holds no user" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_schemes_are_read_in_any_case(address):
    with gridflow.connect(address.replace("grid", "GRID")) as grid:
        assert grid.home == address
