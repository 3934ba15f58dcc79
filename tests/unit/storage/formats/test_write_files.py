"""Files of other formats that are written, and what is read from them again."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import as_row, key_parts, same, schemas, values

from gridflow.errors import UsageError
from gridflow.schema import Schema, Type, parse_type
from gridflow.storage.arrow import user_schema
from gridflow.storage.arrow_to_python import to_python
from gridflow.storage.formats.plain_values import column_of_plain
from gridflow.storage.formats.reading import detect_format, open_source
from gridflow.storage.formats.source import CsvStyle, ReadOptions
from gridflow.storage.formats.writing import WriteOptions, write_file
from gridflow.storage.input_columns import to_columns
from gridflow.storage.python_columns import arrow_column

STYLES = [
    CsvStyle(null="", base64=True),
    CsvStyle(null="\\N", base64=True, delimiter="|", quote="'"),
    CsvStyle(null="null", base64=True, delimiter=";", escape="\\"),
    CsvStyle(null="-", base64=True, delimiter="0", charset="utf-16"),
]
PLAIN = WriteOptions()


def arrow_of_rows(schema: Schema, rows: list) -> pa.Table:
    """Rows as a table: one value for each column, as ``Table.get`` gives them."""
    columns = [arrow_column([row[i] for row in rows], c.type) for i, c in enumerate(schema.columns)]
    return pa.Table.from_arrays(columns, names=schema.names)


def written(path: Path, schema: Schema, rows: pa.Table, options: WriteOptions = PLAIN) -> Path:
    types = [column.type for column in schema.columns]
    batches = iter(rows.to_batches(max_chunksize=3))
    wanted = user_schema(list(schema.columns))
    assert write_file(path, detect_format_of(path), rows.schema, types, batches, options) == rows.num_rows
    assert rows.schema.types == wanted.types
    assert [other for other in path.parent.iterdir() if other.suffix == ".tmp"] == []
    return path


def detect_format_of(path: Path) -> str:
    path.touch()
    return detect_format(path)


def read(path: Path, schema: Schema, style: CsvStyle = STYLES[0]) -> list[pa.Array]:
    """A file as columns in the layout of segments."""
    options = ReadOptions(
        type_of=lambda name: schema[name].type,
        expected=tuple(schema.names) if "json" in path.name else (),
        finish=lambda batch: pa.RecordBatch.from_arrays(to_columns(batch, schema, "T"), names=schema.names),
        csv=style,
    )
    batches = list(open_source(path, detect_format(path), options).batches)
    return pa.Table.from_batches(batches).columns if batches else []


def check_same(found: list[pa.Array], rows: pa.Table, schema: Schema) -> None:
    original = pa.Table.from_batches(
        [pa.RecordBatch.from_arrays(to_columns(batch, schema, "T"), names=schema.names) for batch in rows.to_batches()]
    )
    for column, wanted, got in zip(schema.columns, original.columns, found, strict=True):
        for a, b in zip(to_python(got), to_python(wanted), strict=True):
            assert same(a, b), (str(column), a, b)


def has_tensor(t: Type) -> bool:
    return t.kind == "TENSOR" or any(has_tensor(child) for _, child in t.children)


@st.composite
def tables(draw) -> tuple[Schema, pa.Table]:
    schema = draw(schemas(columns=3))
    keys = st.tuples(*(key_parts(c.type) for c in schema.key_columns))
    row = st.tuples(keys, st.fixed_dictionaries({c.name: values(c.type) for c in schema.value_columns}))
    rows = draw(st.lists(row, min_size=1, max_size=4))
    whole = [as_row(schema, key if len(key) > 1 else key[0], value) for key, value in rows]
    return schema, arrow_of_rows(schema, [[r[name] for name in schema.names] for r in whole])


@settings(max_examples=60)
@given(table=tables(), name=st.sampled_from(["a.parquet", "a.arrow", "a.arrows", "a.json", "b.json", "c.jsonl.gz"]))
def test_whatever_a_table_holds_comes_back(table, name, tmp_path_factory):
    schema, rows = table
    if name == "a.parquet" and any(has_tensor(child) for c in schema.columns for _, child in c.type.children):
        return  # pyarrow cannot read what it has written of a list of fixed size below a null
    path = written(tmp_path_factory.mktemp("f") / name, schema, rows, WriteOptions(array=name == "b.json"))
    check_same(read(path, schema), rows, schema)


@settings(max_examples=60)
@given(table=tables(), style=st.sampled_from(STYLES), suffix=st.sampled_from([".csv", ".csv.gz", ".csv.zst"]))
def test_whatever_a_table_holds_comes_back_from_csv(table, style, suffix, tmp_path_factory):
    schema, rows = table
    path = written(tmp_path_factory.mktemp("f") / f"a{suffix}", schema, rows, WriteOptions(csv=style))
    check_same(read(path, schema, style), rows, schema)


@settings(max_examples=60)
@given(table=tables())
def test_tfrecord_keeps_what_it_has_a_type_for(table, tmp_path_factory):
    schema, rows = table

    def kept(t: Type) -> bool:
        return t.kind not in ("FLOAT64", "UINT64") and all(kept(child) for _, child in t.children)

    names = [c.name for c in schema.columns if kept(c.type)]
    if not set(schema.key) <= set(names):
        return
    narrow = Schema(tuple(c for c in schema.columns if c.name in names), schema.key)
    path = written(tmp_path_factory.mktemp("f") / "a.tfrecord", narrow, rows.select(names))
    found = read(path, narrow)
    check_same(found, rows.select(names), narrow)


def test_npz_holds_arrays(tmp_path):
    schema = Schema.of({"ID": "LONG", "P": "UINT8[2,2]", "B": "BOOL[2]", "S": "VARCHAR"}, key="ID")
    rows = arrow_of_rows(schema, [[i, np.full((2, 2), i, "u1"), np.array([i % 2, 1], bool), f"é{i}"] for i in range(7)])
    path = written(tmp_path / "a.npz", schema, rows)
    with np.load(path) as file:
        assert {name: (file[name].dtype.kind, file[name].shape) for name in file.files} == {
            "ID": ("i", (7,)),
            "P": ("u", (7, 2, 2)),
            "B": ("b", (7, 2)),
            "S": ("U", (7,)),
        }
    check_same(read(path, schema), rows, schema)


def test_npz_says_what_it_cannot_hold(tmp_path):
    schema = Schema.of({"ID": "LONG", "S": "VARCHAR", "L": "LIST<LONG>"}, key="ID")
    with pytest.raises(UsageError, match="column S has nulls"):
        written(tmp_path / "a.npz", schema, arrow_of_rows(schema, [[1, None, [1]]]))
    with pytest.raises(UsageError, match="cannot hold column L LIST<INT64>"):
        written(tmp_path / "b.npz", schema, arrow_of_rows(schema, [[1, "a", [1]]]))


def test_tfrecords_are_what_tensorflow_reads(tmp_path):
    tf = pytest.importorskip("tensorflow")
    schema = Schema.of({"ID": "LONG", "P": "UINT8[2,2]", "X": "REAL[3]", "S": "VARCHAR", "N": "LIST<INT>"}, key="ID")
    row = [1, np.arange(4, dtype="u1").reshape(2, 2), np.array([0.5, 1, 2], "f4"), "é", [3, None]]
    path = written(tmp_path / "a.tfrecord", schema, arrow_of_rows(schema, [row, [2, None, None, None, []]]))
    records = [bytes(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]
    parsed = tf.io.parse_single_example(
        records[0],
        {
            "ID": tf.io.FixedLenFeature([], tf.int64),
            "P": tf.io.FixedLenFeature([], tf.string),
            "X": tf.io.FixedLenFeature([3], tf.float32),
            "S": tf.io.FixedLenFeature([], tf.string),
        },
    )
    assert int(parsed["ID"]) == 1 and parsed["S"].numpy() == "é".encode()
    assert tf.io.decode_raw(parsed["P"], tf.uint8).numpy().tolist() == [0, 1, 2, 3]
    assert parsed["X"].numpy().tolist() == [0.5, 1, 2]
    assert sorted(tf.train.Example.FromString(records[1]).features.feature) == ["ID", "N"]


def test_a_file_that_cannot_be_written_whole_is_as_it_was(tmp_path):
    schema = Schema.of({"ID": "LONG"}, key="ID")
    rows = arrow_of_rows(schema, [[1]])
    (tmp_path / "a.csv").write_text("before")

    def broken():
        yield from rows.to_batches()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a.csv", "csv", rows.schema, [None], broken(), WriteOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "before"
    with pytest.raises(UsageError, match="no/such/a.csv cannot be written: No such file"):
        write_file(tmp_path / "no/such/a.csv", "csv", rows.schema, [None], iter(()), WriteOptions())


def test_csv_is_quoted_where_it_must_be(tmp_path):
    schema = Schema.of({"ID": "LONG", "S": "VARCHAR"}, key="ID")
    texts = ["plain", 'a "b"', "a,b", "two\nlines", "", None, " x "]
    rows = arrow_of_rows(schema, list(enumerate(texts)))
    path = written(tmp_path / "a.csv", schema, rows)
    assert path.read_bytes() == b'ID,S\n0,plain\n1,"a ""b"""\n2,"a,b"\n3,"two\nlines"\n4,""\n5,\n6, x \n'
    style = CsvStyle(null="NULL", quote=None, escape="\\", header=False)
    path = written(tmp_path / "b.csv.gz", schema, rows.slice(0, 3), WriteOptions(csv=style))
    assert gzip.decompress(path.read_bytes()) == b'0,plain\n1,a "b"\n2,a\\,b\n'


def test_numbers_of_a_tensor_on_both_sides_of_2_63_stay_as_they_are():
    tensors = [[0, 2**64 - 1], [1, 2**63 + 1]]
    assert column_of_plain(tensors, parse_type("UINT64[2]")).to_pylist() == tensors
