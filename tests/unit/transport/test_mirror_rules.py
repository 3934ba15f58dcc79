"""What holds of a mirror whoever else uses it: rights, other grids, other processes, forks, and what is cleared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mirrors import FaultySource

import gridflow
from gridflow.client import remote_grid
from gridflow.client.sources import directory_of
from gridflow.errors import GridAccessError, GridConnectionError, GridEnvironmentError, UsageError
from gridflow.registry import open_reader
from gridflow.server import Node
from gridflow.storage import mirrors
from gridflow.stored_table import flush
from gridflow.transport import mirror

ROWS = 3000


@pytest.fixture(autouse=True)
def own_mirror(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(home / "mirror"))
    monkeypatch.setattr(remote_grid, "MAPS_LOCAL", False)
    monkeypatch.setattr(mirror, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(mirror, "_HEAD_BYTES", 4096)


def make(folder: Path, value: int = 1) -> Path:
    """A grid with a table T, in which each N is ``value``."""
    with gridflow.connect(folder) as grid:
        table = grid.create_table("T", {"ID": "LONG", "N": "LONG", "B": "UINT8[256]"}, key="ID")
        noise = np.random.default_rng(value).integers(0, 255, (ROWS, 256), "uint8")
        table.load({"ID": np.arange(ROWS), "N": np.full(ROWS, value), "B": noise})
    return folder


def published(home: Path) -> str:
    """A URL at which a table T was published."""
    url = f"file://{home}/place"
    with gridflow.connect(make(home / "grid")) as grid:
        grid.table("T").publish(url)
    return url


@pytest.fixture
def node(home: Path) -> Iterator[Node]:
    with Node(make(home / "grid"), listen=["grid://127.0.0.1:0"]) as node:
        yield node


def numbers(table: gridflow.Table) -> set[int]:
    return set(table.to_arrow(["N"])["N"].to_pylist())


def in_child(do, seconds: float = 30.0) -> None:
    """Do something in a forked child, which must end in time."""
    pid = os.fork()
    if pid == 0:  # no test code runs on in the child
        code = 1
        try:
            do()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    if done[0] == 0:
        os.kill(pid, signal.SIGKILL)
    assert done == (pid, 0)


def test_everybody_asks_with_their_own_rights(node: Node) -> None:
    """Of two users in one process each sees what that one may read, whoever asked last, and none after REVOKE."""
    address = str(node.endpoints[-1])
    grid = node.grid
    grid.sql("CREATE TABLE SECRET (ID LONG PRIMARY KEY, N LONG)")
    grid.table("SECRET").put(1, {"N": 42})
    for name in ("KATE", "BOB"):
        grid.sql(f"CREATE USER {name} WITH PASSWORD '{name}-password-1'")
    grid.sql("GRANT SELECT ON T TO KATE, BOB")
    grid.sql("GRANT SELECT ON SECRET TO KATE")
    kate, bob = (gridflow.connect(address, user=name, password=f"{name}-password-1") for name in ("KATE", "BOB"))
    with kate, bob:
        assert numbers(kate.table("SECRET")) == {42}
        assert numbers(bob.table("T")) == {1}
        secret = kate.table("SECRET")
        assert numbers(secret) == {42}
        grid.sql("REVOKE SELECT ON SECRET FROM KATE")
        grid.sql("GRANT SELECT ON SECRET TO BOB")
        assert numbers(bob.table("SECRET")) == {42}
        with pytest.raises(gridflow.GridflowError, match="SECRET|not allowed|may not"):
            numbers(secret)


def test_another_grid_at_the_same_address_is_an_error(home: Path) -> None:
    """Who has a grid open never reads or writes another one that has come to its address; who connects anew does."""
    first, second = make(home / "a", 1), make(home / "b", 2)
    with Node(first, listen=["grid://127.0.0.1:0"]) as node:
        address = str(node.endpoints[-1])
        grid = gridflow.connect(address)
        table = grid.table("T")
        assert numbers(table) == {1}
    with grid, Node(second, listen=[address]) as node:
        with gridflow.connect(address) as fresh:
            assert numbers(fresh.table("T")) == {2}
        for use in (lambda: numbers(table), lambda: table.put(1, {"N": 3, "B": None})) * 3:
            with pytest.raises((GridConnectionError, GridAccessError), match="another grid|log in again"):
                use()
        assert numbers(node.grid.table("T")) == {2}


def test_a_slower_reader_puts_nothing_older_back(home: Path) -> None:
    """Once a version has been read in a mirror, no update that asked before shows an older one."""
    with gridflow.connect(make(home / "grid")) as grid:
        asked, go_on = threading.Event(), threading.Event()

        class Slow(FaultySource):
            def version(self, table, version=None):
                found = super().version(table, version)
                if threading.current_thread().name == "slow":
                    self.hold(found)  # its files are there
                    asked.set()
                    go_on.wait(20)
                    threading.current_thread().name = "was slow"
                return found

        source = Slow(grid.home)
        folder = mirror.mirrored(source)
        slow = threading.Thread(target=mirror.update, args=(folder, "T"), name="slow")
        slow.start()
        assert asked.wait(20)
        grid.sql("UPDATE T SET N = 7")
        grid.table("T").flush()
        mirror.update(folder, "T")
        go_on.set()
        slow.join()
        with open_reader(folder) as reader:
            assert numbers(reader.table("T")) == {7}


def test_a_source_that_was_set_back_is_followed(home: Path) -> None:
    """A grid that has only an older version than the mirror is shown as it is."""
    with gridflow.connect(make(home / "grid")) as grid:
        source = FaultySource(grid.home)
        folder = mirror.mirrored(source)
        old = mirror.update(folder, "T")
        grid.table("T").put(1, grid.table("T").get(1) | {"N": 9})
        grid.table("T").flush()
        new = mirror.update(folder, "T")
        assert new.number > old.number
        source.version = lambda table, version=None: replace(old)
        assert mirror.update(folder, "T").number == old.number == mirror._current_number(source_folder(folder, old))


def source_folder(folder: Path, version) -> Path:
    return folder / "tables" / str(version.table_id)


def test_what_is_open_stays_held(node: Node) -> None:
    """A reader of an old version gets its blocks, however many newer ones have been read since."""
    with gridflow.connect(str(node.endpoints[-1])) as grid:
        table = grid.table("T")
        past = table.past(table.version())
        for number in range(6):
            table.put(number, {"N": number, "B": np.zeros(256, np.uint8)})
            table.compact()
            table.to_arrow(["ID"])
        for _ in range(2):
            grid.open_grid._source._renew()
        assert past.to_arrow().num_rows == ROWS


def test_a_version_just_asked_for_stays(node: Node) -> None:
    """A word of the lease thread that crosses an answer does not take away what the answer is about."""
    with gridflow.connect(str(node.endpoints[-1])) as grid:
        source = grid.open_grid._source
        found = source.version("T")
        source._renew()
        source.hold(found)
        grid.table("T").put(1, {"N": 3, "B": np.zeros(256, np.uint8)})
        grid.table("T").compact()
        file = found.files[0]
        assert sum(piece.size for _, piece in source.read(found.table_id, file, [(0, file.bytes)])) == file.bytes


def test_a_child_of_a_fork_reads_a_url(home: Path) -> None:
    """A forked child reads what its parent had open, also where the parent's threads have read before."""
    with gridflow.connect(published(home)) as grid:
        table = grid.table("T")
        assert numbers(table) == {1}

        def child() -> None:
            assert len(table.to_arrow(["B"])) == ROWS

        in_child(child)


def test_a_child_of_a_fork_keeps_nothing_locked(home: Path) -> None:
    """A mirror is free once who has changed it is done, though a child made meanwhile lives on."""
    with gridflow.connect(make(home / "grid")) as grid:
        folder = mirror.mirrored(FaultySource(grid.home))
        with mirror._changing(folder):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
        try:
            began = time.monotonic()
            mirror.update(folder, "T")
            assert time.monotonic() - began < 20
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_who_keeps_a_mirror_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever for a process that is stuck: the error says which it is."""
    monkeypatch.setattr(mirror, "LOCK_SECONDS", 0.3)
    with gridflow.connect(make(home / "grid")) as grid:
        folder = mirror.mirrored(FaultySource(grid.home))
        code = (
            "import fcntl, sys, time; f = open(sys.argv[1], 'r+'); fcntl.flock(f, 2); print(flush=True); time.sleep(60)"
        )
        command = [sys.executable, "-c", code, str(folder / mirrors.MARK)]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            holder.stdout.readline()
            with pytest.raises(GridEnvironmentError, match=f"process {holder.pid} for"):
                mirror.update(folder, "T")
        finally:
            holder.kill()
            holder.communicate()


def test_other_tables_do_not_wait_for_the_source(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one table's files come, others are opened."""
    with gridflow.connect(make(home / "grid")) as grid:
        grid.sql("CREATE TABLE U (ID LONG PRIMARY KEY, N LONG)")
        grid.table("U").put(1, {"N": 5})
        grid.table("U").flush()
        folder = mirror.mirrored(FaultySource(grid.home))
        coming, go_on = threading.Event(), threading.Event()
        actual = mirror._bring_files

        def slow(source, table_folder, version) -> None:
            if version.table == "T":
                coming.set()
                go_on.wait(20)
            actual(source, table_folder, version)

        monkeypatch.setattr(mirror, "_bring_files", slow)
        monkeypatch.setattr(mirror, "LOCK_SECONDS", 2.0)
        thread = threading.Thread(target=mirror.update, args=(folder, "T"))
        thread.start()
        assert coming.wait(20)
        try:
            mirror.update(folder, "U")
        finally:
            go_on.set()
            thread.join()


def test_clearing_takes_nothing_from_who_reads(home: Path) -> None:
    """Whoever has a grid open, at a node or a URL, reads on after its mirror was cleared or damaged."""
    url = published(home)
    with Node(home / "grid", listen=["grid://127.0.0.1:0"]) as node:
        with gridflow.connect(str(node.endpoints[-1])) as remote, gridflow.connect(url) as at_url:
            for grid in (remote, at_url):
                table = grid.table("T")
                assert numbers(table) == {1}
                assert mirrors.clear() >= 1
                assert len(table.to_arrow(["B"])) == ROWS
                assert numbers(grid.table("T")) == {1}
                for catalog in mirrors.root().glob("*/catalog"):
                    catalog.write_bytes(b"damage")
                assert numbers(grid.table("T")) == {1}
                assert grid.sql("SELECT COUNT(*) FROM T").scalar() == ROWS
        with gridflow.connect(url) as again:
            assert numbers(again.table("T")) == {1}


def test_a_dataset_s_next_epoch_makes_a_cleared_mirror_again(node: Node) -> None:
    """What has a dataset's newest rows come for an epoch has a mirror come that was cleared since the last one."""
    folder = directory_of(str(node.endpoints[-1]), "T")
    assert mirrors.clear() == 1
    flush(str(folder), "T")
    with open_reader(folder) as reader:
        assert numbers(reader.table("T")) == {1}


def test_the_mirror_that_is_shown_is_this_machine_s(node: Node) -> None:
    """SYS.MIRROR of a grid elsewhere has what has come here, and not what the node has mirrored."""
    address = str(node.endpoints[-1])
    with gridflow.connect(address) as grid:
        assert grid.sql("SELECT * FROM SYS.MIRROR").fetchall() == []
        numbers(grid.table("T"))
        node.grid.open_grid.system_view = None  # nobody asks the node
        query = "SELECT GRID, TABLE_NAME FROM sys.mirror WHERE BYTES > ?"
        assert grid.sql(query, [0]).fetchall() == [(address, "T")]
        assert grid.system_view("MIRROR").num_rows == 1


def test_a_read_takes_no_longer_than_the_connection_may(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time-out that a grid was connected with holds for what the mirror asks the node, too."""
    with gridflow.connect(str(node.endpoints[-1]), timeout=1.0) as grid:
        table = grid.table("T")
        assert numbers(table) == {1}
        go_on = threading.Event()
        monkeypatch.setattr("gridflow.server.requests.version_at", lambda *arguments: go_on.wait(20))
        began = time.monotonic()
        try:
            with pytest.raises(GridConnectionError):
                numbers(table)
            assert time.monotonic() - began < 15
        finally:
            go_on.set()


LIMITED = """
import resource
from gridflow.errors import GridEnvironmentError
from gridflow._native.snapshot import Snapshot
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
held = []
try:
    while True:
        held.append(open("/dev/null"))
except OSError:
    pass
try:
    Snapshot.open({home!r}, {table_id})
except GridEnvironmentError as error:
    assert "ulimit -n" in str(error), error
else:
    raise SystemExit("it was opened")
"""


def test_too_many_files_is_an_error_that_says_so(home: Path) -> None:
    """A process that may open no more files is told what to change."""
    with gridflow.connect(make(home / "grid")) as grid:
        table_id = grid.table("T").table_id
    code = LIMITED.format(home=str(home / "grid"), table_id=table_id)
    done = subprocess.run([sys.executable, "-c", code], timeout=40, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


ENDS = """
import sys, threading, time
import gridflow
from gridflow.transport.place import Place
grid = gridflow.connect({url!r})
table = grid.table("T")
asked = threading.Event()
def silent(*arguments):
    asked.set()
    time.sleep(60)
Place.read_range = silent
threading.Thread(target=lambda: table.to_arrow(["B"]), daemon=True).start()
assert asked.wait(20)
"""


def test_a_process_ends_while_a_url_does_not_answer(home: Path) -> None:
    """Threads that wait for a place keep no process alive."""
    url = published(home)
    with gridflow.connect(url) as grid:
        numbers(grid.table("T"))
    done = subprocess.run([sys.executable, "-c", ENDS.format(url=url)], timeout=40, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("said", "expected"), [("500000", 500000), ("64G", 64 << 30), ("1.5m", 3 << 19), ("0", 0)])
def test_a_budget_has_units(monkeypatch: pytest.MonkeyPatch, said: str, expected: int) -> None:
    """The variable takes what the command takes."""
    monkeypatch.setenv("GRIDFLOW_MIRROR_BYTES", said)
    assert mirrors.budget() == expected


@pytest.mark.parametrize("said", ["", "-1", "-2G", "much", "nan", "1e400G", "G"])
def test_a_budget_is_a_number(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """Anything else is the user's error, which shows how it is written."""
    monkeypatch.setenv("GRIDFLOW_MIRROR_BYTES", said)
    with pytest.raises(UsageError, match="such as 500000, 512M or 8G"):
        mirrors.budget()
