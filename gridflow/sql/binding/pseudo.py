"""``_KEY`` and ``_VAL``: a row's key and its value in one, as Ignite has them beside a table's columns.

``_KEY`` of a table with one key column is that column; of several it is a STRUCT of them, and ``_VAL`` is a STRUCT of
the other columns. A column that really has the name goes first: a cache's table has them. ``*`` does not show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ...errors import ColumnNotFoundError, SchemaError, did_you_mean
from ...schema import Column, Schema, Type
from ..engine.from_duckdb import fit
from ..grammar.literals import convert
from ..text.places import place_of, syntax_error
from .bound import BoundTable
from .scopes import from_items

NAMES = ("_KEY", "_VAL")


def pseudo_column(schema: Schema, name: str) -> Column | None:
    """What ``_KEY`` or ``_VAL`` means in a table: a column of its own or a made-up one; None for another name.

    >>> schema = Schema.of({"A": "INT", "B": "INT", "C": "VARCHAR"}, ["A", "B"])
    >>> str(pseudo_column(schema, "_KEY")), str(pseudo_column(schema, "_VAL"))
    ('_KEY STRUCT<A INT32 NOT NULL, B INT32 NOT NULL>', '_VAL STRUCT<C STRING>')
    """
    upper = name.upper()
    if upper not in NAMES or any(other.upper() == upper for other in schema.names):
        return None
    columns = schema.key_columns if upper == "_KEY" else schema.value_columns
    if upper == "_KEY" and len(columns) == 1:
        return columns[0]
    if not columns:
        return None
    return Column(upper, Type("STRUCT", children=tuple((c.name, c.type) for c in columns)))


def is_made_up(schema: Schema, column: Column) -> bool:
    """Whether a column stands for several of the table's."""
    return column.name in NAMES and column.name not in schema


def columns_behind(schema: Schema, column: Column) -> Sequence[Column]:
    """The table's columns that a column stands for: itself, or the fields of a made-up one."""
    if not is_made_up(schema, column):
        return (column,)
    return [schema[name] for name, _ in column.type.children]


def expand_value(column: Column, value: Any) -> dict[str, Any]:
    """The value of a made-up column as column -> value.

    Raises:
        ColumnNotFoundError, SchemaError: the value has not the columns that the made-up one stands for.
    """
    children = dict(column.type.children)
    if value is None:
        return dict.fromkeys(children)
    if isinstance(value, (tuple, list)) and len(value) == len(children):
        value = dict(zip(children, value, strict=True))
    if not isinstance(value, Mapping):
        raise SchemaError(f"{column.name} is made of {', '.join(children)}: {value!r} does not fit; give a dict")
    row: dict[str, Any] = dict.fromkeys(children)
    for key, item in value.items():
        name = key if key in children else str(key).upper()
        if name not in children:
            raise ColumnNotFoundError(
                f"{column.name} has no {key}; {did_you_mean(str(key), children)}", column=str(key)
            )
        row[name] = convert(item, Column(name, children[name]))
    return row


def expand_array(schema: Schema, column: Column, array: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """The values of a column, as arrays of the table's columns that it stands for."""
    if not is_made_up(schema, column):
        return {column.name: array}
    names = [name for name, _ in column.type.children]
    flat = [chunk.flatten() for chunk in array.chunks]  # a null struct has nulls in all its fields
    kinds = [array.type.field(i).type for i in range(len(names))]
    arrays = [pa.chunked_array([chunk[i] for chunk in flat], kind) for i, kind in enumerate(kinds)]
    return {name: fit(one, schema[name].type) for name, one in zip(names, arrays, strict=True)}


def spell_out(tree: exp.Expression, of_node: Mapping[int, BoundTable], text: str) -> None:
    """Replace ``_KEY`` and ``_VAL`` in a statement by the columns that they stand for, in place.

    Args:
        tree: the statement; its tables have aliases.
        of_node: id of a table's node -> the table.
        text: the statement, for messages.

    Raises:
        SqlError: more than one table could be meant.
    """
    for column in list(tree.find_all(exp.Column)):
        if not isinstance(column.this, exp.Identifier):
            continue
        name, label = column.name.upper(), column.table.upper()
        field = ""
        if name not in NAMES and label in NAMES:  # _VAL.NAME
            name, label, field = label, column.text("db").upper(), column.name
        owner = _owner(column, name, label, of_node, text) if name in NAMES else None
        if owner is None:
            continue
        table, meaning = owner
        if field:
            fields = [] if isinstance(meaning, Column) else [c for c in meaning if field in (c.name, c.name.upper())]
            if not fields:
                continue
            name, meaning = field, fields[0]
        new: exp.Expr = _expression(table, meaning, column)
        if isinstance(column.parent, exp.Select) and column.arg_key == "expressions":
            new = exp.alias_(new, name, quoted=True)
        column.replace(new)


def _owner(
    column: exp.Column, name: str, label: str, of_node: Mapping[int, BoundTable], text: str
) -> tuple[exp.Expression, Column | Sequence[Column]] | None:
    """The innermost table that a ``_KEY`` or ``_VAL`` can belong to, and the columns that it means there."""
    select = column.find_ancestor(exp.Select)
    while select is not None:
        owners = []
        for item in from_items(select):
            if label and item.alias_or_name.upper() != label:
                continue
            source = of_node.get(id(item))
            if source is None:
                if label or (isinstance(item, exp.Subquery) and name in (n.upper() for n in item.named_selects)):
                    return None  # a column of a subquery
                continue
            pseudo = pseudo_column(source.schema, name)
            if pseudo is not None:
                made_up = is_made_up(source.schema, pseudo)
                owners.append((item, columns_behind(source.schema, pseudo) if made_up else pseudo))
            elif name in (other.upper() for other in source.schema.names):
                return None
        if len(owners) > 1:
            start, length = place_of(column.this)
            message = f"column {name} is in more than one table: write table.{name}"
            raise syntax_error(text, start, message, length)
        if owners:
            return owners[0]
        select = select.find_ancestor(exp.Select)
    return None


def _expression(table: exp.Expression, meaning: Column | Iterable[Column], node: exp.Column) -> exp.Expression:
    """A column, or a STRUCT of several, with the place in the text of the node that it replaces."""

    def reference(name: str) -> exp.Column:
        identifier = exp.to_identifier(name, quoted=True)
        identifier.meta.update(node.this.meta)
        return exp.Column(this=identifier, table=exp.to_identifier(table.alias, quoted=True))

    if isinstance(meaning, Column):
        return reference(meaning.name)
    fields = [
        exp.PropertyEQ(this=exp.to_identifier(column.name, quoted=True), expression=reference(column.name))
        for column in meaning
    ]
    return exp.Struct(expressions=fields)
