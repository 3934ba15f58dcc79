"""Compressed copies beside segments: what is in them, when they come and go, and what is said of damaged ones."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import lz4.block
import numpy as np
import pytest
from damage import flip

import gridflow
from gridflow import ColumnNotFoundError, SchemaError
from gridflow.server import ServerProcess
from gridflow.storage import compressed_file

pytestmark = pytest.mark.usefixtures("many_segments")


def copies(table: gridflow.Table) -> list[Path]:
    return sorted(table.folder.glob("*.lz4"))


def columns_of(path: Path) -> dict[int, np.ndarray]:
    """What a copy holds, read as compressed_format.h says and not by the code that is tested."""
    raw = path.read_bytes()
    count, block_bytes = struct.unpack_from("<II", raw, 44)
    result = {}
    for i in range(count):
        column_id, _, raw_bytes, offset, data_bytes = struct.unpack_from("<IIQQQ", raw, 64 + 32 * i)
        assert offset % 64 == 0
        blocks = -(-raw_bytes // block_bytes)
        bounds = np.frombuffer(raw, "<u8", blocks + 1, offset)
        data = raw[offset + bounds.nbytes :][:data_bytes]
        parts = []
        for block in range(blocks):
            size = min(block_bytes, raw_bytes - block * block_bytes)
            part = data[int(bounds[block]) : int(bounds[block + 1])]
            parts.append(part if len(part) == size else lz4.block.decompress(part, uncompressed_size=size))
        result[column_id] = np.frombuffer(b"".join(parts), np.uint8)
    return result


@pytest.fixture
def table(grid):
    table = grid.create_table("T", {"ID": "LONG", "X": "UINT8[40]", "N": "DOUBLE", "S": "STRING"}, key="ID")
    fill(table, 0, 3000)
    return table


def fill(table: gridflow.Table, begin: int, end: int) -> None:
    rng = np.random.default_rng(begin)
    count = end - begin
    pixels = rng.integers(0, 3, (count, 40), np.uint8)
    table.load({"ID": np.arange(begin, end), "X": pixels, "N": rng.normal(size=count), "S": ["s"] * count})


def check(table: gridflow.Table, *names: str) -> None:
    """There is a copy of every segment, of these columns, and in it what the segment has."""
    snapshot = table.snapshot()
    assert {path.stem for path in copies(table)} == {f"{segment[0]:016x}" for segment in snapshot.segments()}
    by_id = {column.id: column for column in table.schema.columns}
    for segment in range(len(snapshot.segments())):
        found = columns_of(Path(snapshot.path(segment)).with_suffix(".lz4"))
        assert [by_id[column_id].name for column_id in found] == list(names)
        for column_id, values in found.items():
            np.testing.assert_array_equal(values, compressed_file._values(snapshot, segment, by_id[column_id]))
    assert table.grid.check() == []


def test_copies_of_columns(table):
    assert copies(table) == []
    table.compress("X", "N")
    check(table, "X", "N")
    (path,) = copies(table)
    assert path.stat().st_size < 3000 * (40 + 8) * 2 // 3
    table.compress("X")
    check(table, "X")
    table.compress()
    assert copies(table) == [] and compressed_file.OPTION not in table.options


def test_bytes_of_the_format(grid):
    """What no compression makes smaller, so that its bytes are those of every release of LZ4."""
    table = grid.create_table("T", {"ID": "LONG", "X": "UINT8[32]", "N": "INT"}, key="ID")
    rows = range(1000)
    noise = np.frombuffer(b"".join(hashlib.sha256(b"%d" % i).digest() for i in rows), np.uint8)
    table.load({"ID": np.arange(1000), "X": noise.reshape(-1, 32), "N": noise[:4000].view("<i4")})
    table.compress("N", "X")
    (path,) = copies(table)
    data = path.read_bytes()
    assert data[:12] == b"GFLZ4\r\x1a\n\x01\x00\x00\x00"
    assert struct.unpack_from("<QQQIII12x", data, 16) == (len(data), 1, 1000, 1, 2, 1 << 14)
    assert struct.unpack_from("<IIQQQ", data, 64)[::2] == (2, 32000, 32000)
    assert len(data) == 128 + 3 * 8 + 32000 + 40 + 2 * 8 + 4000, "the second column begins at a multiple of 64"
    assert hashlib.sha256(data).hexdigest() == "12748aae6068ec1d07b9163d469ec043449b4d32b0b25e5fd3bab4a8455b528e"


def test_they_follow_their_segments(table):
    table.compress("X")
    fill(table, 3000, 5000)
    table.copies.settle()
    check(table, "X")
    assert len(copies(table)) == 2
    table.remove_all(range(100))
    table.compact()
    table.copies.settle()
    check(table, "X")
    assert len(copies(table)) == 1
    table.truncate()
    assert copies(table) == []
    table.grid.drop_table("T")
    assert not table.folder.exists()


def test_what_the_background_has_settled_is_verified_if_that_is_asked_for(table):
    """The background makes what is missing and reads no copy for that; who asks for copies has damaged ones made."""
    table.compress("X")
    (path,) = copies(table)
    whole = path.read_bytes()
    flip(path, len(whole) - 1)
    table.grid._alter_options("T", dict)  # whatever was known of the copies is not any more
    table.copies.settle(verify=False)
    assert path.read_bytes() != whole
    table.copies.settle()
    assert path.read_bytes() == whole


def test_they_stay_with_versions_that_are_kept(table):
    table.compress("X")
    table.tag("v1")
    before = copies(table)
    table.remove_all(range(100))
    table.compact()
    table.copies.settle()
    assert before[0] in copies(table) and len(copies(table)) == 2
    table.untag("v1")
    assert before[0] not in copies(table)
    check(table, "X")


def test_columns_that_come_go_and_get_other_names(table, grid):
    table.compress("X", "N")
    grid.sql("ALTER TABLE T RENAME COLUMN X TO Y")
    grid.sql("ALTER TABLE T DROP COLUMN N")
    grid.sql("ALTER TABLE T ADD COLUMN Z INT DEFAULT 7")
    table.copies.settle()
    check(table, "Y")
    table.compress("Z")
    fill_z = columns_of(copies(table)[0])
    (values,) = fill_z.values()
    assert (values.view("<i4") == 7).all()


def test_a_grid_that_is_opened_again(home):
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "UINT8[40]", "N": "DOUBLE", "S": "STRING"}, key="ID")
        table.compress("X")
        fill(table, 0, 1000)
    with gridflow.connect(home) as grid:
        table = grid.table("T")
        check(table, "X")
        stray = table.folder / "00000000000000ff.lz4"
        stray.write_bytes(b"of a segment that was never committed")
    with gridflow.connect(home) as grid:
        assert not stray.exists()
        check(grid.table("T"), "X")


def test_a_client_asks_its_server(home):
    with ServerProcess(home), gridflow.connect(home) as client:
        table = client.create_table("T", {"ID": "LONG", "X": "UINT8[40]", "N": "DOUBLE", "S": "STRING"}, key="ID")
        fill(table, 0, 1000)
        table.compress("X")
        assert len(copies(table)) == 1
        with pytest.raises(ColumnNotFoundError):
            table.compress("Q")
        with pytest.raises(SchemaError, match="column S"):
            table.compress("S")


def test_what_cannot_be_compressed(table):
    with pytest.raises(ColumnNotFoundError, match="no column Q"):
        table.compress("Q")
    with pytest.raises(SchemaError, match="column S.*: numbers, tensors, dates and times can be compressed"):
        table.compress("X", "S")
    assert copies(table) == [] and not table.options


@pytest.mark.parametrize("place", [0, 8, 13, 20, 30, 50, 70, 300, -1])
def test_damage_is_told_of(table, place):
    table.compress("X", "N")
    (path,) = copies(table)
    assert table.grid.check() == []
    whole = path.read_bytes()
    flip(path, place % len(whole))
    (problem,) = table.grid.check()
    assert problem.file == str(path) and "a GPU reads the segment instead" in str(problem)
    table.compress("X", "N")
    assert table.grid.check() == [] and path.read_bytes() == whole, "it is made again"
    path.write_bytes(whole[:-5])
    assert len(table.grid.check()) == 1
    path.write_bytes(b"")
    assert len(table.grid.check()) == 1
    path.unlink()
    assert table.grid.check() == []
