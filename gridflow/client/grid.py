"""ServedGrid: a grid that another process of this machine serves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .._native.snapshot import Snapshot
from ..catalog import TableEntry
from ..catalog.catalog import is_system
from ..config import resolve_home
from ..errors import GridConnectionError, GridOwnedError, UsageError
from ..grid import Grid
from ..protocols import grpc_forks, messages
from ..protocols.address import Endpoint
from ..protocols.json_values import encode_values
from ..schema import Schema, as_type
from ..storage.defaults import default_values, with_defaults
from ..storage.lock import holder
from ..storage.versions import Kept
from ..table import Table
from .connection import COMMIT_TIMEOUT, Connection
from .table import ServedTable

if TYPE_CHECKING:
    from ..faces import Report
    from ..sql import Result


def connect_unix(home: str | os.PathLike[str] | None = None) -> ServedGrid:
    """Become a client of the node that serves a grid on this machine.

    Raises:
        GridOwnedError: the grid's owner does not answer on its socket: it does not serve, or not yet.
        GridConnectionError: nobody owns the grid any more, or the node speaks another version.
    """
    path = resolve_home(home)
    connection = Connection(Endpoint.of_grid(path))
    try:
        try:
            connection.hello()
        except GridConnectionError as error:
            pid = holder(path)
            if pid is None or connection.answered or grpc_forks.is_lost():
                raise
            raise GridOwnedError(
                f"grid {path} is owned by process {pid}, which does not answer on its socket ({error}); "
                "if it has just started, try again, else connect with read_only=True"
            ) from None
        return ServedGrid(path, connection)
    except BaseException:
        connection.close()
        raise


class ServedGrid(Grid):
    """A grid that another process owns, with the face of :class:`gridflow.Grid`; ``connect`` makes it.

    Reads map the grid's files and ask nobody, and see every write that was acknowledged before. Those of whole tables
    (``scan``, ``to_arrow``, queries, datasets) ask the owner to flush first where much is in no segment yet.
    Writes are sent and return once the owner has acknowledged them. Any thread may call it. After a fork
    the child may go on using it.
    """

    def __init__(self, home: Path, connection: Connection):
        super().__init__(home, None, False)
        self._connection = connection
        store = self._store  # not self: nothing that the connection holds is to keep the grid
        connection.owner = lambda: store.owner_pid

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"served by process {self.owner_pid}"
        return f"<gridflow.ServedGrid {self.home} ({state})>"

    @property
    def _welcome(self) -> messages.Welcome:
        assert self._connection.welcome is not None  # connect_unix has said hello
        return self._connection.welcome

    @property
    def owner_pid(self) -> int:
        """The process that serves the grid, as of the last time it said so."""
        return self._welcome.pid

    @property
    def default_partitions(self) -> int:  # type: ignore[override]  # it is the node's to say, and nobody's to set here
        """Partitions of a table created without a count: what ``gridflow serve --partitions`` said."""
        return self._welcome.partitions

    def _open(self, entry: TableEntry) -> ServedTable:
        table = self._tables.get(entry.table_id)
        if table is None:
            schema = Snapshot.open(str(self.home), entry.table_id).schema
            if is_system(entry.name):  # of which the node tells nobody more than files do
                table = Table(self, self._store, entry, schema)
            else:
                table = ServedTable(self, self._store, entry, schema, self._connection)
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

    def alter_options(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Refused: a function cannot be sent, and SQL that changes options runs where the owner is."""
        raise UsageError(f"options of table {name} are changed in the process that owns the grid, {self.owner_pid}")

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Result:
        """Run SQL: queries, transactions and COPY here, over the mapped columns; anything else where the owner is.

        Args:
            text: one statement or several with ``;`` between them. If any of them changes something, all run
                at the owner; but between BEGIN and COMMIT here, and COMMIT sends what they have written. If one is a
                COPY or SET, each goes its way. Of an INSERT of one row of parameters that comes again, the row alone is
                sent.
            params: a sequence for ``?``, a dict for ``:name``.
            progress: as of :meth:`gridflow.Grid.sql`.

        Returns:
            The last statement's Result, as of :meth:`gridflow.Grid.sql`.
        """
        session = self._sessions.session
        if session is not None and type(text) is str:
            result = session.insert_at_once(text, params)
            if result is not None:
                return result
        from ..sql import Result, Route, Session, one_by_one, route

        node = str(self.activity.node)
        way = route(text, in_transaction=self.in_transaction, node=node)
        if way is Route.HERE:
            return super().sql(text, params, progress=progress)
        if way is Route.OWNER:
            result = self._sql_at_owner(text, params)
            result.warn()
            return result
        self.check_open()
        session, result = Session(self), Result()
        for way, statement, values in one_by_one(text, params, node):
            if way is Route.HERE:
                result = session.execute_prepared(statement, values, progress)
            else:
                result = self._sql_at_owner(statement.placed(), statement.marks.parameters(values))
            result.warn()
        return result

    def _sql_at_owner(self, text: str, params: Any) -> Result:
        """Have the owner run SQL."""
        from ..sql import Result

        self.check_open()
        limits = self.activity.limits
        message = messages.Sql(
            text, *encode_values(params), milliseconds=round((limits.seconds or 0) * 1000), memory=limits.memory or 0
        )
        if params and text[:6].upper() == "INSERT":  # which the owner may know how to do at once
            count = self._connection.ring.ask(message, COMMIT_TIMEOUT)
            if count is not None:
                with contextlib.suppress(Exception):  # whatever it is, the row is written: it goes on as it went
                    (self._sessions.session or self._new_session()).learn_insert(text)
                return Result(rowcount=count, statement="INSERT")
        done, rows = self._connection.query(message)
        return Result(
            rows if rows.num_columns else None, rowcount=done.count, statement=done.statement, notes=done.notes
        )

    def system_view(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """The rows of a view of schema SYS; see :meth:`gridflow.Grid.system_view`.

        The owner is asked, who alone knows them; a query joins them here with the mapped tables. What this process
        runs itself is among SQL_QUERIES and SQL_QUERIES_HISTORY, too.
        """
        from ..sql.views.views import find_view

        self.check_open()
        schema = find_view(name).schema
        names = [schema[column].name for column in (schema.names if columns is None else columns)]
        rows = self._connection.view(messages.SystemView(name, names))
        if name not in ("SQL_QUERIES", "SQL_QUERIES_HISTORY"):
            return rows
        return pa.concat_tables([rows, super().system_view(name, names).cast(rows.schema)])

    def commit_checked(self, operations: bytes, digests: bytes, columns: dict[int, int]) -> None:
        if len(operations) + len(digests) > messages.MAX_OPERATIONS_BYTES:
            raise UsageError(
                f"a transaction of {len(operations):,} bytes cannot be sent, {messages.MAX_OPERATIONS_BYTES:,} can"
            )
        message = messages.CommitTransaction(list(columns.items()), len(digests), digests + operations)
        with self._connection.awaiting(object()):  # it is short, and none to end halfway
            if self._connection.ring.ask(message, COMMIT_TIMEOUT) is None:
                self._connection.call(message, messages.Done, timeout=COMMIT_TIMEOUT)

    def cancel(self) -> int:
        """Have the owner end the statements that other threads wait for here; returns how many there are.

        Each ends with its result if it was already done, else with an SqlError. Queries are not among them: they run
        in this process.
        """
        return self._connection.cancel()

    def check_changeable(self) -> None:
        """Raise if the grid is closed: what is written is sent."""
        self.check_open()

    def flush(self) -> None:
        """Have the owner move all writes in memory to segments."""
        self._call(messages.Flush(None))

    def close(self) -> None:
        """Let go of the grid; its owner goes on. A second call does nothing."""
        super().close()
        self._connection.close()

    def _call(self, message: messages.Message) -> int:
        self.check_open()
        return self._connection.call(message, messages.Done).count
