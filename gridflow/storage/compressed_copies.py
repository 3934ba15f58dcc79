"""The compressed copies of one table, in the process that owns it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._native.snapshot import Snapshot
from ..schema import Column
from .compressed_file import FILE_NAME, column_ids, copy_bytes, is_sound
from .expected_files import Sidecar, copy_sidecars, table_files
from .sidecars import Sidecars


class CompressedCopies(Sidecars[tuple[Column, ...]]):
    """The compressed copies of a table: one for each segment, if any column is to be compressed."""

    _NAMES = FILE_NAME

    def _wanted(self, snapshot: Snapshot) -> Iterator[Sidecar[tuple[Column, ...]]]:
        return copy_sidecars(self._table.options, snapshot)

    def _expected(self, snapshot: Snapshot) -> set[str]:
        table = self._table  # a kept version's copies stay with its segments
        return table_files(table.folder, table.options, table.kept, snapshot)

    def _is_there(self, snapshot: Snapshot, sidecar: Sidecar[tuple[Column, ...]], verify: bool) -> bool:
        path = self._table.folder / sidecar.name
        if column_ids(path) != [column.id for column in sidecar.content]:
            return False
        segment_id, rows, _, _ = snapshot.segments()[sidecar.segment]
        return not verify or is_sound(path, segment_id, rows, self._table.table_id)

    def _bytes(self, snapshot: Snapshot, sidecar: Sidecar[tuple[Column, ...]]) -> np.ndarray:
        return copy_bytes(snapshot, sidecar.segment, sidecar.content, self._table.table_id)
