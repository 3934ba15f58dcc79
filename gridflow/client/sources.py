"""Sources by address: of a node, of what is published at a URL; and the directory that a table is read from."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ..credentials import Credentials, find
from ..protocols.address import DEFAULT_PORT, Endpoint, is_address
from ..transport import mirror
from ..transport.node_source import NodeSource
from ..transport.source import Source
from ..transport.url_source import UrlSource
from . import remote_grid
from .remote_connection import RemoteConnection

_lock = threading.Lock()  # guards _sources
_sources: dict[
    tuple[str, Credentials | None, float | None], Source
] = {}  # all that read a grid share its connections and leases


def open_source(address: str, credentials: Credentials | None = None, timeout: float | None = None) -> Source:
    """The source at an address: ``grid://...``, ``grid+tls://...``, else a URL of published versions.

    Args:
        credentials: of a node's client; None: those of the environment, or of the file.
        timeout: seconds that an answer of a node may take at most, as of ``RemoteConnection``.

    Raises:
        UsageError: it is no address.
        GridAccessError: the credentials cannot be read.
    """
    with _lock:
        source = _sources.get((address, credentials, timeout))
    if source is not None:
        return source
    if is_address(address):
        endpoint = Endpoint.parse(address)
        names = [str(endpoint)]
        if endpoint.port == DEFAULT_PORT:
            names.append(names[0].removesuffix(f":{DEFAULT_PORT}"))
        known = credentials or find(names)
        source = NodeSource(str(endpoint), lambda: RemoteConnection(endpoint, known, timeout))
    else:
        source = UrlSource(address)
    with _lock:
        return _sources.setdefault((address, credentials, timeout), source)


def directory_of(
    address: str, table: str, version: int | str | None = None, credentials: Credentials | None = None
) -> Path:
    """Where a table of a grid elsewhere is read: in the mirror; in the grid itself where its node is on this machine.

    Args:
        address: the grid's.
        version: a kept one that is going to be read, by number or tag.

    Raises:
        TableNotFoundError, VersionNotFoundError: the grid has none.
        GridConnectionError: it cannot be reached.
    """
    if is_address(address):
        here = remote_grid.home_on_this_machine(address, credentials)
        if here is not None:
            return here
    source = open_source(address, credentials)
    home = mirror.mirrored(source)
    mirror.update(home, table, version, source)
    return home


def _forked() -> None:
    global _lock
    _lock = threading.Lock()


mirror.set_opener(open_source)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
