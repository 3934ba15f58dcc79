"""``gridflow info``: where the grid is, who owns it, and what it takes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import click

from .common import common_options, existing_home, human_bytes, open_for_reading, quantity, read_only_option

#: The unit of ``st_blocks``, whatever blocks the file system itself has.
_BLOCK_BYTES = 512


def gather(home: Path | None, *, read_only: bool = False) -> dict[str, Any]:
    """The facts that ``info`` prints, as plain values by name."""
    from ..client import ServedGrid
    from ..registry import has_socket, other_owner
    from .version import versions

    path = existing_home(home)
    with open_for_reading(path, read_only=read_only) as grid:
        if isinstance(grid, ServedGrid):
            owner = f"served by process {grid.owner_pid}"
        elif grid.owner:
            owner = "nobody"
        elif other_owner(path) is None and has_socket(path):
            owner = "nobody; its server was killed, and 'gridflow serve' starts it again"
        else:
            owner = "embedded in another process"
        tables = grid._all_tables()
        rows = sum(map(len, tables))  # before the bytes: the count flushes
        segment_bytes = sum(table.stats()["bytes"] for table in tables)
    files = [entry for entry in path.rglob("*") if entry.is_file()]
    disk = shutil.disk_usage(path)
    return {
        "home": str(path),
        "owner": owner,
        "tables": len(tables),
        "rows": rows,
        "segment_bytes": segment_bytes,
        # Blocks, not lengths: the log is allocated ahead of its use.
        "used_bytes": sum(_disk_bytes(file) for file in files),
        "free_bytes": disk.free,
        "in_memory": _in_memory(path),
        "versions": versions(),
    }


def _disk_bytes(path: Path) -> int:
    """The bytes that a file takes; 0 for a file that is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:  # compaction took it
        return 0
    return getattr(status, "st_blocks", 0) * _BLOCK_BYTES or status.st_size


def _in_memory(path: Path) -> bool:
    """Whether the directory lies in a tmpfs; False where the system does not tell."""
    try:
        with open("/proc/self/mounts") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return False
    real = os.path.realpath(path)
    above = [(point, kind) for point, kind in mounts if real == point or real.startswith(point.rstrip("/") + "/")]
    return bool(above) and max(above, key=lambda pair: len(pair[0]))[1] in ("tmpfs", "ramfs")


@click.command("info")
@common_options
@read_only_option
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print it; json is one object.",
)
@click.option("--json", "as_json", is_flag=True, hidden=True)
def command(home: Path | None, read_only: bool, style: str, as_json: bool) -> None:
    """Say where the grid is, who owns it, what it holds and takes, and all versions."""
    if as_json:
        click.echo("--json is deprecated: use --format json", err=True)
    facts = gather(home, read_only=read_only)
    if as_json or style == "json":
        click.echo(json.dumps(facts, indent=2))
        return
    where = "in memory" if facts["in_memory"] else "on disk"
    for name, value in (
        ("home", f"{facts['home']} ({where})"),
        ("owner", facts["owner"]),
        ("holds", f"{quantity(facts['tables'], 'table')}, {quantity(facts['rows'], 'row')}"),
        ("segments", human_bytes(facts["segment_bytes"])),
        ("takes", f"{human_bytes(facts['used_bytes'])}, {human_bytes(facts['free_bytes'])} are free"),
        ("versions", ", ".join(f"{k} {v}" for k, v in facts["versions"].items())),
    ):
        click.echo(f"{name:<10}{value}")
