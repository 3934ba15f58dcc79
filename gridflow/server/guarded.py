"""A grid as a user of it sees it: statements run on it, and what the user has no right to is refused.

What a statement touches is asked about where its names have become tables (``sql.binding.find``), so it does not matter
how the text has it: in a subquery, a join, a WITH, a version of the past. What is not passed on here cannot be reached.

What was demanded is remembered, and demanded again when a transaction commits what it has written, and when somebody
fetches what a statement has read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..catalog import grants
from ..catalog.activity import Activity
from ..catalog.grants import ADMIN, CHANGES
from ..contexts import Marks
from ..errors import GridAccessError, TableNotFoundError
from ..faces import TableFace
from ..open_grid import OpenGrid
from ..sql import Session
from ..sql.views.views import rows_of
from ..table import Table
from ..transaction import Transaction
from .access import STATEMENTS, Peer, refusal

#: Views of schema SYS that show what is of the tables, which a user sees of those that they have a right on.
_VIEWS_OF_TABLES = frozenset(
    {
        "TABLES",
        "TABLE_COLUMNS",
        "TABLE_VERSIONS",
        "INDEXES",
        "PARTITIONS",
        "SEGMENTS",
        "SCHEMAS",
        "VIEWS",
        "VIEW_COLUMNS",
    }
)

#: Stands for a table where the role ADMIN was demanded.
_NO_TABLE = 0


def grid_of(grid: OpenGrid, peer: Peer) -> OpenGrid:
    """The grid for statements of ``peer``: itself, or one that refuses what the user may not do."""
    return grid if peer.user is None else GuardedGrid(grid, peer.user)  # type: ignore[return-value]


def demanded_of(session: Session) -> frozenset[tuple[int, str]]:
    """What was demanded by a session's statements, of a user who is not the grid's own."""
    grid: object = session.grid
    return grid.demanded if isinstance(grid, GuardedGrid) else frozenset()


class GuardedGrid:
    """The face of an open grid for a user. Made for a statement, or a session.

    What the user may do is looked up each time: a session does not outlive what was granted.

    Args:
        grid: the grid.
        user: the name of the user.
    """

    alone = False
    _is_transaction = False

    def __init__(self, grid: OpenGrid, user: str):
        self._grid = grid
        self._user = user
        self._demanded: set[tuple[int, str]] = set()  # in the transaction, where there is one: table and right

    @property
    def demanded(self) -> frozenset[tuple[int, str]]:
        """What was demanded so far: numbers of tables, 0 for none, and rights on them, or ADMIN."""
        return frozenset(self._demanded)

    def demand_again(self, demanded: Iterable[tuple[int, str]]) -> None:
        """Raise unless the user has these rights now.

        Args:
            demanded: of ``demanded``, of this grid or another one of the user.

        Raises:
            GridAccessError: one was taken meanwhile, or the table has gone.
        """
        for table_id, right in demanded:
            if table_id == _NO_TABLE:
                self._demand_admin("what was asked for as ADMIN")
            elif right not in grants.rights_on(self._grid, self._user, table_id):
                name = next((table.name for table in self._grid._all_tables() if table.table_id == table_id), None)
                lack = right if name is None else f"{right} ON {name}"
                raise refusal(self._user, f"{lack}, any more", f"GRANT {lack} TO {self._user}")

    def _demand(self, table: TableFace, *rights: str) -> None:
        """Raise unless the user has these rights on a table."""
        there = grants.rights_on(self._grid, self._user, table.table_id)
        for right in rights:
            if right not in there:
                lack = f"{right} ON {table.name}"
                raise refusal(self._user, lack, f"GRANT {lack} TO {self._user}")
            self._demanded.add((table.table_id, right))

    def _demand_statement(self, kind: str) -> None:
        """Raise unless the user may execute statements of a kind."""
        if kind not in STATEMENTS:
            self._demand_admin(kind)

    def _demand_admin(self, what: str) -> OpenGrid:
        """The grid itself, for an admin.

        Raises:
            GridAccessError: the user is none.
        """
        if not self._is_admin:
            raise refusal(self._user, what, f"GRANT {ADMIN} TO {self._user}")
        self._demanded.add((_NO_TABLE, ADMIN))
        return self._grid

    @property
    def _is_admin(self) -> bool:
        return ADMIN in grants.roles_of(self._grid, self._user)

    # ---- tables ----

    def tables(self) -> list[str]:
        """The names of the tables on which the user has a right, sorted."""
        return [table.name for table in self._all_tables()]

    def _all_tables(self) -> list[Table]:
        """Those tables."""
        return [table for table in self._grid._all_tables() if self._sees(table)]

    def __contains__(self, name: str) -> bool:
        return name in self.tables()

    def table(self, name: str) -> Table:
        """The table called ``name``.

        Raises:
            TableNotFoundError: there is none, and the user has a role, which would count for it.
            GridAccessError: the user has no right on it, whether it is there or not.
        """
        try:
            table = self._grid.table(name)
        except TableNotFoundError:
            if grants.roles_of(self._grid, self._user):
                raise
            table = None
        if table is None or not self._sees(table):
            raise GridAccessError(f"user {self._user} has no right on {name}: GRANT SELECT ON {name} TO {self._user}")
        return table

    def _sees(self, table: Table) -> bool:
        return bool(grants.rights_on(self._grid, self._user, table.table_id))

    def _together(self, tables: Sequence[TableFace]) -> Sequence[TableFace]:
        """The same tables at one moment."""
        return self._grid._together(tables)

    def system_view(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """The rows of a view of schema SYS: of tables that the user sees, and of grants their own."""
        if name in _VIEWS_OF_TABLES and not self._is_admin:
            return rows_of(self, name, columns)  # type: ignore[arg-type]
        if name == "GRANTS" and not self._is_admin:
            rows = rows_of(self._grid, name)
            own = [user == self._user for user in rows["USER_NAME"].to_pylist()]
            rows = rows.filter(pa.array(own, pa.bool_()))
            return rows if columns is None else rows.select(list(columns))
        return self._demand_admin(f"SYS.{name}").system_view(name, columns)

    # ---- what a statement needs of a grid ----

    @property
    def home(self) -> Path:
        """The grid's directory."""
        return self._grid.home

    @property
    def owner(self) -> bool:
        """Whether this process owns the grid."""
        return self._grid.owner

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._grid.closed

    @property
    def default_partitions(self) -> int:
        """Of a new table."""
        return self._grid.default_partitions

    @property
    def last_commit(self) -> int:
        """The number of the last commit."""
        return self._grid.last_commit

    @property
    def _activity(self) -> Activity:
        return self._grid._activity

    @property
    def _plans(self) -> dict[Any, Any]:
        return self._grid._plans  # a plan finds its tables anew, here

    @property
    def _marks(self) -> Marks:
        return self._grid._marks

    def check_open(self) -> None:
        """Raise GridClosedError if it is closed."""
        self._grid.check_open()

    def _check_changeable(self) -> None:
        self._grid._check_changeable()

    def transaction(self, *, of_statement: bool = False, alone: bool = False) -> Transaction:
        """A transaction on this face of the grid."""
        if not of_statement:
            self._demanded.clear()
        return Transaction(self, of_statement=of_statement, alone=alone)  # type: ignore[arg-type]

    def _commit_checked(self, operations: bytes, digests: bytes, columns: dict[int, int]) -> None:
        """Commit what statements here have written, unless the user has lost a right to that meanwhile."""
        self.demand_again((table, right) for table, right in self._demanded if table in columns and right in CHANGES)
        self._grid._commit_checked(operations, digests, columns)

    # ---- what is for admins ----

    def create_table(self, *args: Any, **options: Any) -> Table:
        """Make a table."""
        return self._demand_admin("CREATE TABLE").create_table(*args, **options)

    def alter_table(self, *args: Any, **options: Any) -> None:
        """Change a table's columns."""
        self._demand_admin("ALTER TABLE").alter_table(*args, **options)

    def drop_table(self, *args: Any, **options: Any) -> None:
        """Drop a table."""
        self._demand_admin("DROP TABLE").drop_table(*args, **options)

    def _alter_options(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        self._demand_admin("ALTER TABLE")._alter_options(name, change)

    def _system_table(self, name: str, columns: Any = None, key: str = "") -> Table | None:
        return self._demand_admin("users and grants")._system_table(name, columns, key)
