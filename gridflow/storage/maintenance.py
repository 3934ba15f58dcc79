"""The owner's background thread: flushes on time and size, merges segments, and makes what lies beside them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import GridflowError, TableBusyError, TableNotFoundError
from .compressed_copies import CompressedCopies
from .table_indexes import TableIndexes
from .table_zones import TableZones

#: Seconds after which writes that nobody asked for go to a segment by themselves.
FLUSH_SECONDS = 1.0
#: Seconds without a new version after which a table is at rest: what is merged then will stay so for a while.
REST_SECONDS = 10.0
#: Seconds between two looks at a thread that is to end.
_STOP_SECONDS = 0.05

_log = logging.getLogger("gridflow")


class MaintainedTable(Protocol):
    """What the background work needs of a table."""

    name: str

    @property
    def table_id(self) -> int:
        """Its number."""

    @property
    def indexes(self) -> TableIndexes:
        """Its indexes."""

    @property
    def zones(self) -> TableZones:
        """The zone maps of its segments."""

    @property
    def copies(self) -> CompressedCopies:
        """The compressed copies of some of its columns."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What the catalog keeps with it; another object when they change."""

    @property
    def memory(self) -> tuple[int, int]:
        """Rows and removals that are in no segment yet, and their bytes."""

    def version(self) -> int:
        """The number of its current version."""

    def _flush_store(self, timeout: float = -1) -> int:
        """Move what is in memory to a segment, if no other writer holds the table for so many seconds."""

    @property
    def _flush_is_due(self) -> bool:
        """Whether to try a flush now: one that failed is not tried again at once."""

    def _merge_some(self, at_rest: bool, stopping: Callable[[], bool]) -> None:
        """Merge while there is something worth it; see ``compaction.settle``."""

    def _stop_merge(self) -> None:
        """Have a merge that is under way end soon."""


class Maintenance:
    """Runs until ``stop``.

    Args:
        tables: lists the tables to look after.
        wake: an event that is set when there is much to flush, or to merge.
        begin: what is done first; it ends early when what it is given says so.
    """

    def __init__(
        self,
        tables: Callable[[], Iterable[MaintainedTable]],
        wake: threading.Event,
        begin: Callable[[Callable[[], bool]], None],
    ):
        self._tables = tables
        self._begin = begin
        self._wake = wake
        self._stopping = False
        self._seen: dict[int, _Seen] = {}  # by a table's number
        self._thread = threading.Thread(target=self._run, name="gridflow-maintenance", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping = True
        self._wake.set()
        while self._thread is not threading.current_thread() and self._thread.is_alive():
            for table in self._tables():
                table._stop_merge()
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        complained: set[tuple[str, type]] = set()
        try:
            self._begin(lambda: self._stopping)
        except GridflowError as error:
            _log.warning("background work: %s", error)
        except Exception:
            _log.exception("background work failed")
        while not self._stopping:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            tables = list(self._tables())
            self._seen = {table.table_id: seen for table in tables if (seen := self._seen.get(table.table_id))}
            for table in tables:
                if self._stopping:
                    return
                try:
                    self._look_after(table)
                except (TableNotFoundError, TableBusyError):  # it was dropped meanwhile; its turn comes when it is free
                    pass
                except (GridflowError, MemoryError) as error:
                    # Nothing is lost: the writes are in the log. Whoever waits for a flush gets the error itself.
                    if (table.name, type(error)) not in complained and not self._stopping:
                        complained.add((table.name, type(error)))
                        what = error if isinstance(error, GridflowError) else "there is too little memory"
                        _log.warning("background work on table %s: %s", table.name, what)
                except Exception:
                    _log.exception("background work on table %s failed", table.name)

    def _look_after(self, table: MaintainedTable) -> None:
        seen = self._seen.get(table.table_id)
        if seen is None or not seen.covers(table):
            if not table._flush_is_due:
                return
            table._flush_store(0)
            seen = self._seen[table.table_id] = _Seen(table.version(), table.options, time.monotonic())
        at_rest = time.monotonic() - seen.since >= REST_SECONDS
        is_whole = table.indexes.is_settled and table.zones.is_settled
        if seen.settled and is_whole and (seen.settled_at_rest or not at_rest):
            return  # most of many tables: nothing is done for one that nobody writes
        table._merge_some(at_rest, lambda: self._stopping)
        table.indexes.settle()
        table.zones.settle(verify=False)
        table.copies.settle(verify=False)
        if seen.covers(table):
            seen.settled, seen.settled_at_rest = True, at_rest


@dataclass
class _Seen:
    """A table as the background work has last seen it: other options are another object.

    Attributes:
        version: the number of its version.
        options: its options.
        since: when the version was first seen, by the steady clock.
        settled: whether all was done for it that is done while a table is written,
        settled_at_rest: and when it is not any more.
    """

    version: int
    options: Mapping[str, Any]
    since: float
    settled: bool = False
    settled_at_rest: bool = False

    def covers(self, table: MaintainedTable) -> bool:
        """Whether nothing has come since."""
        return self.version == table.version() and self.options is table.options and not table.memory[0]
