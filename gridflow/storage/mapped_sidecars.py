"""Sidecars that readers map: found beside their segments, kept mapped, and let go of with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from .._native.snapshot import Snapshot
from ..errors import GridEnvironmentError, GridNotFoundError

File = TypeVar("File")
#: With more mapped files than this, those of past versions are let go of.
_MOST_FILES = 64


class MappedSidecars(Generic[File]):
    """The mapped files of one kind of sidecar of a table.

    Any thread may call any method: ``_files`` and ``_damaged`` are read and replaced by single operations, without a
    lock.
    """

    def __init__(self) -> None:
        self._files: dict[tuple[str, Hashable], File] = {}  # by segment's path and content
        self._damaged: dict[tuple[str, Hashable], tuple[int, int]] = {}  # inode and time of damaged files

    def get(
        self, snapshot: Snapshot, segment: int, content: Hashable, name: str, open_: Callable[[Path], File]
    ) -> tuple[File | None, bool]:
        """A segment's file, None where it is not there (yet) or damaged; and whether it was found damaged just now.

        It lies beside the segment: what is not the table's own, such as a reader's version of what nobody has flushed
        yet, has its segment elsewhere, and under a number that the owner may give to another.

        Args:
            snapshot: the version.
            segment: the segment's place in it.
            content: what the file is of.
            name: of the file.
            open_: maps and checks the file of a path.
        """
        beside = snapshot.path(segment)
        key = beside, content
        file = self._files.get(key)
        if file is not None:
            return file, False
        path = Path(beside).parent / name
        if key in self._damaged and _identity(path) == self._damaged[key]:
            return None, False
        try:
            file = open_(path)
        except GridNotFoundError:
            return None, False
        except GridEnvironmentError:
            self._damaged[key] = _identity(path)
            return None, True
        if len(self._files) > _MOST_FILES:
            self.forget_others(snapshot)
        self._files[key] = file
        return file, False

    def forget_others(self, snapshot: Snapshot) -> None:
        """Let go of the files of segments that are not in this version."""
        paths = {snapshot.path(segment) for segment in range(len(snapshot.segments()))}
        for known in (self._files, self._damaged):
            for key in [key for key in list(known) if key[0] not in paths]:
                known.pop(key, None)


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns
