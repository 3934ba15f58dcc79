"""Files on a disk, and the kernel's cache of them (Linux)."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

#: File systems that are memory.
MEMORY = {"tmpfs", "ramfs"}


def disk_folder(asked: Path | None) -> Path:
    """The folder that was asked for, else the first of the usual ones that is on a disk."""
    folders = [asked] if asked is not None else [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.home()]
    for folder in folders:
        if folder.is_dir() and file_system(folder) not in MEMORY:
            return folder
    names = ", ".join(map(str, folders))
    sys.exit(f"not on a disk: {names}; name a folder that is")


def file_system(folder: Path) -> str:
    """The type of the file system of a folder, such as ext4."""
    best, kind = "", "unknown"
    resolved = str(folder.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, name, *_ = line.split()
        point = point.replace("\\040", " ")
        inside = point == "/" or resolved == point or resolved.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind


def files_of(folder: Path) -> list[Path]:
    """All files below a folder that have bytes."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def drop_cache(files: Iterable[Path]) -> None:
    """Have the kernel forget the pages of these files, which no process may have mapped and touched."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def cached_share(files: Iterable[Path]) -> float:
    """Which part of the pages of these files is in memory, by ``mincore``."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    cached = pages = 0
    for path in files:
        size = path.stat().st_size
        count = -(-size // mmap.PAGESIZE)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
            if at in (None, ctypes.c_void_p(-1).value):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
            states = ctypes.create_string_buffer(count)
            if libc.mincore(at, size, states):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
            libc.munmap(at, size)
        finally:
            os.close(descriptor)
        cached += sum(byte & 1 for byte in states.raw[:count])
        pages += count
    return cached / pages if pages else 0.0


def read_ahead_kib(folder: Path) -> int | None:
    """How far the kernel reads ahead on the disk of a folder; None where it does not say."""
    device = folder.stat().st_dev
    try:
        text = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue/read_ahead_kb").read_text()
    except OSError:
        return None
    return int(re.match(r"\d+", text)[0])
