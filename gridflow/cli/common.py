"""Helpers of all commands: their common options, and the ways to open the grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import resolve_home
from ..errors import GridAccessError, GridConnectionError, GridNotFoundError, GridOwnedError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ..grid import Grid


#: Columns of a console without a terminal: more than any line has, so that none wraps.
_ENDLESS = 100_000


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options every command takes: ``--home`` (passed on as ``home``) and ``--debug``."""

    def remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().meta["gridflow.debug"] = True

    function = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=remember_debug,
        help="Show the traceback of an error.",
    )(function)
    return click.option(
        "--home",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="The grid's directory. Default: $GRIDFLOW_HOME, else /dev/shm/gridflow-<uid>/default.",
    )(function)


def embedded_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--embedded`` of commands that write."""
    return click.option(
        "--embedded",
        is_flag=True,
        help="Own the grid in this process, also if its server was killed and is to be started again.",
    )(function)


def open_for_writing(home: Path | None, embedded: bool = False) -> Grid:
    """The grid to read and write, as a client of the server or as the owner. A missing grid is created."""
    from ..open import connect

    return connect(home, embedded=embedded)


def open_or_read(home: Path | None, embedded: bool = False) -> tuple[Grid, str]:
    """The grid to read and write, or to read only; and the reason for read-only, or an empty text."""
    from ..open import connect

    try:
        return open_for_writing(home, embedded), ""
    except (GridOwnedError, GridAccessError, GridConnectionError) as error:
        try:
            return connect(home, read_only=True), str(error)  # queries still work; a change raises its own error
        except GridNotFoundError:
            raise error from None


def open_for_reading(home: Path | None) -> Grid:
    """An existing grid to read, whoever owns it.

    Raises:
        UsageError: the directory has no grid.
    """
    from ..open import connect

    path = existing_home(home)
    try:
        return connect(path, timeout=0)  # a server's client, or the owner: both see the newest rows in segments
    except (GridOwnedError, GridAccessError, GridConnectionError):
        return connect(path, read_only=True)


def existing_home(home: Path | None) -> Path:
    """The directory of an existing grid.

    Raises:
        UsageError: the directory has no grid.
    """
    path = resolve_home(home)
    if not (path / "catalog").is_file():
        raise UsageError(
            f"no grid in {path}; make one with 'gridflow serve', 'gridflow sql' or 'gridflow load', "
            "or name another with --home DIR"
        )
    return path


def console(*, stderr: bool = False) -> Console:
    """A rich console; without a terminal it writes plain text and wraps no line."""
    from rich.console import Console

    result = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not result.is_terminal:
        result = Console(stderr=stderr, highlight=False, width=_ENDLESS, no_color=True, legacy_windows=False)
    return result


def human_bytes(count: int) -> str:
    """A size in bytes as people read it.

    >>> human_bytes(1536), human_bytes(12), human_bytes(3 << 30)
    ('1.5 KiB', '12 B', '3.0 GiB')
    """
    if count < 1024:
        return f"{count} B"
    size, units = float(count), iter(("KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = ""
    while size >= 1024:
        size, unit = size / 1024, next(units, "EiB")
    return f"{size:.1f} {unit}"


def quantity(count: int, word: str) -> str:
    """A number and its noun.

    >>> quantity(1, "row"), quantity(1797, "row")
    ('1 row', '1,797 rows')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
