"""What the text files cannot say: parameters, the values and types of results, what is read and what is not."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import threading
import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import gridflow
from gridflow import ColumnNotFoundError, DuplicateKeyError, SchemaError, SqlError, Table
from gridflow.sql import result, session
from gridflow.sql.engine import connection as engine
from gridflow.sql.execution.rows import take_rows
from gridflow.sql.grammar import statements
from gridflow.transaction import TransactionTable

IMAGES = "CREATE TABLE IMAGES (ID LONG PRIMARY KEY, LABEL INT, NAME VARCHAR, PIXELS UINT8[4,3])"


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        yield grid
        assert grid.check() == []


@pytest.fixture
def images(grid):
    """100 images in two segments and the log."""
    grid.sql(IMAGES)
    table = grid.table("IMAGES")
    pixels = np.arange(100 * 12, dtype="uint8").reshape(100, 4, 3)
    for part in (range(0, 50), range(50, 90)):
        ids = np.array(part)
        table.load({"ID": ids, "LABEL": ids % 10, "NAME": [f"n{i}" for i in ids], "PIXELS": pixels[ids]})
    for i in range(90, 100):
        grid.sql("INSERT INTO IMAGES VALUES (?, ?, ?, ?)", [i, i % 10, f"n{i}", pixels[i]])
    return table


@pytest.fixture
def reads(monkeypatch):
    """The columns of each call that reads all rows."""
    seen = []
    addressed = TransactionTable._addressed

    def read_addressed(self, columns):
        seen.append(list(columns))
        return addressed(self, columns)

    monkeypatch.setattr(TransactionTable, "_addressed", read_addressed)
    for cls in (Table, TransactionTable):
        for name, original in (("to_arrow", cls.to_arrow), ("_mapped", cls._mapped)):

            def read(self, columns=None, original=original):
                seen.append(None if columns is None else list(columns))
                return original(self, columns)

            monkeypatch.setattr(cls, name, read)
    return seen


# ---- parameters ----


def test_positional_parameters_keep_the_text_order(grid, images):
    rows = grid.sql("SELECT ?, ID FROM IMAGES WHERE LABEL = ? ORDER BY ID LIMIT ? OFFSET ?", ("x", 3, 2, 1))
    assert rows.fetchall() == [("x", 13), ("x", 23)]


def test_named_parameters_may_be_used_twice(grid, images):
    rows = grid.sql("SELECT ID FROM IMAGES WHERE ID IN (:a, :a + 1) AND LABEL < :b ORDER BY ID", {"a": 5, "b": 9})
    assert rows.fetchall() == [(5,), (6,)]


def test_a_function_that_doubles_its_argument_still_has_one_parameter(grid):
    assert grid.sql("SELECT LOCATE(?, ?, ?)", ["b", "abcb", 3]).fetchall() == [(4,)]


def test_statements_of_one_text_share_the_parameters(grid):
    text = "CREATE TABLE T (ID INT PRIMARY KEY); INSERT INTO T VALUES (?), (?); SELECT ID + ? FROM T ORDER BY ID"
    assert grid.sql(text, [1, 2, 10]).fetchall() == [(11,), (12,)]
    assert grid.sql("INSERT INTO T VALUES (:x); DELETE FROM T WHERE ID < :y", {"x": 3, "y": 3}).rowcount == 2


def test_numbered_parameters_may_be_used_twice_and_in_any_order(grid):
    assert grid.sql("SELECT ?2, ?1, ?2 || ?1", ["a", "b"]).fetchall() == [("b", "a", "ba")]
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, N INT)")
    text = "INSERT INTO T VALUES (?2, ?1); SELECT N FROM T WHERE ID = ?2 AND N = ?1"
    assert grid.sql(text, [10, 1]).fetchall() == [(10,)]
    for _ in range(2):
        assert grid.sql("SELECT ID FROM T WHERE ID = ?2", ["unused", 1]).fetchall() == [(1,)]


def test_parameters_of_one_statement_stand_in_all_its_parts(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, NAME VARCHAR, N INT); INSERT INTO T VALUES (1, 'a', 1), (2, 'b', 2)")
    text = """MERGE INTO T USING (VALUES (?, ?), (?, ?)) AS S(A, B) ON T.ID = S.A AND T.N < ?
        WHEN MATCHED AND B <> ? THEN UPDATE SET NAME = B || ? WHEN NOT MATCHED THEN INSERT VALUES (A, ?, DEFAULT)"""
    assert grid.sql(text, [1, "one", 3, "three", 9, "none", "!", "new"]).rowcount == 2
    named = "UPDATE T SET (NAME, N) = (SELECT NAME || :x, N + :y FROM T X WHERE X.ID = :id) WHERE ID IN (:id, 99)"
    assert grid.sql(named, {"x": "?", "y": 10, "id": 2}).rowcount == 1
    assert grid.sql("CREATE TABLE C PRIMARY KEY (ID) AS SELECT * FROM T WHERE ID < ?", [3]).rowcount == 2
    assert grid.sql("SELECT * FROM C ORDER BY ID").fetchall() == [(1, "one!", 1), (2, "b?", 12)]
    assert grid.sql("SELECT NAME, N FROM T WHERE ID = 3").fetchall() == [("new", None)]


def test_whole_rows_are_parameters(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, NAME VARCHAR, PIX UINT8[2])")
    pixels = np.array([1, 2], "uint8")
    for key, value in ((1, {"NAME": "a", "PIX": pixels}), (2, {"name": "b"})):
        grid.sql("INSERT INTO T (_KEY, _VAL) VALUES (?, ?)", [key, value])
    grid.sql("UPDATE T SET _VAL = ? WHERE _KEY = ?", [{"NAME": "c", "PIX": [3, 4]}, 2])
    (found,) = grid.sql("SELECT PIX FROM T WHERE _KEY = ?", [1]).fetchall()
    assert found[0].tolist() == [1, 2]
    assert grid.table("T").get(2)["NAME"] == "c"
    assert grid.table("T").get(2)["PIX"].tolist() == [3, 4]
    grid.sql("CREATE TABLE P (A INT, B VARCHAR, V INT, PRIMARY KEY (A, B))")
    grid.sql("INSERT INTO P (_KEY, V) VALUES (?, ?)", [(1, "x"), 5])
    assert grid.table("P").get((1, "x")) == {"V": 5}


@pytest.mark.parametrize(
    ("text", "params", "message"),
    [
        ("SELECT ?, ?1", [1, 2], r"either \? or \?1 parameters, not both"),
        ("SELECT ?; SELECT ?1", [1, 2], r"have \? and \?1 parameters: use one kind"),
        ("SELECT ?3", [1, 2], r"the statement has 3 parameters \?, 2 given"),
        ("SELECT ?0", [1], "parameters are numbered from 1, not 0"),
        ("SELECT ?", None, r"the statement has 1 parameter \?, 0 given"),
        ("SELECT ?, ?", [1], r"the statement has 2 parameters \?, 1 given"),
        ("SELECT 1", [1], "the statement has no parameters, 1 given"),
        ("SELECT ?", {"a": 1}, "give a list of values, not a mapping"),
        ("SELECT :a", [1], "the statement has :a; give its parameters as a mapping"),
        ("SELECT :a", None, "no value for parameter :a; given: nothing"),
        ("SELECT :a", {"b": 1}, "no value for parameter :a; given: b"),
        ("SELECT :a", {"a": 1, "b": 1}, "no parameter :b in the statement; it has :a"),
        ("SELECT 1", {"a": 1}, "no parameter :a in the statement; it has none"),
        ("SELECT ?, :a", [1], r"either \? or :name parameters, not both"),
        ("SELECT ?", "x", "params is a str; give a list or tuple"),
        ("SELECT ?", 5, "params is a int; give a list or tuple"),
    ],
)
def test_wrong_parameters_are_told(grid, text, params, message):
    with pytest.raises(SqlError, match=message):
        grid.sql(text, params)


VALUES = {
    "INT8": -5,
    "UINT64": 2**64 - 1,
    "FLOAT32": 1.5,
    "DOUBLE": 1e-300,
    "BOOL": True,
    "DECIMAL(10,3)": decimal.Decimal("12.345"),
    "VARCHAR": "ünï\x00'\"",
    "BINARY": b"\x00\xff",
    "DATE": dt.date(1969, 12, 31),
    "TIME": dt.time(23, 59, 59, 999999),
    "TIMESTAMP": dt.datetime(2020, 1, 2, 3, 4, 5, 6),
    "TIMESTAMP_TZ": dt.datetime(2020, 1, 2, tzinfo=dt.timezone.utc),
    "UUID": uuid.UUID(int=2**127 + 5),
    "LIST<INT>": [1, None, 3],
    "STRUCT<A INT, B LIST<VARCHAR>>": {"A": 1, "B": ["x"]},
    "MAP<VARCHAR, INT>": {"k": 1},
    "LIST<UUID>": [uuid.UUID(int=1)],
}


@pytest.mark.parametrize("dtype", VALUES)
def test_a_value_survives_parameters_and_results(grid, dtype):
    value = VALUES[dtype]
    grid.sql(f"CREATE TABLE T (ID INT PRIMARY KEY, V {dtype})")
    grid.sql("INSERT INTO T VALUES (1, ?), (2, NULL)", [value])
    by_scan = grid.sql("SELECT V FROM T WHERE ID + 0 > 0 ORDER BY ID")
    assert by_scan.fetchall() == [(value,), (None,)]
    assert grid.sql("SELECT V FROM T WHERE ID = 1").fetchall() == [(value,)]
    assert list(by_scan) == by_scan.fetchall()
    assert by_scan.to_arrow().schema.field("V").type == grid.table("T").to_arrow(["V"]).schema.field("V").type
    grid.sql("INSERT INTO T SELECT ID + 10, V FROM T")
    assert grid.table("T").get(11) == grid.table("T").get(1)
    grid.sql("UPDATE T SET V = (SELECT V FROM T WHERE ID = 1) WHERE ID = 2")
    assert grid.table("T").get(2) == {"V": value}


def test_numpy_values_are_parameters(grid, images):
    rows = grid.sql("SELECT ID + ?, NAME FROM IMAGES WHERE ID = ?", [np.float32(0.5), np.int64(7)])
    assert rows.fetchall() == [(7.5, "n7")]
    assert grid.sql("SELECT ID FROM IMAGES WHERE PIXELS = ?", [images.get(42)["PIXELS"]]).fetchall() == [(42,)]


# ---- results ----


def test_a_result_knows_its_columns_rows_and_statement(grid, images):
    result = grid.sql("SELECT id, label AS l, COUNT(*) OVER () FROM images WHERE id < 2 ORDER BY id")
    assert (result.columns, result.rowcount, result.statement) == (["ID", "L", "COUNT(*) OVER ()"], 2, "SELECT")
    assert result.fetchall() == [(0, 0, 2), (1, 1, 2)]
    assert result.to_pandas().to_dict("list") == {"ID": [0, 1], "L": [0, 1], "COUNT(*) OVER ()": [2, 2]}
    changed = grid.sql("DELETE FROM IMAGES WHERE ID < 3")
    assert (changed.columns, changed.rowcount, changed.statement) == ([], 3, "DELETE")
    assert (changed.fetchall(), changed.to_arrow().num_columns, repr(changed)) == ([], 0, "DELETE: 3 rows")


def test_a_result_shows_itself(grid, images):
    shown = repr(grid.sql("SELECT ID, NAME, PIXELS, NULL AS N FROM IMAGES WHERE ID IN (1, 2) ORDER BY ID"))
    assert shown == (
        "ID | NAME | PIXELS                            | N\n"
        "---+------+-----------------------------------+-----\n"
        " 1 | n1   | uint8[4, 3] [12, 13, 14, 15, ...] | NULL\n"
        " 2 | n2   | uint8[4, 3] [24, 25, 26, 27, ...] | NULL\n"
        "(2 rows)"
    )
    assert repr(grid.sql("SELECT ID FROM IMAGES")).endswith("... 80 more\n(100 rows)")


def test_tensors_come_as_arrays_of_their_shape(grid, images):
    for text in ("SELECT PIXELS FROM IMAGES WHERE ID = 5", "SELECT PIXELS FROM IMAGES WHERE ID + 0 = 5"):
        ((pixels,),) = grid.sql(text).fetchall()
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, np.arange(60, 72).reshape(4, 3))
    frame = grid.sql("SELECT PIXELS FROM IMAGES WHERE ID < 3 ORDER BY ID").to_pandas()
    assert [p.shape for p in frame["PIXELS"]] == [(4, 3)] * 3


def test_two_result_columns_may_have_one_name(grid, images):
    result = grid.sql("SELECT A.ID, B.ID FROM IMAGES A JOIN IMAGES B ON A.ID + 1 = B.ID WHERE A.ID = 3")
    assert result.columns == ["ID", "ID"]
    assert result.fetchall() == [(3, 4)]
    assert result.to_pandas().shape == (1, 2)


# ---- what is read ----


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("SELECT COUNT(*) FROM IMAGES", None),
        ("SELECT COUNT(*) + 0 FROM IMAGES", ["ID"]),
        ("SELECT AVG(LABEL) FROM IMAGES", ["LABEL"]),
        ("SELECT NAME FROM IMAGES WHERE LABEL = 1", ["LABEL", "NAME"]),
        ("SELECT COUNT(*) FROM (SELECT LABEL FROM IMAGES) X", ["LABEL"]),
        ("SELECT I.* FROM IMAGES I WHERE LABEL < 0", ["ID", "LABEL", "NAME", "PIXELS"]),
        ("UPDATE IMAGES SET LABEL = 3 WHERE ID = 1", None),
        ("SELECT NAME FROM IMAGES WHERE ID = 1", None),
        ("SELECT UPPER(NAME) FROM IMAGES WHERE ID IN (1, 2) AND LABEL = 1", None),
        ("DELETE FROM IMAGES WHERE ID = 1", None),
        ("DELETE FROM IMAGES WHERE LABEL = 1", ["LABEL"]),
        ("UPDATE IMAGES SET NAME = UPPER(NAME) WHERE LABEL = 1", ["LABEL", "NAME"]),
    ],
)
def test_only_needed_columns_are_read_and_none_by_key(grid, images, reads, text, columns):
    grid.sql(text)
    assert reads == ([columns] if columns else [])


def test_a_table_is_read_once_per_statement(grid, images, reads):
    text = "SELECT (SELECT COUNT(*) FROM IMAGES), A.ID FROM IMAGES A JOIN IMAGES B ON A.ID = B.ID WHERE B.LABEL = 1"
    assert len(grid.sql(text)) == 10
    assert reads == [["ID", "LABEL"]]


def test_plain_columns_of_a_table_are_views_of_its_files(grid, images):
    images.flush()
    chunk = grid.sql("SELECT PIXELS AS P FROM IMAGES LIMIT 50").to_arrow().column("P").chunk(0)
    same = images.to_arrow(["PIXELS"]).column("PIXELS").chunk(0)
    assert chunk.storage.values.buffers()[1].address == same.storage.values.buffers()[1].address


@pytest.mark.parametrize("order", ["", "ORDER BY ID", "ORDER BY LABEL DESC, ID"])
def test_tensors_that_only_pass_through_come_late_and_right(grid, images, order):
    grid.sql("DELETE FROM IMAGES WHERE ID IN (3, 13, 63, 93)")
    grid.sql("INSERT INTO IMAGES (ID, LABEL) VALUES (1000, 3)")
    found = grid.sql(f"SELECT PIXELS, ID, UPPER(NAME), PIXELS AS AGAIN FROM IMAGES WHERE LABEL IN (3, 4) {order}")
    assert found.columns == ["PIXELS", "ID", "UPPER(NAME)", "AGAIN"]
    rows = found.fetchall()
    assert len(rows) == 17
    if order == "ORDER BY ID":
        assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    for pixels, key, name, again in rows:
        stored = images.get(key)
        assert name == (stored["NAME"] and stored["NAME"].upper())
        for tensor in (pixels, again):
            assert (tensor is None) if key == 1000 else np.array_equal(tensor, stored["PIXELS"])


def test_rows_are_taken_across_chunks():
    flat = np.arange(10 * 6, dtype="int32")
    kind = pa.fixed_shape_tensor(pa.int32(), [2, 3])
    whole = pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(pa.array(flat), 6))
    column = pa.chunked_array([whole.slice(0, 4), whole.slice(4, 1), whole.slice(5)])
    for rows in ([], [9, 0, 4, 4, 5], [0, 3, 4, 9], [2]):
        taken = take_rows(column, np.array(rows, dtype=np.int64)).combine_chunks()
        assert taken.to_pylist() == whole.take(pa.array(rows, pa.int64())).to_pylist()


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("SELECT A.NAME FROM IMAGES A JOIN L B ON A.LABEL = B.ID WHERE A.ID = 5", ["key", "scan"]),
        ("SELECT A.NAME FROM IMAGES A LEFT JOIN L B ON LABEL = B.ID WHERE A.ID = 5 AND B.ID IN (1, 2)", ["key", "key"]),
        ("SELECT NAME FROM IMAGES WHERE LABEL IN (SELECT ID FROM L WHERE ID = 3 OR ID = 4)", ["scan", "key"]),
        ("WITH X AS (SELECT * FROM IMAGES WHERE ID = 7) SELECT * FROM X JOIN L ON X.LABEL = L.ID", ["scan", "key"]),
        ("SELECT NAME FROM IMAGES WHERE ID = 1 OR (ID = 2 AND LABEL = 2)", ["key"]),
        ("SELECT COUNT(*) FROM IMAGES WHERE ID IN (1, 2, 3) AND NAME <> 'n2'", ["key"]),
        ("SELECT NAME FROM IMAGES WHERE ID = 1 OR LABEL = 2", ["scan"]),
        ("SELECT NAME FROM IMAGES WHERE ID > 1", ["scan"]),
        # ID could be of either table; a table that is asked for twice is read once; the nearest is among all.
        ("SELECT NAME FROM IMAGES, L WHERE ID = 1 AND IMAGES.LABEL = L.ID", None),
        ("SELECT A.NAME FROM IMAGES A JOIN IMAGES B ON A.ID = B.LABEL WHERE A.ID = 1", ["scan"]),
        ("SELECT L.ID FROM IMAGES A ASOF JOIN L ON A.ID >= L.ID WHERE L.ID = 3", ["scan", "scan"]),
        ("SELECT NAME FROM IMAGES USING SAMPLE 5 ROWS", ["scan"]),
    ],
)
def test_explain_says_which_tables_are_read_by_key(grid, images, reads, text, paths):
    grid.sql("CREATE TABLE L (ID INT PRIMARY KEY, TITLE VARCHAR)")
    grid.sql("INSERT INTO L SELECT RANGE, 'l' || RANGE FROM RANGE(10)")
    if paths is None:
        with pytest.raises(SqlError, match="column ID is in more than one table"):
            grid.sql(text)
        return
    plan = [line for (line,) in grid.sql("EXPLAIN " + text).fetchall()][: len(paths)]
    assert ["key" if ": by key (ID), " in line else "scan" for line in plan] == paths
    assert all(": by key" in line or ": scan of 1" in line for line in plan)
    reads.clear()
    grid.sql(text)
    assert len(reads) == paths.count("scan")


def test_a_result_that_was_read_by_key_is_like_any_other(grid, images):
    by_key = grid.sql("SELECT ID, PIXELS, NAME AS N FROM IMAGES WHERE ID IN (5, 6)")
    by_scan = grid.sql("SELECT ID, PIXELS, NAME AS N FROM IMAGES WHERE ID + 0 IN (5, 6) ORDER BY ID")
    assert (by_key.columns, by_key.rowcount, len(by_key)) == (["ID", "PIXELS", "N"], 2, 2)
    assert by_key.to_arrow().schema == by_scan.to_arrow().schema
    assert by_key.to_arrow().equals(by_scan.to_arrow())
    assert repr(by_key) == repr(by_scan)
    assert by_key.to_pandas()["N"].tolist() == ["n5", "n6"]
    assert [row[2] for row in by_key] == ["n5", "n6"]
    limited = grid.sql("SELECT ID FROM IMAGES WHERE ID IN (1, 2, 3) LIMIT ? OFFSET ?", [5, 1])
    assert limited.fetchall() == [(2,), (3,)]
    none = grid.sql("SELECT PIXELS FROM IMAGES WHERE ID = 5000")
    assert (none.fetchall(), none.to_arrow().num_rows, none.to_arrow().schema) == (
        [],
        0,
        images.to_arrow(["PIXELS"]).schema,
    )


def test_floats_of_32_bits_are_shown_with_their_own_digits(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, X REAL, H HALF); INSERT INTO T VALUES (1, 0.1, 0.1), (2, NULL, 2)")
    assert repr(grid.sql("SELECT X, H FROM T WHERE ID = 1")) == "X   | H\n----+----\n0.1 | 0.1\n(1 row)"
    assert repr(grid.sql("SELECT X FROM T WHERE ID > 0 ORDER BY ID")) == "X\n----\n 0.1\nNULL\n(2 rows)"


# ---- plans and caches ----


def test_a_cached_statement_follows_its_table(grid):
    for dtype, value in (("INT", 5), ("VARCHAR", "five")):
        grid.sql(f"CREATE TABLE T (ID INT PRIMARY KEY, V {dtype} DEFAULT {value!r})")
        grid.sql("INSERT INTO T VALUES (1, DEFAULT)")
        grid.sql("INSERT INTO T (ID) VALUES (2)")
        assert grid.sql("SELECT V FROM T WHERE ID > 0").fetchall() == [(value,), (value,)]
        assert grid.sql("SELECT V FROM T WHERE ID = 1").fetchall() == [(value,)]
        assert grid.sql("SELECT V FROM T").fetchall() == [(value,), (value,)]
        grid.sql("DROP TABLE T")


def test_an_insert_that_is_executed_again_takes_what_it_took_at_first(grid):
    grid.sql("CREATE TABLE V (ID INT PRIMARY KEY, N INT, D DOUBLE, NAME VARCHAR DEFAULT 'x')")
    text, named = "INSERT INTO V (N, ID, D) VALUES (?, ?, ?)", "INSERT INTO V (ID, N) VALUES (:id, :n)"
    for i in range(3):  # the first time it is planned
        assert grid.sql(text, [i, i, i + 0.5]).rowcount == 1
        assert grid.sql(text, ["7", str(i + 10), 5]).rowcount == 1  # with casts
        assert repr(grid.sql(named, {"id": i + 20, "n": None})) == "INSERT: 1 row"
        with pytest.raises(DuplicateKeyError, match=f"key {i} already; MERGE INTO V"):
            grid.sql(text, (1, i, 1.0))
        for params, error in (
            ((1, 50, "x"), SchemaError),
            ((1, None, 1.0), SchemaError),
            ((1, 2**40, 1.0), SchemaError),
            ((1, 50), SqlError),
            ((1, 50, 1.0, 1), SqlError),
            ({"a": 1}, SqlError),
            (None, SqlError),
        ):
            with pytest.raises(error):
                grid.sql(text, params)
        with pytest.raises(SqlError, match="no parameter :x"):
            grid.sql(named, {"id": 1, "n": 1, "x": 1})
    rows = grid.sql("SELECT * FROM V ORDER BY ID").fetchall()
    assert rows[:2] == [(0, 0, 0.5, "x"), (1, 1, 1.5, "x")]
    assert rows[3:5] == [(10, 7, 5.0, "x"), (11, 7, 5.0, "x")]
    assert [row[0] for row in rows] == [0, 1, 2, 10, 11, 12, 20, 21, 22]


def test_an_insert_goes_to_the_table_that_has_the_very_name(grid):
    grid.create_table("t", {"ID": "INT"}, key="ID")
    grid.sql("INSERT INTO T VALUES (?)", [1])
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    grid.sql("INSERT INTO T VALUES (?)", [2])
    assert (list(grid.table("t")), list(grid.table("T"))) == ([1], [2])


def test_an_insert_that_is_executed_again_sees_that_the_table_has_other_columns(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, N INT)")
    for i in range(2):
        grid.sql("INSERT INTO T VALUES (?, ?)", [i, i])
        grid.sql("INSERT INTO T (ID, N) VALUES (?, ?)", [i + 10, i])
    grid.alter_table("T", add={"X": "DOUBLE"}, rename={"N": "M"})
    with pytest.raises(SqlError, match="row 1 of VALUES has 2 values for 3 columns, ID, M, X"):
        grid.sql("INSERT INTO T VALUES (?, ?)", [2, 2])
    with pytest.raises(ColumnNotFoundError, match="no column N in T"):
        grid.sql("INSERT INTO T (ID, N) VALUES (?, ?)", [12, 2])
    grid.sql("INSERT INTO T VALUES (?, ?, ?)", [2, 2, 2.5])
    assert grid.sql("SELECT * FROM T WHERE ID IN (1, 2)").fetchall() == [(1, 1, None), (2, 2, 2.5)]


@pytest.mark.parametrize(
    ("kind", "keys", "others"),
    [
        (
            "INT",
            [1, 7, 2],
            [None, True, 1.0, 1.5, "1", 1 << 31, -(1 << 40), decimal.Decimal(2), np.int64(7), [1], b"1"],
        ),
        ("TINYINT", [1, 7, 2], [128, -129, "x", np.uint8(7)]),
        ("VARCHAR", ["a", "b", "1"], [None, 1, b"a", "", np.str_("a")]),
    ],
)
def test_a_select_by_key_that_is_executed_again_gives_what_it_gave_at_first(grid, tmp_path, kind, keys, others):
    """The short way and the long one: of any parameter, the same rows or the same error."""
    grid.sql(f"CREATE TABLE T (ID {kind} PRIMARY KEY, N INT, S VARCHAR)")
    for i, key in enumerate(keys):
        grid.sql("INSERT INTO T VALUES (?, ?, ?)", [key, i, None if i else "s"])
    text = "SELECT S, ID AS K, N FROM T WHERE ID = ?"

    def outcome(text: str, params: object) -> object:
        try:
            result = grid.sql(text, params)
            return result.columns, result.types, result.fetchall(), result.rowcount, result.statement
        except (gridflow.GridflowError, duckdb.Error) as error:
            return type(error), str(error).partition("\n")[0]

    all_params = [[key] for key in (*keys, *others)] + [(keys[0],), [], [1, 2], None, {"p1": 1}, "a", keys[0]]
    fresh = [outcome(text + " " * (i + 1), params) for i, params in enumerate(all_params)]
    outcome(text, [keys[0]])
    assert grid._plans[statements.prepare(text)[0]].fast_path is not None
    for params, expected in zip(all_params, fresh, strict=True):
        for _ in range(2):
            assert outcome(text, params) == expected, params


def test_a_select_by_key_that_is_executed_again_sees_what_has_become_of_the_table(grid, tmp_path):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, N INT)")
    text = "SELECT * FROM T WHERE ID = ?"

    def found() -> object:
        return grid.sql(text, [1]).fetchall()

    assert found() == found() == []
    grid.sql("INSERT INTO T VALUES (1, 10)")
    assert found() == [(1, 10)]
    grid.sql("ALTER TABLE T ADD COLUMN M INT DEFAULT 5")
    assert found() == found() == [(1, 10, 5)]
    with gridflow.connect(tmp_path / "other") as other:
        other.sql("CREATE TABLE T (ID INT PRIMARY KEY, TEXT VARCHAR)")
        other.sql("INSERT INTO T VALUES (1, 'other')")
        for _ in range(3):
            assert other.sql(text, [1]).fetchall() == [(1, "other")]
            assert found() == [(1, 10, 5)]
    grid.sql("BEGIN")
    grid.sql("UPDATE T SET N = 11 WHERE ID = 1")
    assert found() == [(1, 11, 5)]
    other_thread: list[object] = []
    thread = threading.Thread(target=lambda: other_thread.append(found()))
    thread.start()
    thread.join()
    assert other_thread == [[(1, 10, 5)]], "of another session"
    grid.sql("ROLLBACK")
    assert found() == [(1, 10, 5)]
    grid.sql("DROP TABLE T")
    for _ in range(2):
        with pytest.raises(gridflow.TableNotFoundError):
            found()
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    assert found() == found() == []
    grid.sql("DROP TABLE T")
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    grid.sql("INSERT INTO T VALUES (1)")
    assert found() == found() == [(1,)]
    assert grid._plans[statements.prepare(text)[0]].fast_path(grid, [1]).fetchall() == [(1,)], (
        "though another table had the same columns"
    )
    history = grid.sql("SELECT EXECUTIONS FROM SYS.SQL_QUERIES_HISTORY WHERE SQL = ?", [text]).fetchall()
    assert history[0][0] == 17, "each is noted"


def test_a_repeated_insert_takes_part_in_a_transaction(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    for key in (1, 2):
        grid.sql("INSERT INTO T VALUES (?)", [key])
    for end, left in (("ROLLBACK", [1, 2]), ("COMMIT", [1, 2, 3, 4])):
        grid.sql("BEGIN")
        for key in (3, 4):
            assert grid.sql("INSERT INTO T VALUES (?)", [key]).rowcount == 1
        assert sorted(grid.table("T")) == [1, 2]  # outside of it
        with pytest.raises(DuplicateKeyError):
            grid.sql("INSERT INTO T VALUES (?)", [3])
        grid.sql(end)
        assert sorted(grid.table("T")) == left
    assert grid.sql("INSERT INTO T VALUES (?)", [5]).rowcount == 1


def test_concurrent_merges_all_count(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, N INT); INSERT INTO T VALUES (1, 0)")
    table, text = (
        grid.table("T"),
        """MERGE INTO T USING (VALUES (1), (2)) AS S(A) ON T.ID = S.A
        WHEN MATCHED THEN UPDATE SET N = N + 1 WHEN NOT MATCHED THEN INSERT VALUES (A, 1)""",
    )

    def merge():
        for _ in range(10):
            assert grid.sql(text).rowcount == 2

    def put():
        for i in range(200):
            table.put(100 + i % 10, {"N": i})

    threads = [threading.Thread(target=work) for work in (merge, merge, put)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert grid.sql("SELECT ID, N FROM T WHERE ID < 100 ORDER BY ID").fetchall() == [(1, 20), (2, 20)]


def test_a_name_that_was_looked_up_is_looked_up_again_when_tables_change(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    first = grid.table("T")
    assert grid.table("T") is first
    assert grid.table("SQL_PUBLIC_T") is first
    grid.sql("DROP TABLE T")
    grid.create_table("SQL_PUBLIC_T", {"ID": "INT"}, key="ID")
    assert grid.table("SQL_PUBLIC_T").name == "SQL_PUBLIC_T"
    with pytest.raises(gridflow.TableNotFoundError):
        grid.table("T")
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    assert grid.table("T") is not first
    grid.close()
    with pytest.raises(gridflow.GridClosedError):
        grid.table("T")


def test_a_cached_statement_works_on_another_grid(grid, tmp_path):
    with gridflow.connect(tmp_path / "other") as other:
        for one, name in ((grid, "a"), (other, "b"), (grid, "a")):
            one.sql("CREATE TABLE IF NOT EXISTS T (ID INT PRIMARY KEY, NAME VARCHAR)")
            one.sql("MERGE INTO T VALUES (1, ?)", [name])
            assert one.sql("SELECT NAME || '' FROM T").fetchall() == [(name,)]


def test_a_text_is_parsed_once(grid, monkeypatch):
    grid.sql("SELECT 1 AS ONCE")
    monkeypatch.setattr(statements, "parse", None)
    assert grid.sql("SELECT 1 AS ONCE").fetchall() == [(1,)]


def test_a_key_parameter_of_another_type_gives_what_a_scan_gives(grid, images):
    text = "SELECT NAME FROM IMAGES WHERE ID = ?"
    assert [grid.sql(text, [key]).fetchall() for key in (7, "7", 7.0)] == [[("n7",)]] * 3
    assert [grid.sql(text, [key]).fetchall() for key in (7.5, None, 2**70, decimal.Decimal("7.1"))] == [[]] * 4
    assert grid.sql("UPDATE IMAGES SET NAME = 'x' WHERE ID = ?", ["7"]).rowcount == 1
    assert grid.sql("DELETE FROM IMAGES WHERE ID = ?", [7.5]).rowcount == 0


# ---- changes ----


def test_a_statement_that_fails_leaves_nothing(grid, images):
    before = images.to_arrow().sort_by("ID")
    for text, error in (
        ("INSERT INTO IMAGES (ID) SELECT ID + 95 FROM IMAGES", DuplicateKeyError),
        ("INSERT INTO IMAGES (ID, LABEL) SELECT ID + 1000, 1.5 || NAME FROM IMAGES", SchemaError),
        ("UPDATE IMAGES SET LABEL = LABEL * CAST(1000000000 AS LONG)", SchemaError),
        ("UPDATE IMAGES SET LABEL = 9 / (LABEL - 5)", SqlError),
        ("UPDATE IMAGES SET LABEL = NOPE", ColumnNotFoundError),
        ("INSERT INTO IMAGES (ID, NAME) VALUES (500, 'a'), (501, X'00')", SchemaError),
    ):
        with pytest.raises(error):
            grid.sql(text)
    assert images.to_arrow().sort_by("ID").equals(before)


def test_a_large_insert_and_a_large_update_are_one_version_each(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, N INT)")
    table = grid.table("T")
    version = table.version()
    assert grid.sql("INSERT INTO T SELECT RANGE, 0 FROM RANGE(50000)").rowcount == 50000
    assert table.version() == version + 1
    assert grid.sql("UPDATE T SET N = ID * 2").rowcount == 50000
    assert table.version() == version + 2
    assert grid.sql("SELECT SUM(N), COUNT(*) FROM T").fetchall() == [(50000 * 49999, 50000)]
    values = ", ".join(f"({i}, 1)" for i in range(50000, 55000))
    assert grid.sql(f"INSERT INTO T VALUES {values}").rowcount == 5000
    with pytest.raises(DuplicateKeyError, match="row under key 5"):
        grid.sql(f"INSERT INTO T VALUES {values}")


def test_concurrent_updates_all_count(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, N INT); INSERT INTO T VALUES (1, 0), (2, 0)")

    def work():
        for _ in range(25):
            grid.sql("UPDATE T SET N = N + 1")
            grid.sql("SELECT SUM(N) FROM T").fetchall()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert grid.sql("SELECT N FROM T").fetchall() == [(100,), (100,)]


def test_options_without_effect_are_kept_and_told(grid):
    result._warned.clear()
    create = 'CREATE TABLE {} (ID INT PRIMARY KEY) WITH "template=partitioned,backups=2,data_region=big,partitions=5"'
    with pytest.warns(UserWarning) as caught:
        done = grid.sql(create.format("T"))
    notes = [
        "table option BACKUPS has no effect: a grid holds one copy of each row; SYS.TABLES shows it",
        "table option DATA_REGION has no effect: all of a grid is in its one directory; SYS.TABLES shows it",
    ]
    assert [str(warning.message) for warning in caught] == notes and list(done.notes) == notes
    assert {warning.filename for warning in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(grid.sql(create.format("U")).notes) == notes  # and told only once
    table = grid.table("T")
    assert table.partitions_count == 5
    assert table.options["sql"]["backups"] == "2"


def test_a_grid_open_to_read_only_is_queried_but_not_changed(grid, images):
    images.flush()
    with gridflow.connect(grid.home, read_only=True) as reader:
        assert reader.sql("SELECT COUNT(*), SUM(LABEL) FROM IMAGES").fetchall() == [(100, 450)]
        for text in ("INSERT INTO IMAGES (ID) VALUES (1000)", "DROP TABLE IMAGES", "DELETE FROM IMAGES"):
            with pytest.raises(gridflow.GridAccessError, match="read only"):
                reader.sql(text)


# ---- the engine is shut in ----


def test_the_engine_sees_no_files_and_no_variables(grid, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    local = pa.table({"a": [1]})
    connection, _ = engine.connection()
    for sql in (
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM read_csv('{secret}')",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/x.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM local",
    ):
        with pytest.raises(duckdb.Error):
            connection.sql(sql).fetchall()
    assert local.num_rows == 1
    assert sorted(os.listdir(tmp_path)) == ["grid", "secret.csv"]


def test_a_forked_child_has_an_engine_of_its_own(grid, images):
    assert grid.sql("SELECT SUM(LABEL) FROM IMAGES").fetchall() == [(450,)]
    home = grid.home
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with gridflow.connect(home, read_only=True) as reader:
                code = 0 if reader.sql("SELECT SUM(LABEL) FROM IMAGES").fetchall() == [(450,)] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_statement_keeps_a_plan_for_each_grid(grid, tmp_path):
    """Two grids that are asked the same in turn do not take each other's plan."""
    text = "SELECT N FROM T WHERE N > ?"
    with gridflow.connect(tmp_path / "other") as other:
        for each, dtype in ((grid, "INT"), (other, "DOUBLE")):
            each.sql(f"CREATE TABLE T (ID INT PRIMARY KEY, N {dtype})")
            each.sql("INSERT INTO T VALUES (1, 2)")
        (statement,) = statements.prepare(text)
        plans = []
        for _ in range(2):
            for each in (grid, other):
                assert each.sql(text, [1]).fetchall() == [(2,)]
                plans.append(each._plans[statement])
        assert plans[0] is plans[2] is not plans[1] is plans[3]


def test_an_update_that_others_disturb_runs_twice(images, grid, monkeypatch):
    """The second time they wait: writers without a pause do not keep it from its end."""
    update, alone = session.EXECUTORS["UPDATE"], []

    def disturbed(transaction, *arguments):
        result = update(transaction, *arguments)
        alone.append(transaction.alone)
        if not transaction.alone:
            images.remove(len(alone))  # somebody else is faster
        return result

    monkeypatch.setitem(session.EXECUTORS, "UPDATE", disturbed)
    assert grid.sql("UPDATE IMAGES SET LABEL = LABEL + 1").rowcount == 99
    assert alone == [False, True]


def test_updates_that_read_each_other_s_table_do_not_wait_for_each_other(grid, monkeypatch):
    """The second time each takes both tables, in the same order, before it begins."""
    for name in ("A", "B"):
        grid.create_table(name, {"ID": "LONG", "X": "LONG"}, key="ID").put_all({i: {"X": 0} for i in range(10)})
    update, both = session.EXECUTORS["UPDATE"], threading.Barrier(2)

    def disturbed(transaction, *arguments):
        result = update(transaction, *arguments)
        if not transaction.alone:
            for name in ("A", "B"):
                grid.table(name).put(3, {"X": threading.get_ident() % 1000})
            both.wait()  # each has looked at both, and neither has them
        return result

    monkeypatch.setattr(gridflow.transaction, "HOLD_SECONDS", 60)
    monkeypatch.setitem(session.EXECUTORS, "UPDATE", disturbed)
    texts = [f"UPDATE {a} SET X = X + (SELECT COUNT(*) FROM {b} WHERE X >= 0) WHERE ID < 5" for a, b in ("AB", "BA")]
    with ThreadPoolExecutor(2) as pool:
        assert [result.rowcount for result in pool.map(grid.sql, texts)] == [5, 5]


def test_a_number_is_no_bytes(grid):
    """Of 70,000 bytes() would make so many zeros."""
    grid.sql("CREATE TABLE B (ID LONG PRIMARY KEY, V BINARY, D DECIMAL(10, 2))")
    for value in (70000, True, np.int64(8), np.array(8), 1.5, "text", [1, 2]):
        with pytest.raises(SchemaError, match="V"):
            grid.sql("INSERT INTO B (ID, V) VALUES (?, ?)", [1, value])
    for i, value in enumerate((b"ab", bytearray(b"ab"), memoryview(b"ab"), np.frombuffer(b"ab", np.uint8))):
        grid.sql("INSERT INTO B (ID, V) VALUES (?, ?)", [i, value])
    assert set(grid.sql("SELECT V FROM B").fetchall()) == {(b"ab",)}
    for value in (1e300, -1e300):
        with pytest.raises(SchemaError, match="too many digits"):
            grid.sql("INSERT INTO B (ID, D) VALUES (?, ?)", [9, value])


def test_a_table_of_before_schemas_had_defaults_has_them_when_its_grid_is_opened(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.create_table("T", {"ID": "LONG", "N": "INT", "D": "DATE", "E": "INT"}, key="ID")
        written = {"sql": {"defaults": {"N": "3", "D": "DATE '2024-02-29'", "E": "NULL", "GONE": "1"}}}
        grid._alter_options("T", lambda options: written)
        grid.table("T").put(1, {})
        assert grid.table("T").get(1)["N"] is None
        grid.table("T").tag("bare")
    for _ in range(2):
        with gridflow.connect(tmp_path / "grid") as grid:
            table = grid.table("T")
            version = table.version()
            table.put(2, {})
            assert table.get(1)["N"] is None and table.get(2) == {"N": 3, "D": dt.date(2024, 2, 29), "E": None}
            assert grid.table("T").version() == version
            assert grid.sql("SHOW COLUMNS FROM T").fetchall()[2][4] == "DATE '2024-02-29'"
    with gridflow.connect(tmp_path / "grid") as grid:
        after = grid.table("T").restore("bare")
    with gridflow.connect(tmp_path / "grid") as grid:
        assert grid.table("T").version() == after, "only once"
        grid.table("T").put(3, {})
        assert grid.table("T").get(3)["N"] is None
