"""NPZ files: each array is a column, its first dimension the rows, the others a tensor's shape."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from ...errors import GridCorruptError, SchemaError, UsageError
from ...kinds import ByKind, Refused
from ...schema import FLOATS, INTEGERS, NESTED, Type, from_dtype
from .source import BATCH_BYTES, BATCH_ROWS, ReadOptions, Source, chosen_columns, finish_batches


def open_npz(path: Path, options: ReadOptions) -> Source:
    """Start to read a file. An NPZ file cannot be mapped: the arrays are in memory until all rows are read.

    Raises:
        UsageError: the file has Python objects, or arrays of different lengths.
        GridCorruptError: the file is damaged.
    """
    try:
        # Unpickling would run code from the file.
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise UsageError(f"{path} is a single array (NPY); save it with numpy.savez(file, NAME=array)")
        arrays = {name: file[name] for name in chosen_columns(list(file.files), options, path)}
    except zipfile.BadZipFile as error:
        raise GridCorruptError(f"{path}: {error}", str(path)) from None
    except (ValueError, EOFError) as error:
        raise UsageError(f"{path} cannot be read as npz: {error}") from None
    if not arrays:
        raise UsageError(f"{path} has no arrays")
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
    schema = pa.schema([(name, array_to_arrow(a[:0]).type) for name, a in arrays.items()])
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
