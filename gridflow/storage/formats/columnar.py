"""Parquet and Arrow files, read and written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from ...errors import UsageError
from .source import BATCH_BYTES, BATCH_ROWS, ReadOptions, Source, chosen_columns, finished, types_of
from .writing import WriteOptions  # circle: `writing` chooses among the formats

_GROUP_BYTES = 64 << 20
#: Before 26 (Python 3.10 has none newer) pyarrow writes null tensors to Parquet and cannot read them again; those that
#: are nested in others it cannot read in any version.
_NULL_TENSORS = int(pa.__version__.partition(".")[0]) >= 26


def open_parquet(path: Path, options: ReadOptions) -> Source:
    """Start to read a Parquet file."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, memory_map=True)
    names = chosen_columns(file.schema_arrow.names, options, path)
    schema = pa.schema([file.schema_arrow.field(n) for n in names])
    rows = file.metadata.num_rows
    total = path.stat().st_size
    size = max(256, min(BATCH_ROWS, BATCH_BYTES // max(1, total // max(1, rows))))
    done = [0]

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in file.iter_batches(batch_size=size, columns=names):
            done[0] += batch.num_rows
            yield batch.select(names)

    types = types_of(schema, options, path)
    rows_of_file = finished(batches(), options, path)
    return Source(types, schema, rows_of_file, rows, total, lambda: total * done[0] // max(1, rows))


def open_arrow(path: Path, options: ReadOptions) -> Source:
    """Start to read an Arrow IPC file (Feather is one) or stream; its columns are views of the mapped file."""
    mapped = pa.memory_map(str(path))
    done = [0]
    try:
        file = pa.ipc.open_file(mapped)
        schema, count = file.schema, file.num_record_batches
        every: Iterator[pa.RecordBatch] = (file.get_batch(i) for i in range(count))
    except pa.ArrowInvalid:  # no footer: the streaming format
        mapped.seek(0)
        stream = pa.ipc.open_stream(mapped)
        schema, every = stream.schema, iter(stream)
    names = chosen_columns(schema.names, options, path)
    schema = pa.schema([schema.field(n) for n in names])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in every:
            done[0] = min(mapped.size(), done[0] + batch.nbytes)
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS).select(names)

    types = types_of(schema, options, path)
    return Source(types, schema, finished(batches(), options, path), None, mapped.size(), lambda: done[0])


class ParquetWriter:
    """Writes Parquet; row groups of about 64 MiB, so that readers may take them one at a time."""

    def __init__(self, file: IO[bytes], path: Path, schema: pa.Schema, options: WriteOptions):
        import pyarrow.parquet as pq

        schema = pa.schema([field.with_type(_readable(field.type, field.nullable)) for field in schema])
        try:
            self.writer = pq.ParquetWriter(file, schema, compression=options.compression or "snappy")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UsageError(f"{path}: {error}") from None
        self.schema = schema
        self.waiting: list[pa.RecordBatch] = []
        self.bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        if batch.schema != self.schema:
            arrays = zip(batch.columns, self.schema, strict=True)
            batch = pa.RecordBatch.from_arrays(
                [_cast(array, field.type) for array, field in arrays], schema=self.schema
            )
        self.waiting.append(batch)
        self.bytes += batch.nbytes
        if self.bytes >= _GROUP_BYTES:
            self._group()

    def _group(self) -> None:
        table = pa.Table.from_batches(self.waiting, self.schema)
        self.writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.waiting, self.bytes = [], 0

    def close(self) -> None:
        """Write what comes last."""
        if self.waiting:
            self._group()
        self.writer.close()


def _readable(arrow: pa.DataType, nullable: bool, top: bool = True) -> pa.DataType:
    """A type that comes back from Parquet: tensors that may be null are lists that do not say how long they are."""
    if isinstance(arrow, pa.FixedShapeTensorType):
        return pa.list_(arrow.storage_type.value_field) if nullable and not _NULL_TENSORS else arrow
    if pa.types.is_fixed_size_list(arrow):
        return pa.list_(arrow.value_field) if nullable and not (top and _NULL_TENSORS) else arrow
    if pa.types.is_struct(arrow):  # a field of one that is null is null, too
        return pa.struct([field.with_type(_readable(field.type, nullable or field.nullable, False)) for field in arrow])
    if pa.types.is_large_list(arrow):
        field = arrow.value_field
        return pa.large_list(field.with_type(_readable(field.type, field.nullable, False)))
    if pa.types.is_map(arrow):
        field = arrow.item_field
        return pa.map_(arrow.key_type, field.with_type(_readable(field.type, field.nullable, False)))
    return arrow


def _cast(array: pa.Array, arrow: pa.DataType) -> pa.Array:
    return array if array.type == arrow else getattr(array, "storage", array).cast(arrow)


class ArrowWriter:
    """Writes an Arrow IPC file; the streaming format where the name ends in ``.arrows``."""

    def __init__(self, file: IO[bytes], path: Path, schema: pa.Schema, options: WriteOptions):
        make = pa.ipc.new_stream if path.suffix.lower() == ".arrows" else pa.ipc.new_file
        try:
            packed = None if options.compression in (None, "none") else options.compression
            self.writer = make(pa.PythonFile(file, "w"), schema, options=pa.ipc.IpcWriteOptions(compression=packed))
        except (pa.ArrowException, ValueError) as error:
            raise UsageError(f"{path}: {error}") from None

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        self.writer.write_batch(batch)

    def close(self) -> None:
        """Write what comes last."""
        self.writer.close()
