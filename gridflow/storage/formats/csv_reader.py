"""CSV files as Arrow batches.

A block of text ends where a record ends, and threads make columns of several blocks at a time: of plain fields by
``_native.csv_block``, of all others by pyarrow. Where a block fails, halving it leads to the record that is to blame.
"""

from __future__ import annotations

import csv
import io
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import pyarrow as pa

from ..._native.formats import csv_end, csv_records
from ...errors import GridflowError, SchemaError, UsageError, reworded
from .csv_columns import Converter
from .source import CsvStyle, ReadOptions, Reject, Source, chosen_columns, first_bad, types_of
from .text import line_of, open_text, text_blocks, unescaped

#: Bytes of text for one batch: as many as make columns that huge pages can back, but each thread is to have several.
_LEAST_BLOCK_BYTES, _BLOCK_BYTES = 1 << 20, 4 << 20
_BLOCKS_OF_A_THREAD = 8
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class _Block:
    """The text of complete records, and the line in which the first one begins."""

    text: bytes
    line: int


class _Records:
    """Cuts text into blocks of complete records. The style's quotes and escapes decide where a record ends."""

    def __init__(self, style: CsvStyle, delimiter: str, path: Path, options: ReadOptions):
        self.path, self.options = path, options
        quote, escape = (ord(c) if c else -1 for c in (style.quote, style.escape))
        self.marks = ord(delimiter), quote, escape
        self.special = [c.encode() for c in (style.quote, style.escape) if c]

    def starts(self, text: bytes) -> list[int]:
        """The offsets at which records begin; an empty line is no record."""
        return csv_records(text, *self.marks)[0].tolist()

    def blocks(self, parts: Iterator[bytes], line: int) -> Iterator[_Block]:
        """The records of text that comes in parts."""
        rest = b""
        pending: list[bytes] = []  # what has come since the rest was looked at
        size = 0
        for part in parts:
            pending.append(part)
            size += len(part)
            if size < len(rest) and len(rest) + size <= self.options.record_bytes:
                continue  # a long record is looked at again when twice as much of it is there
            part, pending, size = b"".join(pending), [], 0
            if any(c in rest or part.startswith(c) for c in self.special):  # the text before decides what they mean
                part, rest = rest + part, b""
            end = csv_end(part, *self.marks)
            text = b"".join((rest, memoryview(part)[:end])) if end else b""
            rest = part[end:] if end else rest + part
            if text:
                yield _Block(text, line)
                line += line_of(text, len(text))
            if len(rest) > self.options.record_bytes:
                why = " (is a quote never closed?)" if any(c in rest for c in self.special) else ""
                raise self.options.too_long(f"{self.path}, line {line}", why, line=line)
        rest = b"".join([rest, *pending])
        if rest:
            starts, in_quotes = csv_records(rest, *self.marks)
            if in_quotes:  # to pyarrow the rest would be one text
                line += line_of(rest, int(starts[-1]))
                raise SchemaError(f"{self.path}, line {line}: a quote is never closed", line=line)
            yield _Block(rest, line)


def open_csv(path: Path, options: ReadOptions) -> Source:
    """Start to read a file. Where ``options.type_of`` gives no type, the first block decides.

    Raises:
        UsageError: the file is empty, or in another style than that of the options.
    """
    style = options.csv.of_file(path)
    delimiter = style.delimiter or ","
    file, position, size = open_text(path)
    block_bytes = min(_BLOCK_BYTES, max(_LEAST_BLOCK_BYTES, size // (_BLOCKS_OF_A_THREAD * _THREADS)))
    parts = text_blocks(file, style.charset, block_bytes, path)
    parts, line = _skip(parts, style.skip)
    records = _Records(style, delimiter, path, options)
    blocks = records.blocks(parts, line)
    first = next(blocks, None)
    names, first = _names(records, first, style, delimiter, path)
    selection = chosen_columns(names, options, path)
    for name in selection:
        if names.count(name) > 1:
            raise UsageError(f"{path} has column {name} {names.count(name)} times")
    option_types = {name: t for name in selection if (t := options.type_of(name)) is not None}
    convert = Converter(names, selection, option_types, style, delimiter, options)
    reader = _Reader(path, records, convert, options)
    if first is not None and first.text.strip(b"\r\n"):
        try:
            convert.look_at(first.text)
        except pa.ArrowInvalid:  # a record with another number of fields gets a better message
            reader.check(first)
            raise
    schema = convert.schema()
    types = types_of(schema, options, path)
    rest = blocks if first is None else chain([first], blocks)
    return Source(types, schema, reader.batches(rest), None, size, position)


def _skip(parts: Iterator[bytes], count: int) -> tuple[Iterator[bytes], int]:
    """The text after the first lines, and the number of the line in which that begins."""
    left = count
    for part in parts if count else ():
        lines = part.split(b"\n", left)
        if len(lines) > left:
            return chain([lines[-1]], parts), count + 1
        left -= len(lines) - 1
    return (iter(()), count + 1) if count else (parts, 1)


def _names(
    records: _Records, first: _Block | None, style: CsvStyle, delimiter: str, path: Path
) -> tuple[list[str], _Block | None]:
    """The names of the file's columns, and the first block without the record of names."""
    starts = records.starts(first.text) if first is not None else []
    if first is None or not starts:
        if style.header is True:
            raise UsageError(f"{path} is empty; its first line must name the columns")
        return list(style.names), None
    end = starts[1] if len(starts) > 1 else len(first.text)
    try:
        text = first.text[starts[0] : end].decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not {style.charset.upper()}: {error}") from None
    quoting = csv.QUOTE_MINIMAL if style.quote else csv.QUOTE_NONE
    lines = io.StringIO(text, newline="")
    header_reader = csv.reader(
        lines, delimiter=delimiter, quotechar=style.quote, escapechar=style.escape, quoting=quoting
    )
    fields = next(header_reader, [])
    if style.backslashes:
        fields = [unescaped(name) for name in fields]
    header = style.header(fields) if callable(style.header) else style.header
    if not header:
        return list(style.names), first
    return fields, _Block(first.text[end:], first.line + line_of(first.text, end))


class _Reader:
    """Makes batches of blocks, several at a time, in the file's order."""

    def __init__(self, path: Path, records: _Records, convert: Converter, options: ReadOptions):
        self.path, self.records, self.convert, self.options = path, records, convert, options

    def batches(self, blocks: Iterator[_Block]) -> Iterator[pa.RecordBatch]:
        futures: deque[Future[tuple[list[pa.RecordBatch], list[Reject]]]] = deque()
        with ThreadPoolExecutor(_THREADS, "gridflow-csv") as pool:
            try:
                for block in blocks:
                    futures.append(pool.submit(self._read, block))
                    if len(futures) > 2 * _THREADS:
                        yield from self._batches_of(futures.popleft())
                while futures:
                    yield from self._batches_of(futures.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _batches_of(self, future: Future[tuple[list[pa.RecordBatch], list[Reject]]]) -> Iterator[pa.RecordBatch]:
        batches, rejects = future.result()
        for reject in rejects:
            assert self.options.reject is not None  # else the first one was raised
            self.options.reject(reject)
        yield from batches

    def _read(self, block: _Block) -> tuple[list[pa.RecordBatch], list[Reject]]:
        try:
            return [self._batch(block.text)], []
        except (GridflowError, pa.ArrowInvalid):
            pass
        starts = [*self.records.starts(block.text), len(block.text)]
        if len(starts) == 1:  # nothing but empty lines
            return [], []
        attempt = partial(self._batch_of_records, block.text, starts)
        if self.options.reject is None:
            row, error = first_bad(len(starts) - 1, attempt)
            raise self._placed(error, block.line + line_of(block.text, starts[row]))
        return self._fitting(block, starts)

    def _placed(self, error: GridflowError, line: int) -> GridflowError:
        """The error of a record, with its place before the message."""
        return reworded(error, f"{self.path}, line {line}{error}", line=line)

    def _fitting(self, block: _Block, starts: list[int]) -> tuple[list[pa.RecordBatch], list[Reject]]:
        """Batches of the records that fit, and the rejects."""
        batches: list[pa.RecordBatch] = []
        rejects: list[Reject] = []
        ranges = [(0, len(starts) - 1)]
        while ranges:
            begin, end = ranges.pop()
            try:
                batches.append(self._batch_of_records(block.text, starts, begin, end))
            except GridflowError as error:
                if end - begin > 1:
                    middle = (begin + end) // 2
                    ranges += [(middle, end), (begin, middle)]
                    continue
                line = block.line + line_of(block.text, starts[begin])
                text = block.text[starts[begin] : starts[end]].rstrip(b"\r\n").decode(errors="replace")
                rejects.append(Reject(line, self._placed(error, line), text))
        return batches, rejects

    def check(self, block: _Block) -> None:
        """Raise a SchemaError that names the record if one has another number of fields than the others."""
        starts = [*self.records.starts(block.text), len(block.text)]
        convert = self.convert.of_text()
        reader = _Reader(self.path, self.records, convert, ReadOptions())
        try:
            row, error = first_bad(len(starts) - 1, partial(reader._batch_of_records, block.text, starts))
        except SchemaError:
            return
        raise self._placed(error, block.line + line_of(block.text, starts[row]))

    def _batch(self, text: bytes) -> pa.RecordBatch:
        return self.options.finish(self.convert(text))

    def _batch_of_records(self, text: bytes, starts: list[int], begin: int, end: int) -> pa.RecordBatch:
        """A batch of some records; an error's message goes on from the line's number."""
        try:
            return self._batch(text[starts[begin] : starts[end]])
        except pa.ArrowInvalid as error:
            raise self.convert.explain(error) from None
        except GridflowError as error:
            raise reworded(error, f": {error}" if not str(error).startswith(",") else str(error)) from None
