"""``gridflow publish``: tables are copied to a URL, as a new version of each."""

from __future__ import annotations

from pathlib import Path

import click

from .common import Home, allow_many_files, common_options, console, home_to_copy, quantity
from .progress import copy_progress


@click.command("publish")
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@click.argument("url")
@common_options
@click.option("--tag", help="A name for the new versions at the URL.")
@click.option("--version", metavar="VERSION", help="The tag or the number of a kept version, to publish that.")
def command(tables: tuple[str, ...], url: str, home: Home, tag: str | None, version: str | None) -> None:
    """Publish each TABLE at URL, as they all are at this moment; writes go on meanwhile.

    \b
    URL is a folder in any scheme of fsspec: s3://bucket/grid, gs://..., file:///nfs/grid. Files that are there are
    not copied again. gridflow sql --home URL reads what was published, and so does gridflow.Dataset(T, home=URL).

    \b
    gridflow publish IMAGES LABELS s3://bucket/grid --tag 2026-05
    """
    from ..transport.publish import publish

    path = home_to_copy(home, "publish")
    number = int(version) if version is not None and version.isdecimal() else version
    allow_many_files()
    with copy_progress(console(stderr=True), "publish") as report:
        made = publish(path, [_named(path, table) for table in tables], url, tag=tag, version=number, progress=report)
    for table, published in made.items():
        click.echo(f"{table}: version {published}{f', tag {tag}' if tag else ''}")
    if len(made) > 1:
        click.echo(f"{quantity(len(made), 'table')} published")


def _named(path: Path, table: str) -> str:
    """The table that is meant: as it is written, else in upper case, as SQL has it."""
    from ..open import connect

    with connect(path, read_only=True) as grid:
        return table if table in grid else table.upper()
