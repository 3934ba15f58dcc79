"""CSV text as columns: which fields are missing, which are null, and how a column's type reads the others."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from ..._native.csv_block import PlainCsv
from ...errors import SchemaError
from ...kinds import ByKind
from ...schema import NESTED, SCALARS, Type, from_arrow
from ..cast import cast_column
from .plain_values import Misfit, column_of_plain, value_text
from .source import CsvStyle, ReadOptions, with_defaults
from .text import unescaped

_INVALID = re.compile(r"In CSV column #(\d+): .*?invalid value '(.*)'", re.DOTALL)
_IN_COLUMN = re.compile(r"In CSV column #(\d+): (?:Row #\d+: )?(?:CSV conversion error to \S+: )?(.*)", re.DOTALL)
_WIDTH = re.compile(r"Expected (\d+) columns, got (\d+)")
_TRUE, _FALSE = ["1", "true", "TRUE", "True", "t", "T", "yes"], ["0", "false", "FALSE", "False", "f", "F", "no"]


#: A block of pyarrow's reader holds all of the text, and at least so many bytes.
_LEAST_BLOCK_BYTES = 1 << 10


class _Field(Enum):
    """How a column's type reads a field of a file."""

    VALUE = auto()  # what pyarrow reads
    HALF = auto()  # a FLOAT16, of which pyarrow reads FLOAT32
    TEXT = auto()  # the value itself
    BYTES = auto()  # the value itself, or base64 if the style says so
    WORD = auto()  # text that is read when the batch is loaded
    JSON = auto()


_FIELDS: ByKind[_Field] = ByKind(
    "fields of a CSV file",
    {
        **dict.fromkeys(SCALARS, _Field.VALUE),
        "FLOAT16": _Field.HALF,
        "STRING": _Field.TEXT,
        "BINARY": _Field.BYTES,
        "UUID": _Field.WORD,
        **dict.fromkeys(("TENSOR", *NESTED), _Field.JSON),
    },
)


class Converter:
    """Makes batches of CSV text. Any thread may call it, once ``look_at`` and ``schema`` have decided all types.

    Args:
        names: the file's columns.
        selection: the columns to read.
        types: of the columns to read, as far as the options say; ``look_at`` guesses the others.
        style: how the text is written.
        delimiter: between fields.
        options: defaults of missing fields, and advice for errors.
    """

    def __init__(
        self,
        names: list[str],
        selection: list[str],
        types: Mapping[str, Type],
        style: CsvStyle,
        delimiter: str,
        options: ReadOptions,
    ):
        self.names, self.selection, self.types = names, selection, dict(types)
        self.style, self.delimiter, self.options = style, delimiter, options
        self.arrow = {name: self._arrow(t) for name, t in types.items()}
        defaults = {name: options.default(name) for name in selection}
        self.defaults = {name: default for name, default in defaults.items() if default is not None}
        # Columns whose values are the texts of the fields, empty ones too.
        self.texts = [n for n in selection if n in types and self._is_text(types[n])]
        self.plain: PlainCsv | None = None

    def _is_text(self, t: Type) -> bool:
        field = _FIELDS[t.kind]
        return field is _Field.TEXT or field is _Field.BYTES and not self.style.base64

    def _arrow(self, t: Type) -> pa.DataType:
        """The type of a column for pyarrow's reader."""
        field = _FIELDS[t.kind]
        if field in (_Field.JSON, _Field.WORD) or field is _Field.BYTES and self.style.base64:
            return pa.large_string()
        return pa.float32() if field is _Field.HALF else t.arrow()

    def of_text(self) -> Converter:
        """A converter of all columns as text, which fails only where a record has another number of fields."""
        text = Type("STRING")
        types = dict.fromkeys(self.selection, text)
        return Converter(self.names, self.selection, types, self.style, self.delimiter, ReadOptions())

    def look_at(self, text: bytes) -> None:
        """Guess the types of the columns that the options give none, by some text."""
        names = [name for name in self.selection if name not in self.arrow]
        if names:
            for field in self._table(text, names, {}).schema:
                self.arrow[field.name] = pa.string() if pa.types.is_null(field.type) else field.type

    def schema(self) -> pa.Schema:
        """The schema of the batches; a column without a type becomes text."""
        for name in self.selection:
            self.arrow.setdefault(name, pa.string())
        self.plain = self._plain()
        return pa.schema([(n, self._batch_type(n)) for n in self.selection])

    def _plain(self) -> PlainCsv | None:
        """What reads blocks of plain fields; None: the file's style or a column needs pyarrow."""
        style = self.style
        if style.null or style.escape is not None or style.quote not in (None, '"', "'"):
            return None
        types = []
        for name in self.selection:
            try:
                types.append(from_arrow(self.arrow[name]))
            except SchemaError:
                return None
            if types[-1].arrow() != self.arrow[name]:
                return None
        if not PlainCsv.known(types, self.delimiter):
            return None
        places = {name: place for place, name in enumerate(self.selection)}
        fields = [places.get(name, -1) for name in self.names]
        return PlainCsv(types, fields, self.delimiter, style.quote, style.null is not None)

    def _batch_type(self, name: str) -> pa.DataType:
        t = self.types.get(name)
        if t is not None and (name in self.defaults or _FIELDS[t.kind] in (_Field.JSON, _Field.BYTES)):
            return t.arrow()
        return self.arrow[name]

    def __call__(self, text: bytes) -> pa.RecordBatch:
        """A batch of complete records.

        Raises:
            pyarrow.ArrowInvalid: the text does not fit the types; ``explain`` makes a message of the error.
            SchemaError: a field does not fit the column; the message begins with a comma, to follow the line's number.
        """
        table = self._read(text)
        if table.num_rows and self.style.null:
            table = self._without_empty_nulls(table, text)
        missing = self._missing(table, text) if self.defaults else {}
        if self.style.backslashes and b"\\" in text:
            table = pa.table([_unescaped(column) for column in table.columns], names=table.column_names)
        columns = [self._column(name, table, missing.get(name)) for name in self.selection]
        return pa.RecordBatch.from_arrays(columns, names=self.selection)

    def _read(self, text: bytes) -> pa.Table:
        if text.endswith(self.delimiter.encode()):  # an empty field, which pyarrow takes for one in quotes at times
            text += b"\n"
        plain = self.plain.read(text) if self.plain is not None else None
        if plain is not None:
            return pa.table(plain, names=self.selection)
        try:
            return self._table(text, self.selection, self.arrow)
        except pa.ArrowInvalid:
            quote = (self.style.quote or "").encode()
            instants = [n for n, t in self.types.items() if t.kind == "TIMESTAMP" and t.utc]
            if not instants and (not quote or quote * 2 not in text):
                raise
            return self._read_leniently(text, instants)

    def _read_leniently(self, text: bytes, instants: list[str]) -> pa.Table:
        """Read empty quotes of a column of numbers as null, and moments without a time zone as UTC."""
        others = [name for name in self.selection if name not in self.texts]
        texts = self._table(text, self.texts, self.arrow) if self.texts else None
        try:
            rest = self._table(text, others, self.arrow, quoted_nulls=True)
        except pa.ArrowInvalid:
            if not instants:
                raise
            naive = {**self.arrow, **{n: pa.timestamp(self.types[n].unit) for n in instants}}
            rest = self._table(text, others, naive, quoted_nulls=True)
            for name in instants:
                at = rest.column_names.index(name)
                rest = rest.set_column(at, name, rest.column(at).cast(self.arrow[name]))
        columns = [(texts if n in self.texts and texts is not None else rest).column(n) for n in self.selection]
        return pa.table(columns, names=self.selection)

    def _table(
        self,
        text: bytes,
        selection: list[str],
        types: Mapping[str, Any],
        *,
        nulls: list[str] | None = None,
        quoted_nulls: bool = False,
    ) -> pa.Table:
        style = self.style
        quoted = style.quote is not None and style.quote.encode() in text
        convert: dict[str, Any] = {}
        if style.null is not None:
            convert["null_values"] = ["", style.null] if nulls is None else nulls
            convert["strings_can_be_null"] = True
        return arrow_csv.read_csv(
            pa.py_buffer(text),
            read_options=arrow_csv.ReadOptions(
                column_names=self.names, use_threads=False, block_size=max(len(text) + 1, _LEAST_BLOCK_BYTES)
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char=style.quote or False,
                escape_char=style.escape or False,
                newlines_in_values=quoted or style.escape is not None,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: types[name] for name in selection if name in types},
                include_columns=selection,
                true_values=_TRUE,
                false_values=_FALSE,
                quoted_strings_can_be_null=quoted_nulls,
                **convert,
            ),
        )

    def _without_empty_nulls(self, table: pa.Table, text: bytes) -> pa.Table:
        """The table with empty fields of texts as empty texts: in this style another word is the null."""
        guessed = [n for n in self.selection if n not in self.types and pa.types.is_string(self.arrow[n])]
        names = [n for n in (*self.texts, *guessed) if table.column(n).null_count]
        if names:
            texts = self._table(text, names, self.arrow, nulls=[self.style.null or ""])
            for name in names:
                table = table.set_column(table.column_names.index(name), name, texts.column(name))
        return table

    def _missing(self, table: pa.Table, text: bytes) -> dict[str, pa.ChunkedArray]:
        """Masks of the rows without a value, for columns with a default; the word for null is a value."""
        names = [name for name in self.defaults if table.column(name).null_count]
        if not self.style.null:
            return {name: table.column(name).is_null() for name in names}
        names = [name for name in names if name not in self.texts]  # an empty text is a value
        if not names:
            return {}
        texts = self._table(text, names, dict.fromkeys(names, pa.large_string()), nulls=[self.style.null])
        return {name: pc.fill_null(pc.equal(texts.column(name), ""), False) for name in names}

    def _column(self, name: str, table: pa.Table, missing: pa.ChunkedArray | None) -> pa.Array:
        chunks = table.column(name).chunks
        array = chunks[0] if len(chunks) == 1 else table.column(name).combine_chunks()  # copies even a single chunk
        t = self.types.get(name)
        if t is None:
            return array
        try:
            field = _FIELDS[t.kind]
            if field is _Field.JSON:
                array = column_of_plain([_json(v, row) if v else None for row, v in enumerate(array.to_pylist())], t)
            elif field is _Field.BYTES and self.style.base64:
                array = column_of_plain(array.to_pylist(), t)
        except Misfit as error:
            raise SchemaError(f", column {name} {t.text()}: {error.why}{self._advice(name)}", column=name) from None
        if name not in self.defaults:
            return array
        array = cast_column(array, t, f"column {name} {t.text()}")
        if missing is None:
            return array
        return with_defaults(array, missing.combine_chunks(), self.defaults[name])

    def explain(self, error: pa.ArrowInvalid) -> SchemaError:
        """The error of a record with which pyarrow failed; its message goes on from the line's number."""
        message = str(error)
        width = _WIDTH.search(message)
        if width:
            fields = "field" if width[2] == "1" else "fields"
            return SchemaError(f": it has {width[2]} {fields} where {width[1]} were expected, {', '.join(self.names)}")
        match = _INVALID.search(message) or _IN_COLUMN.search(message)
        if match is None:
            return SchemaError(f": {message}")
        name = self.names[int(match[1])]
        t = self.types.get(name)
        kind = t.text() if t is not None else str(self.arrow.get(name, ""))
        why = f"{match[2]!r} does not fit" if match.re is _INVALID else match[2]
        return SchemaError(f", column {name} {kind}: {why}{self._advice(name)}", column=name)

    def _advice(self, name: str) -> str:
        return self.options.advice.format(name)


def _unescaped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        return column
    return pa.chunked_array([_unescaped_chunk(chunk) for chunk in column.chunks], column.type)


def _unescaped_chunk(chunk: pa.Array) -> pa.Array:
    found = pc.fill_null(pc.match_substring(chunk, "\\"), False)
    texts = [unescaped(text) for text in chunk.filter(found).to_pylist()]
    return pc.replace_with_mask(chunk, found, pa.array(texts, chunk.type)) if texts else chunk


def _json(text: str, row: int) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Misfit(row, f"{value_text(text)} is no JSON") from None
