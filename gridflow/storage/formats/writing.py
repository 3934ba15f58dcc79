"""Files to write: the writer of each format, under a temporary name until the file is complete."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa

from ...errors import GridflowError, UsageError
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
        """Write the end of the format."""


def write_file(
    path: Path,
    form: str,
    schema: pa.Schema,
    types: Sequence[Type | None],
    batches: Iterator[pa.RecordBatch],
    options: WriteOptions,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write rows to a file of one of ``reading.FORMATS``; see ``replacement`` for what is there.

    Args:
        path: of the file.
        form: the format.
        schema: of the batches, in the types that users see.
        types: of the columns, as tables have them; None where only Arrow's type is known.
        batches: the rows.
        options: how to write them.
        progress: called with the number of rows written so far.

    Returns:
        The number of rows.

    Raises:
        UsageError: the file cannot be written, or no file of that format can hold a column.
    """
    rows = 0
    with replacement(path) as file:
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
        text = _CompressedFile(file, compression_of(path))
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
def replacement(path: Path) -> Iterator[IO[bytes]]:
    """What to write to ``path``, which stays as it is until the ``with`` block has ended well.

    A file that a link leads to is replaced where it lies, and keeps its mode. What is no file of its own, such as a
    FIFO or a device, is written to as it is.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        target, mode = _target(path)
        if target is None:
            with path.open("wb", buffering=0) as stream, io.BufferedWriter(_Counted(stream)) as file:
                yield file
            return
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("xb") as file:
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                yield file
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except GridflowError:  # some are errors of the system, too
        raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None


def _target(path: Path) -> tuple[Path | None, int | None]:
    """The file to replace and the mode that it has; None for the file: what stands there is to be written to."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return Path(os.path.realpath(path)), None
    real = Path(os.path.realpath(path))
    if not stat.S_ISREG(found.st_mode) or not real.exists() or not os.path.samestat(real.stat(), found):
        return None, None  # the last two: a file that is open and has no name any more, by way of /proc
    return real, stat.S_IMODE(found.st_mode)


class _Counted(io.RawIOBase):
    """A stream that knows how much was written to it, as the writers of some formats ask: a FIFO does not."""

    def __init__(self, stream: io.RawIOBase):
        self.stream, self.size = stream, 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any) -> int | None:
        count = self.stream.write(data)
        self.size += count or 0
        return count


class _CompressedFile:
    """A file that compresses what is written, where ``kind`` names a compression. Another closes ``file`` itself."""

    def __init__(self, file: IO[bytes], kind: str | None):
        self._stream: Any = pa.CompressedOutputStream(pa.PythonFile(file, "w"), kind) if kind else file
        self._kind = kind

    def write(self, data: Any) -> None:
        self._stream.write(data)

    def close(self) -> None:
        """Write the compression's last bytes; ``file`` itself stays open where there is a compression."""
        if self._kind:
            self._stream.close()
