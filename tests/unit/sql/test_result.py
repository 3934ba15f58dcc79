"""The rows of a result in each of the forms that users ask for."""

import datetime as dt
import decimal
import threading
import uuid

import numpy as np
import pyarrow as pa
import pytest

import gridflow
import gridflow.dbapi

COLUMNS = {
    "ID": "LONG",
    "FLAG": "BOOL",
    "SMALL": "INT8",
    "HALF": "FLOAT16",
    "BIG": "UINT64",
    "PRICE": "DECIMAL(5,2)",
    "NAME": "VARCHAR",
    "RAW": "BINARY",
    "DAY": "DATE",
    "CLOCK": "TIME",
    "AT": "TIMESTAMP",
    "NANO": "TIMESTAMP_NS",
    "UTC": "TIMESTAMP_TZ",
    "TAG": "UUID",
    "PIXELS": "UINT8[2,2]",
    "MASK": "BOOL[3]",
    "WORDS": "LIST<VARCHAR>",
    "SIZE": "STRUCT<W INT, H INT>",
}
ROW = {
    "FLAG": True,
    "SMALL": -3,
    "HALF": 0.5,
    "BIG": 2**64 - 1,
    "PRICE": decimal.Decimal("1.50"),
    "NAME": "warm",
    "RAW": b"\x00\xff",
    "DAY": dt.date(2024, 2, 29),
    "CLOCK": dt.time(23, 59, 59, 5),
    "AT": dt.datetime(2024, 2, 29, 12),
    "NANO": np.datetime64("2024-02-29T12:00:00.000000001"),
    "UTC": dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone.utc),
    "TAG": uuid.UUID(int=7),
    "PIXELS": np.array([[1, 2], [3, 4]], np.uint8),
    "MASK": np.array([True, False, True]),
    "WORDS": ["a", "b"],
    "SIZE": {"W": 1, "H": 2},
}
DTYPES = {
    "ID": "int64",
    "FLAG": "bool",
    "SMALL": "int8",
    "HALF": "float16",
    "BIG": "uint64",
    "DAY": "datetime64[D]",
    "AT": "datetime64[us]",
    "NANO": "datetime64[ns]",
    "UTC": "datetime64[us]",
    "PIXELS": "uint8",
    "MASK": "bool",
}
SHAPES = {"PIXELS": (2, 2), "MASK": (3,)}


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path) as grid:
        table = grid.create_table("T", COLUMNS, key="ID")
        table.put(1, ROW)
        table.flush()
        table.put(2, dict.fromkeys(ROW))
        table.put(3, ROW)
        yield grid


@pytest.mark.parametrize("where", ["ID <> 2", "ID = 3", "TRUE", "ID = 2", "FALSE"])
def test_numpy_has_the_dtype_of_the_column_and_masks_nulls(grid, where):
    """pandas and Arrow make floats of integers where one of them is null."""
    result = grid.sql(f"SELECT * FROM T WHERE {where} ORDER BY ID")
    arrays, rows = result.to_numpy(), result.fetchall()
    assert list(arrays) == list(COLUMNS)
    for column, (name, array) in enumerate(arrays.items()):
        values = [row[column] for row in rows]
        assert array.shape == (len(rows), *SHAPES.get(name, ()))
        assert array.dtype == np.dtype(DTYPES.get(name, object))
        assert isinstance(array, np.ma.MaskedArray) == (name in DTYPES and any(v is None for v in values))
        for value, cell in zip(values, array, strict=True):
            if name not in DTYPES:
                assert value == cell and type(value) is type(cell)
            elif value is None:
                assert np.ma.getmaskarray(np.ma.asarray(cell)).all()
            elif name == "UTC":
                assert np.datetime64(value.replace(tzinfo=None)) == cell
            else:
                np.testing.assert_array_equal(np.asarray(value, array.dtype), cell)


def test_a_table_s_numpy_is_that_of_its_rows(grid):
    table = grid.table("T")
    by_sql = grid.sql("SELECT * FROM T").to_numpy()
    for name, array in table.to_numpy().items():
        assert array.dtype == by_sql[name].dtype
    assert list(table.to_numpy(["NAME", "ID"])) == ["NAME", "ID"]
    assert table.to_pandas(["ID"])["ID"].sort_values().tolist() == [1, 2, 3]
    with pytest.raises(gridflow.ColumnNotFoundError):
        table.to_numpy(["LOST"])


def test_numpy_without_nulls_is_a_view(grid):
    result = grid.sql("SELECT ID, PIXELS FROM T WHERE ID IN (1, 3)")
    for name, array in result.to_numpy().items():
        again = result.to_numpy()[name]
        assert np.shares_memory(array, again), name


def test_two_columns_of_one_name_both_come(grid):
    result = grid.sql("SELECT ID, NAME AS ID, ID + 1 AS ID_2 FROM T WHERE ID = 1")
    assert result.to_dicts() == [{"ID": 1, "ID_3": "warm", "ID_2": 2}]
    assert list(result.to_numpy()) == ["ID", "ID_3", "ID_2"]


def by_key_and_by_scan(grid):
    """A result of Python values, and one of Arrow data."""
    return grid.sql("SELECT NAME, PIXELS FROM T WHERE ID = 1"), grid.sql("SELECT NAME, PIXELS FROM T WHERE ID + 0 = 1")


def test_a_row_by_its_number_is_that_of_fetchall(grid):
    many = grid.sql("SELECT ID, NAME FROM T ORDER BY ID")
    rows = many.fetchall()
    for index in (0, 2, -1, -3, np.int64(1)):
        assert many[index] == rows[index]
    for part in (
        slice(1, None),
        slice(None, -1),
        slice(None, None, -1),
        slice(None, None, 2),
        slice(5, 9),
        slice(2, 1),
    ):
        assert many[part] == rows[part]
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"row {index} of a result of 3"):
            many[index]
    with pytest.raises(TypeError):
        many["ID"]
    for one in by_key_and_by_scan(grid):
        assert one[0][0] == one[-1][0] == one[::-1][0][0] == "warm"
        np.testing.assert_array_equal(one[::-1][0][1], ROW["PIXELS"])


def test_a_loop_of_fetchone_ends_and_nothing_else_knows_of_it(grid):
    for one in by_key_and_by_scan(grid):
        assert one.fetchone()[0] == one.scalar() == "warm" and one.fetchone() is one.fetchone() is None
        assert len(one.fetchall()) == len(list(one)) == 1
    result = grid.sql("SELECT ID FROM T ORDER BY ID")
    assert list(iter(result.fetchone, None)) == result.fetchall() == [(1,), (2,), (3,)]
    none = grid.sql("SELECT * FROM T WHERE ID = 9")
    assert (none.fetchone(), none.scalar(), none.fetchall(), none.to_dicts(), none[:]) == (None, None, [], [], [])
    assert grid.sql("SELECT COUNT(*) FROM T").scalar() == 3
    assert grid.sql("SELECT NAME FROM T WHERE ID = 2").scalar() is None


def test_a_statement_without_rows_has_none_in_any_form(grid):
    done = grid.sql("DELETE FROM T WHERE ID = 3")
    assert (done.rowcount, done.fetchone(), done.scalar(), done.fetchall(), done.to_dicts()) == (1, None, None, [], [])
    assert (done.to_numpy(), done.to_arrow().num_columns, done.to_pandas().shape) == ({}, 0, (0, 0))


def test_results_go_where_arrow_goes(grid):
    result = grid.sql("SELECT * FROM T ORDER BY ID")
    assert pa.table(result).equals(result.to_arrow())
    assert pa.RecordBatchReader.from_stream(result).read_all().equals(result.to_arrow())
    (by_key, _) = by_key_and_by_scan(grid)
    assert pa.table(by_key).column_names == ["NAME", "PIXELS"]


def test_any_thread_may_read_a_result(grid):
    for result in by_key_and_by_scan(grid):
        seen = []

        def read(result=result, seen=seen):
            seen.append((result[0][0], result[-1][0], result.scalar(), result.to_numpy()["NAME"][0]))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [("warm",) * 4] * 4


def test_pandas_has_what_arrow_makes_of_it(grid):
    frame = grid.sql("SELECT ID, NAME, TAG, PIXELS FROM T WHERE ID = 1").to_pandas()
    assert frame[["ID", "NAME", "TAG"]].values.tolist() == [[1, "warm", uuid.UUID(int=7)]]
    np.testing.assert_array_equal(frame["PIXELS"][0], ROW["PIXELS"])


@pytest.mark.parametrize(("old", "new"), [("arrow", "to_arrow"), ("df", "to_pandas")])
def test_the_old_names_of_a_result_s_forms_warn(grid, old, new):
    result = grid.sql("SELECT ID FROM T")
    cursor = gridflow.dbapi.connect(grid).cursor()
    cursor.execute("SELECT ID FROM T")
    for of, name in ((result, "Result"), (cursor, "Cursor")):
        with pytest.warns(
            DeprecationWarning, match=rf"{name}\.{old}\(\) is deprecated: use {name}\.{new}\(\)"
        ) as caught:
            assert getattr(of, old)().equals(getattr(of, new)())
        assert caught[0].filename == __file__


def test_pandas_keeps_integers_and_booleans_where_one_is_null(grid):
    """They came as floats, rounded beyond 2^53, and as objects."""
    kinds = ["TINYINT", "SMALLINT", "INT", "LONG", "UINT8", "UINT16", "UINT32", "UINT64"]
    columns = ", ".join(f"C{i} {kind}" for i, kind in enumerate(kinds))
    grid.sql(f"CREATE TABLE N (ID LONG PRIMARY KEY, {columns}, B BOOLEAN)")
    table, big = grid.table("N"), 2**63 - 1
    table.put(1, dict.fromkeys([f"C{i}" for i in range(8)], 100) | {"C3": big, "C7": 2**64 - 1, "B": True})
    names = ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"]
    query = "SELECT * EXCLUDE (ID) FROM N ORDER BY ID"
    assert [str(t) for t in grid.sql(query).to_pandas().dtypes] == [*map(str.lower, names), "bool"]
    table.put(2, {})
    for frame in (grid.sql(query).to_pandas(), table.to_pandas().sort_values("ID").drop(columns="ID")):
        assert [str(t) for t in frame.dtypes] == [*names, "boolean"]
        assert frame.iloc[0].tolist() == [100, 100, 100, big, 100, 100, 100, 2**64 - 1, True]
        assert frame.iloc[1].isna().all()
