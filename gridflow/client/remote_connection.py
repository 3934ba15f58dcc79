"""The wire between a client and a node of another machine."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pyarrow as pa
import pyarrow.flight as flight

from .._native.table_store import COMMIT_MODES
from ..credentials import Credentials
from ..errors import GridAccessError, GridConnectionError, GridflowError
from ..protocols import frames, local_tokens, messages
from ..protocols.address import Endpoint
from ..protocols.messages import Message
from ..protocols.pem import decrypted, is_encrypted
from .connection import COMMIT_TIMEOUT, OPTIONS, Connection
from .effects import changes
from .framed import CONNECT_SECONDS, ChannelLost, ChannelSilent, FramedChannel, opened


class RemoteConnection(Connection):
    """A client's way to a node of another machine: Arrow Flight, and framed TCP for small messages.

    Args:
        endpoint: where the node listens with Arrow Flight.
        credentials: who this is, and whom it believes; an attribute, too.
        timeout: seconds that a call may take at most; None: as long as it takes, but for those with a limit of their
            own.
        read_only: whether to refuse what changes something.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        timeout: float | None = None,
        *,
        read_only: bool = False,
    ):
        super().__init__(endpoint)
        self.timeout = timeout
        self.credentials = credentials
        self.read_only = read_only
        self._authorization = b""
        self._opening = threading.Lock()  # while the way for small messages is made
        self._small: FramedChannel | None = None
        self._without: messages.Welcome | None = None  # of the node to whose port for them there is no way

    def _limit(self, timeout: float | None) -> float | None:
        return min((limit for limit in (timeout, self.timeout) if limit is not None), default=None)

    def _made(self, uri: str) -> flight.FlightClient:
        if self.endpoint.scheme != "grid+tls":
            return super()._made(uri)
        known = self.credentials
        tls_context(known)  # says better than gRPC what is wrong with a file
        given = {}
        if known.ca is not None:
            given["tls_root_certs"] = _read(known.ca)
        if known.cert is not None:
            given["cert_chain"] = _read(known.cert)
            key = _read(known.key or known.cert)
            if is_encrypted(key):
                key = decrypted(known.key or known.cert, key, known.key_password or "")
            given["private_key"] = key
        return flight.FlightClient(uri, generic_options=OPTIONS, **given)

    def _log_in(self, client: flight.FlightClient) -> None:
        known = self.credentials
        if known.password is not None and known.cert is not None:
            self._authorization = known.basic.encode()  # a node that asks for certificates has no Handshake
            return
        if known.password is not None:
            options = flight.FlightCallOptions(timeout=self._patience)
            _, self._authorization = client.authenticate_basic_token(known.user, known.password, options)
            return
        token = known.token
        if not known.say_who and self.endpoint.is_loopback:
            token = local_tokens.read_token(self.endpoint.port)
        self._authorization = f"Bearer {token}".encode() if token else b""

    def _greet(self, client: flight.FlightClient) -> None:
        known = self.welcome
        super()._greet(client)
        if known is not None and self.welcome is not None and self.welcome.identity != known.identity:
            self.welcome = known
            self.drop_channel()
            raise GridConnectionError(
                f"another grid answers at {self.endpoint.grid} now, not the one that this connection was made to: call "
                "gridflow.connect() again to use that one"
            )

    def _options(self, timeout: float | None) -> flight.FlightCallOptions:
        shown = self._authorization
        headers = [(b"authorization", shown)] if shown else []
        return flight.FlightCallOptions(timeout=timeout, headers=headers)

    def check_allowed(self, message: Message | None = None) -> None:
        """Raise if nothing is to be changed, and ``message`` does; without one, what is sent does.

        Raises:
            GridAccessError: it does.
        """
        if self.read_only and (message is None or (changes(message) and not isinstance(message, messages.End))):
            raise GridAccessError(f"grid {self.endpoint.grid} is open to read only")

    def call(self, message: Message, *replies: type[messages.M], timeout: float | None = None) -> messages.M:
        """Send one message and return the answer; see ``Connection.call``."""
        self.check_allowed(message)
        return super().call(message, *replies, timeout=timeout)

    def query(self, message: messages.Sql) -> tuple[messages.SqlDone, pa.Table]:
        """Run SQL on the node; see ``Connection.query``."""
        self.check_allowed(message)
        return super().query(message)

    def load(
        self,
        message: messages.Load,
        schema: pa.Schema,
        batches: Iterator[pa.RecordBatch],
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Stream batches to the node; see ``Connection.load``. A stream cannot be repeated, so it is greeted before."""
        self.check_allowed(message)
        self.call(self._hello(), messages.Welcome)
        return super().load(message, schema, batches, progress)

    # ---- small messages ----

    def get(self, table: str, table_id: int, columns: int, transaction: str, key: bytes) -> bytes | None:
        """The encoded value under an encoded key; None if there is no row."""
        if not transaction:
            answer = self._ask(frames.GET, frames.COMMIT_HEAD.pack(table_id, 0, columns) + key, repeats=True)
            if answer is not None:
                return None if answer[0] == frames.ABSENT else answer[1]
        row = self.call(messages.Get(table, table_id, columns, transaction, key), messages.Row)
        return row.value if row.found else None

    def commit(self, table: str, table_id: int, columns: int, mode: str, operations: bytes) -> int:
        """Have operations committed; returns how many were applied."""
        self.check_allowed()
        answer = self._ask(
            frames.COMMIT, frames.COMMIT_HEAD.pack(table_id, COMMIT_MODES.index(mode), columns) + operations
        )
        if answer is not None:
            return int(frames.COUNT.unpack(answer[1])[0])
        message = messages.Commit(table, table_id, columns, mode, operations)
        return self.call(message, messages.Done, timeout=COMMIT_TIMEOUT).count

    def at_once(self, message: Message, timeout: float) -> int | None:
        """Have a message carried out, if the node can at once: how many rows it concerned; else None."""
        self.check_allowed(message)
        answer = self._ask(frames.MESSAGE, messages.encode(message))
        return None if answer is None else int(frames.COUNT.unpack(answer[1])[0])

    def _ask(self, kind: int, body: bytes, *, repeats: bool = False) -> tuple[int, bytes] | None:
        """The answer to a small request; None: nothing was done, and the same is to go by Arrow Flight.

        Args:
            repeats: whether it does no harm if it is done twice.

        Raises:
            GridConnectionError: the node went away or did not answer in time. If it may have done what was asked, the
                message says so.
        """
        if len(body) > frames.MOST_BYTES:
            return None
        channel = self._channel_for_small()
        if channel is None:
            return None
        timeout = self._limit(COMMIT_TIMEOUT) or COMMIT_TIMEOUT
        try:
            answer = channel.ask(kind, body, timeout)
        except ChannelSilent:
            raise GridConnectionError(self.silent(timeout, unknown=not repeats)) from None
        except ChannelLost as lost:
            if repeats or not lost.sent:
                return None  # by Flight, which finds a node that was started again, or says that there is none
            raise GridConnectionError(self.gone(str(lost), unknown=True)) from None
        if answer[0] == frames.ERROR:
            raise messages.decode_error(answer[1])
        return None if answer[0] == frames.ELSEWHERE else answer

    def _channel_for_small(self) -> FramedChannel | None:
        channel = self._small
        if channel is not None and not channel.closed:
            return channel
        with self._opening:
            if self._small is not None and not self._small.closed:
                return self._small  # another thread was faster
            self._small = None
            if self._route is None:
                return None
            if self.welcome is None or channel is not None:  # it may have been started again
                self.drop_channel()
                self.hello()
            welcome = self.welcome
            if welcome is None or welcome.small_port == 0 or welcome is self._without:
                return None
            # A password is not for frames; beside it there is a certificate, which says the same.
            shown = b"" if self._authorization.startswith(b"Basic ") else self._authorization
            seconds = self._limit(CONNECT_SECONDS) or CONNECT_SECONDS
            self._small = opened(self.endpoint.host, welcome.small_port, welcome.run, shown, self._tls(), seconds)
            if self._small is None:
                self._without = welcome
            return self._small

    def _tls(self) -> Callable[[], ssl.SSLContext] | None:
        return partial(tls_context, self.credentials) if self.endpoint.scheme == "grid+tls" else None

    def _close_short_way(self) -> None:
        small, self._small = self._small, None
        self._without = self.welcome
        if small is not None:
            small.close()

    def _forget_short_way(self) -> None:
        self._opening = threading.Lock()
        small, self._small = self._small, None
        if small is not None:
            small.forget()

    def begin(self) -> str:
        """Begin a transaction at the node; returns how it is called there."""
        self.hello()
        message = messages.Begin(f"{self._name}-{os.getpid()}")
        return self.call(message, messages.Begun, timeout=COMMIT_TIMEOUT).transaction

    def end_later(self, transaction: str) -> None:
        """Roll a transaction back whose object is garbage, in a thread of its own: nobody waits for it."""

        def end() -> None:
            with contextlib.suppress(GridflowError):
                self.call(messages.End(transaction, False), messages.Done, timeout=COMMIT_TIMEOUT)

        with contextlib.suppress(RuntimeError):  # the process ends, and with it the transaction
            threading.Thread(target=end, name="gridflow-rollback", daemon=True).start()


def tls_context(credentials: Credentials) -> ssl.SSLContext:
    """What the files say whom to believe, and who this is.

    Raises:
        GridAccessError: one cannot be read, or holds something else; it is named.
    """
    ca, cert, key = credentials.ca, credentials.cert, credentials.key or credentials.cert
    for path in (ca, cert, key):
        if path is not None:
            _read(path)
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl's is one
        raise GridAccessError(f"{ca} holds no certificates: {_reason(error)}", filename=ca) from None
    if cert is not None and key is not None:
        password = credentials.key_password
        try:
            # Without a password OpenSSL would ask for it at the terminal.
            context.load_cert_chain(cert, key, password or "")
        except OSError as error:
            hint = "; it is encrypted: give key_password=" if not password and is_encrypted(_read(key)) else ""
            raise GridAccessError(
                f"{cert} and {key} are no certificate and its key, or that needs another password: "
                f"{_reason(error)}{hint}",
                filename=key,
            ) from None
    return context


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise GridAccessError(f"{path} cannot be read: {error.strerror}", filename=path) from None
