"""A grid whose files are damaged, and what is done with it: opened, read by all that reads it, checked, written.

Case n damages one or two files of a copy, by seed n: segments (also with checksums that fit again, as a faulty program
would write them), bitmaps, manifests, catalog, log, control page, index files, zone maps, compressed copies.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
from damage import replace, reseal
from mutations import mutated

import gridflow
import gridflow.testing
from gridflow import GridflowError, InternalError
from gridflow.registry import open_reader
from gridflow.storage.verify import check_home

KINDS = ("grid",)
_ROWS, _ZONED = 3000, 66_000
_COLUMNS = {"ID": "LONG", "N": "VARCHAR", "D": "DECIMAL(9,2)", "AT": "TIMESTAMP", "L": "LIST<INT32>", "P": "UINT8[4]"}


def _make(home: Path) -> None:
    """A grid as a crash leaves it: segments, deletions, an index, zone maps, a compressed copy, a tag, a log."""
    opened = home.parent / "open"
    with gridflow.connect(opened) as grid:
        table = grid.create_table("T", _COLUMNS, key="ID")
        ids = np.arange(_ROWS)
        moments = ids.astype("M8[us]")
        table.load({"ID": ids, "N": [f"row {i}" for i in ids], "AT": moments, "P": np.zeros((_ROWS, 4), "u1")})
        grid.sql("CREATE INDEX BY_N ON T (N)")
        table.tag("before")
        grid.sql("UPDATE T SET D = ID / 4.0, L = [1, 2] WHERE ID < 50")
        table.remove_all(range(100, 160))
        zoned = grid.create_table("Z", {"ID": "LONG", "A": "INT"}, key="ID")
        zoned.load({"ID": np.arange(_ZONED), "A": np.arange(_ZONED, dtype="i4")})
        zoned.compress("A")
    with gridflow.connect(opened) as grid, grid.table("T").lock:  # keeps the background flush away
        for i in range(20):
            grid.table("T").put(10_000 + i, {"N": "in the log", "D": None})
        assert gridflow.testing._copy(grid, home)
    suffixes = {path.suffix for path in home.rglob("*")}
    assert suffixes >= {".seg", ".del", ".idx", ".zones", ".lz4", ".log", ".manifest"}, suffixes


@contextmanager
def cases(kind: str, folder: Path) -> Iterator[Callable[[int], None]]:
    """A function that damages a copy of the grid by case n and does with it all that can be done."""
    sound, home = folder / "sound", folder / "grid"
    _make(sound)
    shutil.copytree(sound, home)
    assert list(check_home(home)) == []
    expected = _read(home)
    _own(home)

    def attempt(number: int) -> None:
        random = Random(number)
        shutil.rmtree(home)
        shutil.copytree(sound, home)
        files = sorted(path for path in home.rglob("*") if path.is_file() and path.name != "LOCK")
        may_differ = False
        for path in random.sample(files, random.choice((1, 1, 1, 2))):
            data = path.read_bytes()
            changed = bytearray(mutated(data, random))
            if path.suffix == ".seg" and random.random() < 0.6:
                changed, may_differ = _resealed(bytearray(data), changed), True
            replace(path, bytes(changed))
        problems = check_home(home)
        failures: list[GridflowError] = []
        for action in (_read, _own):
            try:
                rows = action(home)
                assert may_differ or rows is None or rows.equals(expected), "damage is read as rows"
                if rows is not None and not problems:
                    rows.validate(full=True)
            except InternalError:
                raise
            except GridflowError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    yield attempt


def _resealed(data: bytearray, changed: bytearray) -> bytearray:
    """The header as it was, damaged rows, and checksums that fit."""
    header = int.from_bytes(data[16:24], "little")
    rows = changed[header : len(data)]
    data[header : header + len(rows)] = rows
    return reseal(data)


def _read(home: Path) -> pa.Table:
    """Read a grid as anybody may who does not own it; returns the rows of table T."""
    with open_reader(home) as reader:
        table = reader.table("T")
        for key in (0, 5, 120, 2999, 10_003, -1):
            if key in table:
                table.get(key)
        rows = table.to_arrow()
        sum(batch.num_rows for batch in table.scan(version="before"))
        reader.sql("SELECT COUNT(*), MAX(AT), MIN(N), SUM(D) FROM T").fetchall()
        reader.sql("SELECT * FROM T WHERE N = 'row 7' OR AT > TIMESTAMP '1970-01-01 00:00:00.002'").fetchall()
        reader.sql("SELECT MAX(A) FROM Z WHERE A > 65000").fetchall()
    return rows.sort_by("ID")


def _own(home: Path) -> None:
    """Open a grid as its owner, and write to it."""
    grid = gridflow.connect(home)
    try:
        table = grid.table("T")
        grid.sql("SELECT N, L FROM T WHERE N BETWEEN 'row 1' AND 'row 2'").fetchall()
        table.put(1, {"N": "new"})
        grid.sql("UPDATE T SET N = 'changed' WHERE ID BETWEEN 10 AND 20")
        table.flush()
        table.compact()
        table.to_arrow()
    finally:
        try:
            grid.close()
        except InternalError:
            raise
        except GridflowError:
            pass
