"""The parts of the shell: values and rows as text, completion, commands."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from rich.console import Console

import gridflow
from gridflow.cli.shell import rendering
from gridflow.cli.shell.cells import cut, short, values_of
from gridflow.cli.shell.completion import SqlCompleter
from gridflow.cli.shell.layout import Look
from gridflow.cli.shell.registry import COMMANDS
from gridflow.cli.shell.scripts import pieces
from gridflow.cli.shell.session import Leave, Session, check_complete
from gridflow.cli.shell.settings import SETTINGS
from gridflow.cli.sql import FORMATS as FORMATS_OF_THE_COMMAND
from gridflow.errors import UsageError
from gridflow.schema import parse_type
from gridflow.sql import result
from gridflow.storage.formats.plain_values import plain

PIXELS = np.arange(2 * 28 * 28, dtype=np.uint16).reshape(2, 28, 28)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "true"),
        (PIXELS[0], "UINT16[28,28] min 0 max 783"),
        (np.array([[1.5, math.nan] * 8]), "FLOAT64[1,16] min 1.5 max 1.5, 8 not finite"),
        (np.array([1, 2, 3], np.int8), "[1, 2, 3]"),
        (b"\x00\xff", "x'00ff'"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        (["a", None, 1.5], "['a', NULL, 1.5]"),
        ({"a": 1, "b c": [True]}, '{a: 1, "b c": [true]}'),
        (dt.datetime(2024, 2, 29, 12), "2024-02-29 12:00:00"),
        (decimal.Decimal("1.50"), "1.50"),
        (decimal.Decimal("0E-9"), "0.000000000"),
        (math.inf, "Infinity"),
        (np.datetime64("2024-02-29T12:00:00.000000001"), "2024-02-29 12:00:00.000000001"),
        (pa.MonthDayNano([1, 2, 3_500_000_000]), "P1M2DT3.5S"),
        (dt.timedelta(0), "PT0S"),
    ],
)
def test_a_value_is_drawn_short(value, text):
    assert short(value) == text


def test_long_values_are_cut_with_their_length():
    assert short("x" * 100) == "x" * 59 + "…"
    assert short(list(range(1000))).endswith("… 1,000 items]")
    assert short(b"\x01" * 5000).endswith("…' (5,000 bytes)")
    assert all(len(short(v)) <= 60 for v in ("x" * 100, list(range(1000)), b"\x01" * 5000, {"a" * 80: 1}))


def test_wide_characters_take_two_columns():
    assert cut("漢字仮名", 5) == "漢字…" and cut("漢字", 4) == "漢字"


def test_float32_is_shown_with_the_digits_it_has():
    assert short(float(np.float32(0.1)), parse_type("REAL")) == "0.1"
    assert values_of(pa.array([0.1, None, float("inf")], pa.float32())) == [0.1, None, float("inf")]
    assert values_of(pa.array(np.array([0.1], "float16"))) == [0.1]


def test_tensors_are_arrays_of_their_shape_and_nulls_stay_in_place():
    flat = pa.FixedSizeListArray.from_arrays(pa.array(PIXELS.ravel()), 28 * 28)
    tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint16(), (28, 28)), flat)
    column = pa.chunked_array([tensor.slice(1), tensor])
    assert [v[0, 0] for v in values_of(column)] == [784, 0, 784]
    assert values_of(column)[0].shape == (28, 28)
    holes = pa.array([[1, 2], None, [5, 6]], pa.list_(pa.int32(), 2))
    values = values_of(holes)
    assert values[1] is None and values[2].tolist() == [5, 6]


@pytest.fixture
def table() -> pa.Table:
    return pa.table(
        {
            "ID": [1, 2],
            "NAME": ["a,b|c", None],
            "RAW": [b"\x00\x01", b""],
            "L": [[1, 2], []],
            "X": [0.5, math.nan],
            "ID2": [True, False],
        }
    ).rename_columns(["ID", "NAME", "RAW", "L", "X", "ID"])


def test_json_is_an_array_of_objects_and_keeps_every_column(table):
    rows = json.loads(rendering.render(table, "json"))
    assert rows[0] == {"ID": 1, "NAME": "a,b|c", "RAW": "AAE=", "L": [1, 2], "X": 0.5, "ID_2": True}
    assert rows[1]["X"] == "NaN" and rows[1]["NAME"] is None
    assert json.loads(rendering.render(table.slice(0, 0), "json")) == []


def test_json_lines_are_the_same_objects(table):
    lines = rendering.render(table, "jsonlines").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(rendering.render(table, "json"))
    assert rendering.render(table.slice(0, 0), "jsonlines") == ""


def test_names_of_json_are_distinct_whatever_they_are():
    rows = pa.table([[1], [2], [3], [4]], names=["A", "A_2", "A", "A"])
    assert json.loads(rendering.render(rows, "json")) == [{"A": 1, "A_2": 2, "A_3": 3, "A_4": 4}]


def test_json_keeps_what_a_double_does_not():
    rows = pa.table(
        {
            "I": pa.array([2**63 - 1]),
            "U": pa.array([2**64 - 1], pa.uint64()),
            "D": pa.array([decimal.Decimal("0.1000000000000000000")]),
            "T": pa.array([1], pa.timestamp("ns")),
            "M": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
            "S": pa.array([{"a": None}]),
        }
    )
    assert rendering.render(rows, "json") == (
        '[{"I": 9223372036854775807, "U": 18446744073709551615, "D": "0.1000000000000000000", '
        '"T": "1970-01-01T00:00:00.000000001", "M": [["k", 1]], "S": {"a": null}}]\n'
    )


def test_tsv_escapes_what_would_break_its_lines():
    rows = pa.table({"A": ["a\tb\nc\\", None], "L": [[1], None]})
    assert rendering.render(rows, "tsv") == "A\tL\na\\tb\\nc\\\\\t[1]\n\\N\t\\N\n"


def test_csv_and_markdown(table):
    assert rendering.render(table, "csv").splitlines() == [
        "ID,NAME,RAW,L,X,ID",
        '1,"a,b|c",AAE=,"[1, 2]",0.5,true',
        "2,,,[],NaN,false",
    ]
    assert rendering.render(table.select([0, 1]), "markdown").splitlines() == [
        "| ID | NAME |",
        "|---:|---|",
        "| 1 | a,b\\|c |",
        "| 2 | NULL |",
    ]
    with pytest.raises(UsageError, match="did you mean json"):
        rendering.render(table, "jsno")
    assert rendering.render(pa.table({"A\nB": ["x\ny"]}), "markdown") == "| A\\nB |\n|---|\n| x\\ny |\n"


def test_an_arrow_file_has_the_columns_own_types(table, tmp_path):
    table = table.drop_columns(["X"])  # its NaN equals nothing
    rendering.write_arrow(table, str(tmp_path / "t.arrow"))
    assert pa.ipc.open_file(str(tmp_path / "t.arrow")).read_all().equals(table)
    with pytest.raises(gridflow.GridAccessError, match="cannot write .*nowhere"):
        rendering.write_arrow(table, str(tmp_path / "nowhere" / "t.arrow"))


def test_plain_values_of_times_and_tensors():
    assert plain([dt.date(2024, 2, 29), dt.time(1, 2), PIXELS[0, 0, :2]]) == [
        "2024-02-29",
        "01:02:00",
        [0, 1],
    ]


def table_text(rows: pa.Table, **look) -> str:
    return "".join(rendering.chunks_of(rows, "table", Look(**look)))


def test_values_of_a_table_are_no_markup_and_cannot_steer_the_terminal():
    text = table_text(pa.table({"A\x1b[2J": ["[red]x\x1b[2J"]}))
    assert "[red]x" in text and "\x1b" not in text


def test_a_null_differs_from_a_text_that_says_so():
    text = table_text(pa.table({"A": ["NULL", None]}), colour=True)
    assert "│ NULL │" in text and "│ \x1b[2mNULL\x1b[0m │" in text


def test_texts_are_narrowed_to_fit_the_terminal_and_numbers_are_not():
    rows = pa.table({"N": [12345678901234567], "A": ["a" * 50], "B": ["b" * 50]})
    lines = table_text(rows, width=70).splitlines()
    assert len(lines[0]) in (69, 70) and len({len(line) for line in lines}) == 1
    assert "12345678901234567" in lines[3] and "a…" in lines[3] and "b…" in lines[3]


def test_columns_that_do_not_fit_are_left_out_of_the_middle_unless_they_can_be_scrolled_to():
    rows = pa.table({f"C{i}": [f"value {i} of some length"] for i in range(10)})
    text = table_text(rows, width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert "C0" in text and "C9" in text and "C5" not in text and " … " in text
    assert "columns of 10 not shown" in text
    wide = table_text(rows, width=60, scrolls=True)
    assert "value 5 of some length" in wide and "not shown" not in wide


def test_a_long_value_far_down_makes_its_own_line_longer():
    rows = pa.table({"A": ["x"] * 10_000 + ["a longer one"]})
    lines = table_text(rows).splitlines()
    assert lines[3] == "│ x │" and "a longer one" not in lines[-2] and "…" in lines[-2]
    numbers = table_text(pa.table({"A": [1] * 10_000 + [123456]})).splitlines()
    assert numbers[3] == "│ 1 │" and numbers[-2] == "│ 123456 │"


def test_vertical_shows_a_line_for_each_column(table):
    text = rendering.render(table, "vertical")
    assert "row 1" in text and "NAME  a,b|c" in text


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", True),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1; SELECT 2", False),
        ("SELECT ';'", False),
        ("SELECT 1; -- done", True),
        ("!tables", True),
        ("\\d T", True),
    ],
)
def test_enter_ends_the_input_only_when_it_can_be_run(text, complete):
    assert check_complete(text) is complete


def test_a_script_is_cut_into_statements_and_commands():
    script = """-- a comment; with a semicolon
SELECT 1; SELECT ';'
  ;
# sqlline's comment, isn't it
!set outputformat csv
  \\d "it's;
SELECT '
!not a command';
!tables"""
    found = [(p.line, p.is_command, p.text) for p in pieces(script)]
    assert found == [
        (2, False, "SELECT 1"),
        (2, False, "SELECT ';'"),
        (5, True, "!set outputformat csv"),
        (6, True, "\\d \"it's;"),
        (7, False, "SELECT '\n!not a command'"),
        (9, True, "!tables"),
    ]


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.create_table("IMAGES", {"ID": "LONG", "PIXELS": "UINT8[2,2]", "NAME": "VARCHAR"}, key="ID")
        grid.create_table("mixed Case", {"ID": "LONG", "N": "INT"}, key="ID")
        yield grid


@pytest.fixture
def session(grid, tmp_path):
    out, err = (Console(file=io.StringIO(), width=200) for _ in range(2))
    session = Session(gridflow.connect(grid.home), out, err, interactive=True)
    yield session
    session.close()


def completions(session, text: str) -> list[str]:
    document = Document(text, len(text))
    return [c.text for c in SqlCompleter(session).get_completions(document, CompleteEvent())]


def test_tables_complete_after_from_and_columns_where_the_table_is_known(session):
    assert completions(session, "SELECT * FROM ") == ["IMAGES", '"mixed Case"', "SYS"]
    assert completions(session, "SELECT * FROM im") == ["IMAGES"]
    assert completions(session, 'SELECT * FROM "mi') == ['"mixed Case"']
    assert completions(session, "SELECT * FROM IMAGES WHERE pi")[0] == "PIXELS"
    assert completions(session, "SELECT IMAGES.") == ["ID", "PIXELS", "NAME"]
    assert "select" in completions(session, "sel")
    assert "SELECT" in completions(session, "SEL")
    assert completions(session, "SELECT 1 ") == []


def test_aliases_stand_for_their_tables(session):
    assert completions(session, 'SELECT * FROM IMAGES i JOIN "mixed Case" AS m ON m.') == ["ID", "N"]
    assert completions(session, "SELECT * FROM IMAGES i WHERE i.p") == ["PIXELS"]
    assert completions(session, "SELECT * FROM IMAGES WHERE nothing.") == []


def test_system_views_complete_with_their_columns(session):
    assert completions(session, "SELECT * FROM SY") == ["SYS"]
    assert completions(session, "SELECT * FROM SYS.TABLE") == ["TABLES", "TABLE_COLUMNS", "TABLE_VERSIONS"]
    assert completions(session, "SELECT * FROM SYS.USERS WHERE cre")[0] == "CREATED"
    assert completions(session, "SELECT * FROM sys.users u WHERE u.c") == ["CREATED", "CHANGED"]
    assert completions(session, "SELECT * FROM SYS.USERS WHERE USERS.n") == ["NAME"]
    assert completions(session, "\\d SYS.IN") == ["SYS.INDEXES"]


def test_only_the_statement_at_the_cursor_counts(session):
    assert "PIXELS" not in completions(session, "SELECT * FROM IMAGES; SELECT pi")
    assert completions(session, "SELECT 1; SELECT * FROM im") == ["IMAGES"]


def test_functions_complete_the_common_ones_first(session):
    found = completions(session, "SELECT cou")
    assert found[0] == "count" and "count_if" in found
    assert "LOCATE" in completions(session, "SELECT LOC")  # Ignite's own


def test_texts_and_comments_are_left_alone(session):
    assert completions(session, "SELECT 'sel") == []
    assert completions(session, "SELECT 1 /* sel") == []


def test_commands_complete_with_their_arguments(session):
    assert completions(session, "!ta") == ["!tables"]
    assert completions(session, "\\d ") == ["IMAGES", '"mixed Case"']
    assert completions(session, "!outputformat c") == ["csv"]
    assert completions(session, "!show IMAGES p") == ["PIXELS"]
    assert completions(session, "!set on") == ["onerror"]
    assert completions(session, "!set onerror ") == ["stop", "continue"]
    assert completions(session, "!help !ind") == ["!indexes"]


def test_files_complete_after_commands_and_in_copy(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.sql").touch()
    (tmp_path / "a file.csv").touch()
    assert completions(session, "!run o") == ["one.sql"]
    assert completions(session, "\\i a") == ["'a file.csv'"]
    assert completions(session, "!record gr") == ["grid/"]
    assert completions(session, "COPY FROM ") == ["'"]
    assert completions(session, "COPY FROM 'o") == ["'one.sql'"]
    assert completions(session, "COPY IMAGES TO 'gr") == ["'grid/"]
    assert completions(session, "!outputformat arrow one") == ["one.sql"]


def said(session) -> tuple[str, str]:
    result = []
    for console in (session.output.out, session.output.err):
        result.append(console.file.getvalue())
        console.file.seek(0)
        console.file.truncate()
    return tuple(result)


def test_a_session_runs_statements_and_stops_at_the_first_error(session):
    assert session.run("INSERT INTO IMAGES (ID, NAME) VALUES (1, 'WARM'); SELECT NAME FROM IMAGES;")
    out, err = said(session)
    assert "INSERT: 1 row" in out and "WARM" in out and "1 row in 0." in out and not err
    assert not session.run("SELECT 1 AS ONE; SELECT * FROM IMAGE; SELECT 2 AS TWO;")
    out, err = said(session)
    assert "ONE" in out and "TWO" not in out
    assert err.startswith("error: ") and "IMAGES" in err and "Traceback" not in err


def test_an_error_tells_the_place_in_the_whole_text(session):
    assert not session.run("SELECT 1;\n  SELECT 2; SELECT *\nFROM IMAGE;")
    assert "line 3, column 6: no table IMAGE" in said(session)[1]
    assert not session.run("SELECT 1;\n  SELECT 2; SELECT X;")
    assert "line 2, column 20:" in said(session)[1]


def test_onerror_continue_goes_on(session):
    session.run("!set onerror continue")
    assert not session.run("SELECT 1 AS ONE; SELECT * FROM IMAGE; SELECT 2 AS TWO;")
    assert "TWO" in said(session)[0]


def test_an_option_that_is_kept_but_has_no_effect_is_warned_about(session, monkeypatch):
    monkeypatch.setattr(result, "_warned", set())  # which tests that ran before have filled
    assert session.run('CREATE TABLE T (ID LONG PRIMARY KEY) WITH "BACKUPS=1"')
    assert said(session)[1] == (
        "warning: table option BACKUPS has no effect: a grid holds one copy of each row; SYS.TABLES shows it\n"
    )


def test_a_terminal_without_a_pager_shows_so_many_rows_and_says_how_many_more(grid):
    out, err = Console(file=io.StringIO(), width=80, force_terminal=True), Console(file=io.StringIO())
    session = Session(grid, out, err, interactive=True)
    session.output.pager = ""
    assert session.run("SELECT range AS N FROM range(2000);")
    assert "... 1,000 more rows; !set rowlimit 0 shows all" in said(session)[0]
    assert session.run("!set rowlimit 5; SELECT range AS N FROM range(2000);") is False  # a command takes its line
    assert session.run("!set rowlimit 5\nSELECT range AS N FROM range(2000);")
    assert "1,995 more rows" in said(session)[0]
    session._worker.close()


def test_the_shells_commands(session):
    assert session.run("!tables")
    assert "IMAGES" in said(session)[0]
    assert session.run("\\dt im%")
    out, _ = said(session)
    assert "IMAGES" in out and "mixed" not in out
    assert session.run("\\d images")
    out, _ = said(session)
    assert "UINT8[2,2]" in out and "KEY" in out and "0 rows in 1,024 partitions" in out
    assert session.run('!describe "mixed Case"')
    assert "INT32" in said(session)[0]
    assert session.run("!columns images")
    assert "ORDINAL_POSITION" in said(session)[0]
    assert session.run("!primarykeys")
    assert said(session)[0].count("│ ID") == 2
    assert session.run("CREATE INDEX BY_NAME ON IMAGES (NAME DESC)") and said(session)
    assert session.run("!indexes images")
    out, _ = said(session)
    assert "BY_NAME" in out and "NAME DESC" in out and "_key_PK" in out and "mixed" not in out
    assert session.run("!indexes")
    assert "mixed Case" in said(session)[0]
    assert session.run("!outputformat json")
    assert session.run("SELECT 1 AS A;")
    assert json.loads(said(session)[0].split("\n", 1)[1].rsplit("]", 1)[0] + "]") == [{"A": 1}]
    assert session.run("!timing off") and session.settings.timing is False
    assert session.run("!help")
    assert "!outputformat" in said(session)[0]
    assert session.run("!help formats")
    assert "base64" in said(session)[0]
    with pytest.raises(Leave):
        session.run("!quit")


def test_expanded_shows_tables_as_vertical_listings(session):
    session.run("\\x")
    assert session.run("SELECT 1 AS A;") and "row 1" in said(session)[0]
    session.run("\\x auto")
    assert session.run("SELECT 1 AS A;") and "row 1" not in said(session)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!tabels", "no command !tabels; did you mean !tables"),
        ("\\dx", "no command \\dx; "),
        ("!", "a command's name follows !"),
        ("!describe nothing", "no table NOTHING"),
        ("!describe a b", "type !describe TABLE"),
        ("!outputformat jsn", "did you mean json"),
        ("!outputformat arrow", "type !outputformat arrow FILE"),
        ("!outputformat csv x", "csv takes no file"),
        ("!set outputformt csv", "did you mean outputformat"),
        ("!set rowlimit many", "rowlimit is a whole number from 0, not many"),
        ("!set onerror pray", "onerror is stop or continue, not pray"),
        ("!set pager /no/such/pager", "there is no command '/no/such/pager'"),
        ("!run nofile.sql", "cannot read nofile.sql: No such file"),
        ("!record", "nothing is being recorded"),
        ("!script", "no script is being saved"),
        ("\\o", "rows go to the terminal already"),
        ("!history many", "takes a number"),
        ("!connect jdbc:ignite:thin://localhost", "a grid is a directory"),
        ("!show", "type !show TABLE"),
        ("!show images name", "column NAME is STRING"),
        ("!show images 1", "no row under key 1"),
        ("!show images x", "key ID is INT64, which 'x' is not"),
        ('!show "mixed Case"', "has no image column"),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_why(session, text, message):
    assert not session.run(text)
    assert message in said(session)[1]


def test_rows_go_to_files(session, tmp_path):
    rows, arrow = tmp_path / "rows.csv", tmp_path / "rows.arrow"
    assert session.run(f"!outputformat csv\n\\o {rows}\nSELECT 1 AS A;\nSELECT 2 AS B;\n\\o\nSELECT 3 AS C;")
    assert rows.read_text() == "A\n1\nB\n2\n"
    assert "C\n3\n" in said(session)[0]
    assert session.run(f"!outputformat arrow '{arrow}'\nSELECT 4 AS D;")
    assert pa.ipc.open_file(str(arrow)).read_all().to_pydict() == {"D": [4]}
    assert session.run("!tables") and "IMAGES" in said(session)[0]  # what commands find is for people


def test_a_record_has_all_that_is_shown_and_a_script_what_was_typed(session, tmp_path):
    record, script = tmp_path / "record.txt", tmp_path / "script.sql"
    for text in (f"!record {record}", f"!script {script}", "SELECT 1\nAS A;", "SELECT X;", "!script", "!record"):
        session.run_typed(text)
    assert script.read_text() == "SELECT 1\nAS A;\nSELECT X;\n"
    recorded = record.read_text()
    assert "gridflow> SELECT 1\nAS A;\n" in recorded and "│ 1 │" in recorded and "error: " in recorded
    said(session)
    session.run_typed(f"!run {script}")
    out, err = said(session)
    assert "│ 1 │" in out and f"error: {script}, statement in line 3: line 3, column 8" in err


def test_what_is_saved_of_a_session_is_private_and_without_passwords(session, tmp_path):
    record, script = tmp_path / "record.txt", tmp_path / "script.sql"
    script.touch(0o644)
    user = "CREATE USER KATE WITH PASSWORD 'warm kitty';"
    for text in (f"!record {record}", f"!script {script}", user, "!script", "!record"):
        session.run_typed(text)
    for file in (record, script):
        assert file.stat().st_mode & 0o777 == 0o600
        assert "CREATE USER KATE" in file.read_text() and "warm" not in file.read_text()


def test_a_script_that_runs_itself_is_refused(session, tmp_path):
    script = tmp_path / "self.sql"
    script.write_text(f"!run {script}\n")
    assert not session.run(f"!run {script}")
    assert "is running already" in said(session)[1]


def test_history_lists_the_newest_last(session):
    session.history = lambda: ["SELECT\n1;", "!tables", "!history"]
    session.run("!history")
    assert said(session)[0] == "1.  SELECT\n    1;\n2.  !tables\n3.  !history\n"
    session.run("!history 1")
    assert said(session)[0] == "3.  !history\n"


def test_connect_goes_on_with_another_grid_or_stays(session, tmp_path):
    assert not session.run("!connect /dev/null") and "/dev/null is a file" in said(session)[1]
    assert session.run("SELECT COUNT(*) FROM IMAGES;")
    before = session.grid
    assert not session.run(f"!connect {tmp_path / 'other'}") and "no grid in" in said(session)[1]
    gridflow.connect(tmp_path / "other").close()
    assert session.run(f"!connect {tmp_path / 'other'}")
    assert session.grid.home == tmp_path / "other" and session.grid is not before
    assert session.run("CREATE TABLE T (ID LONG PRIMARY KEY); SELECT * FROM T;")


def test_show_draws_the_images_that_are_asked_for(session):
    session.run("INSERT INTO IMAGES (ID, NAME) VALUES (3, 'none');")
    session.grid.table("IMAGES").put_all(
        {i: {"PIXELS": np.full((2, 2), 255 * i, np.uint8), "NAME": f"n{i}"} for i in range(2)}
    )
    said(session)
    assert session.run("!show images 1")
    out, _ = said(session)
    lines = out.splitlines()
    assert lines[0] == "1  NAME n1" and lines[1:] == ["@" * 32] * 16  # no colours: a letter for two pixels
    assert session.run("!show images pixels 0 1")
    assert said(session)[0].startswith("0  NAME n0" + " " * 24 + "1  NAME n1\n")
    assert session.run("!show images where name = 'n1'")
    assert said(session)[0].startswith("1  NAME n1\n@")
    assert session.run("!show images")
    assert "no image (NULL) under 3" not in said(session)[0]  # two have room on a line
    assert session.run("!show images 3") and said(session)[0] == "no image (NULL) under 3\n"
    assert session.run("!show images where id > 5") and "no rows" in said(session)[0]


def test_the_manual_has_every_command_format_and_setting():
    manual = (Path(gridflow.__file__).parents[1] / "docs" / "shell.md").read_text("utf-8")
    names = {name for command in COMMANDS for name in command.names}
    assert [name for name in sorted(names) if f"`{name}`" not in manual and f"`{name} " not in manual] == []
    assert [name for name in rendering.FORMATS if f"| `{name}` |" not in manual] == []
    assert [name for name in SETTINGS if name not in manual] == []
    assert tuple(rendering.FORMATS) == FORMATS_OF_THE_COMMAND
