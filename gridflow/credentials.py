"""Who a client says it is, and whom it believes: never in an address, a saved function, a log or an error text.

They come from arguments, else from the environment, else from ``~/.config/gridflow/credentials.toml``, which nobody but
its owner may read:

    ["grid+tls://box:10850"]
    user = "KATE"
    password = "..."
    ca = "lab.pem"

    ["*"]                                     # any other address
    token = "..."

Environment: ``GRIDFLOW_USER``, ``GRIDFLOW_PASSWORD``, ``GRIDFLOW_TOKEN``, ``GRIDFLOW_CA``, ``GRIDFLOW_CERT``,
``GRIDFLOW_KEY``, ``GRIDFLOW_KEY_PASSWORD``; else ``GRIDFLOW_DATASET_USERNAME``, ``_PASSWORD``, ``_CERTFILE``,
``_KEYFILE``, ``_CERT_PASSWORD``, and the same of ``IGNITE_DATASET_``. ``GRIDFLOW_CREDENTIALS`` names another file.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .errors import GridAccessError, UsageError

#: Which file has them, unless this names another.
FILE_VARIABLE = "GRIDFLOW_CREDENTIALS"
_LINE = re.compile(r"""(?P<name>[A-Za-z_][A-Za-z0-9_-]*)\s*=\s*(?P<text>"(?:[^"\\]|\\.)*"|'[^']*')\s*(?:\#.*)?""")
_TABLE = re.compile(r"""\[\s*(?P<text>"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)\s*\]\s*(?:\#.*)?""")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


@dataclass(frozen=True)
class Credentials:
    """What a client shows at an address, and whom it believes there.

    Attributes:
        user, password: of the grid; or ``token``, one that a node has given out.
        ca: file of the certificates that a node's must be signed by; None: those of the system.
        cert, key: files of this client's own certificate and its key, and ``key_password`` of an encrypted one.

    >>> Credentials(user="KATE", password="warm kitty")
    <Credentials of KATE>
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    key_password: str | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        who = self.user or ("who has a token" if self.token else self.cert or "nobody")
        return f"<Credentials of {who}>"

    def check(self) -> Credentials:
        """The same, if they fit together.

        Raises:
            UsageError: they do not.
        """
        if self.password is not None and self.token is not None:
            raise UsageError("password= and token= both say who you are: give one of them")
        if self.password is not None and self.user is None:
            raise UsageError("a password goes with a user: give user=, too")
        if self.user is not None and self.password is None and self.token is None and self.cert is None:
            raise UsageError("a user shows something: give password=, token= or cert=, too")
        if self.user is not None and ":" in self.user:
            raise UsageError("the name of a user has no colon")
        if (self.key is not None or self.key_password is not None) and self.cert is None:
            raise UsageError("a key goes with its certificate: give cert=, too")
        return self

    @property
    def say_who(self) -> bool:
        """Whether they say who this is, and not only whom it believes."""
        return any(value is not None for value in (self.user, self.token, self.cert))

    @property
    def basic(self) -> str:
        """The header ``authorization`` of a login by password."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


_DATASET = {
    "user": "USERNAME",
    "password": "PASSWORD",
    "cert": "CERTFILE",
    "key": "KEYFILE",
    "key_password": "CERT_PASSWORD",
}
#: What ``keep`` was told, by address.
_kept: dict[str, Credentials] = {}


def keep(names: Sequence[str], credentials: Credentials) -> None:
    """Have ``find`` give these in this process, for an address for which none are given."""
    for name in names:
        _kept[name] = credentials


NAMES = tuple(f.name for f in fields(Credentials))
#: Variables of the environment by what they say; of these groups the first counts of which any is set.
_VARIABLES = (
    {name: f"GRIDFLOW_{name.upper()}" for name in NAMES},
    {name: f"GRIDFLOW_DATASET_{word}" for name, word in _DATASET.items()},
    {name: f"IGNITE_DATASET_{word}" for name, word in _DATASET.items()},
)


def find(names: Sequence[str], given: Mapping[str, Any] | None = None) -> Credentials:
    """The credentials for an address: those that are given, else kept, else of the environment, else of the file.

    Args:
        names: the address, in all ways to write it.
        given: arguments by name; None: not given.

    Raises:
        UsageError: they do not fit together, or the file cannot be read as such.
        GridAccessError: others may read the file.
    """
    given = {name: value for name, value in (given or {}).items() if value is not None}
    for name, value in given.items():
        if not isinstance(value, (str, os.PathLike)):
            raise UsageError(f"{name}= is a text, not a {type(value).__name__}")
    if given:
        return replace(Credentials(), **{name: os.fspath(value) for name, value in given.items()}).check()
    for name in names:
        if name in _kept:
            return _kept[name]
    for variables in _VARIABLES:
        said = {name: value for name, variable in variables.items() if (value := os.environ.get(variable))}
        if said:
            return replace(Credentials(), **said).check()
    return _of_file(names)


def _of_file(names: Sequence[str]) -> Credentials:
    path = Path(os.environ.get(FILE_VARIABLE) or _default_file())
    try:
        with open(path, encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if hasattr(os, "geteuid") and status.st_uid not in (os.geteuid(), 0):
                raise GridAccessError(f"{path} belongs to another user: make your own", filename=str(path))
            if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
                raise GridAccessError(f"others may read {path}: chmod 600 {path}", filename=str(path))
            tables = parse(file.read(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        if os.environ.get(FILE_VARIABLE):
            raise UsageError(f"${FILE_VARIABLE} names {path}, which is not there") from None
        return Credentials()
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, GridAccessError):
            raise
        raise GridAccessError(f"{path} cannot be read: {type(error).__name__}", filename=str(path)) from None
    return Credentials(**next((tables[name] for name in (*names, "*") if name in tables), {})).check()


def _default_file() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config, "gridflow", "credentials.toml").expanduser()


def parse(text: str, where: str = "credentials.toml") -> dict[str, dict[str, str]]:
    r"""The tables of a credentials file, which is TOML of tables and texts alone. An error shows no line's content.

    Raises:
        UsageError: names the line.

    >>> parse('["grid://box:10850"]\nuser = "KATE"  # ours\n')
    {'grid://box:10850': {'user': 'KATE'}}
    """
    tables: dict[str, dict[str, str]] = {}
    table: dict[str, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        head = _TABLE.fullmatch(line)
        if head is not None:
            table = tables.setdefault(_unquoted(head["text"]), {})
            continue
        match = _LINE.fullmatch(line)
        if match is None or table is None or match["name"] not in NAMES:
            raise UsageError(
                f'{where}, line {number}: expected ["grid://host:port"], or below it one of {", ".join(NAMES)} = "text"'
            )
        table[match["name"]] = _unquoted(match["text"])
    return tables


def _unquoted(text: str) -> str:
    if text[0] == "'":
        return text[1:-1]
    if text[0] != '"':
        return text
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1])
