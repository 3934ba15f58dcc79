"""The command group: a subcommand is the file of the same name; errors are printed as people read them."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from .. import __version__
from ..errors import GridflowError
from .common import INTERRUPTED, global_options

#: Subcommand -> one line of help. The file ``cli/<name>.py`` has the click command as ``command``. The help stands
#: here so that a list of commands imports none of them.
COMMANDS = {
    "serve": "Own a grid and serve it to other processes.",
    "sql": "Run SQL: a shell, a text, a file or standard input.",
    "load": "Load a file into a table.",
    "export": "Write a table, or the rows of a query, to a file.",
    "tables": "List the tables with their rows and bytes.",
    "info": "Say where the grid is, who owns it and what it takes.",
    "check": "Verify every file of a grid.",
    "cert": "Make certificates for TLS: an authority's, a server's, a user's.",
    "publish": "Copy tables to a URL, as a new version of each.",
    "clone": "Make a grid of all tables of another one.",
    "backup": "Copy a whole grid to a URL, or list what was copied there.",
    "restore": "Make a grid of a backup.",
    "prune": "Remove old versions and backups at a URL.",
    "mirror": "List, limit or remove what has come here of grids elsewhere.",
    "version": "Print the version.",
}


class _PrintError(Exception):
    """Standard output does not take what is printed. No OSError, of which click makes something itself."""

    def __init__(self, error: OSError):
        super().__init__(error.strerror or "it is closed")
        self.number = error.errno


def _nowhere(mode: str) -> IO[Any]:
    return os.fdopen(os.open(os.devnull, os.O_RDWR), mode)


class _Printed:
    """Standard output, whose errors are told from those of other files."""

    def __init__(self, file: IO[Any]):
        self._file = file

    def write(self, text: Any) -> int:
        with _print_errors():
            return self._file.write(text)

    def flush(self) -> None:
        with _print_errors():
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _print_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _PrintError(error) from None


class Commands(click.Group):
    """Imports a subcommand on first use, and turns errors, and Ctrl-C, into one line and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        before = sys.stdout
        if before is None or not before.isatty():  # None: it is closed, and its number is not to be that of a file
            sys.stdout = _Printed(before or _nowhere("r"))
        try:
            try:
                return super().main(*args, **options)
            finally:
                sys.stdout.flush()
        except _PrintError as error:
            if error.number != errno.EPIPE:  # a reader that has left is no mistake
                click.echo(f"error: standard output cannot be written: {error}", err=True)
            before = _nowhere("w")  # Python would try again at its end, and say so
            sys.exit(1)
        finally:
            sys.stdout = before

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"{__package__}.{name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            matches = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f"did you mean {matches[0]}? " if matches else ""
            ctx.fail(f"no command {args[0]}; {hint}there are {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GridflowError as error:
            if ctx.find_root().meta.get("gridflow.debug"):
                raise
            click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo(f"{click.style('error:', fg='red', bold=True)} cancelled", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="--home and --debug may stand before the command or after it.",
)
@global_options
@click.version_option(__version__, prog_name="gridflow", message="%(prog)s %(version)s")
def main() -> None:
    """An embedded in-memory partitioned data grid for TensorFlow."""
