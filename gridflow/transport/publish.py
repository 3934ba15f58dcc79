"""Publish: versions of tables are copied to a URL, and named there."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from .._native.sealed import ManifestBytes, file_name, read_head, renumber_head
from ..errors import (
    GridCorruptError,
    GridEnvironmentError,
    GridNotFoundError,
    GridVersionError,
    SchemaError,
    UsageError,
    reworded,
)
from ..storage.versions import Kept
from .cut import HeldFile, HeldGrid, HeldTable, held_tables
from .published import (
    FILES,
    PublishedFile,
    PublishedPlace,
    PublishedVersion,
    bytes_of,
    check_table,
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
#: So often files are copied anew that have gone before they were named.
_UPLOADS = 3


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
            check_table(table.name, table.options)
        place = PublishedPlace(url)
        place.prepare()
        # Nothing is written before it is known that every table can be published.
        names = [table.name for table in held.tables]
        done = {table.name: _published_before(place, held, table, tag, names) for table in held.tables}
        todo = [table for table in held.tables if done[table.name] is None]
        reported = Reported(progress, sum(file.bytes for table in todo for file in table.current.files))
        made = commit_all(_Publisher(place, held, todo, tag, reported))
        return {table.name: done[table.name] or made[table.name] for table in held.tables}


def _published_before(
    place: PublishedPlace, grid: HeldGrid, table: HeldTable, tag: str | None, names: list[str]
) -> int | None:
    """The version with the tag, if it was published of what is to be published now; None if none has the tag.

    Raises:
        UsageError: another version has the tag.
        SchemaError: the table's name has the number of another one's there.
    """
    tagged = tagged_version(place, table.name, tag)
    if tagged is None:
        check_number(place, table.name, names)
    elif dict(tagged.origin) != _origin(grid, table):
        raise tag_taken(place, tagged)
    return None if tagged is None else tagged.number


def _origin(grid: HeldGrid, table: HeldTable) -> dict[str, Any]:
    return {"grid": grid.identity, "table_id": table.table_id, "version": table.current.number}


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


class Additions(Protocol):
    """New versions of tables, for ``commit_all``."""

    place: PublishedPlace
    tables: list[str]
    tag: str | None

    def upload(self) -> None:
        """Have the files of all versions at the place. Called again where some of them have gone meanwhile."""

    def version(self, table: str, base: PublishedVersion | None, number: int) -> PublishedVersion:
        """The version of that number, after another one; its files are there. It may be called again."""


class _Publisher:
    """Tables of a grid, as they are published."""

    def __init__(
        self,
        place: PublishedPlace,
        grid: HeldGrid,
        tables: Sequence[HeldTable],
        tag: str | None,
        reported: Reported,
    ):
        self.place, self.tag = place, tag
        self.tables = [table.name for table in tables]
        self._held = {table.name: table for table in tables}
        self._grid = grid
        self._reported = reported
        self._sources: dict[str, dict[str, str]] = {}

    def upload(self) -> None:
        uploaded = Uploaded(self.place)
        for table in self._held.values():
            newest = newest_version(self.place, table.name)
            known = {file.source for file in newest.files} if newest else set()
            files = table.current.files
            self._sources[table.name] = uploaded.all(self._grid.identity, table.table_id, files, known, self._reported)

    def version(self, table: str, base: PublishedVersion | None, number: int) -> PublishedVersion:
        held, sources = self._held[table], self._sources[table]
        manifest, files = renumbered(held.current.manifest, held.current.files, sources, base, table, number)
        origin = _origin(self._grid, held)
        return new_version(table, number, self.tag, manifest, files, held.options, origin)


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


def commit_all(additions: Additions) -> dict[str, int]:
    """Add a version to each of some tables at a URL: their files first, then the documents, one right after the other.

    If another publisher takes a number meanwhile, that version is made anew on top of the other, and takes the next. A
    file that has gone when the documents are there, as those of a publisher that takes longer than a day, is copied
    again.

    Returns:
        The numbers, by table.

    Raises:
        UsageError: a tag is taken.
        GridCorruptError, GridVersionError: the newest version of a table cannot be read.
    """
    place = additions.place
    for _ in range(_UPLOADS):
        additions.upload()
        made = [_commit(additions, table) for table in additions.tables]
        if not made or not gone(place, [file for version in made for file in version.files]):
            return {version.table: version.number for version in made}
        for version in made:
            _withdraw(place, version)
    raise GridEnvironmentError(
        f"{place.url}: files go as soon as they are there: look for what removes them, then publish again"
    )


def gone(place: PublishedPlace, files: Iterable[PublishedFile]) -> list[PublishedFile]:
    """Those files that are not there, or are there with another size."""
    there = {entry.name: entry.bytes for entry in place.place.list(FILES)}
    return [file for file in files if there.get(file.source) != file.bytes]


def _withdraw(place: PublishedPlace, version: PublishedVersion) -> None:
    folder = table_place(version.table)
    place.place.remove(document_name(folder, version.number))
    if version.tag is not None:
        place.place.remove(tag_name(folder, version.number, version.tag))


def _commit(additions: Additions, table: str) -> PublishedVersion:
    place, tag, folder = additions.place, additions.tag, table_place(table)
    for attempt in range(_ATTEMPTS):
        tagged = tagged_version(place, table, tag)
        if tagged is not None:  # by another publisher, meanwhile
            raise tag_taken(place, tagged)
        base = newest_version(place, table)
        if base is None:
            check_number(place, table)
        version = additions.version(table, base, base.number + 1 if base else 1)
        data = version.document()
        if tag is not None:  # before the document: who sees that sees its tag
            place.place.write(tag_name(folder, version.number, tag), version.nonce.encode())
        place.place.settle()
        if place.place.create(document_name(folder, version.number), data):
            return version
        if tag is not None and not _has_tag(place, table, version.number, tag):
            place.place.remove(tag_name(folder, version.number, tag))
        time.sleep(min(attempt, 10) * 0.01 * (0.5 + secrets.randbelow(1000) / 1000))
    raise GridEnvironmentError(
        f"{place.url}: other publishers of table {table} are faster all the time; try again later"
    )


def _has_tag(place: PublishedPlace, table: str, number: int, tag: str) -> bool:
    try:
        return place.version(table, number).tag == tag
    except GridNotFoundError:  # pruned already
        return False
    except (GridCorruptError, GridVersionError):  # whoever can read it may find the tag there
        return True


def newest_version(place: PublishedPlace, table: str) -> PublishedVersion | None:
    """The newest version of a table, which the next one follows; None if there is none.

    Raises:
        GridCorruptError, GridVersionError: it cannot be read: the message says what to do.
    """
    for _ in range(_ATTEMPTS):
        newest = place.listing(table_place(table)).newest
        try:
            return place.version(table, newest) if newest else None
        except GridNotFoundError:  # a newer one has come, and a prune
            continue
        except GridCorruptError as error:
            raise reworded(
                error,
                f"{error}; nothing can follow a version that cannot be read: remove that document, which is of the "
                f"newest version of table {table}, then publish again",
            ) from None
    raise GridEnvironmentError(f"{place.url}: versions of table {table} come and go all the time; try again later")


def tagged_version(place: PublishedPlace, table: str, tag: str | None) -> PublishedVersion | None:
    """The version of a table that has a tag; None if none has.

    Raises:
        UsageError: it cannot be a tag.
    """
    if tag is None:
        return None
    Kept().check_tag(table, tag, 0, False)
    listing = place.listing(table_place(table))
    for number in listing.tags.get(tag, []):
        if number in listing.numbers:
            version = place.version(table, number)
            if version.tag == tag:
                return version
    return None


def tag_taken(place: PublishedPlace, version: PublishedVersion) -> UsageError:
    """The error for who wants to give a tag that another version has."""
    return UsageError(
        f"version {version.number} of table {version.table} at {place.url} has the tag {version.tag}, and tags do not "
        "move there: give another one"
    )


def check_number(place: PublishedPlace, table: str, others: Iterable[str] = ()) -> None:
    """Raise if another table there, or one of those that are to come, has the number that follows from this one's name.

    Raises:
        SchemaError: it has.
    """
    if place.listing(table_place(table)).numbers:  # it was looked at when it came
        return
    for other in (*place.tables(), *others):
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
        self._sources: dict[str, str] = {}  # of those that this one has copied or may rely on: by their content
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
        if self._listed is None:
            self._listed = {entry.name: (entry.bytes, entry.changed) for entry in self._place.place.list(FILES)}
        # What a document names may be gone all the same, or cut off.
        by_content = {_content(source): source for source in known if self._has(source)}
        plain = {file.name: object_name(identity, table_id, file) for file in files}
        content = {file.name: _content(plain[file.name]) for file in files}
        names = {name: self._sources.get(one) or by_content.get(one) for name, one in content.items()}
        missing = [file for file in files if names[file.name] is None]
        for file in files:
            if names[file.name] is not None:
                reported.add(file.bytes)
        with ThreadPoolExecutor(THREADS) as pool:
            copies = {file.name: pool.submit(self._copy, file, plain[file.name], reported) for file in missing}
            try:
                for name, copy in copies.items():
                    names[name], copied = copy.result()
                    self._sources[content[name]] = str(names[name])
                    self.copied_bytes += copied
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return {name: source for name, source in names.items() if source is not None}

    def _has(self, source: str) -> bool:
        return (self._listed or {}).get(source, (-1, None))[0] == bytes_of(source)

    def _copy(self, file: HeldFile, plain: str, reported: Reported) -> tuple[str, int]:
        """What a file is called at the URL, where it is then; and how many bytes were copied for that."""
        listed = (self._listed or {}).get(plain)
        if listed is not None:
            if self._has(plain) and self._is_fresh(listed[1]):
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


def _content(source: str) -> str:
    """What the name of a copied file says of its content: the same for a second copy, and for that of another grid."""
    fingerprint, size, name = source.split("-")[2:5]
    return f"{fingerprint}-{size}-{name}"


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
