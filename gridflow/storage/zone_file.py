"""One zone map: the least and the greatest rank of columns of a segment, zone by zone.

``kernels/include/gridflow/zones_format.h`` draws the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._native import layout
from .._native.files import block_checksum
from .._native.snapshot import Snapshot
from ..schema import Column, Schema
from .arrow import export_batch
from .index_keys import INDEXABLE
from .ranks import LEAST, MOST, ranks_of
from .sidecar_bytes import aligned, damage, map_file, offset_of, struct_bytes

#: Names of zone maps.
FILE_NAME = re.compile(r"[0-9a-f]{16}\.zones")
#: A segment of fewer rows has no zone map: to read it takes no longer than to look what could be left out.
LEAST_ROWS = 1 << 16
#: The checksum is of all from here on.
_SEALED_FROM = offset_of(layout.ZONES_HEADER, "file_bytes")
#: Of a zone and column: two ranks, a number of nulls, and two rows.
_ZONE_BYTES = 8 + 8 + 4 + 2 + 2
#: So many zones are made at once.
_AT_ONCE = 64


class Zones(NamedTuple):
    """What is known of a column.

    Attributes:
        least: the least rank in each zone, uint64[zones].
        most: the greatest.
        nulls: how many rows of each are null, uint32[zones].
        least_row: a row of each that has the least rank, counted from the zone's first, uint16[zones].
        most_row: one that has the greatest.
    """

    least: np.ndarray
    most: np.ndarray
    nulls: np.ndarray
    least_row: np.ndarray
    most_row: np.ndarray


def zones_name(segment_id: int) -> str:
    """The name of the zone map of a segment."""
    return f"{segment_id:016x}.zones"


def is_zoned(rows: int) -> bool:
    """Whether a segment of so many rows has a zone map."""
    return rows >= LEAST_ROWS


def zoned_columns(schema: Schema) -> tuple[Column, ...]:
    """The columns of a table that a zone map is of: those that have an order."""
    return tuple(column for column in schema.columns if column.type.kind in INDEXABLE)


def file_bytes(snapshot: Snapshot, segment: int, columns: Sequence[Column], table_id: int) -> np.ndarray:
    """The bytes of the zone map of one segment, uint8[n]."""
    segment_id, rows, _, _ = snapshot.segments()[segment]
    zones = -(-rows // layout.ZONE_ROWS)
    directory = np.zeros(len(columns), layout.ZONES_COLUMN)
    end = layout.ZONES_HEADER.itemsize + directory.nbytes
    for i, column in enumerate(columns):
        begin = aligned(end, layout.BUFFER_ALIGNMENT)
        directory["column_id"][i], directory["offset"][i] = column.id, begin
        end = begin + _ZONE_BYTES * zones
    header = struct_bytes(
        layout.ZONES_HEADER,
        magic=layout.ZONES_MAGIC,
        version=layout.ZONES_VERSION,
        file_bytes=end,
        segment_id=segment_id,
        rows=rows,
        table_id=table_id,
        zone_rows=layout.ZONE_ROWS,
        column_count=len(columns),
    )
    out = np.zeros(end, np.uint8)
    head = np.concatenate([header, directory.view(np.uint8)])
    out[: len(head)] = head
    for column, offset in zip(columns, directory["offset"].tolist(), strict=True):
        _fill(_view(out, offset, zones), snapshot, segment, column, layout.ZONE_ROWS)
    out[: layout.ZONES_HEADER.itemsize].view(layout.ZONES_HEADER)["checksum"] = block_checksum(out[_SEALED_FROM:])
    return out


def _view(data: np.ndarray, offset: int, zones: int) -> Zones:
    views = []
    for dtype in ("<u8", "<u8", "<u4", "<u2", "<u2"):
        end = offset + np.dtype(dtype).itemsize * zones
        views.append(data[offset:end].view(dtype))
        offset = end
    return Zones(*views)


def _fill(out: Zones, snapshot: Snapshot, segment: int, column: Column, zone_rows: int) -> None:
    position = [other.id for other in snapshot.schema.columns].index(column.id)
    rows, step = snapshot.segments()[segment][1], zone_rows * _AT_ONCE
    for begin in range(0, rows, step):
        batch = export_batch(snapshot, segment, [position], begin, min(begin + step, rows))
        ranks, valid = ranks_of(batch.column(0), column.type)
        first, missing = begin // zone_rows, -len(ranks) % zone_rows
        these = slice(first, first + (len(ranks) + missing) // zone_rows)
        for edges, edge_rows, none, choose in (
            (out.least, out.least_row, MOST, np.argmin),
            (out.most, out.most_row, LEAST, np.argmax),
        ):
            present = ranks if valid is None else np.where(valid, ranks, none)
            by_zone = np.pad(present, (0, missing), constant_values=none).reshape(-1, zone_rows)
            chosen = choose(by_zone, axis=1)
            if valid is not None:  # a null has the rank that the edge has only where all values have it
                is_value = np.pad(valid, (0, missing)).reshape(-1, zone_rows)
                is_null = ~is_value[np.arange(len(by_zone)), chosen]
                chosen = np.where(is_null, is_value.argmax(axis=1), chosen)
            edge_rows[these] = chosen
            edges[these] = by_zone[np.arange(len(by_zone)), chosen]
        if valid is not None:
            out.nulls[these] = np.pad(~valid, (0, missing)).reshape(-1, zone_rows).sum(axis=1)


class ZoneFile:
    """A mapped zone map, every byte of which was checked when it was mapped. Immutable; any thread may use it.

    Attributes:
        zone_rows: how many rows a zone has; the last may have fewer.
        zones: how many zones there are.
    """

    def __init__(self, path: Path, table_id: int, segment_id: int, rows: int):
        """Map a file.

        Raises:
            GridNotFoundError: there is none.
            GridCorruptError: it is damaged, or another segment's.
            GridVersionError: a newer Gridflow made it.
        """
        view, header = map_file(path, layout.ZONES_HEADER, layout.ZONES_MAGIC, layout.ZONES_VERSION, "zone map")
        if block_checksum(view[_SEALED_FROM:]) != header["checksum"]:
            raise damage(path, _SEALED_FROM, "the checksum differs")
        if [header[name] for name in ("segment_id", "rows", "table_id")] != [segment_id, rows, table_id]:
            raise damage(path, offset_of(layout.ZONES_HEADER, "segment_id"), "it is another segment's")
        self.zone_rows: int = header["zone_rows"]
        self.zones = -(-rows // self.zone_rows)
        directory = np.frombuffer(view, layout.ZONES_COLUMN, header["column_count"], layout.ZONES_HEADER.itemsize)
        data = np.frombuffer(view, np.uint8)
        self._columns = {
            column_id: _view(data, offset, self.zones)
            for column_id, offset in zip(directory["column_id"].tolist(), directory["offset"].tolist(), strict=True)
        }

    def is_wrong(self, snapshot: Snapshot, segment: int, column: Column) -> bool:
        """Whether a column has other values than the file says."""
        known = self.column(column.id)
        if known is None:
            return False
        data = np.zeros(_ZONE_BYTES * self.zones, np.uint8)
        actual = _view(data, 0, self.zones)
        _fill(actual, snapshot, segment, column, self.zone_rows)
        return not all(map(np.array_equal, actual, known))

    def column(self, column_id: int) -> Zones | None:
        """What it says of a column; None if it says nothing: the column is younger than the file."""
        return self._columns.get(column_id)
