"""``gridflow version``: the versions of Gridflow, Python and the libraries."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version

import click

from .. import __version__
from .common import common_options

LIBRARIES = ("pyarrow", "numpy", "duckdb", "sqlglot", "tensorflow")


def versions() -> dict[str, str]:
    """The versions of Gridflow, Python and the libraries by name; no library is imported."""
    versions_by_name = {"gridflow": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions_by_name[name] = package_version(name)
        except PackageNotFoundError:
            versions_by_name[name] = "not installed"
    return versions_by_name


@click.command("version")
@common_options
def command(home: object) -> None:
    """Print the version of Gridflow and of the libraries it uses."""
    for name, version in versions().items():
        click.echo(f"{name} {version}")
