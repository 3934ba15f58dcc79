"""``!show``: images of a table, drawn in the terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ...errors import ColumnNotFoundError, SchemaError, UsageError, did_you_mean
from ...schema import Column, Type, quote_name
from .cells import CELLS, short, values_of
from .describing import find_table
from .pictures import LEAST_PIXELS, SPACE, decode, is_picture_shape, sheet
from .registry import Words, shell_command, unquoted

if TYPE_CHECKING:
    from ...faces import ReadableTable
    from .session import Session  # circle: a session runs commands, which are about it

#: Most pictures of a WHERE without a LIMIT.
_MOST = 12
#: Columns beside the key in the title of a picture, and the kinds of type that fit there.
_TITLE_COLUMNS = 2
#: Characters of a sheet of pictures without a terminal.
_WIDTH, _HEIGHT = 80, 50
_HAS_LIMIT = re.compile(r"\b(LIMIT|FETCH)\b", re.IGNORECASE)
_HAS_ORDER = re.compile(r"\bORDER\s+BY\b", re.IGNORECASE)
_USAGE = "!show TABLE [COLUMN] [KEY ... | WHERE ...]"


@shell_command("!show", arguments="TABLE [COLUMN] [KEY ... | WHERE ...]", takes="column")
def _show(session: Session, words: Words) -> None:
    """Draw images: of the rows with these keys, of those that a WHERE finds, or the first"""
    if not words:
        raise UsageError(f"type {_USAGE}")
    table = find_table(session, words[0])
    column, word_count = _column(table, words[1:])
    rest = words[1 + word_count :]
    titles = [c for c in table.schema.columns if c.name not in table.schema.key and CELLS[c.type.kind].title]
    columns = [*table.schema.key_columns, *titles[:_TITLE_COLUMNS], column]
    select = f"SELECT {', '.join(quote_name(c.name) for c in columns)} FROM {quote_name(table.name)} "
    order = " ORDER BY " + ", ".join(quote_name(name) for name in table.schema.key)
    if rest and rest[0].upper() == "WHERE":
        clause = words.text[re.search(r"\bWHERE\b", words.text, re.IGNORECASE).start() :]  # type: ignore[union-attr]
        clause += "" if _HAS_ORDER.search(clause) or _HAS_LIMIT.search(clause) else order
        clause += "" if _HAS_LIMIT.search(clause) else f" LIMIT {_MOST + 1}"
        results = [session.query(select + clause).to_arrow()]
    elif rest:
        results = [_by_key(session, table, select, key) for key in _keys(table, rest)]
    else:
        results = [session.query(f"{select}{order} LIMIT {_pictures_per_line(session, column)}").to_arrow()]
    _print_pictures(session, table, column, results, _MOST if rest and not _HAS_LIMIT.search(words.text) else None)


def _print_pictures(
    session: Session, table: ReadableTable, column: Column, results: list[pa.Table], most: int | None
) -> None:
    pictures, empty = [], []
    for rows in results:
        names = rows.column_names[len(table.schema.key) : -1]
        for *values, pixels in zip(*map(values_of, rows.columns), strict=True):
            key = ", ".join(short(v) for v in values[: len(table.schema.key)])
            extra = "".join(f"  {n} {short(v)}" for n, v in zip(names, values[len(table.schema.key) :], strict=True))
            if pixels is None:
                empty.append(key)
            else:
                pictures.append((key + extra, decode(pixels) if isinstance(pixels, bytes) else pixels))
    more = most is not None and len(results) == 1 and len(pictures) > most
    look, out = session.output.look, session.output.out
    colours = out.color_system if look.colour else None
    width, height = (look.width, out.height) if look.width else (_WIDTH, _HEIGHT)
    lines = sheet(pictures[:most] if more else pictures, width, height, colours)
    session.output.rows(line + "\n" for line in lines)
    if empty:
        session.output.say(f"no image (NULL) under {', '.join(empty)}")
    if more:
        session.output.say(f"the first {most}; more with LIMIT")
    if not pictures and not empty:
        session.output.say("no rows")


def _column(table: ReadableTable, words: list[str]) -> tuple[Column, int]:
    """The column to draw, and the number of words that name it: 1, or 0 for the first image column."""
    images = [c for c in table.schema.columns if _is_image(c.type)]
    if words and words[0].upper() != "WHERE":
        name, columns = unquoted(words[0]), {c.name: c for c in table.schema.columns}
        match = columns.get(name) or (columns.get(name.upper()) if name == words[0] else None)
        if match is not None:
            if not _is_image(match.type):
                shapes = "(H,W), (H,W,1|3|4) or (1|3|4,H,W)"
                raise UsageError(f"column {match.name} is {match.type}: an image is a tensor {shapes}, or a BINARY")
            return match, 1
        if not images or (not words[0][:1].isdigit() and len(words) > 1 and words[1].upper() == "WHERE"):
            raise ColumnNotFoundError(
                f"no column {name} in {table.name}; {did_you_mean(name, columns)}", table=table.name, column=name
            )
    if not images:
        raise UsageError(f"table {table.name} has no image column: none is a tensor (H,W) or (H,W,1|3|4), or a BINARY")
    return images[0], 0


def _is_image(kind: Type) -> bool:
    return kind.kind == "BINARY" or (kind.kind == "TENSOR" and is_picture_shape(kind.shape))


def _pictures_per_line(session: Session, column: Column) -> int:
    """The number of pictures that fit side by side."""
    width = session.output.look.width or _WIDTH
    shape = column.type.shape
    if not shape:
        return 1
    size = shape[2] if len(shape) == 3 and shape[2] not in (1, 3, 4) else shape[1]
    return max(1, min(_MOST, (width + SPACE) // (max(size, LEAST_PIXELS) + SPACE)))


def _keys(table: ReadableTable, words: list[str]) -> list[list[str]]:
    count = len(table.schema.key)
    if count == 1:
        return [[unquoted(word)] for word in words]
    if len(words) != count:
        raise UsageError(f"the key of {table.name} has {count} columns: {', '.join(table.schema.key)}")
    return [[unquoted(word) for word in words]]


def _by_key(session: Session, table: ReadableTable, select: str, words: list[str]) -> pa.Table:
    values = [_value(column, word) for column, word in zip(table.schema.key_columns, words, strict=True)]
    where = " AND ".join(f"{quote_name(name)} = ?" for name in table.schema.key)
    rows = session.query(f"{select} WHERE {where}", values).to_arrow()
    if not len(rows):
        raise UsageError(f"table {table.name} has no row under key {', '.join(words)}")
    return rows


def _value(column: Column, word: str) -> Any:
    try:
        return CELLS[column.type.kind].word(word)
    except ValueError:
        raise SchemaError(f"key {column.name} is {column.type.text()}, which {word!r} is not; type {_USAGE}") from None
