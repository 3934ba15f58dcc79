"""Transactions that a node keeps for clients of other machines, between one message and the next."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import TransactionConflictError, UsageError
from ..open_grid import OpenGrid
from ..transaction import Transaction

#: Seconds after which a transaction ends of which nothing was asked.
IDLE_SECONDS = 600
#: How many the node keeps at most: each holds on to a version of every table, and has its writes in memory.
MOST_TRANSACTIONS = 1000


@dataclass
class _Kept:
    transaction: Transaction
    client: str
    used: float
    lock: threading.Lock = field(default_factory=threading.Lock)  # one call of it at a time


class Transactions:
    """The transactions of all clients, by names that only who has begun one can know. Any thread may call it.

    Args:
        idle_seconds: after which one ends of which nothing was asked.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS):
        self.idle_seconds = idle_seconds
        self._lock = threading.Lock()  # guards what follows
        self._kept: dict[str, _Kept] = {}
        self._timer: threading.Timer | None = None
        self._closed = False

    def begin(self, grid: OpenGrid, client: str) -> str:
        """Begin one on a grid as its client sees it; returns its name.

        Raises:
            UsageError: there are too many.
        """
        if len(self._kept) >= MOST_TRANSACTIONS:
            raise UsageError(f"the node keeps {MOST_TRANSACTIONS} transactions at most, and so many are open: end some")
        kept = _Kept(grid.transaction(), client, time.monotonic())
        name = secrets.token_hex(16)
        with self._lock:
            if self._closed:
                kept.transaction.rollback()
                raise UsageError("the node is stopping")
            self._kept[name] = kept
            self._watch()
        return name

    @contextmanager
    def using(self, name: str) -> Iterator[Transaction]:
        """The transaction of a name, for one call of it.

        Raises:
            TransactionConflictError: there is none any more; nothing of it has happened.
        """
        with self._lock:
            kept = self._kept.get(name)
        if kept is None:
            raise _gone(self.idle_seconds)
        with kept.lock:
            if not kept.transaction.active:
                raise _gone(self.idle_seconds)
            try:
                yield kept.transaction
            finally:
                kept.used = time.monotonic()

    def end(self, name: str, *, commit: bool) -> None:
        """Commit or roll back. One that is not there any more is rolled back already.

        Raises:
            TransactionConflictError: it is to be committed, and another writer was faster, or it is gone.
        """
        with self._lock:
            kept = self._kept.pop(name, None)
        if kept is None:
            if commit:
                raise _gone(self.idle_seconds)
            return
        with kept.lock:
            if commit:
                kept.transaction.commit()
            else:
                kept.transaction.rollback()

    def end_of(self, client: str) -> None:
        """Roll back what a client has open: it has left."""
        self._roll_back([name for name, kept in list(self._kept.items()) if kept.client == client])

    def close(self) -> None:
        """Roll back all."""
        with self._lock:
            self._closed = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._roll_back(list(self._kept))

    def _roll_back(self, names: list[str]) -> None:
        for name in names:
            self.end(name, commit=False)

    def _watch(self) -> None:
        """Look again when the next one may have lain idle for too long. Under ``_lock``."""
        if self._timer is None and self._kept and not self._closed:
            first = min(kept.used for kept in self._kept.values())
            self._timer = threading.Timer(max(0.05, first + self.idle_seconds - time.monotonic()), self._sweep)
            self._timer.daemon = True
            self._timer.name = "gridflow-transactions"
            self._timer.start()

    def _sweep(self) -> None:
        since = time.monotonic() - self.idle_seconds
        self._roll_back([n for n, kept in list(self._kept.items()) if kept.used < since and not kept.lock.locked()])
        with self._lock:
            self._timer = None
            self._watch()


def _gone(seconds: float) -> TransactionConflictError:
    return TransactionConflictError(
        "the node does not know the transaction any more: it was started again, or nothing was asked of the "
        f"transaction for {seconds:g} s; nothing of it has happened, run it again"
    )
