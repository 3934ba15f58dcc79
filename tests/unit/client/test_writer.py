"""Table.writer: in batches, in order, once."""

from __future__ import annotations

import threading
import time

import pytest

import gridflow
from gridflow.errors import DuplicateKeyError, GridClosedError, SchemaError, UsageError
from gridflow.protocols import messages
from gridflow.server import ServerProcess
from gridflow.server.writers import TABLE


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("served") / "grid", "--listen", "grid://127.0.0.1:0") as server:
        yield server


@pytest.fixture(params=["embedded", "served", "remote"])
def any_table(request, tmp_path):
    home = tmp_path / "grid"
    if request.param != "embedded":
        server = request.getfixturevalue("server")
        home = server.home
    if request.param == "remote":
        (home,) = [word for line in server.printed for word in line.split() if word.startswith("grid://")]
    with gridflow.connect(home) as grid:
        yield grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
        grid.drop_table("T")


def test_rows_come_in_batches_and_the_last_one_of_a_key_stays(any_table):
    progress = []
    with any_table.writer(batch_bytes=500, progress=progress.append) as writer:
        for i in range(300):
            writer.put(i % 100, {"N": i})
        assert writer.flush() == 300
        writer.put_all({1000: {"N": 1}, 1001: {"N": 2}})
    assert writer.written == writer.rows == 302 == progress[-1] and progress == sorted(progress)
    assert len(any_table) == 102 and any_table.get(5) == {"N": 205} and any_table.get(1001) == {"N": 2}
    with pytest.raises(GridClosedError, match="the writer is closed"):
        writer.put(1, {"N": 1})
    writer.close()


def test_threads_share_a_writer(any_table):
    with any_table.writer(batch_bytes=2000) as writer:
        threads = [
            threading.Thread(target=lambda i=i: [writer.put(i * 1000 + j, {"N": j}) for j in range(200)])
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(any_table) == 800


def test_what_does_not_fit_is_refused_and_the_rest_is_written(any_table):
    with any_table.writer() as writer:
        writer.put(1, {"N": 1})
        with pytest.raises(SchemaError, match="column N"):
            writer.put(2, {"N": "two"})
        writer.put(3, {"N": 3})
    assert sorted(any_table) == [1, 3]
    for options, message in (({"on_duplicate": "x"}, "on_duplicate is"), ({"batch_bytes": 0}, "batch_bytes is")):
        with pytest.raises(UsageError, match=message):
            any_table.writer(**options)


def test_keys_that_are_there(any_table):
    any_table.put(1, {"N": 0})
    with any_table.writer(on_duplicate="ignore") as writer:
        writer.put_all({1: {"N": 1}, 2: {"N": 2}})
    assert any_table.get_all([1, 2]) == {1: {"N": 0}, 2: {"N": 2}}
    with pytest.raises(DuplicateKeyError, match="key 2"):
        with any_table.writer(on_duplicate="error") as writer:
            writer.put_all({3: {"N": 3}, 2: {"N": 2}})
    assert 3 not in any_table
    with pytest.raises(DuplicateKeyError):
        writer.flush()


def test_an_error_in_the_block_writes_no_more(any_table):
    with pytest.raises(ZeroDivisionError), any_table.writer() as writer:
        writer.put(1, {"N": 1})
        raise ZeroDivisionError
    assert len(any_table) == 0


def test_columns_that_come_meanwhile(any_table):
    with any_table.writer() as writer:
        writer.put(1, {"N": 1})
        writer.flush()
        any_table.grid.alter_table("T", add={"M": "INT"})
        writer.put(2, {"N": 2, "M": 2})
    assert any_table.get_all([1, 2]) == {1: {"N": 1, "M": None}, 2: {"N": 2, "M": 2}}


def test_a_writer_waits_while_too_much_is_on_its_way(node, grid, table, monkeypatch):
    going = threading.Event()
    write = node._requests._remote.writers.write
    monkeypatch.setattr(node._requests._remote.writers, "write", lambda *a: going.wait(20) and write(*a))
    with table.writer(batch_bytes=100) as writer:
        thread = threading.Thread(target=lambda: [writer.put(i, {"N": i}) for i in range(1000)])
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive() and writer.rows < 100
        going.set()
        thread.join()
    assert len(table) == 1000


def test_a_batch_that_comes_twice_is_written_once(node, grid, table):
    from gridflow._native.row_operations import encode_puts

    connection, codec = grid.open_grid.connection, table.codec

    def send(number, key, writer="w1", mode="insert"):
        operations = encode_puts(codec, table.table_id, [(key, {"N": number})])
        message = messages.WriteBatch("T", table.table_id, codec.digest, mode, writer, number, operations)
        return connection.call(message, messages.Done).count

    assert [send(1, 1), send(1, 1), send(2, 2), send(1, 1), send(2, 2)] == [1, 0, 1, 0, 0]
    with pytest.raises(UsageError, match="has come after 2"):
        send(4, 4)
    with pytest.raises(UsageError, match="no mode remove"):
        send(3, 1, mode="remove")
    threads = [threading.Thread(target=send, args=(3, 3)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.get_all(range(5)) == {i: {"N": i, "S": None} for i in (1, 2, 3)}
    numbers = node.grid._system_table(TABLE)
    assert numbers.get("w1")["NUMBER"] == 3
    connection.call(messages.EndWriter("w1"), messages.Done)
    assert numbers.get("w1") is None
