"""`gridflow load`: files into tables, embedded and through a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import gridflow
from gridflow.cli import main
from gridflow.server import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("served") / "grid") as server:
        yield server


@pytest.fixture(params=["embedded", "served"])
def home(request, tmp_path):
    home = tmp_path / "grid" if request.param == "embedded" else request.getfixturevalue("server").home
    yield home
    with gridflow.connect(home) as grid:
        assert grid.check() == []
        for name in grid.tables():
            grid.drop_table(name)


@pytest.fixture
def load(home):
    def load(file: Path, table: str, *arguments: str, code: int = 0) -> Result:
        command = ["load", str(file), table, "--home", str(home), "--create", *arguments]
        result = CliRunner().invoke(main, command, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return load


@pytest.fixture
def rows(home):
    def rows(text: str) -> list[tuple]:
        with gridflow.connect(home) as grid:
            return grid.sql(text).fetchall()

    return rows


@pytest.fixture
def trips(tmp_path):
    path = tmp_path / "trips.parquet"
    numbers = np.arange(10_000)
    table = pa.table({"id": numbers, "from": [f"p{i % 7}" for i in numbers], "km": numbers / 8})
    pq.write_table(table, path, row_group_size=1000)
    return path


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("id,name,born\n1,Ada,1815-12-10\n2,Alan,1912-06-23\n3,,1906-12-09\n")
    return path


def test_parquet_makes_a_table_with_names_folded_as_in_sql(load, rows, trips):
    assert "TRIPS: 10,000 rows loaded, 10,000 rows in all" in load(trips, "trips", "--key", "id").output
    assert rows("SELECT COUNT(*), MAX(KM) FROM TRIPS WHERE \"FROM\" = 'p3'") == [(1429, 9999 / 8)]


def test_names_stay_as_they_are_where_that_is_asked_for(load, home, trips):
    load(trips, "Trips", "--key", "id", "--keep-case", "--partitions", "16")
    with gridflow.connect(home) as grid:
        table = grid.table("Trips")
        assert table.schema.names == ["id", "from", "km"] and table.partitions_count == 16


def test_csv_and_a_second_load_does_with_rows_of_the_same_key_what_it_is_told(load, rows, people):
    load(people, "PEOPLE", "--key", "ID")
    people.write_text("id,name,born\n3,Grace,1906-12-09\n4,Edsger,1930-05-11\n")
    refused = load(people, "people", code=1)
    assert "error: " in refused.output and "under key" in refused.output and "--on-duplicate replace" in refused.output
    assert "1 row loaded, 4 rows in all" in load(people, "people", "--on-duplicate", "ignore").output
    assert rows("SELECT NAME FROM PEOPLE WHERE ID = 3") == [(None,)]
    assert "2 rows loaded, 4 rows in all" in load(people, "people", "--key", "id", "--on-duplicate", "replace").output
    assert rows("SELECT NAME FROM PEOPLE WHERE ID = 3") == [("Grace",)]
    assert "--on-duplicate error" in load(people, "people", "--insert", code=1).output
    both = load(people, "people", "--insert", "--on-duplicate", "replace", code=1).output
    assert "--insert is the old name of --on-duplicate error" in both


def test_a_table_that_is_there_decides_the_types(load, rows, home, people):
    with gridflow.connect(home) as grid:
        grid.sql("CREATE TABLE PEOPLE (ID LONG PRIMARY KEY, NAME VARCHAR, BORN VARCHAR)")
    load(people, "PEOPLE")
    assert rows("SELECT BORN FROM PEOPLE WHERE ID = 1") == [("1815-12-10",)]


def test_columns_are_chosen_renamed_and_typed(load, home, people):
    chosen = ("--columns", "KEY=id,name", "--key", "KEY", "--type", "key=VARCHAR")
    output = load(people, "P", *chosen, "--type", "name=UINT8[2]", code=1).output
    assert "line 2, column name UINT8[2]: 'Ada' is no JSON; --type name=TYPE" in output
    load(people, "P", *chosen)
    with gridflow.connect(home) as grid:
        assert str(grid.table("P").schema) == "KEY STRING NOT NULL, NAME STRING, PRIMARY KEY (KEY)"
        assert grid.table("P").get("2") == {"NAME": "Alan"}


def test_npz_with_row_numbers_goes_on_counting(load, rows, home, tmp_path):
    pixels = np.arange(5 * 6, dtype=np.uint8).reshape(5, 2, 3)
    np.savez(tmp_path / "digits.npz", x_train=pixels, y_train=np.arange(5), x_test=pixels[:2])
    arguments = ("--columns", "PIXELS=x_train,LABEL=y_train", "--row-number", "ID")
    load(tmp_path / "digits.npz", "DIGITS", *arguments)
    with gridflow.connect(home) as grid:
        table = grid.table("DIGITS")
        assert str(table.schema) == "ID INT64 NOT NULL, PIXELS UINT8[2,3], LABEL INT64, PRIMARY KEY (ID)"
        np.testing.assert_array_equal(table.get(4)["PIXELS"], pixels[4])
    assert "5 rows loaded, 10 rows in all" in load(tmp_path / "digits.npz", "DIGITS", *arguments).output
    assert rows("SELECT MIN(ID), MAX(ID) FROM DIGITS") == [(0, 9)]


def test_tfrecord_with_images_as_bytes(load, home, tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = tmp_path / "faces.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in range(30):
            feature = {
                "pixels": tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes([i] * 12)])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[i])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    load(path, "FACES", "--row-number", "id", "--type", "pixels=UINT8[2,2,3]")
    with gridflow.connect(home) as grid:
        value = grid.table("FACES").get(7)
        assert value["LABEL"] == 7
        np.testing.assert_array_equal(value["PIXELS"], np.full((2, 2, 3), 7))


def test_no_key_says_what_to_type(load, home, people):
    output = load(people, "PEOPLE", code=1).output
    assert "--key COL (there are ID, NAME, BORN)" in output and "--row-number ID" in output
    assert "did you mean NAME" in load(people, "PEOPLE", "--key", "NAM", code=1).output
    with gridflow.connect(home) as grid:
        assert grid.tables() == []


def test_a_load_that_fails_leaves_no_table_behind(load, home, people):
    people.write_text("id,name\n1,Ada\n,nobody\n")
    assert "error: " in load(people, "PEOPLE", "--key", "id", code=1).output
    people.write_text("id,name\n1,Ada\n2,Alan,1912\n")
    assert "line 3: it has 3 fields where 2 were expected" in load(people, "PEOPLE", "--key", "id", code=1).output
    with gridflow.connect(home) as grid:
        assert grid.tables() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--key", "name"), "is there with key ID, not NAME"),
        (("--partitions", "7"), "is there with 1024 partitions, not 7"),
        (("--type", "name=LONG"), "is there with column NAME STRING, not INT64"),
        (("--columns", "nam"), "did you mean name"),
        (("--columns", "NAM=name"), "no column NAM; did you mean NAME"),
        (("--type", "name"), "write COLUMN=TYPE"),
        (("--row-number", "name"), "has a column NAME already"),
    ],
)
def test_options_that_do_not_fit_the_table_are_refused(load, rows, people, arguments, words):
    load(people, "PEOPLE", "--key", "id")
    assert words in load(people, "PEOPLE", *arguments, code=1).output
    assert rows("SELECT COUNT(*) FROM PEOPLE") == [(3,)]


def test_columns_that_fold_to_one_name_are_refused(load, tmp_path):
    (tmp_path / "a.csv").write_text("id,x,X\n1,2,3\n")
    assert "two columns would be called X" in load(tmp_path / "a.csv", "A", "--key", "id", code=1).output
    load(tmp_path / "a.csv", "A", "--key", "id", "--keep-case")


# ---- nulls, empty texts and TSV: what goes out is what comes in ----

TEXTS = [None, "", "\\N", "N", "a\tb", "a\nb", "a\r\nb", "back\\slash", "\\t", '"q"', ' "', "é", "\\", "NULL", ","]


@pytest.fixture
def texts(home):
    with gridflow.connect(home) as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, S VARCHAR, N INT, B BINARY, L INT[], D DOUBLE, F BOOLEAN)")
        for i, text in enumerate(TEXTS):
            more = {"N": i, "B": b"\\\x00\t", "L": [1, i], "D": float("inf") if i else 0.1, "F": i % 2 == 0}
            grid.table("T").put(i, {"S": text} | ({} if text is None else more))
        return dict(grid.table("T").items())


def run_on(home, *arguments):
    done = CliRunner().invoke(main, [arguments[0], "--home", str(home), *map(str, arguments[1:])])
    assert done.exit_code == 0, done.output


WAYS = {
    "export": lambda home, file: run_on(home, "export", "T", file),
    "query": lambda home, file: run_on(home, "export", "SELECT * FROM T", file),
    "sql": lambda home, file: run_on(home, "sql", "-e", "SELECT * FROM T", "-o", file),
    "copy": lambda home, file: run_on(home, "sql", "-e", f"COPY T TO '{file}'"),
}


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.tsv.gz"])
@pytest.mark.parametrize("out", WAYS)
@pytest.mark.parametrize("back", ["load", "copy"])
def test_texts_and_nulls_come_back_as_they_went(texts, home, tmp_path, name, out, back):
    if out == "sql" and name != "a.tsv":
        pytest.skip("sql writes no compressed file, and its CSV has one form for a null and an empty text")
    file = tmp_path / name
    WAYS[out](home, file)
    with gridflow.connect(home) as grid:
        grid.sql("DELETE FROM T")
    if back == "load":
        run_on(home, "load", file, "T")
    else:
        run_on(home, "sql", "-e", f"COPY FROM '{file}' INTO T")
    with gridflow.connect(home) as grid:
        assert dict(grid.table("T").items()) == texts


def test_a_tsv_is_the_same_whoever_writes_it(texts, home, tmp_path):
    query = "SELECT ID, S, N, B, F FROM T ORDER BY ID"
    run_on(home, "export", query, tmp_path / "a.tsv")
    run_on(home, "sql", "-e", query, "-o", tmp_path / "b.tsv")
    assert (tmp_path / "a.tsv").read_text() == (tmp_path / "b.tsv").read_text()


def test_a_tsv_with_a_delimiter_or_a_null_of_its_own_has_quotes(home, tmp_path):
    (tmp_path / "a.tsv").write_text('ID\tS\n1\t"a\\tb"\n2\t-\n')
    run_on(home, "load", "--create", tmp_path / "a.tsv", "T", "--key", "ID", "--null", "-")
    with gridflow.connect(home) as grid:
        assert dict(grid.table("T").items()) == {1: {"S": "a\\tb"}, 2: {"S": None}}


@pytest.mark.parametrize(("more", "expected"), [((), [None, "", "-"]), (("--null", "-"), ["", "", None])])
def test_what_a_null_is_can_be_said(home, tmp_path, more, expected):
    (tmp_path / "a.csv").write_text('ID,S\n1,\n2,""\n3,-\n')
    run_on(home, "load", "--create", tmp_path / "a.csv", "T", "--key", "ID", *more)
    with gridflow.connect(home) as grid:
        assert [grid.table("T").get(i)["S"] for i in (1, 2, 3)] == expected
    run_on(home, "export", "SELECT S FROM T", tmp_path / "b.csv", "--null", "none")
    assert sorted((tmp_path / "b.csv").read_text().split()) == sorted(
        ["S", *("none" if text is None else text or '""' for text in expected)]
    )


def test_an_empty_text_alone_in_a_line_of_a_tsv_is_refused(texts, home, tmp_path):
    done = CliRunner().invoke(main, ["export", "--home", str(home), "SELECT S FROM T", str(tmp_path / "a.tsv")])
    assert done.exit_code == 1 and "an empty text alone in its line would be lost" in done.stderr
