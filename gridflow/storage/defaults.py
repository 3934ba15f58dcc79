"""What a row has in the columns that it does not name: their DEFAULTs, which are part of a table's schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from .._native.rows import RowCodec
from ..errors import ColumnNotFoundError, did_you_mean
from ..schema import Column, Schema
from .cast import cast_column
from .python_columns import arrow_column

if TYPE_CHECKING:
    from ..faces import ReadableTable

#: The name, among the options that SQL gives a table, of its DEFAULTs as they were written: column -> text and, in
#: hexadecimal digits, value. What a column has is its schema's to say.
_WRITTEN = "written_defaults"
#: Of a table that is older than DEFAULTs in schemas, until its owner has made them part of its schema: column -> text.
_OLDER = "defaults"


def with_defaults(schema: Schema, table: str, defaults: Mapping[str, Any]) -> Schema:
    """The schema with these values as the DEFAULTs of their columns; None: the column has none.

    Raises:
        ColumnNotFoundError, SchemaError: there is no such column, or a value does not fit.
    """
    if not defaults:
        return schema
    for name in defaults:
        if name not in schema:
            raise ColumnNotFoundError(
                f"no column {name} in {table}; {did_you_mean(name, schema.names)}", table=table, column=name
            )
    codec = RowCodec(schema, table)

    def column(before: Column) -> Column:
        if before.name not in defaults:
            return before
        value = defaults[before.name]
        return replace(before, default=b"" if value is None else codec.encode_cell(before.name, value))

    return Schema(tuple(map(column, schema.columns)), schema.key)


def default_values(schema: Schema, table: str) -> dict[str, Any]:
    """Column -> the value of its DEFAULT, of the columns that have one."""
    return RowCodec(schema, table).defaults if any(column.default for column in schema.columns) else {}


def default_arrays(schema: Schema, table: str) -> dict[str, pa.Array]:
    """As ``default_values``, each as an array of one, in the layout of segments."""
    return {
        name: cast_column(arrow_column([value], schema[name].type), schema[name].type, f"column {schema[name]}")
        for name, value in default_values(schema, table).items()
    }


def repeated(array: pa.Array, rows: int) -> pa.Array:
    """An array of one, as one of so many rows."""
    return array.take(pa.array(np.zeros(rows, np.int32)))


def default_texts(table: ReadableTable) -> dict[str, str]:
    """Column -> its DEFAULT as text: as SQL has written it, or else the value's own."""
    written = written_defaults(table.options, table.schema)
    values = default_values(table.schema, table.name)
    return {name: written.get(name, str(value)) for name, value in values.items()}


def written_defaults(options: Mapping[str, Any], schema: Schema) -> dict[str, str]:
    """Column -> its DEFAULT as SQL has written it, where the column has still, or again, the DEFAULT of that text."""
    written = (options.get("sql") or {}).get(_WRITTEN) or {}
    return {
        column.name: written[column.name][0]
        for column in schema.columns
        if column.default and written.get(column.name, ("", ""))[1] == column.default.hex()
    }


def with_written(options: Mapping[str, Any], schema: Schema, texts: Mapping[str, str]) -> dict[str, Any]:
    """A table's options with its DEFAULTs as they are written, beside the schema, which says what they are."""
    sql = {name: value for name, value in (options.get("sql") or {}).items() if name not in (_WRITTEN, _OLDER)}
    written = {c.name: [texts[c.name], c.default.hex()] for c in schema.columns if c.default and c.name in texts}
    if written:
        sql[_WRITTEN] = written
    rest = {name: value for name, value in options.items() if name != "sql"}
    return {**rest, "sql": sql} if sql else rest


def older_defaults(options: Mapping[str, Any]) -> dict[str, str] | None:
    """Column -> the text of its DEFAULT, of a table that is older than DEFAULTs in schemas; None of any other."""
    return (options.get("sql") or {}).get(_OLDER)
