"""Publish: versions of tables are copied to a URL, and named there."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .._native.sealed import ManifestBytes, file_name, read_head, renumber_head
from ..errors import GridEnvironmentError, SchemaError, UsageError
from ..storage.versions import Kept
from .cut import HeldFile, HeldGrid, HeldTable, held_tables
from .published import (
    FILES,
    PublishedFile,
    PublishedPlace,
    PublishedVersion,
    check_table_name,
    document_name,
    object_name,
    object_path,
    table_id_of,
    table_place,
    tag_name,
)

#: What is called with the bytes that are done and the bytes that there are.
Report = Callable[[int, int], Any]
#: So many files are copied at the same time.
THREADS = 4
#: Seconds for which a file stays at a URL that no document names (yet); half of that it may be made use of.
GRACE_SECONDS = 24 * 3600.0
#: So often a publisher tries whose number another one has taken.
_ATTEMPTS = 1000


def publish(
    home: Path,
    tables: Iterable[str],
    url: str,
    *,
    tag: str | None = None,
    version: str | int | None = None,
    progress: Report | None = None,
) -> dict[str, int]:
    """Publish tables of a grid's directory as they all are at one moment; writes go on meanwhile.

    Args:
        home: the grid's directory.
        tables: their names.
        url: of the folder, in any scheme of fsspec.
        tag: a name for the new versions there.
        version: the tag or the number of a kept version, to publish that instead.
        progress: called with the bytes that are copied, and all that are to be.

    Returns:
        The number of each new version at the URL, by table.

    Raises:
        TableNotFoundError, VersionNotFoundError: there is no such table, or version.
        UsageError: the tag is taken there, or the URL is none that can be published to.
        GridCorruptError: a file is damaged; nothing is published.
        GridAccessError, GridFullError, GridConnectionError: the URL cannot be written.
    """
    with held_tables(home, tables, version) as held:
        for table in held.tables:
            check_table_name(table.name)
        place = PublishedPlace(url)
        total = sum(file.bytes for table in held.tables for file in table.current.files)
        reported = Reported(progress, total)
        return {table.name: _publish_table(place, held, table, tag, reported) for table in held.tables}


class Reported:
    """Counts what is done, for a caller who wants to know; called by several threads."""

    def __init__(self, report: Report | None, total: int):
        self._report = report
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """So many bytes more are done."""
        if self._report is not None:
            with self._lock:
                self._done += count
                self._report(min(self._done, self._total), self._total)


def _publish_table(place: PublishedPlace, grid: HeldGrid, table: HeldTable, tag: str | None, reported: Reported) -> int:
    place.prepare()
    uploaded = Uploaded(place)

    def make(base: PublishedVersion | None, number: int) -> PublishedVersion:
        known = {file.source for file in base.files} if base else set()
        sources = uploaded.all(grid.identity, table.table_id, table.current.files, known, reported)
        manifest, files = renumbered(table.current.manifest, table.current.files, sources, base, table.name, number)
        origin = {"grid": grid.identity, "table_id": table.table_id, "version": table.current.number}
        return new_version(table.name, number, tag, manifest, files, table.options, origin)

    return commit(place, table.name, tag, make).number


def new_version(
    table: str,
    number: int,
    tag: str | None,
    manifest: bytes,
    files: tuple[PublishedFile, ...],
    options: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> PublishedVersion:
    """A version that was made just now."""
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return PublishedVersion(table, table_id_of(table), number, tag, manifest, files, options, origin, created)


def commit(
    place: PublishedPlace,
    table: str,
    tag: str | None,
    make: Callable[[PublishedVersion | None, int], PublishedVersion],
) -> PublishedVersion:
    """Add a version to a table at a URL.

    If another publisher takes the number meanwhile, this one makes its version anew on top of that, and takes the next.

    Args:
        make: makes the version of what is the newest, None if there is none, and a number; the files that it names must
            be there. It may be called again.

    Raises:
        UsageError: the tag is taken.
        SchemaError: the table's name has the number of another one's there.
    """
    folder = table_place(table)
    if tag is not None:
        Kept().check_tag(table, tag, 0, False)
    for attempt in range(_ATTEMPTS):
        listing = place.listing(folder)
        if tag is not None:
            _check_tag(place, table, tag, listing.tags.get(tag, []))
        base = place.version(table, listing.newest) if listing.newest else None
        if base is None:
            _check_number(place, table)
        version = make(base, listing.newest + 1)
        data = version.document()
        if tag is not None:  # before the document: who sees that sees its tag
            place.place.write(tag_name(folder, version.number, tag), version.nonce.encode())
        place.place.settle()
        if place.place.create(document_name(folder, version.number), data):
            return version
        if tag is not None:
            place.place.remove(tag_name(folder, version.number, tag))
        time.sleep(min(attempt, 10) * 0.01 * (0.5 + secrets.randbelow(1000) / 1000))
    raise GridEnvironmentError(
        f"{place.url}: other publishers of table {table} are faster all the time; try again later"
    )


def _check_tag(place: PublishedPlace, table: str, tag: str, numbers: Sequence[int]) -> None:
    listed = set(place.listing(table_place(table)).numbers) if numbers else set()
    for number in numbers:
        if number in listed and place.version(table, number).tag == tag:
            raise UsageError(
                f"version {number} of table {table} at {place.url} has the tag {tag}, and tags do not move there: give "
                "another one"
            )


def _check_number(place: PublishedPlace, table: str) -> None:
    """Raise if another table there has the number that follows from this one's name."""
    for other in place.tables():
        if other != table and table_id_of(other) == table_id_of(table):
            raise SchemaError(
                f"table {table} cannot be published at {place.url}, where table {other} has the number that follows "
                "from its name: rename one of them",
                table=table,
            )


class Uploaded:
    """The files that are at a URL because of one publisher, or were there.

    Args:
        place: the URL.

    Attributes:
        copied_bytes: of those that this one has copied.
    """

    def __init__(self, place: PublishedPlace):
        self.copied_bytes = 0
        self._place = place
        self._sources: dict[str, str] = {}  # of those that this one has copied or may rely on: by their plain name
        self._listed: dict[str, tuple[int, float | None]] | None = None
        self._now: float | None = None

    def all(
        self, identity: str, table_id: int, files: Sequence[HeldFile], known: set[str], reported: Reported
    ) -> dict[str, str]:
        """Copy the files that are not there.

        Args:
            identity, table_id: of the grid and the table that they are of.
            files: they stay open meanwhile.
            known: what a document names that will stay.
            reported: is told.

        Returns:
            What each is called there, by its name.

        Raises:
            GridCorruptError: one is damaged.
        """
        plain = {file.name: object_name(identity, table_id, file) for file in files}
        by_plain = {_plain(source): source for source in known}
        names = {name: self._sources.get(one) or by_plain.get(one) for name, one in plain.items()}
        missing = [file for file in files if names[file.name] is None]
        if missing and self._listed is None:
            self._listed = {entry.name: (entry.bytes, entry.changed) for entry in self._place.place.list(FILES)}
        for file in files:
            if names[file.name] is not None:
                reported.add(file.bytes)
        with ThreadPoolExecutor(THREADS) as pool:
            copies = {file.name: pool.submit(self._copy, file, plain[file.name], reported) for file in missing}
            try:
                for name, copy in copies.items():
                    names[name], copied = copy.result()
                    self._sources[plain[name]] = str(names[name])
                    self.copied_bytes += copied
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return {name: source for name, source in names.items() if source is not None}

    def _copy(self, file: HeldFile, plain: str, reported: Reported) -> tuple[str, int]:
        """What a file is called at the URL, where it is then; and how many bytes were copied for that."""
        listed = (self._listed or {}).get(plain)
        if listed is not None:
            if listed[0] == file.bytes and self._is_fresh(listed[1]):
                reported.add(file.bytes)
                return plain, 0
            plain = f"{plain}-{secrets.token_hex(4)}"  # a prune may be about to remove the old one
        self._place.place.put(object_path(plain), file.fd, file.bytes, file.check, reported.add)
        return plain, file.bytes

    def _is_fresh(self, changed: float | None) -> bool:
        """Whether a file that no document may name is so new that no prune takes it for long."""
        if self._now is None:
            self._now = self._place.place.now() or 0.0
        return changed is not None and self._now - changed < GRACE_SECONDS / 2


def _plain(source: str) -> str:
    """The name of a copied file without what tells a second copy from the first."""
    name, dot, rest = source.rpartition(".")
    return f"{name}{dot}{rest.partition('-')[0]}"


def renumbered(
    manifest: bytes,
    files: Sequence[HeldFile],
    sources: Mapping[str, str],
    base: PublishedVersion | None,
    table: str,
    number: int,
) -> tuple[bytes, tuple[PublishedFile, ...]]:
    """A version with the numbers that it has at a URL, after another one there.

    Args:
        manifest, files: as the grid has them.
        sources: what each file is called at the URL.
        base: the version before.
        table: its name.
        number: the version's.

    Returns:
        The manifest and the files that it names.
    """
    table_id = table_id_of(table)
    said = ManifestBytes(manifest, f"the manifest of table {table}")
    numbers = _Numbers(base)
    heads = {file.name: (file.head, file.tail, file.bytes) for file in files}
    segments, out = [], []

    def add(old: str, new: str, segment: int, bitmap: int) -> None:
        head, tail, size = heads[old]
        head = renumber_head(head, old, table_id, segment, bitmap)
        fingerprint = read_head(head, old)[7] << 32 | tail
        out.append(PublishedFile(new, size, fingerprint, sources[old], head))

    for segment_id, deletions_id, rows, deleted, bitmap_id in said.segments:
        old = file_name(segment_id, ".seg")
        segment, bitmap, deletions = numbers.segment(sources[old], deleted), 0, 0
        add(old, file_name(segment, ".seg"), segment, 0)
        if bitmap_id:
            old = file_name(bitmap_id, ".del")
            bitmap = numbers.deletions(sources[old], segment, 0)
            add(old, file_name(bitmap, ".del"), segment, 0)
        if deletions_id:
            old = file_name(deletions_id, ".del")
            deletions = numbers.deletions(sources[old], segment, bitmap)
            add(old, file_name(deletions, ".del"), segment, bitmap)
        segments.append((segment, deletions, rows, deleted, bitmap))
    return said.renumbered(table_id, number, 0, numbers.next, sorted(segments)), tuple(out)


class _Numbers:
    """Gives files the numbers that they have in the version before, and others new ones.

    Attributes:
        next: the next new one.
    """

    def __init__(self, base: PublishedVersion | None):
        self.next = 1
        self._segments: dict[str, tuple[int, int]] = {}  # source -> number, rows that are deleted of it
        self._deletions: dict[tuple[str, int, int], int] = {}  # source, segment, bitmap -> number
        if base is not None:
            said = ManifestBytes(base.manifest, f"version {base.number} of table {base.table}")
            self.next = said.next_file_id
            sources = {file.name: file.source for file in base.files}
            for segment, deletions, _, deleted, bitmap in said.segments:
                self._segments[sources[file_name(segment, ".seg")]] = segment, deleted
                if bitmap:
                    self._deletions[sources[file_name(bitmap, ".del")], segment, 0] = bitmap
                if deletions:
                    self._deletions[sources[file_name(deletions, ".del")], segment, bitmap] = deletions

    def segment(self, source: str, deleted: int) -> int:
        """Of a segment of which so many rows are deleted: a deleted row never comes back under a number."""
        number, before = self._segments.pop(source, (0, 0))
        return number if number and before <= deleted else self._new()

    def deletions(self, source: str, segment: int, bitmap: int) -> int:
        """Of what is deleted of a segment, as a bitmap, or as a list that adds to one."""
        return self._deletions.get((source, segment, bitmap)) or self._new()

    def _new(self) -> int:
        self.next += 1
        return self.next - 1
