"""``gridflow version``: the version, and those of what it stands on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

from .. import __version__
from .common import common_options

LIBRARIES = ("pyarrow", "numpy", "duckdb", "sqlglot", "tensorflow")


def versions() -> dict[str, str]:
    """Name to version of Gridflow, Python and the libraries; none of them is imported."""
    found = {"gridflow": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@click.command("version")
@common_options
def command(home: object) -> None:
    """Print the version of Gridflow and of the libraries it uses."""
    for name, version in versions().items():
        click.echo(f"{name} {version}")
