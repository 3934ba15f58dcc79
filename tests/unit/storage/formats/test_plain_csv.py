"""CSV text of plain fields, which is read without pyarrow: what is read is what pyarrow reads."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gridflow
from gridflow.schema import Type
from gridflow.storage.formats.csv_columns import Converter
from gridflow.storage.formats.source import CsvStyle, ReadOptions

_INTEGERS = [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
_TYPES = [Type(kind) for kind in (*_INTEGERS, "FLOAT32", "FLOAT64", "BOOL", "STRING", "BINARY", "DATE")]
_TYPES += [Type("TIMESTAMP", unit=unit) for unit in ("s", "ms", "us", "ns")]
_ODD = ["", " 1", "1 ", "+1", "-", "1.", ".5", "nan", "NULL", "0x1", "007", "-0", '"1"', '""', "x", "1e5", "é", "1,2"]


def _numbers() -> st.SearchStrategy[str]:
    floats = st.floats(allow_nan=False, allow_infinity=False)
    return st.one_of(
        st.integers(-(1 << 63) - 2, (1 << 64) + 2).map(str),
        st.integers(-300, 300).map(str),
        floats.map(repr),
        st.builds(lambda form, x: form % x, st.sampled_from(["%.3f", "%.17g", "%e", "%.20f"]), floats),
        st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: f"{x:.9g}"),
    )


def _texts() -> st.SearchStrategy[str]:
    text = st.text(alphabet="ab é€😀,;\n\"'", max_size=12)
    return st.one_of(text.map(lambda s: '"' + s.replace('"', '""') + '"'), st.text(alphabet="ab é€😀'", max_size=12))


def _fields(t: Type) -> st.SearchStrategy[str]:
    """Fields of a column, of which some do not fit."""
    if t.kind in ("STRING", "BINARY"):
        usual = _texts()
    elif t.kind == "BOOL":
        usual = st.sampled_from(["1", "0", "true", "false", "t", "f", "TRUE", "FALSE", "True", "False", "yes", "tRue"])
    elif t.kind == "DATE":
        usual = st.dates().map(str)
    elif t.kind == "TIMESTAMP":
        usual = st.builds(lambda moment, sep: moment.isoformat(sep), st.datetimes(), st.sampled_from(" T"))
    else:
        usual = _numbers()
    return st.one_of(usual, usual, usual, st.sampled_from(_ODD))


@st.composite
def _files(draw: Any) -> tuple[list[Type], str, str, CsvStyle]:
    types = draw(st.lists(st.sampled_from(_TYPES), min_size=1, max_size=4))
    delimiter = draw(st.sampled_from(",;|\t"))
    record = st.tuples(*map(_fields, types), st.sampled_from(["\n", "\r\n", "\n\n"]))
    records = draw(st.lists(record, max_size=5))
    text = "".join(delimiter.join(fields) + end for *fields, end in records)
    return types, delimiter, text, CsvStyle(null=draw(st.sampled_from([None, ""])))


def _converter(types: list[Type], delimiter: str, style: CsvStyle) -> Converter:
    names = [f"c{i}" for i in range(len(types))]
    converter = Converter(names, names, dict(zip(names, types, strict=True)), style, delimiter, ReadOptions())
    converter.schema()
    return converter


def _same(a: Any, b: Any) -> bool:
    return a == b and not (isinstance(a, float) and math.copysign(1, a) != math.copysign(1, b))


@given(file=_files())
def test_what_is_read_is_what_pyarrow_reads(file):
    types, delimiter, text, style = file
    converter = _converter(types, delimiter, style)
    assert converter.plain is not None
    arrays = converter.plain.read(text.encode())
    if arrays is None or not text.strip("\r\n"):
        return
    table = converter._table(text.encode(), converter.selection, converter.arrow)
    for array, column in zip(arrays, table.columns, strict=True):
        array.validate(full=True)
        assert array.type == column.type
        assert all(map(_same, array.cast(_plain(array.type)).to_pylist(), column.cast(_plain(array.type)).to_pylist()))
        assert len(array) == len(column)


def _plain(t: pa.DataType) -> pa.DataType:
    """A type whose values Python has, whatever the year and the unit."""
    return pa.int64() if pa.types.is_timestamp(t) else pa.int32() if pa.types.is_date32(t) else t


@pytest.mark.parametrize(
    "style",
    [CsvStyle(null="NULL"), CsvStyle(null="0"), CsvStyle(escape="\\"), CsvStyle(quote="1"), CsvStyle(quote="-")],
    ids=["a word is null", "a number is null", "escapes", "a digit quotes", "a sign quotes"],
)
def test_a_style_that_gives_fields_another_meaning_is_left_to_pyarrow(style):
    assert _converter([Type("INT64")], ",", style).plain is None


def test_a_type_or_a_delimiter_that_is_not_known_is_left_to_pyarrow():
    assert _converter([Type("INT64"), Type("TIME")], ",", CsvStyle()).plain is None
    assert _converter([Type("DATE")], "-", CsvStyle()).plain is None


def test_a_block_that_is_not_plain_is_read_by_pyarrow():
    """Every block for itself: the others are plain."""
    converter = _converter([Type("INT64"), Type("STRING")], ",", CsvStyle())
    assert converter.plain is not None and converter.plain.read(b'1,"a ""b"""\n') is None
    assert converter(b'1,"a ""b"""\n').to_pylist() == [{"c0": 1, "c1": 'a "b"'}]
    assert converter(b" 1,a\n").to_pylist() == [{"c0": 1, "c1": "a"}]


def test_the_last_field_may_be_empty_behind_a_text_in_quotes():
    """Where no line's end follows pyarrow takes it for an empty text in quotes, whatever else is in the block."""
    for kind in ("INT64", "STRING"):
        converter = _converter([Type("STRING"), Type(kind)], ",", CsvStyle(null=""))
        assert converter(b'"a",').to_pylist() == [{"c0": "a", "c1": None}]
        assert converter(b'"a""",').to_pylist() == [{"c0": 'a"', "c1": None}]


def test_ends_of_lines_within_a_text_take_no_room(tmp_path):
    """600 columns of as many rows as the text has lines would take 30 GB."""
    names = [f"c{i}" for i in range(600)]
    path = tmp_path / "lines.csv"
    path.write_text(f'ID,TEXT,{",".join(names)}\n1,"{"x" * 3 + chr(10) * 6_000_000}",{",".join("7" for _ in names)}\n')
    with gridflow.connect(tmp_path / "grid") as grid:
        columns = {"ID": "LONG", "TEXT": "VARCHAR"} | dict.fromkeys(names, "LONG")
        table = grid.create_table("T", columns, key="ID")
        grid.sql(f"COPY FROM '{path}' INTO T (ID, TEXT, {', '.join(names)}) FORMAT CSV")
        row = table.get(1)
        assert row["c599"] == 7 and len(row["TEXT"]) == 6_000_003
