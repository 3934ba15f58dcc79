"""Prune: old versions and backups at a URL go, and files that no document names any more."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import GridCorruptError, UsageError, reworded
from .backup import read_backup
from .publish import GRACE_SECONDS
from .published import (
    BACKUPS,
    FILES,
    Listing,
    PublishedPlace,
    document_name,
    object_path,
    table_place,
    tag_name,
)


@dataclass(frozen=True)
class Pruned:
    """What has gone.

    Attributes:
        versions, backups, files, bytes: how many of them.
    """

    versions: int
    backups: int
    files: int
    bytes: int


def prune(url: str, keep: int, *, grace: float = GRACE_SECONDS, dry_run: bool = False) -> Pruned:
    """Remove old versions and backups at a URL, and then the files that no document names.

    Of each table the newest versions stay, and those that have a tag; of each grid the newest backups. A file that no
    document names stays, too, until it is a day old by the clock of the place: a publisher may have copied it just now,
    and be about to name it. Several prunes, and publishers, may be at work at the same time. Who reads a version that
    goes gets an error.

    Args:
        url: of the folder.
        keep: how many stay, at least one.
        grace: seconds that a file stays which nobody names.
        dry_run: only say what would go.

    Raises:
        UsageError: ``keep`` is less than one.
        GridNotFoundError: nothing was published there.
        GridCorruptError, GridVersionError: a document is damaged, or of a newer format, so that nobody knows what it
            names: nothing is removed.
        GridAccessError, GridConnectionError: the place does not let this be done.
    """
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise UsageError(f"prune keeps at least 1 version of each table, not {keep!r}")
    place = PublishedPlace(url)
    place.identity()
    now = place.place.now()
    listings = {table_place(table): listing for table, listing in place.listings().items()}
    kept = {folder: _kept(listing, keep) for folder, listing in listings.items()}
    backups = place.listing(BACKUPS)
    try:  # before anything goes
        kept[BACKUPS] = _kept_backups(place, backups, keep)
        _named(place, kept)
    except GridCorruptError as error:
        raise reworded(
            error,
            f"{error}; nobody knows which files it names, so that nothing was removed: remove that document, then "
            "prune again",
        ) from None
    versions = 0
    for folder, listing in (*listings.items(), (BACKUPS, backups)):
        for number in listing.numbers:
            if number not in kept[folder]:
                versions += folder != BACKUPS
                if not dry_run:
                    place.place.remove(document_name(folder, number))
    gone_backups = len(backups.numbers) - len(kept[BACKUPS])
    # Listed before the documents are: what is named only by one that comes meanwhile is new, or is named by another.
    entries = place.place.list(FILES)
    if dry_run:
        named = _named(place, kept)
    else:
        now_there = {table_place(table): set(place.listing(table_place(table)).numbers) for table in place.tables()}
        now_there[BACKUPS] = set(place.listing(BACKUPS).numbers)
        named = _named(place, now_there)
        _remove_tags(place, now, grace)
    files = size = 0
    for entry in entries:
        is_old = now is not None and entry.changed is not None and now - entry.changed >= grace
        if entry.name not in named and is_old and not entry.is_folder:
            files, size = files + 1, size + entry.bytes
            if not dry_run:
                place.place.remove(object_path(entry.name))
    if not dry_run and place.place.local is not None:
        _remove_unfinished(place.place.local, grace)
    return Pruned(versions, gone_backups, files, size)


def _kept(listing: Listing, keep: int) -> set[int]:
    tagged = {number for numbers in listing.tags.values() for number in numbers}
    return set(listing.numbers[-keep:]) | tagged.intersection(listing.numbers)


def _kept_backups(place: PublishedPlace, listing: Listing, keep: int) -> set[int]:
    """The newest backups of each grid; of one that was restored, too, whose backups follow those of the other."""
    by_grid: dict[str, list[int]] = {}
    for number in listing.numbers:
        with contextlib.suppress(FileNotFoundError):  # another prune was faster
            by_grid.setdefault(read_backup(place, number).grid, []).append(number)
    return {number for numbers in by_grid.values() for number in numbers[-keep:]}


def _named(place: PublishedPlace, numbers: dict[str, set[int]]) -> set[str]:
    """The files that these documents name."""
    named = set()
    for table in place.tables():
        for number in numbers.get(table_place(table), ()):
            with contextlib.suppress(FileNotFoundError):  # another prune was faster
                named |= {file.source for file in place.version(table, number).files}
    for number in numbers.get(BACKUPS, ()):
        with contextlib.suppress(FileNotFoundError):
            named |= {file.source for one in read_backup(place, number).tables for file in one.files}
    return named


def _remove_tags(place: PublishedPlace, now: float | None, grace: float) -> None:
    """Remove tags without a version: that has gone, or its publisher was killed, whatever it may be at until then."""
    for table in place.listings():
        folder = table_place(table)
        entries = place.place.list(folder)
        listing = Listing.of([entry.name for entry in entries])
        changed = {entry.name: entry.changed for entry in entries}
        for tag, numbers in listing.tags.items():
            for number in numbers:
                name = tag_name(folder, number, tag)
                written = changed.get(name.rpartition("/")[2])
                is_old = now is not None and written is not None and now - written >= grace
                if number not in listing.numbers and (number < listing.newest or is_old):
                    place.place.remove(name)


def _remove_unfinished(folder: Path, grace: float) -> None:
    """Remove local files that were being written when their writer died."""
    for path in folder.rglob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= grace:
                path.unlink()
