"""Flipped bits and garbage: found when they are needed or by ``check``, named with the place, never a crash."""

from __future__ import annotations

import gc
import re
import time

import numpy as np
import pytest
from damage import (
    RECORD,
    after_a_power_cut,
    crc32c,
    expect_after_all,
    find,
    flip,
    payload_bytes,
    records,
    replace,
    rows_at,
)

import gridflow
import gridflow.testing
from gridflow import GridCorruptError, GridflowError, GridVersionError
from gridflow.storage.verify import check_home


@pytest.mark.parametrize("kind", ["catalog", "manifest", "bitmap"])
def test_any_bit_flipped_in_a_small_file(damaged, kind):
    file = find(damaged, kind)
    sound = file.read_bytes()
    spare = range(28, 32) if kind != "bitmap" else ()  # `reserved` of the header is covered, too
    for offset in range(len(sound)):
        flip(file, offset, offset % 8)
        with pytest.raises((GridCorruptError, GridVersionError), match=re.escape(str(file))) as caught:
            gridflow.connect(damaged)
        problems = check_home(damaged)
        assert [problem.file for problem in problems] == [str(file)] or caught.type is GridVersionError and problems
        if caught.type is GridCorruptError:
            assert caught.value.file == str(file) and 0 <= caught.value.offset <= len(sound), offset
            assert f"{file} is damaged at byte {caught.value.offset}: " in str(caught.value)
        assert offset not in spare or caught.type is GridCorruptError
        file.write_bytes(sound)
    expect_after_all(damaged)


def test_a_manifest_that_breaks_an_invariant_is_named_by_check(damaged):
    """Its checksums hold and it can be read, yet no edit would write it so: its segments are in the wrong order."""
    file = find(damaged, "manifest")
    sound = file.read_bytes()
    head, older, newer = sound[:-80], sound[-80:-40], sound[-40:]
    body = head[32:] + newer + older
    header = head[:12] + bytes(4) + head[16:24] + crc32c(body).to_bytes(4, "little") + head[28:32]
    replace(file, header[:12] + crc32c(header).to_bytes(4, "little") + header[16:] + body)
    [problem] = check_home(damaged)
    assert problem.file == str(file) and "segment_ids_rise does not hold" in problem.message
    replace(file, sound)
    expect_after_all(damaged)


def test_any_bit_flipped_in_a_segment(damaged):
    """In the header it is found when the segment is opened; in the data by ``check``."""
    file = find(damaged, "segment")
    sound = file.read_bytes()
    header_bytes = int.from_bytes(sound[16:24], "little")
    places = [*range(header_bytes), *range(header_bytes, len(sound), 61), *range(len(sound) - 8, len(sound))]
    for offset in places:
        flip(file, offset, offset % 8)
        problems = check_home(damaged)
        assert len(problems) == 1 and str(file) in problems[0].message, offset
        assert problems[0].offset is None or 0 <= problems[0].offset <= len(sound)
        if offset < header_bytes and offset % 10 == 0:
            with pytest.raises((GridCorruptError, GridVersionError), match=re.escape(str(file))):
                gridflow.connect(damaged)
        file.write_bytes(sound)
    expect_after_all(damaged)


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_data_of_a_segment_that_is_garbage_is_an_error_at_most(damaged, place):
    """Offsets that point anywhere, hashes out of order: reading may fail with an error, and nothing else."""
    file = find(damaged, "segment")
    sound = bytearray(file.read_bytes())
    header_bytes = int.from_bytes(sound[16:24], "little")
    start = header_bytes + (len(sound) - header_bytes) * place // 100
    sound[start : start + 512] = np.random.default_rng(place).bytes(len(sound[start : start + 512]))
    file.write_bytes(sound)
    assert any(str(file) in problem.message for problem in check_home(damaged))
    grid = gridflow.connect(damaged)
    try:
        table = grid.table("A")
        for action in (
            lambda: [table.get(i) for i in range(600)],
            lambda: [table.put(i, {"N": "new"}) for i in range(300)],
            table.flush,
            table.compact,
            lambda: table.remove_all(range(500)),
        ):
            try:
                action()
            except (GridCorruptError, UnicodeDecodeError):
                pass
        assert sorted(grid.table("B")) == list(range(10))
    finally:
        try:
            grid.close()
        except GridflowError:
            pass


def test_any_bit_flipped_in_the_log(damaged):
    """It is damage, in the last record too, which was acknowledged; after a power cut that one may be torn."""
    file = find(damaged, "log")
    sound = file.read_bytes()
    *earlier, (last, _) = records(sound)
    assert len(earlier) == 19
    padding = {at + i for at, size in earlier for i in range(RECORD + payload_bytes(sound, at), size)}
    for offset in [*range(64), *range(64, last, 3)]:
        if offset in padding:
            continue
        flip(file, offset, offset % 8)
        with pytest.raises((GridCorruptError, GridVersionError), match=re.escape(str(file))) as caught:
            gridflow.connect(damaged)
        assert [problem.file for problem in check_home(damaged)] == [str(file)], offset
        if offset >= 64:
            record = max(at for at, _ in records(sound) if at <= offset)
            assert (caught.value.file, caught.value.offset) == (str(file), record)
        file.write_bytes(sound)
    for offset in range(last, last + RECORD + payload_bytes(sound, last)):
        flip(file, offset, offset % 8)
        assert [problem.file for problem in check_home(damaged)] == [str(file.parent)], offset
        file.write_bytes(sound)
    with pytest.raises(GridCorruptError, match="log ends with commit 19, but commit 20 was acknowledged"):
        flip(file, last)
        gridflow.connect(damaged)
    file.write_bytes(sound)
    after_a_power_cut(damaged)
    for offset in range(last, last + RECORD + payload_bytes(sound, last)):
        flip(file, offset, offset % 8)
        assert check_home(damaged) == []
        file.write_bytes(sound)
    flip(file, last + RECORD + 12)
    with gridflow.testing.verified(damaged) as grid:
        assert sorted(grid.table("B")) == list(range(9)) and len(grid.table("A")) == 610
        grid.table("B").put(9, {})


READINGS = {
    "get": lambda grid: str([grid.table("A").get(i) for i in range(602)]),
    "contains": lambda grid: [grid.table("A").contains(i) for i in range(602)],
    "to_arrow": lambda grid: sorted(map(str, grid.table("A").to_arrow().to_pylist())),
    "partitions": lambda grid: sorted(b["ID"][0].as_py() for b in grid.table("A").scan(["ID"], [*range(512)], 1)),
    "aggregate": lambda grid: grid.sql("SELECT SUM(ID), COUNT(N), MAX(P[1]) FROM A").fetchall(),
    "by key": lambda grid: grid.sql("SELECT N FROM A WHERE ID = 300").fetchall(),
    "transaction": lambda grid: str([grid.transaction().table("A").get(i) for i in range(299, 303)]),
}


@pytest.mark.parametrize("name", READINGS)
def test_what_is_read_of_a_segment_is_checked(damaged, name):
    """A flipped bit in the rows is no wrong answer: what is read is right, or an error that names file and place."""
    file = find(damaged, "segment")
    read = READINGS[name]
    with gridflow.connect(damaged) as grid:
        right = read(grid)
        grid.table("A").compact()
    file, found = find(damaged, "segment"), 0
    sound = file.read_bytes()
    for offset in range(rows_at(sound).start, rows_at(sound).stop, 353):
        flip(file, offset, offset % 8)
        with gridflow.connect(damaged) as grid:
            try:
                assert read(grid) == right, offset
            except GridCorruptError as error:
                assert error.file == str(file) and f"{file} is damaged at byte {error.offset}" in str(error)
                found += 1
        replace(file, sound)
    assert found > 10
    expect_after_all(damaged)


def test_compaction_does_not_take_over_what_is_damaged(damaged):
    """It would get a checksum of its own, and nobody could tell any more."""
    file = find(damaged, "segment")
    sound = file.read_bytes()
    flip(file, rows_at(sound).stop - 100)
    with gridflow.connect(damaged) as grid, pytest.raises(GridCorruptError, match="does not match"):
        grid.table("A").compact()
    file.write_bytes(sound)
    expect_after_all(damaged)


def test_a_file_that_is_changed_after_it_was_read_is_checked_again(damaged):
    """What was checked is known when a file is mapped again; not of one that is another since."""
    file = find(damaged, "segment")
    time.sleep(1.1)  # of a file that is younger nothing is kept
    for _ in range(2):
        with gridflow.connect(damaged) as grid:
            assert len(grid.table("A").to_arrow()) == 610
        del grid
        gc.collect()  # nothing of it is mapped any more
    file, sound = find(damaged, "segment"), find(damaged, "segment").read_bytes()
    flip(file, rows_at(sound).start + 8)
    with gridflow.connect(damaged) as grid, pytest.raises(GridCorruptError, match="does not match"):
        grid.table("A").to_arrow()
    file.write_bytes(sound)
    expect_after_all(damaged)
