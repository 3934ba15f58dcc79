"""The indexes of one table: their files made and removed by the owner, and rows found in them by anyone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .._native.snapshot import Snapshot
from ..errors import UsageError
from .expected_files import Sidecar, index_sidecars
from .index_definition import FILE_NAME, Index, indexes_of
from .index_file import IndexFile, file_bytes, room_for
from .index_keys import Interval
from .index_rows import IndexRows, live_rows
from .mapped_sidecars import MappedSidecars
from .sidecars import Sidecars, SidecarTable

#: An interval for each of an index's first columns, of which all but the last hold one key.
Probe = tuple[Interval, ...]
#: An index, what to look for in it, any of which will do, and whether that asks for just the rows that are wanted.
Choice = tuple[Index, Sequence[Probe], bool]
#: A lookup that finds more than this share of a table's rows is worth less than a scan ...
MOST_SHARE = 0.1
#: ... unless it finds no more than this many.
ALWAYS_WORTH = 1000


class TableIndexes(Sidecars[Index]):
    """The indexes of a table, in a process that has it open.

    Any thread of any process may ask for ``all`` and ``find``: ``_known`` is read and replaced by single operations,
    without a lock.
    """

    _NAMES = FILE_NAME

    def __init__(self, table: SidecarTable):
        super().__init__(table)
        self._known: tuple[Any, Any, list[Index]] = (None, None, [])  # options, schema, the indexes in them
        self._mapped: MappedSidecars[IndexFile] = MappedSidecars()

    def all(self) -> list[Index]:
        """The table's indexes, by name."""
        options, schema = self._table.options, self._table.schema
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
            UsageError: this very thread is changing the table; to wait for that would be for ever.
        """
        table = self._table
        if table._held_here:
            raise UsageError(f"table {table.name} is being changed by this very thread: its indexes stay as they are")
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
                for segment, (segment_id, _, _, _) in enumerate(snapshot.segments()):
                    self._make(snapshot, Sidecar(index.file(segment_id), segment, index))
            except BaseException:
                self.remove_stale()
                raise

    def _wanted(self, snapshot: Snapshot) -> Iterator[Sidecar[Index]]:
        return index_sidecars(self._table.options, snapshot)

    def _is_there(self, snapshot: Snapshot, sidecar: Sidecar[Index], verify: bool) -> bool:
        if verify:
            return self._open(snapshot, sidecar.segment, sidecar.content) is not None
        return (self._table.folder / sidecar.name).exists()

    def _bytes(self, snapshot: Snapshot, sidecar: Sidecar[Index]) -> np.ndarray:
        return file_bytes(snapshot, sidecar.segment, sidecar.content, self._table.table_id)

    def _estimate(self, snapshot: Snapshot, sidecar: Sidecar[Index]) -> int:
        return room_for(snapshot, sidecar.segment, sidecar.content)

    def _forget(self, snapshot: Snapshot) -> None:
        super()._forget(snapshot)
        self._mapped.forget_others(snapshot)

    # ---- anyone ----

    def find(self, choices: Sequence[Choice], snapshot: Snapshot) -> IndexRows | None:
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
            count, by_segment = 0, []
            for segment, (_, rows, deleted, _) in enumerate(segments):
                file = self._open(snapshot, segment, index)
                pieces = None if file is None else [piece for probe in probes if len(piece := file.find(probe))]
                count += rows - deleted if pieces is None else sum(map(len, pieces))
                by_segment.append(pieces)
            if best is None or count < best[0]:
                best = count, choice, by_segment
        if best is None or best[0] > max(ALWAYS_WORTH, MOST_SHARE * snapshot.rows):
            return None
        _, (index, _, exact), by_segment = best
        parts = [(segment, _live_rows(snapshot, segment, pieces)) for segment, pieces in enumerate(by_segment)]
        return IndexRows(exact and all(pieces is not None for pieces in by_segment), snapshot, parts, index)

    def _open(self, snapshot: Snapshot, segment: int, index: Index) -> IndexFile | None:
        """The file of a segment; None where it is not there (yet) or damaged: then the segment is scanned."""
        segment_id, rows, _, _ = snapshot.segments()[segment]
        open_ = partial(IndexFile, index=index, table_id=self._table.table_id, segment_id=segment_id, rows=rows)
        content = index.index_id, index.about
        file, is_damaged = self._mapped.get(snapshot, segment, content, index.file(segment_id), open_)
        if is_damaged:
            self._report_damage()
        return file


def _live_rows(snapshot: Snapshot, segment: int, pieces: list[np.ndarray] | None) -> np.ndarray | None:
    """The rows of a segment that are in any of the pieces and not deleted, rising; None for all that are not."""
    if pieces is None:
        return None
    if not pieces:
        return np.empty(0, np.uint32)
    rows = np.sort(pieces[0]) if len(pieces) == 1 else np.unique(np.concatenate(pieces))
    return live_rows(snapshot, segment, rows)
