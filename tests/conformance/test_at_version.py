"""``FROM T AT (VERSION => ...)``, embedded and served."""

from __future__ import annotations

import numpy as np
import pytest

import gridflow
from gridflow import SqlError, VersionNotFoundError


@pytest.fixture
def table(grid):
    """Ten rows; v1: X is 0, v2: X is ID and row 0 is gone, now: X is 100."""
    table = grid.create_table("T", {"ID": "LONG", "X": "INT", "NAME": "VARCHAR"}, key="ID")
    table.load({"ID": np.arange(10), "X": np.zeros(10, "i4"), "NAME": [f"n{i}" for i in range(10)]})
    table.tag("v1")
    grid.sql("UPDATE T SET X = ID")
    table.remove(0)
    table.tag("v2")
    grid.sql("UPDATE T SET X = 100")
    return table


def ask(grid, text, params=None):
    return grid.sql(text, params).fetchall()


def test_each_version_by_tag_number_and_parameter(grid, table):
    numbers = table.tags()
    for tag, count, total in (("v1", 10, 0), ("v2", 9, 45)):
        for form in (f"'{tag}'", numbers[tag]):
            text = f"SELECT COUNT(*), SUM(X) FROM T AT (VERSION => {form})"
            assert ask(grid, text) == ask(grid, text) == [(count, total)]
            assert ask(grid, f"SELECT COUNT(*) FROM T AT (VERSION => {form})") == [(count,)]
            assert len(ask(grid, f"SELECT * FROM T AT (VERSION => {form})")) == count
    for _ in range(2):  # a plan is for one version
        for tag, total in (("v1", 0), ("v2", 45), (numbers["v2"], 45), (numbers["v1"], 0)):
            assert ask(grid, "SELECT SUM(X) FROM T AT (VERSION => ?)", [tag]) == [(total,)]
            assert ask(grid, "SELECT X FROM T AT (VERSION => ?) WHERE ID = ?", [tag, 9]) == [(9 if total else 0,)]
            assert ask(grid, "SELECT SUM(X) FROM T AT (VERSION => :v) WHERE ID > :i", {"v": tag, "i": 0}) == [(total,)]
            assert ask(grid, "SELECT X + ?1 FROM T AT (VERSION => ?2) WHERE ID = ?1", [9, tag]) == [
                (18 if total else 9,)
            ]
    assert ask(grid, "SELECT SUM(X) FROM T") == [(900,)]


def test_a_tag_that_is_moved_is_read_where_it_is(grid, table):
    text = "SELECT SUM(X) FROM T AT (VERSION => 'best')"
    for x in (1, 2):
        grid.sql("UPDATE T SET X = ?", [x])
        table.tag("best", replace=True)
        assert ask(grid, text) == [(9 * x,)]


def test_versions_of_one_table_beside_each_other(grid, table):
    assert ask(
        grid,
        "SELECT o.ID, o.X, m.X, n.X FROM T AT (VERSION => 'v1') AS o "
        "JOIN PUBLIC.T AT (VERSION => 'v2') m ON o.ID = m.ID JOIN T n ON n.ID = m.ID WHERE n.ID = 3",
    ) == [(3, 0, 3, 100)]
    gone = "SELECT ID FROM T AT (VERSION => 'v1') EXCEPT SELECT ID FROM T"
    assert ask(grid, gone) == [(0,)]
    assert ask(grid, "SELECT (SELECT SUM(X) FROM T AT (VERSION => 'v2')) - SUM(X) FROM T AT (VERSION => 'v1')") == [
        (45,)
    ]
    assert ask(grid, "WITH o AS (SELECT * FROM T AT (VERSION => 'v2')) SELECT MAX(X) FROM o") == [(9,)]
    assert ask(grid, "SELECT NAME FROM T AT (VERSION => 'v1') ORDER BY ID DESC LIMIT 1") == [("n9",)]


def test_columns_are_those_of_then(grid, table):
    grid.alter_table("T", drop=["X"], rename={"NAME": "TITLE"})
    assert ask(grid, "SELECT NAME, X FROM T AT (VERSION => 'v2') WHERE ID = 4") == [("n4", 4)]
    with pytest.raises(gridflow.ColumnNotFoundError, match=r"no column TITLE in T AT \(VERSION => 'v2'\)"):
        grid.sql("SELECT TITLE FROM T AT (VERSION => 'v2')")


def test_changes_may_read_a_version(grid, table):
    grid.sql("INSERT INTO T SELECT * FROM T AT (VERSION => 'v1') WHERE ID = 0")
    grid.sql("UPDATE T SET X = (SELECT o.X FROM T AT (VERSION => 'v2') o WHERE o.ID = T.ID) WHERE ID = 5")
    source = "T AT (VERSION => 'v2') AS o ON T.ID = o.ID"
    grid.sql(f"MERGE INTO T USING {source} WHEN MATCHED AND o.ID = 6 THEN UPDATE SET X = o.X")
    assert ask(grid, "SELECT ID, X FROM T WHERE X < 100 ORDER BY ID") == [(0, 0), (5, 5), (6, 6)]


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE T SET X = (SELECT o.X FROM T AT (VERSION => {}) o WHERE o.ID = T.ID)",
        "DELETE FROM T WHERE X NOT IN (SELECT X FROM T AT (VERSION => {}))",
        "MERGE INTO T USING T AT (VERSION => {}) o ON T.ID = o.ID WHEN MATCHED THEN UPDATE SET X = o.X",
        "MERGE INTO T SELECT * FROM T AT (VERSION => {})",
    ],
)
def test_a_change_flushed_away_the_oldest_version_that_it_reads(grid, text):
    table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID", keep_versions=1)
    table.put(1, {"X": 1})
    good = table.flush()
    table.put(1, {"X": 2})
    table.flush()
    if not grid.owner:  # where nobody can keep the background flush away
        grid.sql(text.format(good))
        return
    with table.lock:
        table.put(1, {"X": 3})
        assert grid.sql(text.format(good)).rowcount == 1
    assert ask(grid, "SELECT X FROM T WHERE X <> 1") == []


def test_a_version_is_read_and_not_changed(grid, table):
    for text in (
        "UPDATE T AT (VERSION => 'v1') SET X = 1",
        "DELETE FROM T AT (VERSION => 'v1')",
        "DELETE FROM T VERSION AS OF 'v1'",
        "INSERT INTO T AT (VERSION => 'v1') VALUES (1, 2, 'x')",
        "MERGE INTO T AT (VERSION => 'v1') VALUES (1, 2, 'x')",
    ):
        with pytest.raises(SqlError, match="a past version of T can be read, not changed"):
            grid.sql(text)


@pytest.mark.parametrize(
    "text, params, message",
    [
        ("SELECT * FROM SYS.TABLES AT (VERSION => 1)", None, "SYS.TABLES is a system view: it has no versions"),
        ("SELECT * FROM T AT (TIMESTAMP => 1)", None, r"AT \(TIMESTAMP => ...\) is not known here"),
        ("SELECT * FROM T BEFORE (VERSION => 1)", None, r"BEFORE \(VERSION => ...\) is not known here"),
        ("SELECT * FROM T AT (VERSION => 'v' || '1')", None, "given by its tag or its number: AT"),
        ("SELECT * FROM T AT (VERSION => 1.5)", None, "given by its tag or its number, not"),
        ("SELECT * FROM T AT (VERSION => ?)", [None], "given by its tag or its number, not None"),
        (
            "WITH C AS (SELECT 1) SELECT * FROM C AT (VERSION => 1)",
            None,
            "C, a query of WITH, has no versions: AT stands after the name of a table",
        ),
        ("SELECT * FROM RANGE(3) AT (VERSION => 1)", None, "a function has no versions: AT stands after"),
        ("SELECT * FROM DUAL AT (VERSION => 1)", None, "DUAL has no versions"),
        (
            "SELECT * FROM T VERSION AS OF 'v1'",
            None,
            r"read by AT \(VERSION => 'tag or number'\) after",
        ),
        ("SELECT * FROM T FOR VERSION AS OF 1 AS o", None, r"a past version is read by AT \(VERSION =>"),
        ("SELECT * FROM T FOR SYSTEM_TIME AS OF '2024-01-01'", None, r"a past version is read by AT \(VERSION =>"),
        ("SELECT * FROM T TIMESTAMP AS OF '2024-01-01'", None, r"a past version is read by AT \(VERSION =>"),
        ("SELECT * FROM SYS.TABLES VERSION AS OF 1", None, r"a past version is read by AT \(VERSION =>"),
        ("INSERT INTO T SELECT * FROM T AT (VERSION => ?)", ["v1"], "cannot be a parameter in this statement"),
    ],
)
def test_what_is_no_version(grid, table, text, params, message):
    with pytest.raises(SqlError, match=message):
        grid.sql(text, params)


def test_versions_that_are_not_there(grid, table):
    for text in ("SELECT * FROM T AT (VERSION => 'v9')", "SELECT * FROM T AT (VERSION => 1000)"):
        for _ in range(2):
            with pytest.raises(VersionNotFoundError, match="table T has no .*; its tags are v1"):
                grid.sql(text)
    text = "SELECT COUNT(*) FROM T AT (VERSION => 'v1')"
    assert ask(grid, text) == [(10,)]
    table.untag("v1")
    with pytest.raises(VersionNotFoundError):
        grid.sql(text)


def test_a_transaction_has_no_past(grid, table):
    with grid.transaction() as transaction, pytest.raises(SqlError, match="no past version; read that before BEGIN"):
        transaction.sql("SELECT * FROM T AT (VERSION => 'v1')")


def test_explain_names_the_version(grid, table):
    lines = [line for (line,) in ask(grid, "EXPLAIN SELECT X FROM T AT (VERSION => 'v1') WHERE ID = 1")]
    assert lines[0] == "T AT (VERSION => 'v1'): scan of 10 rows, columns ID, X"
    (line,) = ask(grid, "EXPLAIN SELECT COUNT(*) FROM T AT (VERSION => 'v2')")
    assert line[0].startswith("T AT (VERSION => 'v2'): number of its rows, 9")
