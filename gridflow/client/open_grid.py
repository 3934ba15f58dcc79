"""ServedOpenGrid: a grid that another process of this machine serves, as it is open here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from .._native.snapshot import Snapshot
from ..catalog import TableEntry
from ..catalog.rules import is_system
from ..errors import UsageError
from ..open_grid import OpenGrid
from ..protocols import messages
from ..protocols.json_values import encode_values
from ..schema import Schema, as_type
from ..storage.defaults import default_values, with_defaults
from ..storage.versions import Kept
from ..table import Table
from .connection import COMMIT_TIMEOUT, LocalConnection
from .table import ServedTable


class ServedOpenGrid(OpenGrid):
    """A grid that another process owns, open here for one handle, a ``ServedGrid``.

    Args:
        home: the grid's directory.
        connection: to its owner, which has said hello.

    Attributes:
        connection: to its owner.
    """

    def __init__(self, home: Path, connection: LocalConnection):
        super().__init__(home, None, False)
        self.connection = connection
        store = self._store  # not self: nothing that the connection holds is to keep the grid
        connection.owner = lambda: store.owner_pid

    @property
    def welcome(self) -> messages.Welcome:
        """What the owner has said of itself."""
        assert self.connection.welcome is not None  # connect_unix has said hello
        return self.connection.welcome

    @property
    def default_partitions(self) -> int:  # type: ignore[override]  # it is the node's to say, and nobody's to set here
        """Partitions of a table created without a count: what ``gridflow serve --partitions`` said."""
        return self.welcome.partitions

    def _open(self, entry: TableEntry) -> ServedTable:
        table = self._tables.get(entry.table_id)
        if table is None:
            schema = Snapshot.open(str(self.home), entry.table_id).schema
            if is_system(entry.name):  # of which the node tells nobody more than files do
                table = Table(self, self._store, entry, schema)
            else:
                table = ServedTable(self, self._store, entry, schema, self.connection)
            self._tables[entry.table_id] = table
        return table  # type: ignore[return-value]

    def create_table(
        self,
        name: str,
        schema: Any,
        key: str | Iterable[str],
        partitions: int | None = None,
        *,
        if_not_exists: bool = False,
        options: Mapping[str, Any] | None = None,
        keep_versions: int = 0,
        defaults: Mapping[str, Any] | None = None,
    ) -> ServedTable:
        """Make a table; see :meth:`gridflow.Grid.create_table`. ``partitions`` None: the node's default."""
        schema = with_defaults(Schema.of(schema, key), name, defaults or {})
        columns = [(column.name, str(column.type)) for column in schema.columns]
        Kept().with_last(keep_versions)  # raises where it is no number
        key, options = list(schema.key), dict(options or {})
        values = encode_values(default_values(schema, name))
        self._call(messages.CreateTable(name, columns, key, partitions, if_not_exists, options, keep_versions, *values))
        return self.table(name)  # type: ignore[return-value]

    def alter_table(
        self,
        name: str,
        *,
        add: Mapping[str, Any] | None = None,
        drop: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
        fill: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """Change a table's columns; see :meth:`gridflow.Grid.alter_table`."""
        added = [(column, str(as_type(dtype))) for column, dtype in (add or {}).items()]
        renamed = list((rename or {}).items())
        values = encode_values([dict(fill or {}), dict(defaults or {})])
        self._call(messages.AlterTable(name, added, list(drop), renamed, *values))

    def drop_table(self, name: str, *, if_exists: bool = False) -> None:
        """Drop a table and its rows; see :meth:`gridflow.Grid.drop_table`."""
        self._call(messages.DropTable(name, if_exists))

    def _alter_options(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Refused: a function cannot be sent, and SQL that changes options runs where the owner is."""
        raise UsageError(f"options of table {name} are changed in the process that owns the grid, {self.welcome.pid}")

    def system_view(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """The rows of a view of schema SYS; see :meth:`gridflow.Grid.system_view`.

        The owner is asked, who alone knows them; a query joins them here with the mapped tables. What this process
        runs itself is among SQL_QUERIES and SQL_QUERIES_HISTORY, too.
        """
        from ..sql.views.views import find_view

        self.check_open()
        schema = find_view(name).schema
        names = [schema[column].name for column in (schema.names if columns is None else columns)]
        rows = self.connection.view(messages.SystemView(name, names))
        if name not in ("SQL_QUERIES", "SQL_QUERIES_HISTORY"):
            return rows
        return pa.concat_tables([rows, super().system_view(name, names).cast(rows.schema)])

    def _commit_checked(self, operations: bytes, digests: bytes, columns: dict[int, int]) -> None:
        if len(operations) + len(digests) > messages.MAX_OPERATIONS_BYTES:
            raise UsageError(
                f"a transaction of {len(operations):,} bytes cannot be sent, {messages.MAX_OPERATIONS_BYTES:,} can"
            )
        message = messages.CommitTransaction(list(columns.items()), len(digests), digests + operations)
        with self.connection.awaiting(object()):  # it is short, and none to end halfway
            if self.connection.ring.ask(message, COMMIT_TIMEOUT) is None:
                self.connection.call(message, messages.Done, timeout=COMMIT_TIMEOUT)

    def _check_changeable(self) -> None:
        """Raise if the grid is closed: what is written is sent."""
        self.check_open()

    def flush(self) -> None:
        """Have the owner move all writes in memory to segments."""
        self._call(messages.Flush(None))

    def close(self) -> None:
        """Let go of the grid; its owner goes on."""
        try:
            super().close()
        finally:
            self.connection.close()

    def _call(self, message: messages.Message) -> int:
        self.check_open()
        return self.connection.call(message, messages.Done).count
