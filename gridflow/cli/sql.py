"""``gridflow sql``: a shell, or SQL from the command line, a file or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import GridAccessError, GridOwnedError, UsageError
from .common import common_options, console, open_for_writing

if TYPE_CHECKING:
    from ..client import RemoteGrid
    from ..grid import Grid


@click.command("sql")
@common_options
@click.option("-e", "texts", metavar="TEXT", multiple=True, help="Run this and leave. May be given again.")
@click.option(
    "-f",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Run a file and leave; - is standard input.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "vertical", "csv", "json", "markdown"]),
    default="table",
    show_default=True,
    help="How to print rows. json and csv print all of a value, and bytes as base64.",
)
@click.pass_context
def command(ctx: click.Context, home: Path | None, texts: tuple[str, ...], file: Path | None, style: str) -> None:
    """Run SQL on a grid: at its server if one runs, else as its owner.

    Without -e and -f it is a shell; with its standard input piped it runs that. Statements end with ;

    The first statement that fails ends it with exit code 1.
    """
    from .shell.session import Leave, Session

    piped = not sys.stdin.isatty()
    interactive = not (texts or file or piped)
    with _open(home, interactive) as grid:
        debug = bool(ctx.find_root().meta.get("gridflow.debug"))
        session = Session(grid, console(), console(stderr=True), style=style, interactive=interactive, debug=debug)
        if interactive:
            from .shell import repl

            repl.run(session)
            return
        sources = [(text, "") for text in texts]
        if file is not None or not texts:
            sources.append(_read(file))
        try:
            worked = all(session.run(text, name) for text, name in sources)
        except Leave:
            worked = True
    if not worked:
        ctx.exit(1)


def _read(file: Path | None) -> tuple[str, str]:
    """The text of a script and the name to call it in messages."""
    if file is None or str(file) == "-":
        name, data = "standard input", sys.stdin.buffer.read()
    else:
        name, data = str(file), file.read_bytes()
    try:
        return data.decode("utf-8-sig"), name
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8: byte {error.start} is no part of a character") from None


def _open(home: Path | None, interactive: bool) -> Grid | RemoteGrid:
    try:
        return open_for_writing(home)
    except (GridOwnedError, GridAccessError) as error:
        from ..open import connect

        grid = connect(home, read_only=True)  # queries still work; a change says why it does not
        if interactive:
            click.echo(f"read only: {error}", err=True)
        return grid
