"""Scripts of statements that carry their data: an INSERT of literals means the same, however it is read."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gridflow
from gridflow._native.literal_rows import read_rows
from gridflow.sql import Session, session, split_statements
from gridflow.sql.grammar.statements import as_written, prepare

COLUMNS = "ID INT PRIMARY KEY, B BOOLEAN, L LONG, F DOUBLE, D DECIMAL(10,2), S VARCHAR, DT DATE, TS TIMESTAMP"
LITERALS = [
    *("0", "1", "-2", "- 3", "00017", "9223372036854775807", "-9223372036854775808", "99999999999999999999", "1_000"),
    *("2.5", "-0.005", "1e3", "1.5E-2", "1e400", "5.", ".5", "0x1F", "1e", "2.5.1", "1L"),
    *("'it''s'", "''", "''''", "'a;b'", "'--'", "'(,)'", "'é\U0001f600'", "'line\nend'", "'2020-02-29'", "'7'"),
    *(
        "NULL",
        "null",
        "TRUE",
        "False",
        "DEFAULT",
        "UNKNOWN",
        "X'00'",
        "DATE '2020-01-01'",
        "'a' 'b'",
        "E'a\\'b'",
        "1+1",
    ),
    *("1+1", "/* one */ 1", "1 -- one\n", "?", "[1]", "(1)", "$$a$$", "NAN", "", "true1", "NULLS", "\x00", "\xa01"),
]
SPACES = st.sampled_from(["", " ", "\n", "\t ", "\r\n"])
HEADS = ["INSERT INTO T", "insert  into T", "MERGE INTO T", 'INSERT INTO "T"', "INSERT INTO PUBLIC.T", "INSERT INTO U"]


@pytest.fixture(scope="module")
def kept_grid(tmp_path_factory):
    with gridflow.connect(tmp_path_factory.mktemp("scripts")) as grid:
        yield grid


def outcome(grid, text, shapes):
    """What a script does to a new table: the rows, and the counts or the error."""
    grid.sql(f"DROP TABLE IF EXISTS T; CREATE TABLE T ({COLUMNS})")
    session = Session(grid)
    try:
        statements = prepare(text)
        if not shapes:
            statements = [as_written(statement) if statement.shape else statement for statement in statements]
        done = [session.execute_prepared(statement, {}).rowcount for statement in statements]
    except gridflow.GridflowError as error:
        done = [type(error), str(error)]
    return done, sorted(map(repr, grid.sql("SELECT * FROM T").fetchall()))


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_statements_of_literals_mean_what_they_do_parsed_one_by_one(kept_grid, data):
    statements = []
    for i in range(data.draw(st.integers(1, 4))):
        columns = data.draw(st.lists(st.sampled_from(["B", "L", "F", "D", "S", "DT", "TS"]), unique=True, max_size=3))
        values = [str(i), *(data.draw(st.sampled_from(LITERALS).filter("?".__ne__)) for _ in columns)]
        space = data.draw(SPACES)
        row = f"{space},{space}".join(values)
        head = f"{data.draw(st.sampled_from(HEADS))} ({', '.join(['ID', *columns])}){space}"
        statements.append(f"{head}VALUES{space}({space}{row}{space})")
    text = ";\n".join(statements)
    assert outcome(kept_grid, text, shapes=True) == outcome(kept_grid, text, shapes=False)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(LITERALS), max_size=4), max_size=6), SPACES)
def test_rows_that_are_read_at_once_end_where_rows_do(rows, space):
    text = f"{space},{space}".join(f"({space}{f'{space},'.join(row)})" for row in rows)
    runs, end = read_rows(text, 0)
    assert end <= len(text) and all(run.begin < run.end <= end for run in runs)
    for run in runs:
        assert text[run.begin] == "(" and text[run.end - 1] == ")"
        assert len({len(row) for row in run.rows}) == 1


@pytest.mark.parametrize(
    "literal, value",
    [
        ("1", 1),
        ("-9223372036854775808", -(2**63)),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("2.50", Decimal("2.50")),
        ("-1e3", -1000.0),
        ("'a''b'", "a'b"),
        ("nUlL", None),
        ("TRUE", True),
    ],
)
def test_a_literal_is_read_as_the_value_that_it_is(literal, value):
    ((_, _, rows),), end = read_rows(f" ( {literal}\n)", 0)
    assert rows == [(value,)] and type(rows[0][0]) is type(value) and end == len(literal) + 5


@pytest.mark.parametrize(
    "row", ["0x10", "1_0", "1.", "'a' 'b'", "E'a'", "?", "1 -- 1", "NULLS", "1;2", "", "'a", "9" * 4001]
)
def test_what_is_no_plain_literal_is_left_to_the_parser(row):
    assert read_rows(f"({row})", 0)[0] == ()


def test_rows_of_anything_may_stand_between_rows_of_literals():
    text = "(1, 'a'), (2, UPPER('b)')), (3, 'c'), (4), (5, 'e')"
    runs, end = read_rows(text, 0)
    assert [run.rows for run in runs] == [[(1, "a")], [(3, "c")], [(5, "e")]] and end == len(text)


def test_a_script_names_the_line_of_what_is_wrong(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, A INT)")
    lines = [f"INSERT INTO T VALUES ({i}, {i});" for i in range(300)]
    for line, message in {
        "INSERT INTO T VALUES (200, 'x');": "column A INT32: 'x' does not fit",
        "INSERT INTO NOWHERE VALUES (200, 1);": r"(?s)NOWHERE.*line 201, column 13|(?s:line 201, column 13.*NOWHERE)",
        "INSERT INTO T (ID, B) VALUES (200, 1);": r"B",
        "INSERT INTO T VALUES (200, 1, 2);": "row 1 of VALUES has 3 values for 2 columns",
        "INSERT INTO T VALUES (199, 1);": "199",
        "INSERT INTO T VALUES (200, 1;": "line 201, column 29: expected",
    }.items():
        grid.sql("TRUNCATE TABLE T")
        with pytest.raises(gridflow.GridflowError, match=message):
            grid.sql("\n".join([*lines[:200], line, *lines[201:]]))
        assert len(grid.table("T")) in (200, 0)  # none where the text does not parse


def test_a_script_in_a_transaction_is_rolled_back_whole(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, S VARCHAR)")
    script = "BEGIN;" + "".join(f"INSERT INTO T VALUES ({i}, 'row {i}');" for i in range(500))
    grid.sql(script + "ROLLBACK")
    assert len(grid.table("T")) == 0
    grid.sql(script + "COMMIT")
    assert len(grid.table("T")) == 500 and grid.table("T").get(17) == {"S": "row 17"}


def test_a_table_made_anew_gets_the_rows_of_the_same_statement(grid):
    for columns, expected in (("ID INT PRIMARY KEY, A INT", 7), ("ID INT PRIMARY KEY, A VARCHAR", "7")):
        grid.sql(f"CREATE TABLE T ({columns})")
        grid.sql("INSERT INTO T VALUES (1, 7)")
        grid.sql("INSERT INTO T VALUES (2, 7)")
        assert grid.sql("SELECT A FROM T WHERE ID = 2").fetchall() == [(expected,)]
        grid.sql("DROP TABLE T")


def test_a_default_that_was_changed_fills_the_rows_of_the_same_statement(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, A INT DEFAULT 5)")
    grid.sql("INSERT INTO T (ID) VALUES (1)")
    grid.sql("ALTER TABLE T ADD COLUMN B INT DEFAULT 6")
    grid.sql("INSERT INTO T (ID) VALUES (2)")
    assert grid.sql("SELECT A, B FROM T ORDER BY ID").fetchall()[1] == (5, 6)


def test_many_sets_of_no_parameters_for_a_statement_of_literals(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, A INT)")
    assert Session(grid).execute_many("MERGE INTO T VALUES (1, 2)", [(), ()]).rowcount == 2
    with pytest.raises(gridflow.SqlError, match="1 given"):
        grid.sql("INSERT INTO T VALUES (2, 2)", [1])


def test_the_list_of_statements_shows_what_was_written(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, S VARCHAR)")
    grid.sql("INSERT INTO T VALUES (1, 'one')")
    texts = [text for (text,) in grid.sql("SELECT SQL FROM SYS.SQL_QUERIES_HISTORY").fetchall()]
    assert "INSERT INTO T VALUES (1, 'one')" in texts


def test_statements_are_cut_where_they_end():
    text = "INSERT INTO T VALUES (1, 'a;b'), (2, 'c'); SELECT 1; MERGE INTO T KEY (ID) VALUES (1, $$;$$);"
    assert [statement.text for statement in split_statements(text)] == [
        "INSERT INTO T VALUES (1, 'a;b'), (2, 'c')",
        "SELECT 1",
        "MERGE INTO T KEY (ID) VALUES (1, $$;$$)",
    ]


def test_a_row_of_literals_after_another_row_is_not_the_only_one(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, A INT)")
    assert grid.sql("INSERT INTO T VALUES (1, ?), (2, 3)", [4]).rowcount == 2
    assert grid.sql("SELECT A FROM T ORDER BY ID").fetchall() == [(4,), (3,)]


@pytest.mark.parametrize("problem", [gridflow.QueryTimeoutError("its time limit"), gridflow.KeyNotFoundError("no row")])
def test_a_statement_that_has_begun_is_not_tried_again(kept_grid, monkeypatch, problem):
    tries = []

    def fails(grid, statement, params):
        tries.append(statement)
        raise problem

    monkeypatch.setitem(session.EXECUTORS, "INSERT", fails)
    with pytest.raises(type(problem), match=str(problem)):
        kept_grid.sql("INSERT INTO T (ID) VALUES (77)")
    assert len(tries) == 1


def test_a_statement_that_was_killed_is_not_tried_again(kept_grid, monkeypatch):
    tries = []

    def killed(grid, statement, params):
        tries.append(statement)
        (run,) = kept_grid._activity.running()
        kept_grid._activity._cancelled.add(run.number)
        raise gridflow.SqlError("interrupted")

    monkeypatch.setitem(session.EXECUTORS, "INSERT", killed)
    with pytest.raises(gridflow.SqlError, match="was cancelled by KILL QUERY"):
        kept_grid.sql("INSERT INTO T (ID) VALUES (78)")
    assert len(tries) == 1
