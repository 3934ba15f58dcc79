"""Files that ``gridflow load`` reads: each format becomes a stream of Arrow batches.

A reader holds one batch at a time, whatever the file's size (NPZ: one array of the file at a time).
"""

from __future__ import annotations

import csv
import gzip
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import ColumnNotFound, GridCorruptError, SchemaError, UsageError, did_you_mean
from ..schema import Type, from_arrow

#: Bytes of a batch, about; rows follow from it.
BATCH_BYTES = 16 << 20
BATCH_ROWS = 65536
FORMATS = ("parquet", "csv", "arrow", "tfrecord", "npz")
_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrow",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".tfrec": "tfrecord",
    ".npz": "npz",
}
_MAGIC = {b"PAR1": "parquet", b"ARRO": "arrow", b"PK\x03\x04": "npz", b"\xff\xff\xff\xff": "arrow"}


@dataclass
class Source:
    """A file that is being read.

    Attributes:
        types: the columns in order, and what a new table would make of each.
        batches: the rows, once; the columns are those of ``types``.
        schema: Arrow's schema of the batches.
        rows: how many there are, where the file says so.
        size: bytes of the file.
        position: how many of them have been read.
    """

    types: dict[str, Type]
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    rows: int | None
    size: int
    position: Callable[[], int]


@dataclass(frozen=True)
class Options:
    """How to read a file.

    Attributes:
        columns: the columns to read, by their names in the file; none for all. wanted: the type that a
        column of the file shall have, if one is asked for: the table's, or ``--type``. delimiter: between
        the fields of a CSV file; None for what its name says.
    """

    columns: tuple[str, ...] = ()
    wanted: Callable[[str], Type | None] = lambda name: None
    delimiter: str | None = None


def detect_format(path: Path) -> str:
    """The format of a file, by its name or else by its first bytes.

    Raises:
        UsageError: neither tells.
    """
    suffixes = [s.lower() for s in path.suffixes]
    for suffix in reversed(suffixes[-2:]):  # also x.csv.gz
        if suffix in _SUFFIXES:
            return _SUFFIXES[suffix]
    with path.open("rb") as file:
        magic = file.read(4)
    if magic in _MAGIC:
        return _MAGIC[magic]
    raise UsageError(f"{path}: what format is this? say it with --format {'|'.join(FORMATS)}")


def open_source(path: Path, form: str, options: Options) -> Source:
    """Start to read a file.

    Raises:
        UsageError: the file has no such column, or not this format.
        GridCorruptError: the file is damaged.
    """
    readers = {
        "parquet": _parquet,
        "csv": _csv,
        "arrow": _arrow,
        "tfrecord": _tfrecord,
        "npz": _npz,
    }
    try:
        source = readers[form](path, options)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path} cannot be read as {form}: {error}") from None
    source.batches = _with_file_name(source.batches, path)
    return source


def _with_file_name(batches: Iterator[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    """Errors that come while a file is read name the file."""
    try:
        yield from batches
    except pa.ArrowInvalid as error:
        raise SchemaError(f"{path}: {error}") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise GridCorruptError(f"{path}: {error}", str(path)) from None


def chosen_columns(names: list[str], options: Options, path: Path) -> list[str]:
    """The columns to read, checked against those of the file."""
    for name in options.columns:
        if name not in names:
            raise ColumnNotFound(f"{path} has no column {name}; {did_you_mean(name, names)}")
    return list(options.columns or names)


def _types(schema: pa.Schema, options: Options, path: Path) -> dict[str, Type]:
    """What a new table makes of Arrow's types; a column of nothing but nulls is text unless it is told."""
    result = {}
    for field in schema:
        wanted = options.wanted(field.name)
        if wanted is None and pa.types.is_null(field.type):
            wanted = Type("STRING")
        try:
            result[field.name] = wanted or from_arrow(field.type)
        except SchemaError as error:
            raise SchemaError(f"{path}, column {field.name}: {error}") from None
    return result


def _parquet(path: Path, options: Options) -> Source:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, memory_map=True)
    names = chosen_columns(file.schema_arrow.names, options, path)
    schema = pa.schema([file.schema_arrow.field(n) for n in names])
    rows = file.metadata.num_rows
    per_row = max(1, path.stat().st_size // max(1, rows))
    size = max(256, min(BATCH_ROWS, BATCH_BYTES // per_row))
    batches = (b.select(names) for b in file.iter_batches(batch_size=size, columns=names))
    done = [0]
    return Source(
        _types(schema, options, path),
        schema,
        _count(batches, done),
        rows,
        path.stat().st_size,
        (lambda: path.stat().st_size * done[0] // max(1, rows)),
    )


def _count(batches: Iterator[pa.RecordBatch], done: list[int]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        done[0] += batch.num_rows
        yield batch


def _arrow(path: Path, options: Options) -> Source:
    mapped = pa.memory_map(str(path))
    rows: int | None = None
    try:
        file = pa.ipc.open_file(mapped)
        schema = file.schema
        batches: Iterator[pa.RecordBatch] = (file.get_batch(i) for i in range(file.num_record_batches))
    except pa.ArrowInvalid:  # no footer: the streaming format
        mapped.seek(0)
        stream = pa.ipc.open_stream(mapped)
        schema, batches = stream.schema, iter(stream)
    names = chosen_columns(schema.names, options, path)
    schema = pa.schema([schema.field(n) for n in names])
    batches = (b.select(names) for b in batches)
    return Source(_types(schema, options, path), schema, batches, rows, mapped.size(), mapped.tell)


def _csv(path: Path, options: Options) -> Source:
    import pyarrow.csv as arrow_csv

    raw = pa.OSFile(str(path))
    size = raw.size()
    if size == 0:
        raise UsageError(f"{path} is empty; its first line must name the columns")
    stream = pa.CompressedInputStream(raw, "gzip") if path.suffix.lower() == ".gz" else raw
    delimiter = options.delimiter or ("\t" if ".tsv" in (s.lower() for s in path.suffixes) else ",")
    names = chosen_columns(_csv_header(path, delimiter), options, path)
    wanted = {}
    for name in names:
        kind = options.wanted(name)
        if kind is not None and kind.kind in ("TENSOR", "LIST", "STRUCT", "MAP"):
            raise SchemaError(f"{path}: a CSV file cannot fill column {name} {kind}; use Parquet or Arrow")
        if kind is not None:
            wanted[name] = pa.string() if kind.kind == "UUID" else kind.arrow()
    reader = arrow_csv.open_csv(
        stream,
        # The first block decides the types of the columns whose types are not given.
        read_options=arrow_csv.ReadOptions(block_size=BATCH_BYTES, use_threads=True),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types=wanted, include_columns=names),
    )
    types = _types(reader.schema, options, path)
    return Source(types, reader.schema, _csv_batches(reader), None, size, raw.tell)


def _csv_header(path: Path, delimiter: str) -> list[str]:
    def opened() -> Any:
        if path.suffix.lower() == ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
        return path.open(encoding="utf-8-sig", newline="")

    try:
        with opened() as file:
            return next(csv.reader(file, delimiter=delimiter), [])
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}") from None


def _csv_batches(reader: Any) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise
        raise pa.ArrowInvalid(f"{error}; --type COLUMN=TYPE gives a column another type") from None


def _npz(path: Path, options: Options) -> Source:
    from .npz import open_npz

    return open_npz(path, options)


def _tfrecord(path: Path, options: Options) -> Source:
    from .tfrecord import open_tfrecord

    return open_tfrecord(path, options)
