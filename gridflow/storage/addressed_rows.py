"""Rows of a version with their addresses there, for who reads them to change them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .._native.snapshot import Snapshot
from .mapped_rows import ADDRESS, ROW_BITS, MappedRows, mapped_rows


@dataclass(frozen=True)
class AddressedRows:
    """Rows of a version, and where they lie.

    Attributes:
        snapshot: the version.
        rows: some columns of them; if they are mapped, deleted rows are among them, for the engine to leave out.
        addresses: of the rows, as ``RowChanges`` takes them, int64 or uint32; of mapped ones first those of ``live``.
    """

    snapshot: Snapshot
    rows: pa.Table | MappedRows
    addresses: pa.ChunkedArray


def addresses_of(segment: int, rows: np.ndarray) -> np.ndarray:
    """The addresses of rows of a segment, int64."""
    return rows.astype(np.int64) + (segment << ROW_BITS)


def all_rows(snapshot: Snapshot, columns: Iterable[str]) -> AddressedRows:
    """All rows of a version, as views.

    Raises:
        GridCorruptError: a block of these columns is damaged.
    """
    rows = mapped_rows(snapshot, columns, addressed=True)
    return AddressedRows(snapshot, rows, rows.column(ADDRESS))
