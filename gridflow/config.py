"""Settings: where the grid lives, and the sizes at which work happens by itself."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from .errors import UsageError

VERSION = "0.1.0"

#: A table's partitions when nothing else is asked for.
DEFAULT_PARTITIONS = 1024
#: More partitions than this cannot be asked for; the count has no other cost than its listing.
MAX_PARTITIONS = 1 << 20
#: The Unix socket of the node that serves a grid, in the grid's directory.
SOCKET_NAME = "serve.sock"
#: What ``connect`` makes a temporary grid for.
MEMORY = ":memory:"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*|[^/]*:[0-9]{1,5}", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*")
#: What looks like a node's address, and is none.
_NEARLY = re.compile(r"\s*(grid(\s*\+\s*\w+)?\s*(:|//)|(grpc(\+\w+)?|tcp|https?)://)", re.IGNORECASE)
#: A key may have this many bytes once encoded.
MAX_KEY_BYTES = 1 << 20
#: A record of a file of CSV, JSON or TFRecord may have this many bytes if its reader is told nothing else, and so many
#: whatever it is told.
RECORD_BYTES, MOST_RECORD_BYTES = 64 << 20, 1 << 30
#: What a statement may take can be limited to so much at most: Python's waits can be no longer than nearly 300 years.
MOST_MILLISECONDS, MOST_BYTES = (1 << 43) - 1, (1 << 63) - 1


def shown_url(url: str) -> str:
    """An address as messages have it: without user, password and query; a path as it is.

    >>> shown_url("sftp://me:secret@box/grid?token=1"), shown_url("/grids/a?b"), shown_url("me:secret@box:10850")
    ('sftp://box/grid', '/grids/a?b', '...@box:10850')
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        before, at, host = url.rpartition("@")
        return f"...@{host}" if at and ":" in before and url[0] not in "/.~" else url
    if scheme in ("file", "local"):
        return url.rstrip("/") or url
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}".rstrip("/") or url


def default_home() -> Path:
    """The grid that is meant when none is named.

    ``$GRIDFLOW_HOME``, else ``/dev/shm/gridflow-<uid>/default``, else (no ``/dev/shm``) a folder of the user's
    in the temporary directory.
    """
    home = os.environ.get("GRIDFLOW_HOME")
    if home:
        return resolve_home(home)
    uid = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return temporary_root() / f"gridflow-{uid}" / "default"


def temporary_root() -> Path:
    """Where grids and other files in memory go: ``/dev/shm``, or the temporary directory where there is none."""
    return Path("/dev/shm") if os.path.isdir("/dev/shm") else Path(tempfile.gettempdir())


def resolve_home(path: str | os.PathLike[str] | None) -> Path:
    """The grid's directory for what a caller gave: a path, or None for the default grid.

    Raises:
        UsageError: no path, an empty one, or a text that is an address, or ``:memory:``, and so no name of a directory.
            A ``Path`` always is one.

    >>> str(resolve_home("/grids/./one"))
    '/grids/one'
    """
    if path is None:
        return default_home()
    if path == MEMORY:
        raise UsageError(
            f"{MEMORY!r} is a new grid for each gridflow.connect: name the directory of one that is open, its home, or "
            f"write './{MEMORY}' for a directory of that name"
        )
    if isinstance(path, str) and _NEARLY.match(path):
        raise UsageError(
            f"{shown_url(path)!r} is neither a directory nor a node's address: write grid://host[:port] or "
            "grid+tls://host[:port]"
        )
    if isinstance(path, str) and _ADDRESS.fullmatch(path):
        way = "" if "://" in path else f" (a directory of that very name is './{path}')"
        raise UsageError(
            f"{shown_url(path)!r} is an address, as host:port and scheme://... are, and none of a grid that can be "
            f"used here: name a directory, or write grid://host[:port] for a node{way}"
        )
    try:
        name = os.fspath(path)
        if name == "" or (isinstance(name, str) and "\0" in name):
            raise UsageError(
                f"{name!r} names no directory: name the grid's ('.' is the current one), or leave it out for the "
                "default grid"
            )
        return Path(path).expanduser().absolute()
    except (TypeError, RuntimeError) as error:  # RuntimeError: ~nobody
        raise UsageError(f"a grid is named by the path of its directory, not by {path!r}: {error}") from None
