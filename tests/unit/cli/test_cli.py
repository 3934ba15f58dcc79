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
        create = ["--create"] if arguments[0] in ("sql", "load") and "--read-only" not in arguments else []
        arguments = (arguments[0], "--home", str(home), *create, *arguments[1:])
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
        assert result.exit_code == 0
        if name not in ("cert", "mirror"):  # which are about no one grid
            assert "--home DIR" in result.output and "--debug" in result.output


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


@pytest.mark.parametrize("command", ["tables", "info", "check", "export"])
def test_reading_a_grid_that_is_not_there_says_how_to_make_one(run, home, command):
    arguments = ["T", str(home.parent / "t.csv")] if command == "export" else []
    result = run(command, *arguments, code=1)
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
    facts = json.loads(run("info", "--format", "json").output)
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
    command = [sys.executable, "-m", "gridflow", "--home", str(home), "sql", "--create", "--format", "csv"]
    with subprocess.Popen(
        [*command, "-e", "SELECT * FROM range(1000000)"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"range\n"
        child.stdout.close()
        assert child.stderr.read() == f"made a new grid in {home}\n".encode()
        assert child.wait() == 1


def test_control_c_ends_a_script_with_130(home):
    endless = "SELECT COUNT(*) FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3"
    command = [sys.executable, "-m", "gridflow", "--home", str(home), "sql", "--create", "--format", "csv"]
    with subprocess.Popen(
        [*command, "-e", f"SELECT 1 AS A; {endless}; SELECT 2 AS B"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert [child.stdout.readline() for _ in range(2)] == [b"A\n", b"1\n"]
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        assert (out, child.returncode) == (b"", 130)
        assert err == f"made a new grid in {home}\nerror: cancelled\n".encode()


def test_sql_stops_at_the_first_error_and_points_at_it(run, kittens, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text("DELETE FROM KITTENS WHERE ID = 1;\nSELECT *\nFROM KITTEN;\nDELETE FROM KITTENS;\n")
    result = run("sql", "-f", str(script), code=1)
    assert f"{script}, statement in line 2: line 3, column 6" in result.stderr
    assert "did you mean KITTENS" in result.stderr and "Traceback" not in result.output
    assert run("sql", "--format", "csv", "-e", "SELECT COUNT(*) AS N FROM KITTENS").stdout == "N\n1\n"


def test_debug_shows_the_traceback(run):
    result = CliRunner().invoke(main, ["--debug", "sql", "--home", "/dev/null/x", "--create", "-e", "SELECT 1"])
    assert isinstance(result.exception, gridflow.GridAccessError)
    result = CliRunner().invoke(main, ["sql", "--debug", "--home", "/dev/null/x", "--create", "-e", "SELECT 1"])
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


# ---- one rule for all commands ----


def invoke(*arguments: str, **options) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False, **options)


@pytest.mark.parametrize("command", [["tables"], ["info"], ["check"], ["version"], ["sql", "-e", "SELECT 1"]])
def test_the_home_may_stand_before_the_command(run, kittens, home, command):
    before, after = invoke("--home", str(home), *command), invoke(*command, "--home", str(home))
    assert (before.exit_code, before.output) == (after.exit_code, after.output) == (0, after.output)
    assert invoke("--home", str(home), *command, "--home", str(home)).exit_code == 0
    twice = invoke("--home", str(home), *command, "--home", str(home.parent))
    assert twice.exit_code == 2 and f"--home is given twice, as {home} and as {home.parent}" in twice.output


def test_every_short_option_has_a_long_form():
    for name in COMMANDS:
        for parameter in main.get_command(None, name).params:
            assert parameter.param_type_name == "argument" or any(o.startswith("--") for o in parameter.opts), parameter


def test_the_format_is_called_so_by_every_command():
    styles = {
        name: [p for p in main.get_command(None, name).params if p.name in ("style", "form")] for name in COMMANDS
    }
    assert {name for name, found in styles.items() if found} == {"sql", "load", "export", "tables", "info"}
    for (parameter,) in filter(None, styles.values()):
        assert parameter.opts == ["--format"] and parameter.help


def test_long_forms_do_what_the_short_ones_do(run, kittens, tmp_path):
    (tmp_path / "script.sql").write_text("SELECT 1 AS A")
    assert run("sql", "--format", "csv", "--execute", "SELECT 2 AS B").stdout == "B\n2\n"
    assert run("sql", "--format", "csv", "--file", str(tmp_path / "script.sql")).stdout == "A\n1\n"


def test_info_still_takes_json_and_says_how_it_is_called(run, kittens, home):
    old = invoke("info", "--home", str(home), "--json")
    assert json.loads(old.stdout)["tables"] == 1
    assert old.stderr == "--json is deprecated: use --format json\n"


# ---- no grid by mistake ----


@pytest.mark.parametrize("command", [["sql", "-e", "SELECT 1"], ["load", "FILE", "T", "--key", "A"]])
@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_grid_is_made_only_where_one_is_asked_for(home, tmp_path, monkeypatch, command, by):
    """A misspelt --home was a new grid without a table."""
    (tmp_path / "a.csv").write_text("A\n1\n")
    command = [str(tmp_path / "a.csv") if word == "FILE" else word for word in command]
    if by == "variable":
        monkeypatch.setenv("GRIDFLOW_HOME", str(home))
    else:
        command += ["--home", str(home)]
    refused = invoke(*command)
    assert refused.exit_code == 1 and f"error: no grid in {home}: --create makes one there" in refused.output
    assert not home.exists()
    made = invoke(*command, "--create")
    assert made.exit_code == 0 and f"made a new grid in {home}\n" in made.stderr
    again = invoke(*command[:2], *command[2:], "--create")
    assert "made" not in again.stderr
    assert invoke("--home", str(home), "tables").exit_code == 0


def test_the_default_grid_is_made_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("GRIDFLOW_HOME", raising=False)
    monkeypatch.setattr("gridflow.config.temporary_root", lambda: tmp_path)
    made = invoke("sql", "--format", "csv", "-e", "SELECT 1 AS A")
    assert (made.exit_code, made.stdout) == (0, "A\n1\n")
    assert made.stderr == f"made a new grid in {gridflow.config.default_home()}\n"
    assert invoke("sql", "-e", "SELECT 1").stderr == ""


# ---- read only ----


def test_read_only_changes_nothing(run, kittens, home):
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    assert run("sql", "--read-only", "--format", "csv", "-e", "SELECT COUNT(*) AS N FROM KITTENS").stdout == "N\n2\n"
    refused = run("sql", "--read-only", "-e", "DELETE FROM KITTENS", code=1)
    assert "read only" in refused.stderr
    assert "KITTENS" in run("tables", "--read-only").output
    assert json.loads(run("info", "--read-only", "--format", "json").output)["rows"] == 2
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()} == before
    for other in ("--embedded", "--create"):
        both = run("sql", "--read-only", other, "-e", "SELECT 1", code=2)
        assert f"--read-only and {other} cannot be had together" in both.stderr
    assert "no grid in" in invoke("sql", "--read-only", "--home", str(home.parent / "no"), "-e", "SELECT 1").output


# ---- export ----


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.json", "a.jsonl", "a.parquet", "a.arrow", "a.npz"])
def test_what_is_exported_can_be_loaded(run, kittens, home, tmp_path, name):
    file = tmp_path / name
    out = run("export", "KITTENS", str(file)).output
    assert out == f"{file}: 2 rows written\n"
    run("load", str(file), "COPY", "--key", "ID")
    with gridflow.connect(home) as grid:
        assert grid.sql("SELECT ID, NAME FROM COPY ORDER BY ID").fetchall() == [(1, "WARM"), (2, "SOFT")]


def test_json_means_in_a_file_what_it_means_on_the_terminal(run, kittens, tmp_path):
    query = "SELECT ID, NAME FROM KITTENS ORDER BY ID"
    for form in ("json", "jsonlines"):
        run("export", query, str(tmp_path / "rows"), "--format", form)
        shown = run("sql", "--format", form, "-e", query).stdout
        read = json.loads if form == "json" else lambda text: [json.loads(line) for line in text.splitlines()]
        assert read((tmp_path / "rows").read_text()) == read(shown)
        loaded = run("load", str(tmp_path / "rows"), form, "--key", "ID", "--format", form)
        assert loaded.stdout == f"{form.upper()}: 2 rows loaded, 2 rows in all\n"


def test_export_takes_a_table_or_a_query(run, kittens, tmp_path):
    file = tmp_path / "a.csv"
    for source, more, text in (
        ("kittens", ["--columns", "name"], "NAME\n"),
        ("SELECT NAME AS N, ID FROM KITTENS WHERE ID = 1;", ["--delimiter", ";"], "N;ID\nWARM;1\n"),
        ("SELECT 1 AS A -- one", [], "A\n1\n"),
    ):
        run("export", source, str(file), *more)
        assert file.read_text().startswith(text)
    run("sql", "-e", 'CREATE TABLE "SELECT 1" (ID LONG PRIMARY KEY)')
    assert "0 rows written" in run("export", "SELECT 1", str(file)).output


@pytest.mark.parametrize("command", [["load", "a.csv", "T", "--key", "A"], ["export", "KITTENS", "b.csv"], ["tables"]])
def test_control_c_ends_any_command_with_130(run, kittens, home, tmp_path, monkeypatch, command):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("A\n1\n")
    for method in ("load", "scan", "stats"):
        monkeypatch.setattr(gridflow.Table, method, interrupt)
    done = invoke("--home", str(home), *command)
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "error: cancelled\n")
    assert not (tmp_path / "b.csv").exists()


# ---- wrong usages ----

WRONG = [
    (["sql", "--formt", "csv"], 2, "No such option '--formt'"),
    (["sql", "--format", "jsn"], 2, "'jsn' is not one of"),
    (["sql", "-e"], 2, "requires an argument"),
    (["sql", "-f", "/nowhere.sql"], 2, "does not exist"),
    (["sql", "T"], 2, "unexpected extra argument"),
    (["sql", "--on-error", "ignore"], 2, "'ignore' is not one of"),
    (["sql", "--format", "arrow", "-e", "SELECT 1"], 2, "--output FILE"),
    (["sql", "-e", "SELEC 1"], 1, "did you mean SELECT"),
    (["sql", "-o", "/", "-e", "SELECT 1"], 2, "is a directory"),
    (["sql", "--home", "FILE", "-e", "SELECT 1"], 2, "is a file"),
    (["load"], 2, "Missing argument 'FILE'"),
    (["load", "FILE"], 2, "Missing argument 'TABLE'"),
    (["load", "/nowhere.csv", "T"], 2, "does not exist"),
    (["load", "/", "T"], 2, "is a directory"),
    (["load", "FILE", "T"], 1, "primary key"),
    (["load", "FILE", "T", "--key", "B"], 1, "no column B for the primary key"),
    (["load", "FILE", "T", "--key", "A", "--partitions", "0"], 2, "not in the range"),
    (["load", "FILE", "T", "--key", "A", "--type", "A"], 1, "write COLUMN=TYPE"),
    (["load", "FILE", "T", "--key", "A", "--type", "A=NUMBR"], 1, "did you mean"),
    (["load", "FILE", "T", "--key", "A", "--format", "xml"], 2, "'xml' is not one of"),
    (["export"], 2, "Missing argument 'TABLE|QUERY'"),
    (["export", "KITTENS"], 2, "Missing argument 'FILE'"),
    (["export", "KITTNS", "NEW.csv"], 1, "did you mean KITTENS"),
    (["export", "KITTENS", "NEW"], 1, "what format is it to have? say it, for example --format csv"),
    (["export", "KITTENS", "NEW.csv", "--format", "xml"], 2, "'xml' is not one of"),
    (["export", "KITTENS", "/nowhere/new.csv"], 1, "/nowhere"),
    (["export", "KITTENS", "/"], 2, "is a directory"),
    (["export", "KITTENS", "-", "--format", "csv"], 2, "export writes a file"),
    (["export", "KITTENS", "NEW.csv", "--columns", "NAM"], 1, "did you mean NAME"),
    (["export", "SELECT 1 AS A", "NEW.csv", "--columns", "A"], 1, "a query names its columns itself"),
    (["export", "SELECT 1 AS A", "NEW.csv", "--compression", "zstd"], 1, "--compression is for Parquet and Arrow"),
    (["export", "KITTENS", "NEW.csv", "--delimiter", "ab"], 1, "one ASCII character"),
    (["export", "DELETE FROM KITTENS", "NEW.csv"], 1, "no table DELETE FROM KITTENS"),
    (["export", "SELECT 1; DELETE FROM KITTENS", "NEW.csv"], 1, "there are 2 statements"),
    (["tables", "--format", "arrow"], 2, "'arrow' is not one of"),
    (["tables", "KITTENS"], 2, "unexpected extra argument"),
    (["tables", "--home"], 2, "requires an argument"),
    (["info", "--format", "csv"], 2, "'csv' is not one of"),
    (["info", "KITTENS"], 2, "unexpected extra argument"),
    (["check", "KITTENS"], 2, "unexpected extra argument"),
    (["serve", "--partitions", "0"], 2, "not in the range"),
    (["serve", "--durability", "none"], 2, "'none' is not one of"),
    (["serve", "GRID"], 2, "unexpected extra argument"),
    (["exprt", "KITTENS", "a.csv"], 2, "no command exprt; did you mean export?"),
    ([], 2, "Missing command"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG, ids=[" ".join(w[0]) or "nothing" for w in WRONG])
def test_what_is_wrong_is_said_in_a_line_and_makes_nothing(run, kittens, home, tmp_path, arguments, code, message):
    (tmp_path / "a.csv").write_text("A\n1\n")
    names = {"FILE": str(tmp_path / "a.csv"), "NEW": str(tmp_path / "new"), "NEW.csv": str(tmp_path / "new.csv")}
    before = sorted(os.listdir(tmp_path))
    result = invoke("--home", str(home), *(names.get(word, word) for word in arguments))
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr and "Traceback" not in result.stderr
    assert sorted(os.listdir(tmp_path)) == before
    with gridflow.connect(home, read_only=True) as grid:
        assert (grid.tables(), len(grid.table("KITTENS"))) == (["KITTENS"], 2)
