"""What small requests do, whichever way they come: the Python side of ``_native.small_requests``."""

from __future__ import annotations

import logging

from .._native.ring_owner import ANSWER_BYTES
from .._native.small_requests import SmallRequests
from ..errors import GridAccessError, GridflowError
from ..protocols import messages
from ..protocols.messages import Message
from ..table import Table
from . import audit
from .access import Peer
from .requests import Requests

_log = logging.getLogger("gridflow.server")


class Carrier:
    """What ``SmallRequests`` asks of Python, always in the thread of a door.

    Args:
        requests: the node's.
    """

    def __init__(self, requests: Requests):
        self._requests = requests

    def probe(self, table: Table, mode: str) -> Message:
        """What stands for any commit of this mode, or a ``get``, where ``allow`` is asked."""
        if mode == "get":
            return messages.Get(table.name, table.table_id, 0, "", b"")
        return messages.Commit(table.name, table.table_id, 0, mode, b"")

    def allow(self, peer: Peer, message: Message) -> None:
        """Raise GridflowError unless the peer may have this done now, and until ``SmallRequests.ask_anew``."""
        try:
            self._requests.allow(message, peer)
        except GridAccessError as error:
            audit.message(peer, message, error)
            raise

    def lasts(self, peer: Peer) -> bool:
        """Whether what the peer is allowed holds until ``ask_anew``: rights of a user change at any time."""
        return peer.user is None and not peer.anonymous

    def carry(self, peer: Peer, data: bytes) -> int | None:
        """Carry out a message at once: how many rows it concerned. None, or GridflowError: nothing has happened."""
        message = messages.decode(data, messages.Sql, messages.CommitTransaction)
        assert isinstance(message, (messages.Sql, messages.CommitTransaction))  # decode takes no other
        done = self._requests.handle_at_once(message, peer)
        return None if done is None else done.count

    def describe(self, error: Exception) -> bytes:
        """Log what should not have happened; the error's bytes, for an answer."""
        if not isinstance(error, GridflowError):
            _log.error("a small request failed", exc_info=error)
        data = messages.encode_error(error)
        if len(data) > ANSWER_BYTES:  # all of it is in the log
            data = messages.encode_error(type(error)(str(error)[: ANSWER_BYTES // 8]))
        return data[:ANSWER_BYTES]


def small_requests(requests: Requests) -> SmallRequests:
    """Those of a node, which all of its doors share."""
    if requests.small is None:
        requests.small = SmallRequests(requests.grid.store, Carrier(requests))
    return requests.small
