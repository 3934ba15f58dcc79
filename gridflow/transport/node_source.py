"""A node as a source: versions by message, ranges of files as streams over several connections."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from ..errors import GridConnectionError, GridflowError
from ..protocols import messages
from ..protocols.messages import M, Message
from .source import Range, SealedFile, Version

#: Seconds that a node keeps what a reader holds after it was heard of last, and between two words of the reader.
LEASE_SECONDS = 20
_RENEW_SECONDS = 5.0
#: Seconds that a node gets for an answer that says what there is.
_ANSWER_SECONDS = 60.0


class Way(Protocol):
    """A way to a node, as ``client.Connection`` is one."""

    def hello(self) -> messages.Welcome:
        """Who serves the grid."""

    def call(self, message: Message, *replies: type[M], timeout: float | None = None) -> M:
        """Send a message and return the answer."""

    def blocks(self, message: messages.Blocks) -> Iterator[pa.Buffer]:
        """Bytes of a file, as they come."""

    def close(self) -> None:
        """Let go of the node."""


class NodeSource:
    """The source that a node is; see ``source.Source``. A thread of its own tells the node what is held.

    Args:
        address: of the node.
        make: makes a way to it. Each thread that reads gets one of its own, and so a connection.
    """

    def __init__(self, address: str, make: Callable[[], Way]):
        self._address = address
        self._make = make
        self._lock = threading.Lock()  # guards all of what follows
        self._idle: list[Way] = []
        self._all: list[Way] = []
        self._lease = uuid.uuid4().hex
        self._holds: Counter[tuple[int, int]] = Counter()
        self._names: dict[tuple[int, int], str] = {}  # of the tables of versions that are held
        self._identity = ""  # the last that was answered
        self._renewing: threading.Thread | None = None
        self._closed = threading.Event()
        _node_sources.add(self)

    @property
    def address(self) -> str:
        """The node's address."""
        return self._address

    @contextlib.contextmanager
    def _way(self) -> Iterator[Way]:
        with self._lock:
            way = self._idle.pop() if self._idle else None
        if way is None:
            way = self._make()
            with self._lock:
                self._all.append(way)
        try:
            yield way
        finally:
            with self._lock:
                self._idle.append(way)

    def _ask(self, message: Message, reply: type[M]) -> M:
        with self._way() as way:
            return way.call(message, reply, timeout=_ANSWER_SECONDS)

    def identity(self) -> str:
        """The identity of the grid that answers now, which another way may have found another one at."""
        way = self._make()
        identity = way.hello().identity
        with self._lock:
            old = self._idle if identity != self._identity else self._idle[-1:]
            self._idle = [way, *(one for one in self._idle if one not in old)]
            self._all = [way, *(one for one in self._all if one not in old)]
            self._identity = identity
        for one in old:
            one.close()
        return identity

    def tables(self) -> list[str]:
        """The names of its tables."""
        return self._ask(messages.ListTables(), messages.Names).names

    def version(self, table: str, version: int | str | None = None) -> Version:
        """A version of a table; its files stay for some seconds, also if nobody holds them."""
        number, tag = (None, version) if isinstance(version, str) else (version, None)
        message = messages.AskVersion(table, number, tag, self._lease, LEASE_SECONDS)
        found = self._ask(message, messages.VersionIs)
        files = tuple(SealedFile(*file) for file in found.files)
        tags = dict(found.tags)
        return Version(
            found.table, found.table_id, found.number, found.manifest, files, found.options, tags, found.grid
        )

    def read(self, table_id: int, file: SealedFile, ranges: Sequence[Range]) -> Iterator[tuple[int, pa.Buffer]]:
        """Bytes of a file."""
        message = messages.Blocks(table_id, (file.name, file.bytes, file.fingerprint), list(ranges))
        with self._way() as way, contextlib.closing(_generator(way.blocks(message))) as stream:
            for begin, end in ranges:
                at = begin
                while at < end:
                    piece = next(stream, None)
                    if piece is None or piece.size > end - at:
                        raise GridConnectionError(
                            f"{self._address} sent other bytes of {file.name} than it was asked for"
                        )
                    yield at, piece
                    at += piece.size

    def hold(self, version: Version) -> None:
        """Keep the files of a version: the node holds what it has told of lately."""
        with self._lock:
            self._holds[version.table_id, version.number] += 1
            self._names[version.table_id, version.number] = version.table
            if self._renewing is None:
                self._renewing = threading.Thread(
                    target=_renew, args=(weakref.ref(self), self._closed), name="gridflow-lease", daemon=True
                )
                self._renewing.start()

    def release(self, version: Version) -> None:
        """Let go of them."""
        key = version.table_id, version.number
        with self._lock:
            self._holds[key] -= 1
            if self._holds[key] <= 0:
                del self._holds[key]
                self._names.pop(key, None)

    def _renew(self) -> None:
        with self._lock:
            held = dict(self._names)
        with contextlib.suppress(GridflowError):  # a node that is away is asked again
            if self._ask(messages.Hold(self._lease, LEASE_SECONDS, list(held)), messages.Done).count < len(held):
                for (_, number), table in held.items():  # it was started again: what is still there stays
                    with contextlib.suppress(GridflowError):
                        self.version(table, number)

    def close(self) -> None:
        """Let go of the node."""
        self._closed.set()
        with self._lock:
            ways, self._all, self._idle = self._all, [], []
        for way in ways:
            way.close()


def _generator(stream: Iterator[pa.Buffer]) -> Any:
    return stream if hasattr(stream, "close") else (piece for piece in stream)


def _renew(source: weakref.ref[NodeSource], closed: threading.Event) -> None:
    while not closed.wait(_RENEW_SECONDS):
        here = source()
        if here is None:
            return
        here._renew()
        del here


_node_sources: weakref.WeakSet[NodeSource] = weakref.WeakSet()


def _forked() -> None:
    for source in list(_node_sources):  # its threads are the parent's, and so are its ways and its lease
        source._lock = threading.Lock()
        source._idle, source._all = [], []
        source._lease = uuid.uuid4().hex
        source._renewing = None
        source._closed = threading.Event()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
