"""Files of other formats that are read, without a grid."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from gridflow.errors import ColumnNotFoundError, GridCorruptError, SchemaError, UsageError
from gridflow.schema import parse_type
from gridflow.storage.formats import csv_reader
from gridflow.storage.formats.reading import detect_format, open_source
from gridflow.storage.formats.source import CsvStyle, ReadOptions, Source


def read(path: Path, **options) -> pa.Table:
    source = open_source(path, detect_format(path), ReadOptions(**options))
    return pa.Table.from_batches(list(source.batches), source.schema)


def types(path: Path, **options) -> dict[str, str]:
    source = open_source(path, detect_format(path), ReadOptions(**options))
    return {name: kind.text() for name, kind in source.types.items()}


@pytest.fixture
def rows() -> pa.Table:
    return pa.table({"id": range(1000), "name": [f"n{i}" for i in range(1000)], "x": np.arange(1000) / 2})


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_parquet_arrow_and_feather_give_the_same_rows(tmp_path, rows):
    pq.write_table(rows, tmp_path / "a.parquet", row_group_size=300)
    feather.write_feather(rows, tmp_path / "a.feather")
    with pa.ipc.new_stream(tmp_path / "a.arrows", rows.schema) as writer:
        writer.write_table(rows)
    for name in ("a.parquet", "a.feather", "a.arrows"):
        assert read(tmp_path / name).equals(rows), name
        assert read(tmp_path / name, columns=("x", "id")).column_names == ["x", "id"]


def test_a_file_without_a_telling_name_is_known_by_its_first_bytes(tmp_path, rows):
    pq.write_table(rows, tmp_path / "data")
    assert detect_format(tmp_path / "data") == "parquet"
    (tmp_path / "other").write_bytes(b"what is this")
    with pytest.raises(UsageError, match="--format csv"):
        detect_format(tmp_path / "other")


def test_progress_of_a_file_ends_at_its_size(tmp_path, rows):
    pq.write_table(rows, tmp_path / "a.parquet")
    source: Source = open_source(tmp_path / "a.parquet", "parquet", ReadOptions())
    assert source.rows == 1000
    list(source.batches)
    assert source.position() == source.size == (tmp_path / "a.parquet").stat().st_size


def test_csv_types_are_found_and_may_be_given(tmp_path):
    path = write_csv(tmp_path / "a.csv", 'id,name,when\n1,"a, ""b""\nc",2024-02-29\n2,,2024-03-01\n')
    assert types(path) == {"id": "INT64", "name": "STRING", "when": "DATE"}
    wanted = {"id": parse_type("INT8"), "name": parse_type("BINARY")}.get
    assert read(path, type_of=wanted)["name"].to_pylist() == [b'a, "b"\nc', b""]
    assert types(path, type_of=wanted)["id"] == "INT8"


def test_csv_variants(tmp_path):
    assert read(write_csv(tmp_path / "a.tsv", "a\tb\n1\t2\n")).to_pylist() == [{"a": 1, "b": 2}]
    assert read(write_csv(tmp_path / "b.csv", "a;b\n1;2\n"), csv=CsvStyle(delimiter=";")).to_pylist() == [
        {"a": 1, "b": 2}
    ]
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfa,b\n1,2\n"))
    assert read(tmp_path / "c.csv.gz").to_pylist() == [{"a": 1, "b": 2}]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "text",
    [
        'id,s\n1,"two\nlines"\n2,in the "middle"\n3,"a ""quote"""\n4,""\n\n5,"a,b"\n',
        'id,s\n1,"the last record\nhas no end"',
        "id,s\n1,a record that is longer than a block\n2,b",
        "id,s\n",
        "id,s",
        "id,s\n\n\n1,after empty lines\n\n",
    ],
)
def test_csv_reads_the_same_wherever_its_blocks_end(tmp_path, monkeypatch, text, ending):
    path = tmp_path / "a.csv"
    path.write_bytes(text.replace("\n", ending).encode())
    wanted = {"id": parse_type("INT32"), "s": parse_type("STRING")}.get
    whole = read(path, type_of=wanted).combine_chunks()
    for size in range(1, len(text) + 2):
        monkeypatch.setattr(csv_reader, "_BLOCK_BYTES", size)
        assert read(path, type_of=wanted).combine_chunks().equals(whole), size


def test_csv_escapes_mean_the_same_wherever_blocks_end(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "a.csv", 'id,s\n1,a\\,"b\n2,"c\\"d,\ne"\n3,f\\\ng\n4,\\"h\n')
    options = {"type_of": {"s": parse_type("STRING")}.get, "csv": CsvStyle(escape="\\")}
    for size in range(1, 40):
        monkeypatch.setattr(csv_reader, "_BLOCK_BYTES", size)
        assert read(path, **options)["s"].to_pylist() == ['a,"b', 'c"d,\ne', "f\ng", '"h'], size


def test_the_line_of_an_error_is_right_wherever_blocks_end(tmp_path, monkeypatch):
    good = '1,"two\nlines"\n\n2,"b ""q"""\n'
    path = write_csv(tmp_path / "a.csv", "id,s\n" + good * 30 + "x,y\n" + good)
    for size in (*range(1, 30), 200, 1000):
        monkeypatch.setattr(csv_reader, "_BLOCK_BYTES", size)
        with pytest.raises(SchemaError, match="line 122, column id INT32: 'x' does not fit"):
            read(path, type_of={"id": parse_type("INT32")}.get)


def test_a_csv_value_of_another_type_names_the_file_and_what_to_do(tmp_path):
    path = write_csv(tmp_path / "a.csv", "id,n\n1,2\n2,x\n")
    with pytest.raises((SchemaError, UsageError), match=r"a\.csv.*'x'"):
        read(path, type_of={"n": parse_type("INT32")}.get)
    with pytest.raises(SchemaError, match="line 2, column n UINT8.2.: 2 does not fit"):
        read(path, type_of={"n": parse_type("UINT8[2]")}.get)


def test_a_csv_line_with_too_many_fields_is_named(tmp_path):
    with pytest.raises((SchemaError, UsageError), match="line 3: it has 3 fields where 2 were expected"):
        read(write_csv(tmp_path / "a.csv", "a,b\n1,2\n1,2,3\n"))


def test_a_missing_column_names_those_that_exist(tmp_path, rows):
    pq.write_table(rows, tmp_path / "a.parquet")
    with pytest.raises(ColumnNotFoundError, match="no column nam; did you mean name"):
        read(tmp_path / "a.parquet", columns=("nam",))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.npz", "a.csv"])
def test_a_file_of_nothing_or_of_something_else_is_a_clear_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises((UsageError, GridCorruptError), match=name):
        read(tmp_path / name)
    if name != "a.csv":
        (tmp_path / name).write_bytes(b"no such thing at all")
        with pytest.raises((UsageError, GridCorruptError), match=name):
            read(tmp_path / name)


def test_npz_arrays_become_scalars_and_tensors(tmp_path):
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    flags = pixels % 2 == 0
    np.savez(tmp_path / "a.npz", pixels=pixels, label=np.arange(5, dtype=np.int32), flags=flags, s=list("abcde"))
    assert types(tmp_path / "a.npz") == {
        "pixels": "UINT8[4,3]",
        "label": "INT32",
        "flags": "BOOL[4,3]",
        "s": "STRING",
    }
    table = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(np.array(table["pixels"].to_pylist()).reshape(pixels.shape), pixels)
    np.testing.assert_array_equal(np.array(table["flags"].to_pylist(), bool).reshape(flags.shape), flags)


def test_npz_that_is_no_table_says_why(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((6, 2)), x_test=np.zeros((2, 2)))
    with pytest.raises(UsageError, match=r"x_train \[6, 2\], x_test \[2, 2\]; choose columns that .*--columns"):
        read(tmp_path / "a.npz")
    assert read(tmp_path / "a.npz", columns=("x_test",)).num_rows == 2
    np.savez(tmp_path / "b.npz", o=np.array([{}, []], dtype=object))
    with pytest.raises(UsageError, match="b.npz"):
        read(tmp_path / "b.npz")


@pytest.fixture
def examples(tmp_path):
    tf = pytest.importorskip("tensorflow")

    def write(records, name="a.tfrecord", options=None):
        with tf.io.TFRecordWriter(str(tmp_path / name), options) as writer:
            for record in records:
                features = {}
                for key, value in record.items():
                    if isinstance(value[0], bytes):
                        features[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
                    elif isinstance(value[0], float):
                        features[key] = tf.train.Feature(float_list=tf.train.FloatList(value=value))
                    else:
                        features[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=value))
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
        return tmp_path / name

    return write


def test_tfrecord_types_follow_the_first_records(examples):
    path = examples(
        [
            {"label": [i], "box": [0.5, 1.5], "raw": [b"%d" % i], "words": [b"w"] * (i % 3 + 1), "odd": [1.0]}
            for i in range(2500)
        ]
    )
    assert types(path) == {
        "box": "FLOAT32[2]",
        "label": "INT64",
        "odd": "FLOAT32",
        "raw": "BINARY",
        "words": "LIST<BINARY NOT NULL>",
    }
    table = read(path)
    assert table.num_rows == 2500
    assert table["label"].to_pylist() == list(range(2500))
    assert table["words"][1].as_py() == [b"w", b"w"]


def test_tfrecord_takes_the_types_it_is_given(examples):
    path = examples([{"p": [bytes(range(4))], "q": [1, 2, 3, 4], "n": [7], "t": [b"text"]} for _ in range(3)])
    wanted = {
        "p": parse_type("UINT8[2,2]"),
        "q": parse_type("UINT8[4]"),
        "n": parse_type("INT16"),
        "t": parse_type("VARCHAR"),
    }
    table = read(path, type_of=wanted.get)
    assert table.to_pylist()[2] == {"n": 7, "p": [0, 1, 2, 3], "q": [1, 2, 3, 4], "t": "text"}


def test_tfrecord_missing_features_are_null(examples):
    table = read(examples([{"a": [1], "b": [1.0, 2.0]}, {"a": [2]}, {"b": [3.0, 4.0]}]))
    assert table["a"].to_pylist() == [1, 2, None]
    assert table["b"].to_pylist() == [[1.0, 2.0], None, [3.0, 4.0]]


def test_tfrecord_gzip_is_read_too(examples):
    assert read(examples([{"a": [1]}] * 3, options="GZIP")).num_rows == 3


def test_a_tfrecord_that_does_not_fit_names_record_and_feature(examples):
    path = examples([{"a": [1, 2]}] * 1500 + [{"a": [1, 2, 3]}])
    with pytest.raises(SchemaError, match=r"record 1500: feature a has 3 values where 2 were expected; advice for a"):
        read(path, advice="; advice for {}")
    with pytest.raises(SchemaError, match=r"record 1: feature a holds 300"):
        read(examples([{"a": [1]}, {"a": [300]}], "b.tfrecord"), type_of={"a": parse_type("UINT8")}.get)
    with pytest.raises(SchemaError, match=r"record 0: feature a holds 2 bytes where 4 were expected"):
        read(examples([{"a": [b"ab"]}], "c.tfrecord"), type_of={"a": parse_type("UINT8[4]")}.get)


def test_a_damaged_tfrecord_names_the_offset(examples):
    path = examples([{"a": [i]} for i in range(3000)])
    data = bytearray(path.read_bytes())
    data[-3] ^= 255
    path.write_bytes(data)
    with pytest.raises(GridCorruptError) as caught:
        read(path)
    assert caught.value.file == str(path) and caught.value.offset > 0
    path.write_bytes(b"this is not a TFRecord file at all")
    with pytest.raises(UsageError, match="no TFRecord file"):
        read(path)
