"""Statements at a node that end before they are done: by a signal, with their client, at a limit, with the node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pytest

import gridflow
from gridflow.server import ServerProcess

ENDLESS = "SELECT SUM((A.RANGE * B.RANGE) % 7) AS R FROM RANGE(1000000) A, RANGE(1000000) B"
DELETE = f"DELETE FROM T WHERE ID IN (SELECT R FROM ({ENDLESS}))"
#: Far more than it takes, far less than the statements do.
SOON = 10.0


@pytest.fixture
def server(home):
    with ServerProcess(home) as server:
        yield server


@pytest.fixture
def client(server, home):
    with gridflow.connect(home) as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
        grid.sql("INSERT INTO T VALUES (1, 'WARM KITTY')")
        yield grid


def running_at_node(client) -> int:
    """How many statements run at the node."""
    rows = client.sql(f"SELECT COUNT(*) FROM SYS.SQL_QUERIES WHERE SQL LIKE 'DELETE%' AND PID = {client.owner_pid}")
    return rows.fetchall()[0][0]


def wait_until_running(client, count: int) -> None:
    give_up = time.monotonic() + SOON
    while running_at_node(client) != count:
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.parametrize("own_handler", [True, False])
def test_a_signal_ends_a_clients_statement_at_the_node(client, own_handler):
    class Signalled(Exception):
        pass

    def handler(number, frame):
        raise Signalled

    before = signal.signal(signal.SIGINT, handler if own_handler else signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(Signalled if own_handler else KeyboardInterrupt):
            client.sql(DELETE)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    wait_until_running(client, 0)
    assert client.sql("DELETE FROM T WHERE NAME LIKE '%W%'").rowcount == 1


def test_a_statement_ends_with_its_client(client, home):
    code = f"import gridflow; gridflow.connect({str(home)!r}).sql({DELETE!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_until_running(client, 1)
    process.kill()
    process.wait()
    wait_until_running(client, 0)


def test_a_time_limit_holds_at_the_node(client):
    client.sql("SET QUERY_TIMEOUT = 200")
    with pytest.raises(gridflow.QueryTimeoutError, match=r"has run for 0.2 s, its time limit"):
        client.sql(DELETE)
    with pytest.raises(gridflow.QueryTimeoutError):
        client.sql(ENDLESS)
    client.sql("SET QUERY_TIMEOUT = 0")
    assert client.sql("DELETE FROM T WHERE NAME LIKE '%W%'").rowcount == 1


def test_a_node_that_stops_ends_statements_and_loads(client, server):
    failures = []

    def fail(action):
        try:
            action()
        except gridflow.GridflowError as error:
            failures.append(str(error))

    batch = pa.record_batch({"ID": [2], "NAME": ["SOFT KITTY"]})
    endless = pa.RecordBatchReader.from_batches(batch.schema, iter(lambda: batch, None))
    threads = [
        threading.Thread(target=fail, args=(lambda: client.sql(DELETE),)),
        threading.Thread(target=fail, args=(lambda: client.table("T").load(endless, on_duplicate="error"),)),
    ]
    for thread in threads:
        thread.start()
    wait_until_running(client, 1)
    assert server.stop(timeout=30) == 0
    for thread in threads:
        thread.join()
    assert sorted(failure.split("; ")[0] for failure in failures) == ["the node is stopping"] * 2


def test_a_nodes_own_time_limit_holds_for_all_clients(home):
    with ServerProcess(home, "--query-timeout", "0.2", "--query-memory", "100000000"), gridflow.connect(home) as client:
        client.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
        client.sql("SET QUERY_TIMEOUT = 3600000")
        with pytest.raises(gridflow.QueryTimeoutError, match=r"0.2 s, its time limit"):
            client.sql(DELETE)
