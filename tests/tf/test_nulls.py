"""Dataset(nulls=...): errors, values and masks in the place of nulls."""

import datetime as dt
import decimal
import re
import uuid

import numpy as np
import pytest
import tensorflow as tf
from elements import rows_of

import gridflow

KINDS = {
    "X": "FLOAT32",
    "NAME": "STRING",
    "INFO": "STRUCT<W INT32, H INT32>",
    "TAGS": "LIST<INT16>",
    "M": "MAP<STRING, INT8>",
    "P": "UINT8[2]",
}
FULL = {"X": 1.5, "NAME": "n", "INFO": {"W": 1, "H": 2}, "TAGS": [1, 2], "M": {"a": 1}, "P": [1, 2]}
HOLES = {"X": None, "NAME": None, "INFO": {"W": None, "H": 2}, "TAGS": [1, None], "M": {"a": None}, "P": [3, 4]}
NONE = dict.fromkeys(KINDS)


@pytest.fixture
def table(grid):
    table = grid.create_table("T", {"ID": "LONG", **KINDS}, key="ID")
    table.put_all({1: FULL, 2: HOLES, 3: NONE})
    return table


def rows(table, batch_size=None, **options):
    dataset = gridflow.Dataset(table, grid=table.grid, batch_size=batch_size, **options)
    return {
        key: {".".join(path): part for path, part in row.items()} for key, row in rows_of(dataset, bool(batch_size))
    }


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_masks(table, batch_size):
    found = rows(table, batch_size, nulls="mask")
    assert found[1] == {
        **{"X": 1.5, "X_valid": True, "NAME": b"n", "NAME_valid": True, "P": [1, 2], "P_valid": True},
        **{"INFO.W": 1, "INFO.W_valid": True, "INFO.H": 2, "INFO.H_valid": True},
        **{"TAGS": [1, 2], "TAGS_valid": True, "TAGS_items_valid": [True, True]},
        **{"M.key": [b"a"], "M.key_valid": True, "M.value": [1], "M.value_valid": True, "M.value_items_valid": [True]},
    }
    assert found[2] == {
        **{"X": 0.0, "X_valid": False, "NAME": b"", "NAME_valid": False, "P": [3, 4], "P_valid": True},
        **{"INFO.W": 0, "INFO.W_valid": False, "INFO.H": 2, "INFO.H_valid": True},
        **{"TAGS": [1, 0], "TAGS_valid": True, "TAGS_items_valid": [True, False]},
        **{"M.key": [b"a"], "M.key_valid": True, "M.value": [0], "M.value_valid": True, "M.value_items_valid": [False]},
    }
    assert found[3] == {
        **{"X": 0.0, "X_valid": False, "NAME": b"", "NAME_valid": False, "P": [0, 0], "P_valid": False},
        **{"INFO.W": 0, "INFO.W_valid": False, "INFO.H": 0, "INFO.H_valid": False},
        **{"TAGS": [], "TAGS_valid": False, "TAGS_items_valid": []},
        **{"M.key": [], "M.key_valid": False, "M.value": [], "M.value_valid": False, "M.value_items_valid": []},
    }


FILLS = {"X": -1, "NAME": "none", "INFO.W": 7, "INFO.H": 8, "TAGS": 9, "M.value": 5, "M.key": "k", "P": [6, 6]}


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_values(table, batch_size):
    found = rows(table, batch_size, nulls=FILLS)
    holes = {"X": -1.0, "NAME": b"none", "INFO.W": 7, "INFO.H": 2, "TAGS": [1, 9], "M.key": [b"a"], "M.value": [5]}
    none = {"X": -1.0, "NAME": b"none", "INFO.W": 7, "INFO.H": 8, "TAGS": [], "M.key": [], "M.value": []}
    assert found[2] == {**holes, "P": [3, 4]}
    assert found[3] == {**none, "P": [6, 6]}


def test_columns_that_are_not_named_still_have_errors(table):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"column X of table T is null in the row where ID = [23]:"
    ):
        rows(table, 3, nulls={name: fill for name, fill in FILLS.items() if name != "X"})
    table.remove(3)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"column INFO\.W of table T is null in the row where ID = 2:"
    ):
        rows(table, columns=["INFO"], nulls={"INFO.H": 1})
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"column M\.value of table T holds a null in its list"):
        rows(table, columns=["M"], nulls={"M.key": "x", "NAME": ""})


def test_empty_lists_for_null_ones_only(table):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"column TAGS of table T holds a null in its list .* ID = 2:"
    ):
        rows(table, columns=["TAGS"], nulls={"TAGS": []})
    table.remove(2)
    assert rows(table, columns=["TAGS"], nulls={"TAGS": []}) == {1: {"TAGS": [1, 2]}, 3: {"TAGS": []}}


def test_an_error_deep_in_lists_names_the_row(grid):
    table = grid.create_table("D", {"ID": "LONG", "L": "LIST<STRUCT<M MAP<INT8, LIST<INT8>>>>"}, key="ID")
    table.put_all({i: {"L": [{"M": {1: [1], 2: [2, 3]}}, {"M": {}}]} for i in range(50)})
    table.put(50, {"L": [{"M": {1: [1], 2: []}}, {"M": {3: [4, None]}}]})
    for batch_size in (None, 1, 7, 100):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"column L\.M\.value of .* null .* where ID = 50:"):
            rows(table, batch_size)
    found = rows(table, 100, nulls={"L.M.value": -1})
    assert found[50]["L.M.value"] == [[[1], []], [[4, -1]]] and found[0]["L.M.value"] == [[[1], [2, 3]], []]


@pytest.mark.parametrize(
    "kind, value, shown",
    [
        ("BOOL", True, True),
        ("UINT64", 2**64 - 1, 2**64 - 1),
        ("FLOAT16", 0.5, 0.5),
        ("STRING", "a string that is too long for a tstring itself: ä", None),
        ("BINARY", b"\x00\xff", b"\x00\xff"),
        ("DATE", dt.date(1970, 1, 11), 10),
        ("TIME", dt.time(0, 0, 1), 1000000),
        ("TIMESTAMP_NS", np.datetime64(5, "ns"), 5),
        ("TIMESTAMP_TZ", dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.timezone.utc), 1000000),
        ("UUID", uuid.UUID(int=3), uuid.UUID(int=3).bytes),
        ("DECIMAL(10,2)", decimal.Decimal("-0.5"), b"-0.50"),
        ("INT32[2,1]", [[1], [2]], [[1], [2]]),
    ],
)
def test_values_of_every_type(grid, kind, value, shown):
    table = grid.create_table("T", {"ID": "LONG", "V": kind, "L": f"LIST<{kind}>"}, key="ID")
    table.put_all({i: {"V": None, "L": [None, value]} for i in range(9)})
    shown = value.encode() if shown is None else shown
    for batch_size in (None, 4):
        found = rows(table, batch_size, nulls={"V": value, "L": value})
        assert found == {i: {"V": shown, "L": [shown, shown]} for i in range(9)}


def test_zero_of_strings_that_are_none(grid):
    table = grid.create_table("T", {"ID": "LONG", "U": "UUID", "D": "DECIMAL(9,3)"}, key="ID")
    table.put(1, {})
    assert rows(table, nulls="mask")[1] == {"U": bytes(16), "U_valid": False, "D": b"0.000", "D_valid": False}


@pytest.mark.parametrize(
    "nulls, error, message",
    [
        ({"Y": 1}, gridflow.ColumnNotFoundError, "nulls: table T has no column Y; there are"),
        ({"INFO.V": 1}, gridflow.ColumnNotFoundError, "nulls: table T has no column INFO.V; did you mean INFO."),
        (
            {"INFO": {"W": 1}},
            gridflow.SchemaError,
            "nulls: INFO of table T is no value: name what is in it, as 'INFO.H'",
        ),
        ({"M": {}}, gridflow.SchemaError, "nulls: M of table T is no value: name what is in it, as 'M.key'"),
        ({"X": "a"}, gridflow.SchemaError, "nulls: table T, column X FLOAT32: 'a' (str) is not"),
        ({"X": None}, gridflow.SchemaError, "nulls: table T, column X FLOAT32: None (NoneType) is not"),
        ({"INFO.W": 2**31}, gridflow.SchemaError, "nulls: table T, column INFO.W INT32: 2147483648"),
        ({"NAME": b"x"}, gridflow.SchemaError, "nulls: table T, column NAME STRING: b'x' (bytes) is not a str"),
        ({"P": [1, 2, 3]}, gridflow.SchemaError, "nulls: table T, column P UINT8[2]: "),
        (
            {"TAGS": [1]},
            gridflow.SchemaError,
            "nulls: table T, column TAGS INT16: [1] (list) is not an integer (a value for items, or [] for lists)",
        ),
        ("masks", gridflow.UsageError, 'nulls is \'masks\'; it must be "error", "mask" or a dict'),
        (None, gridflow.UsageError, "nulls is None; it must be"),
    ],
)
def test_what_cannot_be(table, nulls, error, message):
    with pytest.raises(error, match=re.escape(message)):
        gridflow.Dataset(table, grid=table.grid, nulls=nulls)


def test_values_for_columns_that_are_not_read(table):
    assert rows(table, columns=["X"], nulls=FILLS)[3] == {"X": -1.0}


def test_names_that_are_taken(grid):
    table = grid.create_table("T", {"ID": "LONG", "A": "INT8", "A_valid": "BOOL"}, key="ID")
    table.put(1, {})
    with pytest.raises(gridflow.SchemaError, match='nulls="mask" puts A_valid beside A of table T, where there is one'):
        gridflow.Dataset(table, grid=grid, nulls="mask")
    assert rows(table, columns=["A"], nulls="mask") == {1: {"A": 0, "A_valid": False}}
    grid.create_table("D", {"ID": "LONG", "A.B": "INT8", "A": "STRUCT<B INT8>"}, key="ID")
    with pytest.raises(gridflow.SchemaError, match=r"nulls: A\.B is a column of table D and also a field"):
        gridflow.Dataset("D", grid=grid, nulls={"A.B": 1})


def test_only_what_may_be_null_has_a_mask(grid):
    kinds = {"A": "INT8 NOT NULL", "B": "LIST<INT8 NOT NULL> NOT NULL", "C": "LIST<STRUCT<D INT8 NOT NULL>> NOT NULL"}
    table = grid.create_table("T", {"ID": "LONG", **kinds}, key="ID")
    assert list(gridflow.Dataset(table, grid=grid, nulls="mask").element_spec["val"]) == ["A", "B", "C"]
    spec = gridflow.Dataset(table, grid=grid, nulls="mask", batch_size=4).element_spec["val"]["C"]
    assert list(spec) == ["D", "D_items_valid"]
    assert spec["D_items_valid"] == tf.RaggedTensorSpec([None, None], tf.bool, 1, tf.int64)


def test_a_plain_value(grid):
    cache = grid.cache("PLAIN")
    cache.put(1, 1.5)
    (element,) = gridflow.Dataset("PLAIN", grid=grid, nulls="mask")
    assert float(element["val"]) == 1.5 and bool(element["val_valid"])
    (element,) = gridflow.Dataset("PLAIN", grid=grid, nulls={"_VAL": 0.0})
    assert sorted(element) == ["key", "val"]


def test_garbage_under_nulls_is_not_shown(grid):
    """Arrow data may hold any bytes where there is a null."""
    import pyarrow as pa

    table = grid.create_table("T", {"ID": "LONG", "X": "INT64", "S": "STRING", "L": "LIST<INT64>"}, key="ID")
    bits = pa.py_buffer(bytes([0b00001111]))
    x = pa.Array.from_buffers(pa.int64(), 8, [bits, pa.py_buffer(np.arange(100, 108))], 4)
    offsets = pa.py_buffer(np.arange(9, dtype=np.int64))
    s = pa.Array.from_buffers(pa.large_string(), 8, [bits, offsets, pa.py_buffer(b"abcdefgh")], 4)
    items = pa.array(np.arange(100, 108))
    lists = pa.Array.from_buffers(pa.large_list(pa.int64()), 8, [bits, offsets], 4, children=[items])
    table.load(pa.table({"ID": np.arange(8), "X": x, "S": s, "L": lists}))
    found = rows(table, 8, nulls={"X": 0, "S": "", "L": []})
    for i in range(8):
        want = {"X": 100 + i, "S": b"abcdefgh"[i : i + 1], "L": [100 + i]} if i < 4 else {"X": 0, "S": b"", "L": []}
        assert found[i] == want


def test_nulls_of_rows_that_are_older_than_a_column(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.put_all({i: {} for i in range(5)})
    table.flush()
    grid.alter_table("T", add={"X": "INT32", "L": "LIST<LIST<STRING>>", "S": "STRUCT<A UUID, B BOOL>"})
    table = grid.table("T")
    table.put(5, {"X": 1, "L": [["x"], None], "S": {"A": uuid.UUID(int=1), "B": True}})
    for batch_size in (None, 2, 6):
        found = rows(table, batch_size, nulls="mask")
        for i in range(5):
            assert found[i]["X"] == 0 and found[i]["L"] == [] and found[i]["S.A"] == bytes(16) and not found[i]["S.B"]
            assert not any(found[i][f"{name}_valid"] for name in ("X", "L", "S.A", "S.B"))
        assert found[5]["X"] == 1 and found[5]["L"] == [[b"x"], []] and found[5]["S.B_valid"] and found[5]["S.B"]
