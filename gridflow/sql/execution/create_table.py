"""CREATE TABLE and DROP TABLE, carried out."""

from __future__ import annotations

import json

from ...catalog.grants import RIGHTS
from ...errors import TableExistsError, TableNotFoundError
from ...faces import GridFace
from ...schema import Schema
from ..binding.filling import default_value
from ..binding.find import find_table
from ..grammar.create_table import CreateTable, DropTable
from ..grammar.options import parse_options


def create_table(grid: GridFace, node: CreateTable) -> list[str]:
    """Make the table.

    Returns:
        A note for each option that has no effect.

    Raises:
        TableExistsError: there is one of that name.
        SqlError, SchemaError, ColumnNotFoundError: an option, a type or the key is wrong.
    """
    schema = Schema.of(node.columns, node.key)
    partitions, options, notes = parse_options(node.with_texts, node.key)
    defaults = {name: default_value(schema[name], text) for name, text in node.defaults}
    json.dumps(options)  # options are written as JSON
    key = node.key if len(node.key) > 1 else node.key[0]
    try:
        grid.create_table(node.name, schema, key, partitions, options=options or None, defaults=defaults)
    except TableExistsError:  # in SQL one that is there will do, whatever its columns, as in Ignite
        if not node.if_not_exists:
            raise
    return notes


def drop_table(grid: GridFace, node: DropTable, text: str) -> None:
    """Forget the table and its rows.

    Raises:
        TableNotFoundError: there is none of that name, and nobody said IF EXISTS.
    """
    try:
        grid.drop_table(find_table(grid, node.table, text, RIGHTS).name)
    except TableNotFoundError:
        if not node.if_exists:
            raise
