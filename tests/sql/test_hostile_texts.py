"""Texts made to keep a server busy: the time that each takes grows with its length, not with its square."""

from time import monotonic

import pytest

import gridflow
from gridflow.cli.shell.completion import SqlCompleter
from gridflow.sql.execution.errors import clean
from gridflow.sql.grammar.date_patterns import java_format, oracle_format
from gridflow.sql.text.cutter import first_word, open_quote, split_statements
from gridflow.sql.text.secrets import hide_passwords

N = 100_000
#: Squares of these lengths take minutes.
PATIENCE = 10

HOSTILE = [
    "PASSWORD" + " " * N,
    "IDENTIFIED" + " " * N,
    "PASSWORD = " * (N // 10),
    "PASSWORD'" * (N // 10),
    "IDENTIFIED BY" * (N // 10),
    "USER" + "/*" * (N // 2),
    "CREATE USER " + "/*" * (N // 2),
    "CREATE USER " + "/**/" * (N // 4),
    "CREATE USER kate " + "'" * (N + 1),
    "CREATE USER kate " + '"' * (N + 1),
    "CREATE USER kate PASSWORD " + "$a" * (N // 2),
    "CREATE USER " + "a " * (N // 2),
    "USER;" * (N // 5),
    "E'\\" * (N // 3) + " USER",
    "USER" + "\n" * N,
    "USER" + "-" * N,
    "USER " + "a" * N + "!",
    "/* " * (N // 6) + "*/ " * (N // 6) + "USER",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:30]))
def test_a_text_is_read_in_one_pass(text):
    begin = monotonic()
    assert len(hide_passwords(text)) == len(text)
    split_statements(text)
    open_quote(text)
    first_word(text)
    assert monotonic() - begin < PATIENCE


def test_a_password_that_begins_with_quotes_shows_none_of_them():
    assert hide_passwords("CREATE USER kate WITH PASSWORD '''x'") == "CREATE USER kate WITH PASSWORD '***'"


@pytest.mark.parametrize(
    "literal", ["\n" * N, "Table with name " * (N // 16), "LINE 1: " * (N // 8), "\nLINE 1:" * 9999]
)
def test_the_engines_message_about_a_long_literal_is_read_in_one_pass(tmp_path, literal):
    begin = monotonic()
    with gridflow.connect(tmp_path / "grid") as grid, pytest.raises(gridflow.SqlError):
        grid.sql(f"SELECT CAST('{literal}' AS INT)")
    clean(f"Conversion Error: {literal}")
    assert monotonic() - begin < PATIENCE


@pytest.mark.parametrize("pattern", ["'" * (N + 1), '"' * (N + 1), "y" * N, "'a" * (N + 1)])
@pytest.mark.parametrize("read", [java_format, oracle_format])
def test_a_pattern_of_dates_is_read_in_one_pass(read, pattern):
    begin = monotonic()
    try:
        read(pattern)
    except gridflow.SqlError:
        pass
    assert monotonic() - begin < PATIENCE


def test_a_long_word_before_the_cursor_is_completed_in_one_pass(tmp_path):
    from prompt_toolkit.document import Document

    class Session:
        grid = gridflow.connect(tmp_path / "grid")

    begin = monotonic()
    with Session.grid:
        for text in ("SELECT " + "a" * N + " ", "SELECT * FROM " + "a" * N):
            assert not list(SqlCompleter(Session()).get_completions(Document(text), None))
    assert monotonic() - begin < PATIENCE
