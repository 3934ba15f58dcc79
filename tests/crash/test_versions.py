"""The owner dies, or a call fails, while versions are tagged and let go of: those that the catalog names are whole."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import gridflow
import gridflow.testing
from gridflow.testing import set_failpoints

ROWS = 40
PLACES = ["segment.data", "segment.rename", "file.written", "file.renamed", "manifest.write", "manifest.written"]
PLACES += ["version.published"]


def work(home: Path, acknowledge: Callable[[str], object]) -> None:
    """Tags come, move and go between changes of every kind; ``acknowledge`` is told what each tag must read."""
    with gridflow.connect(home) as grid:
        table = grid.table("T")
        with table.lock:  # keeps the background flush away: the version numbers are those of this text
            for turn in range(3):
                table.load({"ID": range(ROWS), "X": [turn] * ROWS}, on_duplicate="replace")
                table.put(turn, {"X": 100})
                table.tag(f"v{turn}")
                acknowledge(json.dumps({f"v{turn}": turn}))
                table.tag("best", replace=True)
                acknowledge(json.dumps({"best": turn}))
                table.compact()
            table.keep_versions(2)
            table.truncate()
            table.untag("v1")
            acknowledge(json.dumps({"v1": None}))
            grid.alter_table("T", drop=["X"])
            table.keep_versions(0)
            table.untag("v2")
            acknowledge(json.dumps({"v2": None}))


def expect(home: Path, acknowledged: list[str]) -> None:
    """Each tag reads what it was given to; of the one under way when the owner died both are right."""
    told: dict[str, int | None] = {}
    for line in acknowledged:
        told.update(json.loads(line))
    gridflow.testing.verify(home)  # the tags' rows, no file too many
    with gridflow.connect(home) as grid:
        table = grid.table("T")
        tags = table.tags()
        wanted = {tag for tag, turn in told.items() if turn is not None}
        assert len(wanted ^ tags.keys()) <= 1
        for tag, version in tags.items():
            rows = dict(zip(*table.to_arrow(["ID", "X"], version=tag).to_pydict().values(), strict=True))
            turn = next(x for x in rows.values() if x != 100)
            assert rows == {**dict.fromkeys(range(ROWS), turn), turn: 100}
            assert tag == "best" or int(tag[1:]) == turn
            assert tag != "best" or turn - (told.get("best") or 0) in (0, 1)
            assert version in table.versions()
        for number in table.versions():
            table.to_arrow(version=number)
        for tag in tags:
            table.untag(tag)
        table.keep_versions(0)
        assert table.versions() == [table.version()]
    gridflow.testing.verify(home)


def make(home: Path) -> None:
    with gridflow.connect(home) as grid:
        grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID")


def restore(home: Path, acknowledge: Callable[[str], object]) -> None:
    """A version comes back after changes of every kind; ``acknowledge`` is told what the table holds from then on."""
    with gridflow.connect(home) as grid:
        table = grid.table("T")
        with table.lock:
            table.load({"ID": range(ROWS), "X": [0] * ROWS})
            table.tag("v0")
            acknowledge("0")
            for turn in range(1, 4):
                table.put_all((i, {"X": turn}) for i in range(ROWS))
                acknowledge(str(turn))
                if turn == 2:
                    table.compact()
                if turn == 3:
                    grid.alter_table("T", add={"Y": "INT"})
                table.restore("v0")
                acknowledge("0")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("passes", [*range(1, 9), 11, 14])
def test_killed_while_a_version_comes_back(home: Path, place: str, passes: int) -> None:
    make(home / "grid")
    acknowledged = killed_at(home / "grid", restore, place, passes)
    gridflow.testing.verify(home / "grid")
    with gridflow.connect(home / "grid") as grid:
        table = grid.table("T")
        rows = table.to_arrow()
        values = set(rows["X"].to_pylist())
        last = int(acknowledged[-1]) if acknowledged else None
        assert rows.num_rows == (ROWS if values else 0) and len(values) <= 1, "all or nothing"
        following = {None: {0}, 0: {1, 2, 3}, 1: {0}, 2: {0}, 3: {0}}[last]
        assert values <= {last, *following} and (values or last is None)
        if "v0" in table.tags():
            table.restore("v0")
            assert table.schema.names == ["ID", "X"] and set(table.to_arrow()["X"].to_pylist()) == {0}
    gridflow.testing.verify(home / "grid")


def killed_at(home: Path, what: Callable[..., None], place: str, passes: int) -> list[str]:
    """What a process has acknowledged that was killed at a place."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            set_failpoints(f"{place}=kill@{passes}")
            what(home, lambda line: os.write(writer, f"{line}\n".encode()))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        acknowledged = lines.read().split("\n")[:-1]
    status = os.waitpid(pid, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    return acknowledged


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("passes", [1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28])
def test_killed_at(home: Path, place: str, passes: int) -> None:
    make(home / "grid")
    expect(home / "grid", killed_at(home / "grid", work, place, passes))


@pytest.mark.parametrize("place", ["file.written", "manifest.write"])
@pytest.mark.parametrize("passes", range(1, 30, 2))
@pytest.mark.parametrize("action", ["full", "io"])
def test_failed_at(home: Path, place: str, passes: int, action: str) -> None:
    make(home / "grid")
    acknowledged: list[str] = []
    set_failpoints(f"{place}={action}@{passes}")
    try:
        work(home / "grid", acknowledged.append)
    except gridflow.GridflowError as error:
        assert isinstance(error, gridflow.GridFullError) == (action == "full")
    finally:
        set_failpoints("")
    expect(home / "grid", acknowledged)
