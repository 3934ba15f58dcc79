"""What ``gridflow export`` runs: a COPY TO that is made of its parts and never was text, so that a query stays one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlglot import exp

from ..errors import SqlError, UsageError
from ..faces import GridFace
from .binding.find import find_relation
from .grammar.copy import CopyOptions, CopyTo
from .grammar.dialect import tokenize
from .grammar.prepared import Prepared, own_text
from .grammar.statements import prepare
from .grammar.tokens import parse_table_name
from .text.cutter import is_query
from .text.params import Marks


def export_statement(
    grid: GridFace, source: str, path: str, columns: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> Prepared:
    """The statement that writes a table, or the rows of a query, to a file.

    Args:
        grid: that has the table.
        source: a table's name, in any case, also ``PUBLIC.T`` or ``SYS.TABLES``; or one query without parameters.
        path: of the file.
        columns: of a table, in any case; none for all.
        options: of COPY TO, by name, checked.

    Raises:
        SqlError: the query does not parse, or it is no single query; places count in ``source``.
        TableNotFoundError, ColumnNotFoundError, UsageError: there is no such table or column.
    """
    table = _table(grid, source)
    query = None
    text = source
    if table is None:
        if columns:
            raise UsageError("--columns is for a table: a query names its columns itself")
        query = _query(source)
        text = query.text
    node = CopyTo(
        path=exp.Literal.string(path),
        table=table,
        columns=_columns(grid, table, columns, source) if table is not None else (),
        tokens=[],
        options=CopyOptions(text, dict(options or {})),
        query=query,
    )
    own = own_text(f"COPY ({query.own_text}) TO '{path}'" if query is not None else f"COPY {source} TO '{path}'")
    return Prepared("COPY", node, Marks(), text, own_text=own)


def _table(grid: GridFace, source: str) -> exp.Table | None:
    """The table that is meant; None for a query."""
    names = grid.tables()
    for name in (source, source.upper()):
        if name in names:
            return exp.Table(this=exp.to_identifier(name, quoted=True))
    if is_query(source):
        return None
    try:
        node = parse_table_name(tokenize(source), source)
    except SqlError:
        node = exp.Table()
    if not node.db:
        grid.table(source.upper())  # raises, and says what tables there are
    return node


def _columns(grid: GridFace, table: exp.Table, names: Sequence[str], source: str) -> tuple[exp.Identifier, ...]:
    schema = find_relation(grid, table, source).schema
    known = [name if name in schema else name.upper() for name in names]
    return tuple(exp.to_identifier(schema[name].name, quoted=True) for name in known)


def _query(source: str) -> Prepared:
    statements = prepare(source)
    if len(statements) > 1:
        raise SqlError(f"export takes one query, and there are {len(statements)} statements")
    (query,) = statements
    if query.kind != "SELECT":
        instead = "; SYS.TABLES and SYS.TABLE_COLUMNS are views that it takes" if query.kind != "EXPLAIN" else ""
        raise SqlError(f"export takes a table or a query, and this is {query.kind}{instead}")
    if query.marks.positional or query.marks.numbers or query.marks.names:
        raise SqlError("export takes a query without parameters: nothing says what they are")
    return query
