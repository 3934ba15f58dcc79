"""`gridflow serve` as a real process, with real clients: start, stop, crash, and what clients see of it."""

from __future__ import annotations

import gc
import os
import signal
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
import pytest

import gridflow
from gridflow.client import table as client_table
from gridflow.protocols import messages
from gridflow.protocols.address import Endpoint, Route
from gridflow.server import ServerProcess
from gridflow.server.flight_sql import ACTIONS as FLIGHT_ACTIONS
from gridflow.storage.lock import holder
from gridflow.testing import verify


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "grid"
    yield home
    (home / "serve.sock").unlink(missing_ok=True)  # what a killed server leaves
    if (home / "catalog").exists():  # whatever a test did, the grid is sound and free after it
        verify(home)


@pytest.fixture
def server(home):
    with ServerProcess(home, "--partitions", "64") as server:
        yield server


def run_python(code: str, home, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", f"import gridflow, os, sys\nHOME = {str(home)!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_a_client_cancels_a_statement_that_its_owner_runs(server, home):
    endless = "INSERT INTO T SELECT a.range FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3"
    with gridflow.connect(home) as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY)")
        assert grid.cancel() == 0
        failures = []

        def insert():
            try:
                grid.sql(endless)
            except gridflow.SqlError as error:
                failures.append(str(error))

        thread = threading.Thread(target=insert)
        thread.start()
        while thread.is_alive():  # one that comes before the engine works, or after, ends nothing
            grid.cancel()
            thread.join(timeout=0.05)
        assert failures == ["cancelled; nothing of the statement was done"]
        assert len(grid.table("T")) == 0
        assert grid.sql("INSERT INTO T VALUES (1)").rowcount == 1  # the next one is not hit


def test_a_second_process_is_a_client_and_reads_what_it_wrote(server, home):
    code = """
with gridflow.connect(HOME) as grid:
    table = grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
    table.put(1, {"NAME": "from a second process"})
    print(grid.owner, table.get(1)["NAME"])
"""
    done = run_python(code, home)
    assert done.stdout == "False from a second process\n", done.stderr
    with gridflow.connect(home) as grid:
        assert grid.owner_pid == server.pid
        assert grid.sql("SELECT NAME FROM T").fetchall() == [("from a second process",)]


def test_the_socket_is_for_its_user_only(server, home):
    assert stat.S_IMODE((home / "serve.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_tables_get_the_partitions_that_the_server_was_given(server, home):
    with gridflow.connect(home) as grid:
        assert grid.create_table("A", {"ID": "LONG"}, key="ID").partitions_count == 64
        assert grid.create_table("B", {"ID": "LONG"}, key="ID", partitions=7).partitions_count == 7
        grid.cache("C").put(1, {"X": 1})
        grid.sql("CREATE TABLE D (ID LONG PRIMARY KEY)")
        assert [grid.table(name).partitions_count for name in "CD"] == [64, 64]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_cleanly(server, home, number):
    with gridflow.connect(home) as grid:
        grid.create_table("T", {"ID": "LONG"}, key="ID").put_all((i, {}) for i in range(100))
        os.kill(server.pid, number)
        assert server.stop() == 0
    assert not (home / "serve.sock").exists()
    with gridflow.connect(home) as grid:
        assert grid.owner and len(grid.table("T")) == 100
        assert grid.table("T").stats()["memory_rows"] == 0


def test_every_write_that_was_acknowledged_before_a_stop_is_there(server, home):
    acknowledged: list[int] = []
    started = threading.Event()

    def write(first: int) -> None:
        with gridflow.connect(home) as grid:
            table = grid.table("T")
            try:
                for i in range(first, first + 1_000_000):
                    table.put(i, {"NAME": "x" * 50})
                    acknowledged.append(i)
                    if len(acknowledged) > 300:
                        started.set()
            except gridflow.GridConnectionError:
                return

    with gridflow.connect(home) as grid:
        grid.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
    writers = [threading.Thread(target=write, args=(n * 1_000_000,)) for n in range(3)]
    for writer in writers:
        writer.start()
    assert started.wait(60)
    os.kill(server.pid, signal.SIGTERM)
    os.kill(server.pid, signal.SIGTERM)  # an impatient second one changes nothing
    os.kill(server.pid, signal.SIGINT)
    assert server.stop() == 0
    for writer in writers:
        writer.join()
    with gridflow.connect(home) as grid:
        kept = set(grid.table("T").to_arrow(["ID"])["ID"].to_pylist())
        assert kept >= set(acknowledged)


def test_after_kill_9_all_is_there_and_clients_find_the_next_server(server, home):
    with gridflow.connect(home) as client:
        table = client.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
        table.put_all((i, {"NAME": str(i)}) for i in range(1000))
        server.kill()
        assert (home / "serve.sock").exists()
        assert table.get(500) == {"NAME": "500"}  # reading asks nobody
        assert len(table) == 1000 and table.to_arrow().num_rows == 1000
        with pytest.raises(gridflow.GridConnectionError, match=f"pid {server.pid}.*gridflow serve --home {home}"):
            table.put(1, {"NAME": "lost"})
        with ServerProcess(home) as second:
            assert second.pid != server.pid
            table.put(1000, {"NAME": "to the second"})
            assert len(table) == 1001
            assert table.get(1) == {"NAME": "1"}
        assert not (home / "serve.sock").exists()


def test_a_second_server_names_the_first_and_leaves_it_alone(server, home):
    command = [sys.executable, "-m", "gridflow", "serve", "--home", str(home)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert f"served by process {server.pid} already" in second.stderr
    assert "Traceback" not in second.stderr
    with gridflow.connect(home) as grid:
        assert grid.tables() == []


def test_a_grid_that_a_program_owns_cannot_be_served_and_says_whose_it_is(home):
    with (
        gridflow.connect(home),
        pytest.raises(gridflow.GridConnectionError, match=f"owned by process {os.getpid()}"),
    ):
        ServerProcess(home)


def test_a_socket_that_a_dead_server_left_does_not_hide_the_owner(home):
    with ServerProcess(home) as server:
        server.kill()
    code = """
grid = gridflow.connect(HOME, embedded=True)
import subprocess
code = "import gridflow; gridflow.connect(%r)" % HOME
print(os.getpid(), subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr)
"""
    done = run_python(code, home)
    pid = done.stdout.split()[0]
    assert f"GridOwnedError: grid {home} is owned by process {pid}" in done.stdout


def test_a_grid_whose_server_was_killed_stays_served(home):
    """Who connects meanwhile must not keep the server from coming back."""
    with ServerProcess(home) as server, gridflow.connect(home) as client:
        client.create_table("T", {"ID": "LONG"}, key="ID").put(1, {})
        server.kill()
    for _ in range(2):
        with pytest.raises(
            gridflow.GridConnectionError,
            match=f"killed.*within 0 s.*gridflow serve --home {home}.*embedded=True.*--embedded",
        ):
            gridflow.connect(home, timeout=0)
    with gridflow.connect(home, read_only=True) as reader:
        assert len(reader.table("T")) == 1
    arguments = ["-m", "gridflow", "info", "--home", str(home)]
    info = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60)
    assert info.returncode == 0 and "its server was killed" in info.stdout
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(gridflow.connect(home, timeout=60)))
    waiting.start()
    with ServerProcess(home) as second:
        waiting.join(60)
        with answers[0] as client:
            assert client.owner_pid == second.pid and client.table("T").contains(1)
    with gridflow.connect(home) as grid:  # it was stopped, and not killed
        assert grid.owner


def test_a_server_that_is_just_starting_for_the_first_time_is_waited_for(home):
    code = f"""
import sys, threading, time
from gridflow.server import flight, node
start = flight.FlightService.start
def slowly(service, requests):
    time.sleep(1)
    start(service, requests)
flight.FlightService.start = slowly
with node.Node({str(home)!r}):
    sys.stdin.read()
"""
    server = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        while holder(home) is None and server.poll() is None:
            time.sleep(0.01)
        with pytest.raises(gridflow.GridOwnedError, match="does not answer on its socket"):
            gridflow.connect(home, timeout=0)
        with pytest.raises(gridflow.GridOwnedError, match="connect without embedded=True"):
            gridflow.connect(home, embedded=True)
        with gridflow.connect(home, timeout=60) as client:
            assert client.owner_pid == server.pid
    finally:
        server.communicate(timeout=60)


def test_a_grid_whose_server_was_killed_can_be_owned_all_the_same(home):
    with ServerProcess(home) as server:
        server.kill()
    with gridflow.connect(home, embedded=True) as grid:
        assert grid.owner and not (home / "serve.sock").exists()
        with gridflow.connect(home) as again:
            assert again.open_grid is grid.open_grid
    with gridflow.connect(home, timeout=0) as grid:
        assert grid.owner
    with ServerProcess(home) as server, pytest.raises(gridflow.GridOwnedError, match=f"served by process {server.pid}"):
        gridflow.connect(home, embedded=True)


def test_a_server_that_leaves_its_grid_to_the_next_one(home):
    with ServerProcess(home, "--stay-served"):
        pass
    with pytest.raises(gridflow.GridConnectionError, match="gridflow serve --home"):
        gridflow.connect(home, timeout=0)
    with ServerProcess(home), gridflow.connect(home) as client:
        assert not client.owner


@pytest.mark.parametrize("name", ["with space", "ümlaut-✓", "x" * 150])
def test_a_grid_may_lie_anywhere(tmp_path, name):
    home = tmp_path / name
    with ServerProcess(home), gridflow.connect(home) as grid:
        grid.create_table("T", {"ID": "LONG"}, key="ID").put(1, {})
        assert len(grid.table("T")) == 1


def test_a_client_that_dies_while_it_loads_leaves_nothing(server, home):
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")
        code = """
import numpy as np
def rows():
    for i in range(50):
        yield pa.record_batch({"ID": np.arange(i * 1000, i * 1000 + 1000), "X": np.arange(1000)})
    print("sent", flush=True)
    sys.stdin.read()
import pyarrow as pa
schema = pa.schema([("ID", pa.int64()), ("X", pa.int64())])
gridflow.connect(HOME).table("T").load(pa.RecordBatchReader.from_batches(schema, rows()))
"""
        command = [sys.executable, "-c", f"import gridflow, sys\nHOME = {str(home)!r}\n{code}"]
        loader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert loader.stdout.readline() == b"sent\n"
        loader.kill()
        loader.communicate()
        table.put(1, {"X": 1})  # waits until the node has given the load up
        assert len(table) == 1


def test_a_stop_does_not_wait_for_a_client_that_never_ends_its_load(home):
    from gridflow.server import Node

    node = Node(home)
    table = node.grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.put(5, {})
    route = Route(Endpoint.of_grid(home))
    client = flight.FlightClient(route.flight_uri)
    load = flight.FlightDescriptor.for_command(messages.encode(messages.Load("T", "replace")))
    writer, _ = client.do_put(load, pa.schema([("ID", pa.int64())]))  # and no batch ever follows
    while not table.loads:  # until it is under way
        time.sleep(0.01)
    assert node.stop(grace=0.2) == 1
    route.close()
    assert not (home / "serve.sock").exists()


def test_a_forked_child_can_collect_what_its_parent_left(server, home):
    """A channel that only garbage refers to: to destroy it in the child would wait for a thread of the parent's."""
    grid = gridflow.connect(home)
    grid.create_table("T", {"ID": "LONG"}, key="ID").put(1, {})
    gc.collect()  # clients that other tests have made themselves
    garbage = [grid.open_grid.connection._client]
    garbage.append(garbage)
    gc.disable()
    try:
        del garbage
        pid = os.fork()
        if pid == 0:
            try:
                event = threading.Event()
                threads = [threading.Thread(target=event.wait, daemon=True) for _ in range(20)]
                for thread in threads:  # in the place of the parent's
                    thread.start()
                gc.collect()
                os._exit(0 if grid.table("T").get(1) == {} else 3)
            finally:
                os._exit(1)
    finally:
        gc.enable()
    give_up = time.monotonic() + 30
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < give_up:
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended == (pid, 0)
    grid.close()


def test_many_threads_of_a_client_write_at_once(server, home):
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")

        def write(start: int) -> None:
            for i in range(start, start + 200):
                table.put(i, {"X": i})
                assert table.get(i) == {"X": i}

        threads = [threading.Thread(target=write, args=(n * 1000,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(table) == 800


def test_a_child_that_is_forked_goes_on_with_the_grid(server, home):
    code = """
with gridflow.connect(HOME) as grid:
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    for i in range(20):
        table.put(i, {})
        pid = os.fork()
        if pid == 0:
            table.put(1000 + i, {})  # by what it had before the fork
            with gridflow.connect(HOME) as fresh:
                fresh.table("T").put(2000 + i, {})
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    print(len(table))
"""
    done = run_python(code, home)
    assert done.stdout == "60\n", done.stderr


def test_a_node_that_does_not_answer_is_an_error_in_time(server, home, monkeypatch):
    monkeypatch.setattr(client_table, "COMMIT_TIMEOUT", 0.3)
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG"}, key="ID")
        table.put(0, {})  # which opens the ring: that nothing was sent would be known of the first one
        os.kill(server.pid, signal.SIGSTOP)
        os.waitpid(server.pid, os.WUNTRACED)  # it takes a moment
        try:
            with pytest.raises(gridflow.GridConnectionError, match="did not answer within 0.3 s.*not known"):
                table.put(1, {})
        finally:
            os.kill(server.pid, signal.SIGCONT)
        table.put(2, {})
        assert 2 in table


def test_a_long_error_arrives_whole(server, home):
    with gridflow.connect(home) as grid:
        name = "N" * 200
        columns = ", ".join(f"{name}{i} LONG" for i in range(150))
        grid.sql(f"CREATE TABLE T (ID LONG PRIMARY KEY, {columns})")
        with pytest.raises(gridflow.GridflowError) as caught:
            grid.sql(f"DELETE FROM {'X' * 20_000}")
        assert "X" * 20_000 in str(caught.value)


@pytest.fixture
def raw(server, home):
    route = Route(Endpoint.of_grid(home))
    with flight.FlightClient(route.flight_uri) as client:
        yield client
    route.close()


def error_of(caught) -> gridflow.GridflowError:
    return messages.decode_error(caught.value.extra_info)


def test_requests_that_make_no_sense_are_refused_and_the_node_goes_on(raw, home):
    for action, body in (
        ("hello", b""),
        ("commit", b"\xff" * 100),
        ("shutdown", b"{}"),
        ("flush", b"\0" * 8),
    ):
        with pytest.raises(flight.FlightServerError) as caught:
            list(raw.do_action(flight.Action(action, body)))
        assert isinstance(error_of(caught), (gridflow.GridConnectionError, gridflow.UsageError))
    with pytest.raises(flight.FlightServerError):
        raw.do_get(flight.Ticket(b"no message")).read_all()
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG", "S": "VARCHAR"}, key="ID")
        good = table._encode_put(1, {"S": "text"})
        for mode, operations in (
            ("put", good[:-1]),
            ("put", good + b"\0"),
            ("remove", good),
            ("explode", good),
            ("put", b"\xff" * 40),
        ):
            with pytest.raises(flight.FlightServerError) as caught:
                commit = messages.Commit("T", table.table_id, table.codec.digest, mode, operations)
                list(raw.do_action(flight.Action("commit", messages.encode(commit))))
            assert isinstance(error_of(caught), gridflow.UsageError)
        assert len(table) == 0


def test_a_load_that_is_not_ended_or_not_counted_right_keeps_nothing(raw, home):
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG"}, key="ID")
        for end in (None, messages.LoadEnd(2), messages.Done(3)):
            load = flight.FlightDescriptor.for_command(messages.encode(messages.Load("T", "replace")))
            writer, answers = raw.do_put(load, pa.schema([("ID", pa.int64())]))
            writer.write_batch(pa.record_batch({"ID": np.arange(3)}))
            if end is not None:
                writer.write_metadata(messages.encode(end))
            writer.done_writing()
            with pytest.raises(flight.FlightServerError) as caught:
                answers.read()
                writer.close()
            assert isinstance(error_of(caught), gridflow.GridConnectionError)
        assert len(table) == 0


def test_what_a_node_offers_is_listed(raw):
    offered = {action.type: action.description for action in raw.list_actions()}
    tables = {
        "create_table",
        "alter_table",
        "drop_table",
        "truncate",
        "flush",
        "compact",
        "tag",
        "untag",
        "restore",
        "keep_versions",
        "compress",
        "commit",
        "commit_transaction",
    }
    elsewhere = {
        *(
            "ask",
            "ask_grid",
            "ask_version",
            "begin",
            "check",
            "describe",
            "end",
            "end_writer",
            "get",
            "get_all",
            "hold",
        ),
        *("list_tables", "sql_many", "swap", "write", "write_batch"),
    }
    assert set(offered) == {"hello", "goodbye", "cancel", "open_ring"} | tables | elsewhere | set(FLIGHT_ACTIONS)
    assert all(offered.values())
