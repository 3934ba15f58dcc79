"""How transactions end that nobody commits: with a close in the midst of a call, a fork, the process, the garbage."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

import gridflow
from gridflow import GridClosedError, UsageError, dbapi
from gridflow.contexts import Mark
from gridflow.open_grid import other_grids_with
from gridflow.registry import owned_grid
from gridflow.server import ServerProcess

COLUMNS = {"ID": "LONG", "N": "LONG"}


@pytest.fixture
def grid(home):
    with gridflow.connect(home / "grid") as grid:
        grid.create_table("T", COLUMNS, key="ID").put(1, {"N": 1})
        yield grid


def between(monkeypatch, statement, action):
    """Have another thread do something just before a statement is executed."""
    from gridflow.sql.session import Session

    one = Session._one

    def halfway(self, prepared, values):
        if prepared.kind == statement:
            monkeypatch.setattr(Session, "_one", one)
            thread = threading.Thread(target=action)
            thread.start()
            thread.join()
        return one(self, prepared, values)

    monkeypatch.setattr(Session, "_one", halfway)


HALVES = "INSERT INTO T VALUES (2, 2); SELECT 1; INSERT INTO T VALUES (3, 3)"


@pytest.mark.filterwarnings("ignore:changes were not committed")
@pytest.mark.parametrize("what", ["session", "handle of a session", "handle of BEGIN", "connection's grid"])
def test_a_close_in_the_midst_of_a_text_commits_no_half_of_it(grid, monkeypatch, what):
    mine = gridflow.connect(grid.home)
    session = mine.session()
    if what == "handle of BEGIN":
        mine.sql("BEGIN")
        run = mine.sql
    elif what == "connection's grid":
        run = dbapi.connect(mine).execute
    else:
        session.begin()
        run = session.sql
    between(monkeypatch, "SELECT", session.close if what == "session" else mine.close)
    with pytest.raises(GridClosedError):
        run(HALVES)
    assert dict(grid.table("T").items()) == {1: {"N": 1}}
    mine.close()


def test_a_session_that_closes_before_its_last_statement_does_not_commit_it_by_itself(grid, monkeypatch):
    session = grid.session()
    session.begin()
    between(monkeypatch, "UPDATE", session.close)
    with pytest.raises(GridClosedError, match="the session is closed"):
        session.sql("UPDATE T SET N = 7; COMMIT")
    assert grid.table("T").get(1) == {"N": 1}


def test_a_transaction_that_a_callback_ends_is_not_gone_on_with(grid, monkeypatch):
    session = grid.session()
    session.begin()
    with pytest.raises(UsageError, match="has ended while a text"):
        between(monkeypatch, "SELECT", session._session.rollback)
        session.sql(HALVES)
    assert len(grid.table("T")) == 1 and not session.in_transaction


def test_a_begin_under_way_while_its_handle_closes_stays_nobodys(grid, monkeypatch):
    mine = gridflow.connect(grid.home)
    between(monkeypatch, "SELECT", mine.close)
    with pytest.raises(GridClosedError):
        mine.sql("BEGIN; INSERT INTO T VALUES (2, 2); SELECT 1")
    assert len(grid.table("T")) == 1 and grid.store.guard is None


def test_past_a_transaction_of_a_served_grid_is_past_it_on_every_handle(tmp_path):
    with (
        ServerProcess(tmp_path / "grid"),
        gridflow.connect(tmp_path / "grid") as one,
        gridflow.connect(tmp_path / "grid") as other,
    ):
        table = one.create_table("T", COLUMNS, key="ID")
        with one.transaction() as transaction:
            transaction.table("T").put(1, {"N": 1})
            for write in (
                lambda: other.table("T").put(2, {"N": 2}),
                lambda: other.sql("INSERT INTO T VALUES (2, 2)"),
                lambda: other.create_table("U", COLUMNS, key="ID"),
                lambda: other.table("T").keep_versions(2),
                lambda: gridflow.connect(one.home).table("T").put(2, {"N": 2}),
            ):
                with pytest.raises(UsageError, match="past the transaction"):
                    write()
        other.table("T").put(3, {"N": 3})
        assert sorted(table.keys()) == [1, 3]

        one.sql("BEGIN; INSERT INTO T VALUES (4, 4)")
        session, connection = other.session(), dbapi.connect(other)
        connection.execute("INSERT INTO T VALUES (5, 5)")
        child = os.fork()
        if child == 0:  # nothing of the parent's is committed there, or warned of
            status = 1
            try:
                warnings.simplefilter("error")
                assert not one.in_transaction
                for call in (lambda: session.sql("SELECT 1"), connection.commit):
                    with pytest.raises(GridClosedError, match="before this process was forked"):
                        call()
                with pytest.raises(gridflow.SqlError, match="without a transaction"):
                    one.sql("COMMIT")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert sorted(table.keys()) == [1, 3]
        one.sql("COMMIT")
        connection.rollback()
        assert sorted(table.keys()) == [1, 3, 4]

        code = "import gridflow, sys; g = gridflow.connect(sys.argv[1]); g.sql('BEGIN; INSERT INTO T VALUES (9, 9)')"
        ended = subprocess.run([sys.executable, "-c", code, str(one.home)], capture_output=True, text=True, check=True)
        assert "changes were not committed" in ended.stderr and len(table) == 3


def test_a_handle_closes_while_other_threads_begin(grid):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            mine = gridflow.connect(grid.home)
            errors = []

            def begin(mine=mine, errors=errors):
                kept = []
                try:
                    while True:
                        kept.append(mine.session())
                        other_grids_with("T", grid.home)
                except GridClosedError:
                    pass
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=begin) for _ in range(2)]
            for thread in threads:
                thread.start()
            mine.close()
            for thread in threads:
                thread.join()
            assert mine.closed and not errors
    finally:
        sys.setswitchinterval(interval)


def test_where_warnings_are_errors_all_is_closed_first(home):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        grid = gridflow.connect(home)
        grid.create_table("T", COLUMNS, key="ID")
        users = grid, grid.session(), dbapi.connect(grid, autocommit=True)
        for change in (grid.sql, users[1].sql, users[2].execute):
            change("BEGIN; INSERT INTO T VALUES (2, 2)")
        with pytest.raises(UserWarning, match="not committed"):
            grid.close()
        assert grid.closed and owned_grid(home) is None
        connection = dbapi.connect(home)
        connection.execute("INSERT INTO T VALUES (2, 2)")
        with pytest.raises(UserWarning, match=r"connection\.commit"):
            connection.close()
        assert owned_grid(home) is None


def test_where_warnings_are_errors_the_end_of_the_process_closes_every_grid():
    code = (
        "import gridflow\n"
        "grids = [gridflow.connect(':memory:') for _ in range(3)]\n"
        "for g in grids:\n    print(g.home)\n    g.sql('CREATE TABLE T (ID LONG PRIMARY KEY)')\n"
        "    g.sql('BEGIN; INSERT INTO T VALUES (1)')\n"
    )
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert "UserWarning: changes were not committed" in ended.stderr
    homes = ended.stdout.split()
    assert len(homes) == 3 and not any(map(os.path.exists, homes))


def test_every_transaction_that_is_lost_is_said_to_be_where_it_was_begun(grid):
    def begin():
        grid.sql("BEGIN; INSERT INTO T VALUES (2, 2)")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            thread = threading.Thread(target=begin)
            thread.start()
            thread.join()
        for _ in range(2):
            with grid.session() as session:
                session.sql("BEGIN; INSERT INTO T VALUES (2, 2)")
    places = [(warning.filename, warning.lineno) for warning in caught]
    assert len(places) == 5 and {file for file, _ in places} == {__file__}
    assert places[0][1] == begin.__code__.co_firstlineno + 1


def test_a_pools_thread_that_began_a_sessions_transaction_is_free_for_other_work(grid):
    table = grid.table("T")
    with ThreadPoolExecutor(1) as pool, grid.session() as session:
        pool.submit(session.sql, "BEGIN").result()
        pool.submit(table.put, 8, {"N": 8}).result()
        pool.submit(grid.sql, "INSERT INTO T VALUES (9, 9)").result()
        asyncio.run(asyncio.to_thread(session.sql, "INSERT INTO T VALUES (10, 10)"))
        session.rollback()
    assert sorted(table.keys()) == [1, 8, 9]


def test_a_session_that_nobody_has_any_more_ends_at_once(grid):
    gc.disable()
    try:
        session = grid.session()
        session.sql("BEGIN; INSERT INTO T VALUES (2, 2)")
        with pytest.warns(UserWarning, match="not committed"):
            del session
        grid.table("T").put(3, {"N": 3})
        assert grid.store.guard is None
    finally:
        gc.enable()


def test_a_write_does_not_look_at_what_is_open_elsewhere(grid, monkeypatch):
    def begin():
        sessions.extend(grid.session() for _ in range(50))
        for session in sessions:
            session.begin()

    sessions: list[gridflow.Session] = []
    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    assert grid.store.guard is not None
    monkeypatch.setattr(Mark, "is_open", property(lambda mark: pytest.fail("looked at")))
    grid.table("T").put(2, {"N": 2})
    grid.sql("INSERT INTO T VALUES (3, 3)")
    monkeypatch.undo()


def test_run_refuses_a_function_that_does_nothing_yet(grid):
    def rows(transaction):
        transaction.table("T").put(2, {"N": 2})
        yield 1

    async def later(transaction):
        transaction.table("T").put(2, {"N": 2})

    async def rows_later(transaction):
        yield 1

    class Awaitable:
        def __await__(self):
            return iter(())

    for function in (rows, later, rows_later, lambda transaction: Awaitable(), lambda transaction: (i for i in "ab")):
        with pytest.raises(UsageError, match="run takes a plain function"):
            grid.run(function)
    assert len(grid.table("T")) == 1


def test_sessions_that_overlap_leave_no_marks(grid):
    one, other = grid.session(), grid.session()
    one.begin()
    for _ in range(50):
        other.begin()
        one.commit()
        one.begin()
        other.commit()
    gc.collect()
    assert sum(isinstance(item, Mark) and item.marks is grid._marks for item in gc.get_objects()) < 8
    one.rollback()


def test_keep_versions_is_no_part_of_a_transaction(grid):
    with grid.transaction(), pytest.raises(UsageError, match="past the transaction"):
        grid.table("T").keep_versions(3)


@pytest.mark.parametrize("home", ["", "a\0b", "~nobody_of_that_name/x"])
def test_a_name_of_no_directory_is_no_grid(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for connect in (gridflow.connect, dbapi.connect):
        with pytest.raises(UsageError):
            connect(home)


def test_what_is_no_statement_or_no_sets_is_an_error_of_the_interface(grid):
    cursor = dbapi.connect(grid).cursor()
    for call in (
        lambda: cursor.execute(None),
        lambda: cursor.execute(["SELECT 1"]),
        lambda: cursor.executemany(None, []),
        lambda: cursor.executemany("INSERT INTO T VALUES (?, ?)", 5),
        lambda: cursor.executemany("INSERT INTO T VALUES (?, ?)", "ab"),
        lambda: cursor.executemany("INSERT INTO T VALUES (?, ?)", [5]),
    ):
        with pytest.raises(dbapi.ProgrammingError):
            call()


def test_a_transaction_begins_while_another_thread_imports_asyncio(grid, monkeypatch):
    """The module is known by then, and has no functions."""
    monkeypatch.setitem(sys.modules, "asyncio", types.ModuleType("asyncio"))
    with grid.transaction() as transaction:
        transaction.table("T")
