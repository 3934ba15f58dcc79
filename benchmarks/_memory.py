"""Memory of this process, as the kernel counts it (Linux)."""

from __future__ import annotations

import re
import resource
from collections import Counter
from pathlib import Path


def mapped_bytes(folder: Path) -> dict[str, int]:
    """Mapped bytes of the files in ``folder``, from ``/proc/self/smaps``.

    Returns:
        ``size``: mapped; ``rss``: present; ``pss``: present, each page divided by the number of processes that map it.
    """
    total = Counter(size=0, rss=0, pss=0)
    in_folder = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            in_folder = f"{folder}/" in line
        elif in_folder and (match := re.match(r"(Size|Rss|Pss): +(\d+) kB", line)):
            total[match[1].lower()] += int(match[2]) * 1024
    return dict(total)


def whole_pss() -> int:
    """The proportional set size of the process in bytes: a shared page is divided among the processes."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)[1]) * 1024


def page_faults() -> int:
    """Page faults so far, with and without a read from disk."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt
