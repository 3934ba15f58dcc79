"""The batches of clients' writers: each is committed once, however often it is sent.

The system table ``SYS.WRITERS`` has the number of each writer's last batch, under a name that begins with its user's.
It is written in the same commit as the rows of the batch, so it is true after any crash.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .._native.changes import Changes
from ..errors import SchemaError, TransactionConflictError, UsageError
from ..open_grid import OpenGrid
from ..protocols import messages
from ..table import Table

TABLE = "SYS.WRITERS"
_COLUMNS = {"WRITER": "VARCHAR NOT NULL", "NUMBER": "LONG NOT NULL", "AT": "TIMESTAMP NOT NULL"}
#: Days after which a writer that has not said that it ends is forgotten.
KEPT_DAYS = 7
#: Writers of one user at once; the grid's own user may have as many as there are.
MOST_OF_ONE = 10_000
_LOOK_SECONDS = 3600.0
#: How often a batch is tried whose rows others write, too.
_TRIES = 20
_ON_DUPLICATE = {"put": "replace", "insert": "error", "put_if_absent": "ignore"}


class Writers:
    """What writers write to one grid. Any thread may call it.

    Args:
        grid: open as its owner.
    """

    def __init__(self, grid: OpenGrid):
        self._grid = grid
        self._lock = threading.Lock()  # guards what follows
        self._locks: dict[str, list[Any]] = {}  # writer -> its lock, and how many want it
        self._looked = -_LOOK_SECONDS

    def write(self, table: Table, m: messages.WriteBatch, user: str | None) -> int:
        """Commit a batch of a user's writer, unless it is committed already; returns how many rows it has written.

        Of one that is committed already those are 0.

        Raises:
            UsageError: it is not the next one of its writer, or the user has too many.
            DuplicateKeyError: of mode ``insert``, a key is there.
        """
        if m.mode not in _ON_DUPLICATE:
            raise UsageError(f"no mode {m.mode} of a writer; there are {', '.join(_ON_DUPLICATE)}")
        numbers = self._grid._system_table(TABLE, _COLUMNS, "WRITER")
        assert numbers is not None  # with columns it is made
        self._forget_old(numbers)
        writer = _name(m.writer, user)
        with self._one(writer):
            for tries_left in reversed(range(_TRIES)):
                mine, rows = Changes(numbers), Changes(table)
                known = mine.get(writer)
                last = 0 if known is None else known["NUMBER"]
                if m.number <= last:
                    return 0
                if m.number != last + 1:
                    raise UsageError(
                        f"batch {m.number} of a writer has come after {last}: the batches between are lost, or the "
                        f"writer has not written for {KEPT_DAYS} days and is forgotten; write anew with another writer"
                    )
                if known is None and user is not None:
                    self._check_room(numbers, user)
                if rows.columns != m.columns:
                    raise SchemaError(
                        f"table {table.name} has got other columns while the rows were on their way: nothing of the "
                        "batch was written",
                        table=table.name,
                    )
                count = rows.put_operations(m.operations, _ON_DUPLICATE[m.mode])
                mine.put_all([(writer, {"NUMBER": m.number, "AT": _now()})])
                (one, its), (two, their) = rows.operations(), mine.operations()
                columns = {table.table_id: rows.columns, numbers.table_id: mine.columns}
                try:
                    self._grid._commit_checked(one + two, its + their, columns)
                    return count
                except TransactionConflictError:  # somebody else has written one of the rows just now
                    if not tries_left:
                        raise
        raise AssertionError("the last try returns or raises")

    def end(self, writer: str, user: str | None) -> None:
        """Forget a user's writer, which has all of its batches acknowledged."""
        writer = _name(writer, user)
        numbers = self._grid._system_table(TABLE)
        if numbers is not None:
            with self._one(writer):
                numbers.remove(writer)

    @contextmanager
    def _one(self, writer: str) -> Iterator[None]:
        """One batch of a writer at a time: it may be sent again while the first is still being written."""
        with self._lock:
            entry = self._locks.setdefault(writer, [threading.Lock(), 0])
            entry[1] += 1
        try:
            with entry[0]:
                yield
        finally:
            with self._lock:
                entry[1] -= 1
                if not entry[1]:
                    self._locks.pop(writer, None)

    def _check_room(self, numbers: Table, user: str) -> None:
        """Raise if a user has as many writers as one may have."""
        own = pc.starts_with(numbers.to_arrow(["WRITER"])["WRITER"], _name("", user))
        if (pc.sum(own).as_py() or 0) >= MOST_OF_ONE:
            raise UsageError(
                f"user {user} has {MOST_OF_ONE} writers that have not ended: close some, or wait until the node "
                f"forgets them after {KEPT_DAYS} days"
            )

    def _forget_old(self, numbers: Table) -> None:
        with self._lock:
            if time.monotonic() - self._looked < _LOOK_SECONDS:
                return
            self._looked = time.monotonic()
        rows = numbers.to_arrow(["WRITER", "AT"])
        old = pc.less(rows["AT"], pa.scalar(_now() - dt.timedelta(days=KEPT_DAYS), rows["AT"].type))
        numbers.remove_all(rows.filter(old)["WRITER"].to_pylist())


def _name(writer: str, user: str | None) -> str:
    """A writer's name in the table: what one user calls a writer is none of another one's.

    >>> _name("w", "KATE"), _name("w", None)
    ('4 KATE w', 'w')
    """
    return writer if user is None else f"{len(user)} {user} {writer}"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
