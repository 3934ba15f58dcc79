"""Rows as people read them: a table with borders, or one line for each value."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..common import counted
from .cells import CELLS, MAX_WIDTH, column_type, cut, short, values_of, visible, width_of

if TYPE_CHECKING:
    from rich.console import Console

_BATCH_ROWS = 1024
#: Rows that decide how wide a table's columns are. Of later ones a longer value makes its own line longer.
_MEASURED_ROWS = 8 * _BATCH_ROWS
#: No column is made narrower than this to fit a terminal.
_LEAST_WIDTH = 12
#: Characters of a value in a vertical listing.
_VERTICAL_WIDTH = 1000
#: Of a list of words and meanings: columns of the words at most, and of a line where no terminal says.
_MARGIN, _PAGE = 38, 120
_BOLD, _DIM, _NAME, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"


@dataclass(frozen=True)
class Look:
    """How to draw.

    Attributes:
        width: columns of the terminal; None where lines may have any length.
        cell: columns that a value takes at most.
        scrolls: whether lines longer than the terminal can be read all the same, in a pager.
        colour: whether escape sequences may be used.
    """

    width: int | None = None
    cell: int = MAX_WIDTH
    scrolls: bool = False
    colour: bool = False

    def ink(self, style: str, text: str) -> str:
        """The text in a style, if there is colour."""
        return f"{style}{text}{_PLAIN}" if self.colour else text


def look_of(console: Console) -> Look:
    """How to draw on a console: as wide as its terminal, and with colours if it has them."""
    if not console.is_terminal:
        return Look()
    return Look(width=console.width, colour=console.color_system is not None and not console.no_color)


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows as tuples of Python values, a batch at a time."""
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        yield from zip(*map(values_of, batch.columns), strict=True)


@dataclass
class _Column:
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
    first = list(_cells(table.slice(0, _MEASURED_ROWS), look.cell))
    columns = []
    for i, (name, field) in enumerate(zip(table.column_names, table.schema, strict=True)):
        kind, name = column_type(field), cut(visible(name), look.cell)
        widths = (4 if cell is None else width_of(cell) for batch in first for cell in batch[i])
        columns.append(_Column(name, max([width_of(name), 1, *widths]), kind is not None and CELLS[kind.kind].right))
    shown, left_out = list(range(len(columns))), None
    if look.width is not None and _total(columns) > look.width:
        squeezed = _squeezed(columns, look.width)
        if _total(squeezed) <= look.width or not look.scrolls:
            columns = squeezed
        if _total(columns) > look.width and not look.scrolls:
            shown, left_out = _fitting(columns, look.width)
    yield from _draw(table, first, columns, shown, left_out, look)
    if left_out is not None:
        count = len(columns) - len(shown)
        yield look.ink(_DIM, f"{counted(count, 'column')} of {len(columns)} not shown; \\x shows all") + "\n"


def _cells(table: pa.Table, width: int) -> Iterator[list[list[str | None]]]:
    """The values as text and None for a null, column by column, a batch at a time."""
    types = [column_type(field) for field in table.schema]
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        columns = zip(batch.columns, types, strict=True)
        yield [
            [None if value is None else short(value, kind, width) for value in values_of(column)]
            for column, kind in columns
        ]


def _total(columns: list[_Column]) -> int:
    return sum(column.width + 3 for column in columns) + 1


def _squeezed(columns: list[_Column], width: int) -> list[_Column]:
    """The columns, the widest texts made narrower until all fit, or all are as narrow as they may be."""
    columns = [replace(column) for column in columns]
    while (over := _total(columns) - width) > 0:
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


def _fitting(columns: list[_Column], width: int) -> tuple[list[int], int]:
    """Which columns to show, from both ends, and after how many of them the gap comes."""
    left: list[int] = []
    right: list[int] = []
    room = width - 5  # the borders, and the gap of one character
    candidates = list(range(len(columns)))
    while candidates:
        side, at = (left, 0) if len(left) <= len(right) else (right, -1)
        needed = columns[candidates[at]].width + 3
        if needed > room and (left or right):
            break
        room -= needed
        side.append(candidates.pop(at))
    return left + right[::-1], len(left)


def _draw(
    table: pa.Table,
    first: list[list[list[str | None]]],
    columns: list[_Column],
    shown: list[int],
    gap: int | None,
    look: Look,
) -> Iterator[str]:
    chosen = [columns[i] for i in shown]

    def with_gap(parts: list[str], filler: str) -> list[str]:
        return parts if gap is None else [*parts[:gap], filler, *parts[gap:]]

    def rule(left: str, middle: str, right: str) -> str:
        return left + middle.join(with_gap(["─" * (c.width + 2) for c in chosen], "───")) + right + "\n"

    def line(cells: list[str]) -> str:
        return "│ " + " │ ".join(with_gap(cells, "…")) + " │\n"

    head = [look.ink(_BOLD, _padded(c.name, c)) for c in chosen]
    start = rule("╭", "┬", "╮") + line(head) + rule("├", "┼", "┤")
    null = look.ink(_DIM, "NULL")
    rest = _cells(table.slice(_MEASURED_ROWS), look.cell) if table.num_rows > _MEASURED_ROWS else ()
    for batches in (first, rest):
        for batch in batches:
            texts = [_column_cells(batch[i], columns[i], null) for i in shown]
            yield start + "".join(line(list(cells)) for cells in zip(*texts, strict=True))
            start = ""
    yield start + rule("╰", "┴", "╯")


def _column_cells(cells: list[str | None], column: _Column, null: str) -> list[str]:
    width, right = column.width, column.right
    result = []
    for cell in cells:
        if cell is None:
            space = " " * (width - 4)
            result.append(space + null if right else null + space)
        elif right:
            result.append(cell.rjust(width))
        elif cell.isascii() and len(cell) <= width:
            result.append(cell.ljust(width))
        else:
            result.append(_padded(cell, column))
    return result


def _padded(text: str, column: _Column) -> str:
    text = text if column.right else cut(text, column.width)
    space = " " * (column.width - width_of(text))
    return space + text if column.right else text + space


def pair_lines(pairs: Iterable[tuple[str, str]], width: int | None) -> Iterator[str]:
    """Words and what they mean, the meanings in a column of their own that is wrapped.

    >>> print("".join(pair_lines([("!quit, \\\\q", "Leave the shell")], 80)), end="")
      !quit, \\q  Leave the shell
    """
    pairs = list(pairs)
    margin = min(max((len(word) for word, _ in pairs), default=0), _MARGIN) + 4
    room = max(20, (width or _PAGE) - margin)
    for word, meaning in pairs:
        lines = textwrap.wrap(meaning, room)
        start = f"  {word}".ljust(margin)
        if len(word) + 4 > margin:
            yield f"  {word}\n"
            start = " " * margin
        yield "".join((start if i == 0 else " " * margin) + line + "\n" for i, line in enumerate(lines))


def vertical_lines(table: pa.Table, look: Look) -> Iterator[str]:
    """A line for each value, a chunk of lines for each row."""
    types = [column_type(field) for field in table.schema]
    names = [visible(name) for name in table.column_names]
    width = max(map(width_of, names), default=0)
    labels = [look.ink(_NAME, " " * (width - width_of(name) + 2) + name) for name in names]
    null = look.ink(_DIM, "NULL")
    for number, row in enumerate(rows_of(table), 1):
        lines = [look.ink(_BOLD, f"row {number}")]
        for label, value, kind in zip(labels, row, types, strict=True):
            lines.append(f"{label}  {null if value is None else short(value, kind, _VERTICAL_WIDTH)}")
        yield "\n".join(lines) + "\n"
