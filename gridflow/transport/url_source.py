"""UrlSource: published versions of tables as a Source."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future

import pyarrow as pa

from ..errors import (
    GridClosedError,
    GridNotFoundError,
    TableNotFoundError,
    VersionNotFoundError,
    did_you_mean,
    reworded,
)
from .published import Listing, PublishedFile, PublishedPlace, PublishedVersion, object_path, table_id_of, table_place
from .source import Range, SealedFile, Version
from .threads import Threads

#: So many requests are in flight at a time, each for so many bytes at most.
REQUESTS, REQUEST_BYTES = 8, 4 << 20
#: For so many seconds what was listed with the identity counts.
FIRST_SECONDS = 1.0
_IGNITE_PREFIX = "SQL_PUBLIC_"


class UrlSource:
    """The tables at a URL, as they were published. Any thread may call any method.

    Args:
        url: of the folder, in any scheme of fsspec.

    Attributes:
        address: the URL, without a password.
    """

    def __init__(self, url: str):
        self._place = PublishedPlace(url)
        self.address = self._place.url
        self._lock = threading.Lock()  # guards the rest
        self._files: dict[tuple[int, str, int], PublishedFile] = {}  # by table id, name, fingerprint
        self._pool: Threads | None = None
        self._first: Future[dict[str, Listing]] | None = None
        self._first_until = 0.0
        self._is_known = False
        _url_sources.add(self)

    def _listing(self, table: str) -> Listing:
        first = self._first
        if first is not None:
            if time.monotonic() < self._first_until:
                listing = first.result().pop(table, None)  # once: who asks again wants what is there by then
                if listing is not None:
                    return listing
            else:
                self._first = None
        return self._place.listing(table_place(table))

    def identity(self) -> str:
        """What the place is called for good.

        The first time all tables are listed meanwhile: a version that is asked for next costs a round trip less.

        Raises:
            GridNotFoundError: nothing was published there.
        """
        if not self._is_known:
            self._is_known = True
            self._first = self._threads().submit(self._place.listings)
            self._first_until = time.monotonic() + FIRST_SECONDS
        return self._place.identity()

    def tables(self) -> list[str]:
        """The names of the tables, in order."""
        return self._place.tables()

    def version(self, table: str, version: int | str | None = None) -> Version:
        """A version of a table: the newest, or by its number there or its tag.

        Raises:
            TableNotFoundError: there is no such table.
            VersionNotFoundError: there is no such version, or no such tag.
        """
        for name in dict.fromkeys((table, table.removeprefix(_IGNITE_PREFIX), table.upper())):
            listing = self._listing(name)
            if listing.numbers:
                break
        else:
            self.identity()  # says so where nothing was published at all
            known = self.tables()
            raise TableNotFoundError(f"no table {table} at {self.address}; {did_you_mean(table, known)}", table=table)
        found = None
        if version is None:
            found = self._read(name, listing.newest)
        elif isinstance(version, str):
            for number in reversed(listing.tags.get(version, [])):
                one = self._read(name, number) if number in listing.numbers else None
                if one is not None and one.tag == version:
                    found = one
                    break
        elif version in listing.numbers and not isinstance(version, bool):
            found = self._read(name, version)
        if found is None:
            tagged = sorted(listing.tags.items())
            tags = ", ".join(f"{tag} (version {numbers[-1]})" for tag, numbers in tagged) or "none"
            what = f"tag {version}" if isinstance(version, str) else f"version {version!r}"
            numbers = ", ".join(map(str, listing.numbers))
            raise VersionNotFoundError(
                f"table {name} at {self.address} has no {what}; its tags are {tags}, its versions {numbers}", table=name
            )
        with self._lock:
            for file in found.files:
                self._files[found.table_id, file.name, file.fingerprint] = file
        tags_of = {tag: numbers[-1] for tag, numbers in listing.tags.items()}
        files = tuple(SealedFile(file.name, file.bytes, file.fingerprint) for file in found.files)
        return Version(name, found.table_id, found.number, found.manifest, files, found.options, tags_of)

    def versions(self, table: str) -> list[int]:
        """The numbers of the versions of a table, as it is written there, rising."""
        return self._place.listing(table_place(table)).numbers

    def _read(self, table: str, number: int) -> PublishedVersion | None:
        try:
            return self._place.version(table, number)
        except GridNotFoundError:  # a prune was faster than this
            return None

    def read(self, table_id: int, file: SealedFile, ranges: Sequence[Range]) -> Iterator[tuple[int, pa.Buffer]]:
        """Bytes of a file, as they come: where a piece begins, and the piece; no byte more is asked for.

        Raises:
            GridNotFoundError: the file is gone: its version was pruned.
            GridConnectionError: the place does not answer.
        """
        known = self._known(table_id, file)
        name = object_path(known.source)
        asked = iter(_pieces(ranges, len(known.head)))
        waiting: deque[tuple[int, Future[bytes] | bytes]] = deque()
        while True:
            while len(waiting) < REQUESTS and (piece := next(asked, None)) is not None:
                begin, end = piece
                if end <= len(known.head):
                    waiting.append((begin, known.head[begin:end]))
                else:
                    waiting.append((begin, self._threads().submit(self._place.place.read_range, name, begin, end)))
            if not waiting:
                return
            begin, answer = waiting.popleft()
            try:
                data = answer if isinstance(answer, bytes) else answer.result()
            except GridNotFoundError as error:
                raise reworded(
                    error, f"{self._place.place.shown(name)} is gone: its version was pruned, or the file removed"
                ) from None
            except CancelledError:
                raise GridClosedError(f"{self.address} was closed while it was read") from None
            yield begin, pa.py_buffer(data)

    def _known(self, table_id: int, file: SealedFile) -> PublishedFile:
        key = table_id, file.name, file.fingerprint
        with self._lock:
            known = self._files.get(key)
        if known is None:  # another process has seen the version that has it
            for table in self.tables():
                if table_id_of(table) == table_id:
                    for number in reversed(self._place.listing(table_place(table)).numbers):
                        version = self._read(table, number)
                        for one in version.files if version else ():
                            with self._lock:
                                self._files.setdefault((table_id, one.name, one.fingerprint), one)
                        if key in self._files:
                            return self._files[key]
            raise GridNotFoundError(
                f"{self.address}: no version has a file {file.name} of table {table_id} any more", filename=self.address
            )
        return known

    def _threads(self) -> Threads:
        with self._lock:
            if self._pool is None:
                self._pool = Threads(REQUESTS, "gridflow-url")
            return self._pool

    def hold(self, version: Version) -> None:
        """Nothing: what is published stays until it is pruned."""

    def release(self, version: Version) -> None:
        """Nothing: see ``hold``."""

    def close(self) -> None:
        """Let go of the threads that ask."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


def _pieces(ranges: Sequence[Range], head_bytes: int) -> Iterator[Range]:
    """The ranges in pieces of one request each, those of the header apart."""
    for begin, end in ranges:
        while begin < end:
            stop = min(end, head_bytes if begin < head_bytes else begin + REQUEST_BYTES)
            yield begin, stop
            begin = stop


_url_sources: weakref.WeakSet[UrlSource] = weakref.WeakSet()


def _forked() -> None:
    for source in list(_url_sources):  # its threads are the parent's, and one may have held the lock
        source._lock = threading.Lock()
        source._pool = source._first = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
