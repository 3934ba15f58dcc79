"""The options of every reader, and the source of rows that every reader returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...config import RECORD_BYTES
from ...errors import ColumnNotFoundError, GridflowError, SchemaError, did_you_mean
from ...schema import Type, from_arrow

#: A null in a TSV file.
TSV_NULL = "\\N"
#: Bytes of a batch, about, and rows at most.
BATCH_BYTES = 16 << 20
BATCH_ROWS = 65536


@dataclass
class Source:
    """A file that is being read.

    Attributes:
        types: the columns in order, with the types that a new table would give them.
        batches: the rows, an iterator to use once; the columns are those of ``types``, or of ``ReadOptions.finish``.
        schema: Arrow's schema of the batches, before ``ReadOptions.finish``.
        rows: the number of rows, where the file says so.
        size: bytes of the file.
        position: gives how many bytes have been read.
    """

    types: dict[str, Type]
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    rows: int | None
    size: int
    position: Callable[[], int]


@dataclass(frozen=True)
class CsvStyle:
    """How the text of a CSV file is written.

    Attributes:
        delimiter: between fields; None for what the file's name says.
        quote, escape: one character each, or None for none; a quote in quotes is doubled.
        charset: of the text, as Python calls it.
        header: whether the first record names the columns; a function decides when it sees that record's fields.
        names: of the columns, where no record names them.
        skip: lines to leave out at the beginning.
        null: the text, without quotes, that is a null in every column. None: an empty number is null and a text is
            as it stands.
        base64: whether fields of BINARY are base64; else a field's bytes are the value.
        backslashes: whether there are no quotes, but ``\\t``, ``\\n``, ``\\r`` and ``\\\\`` for those characters, and
            ``\\N`` for a null, as in PostgreSQL's text format; None for what the file's name says.
    """

    delimiter: str | None = None
    quote: str | None = '"'
    escape: str | None = None
    charset: str = "utf-8"
    header: bool | Callable[[list[str]], bool] = True
    names: tuple[str, ...] = ()
    skip: int = 0
    null: str | None = None
    base64: bool = False
    backslashes: bool | None = None

    def of_file(self, path: Path) -> CsvStyle:
        """The style with what the name of a file decides: one with ``.tsv`` has tabs and backslashes."""
        if self.delimiter is not None:
            return self
        if ".tsv" not in (suffix.lower() for suffix in path.suffixes):
            return replace(self, delimiter=",")
        if self.backslashes is False:
            return replace(self, delimiter="\t")
        return replace(self, delimiter="\t", quote=None, escape=None, null=TSV_NULL, backslashes=True)


@dataclass(frozen=True)
class Reject:
    """A record that does not fit: the line where the record begins, the error, and the record's text."""

    line: int
    error: GridflowError
    text: str


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file.

    Attributes:
        columns: the columns to read, by their names in the file; none for all.
        pick: chooses the columns from the file's names instead of ``columns``; raises for a file that does not fit.
        expected: of a JSON file: all columns that a row may have, whatever the first rows have.
        type_of: gives the type for a column of the file, the table's or that of ``--type``; None to take the file's.
        default: gives the value of missing fields of a column of the file, as an array of one; None for a null.
        finish: makes the last of each batch; where it raises, the reader searches for the row that is to blame.
        advice: ends the message where a type does not fit; ``{}`` stands for the column.
        reject: takes the lines of a text file that do not fit; None: they are errors.
        csv: how CSV is written.
        record_bytes: bytes of a record at most, as far as it is longer than a block of text, up to 4 MiB.
        record_option: how the caller's user sets that, for the error.
    """

    columns: tuple[str, ...] = ()
    pick: Callable[[list[str]], list[str]] | None = None
    expected: tuple[str, ...] = ()
    type_of: Callable[[str], Type | None] = lambda name: None
    default: Callable[[str], pa.Array | None] = lambda name: None
    finish: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda batch: batch
    advice: str = ""
    reject: Callable[[Reject], None] | None = None
    csv: CsvStyle = CsvStyle()
    record_bytes: int = RECORD_BYTES
    record_option: str = "RECORD_BYTES"

    def too_long(self, where: str, why: str = "", line: int | None = None) -> SchemaError:
        """The error for a record that is longer than ``record_bytes``."""
        most = f"{self.record_bytes} bytes"
        return SchemaError(
            f"{where}: a record has more than {most}{why}; {self.record_option} sets how many it may have",
            line=line,
        )


def chosen_columns(names: list[str], options: ReadOptions, path: Path) -> list[str]:
    """The columns to read, checked against those of the file."""
    if options.pick is not None:
        return options.pick(names)
    for name in options.columns:
        if name not in names:
            raise ColumnNotFoundError(f"{path} has no column {name}; {did_you_mean(name, names)}", column=name)
    return list(options.columns or names)


def types_of(schema: pa.Schema, options: ReadOptions, path: Path) -> dict[str, Type]:
    """The types of a file's columns: those of the options, else Arrow's, and STRING for a column of nulls alone."""
    result = {}
    for column in schema:
        dtype = options.type_of(column.name)
        if dtype is None and pa.types.is_null(column.type):
            dtype = Type("STRING")
        try:
            result[column.name] = dtype or from_arrow(column.type)
        except SchemaError as error:
            raise SchemaError(f"{path}, column {column.name}: {error}", column=column.name) from None
    return result


def finish_batches(batches: Iterator[pa.RecordBatch], options: ReadOptions, path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a file without lines after ``options.finish``; an error names the file and the row."""
    before = 0
    for batch in batches:
        try:
            yield options.finish(batch)
        except GridflowError:

            def attempt(begin: int, end: int, batch: pa.RecordBatch = batch) -> pa.RecordBatch:
                return options.finish(batch.slice(begin, end - begin))

            row, error = first_bad(batch.num_rows, attempt)
            raise type(error)(f"{path}, row {before + row + 1}: {error}") from None
        before += batch.num_rows


def first_bad(count: int, attempt: Callable[[int, int], object]) -> tuple[int, GridflowError]:
    """The first of several items with which an attempt fails, and the error; takes about as long as one attempt at all.

    Args:
        count: the number of items, with all of which the attempt fails.
        attempt: tries the items [begin, end); raises a GridflowError where one of them fails.

    Raises:
        SchemaError: the items fail only together.
    """
    begin, end, problem = 0, count, None
    while end - begin > 1 or problem is None:
        middle = (begin + end) // 2 if end - begin > 1 else end
        try:
            attempt(begin, middle)
        except GridflowError as error:
            end, problem = middle, error
        else:
            if middle == end:
                raise SchemaError("the rows do not fit together, but each of them does")
            begin = middle
            problem = None
    return begin, problem


def with_defaults(array: pa.Array, missing: pa.Array, default: pa.Array) -> pa.Array:
    """An array with the one value of ``default`` where the mask ``missing`` is true; both have the same type."""
    count = len(array)
    indices = pc.if_else(missing, pa.scalar(count, pa.int64()), pa.array(np.arange(count)))
    return pa.concat_arrays([array, default]).take(indices)
