"""A mirror: blocks come when they are read, once, checked; what fails on the way is tried again or a clear error."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mirrors import FaultySource, fill_with_garbage, present_bytes

import gridflow
from gridflow import (
    Grid,
    GridAccessError,
    GridConnectionError,
    GridCorruptError,
    GridFullError,
    TableNotFoundError,
    VersionNotFoundError,
)
from gridflow._native.snapshot import Snapshot
from gridflow.registry import open_reader
from gridflow.storage import mirrors
from gridflow.transport import mirror

ROWS = 120_000


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """A grid with a table T of some MiB in two segments, with deleted rows and a tagged version."""
    with gridflow.connect(tmp_path_factory.mktemp("mirrored") / "grid") as grid:
        assert grid.open_grid._maintenance is not None
        grid.open_grid._maintenance.stop()  # or segments are merged while they are compared
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X DOUBLE, S VARCHAR, L LIST(LONG))")
        for begin, end in ((0, ROWS // 3), (ROWS // 3, ROWS)):
            ids = np.arange(begin, end)
            grid.table("T").load(
                {"ID": ids, "X": ids / 2, "S": [f"row {i}" for i in ids], "L": [[i] * (i % 3) for i in ids]}
            )
        grid.table("T").tag("whole")
        grid.sql(f"DELETE FROM T WHERE ID < {ROWS // 10}")
        grid.table("T").flush()
        yield grid


@pytest.fixture
def source(grid: Grid) -> FaultySource:
    return FaultySource(grid.home)


@pytest.fixture
def home(source: FaultySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror of T in which no block has come, with garbage in their places, which nobody may touch."""
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("GRIDFLOW_MIRROR_GUARD", "1")
    monkeypatch.setattr(mirror, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(mirror, "_HEAD_BYTES", 4096)
    monkeypatch.setattr(mirror, "PATIENCE_SECONDS", 1.0)
    folder = mirror.mirrored(source)
    mirror.update(folder, "T")
    assert fill_with_garbage(folder) > 10
    return folder


def test_all_rows_are_the_same(grid: Grid, home: Path) -> None:
    """Scans and look-ups over a mirror give what the grid gives; nobody touches a block that has not come."""
    with open_reader(home) as reader:
        table = reader.table("T")
        for key in (0, 5, ROWS // 10, ROWS - 1, ROWS, -3):
            assert table.get(key) == grid.table("T").get(key)
        assert table.to_arrow().equals(grid.table("T").to_arrow())
        counted, expected = (one.sql("SELECT COUNT(*), SUM(X) FROM T").fetchall() for one in (reader, grid))
        assert counted == expected
    (shown,) = mirrors.listing()
    assert shown.name == "T" and shown.address == str(grid.home)
    assert shown.present > 0.9 * shown.bytes
    for path in home.glob("tables/*/*.seg"):  # and the file is the same by now, byte by byte
        assert path.read_bytes() == (grid.home / path.relative_to(home)).read_bytes()


def test_only_what_is_read_travels(grid: Grid, home: Path, source: FaultySource) -> None:
    """One column's blocks come, those of others do not."""
    source.sent = 0
    with open_reader(home) as reader:
        assert reader.table("T").to_arrow(["X"]).equals(grid.table("T").to_arrow(["X"]))
    assert 8 * ROWS <= source.sent < 8 * ROWS + 20 * (256 << 10)
    sent = source.sent
    with open_reader(home) as reader:
        reader.table("T").to_arrow(["X"])
    assert source.sent == sent


def test_partitions_travel_alone(home: Path, source: FaultySource) -> None:
    """Who looks for the rows of a few partitions has only blocks of hashes come that the search looks at."""
    source.sent = 0
    snapshot = Snapshot.open(str(home), mirror.update(home, "T").table_id)
    begin, end = snapshot.partition_rows(1, 3, 5)
    assert 0 < begin < end < ROWS
    assert source.sent <= 8 * (256 << 10)  # two of each list's offsets among them


def test_cut_and_damaged_on_the_way(grid: Grid, home: Path, source: FaultySource) -> None:
    """Reads that are cut go on; a block that was damaged in flight is fetched again."""
    source.cut, source.damage = 3, 7
    with open_reader(home) as reader:
        assert reader.table("T").to_arrow().equals(grid.table("T").to_arrow())


def test_damaged_at_the_source(home: Path, source: FaultySource) -> None:
    """A block that never matches is an error that names file and block; nothing wrong is read."""
    source.lost = "2.seg"
    with open_reader(home) as reader, pytest.raises(GridCorruptError, match=r"2\.seg is damaged at .*block from byte"):
        reader.table("T").to_arrow()
    source.lost = None
    with open_reader(home) as reader:
        assert reader.table("T").to_arrow().num_rows == ROWS - ROWS // 10


def test_source_that_is_gone(grid: Grid, home: Path, source: FaultySource) -> None:
    """A reader fails within its time, and goes on when the source is back."""
    source.gone = True
    began = time.monotonic()
    with open_reader(home) as reader:
        with pytest.raises(GridConnectionError, match="does not come"):
            reader.table("T").to_arrow()
        assert time.monotonic() - began < 20
        source.gone = False
        assert reader.table("T").to_arrow().equals(grid.table("T").to_arrow())


def test_damage_in_the_mirror_is_mended(grid: Grid, home: Path, source: FaultySource) -> None:
    """A block that somebody has changed in the mirror comes again."""
    with open_reader(home) as reader:
        reader.table("T").to_arrow()
    del reader
    gc.collect()  # who has checked a block does not look at it again
    path = min(home.glob("tables/*/*.seg"))
    with open(path, "r+b") as file:
        file.seek(300_000)
        file.write(b"damage")
    source.sent = 0
    with open_reader(home) as reader:
        assert reader.table("T").to_arrow().equals(grid.table("T").to_arrow())
    assert 0 < source.sent <= 2 * (256 << 10)


def test_files_that_are_gone_come_again(grid: Grid, home: Path) -> None:
    """Whoever removes files, or maps, or all of a mirror, loses what has come; readers that have it open read on."""
    with open_reader(home) as reader:
        table = reader.table("T")
        table.get(ROWS - 1)
        for path in home.glob("tables/*/*.seg"):
            path.unlink()
        assert table.to_arrow().equals(grid.table("T").to_arrow())
    mirror.update(home, "T")
    for path in home.glob("tables/*/*.map"):
        path.write_bytes(b"garbage")
    mirror.update(home, "T")
    with open_reader(home) as reader:
        assert reader.table("T").to_arrow().equals(grid.table("T").to_arrow())
    assert mirrors.clear() == 1
    assert not home.exists()


def test_versions(grid: Grid, home: Path) -> None:
    """New rows are seen after an update; a kept version is read by its tag; others are errors of the source's."""
    grid.sql("INSERT INTO T (ID, X) VALUES (?, ?)", [10 * ROWS, 0.5])
    try:
        mirror.update(home, "T")
        with open_reader(home) as reader:
            assert reader.table("T").get(10 * ROWS) == grid.table("T").get(10 * ROWS)
    finally:
        grid.sql("DELETE FROM T WHERE ID = ?", [10 * ROWS])
    mirror.update(home, "T", "whole")
    with open_reader(home) as reader:
        assert reader.table("T").to_arrow(version="whole").num_rows == ROWS
    with pytest.raises(VersionNotFoundError):
        mirror.update(home, "T", "no such tag")
    with pytest.raises(TableNotFoundError):
        mirror.update(home, "NONE")


def test_budget(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody has open goes first; what is open stays, and more than the budget is refused."""
    monkeypatch.setattr(mirrors, "RECENT_SECONDS", -1.0)
    with open_reader(home) as reader:
        reader.table("T").to_arrow()
    del reader
    gc.collect()
    there = present_bytes(home)
    mirrors.trim(home.parent, 0)
    assert present_bytes(home) < there // 4
    mirror.update(home, "T")
    mirrors.set_budget(1 << 20)
    assert mirrors.budget() == 1 << 20
    with open_reader(home) as reader, pytest.raises(GridFullError, match="mirror limit"):
        reader.table("T").to_arrow()
    monkeypatch.setenv("GRIDFLOW_MIRROR_BYTES", str(1 << 30))
    with open_reader(home) as reader:
        reader.table("T").to_arrow()
    mirrors.set_budget(None)


def test_nobody_owns_a_mirror(home: Path) -> None:
    """Who connects to a mirror's folder is sent to the grid; to read it does no harm."""
    with pytest.raises(gridflow.UsageError, match="mirror of a grid elsewhere"):
        gridflow.connect(home)
    assert list(home.glob("tables/*/*.map"))


def test_folder_is_ones_own(source: FaultySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link, a folder that others can write to, and a file in its place are refused."""
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mirror").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GridAccessError, match="GRIDFLOW_MIRROR"):
        mirror.mirrored(source)
    (tmp_path / "mirror").unlink()
    (tmp_path / "mirror").mkdir(mode=0o777)
    (tmp_path / "mirror").chmod(0o777)
    with pytest.raises(GridAccessError, match="written to by others"):
        mirror.mirrored(source)
    (tmp_path / "mirror").rmdir()
    (tmp_path / "mirror").write_text("here")
    with pytest.raises(GridAccessError):
        mirror.mirrored(source)


READER = """
import sys, time
sys.path.insert(0, {tests!r})
from mirrors import FaultySource
from pathlib import Path
from gridflow.registry import open_reader
from gridflow.transport import mirror
mirror._WHOLE_BYTES, mirror._HEAD_BYTES = 0, 4096
source = FaultySource(Path({grid!r}))
if {slow}:
    read = source.read
    def slow(*args):
        for piece in read(*args):
            time.sleep(0.5)
            yield piece
    source.read = slow
home = mirror.mirrored(source)
mirror.update(home, "T")
print("begin", flush=True)
rows = open_reader(home).table("T").to_arrow().num_rows
print(rows, source.sent, flush=True)
"""


def reader(grid: Grid, slow: bool) -> subprocess.Popen[str]:
    """A process that reads T over the mirror."""
    text = READER.format(tests=str(Path(__file__).parents[2]), grid=str(grid.home), slow=slow)
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)


def test_processes_fetch_once(grid: Grid, home: Path) -> None:
    """Of several processes one fetches a block; all read the same."""
    readers = [reader(grid, False) for _ in range(3)]
    answers = [one.communicate(timeout=60)[0].split() for one in readers]
    assert [int(answer[1]) for answer in answers] == [ROWS - ROWS // 10] * 3
    size = sum(path.stat().st_size for path in (grid.home / "tables").glob("*/*.seg"))
    heads = 3 * 4 * 8192 + 3 * (ROWS // 8 + 1000)
    assert sum(int(answer[2]) for answer in answers) <= 1.05 * size + heads


def test_killed_fetcher_leaves_no_claim(grid: Grid, home: Path) -> None:
    """A process that was killed while it fetched keeps nobody from fetching the same blocks."""
    slow = reader(grid, True)
    assert slow.stdout is not None
    assert slow.stdout.readline() == "begin\n"
    time.sleep(0.7)
    os.kill(slow.pid, signal.SIGKILL)
    slow.wait()
    slow.stdout.close()
    began = time.monotonic()
    with open_reader(home) as here:
        assert here.table("T").to_arrow().equals(grid.table("T").to_arrow())
    assert time.monotonic() - began < 10


def test_child_of_a_fork(grid: Grid, home: Path) -> None:
    """A forked child fetches for itself."""
    with open_reader(home) as here:
        here.table("T").get(ROWS - 1)
    pid = os.fork()
    if pid == 0:  # no test code runs on in the child
        code = 1
        try:
            mirror.update(home, "T")
            with open_reader(home) as reader_here:
                code = 0 if reader_here.table("T").to_arrow().num_rows == ROWS - ROWS // 10 else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 30
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    if done[0] == 0:
        os.kill(pid, signal.SIGKILL)
    assert done == (pid, 0)
