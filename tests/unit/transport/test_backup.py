"""Backups of whole grids, grids that are made of them, clones, and what prunes leave."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gridflow
import gridflow.testing
from gridflow.errors import (
    GridAccessError,
    GridCorruptError,
    GridFullError,
    GridNotFoundError,
    GridVersionError,
    UsageError,
    VersionNotFoundError,
)
from gridflow.storage.lock import OwnerLock
from gridflow.transport import cut as cutting
from gridflow.transport import publish as publishing
from gridflow.transport.backup import backup, backups, restore, verify_backup
from gridflow.transport.clone import clone
from gridflow.transport.place import Place
from gridflow.transport.prune import prune
from gridflow.transport.url_source import UrlSource

ROWS = 70_000


@pytest.fixture
def grid(home: Path) -> Iterator[gridflow.Grid]:
    """Two lived-in tables with tags, kept versions, an index and options; and a user."""
    with gridflow.testing.verified(home / "grid") as grid:
        table = grid.create_table(
            "T", {"ID": "LONG", "X": "DOUBLE"}, key="ID", options={"made": "by a test"}, keep_versions=2
        )
        table.load({"ID": np.arange(ROWS), "X": np.arange(ROWS) / 2})
        grid.sql("CREATE INDEX BY_X ON T (X)")
        table.tag("first")
        table.put_all((i, {"X": -1.0}) for i in range(0, ROWS, 1000))
        table.flush()
        table.remove_all(range(1, ROWS, 5000))
        table.tag("second")
        table.put(ROWS, {"X": 0.0})
        grid.create_table("U", {"ID": "LONG", "S": "VARCHAR"}, key="ID").put(1, {"S": "one"})
        grid.sql("CREATE USER \"me\" WITH PASSWORD 'secret'")
        yield grid


def test_a_backup_is_the_whole_grid(grid, url, home):
    made = backup(grid.home, url, verify=True)
    expected = gridflow.testing.contents(grid)
    grid.table("T").truncate()
    assert restore(url, home / "restored").number == made.number == 1
    gridflow.testing.verify(home / "restored", expected)
    with gridflow.connect(home / "restored") as restored:
        table = restored.table("T")
        assert table.options["made"] == "by a test" and table.tags() == {"first": 2, "second": 4}
        assert [index.name for index in table.indexes.all()] == ["BY_X"]
        assert restored.sql("SELECT NAME FROM SYS.USERS").fetchall() == [("me",)]
        table.put(7, {"X": 7.0})  # it is a grid as any other
        assert table.get(7) == {"X": 7.0}
    assert (home / "restored" / "identity").read_text() != (home / "grid" / "identity").read_text()


def test_the_second_backup_copies_what_has_changed(grid, url, home):
    table = grid.table("T")
    first = backup(grid.home, url)
    assert first.copied_bytes == first.total_bytes
    table.put_all((i, {"X": 5.0}) for i in range(7, ROWS, 100))  # 1 %
    second = backup(grid.home, url)
    assert 0 < second.copied_bytes < 0.05 * second.total_bytes
    third = backup(grid.home, url)
    assert third.copied_bytes == 0
    assert [(one.number, one.copied_bytes) for one in backups(url)] == [
        (one.number, one.copied_bytes) for one in (first, second, third)
    ]
    restore(url, home / "restored", number=2)
    gridflow.testing.verify(home / "restored", gridflow.testing.contents(grid))


def test_a_backup_is_of_one_moment_while_writes_go_on(grid, home):
    """Rows of a transaction are in it together, whatever table they are of, while tables are merged."""
    url = f"file://{home}/place"
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with grid.transaction() as transaction:
                transaction.table("T").put(-1, {"X": float(number)})
                transaction.table("U").put(-1, {"S": str(number)})
                transaction.commit()
            if number % 50 == 0:
                grid.table("T").compact()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while grid.table("U").get(-1) is None:
            time.sleep(0.001)
        for turn in range(5):
            backup(grid.home, url)
            restore(url, home / f"restored {turn}")
            with gridflow.connect(home / f"restored {turn}") as copy:
                assert copy.table("T").get(-1)["X"] == float(copy.table("U").get(-1)["S"])
                assert copy.check() == []
    finally:
        stop.set()
        writer.join()


def test_a_grid_that_another_process_owns(grid, home):
    """What it has acknowledged is in the backup, whether it lies in a segment or in the log."""
    code = (
        "import gridflow, sys\n"
        f"grid = gridflow.connect({str(home / 'other')!r})\n"
        "grid.create_table('T', {'ID': 'LONG', 'X': 'LONG'}, key='ID').put_all((i, {'X': i}) for i in range(1000))\n"
        "grid.table('T').put(5, {'X': -5})\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "ready\n"
        backup(home / "other", f"file://{home}/place")
        owner.communicate()
    restore(f"file://{home}/place", home / "restored")
    with gridflow.connect(home / "restored") as copy:
        assert len(copy.table("T")) == 1000 and copy.table("T").get(5) == {"X": -5}


#: Moves an amount between two tables for ever, while versions get tags and lose them, and tables come, go, are merged.
BUSY_OWNER = """
import random, sys, gridflow
with gridflow.connect(sys.argv[1]) as grid:
    for name in "AB":
        grid.create_table(name, {"ID": "LONG", "N": "LONG"}, key="ID").put_all({i: {"N": 1000} for i in range(50)})
    grid.table("A").keep_versions(2)
    print("there", flush=True)
    for turn in range(1, 1 << 40):
        with grid.transaction() as transaction:
            one, other = transaction.table("A"), transaction.table("B")
            i, j = random.randrange(50), random.randrange(50)
            one.put(i, {"N": one.get(i)["N"] - 1})
            other.put(j, {"N": other.get(j)["N"] + 1})
        if turn % 10 == 0:
            grid.table("A").tag(f"t{turn}")
            if turn > 50:
                grid.table("A").untag(f"t{turn - 50}")
        if turn % 50 == 0:
            grid.create_table("D", {"ID": "LONG"}, key="ID").put(1, {})
            grid.drop_table("D")
            grid.table("B").compact()
"""


def back_up_a_busy_grid(home: Path, seconds: float) -> None:
    url = f"file://{home}/place"
    with subprocess.Popen([sys.executable, "-c", BUSY_OWNER, str(home / "grid")], stdout=subprocess.PIPE) as owner:
        try:
            assert owner.stdout is not None and owner.stdout.readline() == b"there\n"
            until, turn = time.monotonic() + seconds, 0
            while turn < 3 or time.monotonic() < until:
                backup(home / "grid", url)
                turn += 1
                restore(url, home / str(turn))
                gridflow.testing.verify(home / str(turn))
                with gridflow.connect(home / str(turn)) as grid:
                    assert sum(grid.sql(f"SELECT SUM(N) FROM {name}").scalar() for name in "AB") == 100_000
                    for tag in grid.table("A").tags():
                        assert grid.table("A").to_arrow(version=tag).num_rows == 50
                shutil.rmtree(home / str(turn))
            assert owner.poll() is None
        finally:
            owner.kill()


def test_a_backup_beside_an_owner_that_changes_everything(home):
    """Rows, tags, tables, files: each backup is the grid of one moment, and none fails."""
    back_up_a_busy_grid(home, 1)


@pytest.mark.long
def test_backups_beside_an_owner_that_changes_everything(home):
    back_up_a_busy_grid(home, 60)


def test_a_table_that_is_dropped_as_a_backup_begins_is_not_in_it(grid, home, monkeypatch):
    grid.create_table("D", {"ID": "LONG"}, key="ID").put(1, {})
    cut = cutting.cut

    def cut_late(changes: list) -> object:
        grid.drop_table("D", if_exists=True)
        return cut(changes)

    monkeypatch.setattr(cutting, "cut", cut_late)
    made = backup(grid.home, f"file://{home}/place")
    assert {"T", "U"} <= {table.name for table in made.tables} and "D" not in {table.name for table in made.tables}


def test_a_local_backup_is_for_this_user_alone(grid, home):
    backup(grid.home, f"file://{home}/new/place")
    assert (home / "new" / "place").stat().st_mode & 0o077 == 0


def test_an_empty_grid(home, url):
    with gridflow.connect(home / "empty"):
        assert backup(home / "empty", url).total_bytes == 0
    restore(url, home / "restored")
    gridflow.testing.verify(home / "restored", {})


def test_a_clone_of_a_directory_is_a_grid_of_its_own(grid, home):
    expected = gridflow.testing.contents(grid)
    assert clone(grid.home, home / "clone") == home / "clone"
    gridflow.testing.verify(home / "clone", expected)
    with gridflow.connect(home / "clone") as copy:
        copy.table("T").truncate()
        copy.table("T").untag("first")
    assert gridflow.testing.contents(grid) == expected


def test_a_directory_that_holds_something_else_stays_as_it_is(grid, home):
    (home / "mine").mkdir()
    (home / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="thesis.tex"):
        clone(grid.home, home / "mine")
    assert [path.name for path in (home / "mine").iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="there is a grid in"):
        clone(grid.home, grid.home)
    (home / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        clone(grid.home, home / "file")
    with pytest.raises(GridNotFoundError):
        clone(home / "nowhere", home / "clone")
    clone(grid.home, home / "clone")
    (home / "clone" / "catalog").unlink()
    with pytest.raises(UsageError, match="is not empty"):  # a grid that has lost its catalog is no clone that can go on
        clone(grid.home, home / "clone")
    (home / "busy").mkdir()
    lock = OwnerLock(home / "busy")
    try:
        code = f"from gridflow.transport.clone import clone; clone({str(grid.home)!r}, {str(home / 'busy')!r})"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"GridOwnedError: process {os.getpid()} makes a grid" in other.stderr
    finally:
        lock.release()


def test_there_is_no_backup_of_that_number(grid, home):
    url = f"file://{home}/place"
    with pytest.raises(GridNotFoundError):
        restore(url, home / "restored")
    grid.table("T").publish(url)
    with pytest.raises(GridNotFoundError, match="there is no backup at"):
        restore(url, home / "restored")
    backup(grid.home, url)
    with pytest.raises(VersionNotFoundError, match="there are 1"):
        restore(url, home / "restored", number=2)


def test_damage_is_found_when_a_backup_is_read(grid, home):
    url = f"file://{home}/place"
    backup(grid.home, url, verify=True)
    largest = max((home / "place" / "files").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    for action in (lambda: verify_backup(url), lambda: restore(url, home / "restored")):
        with pytest.raises(GridCorruptError, match=rf"{largest.name}.*block \d"):
            action()
    assert not (home / "restored" / "catalog").exists()
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    restore(url, home / "restored")  # goes on where it was
    gridflow.testing.verify(home / "restored", gridflow.testing.contents(grid))
    largest.unlink()
    with pytest.raises(GridNotFoundError, match=f"{largest.name} is missing"):
        restore(url, home / "again")
    path = home / "place" / "backups" / "0000000001.json"
    text = path.read_text()
    path.write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(GridVersionError):
        restore(url, home / "again")
    options = text.replace('"BY_X": {', '"BY_X": 5, "BY_S": {')
    for wrong in (
        text.replace('"table_id": 1', '"table_id": 0'),
        text[: len(text) // 2],
        text.replace(".seg", ".gif"),
        text.replace('"name": "T"', '"name": ""'),
        options,
    ):
        assert wrong != text
        path.write_text(wrong)
        with pytest.raises(GridCorruptError, match=r"0000000001\.json"):
            restore(url, home / "again")


@pytest.mark.parametrize("change", ["cut off", "empty", "longer", "folder", "not readable"])
def test_a_file_that_is_not_whole_is_named(grid, home, change):
    """Before anything is copied, where its size shows it; and never is it the new grid's directory."""
    url = f"file://{home}/place"
    backup(grid.home, url)
    largest = max((home / "place" / "files").iterdir(), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    if change == "folder":
        largest.unlink()
        largest.mkdir()
    elif change == "not readable":
        if os.getuid() == 0:
            pytest.skip("root may read all")
        largest.chmod(0)
    else:
        largest.write_bytes({"cut off": data[:-1], "empty": b"", "longer": data + b"x"}[change])
    for action in (lambda: verify_backup(url), lambda: restore(url, home / "restored")):
        with pytest.raises((GridCorruptError, GridAccessError), match=largest.name) as caught:
            action()
        assert "restored/" not in str(caught.value)
    if change in ("cut off", "empty", "longer"):
        assert not (home / "restored").exists()
        backup(grid.home, url, verify=True)  # copies it again


def test_a_file_of_a_version_that_is_cut_off_is_named(grid, s3, home):
    grid.table("T").publish(s3)
    largest = max(Place(s3).list("files"), key=lambda entry: entry.bytes)
    Place(s3).write(f"files/{largest.name}", Place(s3).read(f"files/{largest.name}")[:-5])
    with pytest.raises(GridCorruptError, match=f"{largest.name} has {largest.bytes - 5} bytes"):
        clone(s3, home / "clone")


def test_a_backup_stands_on_files_that_are_there(grid, url, home, monkeypatch):
    """Whatever the one before says; also where one goes as the document is made."""
    backup(grid.home, url)
    place, create, gone = Place(url), Place.create, []
    first, second, *_ = sorted(place.list("files"), key=lambda entry: -entry.bytes)
    place.remove(f"files/{first.name}")
    assert backup(grid.home, url).copied_bytes == first.bytes

    def create_late(self: Place, name: str, data: bytes) -> bool:
        if name.startswith("backups/") and not gone:
            gone.append(name)
            self.remove(f"files/{second.name}")
        return create(self, name, data)

    monkeypatch.setattr(Place, "create", create_late)
    backup(grid.home, url, verify=True)
    assert gone
    restore(url, home / "restored")
    gridflow.testing.verify(home / "restored", gridflow.testing.contents(grid))


def test_backups_of_two_grids_do_not_mix(grid, url, home):
    """A grid that was made of a backup goes on there, and copies nothing that is there."""
    backup(grid.home, url)
    with gridflow.connect(home / "other") as other:
        other.create_table("T", {"ID": "LONG"}, key="ID").put(1, {})
        with pytest.raises(UsageError, match="of another grid"):
            backup(other.home, url)
    restore(url, home / "restored")
    assert backup(home / "restored", url).copied_bytes == 0
    backup(grid.home, url)
    assert prune(url, 1).backups == 1 and [one.number for one in backups(url)] == [2, 3]  # the newest of each grid
    backup(home / "restored", url)
    assert prune(url, 1).backups == 1 and [one.number for one in backups(url)] == [3, 4]


def test_a_full_disk(grid, small, home):
    """The backup, or the restore, ends with an error that says so; what is there is what was there."""
    url = f"file://{small}/place"
    grid.create_table("BIG", {"ID": "LONG", "X": "UINT8[1048576]"}, key="ID").load(
        {"ID": np.arange(20), "X": np.random.default_rng(1).integers(0, 255, (20, 1 << 20), "uint8")}
    )
    with pytest.raises(GridFullError):
        backup(grid.home, url)
    with pytest.raises(GridNotFoundError):
        restore(url, home / "restored")
    backup(grid.home, f"file://{home}/place")
    with pytest.raises(GridFullError):
        restore(f"file://{home}/place", small / "restored")
    assert not (small / "restored" / "catalog").exists()
    with pytest.raises(GridFullError):
        clone(grid.home, small / "clone")


def test_a_folder_that_may_not_be_written(grid, home):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (home / "place").mkdir(mode=0o500)
    with pytest.raises(GridAccessError):
        backup(grid.home, f"file://{home}/place")


# ---- prune ----


def age(url: str, seconds: float) -> None:
    """Make the files of a local place older."""
    for path in (Path(url.removeprefix("file://")) / "files").iterdir():
        when = time.time() - seconds
        os.utime(path, (when, when))


def test_prune_keeps_the_newest_and_what_has_a_tag(grid, url, home):
    table = grid.table("T")
    table.publish(url, tag="keep me")
    for number in range(4):
        table.put(number, {"X": 100.0 + number})
        table.publish(url)
        backup(grid.home, url)
    files = {entry.name for entry in Place(url).list("files")}
    gone = prune(url, 2, dry_run=True)
    assert (gone.versions, gone.backups) == (2, 2)
    gone = prune(url, 2, grace=0)
    assert (gone.versions, gone.backups) == (2, 2) and gone.files > 0
    assert len(files) - len(Place(url).list("files")) == gone.files
    source = UrlSource(url)
    for version, number in (("keep me", 1), (4, 4), (5, 5), (None, 5)):
        found = source.version("T", version)
        assert found.number == number
        for file in found.files:
            assert sum(piece.size for _, piece in source.read(found.table_id, file, [(0, file.bytes)])) == file.bytes
    with pytest.raises(VersionNotFoundError):
        source.version("T", 2)
    assert [one.number for one in backups(url)] == [3, 4]
    restore(url, home / "restored", number=3)
    restore(url, home / "newest")
    gridflow.testing.verify(home / "newest", gridflow.testing.contents(grid))
    assert prune(url, 2, grace=0) == type(gone)(0, 0, 0, 0)


def test_prune_leaves_files_of_publishers_at_work(grid, home):
    """What no document names stays for a day, by the clock of the place."""
    url = f"file://{home}/place"
    table = grid.table("T")
    table.publish(url)
    stray = home / "place" / "files" / f"{'0' * 32}-1-{'0' * 16}-5-{'0' * 16}.seg"
    stray.write_bytes(b"12345")
    assert prune(url, 1).files == 0 and stray.exists()
    age(url, publishing.GRACE_SECONDS + 1)
    assert prune(url, 1).files == 1 and not stray.exists()
    UrlSource(url).version("T")


def test_an_old_file_that_nothing_names_is_not_relied_upon(grid, home):
    """A prune may be about to remove it: it is copied anew, under a name of its own."""
    url = f"file://{home}/place"
    table = grid.table("T")
    table.publish(url)
    (home / "place" / "tables" / "T" / "0000000001.json").unlink()  # as a publisher leaves it that was killed
    names = {path.name for path in (home / "place" / "files").iterdir()}
    table.publish(url)
    assert {path.name for path in (home / "place" / "files").iterdir()} == names  # it is new: nothing is copied
    (home / "place" / "tables" / "T" / "0000000001.json").unlink()
    age(url, publishing.GRACE_SECONDS)
    table.publish(url)
    age(url, publishing.GRACE_SECONDS)
    used = {file.source for file in UrlSource(url)._place.version("T", 1).files}
    assert not used & names
    assert prune(url, 1).files == len(names)
    clone(url, home / "clone")
    assert table.publish(url) == 2  # what the version before has under such a name is relied upon
    assert {path.name for path in (home / "place" / "files").iterdir()} == used


def test_prune_does_nothing_where_a_document_cannot_be_read(grid, home):
    url = f"file://{home}/place"
    table = grid.table("T")
    for number in range(3):
        table.put(number, {"X": 0.0})
        table.publish(url)
    path = home / "place" / "tables" / "T" / "0000000003.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    before = sorted((home / "place").rglob("*"))
    with pytest.raises(GridVersionError):
        prune(url, 1, grace=0)
    assert sorted((home / "place").rglob("*")) == before
    for keep in (0, -1, True):
        with pytest.raises(UsageError):
            prune(url, keep)


def test_prunes_and_publishers_at_the_same_time(grid, url):
    """Whatever is listed can be read, all of it."""
    table = grid.table("T")
    table.publish(url)
    errors: list[BaseException] = []
    stop = threading.Event()

    def repeat(action) -> None:
        try:
            while not stop.is_set():
                action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=repeat, args=(lambda: prune(url, 1),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(6):
        table.put(number, {"X": 1.0})
        table.publish(url)
        source = UrlSource(url)
        found = source.version("T")
        for file in found.files:
            assert sum(piece.size for _, piece in source.read(found.table_id, file, [(0, file.bytes)])) == file.bytes
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_files_that_were_being_written_go(grid, home):
    url = f"file://{home}/place"
    grid.table("T").publish(url)
    left = home / "place" / "files" / ".0123456789abcdef.part"
    left.write_bytes(b"x")
    prune(url, 1)
    assert left.exists()
    os.utime(left, (1, 1))
    prune(url, 1)
    assert not left.exists()
    shutil.rmtree(home / "place")


def test_more_files_than_may_be_open(home):
    """The error says what to do; the commands allow themselves as many as they may have."""
    with gridflow.connect(home / "grid") as grid:
        for number in range(60):
            grid.create_table(f"T{number}", {"ID": "LONG"}, key="ID").put(1, None)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (50, 200))\n"
        "from gridflow.cli import main; from gridflow.transport.backup import backup\n"
        f"place = 'file://{home}/place'\n"
        f"backup({str(home / 'grid')!r}, place) if sys.argv[1] == 'call' else "
        f"main(['backup', {str(home / 'grid')!r}, place])"
    )
    called = subprocess.run([sys.executable, "-c", code, "call"], capture_output=True, text=True)
    assert "ulimit -n" in called.stderr
    typed = subprocess.run([sys.executable, "-c", code, "command"], capture_output=True, text=True)
    assert typed.stdout.startswith("backup 1: 60 tables"), typed.stderr
