"""Statements that are nested deeply, or are long chains of operators, run or are refused; the process lives on."""

import threading

import pytest

import gridflow

# What goes before, once for each level, in the middle, once for each level, after.
NESTED = {
    "parentheses": ("SELECT ", "(", "1", ")", ""),
    "calls": ("SELECT ", "ABS(", "1", ")", ""),
    "CASE": ("SELECT ", "CASE WHEN TRUE THEN ", "1", " END", ""),
    "ELSE": ("SELECT ", "CASE WHEN FALSE THEN 0 ELSE ", "1", " END", ""),
    "NOT": ("SELECT ", "NOT NOT ", "1 = 1", "", ""),
    "minus": ("SELECT ", "- - ", "1", "", ""),
    "subqueries": ("", "SELECT * FROM (", "SELECT 1 AS X", ") AS Q", ""),
    "IN": ("SELECT ", "1 IN (", "1", ")", ""),
    "WHERE": ("SELECT COUNT(*) FROM T WHERE ", "(ID = 2 OR ", "ID = 1", ")", ""),
    "EXPLAIN": ("EXPLAIN SELECT ", "(", "1", ")", ""),
    "INSERT": ("INSERT INTO T (ID) VALUES (", "(", "7", ")", ")"),
}
REFUSED = {
    **NESTED,
    "lists": ("SELECT ", "[", "1", "]", ""),
    "structs": ("SELECT ", "{'a': ", "1", "}", ""),
    "types": ("SELECT CAST(NULL AS ", "STRUCT(A ", "INT", ")", ")"),
    "types of a column": ("CREATE TABLE N (ID INT PRIMARY KEY, A ", "LIST<", "INT", ">", ")"),
    "brackets that nothing closes": ("SELECT ", "(", "1", "", ""),
    "additions": ("SELECT ", "1 + ", "1", "", ""),
}


def nested(kinds, kind, depth):
    before, begin, middle, end, after = kinds[kind]
    return before + begin * depth + middle + end * depth + after


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, A INT)")
        grid.sql("INSERT INTO T VALUES (1, 2)")
        yield grid


@pytest.mark.parametrize("kind", NESTED)
def test_a_depth_of_two_hundred_works(grid, kind):
    result = grid.sql(nested(NESTED, kind, 200))
    if kind == "INSERT":
        assert grid.table("T").get(7) is not None
    elif kind != "EXPLAIN":
        assert result.fetchall()[0][0] == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", NESTED)
def test_a_depth_of_a_thousand_works(grid, kind):
    assert grid.sql(nested(NESTED, kind, 1000 if kind not in ("NOT", "minus") else 500)) is not None


@pytest.mark.parametrize("kind", REFUSED)
def test_more_is_refused_with_its_place(grid, kind):
    with pytest.raises(gridflow.GridflowError, match=r"line 1, column \d+"):
        grid.sql(nested(REFUSED, kind, 2000 if kind != "additions" else 3000))


@pytest.mark.parametrize("call", ["ARRAY[{}]", "ROW({})", "LOCATE('a', {}, 1)", "STRUCT({})"])
def test_what_may_be_read_in_two_ways_is_not_read_twice_at_each_level(grid, call):
    text = "'a'"
    for _ in range(25):
        text = call.format(text)
    with pytest.raises(gridflow.SqlError) if call.startswith("LOCATE") else pytest.MonkeyPatch.context():
        grid.sql(f"SELECT {text}")


def test_locate_from_a_place_takes_any_argument(grid):
    texts = grid.sql(
        "SELECT LOCATE('b', 'abcb', 3), LOCATE('b', UPPER('x') || 'abcb', 1 + 2), LOCATE('z', 'a' || 'b', 1)"
    )
    assert texts.fetchall() == [(4, 3, 0)]


@pytest.mark.parametrize("operator, value", [("AND", True), ("OR", True)])
def test_a_chain_of_conditions_may_have_any_length(grid, operator, value):
    condition = f" {operator} ".join(["A = 2"] * 1000)
    assert grid.sql(f"SELECT {condition}, COUNT(*) FROM T WHERE {condition} GROUP BY 1").fetchall() == [(value, 1)]


def test_a_chain_of_texts_may_have_any_length_and_keeps_its_order(grid):
    chain = " || ".join(f"'{i},'" for i in range(3000))
    assert grid.sql(f"SELECT {chain}").fetchall() == [("".join(f"{i}," for i in range(3000)),)]


def test_a_chain_of_unions_may_be_long_and_keeps_its_order(grid):
    union = " UNION ALL ".join(f"SELECT {i} AS X" for i in range(1500))
    assert [x for (x,) in grid.sql(union).fetchall()] == list(range(1500))
    mixed = "SELECT 1 AS X UNION " + union + " EXCEPT SELECT 3 ORDER BY X LIMIT 4"
    assert [x for (x,) in grid.sql(mixed).fetchall()] == [0, 1, 2, 4]


SMALL_STACK = """
import sys, threading, gridflow
sys.path.insert(0, sys.argv[2])
from test_nesting import REFUSED, nested
grid = gridflow.connect(sys.argv[1])
grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, A INT)")
def run():
    for kind in REFUSED:
        for depth in (5, 100, 600):
            try:
                grid.sql(nested(REFUSED, kind, depth))
            except gridflow.GridflowError as error:
                assert depth > 5 or kind in ("brackets that nothing closes",), error
    print("alive")
threading.stack_size(256 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def test_a_thread_with_a_small_stack_refuses_what_would_end_the_process(tmp_path):
    import os
    import subprocess
    import sys

    command = [sys.executable, "-c", SMALL_STACK, str(tmp_path / "grid"), os.path.dirname(__file__)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "alive\n", done.stderr[-2000:]


def test_other_threads_run_deep_statements_side_by_side(grid):
    results = []

    def run():
        results.append(grid.sql(nested(NESTED, "calls", 200)).fetchall())

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[(1,)]] * 3
