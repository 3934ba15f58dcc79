"""``gridflow export``: what it takes for a source, and what it does not run."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

import gridflow
from gridflow.cli import main


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE TABLE S (ID LONG PRIMARY KEY, NAME VARCHAR)")
        grid.sql("INSERT INTO S VALUES (1, 'WARM')")
        yield grid


def export(grid, source, file, *more, code=0):
    done = CliRunner().invoke(main, ["export", "--home", str(grid.home), source, str(file), *more])
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.parametrize(
    "source",
    [
        "SELECT 1 AS A) TO '{evil}' FORMAT CSV; DROP TABLE S; COPY (SELECT 1 AS A",
        "SELECT 1 AS A) TO '{evil}' FORMAT CSV -- ",
        "SELECT 1; DROP TABLE S",
        "WITH A AS (SELECT 1) DELETE FROM S",
        "EXPLAIN SELECT 1",
        "SELECT ? AS A",
        "SELECT :a AS A",
    ],
)
def test_a_query_is_one_query_and_nothing_else_is_run(grid, tmp_path, source):
    export(grid, source.format(evil=tmp_path / "evil.csv"), tmp_path / "a.csv", code=1)
    assert os.listdir(tmp_path) == ["grid"] and grid.tables() == ["S"] and len(grid.table("S")) == 1


def test_a_mistake_has_its_place_in_the_text_that_was_typed(grid, tmp_path):
    assert "line 1, column 8" in export(grid, "SELECT NAM FROM S", tmp_path / "a.csv", code=1)
    assert "line 2, column 6" in export(grid, "SELECT ID\nFROM T", tmp_path / "a.csv", code=1)


@pytest.mark.parametrize(
    "source", ["TABLE S", "PUBLIC.S", "public.s", "FROM S", "VALUES (1, 'WARM')", "(SELECT * FROM S)"]
)
def test_a_table_may_be_named_as_sql_names_it(grid, tmp_path, source):
    export(grid, source, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1:] == ["1,WARM"]


def test_a_system_view_is_a_table_and_show_is_refused(grid, tmp_path):
    export(grid, "SYS.TABLES", tmp_path / "a.jsonl", "--columns", "table_name")
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"TABLE_NAME": "S"}
    assert "this is SHOW; SYS.TABLES" in export(grid, "SHOW TABLES", tmp_path / "b.csv", code=1)
    assert "NOPE" in export(grid, "SYS.NOPE", tmp_path / "b.csv", code=1)


def test_messages_speak_of_options_that_were_typed(grid, tmp_path):
    for name, more in (
        ("a.csv", ["--compression", "zstd"]),
        ("a.json", ["--delimiter", ";"]),
        ("a.csv", ["--delimiter", ""]),
    ):
        output = export(grid, "S", tmp_path / name, *more, code=1)
        assert output.startswith(f"error: {more[0]} ") and "COPY" not in output
    output = export(grid, "SELECT 1 AS A, 2 AS A", tmp_path / "a.json", code=1)
    assert "two columns are called A" in output and "COPY" not in output
