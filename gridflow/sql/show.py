"""SHOW TABLES, SHOW COLUMNS and DESCRIBE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlglot import exp
from sqlglot.tokens import Token

from ..errors import SqlError
from .names import SCHEMA, SYSTEM_SCHEMA, find_source
from .result import Result
from .text import point, syntax_error
from .tokens import Tokens, parse_table_name
from .views import view_names


@dataclass(frozen=True)
class Show:
    """SHOW TABLES of a schema, or the columns of ``table``."""

    table: exp.Table | None = None
    schema: str = SCHEMA


def parse_show(tokens: list[Token], text: str) -> Show:
    """``SHOW TABLES [FROM schema]``, ``SHOW COLUMNS FROM table``, ``DESCRIBE [TABLE] table``"""
    words = [t.text.upper() for t in tokens]
    if words[0] == "SHOW" and words[1:2] == ["TABLES"]:
        reader = Tokens(tokens, text)
        reader.expect("SHOW", "TABLES")
        schema = SCHEMA
        if reader.accept("FROM") or reader.accept("IN"):
            token = reader.now
            schema = reader.name("a schema's name")
            if token is not None and schema not in (SCHEMA, SYSTEM_SCHEMA):
                message = f"no schema {schema}; there are {SCHEMA} and {SYSTEM_SCHEMA}"
                raise syntax_error(text, token.start, message, len(token.text))
        reader.end()
        return Show(schema=schema)
    if words[0] == "SHOW" and words[1:2] == ["COLUMNS"] and words[2:3] in (["FROM"], ["IN"]):
        rest = tokens[3:]
    elif words[0] == "SHOW":
        found = tokens[1] if len(tokens) > 1 else tokens[0]
        what = "SHOW TABLES and SHOW COLUMNS FROM t"
        raise syntax_error(text, found.start, f"cannot show {found.text}; there are {what}", len(found.text))
    else:
        rest = tokens[2:] if words[1:2] == ["TABLE"] else tokens[1:]
    if not rest:
        raise SqlError(point(text, tokens[-1].start, f"a table's name is missing after {tokens[-1].text}"))
    return Show(parse_table_name(rest, text))


def execute(grid: Any, kind: str, node: Show, text: str) -> Result:
    """SHOW TABLES, and the columns of one table as H2 lists them."""
    if node.table is None:
        names = grid.tables() if node.schema == SCHEMA else view_names()
        schema = pa.array([node.schema] * len(names), pa.string())
        rows = pa.table({"TABLE_NAME": pa.array(names, pa.string()), "TABLE_SCHEMA": schema})
        return Result(rows, statement=kind)
    table = find_source(grid, node.table, text)
    defaults = ((table.options or {}).get("sql") or {}).get("defaults") or {}
    listed = [
        (
            column.name,
            column.type.text(),
            "YES" if column.type.nullable else "NO",
            "PRI" if column.name in table.schema.key else "",
            defaults.get(column.name, "NULL"),
        )
        for column in table.schema.columns
    ]
    names = ("FIELD", "TYPE", "NULL", "KEY", "DEFAULT")
    columns = [pa.array([row[i] for row in listed], pa.string()) for i in range(len(names))]
    return Result(pa.Table.from_arrays(columns, names=list(names)), statement=kind)
