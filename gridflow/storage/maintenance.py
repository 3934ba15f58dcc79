"""The owner's background thread: flushes on time and size, merges segments, and makes what lies beside them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from .._native.edit import Edit
from .._native.snapshot import Snapshot
from ..errors import GridflowError, TableNotFound
from . import compaction
from .compressed_copies import CompressedCopies
from .table_indexes import TableIndexes

#: Seconds after which writes that nobody asked for go to a segment by themselves.
FLUSH_SECONDS = 1.0

_log = logging.getLogger("gridflow")


class MergedTable(Protocol):
    """What a merge needs of its table."""

    def snapshot(self) -> Snapshot:
        """The current version."""

    def edit(self) -> Edit:
        """A new version in the making, which keeps other writers out meanwhile."""


class MaintainedTable(MergedTable, Protocol):
    """What the background work needs of a table."""

    name: str

    @property
    def indexes(self) -> TableIndexes:
        """Its indexes."""

    @property
    def copies(self) -> CompressedCopies:
        """The compressed copies of some of its columns."""

    def flush(self) -> int:
        """Move what is in memory to a segment."""


class Maintenance:
    """Runs until ``stop``.

    Args:
        tables: lists the tables to look after.
        wake: an event that is set when there is much to flush.
    """

    def __init__(self, tables: Callable[[], Iterable[MaintainedTable]], wake: threading.Event):
        self._tables = tables
        self._wake = wake
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="gridflow-maintenance", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        complained: set[tuple[str, type]] = set()
        while not self._stopping:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            for table in self._tables():
                if self._stopping:
                    return
                try:
                    table.flush()
                    compact_some(table)
                    table.indexes.settle()
                    table.copies.settle(verify=False)
                except TableNotFound:  # it was dropped meanwhile
                    pass
                except GridflowError as error:
                    # Nothing is lost: the writes are in the log. Whoever waits for a flush gets the error itself.
                    if (table.name, type(error)) not in complained and not self._stopping:
                        complained.add((table.name, type(error)))
                        _log.warning("background work on table %s: %s", table.name, error)
                except Exception:
                    _log.exception("background work on table %s failed", table.name)


def compact_some(table: MergedTable) -> None:
    """Merge while there is something worth it."""
    while compaction.choose(table.snapshot().segments()):
        with table.edit() as edit:
            chosen = compaction.choose(table.snapshot().segments())
            if not chosen:
                return
            edit.merge(chosen)
            edit.commit()
