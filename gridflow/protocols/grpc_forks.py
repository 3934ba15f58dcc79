"""gRPC and forks: a process is forked while gRPC rests in it, or its child is told that it cannot use gRPC.

gRPC has threads, and of all threads a child has the one that forked: locks that another one held stay locked there, and
a call waits for ever, past its time-out. So before a fork all channels are dropped, and the fork waits for gRPC to end
its threads; it does so by itself once nothing uses it, within milliseconds. Where it does not, as a server runs here or
another thread waits for an answer, a call in the child is an error.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import GridConnectionError

#: Seconds that a fork waits for gRPC's threads to end, and the same while something still uses a channel.
_FORK_WAIT = 5.0
_BUSY_FORK_WAIT = 1.0
_FORK_POLL = 0.001
_GRPC_THREADS = ("grpc_", "event_engine", "resolver-exec", "default-exec", "lifeguard")


class Holder(Protocol):
    """What has a channel now and then."""

    def drop_channel(self) -> None:
        """Let go of the channel; the next call makes a new one."""


_lock = threading.RLock()  # held while a client or server of gRPC is made, and over a fork; guards the others
_used = False  # whether gRPC may have threads here
_crossed = False  # whether gRPC ran when this process was forked
_others: set[int] = set()  # threads that look like gRPC's and are another library's
_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_clients: weakref.WeakSet[Any] = weakref.WeakSet()
_servers: weakref.WeakSet[Any] = weakref.WeakSet()


def is_lost() -> bool:
    """Whether gRPC cannot be used in this process."""
    return _crossed


def hold(holder: Holder) -> None:
    """Have a holder of a channel drop it before a fork."""
    _holders.add(holder)


@contextmanager
def using_grpc() -> Iterator[None]:
    """Around the making of a client or a server: no fork comes between.

    Raises:
        GridConnectionError: gRPC cannot be used in this process.
    """
    global _used, _others
    with _lock:
        if _crossed:
            raise GridConnectionError(
                "this process was forked while its parent served a grid or another thread of it waited for an answer: "
                "it cannot talk to a node. Start it with multiprocessing's 'spawn', or fork before that; "
                "gridflow.connect(..., read_only=True) works here, too"
            )
        if not _used:
            _used = True
            _others = _running(set())
        yield


def add_client(client: Any) -> None:
    """Note a client that was made."""
    _clients.add(client)


def add_server(server: Any) -> None:
    """Note a server that was made."""
    _servers.add(server)


def _before_fork() -> None:
    global _used
    _lock.acquire()
    if not _used:
        return
    for holder in list(_holders):
        holder.drop_channel()
    if len(_servers) or len(_clients):  # one may be garbage that nobody has collected
        gc.collect()
    if len(_servers):
        return
    # Where another thread's call goes on, or something else holds a client, gRPC does not end.
    give_up = time.monotonic() + (_BUSY_FORK_WAIT if len(_clients) else _FORK_WAIT)
    while _running(_others):
        if time.monotonic() > give_up:
            _used = len(_clients) > 0  # else they are not ours
            return
        time.sleep(_FORK_POLL)
    _used = False


def _running(others: set[int]) -> set[int]:
    """The threads that may be gRPC's."""
    ours = {thread.native_id for thread in threading.enumerate()}
    found = set()
    try:
        tasks = {int(task) for task in os.listdir("/proc/self/task")} - ours - others
    except OSError:
        return set()
    for task in tasks:
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                name = file.read()
            with open(f"/proc/self/task/{task}/status") as file:
                has_slept = "\nvoluntary_ctxt_switches:\t0\n" not in file.read()
        except OSError:  # it has just ended, and may have begun another, which was not there when we looked
            found.add(task)
            continue
        # One that has just begun has no name yet; it may be the one that ends gRPC, and holds its locks.
        if name.startswith(_GRPC_THREADS) or not has_slept:
            found.add(task)
    return found


def _after_fork_in_parent() -> None:
    _lock.release()


def _after_fork_in_child() -> None:
    global _lock, _crossed
    _lock = threading.RLock()
    _crossed = _crossed or _used
    # Something may still refer to a client, a traceback perhaps, and a server that has ended may be garbage still. Here
    # their end would wait for threads that are not.
    for made in [*_clients, *_servers]:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        for reference in weakref.getweakrefs(made):  # pyarrow stops a server when the interpreter ends
            if isinstance(reference.__callback__, weakref.finalize):
                reference.__callback__.detach()
    _clients.clear()
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
