"""SHOW TABLES, SHOW COLUMNS and DESCRIBE, carried out."""

from __future__ import annotations

import pyarrow as pa

from ...faces import GridFace
from ...storage.defaults import default_texts
from ..binding.find import find_relation
from ..grammar.schemas import PUBLIC_SCHEMA
from ..grammar.show import Show
from ..result import Result
from ..views.views import view_names


def show(grid: GridFace, kind: str, node: Show, text: str) -> Result:
    """SHOW TABLES, and the columns of one table as H2 lists them."""
    if node.table is None:
        names = grid.tables() if node.schema == PUBLIC_SCHEMA else view_names()
        schema = pa.array([node.schema] * len(names), pa.string())
        rows = pa.table({"TABLE_NAME": pa.array(names, pa.string()), "TABLE_SCHEMA": schema})
        return Result(rows, statement=kind)
    table = find_relation(grid, node.table, text)
    defaults = default_texts(table)
    facts = [
        (
            column.name,
            column.type.text(),
            "YES" if column.type.nullable else "NO",
            "PRI" if column.name in table.schema.key else "",
            defaults.get(column.name, "NULL"),
        )
        for column in table.schema.columns
    ]
    headings = ("FIELD", "TYPE", "NULL", "KEY", "DEFAULT")
    columns = [pa.array([row[i] for row in facts], pa.string()) for i in range(len(headings))]
    return Result(pa.Table.from_arrays(columns, names=list(headings)), statement=kind)
