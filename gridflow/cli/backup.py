"""``gridflow backup``: a whole grid is copied to a URL; what is there already is not copied again."""

from __future__ import annotations

import warnings

import click

from ..config import resolve_home
from ..errors import UsageError
from .common import Home, allow_many_files, common_options, console, home_to_copy, human_bytes, quantity
from .progress import copy_progress

_LIST = "ls"


@click.command("backup")
@click.argument("arguments", nargs=-1, required=True, metavar="[DIR | ls] URL")
@common_options
@click.option("--verify", is_flag=True, help="Read all of the backup back when it is made.")
def command(arguments: tuple[str, ...], home: Home, verify: bool) -> None:
    """Back the grid in DIR, or that of --home, up to URL: all of it, at one moment, while writes go on.

    \b
    URL is a folder in any scheme of fsspec, one for each grid. Files that the last backup has are not copied again.
    gridflow backup ls URL lists the backups there, gridflow restore makes a grid of one, and gridflow prune removes
    old ones.

    \b
    gridflow backup /grids/one s3://bucket/backups/one
    """
    from ..transport.backup import Unreadable, backup, backups

    if len(arguments) > 2:
        raise UsageError(f"a directory and a URL are asked for, not {len(arguments)} arguments")
    *sources, url = arguments
    source = sources[0] if sources else None
    if source == _LIST:
        for one in backups(url):
            if isinstance(one, Unreadable):
                click.echo(f"{one.number:>6}  cannot be read: {one.error}")
                continue
            what = f"grid {one.grid}, {quantity(len(one.tables), 'table')}, {human_bytes(one.total_bytes)}"
            click.echo(f"{one.number:>6}  {one.created}  {what}, of which {human_bytes(one.copied_bytes)} were new")
        return
    if source is not None and home is not None and resolve_home(source) != resolve_home(home):
        raise UsageError(f"two grids are named, {source} and {home}: leave one of them out")
    path = home_to_copy(home if source is None else source, "backup")
    allow_many_files()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        with copy_progress(console(stderr=True), "backup") as report:
            made = backup(path, url, verify=verify, progress=report)
    for warning in said:
        click.echo(f"warning: {warning.message}", err=True)
    click.echo(
        f"backup {made.number}: {quantity(len(made.tables), 'table')}, {human_bytes(made.total_bytes)}, of which "
        f"{human_bytes(made.copied_bytes)} were copied{'; read back, and sound' if verify else ''}"
    )
