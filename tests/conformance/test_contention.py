"""Statements, transactions and changes of columns that meet: none waits for ever, none reads rows by other columns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest

import gridflow.transaction
from gridflow import GridAccessError, SchemaError, TransactionConflictError
from gridflow.client import RemoteGrid


@contextmanager
def meanwhile(*works: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Run each of these again and again in a thread of its own; gives what went wrong."""
    stop, errors = threading.Event(), []

    def loop(work: Callable[[], object]) -> None:
        while not stop.is_set():
            try:
                work()
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=loop, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"


@pytest.fixture
def table(grid):
    table = grid.create_table("T", {"ID": "LONG", "A": "LONG", "S": "VARCHAR"}, key="ID")
    table.put_all({i: {"A": 0, "S": "s"} for i in range(200)})
    return table


def test_updates_of_all_rows_beside_puts(grid, table):
    """Under contention a statement runs for the last time alone: it must not wait for what waits for it."""
    done = []

    def update() -> None:
        grid.sql("UPDATE T SET A = A + 1")
        done.append(1)

    number = iter(range(1 << 30))
    with meanwhile(update, update, lambda: table.put(next(number) % 200, {"A": 0, "S": "t"})) as errors:
        give_up = time.monotonic() + 60
        while len(done) < 20 and time.monotonic() < give_up and not errors:
            time.sleep(0.01)
    assert len(done) >= 20 and [e for e in errors if not isinstance(e, TransactionConflictError)] == []


def test_two_that_are_alone_with_tables_in_turn(grid, table, monkeypatch):
    monkeypatch.setattr(gridflow.transaction, "HOLD_SECONDS", 0.5)
    other = grid.create_table("U", {"ID": "LONG"}, key="ID")
    gate, ended = threading.Barrier(2), []

    def both(first: str, second: str) -> None:
        try:
            with grid.transaction(of_statement=True, alone=True) as transaction:
                transaction.table(first)
                gate.wait()
                transaction.table(second)
            ended.append("done")
        except TransactionConflictError:
            ended.append("conflict")

    threads = [threading.Thread(target=both, args=pair) for pair in (("T", "U"), ("U", "T"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 2
    table.put(1, {"A": 1})
    other.put(1, {})  # nothing stays locked


def test_a_statement_never_reads_a_row_by_columns_that_are_gone(grid, table):
    if isinstance(grid, RemoteGrid):
        pytest.skip("statements run at the node")
    transaction = grid.transaction(of_statement=True)
    mine = transaction.table("T")
    grid.alter_table("T", drop=["A"])
    with pytest.raises(TransactionConflictError, match="other columns"):
        mine.get(1)
    transaction.rollback()


def test_queries_and_changes_while_columns_swap_their_names(grid, table):
    """A is a number all the time, whatever column has the name at the moment."""
    grid.sql("ALTER TABLE T ADD B LONG DEFAULT 0")

    def swap() -> None:
        grid.alter_table("T", rename={"A": "B", "B": "A"})
        time.sleep(0.002)

    def read() -> None:
        assert grid.sql("SELECT SUM(A) + SUM(B) FROM T WHERE ID >= 0").fetchall() == [(0,)]
        assert table.get(5).keys() == {"A", "B", "S"}

    def change() -> None:
        assert grid.sql("UPDATE T SET S = 'x' WHERE ID = 7").rowcount == 1
        assert grid.sql("UPDATE T SET S = 'y' WHERE A = 0 AND ID < 50").rowcount == 50

    with meanwhile(swap, read, change) as errors:
        time.sleep(1.5)
    wanted = (SchemaError, TransactionConflictError)  # try again
    assert [e for e in errors if not isinstance(e, wanted)] == []
    assert grid.check() == []


def test_an_insert_under_way_misses_no_default(grid, table):
    grid.sql("CREATE TABLE C (ID LONG PRIMARY KEY, X LONG)")
    number = iter(range(1 << 30))

    def fill() -> None:
        start = next(number) * 10
        grid.sql(f"INSERT INTO C (ID, X) SELECT ID + {1000 * start}, A FROM T WHERE ID < 5")
        grid.sql("INSERT INTO C (ID, X) VALUES (?, ?), (?, ?)", [-start - 1, 0, -start - 2, 0])

    with meanwhile(fill) as errors:
        time.sleep(0.3)
        grid.sql("ALTER TABLE C ADD B INT DEFAULT 7")
        time.sleep(0.3)
    assert [e for e in errors if "try again" not in str(e)] == []
    assert grid.sql("SELECT DISTINCT B FROM C").fetchall() == [(7,)]


def test_an_update_sees_all_its_tables_at_one_moment(grid):
    for name in ("P", "Q"):
        grid.create_table(name, {"ID": "LONG", "V": "LONG"}, key="ID").put_all({i: {"V": 10} for i in range(20)})
    grid.create_table("TOTAL", {"ID": "LONG", "V": "LONG"}, key="ID").put(1, {"V": 400})

    def move() -> None:
        with grid.transaction() as transaction:
            p, q = transaction.table("P"), transaction.table("Q")
            p.put(3, {"V": p.get(3)["V"] - 1})
            q.put(3, {"V": q.get(3)["V"] + 1})

    with meanwhile(move) as errors:
        for _ in range(40):
            grid.sql("UPDATE TOTAL SET V = (SELECT SUM(V) FROM P) + (SELECT SUM(V) FROM Q) WHERE ID > 0")
            assert grid.table("TOTAL").get(1) == {"V": 400}
    assert errors == []


def test_a_merge_that_fails_takes_back_all_that_it_did(grid, table):
    grid.sql("CREATE TABLE N (ID LONG PRIMARY KEY, A LONG NOT NULL); INSERT INTO N VALUES (1, 1), (2, 2)")
    grid.sql("BEGIN")
    with pytest.raises(SchemaError):
        grid.sql(
            "MERGE INTO N USING (VALUES (1, NULL), (2, NULL)) AS S(ID, A) ON N.ID = S.ID "
            "WHEN MATCHED AND N.ID = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET A = S.A"
        )
    assert grid.sql("SELECT * FROM N ORDER BY ID").fetchall() == [(1, 1), (2, 2)]
    grid.sql("COMMIT")
    assert len(grid.table("N")) == 2


def test_a_commit_after_a_column_went_says_so(grid, table):
    transaction = grid.transaction()
    transaction.table("T").put(1, {"A": 5, "S": "x"})
    grid.alter_table("T", drop=["S"])
    with pytest.raises(TransactionConflictError, match="has got other columns"):
        transaction.commit()


def test_an_indexed_column_is_not_dropped(grid, table):
    grid.sql("CREATE INDEX BY_A ON T (A)")
    with pytest.raises(SchemaError, match="column A of T is in index BY_A"):
        grid.alter_table("T", drop=["A"])


def test_a_grid_that_is_open_to_read_only_changes_nothing(grid, table):
    with gridflow.connect(grid.home, read_only=True) as reader:
        for text in (
            "UPDATE T SET A = 1 WHERE ID = -1",
            "DELETE FROM T WHERE ID = -1",
            "INSERT INTO T VALUES (-1, 1, '')",
        ):
            with pytest.raises(GridAccessError, match="read only"):
                reader.sql(text)
        reader.sql("BEGIN")
        with pytest.raises(GridAccessError, match="read only"):
            reader.sql("UPDATE T SET A = 1")
        reader.sql("ROLLBACK")


def test_readers_in_other_threads_while_columns_change(grid, table):
    with gridflow.connect(grid.home, read_only=True) as reader:
        seen = reader.table("T")

        def look() -> None:
            assert seen.get(3)["S"] == "s"
            assert len(reader.sql("SELECT S FROM T WHERE ID < 9").fetchall()) == 9

        def alter() -> None:
            grid.alter_table("T", add={"N": "INT"}, fill={"N": 1})
            table.load({"ID": np.arange(300, 310), "A": np.arange(10), "S": ["s"] * 10}, on_duplicate="replace")
            grid.alter_table("T", drop=["N"])

        with meanwhile(look, look, alter) as errors:
            time.sleep(1.5)
        assert errors == []


def test_an_update_of_many_rows_beside_commits_that_are_in_no_segment_yet(tmp_path, monkeypatch):
    """What a statement sees of them lies in a segment of its own, which must not be taken for one of the table's."""
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, V LONG)")
        table = grid.table("T")
        table.load({"ID": np.arange(10_000), "V": np.zeros(10_000, int)})
        flush, change_rows = gridflow.Table._flush_to_read, gridflow.Table._change_rows
        next_keys = iter(range(20_000, 30_000))

        def put_some(count: int) -> None:
            table.put_all((next(next_keys), {"V": 0}) for _ in range(count))

        def flush_and_put(self) -> int:
            result = flush(self)
            monkeypatch.setattr(gridflow.Table, "_flush_to_read", flush)
            put_some(50)
            return result

        def put_and_change(self, *arguments: object) -> int:
            put_some(700)
            return change_rows(self, *arguments)

        monkeypatch.setattr(gridflow.Table, "_flush_to_read", flush_and_put)
        monkeypatch.setattr(gridflow.Table, "_change_rows", put_and_change)
        assert grid.sql("UPDATE T SET V = V + 1 WHERE ID < 5000 OR ID >= 20000").rowcount == 5050
        monkeypatch.undo()
        rows = dict(grid.sql("SELECT ID, V FROM T").fetchall())
        assert len(table) == len(rows) == 10_750
        assert all(rows[i] == (i < 5000 or 20_000 <= i < 20_050) for i in rows)
        assert grid.check() == []


def test_a_load_that_stalls_keeps_nobody_waiting(grid, table):
    """A client that sends one batch and sleeps: what others do meanwhile comes before its load."""
    arrived, go_on, outcome = threading.Event(), threading.Event(), []

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"ID": [1, 500], "A": [-1, -1], "S": ["l", "l"]})
        arrived.set()
        go_on.wait(60)

    def work() -> None:
        with gridflow.connect(grid.home) as other:
            outcome.append(other.table("T").load(batches(), on_duplicate="replace"))

    thread = threading.Thread(target=work)
    thread.start()
    assert arrived.wait(60)
    try:
        table.put(1, {"A": 5, "S": "p"})
        table.put(600, {"A": 6, "S": "p"})
        table.flush()
        assert grid.sql("UPDATE T SET A = 7 WHERE ID = 2").rowcount == 1
        grid.sql("CREATE INDEX I ON T (A)")
        table.compact()
        assert len(table) == 201 and not outcome
    finally:
        go_on.set()
        thread.join(60)
    assert outcome == [2] and len(table) == 202
    assert [table.get(key)["A"] for key in (1, 2, 500, 600)] == [-1, 7, -1, 6]
