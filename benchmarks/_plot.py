"""The picture of a benchmark's results: a panel for each group and metric, a bar for each contender."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from _harness import Result

OURS, OTHERS, ROUNDS = "#d1495b", "#a9b4c2", "#3b3b3b"


def draw(title: str, results: list[Result], path: Path) -> None:
    """Draw the medians as bars and the rounds as dots; figures far apart get a logarithmic scale."""
    from _harness import is_ours, short

    panels: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        panels.setdefault((result.group, result.metric), []).append(result)
    heights = [len(panel) + 2 for panel in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(9, 0.32 * sum(heights) + 0.6),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(title, fontsize=11)
    for axis, ((group, metric), panel) in zip(axes[:, 0], panels.items(), strict=True):
        panel = sorted(panel, key=lambda r: r.median, reverse=panel[0].better == "lower")
        medians = [r.median for r in panel]
        spread = max(medians) / max(min(medians), 1e-12) > 30
        left = min(min(r.rounds) for r in panel) / 3 if spread else 0
        for row, result in enumerate(panel):
            colour = OURS if is_ours(result.contender) else OTHERS
            axis.barh(row, result.median - left, left=left, color=colour, height=0.7)
            axis.plot(result.rounds, [row] * len(result.rounds), ".", color=ROUNDS, markersize=3, alpha=0.6)
            end = max(max(result.rounds), result.median)
            axis.annotate(short(result.median), (end, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
        if spread:
            axis.set_xscale("log")
        furthest = max(max(r.rounds) for r in panel)
        axis.set_xlim(left, furthest * (furthest / left) ** 0.12 if spread else furthest * 1.12)  # room for the numbers
        axis.set_yticks(range(len(panel)), [r.contender for r in panel], fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        scale = ", logarithmic" if spread else ""
        heading = f"{group}: {metric} ({panel[0].unit}, {panel[0].better} is better{scale})"
        axis.set_title(heading, fontsize=9, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
