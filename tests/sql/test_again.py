"""A statement that runs again and again: what is kept of it for the next time says nothing of the rows of the last."""

from __future__ import annotations

import gc
import random
import threading
import weakref

import numpy as np
import pytest

from gridflow import SqlError, aside
from gridflow.sql.engine import connection as engine
from gridflow.sql.engine.relation import Relation


@pytest.fixture
def table(grid):
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X LONG, NAME VARCHAR)")
    return grid.table("T")


QUERIES = {
    "SELECT SUM(X), COUNT(NAME) FROM T WHERE X % 3 <> 1": lambda rows: [
        (
            sum(x for x, _ in rows.values() if x % 3 != 1) if any(x % 3 != 1 for x, _ in rows.values()) else None,
            sum(x % 3 != 1 for x, _ in rows.values()),
        )
    ],  # fmt: skip
    "SELECT ID FROM T WHERE ID % 2 = 0 ORDER BY X + ID, ID LIMIT 3": lambda rows: [
        (i,) for i in sorted((i for i in rows if i % 2 == 0), key=lambda i: (rows[i][0] + i, i))[:3]
    ],
    "SELECT MAX(X) FROM T": lambda rows: [(max((x for x, _ in rows.values()), default=None),)],
}


def test_each_time_it_sees_the_rows_of_now(grid, table):
    choose = random.Random(7)
    rows: dict[int, tuple[int, str]] = {}
    for step in range(60):
        if choose.random() < 0.3 and rows:
            for key in choose.sample(sorted(rows), len(rows) // 4):
                table.remove(key)
                del rows[key]
        for _ in range(choose.randrange(5)):
            key, x = choose.randrange(100), choose.randrange(1000)
            table.put(key, {"X": x, "NAME": f"name {x}"})
            rows[key] = x, f"name {x}"
        if step % 7 == 0:
            table.compact()
        for text, answer in QUERIES.items():
            assert grid.sql(text).fetchall() == answer(rows), text
            assert grid.sql("EXPLAIN " + text).rowcount > 1
        least = choose.randrange(1000)
        counted = grid.sql("SELECT COUNT(*) FROM T WHERE X + 0 >= ?", [least]).fetchall()
        assert counted == [(sum(x >= least for x, _ in rows.values()),)]


def test_it_sees_columns_that_have_changed(grid, table):
    text = "SELECT SUM(X) FROM T"
    table.put(1, {"X": 5})
    assert grid.sql(text).fetchall() == [(5,)]
    grid.sql("ALTER TABLE T DROP COLUMN X")
    grid.sql("ALTER TABLE T ADD COLUMN X DOUBLE")
    grid.sql("UPDATE T SET X = 2.5")
    assert grid.sql(text).fetchall() == [(2.5,)]
    grid.sql("DROP TABLE T")
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X LONG)")
    grid.sql("INSERT INTO T VALUES (1, 7)")
    assert grid.sql(text).fetchall() == [(7,)]


def test_an_error_leaves_it_as_it_was(grid, table):
    text = "SELECT 10 / X FROM T WHERE ID + 0 > 0"
    for x, answer in ((5, 2), (0, None), (2, 5)):
        table.put(1, {"X": x})
        if answer is None:
            with pytest.raises(SqlError, match="by zero"):
                grid.sql(text).fetchall()
        else:
            assert grid.sql(text).fetchall() == [(answer,)]


def test_what_the_engine_answers_at_once_is_asked_again(grid, table):
    # The columns of a PIVOT depend on the rows.
    text = "PIVOT T ON NAME USING SUM(X)"
    table.put(1, {"X": 1, "NAME": "a"})
    try:
        grid.sql(text)
    except SqlError:
        text = "SELECT RANDOM() >= 0, SUM(X) FROM T"
    first = grid.sql(text).fetchall()
    table.put(1, {"X": 2, "NAME": "a"})
    assert grid.sql(text).fetchall() != first


def test_a_thread_has_queries_of_its_own(grid, table):
    table.put_all({i: {"X": i} for i in range(100)})
    text, answers = "SELECT SUM(X) FROM T WHERE X % 2 = 0", []

    def ask() -> None:
        answers.extend(grid.sql(text).fetchall()[0][0] for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ask()
    assert answers == [2450] * 25


def test_more_queries_than_a_thread_keeps(grid, table):
    table.put_all({i: {"X": i} for i in range(10)})
    for _ in range(2):
        for i in range(100):
            assert grid.sql(f"SELECT SUM(X) + {i} FROM T").fetchall() == [(45 + i,)]


def test_it_keeps_no_rows():
    pa = pytest.importorskip("pyarrow")
    if engine._MISSES_NAN:
        pytest.skip("this DuckDB keeps nothing")
    rows = pa.table({"X": [1, 2, 3]})
    gone = weakref.ref(rows)
    for _ in range(3):
        answer = engine.run('SELECT SUM("X") FROM "rows that go"', {"rows that go": Relation(rows)}, again=True)
        assert answer.num_rows == 1
    del rows
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("limit", ["6000", "?", "10 OFFSET 6000"])
def test_the_first_of_many_rows_are_not_found_by_sorting_all(grid, table, limit):
    """The engine has to know how many rows there are to see that a large LIMIT is small."""
    ids = np.arange(1_000_000)
    table.load({"ID": ids, "X": ids * 7919 % len(ids)})
    params = [6000] if limit == "?" else []
    text = f"SELECT ID FROM T ORDER BY X * 2 LIMIT {limit}"
    for _ in range(2):
        assert "Top N" in str(grid.sql(f"EXPLAIN {text}", params).fetchall())
        assert len(grid.sql(text, params).fetchall()) == (10 if "OFFSET" in limit else 6000)


def test_a_new_query_leaves_others_kept(grid, table):
    table.put(1, {"X": 1, "NAME": ""})
    kept = "SELECT SUM(X) FROM T"
    for _ in range(3):
        assert grid.sql(kept).fetchall() == [(1,)]
    _, queries = aside.run(engine.connection, lambda thread: None)  # of the thread that runs them
    assert queries is not None
    last = next(reversed(queries._relations))
    assert "SUM" in last
    grid.sql("SELECT MIN(X) + 1 FROM T WHERE X < 7").fetchall()
    assert last in queries._relations
