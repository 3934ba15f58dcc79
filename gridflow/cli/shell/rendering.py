"""Rows as text in each of the output formats, and as an Arrow file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ...errors import UsageError, did_you_mean, os_failure
from ...sql.result import distinct_names
from ...storage.formats.plain_values import plain
from ...storage.formats.source import TSV_NULL
from ...storage.formats.text import TSV_ESCAPES
from ..common import human_bytes
from .cells import CELLS, column_type, short, visible
from .layout import Look, look_of, rows_of, table_lines, vertical_lines

if TYPE_CHECKING:
    from rich.console import Console

    from ...grid import Grid

#: Output format -> description, for ``!help formats``.
FORMATS = {
    "table": "columns with borders; long values are cut, tensors drawn short",
    "vertical": "a line for each value; for wide rows",
    "csv": "comma-separated, with a head; text is quoted where it must be, a NULL is empty",
    "tsv": "tab-separated, with a head; \\t \\n \\\\ stand for those characters, \\N for NULL",
    "json": "one document for each query: a list of objects, one for each row",
    "jsonlines": "one JSON object a line, one for each row",
    "markdown": "a table in Markdown; long values are cut",
    "arrow": "an Arrow file (IPC, also known as Feather 2) with the columns' own types",
}
#: Type -> its values in json, jsonlines, csv and tsv. Programs rely on these: do not change them between releases.
VALUES = {
    "integers": "numbers with all their digits (for a reader that rounds them beyond 2^53, CAST to VARCHAR)",
    "DECIMAL": "text, with all digits of its scale: '1.50'",
    "REAL, DOUBLE": "numbers that read back the same; 'NaN', 'Infinity' and '-Infinity' as text",
    "BOOL": "true, false",
    "STRING, UUID": "text",
    "BINARY": "text: base64",
    "DATE, TIME": "text: 2024-02-29, 23:59:59, 23:59:59.500000",
    "TIMESTAMP": "text: 2024-02-29T12:00:00, 2024-02-29T12:00:00.250000; with time zone 2024-02-29T12:00:00+00:00",
    "INTERVAL": "text: ISO 8601, P1M2DT3.5S",
    "tensor": "lists in lists, one level for each dimension",
    "LIST, STRUCT": "a list; an object",
    "MAP": "a list of [key, value]",
    "NULL": "null; nothing in csv, \\N in tsv",
    "two columns of one name": "the second A is called A_2 in json and jsonlines",
}
#: Rows that csv writes at a time.
_GROUP_ROWS = 1024
#: Characters of a value where nothing is cut: more than any value shall have.
_UNCUT = 1 << 20
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_TSV = str.maketrans(TSV_ESCAPES)


def check_format(style: str) -> str:
    """The format's name in lower case.

    Raises:
        UsageError: there is no such format.
    """
    if style.lower() not in FORMATS:
        raise UsageError(f"no output format {style}; {did_you_mean(style, FORMATS)}")
    return style.lower()


def chunks_of(table: pa.Table, style: str, look: Look = Look()) -> Iterator[str]:  # noqa: B008 it is frozen
    """All rows as text in a format other than arrow, many lines at a time.

    Raises:
        UsageError: there is no such format.
    """
    writer = _WRITERS[check_format(style)]
    return writer(table, look)


def render(table: pa.Table, style: str) -> str:
    """All rows as text in a format other than arrow.

    >>> print(render(pa.table({"A": [1], "B": [b"abc"]}), "json"), end="")
    [{"A": 1, "B": "YWJj"}]
    """
    return "".join(chunks_of(table, style))


def write_arrow(table: pa.Table, path: str) -> None:
    """Write all rows to an Arrow file.

    Raises:
        GridAccessError, GridFullError: the file cannot be written.
    """
    try:
        with open(path, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    except OSError as error:
        raise os_failure(error, f"cannot write {path}") from None


def _csv(table: pa.Table, look: Look) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.column_names)
    for rows in _in_groups(rows_of(table)):
        writer.writerows([_flat(plain(v)) for v in row] for row in rows)
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _tsv(table: pa.Table, look: Look) -> Iterator[str]:
    yield "\t".join(name.translate(_TSV) for name in table.column_names) + "\n"
    for row in rows_of(table):
        cells = (None if v is None else str(_flat(plain(v))).translate(_TSV) for v in row)
        yield "\t".join(TSV_NULL if cell is None else cell for cell in cells) + "\n"


def _json(table: pa.Table, look: Look) -> Iterator[str]:
    opening = "["
    for line in _objects(table):
        yield opening + line
        opening = ",\n "
    yield "]\n" if opening != "[" else "[]\n"


def _jsonlines(table: pa.Table, look: Look) -> Iterator[str]:
    for line in _objects(table):
        yield line + "\n"


def _objects(table: pa.Table) -> Iterator[str]:
    names = distinct_names(table.column_names)
    for row in rows_of(table):
        yield _ENCODER.encode(dict(zip(names, map(plain, row), strict=True)))


def _markdown(table: pa.Table, look: Look) -> Iterator[str]:
    types = [column_type(field) for field in table.schema]
    yield _markdown_line(list(map(visible, table.column_names)))
    yield "|" + "|".join("---:" if t is not None and CELLS[t.kind].right else "---" for t in types) + "|\n"
    for row in rows_of(table):
        yield _markdown_line([short(v, t) for v, t in zip(row, types, strict=True)])


def _markdown_line(cells: list[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |\n"


_WRITERS = {
    "table": table_lines,
    "vertical": vertical_lines,
    "csv": _csv,
    "tsv": _tsv,
    "json": _json,
    "jsonlines": _jsonlines,
    "markdown": _markdown,
}


def _in_groups(rows: Iterator[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for row in rows:
        group.append(row)
        if len(group) == _GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def table_list(grid: Grid) -> pa.Table:
    """One row for each table of a grid."""
    rows = []
    for name in grid.tables():
        table = grid.table(name)
        rows.append(
            {
                "TABLE": name,
                "ROWS": len(table),  # before BYTES: the count flushes
                "BYTES": table.stats()["bytes"],
                "PARTITIONS": table.partitions_count,
                "KEY": ", ".join(table.schema.key),
                "COLUMNS": ", ".join(map(str, table.schema.columns)),
            }
        )
    types = [pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.string(), pa.string()]
    names = ("TABLE", "ROWS", "BYTES", "PARTITIONS", "KEY", "COLUMNS")
    return pa.Table.from_pylist(rows, pa.schema(list(zip(names, types, strict=True))))


def table_overview(tables: pa.Table) -> pa.Table:
    """The result of ``table_list`` with sizes as people read them."""
    sizes = pa.array([human_bytes(size) for size in tables.column("BYTES").to_pylist()], pa.string())
    return tables.set_column(tables.column_names.index("BYTES"), "SIZE", sizes)


def print_table(table: pa.Table, out: Console) -> None:
    """Print all rows as a table; without a terminal no value is cut."""
    look = look_of(out)
    look = look if look.width else replace(look, cell=_UNCUT)
    for chunk in table_lines(table, look):
        out.file.write(chunk)
