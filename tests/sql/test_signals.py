"""Signals that come while a statement runs: the handler's exception is raised at once, and all goes on after it."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gridflow.dbapi import connect as dbapi_connect

ENDLESS = "SELECT SUM((A.RANGE * B.RANGE) % 7) AS R FROM RANGE(1000000) A, RANGE(1000000) B"
STATEMENTS = {
    "SELECT": ENDLESS,
    "SELECT of no rows": "SELECT COUNT(*) FROM RANGE(1000000) A, RANGE(1000000) B WHERE A.RANGE + B.RANGE = -1",
    "INSERT": f"INSERT INTO T (ID) SELECT R FROM ({ENDLESS})",
    "MERGE": f"MERGE INTO T (ID, NAME) SELECT R, 'x' FROM ({ENDLESS})",
    "UPDATE": f"UPDATE T SET NAME = (SELECT CAST(R AS VARCHAR) FROM ({ENDLESS})) WHERE ID = 1",
    "DELETE": f"DELETE FROM T WHERE ID IN (SELECT R FROM ({ENDLESS}))",
    "CREATE TABLE AS": f"CREATE TABLE NEW AS SELECT R AS ID FROM ({ENDLESS})",
}
#: Far more than it takes, far less than the statements do.
SOON = 5.0


class Signalled(Exception):
    """What a handler of ours raises."""


@pytest.fixture(params=["KeyboardInterrupt", "Signalled", "SIGALRM"])
def signalled(request):
    """Has a signal come soon; gives the exception that its handler raises."""
    number = signal.SIGALRM if request.param == "SIGALRM" else signal.SIGINT

    def handler(number, frame):
        raise Signalled

    own = request.param != "KeyboardInterrupt"
    before = signal.signal(number, handler if own else signal.default_int_handler)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), number))
    timer.start()
    yield Signalled if own else KeyboardInterrupt
    timer.join()
    signal.signal(number, before)


def check_goes_on(grid):
    assert grid.sql("SELECT MAX(NAME) FROM T WHERE NAME LIKE '%W%'").fetchall() == [("WARM KITTY",)]
    assert grid.sql("INSERT INTO T VALUES (3, 'LITTLE BALL OF FUR')").rowcount == 1
    assert grid.tables() == ["T"]


@pytest.fixture
def kittens(grid):
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
    grid.sql("INSERT INTO T VALUES (1, 'WARM KITTY'), (2, 'SOFT KITTY')")
    return grid


@pytest.mark.parametrize("kind", STATEMENTS)
def test_a_handlers_exception_ends_a_statement(kittens, signalled, kind):
    began = time.monotonic()
    with pytest.raises(signalled):
        kittens.sql(STATEMENTS[kind])
    assert time.monotonic() - began < SOON
    check_goes_on(kittens)


def test_a_handlers_exception_ends_a_statement_of_a_cursor(kittens, signalled):
    with dbapi_connect(kittens) as connection, pytest.raises(signalled):
        connection.execute(ENDLESS)
    check_goes_on(kittens)


def test_a_call_that_the_engine_cannot_end_is_left_to_itself(kittens, signalled):
    began = time.monotonic()
    with pytest.raises(signalled):
        kittens.sql("SELECT LENGTH(LIST_SORT(RANGE(ID, ID + 10000000)), 1) FROM T")
    assert time.monotonic() - began < SOON
    check_goes_on(kittens)


def test_a_handler_that_raises_nothing_leaves_a_statement_alone(kittens):
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        counted = kittens.sql("SELECT COUNT(*) FROM RANGE(40000) A, RANGE(10000) B WHERE (A.RANGE * B.RANGE) % 7 = 8")
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert (counted.fetchall(), seen) == ([(0,)], [signal.SIGINT])
