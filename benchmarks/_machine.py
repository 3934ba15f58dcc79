"""The machine that a benchmark runs on (Linux)."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import gridflow

KIB_OF_GIB = 1 << 20


def memory_available() -> int:
    """Bytes that the machine has left without swapping; no bound where the system does not tell."""
    match = re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"))
    return int(match[1]) * 1024 if match else sys.maxsize


def describe_machine(packages: list[str]) -> dict[str, object]:
    """The machine and the versions, without a name or path of this machine."""
    model = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo"))
    versions = {"python": platform.python_version(), "gridflow": gridflow.__version__}
    for name in ["numpy", *packages]:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(int(memory[1]) / KIB_OF_GIB, 1) if memory else None,
        "system": f"{platform.system()} {re.match('[0-9.]*', platform.release())[0].rstrip('.')} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
