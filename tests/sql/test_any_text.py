"""Whatever stands in a text, an error of ours comes out or a result: statements of a corpus, changed at random."""

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gridflow

CORPUS = [
    "SELECT ID, UPPER(S) || 'x' FROM T WHERE ID IN (1, 2) AND NOT S LIKE 'a%' ORDER BY 2 DESC LIMIT 3 OFFSET 1",
    "SELECT COUNT(*), SUM(D) FROM T A JOIN T B USING (ID) GROUP BY A.S HAVING COUNT(*) > 0",
    "WITH Q AS (SELECT * FROM T) SELECT CASE WHEN A IS NULL THEN 1 ELSE -A END FROM Q UNION ALL SELECT 1.5e3",
    "SELECT X[1], M['k'], R.A, [1, 2], {'a': 1}, MAP {'b': 2} FROM T WHERE TS > TIMESTAMP '2020-01-01 00:00:00'",
    "SELECT LIST_TRANSFORM(X, V -> V / A) OVER_, ROW_NUMBER() OVER (PARTITION BY S ORDER BY ID) FROM T",
    "INSERT INTO T (ID, A, S, D, B) VALUES (1, 2, 'it''s', 1.25, x'00FF'), (2, NULL, DEFAULT, -1e2, x'')",
    "MERGE INTO T (ID, A) KEY (ID) VALUES (1, 5), (2, 6)",
    "MERGE INTO T USING (VALUES (1, 2)) V (I, J) ON T.ID = V.I WHEN MATCHED THEN UPDATE SET A = J",
    "UPDATE T SET A = A + 1, (S, D) = ('x', 2) WHERE ID BETWEEN 1 AND 2",
    "DELETE FROM T WHERE U = '00000000-0000-0000-0000-000000000001' OR DT < DATE '2020-02-29'",
    "CREATE TABLE N (ID INT, K VARCHAR(10), V DECIMAL(10, 2) DEFAULT 1.5, Z UINT8[2,3], PRIMARY KEY (ID, K)) "
    'WITH "PARTITIONS=8,BACKUPS=1"',
    "CREATE TABLE N PRIMARY KEY (ID) AS SELECT ID, A FROM T",
    "CREATE INDEX I ON T (A DESC, S) INLINE_SIZE 10",
    "ALTER TABLE T ADD COLUMN (C1 INT DEFAULT 1, C2 STRUCT<A INT, B LIST<VARCHAR>>)",
    "EXPLAIN SELECT * FROM T WHERE A = 5; SHOW TABLES; DESCRIBE T; ANALYZE T WITH 'SIZE=1'",
    "SELECT * FROM SYS.TABLES WHERE TABLE_NAME = 'T'; SELECT * FROM T PIVOT (SUM(A) FOR S IN ('a', 'b'))",
    "CREATE USER kate WITH PASSWORD 'warm'; DROP USER IF EXISTS kate",
    "SELECT ?, ?2, :name, $1, E'a\\n', $$x$$, 0x1F, 1_000, INTERVAL '1' DAY, '1'::INT, CAST(1 AS FLOAT)",
]
PIECES = [
    *"( ) [ ] { } < > , ; ' \" $$ -- /* */ :: -> ? : . * - + / % || = @ # ` \\ é ٣ ² \U0001f600".split(),
    *"NULL|NOT |SELECT | FROM | WHERE | IN | AS | CASE | END | UNION | VALUES | JOIN ".split("|"),
    *("\n", "\x00", "\ud800", "\u2028"),
    *("9" * 25, "9" * 5000, "1e999999999", "1e", "0x", "x'zz'", "-9223372036854775809", "'2020-02-30'", "LIMIT 1e30"),
]


@st.composite
def changed(draw):
    """A statement of the corpus with a few pieces put in, left out, doubled or moved."""
    text = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 4))):
        begin, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        end = min(end, begin + 12)
        piece = draw(st.sampled_from(PIECES) | st.sampled_from(CORPUS) | st.text(max_size=3))
        how = draw(st.sampled_from(["put", "replace", "cut", "double"]))
        text = {
            "put": text[:begin] + piece + text[begin:],
            "replace": text[:begin] + piece + text[end:],
            "cut": text[:begin] + text[end:],
            "double": text[:end] + text[begin:end] * 3 + text[end:],
        }[how]
    return text


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    with gridflow.connect(tmp_path_factory.mktemp("any") / "grid") as grid:
        yield grid


def run(grid, text):
    if "T" not in grid.tables():
        grid.sql(
            "CREATE TABLE T (ID INT PRIMARY KEY, A INT, S VARCHAR, D DECIMAL(10,2), B BINARY, DT DATE, TS TIMESTAMP, "
            "U UUID, X LIST<INT>, M MAP<VARCHAR, INT>, R STRUCT<A INT>)"
        )
        grid.sql("INSERT INTO T (ID, A, S) VALUES (1, 2, 'a'), (2, 3, 'b')")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for params in (None, [1, 2], {"name": 1}):
            try:
                grid.sql(text, params)
            except gridflow.InternalError:
                raise
            except gridflow.GridflowError as error:
                assert str(error)
    if "N" in grid.tables():
        grid.drop_table("N")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changed())
def test_any_text_is_run_or_refused(grid, text):
    run(grid, text)


@pytest.mark.long
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@given(changed())
def test_many_texts_are_run_or_refused(grid, text):
    run(grid, text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM T LIMIT 9223372036854775808",
        "SELECT * FROM T WHERE ID = " + "9" * 5000,
        "INSERT INTO T (ID) VALUES (-" + "9" * 5000 + ")",
        "INSERT INTO T (ID) VALUES (1e)",
        "SELECT * FROM T WHERE B = x'٣٣'",
        "SELECT x'" + "AA" * 16 + "'::UUID",
        'CREATE TABLE N (ID INT PRIMARY KEY) WITH "PARTITIONS=²"',
        'CREATE TABLE N (ID INT PRIMARY KEY) WITH "PARTITIONS=' + "9" * 5000 + '"',
        "CREATE TABLE N (ID INT PRIMARY KEY, A UINT8[2147483648])",
        "CREATE TABLE N (ID INT PRIMARY KEY, A UINT8[" + "9" * 5000 + "])",
        "COPY FROM '/nowhere' INTO T SKIP " + "9" * 5000,
        "COPY FROM '/nowhere' INTO T CHARSET 'a\0b'",
        "COPY T TO 'a\0b' FORMAT CSV",
        "SELECT '\ud800'",
        "CREATE USER \"\ud800\" WITH PASSWORD 'a'",
        "SELECT ?" + "9" * 5000,
    ],
    ids=lambda text: ascii(text[:50]),
)
def test_odd_literals(grid, text):
    run(grid, text)
