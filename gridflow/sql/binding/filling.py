"""The columns that an INSERT or a MERGE fills, and those that take their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ...errors import SqlError
from ...faces import ReadableTable, TableFace
from ...schema import Column, Schema
from ...storage.python_columns import arrow_column
from ..grammar.dialect import parse, tokenize
from ..grammar.literals import constant, convert
from ..text.places import place_of, syntax_error
from .find import find_column
from .pseudo import expand_array, parts, pseudo_column


def defaults_of(table: ReadableTable) -> dict[str, exp.Expression]:
    """Column -> the literal of its DEFAULT."""
    written = (table.options.get("sql") or {}).get("defaults") or {}
    # A crash in ALTER TABLE may leave a DEFAULT without its column.
    return {name: parse(tokenize(text), text) for name, text in written.items() if name in table.schema}


def filled_columns(what: str, names: list[exp.Expression], table: TableFace, text: str) -> list[Column]:
    """The columns of a column list; ``_KEY`` and ``_VAL`` as the made-up columns that they are.

    Raises:
        ColumnNotFound, SqlError: one is not there or named twice.
    """
    columns: list[Column] = []
    seen: set[str] = set()
    for node in names:
        name = node.this if isinstance(node, exp.Column) else node
        if not isinstance(name, exp.Identifier):
            raise SqlError(f"{what}: the column list takes names only")
        column = pseudo_column(table.schema, name.name) or find_column(table.schema, name, text, table.name)
        for part in parts(table.schema, column):
            if part.name in seen:
                start, length = place_of(name)
                raise syntax_error(text, start, f"column {part.name} is named twice", length)
            seen.add(part.name)
        columns.append(column)
    return columns


def default_values(what: str, columns: list[Column], table: TableFace) -> dict[str, Any]:
    """Column -> value of those that have a DEFAULT and are not among the filled ones.

    Raises:
        SqlError: a column of the key is left without a value.
    """
    schema, defaults = table.schema, defaults_of(table)
    filled = {part.name for column in columns for part in parts(schema, column)}
    for name in schema.key:
        if name not in filled and name not in defaults:
            raise SqlError(f"{what} gives no value for its key column {name}")
    return {
        name: convert(constant(node).get({}), schema[name])  # type: ignore[union-attr]
        for name, node in defaults.items()
        if name not in filled
    }


def complete(schema: Schema, columns: list[Column], defaults: Mapping[str, Any], found: pa.Table) -> pa.Table:
    """Rows of all columns of a table: ``found`` has the filled ones, the others get their defaults."""
    given: dict[str, pa.ChunkedArray] = {}
    for i, column in enumerate(columns):
        given.update(expand_array(schema, column, found.column(i)))
    arrays = []
    for column in schema.columns:
        array = given.get(column.name)
        if array is None:
            values = [defaults.get(column.name)] * found.num_rows
            array = pa.chunked_array([arrow_column(values, column.type)])
        arrays.append(array)
    return pa.Table.from_arrays(arrays, names=schema.names)
