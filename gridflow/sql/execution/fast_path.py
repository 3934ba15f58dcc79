"""The fast path of a statement that is executed again and again with other parameters: past its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from ...catalog.grants import INSERT, SELECT
from ...errors import ColumnNotFoundError, SchemaError, TableNotFoundError
from ...faces import OpenGridFace, TableFace
from ...schema import INTEGERS, Type
from ..access.keys import KeyLookup
from ..binding.bound import BoundTable
from ..result import Result
from ..text.params import Marks

#: A function of a grid and the caller's parameters: the result, or None if the parameters are not plain enough; then
#: nothing has happened.
FastPath = Callable[[Any, Any], Result | None]

_ONE_INSERTED = Result(rowcount=1, statement="INSERT")


def insert_fast_path(
    table: TableFace, planned: Any, filled: Mapping[str, str | None], defaults: Mapping[str, Any], marks: Marks
) -> FastPath | None:
    """An INSERT of one row of parameters that go to the table as they are.

    Other cases (a value that needs a cast or does not fit, a key that exists) are left to the plan: the fast path
    returns None before anything has happened.

    Args:
        table: the table, under its own name in the statement: another name could mean another table later.
        planned: the schema that the statement was planned for.
        filled: column -> the parameter that fills it; None if it is no parameter.
        defaults: values of the other columns.
        marks: the statement's parameters.

    Returns:
        None where the statement is of another kind.
    """
    schema, codec = table.schema, table.codec
    if codec is None or codec.python_schema is not planned:  # a transaction's, which ends
        return None
    parameters, by_name, name = list(filled.values()), bool(marks.names), table.name
    if len(schema.key) != 1 or schema.key[0] not in filled:
        return None
    if None in parameters or len(set(parameters)) != len(parameters) or len(parameters) != marks.count:
        return None
    if by_name and len(parameters) == 1:
        return None
    places = {column: marks.places[mark] for column, mark in filled.items() if mark is not None}
    columns = [schema.key[0], *(column.name for column in schema.value_columns)]
    names = list(places) if by_name else sorted(places, key=places.__getitem__)  # in the order of the parameters
    values_of = itemgetter(*(places[column] for column in names)) if by_name else None
    at = tuple(names.index(column) if column in places else -1 for column in columns)
    fixed = tuple(defaults.get(column) for column in columns)
    count = marks.count

    def fast_path(grid: OpenGridFace, params: Any) -> Result | None:
        kind = type(params)
        try:
            if values_of is None:
                if (kind is not tuple and kind is not list) or len(params) != count:
                    return None
                values = params
            else:
                if kind is not dict or len(params) != count:
                    return None
                values = values_of(params)
            # With its columns a table gets another codec.
            table = grid.table(name)
            grid._demand(table, INSERT)
            if table._insert_values(codec, at, fixed, values):
                return _ONE_INSERTED
        except (SchemaError, ColumnNotFoundError, TableNotFoundError, KeyError):
            pass
        return None

    return fast_path


def select_fast_path(
    table: TableFace,
    source: BoundTable,
    lookup: KeyLookup,
    names: tuple[str, ...],
    types: tuple[Type, ...],
    columns: Sequence[str],
    marks: Marks,
) -> FastPath | None:
    """A SELECT of the row under a key of one column, an integer or a text, which is the only parameter.

    A parameter that is no such key is left to the plan: the fast path returns None.

    Args:
        table: the only table.
        source: the table in the statement.
        lookup: the keys that the WHERE fixes; the WHERE says nothing else.
        names, types: of the result's columns.
        columns: the table's columns that they show.
        marks: the statement's parameters.

    Returns:
        None where the statement is of another kind.
    """
    if len(lookup.columns) != 1 or len(lookup.alternatives) != 1:
        return None
    codec, name = table.codec, source.name
    # Checked once more: another thread may give the table other columns at any time.
    if codec is None or table.name != name or codec.python_schema != source.schema:
        return None
    order = [column.name for column in codec.python_schema.value_columns]
    places = tuple(order.index(column) if column in order else -1 for column in columns)
    ((choices,),) = lookup.alternatives
    if len(choices) != 1 or choices[0].mark is None or marks.names or marks.count != 1:
        return None
    kind = lookup.columns[0].type.kind
    if kind not in (*INTEGERS, "STRING"):
        return None
    python: Any = int if kind in INTEGERS else str

    def fast_path(grid: OpenGridFace, params: Any) -> Result | None:
        if (type(params) is not list and type(params) is not tuple) or len(params) != 1:
            return None
        key = params[0]
        if type(key) is not python:
            return None
        try:
            table = grid.table(name)
            grid._demand(table, SELECT)
            row = table._select_values(codec, places, key)
        except (
            TableNotFoundError,
            SchemaError,
        ):  # it was dropped, or got other columns, or the key does not fit
            return None
        return Result.of_values(names, types, [] if row is None else [row])

    return fast_path
