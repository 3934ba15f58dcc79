"""What there is once in a process, though several modules have a copy of the code: see ``core/process_state.h``."""

from __future__ import annotations

import mmap
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest

import gridflow
import gridflow._native

SOURCES = Path(__file__).resolve().parents[3] / "cython"
SYMBOL = b"_ZN8gridflow13process_stateE"  # gridflow::process_state


def mapped_segments(home: Path) -> list[str]:
    with open("/proc/self/maps") as maps:
        return sorted(line.split()[-1] for line in maps if str(home) in line and ".seg" in line)


def test_a_segment_is_mapped_once(grid, home):
    """By those who wrote it, by readers of the same process, and by who holds a snapshot."""
    table = grid.create_table("T", {"ID": "LONG", "X": "DOUBLE"}, key="ID")
    table.load({"ID": np.arange(1000), "X": np.zeros(1000)})
    table.put(5000, {"X": 1.0})
    table.flush()
    with gridflow.connect(home, read_only=True) as reader:
        assert reader.table("T").get(1) == table.get(1) == {"X": 0.0}
        snapshot = gridflow._native.snapshot.Snapshot.open(str(home), table.table_id)
        assert snapshot.rows == 1001
        segments = mapped_segments(home)
    assert len(segments) == 2 and len(set(segments)) == 2


def test_a_block_is_checked_once(home):
    """Also when the grid is opened again: a change that the file system does not know of goes unnoticed."""
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")
        table.load({"ID": np.arange(1), "X": np.full(1, 0x123456789ABCDEF)})
        [path] = (home / "tables").glob("*/*.seg")
        while time.time() - path.stat().st_ctime < 1.1:  # a younger file may be changed again under the same time
            time.sleep(0.1)
        assert table.get(0) == {"X": 0x123456789ABCDEF}
    changed = path.stat().st_ctime_ns
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        at = data.find((0x123456789ABCDEF).to_bytes(8, "little"))
        data[at] ^= 1
    if path.stat().st_ctime_ns != changed:
        pytest.skip("this file system notices what is written through a mapping; that of /dev/shm does not")
    with gridflow.connect(home, read_only=True) as grid:
        assert grid.table("T").get(0) == {"X": 0x123456789ABCDEE}


@pytest.mark.parametrize("name", sorted(path.stem for path in SOURCES.glob("*.pyx") if path.stem != "process_state"))
def test_a_module_that_has_state_shares_it(name):
    library = Path(gridflow._native.__file__).with_name(name + sysconfig.get_config_var("EXT_SUFFIX"))
    shares = "\ncore.process_state = shared_state()\n" in (SOURCES / f"{name}.pyx").read_text()
    assert shares or SYMBOL not in library.read_bytes()
