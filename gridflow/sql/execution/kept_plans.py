"""The plans that a grid keeps, by statement: those of statements that may well come again."""

from __future__ import annotations

from typing import Any

from ...faces import GridFace
from ..grammar.prepared import Prepared

#: How many plans a grid keeps.
MOST_PLANS = 512


def keep_plan(grid: GridFace, prepared: Prepared, plan: Any) -> None:
    """Keep a statement's plan, unless its text is so long that nobody keeps the statement either."""
    if prepared.is_cached:
        if len(grid._plans) >= MOST_PLANS:
            grid._plans.clear()
        grid._plans[prepared] = plan
