"""Long lists after IN and many rows after VALUES mean what short ones do."""

from decimal import Decimal

import pytest

import gridflow
from gridflow.sql import split_statements

N = 1200  # more than what makes a run
#: Of a table's columns, some literals that a few rows take: of the column's kind, and of others that are converted.
LITERALS = {
    "BOOLEAN": ["TRUE", "FALSE", "NULL", "1", "'no'"],
    "INT": ["1", "-2", "2.5", "NULL", "'7'", "1e2", "TRUE"],
    "LONG": ["9223372036854775807", "-9223372036854775808", "0", "NULL", "1.4"],
    "DOUBLE": ["1", "-1.5", "1e300", "'2.5'", "NULL"],
    "DECIMAL(10,2)": ["1", "-1.005", "'3.14'", "99999999.99", "NULL"],
    "VARCHAR": ["'it''s'", "''", "1", "-2.50", "TRUE", "NULL", "'é'"],
    "DATE": ["'2020-02-29'", "NULL"],
    "TIME": ["'12:34:56'", "NULL"],
    "TIMESTAMP": ["'2020-02-29 12:00:00'", "'2020-02-29'", "NULL"],
    "UUID": ["'00000000-0000-0000-0000-000000000001'", "NULL"],
}


@pytest.mark.parametrize("dtype", LITERALS)
def test_many_rows_are_converted_as_one_is(grid, dtype):
    for name in ("ONE", "MANY"):
        grid.sql(f"CREATE TABLE {name} (ID INT PRIMARY KEY, X {dtype})")
    literals = LITERALS[dtype]
    for i, literal in enumerate(literals):
        grid.sql(f"INSERT INTO ONE VALUES ({i}, {literal})")
    rows = ", ".join(f"({i}, {literals[i % len(literals)]})" for i in range(len(literals) * 60))
    assert split_statements(f"INSERT INTO MANY VALUES {rows}")[0].runs
    assert grid.sql(f"INSERT INTO MANY VALUES {rows}").rowcount == len(literals) * 60
    one = grid.sql("SELECT ID, X FROM ONE ORDER BY ID").fetchall()
    many = grid.sql(f"SELECT ID, X FROM MANY WHERE ID < {len(literals)} ORDER BY ID").fetchall()
    assert one == many and list(map(type, one[0])) == list(map(type, many[0]))


def test_rows_with_defaults_and_expressions_stand_among_many_literals(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, A INT DEFAULT 5, S VARCHAR)")
    rows = [f"({i}, {i}, 'a,({i})')" for i in range(N)]
    rows[300] = "(300, DEFAULT, 'x')"
    assert grid.sql("INSERT INTO T VALUES " + ", ".join(rows)).rowcount == N
    assert grid.sql("SELECT A, S FROM T WHERE ID IN (299, 300) ORDER BY ID").fetchall() == [(299, "a,(299)"), (5, "x")]
    rows[300] = "(300, 1 + 1, UPPER('x'))"
    rows[301] = "(301, ?, ?)"
    assert grid.sql("MERGE INTO T VALUES " + ", ".join(rows), [7, "p"]).rowcount == N
    found = grid.sql("SELECT A, S FROM T WHERE ID BETWEEN 299 AND 302 ORDER BY ID").fetchall()
    assert found == [(299, "a,(299)"), (2, "X"), (7, "p"), (302, "a,(302)")]
    assert grid.sql("MERGE INTO T (S, ID) VALUES " + ", ".join(f"('s', {i})" for i in range(N))).rowcount == N
    assert grid.sql("SELECT DISTINCT A, S FROM T").fetchall() == [(5, "s")]


@pytest.mark.parametrize(
    "row, message",
    [
        ("(1, 2, 3)", r"row 601 of VALUES has 3 values for 2 columns"),
        ("(600, 'x')", r"column A INT32: 'x' does not fit"),
        ("(600, 99999999999)", r"A"),
        ("(NULL, 1)", r"ID"),
        ("(599, 1)", r"599"),
        ("(600, )", r"row 601 of VALUES has 1 values"),
        ("(600, 1", r"line 1200, column 13: expected \)"),
    ],
)
def test_a_wrong_row_among_many_is_named_and_nothing_is_kept(grid, row, message):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, A INT)")
    rows = [f"({i}, {i})" for i in range(N)]
    rows[600] = row
    with pytest.raises(gridflow.GridflowError, match=message):
        grid.sql("INSERT INTO T VALUES " + ",\n".join(rows))
    assert len(grid.table("T")) == 0


@pytest.fixture
def numbers(grid):
    grid.sql(
        "CREATE TABLE T (ID INT PRIMARY KEY, L LONG, U UINT64, F DOUBLE, D DECIMAL(10,2), S VARCHAR, DT DATE, V UUID)"
    )
    grid.sql(
        "INSERT INTO T VALUES (1, 1, 18446744073709551615, 1, 1, '1', '2020-01-01', RANDOM_UUID()),"
        "(2, 3000, 5, 2.5, 2.5, 'b', '2020-01-02', NULL), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    )
    return grid


@pytest.mark.parametrize("column", ["ID", "L", "U", "F", "D", "S", "DT", "V", "L + 0", "T.ID", "UPPER(S)"])
@pytest.mark.parametrize("kind", ["numbers", "texts", "nulls", "decimals", "mixed"])
@pytest.mark.parametrize("no", ["", "NOT "])
def test_a_long_list_means_what_a_short_one_does(numbers, column, kind, no):
    short = {
        "numbers": ["1", "2", "3000", "-1"],
        "texts": ["'1'", "'b'"],
        "nulls": ["1", "NULL"],
        "decimals": ["2.5", "1"],
        "mixed": ["1", "'3000'"],
    }[kind]

    def rows(literals):
        try:
            text = f"SELECT ID FROM T WHERE {column} {no}IN ({', '.join(literals)}) ORDER BY ID"
            return numbers.sql(text).fetchall()
        except gridflow.GridflowError as error:
            return type(error)

    assert rows(short) == rows(short * (N // len(short) + 1))


def test_long_lists_work_wherever_a_condition_does(numbers):
    some = ", ".join(map(str, range(1, N + 1)))
    for text, expected in {
        f"SELECT COUNT(*) FROM T A JOIN T B ON A.ID = B.ID WHERE A.ID IN ({some}) AND B.L IN ({some})": [(1,)],
        f"SELECT COUNT(*) FROM (SELECT * FROM T WHERE ID IN ({some})) Q WHERE ID NOT IN ({some})": [(0,)],
        f"WITH L AS (SELECT 1 AS ID) SELECT COUNT(*) FROM L WHERE ID IN ({some})": [(1,)],
        f"SELECT ID IN ({some}) FROM T ORDER BY ID": [(True,), (True,), (True,)],
        f"SELECT COUNT(*) FROM T WHERE ID IN ({some}) OR L IN ({some})": [(3,)],
    }.items():
        assert numbers.sql(text).fetchall() == expected
        assert numbers.sql(text).fetchall() == expected
    assert "PLAN" in numbers.sql(f"EXPLAIN SELECT * FROM T WHERE ID IN ({some})").to_arrow().column_names
    assert numbers.sql(f"UPDATE T SET S = 'u' WHERE ID IN ({some})").rowcount == 3
    numbers.sql("CREATE INDEX I ON T (L)")
    assert numbers.sql(f"SELECT ID, S FROM T WHERE L IN ({some})").fetchall() == [(1, "u")]
    assert numbers.sql(f"DELETE FROM T WHERE L IN ({some})").rowcount == 1


def test_many_marks_are_numbered_in_the_texts_order(numbers):
    marks = ", ".join("?" * 3000)
    assert numbers.sql(f"SELECT COUNT(*) FROM T WHERE ID IN ({marks})", list(range(3000))).fetchall() == [(3,)]
    params = ["a", *range(3000), "z"]
    both = f"UPDATE T SET (S, L) = (SELECT MAX(S), MAX(L) FROM T WHERE ID IN ({marks})) WHERE ID = 3"
    assert numbers.sql(both, list(range(3000))).rowcount == 1
    numbers.sql("UPDATE T SET S = NULL, L = NULL WHERE ID = 3")
    result = numbers.sql(f"SELECT ?, COUNT(*) FROM T WHERE ID IN ({marks}) AND S <> ?", params).fetchall()
    assert result == [("a", 2)]
    assert numbers.sql(f"UPDATE T SET S = ? WHERE ID IN ({marks})", ["n", *range(3000)]).rowcount == 3
    assert numbers.sql(f"DELETE FROM T WHERE L IN ({marks})", list(range(3000))).rowcount == 1


@pytest.mark.parametrize("column", ["ID", "L", "U", "F", "S", "DT", "L + 0"])
@pytest.mark.parametrize("values", [[1, 3000], ["1", "b"], [1, None], [2.5], [1, "1"], [True], [2**63 + 5, 5]])
def test_long_lists_of_marks_mean_what_short_ones_do(numbers, column, values):
    def rows(params):
        try:
            text = f"SELECT ID FROM T WHERE {column} IN ({', '.join('?' * len(params))}) ORDER BY ID"
            return numbers.sql(text, params).fetchall()
        except gridflow.GridflowError as error:
            return type(error)

    assert rows(values) == rows(values * (N // len(values) + 1))


def test_values_of_literals_are_the_values_that_were_written():
    (statement,) = split_statements("INSERT INTO T VALUES " + ", ".join(["(1, -1.50, 'a''b', NULL, TRUE, 1e3)"] * 100))
    (run,) = statement.runs
    assert run.rows == [(1, Decimal("-1.50"), "a'b", None, True, 1000.0)] * 100 and run.end == statement.end
    assert list(map(type, run.rows[0])) == [int, Decimal, str, type(None), bool, float]


@pytest.mark.parametrize("of_marks", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "SELECT 10 / (CASE WHEN L IN ({}) THEN 1 ELSE 2 END) FROM T ORDER BY ID",
        "SELECT MOD(7, CASE WHEN ID IN ({}) THEN 4 ELSE 2 END) FROM T ORDER BY ID",
        "SELECT LIST_TRANSFORM([1, 2], X -> X + CASE WHEN ID IN ({}) THEN 1 ELSE 0 END) FROM T ORDER BY ID",
        "SELECT (ID IN ({})) FROM T ORDER BY ID",
        "SELECT ID FROM T WHERE S = 'FROM \"gridflow_list_0\"' OR L IN ({}) ORDER BY ID",
        "SELECT ID FROM T WHERE F IN ({}, {{# a comment #}} 2.5) ORDER BY ID",
    ],
)
def test_long_lists_work_in_every_expression(numbers, of_marks, text):
    def rows(values):
        inner = ", ".join("?" * len(values)) if of_marks else ", ".join(map(str, values))
        return numbers.sql(text.format(inner), values if of_marks else None).fetchall()

    assert rows([1, 2] * N) == rows([1, 2])


def test_the_same_long_list_twice_is_one_expression(numbers):
    some = ", ".join(map(str, range(2, N + 2)))
    text = f"SELECT ID IN ({some}), COUNT(*) FROM T GROUP BY ID IN ({some}) ORDER BY 2"
    assert numbers.sql(text).fetchall() == [(False, 1), (True, 2)]


def test_a_statement_is_asked_again_with_values_of_another_kind(numbers):
    text = f"SELECT ID FROM T WHERE L IN ({', '.join('?' * N)})"
    for _ in range(3):  # the second time, a query is kept
        for value, expected in ((1, [(1,)]), ("1", [(1,)]), (None, []), (2**63, []), (1.0, [(1,)]), (3000, [(2,)])):
            assert numbers.sql(text, [value] * N).fetchall() == expected


def test_half_a_character_in_a_long_list(numbers):
    for count in (2, N):
        with pytest.raises(gridflow.SqlError):
            numbers.sql(f"SELECT ID FROM T WHERE S IN ({', '.join('?' * count)})", ["\ud800"] * count)


def test_what_is_selected_is_no_row_of_values(grid):
    grid.sql("CREATE TABLE W (ID INT PRIMARY KEY, " + ", ".join(f"C{i} INT" for i in range(120)) + ")")
    grid.sql("INSERT INTO W SELECT 0, " + ", ".join(f"({i})" for i in range(120)))
    assert grid.sql("SELECT C0, C119 FROM W").fetchall() == [(0, 119)]
