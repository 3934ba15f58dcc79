"""Helpers of all commands: their common options, and the ways to open the grid."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import resolve_home, shown_url
from ..errors import GridAccessError, GridConnectionError, GridflowError, GridNotFoundError, GridOwnedError, UsageError
from ..protocols.address import Endpoint, is_address
from ..transport.place import is_url

if TYPE_CHECKING:
    from rich.console import Console

    from ..grid import Grid


#: Columns of a console without a terminal: more than any line has, so that none wraps.
_ENDLESS = 100_000


#: The exit code that shells report for a program that Ctrl-C ended.
INTERRUPTED = 130
#: The formats of rows that are printed; those of ``shell.rendering.FORMATS`` but ``arrow``, which is a file.
PRINTED_FORMATS = ("table", "vertical", "csv", "tsv", "json", "jsonlines", "markdown")
#: The formats of files that are loaded and exported.
FILE_FORMATS = ("csv", "json", "jsonlines", "parquet", "arrow", "tfrecord", "npz")
_HOME_HELP = (
    "The grid's directory, a node's address (grid://host[:port], grid+tls://host[:port]), or a URL of published "
    "versions (s3://bucket/grid). Default: $GRIDFLOW_HOME, else /dev/shm/gridflow-<uid>/default."
)


def global_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--home`` and ``--debug`` before the command; see ``common_options``."""
    function = click.option("--debug", **_DEBUG)(function)
    return click.option("--home", expose_value=False, **_HOME)(function)


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every command takes, before it or after it: ``--home`` (passed on as ``home``), ``--debug``."""
    function = click.option("--debug", **_DEBUG)(function)
    return click.option("--home", **_HOME)(function)


#: What ``--home`` gives: a directory, an address, or None for the default grid.
Home = Path | str | None


class _HomeType(click.Path):
    """A directory as a Path, or the address of a node, or a URL, as a text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if is_url(value):
            return value
        if is_address(value):
            try:
                return str(Endpoint.parse(value))
            except UsageError as error:
                self.fail(str(error), param, ctx)
        if isinstance(value, str) and "://" in value:  # a path would be made of it, and shown with its password
            try:
                resolve_home(value)
            except UsageError as error:
                self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


def _remember_home(ctx: click.Context, _: click.Parameter, home: Home) -> Home:
    before = ctx.meta.setdefault("gridflow.home", home)
    if home is None:
        return before
    if before not in (None, home):
        raise click.UsageError(f"--home is given twice, as {before} and as {home}", ctx)
    ctx.meta["gridflow.home"] = home
    return home


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["gridflow.debug"] = True


_HOME: dict[str, Any] = {
    "metavar": "DIR",
    "type": _HomeType(file_okay=False, path_type=Path),
    "callback": _remember_home,
    "help": _HOME_HELP,
}
_DEBUG: dict[str, Any] = {
    "is_flag": True,
    "expose_value": False,
    "callback": _remember_debug,
    "help": "Show the traceback of an error.",
}


def embedded_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--embedded`` of commands that write."""
    return click.option(
        "--embedded",
        is_flag=True,
        help="Own the grid in this process, also if its server was killed and is to be started again.",
    )(function)


def create_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--create`` of commands that write."""
    return click.option(
        "--create",
        is_flag=True,
        help="Make a new grid if there is none in the directory that is named. The default grid is made anyway.",
    )(function)


def read_only_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--read-only`` of commands that need not write."""
    return click.option("--read-only", is_flag=True, help="Only read, whoever owns the grid.")(function)


def has_grid(path: Path) -> bool:
    """Whether a directory has a grid.

    Raises:
        GridAccessError: it is a file.
    """
    if path.exists() and not path.is_dir():
        raise GridAccessError(f"{path} is a file, not a directory", filename=str(path))
    return (path / "catalog").is_file()


def say_if_new(path: Path, is_new: bool) -> None:
    """Say on standard error that a grid was made."""
    if is_new:
        click.echo(f"made a new grid in {path}", err=True)


@contextmanager
def kept_if_used(home: Home) -> Iterator[None]:
    """A grid that is made within the block goes again if that ends with an error while the grid is empty."""
    if is_address(home) or is_url(home):
        yield
        return
    path = resolve_home(home)
    was_there, had_folder = has_grid(path), path.exists()
    try:
        yield
    except (GridflowError, click.exceptions.Exit) as error:
        failed = isinstance(error, GridflowError) or error.exit_code == 1
        if failed and not was_there and has_grid(path) and _is_unused(path):
            for name in os.listdir(path):
                _remove(path / name)
            if not had_folder:
                path.rmdir()
            click.echo(f"nothing was written: the new grid in {path} is removed", err=True)
        raise


def _is_unused(path: Path) -> bool:
    from ..open import connect

    try:
        with connect(path, embedded=True, timeout=0) as grid:
            return not grid._all_tables() and not grid.sql("SELECT COUNT(*) FROM SYS.USERS").scalar()
    except GridflowError:  # it is somebody else's by now
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def open_for_writing(home: Home, *, embedded: bool = False, create: bool = False) -> Grid:
    """The grid to read and write, as a client of the server or as the owner.

    Args:
        home: the grid's directory, a node's address, or None for the default grid.
        embedded: own it.
        create: make it, if it is not there. The default grid is made anyway, unless $GRIDFLOW_HOME names it.

    Raises:
        GridNotFoundError: it is not there, and not to be made.
    """
    from ..open import connect

    if is_address(home) or is_url(home):
        _check_only_address(embedded, create)
        return connect(home)
    path = resolve_home(home)
    is_new = not has_grid(path)
    if is_new and not create and (home is not None or os.environ.get("GRIDFLOW_HOME")):
        raise GridNotFoundError(
            f"no grid in {path}: --create makes one there, --home DIR names another", filename=str(path)
        )
    grid = connect(home, embedded=embedded)
    say_if_new(path, is_new)
    return grid


def open_or_read(
    home: Home, *, embedded: bool = False, create: bool = False, read_only: bool = False
) -> tuple[Grid, str]:
    """The grid to read and write, or to read only; and the reason for read-only, or an empty text.

    Raises:
        GridNotFoundError: there is none, and it is not to be made.
    """
    from ..open import connect

    if is_url(home):
        _check_only_address(embedded, create)
        return connect(home), "what was published at a URL is only read"
    if is_address(home):
        _check_only_address(embedded, create)
        return connect(home, read_only=read_only), "--read-only" if read_only else ""
    if read_only:
        return connect(existing_home(home), read_only=True), "--read-only"
    try:
        return open_for_writing(home, embedded=embedded, create=create), ""
    except (GridOwnedError, GridAccessError, GridConnectionError) as error:
        try:
            return connect(home, read_only=True), str(error)  # queries still work; a change raises its own error
        except GridNotFoundError:
            raise error from None


def _check_only_address(embedded: bool, create: bool) -> None:
    for name, given in (("--embedded", embedded), ("--create", create)):
        if given:
            raise UsageError(f"{name} is about a grid's directory, and --home is an address: leave it out")


def open_for_reading(home: Home, *, read_only: bool = False) -> Grid:
    """An existing grid to read, whoever owns it.

    Raises:
        GridNotFoundError: the directory has no grid.
    """
    from ..open import connect

    if is_url(home):
        return connect(home)
    if is_address(home):
        return connect(home, read_only=read_only)
    path = existing_home(home)
    if read_only:
        return connect(path, read_only=True)
    try:
        return connect(path, timeout=0)  # a server's client, or the owner: both see the newest rows in segments
    except (GridOwnedError, GridAccessError, GridConnectionError):
        return connect(path, read_only=True)


def existing_home(home: Home) -> Path:
    """The directory of an existing grid.

    Raises:
        GridNotFoundError: the directory has no grid.
    """
    path = resolve_home(home)
    if not has_grid(path):
        raise GridNotFoundError(
            f"no grid in {path}; make one with 'gridflow serve', 'gridflow sql --create' or 'gridflow load --create', "
            "or name another with --home DIR",
            filename=str(path),
        )
    return path


def home_to_copy(home: Home, command: str) -> Path:
    """The directory of an existing grid, for a command that needs the files in it.

    Raises:
        UsageError: it is an address.
        GridNotFoundError: the directory has no grid.
    """
    if isinstance(home, str) and (is_address(home) or is_url(home)):
        shown = shown_url(home)
        raise UsageError(
            f"'gridflow {command}' reads a grid's directory, and {shown} is an address: run it on the machine that has "
            f"the directory, or make a grid of its tables here first: gridflow clone {shown} DIR"
        )
    return existing_home(home)


def console(*, stderr: bool = False) -> Console:
    """A rich console; without a terminal it writes plain text and wraps no line."""
    from rich.console import Console

    result = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not result.is_terminal:
        result = Console(stderr=stderr, highlight=False, width=_ENDLESS, no_color=True, legacy_windows=False)
    return result


def allow_many_files() -> None:
    """Let this process have as many files open as it may: all of a grid's are while it is copied."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
