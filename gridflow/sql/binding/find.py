"""Names in a statement as a grid's tables, system views and columns."""

from __future__ import annotations

from typing import overload

from sqlglot import exp

from ...catalog.grants import SELECT
from ...errors import ColumnNotFoundError, GridAccessError, TableNotFoundError, did_you_mean
from ...faces import ChangedTableFace, GridFace, ReadableTable, TableFace, TransactionFace
from ...schema import Column, Schema
from ..grammar.schemas import PUBLIC_SCHEMA, SYSTEM_SCHEMA
from ..grammar.spelling import KEYWORDS, nearest
from ..text.places import error_at, place_of, syntax_error
from ..views.views import SystemView, find_view
from .bound import BoundTable
from .versions import refuse_version


@overload
def find_table(grid: TransactionFace, node: exp.Table, text: str, rights: tuple[str, ...]) -> ChangedTableFace: ...
@overload
def find_table(grid: GridFace, node: exp.Table, text: str, rights: tuple[str, ...]) -> TableFace: ...
def find_table(grid: GridFace, node: exp.Table, text: str, rights: tuple[str, ...]) -> TableFace:
    """The table that a name in a statement means, for a user who has these rights on it.

    A quoted name means exactly itself. A name without quotes means its upper-case form or, where there is no such
    table, the only table whose name differs from it in case.

    Raises:
        TableNotFoundError: no table has the name; the message lists the tables.
        SqlError: the name is a system view's or of another schema, a version is named, or two tables could be meant.
        GridAccessError: who executes the statement lacks a right.
    """
    table = _find_table(grid, node, text)
    grid._demand(table, *rights)
    return table


def _find_table(grid: GridFace, node: exp.Table, text: str) -> TableFace:
    refuse_version(node, text)
    if node.db.upper() == SYSTEM_SCHEMA:
        view = find_relation(grid, node, text)
        start, length = place_of(node.this)
        raise syntax_error(text, start, f"{view.name} is a system view: it can be read, not changed", length)
    if node.args.get("catalog") is not None or (node.db and node.db.upper() != PUBLIC_SCHEMA):
        start, length = place_of(node.args["db"])
        message = f"no schema {node.db}; there are {PUBLIC_SCHEMA} and {SYSTEM_SCHEMA}, of the system's views"
        raise syntax_error(text, start, message, length)
    name = node.name
    try:
        return grid.table(name)
    except (TableNotFoundError, GridAccessError) as error:
        refused = error if isinstance(error, GridAccessError) else None
    names = grid.tables()
    start, length = place_of(node.this)
    if not node.this.args.get("quoted"):
        near = [other for other in names if other.upper() == name.upper()]
        if len(near) == 1:
            return grid.table(near[0])
        if near:
            quoted = " or ".join(f'"{other}"' for other in near)
            raise syntax_error(text, start, f"{name} could be {quoted}: quote the one you mean", length)
    if refused is not None:  # who sees few tables is not told whether there is one
        raise refused
    keyword = nearest(name, KEYWORDS, 0.7) if node.alias and not node.this.args.get("quoted") else ""  # DELETE FORM t
    message = f"no table {name}{keyword or '; ' + did_you_mean(name, names)}"
    raise error_at(TableNotFoundError, text, start, message, length, table=name)


def find_relation(grid: GridFace, node: exp.Table, text: str) -> ReadableTable:
    """The table, or view of schema SYS, that a name in a query means, for a user who may read it.

    Raises:
        TableNotFoundError, SqlError: see ``find_table``.
    """
    if node.db.upper() != SYSTEM_SCHEMA or node.args.get("catalog") is not None:
        return find_table(grid, node, text, (SELECT,))
    try:
        return SystemView(grid, find_view(node.name.upper()))
    except TableNotFoundError as error:
        start, length = place_of(node.this)
        raise error_at(TableNotFoundError, text, start, str(error), length, table=error.table) from None


def relation_of(grid: GridFace, source: BoundTable) -> ReadableTable:
    """The table, a version of it, or the system view that a statement was bound to.

    Raises:
        TableNotFoundError: the table was dropped.
        VersionNotFoundError: its version is gone.
    """
    if source.version is not None:
        return _to_read(grid, source.table).past(source.version)
    schema, _, view = source.name.partition(".")
    return SystemView(grid, find_view(view)) if schema == SYSTEM_SCHEMA and view else _to_read(grid, source.name)


def _to_read(grid: GridFace, name: str) -> TableFace:
    table = grid.table(name)
    grid._demand(table, SELECT)
    return table


def find_column(schema: Schema, node: exp.Identifier, text: str, table: str) -> Column:
    """The column that a name means: exactly itself, or without quotes also the only one that differs in case.

    Raises:
        ColumnNotFoundError: no column is meant; the message lists the columns.
    """
    name = node.name
    if name in schema:
        return schema[name]
    near = [other for other in schema.names if other.upper() == name.upper()]
    if len(near) == 1 and not node.args.get("quoted"):
        return schema[near[0]]
    start, length = place_of(node)
    message = f"no column {name} in {table}; {did_you_mean(name, schema.names)}"
    raise error_at(ColumnNotFoundError, text, start, message, length, table=table, column=name)
