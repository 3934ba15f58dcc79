"""Rows of every type come back as they were put: from memory, a segment, a grid opened again, and as Arrow."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import arrow_form, as_row, keys, rows, same, schemas

import gridflow
from gridflow import Schema
from gridflow.schema import FLOATS, INTEGERS
from gridflow.testing import temporary_home, verified

D = decimal.Decimal
UTC = dt.timezone.utc
BERLIN = dt.timezone(dt.timedelta(hours=2))


def plain(array: pa.ChunkedArray) -> list:
    """``to_pylist``, with times of 1 ns as numpy's."""
    if array.type == pa.timestamp("ns"):
        return [None if v is None else np.datetime64(v, "ns") for v in array.cast(pa.int64()).to_pylist()]
    return array.to_pylist()


def normal(value):
    """Arrow's own class for UTC as Python's."""
    if isinstance(value, dict):
        return {k: normal(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(normal, value))
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    return value


def has_nanoseconds(t) -> bool:
    return t.unit == "ns" or any(has_nanoseconds(child) for _, child in t.children)


def check_rows(table: gridflow.Table, expected: list) -> None:
    """Every (key, value) is there, by key and in ``to_arrow``, and nothing else."""
    assert len(table) == len(expected)
    for key, value in expected:
        assert same(table.get(key), value), (key, table.get(key), value)
    schema = table.schema
    names = [name for name in schema.names if not has_nanoseconds(schema[name].type)]
    found = {name: plain(table.to_arrow([name])[name]) for name in names}
    wanted = [as_row(schema, key, value) for key, value in expected]
    for name, column in found.items():
        want = [arrow_form(schema[name].type, row[name]) for row in wanted]
        assert sorted(map(repr, normal(column))) == sorted(map(repr, want))


@settings(max_examples=150)
@given(st.data())
def test_any_row_of_any_schema_comes_back(data):
    schema = data.draw(schemas())
    pairs = data.draw(st.lists(st.tuples(keys(schema), rows(schema)), max_size=5, unique_by=lambda pair: repr(pair[0])))
    later = data.draw(st.lists(rows(schema), min_size=len(pairs), max_size=len(pairs)))
    with temporary_home() as home, verified(home) as grid:
        table = grid.create_table("T", schema, schema.key)
        assert table.schema == schema
        for key, value in pairs:
            table.put(key, value)
        for key, value in pairs:
            assert same(table.get(key), value)
        check_rows(table, pairs)
        table.load(
            [as_row(schema, key, value) for key, value in zip([k for k, _ in pairs], later, strict=True)],
            on_duplicate="replace",
        )
        check_rows(table, [(key, value) for (key, _), value in zip(pairs, later, strict=True)])
        table.put_all(pairs)
        grid.close()
        with gridflow.connect(home) as again:
            check_rows(again.table("T"), pairs)
            assert table.schema == again.table("T").schema
            again.table("T").load(again.table("T").to_arrow(), on_duplicate="replace")
            again.table("T").compact()
            check_rows(again.table("T"), pairs)


# ---- the ends of each type, and other values for the same ----

TENSOR = np.arange(6, dtype=np.int16).reshape(2, 3)
ACCEPTED = [
    *[(k, int(b)) for k in INTEGERS for b in (np.iinfo(k.lower()).min, np.iinfo(k.lower()).max)],
    *[(k, float(b)) for k in FLOATS for f in [np.finfo(k.lower())] for b in (f.max, f.min, f.smallest_subnormal)],
    *[(k, b) for k in FLOATS for b in (float("inf"), float("-inf"), float("nan"), -0.0)],
    ("BOOL", True),
    ("DECIMAL(38,0)", D(10**38 - 1)),
    ("DECIMAL(38,38)", D(-(10**38) + 1).scaleb(-38, decimal.Context(prec=60))),
    ("STRING", ""),
    ("STRING", "a\0b\U0010ffff\ue000"),
    ("STRING", "ä" * 100_000),
    ("BINARY", b""),
    ("BINARY", bytes(range(256)) * 1000),
    ("DATE", dt.date.min),
    ("DATE", dt.date.max),
    ("TIME", dt.time.min),
    ("TIME", dt.time.max),
    ("TIMESTAMP", dt.datetime.min),
    ("TIMESTAMP", dt.datetime.max),
    ("TIMESTAMP_S", dt.datetime.max.replace(microsecond=0)),
    ("TIMESTAMP_TZ", dt.datetime.min.replace(tzinfo=UTC)),
    ("TIMESTAMP_NS", np.datetime64(2**63 - 1, "ns")),
    ("TIMESTAMP_NS", np.datetime64(-(2**63) + 1, "ns")),
    ("UUID", uuid.UUID(int=0)),
    ("UUID", uuid.UUID(int=2**128 - 1)),
    ("INT16[2,3]", TENSOR),
    ("BOOL[3]", np.array([True, False, True])),
    ("LIST<INT32>", []),
    ("LIST<LIST<STRING>>", [None, [], ["a", None]]),
    ("MAP<STRING, DOUBLE>", {}),
    ("MAP<UUID, LIST<INT8[1]>>", {uuid.UUID(int=1): [np.ones(1, np.int8), None], uuid.UUID(int=2): None}),
    ("STRUCT<A INT32, B STRUCT<C UUID, D DATE NOT NULL>>", {"A": None, "B": {"C": None, "D": dt.date(1970, 1, 1)}}),
]
CONVERTED = [
    ("INT8", np.uint64(7), 7),
    ("INT64", np.array(7), 7),
    ("UINT64", np.int8(7), 7),
    ("FLOAT32", 7, 7.0),
    ("FLOAT64", np.float16(0.5), 0.5),
    ("FLOAT64", D("0.5"), 0.5),
    ("FLOAT32", 1 / 3, float(np.float32(1 / 3))),
    ("BOOL", np.True_, True),
    ("DECIMAL(10,2)", 7, D("7.00")),
    ("DECIMAL(10,2)", np.int16(7), D("7.00")),
    ("DECIMAL(10,2)", D("1E+3"), D("1000.00")),
    ("DECIMAL(10,2)", D("0E-999999999"), D("0.00")),
    ("DECIMAL(10,2)", D("1.5000000"), D("1.50")),
    ("STRING", np.str_("x"), "x"),
    ("BINARY", bytearray(b"x"), b"x"),
    ("BINARY", memoryview(b"x"), b"x"),
    ("DATE", np.datetime64("2024-02-29"), dt.date(2024, 2, 29)),
    ("DATE", np.datetime64("20000-01-01"), np.datetime64("20000-01-01")),
    ("TIMESTAMP", np.datetime64("2024-02-29T01:00"), dt.datetime(2024, 2, 29, 1)),
    ("TIMESTAMP", np.datetime64("2024"), dt.datetime(2024, 1, 1)),
    ("TIMESTAMP_S", np.datetime64(2**62, "s"), np.datetime64(2**62, "s")),
    ("TIMESTAMP", pd.Timestamp("2024-02-29 01:02:03.000004"), dt.datetime(2024, 2, 29, 1, 2, 3, 4)),
    ("TIMESTAMP_NS", pd.Timestamp("2024-02-29 01:02:03.000004005"), np.datetime64("2024-02-29T01:02:03.000004005")),
    ("TIMESTAMP_NS", dt.datetime(2024, 1, 1), np.datetime64("2024-01-01T00:00:00.000000000")),
    ("TIMESTAMP_TZ", dt.datetime(2024, 1, 1, 2, tzinfo=BERLIN), dt.datetime(2024, 1, 1, tzinfo=UTC)),
    ("UUID", bytes(16), uuid.UUID(int=0)),
    ("INT16[2,3]", TENSOR.astype(np.uint8), TENSOR),
    ("INT16[2,3]", np.asfortranarray(TENSOR), TENSOR),
    ("INT16[2,3]", TENSOR[:, ::-1], TENSOR[:, ::-1]),
    ("INT16[2,3]", TENSOR.tolist(), TENSOR),
    ("LIST<INT32>", (1, None), [1, None]),
    ("LIST<INT32>", np.array([1, 2], np.int8), [1, 2]),
    ("LIST<INT8[2]>", np.array([[1, 2]], np.int8), [np.array([1, 2], np.int8)]),
    ("LIST<DATE>", np.array(["2024-02-29"], "M8[D]"), [dt.date(2024, 2, 29)]),
    ("MAP<STRING, INT32>", [("a", 1)], {"a": 1}),
    ("STRUCT<A INT32, B INT32>", {"B": 1}, {"A": None, "B": 1}),
]


@pytest.mark.parametrize(("text", "value", "expected"), [*((t, v, v) for t, v in ACCEPTED), *CONVERTED])
def test_values_of_each_type(grid, text, value, expected):
    table = grid.create_table("T", {"ID": "LONG", "V": text, "W": text + " NOT NULL"}, key="ID")
    table.put(1, {"V": value, "W": value})
    table.put(2, {"W": value})
    for _ in range(2):
        assert same(table.get(1), {"V": expected, "W": expected}), table.get(1)
        assert same(table.get(2), {"V": None, "W": expected})
        table.put(3, table.get(1))  # what is read can be written
        table.flush()
    whole = table.to_arrow()
    whole.validate(full=True)
    table.load(whole, on_duplicate="replace")
    table.compact()
    assert same(table.get(3), {"V": expected, "W": expected})


@pytest.mark.parametrize(("text", "value"), [(t, v) for t, v in ACCEPTED if "<" not in t and "[" not in t])
def test_keys_of_each_type(grid, text, value):
    """Alone, and beside a second key column."""
    one = grid.create_table("ONE", {"K": text, "_VAL": "STRING"}, key="K")
    two = grid.create_table("TWO", {"A": "STRING", "V": "INT", "K": text}, key=("K", "A"))
    if value != value:
        with pytest.raises(gridflow.SchemaError, match="table ONE, column K .*: NaN is not allowed in a key"):
            one.put(value, "x")
        return
    one.put(value, "x")
    two.put((value, "a"), {"V": 1})
    two.put({"A": "b", "K": value}, {"V": 2})
    for _ in range(2):
        assert (one.get(value), one[value], value in one) == ("x", "x", True)
        assert two.get((value, "a")) == {"V": 1} and two.get([value, "b"]) == {"V": 2} and (value, "c") not in two
        assert one.partition_of(value) == one.partition_of(value) < one.partitions_count
        grid.flush()
    keys = Schema.of(one.schema, "K").arrow().field("K").type
    for table in (one, two):
        table.load(table.to_arrow(), on_duplicate="replace")
        assert table.to_arrow()["K"].type in (keys, pa.uuid())
    assert len(one) == 1 and len(two) == 2
    assert one.remove(value) and two.remove_all([(value, "a"), (value, "b")]) == 2
