"""Arrow batches as CSV, a column at a time: first the text of every cell, then lines of cells."""

from __future__ import annotations

import codecs
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import UsageError
from ...schema import Type
from .plain_values import plain_column
from .text import TSV_ESCAPES, is_utf8
from .writing import WriteOptions  # circle: `writing` chooses among the formats

_BATCH_ROWS = 16384
#: Characters of the texts of numbers, booleans, moments and UUIDs: with such a delimiter they need quotes, too.
_IN_NUMBERS = "0123456789abcdefnrstuilyINTZ+-.: "


class CsvWriter:
    """Writes CSV: texts in quotes where they need them, a null as an empty field or as the style's word for it.

    Bytes are base64, a nested value or tensor is JSON, so that COPY reads the same values again.
    """

    def __init__(self, file: Any, path: Path, schema: pa.Schema, types: Sequence[Type | None], options: WriteOptions):
        style = options.csv.of_file(path)
        self.file, self.types, self.null = file, types, style.null or ""
        self.delimiter, self.backslashes = style.delimiter or ",", bool(style.backslashes)
        self.quote, self.escape = style.quote, style.escape
        self.charset = style.charset
        self.encode = None if is_utf8(style.charset) else codecs.getincrementalencoder(style.charset)().encode
        special = [self.delimiter, "\n", "\r", self.quote or "", self.escape or ""]
        # A character class of a regular expression; by their codes no character has a meaning there.
        self.special = "[" + "".join(f"\\x{{{ord(c):X}}}" for c in special if c) + "]"
        self.path = path
        if style.header:
            self._put([pa.array([name]) for name in schema.names], [self._quoted] * len(schema.names))

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            part = batch.slice(start, _BATCH_ROWS)
            cells = [_texts(column, t) for column, t in zip(part.columns, self.types, strict=True)]
            self._put([c for c, _ in cells], [self._quoted if text else self._bare for _, text in cells])

    def _put(self, columns: list[pa.Array], finish: list[Any]) -> None:
        alone = len(columns) == 1
        cells = [f(column.cast(pa.large_string()), alone) for f, column in zip(finish, columns, strict=True)]
        lines = pc.binary_join_element_wise(*cells, pa.scalar(self.delimiter, pa.large_string()))
        lines = pc.binary_join_element_wise(lines, pa.scalar("\n", pa.large_string()), pa.scalar("", pa.large_string()))
        _, offsets, text = lines.buffers()  # a new array: the buffer has no other text
        ends = memoryview(offsets).cast("q")
        first, last = ends[lines.offset], ends[lines.offset + len(lines)]
        block = text.slice(first, last - first)
        if self.encode is None:
            self.file.write(block)
            return
        try:
            self.file.write(self.encode(block.to_pybytes().decode()))
        except UnicodeEncodeError as error:
            raise UsageError(f"{self.path}: {error.object[error.start]!r} is no character of {self.charset}") from None

    def _bare(self, cells: pa.Array, alone: bool) -> pa.Array:
        """Cells of numbers and the like, which need quotes only with a strange delimiter."""
        return self._quoted(cells, alone) if self.delimiter in _IN_NUMBERS else self._nulls(cells, alone)

    def _nulls(self, cells: pa.Array, alone: bool) -> pa.Array:
        if not cells.null_count:
            return cells
        # An empty line is no row, so a null of a single column needs a word.
        if alone and not self.null:
            raise UsageError(f"{self.path}: a null alone in its line would be lost: name a text for it (NULL, --null)")
        return pc.fill_null(cells, self.null)

    def _quoted(self, cells: pa.Array, alone: bool) -> pa.Array:
        if self.backslashes:
            if alone and pc.any(pc.equal(cells, "")).as_py():
                raise UsageError(f"{self.path}: an empty text alone in its line would be lost: write a .csv")
            for character, escape in TSV_ESCAPES.items():
                cells = pc.replace_substring(cells, character, escape)
            return self._nulls(cells, alone)
        needs = pc.match_substring_regex(cells, self.special)
        needs = pc.or_(needs, pc.equal(cells, self.null))  # without quotes this text is read as a null
        needs = pc.or_(needs, pc.equal(cells, ""))
        needs = pc.fill_null(needs, False)
        if pc.any(needs).as_py():
            cells = pc.if_else(needs, self._in_quotes(cells), cells)
        return self._nulls(cells, alone)

    def _in_quotes(self, cells: pa.Array) -> pa.Array:
        if self.quote is None:
            if self.escape is None:
                raise UsageError(f"{self.path}: a text needs quotes, and QUOTE says that there are none")
            return pc.replace_substring_regex(cells, f"({self.special})", _template(self.escape) + r"\1")
        if self.escape is not None:
            cells = pc.replace_substring(cells, self.escape, self.escape * 2)
        cells = pc.replace_substring(cells, self.quote, self.quote * 2)
        quote = pa.scalar(self.quote, pa.large_string())
        return pc.binary_join_element_wise(quote, cells, quote, pa.scalar("", pa.large_string()))

    def close(self) -> None:
        """Write the end of the format."""
        self.file.close()


def _template(text: str) -> str:
    """A character, escaped for a replacement of RE2."""
    return "\\\\" if text == "\\" else text


def _texts(array: pa.Array, t: Type | None) -> tuple[pa.Array, bool]:
    """A column's cells as text, and whether they may need quotes."""
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array, True
    if isinstance(kind, pa.UuidType):
        values = array.storage.to_pylist()
        return pa.array([None if v is None else str(uuid.UUID(bytes=v)) for v in values], pa.large_string()), False
    if pa.types.is_float16(kind):
        return array.cast(pa.float32()).cast(pa.large_string()), False
    simple = pa.types.is_primitive(kind) or pa.types.is_decimal(kind)
    if simple and not pa.types.is_duration(kind) and not pa.types.is_interval(kind):
        return array.cast(pa.large_string()), False
    values = plain_column(array, t)
    texts = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    return pa.array(texts, pa.large_string()), True
