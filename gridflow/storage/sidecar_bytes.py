"""What the bytes of index files, zone maps and compressed copies have in common: aligned parts behind a header that
says whose they are. The headers in ``kernels/include/gridflow`` are the authority; ``_native.layout`` has what they
define."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .._native.files import MappedFile
from ..errors import GridCorruptError, GridVersionError


def aligned(offset: int, alignment: int) -> int:
    """The first multiple of an alignment from an offset on.

    >>> aligned(64, 64), aligned(65, 64)
    (64, 128)
    """
    return -(-offset // alignment) * alignment


def offset_of(layout: np.dtype[Any], field: str) -> int:
    """Where a field of a struct begins."""
    assert layout.fields is not None  # it is a struct
    return layout.fields[field][1]


def struct_bytes(layout: np.dtype[Any], **fields: int) -> np.ndarray:
    """A struct of these fields, of which the others are 0; uint8[n]."""
    struct = np.zeros(1, layout)
    for name, value in fields.items():
        struct[name] = value
    return struct.view(np.uint8)


def damage(path: Path, offset: int, problem: str) -> GridCorruptError:
    """The error for damage at an offset of a file."""
    return GridCorruptError(f"{path} is damaged at byte {offset}: {problem}", str(path), offset)


def map_file(
    path: Path, layout: np.dtype[Any], magic: int, version: int, kind: str
) -> tuple[memoryview, dict[str, int]]:
    """A mapped file and the fields of its header, of which magic, version and size are as they should be.

    Args:
        path: the file's.
        layout: of the header; it has fields ``magic``, ``version`` and ``file_bytes``.
        magic: what the first of these is to be.
        version: the same for the second.
        kind: what the file is, for the message.

    Raises:
        GridNotFoundError: there is none.
        GridCorruptError: it is damaged.
        GridVersionError: a newer Gridflow made it.
    """
    view = memoryview(MappedFile(str(path)))
    if len(view) < layout.itemsize:
        raise damage(path, 0, f"its size is {len(view)}")
    assert layout.names is not None
    header = dict(zip(layout.names, np.frombuffer(view, layout, 1)[0].item(), strict=True))
    if header["magic"] != magic:
        raise damage(path, 0, f"it is no {kind}")
    if header["version"] != version:
        raise GridVersionError(f"{path} has format {header['version']}, this Gridflow knows {version}", str(path))
    if header["file_bytes"] != len(view):
        at = offset_of(layout, "file_bytes")
        raise damage(path, at, f"its size is {len(view)}, it should be {header['file_bytes']}")
    return view, header
