"""Cutting texts into statements, and pointing into them."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlglot.tokens import TokenType

from gridflow import GridEnvironmentError, SqlError
from gridflow.sql import is_query, split_statements
from gridflow.sql.grammar import statements
from gridflow.sql.grammar.dialect import parse, to_duckdb, tokenize
from gridflow.sql.text.cutter import open_quote
from gridflow.sql.text.places import syntax_error


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';', \";\" ; b", ["SELECT ';', \";\"", "b"]),
        ("SELECT 'it''s;'; x", ["SELECT 'it''s;'", "x"]),
        ("-- a; b\nSELECT 1 -- c;\n; /* d; /* e; */ ; */ x", ["SELECT 1", "x"]),
        ("SELECT $$a;b$$; SELECT $t$;$t$", ["SELECT $$a;b$$", "SELECT $t$;$t$"]),
        ("SELECT 1 /* inside; */ + 2; x", ["SELECT 1 /* inside; */ + 2", "x"]),
        (" ;; \n; -- nothing", []),
        ("SELECT\u00a0$$a;b$$;\u2003x", ["SELECT\u00a0$$a;b$$", "x"]),  # white space, though not ASCII's
        ("", []),
    ],
)
def test_statements_are_cut_at_semicolons_outside_quotes_and_comments(text, statements):
    found = split_statements(text)
    assert [s.text for s in found] == statements
    assert all(text[s.start : s.end] == s.text for s in found)


PIECES = [" ", "\n", "\xa0", "\u2003", "\t"]
PIECES += r"""
    SELECT x 1.5 $$ $t$ ' '' " "" ; -- /* */ /*+ # // - / \ e' E'\\' x'0a' ? :n :: { } [ ] ( ) , @ ~ % ` ä € 1
    | || < > = ! & ^ + * .
""".split()


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@settings(max_examples=1500, deadline=None, derandomize=True)
def test_the_cutter_and_the_tokenizer_agree_where_statements_end(text):
    assume(open_quote(text) == len(text))  # something that is never closed is an error in any case
    assume("/*/" not in text)  # in which the tokenizer sees a comment that ends where it begins
    try:
        tokens = tokenize(text)
    except SqlError:
        return
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token.token_type is TokenType.SEMICOLON:
            parts.append([])
        else:
            parts[-1].append(token.text)
    each = list(statements.tokens_of_each(text, text))
    assert [[token.text for token in part] for _, part in each] == [part for part in parts if part]
    assert [statement for statement, _ in each] == split_statements(text)
    assert all(s.start <= token.start and token.end < s.end for s, part in each for token in part)


@pytest.mark.parametrize(
    ("text", "complete"),
    [("SELECT 1;", True), ("SELECT 1", False), ("SELECT 'a;", False), ("SELECT 1 /* ;", False), ('SELECT "a;', False)],
)
def test_a_shell_can_tell_whether_a_statement_goes_on(text, complete):
    (statement,) = split_statements(text)
    assert statement.complete == complete


def test_a_statement_knows_its_line_and_column():
    first, second = split_statements("SELECT 1;\n\n  SELECT\n2;")
    assert (first.line, first.column, second.line, second.column) == (1, 1, 3, 3)


@given(st.text(alphabet="a'\";-*/$\n ", max_size=30))
def test_any_text_can_be_cut(text):
    found = split_statements(text)
    assert all(text[s.start : s.end] == s.text and s.text.strip() for s in found)
    assert all(one.end <= other.start for one, other in zip(found, found[1:], strict=False))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("select 1", True),
        ("  /* x */ -- y\n (SELECT 1)", True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", True),
        ("VALUES (1)", True),
        ("show tables", True),
        ("EXPLAIN SELECT 1", True),
        ("INSERT INTO T SELECT 1", False),
        ("MERGE INTO T VALUES (1)", False),
        ("", False),
    ],
)
def test_queries_are_told_from_changes(text, query):
    assert is_query(text) == query


def test_an_error_points_into_a_long_line():
    text = "SELECT " + "a, " * 100 + "oops"
    shown = str(syntax_error(text, text.index("oops"), "here", 4)).split("\n")
    assert shown[0] == f"line 1, column {text.index('oops') + 1}: here"
    assert shown[1][shown[2].index("^") :][:4] == "oops"
    assert shown[2].strip() == "^^^^"


@pytest.mark.parametrize(
    ("ignite", "duckdb"),
    [
        ('SELECT a, "b" FROM t', 'SELECT "A", "b" FROM "T"'),
        ("SELECT CAST(a AS LONG), CAST(a AS INT8)", 'SELECT CAST("A" AS BIGINT), CAST("A" AS TINYINT)'),
        ("SELECT CAST(a AS FLOAT), CAST(a AS REAL)", 'SELECT CAST("A" AS DOUBLE), CAST("A" AS REAL)'),
        ("SELECT a FROM t ORDER BY a", 'SELECT "A" FROM "T" ORDER BY "A" NULLS FIRST'),
        ("SELECT a FROM t ORDER BY a DESC", 'SELECT "A" FROM "T" ORDER BY "A" DESC'),
        ("SELECT a FROM t MINUS SELECT b FROM u", 'SELECT "A" FROM "T" EXCEPT SELECT "B" FROM "U"'),
        ("SELECT X'0aF'", "SELECT UNHEX('00aF')"),
        ("SELECT {'k': a}", "SELECT {'k': \"A\"}"),
    ],
)
def test_ignite_becomes_duckdb(ignite, duckdb):
    assert to_duckdb(parse(tokenize(ignite), ignite)) == duckdb


def test_what_cannot_be_parsed_is_an_sql_error_and_never_anything_else():
    words = [
        "SELECT",
        "FROM",
        "T",
        "(",
        ")",
        ",",
        "*",
        "WHERE",
        "=",
        "1",
        "'a'",
        "AS",
        "JOIN",
        "ON",
        "[",
        "{",
        ":x",
        "?",
    ]
    for i, first in enumerate(words):
        for second in words:
            text = " ".join(["SELECT 1", first, second, words[(i * 7) % len(words)]])
            try:
                parse(tokenize(text), text)
            except SqlError as error:
                assert "line 1, column" in str(error)


def test_a_compiled_sqlglot_is_named(monkeypatch):
    monkeypatch.setattr("gridflow.sql.grammar.dialect._IS_COMPILED", True)
    with pytest.raises(GridEnvironmentError, match="pip uninstall sqlglotc"):
        parse(tokenize("SELECT 1"), "SELECT 1")
