"""CREATE TABLE ... AS, carried out: a table with the types and the rows of a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ...errors import DuplicateKeyError, SchemaError, SqlError, TableExistsError
from ...faces import GridFace
from ...schema import Schema, Type, from_arrow
from ..engine.from_duckdb import fit
from ..grammar.create_table_as import CreateTableAs
from ..grammar.options import parse_options
from ..grammar.prepared import Prepared
from ..result import Result
from ..text.places import place_of, syntax_error
from .changes import insert_arrow
from .query import execute_query


def create_table_as(grid: GridFace, prepared: Prepared, params: Mapping[str, Any]) -> Result:
    """Make the table and fill it. If the rows do not fit there is no table.

    Raises:
        TableExistsError: there is one of that name.
        SqlError, SchemaError, ColumnNotFoundError: the query, a type, an option or the key is wrong.
        DuplicateKeyError: the query gives a key twice.
    """
    node: CreateTableAs = prepared.node
    name = node.table.name
    if name in grid.tables():
        if node.if_not_exists:
            return Result(statement="CREATE TABLE", rowcount=0)
        raise TableExistsError(f"table {name} exists already", table=name)
    answer = execute_query(grid, node.query, params)
    columns = _columns(node, answer, prepared.text)
    if not node.key:
        first = columns[0][0]
        start, length = place_of(node.table.this)
        message = (
            f"table {name} has no primary key; write CREATE TABLE {name} PRIMARY KEY ({first}) AS ... "
            f"to take the column {first}"
        )
        raise syntax_error(prepared.text, start, message, length)
    schema = Schema.of(columns, node.key)
    partitions, options, notes = parse_options(node.with_texts, node.key)
    rows = answer.to_arrow().rename_columns(schema.names)
    for i, column in enumerate(schema.columns):
        rows = rows.set_column(i, column.name, fit(rows.column(i), column.type))
    key: Any = node.key if len(node.key) > 1 else node.key[0]
    table = grid.create_table(name, schema, key, partitions, options=options or None)
    try:
        count = insert_arrow(table, rows)
    except BaseException as error:
        grid.drop_table(name, if_exists=True)
        if isinstance(error, DuplicateKeyError):
            text = str(error).partition("; MERGE")[0]
            raise DuplicateKeyError(f"{text}: ({', '.join(node.key)}) is no primary key of these rows") from None
        raise
    return Result(statement="CREATE TABLE", rowcount=count, notes=notes)


def _columns(node: CreateTableAs, answer: Result, text: str) -> list[tuple[str, Type]]:
    """Names and types of the table's columns."""
    names = answer.columns
    if node.names:
        if len(node.names) != len(names):
            start, length = place_of(node.table.this)
            message = f"{len(node.names)} columns are named, the query gives {len(names)}: {', '.join(names)}"
            raise syntax_error(text, start, message, length)
        names = list(node.names)
    for i, name in enumerate(names):
        if name in names[:i]:
            raise SqlError(f"the query gives two columns {name}: name one of them otherwise, with AS")
    tree = node.query.node
    expressions = tree.expressions if isinstance(tree, exp.Select) else []
    result = []
    for i, (name, field, dtype) in enumerate(zip(names, answer.to_arrow().schema, answer.types, strict=True)):
        is_null = len(expressions) == len(names) and isinstance(expressions[i].unalias(), exp.Null)
        if dtype is None:
            try:
                dtype = from_arrow(pa.null() if is_null else field.type)
            except SchemaError:
                hint = f"CAST(NULL AS type) AS {name}" if is_null else "a CAST"
                raise SchemaError(f"column {name} of the query has no type of a table's column; write {hint}") from None
        # A column takes nulls, even if it comes from one that does not.
        result.append((name, replace(dtype, nullable=name not in node.key)))
    return result
