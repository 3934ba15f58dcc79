"""The access paths to the rows of a table that a statement needs: by key, by an index, by zones, or a scan.

A path gives all rows for which the WHERE holds, and perhaps others: the engine still applies the whole WHERE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...faces import AddressedRows, IndexedRows, NumberedRows, ReadableTable, RowsInPlace, TableFace
from ...storage import narrowing as storage
from ...storage.arrow import user_schema
from ...storage.mapped_rows import MappedRows
from ..views.views import is_table
from .by_key import rows_by_key
from .index_rows import Comparison, Conditions, rows_by_index
from .keys import KeyLookup
from .zones import Firsts, by_intervals, by_key_range


@dataclass(frozen=True)
class ByKey:
    """The rows under some keys, read one by one, without a flush or a scan."""

    table: TableFace
    keys: list[Any]

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows."""
        return rows_by_key(self.table, self.keys, columns)

    def _mapped(self, columns: Sequence[str]) -> MappedRows:
        """The same, for the engine."""
        return MappedRows(self.rows(columns))

    def describe(self) -> str:
        """The path as EXPLAIN shows it."""
        count = len(self.keys)
        return f"by key ({', '.join(self.table.schema.key)}), {count:,} {'key' if count == 1 else 'keys'}"


@dataclass(frozen=True)
class _ByNumber:
    """Rows of one version of the table that are known by their numbers.

    Attributes:
        selection: the rows.
    """

    table: ReadableTable
    selection: NumberedRows

    @property
    def exact(self) -> bool:
        """Whether the WHERE refuses none of the rows."""
        return self.selection.exact

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows."""
        return self.selection.take(columns)

    def _mapped(self, columns: Sequence[str]) -> MappedRows:
        """The same, for the engine."""
        return MappedRows(self.rows(columns))

    def _addressed(self, columns: Sequence[str]) -> AddressedRows:
        """These columns of the rows, and where the rows lie."""
        return self.selection._addressed(columns)

    def spread(self, columns: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
        """These columns of the segments that the rows are in, as views, and the rows' numbers in those, int64."""
        return self.selection.spread(columns)


@dataclass(frozen=True)
class ByIndex(_ByNumber):
    """The rows that an index has, of one version of the table.

    Attributes:
        selection: the rows.
        comparisons: the comparisons of the WHERE that the index answers.
    """

    selection: IndexedRows
    comparisons: Sequence[Comparison]

    def describe(self) -> str:
        """The path as EXPLAIN shows it."""
        comparisons = ", ".join(comparison.text() for comparison in self.comparisons)
        return f"by index {self.selection.index.name} ({comparisons})"


@dataclass(frozen=True)
class ByKeyRange(_ByNumber):
    """The rows under the keys from one to another, of one version of the table."""

    keys: storage.ByKeyRange

    def describe(self) -> str:
        """The path as EXPLAIN shows it."""
        count = self.keys.high - self.keys.low + 1
        return f"by key ({self.keys.column.name}), {count:,} {'key' if count == 1 else 'keys'} in a row"


@dataclass(frozen=True)
class ByZones:
    """The zones of rows that can matter, of one version of the table.

    Attributes:
        selection: the zones.
        reason: by what they were chosen.
    """

    table: ReadableTable
    selection: storage.ZoneRows
    reason: str

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the live rows."""
        return self.selection.take(columns)

    def _mapped(self, columns: Sequence[str]) -> MappedRows:
        """The same, for the engine: deleted ones are among them, for it to leave out."""
        return self.selection._mapped(columns)

    def describe(self) -> str:
        """The path as EXPLAIN shows it."""
        return f"by zones ({self.reason}), {self.selection.size:,} of {self.selection.total:,} rows"


@dataclass(frozen=True)
class Scan:
    """All rows."""

    table: ReadableTable

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the rows."""
        return self.table.to_arrow(columns)

    def _mapped(self, columns: Sequence[str]) -> RowsInPlace:
        """The same, for the engine: deleted ones are among them, for it to leave out."""
        return self.table._mapped(columns)

    def describe(self) -> str:
        """The path as EXPLAIN shows it."""
        return f"scan of {len(self.table):,} rows"


@dataclass(frozen=True)
class NoRows:
    """None of the rows: for who asks what a query's columns are."""

    table: ReadableTable

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns, without a row."""
        return user_schema([self.table.schema[name] for name in columns]).empty_table()

    def _mapped(self, columns: Sequence[str]) -> MappedRows:
        """The same, for the engine."""
        return MappedRows(self.rows(columns))

    def describe(self) -> str:
        """The path as EXPLAIN would show it."""
        return "no rows"


AccessPath = ByKey | ByIndex | ByKeyRange | ByZones | Scan | NoRows


def access_path(
    table: ReadableTable,
    lookup: KeyLookup | None,
    conditions: Conditions | None,
    params: Mapping[str, Any],
    firsts: Firsts | None = None,
) -> AccessPath:
    """The cheapest way to the rows for which a WHERE may hold.

    Args:
        table: the table, or a system view.
        lookup: the keys that the WHERE fixes, if it does.
        conditions: the conditions of the WHERE that an index may answer, if there are any.
        params: mark -> value; some values call for a scan.
        firsts: what of all rows the query asks for, if it is not all.
    """
    keys = None if lookup is None else lookup.keys_if_exact(params)
    if keys is not None and is_table(table):
        return ByKey(table, keys)
    if conditions is not None:
        return _by_conditions(table, conditions, params) or Scan(table)
    narrowing = None if firsts is None else firsts.narrowing(params)
    if firsts is not None and narrowing is not None:
        zones = table._narrow(narrowing)
        if zones is not None:
            return ByZones(table, zones, firsts.text())
    return Scan(table)


def _by_conditions(table: ReadableTable, conditions: Conditions, params: Mapping[str, Any]) -> AccessPath | None:
    match = rows_by_index(table, conditions, params)
    if match is not None:
        return ByIndex(table, *match)
    key_range = by_key_range(conditions, table.schema, params)
    rows = None if key_range is None else table._narrow(key_range)
    if key_range is not None and rows is not None:
        return ByKeyRange(table, rows, key_range)
    intervals = by_intervals(conditions, params)
    zones = None if intervals is None else table._narrow(intervals[0])
    if intervals is not None and zones is not None:
        return ByZones(table, zones, ", ".join(comparison.text() for comparison in intervals[1]))
    return None
