"""What a client sends is its mistake: each field of each message replaced by values of other kinds."""

from __future__ import annotations

import contextlib
import json
import logging
import struct
from dataclasses import fields
from typing import Annotated, get_args, get_origin, get_type_hints
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gridflow
from gridflow.config import MOST_BYTES, MOST_MILLISECONDS
from gridflow.errors import (
    GridConnectionError,
    GridEnvironmentError,
    GridflowError,
    GridNotFoundError,
    InternalError,
    UsageError,
)
from gridflow.protocols import messages
from gridflow.protocols.address import Endpoint
from gridflow.server.access import Peer
from gridflow.server.requests import Requests
from gridflow.server.small import Carrier
from gridflow.testing import temporary_home

REQUESTS = [
    messages.Hello("a1", 7, "0.1.0"),
    messages.Goodbye("a1"),
    messages.OpenRing("0123.ring"),
    messages.CreateTable(
        "N", [("ID", "INT64 NOT NULL")], ["ID"], None, True, {"TEMPLATE": "x"}, 3, {"m": [["ID", 1]]}, b"x"
    ),
    messages.AlterTable("T", [("N", "INT")], [], [("X", "Y")], [{"m": [["N", 1]]}, {"m": []}], b"x"),
    messages.DropTable("NONE", True),
    messages.Truncate("T", 1),
    messages.Flush("T"),
    messages.Compact("T"),
    messages.Tag("T", 1, "v1", True),
    messages.Untag("T", 1, "v1"),
    messages.Restore("T", 1, 2),
    messages.KeepVersions("T", 1, 2),
    messages.Compress("T", 1, ["X"]),
    messages.Commit("T", 1, 1, "put", b"1234"),
    messages.CommitTransaction([(1, 1)], 8, bytes(20)),
    messages.Cancel("run 1"),
    messages.Sql("SELECT ?", [1], b"", "run"),
    messages.SystemView("TABLES", ["TABLE_NAME"]),
    messages.Load("T", "replace"),
    messages.ListTables(),
    messages.Describe("T"),
    messages.Get("T", 1, 1, "", b"12345678"),
    messages.GetAll("T", 1, 1, "", b"1234"),
    messages.Ask("T", 1, "get_all", "", [{"l": [1]}, None], b""),
    messages.Swap("T", 1, 1, 8, -1, -1, b"12345678"),
    messages.Begin("a1"),
    messages.Write("none", "T", 1, 1, "put", b"1234"),
    messages.End("none", True),
    messages.SqlMany("INSERT INTO T VALUES (?, ?)", "", [{"l": [7, 7]}], b""),
    messages.Scan("T", 1, "", ["ID"], [0, 1]),
    messages.AskGrid(),
    messages.Check(),
    messages.WriteBatch("T", 1, 1, "put", "w1", 1, b"1234"),
    messages.EndWriter("w1"),
    messages.AskVersion("T", None, "v1", "lease", 20),
    messages.Hold("lease", 20, [(1, 2)]),
    messages.Blocks(1, ("0000000000000001.seg", 100, 1 << 63), [(0, 50), (60, 100)]),
]
DEEP: object = 1
for _ in range(400):
    DEEP = [DEEP]
ODD = st.sampled_from(
    [None, True, 0, -1, 1 << 31, 1 << 32, 1 << 63, 1 << 64, 10**400, 0.5, 1e308, "", "T", "\ud800", "\0", "x" * 5000]
    + [[], [None], [[None]], [[1, 2]], [["a", "b", "c"]], [["", ""]], {}, {"x": None}, {"m": [[1, 2]]}, {"m": [None]}]
    + [{"a": ["<f8", [1 << 62], 0, 8]}, {"b": [0, 1 << 70]}, {"n": "nan"}, {"td": [1e300]}, DEEP]
)
ANYTHING = ODD | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def test_every_request_is_tried_here():
    answers = {messages.Welcome, messages.Done, messages.LoadEnd, messages.SqlDone, messages.Names, messages.TableInfo}
    answers |= {messages.Row, messages.Rows, messages.Answer, messages.Begun, messages.GridFacts, messages.Problems}
    answers |= {messages.VersionIs}
    assert {type(message) for message in REQUESTS} | answers == set(messages.Message.__subclasses__())


@pytest.fixture(scope="module")
def requests():
    with temporary_home() as home, gridflow.connect(home / "grid") as grid:
        grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID").put(1, {"X": 1})
        yield Requests(grid.open_grid, "process")


def ask(requests: Requests, data: bytes, kind: type[messages.Message]) -> None:
    """Have a message carried out as the doors have it."""
    peer = Peer(Endpoint.of_grid(requests.grid.home))
    message = messages.decode(data, kind)
    if isinstance(message, messages.Sql):
        requests.query(message, peer)
    elif isinstance(message, messages.SystemView):
        requests.view(message, peer)
    elif isinstance(message, messages.Scan):
        requests.scan(message, peer)
    elif isinstance(message, messages.Blocks):
        with contextlib.suppress(GridNotFoundError):  # what a reader has to know from its own mistakes
            requests.blocks(message, peer)
    elif not isinstance(message, messages.Load):
        requests.handle(message, peer)


def packed(header: object, body: bytes = b"") -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(head)) + head + body


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_field_that_holds_something_else(requests, data):
    message = data.draw(st.sampled_from([each for each in REQUESTS if fields(each)]))
    names = [field.name for field in fields(message) if not isinstance(getattr(message, field.name), bytes)]
    raw = messages.encode(message)
    (size,) = struct.unpack_from("<I", raw)
    header = json.loads(raw[4 : 4 + size])
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)):
        if data.draw(st.integers(0, 9)) == 0:
            header.pop(name, None)
        else:
            header[name] = data.draw(ANYTHING)
    table = requests.grid.table("T") if "T" in requests.grid.tables() else None
    if table is None:  # a message that is right after all has dropped it
        requests.grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID")
    try:
        ask(requests, packed(header, raw[4 + size :]), type(message))
    except GridflowError as error:
        assert not isinstance(error, (InternalError, GridEnvironmentError)), repr(error)


@pytest.mark.parametrize(
    "header",
    [
        b'{"version": 3, "kind": "flush", "table": NaN}',
        b'{"version": 3, "kind": "flush", "table": 1' + b"0" * 10_000 + b"}",
        b"[" * 100_000,
        b"\xff",
        b"null",
        b'{"version": 3, "kind": "hello"}',
        b'{"version": 3, "kind": null}',
    ],
)
def test_what_is_no_message(requests, header):
    with pytest.raises((UsageError, GridConnectionError)):
        ask(requests, packed(header), messages.Flush)


def test_a_greeting_with_a_huge_pid_spoils_nothing(requests):
    hello = {"version": messages.PROTOCOL_VERSION, "kind": "hello", "client": "x", "pid": 1 << 70, "release": "0"}
    before = requests.grid.system_view("CLIENT_CONNECTIONS").num_rows
    with pytest.raises(UsageError, match="message hello: pid is 1180591620717411303424, not a number from 1 to"):
        ask(requests, packed(hello), messages.Hello)
    assert requests.grid.system_view("CLIENT_CONNECTIONS").num_rows == before
    assert requests.grid.system_view("METRICS").num_rows > 10


def test_a_limit_of_more_than_a_clock_has_was_a_bug_of_ours(requests):
    for name, most in (("milliseconds", MOST_MILLISECONDS), ("memory", MOST_BYTES)):
        for value in (most + 1, 10**400, -1):
            with pytest.raises(UsageError, match=f"message sql: {name} is .*, not a number from 0 to {most}"):
                ask(requests, messages.encode(messages.Sql("SELECT 1", [], b"", "run", **{name: value})), messages.Sql)
        ask(requests, messages.encode(messages.Sql("SELECT 1", [], b"", "run", **{name: most})), messages.Sql)
    for name, most in (("QUERY_TIMEOUT", MOST_MILLISECONDS), ("QUERY_MEMORY", MOST_BYTES)):
        for value in (most + 1, "9" * 5000):
            with pytest.raises(gridflow.SqlError, match=f"{name} is {most} .* at most; 0 is no limit"):
                requests.grid.handle.sql(f"SET {name} = {value}")
        try:
            requests.grid.handle.sql(f"SET {name} = {most}")
            assert requests.grid.handle.sql("SELECT SUM(X) FROM T").fetchall()
        finally:
            requests.grid.handle.sql(f"SET {name} = 0")


def test_every_number_of_a_message_has_bounds():
    """As Python's have none, and what they become has."""

    def bare(declared: object) -> bool:
        return declared is int or (get_origin(declared) is not Annotated and any(map(bare, get_args(declared))))

    for kind in messages.Message.__subclasses__():
        declared = get_type_hints(kind, include_extras=True)
        assert [name for name in declared if bare(declared[name])] == [], kind


def test_clients_that_greet_and_never_leave(requests):
    with mock.patch("gridflow.catalog.activity.MOST_CLIENTS", 50):
        for number in range(120):
            requests.grid._activity.connected(f"client {number}", 1, "0")
    assert [client.number for client in requests.grid._activity.clients(lambda pid: True)][-1] >= 120
    assert len(requests.grid._activity.clients(lambda pid: True)) == 50


def test_a_bad_message_by_a_ring_is_no_bug_of_ours(requests, caplog):
    carrier = Carrier(requests)
    with pytest.raises(UsageError) as raised:
        messages.decode(packed({"version": messages.PROTOCOL_VERSION, "kind": "sql", "text": 5}), messages.Sql)
    with caplog.at_level(logging.DEBUG):
        answer = carrier.describe(raised.value)
    assert isinstance(messages.decode_error(answer), UsageError) and not caplog.records
