"""Files that are damaged, or made to harm: an error that names the file and the place, in time and memory of the file's
size."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from damage import crc32c

import gridflow
from gridflow import GridCorruptError, SchemaError, UsageError
from gridflow.cli import main
from gridflow.storage.formats.reading import open_source
from gridflow.storage.formats.source import ReadOptions

M = 1 << 20
#: Bytes of a record that the tests below allow: more than the block in which a file is read.
LIMIT = 6 * M


def read(path, form, **options):
    source = open_source(path, form, ReadOptions(**options))
    return sum(batch.num_rows for batch in source.batches)


ENDLESS = {
    "field.csv": b"a,b\n1,x\n2," + b"x" * 32 * M,
    "quote.csv": b'a,b\n1,x\n2,"' + b"x\n" * 16 * M,
    "quotes.csv": b'a,b\n1,x\n2,"' + b'""' * 16 * M,
    "escape.csv.gz": gzip.compress(b"a,b\n1,x\n2," + b"x" * 32 * M),
    "bomb.csv.bz2": bz2.compress(b"a,b\n1,x\n2," + b"x" * 32 * M),
    "text.json": b'[{"a":1},\n\n{"a":"' + b"x" * 32 * M,
    "list.json": b'[{"a":1},\n\n{"a":[' + b"1," * 8 * M,
    "line.jsonl": b'{"a":1}\n\n{"a":"' + b"x" * 32 * M,
    "line.jsonl.gz": gzip.compress(b'{"a":1}\n\n{"a":"' + b"x" * 32 * M),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_record_without_end_is_not_read_to_the_end_of_the_file(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(ENDLESS[name])
    form = "csv" if ".csv" in name else "json"
    with pytest.raises(SchemaError, match=rf"{name}, line 3: a record has more than {LIMIT} bytes.*RECORD_BYTES"):
        read(path, form, record_bytes=LIMIT)


def test_a_long_record_is_read_up_to_the_limit(tmp_path):
    long = b"x" * 5 * M
    for name, data in {
        "a.csv": b"a,b\n1,y\n2," + long + b"\n3,z\n",
        "quoted.csv": b'a,b\n1,y\n2,"' + long + b'"\n3,z\n',
        "a.json": b'[{"a":1},{"a":1,"b":"' + long + b'"},{"a":2}]',
        "a.jsonl": b'{"a":1,"b":"y"}\n{"b":"' + long + b'"}\n{"a":2}\n',
    }.items():
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name, "csv" if ".csv" in name else "json", record_bytes=LIMIT) == 3


def test_lines_that_are_skipped_may_be_long(tmp_path, grid):
    grid.create_table("T", {"ID": "LONG"}, key="ID")
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * 9 * M + b"\n" + b"y" * 9 * M + b"\n1\n2\n")
    assert grid.sql(f"COPY FROM '{path}' INTO T SKIP 2 HEADER OFF").rowcount == 2


def test_the_limit_is_an_option(tmp_path, grid):
    grid.create_table("T", {"ID": "LONG", "V": "VARCHAR"}, key="ID")
    path = tmp_path / "a.csv"
    path.write_bytes(b"ID,V\n1," + b"x" * 9 * M + b"\n")
    with pytest.raises(SchemaError, match=r"line 2: a record has more than 5000000 bytes; RECORD_BYTES sets"):
        grid.sql(f"COPY FROM '{path}' INTO T RECORD_BYTES 5000000")
    assert grid.sql(f"COPY FROM '{path}' INTO T RECORD_BYTES 10000000").rowcount == 1
    with pytest.raises(gridflow.SqlError, match="RECORD_BYTES is from 1 to 1073741824"):
        grid.sql(f"COPY FROM '{path}' INTO T RECORD_BYTES 99999999999")
    arguments = ["load", str(path), "U", "--key", "ID", "--home", str(tmp_path / "other"), "--record-bytes", "5000000"]
    arguments.append("--create")
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and "--record-bytes sets how many" in result.output


def test_a_tfrecord_that_claims_a_huge_record(tmp_path):
    head = struct.pack("<Q", 1 << 39)
    masked = masked_crc(head)
    for name, data in {"a.tfrecord": head + masked + b"x" * 100, "b.tfrecord": gzip.compress(head + masked)}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SchemaError, match="record 0: a record has more than 67108864 bytes"):
            read(tmp_path / name, "tfrecord")


def masked_crc(data: bytes) -> bytes:
    """The checksum of TFRecord."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


BAD_JSON = {
    "deep": (b'{"a":' + b"[" * 100_000, "nested too deeply"),
    "digits": (b'{"a":' + b"9" * 5000 + b"}", "integer string conversion"),
    "exponent": (b'{"a":1e99999999999999999999}', "out of every range"),
    "surrogate": (b'{"a":"\\ud800"}', "column a"),
    "bytes": (b'{"a":"\xff"}', "not UTF-8"),
}


@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize("array", [False, True])
def test_json_that_python_cannot_read(tmp_path, name, array):
    text, why = BAD_JSON[name]
    path = tmp_path / "a.json"
    path.write_bytes(b"[" + text + b"]" if array else text)
    with pytest.raises(SchemaError, match=rf"a.json, .*{why}"):
        read(path, "json")


def test_broken_json_is_found_where_it_is(tmp_path):
    """Not at the end of the file, as if what is missing might still come."""
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"a":1},\n{"a" 2},\n' + b" " * 9 * M)
    with pytest.raises(SchemaError, match="line 2: no JSON: Expecting ':'"):
        read(path, "json", record_bytes=M)


def npz(path, *, header: bytes | None = None, data: bytes = b"", method=zipfile.ZIP_STORED, **arrays):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array)
            archive.writestr(f"{name}.npy", member.getvalue())
        if header is not None:
            text = header.ljust(117) + b"\n"
            archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data)
    return path


NPZ = {
    "huge": (b"{'descr': '<i8', 'fortran_order': False, 'shape': (1099511627776,)}", "not as many bytes"),
    "wrap": (b"{'descr': '<i8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", "not as many bytes"),
    "negative": (b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1, -2)}", "not as many bytes"),
    "open": (b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,", "cannot be read as npz"),
    "nul": (b"{'descr': '<i8\x00', 'fortran_order': False, 'shape': (2,)}", "cannot be read as npz"),
    "objects": (b"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", "run code"),
    "nothing": (b"{'descr': '<U0', 'fortran_order': False, 'shape': (1152921504606846976,)}", "rows without a byte"),
    "no numbers": (b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976, 0)}", "without a byte"),
    "complex": (b"{'descr': '<c16', 'fortran_order': False, 'shape': (1,)}", "complex128"),
    "fields": (b"{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (2,)}", "cannot be a column"),
}


@pytest.mark.parametrize("name", NPZ)
def test_headers_of_npz(tmp_path, name):
    header, why = NPZ[name]
    path = npz(tmp_path / "a.npz", header=header, data=bytes(16))
    with pytest.raises((SchemaError, UsageError, GridCorruptError), match=f"a.npz, array x.*{why}"):
        read(path, "npz")


def test_npz_in_the_other_order_of_bytes(tmp_path):
    path = npz(tmp_path / "a.npz", A=np.arange(3, dtype=">i4"), B=np.arange(6, dtype=">f8").reshape(3, 2))
    source = open_source(path, "npz", ReadOptions())
    assert pa.Table.from_batches(source.batches).to_pydict() == {"A": [0, 1, 2], "B": [[0, 1], [2, 3], [4, 5]]}


def test_npz_of_no_rows(tmp_path):
    assert read(npz(tmp_path / "a.npz", A=np.arange(0), T=np.zeros((0, 2, 2), "u1")), "npz") == 0


def test_npz_whose_archive_is_wrong(tmp_path):
    path = npz(tmp_path / "a.npz", method=zipfile.ZIP_BZIP2, A=np.arange(3))
    with pytest.raises(UsageError, match="array A: it is compressed as NumPy does not"):
        read(path, "npz")
    data = bytearray(npz(tmp_path / "b.npz", A=np.arange(3)).read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # what the directory says that the member has
    data[at : at + 4] = struct.pack("<I", 1 << 31)
    (tmp_path / "b.npz").write_bytes(data)
    with pytest.raises(GridCorruptError, match="array A: it cannot have the 2147483648 bytes"):
        read(tmp_path / "b.npz", "npz")
    (tmp_path / "c.npz").write_bytes(b"no archive")
    with pytest.raises(UsageError, match="no ZIP archive"):
        read(tmp_path / "c.npz", "npz")


def test_a_damaged_parquet_file_names_row_group_and_column(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"A": np.arange(30_000), "B": np.random.default_rng(1).random(30_000)})
    pq.write_table(table, path, row_group_size=10_000, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    data = bytearray(path.read_bytes())
    for at in range(column.data_page_offset + 40, column.data_page_offset + 400):
        data[at] ^= 255
    path.write_bytes(data)
    with pytest.raises(GridCorruptError, match="a.parquet, row group 2, column B: "):
        read(path, "parquet")


@pytest.mark.parametrize("name", ["a.arrow", "a.parquet", "a.npz", "a.json", "a.csv", "a.tfrecord", "a.csv.gz"])
def test_the_command_line_shows_no_traceback(tmp_path, name):
    path = tmp_path / name
    gridflow.connect(tmp_path / "grid").close()
    for data in (
        b"",
        b"\x00" * 100,
        b"PAR1" * 9,
        b"ARROW1\0\0" * 5,
        b"PK\x03\x04" * 9,
        b'{"a":' * 9999,
        b'"' * 200_000,
    ):
        path.write_bytes(data)
        arguments = ["load", str(path), "T", "--key", "A", "--home", str(tmp_path / "grid")]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit), (data[:9], result.exception)
        assert result.output.startswith("error:")
