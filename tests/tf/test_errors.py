"""Nulls, damaged files, tables that are gone, and a library that does not fit."""

import datetime as dt
import decimal
import random
import shutil
import struct
import subprocess
import sys
import uuid

import numpy as np
import pytest
import tensorflow as tf
from damage import replace, reseal, rows_at

import gridflow
from gridflow.tf import ops


def drain(dataset):
    for _ in dataset:
        pass


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize(
    "kind, value, column",
    [
        ("INT32", 1, "V"),
        ("STRING", "x", "V"),
        ("BOOL", True, "V"),
        ("UINT8[4]", [1, 2, 3, 4], "V"),
        ("LIST<INT32>", [1], "V"),
        ("STRUCT<A INT32>", {"A": 1}, "V.A"),
    ],
)
def test_null(grid, kind, value, column, batch_size):
    table = grid.create_table("T", {"ID": "LONG", "V": kind, "W": "INT32"}, key="ID")
    table.put_all({i: {"V": value, "W": 1} for i in range(10)})
    table.put(10, {"V": None, "W": 1})
    pattern = rf"column {column} of table T is null in the row where ID = 10: leave the column out .*, or fill it"
    with pytest.raises(tf.errors.InvalidArgumentError, match=pattern):
        drain(gridflow.Dataset(table, grid=grid, batch_size=batch_size))
    drain(gridflow.Dataset(table, grid=grid, batch_size=batch_size, columns=["W"]))
    table.remove(10)
    assert sum(1 for _ in gridflow.Dataset(table, grid=grid, batch_size=1)) == 10


@pytest.mark.parametrize("batch_size", [None, 3])
def test_null_in_parts(grid, batch_size):
    table = grid.create_table("T", {"ID": "LONG", "L": "LIST<INT32>", "S": "STRUCT<A INT32, B INT32>"}, key="ID")
    table.put_all({i: {"L": [1, 2], "S": {"A": 1, "B": 2}} for i in range(5)})
    table.put(5, {"L": [1, None, 3], "S": {"A": 1, "B": None}})
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"column L of table T holds a null in its list in the row where ID = 5:"
    ):
        drain(gridflow.Dataset(table, grid=grid, columns=["L"], batch_size=batch_size))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"column S\.B of table T is null in the row where ID = 5:"
    ):
        drain(gridflow.Dataset(table, grid=grid, columns=["S"], batch_size=batch_size))


@pytest.mark.parametrize(
    "kind, key, text",
    [
        ("BOOL", True, "TRUE"),
        ("INT8", -5, "-5"),
        ("UINT64", 2**64 - 1, "18446744073709551615"),
        ("DECIMAL(5,2)", decimal.Decimal("-1.25"), "-1.25"),
        ("FLOAT64", 0.5, "0.5"),
        ("STRING", "ünï 'x'", r"'ünï \\'x\\''"),
        ("STRING", "x" * 100, "'" + "x" * 80 + r"'\.\.\."),
        ("BINARY", b"\x00\xff", "X'00ff'"),
        ("UUID", uuid.UUID(int=255), "X'" + "00" * 15 + "ff'"),
        ("DATE", dt.date(1970, 1, 11), "10"),
    ],
)
def test_a_null_names_the_key(grid, kind, key, text):
    table = grid.create_table("T", {"A": "INT16", "K": kind, "V": "INT"}, key=("K", "A"))
    table.put((key, 7), {"V": None})
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"in the row where K = {text}, A = 7: leave"):
        drain(gridflow.Dataset(table, grid=grid, columns=["V"]))


@pytest.mark.parametrize("kind, value", [("STRING", "some text"), ("LIST<INT32>", [1, 2, 3]), ("LIST<STRING>", ["x"])])
@pytest.mark.parametrize("wrong", [-1, 1 << 40, -(1 << 62), (1 << 63) - 1, 7])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_damaged_offsets(tmp_path, kind, value, wrong, batch_size):
    """A wrong offset is an error that names the file and the column, and nothing outside the file is read."""
    with gridflow.connect(tmp_path / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": kind}, key="ID")
        table.put_all({i: {"V": value} for i in range(64)})
        table.flush()
        dataset = gridflow.Dataset(table, grid=grid, batch_size=batch_size)
        step = len(value)
        (path,) = (tmp_path / "grid" / "tables" / str(table.table_id)).glob("*.seg")
    data = bytearray(path.read_bytes())
    offsets = data.find(b"".join(struct.pack("<q", i * step) for i in range(65)))
    assert offsets > 0
    data[offsets + 8 * 20 : offsets + 8 * 21] = struct.pack("<q", wrong)
    replace(path, reseal(data))
    with pytest.raises(tf.errors.DataLossError, match=rf"{path.name} is damaged at byte \d+: column V has impossible"):
        drain(dataset)


def test_damaged_anywhere(tmp_path):
    """Whatever the bytes say, reading ends in values or in an error, not in a crash."""
    kinds = {"A": "STRING", "B": "LIST<STRING>", "C": "LIST<BOOL>", "D": "STRUCT<X LIST<INT64>, Y BINARY>", "E": "BOOL"}
    row = {"A": "text", "B": ["x", "yy", ""], "C": [True, False], "D": {"X": [1, 2], "Y": b"z"}, "E": True}
    with gridflow.connect(tmp_path / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", **kinds}, key="ID")
        table.put_all(dict.fromkeys(range(40), row))
        datasets = [
            gridflow.Dataset(table, grid=grid),
            gridflow.Dataset(table, grid=grid, batch_size=7, partitions=[*range(100, 300), *range(500, 1000)]),
        ]
        (path,) = (tmp_path / "grid" / "tables" / str(table.table_id)).glob("*.seg")
    sound = path.read_bytes()
    chance = random.Random(1)
    for _ in range(100):
        data = bytearray(sound)
        for _ in range(chance.choice([1, 4, 200])):
            data[chance.choice(rows_at(sound))] = chance.choice([0, 1, 127, 128, 255])
        replace(path, reseal(data))
        for dataset in datasets:
            try:
                drain(dataset)
            except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
                pass


def test_damaged_header(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": "INT32"}, key="ID")
        table.put(1, {"V": 1})
        table.flush()
        dataset = gridflow.Dataset(table, grid=grid)
        (path,) = (tmp_path / "grid" / "tables" / str(table.table_id)).glob("*.seg")
    data = path.read_bytes()
    replace(path, data[:-100])
    with pytest.raises(tf.errors.DataLossError, match=path.name):
        drain(dataset)


def test_dropped_table(grid, images):
    dataset = gridflow.Dataset(images, grid=grid)
    grid.drop_table("IMAGES")
    with pytest.raises(tf.errors.NotFoundError, match="no table IMAGES in the grid .*: it was dropped"):
        drain(dataset)
    grid.create_table("IMAGES", {"ID": "LONG", "V": "INT32"}, key="ID").put(1, {"V": 1})
    with pytest.raises(tf.errors.NotFoundError, match="no table IMAGES"):  # another table of that name
        drain(dataset)
    drain(gridflow.Dataset("IMAGES", grid=grid))


def test_op_checks_its_inputs(grid, images):
    inputs = dict(gridflow.Dataset(images, grid=grid, columns=[])._reading.inputs())
    types = {"output_types": [tf.int64], "output_shapes": [[]]}

    def read(**changed):
        variant = ops.load().gridflow_dataset(**{**inputs, **types, **changed})
        shape, dtype = changed.get("output_shapes", [[]])[0], changed.get("output_types", [tf.int64])[0]
        drain(tf.data.experimental.from_variant(variant, tf.TensorSpec(shape, dtype)))

    read()
    wrong = [
        ({"stages": [5, -1, 0]}, r"stage 5 \(-1, 0\) cannot stand at place 0"),
        ({"stages": [5, 1]}, "in threes"),
        ({"stages": [99, 1, 0]}, "stage 99"),
        ({"stages": [2, 3, 3]}, "stage 2"),
        ({"stages": [5, 2, 0, 3, 10, 1]}, "stage 3 .* at place 1"),
        ({"stages": [4, 2, 0, 0, 1, 0]}, "stage 0 .* at place 1"),
        ({"stages": [0, 1, 0, 6, -1, 0]}, "stage 6 .* at place 1"),
        ({"seeds": [1]}, "two numbers"),
        ({"columns": []}, "0 columns, but 1 output_types"),
        ({"columns": ["nonsense"]}, "cannot read 'nonsense'"),
        ({"columns": ["1 nonsense\x1fID"]}, r"cannot read '1 nonsense\\x1fID'"),
        ({"columns": ["1 fill=0g\x1fID"]}, "cannot read"),
        ({"columns": ["1 fill=0000\x1fID"]}, "malformed value of column ID"),
        ({"columns": ["1 valid\x1fID"]}, "column ID of table IMAGES is now bool"),
        ({"partitions": [1]}, "pairs"),
        ({"partitions": [0, 2000]}, "no partitions 0 to 1999"),
        ({"partitions": [-5, 3]}, "no partitions -5 to 2"),
        ({"output_types": [tf.float32]}, "column ID of table IMAGES is now int64"),
        ({"output_shapes": [[3]]}, "column ID of table IMAGES is now int64"),
        ({"table_id": -1}, "table_id"),
    ]
    for changed, message in wrong:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            read(**changed)
    for gone in ("999\x1fGONE", "1\x1fGONE\x1fkey"):
        with pytest.raises(tf.errors.NotFoundError, match="table IMAGES has no column GONE.* any more"):
            read(columns=[gone])


def test_library_that_is_missing_or_does_not_fit(tmp_path):
    with pytest.raises(gridflow.GridflowError, match="there is no .*missing.so: install gridflow"):
        ops.load(tmp_path / "missing.so")
    other = tmp_path / "other.so"
    data = ops.LIBRARY.read_bytes()
    mark = b"TensorFlow graph version %d." % tf.version.GRAPH_DEF_VERSION
    assert mark in data
    other.write_bytes(data.replace(mark, b"TensorFlow graph version 1111."))
    with pytest.raises(gridflow.GridflowError, match=r"built for another TensorFlow \(graph version 1111; "):
        ops.load(other)


def test_failed_flush_is_told(grid, images, monkeypatch):
    """A new iterator must not quietly read old rows because the disk is full."""
    dataset = gridflow.Dataset(images, grid=grid, columns=[])

    def full(self):
        raise gridflow.GridFullError("no space for the table's new rows")

    images.remove(5)
    monkeypatch.setattr(type(images), "flush", full)
    with pytest.raises(tf.errors.ResourceExhaustedError, match="no space for the table's new rows"):
        drain(dataset)
    monkeypatch.undo()
    drain(dataset)


def test_process_ends_while_a_pipeline_runs(tmp_path):
    """Threads of TensorFlow's make iterators, and ask for flushes, until the last moment."""
    code = f"""
import gridflow, tensorflow as tf
grid = gridflow.connect({str(tmp_path / "grid")!r})
table = grid.create_table("T", {{"ID": "LONG", "V": "INT32"}}, key="ID")
table.put_all({{i: {{"V": i}} for i in range(10)}})
dataset = gridflow.Dataset(table, grid=grid).repeat().prefetch(1000)
many = tf.data.Dataset.range(64).repeat().interleave(
    lambda i: gridflow.Dataset("T", grid=grid), cycle_length=8, num_parallel_calls=8
)
iterators = [iter(dataset), iter(many.prefetch(1000))]
for iterator in iterators:
    for _ in range(50):
        next(iterator)
"""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        code = code.replace('create_table("T", {"ID": "LONG", "V": "INT32"}, key="ID")', 'table("T")')


def test_values_are_read_from_the_file_alone(tmp_path):
    """A grid whose files were copied elsewhere is read there."""
    with gridflow.connect(tmp_path / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": "INT32[5]"}, key="ID")
        table.put_all({i: {"V": np.full(5, i, np.int32)} for i in range(100)})
    shutil.copytree(tmp_path / "grid", tmp_path / "copy")
    shutil.rmtree(tmp_path / "grid")
    found = {int(e["key"]): e["val"]["V"].numpy().tolist() for e in gridflow.Dataset("T", home=tmp_path / "copy")}
    assert found == {i: [i] * 5 for i in range(100)}
