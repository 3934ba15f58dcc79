"""What readers of other machines read of a grid: its files stay for as long as they are heard of."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .._native.files import MappedFile
from ..errors import GridNotFoundError
from ..transport.directory import HeldFiles
from ..transport.source import SealedFile, Version

#: Versions that one lease can have, and leases that there can be.
_MOST_VERSIONS, _MOST_LEASES = 256, 10_000


@dataclass
class _Lease:
    ends: float  # of the monotonic clock
    versions: dict[tuple[int, int], Version] = field(default_factory=dict)  # by table and number
    fresh: set[tuple[int, int]] = field(default_factory=set)  # those asked for since it was renewed last


class Leases:
    """Versions that readers hold, each for a while: who dies is not heard of any more. Any thread may call it.

    Args:
        home: the grid's directory.
    """

    def __init__(self, home: Path):
        self._files = HeldFiles(home)
        self._lock = threading.Lock()  # guards _leases and _waker
        self._leases: dict[str, _Lease] = {}
        self._waker: threading.Timer | None = None

    def hold(self, name: str, version: Version, seconds: float) -> None:
        """Have a version's files stay.

        Raises:
            GridNotFoundError: one is gone.
        """
        with self._lock:
            lease = self._lease(name, seconds)
            key = version.table_id, version.number
            lease.fresh.add(key)
            if key in lease.versions:
                return
            if len(lease.versions) >= _MOST_VERSIONS:
                self._files.release(lease.versions.pop(next(iter(lease.versions))))
            self._files.hold(version)
            lease.versions[key] = version

    def renew(self, name: str, seconds: float, versions: list[tuple[int, int]]) -> int:
        """Have those of a lease's versions stay that are named, and no others; returns how many that are.

        One that was asked for since the last time stays, too: the reader may have said this before it had the answer.
        """
        with self._lock:
            lease = self._lease(name, seconds)
            for key in set(lease.versions) - set(versions) - lease.fresh:
                self._files.release(lease.versions.pop(key))
            lease.fresh.clear()
            return sum(key in lease.versions for key in set(versions))

    def open(self, table_id: int, file: SealedFile) -> MappedFile:
        """A file that is held, or there.

        Raises:
            GridNotFoundError: it is gone.
        """
        return self._files.open(table_id, file)

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            for lease in self._leases.values():
                lease.ends = 0.0
            self._end_old()

    def _lease(self, name: str, seconds: float) -> _Lease:
        self._end_old()
        if name not in self._leases and len(self._leases) >= _MOST_LEASES:
            raise GridNotFoundError(f"{_MOST_LEASES} readers hold versions already: try again later")
        ends = time.monotonic() + seconds
        lease = self._leases.setdefault(name, _Lease(ends))
        lease.ends = max(lease.ends, ends)
        self._wake(seconds)
        return lease

    def _end_old(self) -> None:
        now = time.monotonic()
        for name in [name for name, lease in self._leases.items() if lease.ends <= now]:
            for version in self._leases.pop(name).versions.values():
                self._files.release(version)

    def _wake(self, seconds: float) -> None:
        if self._waker is None:
            self._waker = threading.Timer(seconds + 0.1, self._woken)
            self._waker.daemon = True
            self._waker.start()

    def _woken(self) -> None:
        with self._lock:
            self._waker = None
            self._end_old()
            if self._leases:
                self._wake(max(0.1, min(lease.ends for lease in self._leases.values()) - time.monotonic()))
