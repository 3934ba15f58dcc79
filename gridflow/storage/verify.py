"""Checks every byte of a grid, without owning it and without changing anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._native.catalog import read_catalog
from .._native.snapshot import Snapshot
from .._native.store import catalog_version, check_catalog, check_log
from ..errors import GridCorruptError, GridNotFoundError, GridVersionError, VersionNotFoundError
from .compressed_file import check_copy
from .expected_files import CATALOG, LOG, copy_sidecars, index_sidecars, table_folder, zone_sidecars
from .index_file import IndexFile, file_bytes
from .versions import MANIFEST, Kept, kept_versions, manifest_name
from .zone_file import ZoneFile

#: So often a log is looked at whose files an owner moves on.
_LOG_ATTEMPTS = 100


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. ``offset`` is in bytes, None where the whole file is meant."""

    file: str
    offset: int | None
    message: str

    def __str__(self) -> str:
        return self.message


def check_home(home: Path, progress: Callable[[str], Any] | None = None) -> list[Problem]:
    """Everything that is wrong with the grid at ``home``; an empty list if it is sound.

    Reads catalog, manifests, deletion bitmaps, the log, and every byte of every segment, also of past versions that are
    kept; checks that no key is live twice, and that index files and zone maps say what the segments do. Writes that go
    on meanwhile do no harm.

    Args:
        progress: called with the name of each table before it is read.
    """
    check = _Check(home)
    catalog = check.attempt(home / CATALOG, lambda: _catalog(home))
    check.attempt(home / LOG, lambda: _check_log(home))
    for table_id, name, options, tags in catalog[2] if catalog else []:
        if progress:
            progress(name)
        check.table(table_id, name, *Kept.split(json.loads(options), tags))
    return check.problems


class _Check:
    """Gathers what is wrong with one grid."""

    def __init__(self, home: Path):
        self.home = home
        self.problems: list[Problem] = []
        self._read: set[str] = set()  # segments: versions share them

    def attempt(self, file: Path, action: Callable[[], Any]) -> Any:
        """What an action returns; None, and a problem, if it finds damage. ``file`` is meant if one is missing."""
        try:
            return action()
        except (GridCorruptError, GridVersionError) as error:
            self.problems.append(Problem(error.file or str(self.home), getattr(error, "offset", None), str(error)))
        except GridNotFoundError as error:
            self.problems.append(Problem(str(file), None, str(error)))
        return None

    def table(self, table_id: int, name: str, options: dict[str, Any], kept: Kept) -> None:
        """The current version of a table, and those that are kept."""
        before = len(self.problems)
        folder = table_folder(self.home, table_id)
        snapshot = self.attempt(folder / MANIFEST, lambda: Snapshot.open(str(self.home), table_id))
        if snapshot is None:
            if table_id not in _table_ids(self.home):  # it was dropped meanwhile
                del self.problems[before:]
            return
        self._manifest(folder / MANIFEST, snapshot)
        if self._rows(snapshot, name):
            self.problems.extend(_wrong_indexes(snapshot, folder, options, table_id))
            self.problems.extend(_wrong_zones(snapshot, folder, table_id))
            self.problems.extend(_wrong_copies(snapshot, folder, options, table_id))
        for version in sorted({*kept.tags.values(), *kept_versions(folder, kept, snapshot.version)}):
            self._past(table_id, name, folder / manifest_name(version), version, snapshot)

    def _manifest(self, file: Path, snapshot: Snapshot, later: Snapshot | None = None) -> None:
        """The invariants of a version's manifest, and those between it and a later one."""
        self.attempt(file, lambda: snapshot.verify_manifest(str(file), later))

    def _past(self, table_id: int, name: str, file: Path, version: int, current: Snapshot) -> None:
        try:
            past = self.attempt(file, lambda: Snapshot.open(str(self.home), table_id, version))
            if past is not None:
                self._manifest(file, past, current if version < current.version else None)
                self._rows(past, name)
        except VersionNotFoundError:
            for tag, tagged in _tags_now(self.home, table_id).items():  # if it has none it was let go of meanwhile
                if tagged == version:
                    self.problems.append(Problem(str(file), None, f"{file} is missing: tag {tag} of table {name}"))

    def _rows(self, snapshot: Snapshot, name: str) -> bool:
        """Read the rows of a version; returns whether they are sound."""
        before = len(self.problems)
        for segment in range(len(snapshot.segments())):
            path = snapshot.path(segment)
            if path not in self._read:
                self._read.add(path)
                self.attempt(Path(path), partial(snapshot.verify, segment))
        if len(self.problems) == before:
            self.problems.extend(_live_twice(snapshot, self.home, name))
        return len(self.problems) == before


def _catalog(home: Path) -> tuple[int, int, list[tuple[int, str, str, dict[str, int]]], int, int]:
    """The catalog, which must have every change that was acknowledged."""
    changed = catalog_version(str(home))
    catalog = read_catalog(str(home))
    check_catalog(str(home), changed, catalog[0], catalog[4] or catalog[3])
    return catalog


def _table_ids(home: Path) -> set[int]:
    try:
        return {table[0] for table in read_catalog(str(home))[2]}
    except (GridCorruptError, GridVersionError, GridNotFoundError):
        return set()


def _tags_now(home: Path, table_id: int) -> Mapping[str, int]:
    for listed_id, _, options, tags in read_catalog(str(home))[2]:
        if listed_id == table_id:
            return Kept.split(json.loads(options), tags)[1].tags
    return {}


def _check_log(home: Path) -> None:
    """Raise what is wrong with the log: the same damage twice, as an owner at work moves its files and its end."""
    before: tuple[str | None, int | None] | None = None
    for attempt in range(_LOG_ATTEMPTS):
        try:
            return check_log(str(home))
        except GridNotFoundError:  # the owner dropped a file of the log just now
            if attempt == _LOG_ATTEMPTS - 1:
                raise
        except GridCorruptError as error:  # or it wrote on just behind the place that was looked at
            place = (error.file, error.offset)
            if place == before:
                raise
            before = place


def _live_twice(snapshot: Snapshot, home: Path, name: str) -> list[Problem]:
    """Keys of which two rows are live. Hashes are compared first: only what agrees there is looked at."""
    hashes, places = [], []
    for segment in range(len(snapshot.segments())):
        rows = snapshot.hashes(segment)
        live = snapshot.live(segment)
        index = np.arange(len(rows)) if live is None else np.flatnonzero(live)
        hashes.append(rows[index])
        places.append(np.stack([np.full(len(index), segment), index], axis=1))
    if not hashes:
        return []
    every, where = np.concatenate(hashes), np.concatenate(places)
    order = np.argsort(every, kind="stable")
    every, where = every[order], where[order]
    seen: dict[tuple[int, bytes], None] = {}
    alike = np.flatnonzero(every[1:] == every[:-1])
    for index in np.union1d(alike, alike + 1):
        segment, row = map(int, where[index])
        key = (int(every[index]), snapshot.key(segment, row))
        if key in seen:
            return [Problem(str(home), None, f"table {name}: a key has two live rows")]
        seen[key] = None
    return []


def _wrong_indexes(snapshot: Snapshot, folder: Path, options: dict[str, Any], table_id: int) -> Iterator[Problem]:
    """Index files of a version that are not what their segments give, byte for byte."""
    hint = "queries do without it, and the owner makes it again"
    for sidecar in index_sidecars(options, snapshot):
        path, index = folder / sidecar.name, sidecar.content
        segment_id, rows, _, _ = snapshot.segments()[sidecar.segment]
        try:
            IndexFile(path, index, table_id, segment_id, rows)
            data = np.fromfile(path, np.uint8)
        except (GridNotFoundError, FileNotFoundError):  # not made yet, or gone with its segment
            continue
        except (GridCorruptError, GridVersionError) as error:
            yield _damage(path, error, hint)
            continue
        if not np.array_equal(data, file_bytes(snapshot, sidecar.segment, index, table_id)):
            yield Problem(str(path), None, f"{path} does not have the order of its segment's rows; {hint}")


def _wrong_zones(snapshot: Snapshot, folder: Path, table_id: int) -> Iterator[Problem]:
    """Zone maps of a version that are damaged, or by which a value would not be found."""
    hint = "queries do without it, and the owner makes it again"
    for sidecar in zone_sidecars(snapshot):
        path = folder / sidecar.name
        segment_id, rows, _, _ = snapshot.segments()[sidecar.segment]
        try:
            file = ZoneFile(path, table_id, segment_id, rows)
        except GridNotFoundError:  # not made yet, or gone with its segment
            continue
        except (GridCorruptError, GridVersionError) as error:
            yield _damage(path, error, hint)
            continue
        for column in sidecar.content:
            if file.is_wrong(snapshot, sidecar.segment, column):
                yield Problem(str(path), None, f"{path} does not have the values of column {column}; {hint}")


def _wrong_copies(snapshot: Snapshot, folder: Path, options: dict[str, Any], table_id: int) -> Iterator[Problem]:
    """Compressed copies of a version that are damaged."""
    hint = "a GPU reads the segment instead, and Table.compress makes it again"
    for sidecar in copy_sidecars(options, snapshot):
        path = folder / sidecar.name
        segment_id, rows, _, _ = snapshot.segments()[sidecar.segment]
        try:
            check_copy(path, segment_id, rows, table_id)
        except GridNotFoundError:  # not made yet, or gone with its segment
            continue
        except (GridCorruptError, GridVersionError) as error:
            yield _damage(path, error, hint)


def _damage(path: Path, error: Exception, hint: str) -> Problem:
    return Problem(str(path), getattr(error, "offset", None), f"{error}; {hint}")
