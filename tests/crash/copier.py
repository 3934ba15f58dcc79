"""A process that copies to or from a place, and dies at one step after the other; run by test_copies.py.

    python copier.py ACTION FOLDER

A step is what changes a file or a folder: opening one to write, renaming, linking, removing. For each number n a child
dies, as by kill -9, just before its n-th step; then what is there is looked at, and the next child goes on with that.
The first child that comes to its end is the last. Prints how many have died.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import gridflow
import gridflow.testing
from gridflow.errors import GridNotFoundError
from gridflow.transport.backup import backup, backups, restore, verify_backup
from gridflow.transport.clone import clone
from gridflow.transport.prune import prune
from gridflow.transport.publish import publish
from gridflow.transport.url_source import UrlSource

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def die_at(step: int) -> None:
    """Die at the ``step``-th change of a file from now on."""
    left = [step]

    def look(event: str, arguments: tuple) -> None:
        changes = event in ("os.rename", "os.link", "os.remove", "os.mkdir") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        )
        if changes:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def check_place(url: str) -> None:
    """Whatever is listed there can be read, all of it."""
    source = UrlSource(url)
    try:
        tables = source.tables()
        for table in tables:
            folder = Path(url.removeprefix("file://")) / "tables" / table
            for document in sorted(folder.glob("*.json")):
                version = source.version(table, int(document.stem))
                for file in version.files:
                    pieces = source.read(version.table_id, file, [(0, file.bytes)])
                    assert sum(piece.size for _, piece in pieces) == file.bytes
        for one in backups(url):
            verify_backup(url, one.number)
    except GridNotFoundError as error:
        assert "nothing was published" in str(error), error
    finally:
        source.close()


def check_target(folder: Path) -> None:
    """It is a sound grid, or none."""
    if (folder / "catalog").exists():
        gridflow.testing.verify(folder)


def run(action: Callable[[], object], check: Callable[[], None]) -> int:
    """Die at each step; returns how many there were."""
    step = 0
    while True:
        step += 1
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                die_at(step)
                action()
                status = 0
            finally:
                os._exit(status)
        result = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert result in (0, -signal.SIGKILL), f"step {step}: {result}"
        check()
        if result == 0:
            return step - 1


def main(action: str, folder: Path) -> None:
    url = f"file://{folder}/place"
    with gridflow.connect(folder / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "DOUBLE"}, key="ID")
        table.load({"ID": np.arange(100), "X": np.arange(100) / 2})
        table.tag("old")
        table.put(1, {"X": -1.0})
        grid.create_table("U", {"ID": "LONG"}, key="ID").load({"ID": np.arange(10)})
        expected = gridflow.testing.contents(grid)
    if action in ("restore", "prune"):
        backup(folder / "grid", url)
    if action == "prune":
        for _ in range(3):
            publish(folder / "grid", ["T"], url)
            backup(folder / "grid", url)
    target = folder / "target"
    actions: dict[str, tuple[Callable[[], object], Callable[[], None]]] = {
        "publish": (lambda: publish(folder / "grid", ["T", "U"], url, tag=f"t{os.getpid()}"), lambda: check_place(url)),
        "backup": (lambda: backup(folder / "grid", url), lambda: check_place(url)),
        "clone": (lambda: clone(folder / "grid", target), lambda: check_target(target)),
        "restore": (lambda: restore(url, target), lambda: check_target(target)),
        "prune": (lambda: prune(url, 1, grace=0), lambda: check_place(url)),
    }
    if action in ("clone", "restore"):  # a child that dies after the catalog has come has made the grid
        once = actions[action][0]
        actions[action] = (lambda: (target / "catalog").exists() or once(), actions[action][1])
    died = run(*actions[action])
    if action in ("publish", "backup", "prune"):
        shutil.rmtree(target, ignore_errors=True)
        if action == "publish":
            clone(url, target)
            gridflow.testing.verify(target)
        else:
            restore(url, target)
    if action != "publish":
        gridflow.testing.verify(target, expected)
    print(died)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
