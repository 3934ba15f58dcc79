"""``gridflow load``: a file becomes rows of a table, in one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import MAX_PARTITIONS, MOST_RECORD_BYTES, RECORD_BYTES
from ..errors import ColumnNotFoundError, DuplicateKeyError, SchemaError, UsageError, did_you_mean
from .common import (
    FILE_FORMATS,
    Home,
    common_options,
    console,
    create_option,
    embedded_option,
    human_bytes,
    kept_if_used,
    open_for_writing,
    quantity,
)
from .progress import progress_bar

if TYPE_CHECKING:
    import pyarrow as pa

    from ..grid import Grid
    from ..schema import Type
    from ..storage.formats.source import CsvStyle, Source
    from ..table import Table


def column_names(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Names between commas, as an option has them."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


@click.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("table_name", metavar="TABLE")
@common_options
@embedded_option
@create_option
@click.option("--key", callback=column_names, metavar="COL[,COL]", help="The primary key of a table to be made.")
@click.option("--partitions", type=click.IntRange(1, MAX_PARTITIONS), help="Partitions of a table to be made.")
@click.option("--columns", callback=column_names, metavar="[NAME=]COL,...", help="Load these, under these names.")
@click.option("--type", "type_texts", metavar="COL=TYPE", multiple=True, help="Type of a column to be made.")
@click.option("--row-number", metavar="COL", help="Number the rows: a LONG key column that goes on counting.")
@click.option(
    "--on-duplicate",
    type=click.Choice(["error", "replace", "ignore"]),
    default="error",
    show_default=True,
    help="What a row does whose key is there already: fail the load, replace that row, or leave it.",
)
@click.option("--insert", is_flag=True, hidden=True)
@click.option("--keep-case", is_flag=True, help="Take names as they are; otherwise they fold to upper case.")
@click.option("--delimiter", help="Between the fields of a CSV file.")
@click.option("--null", metavar="TEXT", help="Without quotes, a null in a CSV file.  [default: an empty field]")
@click.option(
    "--record-bytes",
    type=click.IntRange(1, MOST_RECORD_BYTES),
    default=RECORD_BYTES,
    show_default=True,
    help="Of a record of CSV, JSON or TFRecord at most.",
)
@click.option("--format", "form", type=click.Choice(FILE_FORMATS), help="Of the file, where its name does not tell.")
def command(
    file: Path,
    table_name: str,
    home: Home,
    embedded: bool,
    create: bool,
    key: tuple[str, ...],
    partitions: int | None,
    columns: tuple[str, ...],
    type_texts: tuple[str, ...],
    row_number: str | None,
    on_duplicate: str,
    insert: bool,
    keep_case: bool,
    delimiter: str | None,
    null: str | None,
    record_bytes: int,
    form: str | None,
) -> None:
    """Load FILE into TABLE, which is made if it is not there.

    \b
    FILE is Parquet, CSV (.csv .tsv, also .gz; the first line names the columns), JSON (an
    object a line, or an array), Arrow or Feather, TFRecord of tf.train.Example, or NPZ
    (one array a column). Big files are streamed. All rows come in one commit: if anything fails, nothing is kept.
    A column that the file does not have, or a record leaves out, has its DEFAULT.

    \b
    gridflow load trips.parquet TRIPS --key ID
    gridflow load mnist.npz MNIST --columns PIXELS=x_train,LABEL=y_train --row-number ID
    gridflow load faces.tfrecord FACES --row-number ID --type PIXELS=UINT8[64,64,3]
    """
    from ..storage.defaults import default_arrays
    from ..storage.formats.reading import detect_format, open_source
    from ..storage.formats.source import ReadOptions
    from ..storage.load import with_remedy

    if insert:
        if on_duplicate != "error":
            raise UsageError(
                f"--insert is the old name of --on-duplicate error, and there is --on-duplicate {on_duplicate}"
            )
        console(stderr=True).print("--insert is deprecated: use --on-duplicate error, which is the default")
        on_duplicate = "error"
    form = "json" if form == "jsonlines" else form or detect_format(file)  # its reader takes both
    new_names = dict(map(_parse_column, columns))
    with kept_if_used(home), open_for_writing(home, embedded=embedded, create=create) as grid:
        fold: Callable[[str], str] = (lambda text: text) if keep_case else str.upper
        name = table_name if table_name in grid.tables() else fold(table_name)
        table = grid.table(name) if name in grid.tables() else None
        known_types = {fold(column): kind for column, kind in map(_parse_column_type, type_texts)}
        key = tuple(map(fold, key))
        if table is not None:
            _check_existing(table, key, partitions, known_types)
            known_types = {column.name: column.type for column in table.schema.columns}

        def to_table(column: str) -> str:
            """The table's name of a column of the file."""
            target = new_names.get(column, column)
            return target if target in known_types else fold(target)

        defaults = {} if table is None else default_arrays(table.schema, name)
        options = ReadOptions(
            columns=tuple(new_names),
            type_of=lambda column: known_types.get(to_table(column)),
            default=lambda column: defaults.get(to_table(column)),
            advice="; --type {}=TYPE gives it another type",
            csv=_csv_style(delimiter, null),
            record_bytes=record_bytes,
            record_option="--record-bytes",
        )
        source = open_source(file, form, options)
        types = _rename(source.types, to_table, file)
        if row_number is not None:
            row_number = fold(row_number)
            _check_row_number(row_number, types, table)
        is_new = table is None
        if table is None:
            table = _make_table(grid, name, types, key, row_number, partitions)
        try:
            rows = _load(table, source, list(types), row_number, on_duplicate, file)
        except BaseException as error:
            if is_new:
                grid.drop_table(name)  # a load that failed leaves nothing, not even an empty table
            if isinstance(error, DuplicateKeyError):
                raise with_remedy(error, "; --on-duplicate replace writes over it") from None
            raise
        total = quantity(len(table), "row")
        console().print(f"{name}: {quantity(rows, 'row')} loaded, {total} in all", markup=False)


def _csv_style(delimiter: str | None, null: str | None) -> CsvStyle:
    """The style of COPY, with what the options say."""
    from ..sql.grammar.copy import CopyOptions

    given = {"DELIMITER": delimiter_of(delimiter), "NULL": null}
    return CopyOptions("", {name: value for name, value in given.items() if value is not None}).csv_style()


def delimiter_of(text: str | None) -> str | None:
    """What --delimiter says.

    Raises:
        UsageError: it is no single character.
    """
    from ..sql.grammar.copy import character

    if text is not None and not character(text):
        raise UsageError(f"--delimiter takes one ASCII character, '\\t' for a tab, not {text!r}")
    return None if text is None else character(text)


def _parse_column(text: str) -> tuple[str, str]:
    """``NAME=COL`` of --columns as (the file's name, the table's); a plain COL is both."""
    name, sign, column = text.partition("=")
    return (column.strip(), name.strip()) if sign else (text, text)


def _parse_column_type(text: str) -> tuple[str, Type]:
    """``COL=TYPE`` of --type as name and type."""
    from ..schema import parse_type

    name, _, kind = text.partition("=")
    if not name.strip() or not kind.strip():
        raise UsageError(f"--type {text}: write COLUMN=TYPE, for example PIXELS=UINT8[28,28]")
    return name.strip(), parse_type(kind.strip())


def _check_existing(table: Table, key: tuple[str, ...], partitions: int | None, types: dict[str, Type]) -> None:
    """Refuse options for a new table that do not match the existing one; the same again is harmless."""
    schema = table.schema
    if key and key != schema.key:
        raise UsageError(f"table {table.name} is there with key {', '.join(schema.key)}, not {', '.join(key)}")
    if partitions is not None and partitions != table.partitions_count:
        raise UsageError(f"table {table.name} is there with {table.partitions_count} partitions, not {partitions}")
    for name, kind in types.items():
        if schema[name].type.text() != kind.text():
            raise UsageError(f"table {table.name} is there with column {schema[name]}, not {kind.text()}")


def _rename(types: dict[str, Type], to_table: Callable[[str], str], file: Path) -> dict[str, Type]:
    """The types by the table's column names; two columns of the file must not meet in one."""
    result: dict[str, Type] = {}
    for name, kind in types.items():
        target = to_table(name)
        if target in result:
            raise SchemaError(
                f"{file}: two columns would be called {target}; --keep-case keeps them apart, "
                "or --columns NAME=COL,... chooses and renames them"
            )
        result[target] = kind
    return result


def _check_row_number(name: str, types: dict[str, Type], table: Table | None) -> None:
    if name in types:
        raise UsageError(f"the file has a column {name} already; give --row-number another name")
    if table is not None and table.schema[name].type.kind != "INT64":
        raise SchemaError(f"column {name} {table.schema[name].type} cannot hold row numbers; they are LONG")


def _make_table(
    grid: Grid,
    name: str,
    types: dict[str, Type],
    key: tuple[str, ...],
    row_number: str | None,
    partitions: int | None,
) -> Table:
    """Create the table for the columns of a file."""
    from ..schema import parse_type

    if row_number is not None:
        types = {row_number: parse_type("LONG"), **types}
    key = key or ((row_number,) if row_number else ())
    if not key:
        raise UsageError(
            f"table {name} is not there yet, and to make it takes a primary key: say which column it is "
            f"with --key COL (there are {', '.join(types)}), or number the rows with --row-number ID"
        )
    for column in key:
        if column not in types:
            raise ColumnNotFoundError(
                f"no column {column} for the primary key; {did_you_mean(column, types)}", column=column
            )
    return grid.create_table(name, types, key, partitions)


def _load(table: Table, source: Source, names: list[str], row_number: str | None, on_duplicate: str, file: Path) -> int:
    import numpy as np
    import pyarrow as pa

    from ..storage.load import Batches

    fields = [pa.field(n, f.type, f.nullable) for n, f in zip(names, source.schema, strict=True)]
    start = 0
    if row_number is not None:
        start = _next_number(table, row_number)
        fields.insert(0, pa.field(row_number, pa.int64(), nullable=False))
    schema = pa.schema(fields)
    with _progress(source, file) as advance:

        def batches() -> Iterator[pa.RecordBatch]:
            number = start
            for batch in source.batches:
                columns = list(batch.columns)
                if row_number is not None:
                    columns.insert(0, pa.array(np.arange(number, number + batch.num_rows)))
                number += batch.num_rows
                yield pa.record_batch(columns, schema=schema)
                advance(batch.num_rows, batch.nbytes)

        return table.load(Batches(batches(), sound=True), on_duplicate=on_duplicate)


def _next_number(table: Table, column: str) -> int:
    import pyarrow.compute as pc

    largest = pc.max(table.to_arrow([column])[column]).as_py()
    return 0 if largest is None else largest + 1


@contextmanager
def _progress(source: Source, file: Path) -> Iterator[Callable[[int, int], None]]:
    """A bar for the file; gives a function that takes the rows and bytes of each batch."""
    with progress_bar(console(stderr=True)) as bar:
        task = bar.add_task(file.name, total=source.size or 1, rows=0, size="0 B")
        rows = size = 0

        def advance(more_rows: int, more_bytes: int) -> None:
            nonlocal rows, size
            rows, size = rows + more_rows, size + more_bytes
            bar.update(task, completed=source.position(), rows=rows, size=human_bytes(size))

        yield advance
        bar.update(task, completed=source.size or 1)
