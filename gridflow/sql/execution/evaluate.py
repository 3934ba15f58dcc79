"""New values that need the engine: a query whose columns become columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from ...errors import GridflowError, SchemaError, SqlError
from ...faces import GridFace, RowsInPlace
from ...schema import Column, Type
from ..binding.bind import marks_of
from ..binding.bound import Bound
from ..binding.find import relation_of
from ..binding.scopes import gives_all
from ..engine.connection import run
from ..engine.errors import MISFITS, EngineError
from ..engine.from_duckdb import fit, from_duckdb
from ..engine.relation import Relation
from ..engine.to_duckdb import duckdb_type
from ..grammar.dialect import to_duckdb
from ..text.params import plain
from .cut import at_one_moment
from .errors import clean, translate, translated
from .rows import register, with_lists


def evaluate(
    grid: GridFace,
    bound: Bound,
    params: Mapping[str, Any],
    columns: Sequence[Column],
    *,
    target: str,
    rows: pa.Table | RowsInPlace | None = None,
    numbers: pa.Array | pa.ChunkedArray | None = None,
    versions: dict[str, pa.Table] | None = None,
) -> pa.Table:
    """Run a query and cast its columns to the types of a table's.

    Args:
        grid: the grid that has the query's tables.
        bound: the query.
        params: mark -> value.
        columns: the table's columns that the query's become, in order.
        target: the name of that table, for messages.
        rows: the rows that stand for the statement's target; None: all rows of that table.
        numbers: a number for each of ``rows``, column ``ROW`` of the target, with which the query begins.
        versions: table -> its rows, with all columns; the tables that the query reads are added.

    Returns:
        A table with the query's numbers, if there are any, and the columns in the grid's types.

    Raises:
        SchemaError: a value does not fit; names the column and the value.
        SqlError, ColumnNotFoundError: as for any query.
    """
    tables: dict[str, Relation] = {}
    earlier = {} if versions is None else versions
    others = [s for s in bound.sources if not (s.target and rows is not None) and s.name not in earlier]
    cut = at_one_moment(grid, [relation_of(grid, source) for source in others])
    read: dict[str, RowsInPlace] = {}
    for source, table in zip(others, cut, strict=True):
        if versions is None:
            read[source.registered] = table._mapped(source.columns)
        else:
            versions[source.name] = table.to_arrow()
    for source in bound.sources:
        if source.registered in read:
            tables[source.registered] = register(read[source.registered], source, bound)
            continue
        whole = rows if source.target and rows is not None else earlier[source.name]
        tables[source.registered] = register(whole, source, bound, numbers=numbers if source.target else None)
    marks = marks_of(bound.tree)
    values = {mark: plain(value) for mark, value in params.items() if mark in marks}
    with translated(bound):
        inner, lists = with_lists(to_duckdb(bound.tree), bound, values)
    tables.update(lists)
    numbered = numbers is not None
    width = len(columns) + numbered
    names = [f"c{i}" for i in range(width)]
    _check_width(bound, inner, tables, values, width, target)
    alias = ", ".join(f'"{name}"' for name in names)
    query = f'FROM ({inner}) AS "q"({alias})'
    types = [None, *(c.type for c in columns)] if numbered else [c.type for c in columns]
    casts = [_cast(name, dtype) for name, dtype in zip(names, types, strict=True)]
    try:
        answer = run(f"SELECT {', '.join(casts)} {query}", tables, values, stack=bound.stack)
    except MISFITS as error:
        raise _misfit(error, bound, columns, casts[numbered:], query, tables, values) from None
    except EngineError as error:
        raise translate(error, bound) from None
    answer = from_duckdb(answer)
    arrays = [answer.column(0)] if numbered else []
    arrays += [_fitted(answer.column(i + numbered), column) for i, column in enumerate(columns)]
    return pa.Table.from_arrays(arrays, names=names)


def row_numbers(count: int) -> pa.Array:
    """The numbers of rows, in four bytes if those do, which is half the work of eight."""
    return pa.array(np.arange(count, dtype=np.min_scalar_type(count | 1 << 31)))


def chosen_numbers(answer: pa.Table) -> np.ndarray:
    """The numbers of an answer that has them, int64."""
    chunks = [chunk.to_numpy() for chunk in answer.column(0).chunks]
    return np.concatenate([np.empty(0, np.int64), *chunks], dtype=np.int64, casting="unsafe")


def _cast(name: str, dtype: Type | None) -> str:
    return f'"{name}"' if dtype is None else f'CAST("{name}" AS {duckdb_type(dtype)}) AS "{name}"'


def _check_width(
    bound: Bound, inner: str, tables: Mapping[str, Relation], values: dict[str, Any], width: int, target: str
) -> None:
    """Refuse a query of more or fewer columns than are filled; DuckDB would take more."""
    tree = bound.tree
    if isinstance(tree, exp.Query) and not gives_all(tree):
        actual = len(tree.selects)
    else:
        with translated(bound):
            actual = run(f"SELECT * FROM ({inner}) LIMIT 0", tables, values, stack=bound.stack).num_columns
    if actual != width:
        raise SqlError(f"table {target}: {width} columns are to be filled, the query gives {actual}")


def _misfit(
    error: EngineError,
    bound: Bound,
    columns: Sequence[Column],
    casts: Sequence[str],
    query: str,
    tables: Mapping[str, Relation],
    values: dict[str, Any],
) -> GridflowError:
    """The error of the column whose cast fails, which is found by casting one at a time."""
    for column, cast in zip(columns, casts, strict=True):
        try:
            run(f"SELECT {cast} {query}", tables, values, stack=bound.stack)
        except MISFITS as cast_error:
            try:  # an expression that fails by itself has nothing to do with the column's type
                run(
                    f"SELECT {cast.partition(' AS ')[0].removeprefix('CAST(')} {query}",
                    tables,
                    values,
                    stack=bound.stack,
                )
            except EngineError:
                return translate(cast_error, bound)
            return SchemaError(
                f"column {column.name} {column.type.text()}: {clean(str(cast_error), bound)}", column=column.name
            )
        except EngineError:
            break
    return translate(error, bound)


def _fitted(array: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """A column in exactly the type that tables take."""
    try:
        return fit(array, column.type)
    except pa.ArrowException as error:
        raise SchemaError(f"column {column.name} {column.type.text()}: {error}", column=column.name) from None
