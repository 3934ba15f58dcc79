"""``gridflow cert``: the certificates of a lab."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..server import lab_certificates as lab

_F = TypeVar("_F", bound=Callable[..., Any])


_folder_option = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    show_default="this directory",
    help="Where the files are.",
)


def _days_option(days: int) -> Callable[[_F], _F]:
    return click.option(
        "--days", type=click.IntRange(1, 36500), default=days, show_default=True, help="How long it is good for."
    )


@click.group("cert")
def command() -> None:
    """Make certificates for TLS: an authority of one's own, then those of servers and of users.

    Where there is an authority already, such as Let's Encrypt or a company's, use that.
    """


@command.command("ca")
@_folder_option
@_days_option(lab.AUTHORITY_DAYS)
@click.option("--name", default="Gridflow lab", show_default=True, help="What it is called.")
def _ca(folder: Path, days: int, name: str) -> None:
    """Make an authority: ca.crt, for everybody, and ca.key, which no server and no client needs."""
    _say(lab.make_authority(folder, name, days))


@command.command("server")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_folder_option
@_days_option(lab.DAYS)
def _server(names: tuple[str, ...], folder: Path, days: int) -> None:
    """Make server.crt and server.key of a node that is reached by these host names and addresses."""
    _say(lab.make_server(folder, names, days))


@command.command("client")
@click.argument("user")
@_folder_option
@_days_option(lab.DAYS)
def _client(user: str, folder: Path, days: int) -> None:
    """Make USER.crt and USER.key: who shows them is that user, with a server that has --client-ca."""
    _say(lab.make_client(folder, user, days))


def _say(paths: list[Path]) -> None:
    for path in paths:
        click.echo(os.fspath(path))
