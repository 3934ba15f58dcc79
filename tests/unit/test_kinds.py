"""Every kind of column is in each place that treats kinds differently, or is refused there for a reason.

To see what a new kind still needs, enter it in ``gridflow/kinds.py`` and a sample of it in ``kind_samples.py``: what
fails here names the places.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from kind_samples import SAMPLES, sample
from strategies import same

import gridflow
from gridflow import Schema, SchemaError, SqlError, UsageError, kinds
from gridflow._native import codecs
from gridflow.cache import structure_of
from gridflow.cli.shell.cells import CELLS, column_type, short, values_of
from gridflow.client.rows import batches_of_rows
from gridflow.cuda import DeviceTable
from gridflow.kinds import ON_DEVICES, Refused
from gridflow.protocols.json_values import decode_values, encode_values
from gridflow.schema import FLOATS, INTEGERS, KINDS, SCALARS, from_arrow, parse_type
from gridflow.sql.engine.from_duckdb import fit
from gridflow.storage.arrow import user_type
from gridflow.storage.arrow_to_numpy import numpy_columns
from gridflow.storage.formats.npz import _ARRAYS as NPZ
from gridflow.storage.formats.reading import detect_format, open_source
from gridflow.storage.formats.source import CsvStyle, ReadOptions
from gridflow.storage.formats.writing import WriteOptions, write_file
from gridflow.storage.index_keys import INDEXABLE
from gridflow.storage.input_columns import to_columns
from gridflow.storage.python_columns import arrow_column, python_values

ROOT = Path(__file__).resolve().parents[2]
CSV_STYLE = CsvStyle(null="", base64=True)
SWITCH = re.compile(r"^( *)switch \((?:type_?\.)?(?:kind|layout(?:\(\))?)\) \{\n(.*?)^\1\}", re.MULTILINE | re.DOTALL)
every_kind = pytest.mark.parametrize("kind", KINDS)

#: The places with a table of their own; `tests/tf/test_kinds.py` has that of TensorFlow.
PLACES = {
    "the text of a type",
    "Arrow types of segments",
    "Arrow types that users see",
    "columns brought to the layout of segments",
    "columns as Python values",
    "columns as DuckDB reads them",
    "DuckDB's columns in the types of tables",
    "literals and parameters of SQL",
    "constants as keys",
    "constants as keys of an index",
    "keys of an index",
    "rows as a client sends them",
    "values written as JSON",
    "values read from JSON",
    "fields of a CSV file",
    "features of a TFRecord file",
    "lists of a TFRecord file",
    "columns of a TFRecord file",
    "arrays of an NPZ file",
    "columns on a GPU",
    "type objects of PEP 249",
    "values in the shell",
}


def gaps(place: str, table: Mapping[str, Any]) -> list[str]:
    """What is wrong with a table: a kind that it has not, a name that is no kind, a refusal without a reason."""
    found = [f"{place}: nothing for {kind}" for kind in KINDS if kind not in table]
    found += [f"{place}: there is no kind {name}" for name in table if name not in KINDS]
    found += [f"{place}: {name} is refused without a reason" for name, e in table.items() if e == Refused("")]
    return found


def test_every_kind_is_in_every_table():
    package = Path(gridflow.__path__[0])
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[0] not in ("tf", "compat") and parts[-1] not in ("__init__", "__main__"):
            importlib.import_module(".".join(("gridflow", *parts)))
    found = {table.place: table for table in kinds.tables()}
    wrong = [gap for place, table in found.items() for gap in gaps(place, table)]
    assert not wrong, "\n".join(wrong)
    assert found.keys() >= PLACES


def test_a_table_that_forgets_a_kind_is_named():
    table = dict.fromkeys(KINDS, Refused("it is far away"))
    assert gaps("the moon", table) == []
    del table["UUID"]
    assert gaps("the moon", table) == ["the moon: nothing for UUID"]
    assert gaps("the moon", {**table, "UUID": Refused("")}) == ["the moon: UUID is refused without a reason"]
    assert gaps("the moon", {**table, "UUID": 1, "UID": 1}) == ["the moon: there is no kind UID"]


def test_there_is_a_sample_of_every_kind():
    assert SAMPLES.keys() == KINDS.keys()
    assert all(sample(kind)[0].kind == kind for kind in KINDS)


def test_every_kind_has_a_codec():
    without = KINDS.keys() - set(codecs.registered())
    assert not without, f"cython/codecs_*.pyx register none for {', '.join(without)}"


def test_the_native_side_has_the_same_kinds():
    header = (ROOT / "kernels/include/gridflow/schema_format.h").read_text()
    enumeration = re.search(r"enum gf_kind \{(.*?)\};", header, re.S)
    numbers = {name: int(number) for name, number in re.findall(r"GF_(\w+) = (\d+)", enumeration[0])}
    assert numbers == {kind: number for number, kind in enumerate(KINDS, 1)}
    assert numbers == codecs.KINDS


def test_the_compiler_sees_a_kind_that_a_switch_forgets():
    """With a default it would not; see WARNINGS in setup.py for what makes it an error."""
    assert "-Werror=switch" in (ROOT / "setup.py").read_text()
    found = 0
    for path in sorted(ROOT.glob("kernels/*/*.[ch]*")):
        for match in SWITCH.finditer(path.read_text()):
            found += 1
            assert "default:" not in match[2], (
                f"{path.relative_to(ROOT)}: a switch with a default forgets kinds in silence"
            )
    assert found >= 10, "the switches over kinds and layouts are written otherwise, and this test looks past them"


@pytest.fixture
def table(grid, kind):
    """Two rows with a value of the kind, and one with a null."""
    t, value = sample(kind)
    table = grid.create_table("T", {"ID": "INT64", "V": t}, key="ID")
    table.put_all({1: {"V": value}, 2: {"V": value}, 3: {"V": None}})
    return table


def check_rows(rows: Mapping[Any, Any], kind: str) -> None:
    t, value = sample(kind)
    expected = [value, value, None]
    for row, wanted in zip((rows[1], rows[2], rows[3]), expected, strict=True):
        assert same(row["V"], wanted), (kind, row["V"], wanted)


@every_kind
def test_type(kind):
    t, _ = sample(kind)
    assert parse_type(str(t)) == t
    assert from_arrow(user_type(t)).kind == kind
    assert Schema.of({"ID": "INT64", "V": t}, key="ID")["V"].type == t


@every_kind
def test_rows_in_memory_and_in_a_segment(table, kind):
    check_rows(table.get_all([1, 2, 3]), kind)
    table.flush()
    check_rows(table.get_all([1, 2, 3]), kind)


@every_kind
def test_key(grid, kind):
    t, value = sample(kind)
    if kind not in SCALARS:
        with pytest.raises(SchemaError, match="cannot be a key"):
            grid.create_table("K", {"K": t, "V": "INT64"}, key="K")
        return
    table = grid.create_table("K", {"K": t, "V": "INT64"}, key="K")
    table.put(value, {"V": 5})
    table.flush()
    assert table.get(value) == {"V": 5}
    assert grid.sql("SELECT V FROM K WHERE K = ?", [value]).fetchall() == [(5,)]


@every_kind
def test_arrow(grid, table, kind):
    found = table.to_arrow(["ID", "V"])
    assert found.schema.field("V").type == user_type(sample(kind)[0])
    other = grid.create_table("OTHER", table.schema, "ID")
    other.load(found)
    check_rows(other.get_all([1, 2, 3]), kind)


@every_kind
def test_duckdb(grid, table, kind):
    rows = grid.sql("SELECT ID, V FROM T WHERE ID + 0 < 4 ORDER BY ID DESC").fetchall()
    check_rows({key: {"V": value} for key, value in rows}, kind)
    other = grid.create_table("OTHER", table.schema, "ID")
    grid.sql("INSERT INTO OTHER SELECT ID + 0, V FROM T")
    check_rows(other.get_all([1, 2, 3]), kind)


@every_kind
def test_parameter(grid, table, kind):
    _, value = sample(kind)
    grid.sql("MERGE INTO T (ID, V) VALUES (1, ?), (2, ?), (3, NULL)", [value, value])
    check_rows(table.get_all([1, 2, 3]), kind)


@every_kind
def test_index(grid, table, kind):
    if kind not in INDEXABLE:
        with pytest.raises(SqlError, match="an index is over"):
            grid.sql("CREATE INDEX I ON T (V)")
        return
    grid.sql("CREATE INDEX I ON T (V)")
    table.flush()
    found = grid.sql("SELECT ID FROM T WHERE V = ? ORDER BY ID", [sample(kind)[1]]).fetchall()
    assert found == [(1,), (2,)]


def read(path: Path, schema: Schema) -> pa.ChunkedArray:
    """Column V of a file, as tables give it."""
    options = ReadOptions(
        type_of=lambda column: schema[column].type,
        expected=tuple(schema.names),
        finish=lambda batch: pa.RecordBatch.from_arrays(to_columns(batch, schema, "T"), names=schema.names),
        csv=CSV_STYLE,
    )
    found = pa.Table.from_batches(list(open_source(path, detect_format(path), options).batches))["V"]
    return fit(found, schema["V"].type)


@every_kind
@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.parquet", "a.arrow", "a.tfrecord", "a.npz"])
def test_file(kind, name, tmp_path):
    t, value = sample(kind)
    schema = Schema.of({"ID": "INT64", "V": t.not_null()}, key="ID")
    rows = pa.table({"ID": [1, 2], "V": arrow_column([value, value], t)})
    types = [column.type for column in schema.columns]
    path = tmp_path / name
    path.touch()

    def write() -> None:
        options = WriteOptions(csv=CSV_STYLE)
        write_file(path, detect_format(path), rows.schema, types, iter(rows.to_batches()), options)

    if name == "a.npz" and isinstance(NPZ[kind], Refused):
        with pytest.raises(UsageError, match="an NPZ file cannot hold"):
            write()
        return
    write()
    found = python_values(read(path, schema), t)
    assert len(found) == 2
    assert all(same(v, value) for v in found)


@every_kind
def test_message(kind):
    _, value = sample(kind)
    assert same(decode_values(*encode_values([value]))[0], value)


@every_kind
def test_row_of_a_client(grid, table, kind):
    t, value = sample(kind)
    (batch,) = batches_of_rows([{"ID": 1, "V": value}, {"ID": 2, "V": value}, {"ID": 3, "V": None}], table.schema, "T")
    other = grid.create_table("OTHER", table.schema, "ID")
    other.load(batch)
    check_rows(other.get_all([1, 2, 3]), kind)


@every_kind
def test_shell(table, kind):
    t, value = sample(kind)
    column = table.to_arrow(["V"])["V"]
    found = column_type(pa.field("V", column.type))
    assert found.kind == kind
    shown = [short(v, found) for v in values_of(column)]
    assert sorted(shown) == sorted([shown[shown.index("NULL") - 1]] * 2 + ["NULL"])
    assert CELLS[kind].right == (kind in (*INTEGERS, *FLOATS, "DECIMAL"))


@every_kind
def test_gpu(grid, table, kind):
    """On a device of the CPU, which takes the same kinds as a GPU."""
    numbers = ON_DEVICES[kind]
    if isinstance(numbers, Refused):
        with pytest.raises(SchemaError, match="a device holds numbers, tensors, dates and times"):
            DeviceTable(table, device="cpu", columns=["V"])
        return
    grid.sql("DELETE FROM T WHERE V IS NULL")
    with DeviceTable(table, device="cpu", columns=["V"]) as device:
        assert device.columns["V"].dtype_name in {dtype.name for dtype in numbers}
        assert len(device) == 2


@every_kind
def test_cache(grid, kind):
    """What Python has of a kind has a structure; of another kind where Python has one type for several."""
    t, value = sample(kind)
    cache = grid.cache("C")
    cache.put("k", value)
    assert same(cache.get("k"), value)
    assert structure_of(value).kind in KINDS


@every_kind
def test_a_column_is_an_array_of_numpy(kind):
    dtype, value = sample(kind)
    (array,) = numpy_columns([pa.chunked_array([arrow_column([value, None], dtype)])], [dtype])
    if array.dtype == object:
        assert same(array[0], value) and array[1] is None
    else:
        assert np.array_equal(array[0], np.asarray(value, array.dtype))
        assert np.ma.getmaskarray(array)[1].all() and not np.ma.getmaskarray(array)[0].any()
