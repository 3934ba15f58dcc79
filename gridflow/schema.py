"""Column types and table schemas: what a row may hold, and its names in SQL, Arrow and numpy.

A type is written as text the same way everywhere (``CREATE TABLE``, ``create_table``, messages):

    BOOL  INT8..INT64  UINT8..UINT64  FLOAT16 FLOAT32 FLOAT64  DECIMAL(p,s)  STRING  BINARY
    DATE  TIME  TIMESTAMP  TIMESTAMP_S _MS _NS  TIMESTAMP_TZ  UUID
    UINT8[28,28]                       a tensor of fixed shape
    LIST<T>   MAP<K, V>   STRUCT<A INT32, B LIST<STRING>>
    ... NOT NULL

Ignite's and ANSI's names (LONG, VARCHAR, DOUBLE, ...) are read as well; see ``ALIASES``; and DuckDB's ``T[]``,
``STRUCT(A T)`` and ``MAP(K, V)``. Note that ``INT8`` is an integer of 8 bits here, not H2's alias of BIGINT.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from .errors import ColumnNotFoundError, SchemaError, did_you_mean
from .kinds import FLOATS as FLOATS
from .kinds import INTEGERS as INTEGERS
from .kinds import KINDS as KINDS
from .kinds import NESTED as NESTED
from .kinds import NUMBERS as NUMBERS
from .kinds import SCALARS as SCALARS
from .kinds import TENSOR_ELEMENTS as TENSOR_ELEMENTS
from .kinds import ByKind

ALIASES = {
    "BOOLEAN": "BOOL",
    "BIT": "BOOL",
    "BYTE": "INT8",
    "TINYINT": "INT8",
    "SHORT": "INT16",
    "SMALLINT": "INT16",
    "INT": "INT32",
    "INTEGER": "INT32",
    "MEDIUMINT": "INT32",
    "LONG": "INT64",
    "BIGINT": "INT64",
    "UTINYINT": "UINT8",
    "USMALLINT": "UINT16",
    "UINTEGER": "UINT32",
    "UBIGINT": "UINT64",
    "HALF": "FLOAT16",
    "REAL": "FLOAT32",
    "FLOAT4": "FLOAT32",
    "DOUBLE": "FLOAT64",
    "DOUBLE PRECISION": "FLOAT64",
    "FLOAT": "FLOAT64",
    "FLOAT8": "FLOAT64",
    "NUMERIC": "DECIMAL",
    "NUMBER": "DECIMAL",
    "DEC": "DECIMAL",
    "VARCHAR": "STRING",
    "CHAR": "STRING",
    "CHARACTER": "STRING",
    "VARCHAR2": "STRING",
    "NVARCHAR": "STRING",
    "TEXT": "STRING",
    "CLOB": "STRING",
    "VARBINARY": "BINARY",
    "BYTEA": "BINARY",
    "BLOB": "BINARY",
    "RAW": "BINARY",
    "LONGVARBINARY": "BINARY",
    "DATETIME": "TIMESTAMP",
    "SMALLDATETIME": "TIMESTAMP",
    "TIMESTAMPTZ": "TIMESTAMP_TZ",
    "ARRAY": "LIST",
}

_UNIT_NAMES = {"TIMESTAMP_S": "s", "TIMESTAMP_MS": "ms", "TIMESTAMP": "us", "TIMESTAMP_NS": "ns"}
_UNIT_TO_NAME = {unit: name for name, unit in _UNIT_NAMES.items()}


@dataclass(frozen=True)
class Type:
    """The type of a column or of a part of one.

    Attributes:
        kind: one of ``KINDS``.
        nullable: whether a null is allowed.
        precision, scale: digits of a DECIMAL; ``precision`` is 1 to 38.
        unit, utc: of a TIMESTAMP: s, ms, us or ns; whether it is an instant in UTC.
        element, shape: of a TENSOR: kind of its numbers, and its fixed shape.
        children: (name, Type) of a STRUCT's fields; of a LIST one, ``item``; of a MAP ``key``, ``value``.

    >>> str(parse_type("STRUCT<size LONG, pixels UINT8[28,28] NOT NULL>"))
    'STRUCT<size INT64, pixels UINT8[28,28] NOT NULL>'
    """

    kind: str
    nullable: bool = True
    precision: int = 0
    scale: int = 0
    unit: str = ""
    utc: bool = False
    element: str = ""
    shape: tuple[int, ...] = ()
    children: tuple[tuple[str, Type], ...] = ()

    def __str__(self) -> str:
        return self.text() + ("" if self.nullable else " NOT NULL")

    def text(self) -> str:
        """The type without its nullability."""
        return _TEXT[self.kind](self)

    def not_null(self) -> Type:
        """The same type without nulls."""
        return replace(self, nullable=False)

    @property
    def dtype(self) -> np.dtype:
        """numpy dtype of a number, a boolean or of a tensor's elements."""
        kind = self.element or self.kind
        dtype = KINDS[kind].dtype if kind in TENSOR_ELEMENTS else None
        if dtype is None:
            raise SchemaError(f"{self} has no numpy dtype")
        return dtype

    @property
    def size(self) -> int:
        """How many numbers a tensor holds."""
        return int(np.prod(self.shape, dtype=np.int64))

    def arrow(self) -> pa.DataType:
        """The Arrow type in which segments lay this column out.

        >>> parse_type("LIST<VARCHAR>").arrow()
        LargeListType(large_list<item: large_string>)
        """
        return _ARROW[self.kind](self)


def _timestamp_text(t: Type) -> str:
    return "TIMESTAMP_TZ" if t.utc else _UNIT_TO_NAME[t.unit]


def _struct_text(t: Type) -> str:
    return "STRUCT<" + ", ".join(f"{quote_name(n)} {child}" for n, child in t.children) + ">"


_TEXT: ByKind[Callable[[Type], str]] = ByKind(
    "the text of a type",
    {
        **dict.fromkeys(SCALARS, lambda t: t.kind),
        "DECIMAL": lambda t: f"DECIMAL({t.precision},{t.scale})",
        "TIMESTAMP": _timestamp_text,
        "TENSOR": lambda t: f"{t.element}[{','.join(map(str, t.shape))}]",
        "LIST": lambda t: f"LIST<{t.children[0][1]}>",
        "MAP": lambda t: f"MAP<{t.children[0][1].text()}, {t.children[1][1]}>",
        "STRUCT": _struct_text,
    },
)

# The kinds that are one type of Arrow's.
_ARROW_TYPES = {
    "BOOL": pa.bool_(),
    **{k: getattr(pa, k.lower())() for k in INTEGERS},
    **{k: getattr(pa, k.lower())() for k in FLOATS},
    "STRING": pa.large_string(),
    "BINARY": pa.large_binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "UUID": pa.binary(16),
}
# A tensor's booleans are bytes: a tensor must be usable where it lies.
_ARROW_ELEMENT = {k: pa.uint8() if k == "BOOL" else _ARROW_TYPES[k] for k in TENSOR_ELEMENTS}


def _arrow_fields(t: Type) -> list[pa.Field]:
    return [pa.field(name, child.arrow(), nullable=child.nullable) for name, child in t.children]


def _arrow_map(t: Type) -> pa.DataType:
    key, value = _arrow_fields(t)
    return pa.map_(key.type, value)


_ARROW: ByKind[Callable[[Type], pa.DataType]] = ByKind(
    "Arrow types of segments",
    {
        **dict.fromkeys(_ARROW_TYPES, lambda t: _ARROW_TYPES[t.kind]),
        "DECIMAL": lambda t: pa.decimal128(t.precision, t.scale),
        "TIMESTAMP": lambda t: pa.timestamp(t.unit, tz="UTC" if t.utc else None),
        "TENSOR": lambda t: pa.list_(pa.field("item", _ARROW_ELEMENT[t.element], nullable=False), t.size),
        "LIST": lambda t: pa.large_list(_arrow_fields(t)[0]),
        "MAP": _arrow_map,
        "STRUCT": lambda t: pa.struct(_arrow_fields(t)),
    },
)

_FROM_ARROW = {t: k for k, t in _ARROW_TYPES.items() if k != "UUID"}
_FROM_ARROW |= {
    pa.string(): "STRING",
    pa.string_view(): "STRING",
    pa.binary(): "BINARY",
    pa.binary_view(): "BINARY",
    pa.date64(): "DATE",
    pa.time32("s"): "TIME",
    pa.time32("ms"): "TIME",
    pa.time64("ns"): "TIME",
}


@dataclass(frozen=True)
class Column:
    """A named column.

    ``id`` stays the same for the table's whole life, also when it is renamed. ``fill`` is what rows have that were
    written before the column was added, in the log's encoding; empty: they have a null. ``default`` is the same of what
    rows have that do not name the column.
    """

    name: str
    type: Type
    id: int = 0
    fill: bytes = field(default=b"", repr=False)
    default: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        return f"{quote_name(self.name)} {self.type}"


@dataclass(frozen=True)
class Schema:
    """The columns of a table and which of them are its primary key, in the key's order.

    >>> schema = Schema.of({"ID": "LONG", "PIXELS": "UINT8[28,28]", "NAME": "VARCHAR"}, key="ID")
    >>> print(schema)
    ID INT64 NOT NULL, PIXELS UINT8[28,28], NAME STRING, PRIMARY KEY (ID)
    """

    columns: tuple[Column, ...]
    key: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        parts = [*map(str, self.columns), f"PRIMARY KEY ({', '.join(map(quote_name, self.key))})"]
        return ", ".join(parts)

    @classmethod
    def of(cls, columns: Any, key: str | Iterable[str]) -> Schema:
        """Make a schema of anything that names columns and types.

        Args:
            columns: a mapping of name to type (text, ``Type``, numpy dtype or ``pyarrow.DataType``),
                a ``pyarrow.Schema``, a text ``"A LONG, B UINT8[28,28]"``, or a Schema.
            key: the name of the key column, or several.

        Raises:
            SchemaError: a type is unknown or cannot be a key.
            ColumnNotFoundError: the key names a column that is not there.
        """
        defaults: dict[str, bytes] = {}
        if isinstance(columns, Schema):
            defaults = {c.name: c.default for c in columns.columns}
            pairs = [(c.name, c.type) for c in columns.columns]
        elif isinstance(columns, pa.Schema):
            pairs = [(f.name, replace(_typed(f.name, f.type), nullable=f.nullable)) for f in columns]
        elif isinstance(columns, str):
            pairs = parse_columns(columns)
        elif isinstance(columns, Mapping):
            pairs = [(str(name), _typed(name, t)) for name, t in columns.items()]
        else:
            try:
                pairs = [(str(name), _typed(name, t)) for name, t in columns]
            except (TypeError, ValueError) as error:
                if isinstance(error, SchemaError):
                    raise
                raise SchemaError(f"{columns!r} does not name columns and types, as {{'ID': 'LONG'}} does") from None
        if not isinstance(key, (str, Iterable)):
            raise SchemaError(f"a key is the name of a column, or several, not {key!r}")
        keys = (key,) if isinstance(key, str) else tuple(key)
        names = [name for name, _ in pairs]
        for name, t in pairs:
            _check_name(name, "column")
            _check_type(t, f"column {name} {t.kind}")
        if len(set(names)) != len(names):
            duplicate = next(n for n in names if names.count(n) > 1)
            raise SchemaError(f"column {duplicate} is named twice")
        if not keys or len(set(keys)) != len(keys):
            raise SchemaError("a table needs a primary key: one column or several different ones")
        types = dict(pairs)
        for name in keys:
            if name not in types:
                raise ColumnNotFoundError(
                    f"no column {name} for the primary key; {did_you_mean(name, names)}", column=name
                )
            if types[name].kind not in SCALARS:
                raise SchemaError(f"column {name} {types[name]} cannot be a key: a key is a scalar")
            types[name] = types[name].not_null()
        return cls(tuple(Column(n, types[n], i + 1, default=defaults.get(n, b"")) for i, n in enumerate(names)), keys)

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {c.name: c for c in self.columns}

    @property
    def names(self) -> list[str]:
        """The names of all columns, in order."""
        return [c.name for c in self.columns]

    @cached_property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the primary key, in the key's order."""
        return tuple(self._by_name[n] for n in self.key)

    @cached_property
    def value_columns(self) -> tuple[Column, ...]:
        """The columns that are not in the key, in order."""
        return tuple(c for c in self.columns if c.name not in self.key)

    @property
    def plain_value(self) -> bool:
        """Whether a row's value is one nameless value (column ``_VAL``) and not a dict of columns."""
        return len(self.value_columns) == 1 and self.value_columns[0].name == "_VAL"

    def __getitem__(self, name: str) -> Column:
        try:
            return self._by_name[name]
        except KeyError:
            raise ColumnNotFoundError(f"no column {name}; {did_you_mean(name, self.names)}", column=name) from None

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def arrow(self) -> pa.Schema:
        """The Arrow schema in which segments lay rows out."""
        return pa.schema([pa.field(c.name, c.type.arrow(), nullable=c.type.nullable) for c in self.columns])


#: Deeper nesting is refused: Arrow takes 64 levels, and a MAP makes two of them.
MAX_DEPTH = 30
#: numpy has 64; one is for the rows of a batch.
MAX_DIMENSIONS = 63
#: Digits of a DECIMAL: those of Arrow's decimal128.
MAX_PRECISION = 38
#: The digits after the point of a DECIMAL that does not say how many it has.
_DEFAULT_SCALE = 9
_MAX_NAME_BYTES = 1024
_MAX_TENSOR_BYTES = 1 << 31

#: Digits of a number in a type's text.
_MOST_DIGITS = 100
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_TOKEN = re.compile(r'\s*(?:(?P<name>[A-Za-z_][\w$]*)|"(?P<quoted>(?:[^"]|"")+)"|(?P<num>\d+)|(?P<op>[<>\[\](),]))')


def _check_name(name: str, what: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise SchemaError(f"{name!r} cannot be a {what} name: it cannot be written as UTF-8") from None
    if not 1 <= size <= _MAX_NAME_BYTES or "\x00" in name:
        raise SchemaError(f"{name!r} cannot be a {what} name: it must have 1 to {_MAX_NAME_BYTES} bytes, no NUL")


def _check_type(t: Type, where: str, depth: int = 0) -> None:
    """Refuse a type that no segment can hold, wherever it came from: no file may ever be written with it."""

    def fail(why: str) -> SchemaError:
        return SchemaError(f"{where}: {why}")

    if depth > MAX_DEPTH:
        raise fail(f"types are nested at most {MAX_DEPTH} deep")
    if t.kind not in KINDS:
        raise fail(f"there is no kind of type {t.kind!r}")
    parts = KINDS[t.kind].parts
    if parts is None:
        if not t.children:
            raise fail(f"a {t.kind} has one field at least")
        names = [name for name, _ in t.children]
        for name in names:
            _check_name(name, "field")
        if len(set(names)) != len(names):
            raise fail(f"field {next(n for n in names if names.count(n) > 1)} is named twice")
    elif len(t.children) != parts:
        raise fail(f"a {t.kind} has {parts} types in it, not {len(t.children)}")
    if t.kind == "MAP" and (t.children[0][1].nullable or t.children[0][1].kind not in SCALARS):
        raise fail("the key of a MAP is a scalar that is not null")
    if t.kind == "DECIMAL" and not (1 <= t.precision <= MAX_PRECISION and 0 <= t.scale <= t.precision):
        raise fail(f"DECIMAL({t.precision},{t.scale}): precision is 1 to {MAX_PRECISION}, scale 0 to that")
    if t.kind == "TIMESTAMP" and (t.unit not in _UNIT_TO_NAME or t.utc and t.unit != "us"):
        raise fail(f"a TIMESTAMP has the unit s, ms, us or ns, one in UTC has us, not {t.unit!r}")
    if t.kind == "TENSOR":
        if t.element not in TENSOR_ELEMENTS:
            raise fail(f"a tensor holds numbers or booleans, not {t.element!r}")
        if not 1 <= len(t.shape) <= MAX_DIMENSIONS or min(t.shape) < 1:
            raise fail(f"a tensor has 1 to {MAX_DIMENSIONS} dimensions, each 1 at least, not {list(t.shape)}")
        if math.prod(t.shape) * t.dtype.itemsize > _MAX_TENSOR_BYTES:
            raise fail(f"a tensor has at most 2 GiB, not {t.element}{list(t.shape)}")
    for name, child in t.children:
        _check_type(child, f"{where}.{name}", depth + 1)


def quote_name(name: str) -> str:
    """A column or field name as it is written in a type's text."""
    return name if _PLAIN_NAME.match(name) else '"' + name.replace('"', '""') + '"'


def _typed(column: Any, spec: Any) -> Type:
    """The Type of a column; the error of an Arrow type names the column."""
    if not isinstance(spec, pa.DataType):
        return as_type(spec)
    try:
        return from_arrow(spec)
    except SchemaError as error:
        raise SchemaError(f"column {column}: {error}") from None


def as_type(spec: Any) -> Type:
    """A Type of its text, of a numpy dtype, a pyarrow type, a Python type, or of a Type."""
    if isinstance(spec, Type):
        return spec
    if isinstance(spec, str):
        return parse_type(spec)
    if isinstance(spec, pa.DataType):
        return from_arrow(spec)
    if isinstance(spec, type) and spec in _PYTHON_TYPES:
        return parse_type(_PYTHON_TYPES[spec])
    try:
        return from_dtype(np.dtype(spec))
    except TypeError:
        raise SchemaError(f"{spec!r} is not a type; write for example 'LONG' or 'UINT8[28,28]'") from None


def parse_type(text: str) -> Type:
    """Parse one type, for example ``DECIMAL(10,2) NOT NULL``.

    Raises:
        SchemaError: with what was not understood, and the nearest name.
    """
    parser = _Parser(text)
    result = parser.type()
    parser.end()
    return result


def parse_columns(text: str) -> list[tuple[str, Type]]:
    """Parse ``A LONG, B UINT8[28,28]`` into names and types."""
    parser = _Parser(text)
    result = parser.fields()
    parser.end()
    return result


class _Parser:
    """Recursive descent over the text of a type."""

    def __init__(self, text: str):
        self.text, self.at, self.depth = text, 0, 0
        self.tokens: list[tuple[str, str, int]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if not match:
                raise SchemaError(f"type {text!r}: cannot read {text[at:].strip()[:20]!r}")
            self.tokens.append((match.lastgroup or "", match.group(match.lastgroup or 0), match.start()))
            at = match.end()

    def peek(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.tokens[at][1] if at < len(self.tokens) else ""

    def fail(self, expected: str) -> SchemaError:
        actual = self.peek() or "the end"
        return SchemaError(f"type {self.text!r}: expected {expected}, found {actual}")

    def accept(self, *words: str) -> bool:
        here = [t[1].upper() for t in self.tokens[self.at : self.at + len(words)]]
        if here == list(words):
            self.at += len(words)
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.fail(word)

    def opened(self) -> str:
        """Read the bracket after STRUCT, LIST or MAP, ``<`` or DuckDB's ``(``; returns the one that closes it."""
        if self.accept("("):
            return ")"
        self.expect("<")
        return ">"

    def number(self) -> int:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] != "num":
            raise self.fail("a number")
        digits = self.tokens[self.at][1]
        if len(digits) > _MOST_DIGITS:
            raise SchemaError(f"type {self.text[:40]!r}...: a number of {len(digits):,} digits")
        self.at += 1
        return int(digits)

    def name(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] not in ("name", "quoted"):
            raise self.fail("a name")
        kind, word, _ = self.tokens[self.at]
        self.at += 1
        return word.replace('""', '"') if kind == "quoted" else word

    def end(self) -> None:
        if self.at < len(self.tokens):
            raise self.fail("the end")

    def fields(self) -> list[tuple[str, Type]]:
        result = [(self.name(), self.type())]
        while self.accept(","):
            result.append((self.name(), self.type()))
        return result

    def type(self) -> Type:
        self.depth += 1
        self._check_depth(self.depth)
        result = self._any_type()
        self.depth -= 1
        return result

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH + 1:
            raise SchemaError(f"types are nested at most {MAX_DEPTH} deep")

    def _any_type(self) -> Type:
        word = self.name().upper()
        if word == "DOUBLE":
            self.accept("PRECISION")
        word = ALIASES.get(word, word)
        if word == "STRUCT":
            closing = self.opened()
            fields = tuple(self.fields())
            self.expect(closing)
            if len({n for n, _ in fields}) != len(fields):
                raise SchemaError(f"type {self.text!r}: a field is named twice")
            result = Type("STRUCT", children=fields)
        elif word == "LIST":
            closing = self.opened()
            result = Type("LIST", children=(("item", self.type()),))
            self.expect(closing)
        elif word == "MAP":
            closing = self.opened()
            key = self.type().not_null()
            self.expect(",")
            result = Type("MAP", children=(("key", key), ("value", self.type())))
            self.expect(closing)
            if key.kind not in SCALARS:
                raise SchemaError(f"type {self.text!r}: the key of a MAP is a scalar")
        else:
            result = self.scalar(word)
        depth = self.depth
        while self.accept("[", "]"):
            depth += 1
            self._check_depth(depth)
            result = Type("LIST", children=(("item", result),))
        if self.accept("NOT", "NULL"):
            return result.not_null()
        self.accept("NULL")
        return result

    def scalar(self, word: str) -> Type:
        if word == "DECIMAL":
            precision, scale = MAX_PRECISION, _DEFAULT_SCALE
            if self.accept("("):
                precision, scale = self.number(), 0
                if self.accept(","):
                    scale = self.number()
                self.expect(")")
            if not (1 <= precision <= MAX_PRECISION and scale <= precision):
                raise SchemaError(
                    f"DECIMAL({precision},{scale}): precision is 1 to {MAX_PRECISION}, scale at most that"
                )
            return Type("DECIMAL", precision=precision, scale=scale)
        if word == "TIMESTAMP_TZ":
            return Type("TIMESTAMP", unit="us", utc=True)
        if word in _UNIT_NAMES:
            if self.accept("("):  # TIMESTAMP(6): the digits are read and the unit stays microseconds
                self.number()
                self.expect(")")
            if self.accept("WITH", "TIME", "ZONE"):
                return Type("TIMESTAMP", unit="us", utc=True)
            return Type("TIMESTAMP", unit=_UNIT_NAMES[word])
        if word not in SCALARS:
            names = {*SCALARS, *NESTED, *ALIASES, *_UNIT_NAMES, "TIMESTAMP_TZ"}
            near = did_you_mean(word, names).partition("there are")[0]
            raise SchemaError(
                f"no type {word}; {near}there are {', '.join(SCALARS)}, LIST, MAP, STRUCT and tensors as UINT8[28,28]"
            )
        if self.peek() == "[" and self.peek(1) != "]":
            self.expect("[")
            shape = [self.number()]
            while self.accept(","):
                shape.append(self.number())
            self.expect("]")
            if word not in TENSOR_ELEMENTS:
                raise SchemaError(f"{word}{shape}: a tensor holds numbers or booleans")
            if min(shape) < 1:
                raise SchemaError(f"{word}{shape}: every dimension of a tensor is at least 1")
            return Type("TENSOR", element=word, shape=tuple(shape))
        if word in ("STRING", "BINARY", "TIME") and self.accept("("):
            self.number()  # VARCHAR(50): a length is read and, as in Ignite, kept for nothing else
            self.expect(")")
        return Type(word)


def from_dtype(dtype: np.dtype, shape: tuple[int, ...] = ()) -> Type:
    """The Type of numpy values of ``dtype``; with a ``shape``, a tensor."""
    if dtype.subdtype is not None:
        return from_dtype(dtype.subdtype[0], tuple(dtype.subdtype[1]) + shape)
    if dtype.kind in "biuf" and dtype.itemsize <= 8:
        kind = "BOOL" if dtype.kind == "b" else dtype.name.upper()
        return Type("TENSOR", element=kind, shape=tuple(shape)) if shape else Type(kind)
    if shape:
        raise SchemaError(f"numpy {dtype} of shape {shape} cannot be a tensor column")
    if dtype.kind == "M":
        unit = np.datetime_data(dtype)[0]
        return Type("DATE") if unit == "D" else Type("TIMESTAMP", unit=unit if unit in _UNIT_TO_NAME else "us")
    if dtype.kind == "U":
        return Type("STRING")
    if dtype.kind == "S":
        return Type("BINARY")
    raise SchemaError(f"numpy {dtype} cannot be a column; give its type in the schema")


def from_arrow(arrow: pa.DataType) -> Type:
    """The Type of an Arrow type; views, dictionaries and 32-bit offsets become their plain form.

    Raises:
        SchemaError: there is none. Of extension types those of tensors, UUIDs and booleans in bytes have one.
    """
    if isinstance(arrow, pa.FixedShapeTensorType):
        return Type("TENSOR", element=from_arrow(arrow.value_type).kind, shape=tuple(arrow.shape))
    if isinstance(arrow, pa.UuidType):
        return Type("UUID")
    if isinstance(arrow, pa.Bool8Type):
        return Type("BOOL")
    if isinstance(arrow, pa.BaseExtensionType):
        raise SchemaError(
            f"an Arrow {arrow} cannot be a column: a table would not know what it is; cast it to what it is stored as, "
            f"{arrow.storage_type}, or say so in the schema"
        )
    if pa.types.is_dictionary(arrow):
        return from_arrow(arrow.value_type)
    if pa.types.is_decimal(arrow):
        if arrow.precision > MAX_PRECISION:
            raise SchemaError(f"{arrow}: a DECIMAL has at most {MAX_PRECISION} digits")
        return Type("DECIMAL", precision=arrow.precision, scale=arrow.scale)
    if pa.types.is_timestamp(arrow):
        return Type("TIMESTAMP", unit="us", utc=True) if arrow.tz else Type("TIMESTAMP", unit=arrow.unit)
    if pa.types.is_fixed_size_binary(arrow):
        return Type("BINARY")
    if pa.types.is_fixed_size_list(arrow):
        item = from_arrow(arrow.value_type)
        if item.kind in TENSOR_ELEMENTS and arrow.list_size > 0:
            return Type("TENSOR", element=item.kind, shape=(arrow.list_size,))
        if item.kind == "TENSOR" and arrow.list_size > 0:
            return replace(item, shape=(arrow.list_size, *item.shape))
        return Type("LIST", children=(("item", item),))
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_list_view(arrow):
        item = replace(from_arrow(arrow.value_type), nullable=arrow.value_field.nullable)
        return Type("LIST", children=(("item", item),))
    if pa.types.is_map(arrow):
        value = replace(from_arrow(arrow.item_type), nullable=arrow.item_field.nullable)
        return Type("MAP", children=(("key", from_arrow(arrow.key_type).not_null()), ("value", value)))
    if pa.types.is_struct(arrow):
        fields = tuple((f.name, replace(from_arrow(f.type), nullable=f.nullable)) for f in arrow)
        return Type("STRUCT", children=fields)
    try:
        return Type(_FROM_ARROW[arrow])
    except KeyError:
        raise SchemaError(f"an Arrow {arrow} cannot be a column; cast it first") from None


_PYTHON_TYPES = {bool: "BOOL", int: "INT64", float: "FLOAT64", str: "STRING", bytes: "BINARY"}
