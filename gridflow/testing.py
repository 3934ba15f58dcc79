"""For tests of code that keeps its data in a grid: grids of their own, verified when the test is done with them.

Every test that uses a grid takes it from here, so each is also a test of consistency (bbolt's habit, where closing a
test's database checks it). ``verified`` opens a grid and, when the block ends well, shows that

* what a crash at that moment would leave comes back complete (a copy of the directory is opened and compared),
* ``gridflow check`` finds nothing,
* the directory holds the files of the current versions, of those that are kept, and no others,
* the closed grid, opened again, holds the same rows as before.

``set_failpoints`` makes the store fail or the process die at a named place; see ``kernels/core/failpoint.h``.

    import gridflow.testing

    def test_kittens(tmp_path):
        with gridflow.testing.verified(tmp_path / "grid") as grid:
            grid.cache("KITTENS").put("tom", {"age": 3})
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from ._native.store import set_failpoints
from .catalog import Catalog
from .config import SOCKET_NAME
from .grid import Grid
from .open import connect
from .registry import open_reader
from .storage.ring_files import RINGS
from .storage.verify import check_home
from .table import Table

__all__ = ["contents", "set_failpoints", "stray_files", "temporary_home", "verified", "verify"]

#: A grid with more bytes than this is not copied to see what a crash would leave.
MOST_COPIED = 64 << 20


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A fresh directory in memory (``/dev/shm``, else the temporary directory), removed when the block ends.

    >>> with temporary_home() as home:
    ...     list(home.iterdir())
    []
    """
    shared = Path("/dev/shm")
    folder = shared if shared.is_dir() and os.access(shared, os.W_OK) else None
    home = Path(tempfile.mkdtemp(prefix="gridflow-test-", dir=folder))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def contents(grid: Grid) -> dict[str, tuple[str, list[str]]]:
    """All that a grid holds: for each table its schema and its rows, as text and in an order of their own; and the rows
    of each of its tags, under ``TABLE@tag``.

    >>> with temporary_home() as home, verified(home) as grid:
    ...     grid.create_table("T", {"ID": "LONG", "V": "DOUBLE"}, key="ID").put(1, {"V": 0.5})
    ...     contents(grid)
    {'T': ('ID INT64 NOT NULL, V FLOAT64, PRIMARY KEY (ID)', ["{'ID': 1, 'V': 0.5}"])}
    """
    result = {}
    for name in grid.tables():
        table = grid.table(name)
        rows = _rows(table)
        assert len(rows) == len(table), f"table {name}: a scan gives {len(rows)} rows, len is {len(table)}"
        result[name] = (str(table.schema), rows)
        for tag, version in table.tags().items():
            result[f"{name}@{tag}"] = (f"version {version}", _rows(table, tag))
    return result


def _rows(table: Table, version: str | None = None) -> list[str]:
    return sorted(repr(row) for batch in table.scan(version=version) for row in _plain(batch).to_pylist())


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times and dates as numbers: Arrow has more of them than Python."""
    arrays = [getattr(array, "storage", array) for array in batch.columns]
    arrays = [array.cast(_plain_type(array.type)) for array in arrays]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _plain_type(arrow: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(arrow):
        return pa.int32() if arrow.bit_width == 32 else pa.int64()
    if pa.types.is_large_list(arrow):
        return pa.large_list(_plain_type(arrow.value_type))
    if pa.types.is_map(arrow):
        return pa.map_(_plain_type(arrow.key_type), _plain_type(arrow.item_type))
    if pa.types.is_struct(arrow):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in arrow])
    return arrow


def stray_files(home: Path) -> list[str]:
    """What is in a grid's directory that neither its catalog nor a manifest accounts for; the grid must not be in use.

    Returns:
        Paths from the directory on, sorted. Of a folder that no table has there is its own alone.
    """
    return sorted(str(stray.path.relative_to(home)) for stray in Catalog(home).strays())


def verify(home: Path, expected: dict[str, Any] | None = None) -> None:
    """Assert that a grid that nobody has open is sound, and holds ``expected`` (of ``contents``) if that is given."""
    problems = check_home(home)
    assert not problems, f"grid {home} is damaged:\n" + "\n".join(map(str, problems))
    with connect(home) as grid:
        assert grid.owner, f"grid {home} is still open elsewhere"
        actual = contents(grid)
    strays = stray_files(home)
    assert not strays, f"grid {home} keeps files that nothing names: {strays}"
    assert expected is None or actual == expected, _difference(actual, expected)
    with open_reader(home) as reader:
        assert contents(reader) == actual, "a reader sees something else"
    problems = check_home(home)
    assert not problems, f"grid {home} is damaged:\n" + "\n".join(map(str, problems))


def _difference(actual: dict[str, Any], expected: dict[str, Any]) -> str:
    lines = ["the grid does not hold what it should:"]
    for name in sorted(actual.keys() | expected.keys()):
        if name not in actual or name not in expected:
            lines.append(f"  table {name} is {'missing' if name not in actual else 'too much'}")
        elif actual[name] != expected[name]:
            have, want = (set(rows[name][1]) for rows in (actual, expected))
            lines.append(f"  table {name}: {len(actual[name][1])} rows, not {len(expected[name][1])}")
            lines += [f"    missing  {row}" for row in sorted(want - have)[:5]]
            lines += [f"    too much {row}" for row in sorted(have - want)[:5]]
    return "\n".join(lines)


@contextmanager
def verified(home: Path, **options: Any) -> Iterator[Grid]:
    """Open a grid as its owner; when the block ends without an error, verify it as this module's text says.

    Args:
        home: the grid's directory.
        options: as ``connect`` takes them.

    Raises:
        AssertionError: the grid is not as it should be.
    """
    grid = connect(home, **options)
    with temporary_home() as crashed:
        copied, expected = False, None
        try:
            assert grid.owner, f"grid {home} is open elsewhere"
            yield grid
            if not grid.closed:  # else that was the test's own doing
                copied = _copy(grid, crashed / "grid")
                expected = contents(grid)
        finally:
            grid.close()
        assert grid.closed, f"somebody else in this process still uses grid {home}"
        if copied:
            verify(crashed / "grid", expected)
    verify(home, expected)


def _copy(grid: Grid, to: Path) -> bool:
    """Copy a grid's files as they lie there, as a crash would leave them. Returns whether it was small enough."""
    with ExitStack() as locks:
        for table in grid._open_tables():  # no flush and no load between two files
            locks.enter_context(table.lock)
        if sum(path.stat().st_size for path in grid.home.rglob("*") if path.is_file()) > MOST_COPIED:
            return False
        shutil.copytree(grid.home, to, ignore=lambda _, names: {SOCKET_NAME, RINGS} & set(names))
    return True
