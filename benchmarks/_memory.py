"""What a process has in memory, as the kernel counts it (Linux)."""

from __future__ import annotations

import re
import resource
from collections import Counter
from pathlib import Path


def mapped(folder: Path) -> dict[str, int]:
    """Bytes that this process has of the files in ``folder``, from ``/proc/self/smaps``.

    Returns:
        ``size``: mapped; ``rss``: present; ``pss``: present, each page divided by the number of processes that have it.
    """
    total = Counter(size=0, rss=0, pss=0)
    ours = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = f"{folder}/" in line
        elif ours and (found := re.match(r"(Size|Rss|Pss): +(\d+) kB", line)):
            total[found[1].lower()] += int(found[2]) * 1024
    return dict(total)


def whole_pss() -> int:
    """This process's proportional set size in bytes: all its memory, what it shares divided among the sharers."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)[1]) * 1024


def page_faults() -> int:
    """Page faults of this process so far, those that needed a disk and those that did not."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt
