"""A table's columns after a change of them, and beside those that somebody wants."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .._native.rows import RowCodec
from ..errors import ColumnNotFoundError, SchemaError, did_you_mean
from ..schema import Column, Schema, as_type
from .defaults import with_defaults


def altered(schema: Schema, table: str, add: Mapping[str, Any], drop: list[str], rename: Mapping[str, str]) -> Schema:
    """The schema with columns renamed, dropped and added, in this order. Those that stay keep their ids.

    Raises:
        ColumnNotFoundError, SchemaError: see ``Grid.alter_table``.
    """
    for name in [*drop, *rename]:
        if name not in schema:
            raise ColumnNotFoundError(
                f"no column {name} in {table}; {did_you_mean(name, schema.names)}", table=table, column=name
            )
    for name in drop:
        if name in schema.key:
            raise SchemaError(
                f"column {name} is in the primary key of {table}: it cannot be dropped", table=table, column=name
            )
    columns = [replace(c, name=rename.get(c.name, c.name)) for c in schema.columns if c.name not in drop]
    ids = {column.id for column in schema.columns}
    for name, form in add.items():
        # Drawn, not counted: the id of a column that was dropped lives on in older segments and in traced graphs.
        new_id = next(n for n in iter(lambda: secrets.randbelow(1 << 31) + (1 << 31), None) if n not in ids)
        ids.add(new_id)
        columns.append(Column(name, as_type(form), new_id))
    names = [column.name for column in columns]
    for name in names:
        if names.count(name) > 1:
            raise SchemaError(f"table {table} has a column {name} already", table=table, column=name)
    key = tuple(rename.get(name, name) for name in schema.key)
    Schema.of([(column.name, column.type) for column in columns], key)  # raises where a name or a type is impossible
    return Schema(tuple(columns), key)


def check_same(table: str, schema: Schema, wanted: Schema) -> None:
    """Raise if a table has not the columns and the key that somebody wants; in which order columns come is all one.

    Raises:
        SchemaError: says what differs.
    """
    parts = []
    for column in wanted.columns:
        if column.name not in schema:
            parts.append(f"it has no column {column.name}")
        elif schema[column.name].type != column.type:
            parts.append(f"column {column.name} is {schema[column.name].type} and not {column.type}")
        elif column.default and schema[column.name].default != column.default:
            parts.append(f"column {column.name} has another DEFAULT")
    parts += [f"it has a column {name}, too" for name in schema.names if name not in wanted]
    if schema.key != wanted.key:
        parts.append(f"its key is ({', '.join(schema.key)}) and not ({', '.join(wanted.key)})")
    if parts:
        raise SchemaError(
            f"table {table} is there and another one: {'; '.join(parts)}. Take it as it is with grid.table({table!r}), "
            "or change it with alter_table"
        )


def filled(
    schema: Schema,
    before: Schema,
    table: str,
    fill: Mapping[str, Any],
    defaults: Mapping[str, Any],
    has_rows: bool,
) -> RowCodec:
    """The codec of a new schema in which rows that are there already have these values in its new columns.

    Its columns have these DEFAULTs, which rows have, too, in new columns that ``fill`` does not name.

    Raises:
        ColumnNotFoundError, SchemaError: see ``Grid.alter_table``.
    """
    old = {column.id for column in before.columns}
    new = [column.name for column in schema.columns if column.id not in old]
    for name in fill:
        if name not in new:
            raise ColumnNotFoundError(
                f"no new column {name} in {table}; {did_you_mean(name, new)}", table=table, column=name
            )
    fill = {**{name: value for name, value in defaults.items() if name in new}, **fill}
    codec = RowCodec(schema, table)
    columns = []
    for column in schema.columns:
        value = fill.get(column.name)
        if column.name in new and value is None and not column.type.nullable and has_rows:
            raise SchemaError(
                f"table {table} has rows, which need a value in column {column.name} {column.type}: give a DEFAULT, or "
                "let it be null"
            )
        columns.append(replace(column, fill=codec.encode_cell(column.name, value)) if value is not None else column)
    return RowCodec(with_defaults(Schema(tuple(columns), schema.key), table, defaults), table)
