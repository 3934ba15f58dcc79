"""Files beside the segments of a table that follow from them: what index files, zone maps and compressed copies have in
common.

A segment never changes, so what is computed from it does not, either. A sidecar is therefore in no manifest and never
synced: whoever misses one, or finds it damaged, reads the segment instead, and the owner makes it (again). It goes with
its segment; what a crash leaves is swept at the next start.

    owner's background thread, or who asks for a kind of sidecar
      settle() --> _wanted(version) --> for each: _is_there()? --> no: _bytes() --> check_room() --> replace_file()
               --> remove_stale(): what ``expected_files`` does not name
"""

from __future__ import annotations

import os
import re
import weakref
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol

import numpy as np

from .._native.snapshot import Snapshot
from .._native.store import Store, replace_file
from .._native.table_lock import TableLock
from ..schema import Schema
from .expected_files import Content, Sidecar
from .versions import Kept


class SidecarTable(Protocol):
    """What sidecars need of their table."""

    name: str
    table_id: int
    store: Store

    @property
    def options(self) -> Mapping[str, Any]:
        """What the catalog keeps with the table; another object when they change."""

    @property
    def folder(self) -> Path:
        """The folder that holds the table's files."""

    @property
    def schema(self) -> Schema:
        """The columns of now."""

    @property
    def kept(self) -> Kept:
        """Which versions are kept beside the current one."""

    @property
    def _held_here(self) -> bool:
        """Whether an edit or a hold of this very thread keeps the table's writers out."""

    def snapshot(self) -> Snapshot:
        """The current version."""

    def flush(self) -> int:
        """Move what is in memory to a segment."""


class _State(NamedTuple):
    """That for which every file was made: other options are another object."""

    version: int
    options: Mapping[str, Any]
    verified: bool

    def covers(self, other: _State) -> bool:
        same = self.version == other.version and self.options is other.options
        return same and (self.verified or not other.verified)


class Sidecars(ABC, Generic[Content]):
    """The sidecars of one kind of one table. It belongs to the table, which it refers to weakly: a cycle would keep a
    dropped table's files mapped.

    ``lock`` orders what makes and removes files, which the owner alone does; it comes before the table's own.
    """

    #: The names of all files of the kind, and of none of another.
    _NAMES: ClassVar[re.Pattern[str]]

    def __init__(self, table: SidecarTable):
        self.lock = TableLock(table.store, f"what lies beside table {table.name}", table.name)
        self._table: SidecarTable = weakref.proxy(table)
        self._settled: _State | None = None
        self._has_damage = False  # whether a file was found damaged since
        # Bytes of files for which there was no room, by segment's id and content. Guarded by ``lock``.
        self._oversize: dict[tuple[int, Hashable], int] = {}

    # ---- what a kind of sidecar says of itself ----

    @abstractmethod
    def _wanted(self, snapshot: Snapshot) -> Iterable[Sidecar[Content]]:
        """The files that a version should have."""

    @abstractmethod
    def _is_there(self, snapshot: Snapshot, sidecar: Sidecar[Content], verify: bool) -> bool:
        """Whether a file is there and of just that content; with ``verify`` also, whether it is whole."""

    @abstractmethod
    def _bytes(self, snapshot: Snapshot, sidecar: Sidecar[Content]) -> np.ndarray:
        """The bytes of a file, uint8[n]: always the same for a segment and a content."""

    def _expected(self, snapshot: Snapshot) -> set[str]:
        """The names of the files of this kind that may be in the table's folder."""
        return {sidecar.name for sidecar in self._wanted(snapshot)}

    def _estimate(self, snapshot: Snapshot, sidecar: Sidecar[Content]) -> int:
        """About how many bytes a file takes, if that is known before it is made."""
        return 0

    # ---- the owner ----

    def settle(self, *, verify: bool = True) -> None:
        """Make the files that are missing, and remove those that stay for nothing. Cheap if nothing has changed.

        Args:
            verify: whether damaged ones are made again, too; each is read for that, once.

        Raises:
            GridFullError: there is no room for a file.
        """
        with self.lock:
            verify, self._has_damage = verify or self._has_damage, False
            snapshot = self._table.snapshot()
            state = _State(snapshot.version, self._table.options, verify)
            if self._settled is not None and self._settled.covers(state):
                return
            for sidecar in self._wanted(snapshot):
                if not self._is_there(snapshot, sidecar, verify):
                    self._make(snapshot, sidecar)
            self.remove_stale()
            self._settled = state

    @property
    def is_settled(self) -> bool:
        """Whether nothing is known that ``settle`` would have to make again."""
        return self._settled is not None and not self._has_damage

    def _report_damage(self) -> None:
        """A file was found damaged, by whoever read it: the owner's thread makes it again."""
        self._has_damage = True
        self._settled = None

    def remove_stale(self) -> None:
        """Unlink the files of segments and contents that are gone. Whoever has mapped one keeps it."""
        with self.lock:  # meanwhile nobody makes files of newer segments
            snapshot = self._table.snapshot()
            names = {name for name in os.listdir(self._table.folder) if self._NAMES.fullmatch(name)}
            if names:  # most tables have none
                for name in names - self._expected(snapshot):
                    _unlink(self._table.folder / name)
            self._forget(snapshot)

    def _make(self, snapshot: Snapshot, sidecar: Sidecar[Content]) -> None:
        assert self._table.store.owner, "the owner alone makes files"
        key = snapshot.segments()[sidecar.segment][0], sidecar.content
        room = self._table.store.check_room
        # Tried again and again in the background: what is known not to fit is not made to see that once more.
        room(self._oversize.get(key) or self._estimate(snapshot, sidecar))
        data = self._bytes(snapshot, sidecar)
        self._oversize[key] = len(data)
        room(len(data))
        replace_file(str(self._table.folder / sidecar.name), data)
        del self._oversize[key]

    def _forget(self, snapshot: Snapshot) -> None:
        """Let go of what is known of segments that are not in this version."""
        ids = {segment_id for segment_id, _, _, _ in snapshot.segments()}
        self._oversize = {key: size for key, size in self._oversize.items() if key[0] in ids}


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:  # nothing depends on it, and what is left behind goes when the grid is opened next
        pass
