"""A grid and several processes: owners, readers beside them, forked children."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

import gridflow
import gridflow.testing
from gridflow import GridAccessError, GridClosedError, GridNotFoundError, GridOwnedError, TableNotFoundError
from gridflow.registry import open_reader
from gridflow.testing import contents, verified

COLUMNS = {"ID": "LONG", "N": "VARCHAR"}


def make(grid, *names):
    return [grid.create_table(name, COLUMNS, key="ID") for name in names]


def run(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_a_grid_left_open_at_the_end_of_the_process_is_closed(home):
    code = """if True:
        import gridflow, sys
        grid = gridflow.connect(sys.argv[1])
        grid.create_table("T", {"ID": "LONG"}, key="ID").put(1, {})
    """
    done = run(code, home)
    assert done.returncode == 0 and done.stderr == ""
    assert not list((home / "log").iterdir()), "all was flushed"
    with verified(home) as grid:
        assert list(grid.table("T")) == [1]


def test_a_second_owner_is_told_the_first_ones_pid(home):
    with verified(home):
        done = run("import gridflow, sys; gridflow.connect(sys.argv[1])", home)
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert f"GridOwnedError: grid {home} is owned by process {os.getpid()}, which does not serve it" in last
        done = run("import gridflow, sys; print(gridflow.connect(sys.argv[1], read_only=True).tables())", home)
        assert (done.returncode, done.stdout) == (0, "[]\n")
    assert issubclass(GridOwnedError, BlockingIOError)


# ---- readers ----


def test_a_reader_only_reads(grid):
    (table,) = make(grid, "T")
    table.put(1, {"N": "in memory"})
    with open_reader(grid.home) as reader:
        assert not reader.owner and repr(reader) == f"<gridflow.Grid {grid.home} (read only)>"
        found = reader.table("T")
        assert found.get(1) == {"N": "in memory"} and list(found) == [1] and len(found) == 1
        assert contents(reader) == contents(grid) and reader.check() == []
        for action in (
            lambda: make(reader, "U"),
            lambda: reader.drop_table("T"),
            lambda: found.put(1, {}),
            lambda: found.put_all({1: {}}),
            lambda: found.put_if_absent(1, {}),
            lambda: found.replace(1, {}),
            lambda: found.remove(1),
            lambda: found.load({"ID": [1]}),
            lambda: found.compact(),
            lambda: reader.cache("C").put(1, 1),
        ):
            with pytest.raises(GridAccessError, match=r"open to read only"):
                action()
        reader.flush()
        make(grid, "NEW")[0].put(5, {})
        assert reader.tables() == ["NEW", "T"] and 5 in reader.table("NEW")
        view = found.to_arrow()
        grid.drop_table("T")
        assert reader.tables() == ["NEW"]
        for action in (lambda: found.get(1), lambda: len(found), found.to_arrow, lambda: reader.table("T")):
            with pytest.raises(TableNotFoundError):
                action()
        assert view["ID"].to_pylist() == [1]
    with pytest.raises(GridClosedError):
        reader.tables()
    with pytest.raises(GridNotFoundError, match="there is no grid at"):
        gridflow.connect(grid.home / "nowhere", read_only=True)


def test_a_reader_outlives_its_owner_and_follows_the_next(home):
    with gridflow.connect(home) as grid:
        make(grid, "T")[0].put(1, {})
        reader = open_reader(home)
        found = reader.table("T")
        assert list(found) == [1]
    assert list(found) == [1]
    with gridflow.connect(home) as grid:
        assert list(found) == [1]
        grid.table("T").put(2, {})
        assert sorted(found) == [1, 2] and 2 in found
        grid.table("T").compact()
        assert sorted(found) == [1, 2]
    reader.close()
    gridflow.testing.verify(home)


# ---- fork ----


def in_child(action) -> str:
    """What ``action`` returns or raises in a forked child, as text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = repr(action())
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(writer, result.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        result = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    return result


def test_a_forked_child_has_to_connect_itself(grid):
    (table,) = make(grid, "T")
    table.put(1, {"N": "parent"})
    reader = open_reader(grid.home)
    closed = "GridClosedError: .*it was opened before this process was forked; connect again in the child"
    for action in (lambda: table.get(1), lambda: table.put(2, {}), grid.tables, lambda: table.load({"ID": [1]})):
        assert re.match(closed, in_child(action))
    assert in_child(lambda: gridflow.connect(grid.home)).startswith(f"GridOwnedError: grid {grid.home} is owned by")
    assert in_child(lambda: (grid.close(), grid.closed)) == "(None, True)"
    assert in_child(lambda: open_reader(grid.home).table("T").get(1)) == "{'N': 'parent'}"
    assert in_child(lambda: reader.table("T").get(1)) == "{'N': 'parent'}", "a reader goes on in the child"

    table.put(3, {"N": "still the owner"})
    table.flush()
    assert sorted(table) == [1, 3]
    assert run("import gridflow, sys; gridflow.connect(sys.argv[1])", grid.home).returncode == 1, "the lock is kept"
    reader.close()


def test_a_child_owns_a_grid_of_its_own(grid, home):
    def work():
        with gridflow.connect(home / "other") as other:
            (table,) = make(other, "T")
            table.put(1, {})
            return list(table)

    assert in_child(work) == "[1]"
    gridflow.testing.verify(home / "other")
    shutil.rmtree(home / "other")


def test_a_reader_that_closes_leaves_the_owner_alone(home):
    """It made the process forget its grid, and the next connect a second owner of it."""
    with gridflow.connect(home) as owner:
        owner.create_table("T", {"ID": "LONG"}, key="ID")
        gridflow.connect(home, read_only=True).close()
        with gridflow.connect(home) as again:
            assert again.open_grid is owner.open_grid
