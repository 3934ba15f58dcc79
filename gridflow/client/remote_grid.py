"""RemoteGrid: a grid that a node of another machine serves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from ..catalog.activity import Activity
from ..contexts import Marks
from ..credentials import Credentials, find
from ..errors import (
    GridAccessError,
    GridClosedError,
    GridConnectionError,
    GridOwnedError,
    TableNotFoundError,
    UsageError,
)
from ..grid import Grid
from ..open_grid import OpenGrid, remember
from ..protocols import messages
from ..protocols.address import DEFAULT_PORT, Endpoint
from ..protocols.json_values import encode_values
from ..registry import open_reader
from ..schema import Schema, as_type
from ..storage.defaults import default_values, with_defaults
from ..storage.lock import holder
from ..storage.verify import Problem
from ..storage.versions import Kept
from ..transport.mirror import mirrored, update
from .connection import COMMIT_TIMEOUT, Connection
from .grid import connect_unix
from .remote_connection import RemoteConnection
from .remote_table import RemoteTable
from .remote_transaction import RemoteTransaction

if TYPE_CHECKING:
    from ..faces import Report, TableFace
    from ..sql import Result
    from ..sql import Session as SqlSession
    from ..transport.source import Source, Version
    from .remote_sql import RemoteSqlSession


#: Whether a node of this machine is noticed, and its grid mapped. Tests of what travels turn it off.
MAPS_LOCAL = True


def connect_remote(
    address: str, given: Mapping[str, Any] | None = None, timeout: float | None = None, *, read_only: bool = False
) -> Grid:
    """Become a client of the node at an address; of one of this machine as ``connect_unix`` does, if that can be.

    Args:
        address: ``grid://host[:port]`` or ``grid+tls://host[:port]``.
        given: credentials, by the names of ``Credentials``.
        timeout: seconds that a call may take at most.
        read_only: whether nothing is to be written.

    Raises:
        GridConnectionError: no node answers there.
        GridAccessError: it lets us not in.
    """
    endpoint = Endpoint.parse(address)
    names = [str(endpoint)]
    if endpoint.port == DEFAULT_PORT:
        names.append(names[0].removesuffix(f":{DEFAULT_PORT}"))
    connection = RemoteConnection(endpoint, find(names, given), timeout, read_only=read_only)
    try:
        welcome = connection.hello()
        if MAPS_LOCAL and not any((given or {}).values()) and _is_here(welcome):
            with contextlib.suppress(GridOwnedError, GridConnectionError, GridAccessError):
                grid = open_reader(welcome.home) if read_only else connect_unix(welcome.home)
                connection.close()
                return grid
        return RemoteGrid(RemoteOpenGrid(connection))
    except BaseException:
        connection.close()
        raise


def home_on_this_machine(address: str, credentials: Credentials | None) -> Path | None:
    """The directory of the grid whose node is at an address, if that is of this machine and this process can read it.

    Args:
        credentials: None: those of the environment, or of the file.
    """
    if not MAPS_LOCAL or credentials is not None:
        return None
    endpoint = Endpoint.parse(address)
    if not endpoint.is_loopback:
        return None
    connection = RemoteConnection(endpoint, find([str(endpoint)]))
    try:
        welcome = connection.hello()
        return Path(welcome.home) if _is_here(welcome) else None
    finally:
        connection.close()


def _is_here(welcome: messages.Welcome) -> bool:
    """Whether the node is a process of this machine, and its grid's directory one that this process can read."""
    home = Path(welcome.home)
    return bool(welcome.home) and os.access(home, os.R_OK | os.W_OK | os.X_OK) and holder(home) == welcome.pid


class _NoStore:
    """What an open grid asks of its store, where there is none: the log is the node's."""

    owner = False
    durable = False

    def __init__(self, connection: Connection):
        self._connection = connection
        self.guard: Callable[[str], None] | None = None
        self.closed = False
        self.closed_because = "it is closed here; gridflow.connect() opens it again"

    @property
    def last_lsn(self) -> int:
        """The number of the last commit."""
        return self._connection.call(messages.AskGrid(), messages.GridFacts).last_commit

    def close(self, because: str | None = None) -> None:
        """Nothing more can be asked."""
        self.closed = True
        self.closed_because = because or self.closed_because


class RemoteOpenGrid(OpenGrid):
    """A grid of another machine, open here for one handle, a ``RemoteGrid``.

    Args:
        connection: to its node, which has said hello.

    Attributes:
        connection: to its node.
    """

    def __init__(self, connection: RemoteConnection):
        self.connection = connection
        self.home = connection.endpoint.grid  # type: ignore[assignment]  # an address is the name of a directory elsewhere
        self.owner = False
        self.durable = False
        self.closing = nullcontext
        self.handles = []
        self._activity = Activity()
        self._plans = {}
        self._store = _NoStore(connection)  # type: ignore[assignment]
        self._tables = {}
        self._marks = Marks.of(self)
        self._mirror: Path | None = None
        remember(self)

    @property
    def welcome(self) -> messages.Welcome:
        """What the node has said of itself."""
        assert self.connection.welcome is not None  # whoever has made the connection has said hello
        return self.connection.welcome

    @property
    def default_partitions(self) -> int:  # type: ignore[override]  # it is the node's to say, and nobody's to set here
        """Partitions of a table created without a count: what ``gridflow serve --partitions`` said."""
        return self.welcome.partitions

    def mirror(self) -> Path:
        """The folder of the grid's mirror: what of its sealed files has come to this machine."""
        if self._mirror is None:
            self._mirror = mirrored(self._source)
        return self._mirror

    @property
    def _source(self) -> Source:
        """Where sealed files come from, with the rights of who opened the grid."""
        from .sources import open_source  # circle: to open a source is to look whether its grid is of this machine

        return open_source(str(self.connection.endpoint), self.connection.credentials, self.connection.timeout)

    def follow(self, table: str, number: int | None) -> Version:
        """Have the mirror show a version of a table as the node has it now; None: the newest."""
        return update(self.mirror(), table, number, self._source)

    # ---- tables ----

    def tables(self) -> list[str]:
        """The names of all tables, sorted."""
        self.check_open()
        return self.connection.call(messages.ListTables(), messages.Names).names

    def table(self, name: str) -> RemoteTable:  # type: ignore[override]
        """The table called ``name``; see :meth:`gridflow.Grid.table`."""
        self.check_open()
        info = self.connection.call(messages.Describe(name), messages.TableInfo)
        tables = cast("dict[int, RemoteTable]", self._tables)
        table = tables.get(info.table_id)
        if table is None:
            table = tables[info.table_id] = RemoteTable(self, info)
        else:
            table._take(info)
        return table

    def _open_tables(self) -> list[Any]:
        """None: nothing of a table is open here."""
        return []

    def _system_table(self, name: str, columns: Any = None, key: str = "") -> None:
        """None: system tables are the node's."""
        return None

    def create_table(  # type: ignore[override]
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
    ) -> RemoteTable:
        """Make a table; see :meth:`gridflow.Grid.create_table`. ``partitions`` None: the node's default."""
        schema = with_defaults(Schema.of(schema, key), name, defaults or {})
        columns = [(column.name, str(column.type)) for column in schema.columns]
        Kept().with_last(keep_versions)  # raises where it is no number
        key, options = list(schema.key), dict(options or {})
        values = encode_values(default_values(schema, name))
        self._call(messages.CreateTable(name, columns, key, partitions, if_not_exists, options, keep_versions, *values))
        return self.table(name)

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
        values = encode_values([dict(fill or {}), dict(defaults or {})])
        self._call(messages.AlterTable(name, added, list(drop), list((rename or {}).items()), *values))

    def drop_table(self, name: str, *, if_exists: bool = False) -> None:
        """Drop a table and its rows; see :meth:`gridflow.Grid.drop_table`."""
        self._call(messages.DropTable(name, if_exists))

    def _alter_options(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Refused: a function cannot be sent, and SQL that changes options runs where the owner is."""
        raise UsageError(f"options of table {name} are changed in the process that owns the grid, at {self.home}")

    def system_view(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """The rows of a view of schema SYS, as the node sees them; see :meth:`gridflow.Grid.system_view`.

        The mirror is this machine's.
        """
        from ..sql.views.views import find_view

        self.check_open()
        if name == "MIRROR":
            return super().system_view(name, columns)
        schema = find_view(name).schema
        names = [schema[column].name for column in (schema.names if columns is None else columns)]
        return self.connection.view(messages.SystemView(name, names))

    # ---- transactions and SQL ----

    def transaction(self, *, of_statement: bool = False, alone: bool = False) -> RemoteTransaction:
        """Begin a transaction at the node."""
        self.check_open()
        return RemoteTransaction(self, self, of_statement=of_statement)

    def _sql_session(
        self,
        *,
        changed: Callable[[SqlSession], None] | None = None,
        guard: Callable[[str], None] | None = None,
        transaction: RemoteTransaction | None = None,
    ) -> RemoteSqlSession:
        from .remote_sql import RemoteSqlSession  # with all of SQL, for which importing gridflow does not wait

        return RemoteSqlSession(self, changed=changed, guard=guard, within=transaction)

    def run_sql(self, text: str, params: Any, transaction: str = "") -> Result:
        """Have the node run SQL, alone or in a transaction of its."""
        from ..sql import Result

        self.check_open()
        limits = self._activity.limits
        message = messages.Sql(
            text,
            *encode_values(params),
            milliseconds=round((limits.seconds or 0) * 1000),
            memory=limits.memory or 0,
            transaction=transaction,
        )
        if params and not transaction and text[:6].upper() == "INSERT":  # which the node may know how to do at once
            count = self.connection.at_once(message, COMMIT_TIMEOUT)
            if count is not None:
                return Result(rowcount=count, statement="INSERT")
        done, rows = self.connection.query(message)
        return Result(
            rows if rows.num_columns else None, rowcount=done.count, statement=done.statement, notes=done.notes
        )

    def _together(self, tables: Sequence[TableFace]) -> list[Any]:
        raise UsageError(f"tables of {self.home} are read together by SQL, which runs there")

    def _commit_checked(self, operations: bytes, digests: bytes, columns: dict[int, int]) -> None:
        raise UsageError(f"a transaction on {self.home} is committed there")

    def _check_changeable(self) -> None:
        """Raise if the grid is closed, or open to read only: else what is written is sent."""
        self.check_open()
        self.connection.check_allowed()

    # ---- the whole grid ----

    def flush(self) -> None:
        """Have the node move all writes in memory to segments."""
        self.check_open()
        self.connection.call(messages.Flush(None), messages.Done)

    def facts(self) -> messages.GridFacts:
        """What the grid takes at its node."""
        self.check_open()
        return self.connection.call(messages.AskGrid(), messages.GridFacts)

    def check(self) -> list[Problem]:
        """Have the node read every byte of the grid; returns what is wrong with it."""
        self.check_open()
        problems = self.connection.call(messages.Check(), messages.Problems).problems
        return [Problem(file, None if offset < 0 else offset, text) for file, offset, text in problems]

    def close(self) -> None:
        """Let go of the grid; the node goes on."""
        self._store.close()
        self.connection.close()

    def _abandon(self) -> None:
        """In a forked child: it may go on using the grid, over a channel of its own."""

    def _call(self, message: messages.Message) -> int:
        self._check_changeable()
        return self.connection.call(message, messages.Done).count


class RemoteGrid(Grid):
    """A grid that a node of another machine serves, with the face of :class:`gridflow.Grid`; ``connect`` makes it.

    Each call is a message to the node: a key is one round trip, SQL runs there and its rows stream back, a transaction
    is kept there. Any thread may call it. After a fork the child may go on using it.

    Attributes:
        home: the address.
    """

    open_grid: RemoteOpenGrid

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"served by process {self.owner_pid} of {self.open_grid.welcome.home}"
        return f"<gridflow.RemoteGrid {self.home} ({state})>"

    @property
    def owner_pid(self) -> int:
        """The process that serves the grid on its machine, as of the last time it said so."""
        return self.open_grid.welcome.pid

    @property
    def durability(self) -> str:
        """What its owner has opened the grid with: ``process`` or ``fsync``."""
        return self.open_grid.welcome.durability

    def transaction(self, *, of_statement: bool = False, alone: bool = False) -> RemoteTransaction:
        """Begin a transaction at the node; see :meth:`gridflow.Grid.transaction`."""
        self.check_open()
        transaction = RemoteTransaction(self, self.open_grid, of_statement=of_statement)
        try:
            self._keep(transaction)
        except GridClosedError:  # just now, by another thread
            transaction.rollback()
            raise
        return transaction

    def sql(self, text: str, params: Any = None, *, progress: Report | None = None) -> Result:
        """Run SQL at the node, but for COPY, whose files are this process's; see :meth:`gridflow.Grid.sql`."""
        session = self._sessions.session if self._plain else self._session_here()
        result: Result = self._run_sql(session or self._new_session(), text, params, progress)
        result.warn()
        return result

    def _run_sql(self, session: SqlSession, text: str, params: Any, progress: Report | None = None) -> Any:
        self.check_open()
        return cast("RemoteSqlSession", session).run(text, params, progress)

    def cancel(self) -> int:
        """Have the node end the statements that other threads wait for here; returns how many there are."""
        return self.open_grid.connection.cancel()

    def _all_tables(self) -> list[Any]:
        tables = []
        for name in self.tables():
            with contextlib.suppress(TableNotFoundError):
                tables.append(self.table(name))
        return tables
