"""CREATE INDEX and DROP INDEX, carried out."""

from __future__ import annotations

import warnings
from typing import Any

from ...catalog.grants import RIGHTS
from ...errors import SchemaError, SqlError, did_you_mean
from ...faces import GridFace
from ...storage.index_definition import Index
from ...storage.index_keys import check_indexable
from ..binding.find import find_column, find_table
from ..grammar.create_index import CreateIndex, DropIndex
from ..text.places import place_of, syntax_error


def create_index(grid: GridFace, node: CreateIndex, text: str) -> None:
    """Make an index and its files.

    Raises:
        TableNotFoundError, ColumnNotFoundError: the table or a column does not exist.
        SqlError: there is an index of that name; a column is named twice or can have no index.
        GridFullError: there is no room; nothing has changed.
    """
    grid._check_changeable()  # before any file is made
    table = find_table(grid, node.table, text, RIGHTS)
    columns = []
    for column_node, _ in node.columns:
        start, length = place_of(column_node)
        column = find_column(table.schema, column_node, text, table.name)
        if column in columns:
            raise syntax_error(text, start, f"column {column.name} is named twice", length)
        try:
            check_indexable(column)
        except SchemaError as error:
            raise syntax_error(text, start, str(error), length) from None
        columns.append(column)
    name = node.name.name
    with table.indexes.changing():
        owner = _table_of(grid, name)
        if owner is not None:
            if node.if_not_exists:
                return
            start, length = place_of(node.name)
            raise syntax_error(text, start, f"index {name} exists already, on table {owner}", length)
        ids = [index.index_id for index in table.indexes.all()]
        index = Index(name, max(ids, default=0) + 1, tuple(columns), tuple(down for _, down in node.columns))
        table.indexes.make(index)
        try:
            grid._alter_options(table.name, lambda options: _with_index(grid, options, index))
        except BaseException:
            table.indexes.remove_stale()
            raise
    table._wake_maintenance()  # there may be new segments meanwhile
    if node.without_effect:
        warnings.warn(f"without effect here: {', '.join(node.without_effect)}", UserWarning, stacklevel=2)


def drop_index(grid: GridFace, node: DropIndex, text: str) -> None:
    """Forget an index and remove its files.

    Raises:
        SqlError: there is none of that name.
    """
    name = node.name.name
    owner = _table_of(grid, name)
    if owner is None:
        if node.if_exists:
            return
        start, length = place_of(node.name)
        names = [index for indexes in _names(grid).values() for index in indexes]
        raise syntax_error(text, start, f"no index {name}; {did_you_mean(name, names)}", length)
    table = grid.table(owner)
    with table.indexes.changing():
        grid._alter_options(owner, lambda options: _without_index(options, name))
        table.indexes.remove_stale()


def _names(grid: GridFace) -> dict[str, list[str]]:
    """The names of all indexes, by table."""
    return {table.name: [index.name for index in table.indexes.all()] for table in grid._all_tables()}


def _table_of(grid: GridFace, name: str) -> str | None:
    return next((table for table, names in _names(grid).items() if name in names), None)


def _with_index(grid: GridFace, options: dict[str, Any], index: Index) -> dict[str, Any]:
    owner = _table_of(grid, index.name)
    if owner is not None:  # another thread was faster
        raise SqlError(f"index {index.name} exists already, on table {owner}")
    options.setdefault("sql", {}).setdefault("indexes", {})[index.name] = index.option()
    return options


def _without_index(options: dict[str, Any], name: str) -> dict[str, Any]:
    indexes = (options.get("sql") or {}).get("indexes") or {}
    indexes.pop(name, None)
    if not indexes:
        options.get("sql", {}).pop("indexes", None)
    return options
