"""``gridflow clone``: a grid of its own, of all tables of another one."""

from __future__ import annotations

from pathlib import Path

import click

from ..config import resolve_home
from ..errors import UsageError
from ..protocols.address import is_address
from .common import Home, allow_many_files, common_options, console, existing_home
from .progress import copy_progress


@click.command("clone")
@click.argument("arguments", nargs=-1, required=True, metavar="[ADDRESS] DIR")
@common_options
def command(arguments: tuple[str, ...], home: Home) -> None:
    """Make a grid in DIR of all tables at ADDRESS: a directory, a node (grid://host), or a URL of published versions.

    Without ADDRESS it is the grid of --home.

    Everything is compared with its checksums. A clone that was cut off goes on when it is started again; until it is
    done, DIR is no grid.
    """
    from ..client.sources import open_source
    from ..transport.clone import clone, clone_source

    if len(arguments) > 2:
        raise UsageError(f"an address and a directory are asked for, not {len(arguments)} arguments")
    *addresses, directory = arguments
    if addresses and home is not None:
        raise UsageError(f"two grids are named, {addresses[0]} and {home}: leave one of them out")
    address: str | Path
    if addresses or isinstance(home, str):
        address = addresses[0] if addresses else str(home)
    else:
        address = existing_home(home)
    allow_many_files()
    with copy_progress(console(stderr=True), "clone") as report:
        if is_address(address):
            path = clone_source(open_source(str(address)), resolve_home(directory), report)
        else:
            path = clone(address, directory, progress=report)
    click.echo(f"made a grid in {path}")
