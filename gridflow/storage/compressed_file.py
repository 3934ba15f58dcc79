"""Compressed copies of columns, beside their segments: for GPUs, which copy them over the bus and decode them there.

The layout is that of ``kernels/include/gridflow/compressed_format.h``. Nobody needs a copy: where there is none, or a
damaged one, the segment is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .._native import layout
from .._native.files import block_checksum
from .._native.snapshot import Snapshot
from ..errors import GridCorruptError, GridNotFoundError, GridVersionError, SchemaError
from ..schema import NUMBERS, Column, Schema
from .arrow import export_batch
from .sidecar_bytes import aligned, damage, map_file, offset_of, struct_bytes

OPTION = "compressed"  # of a table: the ids of its columns that are

_BOUND = np.dtype("<u8")
#: Names of compressed copies.
FILE_NAME = re.compile(r"[0-9a-f]{16}\.lz4")
_BLOCKS_AT_ONCE = 256  # of a thread


def compressed_columns(options: Mapping[str, Any], schema: Schema) -> list[Column]:
    """The columns of a table that are to be compressed, in the schema's order."""
    ids = set(options.get(OPTION) or ())
    return [column for column in schema.columns if column.id in ids]


def check_compressible(schema: Schema, names: Iterable[str]) -> list[Column]:
    """The columns of these names.

    Raises:
        ColumnNotFoundError: there is none of one of the names.
        SchemaError: one does not hold numbers, each with the same bytes.
    """
    columns = [schema[name] for name in names]
    for column in columns:
        if column.type.kind not in NUMBERS:
            raise SchemaError(f"column {column}: numbers, tensors, dates and times can be compressed for a GPU")
    return columns


def copy_bytes(snapshot: Snapshot, segment: int, columns: Sequence[Column], table_id: int) -> np.ndarray:
    """The bytes of the copy of some columns of a segment, uint8[n]."""
    segment_id, rows, _, _ = snapshot.segments()[segment]
    directory = np.zeros(len(columns), layout.COMPRESSED_COLUMN)
    end = layout.COMPRESSED_HEADER.itemsize + directory.nbytes
    bodies = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for i, column in enumerate(columns):
            values = _values(snapshot, segment, column)
            bounds, data = _compressed(values, threads)
            body = np.concatenate([bounds.view(np.uint8), data])
            begin = aligned(end, layout.COMPRESSED_ALIGNMENT)
            directory[i] = column.id, block_checksum(body), len(values), begin, len(data)
            bodies.append((begin, body))
            end = begin + len(body)
    header = struct_bytes(
        layout.COMPRESSED_HEADER,
        magic=layout.COMPRESSED_MAGIC,
        version=layout.COMPRESSED_VERSION,
        file_bytes=end,
        segment_id=segment_id,
        rows=rows,
        table_id=table_id,
        column_count=len(columns),
        block_bytes=layout.COMPRESSED_BLOCK_BYTES,
    )
    head = np.concatenate([header, directory.view(np.uint8)])
    head[: len(header)].view(layout.COMPRESSED_HEADER)["header_crc"] = block_checksum(head)
    out = np.zeros(end, np.uint8)
    out[: len(head)] = head
    for begin, body in bodies:
        out[begin : begin + len(body)] = body
    return out


def check_copy(path: Path, segment_id: int, rows: int, table_id: int) -> None:
    """Read a copy from end to end.

    Raises:
        GridNotFoundError: there is none.
        GridCorruptError: it is damaged, or another segment's.
        GridVersionError: a newer Gridflow made it.
    """
    view, header, directory = _map_head(path)
    head = np.frombuffer(view, np.uint8, layout.COMPRESSED_HEADER.itemsize + directory.nbytes).copy()
    head[: layout.COMPRESSED_HEADER.itemsize].view(layout.COMPRESSED_HEADER)["header_crc"] = 0
    if block_checksum(head) != header["header_crc"]:
        raise damage(path, offset_of(layout.COMPRESSED_HEADER, "header_crc"), "the checksum differs")
    if [header[name] for name in ("segment_id", "rows", "table_id")] != [segment_id, rows, table_id]:
        raise damage(path, offset_of(layout.COMPRESSED_HEADER, "segment_id"), "it is another segment's")
    for _, checksum, raw_bytes, offset, data_bytes in directory.tolist():
        blocks = -(-raw_bytes // header["block_bytes"])
        end = offset + _BOUND.itemsize * (blocks + 1) + data_bytes
        if end > len(view) or block_checksum(np.frombuffer(view[offset:end], np.uint8)) != checksum:
            raise damage(path, offset, "the checksum differs")


def _map_head(path: Path) -> tuple[memoryview, dict[str, int], np.ndarray]:
    """A mapped copy, its header, and where its columns are; not checked against the checksum.

    Raises:
        GridNotFoundError, GridCorruptError, GridVersionError: as for ``check_copy``.
    """
    magic, version = layout.COMPRESSED_MAGIC, layout.COMPRESSED_VERSION
    view, header = map_file(path, layout.COMPRESSED_HEADER, magic, version, "compressed copy")
    begin, count = layout.COMPRESSED_HEADER.itemsize, header["column_count"]
    if begin + count * layout.COMPRESSED_COLUMN.itemsize > len(view):
        raise damage(path, offset_of(layout.COMPRESSED_HEADER, "column_count"), f"it has no room for {count} columns")
    return view, header, np.frombuffer(view, layout.COMPRESSED_COLUMN, count, begin)


def is_sound(path: Path, segment_id: int, rows: int, table_id: int) -> bool:
    """Whether ``check_copy`` finds nothing wrong."""
    try:
        check_copy(path, segment_id, rows, table_id)
    except (GridCorruptError, GridVersionError, GridNotFoundError):
        return False
    return True


def copy_name(segment_id: int) -> str:
    """The name of the copy of a segment."""
    return f"{segment_id:016x}.lz4"


def _position(snapshot: Snapshot, column: Column) -> int:
    return [other.id for other in snapshot.schema.columns].index(column.id)


def _values(snapshot: Snapshot, segment: int, column: Column) -> np.ndarray:
    """The values of a column in a segment as they are mapped, uint8[n]."""
    rows = snapshot.segments()[segment][1]
    batch = export_batch(snapshot, segment, [_position(snapshot, column)], 0, rows)
    buffer = batch.column(0).buffers()[-1]
    return np.frombuffer(buffer, np.uint8) if buffer is not None else np.empty(0, np.uint8)


def _compressed(values: np.ndarray, threads: ThreadPoolExecutor) -> tuple[np.ndarray, np.ndarray]:
    """Where each block begins and the last one ends, and the blocks."""

    from lz4.block import compress  # by those alone who compress: a reader does without the package

    size = layout.COMPRESSED_BLOCK_BYTES
    step = _BLOCKS_AT_ONCE * size

    def block(values: np.ndarray) -> bytes:
        data = compress(values, store_size=False)
        return data if len(data) < len(values) else values.tobytes()

    def some(begin: int) -> list[bytes]:
        end = min(begin + step, len(values))
        return [block(values[at : min(at + size, end)]) for at in range(begin, end, size)]

    blocks = [data for part in threads.map(some, range(0, len(values), step)) for data in part]
    bounds = np.zeros(len(blocks) + 1, _BOUND)
    np.cumsum([len(data) for data in blocks], out=bounds[1:])
    return bounds, np.frombuffer(b"".join(blocks), np.uint8)


def column_ids(path: Path) -> list[int] | None:
    """Of the columns that a copy has; None where it cannot be read."""
    try:
        return _map_head(path)[2]["column_id"].tolist()
    except (GridNotFoundError, GridCorruptError, GridVersionError):
        return None
