"""Rows as text: table, vertical, csv, json or markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich import box
from rich.table import Table
from rich.text import Text

from ...errors import UsageError, did_you_mean
from ...storage.formats.values import plain
from ..common import human_bytes
from .cells import column_type, short, values_of

if TYPE_CHECKING:
    from rich.console import Console

    from ...client import RemoteGrid
    from ...grid import Grid

FORMATS = ("table", "vertical", "csv", "json", "markdown")
#: Rows of a table or a vertical listing; the other formats are for programs and print all.
MAX_ROWS = 1000
_BATCH_ROWS = 1024
_NUMBERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FLOAT16", "FLOAT32")
_RIGHT = {*_NUMBERS, "FLOAT64", "DECIMAL"}


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows as tuples of Python values, a batch at a time."""
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        yield from zip(*map(values_of, batch.columns), strict=True)


def render(table: pa.Table, style: str) -> str:
    """All rows as text of one of the formats for programs: csv, json or markdown."""
    out = io.StringIO()
    write(table, style, out)
    return out.getvalue()


def write(table: pa.Table, style: str, out: Any) -> None:
    """Write all rows to a text file in one of the formats for programs: csv, json or markdown.

    Raises:
        UsageError: there is no such format.
    """
    if style == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([_csv(v) for v in row] for row in rows_of(table))
    elif style == "json":
        names = _distinct(table.column_names)
        before = "["
        for row in rows_of(table):
            out.write(before + json.dumps(dict(zip(names, map(plain, row), strict=True)), ensure_ascii=False))
            before = ",\n "
        out.write("]\n" if before != "[" else "[]\n")
    elif style == "markdown":
        types = [column_type(field) for field in table.schema]
        out.write(_markdown(table.column_names))
        rules = ("---:" if t is not None and t.kind in _RIGHT else "---" for t in types)
        out.write("|" + "|".join(rules) + "|\n")
        for row in rows_of(table):
            out.write(_markdown([short(v, t) for v, t in zip(row, types, strict=True)]))
    else:
        raise UsageError(f"no output format {style}; {did_you_mean(style, FORMATS)}")


def _csv(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _markdown(cells: list[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |\n"


def _distinct(names: list[str]) -> list[str]:
    """Names as keys of a JSON object: A, A becomes A, A_2."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


def show(table: pa.Table, style: str, console: Console, limit: int = MAX_ROWS) -> None:
    """Print rows in any of the formats; a table or vertical listing ends after ``limit`` rows."""
    if style not in ("table", "vertical"):
        write(table, style, console.file)
        return
    shown = table.slice(0, limit)
    types = [column_type(field) for field in table.schema]
    if style == "vertical":
        _show_vertical(shown, types, console)
    else:
        console.print(_as_table(shown, types))
    if table.num_rows > limit:
        rest = f"{table.num_rows - limit:,} more rows; LIMIT shows fewer, the output format csv or json all"
        console.print(Text(f"... {rest}", style="dim"))


def _as_table(rows: pa.Table, types: list[Any]) -> Table:
    result = Table(box=box.ROUNDED, header_style="bold", show_lines=False)
    for name, kind in zip(rows.column_names, types, strict=True):
        right = kind is not None and kind.kind in _RIGHT
        result.add_column(Text(name), justify="right" if right else "left", overflow="ellipsis", no_wrap=True)
    for row in rows_of(rows):
        result.add_row(*(_cell(v, t) for v, t in zip(row, types, strict=True)))
    return result


def _cell(value: Any, kind: Any) -> Text:
    return Text(short(value, kind), style="dim" if value is None else "")


def _show_vertical(rows: pa.Table, types: list[Any], console: Console) -> None:
    width = max((len(name) for name in rows.column_names), default=0)
    for number, row in enumerate(rows_of(rows), 1):
        console.print(Text(f"row {number}", style="bold"))
        for name, value, kind in zip(rows.column_names, row, types, strict=True):
            line = Text(f"  {name.rjust(width)}  ", style="cyan")
            console.print(line.append(short(value, kind, 1000), style="dim" if value is None else "default"))


def table_list(grid: Grid | RemoteGrid) -> pa.Table:
    """One row for each table of a grid."""
    rows = []
    for name in grid.tables():
        table = grid.table(name)
        rows.append(
            {
                "TABLE": name,
                "ROWS": len(table),  # first: it flushes
                "BYTES": table.stats()["bytes"],
                "PARTITIONS": table.partitions_count,
                "KEY": ", ".join(table.schema.key),
                "COLUMNS": ", ".join(map(str, table.schema.columns)),
            }
        )
    types = [pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.string(), pa.string()]
    names = ("TABLE", "ROWS", "BYTES", "PARTITIONS", "KEY", "COLUMNS")
    return pa.Table.from_pylist(rows, pa.schema(list(zip(names, types, strict=True))))


def table_overview(tables: pa.Table) -> Table:
    """What ``table_list`` gives, for people."""
    result = Table(box=box.ROUNDED, header_style="bold")
    for name, justify in (
        ("TABLE", "left"),
        ("ROWS", "right"),
        ("BYTES", "right"),
        ("PARTITIONS", "right"),
        ("KEY", "left"),
        ("COLUMNS", "left"),
    ):
        result.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in tables.to_pylist():
        result.add_row(
            Text(row["TABLE"]),
            f"{row['ROWS']:,}",
            human_bytes(row["BYTES"]),
            f"{row['PARTITIONS']:,}",
            Text(row["KEY"]),
            Text(row["COLUMNS"]),
        )
    return result
