"""``gridflow serve``: own a grid and serve it until a signal says stop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import __version__
from ..config import DEFAULT_PARTITIONS, MAX_PARTITIONS, resolve_home
from .common import common_options, console, has_grid, human_bytes, quantity, say_if_new

if TYPE_CHECKING:
    from rich.console import Console

    from ..server import Node
    from ..server.tls import TlsFiles

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("serve")
@common_options
@click.option(
    "--partitions",
    type=click.IntRange(1, MAX_PARTITIONS),
    default=DEFAULT_PARTITIONS,
    show_default=True,
    help="Partitions of a table that is created without a count of its own.",
)
@click.option(
    "--durability",
    type=click.Choice(["process", "fsync"]),
    default="process",
    show_default=True,
    help="What an acknowledged write survives: the death of the process, or a loss of power too (slower).",
)
@click.option(
    "--query-timeout",
    type=click.FloatRange(min=0.001),
    metavar="SECONDS",
    help="How long a statement of a client may run here. Without it: as long as the client lets it.",
)
@click.option(
    "--query-memory",
    type=click.IntRange(min=1 << 20),
    metavar="BYTES",
    help="Memory that the query engine may take here for the statements that run at once.",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS",
    help="Listen there, too: grid+tls://HOST:PORT, or grid://HOST:PORT without encryption; port 0 is a free one. May "
    "be given several times.",
)
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="The certificate of grid+tls://, in PEM.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="Its key, in PEM.")
@click.option(
    "--tls-key-password-file",
    type=_FILE,
    metavar="FILE",
    help="Its first line decrypts the key. Without it: $GRIDFLOW_TLS_KEY_PASSWORD.",
)
@click.option(
    "--client-ca",
    type=_FILE,
    metavar="FILE",
    help="Let in by grid+tls:// who shows a certificate of this authority: its name is the user's.",
)
@click.option(
    "--audit",
    type=_FILE,
    metavar="FILE",
    help="Append a line of JSON for each login, each refusal, and each change of tables, users and grants.",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Listen to other machines without encryption, so that passwords and rows can be read on their way; and let in "
    "everybody who reaches the port for as long as the grid has no user.",
)
@click.option(
    "--stay-served",
    is_flag=True,
    help="When it stops, leave the grid to the next gridflow serve: who connects waits for that, and does not own it.",
)
def command(
    home: Path | None,
    partitions: int,
    durability: str,
    query_timeout: float | None,
    query_memory: int | None,
    listen: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_key_password_file: Path | None,
    client_ca: Path | None,
    audit: Path | None,
    insecure: bool,
    stay_served: bool,
) -> None:
    """Own a grid and serve it to the other processes of this machine. A grid that is not there is made.

    They find it by themselves: `gridflow.connect()`, `gridflow sql` and the rest become its clients. SIGINT
    (Ctrl-C) or SIGTERM stops it: running requests get 2 seconds to end, statements and loads that still run are
    interrupted, everything is flushed, exit code 0. Then the grid is whose process comes first; if the server is
    killed, who connects waits until it is started again.

    SIGHUP has a server with --tls-cert read its certificate again, which it also does by itself when the files change;
    without, it stops the server.
    """
    from ..server import Node
    from ..server.audit import to_file

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    # Signals are caught before the grid opens, so that none cuts a recovery or a flush; a second one changes nothing.
    signal_pipe = _signal_pipe()
    if audit is not None:
        to_file(audit)
    is_new = not has_grid(resolve_home(home))
    node = Node(
        home,
        partitions=partitions,
        durability=durability,
        query_seconds=query_timeout,
        query_memory=query_memory,
        listen=listen,
        insecure=insecure,
        tls=_tls_files(tls_cert, tls_key, tls_key_password_file, client_ca),
        stays_served=stay_served,
    )
    out = console()
    try:
        say_if_new(node.home, is_new)
        _announce(out, node)
        while os.read(signal_pipe, 1) == bytes([signal.SIGHUP]) and tls_cert is not None:
            node.renew_certificates()
        _say(out, "stopping")
    finally:
        open_requests = node.stop()
    for number in SIGNALS:  # all is flushed: another signal could only spoil the exit code
        signal.signal(number, signal.SIG_IGN)
    if open_requests:
        _say(out, f"stopped; {quantity(open_requests, 'request')} did not end in time and were not acknowledged")
        os._exit(0)  # the threads of those requests still run, and must not outlive the interpreter
    _say(out, "stopped; everything is flushed")


def _tls_files(
    certificate: Path | None, key: Path | None, password_file: Path | None, client_ca: Path | None
) -> TlsFiles | None:
    from ..server.tls import TlsFiles

    if certificate is None and key is None:
        if password_file is not None or client_ca is not None:
            raise click.UsageError("--client-ca and --tls-key-password-file go with --tls-cert and --tls-key")
        return None
    if certificate is None or key is None:
        raise click.UsageError("--tls-cert and --tls-key go together")
    return TlsFiles(certificate, key, password_file, client_ca)


def _say(out: Console, text: str) -> None:
    """Print a line; a terminal that is gone is no error, since its end may be the reason to stop."""
    with contextlib.suppress(OSError):
        out.print(text)
        out.file.flush()


def _signal_pipe() -> int:
    """A file descriptor that has a byte to read once one of SIGNALS has come.

    The interpreter writes the byte in whichever thread receives the signal. A wait for a handler in Python (an
    Event, a queue) can miss a signal that comes to another thread or just before the wait.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None)
    return read_end


def _announce(out: Console, node: Node) -> None:
    from .shell.rendering import print_table, table_list, table_overview

    tables = table_list(node.grid)
    rows, size = (sum(tables[name].to_pylist()) for name in ("ROWS", "BYTES"))
    out.print(f"Gridflow {__version__}, process {os.getpid()}", style="bold")
    for name, value in (
        ("home", str(node.home)),
        *(("listens on", str(endpoint)) for endpoint in node.endpoints),
        ("holds", f"{quantity(len(tables), 'table')}, {quantity(rows, 'row')}, {human_bytes(size)}"),
    ):
        out.print(f"{name:<12}{value}", markup=False, soft_wrap=True)
    if tables:
        print_table(table_overview(tables), out)
    out.print("ready; Ctrl-C stops it")
    out.file.flush()
