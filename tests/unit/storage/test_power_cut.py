"""What a power cut tears of a file that is appended to is passed over, and what was safe is not.

``tests/crash/test_power_loss.py`` makes such states of what an owner does; here each is made by hand.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from damage import after_a_power_cut, records

import gridflow
import gridflow.testing
from gridflow import GridCorruptError
from gridflow.storage.verify import check_home


@pytest.fixture
def crashed(home: Path) -> Iterator[Path]:
    """As a crash leaves it: ten rows of table A in a log that was synced; the last change of the catalog is a tag."""
    with gridflow.connect(home / "open", durability="fsync") as grid:
        table = grid.create_table("A", {"ID": "LONG"}, key="ID")
        table.tag("one")
        table.tag("two")
        with table.lock:  # keeps the background flush away
            for i in range(10):
                table.put(i, {})
            shutil.copytree(home / "open", home / "crashed")
    yield home / "crashed"


def know_synced(home: Path, lsn: int) -> None:
    """Have the control page say how far the log was on the disk."""
    with open(home / "control", "r+b") as file:
        file.seek(56)
        file.write(lsn.to_bytes(8, "little"))


def test_the_control_page_knows_what_was_synced(crashed):
    assert int.from_bytes((crashed / "control").read_bytes()[56:64], "little") == 10


def test_a_torn_end_of_the_catalog(crashed):
    """Whatever of the last change is there, zeros or what lay there before: it was never acknowledged."""
    file, chance = crashed / "catalog", random.Random(1)
    whole = file.read_bytes()
    end = len(whole)
    last = whole.rindex(b"CEND", 0, end - 4) + 4
    after_a_power_cut(crashed)
    for turn in range(200):
        torn = bytearray(whole)
        for at in range(last, end):
            if chance.random() < 0.3:
                torn[at] = chance.choice([0, 0, 0xA5])
        if torn == whole:
            continue
        if turn % 3 == 0:
            del torn[chance.randrange(last, end) :]
        file.write_bytes(torn)
        assert check_home(crashed) == []
    shutil.copytree(crashed, crashed.with_name("torn"))
    with gridflow.testing.verified(crashed.with_name("torn"), durability="fsync") as grid:
        assert set(grid.table("A").tags()) == {"one"} and len(grid.table("A")) == 10
        grid.table("A").tag("three")
    with gridflow.connect(crashed.with_name("torn")) as grid:
        assert set(grid.table("A").tags()) == {"one", "three"}


def test_a_change_of_the_catalog_that_others_follow_is_not_torn(crashed):
    file = crashed / "catalog"
    whole = bytearray(file.read_bytes())
    last = whole.rindex(b"CEND", 0, len(whole) - 4) + 4
    whole[last - 6] ^= 1
    file.write_bytes(whole)
    after_a_power_cut(crashed)
    with pytest.raises(GridCorruptError, match="catalog is damaged .* the checksum of a change does not match"):
        gridflow.connect(crashed)


def test_the_log_ends_before_a_hole_of_what_was_not_synced(crashed):
    """Of records that nobody waited for to the end the later ones may have come to the disk, and the earlier not."""
    (log,) = (crashed / "log").iterdir()
    whole = log.read_bytes()
    at, size = records(whole)[5]
    log.write_bytes(whole[:at] + bytes(size) + whole[at + size :])
    after_a_power_cut(crashed)
    know_synced(crashed, 6)
    for attempt in (gridflow.connect, lambda home: gridflow.connect(home, read_only=True).table("A").get(1)):
        with pytest.raises(GridCorruptError, match="a record of the log, with more after it"):
            attempt(crashed)
    assert len(check_home(crashed)) == 1
    know_synced(crashed, 5)
    assert check_home(crashed) == []
    with gridflow.connect(crashed, read_only=True) as reader:
        assert sorted(reader.table("A")) == [0, 1, 2, 3, 4]
    for life in range(3):  # what follows the hole stays there for a while, and is never read
        with gridflow.connect(crashed, durability="fsync") as grid:
            assert sorted(grid.table("A")) == [0, 1, 2, 3, 4, *range(100, 100 + life)]
            with grid.table("A").lock:
                grid.table("A").put(100 + life, {})
                shutil.copytree(crashed, crashed.with_name(f"life {life}"))
        crashed = crashed.with_name(f"life {life}")
        assert check_home(crashed) == []
    gridflow.testing.verify(crashed)


def test_the_log_of_an_owner_who_did_not_sync_has_no_holes(home):
    """There a record that others follow was acknowledged, and what was promised for a power cut was nothing."""
    with gridflow.connect(home / "open") as grid:
        table = grid.create_table("A", {"ID": "LONG"}, key="ID")
        with table.lock:
            for i in range(10):
                table.put(i, {})
            shutil.copytree(home / "open", home / "crashed")
    (log,) = (home / "crashed/log").iterdir()
    whole = log.read_bytes()
    at, size = records(whole)[5]
    log.write_bytes(whole[:at] + bytes(size) + whole[at + size :])
    after_a_power_cut(home / "crashed")
    with pytest.raises(GridCorruptError, match="a record of the log, with more after it"):
        gridflow.connect(home / "crashed")
