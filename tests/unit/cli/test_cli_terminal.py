"""The real shell on a real terminal, driven as a person would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
from contextlib import nullcontext

import numpy as np
import pexpect
import pytest

import gridflow
from gridflow.server import ServerProcess

ENTER, CTRL_C, CTRL_D, UP, TAB = "\r", "\x03", "\x04", "\x1b[A", "\t"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>].?|\r")
# prompt_toolkit switches bracketed paste on while it reads, and shows the cursor once it is ready for keys.
_READS, _READY, _RUNS = r"\x1b\[\?2004h", r"\x1b\[\?25h", r"\x1b\[\?2004l"


ENDLESS = "from range(1000000) a, range(1000000) b where (a.range * b.range) % 7 = 3"


class Shell:
    """A `gridflow sql` on a pseudo-terminal."""

    def __init__(self, home, state, dimensions=(50, 200), **variables):
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "XDG_STATE_HOME": str(state),
            "PROMPT_TOOLKIT_NO_CPR": "1",  # nobody here answers where the cursor is
            **variables,
        }
        command = ["-m", "gridflow", "sql", "--home", str(home), "--create"]
        self.child = pexpect.spawn(
            sys.executable, command, env=environment, encoding="utf-8", dimensions=dimensions, timeout=90
        )
        self.greeting = self.ready()

    def ready(self) -> str:
        """Wait for a prompt; what was printed before it, without colours."""
        self.child.expect(_READS)
        printed = _ESCAPES.sub("", self.child.before)
        self.child.expect(_READY)
        self.prompt = _ESCAPES.sub("", self.child.before)
        return printed

    def ask(self, text: str) -> str:
        """Type something, and return what is printed until the next prompt."""
        self.child.send(text)
        self.child.expect(_RUNS)
        return self.ready()

    def leave(self, text: str) -> int:
        """Type something that ends the shell, and return its exit code."""
        self.child.send(text)
        self.child.expect(pexpect.EOF)
        self.last = _ESCAPES.sub("", self.child.before)
        self.child.close()
        return self.child.exitstatus


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "grid"
    yield home
    with gridflow.connect(home) as grid:
        assert grid.owner
        assert grid.check() == []


@pytest.fixture
def shell(home, tmp_path):
    shells = []

    def start(**options) -> Shell:
        shells.append(Shell(home, tmp_path / "state", **options))
        return shells[-1]

    yield start
    for shell in shells:
        shell.child.close(force=True)


def cancel(sql: Shell, statement: str) -> None:
    """Run a statement that never ends, and press Ctrl-C until it does."""
    printed = ""
    while "cancelled" not in printed:  # a signal that comes just before it runs only ends its line
        sql.child.send(statement + ENTER)
        sql.child.expect(_RUNS)
        while sql.child.expect([_READS, pexpect.TIMEOUT], timeout=0.5) == 1:
            sql.child.kill(signal.SIGINT)
        printed = _ESCAPES.sub("", sql.child.before)
        sql.child.expect(_READY)


def test_a_session(shell, home):
    sql = shell()
    assert str(home) in sql.greeting and "!help" in sql.greeting
    assert "CREATE TABLE" in sql.ask("create table kittens (id long primary key, name varchar, p uint8[2,2]);" + ENTER)
    assert "2 rows" in sql.ask("insert into kittens (id, name) values (1, 'WARM'), (2, 'SOFT');" + ENTER)
    shown = sql.ask(f"select id, name{ENTER}from kittens{ENTER}order by id;{ENTER}")
    assert "│  1 │ WARM │" in shown and "│  2 │ SOFT │" in shown and "2 rows in 0." in shown
    assert "KITTENS" in sql.ask("!tables" + ENTER)
    assert "UINT8[2,2]" in sql.ask("\\d kittens" + ENTER)
    assert sql.leave(CTRL_D) == 0


def test_an_error_is_one_message_and_the_session_goes_on(shell):
    sql = shell()
    shown = sql.ask("selct 1;" + ENTER)
    assert "error: " in shown and "did you mean SELECT" in shown and "^" in shown
    assert "Traceback" not in shown
    assert "did you mean !tables" in sql.ask("!tabels" + ENTER)
    assert "│   2 │" in sql.ask("select 1 + 1 as two;" + ENTER)
    assert sql.leave("\\q" + ENTER) == 0


def test_control_c_clears_the_line(shell):
    sql = shell()
    assert sql.ask("select 'a line that is never run" + CTRL_C) == ""
    assert "│   1 │" in sql.ask("select 1 as one;" + ENTER)
    assert sql.leave("!quit" + ENTER) == 0


def test_control_c_cancels_a_query_and_keeps_the_session(shell):
    sql = shell()
    cancel(sql, f"select count(*) {ENDLESS};")
    assert "│   1 │" in sql.ask("select 1 as one;" + ENTER)
    assert sql.leave(CTRL_D) == 0


def test_control_c_cancels_a_change_at_a_server(shell, home):
    with ServerProcess(home):
        sql = shell()
        sql.ask("create table t (id long primary key);" + ENTER)
        cancel(sql, f"insert into t select a.range {ENDLESS};")
        assert "│ 0 │" in sql.ask("select count(*) as n from t;" + ENTER)
        assert "1 row" in sql.ask("insert into t values (1);" + ENTER)
        assert sql.leave(CTRL_D) == 0


def test_a_high_result_goes_to_the_pager_and_control_c_there_is_the_pagers(shell, tmp_path):
    pager = tmp_path / "pager"
    pager.write_text(
        "import signal, sys\nsignal.signal(signal.SIGINT, lambda *_: print('PAGER INTERRUPTED', flush=True))\n"
        "lines = sys.stdin.read().splitlines()\nprint('PAGER GOT', len(lines), flush=True)\n"
        "open('/dev/tty').readline()\n"
    )
    sql = shell(dimensions=(20, 80), PAGER=shlex.join([sys.executable, str(pager)]))
    assert "PAGER" not in sql.ask("select 1 as one;" + ENTER)
    sql.child.send("select * from range(100);" + ENTER)
    sql.child.expect("PAGER GOT 104")
    sql.child.send(CTRL_C)
    sql.child.expect("PAGER INTERRUPTED")
    sql.child.send(ENTER)
    assert "100 rows" in sql.ready()
    assert "more rows" not in sql.ask("!set pager off" + ENTER)
    assert "PAGER" not in sql.ask("select * from range(100);" + ENTER)
    assert sql.leave(CTRL_D) == 0


def test_a_pager_that_is_left_early_ends_nothing(shell):
    sql = shell(dimensions=(20, 80), PAGER="head -n 3")
    assert "1,000,000 rows" in sql.ask("select * from range(1000000);" + ENTER)
    assert sql.leave(CTRL_D) == 0


def test_less_is_the_pager_where_nothing_else_is_said(shell):
    if shutil.which("less") is None:
        pytest.skip("there is no less")
    sql = shell(dimensions=(20, 80), PAGER="less")
    sql.child.send("select range as number from range(100);" + ENTER)
    sql.child.expect("NUMBER")
    sql.child.expect(":")
    sql.child.send("G")
    sql.child.expect("99")
    sql.child.send("q")
    assert "100 rows" in sql.ready()
    assert sql.leave(CTRL_D) == 0


def test_images_are_drawn_in_colours(shell, home):
    with gridflow.connect(home) as grid:
        images = grid.create_table("IMAGES", {"ID": "LONG", "P": "UINT8[2,2,3]", "LABEL": "INT"}, key="ID")
        images.put(1, {"P": np.array([[[1, 2, 3]] * 2, [[4, 5, 6]] * 2], np.uint8), "LABEL": 7})
    sql = shell(COLORTERM="truecolor")
    sql.child.send("!show images 1" + ENTER)
    sql.child.expect("1  LABEL 7")
    sql.child.expect_exact("\x1b[38;2;1;2;3;48;2;1;2;3m" + "▀" * 32)  # each of its pixels is 16 high
    sql.ready()
    assert sql.leave(CTRL_D) == 0


def test_passwords_are_not_kept_in_the_history(shell, tmp_path):
    sql = shell()
    sql.ask("create user anna with password 'secret';" + ENTER)
    sql.ask("select 1 as one;" + ENTER)
    assert "secret" in sql.ask("!history" + ENTER)  # of this session
    assert sql.leave(CTRL_D) == 0
    kept = (tmp_path / "state" / "gridflow" / "history").read_text()
    assert "select 1 as one" in kept and "create user anna" in kept and "secret" not in kept


def test_rows_that_are_piped_away_leave_the_prompt_on_the_terminal(home, tmp_path):
    command = f"{shlex.quote(sys.executable)} -m gridflow sql --home {home} --create --format csv > {tmp_path}/rows"
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}
    child = pexpect.spawn("/bin/sh", ["-c", command], env=environment, encoding="utf-8", timeout=90)
    child.expect("gridflow>")
    child.expect(_READY)
    child.send("select range as n from range(500);" + ENTER)
    child.expect("500 rows in")
    child.expect(_READY)
    child.send(CTRL_D)
    child.expect(pexpect.EOF)
    assert (tmp_path / "rows").read_text().splitlines() == ["N", *map(str, range(500))]


@pytest.mark.parametrize("served", [False, True])
def test_the_prompt_shows_that_a_transaction_is_open(shell, home, served):
    with ServerProcess(home) if served else nullcontext():
        sql = shell()
        sql.ask("create table t (id long primary key);" + ENTER)
        sql.ask("begin;" + ENTER)
        assert "gridflow*>" in sql.prompt
        sql.ask("insert into t values (1);" + ENTER)
        assert "│ 1 │" in sql.ask("select count(*) as n from t;" + ENTER)
        sql.ask("rollback;" + ENTER)
        assert "gridflow>" in sql.prompt
        assert "│ 0 │" in sql.ask("select count(*) as n from t;" + ENTER)
        sql.ask("begin; insert into t values (2); commit; begin; insert into t values (3);" + ENTER)
        assert sql.leave(CTRL_D) == 0
        assert "not committed: nothing of it is kept" in sql.last
    with gridflow.connect(home) as grid:
        assert list(grid.table("T")) == [2]


def test_tab_completes_a_table(shell):
    sql = shell()
    sql.ask("create table kittens (id long primary key);" + ENTER)
    sql.child.send("select count(*) as n from kit")
    sql.child.expect("KITTENS")  # the menu
    assert "│ 0 │" in sql.ask(TAB + ";" + ENTER)
    assert sql.leave(CTRL_D) == 0


def test_history_outlives_the_session(shell, tmp_path):
    first = shell()
    first.ask("select 41 + 1 as answer;" + ENTER)
    assert first.leave(CTRL_D) == 0
    history = tmp_path / "state" / "gridflow" / "history"
    assert history.stat().st_mode & 0o777 == 0o600
    second = shell()
    assert "42" in second.ask(UP + ENTER)
    assert second.leave(CTRL_D) == 0


def test_a_shell_on_a_served_grid_outlives_the_server(shell, home):
    with ServerProcess(home) as server:
        sql = shell()
        sql.ask("create table t (id long primary key);" + ENTER)
        assert "1 row" in sql.ask("insert into t values (1);" + ENTER)
        server.kill()
        shown = sql.ask("insert into t values (2);" + ENTER)
        assert "error: " in shown and "gridflow serve" in shown and "Traceback" not in shown
        with ServerProcess(home):
            assert "1 row" in sql.ask("insert into t values (3);" + ENTER)
            assert "│ 2 │" in sql.ask("select count(*) as n from t;" + ENTER)
            assert sql.leave(CTRL_D) == 0


def test_load_draws_a_progress_bar_on_a_terminal(home, tmp_path):
    (tmp_path / "people.csv").write_text("id,name\n" + "".join(f"{i},n{i}\n" for i in range(1000)))
    command = ["-m", "gridflow", "load", str(tmp_path / "people.csv"), "PEOPLE", "--key", "id", "--create"]
    child = pexpect.spawn(sys.executable, [*command, "--home", str(home)], encoding="utf-8", dimensions=(50, 200))
    child.expect(pexpect.EOF, timeout=90)
    shown = _ESCAPES.sub("", child.before)
    assert "people.csv" in shown and "100%" in shown and "1,000 rows" in shown
    assert "PEOPLE: 1,000 rows loaded" in shown
