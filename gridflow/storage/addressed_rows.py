"""Rows of a version with their addresses there, for who reads them to change them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .._native.snapshot import Snapshot
from .arrow import export_batch, user_schema
from .scan import positions_of

#: Bits of an address below the index of the segment: those of the row.
ROW_BITS = 32


@dataclass(frozen=True)
class AddressedRows:
    """Rows of a version, and where they lie.

    Attributes:
        snapshot: the version.
        rows: some columns of them, as views of the mapping; deleted rows may be among them.
        addresses: of the rows, as ``RowChanges`` takes them, int64 or uint32; null for a deleted row.
    """

    snapshot: Snapshot
    rows: pa.Table
    addresses: pa.ChunkedArray


def addresses_of(segment: int, rows: np.ndarray) -> np.ndarray:
    """The addresses of rows of a segment, int64."""
    return rows.astype(np.int64) + (segment << ROW_BITS)


def all_rows(snapshot: Snapshot, columns: Iterable[str]) -> AddressedRows:
    """All rows of a version, the deleted ones among them.

    Raises:
        GridCorruptError: a block of these columns is damaged.
    """
    positions = positions_of(snapshot.schema, columns)
    segments = snapshot.segments()
    # In four bytes if those do, which is half the work of eight.
    narrow = len(segments) <= 1
    batches, chunks = [], []
    for segment, (_, rows, deleted, _) in enumerate(segments):
        batches.append(export_batch(snapshot, segment, positions, 0, rows))
        first = segment << ROW_BITS
        addresses = np.arange(first, first + rows, dtype=np.uint32 if narrow else np.int64)
        live = snapshot.live_bits(segment)
        buffers = [None if live is None else pa.py_buffer(live), pa.py_buffer(addresses)]
        chunks.append(pa.Array.from_buffers(_type(narrow), rows, buffers, null_count=deleted))
    schema = user_schema([snapshot.schema.columns[i] for i in positions])
    return AddressedRows(snapshot, pa.Table.from_batches(batches, schema), pa.chunked_array(chunks, _type(narrow)))


def _type(narrow: bool) -> pa.DataType:
    return pa.uint32() if narrow else pa.int64()
