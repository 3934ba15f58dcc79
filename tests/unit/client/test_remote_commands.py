"""The commands, the DB-API and COPY at a node's address."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import gridflow
from gridflow import dbapi
from gridflow.cli.main import main
from gridflow.errors import UsageError


def run(*arguments: str):
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def rows(table):
    table.load({"ID": [1, 2, 3], "N": [10, 20, 30], "S": ["a", "b", None]})
    return table


def test_commands_take_an_address(address, rows, tmp_path):
    said = run("sql", "--home", address, "--format", "csv", "-e", "SELECT ID, N FROM T ORDER BY ID")
    assert said.exit_code == 0 and said.output.splitlines() == ["ID,N", "1,10", "2,20", "3,30"]
    assert "T" in run("--home", address, "tables").output
    facts = json.loads(run("info", "--home", address, "--format", "json").output)
    assert facts["home"] == address and facts["rows"] == 3 and facts["tables"] == 1 and facts["used_bytes"] > 0
    assert "no problems" in run("check", "--home", address).output
    out = tmp_path / "t.csv"
    assert run("export", "--home", address, "T", str(out)).exit_code == 0
    assert sorted(out.read_text().splitlines())[:2] == ["1,10,a", "2,20,b"]
    assert run("load", "--home", address, str(out), "U", "--key", "ID").exit_code == 0
    with gridflow.connect(address) as grid:
        assert len(grid.table("U")) == 3
    said = run("sql", "--home", address, "--read-only", "-e", "DELETE FROM T")
    assert said.exit_code != 0 and "open to read only" in said.output
    for option in ("--create", "--embedded"):
        said = run("sql", "--home", address, option, "-e", "SELECT 1")
        assert said.exit_code != 0 and "leave it out" in said.output
    said = run("tables", "--home", "grid://kate:s3cret@box")
    assert said.exit_code != 0 and "s3cret" not in said.output and "user=" in said.output


def test_the_db_api_takes_an_address(address, rows):
    with dbapi.connect(address) as connection:
        cursor = connection.cursor()
        cursor.execute("INSERT INTO T VALUES (?, ?, ?)", (4, 40, "d"))
        assert cursor.rowcount == 1 and len(rows) == 3
        cursor.executemany("INSERT INTO T VALUES (?, ?, ?)", [(5, 50, "e"), (6, 60, "f")])
        assert cursor.rowcount == 2
        connection.rollback()
        cursor.executemany("UPDATE T SET N = ? WHERE ID = ?", [(11, 1), (21, 2)])
        connection.commit()
        assert [cell for (cell,) in cursor.execute("SELECT N FROM T ORDER BY ID")] == [11, 21, 30]
    with dbapi.connect(address, autocommit=True) as connection:
        connection.cursor().executemany("DELETE FROM T WHERE ID = ?", [(1,), (2,)])
    assert len(rows) == 1


def test_copy_reads_and_writes_files_of_the_client(grid, rows, tmp_path):
    whole, part = tmp_path / "whole.csv", tmp_path / "part.csv"
    assert grid.sql(f"COPY T TO '{whole}'").rowcount == 3
    assert grid.sql("COPY (SELECT ID, N FROM T WHERE N > ? ORDER BY ID) TO ?", [10, str(part)]).rowcount == 2
    assert part.read_text().splitlines()[-2:] == ["2,20", "3,30"]
    grid.sql(f"DELETE FROM T; COPY FROM '{whole}' INTO T; SET QUERY_TIMEOUT 60")
    assert len(rows) == 3
    grid.sql("BEGIN")
    grid.sql("DELETE FROM T")
    grid.sql(f"COPY FROM '{whole}' INTO T")
    grid.sql("UPDATE T SET N = 0")
    grid.sql(f"COPY (SELECT SUM(N), COUNT(*) FROM T) TO '{part}'")
    assert part.read_text().splitlines()[-1] == "0,3"
    grid.sql("ROLLBACK")
    assert grid.sql("SELECT SUM(N) FROM T").scalar() == 60


def test_what_cannot_be_done_from_afar_says_so(grid, rows):
    for refused in (
        lambda: rows.indexes,
        lambda: rows.publish("file:///nowhere"),
        lambda: rows._mapped(["ID"]),
        lambda: grid._alter_options("T", dict),
    ):
        with pytest.raises(UsageError, match="grid://"):
            refused()
    with gridflow.connect(grid.home, read_only=True) as reader:
        assert reader.table("T").get(1)["N"] == 10 and reader.sql("SELECT COUNT(*) FROM T").scalar() == 3
        for write in (
            lambda: reader.table("T").put(1, {}),
            lambda: reader.sql("WITH A AS (SELECT 1) SELECT 1; DELETE FROM T"),
            lambda: reader.table("T").load({"ID": [9]}),
            lambda: reader.drop_table("T"),
            lambda: reader.create_table("U", {"ID": "INT"}, key="ID"),
            lambda: reader.run(lambda t: t.table("T").put(1, {})),
        ):
            with pytest.raises(gridflow.GridAccessError, match="open to read only"):
                write()
