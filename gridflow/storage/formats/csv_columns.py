"""CSV text as columns: which fields are missing, which are null, and what the others mean to a column's type."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from ...errors import SchemaError
from ...kinds import ByKind
from ...schema import NESTED, SCALARS, Type
from ..cast import cast_column
from .plain_values import Misfit, column_of_plain, shown
from .source import CsvStyle, ReadOptions, with_defaults

_INVALID = re.compile(r"In CSV column #(\d+): .*?invalid value '(.*)'", re.DOTALL)
_IN_COLUMN = re.compile(r"In CSV column #(\d+): (?:Row #\d+: )?(?:CSV conversion error to \S+: )?(.*)", re.DOTALL)
_WIDTH = re.compile(r"Expected (\d+) columns, got (\d+)")
_TRUE, _FALSE = ["1", "true", "TRUE", "True", "t", "T", "yes"], ["0", "false", "FALSE", "False", "f", "F", "no"]


class _Field(Enum):
    """What a field of a file is to a column's type."""

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
    """Makes a batch of CSV text. Any thread may call it, once the types of all columns are known.

    Args:
        names: the file's columns. read: those of them that are wanted.
        types: their types where they are given; ``look_at`` finds the others.
    """

    def __init__(
        self,
        names: list[str],
        read: list[str],
        types: Mapping[str, Type],
        style: CsvStyle,
        delimiter: str,
        options: ReadOptions,
    ):
        self.names, self.read, self.types = names, read, dict(types)
        self.style, self.delimiter, self.options = style, delimiter, options
        self.arrow = {name: self._arrow(t) for name, t in types.items()}
        found = {name: options.default(name) for name in read}
        self.defaults = {name: default for name, default in found.items() if default is not None}
        # Columns whose text stays as it is, even if there is none.
        self.texts = [n for n in read if n in types and self._is_text(types[n])]

    def _is_text(self, t: Type) -> bool:
        field = _FIELDS[t.kind]
        return field is _Field.TEXT or field is _Field.BYTES and not self.style.base64

    def _arrow(self, t: Type) -> pa.DataType:
        """The type in which pyarrow is to read a column."""
        field = _FIELDS[t.kind]
        if field in (_Field.JSON, _Field.WORD) or field is _Field.BYTES and self.style.base64:
            return pa.large_string()
        return pa.float32() if field is _Field.HALF else t.arrow()

    def of_text(self) -> Converter:
        """The same, with all columns text: what fails then is no record at all."""
        text = Type("STRING")
        types = dict.fromkeys(self.read, text)
        return Converter(self.names, self.read, types, self.style, self.delimiter, ReadOptions())

    def look_at(self, text: bytes) -> None:
        """Find the types of the columns whose types are not given."""
        unknown = [name for name in self.read if name not in self.arrow]
        if unknown:
            for field in self._table(text, unknown, {}).schema:
                self.arrow[field.name] = pa.string() if pa.types.is_null(field.type) else field.type

    def schema(self) -> pa.Schema:
        """The schema of the batches; a column of no known type is text."""
        for name in self.read:
            self.arrow.setdefault(name, pa.string())
        return pa.schema([(n, self._made(n)) for n in self.read])

    def _made(self, name: str) -> pa.DataType:
        t = self.types.get(name)
        if t is not None and (name in self.defaults or _FIELDS[t.kind] in (_Field.JSON, _Field.BYTES)):
            return t.arrow()
        return self.arrow[name]

    def __call__(self, text: bytes) -> pa.RecordBatch:
        """A batch of complete records.

        Raises:
            pyarrow.ArrowInvalid: ``explain`` says what is wrong.
            SchemaError: a field does not fit its column; begins with a comma, to go on from the line's number.
        """
        table = self._read(text)
        if table.num_rows and self.style.null:
            table = self._without_empty_nulls(table, text)
        missing = self._missing(table, text) if self.defaults else {}
        columns = [self._column(name, table, missing.get(name)) for name in self.read]
        return pa.RecordBatch.from_arrays(columns, names=self.read)

    def _read(self, text: bytes) -> pa.Table:
        try:
            return self._table(text, self.read, self.arrow)
        except pa.ArrowInvalid:
            quote = (self.style.quote or "").encode()
            instants = [n for n, t in self.types.items() if t.kind == "TIMESTAMP" and t.utc]
            if not instants and (not quote or quote * 2 not in text):
                raise
            return self._read_leniently(text, instants)

    def _read_leniently(self, text: bytes, instants: list[str]) -> pa.Table:
        """Quotes around no number are no number, and a moment without a time zone is one in UTC."""
        others = [name for name in self.read if name not in self.texts]
        found = self._table(text, self.texts, self.arrow) if self.texts else None
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
        columns = [(found if n in self.texts and found is not None else rest).column(n) for n in self.read]
        return pa.table(columns, names=self.read)

    def _table(
        self,
        text: bytes,
        read: list[str],
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
                column_names=self.names, use_threads=False, block_size=max(len(text) + 1, 1 << 10)
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char=style.quote or False,
                escape_char=style.escape or False,
                newlines_in_values=quoted or style.escape is not None,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: types[name] for name in read if name in types},
                include_columns=read,
                true_values=_TRUE,
                false_values=_FALSE,
                quoted_strings_can_be_null=quoted_nulls,
                **convert,
            ),
        )

    def _without_empty_nulls(self, table: pa.Table, text: bytes) -> pa.Table:
        """Where a word stands for null, a text that is empty is an empty text."""
        again = [n for n in self.texts if table.column(n).null_count]
        if again:
            exact = self._table(text, again, self.arrow, nulls=[self.style.null or ""])
            for name in again:
                table = table.set_column(table.column_names.index(name), name, exact.column(name))
        return table

    def _missing(self, table: pa.Table, text: bytes) -> dict[str, pa.ChunkedArray]:
        """Which rows of a column with a default have no value; a null that is written out is one."""
        names = [name for name in self.defaults if table.column(name).null_count]
        if not self.style.null:
            return {name: table.column(name).is_null() for name in names}
        names = [name for name in names if name not in self.texts]  # a text that is empty is there
        if not names:
            return {}
        texts = self._table(text, names, dict.fromkeys(names, pa.large_string()), nulls=[self.style.null])
        return {name: pc.fill_null(pc.equal(texts.column(name), ""), False) for name in names}

    def _column(self, name: str, table: pa.Table, missing: pa.ChunkedArray | None) -> pa.Array:
        chunks = table.column(name).chunks
        array = chunks[0] if len(chunks) == 1 else table.column(name).combine_chunks()  # which copies even one
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
            raise SchemaError(f", column {name} {t.text()}: {error.why}{self._advice(name)}") from None
        if name not in self.defaults:
            return array
        array = cast_column(array, t, f"column {name} {t.text()}")
        if missing is None:
            return array
        return with_defaults(array, missing.combine_chunks(), self.defaults[name])

    def explain(self, error: pa.ArrowInvalid) -> str:
        """What is wrong with a record for which pyarrow raised this; goes on from the line's number."""
        message = str(error)
        width = _WIDTH.search(message)
        if width:
            fields = "field" if width[2] == "1" else "fields"
            return f": it has {width[2]} {fields} where {width[1]} were expected, {', '.join(self.names)}"
        found = _INVALID.search(message) or _IN_COLUMN.search(message)
        if found is None:
            return f": {message}"
        name = self.names[int(found[1])]
        t = self.types.get(name)
        kind = t.text() if t is not None else str(self.arrow.get(name, ""))
        why = f"{found[2]!r} does not fit" if found.re is _INVALID else found[2]
        return f", column {name} {kind}: {why}{self._advice(name)}"

    def _advice(self, name: str) -> str:
        return self.options.advice.format(name)


def _json(text: str, row: int) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Misfit(row, f"{shown(text)} is no JSON") from None
