"""COPY: files become rows of a table, in one commit, and rows become files.

The files are read and written here, in the process whose user named them; the engine has no way to any.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ..errors import DuplicateKeyError, SchemaError, SqlError, UsageError
from ..schema import Type, from_arrow
from ..storage.arrow import user_schema
from ..storage.formats.reading import detect_format, format_of_name, open_source
from ..storage.formats.source import CsvStyle
from ..storage.formats.writing import WriteOptions, write_file
from .changes import changing
from .constants import constant
from .copy_columns import FileColumns
from .copy_rejects import Rejects
from .copy_syntax import CopyFrom, CopyOptions, CopyTo
from .names import find_column, find_source, find_table
from .progress import report
from .query import execute_query
from .result import Result
from .statements import Prepared
from .views import SystemView

_SCANNED_ROWS = 65536


def execute_copy(grid: Any, prepared: Prepared, params: Mapping[str, Any]) -> Result:
    """Run a COPY.

    Raises:
        UsageError: a file cannot be read or written, or is not of its format.
        SchemaError: a value does not fit; names the file, the line and the column. Nothing is kept.
        DuplicateKeyError: a key is there already; nothing is kept.
        TableNotFound, ColumnNotFound, SqlError: the statement names what is not there.
    """
    node = prepared.node
    path = _path(node, params)
    if isinstance(node, CopyTo):
        return _copy_to(grid, prepared, node, path, params)
    return _copy_from(grid, prepared.text, node, path)


def _path(node: CopyFrom | CopyTo, params: Mapping[str, Any]) -> str:
    found = constant(node.path)
    value = found.get(params) if found is not None else None
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise SqlError(f"COPY takes the name of a file, not {value!r}")
    return os.path.expanduser(os.fspath(value))


# ---- files to rows ----


def _copy_from(grid: Any, text: str, node: CopyFrom, path: str) -> Result:
    table = find_table(grid, node.table, text)
    chosen = [find_column(table.schema, name, text, table.name) for name in node.columns]
    for i, column in enumerate(chosen):
        if column in chosen[:i]:
            raise SqlError(f"COPY INTO {table.name}: column {column.name} is named twice")
    options = node.options
    if options.get("REJECTS") and options.get("ON_ERROR") != "SKIP":
        raise options.fail("REJECTS", "REJECTS takes the lines that ON_ERROR SKIP leaves out: write that, too")
    paths = _matching(path)
    columns = FileColumns(table, chosen, keep_nulls=options.get("MISSING") == "NULL")
    mode = "replace" if options.get("ON_DUPLICATE") == "REPLACE" else "insert"
    with ExitStack() as stack:
        rejects = None
        if options.get("ON_ERROR") == "SKIP":
            rejects = stack.enter_context(Rejects(options.get("REJECTS")))
        batches = _batches(paths, columns, options, rejects)
        with changing(grid, table):
            try:
                rows = table.load(batches, mode=mode)
            except DuplicateKeyError as error:
                raise DuplicateKeyError(f"{error}; ON_DUPLICATE REPLACE writes over it") from None
    return Result(rowcount=rows, statement="COPY", skipped=rejects.count if rejects is not None else 0)


def _matching(path: str) -> list[Path]:
    """The file, or all files that a pattern means, in the order of their names."""
    if os.path.exists(path) or not glob.has_magic(path):
        return [Path(path)]
    found = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
    if not found:
        raise UsageError(f"no file matches {path}")
    return [Path(name) for name in found]


def _batches(
    paths: list[Path], columns: FileColumns, options: CopyOptions, rejects: Rejects | None
) -> Iterator[pa.RecordBatch]:
    """The rows of all files, in the layout of segments."""
    total, before, rows = sum(_size(path) for path in paths), 0, 0
    for path in paths:
        form = options.get("FORMAT", "").lower() or _detected(path)
        options.check(form)
        read = columns.options(path, form, _style(options, columns), rejects)
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


def _style(options: CopyOptions, columns: FileColumns | None) -> CsvStyle:
    """How CSV is written, as the options say."""
    style = CsvStyle(
        delimiter=options.get("DELIMITER"),
        quote=options.get("QUOTE", '"') or None,
        escape=options.get("ESCAPE") or None,
        charset=options.get("CHARSET", "utf-8"),
        header=options.get("HEADER", True),
        skip=options.get("SKIP", 0),
        null=options.get("NULL", ""),
        base64=True,
    )
    if columns is None:
        return style
    header = options.get("HEADER", columns.are_named)  # else the first record is looked at
    return replace(style, header=header, names=tuple(c.name for c in columns.columns))


# ---- rows to a file ----


def _copy_to(grid: Any, prepared: Prepared, node: CopyTo, path: str, params: Mapping[str, Any]) -> Result:
    form = node.options.get("FORMAT", "").lower() or format_of_name(Path(path))
    if form is None:
        raise SqlError(f"COPY TO {path}: what format is it to have? say it, for example FORMAT CSV")
    node.options.check(form)
    if node.query is not None:
        marks = {mark.name for mark in node.query.node.find_all(exp.Placeholder)}
        result = execute_query(grid, node.query, {mark: params[mark] for mark in marks})
        rows = result.arrow()
        schema, types, total = rows.schema, _types(result), rows.num_rows
        batches = iter(rows.to_batches(max_chunksize=_SCANNED_ROWS))
    else:
        assert node.table is not None  # else there is a query
        table = find_source(grid, node.table, prepared.text)
        names = node.columns
        columns = [find_column(table.schema, name, prepared.text, table.name) for name in names]
        columns = columns or list(table.schema.columns)
        schema, types = user_schema(columns), [c.type for c in columns]
        labels = [c.name for c in columns]
        if isinstance(table, SystemView):
            rows = table.to_arrow(labels)
            total, batches = rows.num_rows, iter(rows.to_batches(max_chunksize=_SCANNED_ROWS))
        else:
            total, batches = len(table), table.scan(labels, batch_size=_SCANNED_ROWS)
    _check_names(schema, form)
    name = Path(path).name
    written = WriteOptions(
        csv=_style(node.options, None),
        array=node.options.get("ARRAY", False),
        compression=(node.options.get("COMPRESSION") or "").lower() or None,
    )
    count = write_file(Path(path), form, schema, types, batches, written, lambda n: report(name, n, n, total))
    return Result(rowcount=count, statement="COPY")


def _types(result: Result) -> list[Type | None]:
    """The types of a result's columns, as far as Arrow and the tables tell."""
    types: list[Type | None] = []
    for field, known in zip(result.arrow().schema, result.types, strict=True):
        try:
            types.append(known or from_arrow(field.type))
        except SchemaError:
            types.append(None)
    return types


def _check_names(schema: pa.Schema, form: str) -> None:
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice and form != "csv":
        raise SqlError(f"COPY: two columns are called {twice[0]}; give one another name with AS")
