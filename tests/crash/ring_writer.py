"""A client of a node, in a process of its own: puts row after row, and writes each key to stdout once acknowledged.

    python ring_writer.py HOME NUMBER FAILPOINTS MOST

Ends well when it has put MOST rows, or the node has gone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gridflow
from gridflow._native.store import set_failpoints
from gridflow.client.grid import connect_unix

#: Of several clients each writes keys of its own, from its number times this on.
KEYS = 1_000_000


def write(home: Path, number: int, failpoints: str, most: int) -> None:
    """Put the rows."""
    with connect_unix(home) as grid:  # never an owner, should the node have died
        table = grid.table("T")
        for i in range(most):
            if i == 1:  # the first goes by the socket
                set_failpoints(failpoints)
            table.put(number * KEYS + i, {"V": b"%d" % i})
            os.write(1, (number * KEYS + i).to_bytes(8, "little"))


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    except (gridflow.GridConnectionError, gridflow.GridOwnedError):
        pass
