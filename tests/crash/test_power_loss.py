"""The power goes, with ``durability="fsync"``: each state that the disk may have then is a sound grid with every
acknowledged write, and no commit is there in part.

An owner works as in ``test_kill.py``, recorded by ``disk_recorder.cc``. Of many of its moments ``disk.py`` makes states
that a file system may leave, and each is opened as the next owner would, on a machine that was started anew.
"""

from __future__ import annotations

import ast
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.disk import Chooser, Disk, Event, Tree, build_recorder, read_trace, recording, write_tree
from crash.workload import THREADS, Progress, State, found, table_of

import gridflow
import gridflow.testing
from gridflow.storage.verify import check_home

#: Files that are never synced, as they can be made again.
SIDECARS = (".idx", ".zones", ".lz4")


@pytest.fixture(scope="module")
def recorder() -> Iterator[Path]:
    """The recorder, compiled."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    with tempfile.TemporaryDirectory() as folder:
        yield build_recorder(Path(folder))


def live(recorder: Path, folder: Path, seed: str, durability: str, operations: int) -> None:
    """One more life of the grid below ``folder``, whose owner is killed in the end; the trace grows."""
    script = Path(__file__).with_name("power_owner.py")
    command = [sys.executable, script, folder / "root/grid", seed, durability, folder / "trace", operations]
    done = subprocess.run(list(map(str, command)), env=recording(recorder, folder, "300,300"))
    assert done.returncode == -signal.SIGKILL
    disk = Disk()
    for event in read_trace(folder / "trace"):
        disk.take(event)
    with (folder / "trace").open("ab") as out:
        for event in disk.missing(folder / "root"):
            out.write(event.encoded())


class Judge:
    """Knows from what the owners said what there must be."""

    def __init__(self) -> None:
        self.threads: list[Progress] = []

    def hear(self, text: str) -> None:
        """The next thing that was said."""
        if text.startswith("begin "):
            head, state = text.split("\n", 1)
            seed = head.removeprefix("begin ")
            self.threads = [Progress(seed, number, ast.literal_eval(state)) for number in range(len(THREADS))]
        elif text.startswith("error"):
            raise AssertionError(text)
        else:
            self.threads[int(text)].done()

    def check(self, state: State, context: str) -> None:
        """Assert that what is there is what there must be."""
        assert {table_of(name) for name in state} <= {name for tables in THREADS for name in tables}, context
        for thread in self.threads:
            thread.check(state, context)
        assert self.threads or state == {}, context


def started_anew(name: str, data: bytes) -> bytes:
    """A file as it is on a machine that was started since: the control page has the machine's former start."""
    if name != "control" or len(data) < 40:
        return data
    return data[:32] + bytes(byte ^ 0x55 for byte in data[32:40]) + data[40:]


def check_state(tree: Tree, judge: Judge, folder: Path, context: str) -> None:
    """Open what the disk has as the next owner does, compare, write something more, and open it again."""
    write_tree(tree, folder, started_anew)
    home = folder / "grid"
    if (home / "catalog").exists():
        expect_sound(home, context)
    with gridflow.connect(home, durability="fsync") as grid:
        state = found(grid)
        judge.check(state, context)
        for name in state.keys() & set(grid.tables()):
            for n in sorted({row[0] for row in state[name].values()})[:2]:  # by the index
                keys = grid.sql(f"SELECT ID FROM {name} WHERE N = ?", [n]).fetchall()
                assert sorted(keys) == sorted((key,) for key, row in state[name].items() if row[0] == n), context
        for name in state.keys() & set(grid.tables()):
            grid.table(name).put(1, {"N": -1, "B": b"after"})
            state[name][1] = (-1, b"after")
        assert found(grid) == state, context
    expect_sound(home, context)
    with gridflow.connect(home) as grid:
        assert found(grid) == state, context


def expect_sound(home: Path, context: str) -> None:
    """`gridflow check` finds nothing, but for files that are made again."""
    problems = [str(problem) for problem in check_home(home) if not problem.file.endswith(SIDECARS)]
    assert problems == [], f"{context}: {problems}"


def cut(folder: Path, seed: str, moments: int, states: int) -> int:
    """Cut the power at so many moments of a trace, and look at so many states of each. Returns how many there were."""
    events = read_trace(folder / "trace")
    chance = random.Random(seed)
    # After a change of names or what was said, as states differ most there; and anywhere.
    likely = [i for i, event in enumerate(events) if event.kind in "RUKSE"]
    chosen = set(chance.sample(likely, min(moments, len(likely)))) | set(
        chance.sample(range(len(events)), moments // 4)
    )
    disk, judge, count = Disk(), Judge(), 0
    for i, event in enumerate(events):
        disk.take(event)
        if event.kind == "K":
            judge.hear(event.data.decode())
        if i not in chosen:
            continue
        for tree in disk.states(chance, states):
            with gridflow.testing.temporary_home() as place:
                check_state(tree, judge, place, f"seed {seed!r}, after event {i} ({event.kind} {event.name!r})")
            count += 1
    return count


@pytest.mark.parametrize("lives", [1, 1, 3])
def test_power_goes(recorder: Path, home: Path, lives: int, request: pytest.FixtureRequest) -> None:
    """Several lives: files of the log that a killed owner has left are there, too."""
    seed = request.node.name
    for life in range(lives):
        live(recorder, home, f"{seed} {life}", "fsync", 60 // lives)
    assert cut(home, seed, 10, 3) > 20


@pytest.mark.long
@pytest.mark.parametrize("turn", range(20))
def test_power_goes_often(recorder: Path, home: Path, turn: int) -> None:
    """With another seed every time; it is shown if something is wrong."""
    seed = f"long {turn} {random.SystemRandom().randrange(1 << 60)}"
    for life in range(random.Random(seed).choice([1, 1, 2, 3])):
        live(recorder, home, f"{seed} {life}", "fsync", 300)
    assert cut(home, seed, 100, 10) > 0


def test_what_is_not_to_survive_does_not(recorder: Path, home: Path) -> None:
    """The judge finds what is lost: with ``durability="process"`` nothing waits for the disk."""
    live(recorder, home, "process", "process", 60)
    with pytest.raises((AssertionError, gridflow.GridCorruptError)):
        cut(home, "process", 12, 4)


# ---- one thing at a time ----


def command(folder: Path, script: str) -> list[str]:
    """Runs a script that has ``home`` and ``say``."""
    head = f"""
import os, sys, threading
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import gridflow
from crash.disk import say as say_to
trace = os.open({str(folder / "trace")!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
home, say = {str(folder / "root/grid")!r}, lambda text: say_to(trace, text)
"""
    return [sys.executable, "-c", head + script]


def record(recorder: Path, folder: Path, pause: str, script: str) -> list[Event]:
    """What a script does."""
    subprocess.run(command(folder, script), env=recording(recorder, folder, pause), check=True)
    return read_trace(folder / "trace")


def barest(events: list[Event], from_said: str) -> Iterator[tuple[Path, list[str]]]:
    """From something that was said on: grids of which only what is safe is there, and what was said until then."""
    disk, said = Disk(), []
    for event in events:
        disk.take(event)
        if event.kind == "K":
            said.append(event.data.decode())
        if from_said in said and event.kind in "KE":
            with gridflow.testing.temporary_home() as place:
                write_tree(disk.state(Chooser(False, False)), place, started_anew)
                yield place / "grid", said


NODE = """
from gridflow.server import Node
with Node(home, durability="fsync") as node:
    node.grid.create_table("T", {"ID": "LONG", "V": "BINARY"}, key="ID")
    say("begin")
    print("ready", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), 9)
"""
CLIENT = """
from pathlib import Path
from gridflow.client.grid import connect_unix
with connect_unix(Path(home)) as grid:
    for key in range(NUMBER * 1000, NUMBER * 1000 + 40):
        grid.table("T").put(key, {"V": bytes([key % 251]) * (key % 700)})
        say(f"{key}")
"""


def test_power_goes_at_a_node(recorder: Path, home: Path) -> None:
    """What a client was told through its ring is there."""
    environment, pipe = recording(recorder, home, "300,2000"), subprocess.PIPE
    node = subprocess.Popen(command(home, NODE), env=environment, stdin=pipe, stdout=pipe, text=True)
    assert node.stdout is not None and node.stdout.readline() == "ready\n"
    scripts = [CLIENT.replace("NUMBER", str(number)) for number in range(3)]
    clients = [subprocess.Popen(command(home, script)) for script in scripts]
    assert [client.wait() for client in clients] == [0, 0, 0]
    node.communicate()
    events, chance = read_trace(home / "trace"), random.Random(1)
    begin = next(i for i, event in enumerate(events) if event.data == b"begin")
    chosen = set(chance.sample(range(begin, len(events)), 25))
    disk, told = Disk(), set()
    for i, event in enumerate(events):
        disk.take(event)
        if event.kind == "K" and event.data.isdigit():
            told.add(int(event.data))
        for tree in disk.states(chance, 2) if i in chosen else ():
            with gridflow.testing.temporary_home() as place:
                write_tree(tree, place, started_anew)
                expect_sound(place / "grid", f"after event {i}")
                with gridflow.connect(place / "grid", durability="fsync") as grid:
                    rows = grid.table("T").to_arrow().to_pydict()
                more = set(rows["ID"]) - told
                assert set(rows["ID"]) >= told and len({key // 1000 for key in more}) == len(more), f"after event {i}"
                assert rows["V"] == [bytes([key % 251]) * (key % 700) for key in rows["ID"]]
    assert len(told) == 120


def test_no_version_has_half_of_a_transaction(recorder: Path, home: Path) -> None:
    """One table was flushed while the transaction's record was still on its way to the disk."""
    events = record(
        recorder,
        home,
        "0,200000",
        """
with gridflow.connect(home, durability="fsync") as grid:
    a, b = (grid.create_table(name, {"ID": "LONG", "V": "LONG"}, key="ID") for name in "AB")
    say("begin")

    def commit():
        with grid.transaction() as transaction:
            for name in "AB":
                transaction.table(name).put(1, {"V": 1})

    thread = threading.Thread(target=commit)
    with a.lock, b.lock:  # keeps the background flush away
        thread.start()
        while a.get(1) is None:
            pass
        a.flush()
        say("flushed")
    thread.join()
    say("committed")
os._exit(0)
""",
    )
    seen = set()
    for path, said in barest(events, "begin"):
        with gridflow.connect(path) as grid:
            counts = [len(grid.table(name)) for name in "AB"]
        assert counts[0] == counts[1] and (counts == [1, 1] or "committed" not in said), said
        seen.add(counts[0])
    assert seen == {0, 1}


@pytest.mark.long  # as a file of the log has 64 MiB
def test_a_new_file_of_the_log_waits_for_the_one_before(recorder: Path, home: Path) -> None:
    """A record that another thread waits for lay in the old one, and a power cut left the new one alone."""
    events = record(
        recorder,
        home,
        "0,4000000",
        """
with gridflow.connect(home, durability="fsync") as grid:
    table = grid.create_table("A", {"ID": "LONG", "V": "BINARY"}, key="ID")
    say("begin")
    thread = threading.Thread(target=table.put, args=(1, {"V": b""}))
    with table.lock:
        thread.start()
        while table.get(1) is None:
            pass
        table.put(2, {"V": bytes(65 << 20)})
        say("put")
        os._exit(0)
""",
    )
    for path, said in barest(events, "begin"):
        with gridflow.connect(path) as grid:
            rows = set(grid.table("A"))
        assert rows == {1, 2} or "put" not in said and rows in (set(), {1}), said


def test_files_of_the_log_go_one_after_the_other(recorder: Path, home: Path) -> None:
    """A power cut brings back files that were unlinked: never an old one without those after it."""
    script = """
import gridflow.storage.maintenance
gridflow.storage.maintenance.FLUSH_SECONDS = 1000.0
grid = gridflow.connect(home, durability="fsync")
if "A" not in grid.tables():
    grid.create_table("A", {"ID": "LONG"}, key="ID")
table = grid.table("A")
with table.lock:
    table.put(grid.last_commit, {})
    if grid.last_commit == 4:
        table.flush()
    os._exit(0)
"""
    for _ in range(4):
        events = record(recorder, home, "0,0", script)
    disk, gone = Disk(), 0
    for event in events:
        disk.take(event)
        if event.kind == "U" and event.name.startswith("grid/log/"):
            gone += 1
            log = disk.folders[disk.folders[disk.folders[0].now["grid"]].now["log"]]
            unlinked = [change for change in log.pending if None in change.names.values() and len(change.names) == 1]
            assert len(unlinked) == 1
    assert gone >= 3
