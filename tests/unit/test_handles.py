"""Handles: each ``connect`` gives one of its own, on one open grid, and each is closed once."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import gridflow
from gridflow import GridClosedError, GridNotFoundError, TableNotFoundError, UsageError, dbapi
from gridflow.registry import owned_grid, using_owned
from gridflow.server import ServerProcess
from gridflow.stored_table import open_table
from gridflow.testing import verify

COLUMNS = {"ID": "LONG", "N": "LONG"}


@pytest.fixture
def grid(home):
    with gridflow.connect(home / "grid") as grid:
        grid.create_table("T", COLUMNS, key="ID").put(1, {"N": 1})
        yield grid


def test_a_callees_close_leaves_the_callers_grid_open(grid):
    def callee():
        mine = gridflow.connect(grid.home)
        assert mine is not grid and mine.table("T") is grid.table("T")
        mine.table("T").put(2, {"N": 2})
        for _ in range(3):  # which used up the counts of others
            mine.close()
        assert mine.closed and not grid.closed

    callee()
    callee()
    assert grid.sql("SELECT COUNT(*) FROM T").fetchall() == [(2,)] and grid.table("T").get(2) == {"N": 2}


def test_the_last_handle_closes_the_grid_in_whatever_order(home):
    handles = [gridflow.connect(home) for _ in range(3)]
    assert len({id(handle) for handle in handles}) == 3
    for number in (1, 0):
        handles[number].close()
        assert handles[number].closed and owned_grid(home) is not None
    handles[2].create_table("T", COLUMNS, key="ID")
    handles[2].close()
    assert owned_grid(home) is None
    verify(home)


def test_whatever_is_called_on_a_closed_handle_says_so(grid):
    mine = gridflow.connect(grid.home)
    cache, session, transaction = mine.cache("C"), mine.session(), mine.transaction()
    mine.sql("SELECT 1")
    mine.close()
    calls = {
        "sql": lambda: mine.sql("SELECT 1"),
        "table": lambda: mine.table("T"),
        "tables": mine.tables,
        "all_tables": mine._all_tables,
        "in": lambda: "T" in mine,
        "create_table": lambda: mine.create_table("U", COLUMNS, key="ID"),
        "alter_table": lambda: mine.alter_table("T", add={"X": "INT"}),
        "drop_table": lambda: mine.drop_table("T"),
        "alter_options": lambda: mine._alter_options("T", dict),
        "cache": lambda: mine.cache("C"),
        "cache.put": lambda: cache.put(1, 1),
        "transaction": mine.transaction,
        "session": mine.session,
        "run": lambda: mine.run(lambda transaction: None),
        "system_view": lambda: mine.system_view("TABLES"),
        "flush": mine.flush,
        "session.sql": lambda: session.sql("SELECT 1"),
        "session.table": lambda: session.table("T"),
        "transaction.table": lambda: transaction.table("T"),
        "transaction.commit": transaction.commit,
    }
    for name, call in calls.items():
        with pytest.raises(GridClosedError, match="the grid is closed here"):
            pytest.fail(f"{name} gave {call()!r}")
    assert repr(mine).endswith("(closed)>") and repr(grid).endswith("(owner)>")
    assert grid.sql("SELECT N FROM T").fetchall() == [(1,)]


def test_a_table_of_a_closed_handle_goes_on_while_the_grid_is_open(grid):
    with gridflow.connect(grid.home) as mine:
        table = mine.table("T")
        assert table.grid is grid, "the first that is open"
    table.put(5, {"N": 5})
    assert table.grid is grid and len(table) == 2
    grid.close()
    for call in (lambda: table.put(6, {"N": 6}), lambda: table.grid, lambda: len(table)):
        with pytest.raises(GridClosedError):
            call()


def test_the_tables_grid_is_no_closed_handle(home):
    first = gridflow.connect(home)
    table = first.create_table("T", COLUMNS, key="ID")
    with gridflow.connect(home) as second:
        first.close()
        assert table.grid is second


def test_to_close_a_handle_rolls_back_its_own_begins_alone(grid):
    mine = gridflow.connect(grid.home)
    grid.sql("BEGIN; UPDATE T SET N = 7")
    begun = threading.Event()
    go_on = threading.Event()

    def other():
        mine.sql("BEGIN; DELETE FROM T")
        begun.set()
        go_on.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert begun.wait(10)
    with pytest.warns(UserWarning, match="changes were not committed, and are rolled back"):
        mine.close()
    go_on.set()
    thread.join()
    assert grid.in_transaction
    grid.sql("COMMIT")
    assert grid.table("T").get(1) == {"N": 7}


def test_using_owned_is_a_handle_for_the_block(grid):
    with using_owned(grid.home) as mine:
        assert mine is not grid and mine.table("T") is grid.table("T")
        grid.close()
        assert mine.tables() == ["T"]
    assert mine.closed and owned_grid(grid.home) is None


def test_a_dataset_and_a_connection_leave_the_grid_open(grid):
    for _ in range(2):
        with dbapi.connect(grid.home) as connection:
            assert connection.execute("SELECT N FROM T").fetchall() == [(1,)]
        with dbapi.connect(grid) as connection:
            assert connection.execute("SELECT N FROM T").fetchall() == [(1,)]
    assert not grid.closed


# ---- durability ----


def test_another_durability_of_the_same_grid_is_an_error_and_not_silence(home):
    with gridflow.connect(home, durability="fsync"):
        with pytest.raises(UsageError, match="is open with durability='fsync'.*leave out durability='process'"):
            gridflow.connect(home, durability="process")
        for durability in ("fsync", None):
            gridflow.connect(home, durability=durability).close()
    with gridflow.connect(home):
        with pytest.raises(UsageError, match="is open with durability='process'.*leave out durability='fsync'"):
            gridflow.connect(home, durability="fsync")
        gridflow.connect(home, durability="process").close()


def test_another_durability_than_the_nodes_is_an_error(tmp_path):
    with ServerProcess(tmp_path / "grid") as server:
        with pytest.raises(UsageError, match="is open with durability='process'"):
            gridflow.connect(server.home, durability="fsync")
        with gridflow.connect(server.home, durability="process") as grid:
            assert grid.durability == "process"


# ---- what is no directory ----


@pytest.mark.parametrize(
    "address", ["x:10800", "127.0.0.1:10800", "[::1]:10800", ":10800", "gridflow://x", "grid://x/y", "http://x:1/"]
)
def test_an_address_is_an_error_and_no_folder(home, monkeypatch, address):
    monkeypatch.chdir(home)
    for use in (gridflow.connect, dbapi.connect, lambda text: gridflow.connect(text, read_only=True)):
        with pytest.raises(UsageError, match=r"grid://host\[:port\]"):
            use(address)
    monkeypatch.setenv("GRIDFLOW_HOME", address)
    with pytest.raises(UsageError, match=r"grid://host\[:port\]"):
        gridflow.connect()
    assert os.listdir(home) == []


def test_odd_names_of_folders_are_still_possible(home, monkeypatch):
    monkeypatch.chdir(home)
    for path in ("./x:10800", Path("y:10800"), "a:b", "grids/2024:12", "10800", "x:108000", "./:memory:"):
        with gridflow.connect(path) as grid:
            assert grid.home == Path(path).absolute()
    assert sorted(os.listdir(home)) == sorted(["x:10800", "y:10800", "a:b", "grids", "10800", "x:108000", ":memory:"])


# ---- :memory: ----


def test_memory_is_a_grid_of_its_own_each_time(home, monkeypatch):
    monkeypatch.chdir(home)
    with gridflow.connect(":memory:") as one, gridflow.connect(":memory:") as two:
        one.create_table("T", COLUMNS, key="ID").put(1, {"N": 1})
        assert two.tables() == [] and one.home != two.home
        assert one.home.stat().st_mode & 0o777 == 0o700
        again = gridflow.connect(one.home)  # a handle on the same one
        homes = [one.home, two.home]
        one.close()
        assert again.table("T").get(1) == {"N": 1}
        again.close()
        assert not homes[0].exists()
    assert not homes[1].exists() and os.listdir(home) == []
    with pytest.raises(UsageError, match="nothing to read"):
        gridflow.connect(":memory:", read_only=True)


def test_a_grid_in_memory_goes_with_its_process_and_others_can_read_it():
    script = (
        "import gridflow, subprocess, sys\n"
        "grid = gridflow.connect(':memory:')\n"
        "grid.create_table('T', {'ID': 'LONG'}, key='ID').put(7, {})\n"
        "code = 'import gridflow, sys; print(list(gridflow.connect(sys.argv[1], read_only=True).table(\"T\")))'\n"
        "print(subprocess.run([sys.executable, '-c', code, str(grid.home)], capture_output=True, text=True).stdout)\n"
        "print(grid.home)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rows, _, home = result.stdout.strip().splitlines()
    assert rows == "[7]" and not Path(home).exists()


def test_a_forked_childs_end_leaves_the_grid_in_memory(home):
    with gridflow.connect(":memory:") as grid:
        grid.create_table("T", COLUMNS, key="ID").put(1, {"N": 1})
        pid = os.fork()
        if pid == 0:
            try:
                grid.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert grid.home.exists() and grid.table("T").get(1) == {"N": 1}


def test_what_killed_processes_left_in_memory_goes_when_the_next_one_comes(monkeypatch):
    script = "import gridflow, os; print(gridflow.connect(':memory:').home, flush=True); os.kill(os.getpid(), 9)"
    left = Path(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip())
    assert left.exists()
    with gridflow.connect(":memory:") as living:
        assert left.exists(), "it may be one that is just being made"
        monkeypatch.setattr("gridflow.registry._LEFT_SECONDS", -1.0)
        with gridflow.connect(":memory:"):
            assert not left.exists() and living.home.exists()


# ---- the default grid ----


def test_a_table_that_only_another_grid_has_is_named_in_the_error(home, monkeypatch):
    """``Dataset`` reads the default grid, also where another one was opened last; it asks ``open_table``."""

    def look(name):
        with open_table(name):
            pass

    monkeypatch.setenv("GRIDFLOW_HOME", str(home / "default"))
    with gridflow.connect(home / "other") as other:
        other.create_table("T", COLUMNS, key="ID").put(1, {"N": 1})
        for kind in (GridNotFoundError, TableNotFoundError):  # without a default grid, and with one
            with pytest.raises(kind, match="default grid.*it open in .*other: say home=.*or grid="):
                look("T")
            gridflow.connect(embedded=True).close()
        with pytest.raises(TableNotFoundError) as caught:
            look("NOWHERE")
        assert "it open in" not in str(caught.value)
    gc.collect()
    with pytest.raises(TableNotFoundError) as caught:
        look("T")
    assert "it open in" not in str(caught.value)
