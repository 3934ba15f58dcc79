"""A disk that loses what was not synced: from what a program did to its files, the states that a power cut can leave.

``record`` runs a program under ``disk_recorder.cc``; ``Disk`` takes its events one after the other, and knows at each
moment what is safe and what is pending. ``states`` chooses of the pending as POSIX allows a file system to:

* what a file got since its last sync may be on the disk or not, sector by sector; of one sector all that came up to
  some moment. A size may be there without the data: zeros, or what lay there before.
* a name that came, went or changed in a folder since its last sync is as before or as after; a rename is one step.
  Nothing orders the changes of a folder. What a file holds says nothing of its name, and the other way round.

After Pillai et al., "All File Systems Are Not Created Equal" (ALICE, OSDI 2014), which does so for applications, and
Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing" (CrashMonkey, OSDI 2018).
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_EVENT = struct.Struct("<Ic3xQQQII")
#: What a sector holds that a file has got and nothing was written to.
_GARBAGE = bytes(range(1, 256)) * 3
Tree = dict[str, "bytes | Tree"]


@dataclass(frozen=True)
class Event:
    """What the program did.

    ``kind`` is C create, T truncate, A allocate up to ``size``, W write, M store to a mapping, R rename (two names), U
    unlink, D make a folder, S a sync begins, E it has ended (``data``: its number), K the program says something.
    """

    kind: str
    inode: int = 0
    offset: int = 0
    size: int = 0
    name: str = ""
    data: bytes = b""

    def encoded(self) -> bytes:
        """As the recorder writes it."""
        name = self.name.encode()
        size = _EVENT.size + len(name) + len(self.data)
        head = _EVENT.pack(size, self.kind.encode(), self.inode, self.offset, self.size, len(name), len(self.data))
        return head + name + self.data


def read_trace(path: Path) -> list[Event]:
    """The events of a file of the recorder's."""
    data, at, events = path.read_bytes(), 0, []
    while at < len(data):
        size, kind, inode, offset, length, name, body = _EVENT.unpack_from(data, at)
        begin = at + _EVENT.size
        text = data[begin : begin + name].decode()
        events.append(Event(kind.decode(), inode, offset, length, text, data[begin + name : begin + name + body]))
        at += size
    return events


def say(trace: int, text: str) -> None:
    """From within the program: at this moment, this is done. ``trace`` is the trace, open to append."""
    os.write(trace, Event("K", data=text.encode()).encoded())


def build_recorder(folder: Path) -> Path:
    """Compile the recorder."""
    library = folder / "disk_recorder.so"
    source = Path(__file__).with_name("disk_recorder.cc")
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-pthread", str(source), "-o", str(library), "-ldl"]
    subprocess.run(command, check=True)
    return library


def recording(recorder: Path, folder: Path, pause: str) -> dict[str, str]:
    """The environment of a program that is to be recorded.

    Args:
        recorder: the library.
        folder: ``root`` in it is what is recorded, ``trace`` gets the events.
        pause: how long syncs of files and of mappings take, as ``disk_recorder.cc`` has it.
    """
    (folder / "root").mkdir(exist_ok=True)
    told = {"LD_PRELOAD": recorder, "DISK_RECORDER_ROOT": folder / "root", "DISK_RECORDER_TRACE": folder / "trace"}
    return {**os.environ, **{name: str(value) for name, value in told.items()}, "DISK_RECORDER_PAUSE": pause}


@dataclass
class _Change:
    """What may be on the disk or not: a sector's bytes (``data``), or the size of a file (``size``)."""

    event: int
    offset: int = 0
    data: bytes | None = None
    size: int = 0
    cuts: bool = False  # a size below which nothing stays

    def apply(self, content: bytearray, fill: bytes) -> None:
        if self.data is not None:
            end = min(self.offset + len(self.data), len(content))  # what lies beyond the size nobody sees
            if end > self.offset:
                content[self.offset : end] = self.data[: end - self.offset]
        elif self.cuts:
            del content[self.size :]
        if self.data is None and len(content) < self.size:
            missing = self.size - len(content)
            content += (fill * (missing // len(fill) + 1))[:missing] if fill else bytes(missing)


@dataclass
class _File:
    safe: bytearray = field(default_factory=bytearray)
    now: bytearray = field(default_factory=bytearray)
    pending: list[_Change] = field(default_factory=list)


@dataclass
class _Rename:
    """One step of a folder: what each name stands for afterwards, None: nothing."""

    event: int
    names: dict[str, int | None]


@dataclass
class _Folder:
    safe: dict[str, int] = field(default_factory=dict)
    now: dict[str, int] = field(default_factory=dict)
    pending: list[_Rename] = field(default_factory=list)


def _applied(names: dict[str, int], changes: list[_Rename]) -> dict[str, int]:
    result = dict(names)
    for change in changes:
        for name, inode in change.names.items():
            if inode is None:
                result.pop(name, None)
            else:
                result[name] = inode
    return result


class Disk:
    """Files and folders at one moment of a trace."""

    def __init__(self) -> None:
        self.files: dict[int, _File] = {}
        self.folders: dict[int, _Folder] = {0: _Folder()}
        self._root = 0  # the root's inode, once a sync names it
        self._syncs: dict[bytes, tuple[int, Event]] = {}
        self._count = 0

    def take(self, event: Event) -> None:
        """Go on by one event."""
        self._count += 1
        if event.kind == "C":
            self.files[event.inode] = _File()
            self._rename({event.name: event.inode})
        elif event.kind == "D":
            self.folders[event.inode] = _Folder()
            self._rename({event.name: event.inode})
        elif event.kind == "R":
            old, new = event.name.split("\0")
            self._rename({old: None, new: event.inode})
        elif event.kind == "U":
            self._rename({event.name: None})
        elif event.kind in "TA":
            self._resize(event.inode, event.size, event.kind == "T")
        elif event.kind in "WM":
            if event.kind == "W":
                self._resize(event.inode, event.offset + len(event.data), False)
            for at, data in _sectors(event.offset, event.data):
                self._change(event.inode, _Change(self._count, at, data))
        elif event.kind == "S":
            self._syncs[event.data] = self._count, event
        elif event.kind == "E":
            self._sync(*self._syncs.pop(event.data))

    def _folder_of(self, path: str) -> tuple[_Folder, str]:
        *parents, name = path.split("/")
        folder = self.folders[0]
        for parent in parents:
            folder = self.folders[folder.now[parent]]
        return folder, name

    def _rename(self, paths: dict[str, int | None]) -> None:
        names = {}
        for path, inode in paths.items():
            folder, name = self._folder_of(path)
            names[name] = inode
        change = _Rename(self._count, names)  # all in one folder: a grid renames nothing from one to another
        folder.pending.append(change)
        folder.now = _applied(folder.now, [change])

    def _resize(self, inode: int, size: int, cuts: bool) -> None:
        if cuts or size > len(self.files[inode].now):
            self._change(inode, _Change(self._count, size=size, cuts=cuts))

    def _change(self, inode: int, change: _Change) -> None:
        file = self.files[inode]
        file.pending.append(change)
        change.apply(file.now, b"")

    def _sync(self, begun: int, event: Event) -> None:
        """Whatever came before a sync began is safe once it has ended."""
        if event.inode == 0:
            inodes = [*self.files, *self.folders]
        elif event.inode in self.files or event.inode in self.folders:
            inodes = [event.inode]
        else:  # the one folder that no event has made
            inodes = [0]
        for inode in inodes:
            folder = self.folders.get(inode)
            if folder is not None:
                done = [change for change in folder.pending if change.event <= begun]
                folder.safe = _applied(folder.safe, done)
                folder.pending = folder.pending[len(done) :]
                continue
            file, rest = self.files[inode], []
            page = event.offset // 4096 * 4096
            for change in file.pending:
                within = change.data is None or page <= change.offset < event.offset + event.size or event.inode == 0
                if change.event <= begun and within:
                    change.apply(file.safe, b"")
                else:
                    rest.append(change)
            file.pending = rest

    def missing(self, actual: Path) -> list[Event]:
        """What a program stored to mappings and nobody saw, as it was killed: by comparison with what is there."""
        events = []
        for path, inode in self._walk(self.folders[0].now, ""):
            data = (actual / path).read_bytes()
            now = self.files[inode].now
            assert len(data) == len(now), path
            events += [
                Event("M", inode, at, len(sector), data=sector)
                for at, sector in _sectors(0, data)
                if now[at : at + len(sector)] != sector
            ]
        return events

    def _walk(self, names: dict[str, int], prefix: str) -> Iterator[tuple[str, int]]:
        for name, inode in names.items():
            if inode in self.files:
                yield prefix + name, inode
            else:
                yield from self._walk(self.folders[inode].now, f"{prefix}{name}/")

    # ---- states ----

    def state(self, choose: Chooser) -> Tree:
        """One state that a power cut at this moment can leave."""
        return self._tree(0, choose)

    def _tree(self, inode: int, choose: Chooser) -> Tree:
        folder = self.folders[inode]
        names = _applied(folder.safe, [change for change in folder.pending if choose.name(change)])
        tree: Tree = {}
        for name, child in names.items():
            tree[name] = self._tree(child, choose) if child in self.folders else self._content(child, choose)
        return tree

    def _content(self, inode: int, choose: Chooser) -> bytes:
        file = self.files[inode]
        if not file.pending:
            return bytes(file.safe)
        content = bytearray(file.safe)
        ended: set[int] = set()  # sectors (-1: the size) of which no later change is there
        for change in file.pending:
            sector = -1 if change.data is None else change.offset // SECTOR
            if sector not in ended:
                if choose.data(inode, sector, change):
                    change.apply(content, choose.fill)
                else:
                    ended.add(sector)
        return bytes(content)

    def pending_names(self) -> list[int]:
        """The events that changed a name and are not safe."""
        return [change.event for folder in self.folders.values() for change in folder.pending]

    def states(self, chance: random.Random, count: int) -> Iterator[Tree]:
        """Distinct states: nothing and all of what is pending, either kind alone, single names alone or missing, random
        ones."""
        names = self.pending_names()
        simple = [Chooser(n, d, g) for n in (False, True) for d in (False, True) for g in (b"", _GARBAGE)]
        single = [Chooser(not n, d, only=name) for name in names for n in (False, True) for d in (True, False)]
        chance.shuffle(single)
        seen = set()
        for number, choose in enumerate(
            [*simple, *single[: count // 2], *(RandomChooser(chance) for _ in range(count))]
        ):
            if number >= count + len(simple):
                return
            tree = self.state(choose)
            digest = _digest(tree)
            if digest not in seen:
                seen.add(digest)
                yield tree


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        size = SECTOR - (offset + at) % SECTOR
        yield offset + at, data[at : at + size]
        at += size


class Chooser:
    """Which of the pending changes are on the disk: all ``names`` or none, all ``data`` or none; ``only`` is one of the
    names, of which the opposite holds."""

    def __init__(self, names: bool, data: bool, fill: bytes = b"", only: int = -1):
        self.names, self.bytes, self.fill, self.only = names, data, fill, only

    def name(self, change: _Rename) -> bool:
        """Whether a change of a folder is there."""
        return self.names != (change.event == self.only)

    def data(self, inode: int, sector: int, change: _Change) -> bool:
        """Whether a change of a file is there; sizes go with the names."""
        return self.names if sector < 0 else self.bytes


class RandomChooser(Chooser):
    """Each with a probability that is itself chosen."""

    def __init__(self, chance: random.Random):
        super().__init__(False, False, chance.choice([b"", b"", _GARBAGE]))
        self._chance = chance
        self._shares = [chance.choice([0.0, 0.1, 0.5, 0.9, 1.0]) for _ in range(3)]

    def name(self, change: _Rename) -> bool:
        return self._chance.random() < self._shares[0]

    def data(self, inode: int, sector: int, change: _Change) -> bool:
        return self._chance.random() < self._shares[1 if sector < 0 else 2]


def _digest(tree: Tree) -> bytes:
    result = hashlib.blake2b(digest_size=16)
    for name in sorted(tree):
        child = tree[name]
        result.update(name.encode() + b"\0" + (_digest(child) if isinstance(child, dict) else child) + b"\0")
    return result.digest()


def write_tree(tree: Tree, folder: Path, changed: Callable[[str, bytes], bytes]) -> None:
    """Put a state into an empty folder; ``changed`` has the last word on the bytes of each file, by its name."""
    for name, child in tree.items():
        if isinstance(child, dict):
            (folder / name).mkdir()
            write_tree(child, folder / name, changed)
        else:
            (folder / name).write_bytes(changed(name, child))


if __name__ == "__main__":  # what a trace says, for people
    for event in read_trace(Path(sys.argv[1])):
        print(event.kind, event.inode, event.offset, event.size, event.name, event.data[:40])
