"""The picture of live.py: a panel for each path, over the states."""

from __future__ import annotations

from pathlib import Path

from _harness import Result, short
from _plot import OTHERS, OURS, ROUNDS, plt

COLUMNS = 3


def draw(title: str, results: list[Result], path: Path) -> None:
    """Draw each metric of each group: bars for ours, grey ones beside them for a peer in the same state."""
    panels: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        panels.setdefault((result.group, result.metric), []).append(result)
    lines = -(-len(panels) // COLUMNS)
    figure, axes = plt.subplots(lines, COLUMNS, figsize=(18, 2.6 * lines + 0.6), layout="constrained", squeeze=False)
    figure.suptitle(title, fontsize=12)
    for axis, ((group, metric), panel) in zip(axes.flat, panels.items(), strict=False):
        medians = [r.median for r in panel]
        left = min(medians) / 3 if max(medians) > 20 * max(min(medians), 1e-12) else 0
        for row, result in enumerate(reversed(panel)):
            colour = OURS if result.contender.startswith("gridflow") else OTHERS
            axis.barh(row, result.median - left, left=left, color=colour, height=0.75)
            axis.plot(result.rounds, [row] * len(result.rounds), ".", color=ROUNDS, markersize=2, alpha=0.5)
            axis.annotate(
                short(result.median), (result.median, row), (3, 0), textcoords="offset points", va="center", fontsize=7
            )
        if left:
            axis.set_xscale("log")
        names = [r.contender.removeprefix("gridflow, ") for r in reversed(panel)]
        axis.set_yticks(range(len(panel)), names, fontsize=6)
        axis.tick_params(axis="x", labelsize=6)
        axis.margins(x=0.12)
        scale = ", logarithmic" if left else ""
        axis.set_title(f"{metric} ({panel[0].unit}{scale})\n{group}", fontsize=8, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    figure.savefig(path, dpi=100)
    plt.close(figure)
