"""The way to the rows of a table that a statement needs: by key, by an index, or all of them.

What a path gives may be more than the statement wants, and is never less: the engine still applies the whole WHERE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...faces import IndexedRows, ReadableTable, TableFace
from ..views.views import is_table
from .by_key import rows_by_key
from .index_rows import Conditions, look_up
from .keys import KeyLookup


@dataclass(frozen=True)
class ByKey:
    """The rows under some keys, read one by one, without a flush or a scan."""

    table: TableFace
    keys: list[Any]

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows."""
        return rows_by_key(self.table, self.keys, columns)

    def describe(self) -> str:
        """As EXPLAIN shows it."""
        count = len(self.keys)
        return f"by key ({', '.join(self.table.schema.key)}), {count:,} {'key' if count == 1 else 'keys'}"


@dataclass(frozen=True)
class ByIndex:
    """The rows that an index has, of one version of the table.

    Attributes:
        text: the index and the conditions that it answers.
    """

    table: ReadableTable
    selected: IndexedRows
    text: str

    @property
    def exact(self) -> bool:
        """Whether there are none among them that the WHERE refuses."""
        return self.selected.exact

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows."""
        return self.selected.take(columns)

    def spread(self, columns: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
        """These columns of all rows around them, as views, and the numbers in that of the rows, int64."""
        return self.selected.spread(columns)

    def describe(self) -> str:
        """As EXPLAIN shows it."""
        return f"by index {self.text}"


@dataclass(frozen=True)
class Scan:
    """All rows."""

    table: ReadableTable

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows."""
        return self.table.to_arrow(columns)

    def describe(self) -> str:
        """As EXPLAIN shows it."""
        return f"scan of {len(self.table):,} rows"


AccessPath = ByKey | ByIndex | Scan


def access_path(
    table: ReadableTable, lookup: KeyLookup | None, conditions: Conditions | None, params: Mapping[str, Any]
) -> AccessPath:
    """The cheapest way to the rows for which a WHERE may hold.

    Args:
        table: the table, or a system view.
        lookup: the keys that the WHERE fixes, if it does.
        conditions: what the WHERE says that an index may know, if it says something.
        params: mark -> value. They may call for a scan where others do not.
    """
    keys = None if lookup is None else lookup.keys_if_exact(params)
    if keys is not None and is_table(table):
        return ByKey(table, keys)
    indexed = None if conditions is None else look_up(table, conditions, params)
    return Scan(table) if indexed is None else ByIndex(table, *indexed)
