"""Batches of columns that users give, as one array for each column of a table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..config import MAX_KEY_BYTES
from ..errors import ColumnNotFoundError, SchemaError, about, did_you_mean
from ..schema import FLOATS, Schema, Type
from .arrow import nulls
from .cast import cast_column
from .defaults import default_arrays, repeated


def to_columns(batch: pa.RecordBatch, schema: Schema, table: str) -> list[pa.Array]:
    """A user's batch as one array for each column of the table, in the exact layout of segments.

    A column that the batch does not have has its DEFAULT in all rows, or a null.

    Raises:
        ColumnNotFoundError: the batch has a column that the table has not.
        SchemaError: a column is missing that may not be null, or a value does not fit.
    """
    for name in batch.schema.names:
        if name not in schema:
            raise ColumnNotFoundError(
                f"table {table} has no column {name}; {did_you_mean(name, schema.names)}", table=table, column=name
            )
    arrays = []
    defaults = default_arrays(schema, table)
    for column in schema.columns:
        positions = batch.schema.get_all_field_indices(column.name)
        if len(positions) > 1:
            raise SchemaError(
                f"table {table}: the data has column {column.name} {len(positions)} times",
                table=table,
                column=column.name,
            )
        if positions:
            where = f"table {table}, column {column}"
            with about(table=table, column=column.name):
                array = cast_column(batch.column(positions[0]), column.type, where)
                arrays.append(_key_column(array, column.type, where) if column.name in schema.key else array)
        elif column.name in defaults:
            default = defaults[column.name]
            if column.name in schema.key:
                default = _key_column(default, column.type, f"table {table}, column {column}")
            arrays.append(repeated(default, batch.num_rows))
        elif column.type.nullable:
            arrays.append(nulls(batch.num_rows, column.type.arrow()))
        else:
            raise SchemaError(
                f"table {table}: the data has no column {column}; it has {', '.join(batch.schema.names)}",
                table=table,
                column=column.name,
            )
    _check_key_bytes([arrays[schema.names.index(name)] for name in schema.key], table)
    return arrays


def refuse_nulls(rows: pa.Table, schema: Schema, table: str) -> None:
    """Raise where a column of a statement's rows has a null that the table does not allow.

    Raises:
        SchemaError: names the column.
    """
    for name, values in zip(rows.column_names, rows.columns, strict=True):
        column = schema[name]
        if values.null_count and not column.type.nullable:
            in_key = " in a key" if name in schema.key else ""
            raise SchemaError(
                f"table {table}, column {column}: a null is not allowed{in_key}", table=table, column=column.name
            )


def _key_column(array: pa.Array, t: Type, where: str) -> pa.Array:
    """A key column as keys are encoded: of floats, NaN is none, and -0.0 and 0.0 are one."""
    if t.kind not in FLOATS or array.null_count:  # a null is refused where all columns are checked for them
        return array
    values = array.to_numpy()
    if np.isnan(values).any():
        raise SchemaError(f"{where}: NaN is not allowed in a key")
    return pa.array(values + values.dtype.type(0)) if np.signbit(values[values == 0]).any() else array


def _check_key_bytes(keys: list[pa.Array], table: str) -> None:
    variable = [key for key in keys if pa.types.is_large_string(key.type) or pa.types.is_large_binary(key.type)]
    if not variable or not len(variable[0]) or sum(key.nbytes for key in variable) <= MAX_KEY_BYTES // 2:
        return
    fixed = sum(key.type.byte_width if key.type.bit_width >= 8 else 1 for key in keys if key not in variable)
    sizes = [pc.fill_null(pc.binary_length(key), 0).to_numpy() + 4 for key in variable]
    longest = int(sum(sizes).max()) + fixed
    if longest > MAX_KEY_BYTES:
        raise SchemaError(f"table {table}: a key has at most {MAX_KEY_BYTES} bytes, one has {longest}")
