"""The files of rings, by which clients of this machine hand a node small requests; ``ring_format.h`` has their bytes.

rings/bell                    made by the node
rings/<32 hex digits>.ring    made by a client, removed by the node: at the latest when it stops, or by its successor
"""

from __future__ import annotations

import contextlib
import re
import uuid
from pathlib import Path

from .._native.ring_owner import discard_ring

RINGS = "rings"
BELL = "bell"
_RING = re.compile(r"[0-9a-f]{32}\.ring")


def ring_folder(home: Path) -> Path:
    """Where a grid's rings are, as long as a node serves it."""
    return home / RINGS


def new_ring_name() -> str:
    """A name that no other ring has."""
    return f"{uuid.uuid4().hex}.ring"


def is_ring_name(name: str) -> bool:
    """Whether it is the name of a ring's file.

    >>> is_ring_name(new_ring_name()), is_ring_name("../control")
    (True, False)
    """
    return _RING.fullmatch(name) is not None


def discard_rings(home: Path) -> None:
    """For the owner: what the rings of a node were that is no more. Their clients learn that they are lost."""
    folder = ring_folder(home)
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if is_ring_name(name):
            discard_ring(str(folder / name))
    with contextlib.suppress(OSError):  # what else is in it is somebody else's
        (folder / BELL).unlink(missing_ok=True)
        folder.rmdir()
