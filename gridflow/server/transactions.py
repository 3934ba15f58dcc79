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
#: How many the node keeps at most, and of one owner: each holds on to a version of every table, and has its writes in
#: memory. The grid's own user may have all of them.
MOST_TRANSACTIONS, MOST_OF_ONE = 1000, 250


@dataclass
class _Kept:
    transaction: Transaction
    owner: str
    client: str
    used: float
    lock: threading.Lock = field(default_factory=threading.Lock)  # one call of it at a time


class Transactions:
    """The transactions of all clients, by name. Any thread may call it.

    Each has an owner (``access.Peer.owner``), for whom alone it is there.

    Args:
        idle_seconds: after which one ends of which nothing was asked.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS):
        self.idle_seconds = idle_seconds
        self._lock = threading.Lock()  # guards what follows
        self._kept: dict[str, _Kept] = {}
        self._timer: threading.Timer | None = None
        self._closed = False

    def begin(self, grid: OpenGrid, owner: str, client: str) -> str:
        """Begin one on a grid as its owner sees it, for one of the owner's clients; returns its name.

        Raises:
            UsageError: there are too many.
        """
        kept = _Kept(grid.transaction(), owner, client, time.monotonic())
        name = secrets.token_hex(16)
        try:
            with self._lock:
                if self._closed:
                    raise UsageError("the node is stopping")
                if len(self._kept) >= MOST_TRANSACTIONS:
                    raise _too_many(f"{MOST_TRANSACTIONS} transactions")
                if owner and sum(other.owner == owner for other in self._kept.values()) >= MOST_OF_ONE:
                    raise _too_many(f"{MOST_OF_ONE} transactions of one user")
                self._kept[name] = kept
                self._watch()
        except BaseException:
            kept.transaction.rollback()
            raise
        return name

    @contextmanager
    def using(self, name: str, owner: str) -> Iterator[Transaction]:
        """The transaction of a name, for one call of it.

        Raises:
            TransactionConflictError: the owner has none of it any more; nothing of it has happened.
        """
        with self._lock:
            kept = self._kept.get(name)
        if kept is None or kept.owner != owner:
            raise _gone(self.idle_seconds)
        with kept.lock:
            if not kept.transaction.active:
                raise _gone(self.idle_seconds)
            try:
                yield kept.transaction
            finally:
                kept.used = time.monotonic()

    def end(self, name: str, owner: str, *, commit: bool) -> None:
        """Commit or roll back. One that is not there any more is rolled back already.

        Raises:
            TransactionConflictError: it is to be committed, and another writer was faster, or it is gone.
            GridAccessError: it is to be committed, and the owner has lost a right to what it has written.
        """
        with self._lock:
            kept = self._kept.get(name)
            if kept is not None and kept.owner == owner:
                del self._kept[name]
            else:
                kept = None
        if kept is None:
            if commit:
                raise _gone(self.idle_seconds)
            return
        with kept.lock:
            if commit:
                kept.transaction.commit()
            else:
                kept.transaction.rollback()

    def end_of(self, owner: str, client: str) -> None:
        """Roll back what a client of an owner has open: it has left."""
        whose = (owner, client)
        self._roll_back([(name, k) for name, k in list(self._kept.items()) if (k.owner, k.client) == whose])

    def close(self) -> None:
        """Roll back all."""
        with self._lock:
            self._closed = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._roll_back(list(self._kept.items()))

    def _roll_back(self, those: list[tuple[str, _Kept]]) -> None:
        for name, kept in those:
            self.end(name, kept.owner, commit=False)

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
        self._roll_back([(n, k) for n, k in list(self._kept.items()) if k.used < since and not k.lock.locked()])
        with self._lock:
            self._timer = None
            self._watch()


def _too_many(what: str) -> UsageError:
    return UsageError(f"the node keeps {what} at most, and so many are open: end some of them first")


def _gone(seconds: float) -> TransactionConflictError:
    return TransactionConflictError(
        "the node does not know the transaction any more: it was started again, or nothing was asked of the "
        f"transaction for {seconds:g} s; nothing of it has happened, run it again"
    )
