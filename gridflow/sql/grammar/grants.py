"""The grammar of GRANT and REVOKE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlglot import exp
from sqlglot.tokens import Token

from ...catalog.grants import RIGHTS, ROLES
from ...errors import did_you_mean
from .tokens import Tokens

_T = TypeVar("_T")


@dataclass(frozen=True)
class Grant:
    """A parsed GRANT or REVOKE: of rights on tables, or of roles, which are for all tables.

    Attributes:
        rights: names of rights, or of roles where there are no tables.
        tables: those that are named.
        users: their names.
        take: whether it is a REVOKE.
    """

    rights: tuple[str, ...]
    tables: tuple[exp.Table, ...]
    users: tuple[str, ...]
    take: bool


def parse_grant(tokens: list[Token], text: str) -> Grant:
    """``GRANT right, ... | ALL [PRIVILEGES] ON [TABLE] table, ... TO user, ...`` and ``GRANT role, ... TO user, ...``

    The same with ``REVOKE`` and ``FROM``.
    """
    reader = Tokens(tokens, text)
    take = reader.accept("REVOKE")
    if not take:
        reader.expect("GRANT")
    start = reader.at
    named = _list(reader, lambda: _word(reader))
    if named == ("ALL",):
        reader.accept("PRIVILEGES")
    tables: tuple[exp.Table, ...] = ()
    if reader.accept("ON"):
        reader.accept("TABLE")
        tables = _list(reader, reader.table)
        rights = RIGHTS if named == ("ALL",) else named
    else:
        rights = named
    known = tuple(RIGHTS) if tables else tuple(ROLES)
    for i, right in enumerate(rights):
        if right not in known:
            reader.at = start + 2 * i  # each is a word, with a comma behind it
            kind = "right on a table" if tables else "role (a right is granted ON a table)"
            raise reader.fail(f"no {kind}: {did_you_mean(right, known)}")
    reader.expect("FROM" if take else "TO")
    users = _list(reader, lambda: reader.name("a user's name"))
    reader.end()
    return Grant(rights, tables, users, take)


def _word(reader: Tokens) -> str:
    word = reader.word()
    if not word.isidentifier():
        raise reader.fail("expected a right or a role")
    reader.at += 1
    return word


def _list(reader: Tokens, read: Callable[[], _T]) -> tuple[_T, ...]:
    found = [read()]
    while reader.accept(","):
        found.append(read())
    return tuple(found)
