"""Compressed copies of columns, beside their segments: for GPUs, which copy them over the bus and decode them there.

The layout is that of ``kernels/include/gridflow/compressed_format.h``. Nobody needs a copy: where there is none, or a
damaged one, the segment is read.
"""

from __future__ import annotations

import os
import re
import struct
import threading
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .._native.catalog import kept_files
from .._native.files import MappedFile, block_checksum
from .._native.snapshot import Snapshot
from .._native.store import replace_file
from ..errors import GridCorruptError, GridNotFound, GridVersionError, SchemaError
from ..schema import NUMBERS, Column, Schema
from .arrow import export_batch
from .indexing import unlink
from .versions import kept_versions

OPTION = "compressed"  # of a table: the ids of its columns that are

_MAGIC, _VERSION, _ALIGNMENT = 0x0A1A0D345A4C4647, 1, 64
_BLOCK_BYTES = 16 * 1024
_HEADER = struct.Struct("<QIIQQQIII12x")
_COLUMN = struct.Struct("<IIQQQ")
_CHECKSUM_AT = slice(12, 16)
_FILE_NAME = re.compile(r"[0-9a-f]{16}\.lz4")
_BLOCKS_AT_ONCE = 256  # of a thread


def compressed_columns(options: Mapping[str, Any], schema: Schema) -> list[Column]:
    """The columns of a table that are to be compressed, in the schema's order."""
    ids = set(options.get(OPTION) or ())
    return [column for column in schema.columns if column.id in ids]


def check_compressible(schema: Schema, names: Iterable[str]) -> list[Column]:
    """The columns of these names.

    Raises:
        ColumnNotFound: there is none of one of the names.
        SchemaError: one does not hold numbers, each with the same bytes.
    """
    columns = [schema[name] for name in names]
    for column in columns:
        if column.type.kind not in NUMBERS:
            raise SchemaError(f"column {column}: numbers, tensors, dates and times can be compressed for a GPU")
    return columns


class CompressedCopies:
    """The compressed copies of a table, in the process that owns it."""

    def __init__(self, table: Any):
        self._table = weakref.proxy(table)  # it owns us
        self.lock = threading.RLock()  # orders what makes and removes files; before the table's own
        self._settled: tuple[Any, Any] | None = None  # the version and options for which every copy was made
        self._sizes: dict[tuple[int, ...], int] = {}  # of copies for which there was no room, by segment and columns

    def settle(self, *, verify: bool = False) -> None:
        """Make the copies that are missing, and remove those of segments and columns that are gone.

        Args:
            verify: whether damaged ones are made again, too; each is read for that.

        Raises:
            GridFullError: there is no room for a copy.
        """
        with self.lock:
            table = self._table
            snapshot = table.snapshot()
            state = (snapshot.version, table.options)
            settled = self._settled
            if not verify and settled is not None and settled[0] == state[0] and settled[1] is state[1]:
                return
            columns = compressed_columns(table.options, snapshot.schema)
            made = self._listed()
            wanted = [column.id for column in columns]
            if not wanted and not made:  # as of most tables
                self._settled = state
                return
            for segment, (segment_id, rows, _, _) in enumerate(snapshot.segments()):
                path = table.folder / _file_name(segment_id)
                if not wanted:
                    unlink(path)
                elif (
                    path.name not in made
                    or _column_ids(path) != wanted
                    or (verify and not _is_sound(path, segment_id, rows, table.table_id))
                ):
                    self._make(snapshot, segment, columns, path)
            self._remove_stale()
            self._settled = state

    def _make(self, snapshot: Snapshot, segment: int, columns: list[Column], path: Path) -> None:
        table, which = self._table, (snapshot.segments()[segment][0], *(column.id for column in columns))
        # Tried again and again in the background: what is known not to fit is not compressed to see that once more.
        table.store.check_room(self._sizes.get(which, 0))
        data = copy_bytes(snapshot, segment, columns, table.table_id)
        self._sizes[which] = len(data)
        table.store.check_room(len(data))
        replace_file(str(path), data)
        del self._sizes[which]

    def _listed(self) -> set[str]:
        return {name for name in os.listdir(self._table.folder) if _FILE_NAME.fullmatch(name)}

    def _remove_stale(self) -> None:
        """Unlink copies of segments that went while theirs were made."""
        listed = self._listed()
        if not listed:
            return
        table = self._table
        snapshot = table.snapshot()
        needed = snapshot.files()
        for version in kept_versions(table.folder, table.grid._kept(table), snapshot.version):
            try:
                needed |= kept_files(str(table.folder), version)
            except GridNotFound:  # it has just been let go of
                pass
        for name in listed - needed:
            unlink(table.folder / name)


def copy_bytes(snapshot: Snapshot, segment: int, columns: list[Column], table_id: int) -> np.ndarray:
    """The bytes of the copy of some columns of a segment, uint8[n]."""
    segment_id, rows, _, _ = snapshot.segments()[segment]
    at = _aligned(_HEADER.size + _COLUMN.size * len(columns))
    entries, parts = b"", []
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for column in columns:
            values = _values(snapshot, segment, column)
            bounds, data = _compressed(values, threads)
            body = np.concatenate([bounds.view(np.uint8), data])
            entries += _COLUMN.pack(column.id, block_checksum(body), len(values), at, len(data))
            parts.append((at, body))
            at = _aligned(at + len(body))
    size = parts[-1][0] + len(parts[-1][1]) if parts else at
    out = np.zeros(size, np.uint8)
    for begin, body in parts:
        out[begin : begin + len(body)] = body
    head = _HEADER.pack(_MAGIC, _VERSION, 0, size, segment_id, rows, table_id, len(columns), _BLOCK_BYTES) + entries
    out[: len(head)] = np.frombuffer(head, np.uint8)
    out[_CHECKSUM_AT].view("<u4")[0] = block_checksum(np.ascontiguousarray(out[: len(head)]))
    return out


def check_copy(path: Path, segment_id: int, rows: int, table_id: int) -> None:
    """Read a copy from end to end.

    Raises:
        GridNotFound: there is none.
        GridCorruptError: it is damaged, or another segment's.
        GridVersionError: a newer Gridflow made it.
    """
    view = memoryview(MappedFile(str(path)))

    def damaged(what: str, offset: int = 0) -> GridCorruptError:
        return GridCorruptError(f"{path} is damaged at byte {offset}: {what}", str(path), offset)

    if len(view) < _HEADER.size:
        raise damaged(f"its size is {len(view)}")
    magic, version, checksum, size, *whose, count, block_bytes = _HEADER.unpack_from(view)
    if magic != _MAGIC:
        raise damaged("it is no compressed copy")
    if version != _VERSION:
        raise GridVersionError(f"{path} has format {version}, this Gridflow knows {_VERSION}", str(path))
    head = _HEADER.size + _COLUMN.size * count
    if size != len(view) or head > size:
        raise damaged(f"its size is {len(view)}, it should be {size}", 16)
    sealed = np.frombuffer(view[:head], np.uint8).copy()
    sealed[_CHECKSUM_AT] = 0
    if block_checksum(sealed) != checksum:
        raise damaged("the checksum differs", 12)
    if whose != [segment_id, rows, table_id]:
        raise damaged("it is another segment's", 24)
    for i in range(count):
        _, checksum, raw, offset, data = _COLUMN.unpack_from(view, _HEADER.size + _COLUMN.size * i)
        body = 8 * (-(-raw // block_bytes) + 1) + data
        if offset + body > size or block_checksum(np.frombuffer(view[offset : offset + body], np.uint8)) != checksum:
            raise damaged("the checksum differs", offset)


def _is_sound(path: Path, segment_id: int, rows: int, table_id: int) -> bool:
    try:
        check_copy(path, segment_id, rows, table_id)
    except (GridCorruptError, GridVersionError, GridNotFound):
        return False
    return True


def _file_name(segment_id: int) -> str:
    return f"{segment_id:016x}.lz4"


def copy_path(segment: str) -> Path:
    """Where the copy of a segment is, given the segment's path."""
    return Path(segment).with_suffix(".lz4")


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


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

    def block(values: np.ndarray) -> bytes:
        made = compress(values, store_size=False)
        return made if len(made) < len(values) else values.tobytes()

    def some(begin: int) -> list[bytes]:
        end = min(begin + _BLOCKS_AT_ONCE * _BLOCK_BYTES, len(values))
        return [block(values[at : min(at + _BLOCK_BYTES, end)]) for at in range(begin, end, _BLOCK_BYTES)]

    begins = range(0, len(values), _BLOCKS_AT_ONCE * _BLOCK_BYTES)
    blocks = [made for part in threads.map(some, begins) for made in part]
    bounds = np.zeros(len(blocks) + 1, "<u8")
    np.cumsum([len(made) for made in blocks], out=bounds[1:])
    return bounds, np.frombuffer(b"".join(blocks), np.uint8)


def _column_ids(path: Path) -> list[int] | None:
    """Of the columns that a copy has; None where it cannot be read."""
    try:
        view = memoryview(MappedFile(str(path)))
        magic, version, *_, count, _ = _HEADER.unpack_from(view)
        if (magic, version) != (_MAGIC, _VERSION):
            return None
        return [_COLUMN.unpack_from(view, _HEADER.size + _COLUMN.size * i)[0] for i in range(count)]
    except (GridNotFound, struct.error):
        return None
