"""What the users of a grid may do: roles, which hold for all tables, and rights on single ones.

    READER   reads all tables
    WRITER   reads all tables and changes their rows
    ADMIN    may do everything that the grid's own user may do from elsewhere: make and drop tables, users, grants

A user who has been granted nothing can log in and see that the grid is there. Grants lie in the system table
``SYS.GRANTS``, under the user's name and the table's number: a table that is dropped and made again is another one,
and nobody has a right on it yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .users import GRANTS_TABLE as TABLE
from .users import SystemTables, changed, changing, check_user, kept

_COLUMNS = {"USER_NAME": "VARCHAR NOT NULL", "TABLE_ID": "LONG NOT NULL", "RIGHTS": "VARCHAR NOT NULL"}
_KEY: Any = ("USER_NAME", "TABLE_ID")
#: The number that stands for all tables: roles lie under it.
_ALL = 0

SELECT, INSERT, UPDATE, DELETE = "SELECT", "INSERT", "UPDATE", "DELETE"
#: The rights on a table, in the order in which they are shown.
RIGHTS = (SELECT, INSERT, UPDATE, DELETE)
#: Those that change rows.
CHANGES = (INSERT, UPDATE, DELETE)
READER, WRITER, ADMIN = "READER", "WRITER", "ADMIN"
#: What each role may do with every table.
ROLES = {READER: frozenset({SELECT}), WRITER: frozenset(RIGHTS), ADMIN: frozenset(RIGHTS)}


def roles_of(grid: SystemTables, user: str) -> frozenset[str]:
    """The roles of a user."""
    return _read(grid, user, _ALL)


def rights_on(grid: SystemTables, user: str, table_id: int) -> frozenset[str]:
    """The rights of a user on a table, those of the user's roles among them."""
    rights = set(_read(grid, user, table_id))
    for role in roles_of(grid, user):
        rights |= ROLES.get(role, frozenset())
    return frozenset(rights)


def change_roles(grid: SystemTables, user: str, roles: Iterable[str], *, take: bool = False) -> None:
    """Give a user roles, or take them away.

    Raises:
        UsageError: there is no such user.

    >>> import gridflow, tempfile
    >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
    ...     _ = grid.sql("CREATE USER KATE WITH PASSWORD 'warm kitty'; GRANT reader TO kate")
    ...     change_roles(grid, "KATE", ["WRITER"])
    ...     sorted(roles_of(grid, "KATE")), sorted(rights_on(grid, "KATE", 1))
    (['READER', 'WRITER'], ['DELETE', 'INSERT', 'SELECT', 'UPDATE'])
    """
    _change(grid, user, _ALL, roles, take)


def change_rights(grid: SystemTables, user: str, table_id: int, rights: Iterable[str], *, take: bool = False) -> None:
    """Give a user rights on a table, or take them away.

    Raises:
        UsageError: there is no such user.
    """
    _change(grid, user, table_id, rights, take)


def list_grants(grid: SystemTables) -> list[tuple[str, int | None, str]]:
    """Of each user the number of a table, None for all, and a right on it or a role; sorted."""
    table = grid._system_table(TABLE)
    rows = [] if table is None else table.to_arrow(list(_COLUMNS)).to_pylist()
    found = [(row["USER_NAME"], row["TABLE_ID"] or None, right) for row in rows for right in _split(row["RIGHTS"])]
    return sorted(found, key=lambda grant: (grant[0], grant[1] or 0, grant[2]))


def _change(grid: SystemTables, user: str, table_id: int, names: Iterable[str], take: bool) -> None:
    table = grid._system_table(TABLE, _COLUMNS, _KEY)
    assert table is not None  # with columns, there is always one
    with changing:
        check_user(grid, user)
        rights = _look_up(grid, user, table_id)
        rights = rights - set(names) if take else rights | set(names)
        if rights:
            row = {"RIGHTS": ",".join(sorted(rights))}
            table.replace((user, table_id), row) or table.put_if_absent((user, table_id), row)
        else:
            table.remove((user, table_id))
        changed()


def _read(grid: SystemTables, user: str, table_id: int) -> frozenset[str]:
    return kept(grid, (TABLE, user, table_id), lambda: _look_up(grid, user, table_id))


def _look_up(grid: SystemTables, user: str, table_id: int) -> frozenset[str]:
    table = grid._system_table(TABLE)
    row = None if table is None else table.get((user, table_id))
    return frozenset() if row is None else frozenset(_split(row["RIGHTS"]))


def _split(rights: str) -> list[str]:
    return rights.split(",")
