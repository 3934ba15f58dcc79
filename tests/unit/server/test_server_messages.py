"""The messages between a client and a node: bytes and back, and what damaged ones do."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import struct
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridflow import errors
from gridflow.config import SOCKET_NAME
from gridflow.protocols import messages
from gridflow.protocols.address import Endpoint, Route
from gridflow.protocols.json_values import decode_values, encode_values

EXAMPLES = [
    messages.Hello("a1", 7, "0.1.0"),
    messages.Goodbye("a1"),
    messages.OpenRing("0123.ring"),
    messages.Truncate("IMAGES", 3),
    messages.Tag("IMAGES", 3, "v1", True),
    messages.Untag("IMAGES", 3, "v1"),
    messages.Restore("IMAGES", 3, 2),
    messages.KeepVersions("IMAGES", 3, 2),
    messages.Compress("T", 7, ["X", "Y"]),
    messages.SystemView("TABLES", ["TABLE_NAME"]),
    messages.Welcome(7, "/dev/shm/grid", "0.1.0", 1024, "process", 10851, "f" * 32, "0a" * 16),
    messages.VersionIs("T", 1, 5, [("0000000000000001.seg", 100, 1 << 63)], {"x": 1}, [("v1", 5)], "f" * 32, b"bytes"),
    messages.CreateTable(
        "T", [("ID", "INT64 NOT NULL")], ["ID"], None, True, {"sql": {"template": "x"}}, 3, {"m": []}, b""
    ),
    messages.DropTable("Tä", False),
    messages.Flush(None),
    messages.Compact("T"),
    messages.AlterTable("T", [("N", "INT")], ["X"], [("A", "B")], [{"N": 1}, {}], b"x"),
    messages.Commit("T", 3, 1 << 63, "put", bytes(range(256))),
    messages.CommitTransaction([(3, 1 << 63)], 8, bytes(range(256))),
    messages.Done(5),
    messages.Load("T", "error"),
    messages.LoadEnd(1 << 40),
    messages.Sql("SELECT ?", [1], b""),
    messages.Sql("SELECT 1", [], b"", "run 1"),
    messages.Cancel("run 1"),
    messages.SqlDone("SELECT", 1, ["a note"]),
    messages.Names(["T"]),
    messages.TableInfo("T", 1, 1024, {"x": 1}, b"schema"),
    messages.Row(True, b"value"),
    messages.Rows(b"rows"),
    messages.Answer([1], b""),
    messages.Begun("abc", 600),
    messages.GridFacts(1, 2, 3, True),
    messages.Problems([("a.seg", -1, "it is gone")]),
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


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: m.kind)
def test_a_message_comes_back_as_it_was(message):
    assert messages.decode(messages.encode(message), type(message)) == message


def test_every_kind_of_message_is_tried_above():
    assert {type(m) for m in EXAMPLES} == set(messages.Message.__subclasses__())


def test_another_version_is_refused_and_named():
    head = json.dumps({"version": 99, "kind": "hello"}).encode()
    with pytest.raises(errors.GridConnectionError, match="speaks version 99 of the protocol, this .* 3"):
        messages.decode(struct.pack("<I", len(head)) + head, messages.Hello)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"kind": "flush", "table": "T"}, "expected a message hello"),
        ({"kind": "commit", "table": "T", "table_id": "3", "columns": 1, "mode": "put"}, "table_id is a str, not int"),
        (
            {"kind": "commit", "table": "T", "table_id": True, "columns": 1, "mode": "put"},
            "table_id is a bool, not int",
        ),
        ({"kind": "commit", "table": "T", "mode": "put"}, "no table_id"),
        ({"kind": ["commit"]}, "expected a message"),
        ([1, 2], "not an object"),
    ],
)
def test_a_message_of_another_form_is_refused(header, words):
    if isinstance(header, dict):
        header["version"] = messages.PROTOCOL_VERSION
    expected = messages.Commit if "commit" in str(header) else messages.Hello
    head = json.dumps(header).encode()
    with pytest.raises((errors.GridConnectionError, errors.UsageError), match=words):
        messages.decode(struct.pack("<I", len(head)) + head, expected)


@given(st.data())
def test_damaged_bytes_never_do_more_than_raise(data):
    good = bytearray(messages.encode(data.draw(st.sampled_from(EXAMPLES))))
    for _ in range(data.draw(st.integers(0, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(good[: data.draw(st.integers(0, len(good)))])
    try:
        messages.decode(cut, *messages.Message.__subclasses__())
    except (errors.GridConnectionError, errors.UsageError):
        pass


def test_an_error_keeps_its_class_its_words_and_its_place():
    for name, cls in vars(errors).items():
        if isinstance(cls, type) and issubclass(cls, errors.GridflowError):
            back = messages.decode_error(messages.encode_error(cls("no table X; there is Y")))
            assert type(back) is cls, name
            assert str(back) == "no table X; there is Y"
    back = messages.decode_error(messages.encode_error(errors.GridCorruptError("bad", "a.seg", 64)))
    assert (back.file, back.offset) == ("a.seg", 64)


def test_an_error_that_is_not_ours_is_an_internal_one():
    back = messages.decode_error(messages.encode_error(ZeroDivisionError("division by zero")))
    assert type(back) is errors.InternalError
    assert "ZeroDivisionError: division by zero" in str(back)
    for data in (
        b"",
        b"{}",
        b'{"error": "os", "message": "x"}',
        b'{"error": "did_you_mean", "message": "x"}',
    ):
        assert type(messages.decode_error(data)) is errors.InternalError


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(dt.timezone.utc))
    | st.timedeltas()
    | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=4))
def test_parameters_come_back_as_they_were(values):
    head, body = encode_values(values)
    back = decode_values(json.loads(json.dumps(head, allow_nan=False)), body)
    assert back == values
    assert [type(v) for v in back] == [type(v) for v in values]


def test_named_parameters_tensors_and_odd_numbers_come_back():
    pixels = np.arange(12, dtype=">u2").reshape(3, 4)
    given_values = {
        "p": pixels,
        "n": math.nan,
        "i": -math.inf,
        "f": np.float32(0.5),
        "d": np.datetime64("2024-02-29"),
    }
    head, body = encode_values(given_values)
    back = decode_values(json.loads(json.dumps(head)), body)
    np.testing.assert_array_equal(back["p"], pixels)
    assert back["p"].dtype == np.uint16 and back["p"].flags.writeable
    assert math.isnan(back["n"]) and back["i"] == -math.inf and back["f"] == 0.5
    assert back["d"] == np.datetime64("2024-02-29")
    assert decode_values(*encode_values(None)) is None
    assert decode_values(*encode_values([np.zeros((0, 3), np.int8)]))[0].shape == (0, 3)


def test_parameters_that_nobody_could_store_are_refused():
    with pytest.raises(errors.SchemaError, match="type object"):
        encode_values([object()])


@pytest.mark.parametrize(
    "head",
    [
        [{"b": [0, 99]}],
        [{"b": [-1, 2]}],
        [{"b": ["0", 2]}],
        [{"a": ["O", [1], 0, 8]}],
        [{"a": ["<i4", [9], 0, 4]}],
        [{"a": ["<i4", [1], 0]}],
        [{"x": 1}],
        [{"n": "many"}],
        [{"u": 3}],
        [{"m": [[[1], 2]]}],
        [{}],
        5,
        "text",
    ],
)
def test_damaged_parameters_are_refused(head):
    with pytest.raises(errors.SchemaError):
        decode_values(head, b"12345678")


def test_a_socket_is_reached_through_a_link_where_its_path_is_too_long(tmp_path):
    plain = Route(Endpoint.of_grid(Path("/dev/shm/grid")))
    assert plain.flight_uri == f"grpc+unix:///dev/shm/grid/{SOCKET_NAME}"
    for name in ("x" * 120, "with space", "ümlaut", "per%cent"):
        home = tmp_path / name
        home.mkdir()
        address = Route(Endpoint.of_grid(home))
        assert len(str(address.path).encode()) <= 103
        (home / SOCKET_NAME).write_text("here")
        assert address.path.read_text() == "here"
        folder = address.path.parent.parent
        address.close()
        address.close()
        assert not folder.exists() and home.exists()


def test_uuid_and_decimal_are_not_mistaken_for_text():
    assert decode_values(*encode_values([uuid.UUID(int=1), decimal.Decimal("1.50")])) == [
        uuid.UUID(int=1),
        decimal.Decimal("1.50"),
    ]
