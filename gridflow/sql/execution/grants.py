"""GRANT and REVOKE, carried out."""

from __future__ import annotations

from ...catalog import grants, users
from ...faces import GridFace
from ..binding.find import find_table
from ..grammar.grants import Grant


def change_grants(grid: GridFace, node: Grant, text: str) -> None:
    """Give users rights or roles, or take them away.

    Raises:
        TableNotFoundError, UsageError: a table or a user does not exist; nothing has changed.
    """
    tables = [find_table(grid, table, text, ()) for table in node.tables]
    for user in node.users:
        users.check_user(grid, user)
    for user in node.users:
        if not tables:
            grants.change_roles(grid, user, node.rights, take=node.take)
        for table in tables:
            grants.change_rights(grid, user, table.table_id, node.rights, take=node.take)
