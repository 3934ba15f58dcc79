"""The parts of the shell: values and rows as text, completion, commands."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from rich.console import Console

import gridflow
from gridflow.cli.shell import rendering
from gridflow.cli.shell.cells import short, values_of
from gridflow.cli.shell.completion import SqlCompleter
from gridflow.cli.shell.session import Leave, Session, check_complete
from gridflow.errors import UsageError
from gridflow.schema import parse_type
from gridflow.storage.formats.values import plain

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
        (math.inf, "Infinity"),
    ],
)
def test_a_value_is_drawn_short(value, text):
    assert short(value) == text


def test_long_values_are_cut_with_their_length():
    assert short("x" * 100) == "x" * 59 + "…"
    assert short(list(range(1000))).endswith("… 1,000 items]")
    assert short(b"\x01" * 5000).endswith("…' (5,000 bytes)")
    assert all(len(short(v)) <= 60 for v in ("x" * 100, list(range(1000)), b"\x01" * 5000, {"a" * 80: 1}))


def test_float32_is_shown_with_the_digits_it_has():
    assert short(float(np.float32(0.1)), parse_type("REAL")) == "0.1"


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


def test_plain_values_of_times_and_tensors():
    assert plain([dt.date(2024, 2, 29), dt.time(1, 2), PIXELS[0, 0, :2]]) == [
        "2024-02-29",
        "01:02:00",
        [0, 1],
    ]


def shown(style: str, rows: pa.Table, **options) -> str:
    out = Console(file=io.StringIO(), width=200)
    rendering.show(rows, style, out, **options)
    return out.file.getvalue()


def test_a_table_shows_so_many_rows_and_says_how_many_more():
    rows = pa.table({"N": range(50)})
    text = shown("table", rows, limit=5)
    assert "4" in text and "5" not in text.replace("45", "")
    assert "45 more rows" in text
    assert "[red]" in shown("table", pa.table({"A": ["[red]x"]}))  # values are no markup


def test_vertical_shows_a_line_for_each_column(table):
    text = shown("vertical", table)
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


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.create_table("IMAGES", {"ID": "LONG", "PIXELS": "UINT8[2,2]", "NAME": "VARCHAR"}, key="ID")
        grid.create_table("mixed Case", {"ID": "LONG", "N": "INT"}, key="ID")
        yield grid


def completions(grid, text: str) -> list[str]:
    document = Document(text, len(text))
    return [c.text for c in SqlCompleter(grid).get_completions(document, CompleteEvent())]


def test_tables_complete_after_from_and_columns_where_the_table_is_known(grid):
    assert completions(grid, "SELECT * FROM ") == ["IMAGES", '"mixed Case"']
    assert completions(grid, "SELECT * FROM im") == ["IMAGES"]
    assert completions(grid, "SELECT * FROM IMAGES WHERE pi") == ["PIXELS"]
    assert completions(grid, "SELECT IMAGES.") == ["ID", "PIXELS", "NAME"]
    assert "select" in completions(grid, "sel")
    assert "SELECT" in completions(grid, "SEL")
    assert completions(grid, "SELECT 1 ") == []


def test_commands_complete_with_their_arguments(grid):
    assert completions(grid, "!ta") == ["!tables"]
    assert completions(grid, "\\d ") == ["IMAGES", '"mixed Case"']
    assert completions(grid, "!outputformat c") == ["csv"]


@pytest.fixture
def session(grid):
    out, err = (Console(file=io.StringIO(), width=200) for _ in range(2))
    return Session(grid, out, err, interactive=True)


def said(session) -> tuple[str, str]:
    result = []
    for console in (session.out, session.err):
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


def test_the_shells_commands(session):
    assert session.run("!tables")
    assert "IMAGES" in said(session)[0]
    assert session.run("\\d images")
    out, _ = said(session)
    assert "UINT8[2,2]" in out and "KEY" in out
    assert session.run('!describe "mixed Case"')
    assert "INT32" in said(session)[0]
    assert session.run("!outputformat json") and session.style == "json"
    assert session.run("SELECT 1 AS A;")
    assert json.loads(said(session)[0].split("\n", 1)[1].rsplit("]", 1)[0] + "]") == [{"A": 1}]
    assert session.run("\\x") and session.style == "vertical"
    assert session.run("!timing off") and session.timing is False
    assert session.run("!help")
    assert "!outputformat" in said(session)[0]
    assert not session.run("!tabels")
    assert "did you mean !tables" in said(session)[1]
    with pytest.raises(Leave):
        session.run("!quit")
