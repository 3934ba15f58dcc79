"""``SET column = value, ...``: the columns that an UPDATE changes, and their new values."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from ...errors import ColumnNotFoundError, SqlError
from ...faces import TableFace
from ...schema import Column
from ..engine.to_duckdb import duckdb_type
from ..text.places import place_of, syntax_error
from .filling import is_default
from .find import find_column
from .pseudo import is_made_up, pseudo_column
from .scopes import gives_all


def assignments(
    nodes: list[exp.Expression], table: TableFace, labels: set[str], text: str, word: str = "UPDATE"
) -> list[tuple[Column, exp.Expression]]:
    """The columns that SET names, each once, and their new values, of which some may be the keyword DEFAULT.

    Args:
        nodes: ``column = value``; ``(columns) = (values)`` and ``_VAL = value`` give several columns.
        table: the table that is changed.
        labels: upper-case names by which the statement may qualify the table's columns.
        text: the statement, for messages.
        word: the statement's kind, for messages.

    Raises:
        ColumnNotFoundError, SqlError: a column does not exist, is in the key, or is named twice.
    """
    result: list[tuple[Column, exp.Expression]] = []
    for target, value in _pairs(nodes, table, word):
        if not isinstance(target, exp.Column):
            raise SqlError(f"{word} {table.name}: SET takes column = value")
        start, length = place_of(target.this)
        if target.table and target.table.upper() not in labels:
            raise ColumnNotFoundError(f"{word} {table.name} cannot set a column of {target.table}")
        pseudo = pseudo_column(table.schema, target.name)
        column = pseudo or find_column(table.schema, target.this, text, table.name)
        if column.name in table.schema.key or (pseudo is not None and pseudo.name == "_KEY"):
            raise syntax_error(
                text,
                start,
                f"column {column.name} is in the primary key of {table.name}: it cannot be updated; "
                "delete the row and insert another",
                length,
            )
        if pseudo is not None and is_made_up(table.schema, pseudo):
            names = [name for name, _ in pseudo.type.children]
            new = [(table.schema[n], value if is_default(value) else _field(value, pseudo, n)) for n in names]
        else:
            new = [(column, value)]
        for column, _ in new:
            if any(column is other for other, _ in result):
                raise syntax_error(text, start, f"column {column.name} is set twice", length)
        result += new
    return result


def _pairs(
    nodes: list[exp.Expression], table: TableFace, word: str
) -> Iterator[tuple[exp.Expression | None, exp.Expression]]:
    for node in nodes:
        if not isinstance(node, exp.EQ):
            raise SqlError(f"{word} {table.name}: SET takes column = value, not {node.sql()}")
        targets = node.this.unnest()
        if not isinstance(targets, exp.Tuple) and targets is node.this:
            yield node.this, node.expression
            continue
        names = targets.expressions if isinstance(targets, exp.Tuple) else [targets]
        value = node.expression
        query = value.unnest()
        if isinstance(query, exp.Select) and not gives_all(query):
            values = [_one_column(query, i) for i in range(len(query.expressions))]
        elif isinstance(query, exp.Tuple):
            values = query.expressions
        else:
            values = [value]
        if len(values) != len(names):
            raise SqlError(f"{word} {table.name}: SET has {len(names)} columns and {len(values)} values")
        yield from zip(names, values, strict=True)


def _one_column(query: exp.Select, i: int) -> exp.Subquery:
    """A query of several columns, cut to the i-th of them."""
    copy = query.copy()
    copy.set("expressions", [copy.expressions[i]])
    return exp.Subquery(this=copy)


def _field(value: exp.Expression, column: Column, name: str) -> exp.Expression:
    """One field of the value of a made-up column."""
    kind = exp.DataType.build(duckdb_type(column.type), dialect="duckdb")
    struct = exp.Cast(this=value.copy(), to=kind)
    return exp.Anonymous(this="STRUCT_EXTRACT", expressions=[struct, exp.Literal.string(name)])
