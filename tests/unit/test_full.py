"""A grid on a file system that is full: errors before anything is acknowledged, and all of it stays readable."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from small_room import COLUMNS, WRITES, Writer, compare, fill, room, value

import gridflow
import gridflow.storage.load
import gridflow.testing
from gridflow import GridFullError
from gridflow.registry import open_reader


@pytest.mark.parametrize("write", WRITES)
def test_writes_until_it_is_full(full, write):
    grid, writer = full
    assert writer.until_full(getattr(writer, write)) > 5
    writer.check()
    for _ in range(3):
        assert writer.until_full(getattr(writer, write)) < 3, "it stays full"
    writer.check()
    assert grid.check() == []
    with open_reader(grid.home) as reader:
        compare(reader.table("T"), writer.rows)


@pytest.mark.parametrize("write", WRITES)
def test_writes_work_again_once_there_is_room(full, small, write):
    grid, writer = full
    fill(small, leave=6 << 20)
    writer.until_full(getattr(writer, write))
    fill(small)
    with pytest.raises(GridFullError):
        writer.load()
    writer.check()
    (small / "ballast").unlink()
    for name in WRITES:
        getattr(writer, name)()
    grid.flush()
    writer.table.compact()
    writer.check()
    grid.create_table("NEW", COLUMNS, key="ID").put(1, value(1))


def test_not_a_byte_of_room(full, small):
    """What needs no room goes on; what needs some fails and changes nothing."""
    grid, writer = full
    writer.put_all()
    writer.load()
    writer.put_all()
    fill(small)
    assert room(small) == 0
    files = sorted((small / "grid").rglob("*"))
    for action in (
        lambda: writer.table.put_all((i, value(i)) for i in range(1000, 1100)),
        lambda: writer.table.load({"ID": [1]}),
        lambda: grid.create_table("NEW", COLUMNS, key="ID"),
        writer.table.flush,
        writer.table.compact,
        grid.flush,
        lambda: gridflow.connect(small / "other"),
    ):
        with pytest.raises(GridFullError):
            action()
    assert grid.tables() == ["T"]
    writer.check()
    assert sorted((small / "grid").rglob("*")) == files, "nothing is left behind"
    small_writes = writer.until_full(lambda: writer.put(8))  # into what room the log has left
    assert small_writes > 0
    writer.check()


def test_tables_until_it_is_full(small):
    grid = gridflow.connect(small / "grid")
    fill(small, leave=1 << 20)
    made = []
    with pytest.raises(GridFullError):
        for i in range(100_000):
            grid.create_table(f"T{i:05}", COLUMNS, key="ID")
            made.append(f"T{i:05}")
    assert grid.tables() == made and len(made) > 10
    assert sorted(os.listdir(small / "grid" / "tables")) == sorted(str(i + 1) for i in range(len(made)))
    assert grid.check() == [] and all(len(grid.table(name)) == 0 for name in made)
    (small / "ballast").unlink()
    grid.create_table("NEW", COLUMNS, key="ID").put(1, value(1))
    grid.close()
    gridflow.testing.verify(small / "grid")


def test_a_grid_that_is_closed_when_it_is_full_keeps_its_log(full, small):
    grid, writer = full
    writer.put_all()
    fill(small)
    with pytest.raises(GridFullError):
        grid.close()
    assert grid.closed
    for _ in range(2):
        with pytest.raises(GridFullError), gridflow.connect(small / "grid") as again:
            compare(again.table("T"), writer.rows)
    (small / "ballast").unlink()


def test_a_load_that_fails_in_a_later_chunk_for_want_of_room(full, monkeypatch):
    grid, writer = full
    monkeypatch.setattr(gridflow.storage.load, "SEGMENT_BYTES", 1 << 20)
    writer.load(100)
    version, files = writer.table.version(), sorted(writer.table.folder.iterdir())
    with pytest.raises(GridFullError):
        writer.load(10_000)
    assert writer.table.version() == version and sorted(writer.table.folder.iterdir()) == files
    writer.load(100)


def test_a_compaction_without_room_changes_nothing(full):
    grid, writer = full
    writer.load(250)
    writer.load(250)
    files = sorted(writer.table.folder.iterdir())
    with pytest.raises(GridFullError):
        writer.table.compact()
    assert sorted(writer.table.folder.iterdir()) == files
    writer.check()


def test_threads_until_it_is_full(full):
    grid, writer = full
    tables = [grid.create_table(f"T{i}", COLUMNS, key="ID") for i in range(4)]
    writers = [Writer(table) for table in tables]
    threads = [
        threading.Thread(target=lambda w=w, name=name: w.until_full(getattr(w, name)))
        for w, name in zip(writers, ["put", "put_all", "load", "put"], strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for w in writers:
        w.check()
    assert grid.check() == []


def test_a_write_that_was_kept_is_acknowledged(full, monkeypatch, small):
    """A writer far ahead of the flushes flushes itself; that there is no room for this is not its own failure."""
    grid, writer = full
    grid.open_grid._store.flush_bytes = 1000
    fill(small, leave=1 << 20)
    writer.until_full(lambda: writer.put(8000))
    assert 100 > len(writer.rows) > 20
    writer.check()


def test_a_log_that_was_copied_with_holes(small, home):
    """Backup programs leave out blocks of zeros. What was not written ends a log."""
    with gridflow.connect(home / "open") as grid:
        table = grid.create_table("T", COLUMNS, key="ID")
        with table.lock:  # keeps the background flush away
            table.put(1, value(1))
            copy = ["cp", "--recursive", "--sparse=always", str(grid.home), str(small / "grid")]
            subprocess.run(copy, check=True)
    fill(small)
    code = "import gridflow, sys; print(gridflow.connect(sys.argv[1], read_only=True).check())"
    done = subprocess.run([sys.executable, "-c", code, str(small / "grid")], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.returncode} {done.stderr}"


def test_a_segment_that_was_copied_with_holes(small, home):
    """Reading a hole takes a page of a file system that has none left: an error, where it would end the process."""
    with gridflow.connect(home / "open") as grid:
        table = grid.create_table("T", COLUMNS, key="ID")
        table.put(1, {"B": bytes(1 << 20)})
    copy = ["cp", "--recursive", "--sparse=always", str(home / "open"), str(small / "grid")]
    subprocess.run(copy, check=True)
    code = (
        "import gridflow, sys\n"
        "with gridflow.connect(sys.argv[1], read_only=True) as grid: print(any(grid.table('T').get(1)['B']))"
    )
    read = [sys.executable, "-c", code, str(small / "grid")]
    ballast = fill(small)
    done = subprocess.run(read, capture_output=True, text=True)
    assert done.returncode == 1 and "GridFullError" in done.stderr, f"{done.returncode} {done.stderr}"
    ballast.unlink()
    done = subprocess.run(read, capture_output=True, text=True)
    assert done.stdout == "False\n", f"{done.returncode} {done.stderr}"


def test_no_room_for_compressed_copies(full, small, monkeypatch):
    grid, writer = full
    table = grid.create_table("N", {"ID": "LONG", "X": "UINT8[1024]"}, key="ID")
    numbers = np.random.default_rng(0).integers(0, 200, (2000, 1024), np.uint8)
    table.load({"ID": np.arange(2000), "X": numbers})
    fill(small, leave=1 << 20)
    with pytest.raises(GridFullError):
        table.compress("X")
    assert not list(table.folder.glob("*.lz4*"))
    monkeypatch.setattr("gridflow.storage.compressed_copies.copy_bytes", None)  # it is known by now how large they are
    with pytest.raises(GridFullError):
        table.copies.settle()
    monkeypatch.undo()
    (small / "ballast").unlink()
    table.copies.settle()
    assert len(list(table.folder.glob("*.lz4"))) == 1 and grid.check() == []
    writer.check()


def test_a_commit_waits_for_a_flush_that_gives_room(full, small, monkeypatch):
    """While it runs, its rows are in memory and on their way to a file: both count, until it is done."""
    grid, writer = full
    fill(small, leave=6 << 20)
    writer.put(2 << 20)
    held, go_on = threading.Event(), threading.Event()

    def flush() -> None:
        with writer.table.lock:  # as a flush under way has it
            held.set()
            go_on.wait(60)
            writer.table.flush()

    thread = threading.Thread(target=flush)
    thread.start()
    assert held.wait(60)
    threading.Timer(0.2, go_on.set).start()
    writer.put(1 << 20)
    thread.join()
    writer.check()


@pytest.mark.parametrize("write", ["put", "load"])
def test_a_limit_on_the_size_of_files(tmp_path, write):
    code = """
import gridflow, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
with gridflow.connect(sys.argv[1]) as grid:
    table = grid.create_table("T", {"ID": "LONG", "B": "BINARY"}, key="ID")
    table.put(1, {"B": b"small"})
    try:
        if sys.argv[2] == "put":
            table.put(2, {"B": bytes(4 << 20)})
        else:
            table.load({"ID": [2], "B": [bytes(4 << 20)]})
    except gridflow.GridFullError as error:
        print("full:", len(table), table.get(1), error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "grid"), write], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.startswith("full: 1 {'B': b'small'}"), done.stderr
