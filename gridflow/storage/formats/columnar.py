"""Parquet and Arrow files, read and written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from ...errors import UsageError
from ..arrow_input import checked_batches
from .errors import reading
from .source import BATCH_BYTES, BATCH_ROWS, ReadOptions, Source, chosen_columns, finish_batches, types_of
from .writing import WriteOptions  # circle: `writing` chooses among the formats

#: Bytes of a row group of Parquet, about.
_GROUP_BYTES = 64 << 20
#: Rows of a batch of Parquet at least, however wide they are.
_LEAST_ROWS = 256
#: An Arrow file begins with it; the streaming format does not.
_FILE_MAGIC = b"ARROW1"
#: Whether pyarrow reads the null tensors that it writes to Parquet: from version 26 (Python 3.10 has none so new), and
#: in no version where they are inside other values.
_NULL_TENSORS = int(pa.__version__.partition(".")[0]) >= 26


def open_parquet(path: Path, options: ReadOptions) -> Source:
    """Start to read a Parquet file."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, memory_map=True)
    names = chosen_columns(file.schema_arrow.names, options, path)
    schema = pa.schema([file.schema_arrow.field(n) for n in names])
    rows = file.metadata.num_rows
    total = path.stat().st_size
    batch_rows = max(_LEAST_ROWS, min(BATCH_ROWS, BATCH_BYTES // max(1, total // max(1, rows))))
    rows_read = [0]

    def batches() -> Iterator[pa.RecordBatch]:
        file_batches = file.iter_batches(batch_size=batch_rows, columns=names)
        while True:
            try:
                batch = next(file_batches, None)
            except (pa.ArrowException, OSError) as error:
                with reading(path, _damaged_group(file, rows_read[0], names)):
                    raise error
            if batch is None:
                return
            rows_read[0] += batch.num_rows
            yield batch.select(names)

    types = types_of(schema, options, path)
    rows_of_file = finish_batches(checked_batches(batches(), str(path)), options, path)
    return Source(types, schema, rows_of_file, rows, total, lambda: total * rows_read[0] // max(1, rows))


def _damaged_group(file: Any, rows_read: int, names: list[str]) -> str:
    """The row group, counted from 1, and the column that cannot be read after some rows."""
    end = 0
    for group in range(file.num_row_groups):
        end += file.metadata.row_group(group).num_rows
        for name in names if end > rows_read else ():
            try:
                file.read_row_group(group, columns=[name], use_threads=False)
            except (pa.ArrowException, OSError):
                return f"row group {group + 1}, column {name}"
    return f"after {rows_read} rows"


def open_arrow(path: Path, options: ReadOptions) -> Source:
    """Start to read an Arrow IPC file (Feather is one) or stream; its columns are views of the mapped file."""
    mapping = pa.memory_map(str(path))
    bytes_read = [0]
    if mapping.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
        file = pa.ipc.open_file(mapping)
        schema, count = file.schema, file.num_record_batches
        file_batches: Iterator[pa.RecordBatch] = (file.get_batch(i) for i in range(count))
    else:
        mapping.seek(0)
        stream = pa.ipc.open_stream(mapping)
        schema, file_batches = stream.schema, iter(stream)
    names = chosen_columns(schema.names, options, path)
    schema = pa.schema([schema.field(n) for n in names])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in checked_batches(file_batches, str(path)):
            bytes_read[0] = min(mapping.size(), bytes_read[0] + batch.nbytes)
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS).select(names)

    types = types_of(schema, options, path)
    return Source(types, schema, finish_batches(batches(), options, path), None, mapping.size(), lambda: bytes_read[0])


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
        self.group: list[pa.RecordBatch] = []
        self.group_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        if batch.schema != self.schema:
            arrays = zip(batch.columns, self.schema, strict=True)
            batch = pa.RecordBatch.from_arrays(
                [_cast(array, field.type) for array, field in arrays], schema=self.schema
            )
        self.group.append(batch)
        self.group_bytes += batch.nbytes
        if self.group_bytes >= _GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        table = pa.Table.from_batches(self.group, self.schema)
        self.writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.group, self.group_bytes = [], 0

    def close(self) -> None:
        """Write the end of the format."""
        if self.group:
            self._write_group()
        self.writer.close()


def _readable(arrow: pa.DataType, nullable: bool, top: bool = True) -> pa.DataType:
    """A type that pyarrow reads again from Parquet: tensors that may be null become lists of any length."""
    if isinstance(arrow, pa.FixedShapeTensorType):
        return pa.list_(arrow.storage_type.value_field) if nullable and not _NULL_TENSORS else arrow
    if pa.types.is_fixed_size_list(arrow):
        return pa.list_(arrow.value_field) if nullable and not (top and _NULL_TENSORS) else arrow
    if pa.types.is_struct(arrow):  # a null struct has null fields
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
            compression = None if options.compression in (None, "none") else options.compression
            self.writer = make(
                pa.PythonFile(file, "w"), schema, options=pa.ipc.IpcWriteOptions(compression=compression)
            )
        except (pa.ArrowException, ValueError) as error:
            raise UsageError(f"{path}: {error}") from None

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        self.writer.write_batch(batch)

    def close(self) -> None:
        """Write the end of the format."""
        self.writer.close()
