"""Which files may exist in a grid: those of every kind are expected, and each who asks does right by the others."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from damage import flip

import gridflow
import gridflow.testing
from gridflow import UsageError
from gridflow.catalog import Catalog
from gridflow.storage import zone_file
from gridflow.storage.expected_files import foreign_names
from gridflow.storage.verify import check_home

pytestmark = pytest.mark.usefixtures("many_segments")

#: Each kind of file, as a pattern, and how many of it the grid of ``source`` has.
KINDS = {
    "LOCK": 1,
    "identity": 1,
    "catalog": 1,
    "control": 1,
    "serve.sock": 1,
    "log/*.log": 1,
    "tables/*/manifest": 2,
    "tables/1/*.manifest": 2,
    "tables/1/*.seg": 3,
    "tables/1/*.del": 1,
    "tables/1/*.idx": 4,
    "tables/1/*.lz4": 3,
    "tables/1/*.zones": 2,
    "tables/2/*.seg": 1,
}

#: What may not be there: some is left by a crash and gets swept, some is somebody else's.
SWEPT = [
    "identity.tmp",
    "catalog.tmp",
    "control.tmp",
    "log/00000000000000ff.log.tmp",
    "tables/1/manifest.tmp",
    "tables/1/00000000000000ff.manifest",
    "tables/1/00000000000000ff.seg",
    "tables/1/00000000000000ff.seg.tmp",
    "tables/1/00000000000000ff.del",
    "tables/1/00000000000000ff-1.idx",
    "tables/1/0000000000000001-9.idx",  # of an index that there is not
    "tables/1/00000000000000ff.lz4",
    "tables/1/00000000000000ff.zones",
    "tables/2/0000000000000001.zones",  # of a small segment
    "tables/2/0000000000000001.lz4",  # of a table that has no columns to compress
    "tables/2/0000000000000001-1.idx",
    "tables/1/notes.txt",
    "tables/9/manifest",
]
FOREIGN = ["notes.txt", "LOCK.tmp", "log/notes.txt", "tables/notes.txt"]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Segments of 50 rows have a zone map."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zone_file, "LEAST_ROWS", 50)
        yield


@pytest.fixture(scope="module")
def source(small: None) -> Iterator[Path]:
    """A grid with files of every kind, as a crash of its server leaves it; not to be changed."""
    with gridflow.testing.temporary_home() as home, gridflow.connect(home / "open") as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "UINT8[40]", "N": "INT"}, key="ID", keep_versions=1)
        table.compress("X")
        grid.sql("CREATE INDEX BY_N ON T (N); CREATE INDEX BY_N_ID ON T (N, ID)")
        grid.sql("CREATE USER KATE WITH PASSWORD 'warm kitty'")
        grid.flush()
        with table.indexes.lock, table.copies.lock, table.zones.lock, table.lock:  # keeps the background away
            load(table, 0)
            table.copies.settle()
            table.tag("old")
            table.remove_all(range(10))
            table.compact()  # from now on the first segment is of the tag alone
            load(table, 100)
            table.remove_all(range(100, 105))
            table.flush()
            table.copies.settle()
            table.indexes.settle()
            table.zones.settle()
            table.put(1000, {"N": 7})  # in the log alone
            assert gridflow.testing._copy(grid, home / "crashed")
        with socket.socket(socket.AF_UNIX) as served:
            served.bind(str(home / "crashed" / "serve.sock"))
        yield home / "crashed"


def load(table: gridflow.Table, begin: int) -> None:
    pixels = np.random.default_rng(begin).integers(0, 3, (100, 40), np.uint8)
    table.load({"ID": np.arange(begin, begin + 100), "X": pixels, "N": np.arange(100, dtype="i4")})


@pytest.fixture
def lived_in(source: Path, home: Path) -> Path:
    """A copy of it for a test to change."""
    shutil.copytree(source, home / "grid", ignore=lambda _, names: {"serve.sock"} & set(names))
    (home / "grid" / "serve.sock").touch()
    return home / "grid"


def strew(home: Path, names: list[str]) -> None:
    for name in names:
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_bytes(b"left behind")


def all_files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir()}


def test_files_of_every_kind_are_expected(source):
    assert {pattern: len(list(source.glob(pattern))) for pattern in KINDS} == KINDS
    assert len(all_files(source)) == sum(KINDS.values()), "there is a kind that the test does not know"
    assert gridflow.testing.stray_files(source) == []
    assert check_home(source) == []
    assert foreign_names(path.name for path in source.iterdir()) == []


def test_whatever_else_is_there_is_a_stray(lived_in):
    strew(lived_in, SWEPT + FOREIGN)
    expected = {*SWEPT, *FOREIGN, "tables/9"} - {"tables/9/manifest"}  # a folder without a table is one stray
    assert gridflow.testing.stray_files(lived_in) == sorted(expected)


def test_the_next_owner_sweeps_what_a_crash_left_and_nothing_else(lived_in):
    before = all_files(lived_in)
    strew(lived_in, SWEPT + FOREIGN)
    catalog = Catalog(lived_in)
    catalog.sweep()
    for entry in catalog.all_entries:
        catalog.sweep_table(entry)
    assert all_files(lived_in) == before | set(FOREIGN)
    assert gridflow.testing.stray_files(lived_in) == sorted(FOREIGN)
    assert not (lived_in / "tables" / "9").exists()


def test_manifests_are_swept_before_what_they_name(lived_in):
    names = [f"tables/1/00000000000000ff.{suffix}" for suffix in ("del", "manifest", "seg")]
    strew(lived_in, names)
    assert [stray.path.suffix for stray in Catalog(lived_in).strays()][0] == ".manifest"


def test_the_grid_is_whole_after_the_sweep(lived_in):
    strew(lived_in, SWEPT)
    with gridflow.testing.verified(lived_in) as grid:
        table = grid.table("T")
        assert len(table) == 186 and table.to_arrow(["ID"], version="old").num_rows == 100
        assert len(list(table.folder.glob("*.lz4"))) >= 3
        assert grid.sql("SELECT COUNT(*) FROM T WHERE N = 7").fetchall() == [(2,)]


def test_a_check_reads_what_is_expected_and_leaves_strays_alone(lived_in):
    """Strays do no harm, and a flush under way has files that nothing names yet."""
    strew(lived_in, SWEPT + FOREIGN)
    assert check_home(lived_in) == []
    patterns = ("catalog", "tables/*/manifest", "tables/1/*.manifest", "tables/*/*.seg", "tables/1/*.del")
    patterns += ("log/*.log", "tables/1/*.idx", "tables/1/*.lz4", "tables/1/*.zones")
    for pattern in patterns:
        expected = [path for path in lived_in.glob(pattern) if str(path.relative_to(lived_in)) not in SWEPT]
        for path in expected:
            sound = path.read_bytes()
            flip(path, 20)
            problems = {problem.file for problem in check_home(lived_in)}
            path.write_bytes(sound)
            kept_alone = path.name == "0000000000000001.lz4"  # the tagged version's copy: nobody reads it any more
            assert (str(path) in problems) is not kept_alone, f"{path} is damaged, and check finds {problems}"


@pytest.mark.parametrize("name", FOREIGN[:2])
def test_a_directory_with_anything_else_is_no_place_for_a_grid(home, name):
    (home / name).touch()
    with pytest.raises(UsageError, match=f"it holds {name}"):
        gridflow.connect(home)
    assert all_files(home) == {name}


def test_a_directory_in_which_a_grid_was_being_made_is_taken(home):
    for name in ("LOCK", "catalog.tmp", "control.tmp"):
        (home / name).touch()
    for name in ("log", "tables"):
        (home / name).mkdir()
    with gridflow.testing.verified(home) as grid:
        assert grid.tables() == []


def test_a_copy_goes_when_no_column_is_to_be_compressed(lived_in):
    """But for one of a segment that is not the table's any more: a version that is kept has it."""
    with gridflow.testing.verified(lived_in) as grid:
        table = grid.table("T")
        table.compress()
        assert [path.name for path in table.folder.glob("*.lz4")] == ["0000000000000001.lz4"]
        table.untag("old")
        assert list(table.folder.glob("*.lz4")) == []


def test_the_background_sweeps_what_nobody_opens(home: Path):
    with gridflow.connect(home) as grid:
        for name in ("A", "B", "C"):
            grid.create_table(name, {"ID": "LONG"}, key="ID").load({"ID": [1]})
    strays = [f"tables/{number}/00000000000000ff.seg" for number in (1, 2, 3)]
    strew(home, strays)
    with gridflow.connect(home) as grid:
        assert grid._open_tables() == [], "no table is opened before somebody asks for it"
        assert not (home / strays[1]).exists() or len(grid.table("B")) == 1
        grid.open_grid._sweep_tables(lambda: False)  # as the background does at its beginning
        assert grid._open_tables() in ([], [grid.table("B")])
        assert gridflow.testing.stray_files(home) == []
        assert [len(grid.table(name)) for name in ("A", "B", "C")] == [1, 1, 1]
