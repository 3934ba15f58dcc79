"""What an index is: its columns, as a table's options have them, and the names of its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..schema import Column, Schema

#: Names of index files.
FILE_NAME = re.compile(r"[0-9a-f]{16}-\d+\.idx")


@dataclass(frozen=True)
class Index:
    """An index of a table, as its options have it.

    Attributes:
        name: unique in the grid.
        index_id: part of its files' names.
        columns: of the table.
        descending: of each column, whether CREATE INDEX says DESC. Files rise all the same: they are read both ways.
    """

    name: str
    index_id: int
    columns: tuple[Column, ...]
    descending: tuple[bool, ...]

    @cached_property
    def about(self) -> str:
        """What its files are about, as they say it themselves."""
        return ", ".join(f"{column.id} {column.type.text()}" for column in self.columns)

    def file(self, segment_id: int) -> str:
        """The name of its file for a segment."""
        return f"{segment_id:016x}-{self.index_id}.idx"

    def option(self) -> dict[str, Any]:
        """What ``options["sql"]["indexes"]`` holds under its name; a column's id stays when it is renamed."""
        pairs = zip(self.columns, self.descending, strict=True)
        return {
            "id": self.index_id,
            "columns": [[c.name, "DESC" if down else "ASC"] for c, down in pairs],
            "column_ids": [c.id for c in self.columns],
        }

    def fits(self, schema: Schema) -> bool:
        """Whether its columns have the same names in that schema."""
        return all(c.name in schema and schema[c.name].id == c.id for c in self.columns)


def indexes_of(options: Mapping[str, Any], schema: Schema) -> list[Index]:
    """The indexes that a table's options name, by name; those of columns that are no more are left out."""
    entries = ((options.get("sql") or {}).get("indexes") or {}).items()
    by_id = {column.id: column for column in schema.columns}
    result = []
    for name, entry in sorted(entries):
        columns = [by_id.get(column_id) for column_id in entry["column_ids"]]
        descending = tuple(direction == "DESC" for _, direction in entry["columns"])
        if None not in columns:
            result.append(Index(name, entry["id"], tuple(columns), descending))  # type: ignore[arg-type]
    return result
