"""``gridflow restore``: a backup becomes a grid again."""

from __future__ import annotations

import click

from ..config import resolve_home
from ..errors import UsageError
from .common import Home, common_options, console, human_bytes, quantity
from .progress import copy_progress


@click.command("restore")
@click.argument("url")
@click.argument("directory", metavar="[DIR]", required=False)
@common_options
@click.option("--backup", "number", type=click.IntRange(1), help="The number of the backup.  [default: the newest]")
def command(url: str, directory: str | None, home: Home, number: int | None) -> None:
    """Make a grid in DIR, or in --home, of a backup at URL.

    Everything is compared with its checksums. A restore that was cut off goes on when it is started again; until it is
    done, DIR is no grid.
    """
    from ..transport.backup import restore

    if directory is not None and home is not None:
        raise UsageError(f"two directories are named, {directory} and {home}: leave one of them out")
    target = resolve_home(home if directory is None else directory)
    with copy_progress(console(stderr=True), "restore") as report:
        found = restore(url, target, number=number, progress=report)
    click.echo(
        f"backup {found.number} of {found.created}: {quantity(len(found.tables), 'table')}, "
        f"{human_bytes(found.total_bytes)}, in {target}"
    )
