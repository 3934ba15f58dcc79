"""Where a node listens: a Unix socket in the grid's directory, or a host and a port."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import SOCKET_NAME, shown_url
from ..errors import UsageError

#: Where a node listens for other machines unless it is told another port.
DEFAULT_PORT = 10850
#: sun_path has 108 bytes with its NUL on Linux, and 104 on other systems.
_MAX_PATH_BYTES = 103
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~/+,=@-]+\Z")
_TEXT = re.compile(r"(?P<scheme>[A-Za-z+]+)://(?P<rest>.+)\Z", re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:/?#@\[\]]+))(?::(?P<port>[0-9]{1,5}))?/?\Z")
_FLIGHT_SCHEMES = {"unix": "grpc+unix", "grid": "grpc+tcp", "grid+tls": "grpc+tls"}


def is_address(home: object) -> bool:
    """Whether what says where a grid is names a node, and no directory.

    >>> is_address("Grid://box"), is_address("/dev/shm/grid"), is_address(None)
    (True, False, False)
    """
    return isinstance(home, str) and home.lower().startswith(("grid://", "grid+tls://"))


@dataclass(frozen=True)
class Endpoint:
    """One place where a node listens.

    Attributes:
        scheme: ``unix``, ``grid`` (TCP), or ``grid+tls``.
        path: the socket's file; of ``unix`` only.
        host, port: of the others.

    >>> endpoint = Endpoint.parse("grid://data.example")
    >>> endpoint.host, endpoint.port, endpoint.flight_uri
    ('data.example', 10850, 'grpc+tcp://data.example:10850')
    >>> str(Endpoint.of_grid(Path("/dev/shm/grid")))
    'unix:///dev/shm/grid/serve.sock'
    """

    scheme: str
    path: Path | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def of_grid(cls, home: Path) -> Endpoint:
        """The Unix socket in a grid's directory."""
        return cls("unix", path=home / SOCKET_NAME)

    @classmethod
    def parse(cls, text: str, *, any_port: bool = False) -> Endpoint:
        """Read ``unix:///path``, ``grid://host[:port]`` or ``grid+tls://host[:port]``; an IPv6 host is in brackets.

        Args:
            any_port: whether the port may be 0: one that is free, for who listens.

        Raises:
            UsageError: it is none of these.
        """
        forms = "unix:///path, grid://host[:port] or grid+tls://host[:port]"
        if "@" in text:
            raise UsageError(
                f"{shown_url(text)!r}: an address holds no user and no password, which would be seen where it is: "
                "give user= and password=, or write them to ~/.config/gridflow/credentials.toml"
            )
        match = _TEXT.match(text)
        scheme = match["scheme"].lower() if match is not None else ""
        if match is None or scheme not in _FLIGHT_SCHEMES:
            raise UsageError(f"{text!r} is no endpoint of a node: write {forms}")
        if scheme == "unix":
            if not match["rest"].startswith("/"):
                raise UsageError(f"{text!r} names no socket: the path after unix:// is absolute")
            return cls("unix", path=Path(match["rest"]))
        host = _HOST.match(match["rest"])
        port = int(host["port"] or DEFAULT_PORT) if host is not None else 0
        if host is None or not (0 if any_port else 1) <= port <= 65535:
            raise UsageError(f"{text!r} is no endpoint of a node: write {forms}, with a port of 1 to 65535")
        return cls(scheme, host=host["v6"] or host["host"], port=port)

    @property
    def is_local(self) -> bool:
        """Whether only processes of this machine can come by it."""
        return self.scheme == "unix"

    @property
    def is_loopback(self) -> bool:
        """Whether it is an address that only processes of this machine can reach."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def flight_uri(self) -> str:
        """The same as Arrow Flight writes it."""
        return f"{_FLIGHT_SCHEMES[self.scheme]}://{self._place}"

    @property
    def grid(self) -> str:
        """What people call the grid that is served there: its directory, or the endpoint itself."""
        return str(self.path.parent) if self.path is not None else str(self)

    @property
    def _place(self) -> str:
        if self.path is not None:
            return str(self.path)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self._place}"


class Route:
    """An endpoint in a form that the kernel and Flight take.

    The kernel limits a Unix socket's path to about 100 bytes, and Flight takes it as a URI. For a grid whose path
    is longer, or has characters that a URI has not, the socket is reached through a symbolic link to the grid
    in a private temporary directory; ``close`` removes it. The socket itself always lies in the grid.

    Args:
        endpoint: where to go.

    Attributes:
        path: of a Unix socket the way to it, which may lead through the link.
        flight_uri: the endpoint, as Flight takes it.
    """

    def __init__(self, endpoint: Endpoint):
        self._folder: str | None = None
        self._pid = os.getpid()  # a forked child must not take the link away from its parent
        self.path = endpoint.path
        if self.path is not None and not _is_plain(self.path):
            self._folder = tempfile.mkdtemp(prefix="gridflow-")
            link = os.path.join(self._folder, "g")
            os.symlink(self.path.parent, link, target_is_directory=True)
            self.path = Path(link, self.path.name)
        self.flight_uri = replace(endpoint, path=self.path).flight_uri

    def close(self) -> None:
        """Remove the link, if there is one. May be called again."""
        folder, self._folder = self._folder, None
        if folder and self._pid == os.getpid():
            shutil.rmtree(folder, ignore_errors=True)


def _is_plain(path: Path) -> bool:
    return len(os.fsencode(path)) <= _MAX_PATH_BYTES and _PLAIN_PATH.match(str(path)) is not None
