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

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    help="Listen there, too: grid://HOST:PORT, with port 0 for a free one. May be given several times.",
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
    insecure: bool,
    stay_served: bool,
) -> None:
    """Own a grid and serve it to the other processes of this machine. A grid that is not there is made.

    They find it by themselves: `gridflow.connect()`, `gridflow sql` and the rest become its clients. SIGINT
    (Ctrl-C) or SIGTERM stops it: running requests get 2 seconds to end, statements and loads that still run are
    interrupted, everything is flushed, exit code 0. Then the grid is whose process comes first; if the server is
    killed, who connects waits until it is started again.
    """
    from ..server import Node

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    # Signals are caught before the grid opens, so that none cuts a recovery or a flush; a second one changes nothing.
    signal_pipe = _signal_pipe()
    is_new = not has_grid(resolve_home(home))
    node = Node(
        home,
        partitions=partitions,
        durability=durability,
        query_seconds=query_timeout,
        query_memory=query_memory,
        listen=listen,
        insecure=insecure,
        stays_served=stay_served,
    )
    out = console()
    try:
        say_if_new(node.home, is_new)
        _announce(out, node)
        os.read(signal_pipe, 1)
        _say(out, "stopping")
    finally:
        open_requests = node.stop()
    for number in SIGNALS:  # all is flushed: another signal could only spoil the exit code
        signal.signal(number, signal.SIG_IGN)
    if open_requests:
        _say(out, f"stopped; {quantity(open_requests, 'request')} did not end in time and were not acknowledged")
        os._exit(0)  # the threads of those requests still run, and must not outlive the interpreter
    _say(out, "stopped; everything is flushed")


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
