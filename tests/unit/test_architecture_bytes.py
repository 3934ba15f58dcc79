"""The bytes that docs/architecture.md draws are those that the store writes. This also pins the formats."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import gridflow

TEXT = (Path(__file__).resolve().parents[2] / "docs/architecture.md").read_text("utf-8")


KITTENS = {1: {"NAME": "WARM KITTY"}, 2: {"NAME": "SOFT KITTY"}, 3: {"NAME": "LITTLE BALL OF FUR"}}


def make_table(grid: gridflow.Grid) -> gridflow.Table:
    return grid.create_table("KITTEN_CACHE", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")


def test_first_record_of_the_log(tmp_path):
    drawn = re.findall(r"^ *(\d+)  ((?:[0-9a-f.]{2} )*[0-9a-f.]{2})(?:  |$)", TEXT, re.MULTILINE)
    assert len(drawn) == 12
    random = [int(offset) for offset, text in drawn if "." in text]
    assert random == [84]  # the checksum with the file's seed in it
    with gridflow.connect(tmp_path / "grid") as grid:
        make_table(grid).put(1, KITTENS[1])
        log = (tmp_path / "grid" / "log" / "0000000000000001.log").read_bytes()
    at = 64
    for offset, text in drawn:
        part = log[at : at + 4] if int(offset) in random else bytes.fromhex(text)
        assert int(offset) == at
        assert log[at : at + len(part)] == part, f"at {at}"
        at += len(part)
    assert at == 128


def test_segment_of_three_rows(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        table = make_table(grid)
        table.put_all(KITTENS)  # one commit, so one segment, whoever flushes it
        table.flush()
        assert [table.partition_of(key) for key in (3, 1, 2)] == [542, 636, 939]
    segment = (tmp_path / "grid" / "tables" / "1" / "0000000000000001.seg").read_bytes()
    assert "this segment of 648 bytes" in TEXT and len(segment) == 648
    drawn = re.findall(r"^ +(\d+) +(\d+)  (?:buffer (\d)|header|schema|directory|checksums)", TEXT, re.MULTILINE)
    assert len(drawn) == 10
    buffers = [(int(offset), int(size)) for offset, size, number in drawn if number]
    directory = struct.unpack_from("<12Q", segment, 256)
    assert buffers == list(zip(directory[::2], directory[1::2], strict=True))
    hashes = struct.unpack_from("<3Q", segment, 384)
    assert " ".join(f"{value:016x}" for value in hashes) in TEXT
    assert struct.unpack_from("<3q", segment, 448) == (3, 1, 2)
    assert struct.unpack_from("<4q", segment, 512) == (0, 18, 28, 38)
    assert segment[576 : 576 + 38] == b"LITTLE BALL OF FURWARM KITTYSOFT KITTY"
    assert sum(int(size) for _, size, number in drawn if not number) == 128 + 66 + 96 + 8
