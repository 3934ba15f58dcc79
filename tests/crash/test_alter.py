"""The owner dies while it changes a table's columns: they are the old ones or the new ones, and every row is there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import gridflow
from gridflow._native.store import set_failpoints

PLACES = ["log.append", "segment.data", "segment.rename", "file.written", "file.renamed", "manifest.write"]
PLACES += ["manifest.written", "version.published"]


STEPS = [["ID", "X", "S"], ["ID", "X", "S", "N", "V"], ["ID", "X", "N", "V"], ["ID", "Y", "N", "V"]]


def child(home: Path, failpoint: str) -> None:
    grid = gridflow.connect(home)
    grid.table("T").put(100, {"X": 100, "S": "in memory"})
    set_failpoints(failpoint)
    grid.sql("ALTER TABLE T ADD (N INT NOT NULL DEFAULT 7, V VARCHAR)")
    grid.sql("ALTER TABLE T DROP COLUMN S")
    grid.sql("ALTER TABLE T RENAME COLUMN X TO Y")
    set_failpoints("")


@pytest.mark.parametrize("passes", [1, 2, 3, 4])
@pytest.mark.parametrize("place", PLACES)
def test_killed_at(home: Path, place: str, passes: int) -> None:
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "INT", "S": "VARCHAR"}, key="ID")
        table.load({"ID": range(100), "X": range(100), "S": ["s"] * 100})
    pid = os.fork()
    if pid == 0:
        try:
            child(home, f"{place}=kill@{passes}")
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
    with gridflow.connect(home) as grid:
        assert grid.check() == []
        table = grid.table("T")
        names = table.schema.names
        assert names in STEPS and (names == STEPS[-1] or status != 0)
        rows = table.get_all(range(101))
        assert len(rows) == len(table) == 101, "what was acknowledged before is there"
        for key, row in rows.items():
            assert row["Y" if "Y" in names else "X"] == key
            assert row.get("N", 7) == 7 and row.get("V") is None
        grid.sql("INSERT INTO T (ID) VALUES (200)")
        assert grid.table("T").get(200).get("N", 7) == 7, "a column and its DEFAULT come together"
