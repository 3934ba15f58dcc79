"""Which files may exist in a grid's directory: one answer, for all who ask.

    LOCK, identity, catalog, control, serve.sock
                                           the grid's own; with .tmp at the end until they are renamed
    rings/bell, rings/<name>.ring          while a node serves it, see ``ring_files``
    log/<lsn>.log                          the log
    tables/<id>/manifest                   of a table: its current version,
                <version>.manifest           those that are kept,
                <id>.seg, <id>.del           what any of these names,
                <id>-<index>.idx             of each segment of the current version, for each index,
                <id>.zones                   its zone map, unless it is small,
                <id>.lz4                     and its compressed copy, if the table has columns to compress; those of
                                             segments that only kept versions have stay

``manifest_format.h`` has the same tree, for the C++ side. Who asks:

* the catalog's sweeps, at the owner's start and before it opens a table: whatever else a crash left is unlinked, what
  is somebody else's stays;
* ``gridflow.testing.stray_files``: whatever else there is is reported;
* the check of a directory that is to be a new grid: it is refused if it holds anything else;
* ``gridflow check``: the files that there may be are read, if they are there;
* ``Sidecars``: of the files beside a table's segments, others are unlinked.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from .._native.catalog import kept_files
from .._native.snapshot import Snapshot
from ..config import SOCKET_NAME
from ..errors import GridAccessError
from ..schema import Column
from .compressed_file import compressed_columns, copy_name
from .index_definition import Index, indexes_of
from .ring_files import BELL, RINGS, is_ring_name, ring_folder
from .versions import MANIFEST, Kept, is_manifest, kept_versions, manifest_name
from .zone_file import is_zoned, zoned_columns, zones_name

LOCK = "LOCK"
IDENTITY = "identity"
CATALOG = "catalog"
CONTROL = "control"
LOG = "log"
TABLES = "tables"

#: Follows the name of a file that is not whole yet: it loses it by rename.
_TEMPORARY = ".tmp"
_TOP = frozenset({LOCK, IDENTITY, CATALOG, CONTROL, LOG, TABLES, SOCKET_NAME, RINGS})
_TOP_TEMPORARY = frozenset({IDENTITY + _TEMPORARY, CATALOG + _TEMPORARY, CONTROL + _TEMPORARY})
_LOG_FILE = re.compile(r"[0-9a-f]{16}\.log")

Content = TypeVar("Content")


@dataclass(frozen=True)
class Sidecar(Generic[Content]):
    """A file that there may be beside a segment, and that follows from it.

    Attributes:
        name: of the file.
        segment: the segment's place in its version.
        content: what the file is of: an index, or the columns of a compressed copy or a zone map.
    """

    name: str
    segment: int
    content: Content


@dataclass(frozen=True)
class Stray:
    """A file or folder that no catalog and no manifest names.

    Attributes:
        path: where it is.
        leftover: whether a crash can have left it. Otherwise it is somebody else's, and none of our business.
    """

    path: Path
    leftover: bool


def table_folder(home: Path, table_id: int) -> Path:
    """Where a table's files are."""
    return home / TABLES / str(table_id)


def make_own_folder(folder: Path) -> None:
    """Make a folder of a grid, unless it is there.

    Raises:
        GridAccessError: there is a link to another place.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink():
        raise GridAccessError(
            f"{folder} is a symbolic link: a grid's folders are its own; link to the whole grid instead",
            filename=str(folder),
        )


def foreign_names(names: Iterable[str]) -> list[str]:
    """Of the names in a directory those that no grid has, not even one that was being made when its owner died."""
    return sorted(set(names) - _TOP - _TOP_TEMPORARY)


def index_sidecars(options: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Sidecar[Index]]:
    """The index files of a version; ``options`` are the table's."""
    indexes = indexes_of(options, snapshot.schema)
    for segment, (segment_id, _, _, _) in enumerate(snapshot.segments()):
        for index in indexes:
            yield Sidecar(index.file(segment_id), segment, index)


def copy_sidecars(options: Mapping[str, Any], snapshot: Snapshot) -> Iterator[Sidecar[tuple[Column, ...]]]:
    """The compressed copies of a version; ``options`` are the table's."""
    columns = tuple(compressed_columns(options, snapshot.schema))
    if columns:
        for segment, (segment_id, _, _, _) in enumerate(snapshot.segments()):
            yield Sidecar(copy_name(segment_id), segment, columns)


def zone_sidecars(snapshot: Snapshot) -> Iterator[Sidecar[tuple[Column, ...]]]:
    """The zone maps of a version."""
    columns = zoned_columns(snapshot.schema)
    for segment, (segment_id, rows, _, _) in enumerate(snapshot.segments()):
        if is_zoned(rows):
            yield Sidecar(zones_name(segment_id), segment, columns)


def table_files(folder: Path, options: Mapping[str, Any], kept: Kept, snapshot: Snapshot) -> set[str]:
    """The names of the files that may be in a table's folder.

    Args:
        folder: the table's.
        options: the table's.
        kept: the versions that are kept beside the current one.
        snapshot: the current version.

    Raises:
        GridCorruptError, GridVersionError: the manifest of a kept version is damaged, or of a newer format.
    """
    past, versions = kept_files(str(folder), kept_versions(folder, kept, snapshot.version))
    manifests = {MANIFEST, *map(manifest_name, versions)}
    current = snapshot.files()  # the name of every segment's copy among them, whether it is to have one or not
    copies = {copy_name(segment_id) for segment_id, _, _, _ in snapshot.segments()}
    sidecars = {sidecar.name for sidecar in index_sidecars(options, snapshot)}
    sidecars |= {sidecar.name for sidecar in zone_sidecars(snapshot)}
    sidecars |= {sidecar.name for sidecar in copy_sidecars(options, snapshot)}
    return manifests | (current - copies) | (past - current) | sidecars


def grid_strays(home: Path, tables: Container[int]) -> list[Stray]:
    """What is in a grid's directory and may not be there, but for what is in the folders of its tables.

    Nobody may write the grid meanwhile.

    Args:
        home: the grid's directory.
        tables: the numbers of its tables.
    """
    result = [Stray(path, path.name in _TOP_TEMPORARY) for path in home.iterdir() if path.name not in _TOP]
    for path in (home / LOG).iterdir():
        if not _LOG_FILE.fullmatch(path.name):
            result.append(Stray(path, path.name.endswith(_TEMPORARY)))
    if ring_folder(home).is_dir():
        for path in ring_folder(home).iterdir():
            if path.name != BELL and not is_ring_name(path.name):
                result.append(Stray(path, False))
    with os.scandir(home / TABLES) as folders:
        for folder in folders:
            # Of a table that was being made or dropped; a file is none of ours.
            if not (folder.name.isdecimal() and str(int(folder.name)) == folder.name and int(folder.name) in tables):
                result.append(Stray(Path(folder.path), folder.is_dir()))
    return result


def table_strays(folder: Path, names: set[str]) -> list[Stray]:
    """What is in a table's folder and may not be there; ``names`` may, see ``table_files``.

    Returns:
        The strays in the order in which they may go: a manifest before what it names.
    """
    return [Stray(path, True) for path in manifests_first(folder) if path.name not in names]


def remove_strays(strays: Iterable[Stray]) -> None:
    """Remove those that a crash can have left."""
    for stray in strays:
        if stray.leftover and stray.path.is_dir():
            shutil.rmtree(stray.path, ignore_errors=True)
        elif stray.leftover:
            stray.path.unlink()


def manifests_first(folder: Path) -> list[Path]:
    """The files of a table's folder in the order in which they may go: a manifest names only what is there."""
    return sorted(folder.iterdir(), key=lambda file: not is_manifest(file.name))
