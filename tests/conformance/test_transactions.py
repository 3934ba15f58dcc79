"""Transactions, embedded and through a server: all or nothing, one moment to read, the first committer wins."""

from __future__ import annotations

import datetime as dt
import decimal
import random
import threading
import uuid

import numpy as np
import pyarrow as pa
import pytest

import gridflow
from gridflow import DuplicateKeyError, TableNotFoundError, TransactionConflictError, UsageError

EVERY_KIND = {
    "B": ("BOOL", True),
    "I": ("SMALLINT", -5),
    "U": ("UINT64", 2**64 - 1),
    "F": ("FLOAT", 0.5),
    "NAN": ("DOUBLE", float("nan")),
    "D": ("DECIMAL(10,2)", decimal.Decimal("1.25")),
    "S": ("VARCHAR", "ünï"),
    "BI": ("BINARY", b"\x00\xff"),
    "DA": ("DATE", dt.date(2020, 2, 29)),
    "TI": ("TIME", dt.time(1, 2, 3)),
    "TS": ("TIMESTAMP", dt.datetime(2020, 1, 1)),
    "UU": ("UUID", uuid.UUID(int=5)),
    "T": ("INT16[2,2]", np.arange(4, dtype=np.int16).reshape(2, 2)),
    "L": ("LIST<INT>", [1, None, 3]),
    "ST": ("STRUCT<X INT, Y VARCHAR>", {"X": 1, "Y": None}),
    "M": ("MAP<STRING, DOUBLE>", {"a": 1.5, "b": None}),
}


@pytest.fixture
def accounts(grid):
    table = grid.create_table("ACCOUNTS", {"ID": "LONG", "N": "LONG"}, key="ID")
    table.put_all({i: {"N": 10} for i in range(4)})
    return table


def test_nobody_sees_it_before_the_commit_and_everybody_after(grid, accounts):
    other = grid.create_table("OTHER", {"ID": "VARCHAR", "V": "BINARY"}, key="ID")
    with grid.transaction() as transaction:
        mine, too = transaction.table("ACCOUNTS"), transaction.table("SQL_PUBLIC_OTHER")
        mine.put(0, {"N": 11})
        mine.insert_all([(7, {"N": 70})])
        assert mine.remove(1) and not mine.remove(1) and mine.remove_all([2, 2, 99]) == 1
        too.put_all({"a": {"V": b"1"}})
        assert too.put_if_absent("a", {"V": b"2"}) is False and too.replace("b", {"V": b"2"}) is False
        assert mine.get(0) == {"N": 11} and mine.get(1, "no") == "no" and 7 in mine and mine[7] == {"N": 70}
        assert len(mine) == 3 and sorted(mine.to_arrow()["ID"].to_pylist()) == [0, 3, 7]
        assert sum(batch.num_rows for batch in mine.scan(["N"], partitions=range(1024))) == 3
        assert len(accounts) == 4 and accounts.get(0) == {"N": 10} and len(other) == 0
    assert accounts.get_all(range(8)) == {0: {"N": 11}, 3: {"N": 10}, 7: {"N": 70}}
    assert other.get("a") == {"V": b"1"}
    with pytest.raises(UsageError, match="has ended"):
        transaction.table("ACCOUNTS")
    with pytest.raises(UsageError, match="has ended"):
        mine.put(1, {"N": 1})


def test_an_exception_rolls_back(grid, accounts):
    with pytest.raises(ZeroDivisionError), grid.transaction() as transaction:
        transaction.table("ACCOUNTS").put(0, {"N": 0})
        raise ZeroDivisionError
    assert accounts.get(0) == {"N": 10}


def test_it_reads_all_tables_at_the_moment_it_began(grid, accounts):
    other = grid.create_table("OTHER", {"ID": "LONG"}, key="ID")
    transaction = grid.transaction()
    accounts.put(0, {"N": 99})
    other.put(1, {})
    accounts.flush()
    other.load({"ID": np.arange(100)}, on_duplicate="replace")
    accounts.compact()
    assert transaction.table("ACCOUNTS").get(0) == {"N": 10}
    assert transaction.sql("SELECT SUM(N) FROM ACCOUNTS").fetchall() == [(40,)]
    assert len(transaction.table("OTHER")) == 0
    assert transaction.sql("SELECT COUNT(*) FROM ACCOUNTS A LEFT JOIN OTHER O ON A.ID = O.ID").fetchall() == [(4,)]
    transaction.rollback()
    assert accounts.get(0) == {"N": 99} and len(other) == 100


@pytest.mark.parametrize("flushed", [False, True])
def test_the_first_committer_wins(grid, accounts, flushed):
    changes = {
        "put": lambda: accounts.put(0, {"N": 1}),
        "remove": lambda: accounts.remove(1),
        "insert": lambda: accounts.put(8, {"N": 8}),
        "load": lambda: accounts.load({"ID": [2], "N": [5]}, on_duplicate="replace"),
    }
    for kind, change in changes.items():
        transaction = grid.transaction()
        transaction.table("ACCOUNTS").put_all({0: {"N": 7}, 1: {"N": 7}, 8: {"N": 7}, 2: {"N": 7}})
        change()
        if flushed:
            accounts.flush()
            accounts.compact()
        before = dict(sorted(accounts.get_all(range(9)).items()))
        with pytest.raises(TransactionConflictError, match="table ACCOUNTS: the row under key"):
            transaction.commit()
        assert dict(sorted(accounts.get_all(range(9)).items())) == before, kind
    transaction = grid.transaction()
    transaction.table("ACCOUNTS").put(0, {"N": 7})
    accounts.put(3, {"N": 5})  # another row
    accounts.put(0, accounts.get(0))  # the same value
    accounts.flush()
    transaction.commit()
    assert accounts.get(0) == {"N": 7} and accounts.get(3) == {"N": 5}


def test_rows_of_every_kind_are_the_same_wherever_they_lie(grid):
    """A conflict is told from the bytes of a row: those in the log and those made of a segment must agree."""
    schema = {"ID": "LONG", **{name: kind for name, (kind, _) in EVERY_KIND.items()}}
    table = grid.create_table("KINDS", schema, key="ID")
    full, empty = {name: value for name, (_, value) in EVERY_KIND.items()}, {}
    table.put_all({1: full, 2: empty, 3: full})
    transaction = grid.transaction()  # sees them in memory
    transaction.table("KINDS").put_all({1: empty, 2: full})
    table.flush()  # and finds them in a segment
    table.compact()
    transaction.commit()
    assert table.get(1)["S"] is None and table.get(2)["S"] == "ünï"
    transaction = grid.transaction()
    transaction.table("KINDS").put_all({1: full, 2: empty})
    table.put_all({1: table.get(1), 2: table.get(2)})  # the same, in memory again
    transaction.commit()
    assert table.get(1)["M"] == {"a": 1.5, "b": None} and table.get(2)["M"] is None
    arrow = table.to_arrow()
    with grid.transaction() as transaction:
        mine = transaction.table("KINDS")
        assert (
            mine.load(arrow, on_duplicate="replace") == 3
            and mine.to_arrow().sort_by("ID").equals(arrow.sort_by("ID")) is False
        )  # NaN
        assert (
            mine.to_arrow(["ID", "S", "M", "T"]).sort_by("ID").equals(arrow.select(["ID", "S", "M", "T"]).sort_by("ID"))
        )


def test_loads_of_every_form(grid, accounts):
    with grid.transaction() as transaction:
        mine = transaction.table("ACCOUNTS")
        seen = []
        assert mine.load({"ID": np.arange(100, 3100), "N": np.arange(3000)}, progress=seen.append) == 3000
        assert mine.load(pa.table({"ID": pa.array([4], pa.int64()), "N": pa.array([None], pa.int64())})) == 1
        assert mine.load([{"ID": 5, "N": 50}, {"ID": 6}], on_duplicate="error") == 2
        for data in ({"ID": [9, 5], "N": [1, 1]}, [{"ID": 9}, {"ID": 9}]):
            with pytest.raises(DuplicateKeyError):
                mine.load(data, on_duplicate="error")
        assert 9 not in mine and len(mine) == 3007 and seen[-1] == 3000
        with pytest.raises(UsageError, match="on_duplicate is error, replace or ignore"):
            mine.load([], on_duplicate="merge")
        with pytest.raises(gridflow.ColumnNotFoundError, match="has no column X"):
            mine.load([{"ID": 1, "X": 1}])
    assert len(accounts) == 3007 and accounts.get(6) == {"N": None}


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX BY_N ON ACCOUNTS (N)",
        "DROP INDEX IF EXISTS BY_N",
        "ALTER TABLE ACCOUNTS ADD X INT",
        "DROP TABLE ACCOUNTS",
        "CREATE TABLE X (ID INT PRIMARY KEY)",
        "CREATE TABLE X PRIMARY KEY (ID) AS SELECT * FROM ACCOUNTS",
        "TRUNCATE TABLE ACCOUNTS",
        "CREATE USER KATE WITH PASSWORD 'warm kitty'",
    ],
)
def test_what_commits_by_itself_is_refused_in_a_transaction_before_anything_happens(grid, accounts, text, monkeypatch):
    written: list[str] = []
    monkeypatch.setattr("gridflow.storage.sidecars.replace_file", lambda path, data: written.append(path))
    before = (accounts.schema, len(accounts), grid.tables(), accounts.options)
    with grid.transaction() as transaction:
        with pytest.raises(UsageError, match="transaction"):
            transaction.sql(text)
        with pytest.raises(gridflow.SqlError, match="inside a transaction already"):
            transaction.sql("BEGIN")
    assert (accounts.schema, len(accounts), grid.tables(), grid.table("ACCOUNTS").options) == before and not written


def test_a_table_that_goes_away_or_comes(grid, accounts):
    transaction = grid.transaction()
    transaction.table("ACCOUNTS").put(0, {"N": 1})
    grid.create_table("NEW", {"ID": "LONG"}, key="ID")
    transaction.table("NEW").put(1, {})
    with pytest.raises(UsageError, match="cannot make or drop tables"):
        transaction.create_table("X", {"ID": "LONG"}, key="ID")
    grid.drop_table("ACCOUNTS")
    with pytest.raises(TableNotFoundError):
        transaction.commit()
    assert len(grid.table("NEW")) == 0


def test_a_transaction_of_sql_belongs_to_its_thread(grid, accounts):
    grid.sql("BEGIN")
    grid.sql("UPDATE ACCOUNTS SET N = 0")
    seen = []
    thread = threading.Thread(
        target=lambda: seen.append((grid.in_transaction, grid.sql("SELECT SUM(N) FROM ACCOUNTS")))
    )
    thread.start()
    thread.join()
    assert grid.in_transaction and seen[0][0] is False and seen[0][1].fetchall() == [(40,)]
    grid.sql("ROLLBACK")
    assert not grid.in_transaction and accounts.get(0) == {"N": 10}


def test_money_is_neither_made_nor_lost(grid, accounts):
    """Transfers between two tables from several threads, while readers add up both in one query."""
    grid.create_table("SAVINGS", {"ID": "LONG", "N": "LONG"}, key="ID").put_all({i: {"N": 10} for i in range(4)})
    stop, errors, done = threading.Event(), [], []

    def transfer(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            try:
                with grid.transaction() as transaction:
                    giver, taker = (transaction.table(n) for n in chance.sample(["ACCOUNTS", "SAVINGS"], 2))
                    one, two = chance.randrange(4), chance.randrange(4)
                    giver.put(one, {"N": giver.get(one)["N"] - 1})
                    taker.put(two, {"N": taker.get(two)["N"] + 1})
                done.append(seed)
            except TransactionConflictError:
                pass
            except Exception as error:
                errors.append(error)

    def add_up() -> None:
        while not stop.is_set():
            total = "SELECT (SELECT SUM(N) FROM ACCOUNTS) + (SELECT SUM(N) FROM SAVINGS)"
            if (found := grid.sql(total).fetchall()) != [(80,)]:
                errors.append(found)

    reader = threading.Thread(target=add_up)
    reader.start()
    writers = [threading.Thread(target=transfer, args=(seed,)) for seed in range(3)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert errors == [] and len(done) > 20


@pytest.mark.parametrize("condition", ["ID = 1", "ID < 2", "N >= 0"])
def test_an_update_loses_no_write_that_comes_between_its_reading_and_its_writing(grid, condition):
    """Single puts count up one column of a row, updates another."""
    table = grid.create_table("COUNTERS", {"ID": "LONG", "N": "LONG", "M": "LONG"}, key="ID")
    table.put_all({i: {"N": 0, "M": 0} for i in range(2)})
    ready = threading.Barrier(2)

    failed = []

    def until_done() -> None:
        done = 0
        ready.wait()
        while done < 300:
            try:
                with grid.transaction() as transaction:
                    mine = transaction.table("COUNTERS")
                    mine.put(1, {**mine.get(1), "M": mine.get(1)["M"] + 1})
                done += 1
            except TransactionConflictError:
                pass
            except Exception as error:
                failed.append(error)
                return

    thread = threading.Thread(target=until_done)
    thread.start()
    ready.wait()
    updates = 0
    while thread.is_alive():
        assert grid.sql(f"UPDATE COUNTERS SET N = N + 1 WHERE {condition}").rowcount >= 1
        updates += 1
    thread.join()
    assert failed == [] and table.get(1) == {"N": updates, "M": 300}


def test_a_large_update_meets_a_write(grid):
    """What is more than a log's worth is loaded, if nobody has written since it was read."""
    table = grid.create_table("WIDE", {"ID": "LONG", "N": "LONG"}, key="ID")
    table.load({"ID": np.arange(10_000), "N": np.zeros(10_000, np.int64)})
    stop = threading.Event()

    def write() -> None:
        key = 0
        while not stop.is_set():
            table.put(10_000 + key, {"N": 0})
            key += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            grid.sql("UPDATE WIDE SET N = N + 1 WHERE ID < 10000")
    except TransactionConflictError:
        pass
    finally:
        stop.set()
        thread.join()
    sums = set(grid.sql("SELECT DISTINCT N FROM WIDE WHERE ID < 10000").fetchall())
    assert len(sums) == 1, "an update is there in part"
    assert grid.sql("UPDATE WIDE SET N = 7").rowcount == len(table)
    assert grid.sql("SELECT DISTINCT N FROM WIDE").fetchall() == [(7,)]


def test_tables_come_and_go_while_transactions_begin(grid, accounts):
    """A transaction begins with all tables that are there; one that goes at that moment is none of its business."""
    stop, errors = threading.Event(), []

    def make_and_drop() -> None:
        while not stop.is_set():
            grid.create_table("PASSING", {"ID": "LONG"}, key="ID").put(1, {})
            grid.drop_table("PASSING")

    thread = threading.Thread(target=make_and_drop)
    thread.start()
    try:
        for i in range(300):
            with grid.transaction() as transaction:
                transaction.table("ACCOUNTS").put(0, {"N": i})
    except Exception as error:
        errors.append(error)
    finally:
        stop.set()
        thread.join()
    assert errors == [] and accounts.get(0) == {"N": 299}
