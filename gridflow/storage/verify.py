"""Checks every byte of a grid, without owning it and without changing anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._native.catalog import read_catalog
from .._native.snapshot import Snapshot
from .._native.store import check_log
from ..errors import GridCorruptError, GridNotFound, GridVersionError
from .index import IndexFile, file_bytes, indexes_of


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

    Reads catalog, manifests, deletion bitmaps, the log, and every byte of every segment; checks that no key is live
    twice, and that index files say what the segments do. Writes that go on meanwhile do no harm.

    Args:
        progress: called with the name of each table before it is read.
    """
    problems: list[Problem] = []

    def attempt(action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (GridCorruptError, GridVersionError) as error:
            problems.append(Problem(error.file or str(home), getattr(error, "offset", None), str(error)))
        except GridNotFound as error:
            problems.append(Problem(file, None, str(error)))
        return None

    file = str(home / "catalog")  # that is meant if it is missing
    catalog = attempt(lambda: read_catalog(str(home)))
    file = str(home / "log")
    attempt(lambda: _check_log(home))
    for table_id, name, options in catalog[2] if catalog else []:
        if progress:
            progress(name)
        before = len(problems)
        file = str(home / "tables" / str(table_id) / "manifest")
        snapshot = attempt(lambda table_id=table_id: Snapshot.open(str(home), table_id))
        if snapshot is None:
            if table_id not in _table_ids(home):  # it was dropped meanwhile
                del problems[before:]
            continue
        for segment in range(len(snapshot.segments())):
            attempt(lambda segment=segment, snapshot=snapshot: snapshot.verify(segment))
        if len(problems) == before:
            problems.extend(_live_twice(snapshot, home, name))
            problems.extend(_wrong_indexes(snapshot, home / "tables" / str(table_id), json.loads(options), table_id))
    return problems


def _table_ids(home: Path) -> set[int]:
    try:
        return {table_id for table_id, _, _ in read_catalog(str(home))[2]}
    except (GridCorruptError, GridVersionError, GridNotFound):
        return set()


def _check_log(home: Path) -> None:
    """Raise what is wrong with the log: the same damage twice, as an owner at work moves its files and its end."""
    before: tuple[str | None, int | None] | None = None
    for attempt in range(100):
        try:
            return check_log(str(home))
        except GridNotFound:  # the owner dropped a file of the log just now
            if attempt == 99:
                raise
        except GridCorruptError as error:  # or it wrote on just behind the place that was looked at
            found = (error.file, error.offset)
            if found == before:
                raise
            before = found


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
    for index in indexes_of(options, snapshot.schema):
        for segment, (segment_id, rows, _, _) in enumerate(snapshot.segments()):
            path = folder / index.file(segment_id)
            hint = "queries do without it, and the owner makes it again"
            try:
                IndexFile(path, index, table_id, segment_id, rows)
                found = np.fromfile(path, np.uint8)
            except (GridNotFound, FileNotFoundError):  # not made yet, or gone with its segment
                continue
            except (GridCorruptError, GridVersionError) as error:
                yield Problem(str(path), getattr(error, "offset", None), f"{error}; {hint}")
                continue
            if not np.array_equal(found, file_bytes(snapshot, segment, index, table_id)):
                yield Problem(str(path), None, f"{path} does not have the order of its segment's rows; {hint}")
