"""Clients that die in the middle of their rings, nodes that die with requests in them: acknowledged writes stay."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from crash.ring_writer import KEYS

import gridflow
import gridflow.testing
from gridflow.server import ServerProcess
from gridflow.storage.ring_files import ring_folder

COLUMNS = {"ID": "LONG", "V": "BINARY"}
CLIENT_POINTS = ["ring.write", "ring.published"]
NODE_POINTS = ["ring.taken", "ring.answer", "log.append", "log.sync"]
NEVER = 1 << 30
NODE = """
import sys
from gridflow._native.store import set_failpoints
from gridflow.server import Node

home, durability, failpoints = sys.argv[1:]
with Node(home, durability=durability) as node:
    node.grid.create_table("T", {"ID": "LONG", "V": "BINARY"}, key="ID")
    print("ready", flush=True)
    set_failpoints(failpoints)
    sys.stdin.read()
"""


class Writer:
    """A client that writes, as a child; another thread reads what it says."""

    def __init__(self, home: Path, number: int, failpoints: str = "", most: int = KEYS):
        script = str(Path(__file__).with_name("ring_writer.py"))
        command = [sys.executable, script, str(home), str(number), failpoints, str(most)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
        self.acknowledged: list[int] = []
        self.writes = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        rest = b""
        while data := self.process.stdout.read(1 << 16):
            rest += data
            whole = len(rest) // 8 * 8
            self.acknowledged += [int.from_bytes(rest[i : i + 8], "little") for i in range(0, whole, 8)]
            rest = rest[whole:]
            self.writes.set()
        self.writes.set()

    def wait(self) -> int:
        """Until it has ended; how."""
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait()


def expect(grid: gridflow.Grid, acknowledged: list[list[int]]) -> None:
    """Each client's rows are there as far as they were acknowledged, and at most one more of each."""
    found = set(grid.table("T").to_arrow(["ID"])["ID"].to_pylist())
    for keys in acknowledged:
        assert found >= set(keys)
        found -= set(keys)
    assert len(found) <= len(acknowledged) and len({key // KEYS for key in found}) == len(found)
    for keys in acknowledged:
        for key in keys[-3:]:
            assert grid.table("T").get(key) == {"V": b"%d" % (key % KEYS)}


@pytest.mark.parametrize("point", CLIENT_POINTS)
@pytest.mark.parametrize("passes", [1, 2, 600])  # by then the ring has gone round
def test_a_client_dies_in_its_ring(home: Path, point: str, passes: int) -> None:
    with ServerProcess(home) as server, gridflow.connect(home) as grid:
        grid.create_table("T", COLUMNS, key="ID").put(0, {"V": b"0"})
        dying = [Writer(home, number, f"{point}=kill@{passes}") for number in (1, 2)]
        living = Writer(home, 3, most=300)
        for i in range(1, 300):
            grid.table("T").put(i, {"V": b"%d" % i})
        assert [writer.wait() for writer in dying] == [-signal.SIGKILL] * 2
        assert living.wait() == 0 and len(living.acknowledged) == 300
        assert [len(writer.acknowledged) for writer in dying] == [passes, passes]
        expect(grid, [writer.acknowledged for writer in (*dying, living)] + [list(range(300))])
        assert grid.check() == []
        assert server.stop() == 0
    assert not ring_folder(home).exists()
    gridflow.testing.verify(home)


def test_a_client_dies_while_it_wakes_the_node(home: Path) -> None:
    """The node sleeps on, and so the next client, or who stops it, must wake it."""
    with ServerProcess(home) as server, gridflow.connect(home) as grid:
        grid.create_table("T", COLUMNS, key="ID")
        dying = Writer(home, 1, "ring.bell=kill@1")
        assert dying.wait() == -signal.SIGKILL
        living = Writer(home, 2, most=300)
        assert living.wait() == 0 and len(living.acknowledged) == 300
        expect(grid, [dying.acknowledged, living.acknowledged])
        assert Writer(home, 3, "ring.bell=kill@1").wait() == -signal.SIGKILL
        assert server.stop() == 0
    gridflow.testing.verify(home)


@pytest.mark.parametrize("durability", ["process", "fsync"])
@pytest.mark.parametrize("point", NODE_POINTS)
@pytest.mark.parametrize("passes", [3, 100])
def test_a_node_dies_with_requests_in_its_rings(home: Path, durability: str, point: str, passes: int) -> None:
    if point == "log.sync" and durability == "process":
        passes = NEVER  # it is not passed: the node is killed from outside
    command = [sys.executable, "-c", NODE, str(home), durability, f"{point}=kill@{passes}"]
    node = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None and node.stdout.readline() == "ready\n"
    writers = [Writer(home, number) for number in range(4)]
    if passes == NEVER:
        for writer in writers:
            writer.writes.wait()
        node.kill()
    assert node.wait() == -signal.SIGKILL
    node.communicate()
    assert [writer.wait() for writer in writers] == [0] * 4
    with gridflow.connect(home, embedded=True) as grid:
        assert not ring_folder(home).exists()
        assert grid.check() == []
        expect(grid, [writer.acknowledged for writer in writers])
        grid.table("T").put(KEYS * 9, {"V": b"after"})
    gridflow.testing.verify(home)


@pytest.mark.parametrize("seed", range(3))
def test_nodes_and_clients_are_killed_at_random(home: Path, seed: int) -> None:
    """Over several lives of a grid: what each client was told is there in the end."""
    chance = random.Random(seed)
    with gridflow.connect(home) as grid:
        grid.create_table("T", COLUMNS, key="ID")
    writers: list[Writer] = []
    for _ in range(3):
        with ServerProcess(home, "--durability", chance.choice(["process", "fsync"])) as server:
            fresh = [Writer(home, len(writers) + i) for i in range(3)]
            writers += fresh
            for writer in fresh:
                writer.writes.wait()
            for victim in chance.sample(fresh, chance.randrange(3)):
                victim.process.kill()
            last = Writer(home, len(writers), most=chance.randrange(1, 1000))
            writers.append(last)
            assert last.wait() == 0
            server.kill()
            for writer in fresh:
                writer.wait()
    with gridflow.connect(home, embedded=True) as grid:
        assert grid.check() == []
        expect(grid, [writer.acknowledged for writer in writers])
    gridflow.testing.verify(home)
