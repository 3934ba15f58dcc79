"""One index file: the keys of a segment in the order of an index, and whose they are.

``kernels/include/gridflow/index_format.h`` draws the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._native import layout
from .._native.files import block_checksum
from .._native.snapshot import Snapshot
from ..errors import ColumnNotFoundError
from ..schema import Column
from .arrow import export_batch
from .index_definition import Index
from .index_keys import Interval, SortedKeys, key_dtype, key_width, keys_of
from .sidecar_bytes import aligned, damage, map_file, offset_of, struct_bytes

#: The checksum is of all from here on.
_SEALED_FROM = offset_of(layout.INDEX_HEADER, "file_bytes")
#: What a file takes besides the keys, about: for its head and gaps, for a row, for a row and column.
_HEAD_ROOM, _ROW_BYTES, _COLUMN_BYTES = 4096, 4, 9


def room_for(snapshot: Snapshot, segment: int, index: Index) -> int:
    """About how many bytes a file takes."""
    rows = snapshot.segments()[segment][1]
    batch = export_batch(snapshot, segment, _positions(snapshot, index), 0, rows)
    return _HEAD_ROOM + rows * (_ROW_BYTES + _COLUMN_BYTES * len(index.columns)) + batch.nbytes


def _positions(snapshot: Snapshot, index: Index) -> list[int]:
    order = {column.id: position for position, column in enumerate(snapshot.schema.columns)}
    for column in index.columns:
        if column.id not in order:
            raise ColumnNotFoundError(f"index {index.name}: column {column.name} was dropped", column=column.name)
    return [order[column.id] for column in index.columns]


def file_bytes(snapshot: Snapshot, segment: int, index: Index, table_id: int) -> np.ndarray:
    """The bytes of the file of one segment, uint8[n]."""
    segment_id, rows, _, _ = snapshot.segments()[segment]
    batch = export_batch(snapshot, segment, _positions(snapshot, index), 0, rows)
    keys = [keys_of(array, column.type) for array, column in zip(batch.columns, index.columns, strict=True)]
    names = [str(i) for i in range(len(keys))]
    if len(keys) == 1:
        order = pc.array_sort_indices(keys[0])  # nulls last, as everywhere below
    else:
        ascending = [(name, "ascending") for name in names]
        order = pc.sort_indices(pa.table(keys, names=names), sort_keys=ascending)
    buffers: list[Any] = [order.to_numpy().astype("<u4")]
    for array, column in zip(keys, index.columns, strict=True):
        buffers += _key_buffers(array.take(order), column)
    about = np.frombuffer(index.about.encode(), np.uint8)
    directory = np.zeros(len(buffers), layout.BUFFER)
    end = layout.INDEX_HEADER.itemsize + directory.nbytes + len(about)
    for i, buffer in enumerate(buffers):
        begin = aligned(end, layout.BUFFER_ALIGNMENT)
        directory["offset"][i], directory["bytes"][i] = begin, buffer.nbytes
        end = begin + buffer.nbytes
    header = struct_bytes(
        layout.INDEX_HEADER,
        magic=layout.INDEX_MAGIC,
        version=layout.INDEX_VERSION,
        file_bytes=end,
        segment_id=segment_id,
        rows=rows,
        table_id=table_id,
        index_id=index.index_id,
        buffer_count=len(buffers),
        about_bytes=len(about),
    )
    out = np.zeros(end, np.uint8)
    head = np.concatenate([header, directory.view(np.uint8), about])
    out[: len(head)] = head
    for begin, buffer in zip(directory["offset"].tolist(), buffers, strict=True):
        out[begin : begin + buffer.nbytes] = np.ascontiguousarray(buffer).view(np.uint8)
    out[: layout.INDEX_HEADER.itemsize].view(layout.INDEX_HEADER)["checksum"] = block_checksum(out[_SEALED_FROM:])
    return out


def _key_buffers(keys: pa.Array, column: Column) -> list[np.ndarray]:
    """The three buffers of sorted keys. Under a null lies 0: the same rows always give the same bytes."""
    none = np.empty(0, np.uint8)
    nulls = keys.is_null().cast(pa.uint8()).to_numpy() if keys.null_count else none
    dtype = key_dtype(column.type)
    if dtype is not None:
        return [nulls, none, (keys.fill_null(0) if keys.null_count else keys).to_numpy().astype(dtype, copy=False)]
    width = key_width(column.type)
    if keys.null_count:
        keys = keys.fill_null(b"\0" * width)
    if width:
        data = np.frombuffer(keys.buffers()[1], np.uint8)
        return [nulls, none, data[keys.offset * width : (keys.offset + len(keys)) * width]]
    offsets = np.frombuffer(keys.buffers()[1], "<u8")[keys.offset : keys.offset + len(keys) + 1]
    data = np.frombuffer(keys.buffers()[2] or b"", np.uint8)[int(offsets[0]) : int(offsets[-1])]
    return [nulls, offsets - offsets[0], data]


class IndexFile:
    """A mapped index file, every byte of which was checked when it was mapped. Immutable; any thread may use it.

    Attributes:
        about: which columns it is about.
    """

    def __init__(self, path: Path, index: Index, table_id: int, segment_id: int, rows: int):
        """Map a file.

        Raises:
            GridNotFoundError: there is none.
            GridCorruptError: it is damaged, or another segment's or index's.
            GridVersionError: a newer Gridflow made it.
        """
        self.about = index.about
        view, header = map_file(path, layout.INDEX_HEADER, layout.INDEX_MAGIC, layout.INDEX_VERSION, "index file")
        if block_checksum(view[_SEALED_FROM:]) != header["checksum"]:
            raise damage(path, _SEALED_FROM, "the checksum differs")
        directory = np.frombuffer(view, layout.BUFFER, header["buffer_count"], layout.INDEX_HEADER.itemsize)
        about = bytes(view[layout.INDEX_HEADER.itemsize + directory.nbytes :][: header["about_bytes"]])
        owner = [header[name] for name in ("segment_id", "rows", "table_id", "index_id")]
        if owner != [segment_id, rows, table_id, index.index_id] or about != index.about.encode():
            at = offset_of(layout.INDEX_HEADER, "segment_id")
            raise damage(path, at, f"it is not of index {index.name} and this segment")
        buffers = [np.frombuffer(view, np.uint8, size, offset) for offset, size in directory.tolist()]
        self._rows = buffers[0].view("<u4")
        step = layout.INDEX_BUFFERS_PER_COLUMN
        parts = zip(index.columns, buffers[1::step], buffers[2::step], buffers[3::step], strict=True)
        self._columns = [_sorted_keys(*part) for part in parts]

    def find(self, probe: Sequence[Interval]) -> np.ndarray:
        """The segment's rows that a probe asks for: an interval for each of the first columns. In the index's order.

        All but the last interval hold one key.
        """
        begin, end = 0, len(self._rows)
        for column, interval in zip(self._columns, probe, strict=False):
            begin, end = column.within(begin, end, interval)
        return self._rows[begin:end]


def _sorted_keys(column: Column, nulls: np.ndarray, offsets: np.ndarray, keys: np.ndarray) -> SortedKeys:
    dtype = key_dtype(column.type)
    flags = nulls if len(nulls) else None
    if dtype is not None:
        return SortedKeys(flags, keys.view(dtype))
    begins = offsets.view("<u8") if len(offsets) else None
    return SortedKeys(flags, None, begins, keys.data, key_width(column.type))
