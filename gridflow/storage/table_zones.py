"""The zone maps of one table: made and removed by the owner, and looked at by anyone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from .._native.snapshot import Snapshot
from ..schema import Column
from .expected_files import Sidecar, zone_sidecars
from .mapped_sidecars import MappedSidecars
from .sidecars import Sidecars, SidecarTable
from .zone_file import FILE_NAME, ZoneFile, file_bytes, is_zoned, zones_name


class TableZones(Sidecars[tuple[Column, ...]]):
    """The zone maps of a table, in a process that has it open: one for each segment that is not small.

    One that lacks a column stays as it is: the column came later, and has few values in that segment.
    """

    _NAMES = FILE_NAME

    def __init__(self, table: SidecarTable):
        super().__init__(table)
        self._mapped: MappedSidecars[ZoneFile] = MappedSidecars()

    # ---- the owner ----

    def _wanted(self, snapshot: Snapshot) -> Iterator[Sidecar[tuple[Column, ...]]]:
        return zone_sidecars(snapshot)

    def _is_there(self, snapshot: Snapshot, sidecar: Sidecar[tuple[Column, ...]], verify: bool) -> bool:
        if verify:
            return self.of(snapshot, sidecar.segment) is not None
        return (self._table.folder / sidecar.name).exists()

    def _bytes(self, snapshot: Snapshot, sidecar: Sidecar[tuple[Column, ...]]) -> np.ndarray:
        return file_bytes(snapshot, sidecar.segment, sidecar.content, self._table.table_id)

    def _forget(self, snapshot: Snapshot) -> None:
        super()._forget(snapshot)
        self._mapped.forget_others(snapshot)

    # ---- anyone ----

    def of(self, snapshot: Snapshot, segment: int) -> ZoneFile | None:
        """The zone map of a segment; None where it is not there (yet) or damaged: then all of the segment is read."""
        segment_id, rows, _, _ = snapshot.segments()[segment]
        open_ = partial(ZoneFile, table_id=self._table.table_id, segment_id=segment_id, rows=rows)
        if not is_zoned(rows):
            return None
        file, is_damaged = self._mapped.get(snapshot, segment, None, zones_name(segment_id), open_)
        if is_damaged:
            self._report_damage()
        return file
