"""The access paths to the rows of a table that a statement needs: by key, by an index, or a scan.

A path gives all rows for which the WHERE holds, and perhaps others: the engine still applies the whole WHERE.
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
from .index_rows import Comparison, Conditions, rows_by_index
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
        """The path as EXPLAIN shows it."""
        count = len(self.keys)
        return f"by key ({', '.join(self.table.schema.key)}), {count:,} {'key' if count == 1 else 'keys'}"


@dataclass(frozen=True)
class ByIndex:
    """The rows that an index has, of one version of the table.

    Attributes:
        selection: the rows.
        comparisons: the comparisons of the WHERE that the index answers.
    """

    table: ReadableTable
    selection: IndexedRows
    comparisons: Sequence[Comparison]

    @property
    def exact(self) -> bool:
        """Whether the WHERE refuses none of the rows."""
        return self.selection.exact

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows."""
        return self.selection.take(columns)

    def spread(self, columns: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
        """These columns of the segments that the rows are in, as views, and the rows' numbers in those, int64."""
        return self.selection.spread(columns)

    def describe(self) -> str:
        """The path as EXPLAIN shows it."""
        comparisons = ", ".join(comparison.text() for comparison in self.comparisons)
        return f"by index {self.selection.index.name} ({comparisons})"


@dataclass(frozen=True)
class Scan:
    """All rows."""

    table: ReadableTable

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows."""
        return self.table.to_arrow(columns)

    def describe(self) -> str:
        """The path as EXPLAIN shows it."""
        return f"scan of {len(self.table):,} rows"


AccessPath = ByKey | ByIndex | Scan


def access_path(
    table: ReadableTable, lookup: KeyLookup | None, conditions: Conditions | None, params: Mapping[str, Any]
) -> AccessPath:
    """The cheapest way to the rows for which a WHERE may hold.

    Args:
        table: the table, or a system view.
        lookup: the keys that the WHERE fixes, if it does.
        conditions: the conditions of the WHERE that an index may answer, if there are any.
        params: mark -> value; some values call for a scan.
    """
    keys = None if lookup is None else lookup.keys_if_exact(params)
    if keys is not None and is_table(table):
        return ByKey(table, keys)
    match = None if conditions is None else rows_by_index(table, conditions, params)
    return Scan(table) if match is None else ByIndex(table, *match)
