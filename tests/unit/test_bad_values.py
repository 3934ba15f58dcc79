"""What does not fit is refused with the names of table and column and the value, and leaves nothing behind."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import gridflow
from gridflow import ColumnNotFoundError, SchemaError
from gridflow.config import MAX_KEY_BYTES

D = decimal.Decimal

BAD = [
    ("INT8", 128, "128 (int) is out of its range"),
    ("INT8", -129, "out of its range"),
    ("UINT8", -1, "out of its range"),
    ("INT64", 2**63, "out of its range"),
    ("UINT64", 2**64, "out of its range"),
    ("INT32", 1.0, "1.0 (float) is not an integer"),
    ("INT32", "1", "'1' (str) is not an integer"),
    ("INT32", True, "True (bool) is not an integer"),
    ("INT32", np.True_, "is not an integer"),
    ("INT32", np.array([1, 2]), "an array int64[2] is not an integer"),
    ("INT32", np.float32(1), "is not an integer"),
    ("FLOAT64", "1", "is not a number"),
    ("FLOAT64", True, "is not a number"),
    ("FLOAT64", 10**400, "out of its range"),
    ("FLOAT64", np.array([1.0, 2.0]), "is not a number"),
    ("FLOAT64", 1j, "is not a number"),
    ("FLOAT32", 1e300, "out of its range"),
    ("FLOAT16", 65520.0, "out of its range"),
    ("BOOL", 1, "1 (int) is not a bool"),
    ("BOOL", "true", "is not a bool"),
    ("DECIMAL(4,2)", D("100.00"), "more than 4 digits"),
    ("DECIMAL(4,2)", D("1.001"), "more than 2 digits after the point"),
    ("DECIMAL(4,2)", D("1E-999999999"), "more than 2 digits after the point"),
    ("DECIMAL(4,2)", D("1E+999999999"), "more than 4 digits"),
    ("DECIMAL(4,2)", D("NaN"), "is not finite"),
    ("DECIMAL(4,2)", D("-Infinity"), "is not finite"),
    ("DECIMAL(4,2)", 1.5, "is not a decimal.Decimal or an integer"),
    ("DECIMAL(4,2)", "1.5", "is not a decimal.Decimal"),
    ("STRING", b"x", "b'x' (bytes) is not a str"),
    ("STRING", 7, "is not a str"),
    ("STRING", "\ud800", "cannot be written as UTF-8"),
    ("BINARY", "x", "is not bytes"),
    ("BINARY", [1, 2], "is not bytes"),
    ("DATE", dt.datetime(2024, 1, 1), "is not a datetime.date"),
    ("DATE", "2024-01-01", "is not a datetime.date"),
    ("DATE", np.datetime64("NaT"), "is not a date"),
    ("DATE", np.datetime64("2024-01-01T01"), "is not a date"),
    ("DATE", np.datetime64("2024-01-01T00:00:01"), "is not a whole day"),
    ("DATE", np.datetime64(2**40, "D"), "out of range"),
    ("TIME", dt.time(1, tzinfo=dt.timezone.utc), "without time zone"),
    ("TIME", dt.timedelta(1), "is not a datetime.time"),
    ("TIMESTAMP", dt.date(2024, 1, 1), "is not a datetime.datetime"),
    ("TIMESTAMP", dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), "has a time zone; the column has none"),
    ("TIMESTAMP", np.datetime64("NaT", "s"), "use None for a null"),
    ("TIMESTAMP", np.datetime64(1, "ns"), "does not fit a unit of us"),
    ("TIMESTAMP", np.datetime64(2**62, "s"), "out of range"),
    ("TIMESTAMP", np.datetime64(2**62, "Y"), "out of range"),
    ("TIMESTAMP", pd.Timestamp("2024-01-01 00:00:00.000000001"), "does not fit a unit of us"),
    ("TIMESTAMP", pd.NaT, "NaT"),
    ("TIMESTAMP_TZ", dt.datetime(2024, 1, 1), "has no time zone"),
    ("TIMESTAMP_S", dt.datetime(2024, 1, 1, microsecond=1), "does not fit a unit of s"),
    ("TIMESTAMP_NS", dt.datetime.max, "out of range"),
    ("TIMESTAMP_NS", np.datetime64("9999-12-31"), "out of range"),
    ("UUID", "00000000-0000-0000-0000-000000000000", "is not a uuid.UUID"),
    ("UUID", bytes(15), "is not a uuid.UUID"),
    ("UINT8[2,2]", np.zeros((2, 3), np.uint8), "shape [2, 3] is not [2, 2]"),
    ("UINT8[2,2]", np.zeros(4, np.uint8), "shape [4] is not [2, 2]"),
    ("UINT8[2,2]", np.zeros((2, 2), np.int16), "an array int16[2,2] does not fit dtype uint8"),
    ("FLOAT32[1]", np.zeros(1), "does not fit dtype float32"),
    ("UINT8[2]", [1, 256], "does not fit dtype uint8"),
    ("UINT8[2]", [1, -1], "does not fit dtype uint8"),
    ("UINT8[2]", [1, 0.5], "does not fit dtype uint8"),
    ("UINT8[2]", [1, None], "is not a tensor"),
    ("UINT8[2]", [1, "x"], "is not a tensor"),
    ("UINT8[2,2]", [[1, 2], [3]], "is not a tensor"),
    ("UINT8[2]", 7, "is not an array"),
    ("LIST<INT8>", 7, "is not a list"),
    ("LIST<INT8>", {1}, "is not a list"),
    ("LIST<INT8>", "ab", "is not a list"),
    ("LIST<INT8>", [1, "x"], "V[1] LIST<INT8>: 'x' (str) is not an integer"),
    ("LIST<INT8 NOT NULL>", [1, None], "V[1] LIST<INT8 NOT NULL>: a null is not allowed"),
    ("MAP<STRING, INT8>", [1], "is not a map"),
    ("MAP<STRING, INT8>", {1: 1}, "1 (int) is not a str"),
    ("MAP<STRING, INT8>", {None: 1}, "a null is not allowed as a key"),
    ("MAP<STRING, INT8>", {"a": 300}, "V['a'] MAP<STRING, INT8>: 300 (int)"),
    ("MAP<STRING, INT8 NOT NULL>", {"a": None}, "a null is not allowed"),
    ("STRUCT<A INT8>", [1], "is not a dict"),
    ("STRUCT<A INT8>", {"a": 1}, "there is no field 'a'; there are A"),
    ("STRUCT<A INT8>", {"A": "x"}, "V.A STRUCT<A INT8>: 'x' (str)"),
    ("STRUCT<A INT8 NOT NULL>", {}, "V.A STRUCT<A INT8 NOT NULL>: a null is not allowed"),
    ("STRUCT<A LIST<MAP<INT8, STRUCT<B DATE>>>>", {"A": [{}, {7: {"B": 1}}]}, "V.A[1][7].B"),
]


@pytest.mark.parametrize(("text", "value", "message"), BAD)
def test_a_value_that_does_not_fit(grid, text, value, message):
    table = grid.create_table("KITTENS", {"ID": "LONG", "V": text}, key="ID")
    table.put(1, {})
    rows = [(2, {}), (3, {"V": value})]
    for write in (
        lambda: table.put(1, {"V": value}),
        lambda: table.put_all(rows),
        lambda: table.put_if_absent(3, {"V": value}),
        lambda: table.replace(1, {"V": value}),
        lambda: table.load([{"ID": 2}, {"ID": 3, "V": value}]),
    ):
        with pytest.raises(SchemaError, match=re.escape(message)) as caught:
            write()
        assert str(caught.value).startswith("table KITTENS, column V")
        assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)
    assert len(table) == 1 and table.get(1) == {"V": None}


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"N": None}, SchemaError, "column N STRING NOT NULL: a null is not allowed"),
        ({}, SchemaError, "column N STRING NOT NULL: a null is not allowed"),
        ({"N": "x", "M": "y"}, ColumnNotFoundError, "no column M; .*there are ID, N, V"),
        ({"N": "x", 7: "y"}, ColumnNotFoundError, "no column 7"),
        ({"N": "x", "ID": 1}, SchemaError, "ID is in the key, it cannot be in the value"),
        ("x", SchemaError, "a value is a dict of N, V, got 'x'"),
        (None, SchemaError, "a value is a dict of N, V, got None"),
        ([("N", "x")], SchemaError, "a value is a dict of N, V"),
    ],
)
def test_a_value_of_other_columns(grid, value, error, message):
    table = grid.create_table("T", {"ID": "LONG", "N": "STRING NOT NULL", "V": "INT"}, key="ID")
    with pytest.raises(error, match=message):
        table.put(1, value)
    assert len(table) == 0


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, r"a key is a tuple \(A, B\), got None"),
        ((1,), r"a key is a tuple \(A, B\)"),
        ((1, "x", 2), r"a key is a tuple \(A, B\)"),
        ((1, None), "column B STRING NOT NULL: a null is not allowed in a key"),
        ((None, "x"), "column A INT8 NOT NULL: a null is not allowed in a key"),
        ((1, 2), "column B .*: 2 .int. is not a str"),
        ((128, "x"), "column A .*: 128 .int. is out of its range"),
        ({"A": 1}, "the key is A, B, got A"),
        ({"A": 1, "B": "x", "C": 1}, "the key is A, B, got A, B, C"),
        ((1, "x" * MAX_KEY_BYTES), f"a key has at most {MAX_KEY_BYTES} bytes"),
    ],
)
def test_a_key_that_does_not_fit(grid, key, message):
    table = grid.create_table("T", {"A": "INT8", "B": "STRING", "V": "INT"}, key=("A", "B"))
    table.put((1, "x"), {"V": 1})
    for action in (
        lambda: table.put(key, {}),
        lambda: table.put_all([((1, "x"), {"V": 2}), (key, {})]),
        lambda: table.get(key),
        lambda: key in table,
        lambda: table.remove(key),
        lambda: table.remove_all([(1, "x"), key]),
        lambda: table.get_all([key]),
        lambda: table.partition_of(key),
    ):
        with pytest.raises(SchemaError, match=message):
            action()
    assert len(table) == 1 and table.get((1, "x")) == {"V": 1}


def test_the_largest_key_fits(grid):
    table = grid.create_table("T", {"A": "INT8", "B": "STRING", "V": "INT"}, key=("A", "B"))
    longest = "x" * (MAX_KEY_BYTES - 1 - 4)
    table.put((1, longest), {"V": 1})
    table.load({"A": np.array([2], "i1"), "B": [longest], "V": [2]})
    with pytest.raises(SchemaError, match="a key has at most"):
        table.load({"A": np.array([3], "i1"), "B": [longest + "x"], "V": [2]})
    assert len(table) == 2 and table.get((2, longest)) == {"V": 2}


@pytest.mark.parametrize("kind", ["FLOAT16", "FLOAT32", "FLOAT64"])
def test_a_float_key_is_never_nan_and_has_one_zero(grid, kind):
    """However the number comes, also when only its rounding makes it a zero or NaN."""
    table = grid.create_table("T", {"K": kind, "V": "INT"}, key="K")
    dtype = np.dtype(kind.lower())
    for nan in (float("nan"), D("NaN"), np.array(np.nan, dtype), np.float16("nan")):
        with pytest.raises(SchemaError, match="NaN is not allowed in a key"):
            table.put(nan, {})
    with pytest.raises(SchemaError, match="NaN is not allowed in a key"):
        table.load({"K": np.array([1, np.nan], dtype)})
    for number, zero in enumerate((0, -0.0, D("-0.0"), np.array(-0.0, dtype), -5e-324 if kind != "FLOAT64" else -0.0)):
        table.put(zero, {"V": number})
        assert len(table) == 1 and table.get(0.0) == table.get(-0.0) == {"V": number}
    table.load({"K": np.array([-0.0, 1], dtype), "V": [7, 8]}, on_duplicate="replace")
    table.load(pa.table({"K": pa.array([-0.0, 1]), "V": [7, 8]}), on_duplicate="replace")
    assert len(table) == 2 and table.get(0) == {"V": 7}
    assert not np.signbit(np.asarray(table.to_arrow()["K"])).any()


LOADS = [
    ({"ID": [1, 2], "V": [1]}, SchemaError, "different lengths: ID 2, V 1"),
    ({"ID": [1], "VV": [1]}, ColumnNotFoundError, "no column VV; did you mean V"),
    ({"V": [1]}, SchemaError, "the data has no column ID INT64 NOT NULL; it has V"),
    ({"ID": [1, None]}, SchemaError, "column ID"),
    ({"ID": ["x"]}, SchemaError, "column ID"),
    ({"ID": [1.5]}, SchemaError, "column ID"),
    ({"ID": [1], "V": [2**31]}, SchemaError, "column V INT32"),
    ({"ID": np.zeros((2, 2), int)}, SchemaError, "column ID"),
    ({"ID": [1], "P": np.zeros((1, 3), np.uint8)}, SchemaError, r"shape \[3\] of a row is not \[2\]"),
    ({"ID": [1], "P": np.zeros((1, 2), np.int64)}, SchemaError, "dtype int64 does not fit uint8"),
    ({"ID": [1], "P": [np.zeros(3, np.uint8)]}, SchemaError, "column P"),
    ({"ID": [1], "F": [1e300]}, SchemaError, "column F FLOAT32"),
    ({"ID": [1], "U": [uuid.UUID(int=1)], "S": ["\ud800"]}, SchemaError, "column S"),
    (pa.table({"ID": [1], "P": pa.array([[1, None]], pa.list_(pa.uint8(), 2))}), SchemaError, "in a tensor is null"),
    (pa.table({"ID": [1], "P": pa.array([[1, 2, 3]])}), SchemaError, "column P"),
    (pa.table({"ID": [1], "B": pa.array([[1, 2]], pa.list_(pa.uint8(), 2))}), SchemaError, "neither 0 nor 1"),
    (pa.table({"ID": [1], "T": pa.array([-1]).view(pa.time64("us"))}), SchemaError, "not within the acceptable range"),
    (pa.table({"ID": [1], "F": pa.array([1e300])}), SchemaError, "out of the range of float"),
    (pa.table([[1], [2]], names=["ID", "ID"]), SchemaError, "column ID 2 times"),
    (pa.table({"ID": pa.array([1, None])}), SchemaError, "column ID may not be null, and is in row 1"),
    (pa.table({"ID": [1], "V": pa.array([1j.real], pa.duration("s"))}), SchemaError, "column V"),
    (pd.DataFrame({"ID": [1], "V": ["x"]}), SchemaError, "column V"),
    ([{"ID": 1}, 7], SchemaError, "a row is a dict of columns, got int"),
    ([{"ID": 1}, {"V": 7}], SchemaError, "a null is not allowed in a key"),
    ([{"ID": 1}, {"ID": 2, "W": 7}], ColumnNotFoundError, "no column W"),
    (7, SchemaError, "a int cannot be loaded; give an Arrow table"),
    ("ID", SchemaError, "a str cannot be loaded"),
]


@pytest.mark.parametrize(("data", "error", "message"), LOADS)
def test_data_that_does_not_fit(grid, data, error, message):
    columns = {"ID": "LONG", "V": "INT", "P": "UINT8[2]", "B": "BOOL[2]", "F": "REAL", "T": "TIME"}
    columns |= {"U": "UUID", "S": "TEXT"}
    table = grid.create_table("T", columns, key="ID")
    table.put(5, {"V": 5})
    with pytest.raises(error, match=message) as caught:
        table.load(data)
    assert "table T" in str(caught.value)
    assert len(table) == 1 and table.get(5)["V"] == 5
    with pytest.raises(gridflow.UsageError, match="on_duplicate is error, replace or ignore, not 'upsert'"):
        table.load([], on_duplicate="upsert")
