"""Who may do what with a grid that is served. Whatever way a request comes by, it is asked here before it is run."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import GridAccessError
from ..protocols.address import Endpoint
from ..protocols.messages import Message


@dataclass(frozen=True)
class Peer:
    """The other end of a request, as the door knows it that the request came through.

    Attributes:
        endpoint: where it has come in.
    """

    endpoint: Endpoint


def authorize(peer: Peer, message: Message) -> None:
    """Raise unless ``peer`` may have this done.

    Who can open a Unix socket of the node's is the operating system's user whose grid it is, or root: each is made
    with mode 0600. That user may do everything. Nobody else is known yet, so nobody else may do anything.

    Raises:
        GridAccessError: the request is refused.

    >>> from pathlib import Path
    >>> from gridflow.protocols.messages import Flush
    >>> authorize(Peer(Endpoint.of_grid(Path("/dev/shm/grid"))), Flush(None))
    >>> authorize(Peer(Endpoint.parse("grid://data.example")), Flush(None))
    Traceback (most recent call last):
    ...
    gridflow.errors.GridAccessError: flush at grid://data.example:10850 is refused: only the grid's socket is open
    """
    if not peer.endpoint.is_local:
        raise GridAccessError(f"{message.kind} at {peer.endpoint} is refused: only the grid's socket is open")
