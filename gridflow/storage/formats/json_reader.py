"""JSON files as Arrow batches: an object a line, or one array of objects.

Values mean what ``plain_values.plain`` writes: bytes are base64, moments ISO 8601, tensors nested lists, a MAP a list
of pairs or an object. A key that an object lacks is a missing value; null is null.
"""

from __future__ import annotations

import codecs
import decimal
import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import ColumnNotFoundError, GridflowError, SchemaError, UsageError, did_you_mean, reworded
from ...schema import Type, from_arrow
from ..cast import cast_column
from .plain_values import Misfit, column_of_plain
from .source import ReadOptions, Reject, Source, chosen_columns, first_bad, with_defaults
from .text import open_text, text_blocks

_BLOCK_BYTES = 1 << 20
_BATCH_ROWS = 8192
#: Characters that a float has at most whose digits it keeps: the text of a longer one becomes a Decimal.
_FLOAT_LENGTH = 15
#: Characters of a value in a message.
_TEXT_LENGTH = 40
#: Characters of a word or an escape at most: where the text ends in one, the error is so far from the end.
_TOKEN_LENGTH = 16
_SPACE = re.compile(r"[ \t\r\n]*")
_NO_JSON = (ValueError, RecursionError, ArithmeticError)
#: The line in which an object begins, and the object.
_Item = tuple[int, dict[str, Any]]


# The states of reading an array, by what comes next, and the state after each character.
_BEGIN, _FIRST, _ITEM, _AFTER, _END = "[", "an object or ]", "an object", ", or ]", "the end"
_STEPS = {(_BEGIN, "["): _FIRST, (_FIRST, "]"): _END, (_AFTER, ","): _ITEM, (_AFTER, "]"): _END}


def open_json(path: Path, options: ReadOptions) -> Source:
    """Start to read a file. Without ``options.expected`` the columns are the keys of the first objects.

    Raises:
        UsageError: the file is empty, or neither an array nor lines of objects.
        SchemaError: an object cannot be read.
    """
    file, position, size = open_text(path)
    reader = _Reader(path, options)
    groups = reader.groups(text_blocks(file, "utf-8", _BLOCK_BYTES, path))
    first = next(groups, None)
    if first is None and not options.expected:
        raise UsageError(f"{path} has no objects")
    rows = [row for _, row in first or []]
    reader.learn(rows)
    return Source(reader.types, reader.schema, reader.batches(chain([first or []], groups)), None, size, position)


class _Reader:
    """Cuts the text of one file into objects and makes batches of them."""

    def __init__(self, path: Path, options: ReadOptions):
        self.path, self.options = path, options
        self.types: dict[str, Type] = {}
        self.schema = pa.schema([])
        self.defaults: dict[str, pa.Array] = {}
        self.names: dict[str, str] = {}  # an object's key -> the column
        self.decoder = json.JSONDecoder(parse_float=_float)

    # ---- text to objects ----

    def groups(self, blocks: Iterator[bytes]) -> Iterator[list[_Item]]:
        """The objects with the lines where they begin, some thousand at a time."""
        group: list[_Item] = []
        for item in self._items(blocks):
            group.append(item)
            if len(group) == _BATCH_ROWS:
                yield group
                group = []
        if group:
            yield group

    def _items(self, blocks: Iterator[bytes]) -> Iterator[_Item]:
        first = next((b for b in blocks if b.strip()), None)
        if first is None:
            return
        start = first.lstrip()[:1]
        if start == b"{":
            yield from self._lines(chain([first], blocks))
        elif start == b"[":
            yield from self._array(chain([first], blocks))
        else:
            raise UsageError(f"{self.path}: JSON of rows is an array of objects, or an object in each line")

    def _lines(self, blocks: Iterator[bytes]) -> Iterator[_Item]:
        pending: list[bytes] = []  # what has come of a line without its end
        size, line = 0, 1
        for block in chain(blocks, [b""]):
            end = block.rfind(b"\n") + 1 if block else 0
            pending.append(block[:end] if end else block)
            size += len(block)
            if block and not end:
                if size > self.options.record_bytes:
                    raise self.options.too_long(f"{self.path}, line {line}", line=line)
                continue
            lines = b"".join(pending).split(b"\n")
            pending, size = [block[end:]], len(block) - end
            for text in lines if not block else lines[:-1]:
                if text.strip():
                    try:
                        row = self._object(self.decoder.decode(text.decode()))
                    except _NO_JSON as error:
                        self._refuse(line, _why(error), text.decode(errors="replace").rstrip("\r"))
                    else:
                        yield line, row
                line += 1

    def _array(self, blocks: Iterator[bytes]) -> Iterator[_Item]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        text, at, line, state = "", 0, 1, _BEGIN
        pending: list[str] = []  # what has come since the text was looked at
        size = 0
        for block in chain(blocks, [b""]):
            try:
                pending.append(decoder.decode(block, not block))
            except UnicodeDecodeError as error:
                raise self._error(line, f"it is not UTF-8: {error.reason}") from None
            size += len(block)
            if block and size < len(text) - at <= self.options.record_bytes:
                continue  # a long object is looked at again when twice as much of it is there
            text, at, pending, size = "".join([text[at:], *pending]), 0, [], 0
            while True:
                start = _SPACE.match(text, at).end()
                line, at = line + text.count("\n", at, start), start
                if at == len(text):
                    break
                step = _STEPS.get((state, text[at]))
                if step is not None:
                    state, at = step, at + 1
                    continue
                if state not in (_FIRST, _ITEM):
                    raise self._error(line, f"expected {state}, found {text[at]}")
                try:
                    value, end = self.decoder.raw_decode(text, at)
                except _NO_JSON as error:
                    if not block or not _is_cut(error, len(text)):
                        raise self._error(line, _why(error)) from None
                    if len(text) - at > self.options.record_bytes:
                        raise self.options.too_long(f"{self.path}, line {line}", line=line) from None
                    break  # it goes on in the next block
                try:
                    row = self._object(value)
                except ValueError as error:
                    self._refuse(line, str(error), text[at:end])
                else:
                    yield line, row
                line, at, state = line + text.count("\n", at, end), end, _AFTER
        if state != _END:
            raise self._error(line, "the array does not end")

    def _object(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"a row is an object, not {json.dumps(value, default=str)[:_TEXT_LENGTH]}")
        return value

    def _error(self, line: int, why: str) -> SchemaError:
        return SchemaError(f"{self.path}, line {line}: {why}", line=line)

    def _refuse(self, line: int, why: str, text: str) -> None:
        error = self._error(line, why)
        if self.options.reject is None:
            raise error
        self.options.reject(Reject(line, error, text))

    # ---- objects to batches ----

    def learn(self, rows: list[dict[str, Any]]) -> None:
        """Choose the columns and their types by the first objects."""
        keys = list(dict.fromkeys(key for row in rows for key in row))
        names = list(self.options.expected) or chosen_columns(keys, self.options, self.path)
        self.names = {name: name for name in names}
        for name in names:
            self.types[name] = self.options.type_of(name) or self._guess(name, [row.get(name) for row in rows])
        self.schema = pa.schema([(n, t.arrow()) for n, t in self.types.items()])
        defaults = {name: self.options.default(name) for name in names}
        self.defaults = {name: default for name, default in defaults.items() if default is not None}

    def _guess(self, name: str, values: list[Any]) -> Type:
        try:
            arrow = pa.array([_without_decimals(v) for v in values]).type
            return Type("STRING") if pa.types.is_null(arrow) else from_arrow(arrow)
        except (pa.ArrowException, ValueError, OverflowError, RecursionError) as error:
            raise SchemaError(f"{self.path}, column {name}: {error}") from None

    def batches(self, groups: Iterator[list[_Item]]) -> Iterator[pa.RecordBatch]:
        for items in groups:
            try:
                yield self._batch(items, 0, len(items))
            except GridflowError:
                yield from self._fitting(items)

    def _fitting(self, items: list[_Item]) -> Iterator[pa.RecordBatch]:
        """Batches of the objects that fit; refuses the others."""
        attempt = partial(self._batch, items)
        if self.options.reject is None:
            row, error = first_bad(len(items), attempt)
            raise reworded(error, f"{self.path}, line {items[row][0]}{error}", line=items[row][0])
        ranges = [(0, len(items))]
        while ranges:
            begin, end = ranges.pop()
            try:
                yield attempt(begin, end)
            except GridflowError as error:
                if end - begin > 1:
                    middle = (begin + end) // 2
                    ranges += [(middle, end), (begin, middle)]
                    continue
                line, row = items[begin]
                problem = reworded(error, f"{self.path}, line {line}{error}", line=line)
                self.options.reject(Reject(line, problem, json.dumps(row, default=float, ensure_ascii=False)))

    def _batch(self, items: list[_Item], begin: int, end: int) -> pa.RecordBatch:
        rows = [row for _, row in items[begin:end]]
        columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in self.types}
        missing: dict[str, list[bool]] = {name: [True] * len(rows) for name in self.defaults}
        for number, row in enumerate(rows):
            for key, value in row.items():
                name = self.names.get(key) or self._name(key)
                if name:
                    columns[name][number] = value
                    if name in missing:
                        missing[name][number] = False
        arrays = [self._column(name, values, missing.get(name)) for name, values in columns.items()]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        try:
            return self.options.finish(batch)
        except GridflowError as error:
            raise type(error)(f": {error}") from None

    def _name(self, key: str) -> str | None:
        """The column of a key that is new in the file; None for a key that no column takes."""
        if self.options.pick is not None:
            try:
                columns = self.options.pick([key])
            except GridflowError as error:
                raise type(error)(f": {error}") from None
            if not columns:
                return None
            names = [n for n in self.types if n.upper() == key.upper()]
            if len(names) == 1:
                self.names[key] = names[0]
                return names[0]
        elif self.options.columns:
            return None
        raise ColumnNotFoundError(
            f": no column {key} in the objects before it; {did_you_mean(key, self.types)}", column=key
        )

    def _column(self, name: str, values: list[Any], missing: list[bool] | None) -> pa.Array:
        t = self.types[name]
        try:
            array = column_of_plain(values, t)
        except Misfit as error:
            advice = self.options.advice.format(name)
            raise SchemaError(f", column {name} {t.text()}: {error.why}{advice}", column=name) from None
        if missing is None or not any(missing):
            return array
        default = cast_column(self.defaults[name], t, f"column {name}")
        return with_defaults(array, pa.array(missing), default)


def _float(text: str) -> float | decimal.Decimal:
    """A number with all its digits: a DECIMAL column may need more than a float keeps."""
    number = float(text)
    return number if len(text) <= _FLOAT_LENGTH else decimal.Decimal(text)


def _without_decimals(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, list):
        return [_without_decimals(v) for v in value]
    if isinstance(value, dict):
        return {k: _without_decimals(v) for k, v in value.items()}
    return value


def _is_cut(error: Exception, size: int) -> bool:
    """Whether the text of a value, of which ``size`` characters are there, may go on behind them."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= size - _TOKEN_LENGTH


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg} at character {error.colno}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, ArithmeticError):
        return "a number in it is out of every range"
    return f"it is not UTF-8: {error.reason}" if isinstance(error, UnicodeDecodeError) else str(error)
