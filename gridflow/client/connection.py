"""The wire between a client and the node that owns the grid: Arrow Flight. ``server/flight.py`` is its other end."""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.flight as flight

from .. import aside
from ..config import VERSION
from ..errors import GridAccessError, GridClosedError, GridConnectionError, GridflowError, InternalError
from ..protocols import grpc_forks, messages
from ..protocols.address import Endpoint, Route
from ..protocols.messages import M, Message
from .effects import changes
from .ring import NodeRing

#: Seconds for the first answer; a node that is there answers at once.
HELLO_TIMEOUT = 10.0
#: Seconds for the last words, whose answer changes nothing.
GOODBYE_TIMEOUT = 1.0
#: Seconds for the answer to a Cancel, for which a person waits.
CANCEL_TIMEOUT = 2.0
#: Seconds for a single write. The node itself gives up sooner where another writer holds the table, and says who it is.
COMMIT_TIMEOUT = 300.0
#: What there is to say of a request that was sent and not answered.
UNKNOWN = "whether it did what was asked is not known: read it back"
#: Seconds for some MiB of a file: a node that falls silent in the middle is not waited for without end.
BLOCKS_TIMEOUT = 120.0
#: Characters of gRPC's message that an error shows.
_MESSAGE_LENGTH = 300

#: What gRPC says where nothing was sent, as it has reached nobody.
_NOT_REACHED = "failed to connect"

T = TypeVar("T")
_Channel = tuple[flight.FlightClient, flight.FlightCallOptions]
OPTIONS = [
    # A channel of our own, so that a node that was started again is found at once and not after the back-off
    # that gRPC shares among all channels to one address.
    ("grpc.use_local_subchannel_pool", 1),
    # An error travels in the trailer, of which gRPC takes 8 KiB unless told otherwise.
    ("grpc.max_metadata_size", 1 << 20),
    ("grpc.absolute_max_metadata_size", 1 << 20),
]


class _LoggedOut(Exception):
    """The node does not know any more who this is: it was started again, say. It has done nothing."""

    def __init__(self, error: GridflowError):
        super().__init__(str(error))
        self.error = error


class Connection:
    """A client's way to one node. Any thread may call it, several at a time.

    The channel is made at the first call and again after it broke, so a node that was started again is found by the
    next call; if it does not know who this is, that is said again and the call repeated. It is dropped before a fork
    (``protocols.grpc_forks``). Over each new channel the node is greeted first, so that it knows who its clients are;
    the last words are those of ``close``. Small messages have a shorter way in a ``LocalConnection`` and a
    ``RemoteConnection``.

    Args:
        endpoint: where the node listens.
    """

    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        self.owner: Callable[[], int] | None = None  # says what process owns the grid now, where that can be known
        self.welcome: messages.Welcome | None = None  # what the node answered to the last greeting
        self.answered = False  # whether a node has ever answered, if only to refuse us
        self._name = uuid.uuid4().hex
        self._lock = threading.Lock()  # guards _client and _route; no call is made under it
        self._making = threading.Lock()  # while a channel is made, and the node greeted by it
        self._client: flight.FlightClient | None = None
        self._runs: set[object] = set()  # the work whose answers threads wait for; a str where the node knows it
        self._route: Route | None = Route(endpoint)
        _connections.add(self)
        grpc_forks.hold(self)

    def call(self, message: Message, *replies: type[M], timeout: float | None = None) -> M:
        """Send one message and return the answer, which must be one of the classes ``replies``.

        Args:
            timeout: seconds to wait; None for as long as it takes.

        Raises:
            GridflowError: what the node raised, of the same class.
            GridConnectionError: the node went away or did not answer in time.
        """

        def call() -> bytes:
            with self._channel(timeout, partial(changes, message)) as (client, options):
                return _action(client, options, message)

        reply = aside.run(partial(_logged_in, call), _let_go)
        self.answered = True
        return messages.decode(reply, *replies)

    @property
    def pid(self) -> int | None:
        """The node's process, as of the last time it said so."""
        return None if self.welcome is None else self.welcome.pid

    def hello(self) -> messages.Welcome:
        """Who serves the grid: makes the channel, if there is none, and with it the greeting."""

        def greet() -> messages.Welcome:
            with self._channel(HELLO_TIMEOUT, _nothing):
                assert self.welcome is not None  # there is no channel without it
                return self.welcome

        return aside.run(greet, _let_go)

    def _greet(self, client: flight.FlightClient) -> None:
        self.welcome = messages.decode(_action(client, self._options(self._patience), self._hello()), messages.Welcome)
        self.answered = True

    def _hello(self) -> messages.Hello:
        return messages.Hello(f"{self._name}-{os.getpid()}", os.getpid(), VERSION)

    @property
    def _patience(self) -> float:
        """Seconds for what a node answers at once."""
        return self._limit(HELLO_TIMEOUT) or HELLO_TIMEOUT

    def load(
        self,
        message: messages.Load,
        schema: pa.Schema,
        batches: Iterator[pa.RecordBatch],
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Stream batches to the node as one commit and return how many rows it took.

        An error of ``batches`` itself passes through as it is, and nothing of the load is kept.
        """
        failure: BaseException | None = None
        answer = None
        ends = _Ends(batches)
        with self._channel(None, ends.seen, repeats=False) as (client, options):
            descriptor = flight.FlightDescriptor.for_command(messages.encode(message))
            writer, answers = client.do_put(descriptor, schema, options)
            try:
                failure = _send(writer, ends, progress)
                if failure is None:
                    with self.awaiting(object()):  # whether it is committed is the node's to say
                        writer.done_writing()
                        answer = aside.run(answers.read, _let_go)
            finally:
                # After a failed write it is close() that raises what the node said. Without LoadEnd the node
                # keeps nothing and complains; then our own failure is the one to show.
                with _ignored(*((flight.FlightError, OSError) if failure is not None else ())):
                    writer.close()
        if failure is not None:
            raise failure
        if answer is None:
            raise GridConnectionError(self.gone("it ended the load without an answer", unknown=True))
        return messages.decode(answer.to_pybytes(), messages.Done).count

    def query(self, message: messages.Sql) -> tuple[messages.SqlDone, pa.Table]:
        """Run SQL on the node and return what it says, and the rows."""
        message = replace(message, run=uuid.uuid4().hex)

        def query() -> pa.Table:
            with self.awaiting(message.run), self._channel(None, partial(changes, message)) as (client, options):
                return client.do_get(flight.Ticket(messages.encode(message)), options).read_all()

        table = aside.run(partial(_logged_in, query), _Cancel(self, message.run).ask)
        metadata = dict(table.schema.metadata or {})
        done = messages.decode(metadata.pop(messages.SQL_DONE, b""), messages.SqlDone)
        return done, table.replace_schema_metadata(metadata or None)

    def stream(self, message: messages.Scan) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The rows of a table, batch after batch, as they come."""

        reader, schema = aside.run(partial(_logged_in, partial(self._start, message, None)), _let_go)
        return schema, self._batches(reader)

    def _start(self, message: Message, timeout: float | None) -> tuple[flight.FlightStreamReader, pa.Schema]:
        """Begin to read what answers a message that changes nothing."""
        with self._channel(timeout, _nothing) as (client, options):
            reader = client.do_get(flight.Ticket(messages.encode(message)), options)
            return reader, reader.schema

    def _batches(self, reader: flight.FlightStreamReader) -> Iterator[pa.RecordBatch]:
        """What comes; who stops in between has the node stop, too."""

        def chunk() -> flight.FlightStreamChunk | None:
            with self._errors(self._limit(None), _nothing):
                return next(reader, None)

        ended = False
        try:
            while not ended:
                read = aside.run(chunk, lambda thread: reader.cancel())
                if read is None:
                    ended = True
                else:
                    yield read.data
        finally:
            if not ended:
                reader.cancel()

    def view(self, message: messages.SystemView) -> pa.Table:
        """The rows of a system view, as the node sees them."""

        def view() -> pa.Table:
            with self._channel(None, _nothing) as (client, options):
                return client.do_get(flight.Ticket(messages.encode(message)), options).read_all()

        return aside.run(partial(_logged_in, view), _let_go)

    def blocks(self, message: messages.Blocks) -> Iterator[pa.Buffer]:
        """The bytes of a file that are asked for, as they come."""
        reader, _ = _logged_in(partial(self._start, message, BLOCKS_TIMEOUT))
        try:
            with self._errors(self._limit(BLOCKS_TIMEOUT), _nothing):
                for chunk in reader:
                    yield _bytes_of(chunk.data)
        finally:
            reader.cancel()

    @contextmanager
    def awaiting(self, run: object) -> Iterator[None]:
        """Count a run among those that ``cancel`` counts, and ends if ``run`` is the node's name of it."""
        self._runs.add(run)
        try:
            yield
        finally:
            self._runs.discard(run)

    def cancel(self) -> int:
        """Ask the node to end what ``query`` runs in other threads; their answers come to them.

        A change that the node is just writing ends by itself. May be called again and again.

        Returns:
            How many threads wait for an answer of the node's that says what was done.
        """
        runs = list(self._runs)
        for run in runs:
            if isinstance(run, str):
                with _ignored(GridflowError):  # then the query itself fails
                    self.call(messages.Cancel(run), messages.Done, timeout=CANCEL_TIMEOUT)
        return len(runs)

    def close(self) -> None:
        """Let go of the node. May be called again."""
        self._close_short_way()
        with self._lock:
            client, self._client = self._client, None
            route, self._route = self._route, None
        if client is not None:
            options = self._options(GOODBYE_TIMEOUT)
            with _ignored(flight.FlightError, OSError):  # whoever is not there need not hear it
                _action(client, options, messages.Goodbye(f"{self._name}-{os.getpid()}"))
        if route is not None:
            route.close()

    def _close_short_way(self) -> None:
        """Let go of the way for small messages, if there is one."""

    def _forget_short_way(self) -> None:
        """In a forked child: the way for small messages is the parent's."""

    def drop_channel(self, client: flight.FlightClient | None = None) -> None:
        """Close the channel, or that of ``client`` if it still is this one; the next call makes a new one."""
        # Not FlightClient.close(): a call of another thread may still use it, and ends it with its reference.
        if client is None or client is self._client:
            self._client = None

    @contextmanager
    def _channel(self, timeout: float | None, risks: Callable[[], bool], *, repeats: bool = True) -> Iterator[_Channel]:
        """The channel, for one call.

        Args:
            timeout: seconds for it.
            risks: whether what is sent changes something, so that nobody is told to send it again when its answer was
                lost; asked when it was.
            repeats: whether the caller repeats the call where the node does not know any more who this is.
        """
        timeout = self._limit(timeout)
        client, fresh = self._known(), False
        if client is None:
            with self._making:
                client = self._known()  # another thread may have been faster
                if client is None:
                    client, fresh = self._new(), True
        with self._errors(timeout, risks, client, again=repeats and not fresh):
            yield client, self._options(timeout)

    def _known(self) -> flight.FlightClient | None:
        """The channel that there is."""
        with self._lock:
            if self._route is None:
                raise self._closed()
            # gRPC finds a node that was started again by itself, and nobody would greet it.
            if self._client is not None and self.owner is not None and self.owner() != self.pid:
                self.drop_channel()
            return self._client

    def _new(self) -> flight.FlightClient:
        """Make a channel, log in and greet the node: then other threads see it."""
        with self._lock:
            if self._route is None:
                raise self._closed()
            uri = self._route.flight_uri
        with grpc_forks.using_grpc():
            client = self._made(uri)
            grpc_forks.add_client(client)
        with self._errors(self._patience, _nothing):
            self._log_in(client)
            self._greet(client)
        with self._lock:
            self._client = client
        return client

    def _closed(self) -> GridClosedError:
        return GridClosedError(f"grid {self.endpoint.grid} is closed; call gridflow.connect() again")

    def _made(self, uri: str) -> flight.FlightClient:
        """A client of Flight, which does not connect yet."""
        return flight.FlightClient(uri, generic_options=OPTIONS)

    def _log_in(self, client: flight.FlightClient) -> None:
        """Say who this is, where that has to be said."""

    def _limit(self, timeout: float | None) -> float | None:
        """The seconds that a call may take which has a limit of its own, or none."""
        return timeout

    def _options(self, timeout: float | None) -> flight.FlightCallOptions:
        """What goes with each call."""
        return flight.FlightCallOptions(timeout=timeout)

    @contextmanager
    def _errors(
        self,
        timeout: float | None,
        risks: Callable[[], bool],
        client: flight.FlightClient | None = None,
        *,
        again: bool = False,
    ) -> Iterator[None]:
        """Errors of Flight as what the node raised, or as that it went away.

        Args:
            timeout, risks: as of ``_channel``.
            client: which is dropped then; None: whichever there is.
            again: whether to raise ``_LoggedOut`` where the node does not know who this is.
        """
        try:
            yield
        except flight.FlightTimedOutError:
            self.drop_channel(client)
            raise GridConnectionError(self.silent(timeout, unknown=risks())) from None
        except flight.FlightError as error:
            if error.extra_info:
                self.answered = True
                decoded = messages.decode_error(error.extra_info)
                if isinstance(error, flight.FlightUnauthenticatedError):
                    self.drop_channel(client)  # the next call logs in again
                    if again and isinstance(decoded, GridAccessError):
                        raise _LoggedOut(decoded) from None
                raise decoded from None
            self.drop_channel(client)
            unknown = risks() and _NOT_REACHED not in str(error)
            raise GridConnectionError(self.gone(_first_line(error), unknown=unknown)) from None
        except GridflowError:
            raise
        except OSError as error:
            self.drop_channel(client)
            raise GridConnectionError(self.gone(_first_line(error), unknown=risks())) from None

    def silent(self, timeout: float | None, *, unknown: bool = True) -> str:
        """What there is to say of a node that has not answered within ``timeout`` seconds.

        Args:
            unknown: whether it may have done what was asked.
        """
        who = f" (pid {self.pid})" if self.pid else ""
        what = UNKNOWN if unknown else "try again"
        return f"the node that serves {self.endpoint.grid}{who} did not answer within {timeout:g} s; {what}"

    def gone(self, why: str, *, unknown: bool = False) -> str:
        """What there is to say of a node that went away.

        Args:
            unknown: whether it may have done what was asked: then nobody is told to ask again.
        """
        who = f" (pid {self.pid})" if self.pid else ""
        home = self.endpoint.grid
        what = UNKNOWN if unknown else "try again"
        if self.endpoint.is_local:
            what = f"start it with 'gridflow serve --home {home}'" + (f"; {what}" if unknown else f" and {what}")
        return f"the node that serves {home}{who} cannot be reached: {why}; {what}"


class LocalConnection(Connection):
    """A client's way to the node of a grid of this machine; small writes go by shared memory, ``ring``."""

    def __init__(self, endpoint: Endpoint):
        super().__init__(endpoint)
        self.ring = NodeRing(self)

    def _close_short_way(self) -> None:
        self.ring.close()

    def _forget_short_way(self) -> None:
        self.ring.forget()


class _Ends(Iterator[pa.RecordBatch]):
    """Batches, and whether their end was seen: before that is said to the node, it keeps nothing of them."""

    def __init__(self, batches: Iterator[pa.RecordBatch]):
        self._batches = iter(batches)
        self._seen = False

    def __next__(self) -> pa.RecordBatch:
        try:
            return next(self._batches)
        except StopIteration:
            self._seen = True
            raise

    def seen(self) -> bool:
        """Whether all were given out."""
        return self._seen


def _nothing() -> bool:
    """What is sent changes nothing."""
    return False


def _logged_in(do: Callable[[], T]) -> T:
    """Do something, and once more where the node does not know any more who this is."""
    try:
        return do()
    except _LoggedOut:
        pass
    try:
        return do()
    except _LoggedOut as out:
        raise out.error from None


class _Cancel:
    """Asks the node to end a statement, without waiting for its answer."""

    def __init__(self, connection: Connection, run: str):
        self._connection = connection
        self._run = run
        self._asking = False  # until the node has ended it, or knows it no more

    def ask(self, thread: int) -> None:
        """Ask, unless the last time was heard, or is not answered yet."""
        if not self._asking:
            self._asking = True
            threading.Thread(target=self._ask, name="gridflow-cancel", daemon=True).start()

    def _ask(self) -> None:
        heard = False
        with _ignored(GridflowError):
            message = messages.Cancel(self._run)
            heard = self._connection.call(message, messages.Done, timeout=CANCEL_TIMEOUT).count > 0
        self._asking = heard


def _bytes_of(batch: pa.RecordBatch) -> pa.Buffer:
    if batch.num_columns != 1 or batch.column(0).type != pa.uint8() or batch.column(0).offset:
        raise InternalError("the node sent something else than bytes of a file")
    return batch.column(0).buffers()[1].slice(0, batch.num_rows)


def _let_go(thread: int) -> None:
    """Leave a call alone that nothing ends but its answer: whether it did what was asked is not known then."""


def _action(client: flight.FlightClient, options: flight.FlightCallOptions, message: Message) -> bytes:
    """Send an action and return the one message that answers it."""
    results = list(client.do_action(flight.Action(message.kind, messages.encode(message)), options))
    if len(results) != 1:
        raise InternalError(f"the node answered {message.kind} with {len(results)} messages")
    return results[0].body.to_pybytes()


def _send(
    writer: flight.FlightStreamWriter,
    batches: Iterator[pa.RecordBatch],
    progress: Callable[[int], object] | None,
) -> BaseException | None:
    """Send all batches and LoadEnd; returns the error of our side, as opposed to the wire, if there was one."""
    sent, source = 0, iter(batches)
    while True:
        try:
            batch = next(source, None)
        except BaseException as error:
            return error
        if batch is None:
            writer.write_metadata(messages.encode(messages.LoadEnd(sent)))
            return None
        writer.write_batch(batch)
        sent += batch.num_rows
        if progress is not None:
            progress(sent)


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.split(". gRPC client debug context")[0].split(". Detail:")[0].removeprefix("Flight ")[:_MESSAGE_LENGTH]


@contextmanager
def _ignored(*errors: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except errors:
        pass


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held a lock; in the child there is only this one.
    for connection in list(_connections):
        connection._lock = threading.Lock()
        connection._making = threading.Lock()
        connection._forget_short_way()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
