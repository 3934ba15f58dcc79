"""Arrow data that is not what it says is refused before anything of it is read, wherever it comes from."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gridflow
from gridflow import GridflowError, SchemaError
from gridflow.storage.verify import check_home


def long_view(arrow: pa.DataType) -> pa.Array:
    """Three rows, of which the second says that it has 3 MB, in a buffer of 64 bytes."""
    views = [
        struct.pack("<i12s", 1, b"a"),
        struct.pack("<i4sii", 3_000_000, b"xxxx", 0, 0),
        struct.pack("<i12s", 1, b"b"),
    ]
    return pa.Array.from_buffers(arrow, 3, [None, pa.py_buffer(b"".join(views)), pa.py_buffer(b"x" * 64)])


def texts_of(values: list[bytes], arrow: pa.DataType = pa.string()) -> pa.Array:  # noqa: B008
    array = pa.array(values, pa.binary() if arrow == pa.string() else pa.large_binary())
    return pa.Array.from_buffers(arrow, len(array), array.buffers())


def decimals(*numbers: int) -> pa.Array:
    data = b"".join(number.to_bytes(16, "little", signed=True) for number in numbers)
    return pa.Array.from_buffers(pa.decimal128(9, 2), len(numbers), [None, pa.py_buffer(data)])


def numbers(arrow: pa.DataType, *values: int) -> pa.Array:
    return pa.Array.from_buffers(arrow, len(values), [None, pa.py_buffer(np.array(values, np.int64))])


DAMAGED = {
    "view": ("VARCHAR", long_view(pa.string_view()), "row 2"),
    "binary view": ("BINARY", long_view(pa.binary_view()), "row 2"),
    "text": ("VARCHAR", texts_of([b"a", b"b", b"\xff\xfe"]), "row 3"),
    "large text": ("VARCHAR", texts_of([b"\xc3", b"b", b"c"], pa.large_string()), "row 1"),
    "surrogate": ("VARCHAR", texts_of([b"a", b"\xed\xa0\x80", b""]), "row 2"),
    "index": (
        "VARCHAR",
        pa.DictionaryArray.from_arrays(pa.array([0, 7, 0]), pa.array(["a"]), safe=False),
        "row 2",
    ),
    "dictionary": ("VARCHAR", pa.DictionaryArray.from_arrays(pa.array([0, 0, 0]), texts_of([b"\xff"])), ""),
    "in a list": ("LIST<VARCHAR>", pa.ListArray.from_arrays([0, 1, 2, 3], texts_of([b"a", b"\xff", b"c"])), ""),
    "in a struct": ("STRUCT<A VARCHAR>", pa.StructArray.from_arrays([texts_of([b"a", b"\xff", b"c"])], ["A"]), ""),
    "decimal": ("DECIMAL(9,2)", decimals(1, 10**9, -(10**9)), "row 2"),
    "time": ("TIME", numbers(pa.time64("us"), 0, 1, 86_400_000_000), "row 3"),
    "no moment": ("TIMESTAMP", numbers(pa.timestamp("us"), 0, -(1 << 63), 1), ""),
    "list view": (
        "LIST<INT8>",
        pa.Array.from_buffers(
            pa.list_view(pa.int8()),
            3,
            [None, pa.py_buffer(struct.pack("<iii", 0, 50, 0)), pa.py_buffer(struct.pack("<iii", 1, 50, 1))],
            children=[pa.array([1], pa.int8())],
        ),
        "row 2",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_columns(grid, name, tmp_path):
    text, array, row = DAMAGED[name]
    table = grid.create_table("T", {"ID": "LONG", "V": text}, key="ID")
    data = pa.table({"ID": pa.array([1, 2, 3]), "V": array})
    batches = data.to_batches()
    ways = [
        lambda: table._put_rows(data),
        lambda: table.load(data),
        lambda: table.load(batches[0]),
        lambda: table.load(iter(batches)),
        lambda: table.load(pa.RecordBatchReader.from_batches(data.schema, batches)),
        lambda: table.load({"ID": np.arange(3), "V": array}),
        lambda: table.load({"ID": np.arange(3), "V": pa.chunked_array([array])}),
    ]
    for way in ways:
        with pytest.raises(SchemaError, match=f"table T, column V.*{row}") as caught:
            way()
        assert type(caught.value) is SchemaError
    with pytest.raises(SchemaError, match="column V"), grid.transaction() as transaction:
        transaction.table("T").load(data)
    with pytest.raises(SchemaError, match="column V"), grid.transaction() as transaction:
        transaction.table("T")._put_rows(data)
    assert len(table) == 0


@pytest.mark.parametrize(
    "name", ["text", "large text", "surrogate", "decimal", "in a list", "in a struct", "no moment"]
)
@pytest.mark.parametrize("form", ["parquet", "arrow", "arrows"])
def test_damaged_columns_of_files(grid, name, form, tmp_path):
    text, array, row = DAMAGED[name]
    grid.create_table("T", {"ID": "LONG", "V": text}, key="ID")
    data = pa.table({"ID": pa.array([1, 2, 3]), "V": array})
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        pq.write_table(data, path)
    else:
        make = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
        with make(path, data.schema) as writer:
            writer.write_table(data)
    with pytest.raises(SchemaError, match=rf"{path}.*{'column V' if row else 'row|column V'}.*{row}"):
        grid.sql(f"COPY FROM '{path}' INTO T")
    assert len(grid.table("T")) == 0


def test_a_table_that_is_sliced_is_checked_where_it_is_read(grid):
    """What lies outside of a slice is nobody's row, and the row's number is that in what was given."""
    table = grid.create_table("T", {"ID": "LONG", "V": "VARCHAR"}, key="ID")
    data = pa.table({"ID": np.arange(1000), "V": texts_of([b"\xff" if i == 500 else b"x" for i in range(1000)])})
    assert table.load(data.slice(0, 500)) == 500
    assert table.load(data.slice(501)) == 499
    with pytest.raises(SchemaError, match=r"column V, row 101: "):
        table.load(data.slice(400))
    parts = [batch for start in range(0, 1000, 100) for batch in data.slice(start, 100).to_batches()]
    with pytest.raises(SchemaError, match=r"column V, row 501: "):
        table.load(iter(parts))


def test_a_reader_that_fails_is_an_error_of_ours(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    sink = pa.BufferOutputStream()
    data = pa.table({"ID": np.arange(1000)})
    with pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=500)
    reader = pa.ipc.open_stream(sink.getvalue()[:-3000])
    with pytest.raises(SchemaError, match="table T: the data cannot be read after 500 rows"):
        table.load(reader)
    assert len(table) == 0


def test_an_error_of_the_caller_s_own_batches_is_the_caller_s(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")

    def batches():
        yield pa.record_batch({"ID": np.arange(3)})
        raise TimeoutError("of a queue")

    with pytest.raises(TimeoutError, match="of a queue"):
        table.load(batches())
    assert len(table) == 0


def test_a_name_that_is_no_text(grid):
    data = pa.record_batch({"ID": np.arange(3), "Vxxx": np.arange(3)})
    stream = data.schema.serialize().to_pybytes() + data.serialize().to_pybytes()
    batch = pa.ipc.open_stream(stream.replace(b"Vxxx", b"V\xff\xfex")).read_next_batch()
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    with pytest.raises(SchemaError, match="the name of a column is not UTF-8"):
        table.load(batch)


def test_rows_that_are_only_claimed(grid):
    """Runs take no bytes, so a small batch can say that it has any number of rows."""
    table = grid.create_table("T", {"ID": "LONG", "V": "LONG"}, key="ID")
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1 << 40]), pa.array([7]))
    with pytest.raises(SchemaError, match="says that it has 1099511627776 rows"):
        table.load(pa.record_batch({"ID": runs, "V": runs}))


def test_a_scalar_of_a_damaged_array_is_no_parameter(grid):
    """Its bytes may lie anywhere, and it does not know: it is neither taken nor shown."""
    scalar = long_view(pa.binary_view())[1]
    table = grid.create_table("T", {"ID": "LONG", "V": "BINARY"}, key="ID")
    for write in (
        lambda: grid.sql("INSERT INTO T VALUES (1, ?)", [scalar]),
        lambda: grid.sql("UPDATE T SET V = ? WHERE ID = 1", [scalar]),
        lambda: table.put(1, {"V": scalar}),
        lambda: table.load([{"ID": 1, "V": scalar}]),
        lambda: table.load({"ID": [1], "V": [scalar]}),
    ):
        with pytest.raises(GridflowError, match="column V.* of pyarrow") as caught:
            write()
        assert "xxxx" not in str(caught.value)


def test_numpy_s_other_numbers(grid):
    """Bytes in the other order are numbers, too; what no column can hold is refused by its name."""
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    assert table.load({"ID": np.arange(3, dtype=">i8"), "V": np.arange(3, dtype=">i4")}) == 3
    assert table.get(2) == {"V": 2}
    for values in (np.zeros(3, complex), np.zeros(3, [("a", "i4")]), np.zeros(3, "m8[s]")):
        with pytest.raises(SchemaError, match="column V"):
            table.load({"ID": np.arange(3), "V": values})
    with pytest.raises(SchemaError, match="column V"):
        table.load(pd.DataFrame({"ID": np.arange(3), "V": np.zeros(3, complex)}))


@pytest.mark.parametrize("name", ["text", "decimal", "time", "in a list"])
def test_check_looks_at_values(home: Path, name, monkeypatch):
    """Rows that came in before they were checked, or by a fault of ours: `gridflow check` names column and row."""
    text, array, _ = DAMAGED[name]
    monkeypatch.setattr(gridflow.storage.load, "checked_batches", lambda batches, where: iter(batches))
    monkeypatch.setattr(gridflow.storage.cast, "_has_limits", lambda t: False)
    target = gridflow.schema.parse_type(text).arrow()
    with gridflow.connect(home / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": text}, key="ID")
        if name == "in a list":
            array = pa.LargeListArray.from_arrays(
                pa.array([0, 1, 2, 3], pa.int64()), texts_of([b"a", b"\xff", b""], pa.large_string())
            )
        elif name == "text":
            array = texts_of([b"a", b"b", b"\xff\xfe"], pa.large_string())
        assert array.type.equals(target)
        table.load(pa.record_batch({"ID": pa.array([1, 2, 3]), "V": array}))
    [problem] = check_home(home / "grid")
    assert "column V has in row" in str(problem) and ".seg" in problem.file and problem.offset
