"""Rows that are known by their numbers, as those that an index has found: their columns, out of the mapped segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .._native.snapshot import Snapshot
from .addressed_rows import AddressedRows, addresses_of
from .arrow import deleted_column, export_batch, live_batches, user_schema
from .index_definition import Index
from .scan import positions_of


@dataclass(frozen=True)
class NumberedRows:
    """Rows of one version of a table.

    Attributes:
        exact: whether they are just the rows asked for. Otherwise there may be others among them.
    """

    exact: bool
    _snapshot: Snapshot
    _parts: list[tuple[int, np.ndarray | None]]  # (segment, rows that rise and are live; None for all)

    def take(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows, in the order in which a scan has them."""
        positions = positions_of(self._snapshot.schema, columns)
        batches: list[pa.RecordBatch] = []
        for segment, rows in self._parts:
            size = self._snapshot.segments()[segment][1]
            if rows is None:
                gone = deleted_column(self._snapshot, segment)
                batches += live_batches(self._snapshot, segment, gone, positions, 0, size)
            elif len(rows):
                batches.append(export_batch(self._snapshot, segment, positions, 0, size).take(pa.array(rows)))
        return pa.Table.from_batches(batches, schema=self._schema(positions))

    def spread(self, columns: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
        """These columns of all rows of the segments that have any, as views, and where among those these are."""
        positions = positions_of(self._snapshot.schema, columns)
        batches: list[pa.RecordBatch] = []
        numbers = [np.empty(0, np.int64)]
        start = 0
        for segment, rows in self._parts:
            size = self._snapshot.segments()[segment][1]
            if rows is None:
                rows = self._all_of(segment)
            if len(rows):
                batches.append(export_batch(self._snapshot, segment, positions, 0, size))
                numbers.append(rows.astype(np.int64) + start)
                start += size
        return pa.Table.from_batches(batches, schema=self._schema(positions)), np.concatenate(numbers)

    def _addressed(self, columns: Sequence[str]) -> AddressedRows:
        """These columns of the rows, and the rows' addresses."""
        parts = [np.empty(0, np.int64)]
        for segment, rows in self._parts:
            parts.append(addresses_of(segment, self._all_of(segment) if rows is None else rows))
        return AddressedRows(self._snapshot, self.take(columns), pa.chunked_array([pa.array(np.concatenate(parts))]))

    def _all_of(self, segment: int) -> np.ndarray:
        live = self._snapshot.live(segment)
        return np.arange(self._snapshot.segments()[segment][1]) if live is None else np.flatnonzero(live)

    def _schema(self, positions: list[int]) -> pa.Schema:
        return user_schema([self._snapshot.schema.columns[i] for i in positions])


@dataclass(frozen=True)
class IndexRows(NumberedRows):
    """Rows of one version of a table that an index has found.

    Attributes:
        index: which.
    """

    index: Index


def live_rows(snapshot: Snapshot, segment: int, rows: np.ndarray) -> np.ndarray:
    """Of some rows of a segment, uint32[n], those that are not deleted."""
    live = snapshot.still_live(segment, rows)
    return rows if live is None else rows[live]
