"""ALTER TABLE, carried out: columns come, go and get other names, while the rows stay where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...catalog.grants import RIGHTS
from ...errors import TableNotFoundError
from ...faces import GridFace, TableFace
from ...schema import Column
from ...storage.index_definition import indexes_of
from ..binding.filling import default_value
from ..binding.find import find_column, find_table
from ..grammar.alter_table import AlterTable
from ..text.places import place_of, syntax_error
from .changes import changing


def alter_table(grid: GridFace, node: AlterTable, text: str) -> None:
    """Change the table.

    Raises:
        TableNotFoundError, ColumnNotFoundError: there is none of that name, and the statement has no IF EXISTS.
        SqlError, SchemaError: the change is impossible; names the column.
    """
    try:
        table = find_table(grid, node.table, text, RIGHTS)
    except TableNotFoundError:
        if node.if_exists:
            return
        raise
    with changing(grid, table):  # so that no statement that is under way misses a DEFAULT
        _alter(grid, table, node, text)


def _alter(grid: GridFace, table: TableFace, node: AlterTable, text: str) -> None:
    schema = table.schema
    add = {name: dtype for name, dtype in node.add if not (node.lenient and name in schema)}
    dropped = [name for name in node.drop if not (node.lenient and name.name not in schema)]
    drop = [find_column(schema, name, text, table.name).name for name in dropped]
    rename = {find_column(schema, old, text, table.name).name: new for old, new in node.rename}
    _check_indexes(table, drop, node, text)
    if len(add) + len(drop) + len(rename) == 0:
        return
    defaults = {name: default for name, default in node.defaults if name in add}
    values = {name: default_value(Column(name, add[name]), default) for name, default in defaults.items()}
    grid.alter_table(table.name, add=add, drop=drop, rename=rename, defaults=values)
    if rename:
        grid._alter_options(table.name, lambda options: _renamed_affinity(options, rename))


def _check_indexes(table: TableFace, drop: list[str], node: AlterTable, text: str) -> None:
    for index in indexes_of(table.options, table.schema):
        for column in index.columns:
            if column.name in drop:
                start, length = place_of(node.drop[0])
                message = (
                    f"column {column.name} of {table.name} is in index {index.name}: DROP INDEX {index.name} first"
                )
                raise syntax_error(text, start, message, length)


def _renamed_affinity(options: dict[str, Any], rename: Mapping[str, str]) -> dict[str, Any]:
    """The options with the affinity key's new name."""
    sql = dict(options.get("sql") or {})
    for old, new in rename.items():
        if str(sql.get("affinity_key", "")).upper() == old.upper():
            sql["affinity_key"] = new
            return {**options, "sql": sql}
    return options
