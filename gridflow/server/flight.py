"""A door of a node: Arrow Flight, over the Unix socket in the grid's directory and over TCP.

Messages travel so:

    most of them         an action of their kind; the result is the one message that answers
    Sql                  a ticket of DoGet; the result's rows stream back, SqlDone in the schema's metadata
    Blocks               a ticket of DoGet; the bytes stream back, as batches of one column
    SystemView, Scan     a ticket of DoGet; the rows stream back
    Load                 the descriptor of DoPut; batches follow, then LoadEnd as metadata; the answer is Done
    Flight SQL           its commands, tickets and actions: see ``flight_sql``
    an error             ``extra_info`` of the Flight error, as ``encode_error`` writes it
    who somebody is      the header ``authorization`` of each call, see ``access``; where it is a password, the answer's
                         header of that name has the token. Handshake does that, too, and nothing else
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.flight as flight

from ..errors import GridAccessError, GridConnectionError, GridflowError, UsageError
from ..protocols import grpc_forks, local_tokens, messages
from ..protocols.address import Endpoint, Route
from ..protocols.flight_sql import is_command
from .access import Access, Login, Peer
from .flight_sql import ACTIONS, Call, FlightSql, errors_for_clients, without_traceback
from .requests import Requests
from .tls import Certificates

_log = logging.getLogger("gridflow.server")

_HEADERS = "headers"
#: Seconds that a node waits for its own port, where it shows another certificate.
_RENEW_SECONDS = 10.0


class FlightService:
    """Listens at one endpoint with Arrow Flight; see ``node.Service``.

    Args:
        endpoint: where. The file of a Unix socket is made by ``start`` and goes with ``close``; a port of 0 becomes one
            that is free.
        keep: leave a file, at which nobody listens.
        certificates: what it shows, of ``grid+tls`` only.
    """

    def __init__(self, endpoint: Endpoint, *, keep: bool = False, certificates: Certificates | None = None):
        self.endpoint = endpoint
        self._keep = keep
        self._certificates = certificates
        self._renewing = threading.Lock()  # guards _server while certificates may change
        self._old: list[_Server] = []  # those that have shown another certificate, and have calls that run
        self._route: Route | None = None
        self._server: _Server | None = None
        self._sql: FlightSql | None = None  # it outlives a certificate
        self._access: Access | None = None
        self._draining = False

    def start(self, requests: Requests) -> None:
        """Listen. Replaces the socket that a node left which died: the grid's lock says that none lives.

        Raises:
            UsageError: the endpoint's path is there, and is no socket.
            GridConnectionError: somebody else listens there, or no address of this machine is called so.
        """
        path = self.endpoint.path
        self._sql = FlightSql(requests)
        if path is None:
            return self._start_tcp(self._sql)
        if path is not None and path.exists() and not path.is_socket():
            raise UsageError(f"cannot listen at {path}: there is a file of that name")
        self._unlink()
        with _umask(0o177):  # whoever may connect is the grid's user: see access.authorize
            self._route = Route(self.endpoint)
            self._server = _Server(self._route.flight_uri, self._sql, self.endpoint)

    def renew(self) -> None:
        """Show another certificate: calls that run end as they are, new connections get it.

        For some milliseconds nobody listens there. Arrow Flight's server has one certificate for its life.
        """
        with self._renewing:
            old = self._server
            if old is None or self._draining:
                return
            self._old.append(old)
            threading.Thread(target=self._retire, args=(old,), name="gridflow-retire", daemon=True).start()
            deadline = time.monotonic() + _RENEW_SECONDS
            while True:
                try:
                    self._server = self._listen(old.sql)
                    return
                except GridConnectionError as error:
                    if time.monotonic() > deadline:
                        self._server = None
                        _log.error("%s is closed: %s", self.endpoint, error)
                        return
                time.sleep(0.002)

    def _retire(self, old: _Server) -> None:
        old.shutdown()
        with self._renewing:
            self._old.remove(old)

    def _start_tcp(self, sql: FlightSql) -> None:
        self._server = self._listen(sql)
        self.endpoint = self._server.entrance.endpoint = replace(self.endpoint, port=self._server.port)
        if self.endpoint.is_loopback:
            self._access = sql.requests.access
            self._access.local_tokens[self.endpoint] = local_tokens.write_token(self.endpoint.port)

    def _listen(self, sql: FlightSql) -> _Server:
        _check_free(self.endpoint)
        try:
            return _Server(self.endpoint.flight_uri, sql, self.endpoint, self._certificates)
        except (pa.ArrowException, OSError) as error:
            raise GridConnectionError(f"cannot listen at {self.endpoint}: {error}") from None

    def drain(self) -> None:
        """Wait until the requests that run have ended; there is no limit to it."""
        with self._renewing:
            self._draining = True
            servers = [*self._old, *([] if self._server is None else [self._server])]
        for server in servers:
            server.shutdown()

    def close(self) -> None:
        """Take away the socket, by which clients find the node."""
        if self._sql is not None:
            self._sql.close()
        if self._access is not None:
            local_tokens.remove_token(self.endpoint.port, self._access.local_tokens.pop(self.endpoint))
            self._access = None
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


def _check_free(endpoint: Endpoint) -> None:
    """Raise, and say why, if nobody can listen at an address: gRPC would say that, and nothing else."""
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
    except OSError as error:
        raise GridConnectionError(f"cannot listen at {endpoint}: {error.strerror or error}") from None


class _Entrance:
    """Says who calls at an endpoint.

    Both a server and what it is made of have it, and not each other: gRPC would keep both for good.
    """

    def __init__(self, requests: Requests, endpoint: Endpoint):
        self.endpoint = endpoint
        self._requests = requests

    def log_in(self, authorization: str, address: str = "", certificate: str | None = None) -> Login:
        """Who calls.

        Raises:
            FlightUnauthenticatedError: nobody that may.
        """
        try:
            return self._requests.access.authenticate(self.endpoint, address, authorization, certificate)
        except GridAccessError as error:
            raise flight.FlightUnauthenticatedError(str(error), messages.encode_error(error)) from None


class _Headers(flight.ServerMiddleware):
    """Keeps the header ``authorization`` of a call; in a Handshake, answers with the token."""

    def __init__(self, authorization: str, login: Login | None):
        self.authorization = authorization
        self._login = login

    def sending_headers(self) -> dict[str, str]:
        return _token_header(self._login) if self._login is not None else {}


class _HeadersOf(flight.ServerMiddlewareFactory):
    """Makes ``_Headers`` of each call. A Handshake is a login, and nothing of ours runs after this."""

    def __init__(self, entrance: _Entrance):
        self._entrance = entrance

    def start_call(self, info: flight.CallInfo, headers: dict[str, list[str]]) -> _Headers:
        found = [text for name, texts in headers.items() if name.lower() == "authorization" for text in texts]
        authorization = found[0] if len(found) == 1 and isinstance(found[0], str) else ""
        is_login = info.method == flight.FlightMethod.HANDSHAKE
        return _Headers(authorization, self._entrance.log_in(authorization) if is_login else None)


class _NoHandshake(flight.ServerAuthHandler):
    """Lets a Handshake end well: what it asks is answered by ``_HeadersOf``. Without this there is none."""

    def authenticate(self, outgoing: object, incoming: object) -> None:
        """Nothing is left to ask."""

    def is_valid(self, token: bytes) -> str:
        """No call has such a token."""
        return ""


def _token_header(login: Login) -> dict[str, str]:
    return {"authorization": f"Bearer {login.token}"} if login.token else {}


class _Server(flight.FlightServerBase):
    """Carries requests in and answers out. It accepts from the constructor on until ``shutdown``.

    Flight calls the methods from its own threads, several at a time.
    """

    def __init__(self, location: str, sql: FlightSql, endpoint: Endpoint, certificates: Certificates | None = None):
        self.requests = sql.requests
        self.entrance = _Entrance(self.requests, endpoint)
        self.sql = sql
        self._by_certificate = False
        options: dict[str, Any] = {}
        if not endpoint.is_local:
            options["middleware"] = {_HEADERS: _HeadersOf(self.entrance)}
            options["auth_handler"] = _NoHandshake()
        if certificates is not None:
            pair = certificates.pair
            options["tls_certificates"] = [(pair.certificate, pair.key)]
            if pair.client_ca is not None:
                self._by_certificate = True
                options |= {"verify_client": True, "root_certificates": pair.client_ca}
                del options["auth_handler"]  # which would hide whose certificate it is: there is no Handshake then
        with grpc_forks.using_grpc():
            super().__init__(location, **options)
            grpc_forks.add_server(self)

    def _peer(self, context: flight.ServerCallContext) -> Peer:
        """Who calls: what it has sent is looked at after this."""
        if self.entrance.endpoint.is_local:
            return Peer(self.entrance.endpoint)
        name = context.peer_identity().decode(errors="replace") if self._by_certificate else None
        login = self.entrance.log_in(context.get_middleware(_HEADERS).authorization, _address_of(context.peer()), name)
        for name, value in _token_header(login).items():
            context.add_header(name, value)
        return login.peer

    def list_actions(self, context: flight.ServerCallContext) -> list[flight.ActionType]:
        self._peer(context)
        return [
            flight.ActionType(kind, (message.__doc__ or "").splitlines()[0])
            for kind, message in self.requests.actions.items()
        ] + [flight.ActionType(kind, what) for kind, what in ACTIONS.items()]

    def _call(self, context: flight.ServerCallContext) -> Call:
        return Call(self._peer(context), context.is_cancelled)

    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        with errors_for_clients():
            return self.sql.flight_info(self._call(context), descriptor)

    def get_schema(self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor) -> flight.SchemaResult:
        with _plain_errors(), errors_for_clients():
            return self.sql.schema(self._call(context), descriptor)

    def list_flights(self, context: flight.ServerCallContext, criteria: bytes) -> Iterator[flight.FlightInfo]:
        with _plain_errors(), errors_for_clients():
            self._peer(context)
            raise NotImplementedError("no flights are listed: CommandGetTables of Flight SQL lists tables")

    def do_action(self, context: flight.ServerCallContext, action: flight.Action) -> Iterator[bytes]:
        if action.type[:1].isupper():  # Flight's, as none of ours is
            with errors_for_clients():
                body = action.body.to_pybytes() if action.body is not None else b""
                return iter(self.sql.do_action(self._call(context), action.type, body))
        with _errors_for_flight():
            peer = self._peer(context)
            actions = self.requests.actions
            if action.type not in actions:
                raise UsageError(f"no action {action.type}; there are {', '.join(actions)}")
            body = action.body.to_pybytes() if action.body is not None else b""
            reply = self.requests.handle(messages.decode(body, actions[action.type]), peer)
        return iter([messages.encode(reply)])

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.FlightDataStream:
        if is_command(ticket.ticket):
            with errors_for_clients():
                return self.sql.do_get(self._call(context), ticket.ticket)
        with _errors_for_flight():
            peer = self._peer(context)
            request = messages.decode(ticket.ticket, messages.Sql, messages.SystemView, messages.Scan, messages.Blocks)
            if isinstance(request, messages.Blocks):
                return flight.RecordBatchStream(self.requests.blocks(request, peer))
            if isinstance(request, messages.SystemView):
                return flight.RecordBatchStream(self.requests.view(request, peer))
            if isinstance(request, messages.Scan):
                return flight.RecordBatchStream(self.requests.scan(request, peer))
            assert isinstance(request, messages.Sql)  # decode takes no other
            done, rows = self.requests.query(request, peer, context.is_cancelled)
            metadata = {**(rows.schema.metadata or {}), messages.SQL_DONE: messages.encode(done)}
            return flight.RecordBatchStream(rows.replace_schema_metadata(metadata))

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        if is_command(descriptor.command or b""):
            with errors_for_clients():
                return self.sql.do_put(self._call(context), descriptor.command, reader, writer)
        with _errors_for_flight():
            peer = self._peer(context)
            request = messages.decode(descriptor.command or b"", messages.Load)
            done = self.requests.load(request, reader.schema, _stream(reader), peer)
            writer.write(messages.encode(done))


def _address_of(peer: str) -> str:
    """The host in what gRPC calls a peer.

    >>> _address_of("ipv4:127.0.0.1:4711"), _address_of("ipv6:%5B::1%5D:4711")
    ('127.0.0.1', '::1')
    """
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")


def _stream(reader: flight.MetadataRecordBatchReader) -> Iterator[pa.RecordBatch | messages.LoadEnd]:
    for chunk in reader:
        if chunk.data is not None:
            yield chunk.data
        if chunk.app_metadata is not None:
            yield messages.decode(chunk.app_metadata.to_pybytes(), messages.LoadEnd)


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Errors of the calls for which pyarrow knows none of Flight's own: it would send the traceback as their text."""
    try:
        yield
    except flight.FlightError as error:
        raise without_traceback(pa.ArrowInvalid, type(error).__name__)(str(error)) from None


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
