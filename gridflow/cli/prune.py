"""``gridflow prune``: old versions and backups at a URL go."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UsageError
from .common import common_options, human_bytes, quantity


@click.command("prune")
@click.argument("url")
@common_options
@click.option(
    "--keep", type=click.IntRange(1), required=True, help="So many versions of each table, and backups, stay."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def command(url: str, home: Path | None, keep: int, dry_run: bool) -> None:
    """Remove old versions and backups at URL, and files that nothing names any more.

    Versions that have a tag stay. A file that nothing names stays for a day, as a publisher may be about to name it.
    """
    from ..transport.prune import prune

    if home is not None:
        raise UsageError(f"prune is about a URL, and --home {home} a grid's directory: leave that out")
    gone = prune(url, keep, dry_run=dry_run)
    click.echo(
        f"{'would remove' if dry_run else 'removed'} {quantity(gone.versions, 'version')}, "
        f"{quantity(gone.backups, 'backup')}, {quantity(gone.files, 'file')} ({human_bytes(gone.bytes)})"
    )
