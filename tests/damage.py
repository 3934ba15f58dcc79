"""A grid to be damaged, what to damage it with, and what must come of it.

What a table's own files hold is only missed by that table: a reader has the others. The owner opens those that the log
has writes of, as tables A and B here, when it opens the grid: all of these or none, as the log is common to them.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from many_segments import separate_segments

import gridflow
import gridflow.testing
from gridflow import GridCorruptError, GridflowError
from gridflow._native.files import block_checksum
from gridflow.registry import open_reader
from gridflow.storage.verify import check_home

RECORD = 24  # bytes of a record's header in the log
VERSION_AT = 8  # in every file's header, after the magic number; the header's checksum follows
BLOCK = 256 << 10  # of a segment, each with a checksum


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def rows_at(segment: bytes) -> range:
    """The bytes of a segment that its rows take."""
    return range(int.from_bytes(segment[16:24], "little"), int.from_bytes(segment[80:88], "little"))


def reseal(segment: bytearray) -> bytearray:
    """Compute the checksums of a segment's blocks anew, so that what was changed is met by the deeper checks."""
    rows = rows_at(segment)
    blocks = [segment[at : min(at + BLOCK, rows.stop)] for at in range(rows.start, rows.stop, BLOCK)]
    checksums = b"".join(block_checksum(block).to_bytes(4, "little") for block in blocks)
    assert len(segment) == rows.stop + len(checksums) + 4
    segment[rows.stop :] = checksums + crc32c(checksums).to_bytes(4, "little")
    return segment


def replace(file: Path, data: bytes) -> None:
    """Put another file in a sealed one's place, which is never changed: readers may have mapped it."""
    file.unlink()
    file.write_bytes(data)


def make_sound(home: Path) -> None:
    """A grid as a crash leaves it: tables A and B, A with two segments, a deletion bitmap, and rows in the log."""
    with (
        separate_segments(),
        gridflow.testing.temporary_home() as elsewhere,
        gridflow.connect(elsewhere / "open") as grid,
    ):
        a = grid.create_table("A", {"ID": "LONG", "N": "VARCHAR", "P": "UINT8[4]"}, key="ID")
        b = grid.create_table("B", {"ID": "LONG"}, key="ID")
        with a.lock, b.lock:  # keeps the background flush away
            a.load({"ID": np.arange(500), "N": [f"row {i}" for i in range(500)], "P": np.zeros((500, 4), "u1")})
            a.load({"ID": np.arange(400, 600)}, on_duplicate="replace")
            for i in range(10):
                a.put(1000 + i, {"N": "in the log"})
                b.put(i, {})
            assert gridflow.testing._copy(grid, home)
            shutil.copytree(home, elsewhere / "copy")
        gridflow.testing.verify(elsewhere / "copy")


def find(home: Path, kind: str) -> Path:
    """The file of a kind; for segments and bitmaps, that of table A's first segment."""
    pattern = {"log": "log/*.log", "segment": "tables/1/*.seg", "bitmap": "tables/1/*.del"}.get(kind)
    if pattern is None:
        return home / {"catalog": "catalog", "manifest": "tables/1/manifest", "control": "control"}[kind]
    return sorted(home.glob(pattern))[0]


KINDS = ["catalog", "manifest", "segment", "bitmap", "log"]


def expect_error(home: Path, file: Path, error: type = GridCorruptError, about: str = "") -> GridflowError:
    """Nothing of this works on table A, or all of the grid, and each error names the file."""
    with pytest.raises(error, match=re.escape(str(file))) as caught:
        gridflow.connect(home)
    assert about in str(caught.value)
    problems = check_home(home)
    assert str(file) in {problem.file for problem in problems}
    in_table = file.parent.name == "1"
    if file.name != "catalog":
        with open_reader(home) as reader:
            assert reader.tables() == ["A", "B"]
            if in_table:  # a reader has the other tables
                assert sorted(reader.table("B")) == list(range(10))
                with pytest.raises(error, match=re.escape(str(file))):
                    reader.table("A").get(1)
            else:
                with pytest.raises(error, match=re.escape(str(file))):
                    reader.table("A").get(1)
    else:
        with pytest.raises(error, match=re.escape(str(file))):
            open_reader(home)
    return caught.value


def flip(file: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[offset] ^= 1 << bit
    file.write_bytes(data)


def expect_after_all(home: Path) -> None:
    """The damage is undone: all is there, so no attempt to open the grid has changed anything."""
    with gridflow.testing.verified(home) as grid:
        assert len(grid.table("A")) == 610 and len(grid.table("B")) == 10
        assert grid.table("A").get(1009)["N"] == "in the log"


def payload_bytes(log: bytes, record: int) -> int:
    """How long the operations of a record of the log are."""
    return int.from_bytes(log[record + 8 : record + 16], "little")


def records(log: bytes) -> list[tuple[int, int]]:
    """(offset, bytes with header and padding) of each record of the log."""
    found, at = [], 64
    while int.from_bytes(log[at : at + 8], "little"):
        size = RECORD + (payload_bytes(log, at) + 7) // 8 * 8
        found.append((at, size))
        at += size
    return found


def after_a_power_cut(home: Path) -> None:
    """Have the control page say that it was written before the machine was started."""
    with open(home / "control", "r+b") as file:
        file.seek(32)
        assert file.read(8) != bytes(8)
        file.seek(32)
        file.write((1).to_bytes(8, "little"))
