"""What a statement may take: SET QUERY_TIMEOUT and SET QUERY_MEMORY."""

from __future__ import annotations

import threading

import pytest

import gridflow
from gridflow import dbapi
from gridflow.sql.engine import connection, watch

ENDLESS = "SELECT SUM((A.RANGE * B.RANGE) % 7) AS R FROM RANGE(1000000) A, RANGE(1000000) B"
LARGE = "SELECT COUNT(*) FROM (SELECT RANGE AS X FROM RANGE(20000000) GROUP BY RANGE)"


@pytest.fixture
def kittens(grid):
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
    grid.sql("INSERT INTO T VALUES (1, 'WARM KITTY'), (2, 'SOFT KITTY')")
    return grid


@pytest.mark.parametrize("text", [ENDLESS, f"DELETE FROM T WHERE ID IN (SELECT R FROM ({ENDLESS}))"])
def test_a_statement_ends_at_its_time_limit(kittens, text):
    kittens.sql("SET QUERY_TIMEOUT = 100")
    with pytest.raises(gridflow.QueryTimeoutError, match=r"0.1 s, its time limit; nothing of it was done") as caught:
        kittens.sql(text)
    assert isinstance(caught.value, TimeoutError)
    assert kittens.sql("SELECT COUNT(*) FROM T WHERE NAME LIKE '%K%'").fetchall() == [(2,)]
    kittens.sql("SET QUERY_TIMEOUT 0")
    assert kittens._activity.limits.seconds is None


def test_a_time_limit_is_an_operational_error_of_a_cursor(kittens):
    with dbapi.connect(kittens) as connection:
        connection.execute("SET QUERY_TIMEOUT TO 100")
        with pytest.raises(dbapi.OperationalError, match="time limit"):
            connection.execute(ENDLESS)


def test_a_statement_ends_at_its_limit_of_memory(kittens):
    kittens.sql("SET QUERY_MEMORY = 20000000")
    with pytest.raises(gridflow.SqlError, match="(?i)memory"):
        kittens.sql(LARGE)
    assert kittens.sql("SELECT COUNT(*) FROM T WHERE NAME LIKE '%K%'").fetchall() == [(2,)]
    kittens.sql("SET QUERY_MEMORY = 0")
    assert kittens.sql("SELECT COUNT(*) FROM T WHERE NAME LIKE '%K%'").fetchall() == [(2,)]


@pytest.mark.parametrize("text", ["SET QUERY_TIMEOUT = 'x'", "SET QUERY_TIMEOUT", "SET QUERY_MEMORY = 1.5"])
def test_a_limit_is_a_whole_number(grid, text):
    with pytest.raises(gridflow.SqlError, match="expected a whole number of (milliseconds|bytes), or 0 for no limit"):
        grid.sql(text)


@pytest.mark.parametrize("call", ["LPAD('x', 2000000000)", "RPAD('x', 2000000000, 'ab')", "SPACE(20000000)"])
def test_a_text_that_takes_too_long_to_make_is_an_error(grid, call):
    with pytest.raises(gridflow.SqlError, match="makes texts of at most 16,777,216 characters"):
        grid.sql(f"SELECT LENGTH({call})")


def test_a_repeated_text_that_takes_too_long_to_make_is_an_error(kittens):
    assert kittens.sql("SELECT REPEAT(NAME, ID) FROM T WHERE ID = 2").fetchall() == [("SOFT KITTYSOFT KITTY",)]
    with pytest.raises(gridflow.SqlError, match="REPEAT makes texts of at most 16,777,216 characters"):
        kittens.sql("SELECT LENGTH(REPEAT(NAME, ID * 1000000000)) FROM T")


def test_limits_of_memory_are_few_databases(kittens):
    for more in range(12):
        kittens.sql(f"SET QUERY_MEMORY = {(100 << 20) + more}")
        assert kittens.sql("SELECT COUNT(*) FROM T WHERE NAME LIKE '%K%'").fetchall() == [(2,)]
    kittens.sql("SET QUERY_MEMORY 0")
    assert set(connection._databases) <= {None, *(1 << bit for bit in range(64))}


def test_what_has_ended_is_not_asked_any_more(monkeypatch):
    """A call of another library's, say, may be gone with it."""
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.001)
    asked, go_on = threading.Event(), threading.Event()

    def is_unwanted():
        asked.set()
        assert go_on.wait(60)

    with watch.watching(is_unwanted):
        assert asked.wait(60)
        threading.Timer(0.05, go_on.set).start()
    assert go_on.is_set(), "the end waits for the answer"
