"""Column types and schemas: their text, and where they come from."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import NAMES, schemas, types

from gridflow import ColumnNotFoundError, Schema, SchemaError
from gridflow.schema import (
    ALIASES,
    MAX_DEPTH,
    MAX_DIMENSIONS,
    Type,
    as_type,
    from_arrow,
    from_dtype,
    parse_columns,
    parse_type,
    quote_name,
)
from gridflow.storage.cast import cast_column

# ---- text ----


@given(types(leaves=12))
def test_a_type_is_read_back_from_its_text(t):
    assert parse_type(str(t)) == t
    assert parse_type(t.text()) == Type(**{**t.__dict__, "nullable": True})
    spread = str(t).replace(",", " ,\n\t").replace("<", " < ") if '"' not in str(t) else str(t)
    assert parse_type(spread) == t


@given(st.lists(st.tuples(NAMES, types()), min_size=1, max_size=4))
def test_columns_are_read_back_from_their_text(pairs):
    assert parse_columns(", ".join(f"{quote_name(n)} {t}" for n, t in pairs)) == pairs


@given(st.text(max_size=30))
def test_any_text_is_a_type_or_a_schema_error(text):
    try:
        t = parse_type(text)
    except SchemaError as error:
        assert str(error)
    else:
        assert parse_type(str(t)) == t


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_every_alias_is_the_type_it_stands_for(alias):
    argument = "<INT>" if alias == "ARRAY" else ""
    name = ALIASES[alias] + argument
    assert parse_type(alias + argument) == parse_type(alias.lower() + argument) == parse_type(name)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("LONG", "INT64"),
        ("VARCHAR(50)", "STRING"),
        ("varbinary(16) null", "BINARY"),
        ("DOUBLE PRECISION", "FLOAT64"),
        ("decimal(10)", "DECIMAL(10,0)"),
        ("DECIMAL", "DECIMAL(38,9)"),
        ("TIMESTAMP(9)", "TIMESTAMP"),
        ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP_TZ"),
        ("timestamp(3) with time zone", "TIMESTAMP_TZ"),
        ("TIME(6) NOT NULL", "TIME NOT NULL"),
        ("float[ 2 , 3 ]", "FLOAT64[2,3]"),
        ("INT8", "INT8"),
        ("ARRAY<MAP<VARCHAR, STRUCT<a INT>>>", "LIST<MAP<STRING, STRUCT<a INT32>>>"),
        ("MAP(VARCHAR, STRUCT(a INT[], b DECIMAL(4,1)))[]", "LIST<MAP<STRING, STRUCT<a LIST<INT32>, b DECIMAL(4,1)>>>"),
        ("UINT8[2,2][][] NOT NULL", "LIST<LIST<UINT8[2,2]>> NOT NULL"),
    ],
)
def test_text_as_others_write_it(text, kind):
    assert str(parse_type(text)) == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LNOG", "no type LNOG; did you mean LONG"),
        ("", "expected a name, found the end"),
        ("INT INT", "expected the end, found INT"),
        ("LIST<INT", "expected >, found the end"),
        ("LIST", "expected <"),
        ("MAP<LIST<INT>, INT>", "the key of a MAP is a scalar"),
        ("MAP<INT>", "expected ,"),
        ("STRUCT<>", "expected a name"),
        ("STRUCT<A INT, A LONG>", "a field is named twice"),
        ("DECIMAL(39)", "precision is 1 to 38"),
        ("DECIMAL(2,3)", "scale at most that"),
        ("UINT8[0]", "every dimension of a tensor is at least 1"),
        ("STRUCT(A INT>", "expected ), found >"),
        ("UINT8[2", "expected ], found the end"),
        ("UINT8[", "expected a number"),
        ("VARCHAR[3]", "a tensor holds numbers or booleans"),
        ("INT ยง", "cannot read"),
        ("UINT8[-1]", "cannot read"),
    ],
)
def test_text_that_is_no_type_says_why(text, message):
    with pytest.raises(SchemaError, match=re.escape(message)):
        parse_type(text)


# ---- other sources ----


@given(types())
def test_the_arrow_type_leads_back_to_the_type(t):
    def plain(t: Type) -> Type:  # what Arrow's plain types cannot tell
        if t.kind == "TENSOR":
            return Type("TENSOR", element="UINT8" if t.element == "BOOL" else t.element, shape=(t.size,))
        children = tuple((n, Type(**{**plain(c).__dict__, "nullable": c.nullable})) for n, c in t.children)
        kind = "BINARY" if t.kind == "UUID" else t.kind
        return Type(**{**t.__dict__, "kind": kind, "nullable": True, "children": children})

    assert from_arrow(t.arrow()) == plain(t)


@pytest.mark.parametrize(
    ("arrow", "text"),
    [
        (pa.string(), "STRING"),
        (pa.string_view(), "STRING"),
        (pa.binary(4), "BINARY"),
        (pa.dictionary(pa.int8(), pa.string()), "STRING"),
        (pa.list_(pa.int32()), "LIST<INT32>"),
        (pa.list_(pa.field("x", pa.int32(), nullable=False)), "LIST<INT32 NOT NULL>"),
        (pa.list_(pa.uint8(), 3), "UINT8[3]"),
        (pa.list_(pa.list_(pa.float16(), 3), 2), "FLOAT16[2,3]"),
        (pa.list_(pa.string(), 3), "LIST<STRING>"),
        (pa.fixed_shape_tensor(pa.int8(), [2, 2]), "INT8[2,2]"),
        (pa.uuid(), "UUID"),
        (pa.decimal256(20, 3), "DECIMAL(20,3)"),
        (pa.date64(), "DATE"),
        (pa.time32("s"), "TIME"),
        (pa.timestamp("ms"), "TIMESTAMP_MS"),
        (pa.timestamp("ns", "Europe/Berlin"), "TIMESTAMP_TZ"),
        (pa.map_(pa.string(), pa.int8()), "MAP<STRING, INT8>"),
        (pa.struct([pa.field("a b", pa.int8(), nullable=False)]), 'STRUCT<"a b" INT8 NOT NULL>'),
    ],
)
def test_arrow_types_become_their_plain_form(arrow, text):
    assert str(from_arrow(arrow)) == text


@pytest.mark.parametrize("arrow", [pa.null(), pa.duration("s"), pa.decimal256(50, 2), pa.month_day_nano_interval()])
def test_arrow_types_that_cannot_be_columns(arrow):
    with pytest.raises(SchemaError, match=r"cannot be a column|38 digits"):
        from_arrow(arrow)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("bool", "BOOL"),
        ("uint16", "UINT16"),
        ("f2", "FLOAT16"),
        (("u1", (28, 28)), "UINT8[28,28]"),
        ("M8[D]", "DATE"),
        ("M8[ns]", "TIMESTAMP_NS"),
        ("M8[h]", "TIMESTAMP"),
        ("U7", "STRING"),
        ("S3", "BINARY"),
    ],
)
def test_numpy_types(dtype, text):
    assert str(from_dtype(np.dtype(dtype))) == str(as_type(np.dtype(dtype))) == text


@pytest.mark.parametrize("spec", [object(), "c16", np.dtype("O"), np.dtype("m8[s]"), complex, 7, ("U3", (2,))])
def test_what_is_no_type(spec):
    with pytest.raises(SchemaError):
        as_type(np.dtype(spec) if spec in ("c16", ("U3", (2,))) else spec)


# ---- schemas ----


def test_a_schema_of_every_form_is_the_same():
    expected = Schema.of({"ID": "LONG", "P": "UINT8[2,2]", "N": "VARCHAR NOT NULL"}, key="ID")
    assert str(expected) == "ID INT64 NOT NULL, P UINT8[2,2], N STRING NOT NULL, PRIMARY KEY (ID)"
    arrow = pa.schema(
        [
            ("ID", pa.int64()),
            ("P", pa.fixed_shape_tensor(pa.uint8(), [2, 2])),
            pa.field("N", pa.string(), nullable=False),
        ]
    )
    forms = [
        'ID LONG, P UINT8[2,2], "N" VARCHAR(9) NOT NULL',
        [("ID", int), ("P", np.dtype(("u1", (2, 2)))), ("N", Type("STRING", nullable=False))],
        arrow,
        expected,
    ]
    for form in forms:
        assert Schema.of(form, key=["ID"]) == expected
    assert expected.names == ["ID", "P", "N"] and expected["P"].id == 2 and "P" in expected and "Q" not in expected
    assert not expected.plain_value and Schema.of({"K": "INT", "_VAL": "INT"}, key="K").plain_value


@given(schemas())
def test_a_schema_is_the_schema_of_itself(schema):
    assert Schema.of(schema, schema.key) == schema
    assert Schema.of(parse_columns(", ".join(map(str, schema.columns))), schema.key) == schema
    assert [c.name for c in schema.key_columns] == list(schema.key)
    assert {*schema.key_columns, *schema.value_columns} == {*schema.columns}


@pytest.mark.parametrize(
    ("columns", "key", "error", "message"),
    [
        ({"ID": "LONG"}, "IDD", ColumnNotFoundError, "no column IDD for the primary key; did you mean ID"),
        ({"ID": "LONG"}, [], SchemaError, "needs a primary key"),
        ({"ID": "LONG"}, ["ID", "ID"], SchemaError, "needs a primary key"),
        ({"ID": "LONG"}, 7, SchemaError, "a key is the name of a column"),
        ({"ID": "LIST<INT>"}, "ID", SchemaError, "a key is a scalar"),
        ({"ID": "UINT8[2]"}, "ID", SchemaError, "a key is a scalar"),
        ("ID LONG, ID INT", "ID", SchemaError, "ID is named twice"),
        ({"": "LONG"}, "", SchemaError, "1 to 1024 bytes"),
        ({"A\0": "LONG"}, "A\0", SchemaError, "no NUL"),
        ({"\ud800": "LONG"}, "\ud800", SchemaError, "UTF-8"),
        ({"ä" * 513: "LONG"}, "ä" * 513, SchemaError, "1 to 1024 bytes"),
        (7, "ID", SchemaError, "does not name columns"),
        (["ID LONG"], "ID", SchemaError, "does not name columns"),
    ],
)
def test_impossible_schemas(columns, key, error, message):
    with pytest.raises(error, match=message):
        Schema.of(columns, key)


def deep(levels: int) -> Type:
    t = Type("INT8")
    for _ in range(levels):
        t = Type("LIST", children=(("item", t),))
    return t


@pytest.mark.parametrize(
    ("t", "message"),
    [
        (pa.struct([]), "one field at least"),
        (pa.struct([("a", pa.int8()), ("a", pa.int8())]), "field a is named twice"),
        (pa.struct([("", pa.int8())]), "field name"),
        (pa.map_(pa.list_(pa.int8()), pa.int8()), "the key of a MAP is a scalar"),
        (pa.fixed_shape_tensor(pa.int8(), [0]), "dimensions"),
        (pa.fixed_shape_tensor(pa.int8(), []), "dimensions"),
        (pa.decimal128(5, -2), "scale 0 to that"),
        (f"UINT8[{','.join(['1'] * (MAX_DIMENSIONS + 1))}]", f"1 to {MAX_DIMENSIONS} dimensions"),
        ("FLOAT64[65536,65536]", "at most 2 GiB"),
        ("UINT8[99999999999999999999999]", "at most 2 GiB"),
        (deep(MAX_DEPTH + 1), f"at most {MAX_DEPTH} deep"),
        (Type("FANCY"), "no kind of type 'FANCY'"),
        (Type("TIMESTAMP", unit="h"), "unit s, ms, us or ns"),
        (Type("LIST"), "has 1 types in it, not 0"),
        (Type("TENSOR", element="STRING", shape=(2,)), "numbers or booleans"),
    ],
)
def test_a_type_that_no_segment_can_hold_never_reaches_the_grid(grid, t, message):
    """Such a table's manifest could be written, but not read: the grid would not open again."""
    with pytest.raises(SchemaError, match=message):
        grid.create_table("T", {"ID": "LONG", "V": t}, key="ID")
    assert grid.tables() == []


def test_the_deepest_types_work(grid):
    maps: str | Type = "UINT8[1]"
    for _ in range(MAX_DEPTH):
        maps = f"MAP<INT, {maps}>"
    cube = f"BOOL[{','.join(['1'] * MAX_DIMENSIONS)}]"
    table = grid.create_table("T", {"ID": "LONG", "L": deep(MAX_DEPTH), "M": maps, "C": cube}, key="ID")
    array = np.ones((1,) * MAX_DIMENSIONS, bool)
    lists, nested = 7, np.ones(1, np.uint8)
    for level in range(MAX_DEPTH):
        lists, nested = [lists], {level: nested}
    table.put(1, {"L": lists, "M": nested, "C": array})
    for _ in range(2):
        found = table.get(1)
        assert found["L"] == lists and found["M"] == nested and (found["C"] == array).all()
        assert len(table.to_arrow()) == 1
        table.load(table.to_arrow(), on_duplicate="replace")


@pytest.mark.parametrize("arrow", [pa.json_(), pa.opaque(pa.int32(), "point", "acme"), pa.list_(pa.json_())])
def test_extension_types_became_what_they_are_stored_as(arrow):
    for form in (
        {"ID": pa.int64(), "X": arrow},
        pa.schema({"ID": pa.int64(), "X": arrow}),
        [("ID", "INT"), ("X", arrow)],
    ):
        with pytest.raises(SchemaError, match=r"column X: an Arrow extension<.*cast it to what it is stored as, "):
            Schema.of(form, "ID")


def test_booleans_in_bytes_are_booleans():
    schema = Schema.of({"ID": pa.int64(), "X": pa.bool8(), "U": pa.uuid()}, "ID")
    assert [column.type.kind for column in schema.columns] == ["INT64", "BOOL", "UUID"]
    array = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, 2, None], pa.int8()))
    assert cast_column(array, schema["X"].type, "X").to_pylist() == [False, True, True, None]
