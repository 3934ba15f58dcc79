"""The indexes of one table: their files made and removed by the owner, and rows found in them by anyone."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .._native.snapshot import Snapshot
from .._native.store import replace_file
from ..errors import GridEnvironmentError, GridNotFound, UsageError
from ..schema import Schema
from .index import FILE_NAME, Index, IndexFile, file_bytes, files_of, indexes_of, room_for
from .index_keys import Interval
from .index_rows import Found

#: An interval for each of an index's first columns, of which all but the last hold one key.
Probe = tuple[Interval, ...]
#: An index, what to look for in it, any of which will do, and whether that asks for just the rows that are wanted.
Choice = tuple[Index, Sequence[Probe], bool]
#: A lookup that finds more than this share of a table's rows is worth less than a scan ...
MOST_SHARE = 0.1
#: ... unless it finds no more than this many.
ALWAYS_WORTH = 1000


class TableIndexes:
    """The indexes of a table, in a process that has it open.

    ``lock`` orders what makes and removes files; it comes before the table's own. Anyone may ``find`` meanwhile.
    """

    def __init__(self, table: Any):
        self.lock = threading.RLock()
        self._table = weakref.proxy(table)  # it owns us; a cycle would keep a dropped table's files mapped
        self._known: tuple[Any, Any, list[Index]] = (None, None, [])  # options, schema, the indexes in them
        self._files: dict[tuple[str, int], IndexFile] = {}  # by segment's path and index
        self._bad: dict[tuple[str, int], tuple[int, int]] = {}  # inode and time of damaged files
        self._settled: Any = None  # the version and options for which every file was made

    def all(self) -> list[Index]:
        """The table's indexes, by name."""
        return self._of(self._table.schema)

    def _of(self, schema: Schema) -> list[Index]:
        options = self._table.options
        known_options, known_schema, known = self._known
        if known_options is not options or known_schema is not schema:
            known = indexes_of(options, schema)
            self._known = options, schema, known
        return known

    # ---- the owner ----

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep others from making and removing indexes, or dropping the table, meanwhile.

        Raises:
            UsageError: this very thread is loading the table; to wait for that would be for ever.
        """
        table = self._table
        if table.lock._is_owned():
            raise UsageError(f"table {table.name} is being loaded by this very thread: its indexes stay as they are")
        with self.lock:
            yield

    def make(self, index: Index) -> None:
        """Make the files of one index for all segments of now; a queryable index needs its name in the options, too.

        Raises:
            GridFullError: there is no room for all; then none is left.
        """
        with self.lock:
            try:
                self._table.flush()
                snapshot = self._table.snapshot()
                for segment in range(len(snapshot.segments())):
                    self._write(snapshot, segment, index)
            except BaseException:
                self.remove_stale()
                raise

    def settle(self, *, verify: bool = True) -> None:
        """Make the files that are missing, and remove those of segments and indexes that are gone.

        Args:
            verify: whether damaged ones are made again, too; each is read for that, once.

        Raises:
            GridFullError: there is no room for a file.
        """
        with self.lock:
            snapshot = self._table.snapshot()
            state = (snapshot.version, self._table.options)
            if self._settled is not None and self._settled[0] == state[0] and self._settled[1] is state[1]:
                return
            indexes = self._of(snapshot.schema)
            if not indexes and self._settled is None and not self._listed():
                self._settled = state
                return
            for segment, (segment_id, _, _, _) in enumerate(snapshot.segments()):
                for index in indexes:
                    path = self._table.folder / index.file(segment_id)
                    made = self._open(snapshot, segment, index) is not None if verify else path.exists()
                    if not made:
                        self._write(snapshot, segment, index)
            self.remove_stale()
            self._settled = state

    def remove_stale(self) -> None:
        """Unlink the files of segments and indexes that are gone. Whoever has mapped one keeps it."""
        with self.lock:  # while it is held nobody makes files of newer segments
            snapshot = self._table.snapshot()
            for name in self._listed() - files_of(self._of(snapshot.schema), snapshot):
                unlink(self._table.folder / name)
            self._forget(snapshot)

    def _listed(self) -> set[str]:
        return {name for name in os.listdir(self._table.folder) if FILE_NAME.fullmatch(name)}

    def _write(self, snapshot: Snapshot, segment: int, index: Index) -> None:
        self._table.store.check_room(room_for(snapshot, segment, index))
        data = file_bytes(snapshot, segment, index, self._table.table_id)
        replace_file(str(self._table.folder / index.file(snapshot.segments()[segment][0])), data)

    # ---- anyone ----

    def find(self, choices: Sequence[Choice], snapshot: Snapshot) -> Found | None:
        """The rows of a version of the table that the best of some lookups gives; None where a scan would be as good.

        Args:
            choices: in indexes of ``all()``. A row that several probes of one find is there once.
            snapshot: the version; it may have segments that are no part of the table (yet).
        """
        segments = snapshot.segments()
        best: tuple[int, Choice, list[list[np.ndarray] | None]] | None = None
        for choice in choices:
            index, probes, _ = choice
            if not index.fits(snapshot.schema):  # a column was renamed just now
                continue
            count, found = 0, []
            for segment, (_, rows, deleted, _) in enumerate(segments):
                file = self._open(snapshot, segment, index)
                pieces = None if file is None else [piece for probe in probes if len(piece := file.find(probe))]
                count += rows - deleted if pieces is None else sum(map(len, pieces))
                found.append(pieces)
            if best is None or count < best[0]:
                best = count, choice, found
        if best is None or best[0] > max(ALWAYS_WORTH, MOST_SHARE * snapshot.rows):
            return None
        _, (index, _, exact), found = best
        parts = [(segment, _live_rows(snapshot, segment, pieces)) for segment, pieces in enumerate(found)]
        return Found(index, exact and all(pieces is not None for pieces in found), snapshot, parts)

    def _open(self, snapshot: Snapshot, segment: int, index: Index) -> IndexFile | None:
        """The file of a segment; None where it is not there (yet) or damaged: then the segment is scanned.

        It lies beside the segment: what is not the table's own, such as a reader's version of what nobody has flushed
        yet, has its segment elsewhere, and under a number that the owner may give to another.
        """
        beside = snapshot.path(segment)
        key = beside, index.index_id
        held = self._files.get(key)
        if held is not None and held.about == index.about:
            return held
        segment_id, rows, _, _ = snapshot.segments()[segment]
        path = Path(beside).parent / index.file(segment_id)
        if key in self._bad and _identity(path) == self._bad[key]:
            return None
        try:
            file = IndexFile(path, index, self._table.table_id, segment_id, rows)
        except GridNotFound:
            return None
        except GridEnvironmentError:
            self._bad[key] = _identity(path)
            self._settled = None  # the owner's thread makes it again
            return None
        if len(self._files) > 64:
            self._forget(snapshot)
        self._files[key] = file
        return file

    def _forget(self, snapshot: Snapshot) -> None:
        """Let go of files of segments that are not in this version."""
        kept = {snapshot.path(segment) for segment in range(len(snapshot.segments()))}
        for held in (self._files, self._bad):
            for key in [key for key in list(held) if key[0] not in kept]:
                held.pop(key, None)


def _live_rows(snapshot: Snapshot, segment: int, pieces: list[np.ndarray] | None) -> np.ndarray | None:
    """The rows of a segment that are in any of the pieces and not deleted, rising; None for all that are not."""
    if pieces is None:
        return None
    if not pieces:
        return np.empty(0, np.uint32)
    rows = np.sort(pieces[0]) if len(pieces) == 1 else np.unique(np.concatenate(pieces))
    live = snapshot.still_live(segment, rows)
    return rows if live is None else rows[live]


def unlink(path: Path) -> None:
    """Remove a file that nothing depends on, if that can be done."""
    try:
        os.unlink(path)
    except OSError:  # what is left behind goes when the grid is opened next
        pass


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns
