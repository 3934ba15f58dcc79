"""Values of a result as Python values, and as text short enough for a terminal."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from rich.cells import cell_len, set_cell_size

from ...errors import SchemaError
from ...kinds import ByKind
from ...schema import FLOATS, INTEGERS, NESTED, Type, from_arrow, quote_name
from ...storage.arrow_to_python import to_python
from ...storage.formats.plain_values import duration_text, moment_text

#: Characters of a value in a table; a longer value is cut, with a mark.
MAX_WIDTH = 60
#: Numbers of a tensor that is still written out in full.
_SMALL_TENSOR = 8
_ELLIPSIS = "…"


def column_type(field: pa.Field) -> Type | None:
    """Gridflow's type of a result's column; None if no table could have such a column (an untyped NULL)."""
    try:
        return from_arrow(field.type)
    except SchemaError:
        return None


def values_of(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values of a column as Python has them: a tensor is a numpy array, a map a list of pairs."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    result: list[Any] = []
    for chunk in chunks:
        kind = column_type(pa.field("", chunk.type))
        result += CELLS[kind.kind].values(chunk, kind) if kind is not None else _values(chunk)
    return result


def _values(chunk: pa.Array, _: Type | None = None) -> list[Any]:
    return to_python(chunk, pairs=True)


def _narrow_floats(chunk: pa.Array, kind: Type) -> list[Any]:
    """With as many digits as the type has: Python's floats have more."""
    digits = kind.dtype.type
    return [None if value is None else float(str(digits(value))) for value in chunk.to_pylist()]


def _tensors(chunk: pa.Array, kind: Type) -> list[Any]:
    valid = chunk.is_valid().to_numpy(zero_copy_only=False)
    flat = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
    while pa.types.is_fixed_size_list(flat.type):
        size = flat.type.list_size
        # flatten() would leave out the numbers under a null, and later rows would move.
        flat = flat.values.slice(flat.offset * size, len(flat) * size)
    numbers = flat.to_numpy(zero_copy_only=False)
    rows = numbers.reshape((len(chunk), *kind.shape))
    return [row if ok else None for row, ok in zip(rows, valid, strict=True)]


def short(value: Any, kind: Type | None = None, width: int = MAX_WIDTH) -> str:
    """A value on one line of at most ``width`` characters.

    >>> short(np.arange(784, dtype="uint8").reshape(28, 28))
    'UINT8[28,28] min 0 max 255'
    >>> short(b"\\x00\\xff")
    "x'00ff'"
    >>> short("x" * 100, width=10)
    'xxxxxxxxx…'
    """
    if value is None:
        return "NULL"
    if isinstance(value, np.ndarray):
        return _short_tensor(value, kind, width)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value, kind)
    if isinstance(value, bytes):
        if 2 * len(value) + 3 <= width:
            return f"x'{value.hex()}'"
        note = f"{_ELLIPSIS}' ({len(value):,} bytes)"
        return f"x'{value[: max(0, (width - len(note) - 2) // 2)].hex()}{note}"
    if isinstance(value, dict):
        return cut("{" + ", ".join(f"{quote_name(k)}: {_inner(v)}" for k, v in value.items()) + "}", width)
    if isinstance(value, list):
        return _short_list(value, kind, width)
    if isinstance(value, (dt.datetime, np.datetime64)):
        return moment_text(value).replace("T", " ")
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (dt.timedelta, pa.MonthDayNano)):
        return duration_text(value)
    return cut(visible(str(value)), width)


def _inner(value: Any) -> str:
    """A value inside a list or an object, where text is quoted."""
    if isinstance(value, str):
        return "'" + short(value).replace("'", "''") + "'"
    if isinstance(value, tuple):
        return f"{_inner(value[0])}: {_inner(value[1])}"
    return short(value)


def _short_list(value: list[Any], kind: Type | None, width: int) -> str:
    opening, closing = CELLS[kind.kind].brackets if kind is not None else ("[", "]")
    parts: list[str] = []
    length = 0
    for i, item in enumerate(value):
        part = _inner(item)
        note = f"{_ELLIPSIS} {len(value):,} items"
        rest = len(note) + 2 if i + 1 < len(value) else 0
        if parts and length + len(part) + 2 + rest > width:
            return f"{opening}{', '.join(parts)}, {note}{closing}"
        parts.append(part)
        length += len(part) + 2
    return cut(f"{opening}{', '.join(parts)}{closing}", width)


def _short_tensor(value: np.ndarray, kind: Type | None, width: int) -> str:
    if value.size <= _SMALL_TENSOR and len(text := str(value.tolist())) <= width:
        return text
    name = kind.text() if kind is not None and kind.kind == "TENSOR" else _dtype_text(value)
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        finite = value[np.isfinite(value)]
        note = f"{value.size - finite.size:,} not finite"
        return f"{name} {note}" if not finite.size else f"{name} {_range(finite)}, {note}"
    return f"{name} {_range(value)}"


def _range(value: np.ndarray) -> str:
    return (
        f"min {value.min():.4g} max {value.max():.4g}"
        if value.dtype.kind == "f"
        else (f"min {int(value.min())} max {int(value.max())}")
    )


def _dtype_text(value: np.ndarray) -> str:
    return f"{value.dtype.name.upper()}[{','.join(map(str, value.shape))}]"


def _float(value: float, kind: Type | None) -> str:
    if not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return repr(value) if kind is None else CELLS[kind.kind].number(value, kind)


def visible(text: str) -> str:
    """The text with control characters escaped, so that it keeps to one line and cannot steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def width_of(text: str) -> int:
    """The columns of the terminal that a text takes: a character takes one, two or none."""
    return len(text) if text.isascii() else cell_len(text)


def cut(text: str, width: int) -> str:
    """The text in at most ``width`` columns of the terminal; a mark ends a text that is cut."""
    return text if width_of(text) <= width else set_cell_size(text, width - 1).rstrip(" ") + _ELLIPSIS


@dataclass(frozen=True)
class Cells:
    """How the shell shows values of a kind.

    Attributes:
        right: whether they stand at the right of their column, and are never cut.
        title: whether they are shown above a row's picture.
        word: what a word of the command line is as one.
        values: of a column.
        number: a float with the digits that the type has.
        brackets: around a list of values.
    """

    right: bool = False
    title: bool = False
    word: Callable[[str], Any] = str
    values: Callable[[pa.Array, Type], list[Any]] = _values
    number: Callable[[float, Type], str] = lambda value, kind: repr(value)
    brackets: tuple[str, str] = ("[", "]")


_NARROW = Cells(True, True, float, _narrow_floats, lambda value, kind: str(kind.dtype.type(value)))
CELLS: ByKind[Cells] = ByKind(
    "values in the shell",
    {
        **dict.fromkeys(("BOOL", "STRING", "DATE"), Cells(title=True)),
        **dict.fromkeys(INTEGERS, Cells(right=True, title=True, word=int)),
        **dict.fromkeys(FLOATS, _NARROW),
        "FLOAT64": Cells(right=True, title=True, word=float),
        "DECIMAL": Cells(right=True, title=True),
        **dict.fromkeys(("BINARY", "TIME", "TIMESTAMP", "UUID", *NESTED), Cells()),
        "TENSOR": Cells(values=_tensors),
        "MAP": Cells(brackets=("{", "}")),
    },
)
