"""PublishedGrid: what was published at a URL, open as a grid that is only read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from .._native.snapshot import Snapshot
from ..catalog import TableEntry
from ..errors import (
    GridAccessError,
    GridCorruptError,
    GridNotFoundError,
    TableNotFoundError,
    VersionNotFoundError,
)
from ..grid import Grid
from ..open_grid import OpenGrid
from ..storage.versions import Kept
from ..table import Table
from .mirror import begin, mirrored, update
from .source import Version
from .url_source import UrlSource


class PublishedTable(Table):
    """A table at a URL. Its versions have the numbers and tags that they have there."""

    _grid: PublishedOpenGrid

    def versions(self) -> list[int]:
        """The versions that can be read, rising."""
        return self._grid.source.versions(self.name)

    @property
    def kept(self) -> Kept:
        """Its tags, as they are at the URL now."""
        return Kept(dict(self._grid.source.version(self.name).tags))

    def _snapshot_version(self, version: str | int) -> int:
        return self._grid.follow(self.name, version).number

    def snapshot(self) -> Snapshot:
        """The version that is current here."""
        begin()
        return super().snapshot()

    def _open_version(self, version: int) -> Snapshot:
        begin()
        try:
            return super()._open_version(version)
        except VersionNotFoundError:
            self._grid.follow(self.name, version)
            return super()._open_version(version)

    def publish(self, url: str, *, tag: str | None = None, version: str | int | None = None) -> NoReturn:
        """Refused: 'gridflow clone' makes a grid of it, which can be published."""
        raise self._grid.refusal


class PublishedOpenGrid(OpenGrid):
    """The tables at a URL, over their mirror on this machine. What is read of them comes when it is read first.

    A table is, from the first time that it is asked for, what was the newest version then; in the same mirror others
    may ask for a newer one, which is read here, too, from then on.

    Args:
        source: the URL.

    Attributes:
        source: the URL.
    """

    def __init__(self, source: UrlSource):
        self.source = source
        self._names_there: dict[str, str] = {}  # as it was asked for -> its name
        super().__init__(mirrored(source), None, False)

    @property
    def refusal(self) -> GridAccessError:
        """The error for who wants to write."""
        return GridAccessError(
            f"{self.source.address} has published versions, which are only read: 'gridflow publish' adds one, and "
            "'gridflow clone' makes a grid of them",
            filename=self.source.address,
        )

    def _check_changeable(self) -> None:
        self.check_open()
        raise self.refusal

    def tables(self) -> list[str]:
        """The names of all tables, sorted."""
        self.check_open()
        return self.source.tables()

    def _find_entry(self, name: str) -> TableEntry:
        self.check_open()
        actual = self._names_there.get(name)
        if actual is not None:
            with contextlib.suppress(GridNotFoundError, GridCorruptError, TableNotFoundError):
                return super()._find_entry(actual)  # else the mirror was cleared, or its catalog damaged
        actual = self._names_there[name] = self.follow(name).table
        return super()._find_entry(actual)

    def follow(self, table: str, version: int | str | None = None) -> Version:
        """Have the mirror show a version of a table as the URL has it now; None: the newest."""
        return update(self.home, table, version, self.source)

    def _open(self, entry: TableEntry) -> Table:
        table = self._tables.get(entry.table_id)
        if table is None:
            schema = self._catalog.snapshot(entry).schema
            table = self._tables[entry.table_id] = PublishedTable(self, self._store, entry, schema)
        return table

    def create_table(self, *arguments: Any, **named: Any) -> NoReturn:
        """Refused."""
        self._check_changeable()
        raise self.refusal

    def alter_table(self, *arguments: Any, **named: Any) -> NoReturn:
        """Refused."""
        raise self.refusal

    def drop_table(self, name: str, *, if_exists: bool = False) -> NoReturn:
        """Refused."""
        raise self.refusal

    def _alter_options(self, name: str, change: Callable[..., Any]) -> NoReturn:
        raise self.refusal

    def keep_versions(self, table: Table, count: int) -> NoReturn:
        """Refused."""
        raise self.refusal

    def tag(self, table: Table, tag: str, move: bool) -> NoReturn:
        """Refused."""
        raise self.refusal

    def untag(self, table: Table, tag: str) -> NoReturn:
        """Refused."""
        raise self.refusal

    def _all_tables(self) -> list[Table]:
        return [self.table(name) for name in self.tables()]

    def check(self) -> Iterable[Any]:  # type: ignore[override]
        """Nothing: blocks are compared with their checksums as they come; ``gridflow clone`` reads all of them."""
        self.check_open()
        return []


def open_published(url: str) -> Grid:
    """Open what was published at a URL, to read it: tables, SQL, datasets, versions by number or tag.

    Raises:
        GridNotFoundError: nothing was published there.
        GridAccessError, GridConnectionError: it cannot be read.
        UsageError: it is no URL that can be opened here.
    """
    return Grid(PublishedOpenGrid(UrlSource(url)))
