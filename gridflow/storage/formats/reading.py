"""Files to read: the format of each, and the reader of each format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ...errors import UsageError
from .errors import reading
from .source import ReadOptions, Source

FORMATS = ("csv", "json", "parquet", "arrow", "tfrecord", "npz")
_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrow",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".tfrec": "tfrecord",
    ".npz": "npz",
}
# The first bytes of a file -> its format.
_MAGIC = {b"PAR1": "parquet", b"ARRO": "arrow", b"PK\x03\x04": "npz", b"\xff\xff\xff\xff": "arrow"}
_MAGIC_LENGTH = 4


def format_of_name(path: Path) -> str | None:
    """The format by a file's name, also of ``x.csv.gz``; None for a name that tells none."""
    for suffix in reversed(path.suffixes[-2:]):
        if suffix.lower() in _SUFFIXES:
            return _SUFFIXES[suffix.lower()]
    return None


def detect_format(path: Path, option: str = "--format csv") -> str:
    """The format of an existing file, by the name or else by the first bytes.

    Args:
        option: how the caller's user would say the format, for the error.

    Raises:
        UsageError: neither tells the format.
    """
    format_name = format_of_name(path)
    if format_name is not None:
        return format_name
    with reading(path), path.open("rb") as file:
        magic = file.read(_MAGIC_LENGTH)
    if magic in _MAGIC:
        return _MAGIC[magic]
    raise UsageError(f"{path}: what format is this? say it, for example {option}; there are {', '.join(FORMATS)}")


def open_source(path: Path, form: str, options: ReadOptions) -> Source:
    """Start to read a file of one of ``FORMATS``.

    Raises:
        UsageError: the file has no such column, or not this format.
        SchemaError: a value does not fit; names the place. Also while the batches are read.
        GridCorruptError: the file is damaged. Also while the batches are read.
    """
    with reading(path, form=form):
        source = _open(path, form, options)
    source.batches = _with_file_name(source.batches, path)
    return source


def _open(path: Path, form: str, options: ReadOptions) -> Source:
    if form == "csv":
        from .csv_reader import open_csv

        return open_csv(path, options)
    if form == "json":
        from .json_reader import open_json

        return open_json(path, options)
    if form == "tfrecord":
        from .tfrecord import open_tfrecord

        return open_tfrecord(path, options)
    if form == "npz":
        from .npz import open_npz

        return open_npz(path, options)
    from .columnar import open_arrow, open_parquet

    return open_parquet(path, options) if form == "parquet" else open_arrow(path, options)


def _with_file_name(batches: Iterator[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    """The batches; errors while the file is read name the file."""
    with reading(path):
        yield from batches
