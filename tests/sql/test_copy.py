"""COPY between a grid and files: damaged files, every type in every format, progress, where it runs."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import io
import os
import uuid
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from strategies import same

import gridflow
from gridflow.cli import main
from gridflow.cli.progress import statement_progress
from gridflow.client.connection import Connection
from gridflow.protocols import messages
from gridflow.protocols.address import Endpoint
from gridflow.protocols.json_values import encode_values
from gridflow.server import ServerProcess
from gridflow.sql.execution.copy_to import _BATCH_ROWS
from gridflow.storage.formats import csv_reader


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("served") / "grid") as server:
        yield server


@pytest.fixture(params=["embedded", "served"])
def any_grid(request, tmp_path, monkeypatch):
    """An empty grid of this process, or a client's view of one in another; the working folder is empty."""
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path / "files")
    home = request.getfixturevalue("server").home if request.param == "served" else tmp_path / "grid"
    with gridflow.connect(home) as grid:
        yield grid
        assert grid.check() == []
        for name in grid.tables():
            grid.drop_table(name)


def write(name: str, text: str | bytes) -> Path:
    path = Path(name)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(grid, sql: str = "SELECT * FROM T ORDER BY ID") -> list[tuple]:
    return grid.sql(sql).fetchall()


@pytest.fixture
def numbers(any_grid):
    """A table of a key, a number with a default and a text."""
    any_grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, N INT DEFAULT 7, S VARCHAR)")
    return any_grid


# ---- every type in every format ----

COLUMNS = {
    "BOOL": (True, False),
    "INT8": (-128, 127),
    "UINT64": (0, 2**63 - 1),
    "FLOAT16": (0.5, -np.inf),
    "REAL": (0.1, 3e38),
    "DOUBLE": (0.5, np.nan),
    "DECIMAL(38,9)": (decimal.Decimal("12345678901234567890.123456789"), None),
    "VARCHAR": ("", 'a,"b"\n\r\tü'),
    "VARBINARY": (b"", bytes(range(256))),
    "DATE": (dt.date(1, 1, 1), dt.date(9999, 12, 31)),
    "TIME": (dt.time(0), dt.time(23, 59, 59, 999999)),
    "TIMESTAMP_S": (dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),
    "TIMESTAMP": (dt.datetime(1900, 1, 1, 0, 0, 0, 1), None),
    "TIMESTAMP_NS": (np.datetime64("2020-01-01T00:00:00.000000001"), None),
    "TIMESTAMP_TZ": (dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), None),
    "UUID": (uuid.UUID(int=1), uuid.UUID(int=2**127)),
    "UINT8[2,3]": (np.arange(6, dtype="u1").reshape(2, 3), None),
    "BOOL[2]": (np.array([True, False]), None),
    "REAL[2]": (np.array([0.5, np.inf], "f4"), None),
    "LIST<BIGINT NOT NULL>": ([], [1, 2, 3]),
    "LIST<VARCHAR>": (["a", None, ""], None),
    "STRUCT<A INT, B LIST<UINT8[2]>>": ({"A": None, "B": [np.array([1, 2], "u1"), None]}, None),
    "STRUCT<A REAL[2] NOT NULL, B MAP<VARCHAR, INT[2]>>": (
        {"A": np.array([0.5, 1], "f4"), "B": {"x": np.array([1, 2], "i4"), "y": None}},
        None,
    ),
    "MAP<VARCHAR, TIMESTAMP>": ({"k": dt.datetime(2020, 1, 1)}, {}),
}
FILES = "a.csv a.csv.gz a.json a.jsonl.zst a.parquet a.arrow a.arrows a.tfrecord a.tfrecord.gz".split()


@pytest.mark.parametrize("name", FILES)
def test_every_type_goes_there_and_comes_back(any_grid, name):
    columns = {"ID": "LONG"} | {f"C{i}": kind for i, kind in enumerate(COLUMNS)}
    table = any_grid.create_table("T", columns, key="ID")
    table.put_all({i: {f"C{n}": pair[i] for n, pair in enumerate(COLUMNS.values())} for i in (0, 1)})
    table.put(2, {})
    original = {key: table.get(key) for key in range(3)}
    assert any_grid.sql("COPY T TO ?", [name]).rowcount == 3
    any_grid.sql("DELETE FROM T")
    assert any_grid.sql("COPY FROM :file INTO T", {"file": name}).rowcount == 3
    for key in range(3):
        found = table.get(key)
        for column, kind in zip(original[key], COLUMNS, strict=True):
            assert same(found[column], original[key][column]), (kind, found[column])


# ---- files that are not as they should be ----


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,a\n2,x,b\n", "line 2, column N INT32: 'x' does not fit"),
        ("1,2,a\n\n\n2,3\n", "line 4: it has 2 fields where 3 were expected, ID, N, S"),
        ('1,2,"two\nlines"\n2,3,"x\n\n"\nz,4,c\n', "line 6, column ID INT32: 'z' does not fit"),
        ("1,2,a\r\n2,3,b\r\nz,4,c\r\n", "line 3, column ID INT32: 'z' does not fit"),
        ("1,2,a\r2,3,b\rz,4,c\r", "line 3, column ID INT32: 'z' does not fit"),
        ("1,2,a\n,3,b\n", "line 2: table T, column ID INT32 NOT NULL: a null is not allowed"),
        ('1,2,a\n2,3,"never closed\n3,4,c\n', "line 2: a quote is never closed"),
        (b"1,2,a\n2,3,\xff\n", "line 2, column S STRING: .*invalid UTF8"),
        ("1,2,a\n99999999999,3,b\n", "line 2, column ID INT32: '99999999999' does not fit"),
    ],
)
def test_a_bad_line_names_file_line_and_column_and_nothing_remains(numbers, text, message):
    write("a.csv", text)
    with pytest.raises(gridflow.SchemaError, match=r"^a\.csv, " + message):
        numbers.sql("COPY FROM 'a.csv' INTO T")
    assert rows(numbers) == []


def test_the_line_is_right_far_into_a_long_file(numbers, monkeypatch):
    monkeypatch.setattr(csv_reader, "_BLOCK_BYTES", 1000)
    lines = [f'{i},,"text {i}\nmore"' for i in range(20_000)]
    write("a.csv", "ID,N,S\n" + "\n".join(lines) + "\n")
    assert numbers.sql("COPY FROM 'a.csv' INTO T").rowcount == 20_000
    assert rows(numbers, "SELECT COUNT(*), SUM(N), MIN(S) FROM T") == [(20_000, 140_000, "text 0\nmore")]
    lines[15_000] = '15000,x,"text"'
    write("a.csv", "ID,N,S\n" + "\n".join(lines) + "\n")
    with pytest.raises(gridflow.SchemaError, match="a.csv, line 30002, column N INT32: 'x' does not fit"):
        numbers.sql("COPY FROM 'a.csv' INTO T ON_DUPLICATE REPLACE")
    assert rows(numbers, "SELECT COUNT(*), MIN(S) FROM T") == [(20_000, "text 0\nmore")]
    result = numbers.sql("COPY FROM 'a.csv' INTO T ON_DUPLICATE REPLACE ON_ERROR SKIP REJECTS 'r.csv'")
    assert (result.rowcount, result.skipped, repr(result)) == (19_999, 1, "COPY: 19999 rows, 1 skipped")
    assert Path("r.csv").read_text().splitlines()[1].startswith('a.csv,30002,"a.csv, line 30002, column N')


def test_a_reject_file_is_there_only_if_the_copy_is(numbers):
    write("a.csv", "1,2,a\nx,3,b\n1,4,c\n")
    with pytest.raises(gridflow.DuplicateKeyError):
        numbers.sql("COPY FROM 'a.csv' INTO T ON_ERROR SKIP REJECTS 'r.csv'")
    assert os.listdir() == ["a.csv"]
    assert rows(numbers) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"ID": 1}\n{"ID": 2, "N": 1.5}\n', "line 2, column N INT32: 1.5 does not fit"),
        ('{"ID": 1}\n{"ID": 2,\n', "line 2: no JSON: .* at character"),
        ('{"ID": 1}\n[2]\n', "line 2: a row is an object, not \\[2\\]"),
        ('[{"ID": 1},\n\n {"ID": "x"}]', "line 3, column ID INT32: 'x' does not fit"),
        ('[{"ID": 1}\n {"ID": 2}]', "line 2: expected , or \\], found {"),
        ('[{"ID": 1},\n', "line 2: the array does not end"),
        ('[{"ID": 1}] x', "line 1: expected the end, found x"),
        ('{"N": 1}\n', "line 1: table T, column ID INT32 NOT NULL: a null is not allowed"),
    ],
)
def test_a_bad_json_file_names_the_line(numbers, text, message):
    write("a.json", text)
    with pytest.raises(gridflow.SchemaError, match=r"^a\.json, " + message):
        numbers.sql("COPY FROM 'a.json' INTO T")
    assert rows(numbers) == []


def test_json_that_has_no_rows(numbers):
    write("a.json", "[]")
    write("b.json", "")
    write("c.json", "3\n")
    assert numbers.sql("COPY FROM 'a.json' INTO T").rowcount == 0
    assert numbers.sql("COPY FROM 'b.json' INTO T").rowcount == 0
    with pytest.raises(gridflow.UsageError, match="an array of objects, or an object in each line"):
        numbers.sql("COPY FROM 'c.json' INTO T")


def test_json_lines_that_do_not_fit_are_left_out(numbers):
    write("a.json", '{"ID": 1}\nno\n{"ID": "x"}\n{"ID": 4, "N": null}\n')
    assert numbers.sql("COPY FROM 'a.json' INTO T ON_ERROR SKIP REJECTS 'r.csv'").skipped == 2
    assert rows(numbers) == [(1, 7, None), (4, None, None)]
    assert len(Path("r.csv").read_text().splitlines()) == 3


def test_a_value_of_a_parquet_file_that_does_not_fit_names_its_row(numbers):
    numbers.sql("COPY (SELECT IF(I = 1234, 3000000000, I) AS ID FROM RANGE(5000) R(I)) TO 'a.parquet'")
    with pytest.raises(gridflow.SchemaError, match="a.parquet, row 1235: table T, column ID INT32 NOT NULL: got int64"):
        numbers.sql("COPY FROM 'a.parquet' INTO T")
    assert rows(numbers) == []


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.tfrecord", "a.csv.gz", "a.npz"])
def test_a_damaged_file_is_an_error_and_nothing_remains(numbers, name):
    numbers.sql("COPY (SELECT I AS ID, I AS N, 'some text' AS S FROM RANGE(20000) R(I)) TO ?", [name])
    data = Path(name).read_bytes()
    for damaged in (data[: len(data) // 2], data[:1000] + bytes(len(data) - 1000), b"", b"nonsense"):
        write(name, damaged)
        with pytest.raises((gridflow.UsageError, gridflow.GridCorruptError), match=name) as caught:
            if numbers.sql("COPY FROM ? INTO T", [name]).rowcount == 0:
                raise gridflow.UsageError(name)  # an empty file may have no rows
        assert "Traceback" not in str(caught.value)
        assert rows(numbers, "SELECT COUNT(*) FROM T") == [(0,)]


def test_columns_are_taken_by_name_or_in_order(numbers):
    write("a.csv", "s,ID\nx,1\n")
    write("b.csv", "y,2\n")
    numbers.sql("COPY FROM 'a.csv' INTO T; COPY FROM 'b.csv' INTO T (S, ID)")
    assert rows(numbers) == [(1, 7, "x"), (2, 7, "y")]
    write("c.csv", "s,ID,more\nx,3,z\n")
    with pytest.raises(gridflow.ColumnNotFoundError, match="c.csv: table T has no column more; .* leaves others out"):
        numbers.sql("COPY FROM 'c.csv' INTO T HEADER")
    numbers.sql("COPY FROM 'c.csv' INTO T (ID, S) HEADER")
    with pytest.raises(gridflow.ColumnNotFoundError, match="c.csv has no column N; there are"):
        numbers.sql("COPY FROM 'c.csv' INTO T (ID, N) HEADER")
    assert rows(numbers)[2] == (3, 7, "x")


def test_several_files_are_one_commit(numbers):
    for i in range(3):
        write(f"part-{i}.csv", f"{i},{i},x\n")
    write("part-9.csv", "9,9,x\n0,0,again\n")
    with pytest.raises(gridflow.DuplicateKeyError):
        numbers.sql("COPY FROM 'part-?.csv' INTO T")
    assert rows(numbers) == []
    os.unlink("part-9.csv")
    assert numbers.sql("COPY FROM 'part-?.csv' INTO T").rowcount == 3


def test_a_query_with_parameters_goes_to_a_file_that_is_a_parameter(numbers):
    numbers.sql("INSERT INTO T VALUES (1, 10, 'a'), (2, 20, 'b')")
    numbers.sql("COPY (SELECT ID, S || ? AS S FROM T WHERE ID > ?) TO ?", ["!", 1, "a.json"])
    assert Path("a.json").read_text() == '{"ID":2,"S":"b!"}\n'
    with pytest.raises(gridflow.SqlError, match="takes the name of a file, not 3"):
        numbers.sql("COPY T TO ?", [3])


def test_statements_around_a_copy_are_run_in_order(numbers):
    text = "INSERT INTO T VALUES (1, ?, 'a');\nCOPY T TO ?; DELETE FROM T;\nCOPY FROM ? INTO T;"
    text += "SELECT N FROM T WHERE N = ?"
    assert numbers.sql(text, [5, "a.csv", "a.csv", 5]).fetchall() == [(5,)]
    with pytest.raises(gridflow.SqlError, match="line 2, column 12"):
        numbers.sql("DELETE FROM T;\n COPY FROM 7 INTO T")


def test_parameters_with_numbers_go_to_the_statements_around_a_copy(numbers):
    text = "INSERT INTO T VALUES (?1, ?2, 'a'); COPY T TO ?3; DELETE FROM T WHERE N = ?2; COPY FROM ?3 INTO T;"
    text += "UPDATE T SET S = ?4 WHERE ID = ?1; SELECT * FROM T"
    assert numbers.sql(text, [1, 5, "a.csv", "b"]).fetchall() == [(1, 5, "b")]


def test_progress_is_told(numbers):
    numbers.sql(f"COPY (SELECT I AS ID FROM RANGE({3 * _BATCH_ROWS}) R(I)) TO 'a.csv'")
    told = []
    numbers.sql("COPY FROM 'a.csv' INTO T", progress=told.append)
    assert [p.rows for p in told] == sorted(p.rows for p in told) and told[-1].rows == 3 * _BATCH_ROWS
    assert {p.what for p in told} == {"a.csv"} and told[-1].done == told[-1].total == os.path.getsize("a.csv")
    told.clear()
    numbers.sql("COPY T TO 'b.parquet'", progress=told.append)
    assert told[-1].rows == told[-1].total == 3 * _BATCH_ROWS
    assert pq.read_metadata("b.parquet").num_rows == 3 * _BATCH_ROWS


def test_a_file_that_is_replaced_is_whole(numbers):
    write("a.csv", "before")
    with pytest.raises(gridflow.SqlError):
        numbers.sql("COPY (SELECT 1 / 0 AS X) TO 'a.csv'")
    assert Path("a.csv").read_text() == "before" and os.listdir() == ["a.csv"]


def test_ints_in_quotes_and_moments_without_a_zone(any_grid):
    any_grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, N INT DEFAULT 7, W TIMESTAMP_TZ)")
    write("a.csv", '"1","","2020-01-01 00:00:00"\n"2","3",""\n')
    any_grid.sql("COPY FROM 'a.csv' INTO T")
    assert rows(any_grid) == [(1, 7, dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)), (2, 3, None)]


def test_a_compressed_file_is_written_by_its_name(numbers):
    numbers.sql("INSERT INTO T VALUES (1, 2, 'a')")
    numbers.sql("COPY T TO 'a.csv.gz'")
    assert gzip.decompress(Path("a.csv.gz").read_bytes()) == b"ID,N,S\n1,2,a\n"


def test_a_server_touches_no_files_for_a_client(server, tmp_path):
    with gridflow.connect(server.home) as grid:
        connection = Connection(Endpoint.of_grid(grid.home))
        try:
            for text in (f"COPY (SELECT 1) TO '{tmp_path}/x.csv'", f"SELECT 1;copy from '{tmp_path}/x.csv' into T"):
                with pytest.raises(gridflow.UsageError, match="runs there, not at the server"):
                    connection.query(messages.Sql(text, *encode_values(None)))
        finally:
            connection.close()
    assert list(tmp_path.iterdir()) == []


def test_gridflow_sql_copies(any_grid, monkeypatch):
    from click.testing import CliRunner

    any_grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    write("a.csv", "1\n2\n")
    done = CliRunner().invoke(main, ["sql", "--home", str(any_grid.home), "-e", "COPY FROM 'a.csv' INTO T"])
    assert done.exit_code == 0 and "COPY: 2 rows" in done.output
    write("a.csv", "x\n")
    done = CliRunner().invoke(main, ["sql", "--home", str(any_grid.home), "-e", "COPY FROM 'a.csv' INTO T"])
    assert done.exit_code == 1 and "a.csv, line 1, column ID INT32: 'x' does not fit" in done.output


def test_a_bar_shows_progress_on_a_terminal_only(numbers):
    numbers.sql("COPY (SELECT I AS ID FROM RANGE(1000) R(I)) TO 'a.csv'")
    for terminal in (True, False):
        screen = Console(file=io.StringIO(), force_terminal=terminal, width=120)
        with statement_progress(screen) as progress:
            numbers.sql("COPY FROM 'a.csv' INTO T ON_DUPLICATE REPLACE", progress=progress)
        assert ("a.csv" in screen.file.getvalue() and "1,000 rows" in screen.file.getvalue()) == terminal
