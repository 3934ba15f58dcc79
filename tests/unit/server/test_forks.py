"""Forked children of processes that have used gRPC or the query engine, and processes that end while they use it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gridflow
from gridflow.server import ServerProcess

PRELUDE = """
import gridflow, os, signal, sys, threading, time
HOME = {home!r}
ENDLESS = "SELECT COUNT(*) FROM RANGE(1000000) A, RANGE(1000000) B WHERE (A.RANGE * B.RANGE) % 7 = 8"
AT_ENGINE = "SELECT COUNT(*), MAX(NAME) FROM T WHERE NAME LIKE '%W%'"

def in_child(action):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a child that hangs
        action()
        sys.exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run_python(code: str, home, timeout: float = 60) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRELUDE.format(home=str(home)) + code],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture
def kittens(home):
    with gridflow.connect(home) as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
        grid.sql("INSERT INTO T VALUES (1, 'WARM KITTY'), (2, 'SOFT KITTY')")
    return home


@pytest.fixture
def server(kittens):
    with ServerProcess(kittens) as server:
        yield server


@pytest.mark.parametrize("leave", ["grid.close()", "grid.open_grid.connection.drop_channel()", "pass"])
def test_a_child_that_is_forked_soon_after_a_channel_was_closed_has_one_of_its_own(server, kittens, leave):
    code = f"""
def child():
    with gridflow.connect(HOME) as grid:
        grid.sql("DELETE FROM T WHERE ID = 17")

codes = set()
for i in range(8):
    grid = gridflow.connect(HOME)
    grid.sql("DELETE FROM T WHERE ID = 18")
    {leave}
    codes.add(in_child(child))
    grid.close()
print(codes)
"""
    done = run_python(code, kittens)
    assert done.stdout == "{7}\n", done.stderr


def test_a_node_that_was_stopped_and_is_garbage_is_no_node(server, kittens, tmp_path):
    code = f"""
import gc
from gridflow.server import Node

gc.disable()
node = Node({str(tmp_path / "other")!r})
garbage = [node._services[0]._server]
garbage.append(garbage)
node.stop()
del node, garbage

def child():
    with gridflow.connect(HOME) as grid:
        grid.sql("DELETE FROM T WHERE ID = 17")

print(in_child(child))
"""
    done = run_python(code, kittens)
    assert done.stdout == "7\n", done.stderr


def test_a_child_says_what_to_do_where_grpc_ran_when_it_was_forked(kittens):
    code = """
from gridflow.server import Node

def child():
    try:
        gridflow.connect(HOME)
    except gridflow.GridConnectionError as error:
        assert "was forked while its parent served a grid" in str(error), error
        with gridflow.connect(HOME, read_only=True) as grid:
            assert grid.sql(AT_ENGINE).fetchall() == [(1, "WARM KITTY")]
        sys.exit(9)

with Node(HOME):
    print(in_child(child))
"""
    done = run_python(code, kittens)
    assert done.stdout == "9\n", done.stderr


@pytest.mark.parametrize("used", ["grid.sql(AT_ENGINE)", "pass"])
def test_a_child_of_a_process_that_has_used_the_engine_ends_with_its_own_code(server, kittens, used):
    code = f"""
grid = gridflow.connect(HOME)
grid.sql(AT_ENGINE)
kept = threading.Event()
other = threading.Thread(target=lambda: (grid.sql(AT_ENGINE), kept.set(), time.sleep(3600)), daemon=True)
other.start()
kept.wait()

def child():
    {used}

print({{in_child(child) for _ in range(3)}})
"""
    done = run_python(code, kittens)
    assert (done.returncode, done.stdout) == (0, "{7}\n"), done.stderr


@pytest.mark.parametrize("query", ["ENDLESS", "AT_ENGINE"])
def test_a_process_ends_with_its_own_code_while_a_thread_has_a_query_run(kittens, query):
    code = f"""
grid = gridflow.connect(HOME)
begun = threading.Event()

def ask():
    while True:
        begun.set()
        try:
            grid.sql({query})
        except gridflow.GridflowError:
            pass

for _ in range(2):
    threading.Thread(target=ask, daemon=True).start()
begun.wait()
time.sleep(0.2)
sys.exit(5)
"""
    done = run_python(code, kittens)
    assert done.returncode == 5, done.stderr
