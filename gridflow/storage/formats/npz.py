"""NPZ files: each array is a column, its first dimension the rows, the others a tensor's shape."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from ...errors import GridCorruptError, SchemaError, UsageError
from ...kinds import ByKind, Refused
from ...schema import FLOATS, INTEGERS, NESTED, Type, from_dtype
from ..numpy_columns import native
from .errors import reading
from .source import BATCH_BYTES, BATCH_ROWS, ReadOptions, Source, chosen_columns, finish_batches

_ZIP_MAGIC = b"PK"
#: Deflate makes of so many bytes one at best.
_MOST_DEFLATED = 1032
#: Version of an array's header -> what reads it.
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_npz(path: Path, options: ReadOptions) -> Source:
    """Start to read a file. An NPZ file cannot be mapped: the arrays are in memory until all rows are read.

    Raises:
        UsageError: the file has Python objects, or arrays of different lengths, or of more bytes than there is memory.
        GridCorruptError: the file is damaged.
    """
    arrays = _read_arrays(path, options)
    lengths = {name: (len(a) if a.ndim else None) for name, a in arrays.items()}
    if len(set(lengths.values())) > 1 or None in lengths.values():
        shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items())
        raise UsageError(
            f"{path}: the arrays are not columns of one table, their first dimensions differ: {shapes}; "
            "choose columns that belong together (--columns NAME,NAME)"
        )
    types = {}
    for name, array in arrays.items():
        try:
            types[name] = options.type_of(name) or from_dtype(array.dtype, array.shape[1:])
        except SchemaError as error:
            raise SchemaError(f"{path}, array {name}: {error}") from None
    rows = next(iter(lengths.values())) or 0
    fields = []
    for name, array in arrays.items():
        with reading(path, f"array {name}"):
            fields.append((name, array_to_arrow(array[:0]).type))
    schema = pa.schema(fields)
    size = sum(a.nbytes for a in arrays.values())
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, size // max(1, rows))))
    rows_read = [0]

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, step):
            parts = [array_to_arrow(a[start : start + step]) for a in arrays.values()]
            rows_read[0] = min(rows, start + step)
            yield pa.record_batch(parts, schema=schema)

    total = path.stat().st_size
    rows_of_file = finish_batches(batches(), options, path)
    return Source(types, schema, rows_of_file, rows, total, lambda: total * rows_read[0] // max(1, rows))


def _read_arrays(path: Path, options: ReadOptions) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
            raise UsageError(f"{path} is a single array (NPY); save it with numpy.savez(file, NAME=array)")
        file.seek(0)
        if file.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
            raise UsageError(f"{path} cannot be read as npz: it is no ZIP archive")
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if not members:
                raise UsageError(f"{path} has no arrays")
            chosen = {name: members[name] for name in chosen_columns(list(members), options, path)}
            size = 0
            for name, info in chosen.items():
                with reading(path, f"array {name}", "npz"):
                    size += _checked_size(archive, info, f"{path}, array {name}", path)
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            if size > memory:
                raise UsageError(
                    f"{path}: its arrays take {size} bytes of memory, and there are {memory}: choose fewer columns, or "
                    "write the file as Parquet, which is read in parts"
                )
            arrays = {}
            for name, info in chosen.items():
                with reading(path, f"array {name}", "npz"), archive.open(info) as member:
                    # Unpickling would run code from the file.
                    arrays[name] = native(np.lib.format.read_array(member, allow_pickle=False))
    return arrays


def _checked_size(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, path: Path) -> int:
    """The bytes of an array, of which its header and the archive say the same, and which can be in the file."""
    most = info.compress_size * (_MOST_DEFLATED if info.compress_type == zipfile.ZIP_DEFLATED else 1)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UsageError(f"{where}: it is compressed as NumPy does not do it; numpy.savez_compressed does")
    if info.file_size > most or info.compress_size > path.stat().st_size:
        raise GridCorruptError(f"{where}: it cannot have the {info.file_size} bytes that the archive says", str(path))
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADERS:
            raise UsageError(f"{where}: a header of version {version[0]}.{version[1]}, which has fields with names")
        shape, _, dtype = _HEADERS[version](member)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise UsageError(f"{where}: Python objects cannot be loaded, as to read them would run code from the file")
        if size == 0 and shape and shape[0] > 0:
            raise UsageError(f"{where}: {dtype}{list(shape)} has rows without a byte")
        if min(shape, default=0) < 0 or size != info.file_size - member.tell():
            raise GridCorruptError(f"{where}: it has not as many bytes as {dtype}{list(shape)} takes", str(path))
    return size


def array_to_arrow(array: np.ndarray) -> pa.Array:
    """A numpy array as a column: its first dimension is the rows, the others a tensor's shape."""
    if array.ndim == 1:
        return pa.array(array)
    # Segments have bytes for the booleans of a tensor.
    flat = np.ascontiguousarray(array).reshape(-1)
    flat = flat.view(np.uint8) if flat.dtype == bool else flat
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), int(np.prod(array.shape[1:])))


class NpzWriter:
    """Writes each column as an array, at the end. Batches wait until then: views of a grid's files take no memory."""

    def __init__(self, file: IO[bytes], path: Path, schema: pa.Schema, types: Sequence[Type | None]):
        self.file, self.path, self.schema, self.types = file, path, schema, types
        self.batches: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Take some rows."""
        self.batches.append(batch)

    def close(self) -> None:
        """Write the arrays, one column after the other."""
        table = pa.Table.from_batches(self.batches, self.schema)
        with zipfile.ZipFile(self.file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, column, t in zip(table.column_names, table.columns, self.types, strict=True):
                array = self._array(name, column, t)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    def _array(self, name: str, column: pa.ChunkedArray, t: Type | None) -> np.ndarray:
        if column.null_count:
            raise UsageError(f"{self.path}: column {name} has nulls, which an NPZ file cannot hold; leave it out")
        entry = _ARRAYS[t.kind] if t is not None else _NO_TYPE
        if isinstance(entry, Refused):
            raise UsageError(f"{self.path}: an NPZ file cannot hold column {name} {t or column.type}; leave it out")
        return entry(column, t)


def _tensors(column: pa.ChunkedArray, t: Type) -> np.ndarray:
    flat = [c.storage if isinstance(c, pa.ExtensionArray) else c for c in column.chunks]
    parts = [c.flatten().to_numpy(zero_copy_only=False) for c in flat]
    elements = np.concatenate(parts) if parts else np.empty(0, t.dtype)
    return elements.astype(t.dtype).reshape(-1, *t.shape)


def _numbers(column: pa.ChunkedArray, _: Type) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False)


_NO_TYPE = Refused("a column of no type of ours may hold anything")
_NO_ARRAY = Refused("numpy has it as Python objects, which would be pickled")
_ARRAYS: ByKind[Callable[[pa.ChunkedArray, Type], np.ndarray] | Refused] = ByKind(
    "arrays of an NPZ file",
    {
        **dict.fromkeys(("BOOL", *INTEGERS, *FLOATS, "DATE", "TIMESTAMP"), _numbers),
        **dict.fromkeys(("DECIMAL", "TIME", "UUID", *NESTED), _NO_ARRAY),
        "STRING": lambda column, t: np.array(column.to_pylist(), dtype=np.str_),
        "BINARY": Refused("numpy's bytes lose the NULs at their end"),
        "TENSOR": _tensors,
    },
)
