"""FramedChannel: a client's way for small messages to a node of another machine (``protocols.frames``)."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable

from ..errors import GridflowError
from ..protocols import frames, messages

#: Seconds until a connection stands; over a network that lets nothing through it goes by Arrow Flight after that.
CONNECT_SECONDS = 5.0
_READ_BYTES = 64 << 10
#: Seconds without a request after which it is looked whether the node has closed the connection meanwhile.
_IDLE_SECONDS = 0.005


class ChannelLost(Exception):
    """The connection is gone. ``sent``: whether the node may have had the request; the text says why."""

    def __init__(self, why: str, sent: bool):
        super().__init__(why)
        self.sent = sent


class ChannelSilent(Exception):
    """There was no answer in time; the connection stands."""


class _Waiter:
    """A thread that waits for the answer to a request of its own, or to read for all."""

    __slots__ = ("answer", "woken")

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] | None = None
        self.woken = threading.Lock()
        self.woken.acquire()


class _Wire:
    """A connection of which one thread reads while another one writes."""

    def __init__(self, connected: socket.socket):
        connected.setblocking(False)
        self._socket = connected
        self._incoming = select.poll()
        self._incoming.register(connected, select.POLLIN)

    def receive(self, deadline: float) -> bytes | None:
        """What comes next; empty at the end, and None if nothing comes in time."""
        while (left := deadline - time.monotonic()) > 0:
            if self._incoming.poll(left * 1000):
                data = self._received()
                if data is not None:
                    return data
        return None

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of ``data``.

        Raises:
            OSError: it cannot, or not in time.
        """
        sent = self._sent(data)
        while sent < len(data):
            self._wait_to_send(deadline)
            sent += self._sent(memoryview(data)[sent:])

    def _received(self) -> bytes | None:
        try:
            return self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None

    def _sent(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def _wait_to_send(self, deadline: float) -> None:
        room = select.poll()
        room.register(self._socket, select.POLLOUT)
        if not room.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise OSError(errno.ETIMEDOUT, "it took nothing in time")

    def hung_up(self) -> bool:
        """Whether the other side has closed it."""
        look = select.poll()
        look.register(self._socket, getattr(select, "POLLRDHUP", 0))
        return bool(look.poll(0))

    def close(self) -> None:
        """Close it; who waits for it is woken."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.close()

    def forget(self) -> None:
        """Close this process's copy of its descriptor alone."""
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())


class _EncryptedWire(_Wire):
    """The same with TLS. OpenSSL takes one call of a connection at a time, so none waits within it."""

    def __init__(self, connected: ssl.SSLSocket):
        super().__init__(connected)
        self._one_call = threading.Lock()

    def receive(self, deadline: float) -> bytes | None:
        """As of ``_Wire``: what was decrypted already no poll tells of."""
        data = self._received()
        return super().receive(deadline) if data is None else data

    def _received(self) -> bytes | None:
        with self._one_call:
            try:
                return self._socket.recv(_READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None

    def _sent(self, data: bytes | memoryview) -> int:
        with self._one_call:
            try:
                return self._socket.send(data)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return 0


class FramedChannel:
    """One TCP connection with several requests in flight. Any thread may call it.

    Of the threads that wait one reads, for all; the others sleep. So a thread that is alone wakes no other. What a
    handler of a signal raises in a thread that sends or reads ends the connection, as half a frame may be on its way.

    Args:
        host, port: where the node takes frames.
        run: of the node that is meant: another one that listens there does not let us in.
        authorization: who this is, as ``server.access`` takes it.
        context: of TLS, and the name that the certificate must have; None without.
        seconds: until it stands.

    Raises:
        OSError: there is no way to it.
        GridflowError: the node lets us not in.
    """

    def __init__(
        self,
        host: str,
        port: int,
        run: str,
        authorization: bytes,
        context: Callable[[], ssl.SSLContext] | None = None,
        seconds: float = CONNECT_SECONDS,
    ):
        connected = socket.create_connection((host, port), seconds)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if context is None:
                self._wire = _Wire(connected)
            else:
                connected = encrypted = context().wrap_socket(connected, server_hostname=host)
                self._wire = _EncryptedWire(encrypted)
            self._numbers = itertools.count(1)
            self._sending = threading.Lock()  # one frame at a time; guards _lost
            self._reading = threading.Lock()  # held by the one thread that reads
            self._waiters: dict[int, _Waiter] = {}
            self._input = b""
            self._lost: str | None = None  # why it is gone
            self._used = time.monotonic()
            kind, body = self.ask(frames.LOGIN, frames.login(run, authorization), seconds)
        except (ChannelLost, ChannelSilent) as error:
            connected.close()
            raise ConnectionError(str(error)) from None
        except BaseException:
            connected.close()
            raise
        if kind != frames.DONE:
            self.close()
            raise messages.decode_error(body)

    @property
    def closed(self) -> bool:
        """Whether it is gone."""
        return self._lost is not None

    def ask(self, kind: int, body: bytes, timeout: float) -> tuple[int, bytes]:
        """Send a request and return its answer: kind, and what follows.

        Raises:
            ChannelLost: the connection is gone.
            ChannelSilent: there was no answer within ``timeout`` seconds.
        """
        began = time.monotonic()
        if began - self._used > _IDLE_SECONDS and self._wire.hung_up():
            self._lose("it has closed the connection")
            raise ChannelLost("it has closed the connection", False)
        self._used = began
        deadline = began + timeout
        number = next(self._numbers) & 0xFFFFFFFF
        waiter = _Waiter()
        uses = True  # whether this thread sends or reads
        try:
            self._waiters[number] = waiter
            self._send(frames.frame(number, kind, body), deadline)
            while waiter.answer is None:
                if self._reading.acquire(blocking=False):
                    try:
                        self._read(waiter, deadline)
                    finally:
                        self._reading.release()
                        self._hand_on(number)
                    continue
                uses = False
                woken = waiter.woken.acquire(timeout=max(0.0, deadline - time.monotonic()))
                uses = True
                if waiter.answer is None and not woken:
                    raise ChannelSilent("there was no answer in time")
                if waiter.answer is None and self._lost is not None:
                    raise ChannelLost(self._lost, True)
            return waiter.answer
        except (ChannelLost, ChannelSilent):
            raise
        except BaseException:  # of a handler of a signal: it may come between any two steps
            if uses:
                self._lose("a thread of this process was interrupted")
            else:
                self._hand_on(number)
            raise
        finally:
            self._waiters.pop(number, None)

    def _send(self, data: bytes, deadline: float) -> None:
        with self._sending:
            if self._lost is not None:
                raise ChannelLost(self._lost, False)
            try:
                self._wire.send(data, deadline)
            except (OSError, ValueError) as error:  # part of a frame may be on its way: no other can follow it
                raise self._broken(error) from None

    def _read(self, mine: _Waiter, deadline: float) -> None:
        """Read until there is an answer to ``mine``."""
        while mine.answer is None:
            if self._lost is not None:
                raise ChannelLost(self._lost, True)
            try:
                data = self._wire.receive(deadline)
            except (OSError, ValueError) as error:
                raise self._broken(error) from None
            if data is None:
                raise ChannelSilent("there was no answer in time")
            if not data:
                self._lose("it has closed the connection")
            if self._lost is not None:
                raise ChannelLost(self._lost, True)
            self._take(self._input + data if self._input else data, mine)

    def _broken(self, error: OSError | ValueError) -> Exception:
        """What to raise for an error of the connection; one of a handler of a signal has no number, and stays."""
        if isinstance(error, OSError) and error.errno is None:
            return error
        why = getattr(error, "strerror", None) or type(error).__name__
        self._lose(why)
        return ChannelLost(self._lost or why, True)

    def _take(self, data: bytes, mine: _Waiter) -> None:
        at, end = 0, len(data)
        while end - at >= 12:
            size, number, kind = frames.HEAD.unpack_from(data, at)
            if size > frames.MOST_BYTES:
                self._lose("what it has sent are no frames")
                raise ChannelLost("what it has sent are no frames", True)
            if end - at - 12 < size:
                break
            waiter = self._waiters.get(number)
            if waiter is not None:  # else nobody waits for it any more
                waiter.answer = kind, data[at + 12 : at + 12 + size]
                if waiter is not mine:
                    _wake(waiter)
            at += 12 + size
        self._input = data[at:]

    def _hand_on(self, number: int) -> None:
        """Nobody reads: wake one of those who wait, to do it."""
        if len(self._waiters) > 1:
            for other, waiter in list(self._waiters.items()):
                if other != number and waiter.answer is None:
                    _wake(waiter)
                    return

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        self._wire.close()
        for waiter in list(self._waiters.values()):
            _wake(waiter)

    def close(self) -> None:
        """Close the connection. Who waits for an answer gets ChannelLost."""
        self._lose("it is closed here")

    def forget(self) -> None:
        """In a forked child: the connection is the parent's, and only this copy of its descriptor is closed."""
        self._lost = "it was made before this process was forked"
        self._wire.forget()


def _wake(waiter: _Waiter) -> None:
    with contextlib.suppress(RuntimeError):  # it is awake
        waiter.woken.release()


def opened(
    host: str,
    port: int,
    run: str,
    authorization: bytes,
    context: Callable[[], ssl.SSLContext] | None,
    seconds: float = CONNECT_SECONDS,
) -> FramedChannel | None:
    """A channel, or None where that way leads nowhere: then the same goes by Arrow Flight.

    That may be another node's port, where this one's is behind a forwarded one, or a door that does not let us in:
    Flight's says better why.
    """
    try:
        return FramedChannel(host, port, run, authorization, context, seconds)
    except (GridflowError, OSError):
        return None
