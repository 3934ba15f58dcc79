"""Files that can be written, and how: under a temporary name, which becomes the file's when all is written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa

from ...errors import UsageError
from ...schema import Type
from .source import CsvStyle
from .text import compression_of


@dataclass(frozen=True)
class WriteOptions:
    """How to write a file.

    Attributes:
        csv: how CSV is written; without ``null`` a null is an empty field.
        array: whether JSON is one array, not an object a line.
        compression: of Parquet and Arrow files, as pyarrow calls it; None for the format's usual one.
    """

    csv: CsvStyle = CsvStyle()
    array: bool = False
    compression: str | None = None


class Writer(Protocol):
    """Writes batches of one schema to an open file."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""

    def close(self) -> None:
        """Write what comes last. The file itself stays open."""


def write_file(
    path: Path,
    form: str,
    schema: pa.Schema,
    types: Sequence[Type | None],
    batches: Iterator[pa.RecordBatch],
    options: WriteOptions,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write rows to a file of one of ``reading.FORMATS``; it is there when all of them are in it, or as it was before.

    Args:
        schema: of the batches, in the types that users see.
        types: what is known of each column beyond its Arrow type.
        progress: called with the number of rows written so far.

    Returns:
        How many rows there were.

    Raises:
        UsageError: the file cannot be made, or a column cannot be in a file of that format.
    """
    rows = 0
    with replaced(path) as file:
        writer = _writer(form, path, file, schema, types, options)
        for batch in batches:
            writer.write(batch)
            rows += batch.num_rows
            progress(rows)
        writer.close()
    return rows


def _writer(
    form: str, path: Path, file: IO[bytes], schema: pa.Schema, types: Sequence[Type | None], options: WriteOptions
) -> Writer:
    if form in ("csv", "json", "tfrecord"):
        text = _Compressed(file, compression_of(path))
        if form == "csv":
            from .csv_writer import CsvWriter

            return CsvWriter(text, path, schema, types, options)
        if form == "json":
            from .json_writer import JsonWriter

            return JsonWriter(text, schema, types, options)
        from .tfrecord_writer import TFRecordWriter

        return TFRecordWriter(text, schema, types)
    if form == "npz":
        from .npz import NpzWriter

        return NpzWriter(file, path, schema, types)
    from .columnar import ArrowWriter, ParquetWriter

    kind = ParquetWriter if form == "parquet" else ArrowWriter
    return kind(file, path, schema, options)


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write to, which becomes ``path`` if nothing is raised.

    Raises:
        UsageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                yield file
            os.replace(temporary, path)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class _Compressed:
    """A file whose bytes are compressed on their way, or not."""

    def __init__(self, file: IO[bytes], kind: str | None):
        self._stream: Any = pa.CompressedOutputStream(pa.PythonFile(file, "w"), kind) if kind else file
        self._kind = kind

    def write(self, data: Any) -> None:
        self._stream.write(data)

    def close(self) -> None:
        """Write what the compression holds back."""
        if self._kind:
            self._stream.close()
