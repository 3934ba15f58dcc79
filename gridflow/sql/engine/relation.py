"""The rows of a query's tables, as they are registered with DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Relation:
    """The rows of one of a query's tables.

    Attributes:
        rows: rows of it.
        tested: others, with a last column more, which is null where the row is one of the relation's.
        unless: the name of that column.
    """

    rows: pa.Table
    tested: pa.Table | None = None
    unless: str = ""


#: What a part of a relation is registered as, after its name.
_ROWS, _TESTED = " rows", " tested"
_BEGINNING = re.compile(r"(EXPLAIN )?(WITH (?:RECURSIVE )?)?")


def parts_of(tables: Mapping[str, Relation]) -> Iterator[tuple[str, pa.Table]]:
    """The tables to register, by name."""
    for name, relation in tables.items():
        if relation.tested is None:
            yield name, relation.rows
        else:
            if relation.rows.num_rows:
                yield name + _ROWS, relation.rows
            yield name + _TESTED, relation.tested


def with_tests(sql: str, tables: Mapping[str, Relation]) -> str:
    """The statement with each relation that has rows to be tested as a query of its own, which goes before it."""
    queries = []
    for name, relation in tables.items():
        if relation.tested is not None:
            names = ", ".join(map(quoted, relation.rows.column_names))
            test = f"SELECT {names} FROM {quoted(name + _TESTED)} WHERE {quoted(relation.unless)} IS NULL"
            both = f"SELECT {names} FROM {quoted(name + _ROWS)} UNION ALL " if relation.rows.num_rows else ""
            queries.append(f"{quoted(name)} AS NOT MATERIALIZED ({both}{test})")
    if not queries:
        return sql
    beginning = _BEGINNING.match(sql)
    assert beginning is not None  # it matches anything
    explain, with_ = beginning.groups()
    rest = sql[beginning.end() :]
    return f"{explain or ''}{with_ or 'WITH '}{', '.join(queries)}{', ' if with_ else ' '}{rest}"


def quoted(name: str) -> str:
    """A name as SQL has it in quotes."""
    return '"' + name.replace('"', '""') + '"'
