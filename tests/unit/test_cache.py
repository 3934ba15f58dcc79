"""Caches: nested Python values under keys, with the structure of the first value."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid

import numpy as np
import pytest
from strategies import same

import gridflow
from gridflow import SchemaError, StructureError, TableNotFoundError
from gridflow.cache import structure_of

KITTEN = {
    "metadata": {"file_name": b"kitten.jpg", "label": 1, "size": {"width": 2, "height": 2}},
    "pixels": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
    "tags": ["soft", "warm"],
    "boxes": [{"x": 0.5, "name": "ear"}],
    "born": dt.date(2024, 2, 29),
    "seen": dt.datetime(2024, 3, 1, 12),
    "at": dt.datetime(2024, 3, 1, 12, tzinfo=dt.timezone.utc),
    "chip": uuid.UUID(int=7),
    "weight": decimal.Decimal("1.25"),
    "alive": True,
    "score": np.float32(0.5),
}
STRUCTURE = (
    "STRUCT<metadata STRUCT<file_name BINARY, label INT64, size STRUCT<width INT64, height INT64>>, "
    "pixels UINT8[2,2,3], tags LIST<STRING>, boxes LIST<STRUCT<x FLOAT64, name STRING>>, born DATE, "
    "seen TIMESTAMP, at TIMESTAMP_TZ, chip UUID, weight DECIMAL(38,2), alive BOOL, score FLOAT32>"
)


def test_a_nested_value_comes_back(grid):
    kittens = grid.cache("KITTENS")
    assert len(kittens) == 0 and "tom" not in kittens and grid.tables() == []
    kittens.put("tom", KITTEN)
    expected = {**KITTEN, "score": 0.5}
    for _ in range(2):
        assert same(kittens.get("tom"), expected)
        assert "tom" in kittens and kittens.contains("tom") and len(kittens) == 1
        grid.flush()
    assert grid.tables() == ["KITTENS"] and kittens.table.schema.key == ("_KEY",)
    assert kittens.table.to_arrow()["pixels"].combine_chunks().to_numpy_ndarray().shape == (1, 2, 2, 3)
    assert same(grid.cache("KITTENS").get("tom"), expected), "a cache is its name"


def test_the_face_of_a_table(grid):
    cache = grid.cache("C")
    assert cache.get(1) is None and cache.get(1, "none") == "none" and cache.get_all([1]) == {}
    assert cache.remove(1) is False and cache.replace(1, "x") is False and 1 not in cache
    assert grid.tables() == []
    assert cache.put_if_absent(1, "one") is True and cache.put_if_absent(1, "two") is False
    assert cache.replace(1, "uno") is True and cache.replace(2, "dos") is False
    cache.put_all({2: "two", 3: "three"})
    cache.put_all([(4, "four"), (4, "quattro")])
    cache.put_all({})
    assert cache.get_all([1, 2, 3, 4, 5]) == {1: "uno", 2: "two", 3: "three", 4: "quattro"}
    assert cache.remove(2) is True and len(cache) == 3
    assert cache.table.schema.plain_value and cache.get(3) == "three"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (KITTEN, STRUCTURE),
        (7, "INT64"),
        (7.5, "FLOAT64"),
        (np.int8(7), "INT8"),
        (np.array(7, "u2"), "UINT16"),
        (True, "BOOL"),
        (b"x", "BINARY"),
        (dt.time(1), "TIME"),
        (decimal.Decimal("1E+3"), "DECIMAL(38,0)"),
        ([1, 2], "LIST<INT64>"),
        ((1, 2), "LIST<INT64>"),
        ([[1.5], [2.5]], "LIST<LIST<FLOAT64>>"),
        (np.zeros((3,), bool), "BOOL[3]"),
        ([np.zeros(2, "f2")], "LIST<FLOAT16[2]>"),
        ({"a b": {'"': 1}}, 'STRUCT<"a b" STRUCT<"""" INT64>>'),
    ],
)
def test_the_structure_of_a_value(grid, value, text):
    assert structure_of(value).text() == text
    grid.cache("C").put(1, value)
    assert same(grid.cache("C").get(1), grid.table("C").get(1))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "value is a NoneType, which has no column type"),
        ({"a": {"b": None}}, "value.a.b is a NoneType"),
        ([], "value is an empty list"),
        ({}, "value is an empty dict"),
        ({"a": []}, "value.a is an empty list"),
        ([1, "x"], "value holds both INT64 and STRING: a list's items have one type"),
        ([{"a": 1}, {"b": 1}], "value holds both STRUCT<a INT64> and STRUCT<b INT64>"),
        ({1: 2}, "value has the field name 1: a field name is a str"),
        (object(), "value is a object"),
        ({1, 2}, "value is a set"),
        (np.zeros((0, 2)), "value is an empty array"),
        (np.array(["x"]), "cannot be a tensor"),
        ({"_KEY": 1}, "a value cannot have a field _KEY"),
        ({"_VAL": 1}, "a value cannot have a field _VAL"),
        (2**63, "9223372036854775808 (int) is out of its range"),
        ({"a": "\ud800"}, "cannot be written as UTF-8"),
        (decimal.Decimal("NaN"), "NaN"),
        ({"": 1}, "'' cannot be a column name"),
    ],
)
def test_a_first_value_without_a_structure_makes_no_table(grid, value, message):
    with pytest.raises(SchemaError, match=re.escape(message)):
        grid.cache("C").put(1, value)
    with pytest.raises(SchemaError, match=re.escape(message)):
        grid.cache("C").put_all({1: value})
    assert grid.tables() == [] and len(grid.cache("C")) == 0


@pytest.mark.parametrize("key", [(1, 2), {"a": 1}, [1], None, np.zeros(2), float("nan")])
def test_a_key_that_is_no_scalar(grid, key):
    with pytest.raises(SchemaError):
        grid.cache("C").put(key, 1)
    assert grid.tables() == []


CHANGED = [
    ({**KITTEN, "tags": "soft"}, "column tags LIST<STRING>: 'soft' (str) is not a list", "tags STRING"),
    ({**KITTEN, "more": 1}, "has no column more", "more INT64"),
    ({**KITTEN, "pixels": np.zeros((3, 2), "u1")}, "shape [3, 2] is not [2, 2, 3]", "pixels UINT8[3,2]"),
    ({**KITTEN, "metadata": {"size": {"depth": 1}}}, "value.metadata.file_name is left out", "STRUCT<depth INT64>"),
    ({**KITTEN, "boxes": [{"x": 0.5}]}, "value.boxes[0].name is left out", "boxes LIST<STRUCT<x FLOAT64>>"),
    ({"tags": ["a"]}, "value.metadata is left out; write None where there is nothing", "STRUCT<tags LIST<STRING>>"),
    ({**KITTEN, "boxes": [{"x": 0.5, "name": 7}]}, "boxes[0].name", "boxes LIST<STRUCT<x FLOAT64, name INT64>>"),
    ({**KITTEN, "alive": 1}, "column alive BOOL: 1 (int) is not a bool", "alive INT64"),
    ({**KITTEN, "tags": ["a", 1]}, "column tags[1]", "holds both STRING and INT64"),
    ("kitten", "a value is a dict of metadata, pixels", "STRING -> STRING"),
    ({**KITTEN, "score": None, "tags": []}, None, None),
]


@pytest.mark.parametrize(("value", "message", "given"), CHANGED)
def test_a_value_of_another_structure_shows_both(grid, value, message, given):
    kittens = grid.cache("KITTENS")
    kittens.put("tom", KITTEN)
    if message is None:  # parts may be missing
        kittens.put("tim", value)
        assert kittens.get("tim")["score"] is None and kittens.get("tim")["tags"] == []
        return
    for write in (
        lambda: kittens.put("tim", value),
        lambda: kittens.put_if_absent("tim", value),
        lambda: kittens.replace("tom", value),
        lambda: kittens.put_all({"tam": KITTEN, "tim": value}),
    ):
        with pytest.raises(StructureError) as caught:
            write()
        text = str(caught.value)
        assert re.search(r"^cache KITTENS: the value under 't[io]m' does not have the cache's structure", text)
        assert message in text and given in text and f"the cache holds: STRING -> {STRUCTURE}" in text
    assert len(kittens) == 1 and same(kittens.get("tom"), {**KITTEN, "score": 0.5})


def test_a_key_of_another_type_shows_both(grid):
    cache = grid.cache("C")
    cache.put("a", 1)
    with pytest.raises(StructureError, match="the cache holds: STRING -> INT64\n  this value is:   INT64 -> INT64"):
        cache.put(7, 1)
    with pytest.raises(SchemaError, match="column _KEY"):
        cache.get(7)


def test_a_cache_whose_table_is_dropped_begins_anew(grid):
    cache = grid.cache("C")
    cache.put(1, "text")
    with pytest.raises(TableNotFoundError):
        grid.cache("D").table  # noqa: B018
    grid.drop_table("C")
    assert cache.get(1) is None and len(cache) == 0 and 1 not in cache and cache.remove(1) is False
    cache.put("other", {"structure": 1})
    assert cache.get("other") == {"structure": 1}
    grid.drop_table("C")
    grid.create_table("C", {"_KEY": "LONG", "_VAL": "LONG"}, key="_KEY")
    cache.put(1, 2)
    assert cache.get(1) == 2 and len(cache) == 1


def test_a_table_is_a_cache_and_a_cache_a_table(grid):
    """The two faces of one thing, also under the name that Ignite gives the cache of a table."""
    table = grid.create_table("IMAGES", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
    table.put(1, {"NAME": "one"})
    for name in ("IMAGES", "SQL_PUBLIC_IMAGES"):
        cache = grid.cache(name)
        assert cache.get(1) == {"NAME": "one"}
        cache.put(2, {"NAME": "two"})
        with pytest.raises(StructureError, match="the cache holds: INT64 -> STRUCT<NAME STRING>"):
            cache.put(3, {"NAME": 3})
    assert len(table) == 2
    pair = grid.create_table("PAIR", {"A": "INT", "B": "INT", "V": "INT"}, key=("A", "B"))
    grid.cache("PAIR").put((1, 2), {"V": 3})
    assert pair.get((1, 2)) == {"V": 3}
    with pytest.raises(StructureError, match="the cache holds: INT32, INT32 -> STRUCT<V INT32>"):
        grid.cache("PAIR").put((1, 2), {"V": "x"})
    assert isinstance(grid.cache("PAIR"), gridflow.Cache)
