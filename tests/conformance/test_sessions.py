"""Sessions, and writes past a transaction, embedded and through a server: nothing is written that ROLLBACK leaves."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings

import pyarrow as pa
import pytest

import gridflow
from gridflow import GridClosedError, SqlError, TransactionConflictError, UsageError, dbapi


@pytest.fixture
def table(grid):
    table = grid.create_table("T", {"ID": "LONG", "N": "LONG"}, key="ID")
    table.put_all({i: {"N": 10} for i in range(4)})
    table.tag("old")
    return table


def in_thread(call):
    """What a call gives or raises in a thread of its own."""
    outcome = []

    def run():
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


#: Everything that would be written past a transaction: name -> call of a grid.
WRITES = {
    "put": lambda grid: grid.table("T").put(9, {"N": 9}),
    "put_all": lambda grid: grid.table("T").put_all({9: {"N": 9}}),
    "[]=": lambda grid: grid.table("T").__setitem__(9, {"N": 9}),
    "del": lambda grid: grid.table("T").__delitem__(1),
    "insert_all": lambda grid: grid.table("T").insert_all({9: {"N": 9}}),
    "put_if_absent": lambda grid: grid.table("T").put_if_absent(9, {"N": 9}),
    "replace": lambda grid: grid.table("T").replace(1, {"N": 9}),
    "remove": lambda grid: grid.table("T").remove(1),
    "remove_all": lambda grid: grid.table("T").remove_all([1, 2]),
    "put_rows": lambda grid: grid.table("T")._put_rows(grid.table("T").to_arrow(), on_duplicate="replace"),
    "put_all of Arrow": lambda grid: grid.table("T").put_all(pa.table({"ID": [9], "N": [9]})),
    "update": lambda grid: grid.table("T").update(1, N=9),
    "increment": lambda grid: grid.table("T").increment(1, "N", by=9),
    "compare_and_set": lambda grid: grid.table("T").compare_and_set(1, grid.table("T").get(1), {"N": 9}),
    "get_and_put": lambda grid: grid.table("T").get_and_put(9, {"N": 9}),
    "get_and_replace": lambda grid: grid.table("T").get_and_replace(1, {"N": 9}),
    "get_and_remove": lambda grid: grid.table("T").get_and_remove(1),
    "pop": lambda grid: grid.table("T").pop(1),
    "popitem": lambda grid: grid.table("T").popitem(),
    "setdefault": lambda grid: grid.table("T").setdefault(9, {"N": 9}),
    "clear": lambda grid: grid.table("T").clear(),
    "load": lambda grid: grid.table("T").load({"ID": [9], "N": [9]}),
    "truncate": lambda grid: grid.table("T").truncate(),
    "tag": lambda grid: grid.table("T").tag("now"),
    "restore": lambda grid: grid.table("T").restore("old"),
    "cache": lambda grid: grid.cache("T").put(9, {"N": 9}),
    "create_table": lambda grid: grid.create_table("U", {"ID": "LONG"}, key="ID"),
    "alter_table": lambda grid: grid.alter_table("T", add={"X": "INT"}),
    "drop_table": lambda grid: grid.drop_table("T"),
}
STATEMENTS = [
    *("INSERT INTO T VALUES (9, 9)", "UPDATE T SET N = 0", "DELETE FROM T", "MERGE INTO T VALUES (1, 1)"),
    *("TRUNCATE TABLE T", "CREATE TABLE U (ID INT PRIMARY KEY)", "ALTER TABLE T ADD X INT", "DROP TABLE T"),
    *("CREATE INDEX BY_N ON T (N)", "BEGIN"),
]


def state(grid):
    table = grid.table("T")
    return grid.tables(), dict(table.get_all(range(12))), table.tags(), str(table.schema)


# ---- a session ----


def test_a_session_is_one_transaction_of_sql_and_python(grid, table):
    with grid.session() as session:
        assert not session.in_transaction and session.table("T") is table
        session.sql("BEGIN")
        session.table("T").put(1, {"N": 11})
        session.sql("UPDATE T SET N = N + 1 WHERE ID = 1")
        assert session.table("T").get(1) == {"N": 12} and session.sql("SELECT SUM(N) FROM T").fetchall() == [(42,)]
        assert table.get(1) == {"N": 10} and session.has_changes
        session.sql("ROLLBACK")
        assert table.get(1) == {"N": 10} and session.table("T") is table
        session.begin()
        session.table("T").put(1, {"N": 11})
        session.sql_many("INSERT INTO T VALUES (?, ?)", [(7, 7), (8, 8)])
        session.commit()
        session.table("T").put(2, {"N": 20})
    assert table.get_all(range(9)) == {0: {"N": 10}, 1: {"N": 11}, 2: {"N": 20}, 3: {"N": 10}, 7: {"N": 7}, 8: {"N": 8}}
    with pytest.raises(GridClosedError, match="the session is closed"):
        session.sql("SELECT 1")


def test_two_sessions_of_one_thread_know_nothing_of_each_other(grid, table):
    with grid.session() as one, grid.session() as two:
        one.sql("BEGIN")
        one.sql("UPDATE T SET N = 1 WHERE ID = 1")
        two.sql("UPDATE T SET N = 2 WHERE ID = 2")  # by itself, which is what it says
        two.sql("BEGIN; UPDATE T SET N = 3 WHERE ID = 3")
        assert two.sql("SELECT N FROM T ORDER BY ID").fetchall() == [(10,), (10,), (2,), (3,)]
        one.sql("COMMIT")
        two.sql("COMMIT")
    assert [table.get(i)["N"] for i in range(4)] == [10, 1, 2, 3]
    table.put(1, {"N": 5})  # nothing is open any more


def test_what_a_session_has_not_committed_is_rolled_back_and_said(grid, table):
    with pytest.warns(UserWarning, match="changes were not committed, and are rolled back: session.commit"):
        with grid.session() as session:
            session.sql("BEGIN; DELETE FROM T")
    session = grid.session()
    session.sql("BEGIN; DELETE FROM T")
    with pytest.warns(UserWarning, match="changes were not committed"):
        del session
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ZeroDivisionError), grid.session() as session:
            session.sql("BEGIN; DELETE FROM T")
            raise ZeroDivisionError
        with grid.session() as session:
            session.sql("BEGIN; SELECT * FROM T")
    table.put(9, {"N": 9})
    assert len(table) == 5


# ---- past a transaction ----


@pytest.mark.parametrize("name", WRITES)
def test_a_write_between_begin_and_rollback_does_not_stay(grid, table, name):
    before = state(grid)
    grid.sql("BEGIN; UPDATE T SET N = 1 WHERE ID = 3")
    with pytest.raises(UsageError, match=r"past the transaction.*grid.session\(\)"):
        WRITES[name](grid)
    grid.sql("ROLLBACK")
    assert state(grid) == before
    WRITES[name](grid)
    assert name in ("put_rows", "restore", "drop_table") or state(grid) != before


@pytest.mark.parametrize("name", WRITES)
def test_a_write_beside_the_transaction_of_a_block_is_an_error(grid, table, name):
    before = state(grid)
    with pytest.raises(ZeroDivisionError), grid.transaction():
        with pytest.raises(UsageError, match=r"past the transaction.*transaction.table\(...\)"):
            WRITES[name](grid)
        raise ZeroDivisionError
    with grid.session() as session:
        session.sql("BEGIN")
        with pytest.raises(UsageError, match=r"past the transaction.*session.table\(...\)"):
            WRITES[name](grid)
    assert state(grid) == before


@pytest.mark.parametrize("text", STATEMENTS)
def test_a_statement_beside_the_transaction_of_a_block_is_an_error(grid, table, text):
    grid.sql("SELECT 1")
    for _ in range(2):  # it would have a fast path
        grid.sql("INSERT INTO T VALUES (?, ?)", [100 + len(table), 1])
    before = state(grid)
    with grid.transaction() as transaction:
        for statement in (text, f"SELECT 1; {text}", f"  /* a */ {text.lower()}"):
            with pytest.raises(UsageError, match="past the transaction"):
                grid.sql(statement)
        with pytest.raises(UsageError, match="past the transaction"):
            grid.sql("INSERT INTO T VALUES (?, ?)", [10, 1])
        assert grid.sql("SELECT COUNT(*) FROM T").fetchall() == [(len(table),)]
        transaction.table("T").put(11, {"N": 11})
    assert state(grid)[1] == before[1] | {11: {"N": 11}} and state(grid)[0] == before[0]
    grid.sql("INSERT INTO T VALUES (?, ?)", [10, 1])


def test_who_has_the_transaction_itself_writes_as_ever(grid, table):
    """Commits, statements and loads of the transaction, and other transactions, are no writes past it."""
    with grid.transaction() as transaction:
        mine = transaction.table("T")
        mine.put(1, {"N": 1})
        mine.load({"ID": [5], "N": [5]})
        transaction.sql("INSERT INTO T VALUES (6, 6); UPDATE T SET N = 7 WHERE ID = 6")
        grid.run(lambda other: other.table("T").put(2, {"N": 2}))
        with grid.session() as session:
            session.sql(
                "INSERT INTO T VALUES (8, 8); UPDATE T SET N = 9 WHERE ID = 8; CREATE TABLE U (ID INT PRIMARY KEY)"
            )
        with dbapi.connect(grid, autocommit=True) as connection:
            connection.execute("INSERT INTO T VALUES (7, 7)")
        with pytest.raises(UsageError):
            table.put(3, {"N": 3})
        assert len(table) == 6 and table.flush() > 0 and grid.check() == []
    assert table.get_all(range(9)) == {
        i: {"N": n} for i, n in enumerate([10, 1, 2, 10, None, 5, 7, 7, 9]) if n is not None
    }


def test_other_threads_write_as_ever(grid, table):
    with grid.transaction():
        assert in_thread(lambda: table.put(8, {"N": 8})) is None
        assert in_thread(lambda: grid.sql("INSERT INTO T VALUES (9, 9)").rowcount) == 1
    grid.sql("BEGIN")
    assert in_thread(lambda: table.remove(8)) is True
    assert in_thread(lambda: grid.in_transaction) is False
    grid.sql("ROLLBACK")
    assert len(table) == 5


def test_a_transaction_without_a_block_and_a_connection_refuse_nothing(grid, table):
    transaction = grid.transaction()
    transaction.table("T").put(0, {"N": 0})
    with dbapi.connect(grid) as connection:
        connection.execute("UPDATE T SET N = 1 WHERE ID = 1")
        table.put(2, {"N": 2})
        grid.sql("INSERT INTO T VALUES (9, 9)")
    transaction.commit()
    assert [table.get(i)["N"] for i in (0, 1, 2, 9)] == [0, 1, 2, 9]


def test_blocks_within_blocks(grid, table):
    with grid.transaction() as outer:
        with grid.transaction() as inner:
            inner.table("T").put(1, {"N": 1})
        with pytest.raises(UsageError, match="past the transaction"):
            table.put(2, {"N": 2})
        outer.table("T").put(3, {"N": 3})
        outer.commit()
        table.put(2, {"N": 2})  # it has ended, though the block goes on
    table.put(0, {"N": 0})
    assert [table.get(i)["N"] for i in range(4)] == [0, 1, 2, 3]


# ---- run ----


def test_run_gives_what_the_function_gives_and_commits(grid, table):
    def function(transaction):
        transaction.table("T").put(1, {"N": transaction.table("T").get(1)["N"] + 1})
        return "done"

    assert grid.run(function) == "done" and table.get(1) == {"N": 11}


def test_run_runs_again_until_nobody_was_faster(grid, table):
    tries = []

    def function(transaction):
        mine = transaction.table("T")
        tries.append(mine.get(1)["N"])
        if len(tries) < 3:
            in_thread(lambda: table.put(1, {"N": 10 + len(tries)}))
        mine.put(1, {"N": tries[-1] * 100})

    grid.run(function)
    assert tries == [10, 11, 12] and table.get(1) == {"N": 1200}


def test_run_gives_up_with_the_last_conflict(grid, table):
    tries = []

    def function(transaction):
        tries.append(1)
        transaction.table("T").put(1, {"N": 0})
        in_thread(lambda: table.put(1, {"N": 10 + len(tries)}))

    for retries, total in ((0, 1), (2, 4)):
        with pytest.raises(TransactionConflictError, match="table T: the row under key 1"):
            grid.run(function, retries=retries)
        assert len(tries) == total and table.get(1) == {"N": 10 + total}
    with pytest.raises(UsageError, match="retries is 0 or more"):
        grid.run(function, retries=-1)


def test_run_rolls_back_what_fails(grid, table):
    def function(transaction):
        transaction.table("T").put(1, {"N": 0})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        grid.run(function)

    async def coroutine(transaction):
        transaction.table("T").put(1, {"N": 0})

    with pytest.raises(UsageError, match="not a coroutine's"):
        grid.run(coroutine)
    assert table.get(1) == {"N": 10}
    table.put(1, {"N": 1})


def test_run_loses_no_increment_of_four_threads(grid, table):
    def count(transaction):
        mine = transaction.table("T")
        mine.put(1, {"N": mine.get(1)["N"] + 1})

    threads = [threading.Thread(target=lambda: [grid.run(count, retries=1000) for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.get(1) == {"N": 110}


# ---- asyncio ----


def test_two_coroutines_do_not_share_one_begin(grid, table):
    """The other's acknowledged INSERT was rolled back."""

    async def rolls_back(ready, done):
        grid.sql("BEGIN")
        grid.sql("INSERT INTO T VALUES (20, 20)")
        ready.set()
        await done.wait()
        assert grid.in_transaction
        grid.sql("ROLLBACK")

    async def inserts(ready, done):
        await ready.wait()
        assert not grid.in_transaction
        assert grid.sql("INSERT INTO T VALUES (21, 21)").rowcount == 1
        table.put(22, {"N": 22})
        with pytest.raises(SqlError, match="COMMIT without a transaction"):
            grid.sql("COMMIT")
        done.set()

    async def main():
        ready, done = asyncio.Event(), asyncio.Event()
        await asyncio.gather(rolls_back(ready, done), inserts(ready, done))

    asyncio.run(main())
    assert sorted(k for k in table if k >= 20) == [21, 22]


def test_two_coroutines_each_have_a_transaction_on_one_handle(grid, table):
    async def work(number):
        grid.sql("BEGIN")
        grid.sql("INSERT INTO T VALUES (?, ?)", [20 + number, number])
        await asyncio.sleep(0)
        assert grid.sql("SELECT COUNT(*) FROM T WHERE ID >= 20").fetchall() == [(1,)]
        await asyncio.sleep(0)
        grid.sql("COMMIT" if number % 2 else "ROLLBACK")

    async def main():
        await asyncio.gather(*(work(number) for number in range(4)))

    asyncio.run(main())
    assert sorted(k for k in table if k >= 20) == [21, 23]


def test_to_thread_with_a_session_is_one_transaction(grid, table):
    async def main():
        with grid.session() as session:
            await asyncio.to_thread(session.sql, "BEGIN")
            await asyncio.to_thread(session.sql, "INSERT INTO T VALUES (20, 1)")
            await asyncio.to_thread(lambda: session.table("T").put(21, {"N": 2}))
            assert session.in_transaction and not grid.in_transaction
            with pytest.raises(ValueError, match="mine"):
                with grid.session() as other:
                    await asyncio.to_thread(other.sql, "BEGIN; DELETE FROM T")
                    raise ValueError("mine")
            await asyncio.to_thread(session.sql, "COMMIT")
        return await asyncio.to_thread(grid.run, lambda transaction: transaction.table("T").get(20))

    assert asyncio.run(main()) == {"N": 1} and table.get(21) == {"N": 2}


def test_begin_in_a_call_of_to_thread_is_no_silent_autocommit(grid, table):
    async def main():
        with pytest.raises(SqlError, match=r"BEGIN: its transaction would end with this very call.*grid.session\(\)"):
            await asyncio.to_thread(grid.sql, "BEGIN")
        await asyncio.to_thread(grid.sql, "BEGIN; INSERT INTO T VALUES (20, 20); COMMIT")

        def whole():  # one call, one context
            grid.sql("BEGIN")
            grid.sql("INSERT INTO T VALUES (21, 21)")
            grid.sql("COMMIT")

        await asyncio.to_thread(whole)

    asyncio.run(main())
    assert sorted(k for k in table if k >= 20) == [20, 21]


def test_a_transaction_that_goes_with_its_context_is_rolled_back_and_said(grid, table):
    def begin():
        grid.sql("BEGIN")
        grid.sql("INSERT INTO T VALUES (20, 20)")

    async def in_a_call():
        await asyncio.to_thread(begin)

    async def in_a_task():
        async def work():
            begin()

        return await asyncio.create_task(work())

    for way in (lambda: asyncio.run(in_a_call()), lambda: in_thread(begin), lambda: asyncio.run(in_a_task())):
        with pytest.warns(UserWarning, match="changes were not committed, and are rolled back"):
            way()
            gc.collect()
        if grid._lost:  # the thread goes on, which might be taken for the transaction's
            with pytest.raises(UsageError, match=r"is rolled back, as the task.*grid.session\(\)"):
                grid.sql("INSERT INTO T VALUES (22, 22)")
        grid.sql("INSERT INTO T VALUES (23, 23); DELETE FROM T WHERE ID = 23")  # it was said once
        assert not grid._lost and 20 not in table and 22 not in table
    assert len(table) == 4


def test_who_has_only_begun_hears_that_the_next_statement_is_no_part_of_it(grid, table):
    """The INSERT would have been committed silently."""

    def begin():
        grid.sql("BEGIN")

    async def in_a_call():
        await asyncio.to_thread(begin)

    async def task():
        begin()

    async def in_a_task():
        await asyncio.create_task(task())

    for way in (lambda: asyncio.run(in_a_call()), lambda: asyncio.run(in_a_task()), lambda: in_thread(begin)):
        way()
        gc.collect()
        with pytest.raises(UsageError, match=r"is rolled back, as the task.*grid.session\(\)"):
            grid.sql("INSERT INTO T VALUES (22, 22)")
        grid.sql("INSERT INTO T VALUES (23, 23); DELETE FROM T WHERE ID = 23")
    assert len(table) == 4


def test_a_task_that_has_ended_keeps_no_transaction_though_somebody_keeps_the_task(grid, table):
    async def work():
        grid.sql("BEGIN; INSERT INTO T VALUES (20, 20)")

    async def main():
        task = asyncio.create_task(work())
        await task
        with pytest.warns(UserWarning, match="are rolled back"):
            grid.sql("UPDATE T SET N = 0")
        return task

    assert asyncio.run(main()).done()
    table.put(1, {"N": 1})
    assert len(table) == 4


def test_what_is_started_within_a_transaction_cannot_take_itself_for_a_part_of_it(grid, table):
    async def main():
        grid.sql("BEGIN; INSERT INTO T VALUES (20, 20)")
        for call in (lambda: grid.sql("INSERT INTO T VALUES (21, 21)"), lambda: grid.sql("SELECT 1")):
            with pytest.raises(UsageError, match=r"belongs to the task or thread that called it.*grid.session\(\)"):
                await asyncio.to_thread(call)
        with pytest.raises(UsageError, match="past the transaction"):
            await asyncio.to_thread(table.put, 21, {"N": 21})

        async def child():
            grid.sql("INSERT INTO T VALUES (21, 21)")

        with pytest.raises(UsageError, match="belongs to the task"):
            await asyncio.create_task(child())
        grid.sql("COMMIT")
        await asyncio.create_task(child())
        with grid.transaction() as transaction:
            with pytest.raises(UsageError, match="past the transaction"):
                await asyncio.to_thread(table.put, 22, {"N": 22})
            await asyncio.to_thread(transaction.table("T").put, 23, {"N": 23})

    asyncio.run(main())
    assert sorted(k for k in table if k >= 20) == [20, 21, 23]


def test_handles_share_what_is_open_in_a_context(grid, table):
    with gridflow.connect(grid.home) as other:
        grid.sql("BEGIN; UPDATE T SET N = 1 WHERE ID = 1")
        assert not other.in_transaction and other.sql("SELECT N FROM T WHERE ID = 1").fetchall() == [(10,)]
        if grid.owner:  # a client's handles have nothing in common
            with pytest.raises(UsageError):
                other.sql("UPDATE T SET N = 2 WHERE ID = 2")
        grid.sql("COMMIT")
        other.sql("UPDATE T SET N = 2 WHERE ID = 2")
    assert [table.get(i)["N"] for i in range(3)] == [10, 1, 2]
