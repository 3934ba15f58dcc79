"""The columns that an INSERT or a MERGE fills, and those that take their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from ...errors import SchemaError, SqlError
from ...faces import TableFace
from ...schema import Column, Schema
from ...storage.defaults import default_values
from ...storage.python_columns import arrow_column
from ..grammar.dialect import parse, tokenize
from ..grammar.literals import constant, convert
from ..text.places import place_of, syntax_error
from .find import find_column
from .pseudo import columns_behind, expand_array, pseudo_column


def is_default(node: exp.Expression) -> bool:
    """Whether a value is the keyword DEFAULT."""
    if isinstance(node, exp.Column):
        return node.name == "DEFAULT" and not node.table and not node.this.args.get("quoted")
    return isinstance(node, exp.Var) and node.name == "DEFAULT"


def put_defaults(
    table: TableFace, columns: Sequence[Column], rows: pa.Table, places: Mapping[int, Sequence[int] | None]
) -> pa.Table:
    """Rows that the engine has computed, with DEFAULTs where the keyword stands: the engine had a null there.

    Their values do not go through the engine, which does not have all types.

    Args:
        table: has the DEFAULTs.
        columns: of ``rows``, in order; a made-up one has no DEFAULT.
        rows: what the engine has computed.
        places: the number of a column -> the numbers of the rows in which it takes its DEFAULT; None: in all.
    """
    values = default_values(table.schema, table.name)
    for i, numbers in places.items():
        column = columns[i]
        if column.name in values and column.name in table.schema:
            array = rows.column(i)
            both = pa.chunked_array([*array.chunks, arrow_column([values[column.name]], column.type).cast(array.type)])
            which = np.arange(len(array))
            which[slice(None) if numbers is None else list(numbers)] = len(array)
            rows = rows.set_column(i, rows.field(i), both.take(pa.array(which)))
    return rows


def default_value(column: Column, text: str) -> Any:
    """The value of a DEFAULT's literal.

    Raises:
        SchemaError: it does not fit the column.
    """
    literal = constant(parse(tokenize(text), text))
    if literal is None:  # the parsers of CREATE and ALTER TABLE take literals only
        raise SchemaError(f"column {column}: {text} is no literal", column=column.name)
    return convert(literal.get({}), column)


def filled_columns(what: str, names: list[exp.Expression], table: TableFace, text: str) -> list[Column]:
    """The columns of a column list; ``_KEY`` and ``_VAL`` as the made-up columns that they are.

    Raises:
        ColumnNotFoundError, SqlError: a column does not exist or is named twice.
    """
    columns: list[Column] = []
    names_so_far: set[str] = set()
    for node in names:
        name = node.this if isinstance(node, exp.Column) else node
        if not isinstance(name, exp.Identifier):
            raise SqlError(f"{what}: the column list takes names only")
        column = pseudo_column(table.schema, name.name) or find_column(table.schema, name, text, table.name)
        for real in columns_behind(table.schema, column):
            if real.name in names_so_far:
                start, length = place_of(name)
                raise syntax_error(text, start, f"column {real.name} is named twice", length)
            names_so_far.add(real.name)
        columns.append(column)
    return columns


def unfilled_defaults(what: str, columns: list[Column], table: TableFace) -> dict[str, Any]:
    """Column -> value, of the columns that have a DEFAULT and are not among the filled ones.

    Raises:
        SqlError: a column of the key is left without a value.
    """
    schema = table.schema
    defaults = default_values(schema, table.name)
    filled = {real.name for column in columns for real in columns_behind(schema, column)}
    for name in schema.key:
        if name not in filled and name not in defaults:
            raise SqlError(f"{what} gives no value for its key column {name}")
    return {name: value for name, value in defaults.items() if name not in filled}


def complete(schema: Schema, columns: list[Column], defaults: Mapping[str, Any], rows: pa.Table) -> pa.Table:
    """Rows of all columns of a table, from ``rows`` of the filled ones; the others get their defaults."""
    filled: dict[str, pa.ChunkedArray] = {}
    for i, column in enumerate(columns):
        filled.update(expand_array(schema, column, rows.column(i)))
    arrays = []
    for column in schema.columns:
        array = filled.get(column.name)
        if array is None:
            values = [defaults.get(column.name)] * rows.num_rows
            array = pa.chunked_array([arrow_column(values, column.type)])
        arrays.append(array)
    return pa.Table.from_arrays(arrays, names=schema.names)
