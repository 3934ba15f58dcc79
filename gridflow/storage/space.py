"""What a grid takes, and of what."""

from __future__ import annotations

import os
from pathlib import Path

#: The unit of ``st_blocks``, whatever blocks the file system itself has.
_BLOCK_BYTES = 512


def used_bytes(path: Path) -> int:
    """Bytes of all files under a directory: blocks, not lengths, as the log is allocated ahead of its use."""
    return sum(_disk_bytes(entry) for entry in path.rglob("*") if entry.is_file())


def _disk_bytes(path: Path) -> int:
    """The bytes that a file takes; 0 for a file that is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:  # compaction took it
        return 0
    return getattr(status, "st_blocks", 0) * _BLOCK_BYTES or status.st_size


def in_memory(path: Path) -> bool:
    """Whether the directory lies in a tmpfs; False where the system does not tell."""
    try:
        with open("/proc/self/mounts") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return False
    real = os.path.realpath(path)
    above = [(point, kind) for point, kind in mounts if real == point or real.startswith(point.rstrip("/") + "/")]
    return bool(above) and max(above, key=lambda pair: len(pair[0]))[1] in ("tmpfs", "ramfs")
