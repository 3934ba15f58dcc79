"""``gridflow mirror``: what has come here of grids elsewhere."""

from __future__ import annotations

import datetime as dt

import click

from .common import console


@click.group("mirror")
def command() -> None:
    """List, limit or remove what has come here of grids elsewhere."""


@command.command("ls")
def ls() -> None:
    """List the tables of which blocks have come, how many, and whether somebody reads them."""
    from rich.table import Table

    from ..storage.mirrors import budget, bytes_on_disk, listing, root

    tables = listing()
    if not tables:
        click.echo(f"nothing in {root()}; reading a table of grid://... puts it there")
        return
    shown = Table(box=None)
    for title, justify in (
        ("grid", "left"),
        ("table", "left"),
        ("bytes", "right"),
        ("here", "right"),
        ("used", "left"),
    ):
        shown.add_column(title, justify=justify)  # type: ignore[arg-type]
    for table in tables:
        used = "now" if table.is_used else f"{dt.datetime.fromtimestamp(table.used):%Y-%m-%d %H:%M:%S}"
        shown.add_row(table.address, table.name, f"{table.bytes:,}", f"{table.present:,}", used)
    console().print(shown)
    limit = budget()
    of = "no limit" if limit is None else f"a limit of {limit:,}"
    click.echo(f"{bytes_on_disk(root()):,} bytes in {root()}, {of}")


@command.command("clear")
@click.argument("address", required=False)
def clear(address: str | None) -> None:
    """Remove what has come of all grids, or of the one at ADDRESS. Who reads it goes on."""
    from ..storage import mirrors

    count = mirrors.clear(address)
    click.echo(f"removed the mirror{'' if count == 1 else 's'} of {count} grid{'' if count == 1 else 's'}")


@command.command("limit")
@click.argument("size", required=False)
def limit(size: str | None) -> None:
    """Have all mirrors take at most SIZE bytes, such as 8G; "none" for no limit. Without SIZE: print the limit."""
    from ..storage.mirrors import budget, number_of_bytes, set_budget

    if size is not None:
        set_budget(None if size == "none" else number_of_bytes(size))
    found = budget()
    click.echo("none" if found is None else f"{found:,} bytes")
