"""``gridflow check``: verify every file of a grid."""

from __future__ import annotations

from pathlib import Path

import click

from ..protocols.address import is_address
from .common import Home, common_options, existing_home, human_bytes, quantity


@click.command("check")
@common_options
def command(home: Home) -> None:
    """Verify the checksums and the order of every file of a grid, also while it is in use.

    Prints each problem with its file and offset. Exit code 1 if there is one.
    """
    from ..open import connect

    path: Path | str = str(home) if is_address(home) else existing_home(home)
    # Read-only: a damaged grid must be looked at as it is, not recovered first. A node has it open already.
    with connect(path) if is_address(home) else connect(path, read_only=True) as grid:
        problems = list(grid.check())
        names = grid.tables() if not problems else []
        size = sum(grid.table(name).stats()["bytes"] for name in names)
    for problem in problems:
        click.echo(f"{click.style('problem:', fg='red', bold=True)} {problem}", err=True)
    if problems:
        click.echo(f"{quantity(len(problems), 'problem')} in {path}", err=True)
        raise click.exceptions.Exit(1)
    click.echo(f"{path}: {quantity(len(names), 'table')}, {human_bytes(size)}: no problems")
