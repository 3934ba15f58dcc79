"""``gridflow export``: a table, or the rows of a query, become a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from .common import FILE_FORMATS, Home, common_options, console, open_for_reading, quantity, read_only_option
from .load import column_names, delimiter_of
from .progress import statement_progress

#: Suffixes that tell one of ``FILE_FORMATS`` from another that has the same writer.
_LINES = (".jsonl", ".ndjson")


@click.command("export")
@click.argument("source", metavar="TABLE|QUERY")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@common_options
@read_only_option
@click.option("--columns", callback=column_names, metavar="COL,...", help="Of a table: write these, in this order.")
@click.option("--delimiter", help="Between the fields of a CSV file.")
@click.option("--null", metavar="TEXT", help="A null in a CSV file.  [default: an empty field]")
@click.option("--compression", metavar="NAME", help="Of Parquet and Arrow: zstd, lz4, snappy, ..., or none.")
@click.option("--format", "form", type=click.Choice(FILE_FORMATS), help="Of the file, where its name does not tell.")
def command(
    source: str,
    file: Path,
    home: Home,
    read_only: bool,
    columns: tuple[str, ...],
    delimiter: str | None,
    null: str | None,
    compression: str | None,
    form: str | None,
) -> None:
    """Write a TABLE, or the rows of a QUERY, to FILE. A file that is there stays until the new one is whole; a FIFO
    or a device is written to.

    \b
    FILE is CSV (.csv .tsv, also .gz; the first line names the columns), JSON (json: an
    array of objects; jsonlines: an object a line), Parquet, Arrow or Feather, TFRecord of
    tf.train.Example, or NPZ (one array a column). `gridflow load` reads all of them.

    \b
    gridflow export TRIPS trips.parquet
    gridflow export "SELECT ID, KM FROM TRIPS WHERE KM > 10" far.csv --delimiter ';'
    """
    if str(file) == "-":
        raise click.UsageError("export writes a file: 'gridflow sql --format csv --execute QUERY' prints rows")
    form = form or _format_of(file)
    options = _options(file, form, delimiter, null, compression)
    with open_for_reading(home, read_only=read_only) as grid:
        from ..sql import Session
        from ..sql.export import export_statement

        statement = export_statement(grid, source, str(file), columns, options)
        with statement_progress(console(stderr=True)) as report:
            rows = Session(grid).execute_prepared(statement, {}, report).rowcount
    console().print(f"{file}: {quantity(rows, 'row')} written", markup=False, soft_wrap=True)


def _options(file: Path, form: str, delimiter: str | None, null: str | None, compression: str | None) -> dict[str, Any]:
    """The options of COPY TO.

    Raises:
        UsageError: one is not for this format.
    """
    options: dict[str, Any] = {"FORMAT": "JSON" if form == "jsonlines" else form.upper()}
    if form in ("json", "jsonlines"):
        options["ARRAY"] = form == "json"
    if delimiter is not None:
        if form != "csv":
            raise UsageError(f"--delimiter is for CSV, and {file} is to be {form.upper()}")
        options["DELIMITER"] = delimiter_of(delimiter)
    if null is not None:
        if form != "csv":
            raise UsageError(f"--null is for CSV, and {file} is to be {form.upper()}")
        options["NULL"] = null
    if compression is not None:
        if form not in ("parquet", "arrow"):
            raise UsageError(f"--compression is for Parquet and Arrow, and {file} is to be {form.upper()}")
        options["COMPRESSION"] = compression
    return options


def _format_of(file: Path) -> str:
    from ..storage.formats.reading import format_of_name

    form = format_of_name(file)
    if form is None:
        raise UsageError(
            f"{file}: what format is it to have? say it, for example --format csv; there are {', '.join(FILE_FORMATS)}"
        )
    return "jsonlines" if form == "json" and any(suffix.lower() in _LINES for suffix in file.suffixes[-2:]) else form
