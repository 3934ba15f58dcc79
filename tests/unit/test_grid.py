"""Opening, sharing, closing and forking a grid, and its tables by name."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

import gridflow
import gridflow.dbapi
from gridflow import (
    GridAccessError,
    GridClosedError,
    GridNotFoundError,
    SchemaError,
    TableExistsError,
    TableNotFoundError,
    UsageError,
)
from gridflow.config import default_home
from gridflow.testing import verified

COLUMNS = {"ID": "LONG", "N": "VARCHAR"}


def make(grid, *names):
    return [grid.create_table(name, COLUMNS, key="ID") for name in names]


# ---- names ----


def test_tables_by_name(grid):
    assert grid.tables() == []
    make(grid, "IMAGES", "LABELS", "labels", "ä b", "x" * 255)
    assert grid.tables() == sorted(["IMAGES", "LABELS", "labels", "ä b", "x" * 255])
    assert grid.table("ä b").name == "ä b" and grid.table("labels").table_id != grid.table("LABELS").table_id
    assert grid.table("IMAGES") is grid.table("IMAGES") is grid.table("SQL_PUBLIC_IMAGES")
    assert "IMAGES" in grid and "NOTHING" not in grid
    assert repr(grid.table("LABELS")) == "<gridflow.Table LABELS (ID INT64 NOT NULL, N STRING, PRIMARY KEY (ID))>"


def test_a_name_that_is_not_there_says_what_is(grid):
    with pytest.raises(TableNotFoundError, match="no table IMAGE in grid .*; there are none yet"):
        grid.table("IMAGE")
    make(grid, "IMAGES")
    with pytest.raises(TableNotFoundError, match="did you mean IMAGES. there is IMAGES"):
        grid.table("images")
    make(grid, "LABELS")
    with pytest.raises(
        TableNotFoundError, match="no table IMAGE in grid .*; did you mean IMAGES. there are IMAGES, LABELS"
    ):
        grid.table("IMAGE")
    with pytest.raises(KeyError):
        grid.drop_table("SQL_PUBLIC_OTHER")
    make(grid, *(f"T{i}" for i in range(30)))
    with pytest.raises(TableNotFoundError, match="there are IMAGES, LABELS, T0.* and 12 more$"):
        grid.table("nothing like it")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 256, "ä" * 128, "\ud800"])
def test_names_that_cannot_be(grid, name):
    with pytest.raises(SchemaError, match="cannot be a table name"):
        make(grid, name)
    assert grid.tables() == []


def test_a_name_is_taken_once(grid):
    make(grid, "A")
    options = {"cache_name": "CATS", "sql": {"schema": "PUBLIC"}}
    b = grid.create_table("B", COLUMNS, key="ID", partitions=3, options=options)
    assert b.options == options and grid.table("CATS") is b and b.partitions_count == 3
    for name, options in (("A", {}), ("CATS", {}), ("SQL_PUBLIC_A", {}), ("C", {"cache_name": "A"})):
        with pytest.raises(TableExistsError, match="exists already"):
            grid.create_table(name, COLUMNS, key="ID", options=options)
    assert grid.create_table("A", COLUMNS, key="ID", if_not_exists=True).schema.names == ["ID", "N"]
    with pytest.raises(UsageError, match="table C: its options cannot be written as JSON"):
        grid.create_table("C", COLUMNS, key="ID", options={"a": object()})
    for partitions in (0, -1, (1 << 20) + 1, 1.0, True, "4"):
        with pytest.raises(SchemaError, match="table C: partitions is 1 to 1048576, not"):
            grid.create_table("C", COLUMNS, key="ID", partitions=partitions)
    assert grid.tables() == ["A", "B"] and len(os.listdir(grid.home / "tables")) == 2


def test_drop_and_make_again(grid):
    (table,) = make(grid, "T")
    table.put_all((i, {}) for i in range(100))
    table.flush()
    table.put(200, {})
    grid.drop_table("T")
    assert grid.tables() == [] and os.listdir(grid.home / "tables") == []
    (again,) = make(grid, "T")
    assert again.table_id > table.table_id and len(again) == 0 and again.get(1) is None
    again.put(1, {"N": "new"})
    home = grid.home
    grid.close()
    with gridflow.connect(home) as grid:
        assert grid.table("T").get(1) == {"N": "new"} and len(grid.table("T")) == 1
        with pytest.raises(TableNotFoundError):
            grid.drop_table("U")
        grid.drop_table("U", if_exists=True)
        grid.drop_table("T", if_exists=True)
        make(grid, "V")
    with gridflow.connect(home) as grid:
        assert grid.tables() == ["V"] and grid.table("V").table_id > again.table_id, "an id is never used again"


def test_dropping_a_table_leaves_a_load_of_another_alone(grid, monkeypatch):
    """The drop swept files that no manifest named yet: those of a load under way."""
    monkeypatch.setattr("gridflow.storage.load.ROWS_AT_ONCE", 5)
    _, other = make(grid, "T", "OTHER")
    entered, go_on = threading.Event(), threading.Event()

    def rows():
        yield from ({"ID": i} for i in range(10))
        entered.set()
        go_on.wait()
        yield {"ID": 10}

    loader = threading.Thread(target=lambda: other.load(rows()))
    loader.start()
    entered.wait()
    grid.drop_table("T")
    go_on.set()
    loader.join()
    assert sorted(other) == list(range(11))


def test_a_drop_waits_for_a_load_that_looks_up_tables(grid):
    """The drop held the lock of names, which the load's data needed: neither went on."""
    table, _ = make(grid, "T", "OTHER")
    entered, dropping = threading.Event(), threading.Event()

    def rows():
        yield {"ID": 1}
        entered.set()
        dropping.wait()
        yield {"ID": len(grid.table("OTHER")) + 2}

    loader = threading.Thread(target=lambda: table.load(rows()))
    loader.start()
    entered.wait()
    dropper = threading.Thread(target=lambda: grid.drop_table("T"))
    dropper.start()
    dropping.set()
    loader.join()
    dropper.join()
    assert grid.tables() == ["OTHER"]


# ---- opening and closing ----


def test_a_process_shares_its_grid(home):
    with verified(home / "g") as grid:
        make(grid, "T")[0].put(1, {"N": "x"})
        with gridflow.connect(str(grid.home)) as same:
            assert same.open_grid is grid.open_grid
        with gridflow.connect(home / "." / "g") as same:
            assert same.open_grid is grid.open_grid and same.owner
            os.symlink(home / "g", home / "link")
            with gridflow.connect(home / "link") as same:
                assert same.open_grid is grid.open_grid
        assert not grid.closed and grid.table("T").get(1) == {"N": "x"}
    assert grid.closed
    grid.close()


def test_a_closed_grid_says_so(home):
    grid = gridflow.connect(home)
    (table,) = make(grid, "T")
    cache = grid.cache("C")
    table.put(1, {})
    view = table.to_arrow()
    scan = table.scan()
    grid.close()
    grid.close()
    for action in (
        grid.tables,
        lambda: grid.table("T"),
        lambda: make(grid, "U"),
        lambda: grid.drop_table("T"),
        grid.flush,
        lambda: grid.sql("SELECT 1"),
        lambda: grid.cache("C"),
        lambda: cache.put(1, 1),
        lambda: cache.get(1),
        lambda: table.put(1, {}),
        lambda: table.put_all({1: {}}),
        lambda: table.remove(1),
        lambda: table.get(1),
        lambda: 1 in table,
        lambda: len(table),
        table.flush,
        table.compact,
        table.stats,
        table.to_arrow,
        lambda: table.load({"ID": [1]}),
    ):
        with pytest.raises(GridClosedError, match="the grid is closed"):
            action()
    assert view["ID"].to_pylist() == [1] and next(scan).num_rows == 1
    assert repr(grid) == f"<gridflow.Grid {home} (closed)>" and grid.check() == []
    gridflow.testing.verify(home)


def test_a_load_that_begins_while_the_grid_closes_does_not_outlive_it(home):
    """Its version would be published when the lock is free and another process may own the grid."""
    grid = gridflow.connect(home)
    (table,) = make(grid, "T")
    table.put(1, {})
    flush, results = grid.open_grid.flush, []

    def flush_then_load():
        flush()
        for write in (lambda: table.load({"ID": [2]}), lambda: table.put(3, {}), table.compact):
            thread = threading.Thread(target=lambda write=write: results.append(pytest.raises(GridClosedError, write)))
            thread.start()
            thread.join()

    grid.open_grid.flush = flush_then_load
    grid.close()
    assert len(results) == 3
    with gridflow.connect(home) as grid:
        assert list(grid.table("T")) == [1]
    gridflow.testing.verify(home)


def test_an_error_leaves_the_grid_in_order(home):
    with pytest.raises(RuntimeError, match="oops"), gridflow.connect(home) as grid:
        make(grid, "T")[0].put(1, {})
        raise RuntimeError("oops")
    assert grid.closed
    with verified(home) as grid:
        assert 1 in grid.table("T")


def test_the_default_grid(home, monkeypatch):
    monkeypatch.setenv("GRIDFLOW_HOME", str(home / "mine"))
    with verified(home / "mine") as grid, gridflow.connect() as default:
        assert default.open_grid is grid.open_grid
    monkeypatch.setenv("GRIDFLOW_HOME", "~/grid")
    assert default_home() == Path.home() / "grid"
    monkeypatch.delenv("GRIDFLOW_HOME")
    assert default_home() == Path(f"/dev/shm/gridflow-{os.getuid()}/default")
    assert (home / "mine").stat().st_mode & 0o777 == 0o700
    with pytest.raises(UsageError, match="durability is process or fsync, not 'maybe'"):
        gridflow.connect(home / "mine", durability="maybe")


def test_fsync_is_the_same_grid(home):
    with verified(home, durability="fsync") as grid:
        table, other = make(grid, "T", "U")
        table.put_all((i, {"N": "x" * 1000}) for i in range(1000))
        for i in range(20):
            table.put(i, {"N": str(i)})
        table.flush()
        table.load({"ID": [5000]})
        table.remove(7)
        grid.drop_table("U")
        assert len(table) == 1000 and other.table_id == 2


# ---- directories ----


def test_a_directory_that_is_something_else(home):
    (home / "thesis.txt").write_text("forty pages")
    with pytest.raises(UsageError, match=r"is not a grid and not empty \(it holds thesis.txt\)"):
        gridflow.connect(home)
    assert os.listdir(home) == ["thesis.txt"] and (home / "thesis.txt").read_text() == "forty pages"
    for path in (home / "thesis.txt", home / "thesis.txt" / "grid"):
        with pytest.raises(GridAccessError, match=re.escape(str(path))):
            gridflow.connect(path)
        with pytest.raises(GridNotFoundError):
            gridflow.connect(path, read_only=True)
    with pytest.raises(GridAccessError, match="File name too long"):
        gridflow.connect(home / ("x" * 300))


def unwritable() -> str | None:
    """A directory in which not even root can write."""
    for path in ("/proc", "/sys"):
        if os.path.isdir(path):
            return path
    return None


@pytest.mark.skipif(unwritable() is None, reason="there is no /proc or /sys here")
def test_a_directory_that_cannot_be_written():
    path = unwritable()
    with pytest.raises((GridAccessError, GridNotFoundError), match=f"cannot use {path}/grid as a grid"):
        gridflow.connect(f"{path}/grid")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_directory_without_the_right_to_write(home):
    with gridflow.connect(home / "g"):
        pass
    (home / "g").chmod(0o500)
    try:
        with pytest.raises(GridAccessError, match="cannot write to .*read_only=True"):
            gridflow.connect(home / "g")
        with gridflow.connect(home / "g", read_only=True) as reader:
            assert reader.tables() == []
    finally:
        (home / "g").chmod(0o700)


def test_a_path_that_is_no_utf8(home):
    with verified(Path(os.fsdecode(os.fsencode(home) + b"/gr\xefd"))) as grid:
        make(grid, "T")[0].put(1, {})
        grid.flush()


def test_path_is_the_old_name_of_home(tmp_path):
    with (
        pytest.warns(DeprecationWarning, match="path= is deprecated: use home="),
        gridflow.connect(path=tmp_path) as grid,
    ):
        assert str(grid.home) == str(tmp_path)
    with pytest.raises(UsageError, match="path= is the old name of home="):
        gridflow.connect(tmp_path, path=tmp_path)
    with pytest.warns(DeprecationWarning, match="grid= is deprecated: use home="):
        gridflow.dbapi.connect(grid=tmp_path).close()
