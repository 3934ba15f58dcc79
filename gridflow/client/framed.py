"""FramedChannel: a client's way for small messages to a node of another machine (``protocols.frames``)."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable

from ..errors import GridConnectionError, GridflowError
from ..protocols import frames, messages

#: Seconds until a connection stands; over a network that lets nothing through it goes by Arrow Flight after that.
CONNECT_SECONDS = 5.0
_READ_BYTES = 64 << 10


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


class FramedChannel:
    """One TCP connection with several requests in flight. Any thread may call it.

    Of the threads that wait one reads, for all; the others sleep. So a thread that is alone wakes no other.

    Args:
        host, port: where the node takes frames.
        authorization: who this is, as ``server.access`` takes it.
        context: of TLS, and the name that the certificate must have; None without.

    Raises:
        OSError: there is no way to it.
        GridflowError: the node lets us not in.
    """

    def __init__(self, host: str, port: int, authorization: bytes, context: Callable[[], ssl.SSLContext] | None = None):
        connected = socket.create_connection((host, port), CONNECT_SECONDS)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if context is not None:
                connected = context().wrap_socket(connected, server_hostname=host)
            self._socket = connected
            self._pid = os.getpid()
            self._numbers = itertools.count(1)
            self._sending = threading.Lock()  # one frame at a time; guards _lost
            self._reading = threading.Lock()  # held by the one thread that reads
            self._waiters: dict[int, _Waiter] = {}
            self._input = b""
            self._lost: str | None = None  # why it is gone
            login = frames.LOGIN_HEAD.pack(frames.MAGIC, frames.VERSION) + authorization
            kind, body = self.ask(frames.LOGIN, login, CONNECT_SECONDS)
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
        deadline = time.monotonic() + timeout
        number = next(self._numbers) & 0xFFFFFFFF
        waiter = _Waiter()
        self._waiters[number] = waiter
        try:
            self._send(frames.frame(number, kind, body), deadline)
            while waiter.answer is None:
                if self._reading.acquire(blocking=False):
                    try:
                        self._read(waiter, deadline)
                    finally:
                        self._reading.release()
                        self._hand_on(number)
                elif not waiter.woken.acquire(timeout=max(0.0, deadline - time.monotonic())):
                    if waiter.answer is None:
                        raise ChannelSilent("there was no answer in time")
                elif waiter.answer is None and self._lost is not None:
                    raise ChannelLost(self._lost, True)
            return waiter.answer
        finally:
            self._waiters.pop(number, None)

    def _send(self, data: bytes, deadline: float) -> None:
        with self._sending:
            if self._lost is not None:
                raise ChannelLost(self._lost, False)
            try:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                self._socket.sendall(data)
            except BaseException as error:  # part of a frame may be on its way: no other can follow it
                self._lose(_why(error))
                if not isinstance(error, OSError):
                    raise
                raise ChannelLost(_why(error), True) from None

    def _read(self, mine: _Waiter, deadline: float) -> None:
        """Read until there is an answer to ``mine``."""
        while mine.answer is None:
            if self._lost is not None:
                raise ChannelLost(self._lost, True)
            left = deadline - time.monotonic()
            if left <= 0:
                raise ChannelSilent("there was no answer in time")
            try:
                self._socket.settimeout(left)
                data = self._socket.recv(_READ_BYTES)
            except TimeoutError:
                raise ChannelSilent("there was no answer in time") from None
            except (OSError, ValueError) as error:
                self._lose(_why(error))
                raise ChannelLost(_why(error), True) from None
            if not data:
                self._lose("it has closed the connection")
                raise ChannelLost("it has closed the connection", True)
            self._take(self._input + data if self._input else data, mine)

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
        with contextlib.suppress(OSError):
            self._socket.close()
        for waiter in list(self._waiters.values()):
            _wake(waiter)

    def close(self) -> None:
        """Close the connection. Who waits for an answer gets ChannelLost."""
        self._lose("it is closed here")

    def forget(self) -> None:
        """In a forked child: the connection is the parent's, and only this copy of its descriptor is closed."""
        self._lost = "it was made before this process was forked"
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())


def _wake(waiter: _Waiter) -> None:
    with contextlib.suppress(RuntimeError):  # it is awake
        waiter.woken.release()


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took nothing in time"
    return getattr(error, "strerror", None) or type(error).__name__


def opened(
    host: str, port: int, authorization: bytes, context: Callable[[], ssl.SSLContext] | None
) -> FramedChannel | None:
    """A channel, or None where there is no way to the node's port: then the same goes by Arrow Flight."""
    try:
        return FramedChannel(host, port, authorization, context)
    except GridConnectionError:
        return None
    except GridflowError:
        raise
    except OSError:
        return None
