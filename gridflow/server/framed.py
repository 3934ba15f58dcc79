"""A door of a node: framed TCP (``protocols.frames``), for small messages of other machines.

One thread serves all connections. It waits for none of them, and does nothing that takes longer than a moment: a client
that sends a byte a second, or takes no answers, keeps nobody but itself.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import threading
import time
from collections import Counter
from typing import Any

from .._native.small_requests import Asker, FrameRequests
from ..errors import GridAccessError, GridConnectionError, GridflowError
from ..protocols import frames, messages
from ..protocols.address import Endpoint
from .requests import Requests
from .small import small_requests
from .tls import Certificates

_log = logging.getLogger("gridflow.server")

#: Seconds for a client to log in, and for a frame to come once it has begun.
LOGIN_SECONDS, FRAME_SECONDS = 10.0, 30.0
#: Connections at once, and those of one address that have not logged in; more are closed at once.
MOST_CONNECTIONS, MOST_UNKNOWN = 4096, 1024
#: Bytes of the frame that logs in.
MOST_LOGIN_BYTES = 8 << 10
#: Bytes of answers that a client has not taken: then nothing more is read from it until it takes some.
MOST_UNTAKEN_BYTES = 1 << 20
#: Bytes of one read.
_READ_BYTES = 64 << 10
#: Frames of one connection that are taken before those of the next one.
_MOST_AT_ONCE = 64
#: Seconds between two looks at who is late.
_LOOK_SECONDS = 1.0


class _Late(Exception):
    """A client has not kept to its time, or to the form of frames; the text says how."""


class _Connection:
    """One client's connection, as the door has it."""

    __slots__ = ("address", "asker", "came", "endpoint", "input", "output", "since", "socket", "wants")

    def __init__(self, endpoint: Endpoint, connected: socket.socket, address: str):
        self.endpoint = endpoint
        self.socket = connected
        self.address = address
        self.asker: Asker | None = None  # once it has logged in
        self.came = self.since = time.monotonic()  # since: when the frame that is not whole has begun
        self.input = bytearray()
        self.output = bytearray()
        self.wants = select.EPOLLIN


class FramedService:
    """Listens with frames beside the addresses of Arrow Flight; see ``node.Service``.

    Args:
        endpoint: where Arrow Flight listens. This listens at a free port of the same host.
        certificates: what it shows, with TLS; None without.

    Attributes:
        port: where it listens, once it does.
    """

    def __init__(self, endpoint: Endpoint, certificates: Certificates | None = None):
        self.endpoint = endpoint
        self.port = 0
        self._certificates = certificates
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._connections: dict[int, _Connection] = {}
        self._unknown: Counter[str] = Counter()  # those that have not logged in, by address
        self._unsynced: list[tuple[_Connection, bytes]] = []  # answers that wait for the disk

    def start(self, requests: Requests) -> None:
        """Listen, beside Flight's port if that is free, else at any.

        Raises:
            GridConnectionError: it cannot.
        """
        self._requests = requests
        self._frames = FrameRequests(small_requests(requests))
        error: OSError | None = None
        for port in (self.endpoint.port + 1 if self.endpoint.port < 65535 else 0, 0):
            try:
                self._listener = socket.create_server(
                    (self.endpoint.host, port),
                    family=socket.AF_INET6 if ":" in self.endpoint.host else socket.AF_INET,
                    backlog=512,
                )
                break
            except OSError as caught:
                error = caught
        if self._listener is None:
            raise GridConnectionError(f"cannot listen beside {self.endpoint}: {error}")
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._wake = socket.socketpair()
        for end in self._wake:
            end.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(self._wake[0], select.EPOLLIN)
        requests.small_ports[self.endpoint] = self.port
        self._thread = threading.Thread(target=self._run, name="gridflow-frames", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Answer what was taken, and take no more."""
        self._stopping = True
        if self._thread is not None:
            with contextlib.suppress(OSError):
                self._wake[1].send(b"\0")
            self._thread.join()

    def close(self) -> None:
        """Let go of the port."""
        self._stopping = True
        if self._listener is not None:
            self._requests.small_ports.pop(self.endpoint, None)
            for connection in list(self._connections.values()):
                self._drop(connection)
            self._listener.close()
            self._epoll.close()
            for end in self._wake:
                end.close()
            self._listener = None

    # ---- the thread ----

    def _run(self) -> None:
        self._frames.begin()
        try:
            looked = time.monotonic()
            while not self._stopping:
                for fd, events in self._epoll.poll(_LOOK_SECONDS):
                    connection = self._connections.get(fd)
                    if connection is not None:
                        self._serve(connection, events)
                    elif self._listener is not None and fd == self._listener.fileno():
                        self._accept()
                if self._unsynced:
                    self._settle()
                now = time.monotonic()
                if now - looked >= _LOOK_SECONDS:
                    looked = now
                    self._look(now)
        except Exception:
            _log.exception("the thread of framed connections has failed")
            for connection in list(self._connections.values()):
                self._drop(connection)
        finally:
            self._frames.end()

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(_MOST_AT_ONCE):
            try:
                accepted, place = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:  # no more descriptors, say: until the next look nobody is let in
                _log.warning("a framed connection was not accepted: %s", error)
                self._epoll.modify(self._listener, 0)
                return
            address = str(place[0])
            if len(self._connections) >= MOST_CONNECTIONS or self._unknown[address] >= MOST_UNKNOWN:
                accepted.close()
                continue
            try:
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if self._certificates is not None:
                    context = self._certificates.context
                    accepted = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            except (OSError, GridflowError):
                accepted.close()
                continue
            connection = _Connection(self.endpoint, accepted, address)
            self._unknown[address] += 1
            self._connections[accepted.fileno()] = connection
            self._epoll.register(accepted, select.EPOLLIN)

    def _serve(self, connection: _Connection, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._send(connection, b"")
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and connection.wants & select.EPOLLIN:
                self._receive(connection)
        except _Late as late:
            _log.warning("closed a framed connection of %s: %s", connection.address, late)
            self._drop(connection)
        except (OSError, ValueError):
            self._drop(connection)

    def _receive(self, connection: _Connection) -> None:
        is_tls = isinstance(connection.socket, ssl.SSLSocket)
        while True:
            try:
                data = connection.socket.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                return
            except ssl.SSLWantWriteError:
                self._want(connection, select.EPOLLIN | select.EPOLLOUT)
                return
            if not data:
                self._drop(connection)
                return
            if connection.input:
                connection.input += data
                data = bytes(connection.input)
            done = self._take(connection, data)
            if done == len(data):
                connection.input.clear()
            else:
                if done or not connection.input:
                    connection.since = time.monotonic()
                connection.input[:] = data[done:]
            if not is_tls or connection.socket.fileno() < 0 or not connection.wants & select.EPOLLIN:
                return  # what TLS has decrypted already no epoll tells of

    def _take(self, connection: _Connection, data: bytes) -> int:
        """Do what the whole frames of ``data`` ask; returns how many bytes those are."""
        at, end = 0, len(data)
        answers = []
        while end - at >= 12:
            size, number, kind = frames.HEAD.unpack_from(data, at)
            most = MOST_LOGIN_BYTES if connection.asker is None else frames.MOST_BYTES
            if size > most:
                raise _Late(f"it has sent a frame of {size} bytes, of {most} at most")
            if end - at - 12 < size:
                break
            body = data[at + 12 : at + 12 + size]
            at += 12 + size
            asker = connection.asker
            if asker is None:
                self._log_in(connection, number, kind, body)
                continue
            if kind == frames.GET:
                what, answer = self._frames.get(asker, body)
            elif kind == frames.COMMIT:
                what, answer = self._frames.commit(asker, body)
            elif kind == frames.MESSAGE:
                what, answer = self._frames.carry(asker, body)
            else:
                raise _Late(f"it has sent a frame of kind {kind}")
            if what == frames.DONE:
                framed = frames.frame(number, what, frames.COUNT.pack(answer))
                if self._frames.durable:
                    self._unsynced.append((connection, framed))
                    continue
            elif answer is not None and len(answer) > frames.MOST_BYTES:
                framed = frames.frame(number, frames.ELSEWHERE)
            else:
                framed = frames.frame(number, what, answer or b"")
            answers.append(framed)
        if answers:
            self._send(connection, b"".join(answers) if len(answers) > 1 else answers[0])
        return at

    def _settle(self) -> None:
        """One wait for the disk for all that was done since the last."""
        waiting, self._unsynced = self._unsynced, []
        error = self._frames.settle()
        for connection, framed in waiting:
            if error is not None:
                _, number, _ = frames.HEAD.unpack_from(framed)
                framed = frames.frame(number, frames.ERROR, error)
            if connection.socket.fileno() >= 0:
                try:
                    self._send(connection, framed)
                except (OSError, ValueError):
                    self._drop(connection)

    def _log_in(self, connection: _Connection, number: int, kind: int, body: bytes) -> None:
        at = frames.LOGIN_HEAD.size
        if kind != frames.LOGIN or len(body) < at:
            raise _Late("it has not logged in")
        magic, version = frames.LOGIN_HEAD.unpack_from(body)
        if magic != frames.MAGIC:
            raise _Late("what it has sent are no frames")
        try:
            if version != frames.VERSION:
                raise GridConnectionError(
                    f"the other side speaks version {version} of frames, this Gridflow speaks {frames.VERSION}; "
                    "install the same release on both"
                )
            if body[at : at + frames.RUN_BYTES] != self._requests.run_name.encode():
                raise GridConnectionError("the client has come for another node, whose port is not this one")
            shown = body[at + frames.RUN_BYTES :].decode("utf-8", "replace")
            certificate = _name_of(connection.socket)
            login = self._requests.access.authenticate(
                connection.endpoint, connection.address, shown, certificate, passwords=False
            )
        except GridflowError as error:
            if isinstance(error, GridAccessError):
                _log.warning("%s was not let in: %s", connection.address, error)
            self._send(connection, frames.frame(number, frames.ERROR, messages.encode_error(error)))
            raise _Late("it was not let in") from None
        connection.asker = Asker(login.peer)
        self._is_known(connection)
        self._send(connection, frames.frame(number, frames.DONE, frames.COUNT.pack(0)))

    def _send(self, connection: _Connection, data: bytes) -> None:
        """Send answers, or keep them until the client takes some."""
        output = connection.output
        if output:
            output += data
            data = bytes(output)
        sent = 0
        try:
            while sent < len(data):
                sent += connection.socket.send(data[sent:] if sent else data)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        if sent == len(data):
            if output:
                output.clear()
            if connection.wants != select.EPOLLIN:
                self._want(connection, select.EPOLLIN)
            return
        output[:] = data[sent:]
        self._want(connection, select.EPOLLOUT | (select.EPOLLIN if len(output) < MOST_UNTAKEN_BYTES else 0))

    def _want(self, connection: _Connection, events: int) -> None:
        if connection.wants != events:
            connection.wants = events
            self._epoll.modify(connection.socket, events)

    def _look(self, now: float) -> None:
        """Drop who is late: with its login, with the rest of a frame, or with taking answers."""
        assert self._listener is not None
        self._epoll.modify(self._listener, select.EPOLLIN)
        for connection in list(self._connections.values()):
            is_behind = bool(connection.input) or len(connection.output) >= MOST_UNTAKEN_BYTES
            if (connection.asker is None and now - connection.came > LOGIN_SECONDS) or (
                is_behind and now - connection.since > FRAME_SECONDS
            ):
                self._drop(connection)

    def _is_known(self, connection: _Connection) -> None:
        """Count a connection no more among those that have not logged in."""
        self._unknown[connection.address] -= 1
        if not self._unknown[connection.address]:
            del self._unknown[connection.address]

    def _drop(self, connection: _Connection) -> None:
        fd = connection.socket.fileno()
        if fd >= 0:
            if connection.asker is None:
                self._is_known(connection)
            self._connections.pop(fd, None)
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(fd)
            connection.socket.close()


def _name_of(connected: socket.socket) -> str | None:
    """The name in the certificate that a client has shown and that was verified, as gRPC finds it; None without one."""
    shown = connected.getpeercert() if isinstance(connected, ssl.SSLSocket) else None
    if not shown:
        return None
    of: Any = shown  # a dict whose values have many forms
    names = [text for _, text in of.get("subjectAltName", ())]
    names += [text for part in of.get("subject", ()) for name, text in part if name == "commonName"]
    return names[0] if names else ""
