"""A version in the making when others read the table, or close the grid."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gridflow
from gridflow import GridClosedError
from gridflow.server import Node
from gridflow.stored_table import StoredTable, open_table
from gridflow.testing import verified


@contextmanager
def held(work) -> Iterator[threading.Event]:
    """Run ``work(wait)`` in a thread, which goes on after ``wait()`` once the block's event is set or it ends."""
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(60)

    thread = threading.Thread(target=work, args=(wait,))
    thread.start()
    try:
        assert begun.wait(60)
        yield go_on
    finally:
        go_on.set()
        thread.join()


def test_close_waits_for_a_version_in_the_making(home: Path):
    grid = gridflow.connect(home / "grid")
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.load([{"ID": i} for i in range(100)])

    def clear(wait) -> None:
        with table.edit() as edit:
            edit.clear()
            wait()
            edit.commit()

    with held(clear) as go_on:
        closing = threading.Thread(target=grid.close)
        closing.start()
        closing.join(0.3)
        assert closing.is_alive()
        go_on.set()
        closing.join(60)
        assert not closing.is_alive()
    with verified(home / "grid") as grid:
        assert len(grid.table("T")) == 0, "it was published before the lock went"


def test_nothing_is_published_once_the_grid_is_closed(home: Path):
    grid = gridflow.connect(home / "grid")
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.load([{"ID": i} for i in range(100)])
    with table.edit() as edit:
        edit.clear()
        grid.close()  # this very thread cannot wait for itself
        with pytest.raises(GridClosedError):
            edit.commit()
    with verified(home / "grid", embedded=True) as grid:
        assert len(grid.table("T")) == 100


@pytest.mark.parametrize("served", [False, True])
def test_who_reads_does_not_wait_for_who_writes(home: Path, served, monkeypatch):
    monkeypatch.setattr(gridflow.table, "READ_SECONDS", 0.05)
    with Node(home / "grid") as node:
        table = node.grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")
        table.put_all((i, {"X": i}) for i in range(10))

        def hold(wait) -> None:
            with table.lock:
                wait()

        with held(hold):
            table.put_all((i, {"X": i}) for i in range(10, 3000))
            grid = gridflow.client.connect_unix(node.home) if served else node.grid
            try:
                assert grid.sql("SELECT COUNT(*), SUM(X) FROM T").fetchall() == [(3000, 4498500)]
                assert grid.sql("SELECT A.X FROM T A JOIN T B ON A.ID = B.X WHERE A.X > 2998").fetchall() == [(2999,)]
                assert len(grid.table("T")) == grid.table("T").to_arrow().num_rows == 3000
            finally:
                if served:
                    grid.close()


def test_a_table_is_found_while_its_grid_comes_and_goes(home: Path):
    def write(value: int) -> None:
        with gridflow.connect(home / "grid") as grid:
            grid.table("T").put(1, {"V": value})

    with gridflow.connect(home / "grid") as grid:
        grid.create_table("T", {"ID": "LONG", "V": "LONG"}, key="ID")
    errors: list[Exception] = []
    stop = threading.Event()

    def look() -> None:
        try:
            while not stop.is_set():
                with open_table("T", home=home / "grid") as (_, table):
                    assert StoredTable.of(table).name == "T"
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for value in range(20):
        write(value)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
