"""The owner dies, or a call fails, while it makes the files of indexes: rows and answers are as without them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import gridflow
import gridflow.testing
from gridflow.testing import set_failpoints

ROWS = 3000


def work(home: Path, failpoints: str) -> None:
    """Make indexes, and let files of theirs come and go; dies or stops at the failpoint."""
    with gridflow.connect(home) as grid:
        set_failpoints(failpoints)
        table = grid.table("T")
        grid.sql("CREATE INDEX BY_N ON T (N)")
        for turn in range(3):
            grid.sql("UPDATE T SET N = N + 1 WHERE N = ?", [turn])
            table.flush()
            table.indexes.settle()
        table.compact()
        table.indexes.settle()
        grid.sql("CREATE INDEX BY_NAME ON T (NAME, N DESC)")
        grid.sql("DROP INDEX BY_N")


def make(home: Path) -> None:
    with gridflow.connect(home) as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, N INT, NAME VARCHAR)")
        ids = np.arange(ROWS)
        grid.table("T").load({"ID": ids, "N": (ids % 30).astype("i4"), "NAME": [f"name {i % 50}" for i in ids]})


def expect(home: Path) -> None:
    """Every answer is that of a scan; nothing is damaged, nothing is left behind."""
    gridflow.testing.verify(home)
    with gridflow.connect(home) as grid:
        rows = grid.sql("SELECT ID, N, NAME FROM T").fetchall()
        assert len(rows) == ROWS
        for n in range(5):
            assert sorted(grid.sql("SELECT ID, N, NAME FROM T WHERE N = ?", [n]).fetchall()) == sorted(
                row for row in rows if row[1] == n
            )
        assert grid.sql("SELECT COUNT(*) FROM T WHERE NAME = 'name 7' AND N > 3").fetchall() == [
            (sum(row[2] == "name 7" and row[1] > 3 for row in rows),)
        ]
        names = [index.name for index in grid.table("T").indexes.all()]
        for name in names:
            grid.sql(f"DROP INDEX {name}")
        grid.sql("CREATE INDEX BY_N ON T (N)")
    gridflow.testing.verify(home)


@pytest.mark.parametrize("point", ["file.written", "file.renamed"])
@pytest.mark.parametrize("passes", range(1, 13))
def test_killed_at(home: Path, point: str, passes: int) -> None:
    """Of catalog, manifests, bitmaps and index files, all of which pass these places."""
    make(home / "grid")
    pid = os.fork()
    if pid == 0:
        try:
            work(home / "grid", f"{point}=kill@{passes}")
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    expect(home / "grid")


@pytest.mark.parametrize("passes", range(1, 13))
@pytest.mark.parametrize("action", ["full", "io"])
def test_failed_at(home: Path, passes: int, action: str) -> None:
    make(home / "grid")
    try:
        work(home / "grid", f"file.written={action}@{passes}")
    except gridflow.GridflowError as error:
        assert isinstance(error, gridflow.GridFullError) == (action == "full")
    finally:
        set_failpoints("")
    expect(home / "grid")
