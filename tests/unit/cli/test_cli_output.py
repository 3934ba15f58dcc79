"""Where a command's output goes: standard output that takes nothing, files by their names, and grids made in vain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

import gridflow
from gridflow.cli import main


@pytest.fixture
def home(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
        grid.sql("INSERT INTO T VALUES (1, NULL), (2, 'a\tb')")
    return tmp_path / "grid"


def invoke(*arguments, code=0):
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    return done


# ---- standard output ----


def printed_to(descriptor: int, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "gridflow", *map(str, arguments)]
    done = subprocess.run(command, stdout=descriptor, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr


COMMANDS = [["--help"], ["version"], ["tables"], ["sql", "-e", "SELECT * FROM T"], ["info", "--format", "json"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_output_that_cannot_be_written_is_said_in_a_line(home, tmp_path, command):
    (tmp_path / "a").touch()
    more = ["--home", home] if command[0] in ("tables", "sql", "info") else []
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)  # as a disk without room: each write fails
    try:
        code, said = printed_to(descriptor, *command, *more)
    finally:
        os.close(descriptor)
    assert (code, said) == (1, "error: standard output cannot be written: Bad file descriptor\n")


def test_output_that_is_closed_is_said_in_a_line(home):
    words = [sys.executable, "-m", "gridflow", "tables", "--home", str(home)]
    close = f"import os; os.close(1); os.execv({sys.executable!r}, {words!r})"
    done = subprocess.run([sys.executable, "-c", close], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: standard output cannot be written: it is closed\n")


@pytest.mark.parametrize("command", [["version"], ["sql", "-e", "SELECT * FROM T"]], ids=lambda words: words[0])
def test_a_reader_that_has_left_is_no_mistake(home, command):
    end, descriptor = os.pipe()
    os.close(end)
    try:
        more = ["--home", home] if command[0] == "sql" else []
        assert printed_to(descriptor, *command, *more) == (1, "")
    finally:
        os.close(descriptor)


# ---- the name of the file of --output ----


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "ID,NAME\n1,\n"),
        ("a.TSV", "ID\tNAME\n1\t\\N\n"),
        ("a.json", '[{"ID": 1, "NAME": null}]\n'),
        ("a.jsonl", '{"ID": 1, "NAME": null}\n'),
        ("a.md", "| ID | NAME"),
        ("a", "╭"),
    ],
)
def test_the_name_of_the_output_tells_its_format(home, tmp_path, name, text):
    invoke("sql", "--home", home, "-e", "SELECT * FROM T WHERE ID = 1", "-o", tmp_path / name)
    assert (tmp_path / name).read_text().lstrip().startswith(text)


def test_arrow_is_told_by_the_name_too_and_a_format_wins_over_it(home, tmp_path):
    invoke("sql", "--home", home, "-e", "SELECT ID FROM T", "-o", tmp_path / "a.arrow")
    assert pa.ipc.open_file(tmp_path / "a.arrow").read_all()["ID"].to_pylist() == [1, 2]
    invoke("sql", "--home", home, "-e", "SELECT ID FROM T", "-o", tmp_path / "a.npz", "--format", "csv")
    assert (tmp_path / "a.npz").read_text() == "ID\n1\n2\n"


@pytest.mark.parametrize("name", ["a.parquet", "a.npz", "a.tfrecord", "a.csv.gz", "a.arrows"])
def test_what_sql_does_not_write_is_refused_with_who_does(home, tmp_path, name):
    done = invoke("sql", "--home", home, "-e", "SELECT ID FROM T", "-o", tmp_path / name, code=2)
    assert f"'gridflow export QUERY {tmp_path / name}' does" in done.stderr
    assert not (tmp_path / name).exists()


# ---- grids that were made in vain ----


@pytest.mark.parametrize(
    "command",
    [
        ["load", "FILE", "Q", "--key", "NOPE"],
        ["load", "FILE", "Q", "--key", "A", "--type", "B=INT"],
        ["load", "FILE", "Q"],
        ["sql", "-e", "SELEC"],
        ["sql", "-e", "CREATE TABLE T (ID LONG PRIMARY KEY); DROP TABLE T; SELEC"],
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_a_command_that_fails_leaves_no_new_grid(tmp_path, command, there):
    file, home = tmp_path / "f.csv", tmp_path / "new"
    file.write_text("A,B\n1,x\n")
    if there:
        home.mkdir()
    words = [str(file) if word == "FILE" else word for word in command]
    done = invoke(*words, "--home", home, "--create", code=1)
    assert f"the new grid in {home} is removed" in done.stderr
    assert home.exists() == there and (not there or os.listdir(home) == [])


def test_a_new_grid_stays_where_something_was_written(tmp_path):
    for i, text in enumerate(["CREATE TABLE T (ID LONG PRIMARY KEY); SELEC", "CREATE USER U WITH PASSWORD 'p'; SELEC"]):
        invoke("sql", "-e", text.replace("; ", ";\n"), "--home", tmp_path / str(i), "--create", code=1)
        assert (tmp_path / str(i) / "catalog").exists()


def test_a_grid_that_was_there_stays(home: Path):
    invoke("sql", "-e", "DROP TABLE T", "--home", home)
    invoke("sql", "-e", "SELEC", "--home", home, code=1)
    assert (home / "catalog").exists()
