"""The statements that run and ran on a grid, and the clients of its server: schema SYS shows them."""

from __future__ import annotations

import itertools
import os
import threading
import time
import uuid
import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from time import perf_counter
from typing import NamedTuple

#: So many different statements the history keeps: those that ran last.
HISTORY_SIZE = 1000
#: So many characters of a statement's text are kept.
TEXT_LENGTH = 2000
_SHOWN_LENGTH = 200
#: Clients that are remembered: one that was killed is forgotten when somebody looks at the list, if anybody does.
MOST_CLIENTS = 10_000
#: Seconds after which a client of another machine has to log in again, if it is still there.
FAR_SECONDS = 7 * 24 * 3600.0
_ERROR_LENGTH = 500
#: So many ended statements are put aside before they are counted.
_BATCH = 256

#: The fields of Run, as a plain tuple, which costs a fifth as much.
RunTuple = tuple[int, str, str, int, float]


class Run(NamedTuple):
    """A statement that runs, since ``clock`` (of ``perf_counter``), in a ``thread`` of this process."""

    number: int
    text: str
    kind: str
    thread: int
    clock: float


class Executions:
    """The runs of one text: how many, their seconds, and the clock, rows and error of the last ones."""

    __slots__ = ("clock", "error", "executions", "failures", "kind", "last", "longest", "rows", "shortest", "total")

    def __init__(self, kind: str):
        self.kind = kind
        self.executions = self.failures = self.rows = 0
        self.shortest = float("inf")
        self.longest = self.last = self.total = self.clock = 0.0
        self.error: str | None = None


@dataclass
class Limits:
    """What a statement may take; None for no limit.

    Attributes:
        seconds: of time.
        memory: bytes of the engine's memory, for all statements that run at once with the same limit.
    """

    seconds: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Client:
    """A client of the grid's server: what it said of itself, when (a wall clock's seconds), and what the server knows.

    Attributes:
        user: who has logged in; None: the grid's own user, or nobody was asked.
        door: where it has come in; empty: at the grid's socket.
        address: the host that it comes from.
        is_here: whether ``pid`` is one of this machine.
    """

    pid: int
    release: str
    number: int
    since: float
    user: str | None = None
    door: str = ""
    address: str = ""
    is_here: bool = True


class Activity:
    """The statements and clients of one open grid. Any thread may call it.

    Each statement of each grid passes here, so ``begin`` and ``end`` do no more than note it, in well under a
    microsecond; it is counted in batches.

    Attributes:
        node: names this opening of the grid, as a node's id does in Ignite.
        started: when the grid was opened, in seconds of the wall clock.
        limits: what a statement may take, until they are set anew.
    """

    def __init__(self) -> None:
        self.limits = Limits()
        self.node = uuid.uuid4()
        self.started = time.time()
        self._numbers = itertools.count(1)
        self._running: dict[int, RunTuple] = {}  # read and written by single operations, without a lock
        self._endings: deque[tuple[RunTuple, float, int, str | None]] = deque()  # not yet counted; the same
        self._cancelling = False  # whether `cancel` looks for a statement: then none may end unseen
        self._cancelled: set[int] = set()  # numbers, until they end
        self._lock = threading.Lock()  # guards what follows, and cancelling
        self._history: OrderedDict[str, Executions] = OrderedDict()  # the one that ran last is last
        self._counts: Counter[str] = Counter()  # by kind
        self._failures = self._cancellations = 0
        self._clients: dict[tuple[str, str], Client] = {}  # by owner, and what the client calls itself
        self._client_numbers = itertools.count(1)
        _activities.add(self)

    # ---- statements ----

    def begin(self, text: str, kind: str) -> RunTuple:
        """A statement begins to run in this thread; ``text`` holds no password."""
        number = next(self._numbers)
        run = self._running[number] = (number, text, kind, get_ident(), perf_counter())
        return run

    def end(self, run: RunTuple, rows: int, error: BaseException | None = None) -> None:
        """A statement is done, or has failed. ``rows`` were read or changed."""
        clock = perf_counter()
        del self._running[run[0]]
        if self._cancelling:  # after the line above: either `cancel` did not find it, or this waits until it is done
            with self._lock:
                pass
        message = None if error is None else str(error)[:_ERROR_LENGTH] or type(error).__name__
        ended = self._endings
        ended.append((run, clock, rows, message))
        if len(ended) >= _BATCH:
            self._count()

    def forget(self, run: RunTuple) -> None:
        """A statement has not run after all, but begins anew."""
        del self._running[run[0]]

    def ran(self, text: str, kind: str, clock: float, rows: int) -> None:
        """A statement that nobody could have seen run has run since ``clock``, without an error."""
        ended = self._endings
        ended.append(((0, text, kind, 0, clock), perf_counter(), rows, None))  # no number: nobody can cancel it
        if len(ended) >= _BATCH:
            self._count()

    def _count(self) -> None:
        with self._lock:
            ended, history, counts = self._endings, self._history, self._counts
            last_text, entry = None, None
            for _ in range(len(ended)):
                (number, text, kind, _thread, begun), clock, rows, error = ended.popleft()
                counts[kind] += 1
                if entry is None or text is not last_text:  # mostly it is the same one again
                    last_text, entry = text, history.get(text)
                    if entry is None:
                        entry = history[text] = Executions(kind)
                        if len(history) > HISTORY_SIZE:
                            history.popitem(last=False)
                    else:
                        history.move_to_end(text)
                seconds = clock - begun
                entry.executions += 1
                entry.clock = begun
                entry.last = seconds
                entry.total += seconds
                if seconds < entry.shortest:  # not min(): a call costs as much as all the rest
                    entry.shortest = seconds
                if seconds > entry.longest:
                    entry.longest = seconds
                if error is None:
                    entry.rows = rows
                else:
                    self._failures += 1
                    entry.failures += 1
                    entry.error = error
                    self._cancellations += number in self._cancelled
                if self._cancelled:
                    self._cancelled.discard(number)

    def running(self) -> list[Run]:
        """The statements that run now, the oldest first."""
        return [Run(*run) for run in self._running.copy().values()]

    def doing(self, thread: int) -> str | None:
        """Words for the statement that a thread runs; None if it runs none."""
        run = next((run for run in self.running() if run.thread == thread), None)
        if run is None:
            return None
        text = run.text if len(run.text) <= _SHOWN_LENGTH else run.text[:_SHOWN_LENGTH] + "..."
        return f"it runs {text!r}; KILL QUERY '{self.query_id(run.number)}' ends that"

    def history(self) -> list[tuple[str, Executions]]:
        """Texts and what is known of them, the one that ran last first."""
        self._count()
        with self._lock:
            return list(reversed(self._history.items()))

    def totals(self) -> tuple[Counter[str], int, int]:
        """How many statements of each kind have ended, how many failed, and how many of these were cancelled."""
        self._count()
        with self._lock:
            return self._counts.copy(), self._failures, self._cancellations

    def query_id(self, number: int) -> str:
        """The id of a statement, as SYS.SQL_QUERIES shows it and KILL QUERY takes it."""
        return f"{self.node}_{number}"

    def cancel(self, query_id: str, interrupt: Callable[[int], bool]) -> bool | None:
        """Cancel a statement that runs.

        Args:
            query_id: its id.
            interrupt: ends the computation of a thread, if it can; returns whether it could.

        Returns:
            Whether it could be interrupted where it is; None if there is none of that id.
        """
        with self._lock:
            self._cancelling = True
            try:
                run = next((r for r in self.running() if self.query_id(r.number) == query_id), None)
                if run is None or run.thread == get_ident():
                    return None
                self._cancelled.add(run.number)
                done = interrupt(run.thread)
                if not done:
                    self._cancelled.discard(run.number)
                return done
            finally:
                self._cancelling = False

    def was_cancelled(self, run: RunTuple) -> bool:
        """Whether a statement that fails was cancelled."""
        return run[0] in self._cancelled

    def is_cancelled_here(self) -> bool:
        """Whether a statement that this thread runs was cancelled."""
        return any(run[0] in self._cancelled and run[3] == get_ident() for run in self._running.copy().values())

    # ---- clients ----

    def connected(
        self,
        client: str,
        pid: int,
        release: str,
        owner: str = "",
        *,
        user: str | None = None,
        door: str = "",
        address: str = "",
        is_here: bool = True,
    ) -> None:
        """A client says that it is there: for the first time, or again after its connection broke.

        Args:
            client: what it calls itself, which no other client of its owner does.
            pid: its process.
            release: of Gridflow.
            owner: whose client it is, see ``server.access.Peer``.
            user, door, address, is_here: as of ``Client``.
        """
        key = owner, client
        with self._lock:
            earlier = self._clients.get(key)
            number = earlier.number if earlier is not None else next(self._client_numbers)
            since = earlier.since if earlier is not None else time.time()
            self._clients[key] = Client(pid, release, number, since, user, door, address, is_here)
            if len(self._clients) > MOST_CLIENTS:  # the one that came first, most likely long dead
                del self._clients[min(self._clients, key=lambda name: self._clients[name].number)]

    def disconnected(self, client: str, owner: str = "") -> None:
        """A client of an owner says that it leaves."""
        with self._lock:
            self._clients.pop((owner, client), None)

    def clients(self, is_alive: Callable[[int], bool]) -> list[Client]:
        """The clients whose process lives; the others, which could not say that they leave, are forgotten.

        Those of other machines are for FAR_SECONDS after they have come.
        """
        before = time.time() - FAR_SECONDS
        with self._lock:
            for key, client in list(self._clients.items()):
                if not (is_alive(client.pid) if client.is_here else client.since > before):
                    del self._clients[key]
            return sorted(self._clients.values(), key=lambda client: client.number)


_activities: weakref.WeakSet[Activity] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held the lock, or run statements; in the child there is only this one.
    for activity in list(_activities):
        activity._lock = threading.Lock()
        activity._running.clear()
        activity.node = uuid.uuid4()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
