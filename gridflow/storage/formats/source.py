"""What every reader is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import ColumnNotFound, GridflowError, SchemaError, did_you_mean
from ...schema import Type, from_arrow

#: Bytes of a batch, about; rows follow from it.
BATCH_BYTES = 16 << 20
BATCH_ROWS = 65536


@dataclass
class Source:
    """A file that is being read.

    Attributes:
        types: the columns in order, and what a new table would make of each.
        batches: the rows, once; the columns are those of ``types``, or what ``ReadOptions.finish`` makes of them.
        schema: Arrow's schema of the batches, before ``ReadOptions.finish``.
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
class CsvStyle:
    """How the text of a CSV file is written.

    Attributes:
        delimiter: between fields; None for a comma, or a tab in a ``.tsv``. quote, escape: one character each, or
            None for none; a quote in quotes is doubled.
        charset: of the text, as Python calls it.
        header: whether the first record names the columns; a function decides when it sees that record's fields.
        names: of the columns, where no record names them.
        skip: lines to leave out at the beginning.
        null: the text, without quotes, that is a null in every column. None: an empty number is null and a text is
            as it stands.
        base64: whether BINARY is written so; else a field's bytes are what they are.
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


@dataclass(frozen=True)
class Reject:
    """A record that does not fit: its line, why, and its text."""

    line: int
    error: GridflowError
    text: str


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file.

    Attributes:
        columns: the columns to read, by their names in the file; none for all.
        pick: decides that when it sees the file's names, and refuses what it does not want.
        expected: of a JSON file: all columns that a row may have, whatever the first rows have.
        wanted: the type that a column of the file shall have, if one is asked for: the table's, or ``--type``.
        default: what a column's missing values become, by its name in the file: an array of one value.
        finish: what becomes of each batch; when it fails, the row is found for which it does.
        advice: ends the message where a type does not fit; ``{}`` stands for the column.
        reject: takes the lines of a text file that do not fit; None: they are errors.
        csv: how CSV is written.
    """

    columns: tuple[str, ...] = ()
    pick: Callable[[list[str]], list[str]] | None = None
    expected: tuple[str, ...] = ()
    wanted: Callable[[str], Type | None] = lambda name: None
    default: Callable[[str], pa.Array | None] = lambda name: None
    finish: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda batch: batch
    advice: str = ""
    reject: Callable[[Reject], None] | None = None
    csv: CsvStyle = CsvStyle()


def chosen_columns(names: list[str], options: ReadOptions, path: Path) -> list[str]:
    """The columns to read, checked against those of the file."""
    if options.pick is not None:
        return options.pick(names)
    for name in options.columns:
        if name not in names:
            raise ColumnNotFound(f"{path} has no column {name}; {did_you_mean(name, names)}")
    return list(options.columns or names)


def types_of(schema: pa.Schema, options: ReadOptions, path: Path) -> dict[str, Type]:
    """What a new table makes of Arrow's types; a column of nothing but nulls is text unless it is told."""
    result = {}
    for column in schema:
        wanted = options.wanted(column.name)
        if wanted is None and pa.types.is_null(column.type):
            wanted = Type("STRING")
        try:
            result[column.name] = wanted or from_arrow(column.type)
        except SchemaError as error:
            raise SchemaError(f"{path}, column {column.name}: {error}") from None
    return result


def finished(batches: Iterator[pa.RecordBatch], options: ReadOptions, path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a file without lines, each made fit for its table; an error names the file and the row."""
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
    """The first of several items with which something fails, and how. It takes about as long as one attempt at all.

    Args:
        count: of the items; together they fail.
        attempt: tries the items [begin, end); raises a GridflowError if it fails.
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
    """An array with another value where a mask says so; of any type, which ``default`` shares."""
    count = len(array)
    indices = pc.if_else(missing, pa.scalar(count, pa.int64()), pa.array(np.arange(count)))
    return pa.concat_arrays([array, default]).take(indices)
