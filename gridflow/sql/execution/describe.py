"""What a text would give, without running it: the columns of its rows, and the types of its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from ...errors import ColumnNotFoundError, GridflowError, SchemaError, SqlError
from ...faces import GridFace
from ...schema import Type, parse_type
from ..binding.find import find_column, find_relation
from ..grammar.prepared import Prepared
from ..grammar.statements import as_written, prepare
from ..text.params import MarkList
from .executors import EXECUTORS
from .plan import plan_for

#: Statements that give rows which are always of the same columns.
_PLANS = pa.schema({"PLAN": pa.string()})
_LISTS = ("SHOW", "DESCRIBE", "DESC")
#: What stands beside a parameter of the same type.
_ALIKE = (exp.Binary, exp.Between, exp.In, exp.Coalesce, exp.Tuple)
_TEXT = (exp.Like, exp.ILike, exp.DPipe, exp.RegexpLike, exp.SimilarTo, exp.Upper, exp.Lower, exp.Trim)

_SENT = {"STRING": pa.string(), "UUID": pa.string(), "BINARY": pa.binary(), "TIME": pa.time32("ms")}


@dataclass(frozen=True)
class Description:
    """A text that is not executed.

    Attributes:
        rows: the columns of what it gives; None where it gives no rows, or that is known only when it runs.
        gives_rows: whether it gives rows.
        parameters: a field for each parameter, in order; of a type that is not known it is a text.
        named: whether the parameters are ``:name`` marks.
    """

    rows: pa.Schema | None
    gives_rows: bool
    parameters: pa.Schema
    named: bool


def describe(grid: GridFace, text: str) -> Description:
    """What a text would give.

    Raises:
        SqlError, TableNotFoundError, ColumnNotFoundError: it does not parse, or names what is not there.
    """
    statements = [as_written(one) if one.shape is not None else one for one in prepare(text)]
    fields = [field for statement in statements for field in _parameters(grid, statement)]
    last = statements[-1]
    gives_rows = last.kind in ("SELECT", "EXPLAIN", *_LISTS)
    rows = None
    if last.kind == "EXPLAIN":
        rows = _PLANS
    elif gives_rows:
        with suppress(GridflowError) if len(statements) > 1 else nullcontext():  # it may need what is not there yet
            rows = _columns(grid, last)
    return Description(
        rows,
        gives_rows,
        pa.schema(fields),
        any(statement.marks.names for statement in statements),
    )


def _columns(grid: GridFace, prepared: Prepared) -> pa.Schema | None:
    if prepared.kind in _LISTS:  # they take no parameters, and change nothing
        return EXECUTORS[prepared.kind](grid, prepared, {}).to_arrow().schema
    values = dict.fromkeys(prepared.marks.places)
    try:
        plan, tables = plan_for(grid, prepared, values)
        return plan.schema(tables, values)
    except SqlError:
        if values:  # null may be no value for it, as that of a version
            return None
        raise


def _parameters(grid: GridFace, prepared: Prepared) -> Iterator[pa.Field]:
    """A field for each parameter of a statement."""
    marks = list(prepared.marks.places)
    if not marks:
        return
    types: dict[str, Type] = {}
    if isinstance(prepared.node, exp.Expression):
        for node in prepared.node.find_all(exp.Placeholder, MarkList):
            with suppress(GridflowError):
                found = _type_of(node, grid, prepared)
                if found is not None:
                    names = node.names if isinstance(node, MarkList) else [node.name]
                    types |= dict.fromkeys(names, found)
    for mark in marks:
        yield pa.field(mark, _for_clients(types[mark]) if mark in types else pa.string())


def _for_clients(dtype: Type) -> pa.DataType:
    """The Arrow type in which a client best sends values of a column: of texts and bytes the common one.

    Times are in milliseconds: JDBC's driver sends those whatever the unit is, and others send what they have.
    """
    if dtype.kind == "TIMESTAMP":
        return pa.timestamp("ms", tz="UTC" if dtype.utc else None)
    return _SENT.get(dtype.kind) or dtype.arrow()


def _type_of(node: exp.Expression, grid: GridFace, prepared: Prepared) -> Type | None:
    """The type that a parameter is likely to have, by what stands beside it."""
    parent = node.parent
    while isinstance(parent, (exp.Paren, exp.Neg)):
        node, parent = parent, parent.parent
    if isinstance(parent, exp.Cast):
        with suppress(SchemaError):
            return parse_type(parent.args["to"].sql())
    if isinstance(parent, (exp.Limit, exp.Offset, exp.Fetch)):
        return parse_type("INT64")
    if isinstance(parent, exp.Tuple) and isinstance(parent.parent, exp.Values):
        return _filled(parent.expressions.index(node), prepared.node, grid, prepared.text)
    if isinstance(parent, _TEXT):
        return parse_type("STRING")
    if isinstance(parent, _ALIKE):
        for other in parent.iter_expressions():
            if isinstance(other, exp.Column):
                return _column_type(other, grid, prepared)
    return None


def _filled(place: int, tree: exp.Expression, grid: GridFace, text: str) -> Type | None:
    """The type of the column that an INSERT or MERGE fills with the values of a place."""
    if not isinstance(tree, exp.Insert):
        return None
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    schema = find_relation(grid, target, text).schema
    if isinstance(tree.this, exp.Schema):
        name = tree.this.expressions[place]
        return find_column(schema, name, text, target.name).type
    return schema.columns[place].type


def _column_type(node: exp.Column, grid: GridFace, prepared: Prepared) -> Type | None:
    """The type of a column of any table that the statement names."""
    for table in prepared.node.find_all(exp.Table):
        if node.table and node.table.upper() not in (table.alias.upper(), table.name.upper()):
            continue
        with suppress(GridflowError):
            schema = find_relation(grid, table, prepared.text).schema
            with suppress(ColumnNotFoundError):
                return find_column(schema, node.this, prepared.text, table.name).type
    return None
