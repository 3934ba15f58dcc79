"""COPY FROM: files become rows of a table, in one commit."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ...catalog.grants import CHANGES
from ...config import RECORD_BYTES
from ...errors import DuplicateKeyError, SqlError, UsageError, about
from ...faces import GridFace
from ...storage.formats.reading import detect_format, open_source
from ...storage.formats.source import CsvStyle
from ...storage.load import Batches, with_remedy
from ..binding.find import find_column, find_table
from ..grammar.copy import CopyFrom, CopyOptions
from ..result import Result
from ..text.progress import report
from .changes import changing
from .file_columns import FileColumns
from .rejects import Rejects


def copy_from(grid: GridFace, node: CopyFrom, text: str, path: str) -> Result:
    table = find_table(grid, node.table, text, CHANGES)
    listed = [find_column(table.schema, name, text, table.name) for name in node.columns]
    for i, column in enumerate(listed):
        if column in listed[:i]:
            raise SqlError(f"COPY INTO {table.name}: column {column.name} is named twice")
    options = node.options
    if options.get("REJECTS") and options.get("ON_ERROR") != "SKIP":
        raise options.fail("REJECTS", "REJECTS takes the lines that ON_ERROR SKIP leaves out: write that, too")
    paths = _matching(path)
    columns = FileColumns(table, listed, keep_nulls=options.get("MISSING") == "NULL")
    on_duplicate = options.get("ON_DUPLICATE", "ERROR").lower()
    with ExitStack() as stack:
        rejects = None
        if options.get("ON_ERROR") == "SKIP":
            rejects = stack.enter_context(Rejects(options.get("REJECTS")))
        batches = _batches(paths, columns, options, rejects)
        with about(table=table.name), changing(grid, table):
            try:
                rows = table.load(Batches(batches, sound=True), on_duplicate=on_duplicate)
            except DuplicateKeyError as error:
                raise with_remedy(error, "; ON_DUPLICATE REPLACE writes over it") from None
    return Result(rowcount=rows, statement="COPY", skipped=rejects.count if rejects is not None else 0)


def _matching(path: str) -> list[Path]:
    """The file, or all files that a pattern means, in the order of their names."""
    if os.path.exists(path) or not glob.has_magic(path):
        return [Path(path)]
    files = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
    if not files:
        raise UsageError(f"no file matches {path}")
    return [Path(name) for name in files]


def _batches(
    paths: list[Path], columns: FileColumns, options: CopyOptions, rejects: Rejects | None
) -> Iterator[pa.RecordBatch]:
    """The rows of all files, in the layout of segments."""
    total, before, rows = sum(_size(path) for path in paths), 0, 0
    for path in paths:
        form = options.get("FORMAT", "").lower() or _detected(path)
        options.check(form)
        read = columns.options(path, form, _style(options, columns), rejects)
        read = replace(read, record_bytes=options.get("RECORD_BYTES", RECORD_BYTES))
        source = open_source(path, form, read)
        for batch in source.batches:
            rows += batch.num_rows
            yield batch
            report(path.name, rows, before + source.position(), total)
        before += source.size


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def _detected(path: Path) -> str:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; {path}/*.csv means files in it")
    return detect_format(path, "FORMAT CSV")


def _style(options: CopyOptions, columns: FileColumns) -> CsvStyle:
    """The CSV style of the options; if they do not mention a header, the first record tells."""
    header = options.get("HEADER", columns.are_named)
    return replace(options.csv_style(), header=header, names=tuple(c.name for c in columns.columns))
