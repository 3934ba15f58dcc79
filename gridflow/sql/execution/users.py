"""CREATE USER, ALTER USER and DROP USER, carried out."""

from __future__ import annotations

from ...catalog import users
from ...faces import GridFace
from ..grammar.users import ChangeUser


def change_user(grid: GridFace, kind: str, node: ChangeUser) -> None:
    """Make, change or remove the user.

    Raises:
        UsageError: the user exists already, or does not exist; the name or password is impossible.
    """
    exists = node.if_exists and node.name in [user.name for user in users.list_users(grid)]
    if kind == "CREATE USER" and not exists:
        users.create_user(grid, node.name, node.password)
    elif kind == "ALTER USER" and node.password is not None:
        users.alter_user(grid, node.name, node.password)
    elif kind == "DROP USER" and (exists or not node.if_exists):
        users.drop_user(grid, node.name)
