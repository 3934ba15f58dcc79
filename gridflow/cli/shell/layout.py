"""Rows as people read them: a table with borders, or one line for each value."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..common import quantity
from .cells import CELLS, MAX_WIDTH, column_type, cut, short, values_of, visible, width_of

if TYPE_CHECKING:
    from rich.console import Console

_BATCH_ROWS = 1024
#: Rows whose values decide the widths of a table's columns. A longer value of a later row makes a longer line.
_MEASURED_ROWS = 8 * _BATCH_ROWS
#: The least width of a column that is narrowed to fit a terminal.
_LEAST_WIDTH = 12
#: Characters of a value in a vertical listing.
_VERTICAL_WIDTH = 1000
#: Characters around a cell: a border and a space at both sides; one more border closes the line.
_FRAME = 3
#: Lists of words and meanings: most characters of the words, least of the meanings, of a line without a terminal, and
#: of the spaces around the words.
_MARGIN, _LEAST_MEANING, _PAGE, _INDENT = 38, 20, 120, 4
_NULL = "NULL"
#: Escape sequences.
_BOLD, _DIM, _CYAN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"


@dataclass(frozen=True)
class Look:
    """The bounds and means of drawing rows.

    Attributes:
        width: columns of the terminal; None where lines may have any length.
        cell: most columns of a value.
        scrolls: whether a pager can show lines longer than the terminal.
        colour: whether escape sequences may be used.
    """

    width: int | None = None
    cell: int = MAX_WIDTH
    scrolls: bool = False
    colour: bool = False

    def ink(self, style: str, text: str) -> str:
        """The text in a style, if there is colour."""
        return f"{style}{text}{_RESET}" if self.colour else text


def look_of(console: Console) -> Look:
    """The look of a console: the width of its terminal, and colours if the terminal has them."""
    if not console.is_terminal:
        return Look()
    return Look(width=console.width, colour=console.color_system is not None and not console.no_color)


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows as tuples of Python values, a batch at a time."""
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        yield from zip(*map(values_of, batch.columns), strict=True)


@dataclass
class _TextColumn:
    name: str
    width: int
    right: bool


def table_lines(table: pa.Table, look: Look) -> Iterator[str]:
    """A table with borders, a chunk of lines at a time; the first chunk has the whole head.

    >>> print("".join(table_lines(pa.table({"ID": [1, 20], "NAME": ["WARM", None]}), Look())), end="")
    ╭────┬──────╮
    │ ID │ NAME │
    ├────┼──────┤
    │  1 │ WARM │
    │ 20 │ NULL │
    ╰────┴──────╯
    """
    head_batches = list(_cells(table.slice(0, _MEASURED_ROWS), look.cell))
    columns = []
    for i, (name, field) in enumerate(zip(table.column_names, table.schema, strict=True)):
        kind, name = column_type(field), cut(visible(name), look.cell)
        widths = (len(_NULL) if cell is None else width_of(cell) for batch in head_batches for cell in batch[i])
        columns.append(
            _TextColumn(name, max([width_of(name), 1, *widths]), kind is not None and CELLS[kind.kind].right)
        )
    indexes, gap = list(range(len(columns))), None
    if look.width is not None and _total_width(columns) > look.width:
        narrow_columns = _squeeze(columns, look.width)
        if _total_width(narrow_columns) <= look.width or not look.scrolls:
            columns = narrow_columns
        if _total_width(columns) > look.width and not look.scrolls:
            indexes, gap = _choose_columns(columns, look.width)
    yield from _bordered_lines(table, head_batches, columns, indexes, gap, look)
    if gap is not None:
        count = len(columns) - len(indexes)
        yield look.ink(_DIM, f"{quantity(count, 'column')} of {len(columns)} not shown; \\x shows all") + "\n"


def _cells(table: pa.Table, width: int) -> Iterator[list[list[str | None]]]:
    """Batches of columns of values as text; None is a null."""
    types = [column_type(field) for field in table.schema]
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        columns = zip(batch.columns, types, strict=True)
        yield [
            [None if value is None else short(value, kind, width) for value in values_of(column)]
            for column, kind in columns
        ]


def _total_width(columns: list[_TextColumn]) -> int:
    return sum(column.width + _FRAME for column in columns) + 1


def _squeeze(columns: list[_TextColumn], width: int) -> list[_TextColumn]:
    """Copies of the columns; the widest texts are narrowed until all fit or have the least width."""
    columns = [replace(column) for column in columns]
    while (over := _total_width(columns) - width) > 0:
        texts = [c for c in columns if not c.right and c.width > _LEAST_WIDTH]
        if not texts:
            break
        widest = max(c.width for c in texts)
        group = [c for c in texts if c.width == widest]
        below = max([_LEAST_WIDTH, *(c.width for c in texts if c.width < widest)])
        step = min(widest - below, -(-over // len(group)))
        for column in group:
            column.width -= step
    return columns


def _choose_columns(columns: list[_TextColumn], width: int) -> tuple[list[int], int]:
    """The columns to show, from both ends, and the number of columns before the gap."""
    left: list[int] = []
    right: list[int] = []
    room = width - (_FRAME + 2)  # without the frame and mark of the gap, and the last border
    candidates = list(range(len(columns)))
    while candidates:
        side, at = (left, 0) if len(left) <= len(right) else (right, -1)
        space = columns[candidates[at]].width + _FRAME
        if space > room and (left or right):
            break
        room -= space
        side.append(candidates.pop(at))
    return left + right[::-1], len(left)


def _bordered_lines(
    table: pa.Table,
    head_batches: list[list[list[str | None]]],
    columns: list[_TextColumn],
    indexes: list[int],
    gap: int | None,
    look: Look,
) -> Iterator[str]:
    visible_columns = [columns[i] for i in indexes]

    def with_gap(parts: list[str], filler: str) -> list[str]:
        return parts if gap is None else [*parts[:gap], filler, *parts[gap:]]

    def rule(left: str, middle: str, right: str) -> str:
        return left + middle.join(with_gap(["─" * (c.width + 2) for c in visible_columns], "───")) + right + "\n"

    def line(cells: list[str]) -> str:
        return "│ " + " │ ".join(with_gap(cells, "…")) + " │\n"

    head = [look.ink(_BOLD, _pad(c.name, c)) for c in visible_columns]
    start = rule("╭", "┬", "╮") + line(head) + rule("├", "┼", "┤")
    null = look.ink(_DIM, _NULL)
    later_batches = _cells(table.slice(_MEASURED_ROWS), look.cell) if table.num_rows > _MEASURED_ROWS else ()
    for batches in (head_batches, later_batches):
        for batch in batches:
            texts = [_column_cells(batch[i], columns[i], null) for i in indexes]
            yield start + "".join(line(list(cells)) for cells in zip(*texts, strict=True))
            start = ""
    yield start + rule("╰", "┴", "╯")


def _column_cells(cells: list[str | None], column: _TextColumn, null: str) -> list[str]:
    width, right = column.width, column.right
    result = []
    for cell in cells:
        if cell is None:
            space = " " * (width - len(_NULL))
            result.append(space + null if right else null + space)
        elif right:
            result.append(cell.rjust(width))
        elif cell.isascii() and len(cell) <= width:
            result.append(cell.ljust(width))
        else:
            result.append(_pad(cell, column))
    return result


def _pad(text: str, column: _TextColumn) -> str:
    text = text if column.right else cut(text, column.width)
    space = " " * (column.width - width_of(text))
    return space + text if column.right else text + space


def pair_lines(pairs: Iterable[tuple[str, str]], width: int | None) -> Iterator[str]:
    """Words and their meanings; the meanings are wrapped in a column of their own.

    >>> print("".join(pair_lines([("!quit, \\\\q", "Leave the shell")], 80)), end="")
      !quit, \\q  Leave the shell
    """
    pairs = list(pairs)
    margin = min(max((len(word) for word, _ in pairs), default=0), _MARGIN) + _INDENT
    room = max(_LEAST_MEANING, (width or _PAGE) - margin)
    for word, meaning in pairs:
        lines = textwrap.wrap(meaning, room)
        start = f"  {word}".ljust(margin)
        if len(word) + _INDENT > margin:
            yield f"  {word}\n"
            start = " " * margin
        yield "".join((start if i == 0 else " " * margin) + line + "\n" for i, line in enumerate(lines))


def vertical_lines(table: pa.Table, look: Look) -> Iterator[str]:
    """A line for each value, a chunk of lines for each row."""
    types = [column_type(field) for field in table.schema]
    names = [visible(name) for name in table.column_names]
    width = max(map(width_of, names), default=0)
    labels = [look.ink(_CYAN, " " * (width - width_of(name) + 2) + name) for name in names]
    null = look.ink(_DIM, _NULL)
    for number, row in enumerate(rows_of(table), 1):
        lines = [look.ink(_BOLD, f"row {number}")]
        for label, value, kind in zip(labels, row, types, strict=True):
            lines.append(f"{label}  {null if value is None else short(value, kind, _VERTICAL_WIDTH)}")
        yield "\n".join(lines) + "\n"
