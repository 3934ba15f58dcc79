"""Who may come in, and what they may do. Every door asks here: once who somebody is, and before each request.

    the Unix socket       the grid's own user: the operating system lets nobody else open it
    a loopback address    who shows the token that only the grid's own user can read (``protocols.local_tokens``) is
                          that user; else a user of the grid (``CREATE USER``), by password
    any other address     a user of the grid, by password or by a certificate with the user's name; with ``--insecure``
                          anybody, as long as the grid has no user

A password is shown once, as ``Basic`` of RFC 7617, and answered with a token, which is shown as ``Bearer`` from then
on. A token ends when it has not been used for a while, and when its user is dropped or gets another password.

The rule: each request of a user is asked about as of that moment, whatever came before on the same connection. What a
node keeps for a client between requests (a transaction, a session, a prepared statement, a result) is of one
``Peer.owner``, which is compared at each use; and what was demanded to get it is demanded again (``guarded``) when a
transaction commits, when a load ends and when a result is fetched.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..catalog import grants, users
from ..catalog.activity import FAR_SECONDS
from ..catalog.grants import ADMIN, CHANGES, DELETE, INSERT, SELECT, UPDATE
from ..errors import GridAccessError, TableNotFoundError, UsageError
from ..open_grid import OpenGrid
from ..protocols import messages
from ..protocols.address import Endpoint
from ..protocols.messages import Message
from . import audit
from .limits import Logins

#: Seconds after its last use that a token is good for, and those after it was given out.
TOKEN_IDLE, TOKEN_LIFE = 12 * 3600.0, FAR_SECONDS
#: Tokens that are good at once; of more the one that was used the longest ago goes.
MOST_TOKENS = 10_000
#: Logins of which it is known that they are right, so that the password need not be looked at again.
_MOST_SEEN = 1000


@dataclass(frozen=True)
class Peer:
    """The other end of a request, as the door knows it that the request came through.

    Attributes:
        endpoint: where it has come in.
        user: who it is; None: the user of the operating system whose grid it is, who may do everything.
        roles: of the user, as of then.
        address: the host that it comes from, empty for this one.
        stamp: of the user, see ``catalog.users.stamp``: another one, and this is nobody any more.
        anonymous: whether it has not said who it is, and may do everything as long as the grid has no user.
    """

    endpoint: Endpoint
    user: str | None = None
    roles: frozenset[str] = frozenset()
    address: str = ""
    stamp: str = field(default="", repr=False)
    anonymous: bool = False

    @property
    def owner(self) -> str:
        """Whose the things are that a node keeps for it: a user's who was dropped and made anew are not the new one's.

        >>> here = Endpoint.parse("grid://localhost")
        >>> Peer(here, "KATE", stamp="1").owner == Peer(here, "KATE", stamp="2").owner
        False
        """
        return _ANONYMOUS if self.anonymous else "" if self.user is None else f"{self.stamp} {self.user}"


#: As an owner, of whoever has not said who it is.
_ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class Login:
    """Who somebody is; and the token to show from now on, where a password was shown."""

    peer: Peer
    token: str = ""


@dataclass(frozen=True)
class Need:
    """Rights that a message needs.

    Attributes:
        table: a name or a number; None: all tables there are.
        rights: which.
        any_of: whether one of them will do.
    """

    table: str | int | None
    rights: tuple[str, ...]
    any_of: bool = False


#: What a message needs.
Rule = Callable[[Any], list[Need]]


def _anybody(message: Message) -> list[Need]:
    """Who is logged in."""
    return []


def _admins(message: Message) -> list[Need]:
    """Who has the role ADMIN, or is the grid's own user."""
    return []


def _socket(message: Message) -> list[Need]:
    """Who comes by the grid's socket."""
    return []


_ANYBODY, _ADMINS, _SOCKET = _anybody, _admins, _socket
_COMMITS = {
    "put": (INSERT, UPDATE),
    "put_if_absent": (INSERT,),
    "insert": (INSERT,),
    "replace": (UPDATE,),
    "remove": (DELETE,),
}


def _flush(m: messages.Flush) -> list[Need]:
    if m.table is None:
        return [Need(None, CHANGES)]
    return [Need(m.table, (SELECT,))] if m.to_read else [Need(m.table, CHANGES, any_of=True)]


def _transaction(m: messages.CommitTransaction) -> list[Need]:
    # It can write no other table: each has to have the columns that are said of it here.
    return [Need(table_id, CHANGES) for table_id, _ in m.columns]


def _reads(m: Any) -> list[Need]:
    return [Need(m.table, (SELECT,))]


def _swaps(m: messages.Swap) -> list[Need]:
    change = INSERT if m.old < 0 else DELETE if m.new < 0 else UPDATE
    return [Need(m.table, (SELECT, change))]


#: What each kind of message needs; one that is not here is for admins.
RULES: dict[type[Message], Rule] = {
    messages.Hello: _ANYBODY,
    messages.Goodbye: _ANYBODY,
    messages.Cancel: _ANYBODY,  # the name of a run is known to who has begun it
    messages.OpenRing: _SOCKET,
    messages.Sql: _ANYBODY,  # each statement is looked at as it runs
    messages.SystemView: _ANYBODY,  # the same
    messages.Load: lambda m: [Need(m.table, (INSERT, UPDATE) if m.on_duplicate == "replace" else (INSERT,))],
    messages.Commit: lambda m: [Need(m.table, _COMMITS.get(m.mode, CHANGES))],
    messages.CommitTransaction: _transaction,
    messages.Truncate: lambda m: [Need(m.table, (DELETE,))],
    messages.Flush: _flush,
    messages.Compact: lambda m: [Need(m.table, CHANGES, any_of=True)],
    messages.Tag: lambda m: [Need(m.table, CHANGES)],
    messages.Untag: lambda m: [Need(m.table, CHANGES)],
    messages.AskVersion: lambda m: [Need(m.table, (SELECT,))],
    messages.Blocks: lambda m: [Need(m.table_id, (SELECT,))],
    messages.Hold: _ANYBODY,  # it makes what AskVersion has given stay
    messages.CreateTable: _ADMINS,
    messages.AlterTable: _ADMINS,
    messages.DropTable: _ADMINS,
    messages.Restore: _ADMINS,
    messages.KeepVersions: _ADMINS,
    messages.Compress: _ADMINS,
    messages.ListTables: _ANYBODY,  # those that they see
    messages.Describe: _ANYBODY,  # the same
    messages.Get: _reads,
    messages.GetAll: _reads,
    messages.Ask: _reads,
    messages.Scan: _reads,
    messages.Swap: _swaps,
    messages.Begin: _ANYBODY,
    messages.End: _ANYBODY,  # the name of a transaction is known to who has begun it
    messages.Write: lambda m: [Need(m.table, _COMMITS.get(m.mode, CHANGES))],
    messages.SqlMany: _ANYBODY,  # as of Sql
    messages.WriteBatch: lambda m: [Need(m.table, _COMMITS.get(m.mode, CHANGES))],
    messages.EndWriter: _ANYBODY,  # the name of a writer is known to who is it
    messages.AskGrid: _ANYBODY,
    messages.Check: _ADMINS,
}
#: Kinds of statements that a user may execute who has the rights on the tables in it; all others are for admins.
STATEMENTS = frozenset(
    {
        *("SELECT", "EXPLAIN", "INSERT", "MERGE", "UPDATE", "DELETE", "TRUNCATE", "SHOW", "DESCRIBE", "DESC"),
        *("ANALYZE", "REFRESH STATISTICS", "BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK"),
    }
)


def refusal(user: str, what: str, remedy: str) -> GridAccessError:
    """The error of a user who may not do something."""
    return GridAccessError(f"user {user} may not do this: {what}. {remedy} lets them")


@dataclass
class _Session:
    """What a token stands for: a user with a password as of then. Times are those of the monotonic clock."""

    user: str
    stamp: str
    given: float
    used: float


class Access:
    """Knows the users of one grid and the tokens that were given out. Any thread may call it.

    Args:
        grid: the grid that is served.
        insecure: whether everybody may come in as long as the grid has no user.

    Attributes:
        local_tokens: those of the loopback addresses, by endpoint.
    """

    def __init__(self, grid: OpenGrid, *, insecure: bool = False):
        self._grid = grid
        self._insecure = insecure
        self._lock = threading.Lock()  # guards _sessions and _logged_in
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()  # by digest of the token, by time of use
        self._logins = Logins()
        self._secret = secrets.token_bytes(32)
        self._logged_in: OrderedDict[bytes, str] = OrderedDict()  # digest of what was shown, with _secret -> token
        self.local_tokens: dict[Endpoint, str] = {}

    def authenticate(
        self,
        endpoint: Endpoint,
        address: str = "",
        authorization: str = "",
        certificate: str | None = None,
        *,
        passwords: bool = True,
    ) -> Login:
        """Who it is that has come in at ``endpoint``.

        Args:
            address: the host that it comes from.
            authorization: ``Basic <base 64 of user:password>`` or ``Bearer <token>``; empty if it shows neither.
            certificate: the name in the certificate that it has shown, where the door asks for one.
            passwords: whether to look at a password, which takes some tenths of a second. A door that one thread
                serves takes tokens, and a password that another door has just looked at.

        Raises:
            GridAccessError: it is nobody that may come in.
        """
        if endpoint.is_local:
            return Login(Peer(endpoint))
        try:
            return self._authenticate(endpoint, address, authorization, certificate, passwords)
        except GridAccessError as error:
            audit.login(endpoint, address, certificate or _name_in(authorization), error)
            raise

    def _authenticate(
        self, endpoint: Endpoint, address: str, authorization: str, certificate: str | None, passwords: bool
    ) -> Login:
        if certificate is not None:
            user = users.find(self._grid, certificate)
            if user is None:
                raise GridAccessError(f"{endpoint}: the certificate is of {certificate!r}, who is no user of the grid")
            login = Login(self._peer(endpoint, user.name, user.stamp, address))
            if authorization:
                login = self._by_word(endpoint, address, authorization, passwords)
                if login.peer.user != user.name:
                    raise GridAccessError(f"{endpoint}: the certificate is of {user.name}, and the login of another")
            return login
        return self._by_word(endpoint, address, authorization, passwords)

    def _by_word(self, endpoint: Endpoint, address: str, authorization: str, passwords: bool) -> Login:
        scheme, _, shown = authorization.partition(" ")
        if not authorization:
            if self._insecure and not users.are_there(self._grid):
                return Login(Peer(endpoint, None, address=address, anonymous=True))
            raise GridAccessError(f"{endpoint}: say who you are: a user and a password, or a token")
        if scheme.lower() == "basic":
            return self._log_in(endpoint, address, shown, passwords)
        if scheme.lower() == "bearer":
            local = self.local_tokens.get(endpoint)
            if local is not None and hmac.compare_digest(local.encode(), shown.encode()):
                return Login(Peer(endpoint, None, address=address))
            session = self._session_of(shown)
            return Login(self._peer(endpoint, session.user, session.stamp, address))
        raise GridAccessError(f"{endpoint}: an authorization is Basic or Bearer")

    def _log_in(self, endpoint: Endpoint, address: str, shown: str, passwords: bool) -> Login:
        name, colon, password = _basic(shown)
        if not colon:
            raise GridAccessError(f"{endpoint}: an authorization of Basic is base 64 of user:password")
        seen = hmac.digest(self._secret, shown.encode(), "sha256")
        with self._lock:
            token = self._logged_in.get(seen, "")
        if token:  # the same password again: a client that shows it with each request
            with contextlib.suppress(GridAccessError):
                session = self._session_of(token)
                return Login(self._peer(endpoint, session.user, session.stamp, address), token)
        if not passwords:
            raise GridAccessError(f"{endpoint}: log in by Arrow Flight first")
        with self._logins.attempt(name, address):
            user = users.verify(self._grid, name, password)
        if user is None:
            self._logins.failed(name, address)
            raise GridAccessError(f"{endpoint}: no such user, or another password")
        self._logins.succeeded(name, address)
        audit.login(endpoint, address, user.name)
        token, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            self._logged_in[seen] = token
            while len(self._logged_in) > _MOST_SEEN:
                self._logged_in.popitem(last=False)
            while len(self._sessions) >= MOST_TOKENS:
                self._sessions.popitem(last=False)
            self._sessions[_digest(token)] = _Session(user.name, user.stamp, now, now)
        return Login(self._peer(endpoint, user.name, user.stamp, address), token)

    def _peer(self, endpoint: Endpoint, user: str, stamp: str, address: str) -> Peer:
        return Peer(endpoint, user, grants.roles_of(self._grid, user), address, stamp)

    def authorize(self, peer: Peer, message: Message) -> None:
        """Raise unless ``peer`` may have this done: its user is still there, and has the rights.

        Of SQL and of views of schema SYS each statement is looked at when it runs, on ``guarded.GuardedGrid``.

        Raises:
            GridAccessError: the request is refused.
            TableNotFoundError: it is about no table.
        """
        rule = RULES.get(type(message), _ADMINS)
        if rule is _SOCKET and not peer.endpoint.is_local:
            raise GridAccessError(f"{message.kind} at {peer.endpoint} is refused: it is for the grid's socket alone")
        self.recognize(peer)
        if peer.user is None:
            return
        if rule is _SOCKET or rule is _ANYBODY:
            return
        if ADMIN in grants.roles_of(self._grid, peer.user):
            return
        if rule is _ADMINS:
            raise refusal(peer.user, message.kind, f"GRANT {ADMIN} TO {peer.user}")
        for need in rule(message):
            self._check(peer.user, message.kind, need)

    def recognize(self, peer: Peer) -> None:
        """Raise unless ``peer`` is still who it was when it came in.

        Raises:
            GridAccessError: it has to log in.
        """
        if peer.user is None:
            if peer.anonymous and users.are_there(self._grid):
                raise GridAccessError(f"{peer.endpoint}: the grid has got users by now: log in as one of them")
        elif users.stamp(self._grid, peer.user) != peer.stamp:
            raise GridAccessError(f"user {peer.user} has another password by now, or is gone: log in again")

    def _check(self, user: str, what: str, need: Need) -> None:
        rights, name = self._rights(user, need.table)
        lacks = [right for right in need.rights if right not in rights]
        if lacks and (not need.any_of or len(lacks) == len(need.rights)):
            lack = lacks[0] if name is None else f"{lacks[0]} ON {name}"
            way = f"GRANT {grants.WRITER} TO {user}" if name is None else f"GRANT {lack} TO {user}"
            raise refusal(user, f"{what} ({lack})", way)

    def _rights(self, user: str, named: str | int | None) -> tuple[frozenset[str], str | None]:
        """The rights of a user on a table that a message names, and its name; of all tables, where it names none.

        Who has no right on a table, nor a role, is not told whether it is there.

        Raises:
            TableNotFoundError: it is not there, and the user has a role, which would count for it.
        """
        roles = grants.roles_of(self._grid, user)
        if named is None:
            return frozenset[str]().union(*(grants.ROLES[role] for role in roles)), None
        try:
            table = self._table(named)
        except TableNotFoundError:
            if roles:
                raise
            rights = frozenset[str]()
        else:
            rights = grants.rights_on(self._grid, user, table.table_id)
        return rights, table.name if rights else str(named)

    def _table(self, table: str | int) -> Any:
        """A table, which is none of the system's: those have users and grants."""
        if isinstance(table, str):
            return self._grid.table(table)
        for each in self._grid._all_tables():
            if each.table_id == table:
                return each
        raise TableNotFoundError(f"no table of number {table}")

    def _session_of(self, token: str) -> _Session:
        """Whose token it is."""
        key, now = _digest(token), time.monotonic()
        with self._lock:
            session = self._sessions.get(key)
            if session is not None:
                if (
                    now - session.used <= TOKEN_IDLE
                    and now - session.given <= TOKEN_LIFE
                    and users.stamp(self._grid, session.user) == session.stamp
                ):
                    session.used = now
                    self._sessions.move_to_end(key)
                    return session
                del self._sessions[key]
        raise GridAccessError("the token is not known, or not any more: log in again")


def check_address(endpoint: Endpoint, insecure: bool) -> None:
    """Raise unless a node may listen at ``endpoint``.

    Raises:
        UsageError: what comes by it would be readable on its way.
    """
    if not (endpoint.is_local or endpoint.is_loopback or endpoint.scheme == "grid+tls" or insecure):
        raise UsageError(
            f"{endpoint} is no loopback address: passwords and rows would be readable on their way. Listen at "
            "grid+tls://, or say --insecure if the network is trusted"
        )


def check_users(endpoint: Endpoint, grid: users.SystemTables, insecure: bool) -> None:
    """Raise unless there is somebody who may come in at ``endpoint``.

    Raises:
        UsageError: there is not.
    """
    if not (endpoint.is_local or endpoint.is_loopback or insecure or users.list_users(grid)):
        raise UsageError(
            f"{endpoint}: the grid has no user, so nobody could come in: CREATE USER name WITH PASSWORD '...' before, "
            "or say --insecure to let in everybody who reaches it"
        )


def _basic(shown: str) -> tuple[str, str, str]:
    """The user, a colon, and the password of an authorization; without the colon it is none."""
    try:
        return base64.b64decode(shown, validate=True).decode().partition(":")
    except ValueError:
        return "", "", ""


def _name_in(authorization: str) -> str:
    """The user's name in an authorization of Basic; empty if there is none."""
    scheme, _, shown = authorization.partition(" ")
    return _basic(shown)[0] if scheme.lower() == "basic" else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
