"""An index file: the keys of one segment in the order of an index, and whose they are.

DO NOT CHANGE: this is part of the persistent format. A new layout takes a new version number.
All numbers are little endian. All offsets are from the start of the file.

    0                +---------------------------------------------------+
                     | header                                    64 bytes|
                     |   magic "GFIDX\\r\\x1a\\n", uint32 version,          |
                     |   uint32 checksum of [16, file_bytes),            |
                     |   uint64 file_bytes, segment_id, rows,            |
                     |   uint32 table_id, index_id, buffers, about_bytes,|
                     |   8 zeros                                         |
    64               | uint64[buffers][2]: offset and bytes of each      |
                     | about: UTF-8, "id type, id type": the columns     |
                     +---------------------------------------------------+
    64-byte aligned  | buffer 0: uint32[rows], the segment's rows in     |
                     |           the order of the index                  |
    64-byte aligned  | for each column three:                            |
                     |   uint8[rows], 1 for a null; empty without nulls  |
                     |   uint64[rows + 1], where keys of various lengths |
                     |           begin; empty for others               |
                     |   the keys, as ``index_keys`` describes them      |
    file_bytes       +---------------------------------------------------+

Rows are ordered by the first column's key, then the second's, ...; nulls last. All of it follows from the segment and
the columns, so a file can always be made again: it is in no manifest, it is not synced to the disk, and where it is
missing or damaged the segment is scanned.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._native.files import MappedFile, block_checksum
from .._native.snapshot import Snapshot
from ..errors import ColumnNotFound, GridCorruptError, GridVersionError
from ..schema import Column, Schema
from .arrow import export_batch
from .index_keys import Interval, SortedKeys, key_dtype, key_width, keys_of

_MAGIC = b"GFIDX\r\x1a\n"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQQQIIII8x")
_CHECKED_FROM = 16
_ALIGNMENT = 64
#: Names of index files.
FILE_NAME = re.compile(r"[0-9a-f]{16}-\d+\.idx")


@dataclass(frozen=True)
class Index:
    """An index of a table, as its options have it.

    Attributes:
        name: unique in the grid.
        index_id: part of its files' names.
        columns: of the table.
        descending: of each column, whether CREATE INDEX says DESC. Files rise all the same: they are read both ways.
    """

    name: str
    index_id: int
    columns: tuple[Column, ...]
    descending: tuple[bool, ...]

    @cached_property
    def about(self) -> str:
        """What its files are about, as they say it themselves."""
        return ", ".join(f"{column.id} {column.type.text()}" for column in self.columns)

    def file(self, segment_id: int) -> str:
        """The name of its file for a segment."""
        return f"{segment_id:016x}-{self.index_id}.idx"

    def option(self) -> dict[str, Any]:
        """What ``options["sql"]["indexes"]`` holds under its name; a column's id stays when it is renamed."""
        pairs = zip(self.columns, self.descending, strict=True)
        return {
            "id": self.index_id,
            "columns": [[c.name, "DESC" if down else "ASC"] for c, down in pairs],
            "column_ids": [c.id for c in self.columns],
        }

    def fits(self, schema: Schema) -> bool:
        """Whether its columns have the same names in that schema."""
        return all(c.name in schema and schema[c.name].id == c.id for c in self.columns)


def indexes_of(options: Mapping[str, Any], schema: Schema) -> list[Index]:
    """The indexes that a table's options name, by name; those of columns that are no more are left out."""
    found = ((options.get("sql") or {}).get("indexes") or {}).items()
    by_id = {column.id: column for column in schema.columns}
    result = []
    for name, entry in sorted(found):
        columns = [by_id.get(column_id) for column_id in entry["column_ids"]]
        descending = tuple(direction == "DESC" for _, direction in entry["columns"])
        if None not in columns:
            result.append(Index(name, entry["id"], tuple(columns), descending))  # type: ignore[arg-type]
    return result


def files_of(indexes: Iterable[Index], snapshot: Snapshot) -> set[str]:
    """The names that index files of this version may have."""
    segments = snapshot.segments()
    return {index.file(segment_id) for index in indexes for segment_id, _, _, _ in segments}


def room_for(snapshot: Snapshot, segment: int, index: Index) -> int:
    """About how many bytes a file takes."""
    rows = snapshot.segments()[segment][1]
    batch = export_batch(snapshot, segment, _positions(snapshot, index), 0, rows)
    return rows * (4 + 9 * len(index.columns)) + batch.nbytes + 4096


def _positions(snapshot: Snapshot, index: Index) -> list[int]:
    order = {column.id: position for position, column in enumerate(snapshot.schema.columns)}
    for column in index.columns:
        if column.id not in order:
            raise ColumnNotFound(f"index {index.name}: column {column.name} was dropped")
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
    about = index.about.encode()
    at = _HEADER.size + 16 * len(buffers) + len(about)
    directory = np.empty((len(buffers), 2), "<u8")
    for i, buffer in enumerate(buffers):
        at = -(-at // _ALIGNMENT) * _ALIGNMENT
        directory[i] = at, buffer.nbytes
        at += buffer.nbytes
    out = np.zeros(at, np.uint8)
    for (offset, size), buffer in zip(directory.tolist(), buffers, strict=True):
        out[offset : offset + size] = np.ascontiguousarray(buffer).view(np.uint8)
    head = directory.tobytes() + about
    out[_HEADER.size : _HEADER.size + len(head)] = np.frombuffer(head, np.uint8)
    fields = (at, segment_id, rows, table_id, index.index_id, len(buffers), len(about))
    out[: _HEADER.size] = np.frombuffer(_HEADER.pack(_MAGIC, _VERSION, 0, *fields), np.uint8)
    out[_CHECKED_FROM - 4 : _CHECKED_FROM].view("<u4")[0] = block_checksum(out[_CHECKED_FROM:])
    return out


def _key_buffers(keys: pa.Array, column: Column) -> list[np.ndarray]:
    """The three buffers of sorted keys. Under a null lies 0: the same rows always give the same bytes."""
    none = np.empty(0, np.uint8)
    nulls = keys.is_null().cast(pa.uint8()).to_numpy() if keys.null_count else none
    dtype = key_dtype(column.type)
    if dtype is not None:
        return [nulls, none, (keys.fill_null(0) if keys.null_count else keys).to_numpy().astype(dtype, copy=False)]
    if keys.null_count:
        keys = keys.fill_null(b"\0" * key_width(column.type))
    if key_width(column.type):
        data = np.frombuffer(keys.buffers()[1], np.uint8)
        begin, size = keys.offset * 16, len(keys) * 16
        return [nulls, none, data[begin : begin + size]]
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
            GridNotFound: there is none.
            GridCorruptError: it is damaged, or another segment's or index's.
            GridVersionError: a newer Gridflow made it.
        """
        self.about = index.about
        view = memoryview(MappedFile(str(path)))
        file = str(path)

        def damaged(what: str, offset: int = 0) -> GridCorruptError:
            return GridCorruptError(f"{file} is damaged at byte {offset}: {what}", file, offset)

        if len(view) < _HEADER.size:
            raise damaged(f"its size is {len(view)}")
        magic, version, checksum, size, *whose, count, about_bytes = _HEADER.unpack_from(view)
        if magic != _MAGIC:
            raise damaged("it is no index file")
        if version != _VERSION:
            raise GridVersionError(f"{file} has format {version}, this Gridflow knows {_VERSION}", file)
        if size != len(view):
            raise damaged(f"its size is {len(view)}, it should be {size}", 16)
        if block_checksum(view[_CHECKED_FROM:]) != checksum:
            raise damaged("the checksum differs", _CHECKED_FROM)
        about = bytes(view[_HEADER.size + 16 * count :][:about_bytes])
        if whose != [segment_id, rows, table_id, index.index_id] or about != index.about.encode():
            raise damaged(f"it is not of index {index.name} and this segment", 24)
        directory = np.frombuffer(view, "<u8", 2 * count, _HEADER.size).reshape(-1, 2).tolist()
        buffers = [np.frombuffer(view, np.uint8, bytes_, offset) for offset, bytes_ in directory]
        self._rows = buffers[0].view("<u4")
        parts = zip(index.columns, buffers[1::3], buffers[2::3], buffers[3::3], strict=True)
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
    return SortedKeys(flags, None, offsets.view("<u8") if len(offsets) else None, memoryview(keys), 16)
