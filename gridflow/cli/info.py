"""``gridflow info``: where the grid is, who owns it, and what it takes."""

from __future__ import annotations

import json
import shutil
from typing import Any

import click

from ..protocols.address import is_address
from ..storage.space import in_memory, used_bytes
from .common import Home, common_options, existing_home, human_bytes, open_for_reading, quantity, read_only_option


def gather(home: Home, *, read_only: bool = False) -> dict[str, Any]:
    """The facts that ``info`` prints, as plain values by name."""
    from ..client import ServedGrid
    from ..registry import has_socket, other_owner
    from .version import versions

    if is_address(home):
        return _gather_at(str(home))
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
    disk = shutil.disk_usage(path)
    return {
        "home": str(path),
        "owner": owner,
        "tables": len(tables),
        "rows": rows,
        "segment_bytes": segment_bytes,
        "used_bytes": used_bytes(path),
        "free_bytes": disk.free,
        "in_memory": in_memory(path),
        "versions": versions(),
    }


def _gather_at(address: str) -> dict[str, Any]:
    """The same of a grid at a node's address."""
    from ..client import RemoteGrid, ServedGrid
    from .version import versions

    with open_for_reading(address) as grid:
        if isinstance(grid, ServedGrid):  # of this machine
            return gather(grid.home)
        assert isinstance(grid, RemoteGrid)  # connect gives no other for an address
        facts, tables = grid.open_grid.facts(), grid._all_tables()
        return {
            "home": address,
            "owner": f"served by process {grid.owner_pid}, in {grid.open_grid.welcome.home}",
            "tables": len(tables),
            "rows": sum(map(len, tables)),
            "segment_bytes": sum(table.stats()["bytes"] for table in tables),
            "used_bytes": facts.used_bytes,
            "free_bytes": facts.free_bytes,
            "in_memory": facts.in_memory,
            "versions": versions(),
        }


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
def command(home: Home, read_only: bool, style: str, as_json: bool) -> None:
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
