"""Files that are cut short, gone, of another format or of another place: named, and nothing else is touched."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import KINDS, VERSION_AT, crc32c, expect_after_all, expect_error, find

import gridflow
from gridflow import GridCorruptError, GridflowError, GridVersionError
from gridflow.registry import open_reader
from gridflow.storage.verify import check_home

# ---- a file cut short, or gone ----


@pytest.mark.parametrize("kind", ["catalog", "manifest", "segment", "bitmap"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_file_cut_short(damaged, kind, keep):
    file = find(damaged, kind)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    error = expect_error(damaged, file)
    assert error.file == str(file) and 0 <= error.offset <= len(data)
    file.write_bytes(data + b"\0")
    if kind != "catalog":  # whose next change was not acknowledged then
        assert "size" in str(expect_error(damaged, file)) or kind == "segment"
    file.write_bytes(data)
    expect_after_all(damaged)


@pytest.mark.parametrize("kind", ["segment", "bitmap", "manifest"])
def test_a_file_that_is_gone(damaged, kind):
    file = find(damaged, kind)
    file.unlink()
    with pytest.raises(GridCorruptError, match=re.escape(str(file))) as caught:
        gridflow.connect(damaged)
    assert caught.value.file == str(file)
    assert [problem.file for problem in check_home(damaged)] == [str(file)]
    with open_reader(damaged) as reader:
        assert sorted(reader.table("B")) == list(range(10))
        with pytest.raises(GridflowError):
            reader.table("A")


def test_a_catalog_that_is_gone(damaged):
    """An empty catalog in its place would make all tables garbage to be swept."""
    find(damaged, "catalog").unlink()
    before = sorted(damaged.rglob("*"))
    with pytest.raises(GridCorruptError, match="catalog"):
        gridflow.connect(damaged)
    assert sorted(damaged.rglob("*")) == before, "nothing was made or swept"
    assert check_home(damaged)


@pytest.mark.parametrize("damage", ["gone", "empty", "garbage"])
def test_a_damaged_control_page_is_made_anew(damaged, damage):
    """Nothing in it is needed to recover."""
    file = find(damaged, "control")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"" if damage == "empty" else b"garbage!" * 512)
        with pytest.raises(GridCorruptError, match="control"):
            open_reader(damaged)
    expect_after_all(damaged)


@pytest.mark.parametrize("keep", ["no file", 64, 100, 500, 800])
def test_a_log_cut_short(damaged, keep):
    """Twenty acknowledged commits are in it: what is lost must be said."""
    file = find(damaged, "log")
    if keep == "no file":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:keep])
    assert check_home(damaged) != []
    with pytest.raises(GridCorruptError, match=re.escape(str(damaged / "log")) + ".* cut off"):
        gridflow.connect(damaged)
    with pytest.raises(GridCorruptError, match="cut off"), open_reader(damaged) as reader:
        len(reader.table("A"))
    (damaged / "control").unlink()  # as the message says
    with gridflow.connect(damaged) as grid:
        assert grid.check() == []


@pytest.mark.parametrize("keep", [0, 10, 63])
def test_a_log_without_its_header(damaged, keep):
    file = find(damaged, "log")
    file.write_bytes(file.read_bytes()[:keep])
    error = expect_error(damaged, file, about="the header is cut off")
    assert (error.file, error.offset) == (str(file), keep)


def test_a_log_that_is_gone_in_the_middle(home):
    """The first file of three may be gone, as all of it may be in segments; the second may not."""
    with gridflow.connect(home / "open") as grid:
        table = grid.create_table("T", {"ID": "LONG", "B": "BINARY"}, key="ID")
        with table.lock:
            for i in range(3):
                table.put(i, {"B": b"x" * (65 << 20)})
            shutil.copytree(grid.home, home / "grid")
        table.remove_all(range(3))
    files = sorted((home / "grid" / "log").iterdir())
    assert len(files) == 3
    files[1].unlink()
    with pytest.raises(GridCorruptError, match="records up to the next file are missing") as caught:
        gridflow.connect(home / "grid")
    assert caught.value.file == str(files[0])
    assert [problem.file for problem in check_home(home / "grid")] == [str(files[0])]


# ---- a newer format ----


def header_size(kind: str) -> int:
    return 32 if kind in ("catalog", "manifest") else 64


def version_of(kind: str) -> int:
    return {"catalog": 2, "manifest": 3}.get(kind, 1)


def newer(file: Path, kind: str) -> None:
    """Make a file say that it has the format version after ours, with the right checksums."""
    data = bytearray(file.read_bytes())
    size = int.from_bytes(data[16:24], "little") if kind == "segment" else header_size(kind)
    data[VERSION_AT : VERSION_AT + 4] = (version_of(kind) + 1).to_bytes(4, "little")
    data[VERSION_AT + 4 : VERSION_AT + 8] = bytes(4)
    data[VERSION_AT + 4 : VERSION_AT + 8] = crc32c(bytes(data[:size])).to_bytes(4, "little")
    file.write_bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_a_newer_format(damaged, kind):
    file = find(damaged, kind)
    data = file.read_bytes()
    newer(file, kind)
    known = version_of(kind)
    about = f"has format version {known + 1}, this Gridflow reads up to version {known}: upgrade gridflow to open it"
    expect_error(damaged, file, GridVersionError, about)
    file.write_bytes(data)
    expect_after_all(damaged)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"x", b"PK\3\4" * 100, bytes(1 << 16)])
def test_a_file_that_is_something_else(damaged, kind, content):
    file = find(damaged, kind)
    file.write_bytes(content)
    expect_error(damaged, file)


# ---- files that belong elsewhere ----


def swap(home: Path, one: Callable[[Path], Path], other: Callable[[Path], Path]) -> Path:
    data = other(home).read_bytes()
    one(home).write_bytes(data)
    return one(home)


def test_a_manifest_of_another_table(damaged):
    file = swap(damaged, lambda h: h / "tables/1/manifest", lambda h: h / "tables/2/manifest")
    expect_error(damaged, file, about="it belongs to another table")


def test_a_segment_and_a_bitmap_of_another_place(damaged):
    first, second = sorted((damaged / "tables/1").glob("*.seg"))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    expect_error(damaged, first, about="it is not the segment that the manifest names")
    first.write_bytes(data)
    bitmap = find(damaged, "bitmap")
    held = bytearray(bitmap.read_bytes())
    held[32:40] = (7).to_bytes(8, "little")  # segment_id
    held[12:16] = bytes(4)
    held[12:16] = crc32c(bytes(held[:64])).to_bytes(4, "little")
    bitmap.write_bytes(held)
    expect_error(damaged, bitmap, about="it is not what the manifest names")
