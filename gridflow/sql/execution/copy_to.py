"""COPY TO: rows of a table or of a query become a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ...errors import SchemaError, SqlError
from ...faces import GridFace
from ...schema import Type, from_arrow
from ...storage.arrow import user_schema
from ...storage.formats.reading import format_of_name
from ...storage.formats.writing import WriteOptions, write_file
from ..binding.find import find_column, find_relation
from ..grammar.copy import CopyTo
from ..result import Result
from ..text.progress import report
from ..views.views import is_table
from .query import execute_query

#: Rows in a batch that is written.
_BATCH_ROWS = 65536


#: Runs the text of a query, with its parameters, somewhere else.
RunQuery = Callable[[str, Any], Result]


def copy_to(
    grid: GridFace, node: CopyTo, text: str, path: str, params: Mapping[str, Any], query: RunQuery | None = None
) -> Result:
    form = node.options.get("FORMAT", "").lower() or format_of_name(Path(path))
    if form is None:
        raise SqlError(f"COPY TO {path}: what format is it to have? say it, for example FORMAT CSV")
    node.options.check(form)
    if node.query is not None:
        marks = {mark.name for mark in node.query.node.find_all(exp.Placeholder)}
        values = {mark: params[mark] for mark in marks}
        if query is None:
            result = execute_query(grid, node.query, values)
        else:
            first, last = node.tokens[0], node.tokens[-1]
            result = query(text[first.start : last.end + 1], node.query.marks.parameters(values))
        rows = result.to_arrow()
        schema, types, total = rows.schema, _types(result), rows.num_rows
        batches = iter(rows.to_batches(max_chunksize=_BATCH_ROWS))
    else:
        assert node.table is not None  # COPY TO has a query or a table
        table = find_relation(grid, node.table, text)
        names = node.columns
        columns = [find_column(table.schema, name, text, table.name) for name in names]
        columns = columns or list(table.schema.columns)
        schema, types = user_schema(columns), [c.type for c in columns]
        labels = [c.name for c in columns]
        if is_table(table):
            total, batches = len(table), table.scan(labels, batch_size=_BATCH_ROWS)
        else:
            rows = table.to_arrow(labels)
            total, batches = rows.num_rows, iter(rows.to_batches(max_chunksize=_BATCH_ROWS))
    _check_names(schema, form, path)
    name = Path(path).name
    options = WriteOptions(
        csv=node.options.csv_style(),
        array=node.options.get("ARRAY", False),
        compression=(node.options.get("COMPRESSION") or "").lower() or None,
    )
    count = write_file(Path(path), form, schema, types, batches, options, lambda n: report(name, n, n, total))
    return Result(rowcount=count, statement="COPY")


def _types(result: Result) -> list[Type | None]:
    """The types of a result's columns, as far as Arrow and the tables tell."""
    types: list[Type | None] = []
    for field, dtype in zip(result.to_arrow().schema, result.types, strict=True):
        try:
            types.append(dtype or from_arrow(field.type))
        except SchemaError:
            types.append(None)
    return types


def _check_names(schema: pa.Schema, form: str, path: str) -> None:
    duplicates = [name for name in schema.names if schema.names.count(name) > 1]
    if duplicates and form != "csv":
        raise SqlError(f"{path}: two columns are called {duplicates[0]}; give one another name with AS")
