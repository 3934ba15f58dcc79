"""A door of a node: Arrow Flight, over the Unix socket in the grid's directory.

Messages travel so:

    most of them         an action of their kind; the result is the one message that answers
    Sql                  a ticket of DoGet; the result's rows stream back, SqlDone in the schema's metadata
    SystemView           a ticket of DoGet; the view's rows stream back
    Load                 the descriptor of DoPut; batches follow, then LoadEnd as metadata; the answer is Done
    an error             ``extra_info`` of the Flight error, as ``encode_error`` writes it
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.flight as flight

from ..errors import GridflowError, UsageError
from ..protocols import grpc_forks, messages
from ..protocols.address import Endpoint, Route
from .access import Peer
from .requests import Requests

_log = logging.getLogger("gridflow.server")


class FlightService:
    """Listens at one endpoint with Arrow Flight; see ``node.Service``.

    Args:
        endpoint: where. The file of a Unix socket is made by ``start`` and goes with ``close``.
        keep: leave a file, at which nobody listens.
    """

    def __init__(self, endpoint: Endpoint, *, keep: bool = False):
        self.endpoint = endpoint
        self._keep = keep
        self._route: Route | None = None
        self._server: _Server | None = None

    def start(self, requests: Requests) -> None:
        """Listen. Replaces the socket that a node left which died: the grid's lock says that none lives.

        Raises:
            UsageError: the endpoint's path is there, and is no socket.
        """
        path = self.endpoint.path
        if path is not None and path.exists() and not path.is_socket():
            raise UsageError(f"cannot listen at {path}: there is a file of that name")
        self._unlink()
        with _umask(0o177):  # whoever may connect is the grid's user: see access.authorize
            self._route = Route(self.endpoint)
            self._server = _Server(self._route.flight_uri, requests, Peer(self.endpoint))

    def drain(self) -> None:
        """Wait until the requests that run have ended; there is no limit to it."""
        if self._server is not None:
            self._server.shutdown()

    def close(self) -> None:
        """Take away the socket, by which clients find the node."""
        if self._server is not None:  # else it may be somebody else's
            self._unlink()
            self._server = None  # gRPC rests once it is gone
            if self._keep and self._route is not None:
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as left, _umask(0o177):
                    left.bind(str(self._route.path))
        if self._route is not None:
            self._route.close()

    def _unlink(self) -> None:
        if self.endpoint.path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.endpoint.path)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


class _Server(flight.FlightServerBase):
    """Carries requests in and answers out. It accepts from the constructor on until ``shutdown``.

    Flight calls the methods from its own threads, several at a time.
    """

    def __init__(self, location: str, requests: Requests, peer: Peer):
        self._requests = requests
        self._peer = peer
        with grpc_forks.using_grpc():
            super().__init__(location)
            grpc_forks.add_server(self)

    def list_actions(self, context: flight.ServerCallContext) -> list[flight.ActionType]:
        return [
            flight.ActionType(kind, (message.__doc__ or "").splitlines()[0])
            for kind, message in self._requests.actions.items()
        ]

    def do_action(self, context: flight.ServerCallContext, action: flight.Action) -> Iterator[bytes]:
        with _errors_for_flight():
            actions = self._requests.actions
            if action.type not in actions:
                raise UsageError(f"no action {action.type}; there are {', '.join(actions)}")
            body = action.body.to_pybytes() if action.body is not None else b""
            reply = self._requests.handle(messages.decode(body, actions[action.type]), self._peer)
        return iter([messages.encode(reply)])

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.FlightDataStream:
        with _errors_for_flight():
            request = messages.decode(ticket.ticket, messages.Sql, messages.SystemView)
            if isinstance(request, messages.SystemView):
                return flight.RecordBatchStream(self._requests.view(request, self._peer))
            assert isinstance(request, messages.Sql)  # decode takes no other
            done, rows = self._requests.query(request, self._peer, context.is_cancelled)
            metadata = {**(rows.schema.metadata or {}), messages.SQL_DONE: messages.encode(done)}
            return flight.RecordBatchStream(rows.replace_schema_metadata(metadata))

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        with _errors_for_flight():
            request = messages.decode(descriptor.command or b"", messages.Load)
            done = self._requests.load(request, reader.schema, _stream(reader), self._peer)
            writer.write(messages.encode(done))


def _stream(reader: flight.MetadataRecordBatchReader) -> Iterator[pa.RecordBatch | messages.LoadEnd]:
    for chunk in reader:
        if chunk.data is not None:
            yield chunk.data
        if chunk.app_metadata is not None:
            yield messages.decode(chunk.app_metadata.to_pybytes(), messages.LoadEnd)


@contextlib.contextmanager
def _errors_for_flight() -> Iterator[None]:
    """Send an error to the client in a form that keeps its class."""
    try:
        yield
    except GridflowError as error:
        raise _for_flight(error) from None
    except flight.FlightError:
        raise
    except Exception as error:
        _log.exception("a request failed")
        raise _for_flight(error) from None


def _for_flight(error: Exception) -> flight.FlightError:
    # Only the class goes into the text: all of it is in extra_info, and gRPC takes little of both.
    return flight.FlightServerError(type(error).__name__, extra_info=messages.encode_error(error))
