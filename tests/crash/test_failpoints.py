"""The owner dies, or a call fails, at every named place of a write: what was acknowledged is there, whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import gridflow
import gridflow.storage.load
from gridflow._native.store import set_failpoints

KILL_POINTS = [
    "log.create",
    "log.grow",
    "log.append",
    "segment.data",
    "segment.rename",
    "merge.written",
    "load.written",
    "catalog.append",
    "catalog.appended",
    "file.written",
    "file.renamed",
    "manifest.write",
    "manifest.written",
    "version.published",
]
FAIL_POINTS = ["log.create", "log.grow", "segment.data", "merge.written", "load.written", "catalog.append"]
FAIL_POINTS += ["catalog.appended", "file.written", "manifest.write"]
BATCH = 50  # rows of a put_all
BIG = b"v" * 2000  # so that a few hundred rows make the log grow


def work(home: Path, acknowledge) -> None:
    """Writes of every kind in a fixed order; ``acknowledge`` is told after each what must now be there."""
    with gridflow.connect(home) as grid:
        table = grid.create_table("A", {"ID": "LONG", "V": "BINARY"}, key="ID", if_not_exists=True)
        acknowledge("create")
        for turn in range(6):
            for i in range(10):
                table.put(turn * 1000 + i, {"V": BIG})
                acknowledge(f"put {turn * 1000 + i}")
            start = turn * 1000 + 100
            table.put_all((start + i, {"V": BIG}) for i in range(BATCH))
            acknowledge(f"batch {start}")
            if turn % 2:
                table.flush()
            table.remove(turn * 1000)
            acknowledge(f"remove {turn * 1000}")
            start = turn * 1000 + 500
            table.load({"ID": list(range(start, start + BATCH)), "V": [BIG] * BATCH}, on_duplicate="replace")
            acknowledge(f"batch {start}")
            if turn == 4:
                table.compact()


def child(home: Path, failpoints: str, pipe: int, what: Callable) -> None:
    status = 1
    if "load" in failpoints or failpoints.endswith(("@2", "@7")):  # loads of several files, which become segments
        gridflow.storage.load.SEGMENT_BYTES = 40_000
        gridflow._native.store.DEFAULT_SMALL_BYTES = 5000
    try:
        set_failpoints(failpoints)
        what(home, lambda line: os.write(pipe, f"{line}\n".encode()))
        status = 0
    finally:
        os._exit(status)


def run(home: Path, failpoints: str, what: Callable = work) -> tuple[list[str], int]:
    """Work in a process of its own: what it acknowledged, and how it ended."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child(home, failpoints, writer, what)
    os.close(writer)
    with os.fdopen(reader) as lines:
        acknowledged = lines.read().split("\n")[:-1]
    return acknowledged, os.waitpid(pid, 0)[1]


def expect(table: gridflow.Table, acknowledged: list[str]) -> None:
    """Compare the rows with what was acknowledged; the one write under way at the end may be there or not."""
    rows: set[int] = set()
    for line in acknowledged:
        action, *argument = line.split()
        start = int(argument[0]) if argument else 0
        if action == "put":
            rows.add(start)
        elif action == "batch":
            rows.update(range(start, start + BATCH))
        elif action == "remove":
            rows.discard(start)
    found = set(table.to_arrow(["ID"])["ID"].to_pylist())
    assert len(found) == len(table)
    missing, extra = rows - found, found - rows
    # A removal that was not acknowledged may have happened; a batch that was not may be there, but whole.
    assert len(missing) <= 1 and all(m % 1000 == 0 for m in missing)
    assert len(extra) in (0, 1, BATCH), extra
    for key in list(found)[:20]:
        assert table.get(key) == {"V": BIG}


@pytest.mark.parametrize("point", KILL_POINTS)
@pytest.mark.parametrize("passes", [1, 2, 3, 7, 12])
def test_killed_at(home: Path, point: str, passes: int) -> None:
    acknowledged, status = run(home, f"{point}=kill@{passes}")
    # A place that is passed less often than that lets the work end well.
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL or status == 0
    with gridflow.connect(home) as grid:
        assert grid.check() == []
        if "create" in acknowledged:
            expect(grid.table("A"), acknowledged)
            grid.table("A").put(99999, {"V": b"after"})
    with gridflow.connect(home) as grid:
        assert grid.check() == []
        if "create" in acknowledged:
            assert grid.table("A").get(99999) == {"V": b"after"}


def test_every_place_is_passed(home: Path) -> None:
    for point in KILL_POINTS:
        folder = home / point
        _, status = run(folder, f"{point}=kill@1")
        assert os.WIFSIGNALED(status), f"nothing passes {point}"


def truncate(home: Path, acknowledge) -> None:
    """TRUNCATE of rows in a segment, of deleted ones, and of rows in memory; then a row that stays."""
    with gridflow.connect(home) as grid:
        table = grid.create_table("A", {"ID": "LONG"}, key="ID")
        table.load({"ID": list(range(BATCH))})
        table.remove(1)
        table.flush()
        table.put(1000, {})
        acknowledge("filled")
        acknowledge(f"truncated {table.truncate()}")
        table.put(2000, {})
        acknowledge("put")


@pytest.mark.parametrize("point", KILL_POINTS)
@pytest.mark.parametrize("passes", range(1, 8))
def test_truncate_killed_at(home: Path, point: str, passes: int) -> None:
    """All rows are there or none, and none once it has returned."""
    acknowledged, _ = run(home, f"{point}=kill@{passes}", truncate)
    with gridflow.connect(home) as grid:
        assert grid.check() == []
        if "filled" not in acknowledged:
            return
        found = set(grid.table("A").to_arrow(["ID"])["ID"].to_pylist())
        before = {1000, *range(BATCH)} - {1}
        if "put" in acknowledged:
            assert found == {2000}
        elif f"truncated {BATCH}" in acknowledged:
            assert found <= {2000}
        else:
            assert found in (before, set())
        assert len(grid.table("A")) == len(found) and grid.table("A").contains(5) == (5 in found)


@pytest.mark.parametrize("point", FAIL_POINTS)
@pytest.mark.parametrize("passes", range(1, 9))
@pytest.mark.parametrize("action", ["full", "io"])
def test_failed_at(home: Path, point: str, passes: int, action: str) -> None:
    """A call that fails raises, and the grid goes on in the same process: nothing acknowledged is lost."""
    acknowledged: list[str] = []
    set_failpoints(f"{point}={action}@{passes}")
    try:
        work(home, acknowledged.append)
    except gridflow.GridflowError as error:
        assert isinstance(error, gridflow.GridFullError) == (action == "full")
    finally:
        set_failpoints("")
    with gridflow.connect(home) as grid:
        assert grid.check() == []
        if "create" in acknowledged:
            expect(grid.table("A"), acknowledged)
            grid.table("A").put(99999, {"V": b"after"})
            grid.table("A").flush()
            assert grid.table("A").get(99999) == {"V": b"after"}


def test_a_log_kept_as_a_value_is_no_log(home: Path) -> None:
    """A torn record may hold a whole log in its value: its records must not be taken for commits after the tear."""
    with gridflow.connect(home / "one") as grid:
        table = grid.create_table("A", {"ID": "LONG", "V": "BINARY"}, key="ID")
        with table.lock:  # keeps the background flush away
            table.put_all((i, {"V": b"x"}) for i in range(10))
            table.put(100, {"V": b"y"})
            log = next((home / "one" / "log").iterdir()).read_bytes()[:4096]
    for shift in range(8):
        folder = home / f"two{shift}"

        def write(folder: Path = folder, shift: int = shift) -> None:
            with gridflow.connect(folder) as grid:
                set_failpoints("log.append=kill")
                grid.create_table("A", {"ID": "LONG", "V": "BINARY"}, key="ID").put(1, {"V": b" " * shift + log})

        pid = os.fork()
        if pid == 0:
            try:
                write()
            finally:
                os._exit(1)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
        with gridflow.connect(folder) as grid:
            assert len(grid.table("A")) == 0
            assert grid.check() == []
