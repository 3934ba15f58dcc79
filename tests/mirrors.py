"""Mirrors for tests: sources that cut, damage and count what they send, and garbage where no block has come."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from gridflow._native import mirror as native
from gridflow.errors import GridConnectionError
from gridflow.transport.directory import DirectorySource
from gridflow.transport.source import Range, SealedFile, Source

BLOCK = 256 << 10


class FaultySource(DirectorySource):
    """A grid's directory as a source that has faults.

    Attributes:
        sent: bytes that were read.
        cut: every so manieth read ends with an error after its first piece; 0: none.
        damage: every so manieth piece has a wrong byte; 0: none.
        lost: files that are damaged for good, by the end of their name.
        gone: whether nothing can be reached.
    """

    def __init__(self, home: Path):
        super().__init__(home)
        self.sent = 0
        self.cut = self.damage = 0
        self.lost: str | None = None
        self.gone = False
        self._count = threading.Lock()
        self._reads = self._pieces = 0

    def read(self, table_id: int, file: SealedFile, ranges: Sequence[Range]) -> Iterator[tuple[int, pa.Buffer]]:
        """As ``Source.read``, with faults."""
        if self.gone:
            raise GridConnectionError("the test has cut the source off")
        with self._count:
            self._reads += 1
            cut = self.cut and self._reads % self.cut == 0
        for number, (begin, piece) in enumerate(super().read(table_id, file, ranges)):
            if cut and number == 1:
                raise GridConnectionError("the test has cut this")
            with self._count:
                self._pieces += 1
                self.sent += piece.size
                damaged = self.damage and self._pieces % self.damage == 0
            if damaged or (self.lost is not None and file.name.endswith(self.lost)):
                wrong = bytearray(piece.to_pybytes())
                wrong[len(wrong) // 2] ^= 0x10
                piece = pa.py_buffer(bytes(wrong))
            yield begin, piece


def fill_with_garbage(home: Path) -> int:
    """Write other bytes than zeros into all blocks of a mirror that have not come; returns how many those are."""
    count = 0
    rng = np.random.default_rng(7)
    for path in home.glob("tables/*/*.seg"):
        present = path.with_name(path.name + ".map").read_bytes()[128:]
        head = int.from_bytes(path.read_bytes()[16:24], "little")
        end = int.from_bytes(path.read_bytes()[80:88], "little")
        with open(path, "r+b") as file:
            for block, begin in enumerate(range(head, end, BLOCK)):
                if not present[block // 8] >> block % 8 & 1:
                    file.seek(begin)
                    file.write(rng.bytes(min(BLOCK, end - begin)))
                    count += 1
    return count


def present_bytes(home: Path) -> int:
    """The bytes of blocks that have come to a mirror."""
    return sum(native.use_of(str(path))[1] for path in home.glob("tables/*/*.seg"))


def use_mirror(folder: Path) -> None:
    """Have mirrors be in a folder, in this process and those that it starts."""
    os.environ["GRIDFLOW_MIRROR"] = str(folder)


__all__ = ["FaultySource", "Source", "fill_with_garbage", "present_bytes", "use_mirror"]
