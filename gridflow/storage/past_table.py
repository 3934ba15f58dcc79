"""A table as it was at a past version, for queries and for look-ups by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .._native.rows import RowCodec
from .._native.snapshot import Snapshot
from .mapped_rows import MappedRows, mapped_rows
from .scan import whole_table

if TYPE_CHECKING:
    from ..faces import IndexFace, Narrowing
    from ..schema import Schema


class _NoIndexes:
    """An index's files go when the table has other segments: a past version is scanned."""

    def all(self) -> list[IndexFace]:
        """None."""
        return []


class PastTable:
    """One version of a table, to be read. It never changes: any thread may use it.

    Attributes:
        name: of the table and the version, as SQL has it.
        snapshot: the version.
    """

    options: Mapping[str, Any] = {}
    indexes = _NoIndexes()

    def __init__(self, table: str, version: str | int, snapshot: Snapshot):
        self.name = past_name(table, version)
        self.snapshot = snapshot

    @property
    def schema(self) -> Schema:
        """Its columns and key, which the table may have no more."""
        return self.snapshot.schema

    def __len__(self) -> int:
        return self.snapshot.rows

    def get_all(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The values under these keys; keys without a row are left out."""
        return self.snapshot.get_all(RowCodec(self.schema, self.name), keys)

    def to_arrow(self, columns: Iterable[str] | None = None) -> pa.Table:
        """All rows."""
        return whole_table(self.snapshot, columns)

    def _mapped(self, columns: Iterable[str]) -> MappedRows:
        """All rows as they are mapped, and deleted ones with them."""
        return mapped_rows(self.snapshot, columns)

    def _narrow(self, narrowing: Narrowing[Any]) -> None:
        """None: zone maps go with the table's segments, too."""
        return None

    def _find_indexed(self, choices: Sequence[Any]) -> None:
        """None: there is no index."""
        return None


def past_name(table: str, version: str | int) -> str:
    """What a version of a table is called.

    >>> past_name("T", "v1"), past_name("T", 3)
    ("T AT (VERSION => 'v1')", 'T AT (VERSION => 3)')
    """
    text = "'" + version.replace("'", "''") + "'" if isinstance(version, str) else version
    return f"{table} AT (VERSION => {text})"
