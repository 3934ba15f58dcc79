"""Users of a grid and their passwords, which are kept as hashes.

They lie in the system table ``SYS.USERS``, which no list of tables shows; the view of that name shows who there is. No
user is made by itself: a password that everybody knows, as Ignite's user ``ignite`` has, protects nothing. A grid
is open to the user of the operating system who owns its directory, without a password; servers that listen to others
ask ``verify``.

A password is hashed with scrypt (RFC 7914), N = 2**15, r = 8, p = 3, which OWASP's password storage cheat sheet
recommends, and a salt of 16 random bytes. The parameters stand with each hash, so they can be raised one day.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

import pyarrow as pa

from ..errors import UsageError, did_you_mean

TABLE = "SYS.USERS"
#: What users were granted, see ``grants``; a user's go with the user.
GRANTS_TABLE = "SYS.GRANTS"
_COLUMNS = {
    "NAME": "VARCHAR NOT NULL",
    "PASSWORD": "VARCHAR NOT NULL",
    "CREATED": "TIMESTAMP NOT NULL",
    "CHANGED": "TIMESTAMP NOT NULL",
}
#: As in Ignite.
MAX_NAME_BYTES = 60
_MAX_PASSWORD_BYTES = 1024
_MOST_KEPT = 10_000

_N, _R, _P = 1 << 15, 8, 3
_MAX_MEMORY = 256 << 20
_KEY_BYTES = 32
_SALT_BYTES = 16


#: Over each change of users and grants: of both what is there is looked at before.
changing = threading.RLock()

_T = TypeVar("_T")
_changes = [0]  # how many there were
#: grid -> how many changes there were, and what was read since.
_kept: WeakKeyDictionary[Any, tuple[int, dict[Any, Any]]] = WeakKeyDictionary()


class SystemTable(Protocol):
    """What is needed of a system table."""

    def get(self, key: Any, default: Any = None) -> Any:
        """The value under a key."""

    def put_if_absent(self, key: Any, value: Any) -> bool:
        """Write a row, unless there is one."""

    def replace(self, key: Any, value: Any) -> bool:
        """Write a row, if there is one."""

    def remove(self, key: Any) -> bool:
        """Remove a row."""

    def to_arrow(self, columns: Iterable[str] | None = None) -> pa.Table:
        """All rows."""


class SystemTables(Protocol):
    """Where system tables are: in a grid."""

    def _system_table(self, name: str, columns: Any = None, key: str = "") -> SystemTable | None:
        """A system table; with ``columns`` it is made if it is not there, without them it may be None."""


class User(NamedTuple):
    """A user as SYS.USERS shows it; times are in UTC."""

    name: str
    created: dt.datetime
    changed: dt.datetime


class Verified(NamedTuple):
    """A user who has shown the password, under the own name; ``stamp`` as of then, see ``stamp``."""

    name: str
    stamp: str


def create_user(grid: SystemTables, name: str, password: str | None) -> None:
    """Make a user; one without a password can only come in by a certificate.

    Raises:
        UsageError: there is one of that name, or the name or password cannot be.

    >>> import gridflow, tempfile
    >>> with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
    ...     create_user(grid, "KATE", "warm kitty")
    ...     [user.name for user in list_users(grid)], verify(grid, "kate", "warm kitty").name, verify(grid, "KATE", "?")
    (['KATE'], 'KATE', None)
    """
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        raise UsageError(f"a user's name has 1 to {MAX_NAME_BYTES} bytes, {name!r} has {len(name.encode())}")
    now = _now()
    row = {"PASSWORD": NO_PASSWORD if password is None else hash_password(password), "CREATED": now, "CHANGED": now}
    table = grid._system_table(TABLE, _COLUMNS, "NAME")
    assert table is not None  # with columns, there is always one
    with changing:
        if table.get(name) is not None:
            raise UsageError(f"there is a user {name} already; ALTER USER changes its password")
        _take_all(grid, name)  # a grid may have such, of an earlier release
        table.put_if_absent(name, row)
        changed()


def alter_user(grid: SystemTables, name: str, password: str) -> None:
    """Give a user another password.

    Raises:
        UsageError: there is no such user, or the password cannot be.
    """
    new_hash = hash_password(password)
    with changing:
        table = grid._system_table(TABLE)
        row = None if table is None else table.get(name)
        if table is None or row is None or not table.replace(name, {**row, "PASSWORD": new_hash, "CHANGED": _now()}):
            raise _no_user(grid, name)
        changed()


def drop_user(grid: SystemTables, name: str) -> None:
    """Remove a user, and what the user was granted.

    Raises:
        UsageError: there is no such user.
    """
    with changing:
        check_user(grid, name)
        _take_all(grid, name)
        table = grid._system_table(TABLE)
        assert table is not None  # it has the user
        table.remove(name)
        changed()


def _take_all(grid: SystemTables, name: str) -> None:
    """Take away all that was granted to a name."""
    granted = grid._system_table(GRANTS_TABLE)
    if granted is not None:
        for user, table_id in zip(*granted.to_arrow(["USER_NAME", "TABLE_ID"]).to_pydict().values(), strict=True):
            if user == name:
                granted.remove((user, table_id))
        changed()


def list_users(grid: SystemTables) -> list[User]:
    """All users, by name."""
    table = grid._system_table(TABLE)
    if table is None:
        return []
    rows = table.to_arrow(["NAME", "CREATED", "CHANGED"]).to_pylist()
    return sorted(User(row["NAME"], row["CREATED"], row["CHANGED"]) for row in rows)


def are_there(grid: SystemTables) -> bool:
    """Whether the grid has any user."""
    return kept(grid, (TABLE,), lambda: bool(list_users(grid)))


def verify(grid: SystemTables, name: str, password: str) -> Verified | None:
    """The user of this name with this password, or None: what a server asks that lets others in.

    A name is meant as it is or, as Ignite's drivers have it, in upper case. A user without a password comes in by a
    certificate alone. It takes as long for a user who is not
    there as for one who is.
    """
    found = _find(grid, name)
    right = _matches(password, found[1]["PASSWORD"] if found is not None else NO_PASSWORD)
    return Verified(found[0], _stamp(found[1])) if right and found is not None else None


def find(grid: SystemTables, name: str) -> Verified | None:
    """The user of this name, who has shown it otherwise; None if there is none."""
    found = _find(grid, name)
    return None if found is None else Verified(found[0], _stamp(found[1]))


def _find(grid: SystemTables, name: str) -> tuple[str, Any] | None:
    table = grid._system_table(TABLE)
    if table is None:
        return None
    return next(((own, row) for own in (name, name.upper()) if (row := table.get(own)) is not None), None)


def stamp(grid: SystemTables, name: str) -> str:
    """What changes with a user's password, and when the user is dropped and made again; empty if there is none."""

    def read() -> str:
        table = grid._system_table(TABLE)
        row = None if table is None else table.get(name)
        return "" if row is None else _stamp(row)

    return kept(grid, (TABLE, name), read)


def kept(grid: SystemTables, key: tuple[Any, ...], read: Callable[[], _T]) -> _T:
    """What ``read`` gives, or gave since users and grants have last changed: it is asked for with each request.

    Only the process that owns a grid changes them, and this one does if it asks.
    """
    now = _changes[0]
    known = _kept.get(grid)
    if known is None or known[0] != now or len(known[1]) >= _MOST_KEPT:
        known = _kept[grid] = (now, {})
    found = known[1].get(key, known)
    if found is known:
        found = known[1][key] = read()
    return cast("_T", found)


def changed() -> None:
    """Forget what is kept. To be called after each change of users and grants, before it is said to be done."""
    _changes[0] += 1


def check_user(grid: SystemTables, name: str) -> None:
    """Raise unless there is a user of exactly this name.

    Raises:
        UsageError: there is none.
    """
    table = grid._system_table(TABLE)
    if table is None or table.get(name) is None:
        raise _no_user(grid, name)


def _stamp(row: Any) -> str:
    known = f"{row['CREATED']} {row['CHANGED']} {row['PASSWORD']}"
    return hashlib.sha256(known.encode()).hexdigest()


def hash_password(password: str) -> str:
    """A password's hash as the table has it: ``scrypt$N$r$p$salt$hash``, the last two in base 64.

    Raises:
        UsageError: it is empty or longer than 1024 bytes.
    """
    if not 1 <= len(password.encode()) <= _MAX_PASSWORD_BYTES:
        raise UsageError(f"a password has 1 to {_MAX_PASSWORD_BYTES} bytes")
    salt = os.urandom(_SALT_BYTES)
    digest = _scrypt(password, salt, _N, _R, _P)
    return f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(digest)}"


def _matches(password: str, stored: str) -> bool:
    _, n, r, p, salt, digest = stored.split("$")
    actual = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(actual, base64.b64decode(digest))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=_KEY_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


#: The hash that no password has, for names that nobody has, and of users that have none.
NO_PASSWORD = f"scrypt${_N}${_R}${_P}${_text(bytes(_SALT_BYTES))}${_text(bytes(_KEY_BYTES))}"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)


def _no_user(grid: SystemTables, name: str) -> UsageError:
    return UsageError(f"no user {name}; {did_you_mean(name, [user.name for user in list_users(grid)])}")
