"""Tables of many segments: for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import gridflow._native.store
import gridflow.storage.compaction
import gridflow.storage.maintenance


@contextmanager
def separate_segments() -> Iterator[None]:
    """Each flush and load of grids that are opened within leaves a segment of its own, as only large ones do otherwise.

    They stay for a while, with the rows that are deleted.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gridflow._native.store, "DEFAULT_SMALL_BYTES", 0)
        patch.setattr(gridflow.storage.maintenance, "REST_SECONDS", float("inf"))
        patch.setattr(gridflow.storage.compaction, "MOST_LIVE", 0)  # so that deleted rows stay, too
        yield
