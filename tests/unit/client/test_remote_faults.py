"""A remote grid whose wire breaks or whose node goes away: no write is repeated in the dark, no call waits for ever."""

from __future__ import annotations

import logging
import signal
import threading
import time

import pytest

import gridflow
from gridflow.client import ServedGrid, remote_grid
from gridflow.errors import GridAccessError, GridConnectionError, TransactionConflictError
from gridflow.server import Node, ServerProcess
from gridflow.server import transactions as kept

SECRET = "s3cret-kitty"


@pytest.fixture
def open_table(node, proxied):
    node.grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID").put(1, {"N": 1})
    with proxied.open(timeout=2) as grid:
        table = grid.table("T")
        assert table.get(1) == {"N": 1} == table.get(1)  # by Flight, then by frames
        yield table


def test_a_cut_connection_is_made_anew(open_table, proxied):
    for _ in range(3):
        proxied.cut()
        time.sleep(0.05)  # so that the client can know
        assert open_table.get(1) == {"N": 1}
        assert open_table.grid.sql("SELECT N FROM T").scalar() == 1


def test_a_write_whose_answer_was_lost_says_that_it_may_have_happened(open_table, proxied, node):
    proxied.frames.swallows = True
    results = []

    def put():
        try:
            open_table.put(2, {"N": 2})
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=put)
    before = proxied.frames.passed
    thread.start()
    while proxied.frames.passed == before:
        time.sleep(0.01)
    proxied.frames.cut()
    thread.join()
    (error,) = results
    assert isinstance(error, GridConnectionError) and "whether it did what was asked is not known" in str(error)
    proxied.frames.swallows = False
    assert open_table.get(2) == {"N": 2} == node.grid.table("T").get(2)  # it did


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(open_table, proxied):
    proxied.frames.swallows = proxied.flight.swallows = True
    began = time.monotonic()
    for call in (lambda: open_table.put(3, {"N": 3}), lambda: open_table.get(1), lambda: len(open_table)):
        with pytest.raises(GridConnectionError):
            call()
    assert time.monotonic() - began < 30


def test_a_node_that_is_gone_for_good_is_an_error_in_time(open_table, proxied, node):
    proxied.frames.refuses = proxied.flight.refuses = True
    proxied.cut()
    began = time.monotonic()
    for call in (
        lambda: open_table.get(1),
        lambda: open_table.put(1, {"N": 2}),
        lambda: open_table.grid.sql("SELECT 1"),
        lambda: list(open_table.scan()),
        lambda: open_table.load({"ID": [5], "N": [5]}),
        lambda: open_table.grid.transaction(),
    ):
        with pytest.raises(GridConnectionError, match="cannot be reached|did not answer"):
            call()
    assert time.monotonic() - began < 60
    with pytest.raises(GridConnectionError):
        gridflow.connect("grid://127.0.0.1:1", timeout=2)


def test_a_node_that_is_started_again_is_found(tmp_path):
    home = tmp_path / "grid"
    with Node(home, listen=["grid://127.0.0.1:0"]) as node:
        address = str(node.endpoints[-1])
        grid = gridflow.connect(address)
        table = grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
        table.put(1, {"N": 1})
        table.put(2, {"N": 2})
        transaction = grid.transaction()
        transaction.table("T").put(3, {"N": 3})
    with pytest.raises(GridConnectionError):
        table.get(1)
    with Node(home, listen=[address]):
        assert table.get(1) == {"N": 1} and grid.tables() == ["T"]
        table.put(4, {"N": 4})
        table.put(5, {"N": 5})
        with pytest.raises(TransactionConflictError, match="does not know the transaction any more"):
            transaction.commit()
        assert grid.run(lambda t: t.table("T").get(4)) == {"N": 4}
        grid.close()


def test_a_transaction_that_lies_idle_is_rolled_back(node, grid, table):
    node._requests._remote.transactions.idle_seconds = 0.3
    transaction = grid.transaction()
    transaction.table("T").put(1, {"N": 1})
    deadline = time.monotonic() + 10
    while node._requests._remote.transactions._kept and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(TransactionConflictError, match="nothing of it has happened"):
        transaction.commit()
    assert table.get(1) is None


def test_a_client_that_leaves_leaves_no_transaction(node, address, monkeypatch):
    with gridflow.connect(address) as grid:
        grid.create_table("T", {"ID": "LONG"}, key="ID")
        left = grid.transaction()
        left.table("T").put(1, {})
        assert len(node._requests._remote.transactions._kept) == 1
    assert not node._requests._remote.transactions._kept
    monkeypatch.setattr(kept, "MOST_TRANSACTIONS", 2)
    with gridflow.connect(address) as grid:
        some = [grid.transaction() for _ in range(2)]
        with pytest.raises(gridflow.UsageError, match="2 transactions at most"):
            grid.transaction()
        some[0].rollback()
        grid.transaction().rollback()


def test_a_node_of_this_machine_is_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_grid, "MAPS_LOCAL", True)
    with ServerProcess(tmp_path / "grid", "--listen", "grid://127.0.0.1:0") as server:
        (address,) = [word for line in server.printed for word in line.split() if word.startswith("grid://")]
        with gridflow.connect(address) as grid:
            assert isinstance(grid, ServedGrid) and grid.home == server.home


def test_passwords_open_the_door_and_show_nowhere(node, address, caplog):
    caplog.set_level(logging.DEBUG)
    node.grid.sql(f"CREATE USER KATE WITH PASSWORD '{SECRET}'; GRANT WRITER TO KATE")
    node.grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
    seen = []
    with gridflow.connect(address, user="KATE", password=SECRET) as grid:
        table = grid.table("T")
        table.put(1, {"N": 1})
        assert table.get(1) == {"N": 1} == table.get(1) and grid.tables() == ["T"]
        seen += [repr(grid), repr(table), repr(grid.open_grid.connection), repr(vars(grid.open_grid))]
        node.grid.sql("REVOKE WRITER FROM KATE; GRANT READER TO KATE")
        assert table.get(1) == {"N": 1}
        insert = "INSERT INTO T (ID, N) VALUES (?, ?)"
        for i in range(3):  # the node has a fast path for it by now
            with gridflow.connect(address) as own:
                own.sql(insert, [100 + i, 1])
        for write in (
            lambda: table.put(1, {"N": 2}),
            lambda: table.remove(1),
            lambda: grid.sql(insert, [7, 7]),
            lambda: grid.sql("DELETE FROM T"),
            lambda: grid.run(lambda t: t.table("T").put(1, {"N": 2})),
            lambda: grid.run(lambda t: t.sql("DELETE FROM T")),
            lambda: table.update(1, N=2),
            lambda: table.load({"ID": [5], "N": [5]}),
        ):
            with pytest.raises(GridAccessError) as caught:
                write()
            seen.append(str(caught.value))
        with pytest.raises(GridAccessError), table.writer() as writer:
            writer.put(1, {"N": 2})
        assert len(table) == 4 and table.get(1) == {"N": 1}
        node.grid.sql("DROP USER KATE")
        for call in (lambda: table.get(1), lambda: table.put(1, {"N": 2}), grid.tables):
            with pytest.raises(GridAccessError) as caught:
                call()
            seen.append(str(caught.value))
    for options in ({"user": "KATE", "password": SECRET}, {"token": SECRET}):
        with pytest.raises(GridAccessError) as caught:
            gridflow.connect(address, **options)
        seen.append(str(caught.value))
    assert SECRET not in " ".join(seen) + caplog.text


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.long)])
def test_a_writer_writes_each_row_once_through_kills_of_its_node(tmp_path, rounds):
    home = tmp_path / "grid"
    server = ServerProcess(home, "--listen", "grid://127.0.0.1:0")
    (address,) = [word for line in server.printed for word in line.split() if word.startswith("grid://")]
    try:
        with gridflow.connect(address) as grid:
            table = grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
            progress = []
            # "error": a batch that was committed twice would be a DuplicateKeyError.
            with table.writer(on_duplicate="error", batch_bytes=1000, progress=progress.append) as writer:
                for round_ in range(rounds):
                    for i in range(400):
                        writer.put(round_ * 400 + i, {"N": i})
                    server._process.send_signal(signal.SIGKILL)
                    server._process.wait()
                    server = ServerProcess(home, "--listen", address)
            total = rounds * 400
            assert writer.written == total == progress[-1] and len(table) == total
            assert grid.check() == []
    finally:
        server.stop()
