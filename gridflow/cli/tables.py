"""``gridflow tables``: the tables of a grid."""

from __future__ import annotations

import click

from .common import PRINTED_FORMATS, Home, common_options, console, open_for_reading, read_only_option


@click.command("tables")
@common_options
@read_only_option
@click.option(
    "--format",
    "style",
    type=click.Choice(PRINTED_FORMATS),
    default="table",
    show_default=True,
    help="How to print them.",
)
def command(home: Home, read_only: bool, style: str) -> None:
    """List the tables with their rows, bytes, partitions and columns."""
    from .shell.rendering import print_table, render, table_list, table_overview

    with open_for_reading(home, read_only=read_only) as grid:
        tables = table_list(grid)
        if style != "table":
            click.echo(render(tables, style), nl=False)
        elif tables:
            print_table(table_overview(tables), console())
        else:
            click.echo(f"no tables in {grid.home} yet; CREATE TABLE or 'gridflow load' makes one")
