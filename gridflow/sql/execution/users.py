"""CREATE USER, ALTER USER and DROP USER, carried out."""

from __future__ import annotations

from ...catalog import users
from ...faces import GridFace
from ..grammar.users import ChangeUser


def change_user(grid: GridFace, kind: str, node: ChangeUser) -> None:
    """Carry it out.

    Raises:
        UsageError: there is such a user, or there is none; the name or password cannot be.
    """
    known = node.if_exists and node.name in [user.name for user in users.list_users(grid)]
    if kind == "CREATE USER" and not known:
        users.create_user(grid, node.name, node.password)
    elif kind == "ALTER USER":
        users.alter_user(grid, node.name, node.password)
    elif kind == "DROP USER" and (known or not node.if_exists):
        users.drop_user(grid, node.name)
