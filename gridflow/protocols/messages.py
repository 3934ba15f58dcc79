"""What a client and a node of a grid say to each other, as bytes.

Every message, in either direction, is

    0   uint32, little endian: length of the header
    4   header: JSON, {"version": 3, "kind": "commit", ...the fields of its class}
    +   body: bytes of the one field that is not JSON, if its class has one

How a door carries them is the door's matter; ``server/flight.py`` says it for Arrow Flight. Most are answered with one
message; Sql, SystemView and Load come with rows, which travel as Arrow batches.

A version that one side does not know is refused with a clear error, never guessed at.
"""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_type_hints

from .. import errors
from ..config import MOST_BYTES, MOST_MILLISECONDS
from ..errors import GridConnectionError, GridflowError, InternalError, SchemaError, UsageError
from .fields import Most, Within, check_of
from .json_values import decode_values, encode_values

PROTOCOL_VERSION = 3
#: A header is small: what is big travels in the body or as Arrow batches. A table has columns, though.
MAX_HEADER_BYTES = 64 << 20
#: One Commit is one message, which over gRPC cannot pass 2 GiB.
MAX_OPERATIONS_BYTES = 1 << 30
#: The key of the schema's metadata under which SqlDone stands.
SQL_DONE = b"gridflow.sql"

OnDuplicate = Literal["error", "replace", "ignore"]
_UInt32 = Annotated[int, Within(0, (1 << 32) - 1)]
_UInt64 = Annotated[int, Within(0, (1 << 64) - 1)]
_Int32 = Annotated[int, Within(-(1 << 31), (1 << 31) - 1)]
_Int64 = Annotated[int, Within(-(1 << 63), (1 << 63) - 1)]
_Seconds = Annotated[int, Within(1, 3600)]
_Milliseconds = Annotated[int, Within(0, MOST_MILLISECONDS)]
_Bytes = Annotated[int, Within(0, MOST_BYTES)]
_Pid = Annotated[int, Within(1, (1 << 31) - 1)]
_ShortText = Annotated[str, Most(200)]
_Transaction = Annotated[str, Most(64)]
_Pairs = list[tuple[str, str]]

_LENGTH = struct.Struct("<I")
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Message:
    """Base of all messages; a subclass names its ``kind``. A field of bytes travels as the body."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True)
class Hello(Message):
    """The first words of a client over each new channel: who are you, and do we speak the same version?

    ``client`` names it among all; ``pid`` is its process, ``release`` its Gridflow's.
    """

    kind: ClassVar[str] = "hello"
    client: _ShortText
    pid: _Pid
    release: _ShortText


@dataclass(frozen=True)
class Goodbye(Message):
    """The last words of a client. One that was killed does not say them."""

    kind: ClassVar[str] = "goodbye"
    client: _ShortText


@dataclass(frozen=True)
class Welcome(Message):
    """A node's answer to Hello. ``partitions`` is what a table gets that is created without a count.

    ``home``: the grid's directory; empty for users who are no admins.
    ``small_port``: where it takes frames (``frames``) for who has come by this address; 0: nowhere.
    ``identity``: the grid's. ``run``: a random name of this node from its start to its end.
    """

    kind: ClassVar[str] = "welcome"
    pid: _Pid
    home: str
    release: str
    partitions: _Int32
    durability: str
    small_port: Annotated[int, Within(0, 65535)]
    identity: str
    run: _ShortText


@dataclass(frozen=True)
class OpenRing(Message):
    """Serve the ring (``ring_format.h``) that this client has made under this name in the grid's directory."""

    kind: ClassVar[str] = "open_ring"
    name: str


@dataclass(frozen=True)
class CreateTable(Message):
    """Make a table.

    ``columns``: name and type text of each column, in order; ``partitions`` None: the node's default; ``defaults`` and
    ``body`` are of ``encode_values``.
    """

    kind: ClassVar[str] = "create_table"
    name: str
    columns: _Pairs
    key: list[str]
    partitions: _Int32 | None
    if_not_exists: bool
    options: dict[str, Any]
    keep_versions: _Int32
    defaults: Any
    body: bytes


@dataclass(frozen=True)
class AlterTable(Message):
    """Change a table's columns: ``add`` and ``rename`` are pairs; ``values`` and ``body`` are of ``encode_values``.

    Those are two: the values that older rows have in new columns, and the DEFAULTs.
    """

    kind: ClassVar[str] = "alter_table"
    name: str
    add: _Pairs
    drop: list[str]
    rename: _Pairs
    values: Any
    body: bytes


@dataclass(frozen=True)
class DropTable(Message):
    """Drop a table and its rows."""

    kind: ClassVar[str] = "drop_table"
    name: str
    if_exists: bool


@dataclass(frozen=True)
class Truncate(Message):
    """Remove all rows of a table; ``table_id`` as of Commit. Done counts them."""

    kind: ClassVar[str] = "truncate"
    table: str
    table_id: _UInt32


@dataclass(frozen=True)
class Flush(Message):
    """Make every acknowledged write part of the segments; ``table`` None: of all tables.

    ``to_read``: for a reader, so that the version is none of those that are kept; and, unless it ``waits``, not where
    that would take long, as another writer holds the table.
    """

    kind: ClassVar[str] = "flush"
    table: str | None
    to_read: bool = False
    waits: bool = False


@dataclass(frozen=True)
class Compact(Message):
    """Merge the segments of one table and drop deleted rows."""

    kind: ClassVar[str] = "compact"
    table: str


@dataclass(frozen=True)
class Tag(Message):
    """Give a table's version of now a name; ``table_id`` as of Commit. Done counts nothing: it has the version."""

    kind: ClassVar[str] = "tag"
    table: str
    table_id: _UInt32
    name: str
    replace: bool


@dataclass(frozen=True)
class Untag(Message):
    """Take a tag away; ``table_id`` as of Commit."""

    kind: ClassVar[str] = "untag"
    table: str
    table_id: _UInt32
    name: str


@dataclass(frozen=True)
class Restore(Message):
    """Make the content of a version the newest; ``table_id`` as of Commit. Done has the number of the new version."""

    kind: ClassVar[str] = "restore"
    table: str
    table_id: _UInt32
    number: _UInt64


@dataclass(frozen=True)
class KeepVersions(Message):
    """Keep so many versions before the current one; ``table_id`` as of Commit."""

    kind: ClassVar[str] = "keep_versions"
    table: str
    table_id: _UInt32
    count: _Int32


@dataclass(frozen=True)
class Compress(Message):
    """Keep compressed copies of these columns, by name; ``table_id`` as of Commit."""

    kind: ClassVar[str] = "compress"
    table: str
    table_id: _UInt32
    columns: list[str]


@dataclass(frozen=True)
class Commit(Message):
    """Apply log operations (``log_format.h``) to one table, as one commit.

    ``table_id`` guards against a table that was dropped and made anew since the client encoded the rows, ``columns``
    (``RowCodec.digest``) against one that has got other columns.
    """

    kind: ClassVar[str] = "commit"
    table: str
    table_id: _UInt32
    columns: _UInt64
    mode: str
    operations: bytes


@dataclass(frozen=True)
class WriteBatch(Message):
    """The ``number``-th batch of a writer (1 is the first): operations as of Commit.

    It is committed once, however often it is sent: Done counts them, and 0 the next time.
    """

    kind: ClassVar[str] = "write_batch"
    table: str
    table_id: _UInt32
    columns: _UInt64
    mode: str
    writer: _ShortText
    number: Annotated[int, Within(1, (1 << 62))]
    operations: bytes


@dataclass(frozen=True)
class EndWriter(Message):
    """A writer has ended, and all of its batches are acknowledged: forget it."""

    kind: ClassVar[str] = "end_writer"
    writer: _ShortText


@dataclass(frozen=True)
class CommitTransaction(Message):
    """Apply log operations of any tables, as one commit, unless a row has changed since the transaction began.

    ``body`` is ``digests`` bytes of digests, then the operations (``Changes.operations``); ``columns`` are of each
    table its id and the digest of the columns that its rows were encoded for.
    """

    kind: ClassVar[str] = "commit_transaction"
    columns: list[tuple[_UInt32, _UInt64]]
    digests: _UInt64
    body: bytes


@dataclass(frozen=True)
class Done(Message):
    """It is done; ``count`` rows were concerned."""

    kind: ClassVar[str] = "done"
    count: _UInt64


@dataclass(frozen=True)
class Load(Message):
    """Batches for ``table`` follow; ``on_duplicate`` says what becomes of those whose key is there."""

    kind: ClassVar[str] = "load"
    table: str
    on_duplicate: OnDuplicate
    transaction: _Transaction = ""


@dataclass(frozen=True)
class LoadEnd(Message):
    """All ``count`` rows were sent. Without it the stream was cut, and nothing of it may be kept."""

    kind: ClassVar[str] = "load_end"
    count: _UInt64


@dataclass(frozen=True)
class Sql(Message):
    """Run ``text`` on the node; ``params`` and ``body`` are of ``json_values.encode_values``.

    ``run`` is what a Cancel calls this run of it: any text that no other run has. ``milliseconds`` and ``memory``
    (bytes) are what it may take, 0 for no limit. ``transaction``: which it is part of, of those that Begin has begun.
    """

    kind: ClassVar[str] = "sql"
    text: str
    params: Any
    body: bytes
    run: str = ""
    milliseconds: _Milliseconds = 0
    memory: _Bytes = 0
    transaction: _Transaction = ""


@dataclass(frozen=True)
class Cancel(Message):
    """End the Sql of this ``run``, if it still runs; Done counts it. Its own answer says how it ended."""

    kind: ClassVar[str] = "cancel"
    run: str


@dataclass(frozen=True)
class SqlDone(Message):
    """What a Result says besides its rows."""

    kind: ClassVar[str] = "sql_done"
    statement: str
    count: _Int64
    notes: list[str]


@dataclass(frozen=True)
class AskGrid(Message):
    """What does the grid take, and what was committed last? GridFacts answers."""

    kind: ClassVar[str] = "ask_grid"


@dataclass(frozen=True)
class GridFacts(Message):
    """The number of the last commit; bytes of the grid's files and free beside them, and whether they are in memory."""

    kind: ClassVar[str] = "grid_facts"
    last_commit: _UInt64
    used_bytes: _UInt64
    free_bytes: _UInt64
    in_memory: bool


@dataclass(frozen=True)
class Check(Message):
    """Read every byte of the grid. Problems answers."""

    kind: ClassVar[str] = "check"


@dataclass(frozen=True)
class Problems(Message):
    """What is wrong with a grid: file, offset (-1: all of it) and message of each."""

    kind: ClassVar[str] = "problems"
    problems: list[tuple[str, _Int64, str]]


@dataclass(frozen=True)
class ListTables(Message):
    """Which tables are there? Names answers."""

    kind: ClassVar[str] = "list_tables"


@dataclass(frozen=True)
class Names(Message):
    """Names of tables, sorted."""

    kind: ClassVar[str] = "names"
    names: list[str]


@dataclass(frozen=True)
class Describe(Message):
    """What is the table of this name? TableInfo answers; in a transaction, as that sees it."""

    kind: ClassVar[str] = "describe"
    name: str
    transaction: _Transaction = ""


@dataclass(frozen=True)
class TableInfo(Message):
    """What a client must know of a table to encode and decode its rows; ``schema``: ``row_operations.schema_bytes``."""

    kind: ClassVar[str] = "table_info"
    name: str
    table_id: _UInt32
    partitions: _Int32
    options: dict[str, Any]
    schema: bytes


@dataclass(frozen=True)
class Get(Message):
    """The row under an encoded key; ``table_id`` and ``columns`` as of Commit. Row answers."""

    kind: ClassVar[str] = "get"
    table: str
    table_id: _UInt32
    columns: _UInt64
    transaction: _Transaction
    key: bytes


@dataclass(frozen=True)
class Row(Message):
    """The encoded value of a row, if there is one."""

    kind: ClassVar[str] = "row"
    found: bool
    value: bytes


@dataclass(frozen=True)
class GetAll(Message):
    """The rows under the keys of ``removals``, as of Commit; else as Get. Rows answers."""

    kind: ClassVar[str] = "get_all"
    table: str
    table_id: _UInt32
    columns: _UInt64
    transaction: _Transaction
    removals: bytes


@dataclass(frozen=True)
class Rows(Message):
    """Operations that put rows: those that were found, in the order of the keys."""

    kind: ClassVar[str] = "rows"
    operations: bytes


@dataclass(frozen=True)
class Ask(Message):
    """What a method of a table says; ``arguments`` and ``body`` are of ``encode_values``. Answer answers."""

    kind: ClassVar[str] = "ask"
    table: str
    table_id: _UInt32
    method: Literal[
        "count", "version", "versions", "tags", "stats", "partitions", "memory", "get_all", "last", "number"
    ]
    transaction: _Transaction
    arguments: Any
    body: bytes


@dataclass(frozen=True)
class Answer(Message):
    """Values, as ``encode_values`` writes them."""

    kind: ClassVar[str] = "answer"
    values: Any
    body: bytes


@dataclass(frozen=True)
class Swap(Message):
    """Replace the row under a key, or remove it, if it is still as it was; ``table_id`` and ``columns`` as of Commit.

    ``body`` is ``key`` bytes of the encoded key, ``old`` of the value that it has (-1: there is no row), and ``new`` of
    the value that it gets (-1: it is removed). Done counts 1 if that was so, else 0 and nothing has happened.
    """

    kind: ClassVar[str] = "swap"
    table: str
    table_id: _UInt32
    columns: _UInt64
    key: _UInt32
    old: _Int64
    new: _Int64
    body: bytes


@dataclass(frozen=True)
class Begin(Message):
    """Begin a transaction, which the node keeps for this client (as of Hello) until End. Begun answers."""

    kind: ClassVar[str] = "begin"
    client: _ShortText


@dataclass(frozen=True)
class Begun(Message):
    """How the transaction is called from now on; it ends by itself if nothing is asked of it for so many seconds."""

    kind: ClassVar[str] = "begun"
    transaction: _Transaction
    seconds: _Int32


@dataclass(frozen=True)
class Write(Message):
    """Write to a table in a transaction: operations as of Commit. Done counts those that were applied."""

    kind: ClassVar[str] = "write"
    transaction: _Transaction
    table: str
    table_id: _UInt32
    columns: _UInt64
    mode: str
    operations: bytes


@dataclass(frozen=True)
class End(Message):
    """Commit a transaction, or roll it back. Done answers."""

    kind: ClassVar[str] = "end"
    transaction: _Transaction
    commit: bool


@dataclass(frozen=True)
class SqlMany(Message):
    """Run one statement with each of many sets of parameters, as one commit; Done counts all their rows."""

    kind: ClassVar[str] = "sql_many"
    text: str
    transaction: _Transaction
    sets: Any
    body: bytes


@dataclass(frozen=True)
class Scan(Message):
    """The rows of a table as a transaction sees it, of these columns and partitions; None: all."""

    kind: ClassVar[str] = "scan"
    table: str
    table_id: _UInt32
    transaction: _Transaction
    columns: list[str] | None
    partitions: list[_Int32] | None


@dataclass(frozen=True)
class AskVersion(Message):
    """Which files make up a version of a table: its newest, else that of ``number`` or ``tag``.

    They stay for ``seconds`` under ``lease``, any text that no other client has; see Hold.
    """

    kind: ClassVar[str] = "ask_version"
    table: str
    number: _UInt64 | None
    tag: str | None
    lease: _ShortText
    seconds: _Seconds


@dataclass(frozen=True)
class VersionIs(Message):
    """The answer to AskVersion: of each file name, bytes and fingerprint; ``manifest`` is that file's bytes.

    ``grid`` is the identity of the grid, which another may have taken the place of since the greeting.
    """

    kind: ClassVar[str] = "version_is"
    table: str
    table_id: _UInt32
    number: _UInt64
    files: list[tuple[str, _UInt64, _UInt64]]
    options: dict[str, Any]
    tags: list[tuple[str, _UInt64]]
    grid: _ShortText
    manifest: bytes


@dataclass(frozen=True)
class Hold(Message):
    """Have the files of these versions stay for ``seconds`` more, and no others of the lease.

    ``versions`` are pairs of a table's id and a number.
    Done counts those that are held: the node may have been started again, and knows none then.
    """

    kind: ClassVar[str] = "hold"
    lease: _ShortText
    seconds: _Seconds
    versions: list[tuple[_UInt32, _UInt64]]


@dataclass(frozen=True)
class Blocks(Message):
    """Ranges (begin, end) of a sealed file, which stream back in order; ``file`` as VersionIs has it."""

    kind: ClassVar[str] = "blocks"
    table_id: _UInt32
    file: tuple[str, _UInt64, _UInt64]
    ranges: list[tuple[_UInt64, _UInt64]]


@dataclass(frozen=True)
class SystemView(Message):
    """The rows of a view of schema SYS, as the node sees them; of these columns."""

    kind: ClassVar[str] = "system_view"
    name: str
    columns: list[str]


_KINDS: dict[str, type[Message]] = {c.kind: c for c in Message.__subclasses__()}
_Check = Callable[[Any], Any]
_known_fields: dict[type[Message], list[tuple[str, _Check | None]]] = {}
M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """The bytes of a message.

    >>> decode(encode(Flush("IMAGES")), Flush)
    Flush(table='IMAGES', to_read=False, waits=False)
    """
    header: dict[str, Any] = {"version": PROTOCOL_VERSION, "kind": message.kind}
    body = b""
    for name, check in _fields(type(message)):
        value = getattr(message, name)
        if check is None:
            body = value
        else:
            header[name] = value
    head = _JSON.encode(header).encode()
    return b"".join((_LENGTH.pack(len(head)), head, body))


def decode(data: bytes | memoryview, *expected: type[M]) -> M:
    """Read a message that must be of one of the ``expected`` classes.

    Every field is checked against its declared type, what lies in it too: who gets a message need not look again.

    Raises:
        GridConnectionError: the other side speaks another version, or the bytes are no message, or another one.
        UsageError: the header is no JSON, or a field is missing or holds what it cannot hold.
    """
    view = memoryview(data)
    if len(view) < _LENGTH.size:
        raise GridConnectionError(f"a message of {len(view)} bytes is cut short")
    (size,) = _LENGTH.unpack_from(view)
    if size > min(MAX_HEADER_BYTES, len(view) - _LENGTH.size):
        raise GridConnectionError(f"a message says its header has {size} bytes; it has {len(view)} in all")
    try:
        header = json.loads(bytes(view[_LENGTH.size : _LENGTH.size + size]), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"a message's header cannot be read: {error}") from None
    if not isinstance(header, dict):
        raise GridConnectionError("a message's header is not an object")
    version, kind = header.pop("version", None), header.pop("kind", None)
    if version != PROTOCOL_VERSION:
        raise GridConnectionError(
            f"the other side speaks version {version!r} of the protocol, this Gridflow speaks "
            f"{PROTOCOL_VERSION}; install the same release on both"
        )
    names = [c.kind for c in expected]
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None or cls not in expected:
        raise GridConnectionError(f"expected a message {' or '.join(names)}, found {kind!r}")
    values: dict[str, Any] = {}
    for name, check in _fields(cls):
        if check is None:
            values[name] = bytes(view[_LENGTH.size + size :])
            continue
        if name not in header:
            raise UsageError(f"message {kind} has no {name}")
        try:
            values[name] = check(header[name])
        except ValueError as error:
            raise UsageError(f"message {kind}: {name} {error}") from None
    return cls(**values)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _fields(cls: type[Message]) -> list[tuple[str, _Check | None]]:
    """Of each field of a message its name, and what checks its value (None: it is the body)."""
    known = _known_fields.get(cls)
    if known is None:
        types = get_type_hints(cls, include_extras=True)
        known = [(f.name, None if types[f.name] is bytes else check_of(types[f.name])) for f in fields(cls)]
        _known_fields[cls] = known
    return known


#: What an error may know besides its message, and the JSON that says it. Its key travels as ``encode_values`` has it.
_FACTS: dict[str, _Check] = {
    "table": check_of(str),
    "column": check_of(str),
    "line": check_of(_UInt64),
    "file": check_of(str),
    "offset": check_of(_UInt64),
    "errno": check_of(_UInt64),
    "strerror": check_of(str),
    "filename": check_of(str),
}


def encode_error(error: BaseException) -> bytes:
    """An error as bytes. One that is not Gridflow's becomes an InternalError that names it."""
    if not isinstance(error, GridflowError):
        error = InternalError(f"the node failed: {type(error).__name__}: {error}")
    body: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    body |= {name: fact for name in _FACTS if (fact := getattr(error, name, None)) is not None}
    if error.key is not None:
        with contextlib.suppress(SchemaError):  # what no column holds is no key of a row
            head, bytes_of_key = encode_values([error.key])
            body["key"] = [head, base64.b64encode(bytes_of_key).decode()]
    return json.dumps(body).encode()


def decode_error(data: bytes) -> GridflowError:
    """The error that ``encode_error`` wrote, of the same class; anything else is an InternalError."""
    try:
        body = json.loads(data)
        name, message = body["error"], str(body["message"])
    except (ValueError, TypeError, KeyError):
        return InternalError(f"the node sent an error that cannot be read: {data[:200]!r}")
    cls = vars(errors).get(name) if isinstance(name, str) else None
    if not (isinstance(cls, type) and issubclass(cls, GridflowError)):
        return InternalError(f"{name}: {message}")  # a newer node may have errors that we do not know
    error = cls(message)
    for name, check in _FACTS.items():
        with contextlib.suppress(ValueError):
            if body.get(name) is not None and hasattr(error, name):
                setattr(error, name, check(body[name]))
    with contextlib.suppress(KeyError, TypeError, ValueError):  # SchemaError is one
        head, bytes_of_key = body["key"]
        (key,) = decode_values(head, base64.b64decode(bytes_of_key))
        error.key = tuple(key) if isinstance(key, list) else key  # of several columns
    return error
