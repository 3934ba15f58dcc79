"""The command line: what each command prints, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

import gridflow
from gridflow.cli import main
from gridflow.cli.main import COMMANDS
from gridflow.server import ServerProcess


@pytest.fixture
def home(tmp_path):
    return tmp_path / "grid"


@pytest.fixture
def run(home):
    """Run a command on the test's grid. The grid is sound after each."""

    def run(*arguments: str, code: int = 0, **options) -> Result:
        arguments = (arguments[0], "--home", str(home), *arguments[1:])
        result = CliRunner().invoke(main, arguments, catch_exceptions=False, **options)
        assert result.exit_code == code, result.output
        if (home / "catalog").exists():
            with gridflow.connect(home, read_only=True) as grid:
                assert grid.check() == []
        return result

    return run


@pytest.fixture
def kittens(run):
    run("sql", "-e", "CREATE TABLE KITTENS (ID LONG PRIMARY KEY, NAME VARCHAR)")
    run("sql", "-e", "INSERT INTO KITTENS VALUES (1, 'WARM'), (2, 'SOFT')")


def test_every_command_says_what_it_does(run):
    listed = CliRunner().invoke(main, ["--help"]).output
    for name, help_text in COMMANDS.items():
        assert name in listed and help_text in listed
        result = CliRunner().invoke(main, [name, "--help"])
        assert result.exit_code == 0 and "--home DIR" in result.output and "--debug" in result.output


def test_an_unknown_command_suggests_the_nearest():
    result = CliRunner().invoke(main, ["tabels"])
    assert result.exit_code == 2
    assert "no command tabels; did you mean tables?" in result.output


def test_versions(run):
    assert CliRunner().invoke(main, ["--version"]).output == f"gridflow {gridflow.__version__}\n"
    lines = dict(line.split(maxsplit=1) for line in run("version").output.splitlines())
    assert lines["gridflow"] == gridflow.__version__ and {"pyarrow", "tensorflow", "python"} <= set(lines)


def test_help_is_quick_because_nothing_heavy_is_imported():
    heavy = ("tensorflow", "duckdb", "rich", "pandas")
    code = f"import sys, gridflow.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("command", ["tables", "info", "check"])
def test_reading_a_grid_that_is_not_there_says_how_to_make_one(run, home, command):
    result = run(command, code=1)
    assert f"error: no grid in {home}" in result.output and "gridflow serve" in result.output
    assert not home.exists()


def test_a_folder_that_is_something_else_is_left_alone(run, home):
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    assert "thesis.txt" in run("sql", "-e", "SELECT 1", code=1).output
    assert os.listdir(home) == ["thesis.txt"]


def test_tables(run, kittens):
    assert "KITTENS" in run("tables").output
    rows = json.loads(run("tables", "--format", "json").output)
    assert rows == [
        {
            "TABLE": "KITTENS",
            "ROWS": 2,
            "BYTES": rows[0]["BYTES"],
            "PARTITIONS": 1024,
            "KEY": "ID",
            "COLUMNS": "ID INT64 NOT NULL, NAME STRING",
        }
    ]
    run("sql", "-e", "DROP TABLE KITTENS")
    assert "no tables" in run("tables").output


def test_info(run, kittens, home):
    facts = json.loads(run("info", "--json").output)
    assert (facts["home"], facts["tables"], facts["rows"]) == (str(home), 1, 2)
    assert facts["owner"] == "nobody" and facts["used_bytes"] > 0
    assert "1 table, 2 rows" in run("info").output


def test_info_and_tables_name_an_owner_that_is_running(run, kittens, home):
    with ServerProcess(home) as server:
        assert f"served by process {server.pid}" in run("info").output
        assert "KITTENS" in run("tables").output
        assert "no problems" in run("check").output
    code = "import gridflow, sys; g = gridflow.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    embedding = subprocess.Popen([sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert embedding.stdout.readline() == b"open\n"
    assert "another process" in run("info").output
    assert "KITTENS" in run("tables").output
    assert "1 row" in run("sql", "-e", "SELECT NAME FROM KITTENS WHERE ID = 1; SELECT '1 row'").output
    refused = run("sql", "-e", "DELETE FROM KITTENS", code=1).output
    assert "read only" in refused and f"owned by process {embedding.pid}, which does not serve it" in refused
    embedding.communicate()


def test_check_finds_damage_and_says_where(run, kittens, home):
    assert "1 table" in run("check").output
    (segment,) = home.glob("tables/*/*.seg")
    data = bytearray(segment.read_bytes())
    data[-100] ^= 1
    segment.chmod(0o600)
    segment.write_bytes(data)
    result = CliRunner().invoke(main, ["check", "--home", str(home)])
    assert result.exit_code == 1
    assert segment.name in result.output and "1 problem" in result.output


# ---- sql ----


def test_sql_prints_rows_in_every_format(run, kittens):
    query = "SELECT ID, NAME FROM KITTENS ORDER BY ID"
    assert run("sql", "--format", "csv", "-e", query).stdout == "ID,NAME\n1,WARM\n2,SOFT\n"
    assert json.loads(run("sql", "--format", "json", "-e", query).stdout)[1] == {"ID": 2, "NAME": "SOFT"}
    assert "| 1 | WARM |" in run("sql", "--format", "markdown", "-e", query).stdout
    assert "WARM" in run("sql", "--format", "vertical", "-e", query).stdout
    assert "WARM" in run("sql", "-e", query).stdout


def test_sql_takes_texts_files_and_standard_input(run, kittens, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text(
        "-- more kittens\nINSERT INTO KITTENS VALUES (3, 'SLEEPY');\nSELECT COUNT(*) AS N FROM KITTENS;\n"
    )
    assert run("sql", "--format", "csv", "-f", str(script)).stdout == "N\n3\n"
    assert run("sql", "--format", "csv", input="SELECT MAX(ID) AS M FROM KITTENS").stdout == "M\n3\n"
    assert run("sql", "--format", "csv", "-f", "-", input="SELECT 1 AS A;").stdout == "A\n1\n"
    assert run("sql", "--format", "csv", "-e", "SELECT 1 AS A", "-e", "SELECT 2 AS B").stdout == "A\n1\nB\n2\n"


def test_sql_formats_for_programs_have_all_rows(run):
    query = "SELECT range AS N FROM range(20000)"
    for style, lines in (("csv", 20001), ("tsv", 20001), ("json", 20000), ("jsonlines", 20000), ("table", 20004)):
        assert run("sql", "--format", style, "-e", query).stdout.count("\n") == lines


def test_sql_writes_rows_to_a_file(run, kittens, tmp_path):
    rows = tmp_path / "rows"
    query = "SELECT NAME FROM KITTENS ORDER BY ID"
    assert run("sql", "--format", "csv", "--output", str(rows), "-e", query).stdout == ""
    assert rows.read_text() == "NAME\nWARM\nSOFT\n"
    assert run("sql", "--format", "arrow", "-o", str(rows), "-e", query).stdout == ""
    assert pa.ipc.open_file(str(rows)).read_all().to_pydict() == {"NAME": ["WARM", "SOFT"]}
    again = run("sql", "--format", "arrow", "-o", str(rows), "-e", f"{query}; SELECT 1", code=1)
    assert "an Arrow file takes those of one" in again.stderr
    assert "--output FILE" in run("sql", "--format", "arrow", "-e", query, code=2).stderr
    assert "no such" in run("sql", "-o", "/nowhere/rows", "-e", query, code=1).stderr.lower()


def test_sql_goes_on_after_an_error_if_told_to(run, kittens, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text("SELECT X;\nSELECT 1 AS A;\n")
    result = run("sql", "--format", "csv", "--on-error", "continue", "-f", str(script), "-f", str(script), code=1)
    assert result.stdout == "A\n1\nA\n1\n" and result.stderr.count("error: ") == 2
    result = run("sql", "--format", "csv", "-f", str(script), "-f", str(script), code=1)
    assert result.stdout == "" and result.stderr.count("error: ") == 1


def test_scripts_may_have_commands_of_the_shell(run, kittens, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text("# as sqlline's scripts\n!set outputformat csv\nSELECT 1 AS A;\n!quit\nSELECT 2 AS B;\n")
    assert run("sql", "-f", str(script)).stdout == "A\n1\n"
    assert run("sql", input="!outputformat csv\n!run " + str(script)).stdout == "A\n1\n"
    assert "command in line 2: no command !nope" in run("sql", input="\n!nope", code=1).stderr


def test_timing_stays_off_standard_output(run):
    result = run("sql", "--format", "csv", "--timing", "-e", "SELECT 1 AS A")
    assert result.stdout == "A\n1\n" and "1 row in 0." in result.stderr


def test_a_reader_that_has_seen_enough_ends_it_quietly(home):
    command = [sys.executable, "-m", "gridflow", "sql", "--home", str(home), "--format", "csv"]
    with subprocess.Popen(
        [*command, "-e", "SELECT * FROM range(1000000)"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"range\n"
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 1


def test_control_c_ends_a_script_with_130(home):
    endless = "SELECT COUNT(*) FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3"
    command = [sys.executable, "-m", "gridflow", "sql", "--home", str(home), "--format", "csv"]
    with subprocess.Popen(
        [*command, "-e", f"SELECT 1 AS A; {endless}; SELECT 2 AS B"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert [child.stdout.readline() for _ in range(2)] == [b"A\n", b"1\n"]
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        assert (out, err, child.returncode) == (b"", b"error: cancelled\n", 130)


def test_sql_stops_at_the_first_error_and_points_at_it(run, kittens, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text("DELETE FROM KITTENS WHERE ID = 1;\nSELECT *\nFROM KITTEN;\nDELETE FROM KITTENS;\n")
    result = run("sql", "-f", str(script), code=1)
    assert f"{script}, statement in line 2: line 3, column 6" in result.stderr
    assert "did you mean KITTENS" in result.stderr and "Traceback" not in result.output
    assert run("sql", "--format", "csv", "-e", "SELECT COUNT(*) AS N FROM KITTENS").stdout == "N\n1\n"


def test_debug_shows_the_traceback(run):
    result = CliRunner().invoke(main, ["--debug", "sql", "--home", "/dev/null/x", "-e", "SELECT 1"])
    assert isinstance(result.exception, gridflow.GridAccessError)
    result = CliRunner().invoke(main, ["sql", "--debug", "--home", "/dev/null/x", "-e", "SELECT 1"])
    assert isinstance(result.exception, gridflow.GridAccessError)


def test_a_script_that_is_not_utf8_says_where(run, tmp_path):
    script = tmp_path / "latin.sql"
    script.write_bytes("SELECT 'é'".encode("latin-1"))
    assert "not UTF-8: byte 8" in run("sql", "-f", str(script), code=1).output


def test_sql_on_a_served_grid_runs_there(run, home):
    with ServerProcess(home):
        run("sql", "-e", "CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR); INSERT INTO T VALUES (1, 'x')")
        assert run("sql", "--format", "csv", "-e", "SELECT * FROM T").stdout == "ID,NAME\n1,x\n"
        assert "no table" in run("sql", "-e", "DELETE FROM NOPE", code=1).output


def test_a_plan_is_shown_whole(run):
    run("sql", "-e", "CREATE TABLE A_TABLE_OF_A_LONG_NAME (ID LONG PRIMARY KEY, A_COLUMN_OF_A_LONG_NAME VARCHAR)")
    shown = run("sql", "-e", "EXPLAIN SELECT * FROM A_TABLE_OF_A_LONG_NAME WHERE ID = 2").output
    line = "A_TABLE_OF_A_LONG_NAME: by key (ID), 1 key, columns ID, A_COLUMN_OF_A_LONG_NAME; without the engine\n"
    assert shown == line
