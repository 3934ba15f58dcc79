"""Who may come in, and what they may do. Every door asks here: once who somebody is, and before each request.

    the Unix socket       the grid's own user: the operating system lets nobody else open it
    a loopback address    who shows the token that only the grid's own user can read (``protocols.local_tokens``) is
                          that user; else a user of the grid (``CREATE USER``), by password
    any other address     a user of the grid, by password or by a certificate with the user's name

A password is shown once, as ``Basic`` of RFC 7617, and answered with a token, which is shown as ``Bearer`` from then
on. A token ends when it has not been used for a while, and when its user is dropped or gets another password.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from ..catalog import users
from ..errors import GridAccessError, UsageError
from ..protocols import messages
from ..protocols.address import Endpoint
from ..protocols.messages import Message

#: Seconds after its last use that a token is good for, and those after it was given out.
TOKEN_IDLE, TOKEN_LIFE = 12 * 3600.0, 7 * 24 * 3600.0
#: Tokens that are good at once; of more the one that was used the longest ago goes.
MOST_TOKENS = 10_000


@dataclass(frozen=True)
class Peer:
    """The other end of a request, as the door knows it that the request came through.

    Attributes:
        endpoint: where it has come in.
        user: who it is; None: the user of the operating system whose grid it is, who may do everything.
        roles: of the user.
        address: the host that it comes from, empty for this one.
    """

    endpoint: Endpoint
    user: str | None = None
    roles: frozenset[str] = frozenset()
    address: str = ""


@dataclass(frozen=True)
class Login:
    """Who somebody is; and the token to show from now on, where a password was shown."""

    peer: Peer
    token: str = ""


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

    def __init__(self, grid: users.SystemTables, *, insecure: bool = False):
        self._grid = grid
        self._insecure = insecure
        self._lock = threading.Lock()  # guards _sessions
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()  # by digest of the token, by time of use
        self.local_tokens: dict[Endpoint, str] = {}

    def authenticate(
        self, endpoint: Endpoint, address: str = "", authorization: str = "", certificate: str | None = None
    ) -> Login:
        """Who it is that has come in at ``endpoint``.

        Args:
            address: the host that it comes from.
            authorization: ``Basic <base 64 of user:password>`` or ``Bearer <token>``; empty if it shows neither.
            certificate: the name in the certificate that it has shown, where the door asks for one.

        Raises:
            GridAccessError: it is nobody that may come in.
        """
        if endpoint.is_local:
            return Login(Peer(endpoint))
        if certificate is not None:
            user = users.find(self._grid, certificate)
            if user is None:
                raise GridAccessError(f"{endpoint}: the certificate is of {certificate!r}, who is no user of the grid")
            login = Login(Peer(endpoint, user.name, frozenset({"admin"}), address))
            if authorization:
                login = self._by_word(endpoint, address, authorization)
                if login.peer.user != user.name:
                    raise GridAccessError(f"{endpoint}: the certificate is of {user.name}, and the login of another")
            return login
        return self._by_word(endpoint, address, authorization)

    def _by_word(self, endpoint: Endpoint, address: str, authorization: str) -> Login:
        scheme, _, shown = authorization.partition(" ")
        if not authorization:
            if self._insecure and not users.list_users(self._grid):
                return Login(Peer(endpoint, None, address=address))
            raise GridAccessError(f"{endpoint}: say who you are: a user and a password, or a token")
        if scheme.lower() == "basic":
            return self._log_in(endpoint, address, shown)
        if scheme.lower() == "bearer":
            local = self.local_tokens.get(endpoint)
            if local is not None and hmac.compare_digest(local.encode(), shown.encode()):
                return Login(Peer(endpoint, None, address=address))
            return Login(Peer(endpoint, self._user_of(shown), frozenset({"admin"}), address))
        raise GridAccessError(f"{endpoint}: an authorization is Basic or Bearer")

    def _log_in(self, endpoint: Endpoint, address: str, shown: str) -> Login:
        try:
            name, colon, password = base64.b64decode(shown, validate=True).decode().partition(":")
        except ValueError:
            colon = ""
        if not colon:
            raise GridAccessError(f"{endpoint}: an authorization of Basic is base 64 of user:password")
        user = users.verify(self._grid, name, password)
        if user is None:
            raise GridAccessError(f"{endpoint}: no such user, or another password")
        token, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            while len(self._sessions) >= MOST_TOKENS:
                self._sessions.popitem(last=False)
            self._sessions[_digest(token)] = _Session(user.name, user.stamp, now, now)
        return Login(Peer(endpoint, user.name, frozenset({"admin"}), address), token)

    def _user_of(self, token: str) -> str:
        """The user whose token it is."""
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
                    return session.user
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


def authorize(peer: Peer, message: Message) -> None:
    """Raise unless ``peer`` may have this done.

    Raises:
        GridAccessError: the request is refused.

    >>> from pathlib import Path
    >>> authorize(Peer(Endpoint.of_grid(Path("/dev/shm/grid"))), messages.OpenRing("a"))
    >>> authorize(Peer(Endpoint.parse("grid://data.example")), messages.OpenRing("a"))
    Traceback (most recent call last):
    ...
    gridflow.errors.GridAccessError: open_ring at grid://data.example:10850 is refused: rings are for the grid's socket
    """
    if isinstance(message, messages.OpenRing) and not peer.endpoint.is_local:
        raise GridAccessError(f"{message.kind} at {peer.endpoint} is refused: rings are for the grid's socket")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
