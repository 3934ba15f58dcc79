"""What a row has in the columns that it does not name: their DEFAULTs, which are part of a table's schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from .._native.rows import RowCodec
from ..errors import ColumnNotFoundError, SchemaError, did_you_mean
from ..schema import FLOATS, Column, Schema, Type
from .cast import cast_column
from .python_columns import arrow_column

if TYPE_CHECKING:
    from ..faces import ReadableTable


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
        if before.name in schema.key and before.type.kind in FLOATS and isinstance(value, (float, np.floating)):
            if value != value:
                raise SchemaError(
                    f"table {table}, column {before}: NaN is not allowed in a key", table=table, column=before.name
                )
            value = value + 0.0  # as keys are stored: -0.0 and 0.0 are one
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
    """Column -> the literal of its DEFAULT, as SQL writes it."""
    schema = table.schema
    texts = {name: literal(value, schema[name].type) for name, value in default_values(schema, table.name).items()}
    return {**(old_default_texts(table) or {}), **texts}


def old_default_texts(table: ReadableTable) -> dict[str, str] | None:
    """Column -> the literal of its DEFAULT in the options of a table older than DEFAULTs in schemas; else None.

    Whoever owns the grid moves them to the schema when the table is opened.
    """
    sql = table.options.get("sql")
    if not isinstance(sql, Mapping) or "defaults" not in sql:
        return None
    texts = sql["defaults"] if isinstance(sql["defaults"], Mapping) else {}
    return {name: text for name, text in texts.items() if name in table.schema and isinstance(text, str)}


def without_default_texts(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without what ``old_default_texts`` reads."""
    sql = {name: option for name, option in options["sql"].items() if name != "defaults"}
    others = {name: option for name, option in options.items() if name != "sql"}
    return {**others, "sql": sql} if sql else others


def literal(value: Any, t: Type) -> str:
    """A value of a column as SQL writes it.

    >>> from gridflow.schema import as_type
    >>> literal(["it's", None], as_type("LIST<VARCHAR>")), literal({"A": 1.5}, as_type("STRUCT<A DOUBLE>"))
    ("['it''s', NULL]", "{'A': 1.5}")
    """
    if value is None:
        return "NULL"
    if t.kind == "TENSOR":
        array = np.asarray(value)
        return _numbers((array if array.dtype.kind in "biuf" else array.astype(np.float64)).tolist())
    if t.kind == "LIST":
        return f"[{', '.join(literal(item, t.children[0][1]) for item in value)}]"
    if t.kind == "STRUCT":
        return f"{{{', '.join(f'{_quoted(name)}: {literal(value[name], child)}' for name, child in t.children)}}}"
    if t.kind == "MAP":
        (_, key), (_, item) = t.children
        pairs = value.items() if isinstance(value, Mapping) else value
        return f"MAP {{{', '.join(f'{literal(k, key)}: {literal(v, item)}' for k, v in pairs)}}}"
    if t.kind == "BINARY":
        return f"X'{bytes(value).hex().upper()}'"
    if t.kind in ("DATE", "TIME", "TIMESTAMP"):
        return f"{t.kind} {_quoted(str(value).replace('T', ' '))}"
    return _quoted(str(value)) if t.kind in ("STRING", "UUID") else _numbers(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _numbers(value: Any) -> str:
    """A number, a truth, or lists of them, as SQL writes them."""
    if isinstance(value, list):
        return f"[{', '.join(map(_numbers, value))}]"
    if isinstance(value, (bool, np.bool_)):
        return str(value).upper()
    text = str(value)
    return text if text[-1].isdigit() else _quoted(text)  # 'nan', 'inf'
