"""Flight SQL: the commands, tickets and actions by which ADBC, JDBC and others run SQL at the Flight door of a node.

    GetFlightInfo(statement)     runs it; a query's rows wait for the one DoGet of the ticket, for a while
    GetSchema, prepare           say what the columns would be; nothing is run
    DoPut(update)                runs it, with each row of parameters; the answer counts rows
    DoPut(query)                 binds parameters to a prepared statement
    DoPut(ingest)                a load, as one commit
    BeginTransaction             a session of the node; the first statement in it begins the grid's transaction

Each is a message of ``protocols.messages`` to ``Requests``, as those of all doors are: ``access`` is asked there, and
statements are listed, watched and limited there. What clients hold (``handles``) is theirs alone, limited in number
and bytes, and goes when nobody has asked for it for a while: no client says goodbye when it dies. Rows that wait are
given to who may still read them.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.flight as flight

from ..catalog.grants import ADMIN, SELECT
from ..errors import (
    ColumnNotFoundError,
    GridAccessError,
    GridConnectionError,
    GridflowError,
    InternalError,
    KeyNotFoundError,
    QueryTimeoutError,
    SchemaError,
    TableExistsError,
    TableNotFoundError,
    TransactionConflictError,
    UsageError,
    VersionNotFoundError,
)
from ..protocols import messages
from ..protocols.flight_sql import decode, decode_any, encode, encode_any
from ..schema import Schema
from ..sql import Description, Result, Session, describe, run_chained
from ..storage.python_columns import python_values
from . import sql_metadata
from .access import Peer
from .guarded import demanded_of
from .handles import Handles
from .remote import demand_within
from .requests import Requests

_log = logging.getLogger("gridflow.server")

T = TypeVar("T")

#: Seconds that a transaction is open without a statement, a prepared statement is kept, and rows wait to be fetched.
TRANSACTION_SECONDS, STATEMENT_SECONDS, RESULT_SECONDS = 900.0, 3600.0, 120.0
#: How many of each one user may have, and all together.
MOST_TRANSACTIONS, MOST_STATEMENTS, MOST_RESULTS = (256, 1024), (4096, 16384), (64, 256)
#: Bytes of the prepared statements of one user, with the parameters that they are bound to, and of all.
MOST_STATEMENT_BYTES = 256 << 20, 1 << 30
#: Bytes of the results of one user that wait, and of all; of more the oldest go. One that is larger waits by itself.
MOST_RESULT_BYTES = 1 << 30, 4 << 30
#: Bytes of the parameters that come with one update, or are bound to one statement.
MOST_PARAMETER_BYTES = 256 << 20
#: Bytes that a batch of a result has about; ADBC takes no message of more than 16 MiB unless it is told to.
_BATCH_BYTES, _BATCH_ROWS = 2 << 20, 1 << 16
#: Seconds that a statement waits for another one of its transaction.
_TURN_SECONDS = 60.0
#: Characters of an error: gRPC takes 8 KiB of headers.
_MOST_TEXT = 2000
#: Seconds after the end of a stream within which gRPC tells that it was cut.
_CUT_SECONDS = 0.02

#: The schema metadata of an ingest that names the primary key, as ``ID`` or ``YEAR, ID``.
KEY = b"gridflow.key"

#: Action -> what it does.
ACTIONS = {
    "CreatePreparedStatement": "Flight SQL: parse a statement, to be executed with parameters.",
    "ClosePreparedStatement": "Flight SQL: forget a prepared statement.",
    "BeginTransaction": "Flight SQL: statements that name it are one transaction.",
    "EndTransaction": "Flight SQL: commit or roll back a transaction.",
    "CancelFlightInfo": "Flight: forget the rows of a query that were not fetched.",
    "CancelQuery": "Flight SQL: the old name of CancelFlightInfo.",
    "RenewFlightEndpoint": "Flight: have rows wait longer.",
    "SetSessionOptions": "Flight: choose the catalog and the schema, of which there is one each.",
    "GetSessionOptions": "Flight: the catalog and the schema.",
    "CloseSession": "Flight: there is none to close.",
}
#: Those that are known and refused.
_REFUSED = {
    "BeginSavepoint": "savepoints are not there; a statement that fails inside a transaction changes nothing",
    "EndSavepoint": "savepoints are not there",
    "CreatePreparedSubstraitPlan": "Substrait is not spoken here: send SQL",
}
#: Statements that say how many rows they have changed.
_CHANGES = ("INSERT", "MERGE", "UPDATE", "DELETE")
_CANCELLED, _NOT_CANCELLABLE, _NOT_CLOSEABLE = 1, 3, 3
_COMMIT, _ROLLBACK = 1, 2
_INVALID_NAME, _INVALID_VALUE = 1, 2
#: What an ingest does: where there is no such table, and where there is one.
_CREATE = 1
_APPEND, _REPLACE = 2, 3


@dataclass(frozen=True)
class Call:
    """A call of a client.

    Attributes:
        peer: who calls.
        is_gone: whether nobody waits for the answer any more.
    """

    peer: Peer
    is_gone: Callable[[], bool]

    @property
    def owner(self) -> str:
        """Whose handles it may use."""
        return self.peer.owner


@dataclass
class _Transaction:
    """A transaction of a client: a session, of which one call at a time makes use."""

    session: Session
    lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self) -> None:
        """Roll back, as nobody has asked for it any more."""
        self.session.drop("the transaction was idle for too long, and was rolled back: begin another one")


@dataclass(frozen=True)
class _Statement:
    """A prepared statement, and the rows of parameters that it is bound to."""

    text: str
    transaction: bytes | None
    description: Description
    rows: list[Any] | None = None


@dataclass(frozen=True)
class _Result:
    """Rows that wait to be fetched, and what was demanded to read them; see ``guarded.demanded_of``."""

    rows: pa.Table
    demanded: frozenset[tuple[int, str]]


class FlightSql:
    """Answers Flight SQL's calls about one grid; each method within ``errors_for_clients``. Any thread may call it.

    Args:
        requests: what carries them out.

    Attributes:
        requests: as given.
    """

    def __init__(self, requests: Requests):
        self.requests = requests
        each, most = MOST_TRANSACTIONS
        self._transactions: Handles[_Transaction] = Handles(
            "transaction",
            each=each,
            most=most,
            seconds=TRANSACTION_SECONDS,
            end=_Transaction.end,
            is_busy=lambda transaction: transaction.lock.locked(),
            refuses=True,
        )
        each, most = MOST_STATEMENTS
        each_bytes, most_bytes = MOST_STATEMENT_BYTES
        self._statements: Handles[list[_Statement]] = Handles(
            "prepared statement",
            each=each,
            most=most,
            seconds=STATEMENT_SECONDS,
            each_bytes=each_bytes,
            most_bytes=most_bytes,
        )
        each, most = MOST_RESULTS
        each_bytes, most_bytes = MOST_RESULT_BYTES
        self._results: Handles[_Result] = Handles(
            "result", each=each, most=most, seconds=RESULT_SECONDS, each_bytes=each_bytes, most_bytes=most_bytes
        )

    def close(self) -> None:
        """Roll back what is open and let go of everything."""
        for handles in (self._transactions, self._statements, self._results):
            handles.clear()

    # ---- queries ----

    def flight_info(self, call: Call, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
        """GetFlightInfo: run a query, and say where its rows are."""
        name, command = decode_any(descriptor.command or b"")
        demanded: set[tuple[int, str]] = set()
        if name in sql_metadata.SCHEMAS:
            schema = sql_metadata.schema_of(name, command)
            return flight.FlightInfo(schema, descriptor, [flight.FlightEndpoint(descriptor.command, [])], -1, -1)
        if name == "CommandStatementQuery":
            result = self._execute(call, command.query, None, _transaction_of(command), demanded)
        elif name == "CommandPreparedStatementQuery":
            (statement,) = self._statements.get(call.owner, command.prepared_statement_handle)
            result = self._execute_bound(call, statement, demanded)
        else:
            raise _no_command(name)
        if not result.columns:
            count = result.rowcount if result.statement in _CHANGES else -1
            return flight.FlightInfo(pa.schema([]), descriptor, [], count, -1)
        rows = result.to_arrow()
        held = _Result(rows, frozenset(one for one in demanded if one[1] in (SELECT, ADMIN)))
        handle = self._results.add(call.owner, held, min(rows.nbytes, MOST_RESULT_BYTES[0]))
        ticket = encode_any("TicketStatementQuery", statement_handle=handle)
        return flight.FlightInfo(rows.schema, descriptor, [flight.FlightEndpoint(ticket, [])], rows.num_rows, -1)

    def schema(self, call: Call, descriptor: flight.FlightDescriptor) -> flight.SchemaResult:
        """GetSchema: the columns that a query would give."""
        name, command = decode_any(descriptor.command or b"")
        if name in sql_metadata.SCHEMAS:
            return flight.SchemaResult(sql_metadata.schema_of(name, command))
        if name == "CommandStatementQuery":
            description = self._describe(call, command.query, _transaction_of(command))
        elif name == "CommandPreparedStatementQuery":
            (statement,) = self._statements.get(call.owner, command.prepared_statement_handle)
            description = self._describe(call, statement.text, statement.transaction)
        else:
            raise _no_command(name)
        return flight.SchemaResult(pa.schema([]) if description.rows is None else description.rows)

    def do_get(self, call: Call, ticket: bytes) -> flight.FlightDataStream:
        """DoGet: the rows of a ticket."""
        name, command = decode_any(ticket)
        if name in sql_metadata.SCHEMAS:
            infos = {
                100: sql_metadata.Bitmask(STATEMENT_SECONDS * 1000),
                101: sql_metadata.Bitmask(TRANSACTION_SECONDS * 1000),
            }
            rows = sql_metadata.answer(name, command, lambda view, columns: self._view(call, view, columns), infos)
        elif name == "TicketStatementQuery":
            result = self._results.take(call.owner, command.statement_handle)
            self.requests.ask_again(call.peer, result.demanded)
            rows = result.rows
        else:
            raise _no_command(name)
        return flight.RecordBatchStream(in_batches(rows))

    def _view(self, call: Call, name: str, columns: list[str]) -> pa.Table:
        return self.requests.view(messages.SystemView(name, columns), call.peer)

    def _execute_bound(self, call: Call, statement: _Statement, demanded: set[tuple[int, str]] | None = None) -> Result:
        """Execute a prepared statement with the parameters that it is bound to."""
        rows = statement.rows
        if statement.transaction is not None and not self._transactions.has(call.owner, statement.transaction):
            raise UsageError(
                "the statement was prepared in a transaction that has ended: prepare it again; with ADBC take another "
                "cursor after commit() or rollback()"
            )
        if rows is None or len(rows) == 1:
            params = rows[0] if rows else None
            return self._execute(call, statement.text, params, statement.transaction, demanded)
        if statement.description.gives_rows:
            raise UsageError(f"a query takes one row of parameters, not {len(rows)}")
        return self._in_session(
            call, statement.text, statement.transaction, lambda session: session.execute_many(statement.text, rows)
        )

    def _execute(
        self,
        call: Call,
        text: str,
        params: Any,
        transaction: bytes | None,
        demanded: set[tuple[int, str]] | None = None,
    ) -> Result:
        """Execute a text; what is demanded for it is added to ``demanded``."""

        def execute(session: Session) -> Result:
            if transaction is None:
                result = session.execute(text, params)
            else:
                result = run_chained(session, session.execute, text, params)
            if demanded is not None:
                demanded.update(demanded_of(session))
            return result

        return self._in_session(call, text, transaction, execute)

    def _in_session(self, call: Call, text: str, transaction: bytes | None, execute: Callable[[Session], T]) -> T:
        """Have a text executed in the session of a transaction; None: in one of its own."""
        if not text:
            raise UsageError("a command of Flight SQL has no statement")
        message = messages.Sql(text, None, b"", run=secrets.token_hex(16))
        if transaction is None:
            return self.requests.run(message, call.peer, execute, call.is_gone)
        with _turn(self._transactions.get(call.owner, transaction)) as session:
            return self.requests.run(message, call.peer, execute, call.is_gone, session)

    def _describe(self, call: Call, text: str, transaction: bytes | None) -> Description:
        return self._in_session(
            call, text, transaction, lambda session: describe(session.transaction or session.grid, text)
        )

    # ---- DoPut ----

    def do_put(
        self,
        call: Call,
        command: bytes,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """DoPut: run an update, bind parameters, or load rows."""
        name, put = decode_any(command)
        if name == "CommandStatementUpdate":
            count = self._execute(call, put.query, None, _transaction_of(put)).rowcount
        elif name == "CommandPreparedStatementUpdate":
            held = self._statements.get(call.owner, put.prepared_statement_handle)
            bound = replace(held[0], rows=_parameters(reader, held[0])[0])
            count = 0 if bound.rows == [] else self._execute_bound(call, bound).rowcount
        elif name == "CommandPreparedStatementQuery":
            held = self._statements.get(call.owner, put.prepared_statement_handle)
            rows, size = _parameters(reader, held[0])
            self._statements.resize(call.owner, put.prepared_statement_handle, size + len(held[0].text))
            held[0] = replace(held[0], rows=rows)
            return
        elif name == "CommandStatementIngest":
            count = self._ingest(call, put, reader)
        else:
            raise _no_command(name)
        writer.write(encode("DoPutUpdateResult", record_count=count))

    def _ingest(self, call: Call, command: Any, reader: flight.MetadataRecordBatchReader) -> int:
        """Load rows into a table that is there, or is made of their columns."""
        if command.temporary:
            raise NotImplementedError("temporary tables are not there: ingest into a table, and drop it afterwards")
        for part, known in (("catalog", ""), ("schema", sql_metadata.PUBLIC)):
            value = getattr(command, part)
            if value and value.upper() != known:
                raise UsageError(
                    f"no {part} {value}: tables are in schema {sql_metadata.PUBLIC}, and there is no catalog"
                )
        options = command.table_definition_options
        tables = self._view(call, "TABLES", ["TABLE_NAME"]).column(0).to_pylist()
        name = next(iter(sql_metadata.like(tables, sql_metadata.escape(command.table))), command.table)
        exists = name in tables
        if exists and options.if_exists not in (_APPEND, _REPLACE):
            raise TableExistsError(f"table {name} is there already: ingest with mode append or replace", table=name)
        if not exists and options.if_not_exist != _CREATE:
            raise TableNotFoundError(f"no table {name}: ingest with mode create, or create it before", table=name)
        is_new = not exists or options.if_exists == _REPLACE
        create = _creation(name, reader.schema) if is_new else None
        transaction = _transaction_of(command)
        if create is not None and transaction is not None:
            raise UsageError("a transaction makes no tables: create it before, and ingest with mode append")
        if create is not None and exists:
            self.requests.handle(messages.DropTable(name, True), call.peer)
        if create is not None:
            self.requests.handle(create, call.peer)
        try:
            return self._load(call, name, transaction, reader)
        except BaseException:
            if create is not None:  # of a table that nobody has seen filled nothing is left
                self.requests.handle(messages.DropTable(name, True), call.peer)
            raise

    def _load(self, call: Call, name: str, transaction: bytes | None, reader: flight.MetadataRecordBatchReader) -> int:
        stream = _whole_stream(reader, call.is_gone)
        message = messages.Load(name, "error")
        if transaction is None:
            return self.requests.load(message, reader.schema, stream, call.peer).count
        self.requests.allow(message, call.peer)

        def load(session: Session) -> int:
            if session.transaction is None:
                session.begin()
            assert session.transaction is not None
            demand_within(session.transaction, message)
            batches = (one for one in stream if not isinstance(one, messages.LoadEnd))
            return session.transaction.table(name).load(pa.RecordBatchReader.from_batches(reader.schema, batches))

        return self._in_session(call, f"INSERT INTO {name}", transaction, load)

    # ---- actions ----

    def do_action(self, call: Call, kind: str, body: bytes) -> list[bytes]:
        """DoAction: an action of ``ACTIONS``."""
        if kind in _REFUSED:
            raise NotImplementedError(_REFUSED[kind])
        if kind not in ACTIONS:
            raise NotImplementedError(f"no action {kind}; there are {', '.join(ACTIONS)}")
        if kind in ("CancelFlightInfo", "CancelQuery"):
            return [self._cancel(call, kind, body)]
        if kind == "RenewFlightEndpoint":
            endpoint = decode("RenewFlightEndpointRequest", body).endpoint
            self._results.get(call.owner, _handle_of(endpoint.ticket.ticket))
            return [endpoint.SerializeToString()]
        if kind == "SetSessionOptions":
            return [_set_options(decode("SetSessionOptionsRequest", body))]
        if kind == "GetSessionOptions":
            decode("GetSessionOptionsRequest", body)
            options = [("catalog", ""), ("schema", sql_metadata.PUBLIC)]
            values = [{"key": name, "value": {"string_value": text}} for name, text in options]
            return [encode("GetSessionOptionsResult", session_options=values)]
        if kind == "CloseSession":
            decode("CloseSessionRequest", body)
            return [encode("CloseSessionResult", status=_NOT_CLOSEABLE)]
        name, request = decode_any(body)
        if name != f"Action{kind}Request":
            raise UsageError(f"the action {kind} comes with {name}")
        return self._of_sql(call, kind, request)

    def _of_sql(self, call: Call, kind: str, request: Any) -> list[bytes]:
        if kind == "CreatePreparedStatement":
            return [self._prepare(call, request)]
        if kind == "ClosePreparedStatement":
            with contextlib.suppress(UsageError):  # one that is gone is closed
                self._statements.take(call.owner, request.prepared_statement_handle)
            return []
        if kind == "BeginTransaction":
            self.requests.allow(messages.Sql("BEGIN", None, b""), call.peer)
            handle = self._transactions.add(call.owner, _Transaction(self.requests.session(call.peer)))
            return [encode_any("ActionBeginTransactionResult", transaction_id=handle)]
        if request.action not in (_COMMIT, _ROLLBACK):
            raise UsageError(
                f"a transaction ends with {_COMMIT}, commit, or {_ROLLBACK}, roll back, not {request.action}"
            )
        held = self._transactions.get(call.owner, request.transaction_id)
        with _turn(held) as session:
            self._transactions.take(call.owner, request.transaction_id)
            end = Session.commit if request.action == _COMMIT else Session.rollback
            message = messages.Sql("COMMIT", None, b"", run=secrets.token_hex(16))
            try:
                self.requests.run(message, call.peer, end, session=session)
            finally:
                session.rollback()  # of one that was not to be committed, nothing is left open
        return []

    def _prepare(self, call: Call, request: Any) -> bytes:
        transaction = _transaction_of(request)
        description = self._describe(call, request.query, transaction)
        statement = _Statement(request.query, transaction, description)
        handle = self._statements.add(call.owner, [statement], len(request.query))
        parameters = description.parameters
        return encode_any(
            "ActionCreatePreparedStatementResult",
            prepared_statement_handle=handle,
            dataset_schema=b"" if description.rows is None else description.rows.serialize().to_pybytes(),
            parameter_schema=parameters.serialize().to_pybytes() if len(parameters) else b"",
            is_update=not description.gives_rows,
        )

    def _cancel(self, call: Call, kind: str, body: bytes) -> bytes:
        if kind == "CancelFlightInfo":
            info = decode("CancelFlightInfoRequest", body).info
        else:
            name, request = decode_any(body)
            if name != "ActionCancelQueryRequest":
                raise UsageError(f"the action {kind} comes with {name}")
            info = decode("FlightInfo", request.info)
        status = _NOT_CANCELLABLE
        for endpoint in info.endpoint:
            with contextlib.suppress(UsageError):  # fetched, or gone
                self._results.take(call.owner, _handle_of(endpoint.ticket.ticket))
                status = _CANCELLED
        if kind == "CancelFlightInfo":
            return encode("CancelFlightInfoResult", status=status)
        return encode_any("ActionCancelQueryResult", result=status)


def _handle_of(ticket: bytes) -> bytes:
    name, command = decode_any(ticket)
    if name != "TicketStatementQuery":
        raise UsageError("the ticket is not that of a query")
    return bytes(command.statement_handle)


def _no_command(name: str) -> NotImplementedError:
    if "Substrait" in name:
        return NotImplementedError("Substrait is not spoken here: send SQL")
    return NotImplementedError(f"a {name} does not belong in this call")


def _transaction_of(command: Any) -> bytes | None:
    """The transaction that a command names; empty is none, as some drivers have it."""
    return bytes(command.transaction_id) or None


@contextlib.contextmanager
def _turn(transaction: _Transaction) -> Iterator[Session]:
    """The session of a transaction, when no other call makes use of it."""
    if not transaction.lock.acquire(timeout=_TURN_SECONDS):
        raise UsageError("another statement of the transaction still runs")
    try:
        yield transaction.session
    finally:
        transaction.lock.release()


def _set_options(request: Any) -> bytes:
    errors = []
    for option in request.session_options:
        known = {"catalog": "", "schema": sql_metadata.PUBLIC}.get(option.key)
        if known is None:
            errors.append({"key": option.key, "value": {"value": _INVALID_NAME}})
        elif option.value.string_value.upper() != known:
            errors.append({"key": option.key, "value": {"value": _INVALID_VALUE}})
    return encode("SetSessionOptionsResult", errors=errors)


# ---- rows ----


def _parameters(reader: flight.MetadataRecordBatchReader, statement: _Statement) -> tuple[list[Any] | None, int]:
    """The rows of parameters that a client sends, None if it sends no columns; and how many bytes they are."""
    marks = statement.description.parameters.names
    rows: list[Any] = []
    size = 0
    for chunk in reader:
        if chunk.data is None:
            continue
        size += chunk.data.nbytes
        if size > MOST_PARAMETER_BYTES:
            raise UsageError(
                f"more than {MOST_PARAMETER_BYTES >> 20} MiB of parameters: ingest them, or send fewer at once"
            )
        batch = chunk.data
        if not batch.num_columns:
            continue
        if statement.description.named and set(marks) <= set(batch.schema.names):
            batch = batch.select(marks)
        columns = [python_values(_plain(column)) for column in batch.columns]
        values = zip(*columns, strict=True)
        rows += (
            [dict(zip(marks, row, strict=False)) for row in values]
            if statement.description.named
            else map(list, values)
        )
    return (rows if len(reader.schema) else None), size


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _whole_stream(
    reader: flight.MetadataRecordBatchReader, is_gone: Callable[[], bool]
) -> Iterator[pa.RecordBatch | messages.LoadEnd]:
    """The batches of a stream, and its end if it was not cut. Flight SQL has no word for the end of an ingest."""
    count = 0
    for chunk in reader:
        if chunk.data is not None:
            count += chunk.data.num_rows
            yield chunk.data
    give_up = time.monotonic() + _CUT_SECONDS
    while not is_gone():
        if time.monotonic() > give_up:
            yield messages.LoadEnd(count)
            return
        time.sleep(_CUT_SECONDS / 10)
    raise GridConnectionError(f"the stream was cut after {count} rows; nothing of it was kept")


def _creation(name: str, columns: pa.Schema) -> messages.CreateTable:
    """The message that makes a table of the columns of rows."""
    key = _key_of(columns)
    if not key:
        raise UsageError(
            f"table {name} needs a primary key: name it in the metadata of the rows' schema ({KEY.decode()}: 'ID', or "
            "'YEAR, ID'), give a pandas frame an index with a name, or CREATE TABLE before and ingest with mode append"
        )
    schema = Schema.of(pa.schema(columns), key)
    pairs = [(column.name, str(column.type)) for column in schema.columns]
    return messages.CreateTable(name, pairs, key, None, False, {}, 0, {"m": []}, b"")


def _key_of(columns: pa.Schema) -> list[str]:
    """The columns that are to be the primary key, as the schema's metadata has it; else the index of a pandas frame."""
    metadata = columns.metadata or {}
    if KEY in metadata:
        return [name.strip().strip('"') for name in metadata[KEY].decode(errors="replace").split(",")]
    pandas = columns.pandas_metadata or {}
    return [name for name in pandas.get("index_columns", ()) if isinstance(name, str) and name in columns.names]


def in_batches(rows: pa.Table) -> pa.Table:
    """Rows cut so that a batch is a message of moderate size; nothing is copied.

    >>> len(in_batches(pa.table({"A": range(200_000)})).to_batches())
    4
    """
    if not rows.num_rows:
        return rows
    each = max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows.num_rows // max(rows.nbytes, 1)))
    batches = [piece for batch in rows.to_batches(max_chunksize=each) for piece in _halved(batch)]
    return pa.Table.from_batches(batches, rows.schema)


def _halved(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch whose rows are larger than most in pieces."""
    if batch.num_rows > 1 and batch.nbytes > 4 * _BATCH_BYTES:
        half = batch.num_rows // 2
        yield from _halved(batch.slice(0, half))
        yield from _halved(batch.slice(half))
    else:
        yield batch


# ---- errors ----


@contextlib.contextmanager
def errors_for_clients() -> Iterator[None]:
    """Send an error as a status with its text, as clients of Flight SQL know them."""
    try:
        yield
    except flight.FlightError:
        raise
    except (NotImplementedError, GridflowError) as error:
        raise _status(error) from None
    except pa.ArrowException as error:  # of a client's rows
        raise _status(UsageError(str(error))) from None
    except Exception as error:
        _log.exception("a request failed")
        raise flight.FlightInternalError(f"the node failed: {type(error).__name__}: {_text(error)}") from None


#: Errors -> what pyarrow makes of them: PERMISSION_DENIED, DEADLINE_EXCEEDED, NOT_FOUND, UNKNOWN, UNAVAILABLE, ...
_STATUSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[Exception]], ...] = (
    (GridAccessError, flight.FlightUnauthorizedError),
    (QueryTimeoutError, flight.FlightTimedOutError),
    (TransactionConflictError, flight.FlightServerError),
    (GridConnectionError, flight.FlightUnavailableError),
    (InternalError, flight.FlightInternalError),
    ((TableNotFoundError, ColumnNotFoundError, KeyNotFoundError, VersionNotFoundError), pa.ArrowKeyError),
    ((UsageError, SchemaError), pa.ArrowInvalid),
    (NotImplementedError, pa.ArrowNotImplementedError),
    (GridflowError, flight.FlightServerError),
)


def _status(error: Exception) -> Exception:
    base = next(status for classes, status in _STATUSES if isinstance(error, classes))
    if issubclass(base, flight.FlightError):
        return base(_text(error))
    return without_traceback(base, type(error).__name__)(_text(error))  # type: ignore[arg-type]  # classes are hashable


@cache
def without_traceback(base: type[Exception], name: str) -> type[Exception]:
    """An exception that goes to a client with its name alone.

    pyarrow adds to the text of all but its own Flight errors, which know few statuses, the traceback as Python formats
    it, and where that fails the name of the class. So it has to fail: no client is to see this machine's paths.
    """

    def refuse(self: Exception) -> bool:
        raise AttributeError("not for clients")

    return type(name, (base,), {"__suppress_context__": property(refuse)})


def _text(error: Exception) -> str:
    text = str(error)
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + " ..."
