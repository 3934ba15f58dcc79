"""Flight SQL at the door of a node: what ADBC's driver, which others wrote, does with it; and what is sent wrong."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
import pytest

from gridflow.errors import UsageError
from gridflow.protocols import flight_sql as protocol
from gridflow.protocols.address import Endpoint
from gridflow.server import Node, lab_certificates, sql_metadata, tls
from gridflow.server import flight_sql as server
from gridflow.server.access import Peer
from gridflow.server.flight import FlightService
from gridflow.server.handles import Handles
from gridflow.server.requests import Requests
from gridflow.testing import temporary_home

from ...kind_samples import SAMPLES

adbc = pytest.importorskip("adbc_driver_flightsql.dbapi")


@pytest.fixture(scope="module")
def node():
    with temporary_home() as home:
        node = Node(home)
        yield node
        node.stop()


@pytest.fixture
def uri(node):
    return f"grpc+unix://{node.home}/serve.sock"


@pytest.fixture
def connection(uri):
    with adbc.connect(uri, autocommit=True) as connection:
        yield connection


@pytest.fixture
def table(node):
    """A table of two rows, and none beside it."""
    for name in node.grid.tables():
        node.grid.drop_table(name)
    node.grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)")
    node.grid.sql("INSERT INTO T VALUES (1, 'one'), (2, 'two')")
    return node.grid.table("T")


def rows(connection, text, params=None):
    with connection.cursor() as cursor:
        cursor.execute(text, params)
        return cursor.fetchall()


# ---- statements ----


def test_queries_and_updates(connection, table):
    assert rows(connection, "SELECT * FROM T ORDER BY ID") == [(1, "one"), (2, "two")]
    assert rows(connection, "SELECT NAME FROM T WHERE ID = ?", (2,)) == [("two",)]
    assert rows(connection, "SELECT SUM(ID) FROM T") == [(3,)]
    with connection.cursor() as cursor:
        for text, count in (("UPDATE T SET NAME = 'x'", 2), ("DELETE FROM T WHERE ID = 1", 1), ("SELECT * FROM T", 1)):
            cursor.execute(text)
            assert cursor.rowcount == count, text
        cursor.executemany("INSERT INTO T VALUES (?, ?)", [(i, str(i)) for i in range(10, 110)])
        assert cursor.rowcount == 100
        cursor.executemany("INSERT INTO T VALUES (?, ?)", [])
        cursor.execute("CREATE TABLE U (ID LONG PRIMARY KEY)")
        assert cursor.fetchall() == []
        cursor.execute("INSERT INTO U VALUES (1); SELECT COUNT(*) FROM U")
        assert cursor.fetchall() == [(1,)]
        cursor.executescript("DELETE FROM U; DROP TABLE U")
    assert len(table) == 101
    assert rows(connection, "SHOW TABLES") == [("T", "PUBLIC")]
    assert [row[0] for row in rows(connection, "DESCRIBE TABLE T")] == ["ID", "NAME"]
    assert rows(connection, "EXPLAIN SELECT * FROM T") and rows(connection, "SELECT ? IS NULL", (None,)) == [(True,)]


def test_many_rows_of_parameters_are_one_commit(connection, table):
    with connection.cursor() as cursor, pytest.raises(adbc.Error, match="has a row under key 2"):
        cursor.executemany("INSERT INTO T VALUES (?, ?)", [(5, "five"), (2, "again")])
    assert len(table) == 2
    with connection.cursor() as cursor, pytest.raises(adbc.Error, match="takes one row of parameters, not 2"):
        cursor.execute("SELECT * FROM T WHERE ID = ?", pa.record_batch({"1": [1, 2]}))


def test_columns_and_parameters_are_known_before_anything_runs(connection, table):
    with connection.cursor() as cursor:
        assert cursor.adbc_execute_schema("SELECT ID, NAME, COUNT(*) AS N FROM T GROUP BY ID, NAME") == pa.schema(
            {"ID": pa.int64(), "NAME": pa.large_string(), "N": pa.int64()}
        )
        parameters = cursor.adbc_prepare("INSERT INTO T (NAME, ID) VALUES (?, ?)")
        assert parameters.types == [pa.string(), pa.int64()]
        assert cursor.adbc_prepare("SELECT ID FROM T WHERE NAME LIKE ? LIMIT ?").types == [pa.string(), pa.int64()]
    assert len(table) == 2


TEXTS = [
    "SELECT 1 AS A",
    "SELECT * FROM T",
    "SELECT NAME FROM T WHERE ID = 1",
    "SELECT NAME, COUNT(*) FROM T GROUP BY 1",
]
TEXTS += ["SELECT ID FROM T WHERE ID > 1", "SELECT NAME, ID FROM T WHERE ID IN (1, 2)", "SELECT * FROM SYS.TABLES"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("more", ["", " ORDER BY 1", " LIMIT 1"])
def test_the_columns_told_are_those_that_come(connection, table, text, more):
    with connection.cursor() as cursor:
        told = cursor.adbc_execute_schema(text + more)
        assert cursor.execute(text + more).fetch_arrow_table().schema == told


def test_errors_say_what_is_wrong_and_nothing_of_the_machine(connection, table):
    for text, kind, words in (
        ("SELEC 1", adbc.ProgrammingError, "did you mean SELECT"),
        ("SELECT * FROM NONE_SUCH", adbc.ProgrammingError, "no table NONE_SUCH"),
        ("SELECT NONE_SUCH FROM T", adbc.ProgrammingError, "no column NONE_SUCH"),
        ("INSERT INTO T VALUES (1, 'again')", adbc.ProgrammingError, "DuplicateKeyError"),
        ("BEGIN", adbc.ProgrammingError, "autocommit is off"),
        ("COPY T TO 'x.csv'", adbc.ProgrammingError, "files of the client"),
    ):
        with connection.cursor() as cursor, pytest.raises(kind, match=words) as caught:
            cursor.execute(text)
        assert "Traceback" not in str(caught.value) and ".py" not in str(caught.value)
    with connection.cursor() as cursor, pytest.raises(adbc.ProgrammingError, match="..."):
        cursor.execute("SELECT " + "x" * 100_000)


# ---- values ----


@pytest.mark.parametrize("kind", SAMPLES)
def test_values_of_every_kind_come_as_they_are(connection, node, table, kind):
    text, value = SAMPLES[kind]
    name = f"KIND_{kind}"
    stored = node.grid.create_table(name, {"ID": "LONG", "X": text}, key="ID")
    stored.put_all({1: {"X": value}, 2: {"X": None}})
    with connection.cursor() as cursor:
        found = cursor.execute(f"SELECT X FROM {name} ORDER BY ID").fetch_arrow_table()
    assert found.equals(stored.to_arrow(["ID", "X"]).sort_by("ID").select(["X"]))


@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if kind not in ("TENSOR", "UUID")])
def test_values_of_every_kind_can_be_parameters(connection, node, table, kind):
    text, value = SAMPLES[kind]
    name = f"KIND_{kind}"
    stored = node.grid.create_table(name, {"ID": "LONG", "X": text}, key="ID")
    field = stored.schema["X"].type.arrow()
    row = pa.record_batch(
        [pa.array([1]), pa.array([list(value.items()) if kind == "MAP" else value], field)], ["0", "1"]
    )
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {name} VALUES (?, ?)", row)
    assert stored.get(1) == {"X": value}


# ---- transactions ----


def test_without_autocommit_nothing_is_there_before_commit(uri, table):
    with adbc.connect(uri) as one, adbc.connect(uri, autocommit=True) as other:
        cursor = one.cursor()
        cursor.execute("INSERT INTO T VALUES (3, 'three')")
        assert cursor.execute("SELECT COUNT(*) FROM T").fetchone() == (3,)
        assert rows(other, "SELECT COUNT(*) FROM T") == [(2,)]
        one.commit()
        assert rows(other, "SELECT COUNT(*) FROM T") == [(3,)]
        cursor.execute("DELETE FROM T")
        one.rollback()
        assert rows(other, "SELECT COUNT(*) FROM T") == [(3,)]
        cursor.close()


def test_a_table_is_made_within_a_connection_without_autocommit(uri, table):
    with adbc.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE U (ID LONG PRIMARY KEY)")
        cursor.execute("INSERT INTO U VALUES (1)")
        with pytest.raises(adbc.Error, match="changes that are not committed"):
            cursor.execute("DROP TABLE U")
        connection.commit()
        with pytest.raises(adbc.Error, match="take another cursor"):
            cursor.execute("DROP TABLE U")
        connection.execute("DROP TABLE U").close()


def test_of_two_transactions_that_write_one_row_the_second_fails(uri, table):
    with adbc.connect(uri) as one, adbc.connect(uri) as other:
        for connection in (one, other):
            with connection.cursor() as cursor:
                cursor.execute("UPDATE T SET NAME = 'x' WHERE ID = 1")
        one.commit()
        with pytest.raises(adbc.OperationalError, match="ID = 1|key 1|another"):
            other.commit()
    with adbc.connect(uri) as again:  # of a commit that failed ADBC's connection does not recover
        assert rows(again, "SELECT NAME FROM T WHERE ID = 1") == [("x",)]


def test_an_idle_transaction_is_rolled_back(uri, table, monkeypatch):
    held = Handles("transaction", each=9, most=9, seconds=0.1, end=server._Transaction.end)
    with temporary_home() as home:
        node = Node(home)
        node.grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY)")
        (door,) = [service for service in node._services if isinstance(service, FlightService)]
        door._sql._transactions = held
        with adbc.connect(f"grpc+unix://{home}/serve.sock") as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO T VALUES (1)")
            deadline = time.monotonic() + 20
            while len(held) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not len(held)
            with pytest.raises(adbc.Error, match="no such transaction"):
                cursor.execute("SELECT * FROM T")
            with pytest.raises(adbc.Error, match="no such transaction"):
                connection.commit()
        assert not len(node.grid.table("T"))
        node.stop()


# ---- what tools ask ----


def test_tables_and_their_columns(connection, table):
    (catalog,) = connection.adbc_get_objects(depth="columns", table_name_filter="T").read_all().to_pylist()
    assert catalog["catalog_name"] == ""
    schemas = {one["db_schema_name"]: one["db_schema_tables"] for one in catalog["catalog_db_schemas"]}
    assert set(schemas) == {"PUBLIC", "SYS"}
    (found,) = schemas["PUBLIC"]
    assert (found["table_name"], found["table_type"]) == ("T", "TABLE")
    assert [column["column_name"] for column in found["table_columns"]] == ["ID", "NAME"]
    assert connection.adbc_get_table_types() == ["SYSTEM VIEW", "TABLE"]
    assert connection.adbc_get_table_schema("T").names == ["ID", "NAME"]
    assert not connection.adbc_get_table_schema("T").field("ID").nullable
    assert "TABLE_NAME" in connection.adbc_get_table_schema("TABLES", db_schema_filter="SYS").names
    assert connection.adbc_get_info()["vendor_name"] == "Gridflow"


def command(name, **fields):
    return flight.FlightDescriptor.for_command(protocol.encode_any(name, **fields))


@pytest.fixture
def client(uri):
    with flight.connect(uri) as client:
        yield client


def asked(client, name, **fields):
    """The answer to a command; its columns are those that were told."""
    descriptor = command(name, **fields)
    info = client.get_flight_info(descriptor)
    (endpoint,) = info.endpoints
    found = client.do_get(endpoint.ticket).read_all()
    assert found.schema == info.schema == client.get_schema(descriptor).schema
    return found.to_pylist()


def test_keys_types_and_references(client, table, node):
    node.grid.sql('CREATE TABLE "two keys" (B LONG, A VARCHAR, "x, y" INT, PRIMARY KEY (A, "x, y"))')
    assert [
        (row["column_name"], row["key_sequence"]) for row in asked(client, "CommandGetPrimaryKeys", table="two keys")
    ] == [
        ("A", 1),
        ("x, y", 2),
    ]
    assert [row["column_name"] for row in asked(client, "CommandGetPrimaryKeys", table="t")] == ["ID"]
    assert asked(client, "CommandGetPrimaryKeys", table="%") == []
    for name in ("CommandGetImportedKeys", "CommandGetExportedKeys"):
        assert asked(client, name, table="T") == []
    assert asked(client, "CommandGetCrossReference", pk_table="T", fk_table="T") == []
    types = asked(client, "CommandGetXdbcTypeInfo")
    assert [row["type_name"] for row in types if row["data_type"] == -5] == ["INT64", "UINT32"]
    assert len(asked(client, "CommandGetXdbcTypeInfo", data_type=12)) == 1
    assert asked(client, "CommandGetCatalogs") == []
    assert [row["db_schema_name"] for row in asked(client, "CommandGetDbSchemas", db_schema_filter_pattern="S%")] == [
        "SYS"
    ]
    assert asked(client, "CommandGetDbSchemas", catalog="other") == []
    assert len(asked(client, "CommandGetTables", table_types=["TABLE"], include_schema=True)) == 2
    assert asked(client, "CommandGetTables", table_name_filter_pattern="none") == []


def test_patterns_are_those_of_like_and_take_no_time():
    random = Random(3)
    for _ in range(2000):
        name, pattern = ("".join(random.choices("ab%_\\", k=random.randrange(6))) for _ in range(2))
        parts = re.findall(r"\\.|.", pattern, re.DOTALL)
        text = "".join({"%": ".*", "_": "."}.get(part) or re.escape(part[-1]) for part in parts)
        assert sql_metadata.like([name], pattern) == ([name] if re.fullmatch(text, name, re.DOTALL) else [])
    assert sql_metadata.like(["a" * 1000] * 100, "%a" * 500 + "b") == []
    with pytest.raises(UsageError, match="4096 characters at most"):
        sql_metadata.like(["a"], "%" * 5000)


def test_sql_info(client):
    infos = {row["info_name"]: row["value"] for row in asked(client, "CommandGetSqlInfo")}
    assert infos[0] == "Gridflow" and infos[8] == 1 and infos[504] == '"' and infos[573] is False
    assert set(infos) >= {*range(12), *range(500, 577)} - {6, 7}
    assert [row["info_name"] for row in asked(client, "CommandGetSqlInfo", info=[504, 0, 9999])] == [504, 0]


def test_where_nulls_are_sorted_is_what_is_told(client, connection, table):
    assert asked(client, "CommandGetSqlInfo", info=[507])[0]["value"] == 1
    rows(connection, "UPDATE T SET NAME = NULL WHERE ID = 2")
    for direction, place in (("ASC", 0), ("DESC", -1)):
        assert rows(connection, f"SELECT ID FROM T ORDER BY NAME {direction}")[place] == (2,)


def test_session_options_and_cancelling(client, table, connection):
    def act(kind, name, **fields):
        (result,) = client.do_action(flight.Action(kind, protocol.encode(name, **fields)))
        return result.body.to_pybytes()

    options = [{"key": "schema", "value": {"string_value": "PUBLIC"}}, {"key": "nope", "value": {"bool_value": True}}]
    found = protocol.decode(
        "SetSessionOptionsResult", act("SetSessionOptions", "SetSessionOptionsRequest", session_options=options)
    )
    assert [(error.key, error.value.value) for error in found.errors] == [("nope", 1)]
    found = protocol.decode("GetSessionOptionsResult", act("GetSessionOptions", "GetSessionOptionsRequest"))
    assert {o.key: o.value.string_value for o in found.session_options} == {"catalog": "", "schema": "PUBLIC"}
    assert protocol.decode("CloseSessionResult", act("CloseSession", "CloseSessionRequest")).status == 3
    info = client.get_flight_info(command("CommandStatementQuery", query="SELECT * FROM T"))
    assert (
        client.cancel_flight_info(flight.CancelFlightInfoRequest(info)).status == flight.CancelStatus.CANCELLED
        if hasattr(client, "cancel_flight_info")
        else True
    )
    tickets = [{"ticket": {"ticket": endpoint.ticket.ticket}} for endpoint in info.endpoints]
    for status in (1, 3):  # the second time it is gone
        body = act("CancelFlightInfo", "CancelFlightInfoRequest", info={"endpoint": tickets})
        assert protocol.decode("CancelFlightInfoResult", body).status == status
    with pytest.raises(pa.ArrowInvalid, match="no such result"):
        client.do_get(info.endpoints[0].ticket).read_all()


def test_a_query_that_its_client_gives_up_is_ended(uri, node):
    with adbc.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        stop = threading.Timer(0.3, cursor.adbc_cancel)
        stop.start()
        began = time.monotonic()
        with pytest.raises(adbc.Error, match="(?i)cancel"):
            cursor.execute("SELECT COUNT(*) FROM range(100000000000) a WHERE a.range % 7 = 3")
        assert time.monotonic() - began < 30
    deadline = time.monotonic() + 30
    while node.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not node.running


# ---- ingest ----


def test_ingest_makes_fills_and_replaces_tables(connection, table, node):
    data = pa.table({"ID": [1, 2, 3], "X": ["a", None, "c"]})
    keyed = data.replace_schema_metadata({server.KEY: "ID"})
    with connection.cursor() as cursor:
        assert cursor.adbc_ingest("U", keyed, mode="create") == 3
        with pytest.raises(adbc.Error, match="U is there already"):
            cursor.adbc_ingest("U", keyed, mode="create")
        with pytest.raises(adbc.Error, match="has a row under key"):
            cursor.adbc_ingest("U", data, mode="append")
        more = pa.table({"ID": [4], "X": ["d"]})
        assert cursor.adbc_ingest("U", more, mode="append") == 1
        assert cursor.adbc_ingest("u", more.set_column(0, "ID", [[5]]), mode="create_append") == 1
        assert len(node.grid.table("U")) == 5
        other = pa.table({"K": ["x"], "Y": [2.5]}).replace_schema_metadata({server.KEY: '"K"'})
        cursor.adbc_ingest("U", other, mode="replace")
        assert node.grid.sql("SELECT * FROM U").fetchall() == [("x", 2.5)]
        with pytest.raises(adbc.Error, match="needs a primary key"):
            cursor.adbc_ingest("V", data, mode="create")
        with pytest.raises(adbc.Error, match="no table V"):
            cursor.adbc_ingest("V", data, mode="append")
        with pytest.raises(adbc.NotSupportedError, match="temporary"):
            cursor.adbc_ingest("V", keyed, mode="create", temporary=True)
    for place in ({"catalog_name": "c"}, {"db_schema_name": "s"}):
        with connection.cursor() as cursor, pytest.raises(adbc.Error, match="no (catalog|schema)"):
            cursor.adbc_ingest("V", keyed, mode="create", **place)
    with connection.cursor() as cursor:
        cursor.adbc_ingest("V", keyed, mode="create", db_schema_name="public")
        twice = pa.table({"ID": [1, 1]}).replace_schema_metadata({server.KEY: "ID"})
        with pytest.raises(adbc.Error, match="twice|key 1"):
            cursor.adbc_ingest("W", twice, mode="create")
    assert node.grid.tables() == ["T", "U", "V"]


def test_a_frame_with_a_named_index_has_a_key(connection, table, node):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"X": [1.5, 2.5]}, index=pandas.Index([10, 20], name="ID"))
    with connection.cursor() as cursor:
        cursor.adbc_ingest("U", pa.Table.from_pandas(frame), mode="create")
    assert node.grid.table("U").get(20) == {"X": 2.5}
    frame.to_sql("U", connection, if_exists="replace", index=True)
    assert pandas.read_sql("SELECT * FROM U ORDER BY ID", connection)["X"].tolist() == [1.5, 2.5]


def test_an_ingest_that_names_a_transaction_is_part_of_it(client, table):
    """ADBC's driver names none, so that its ingest commits by itself."""
    data = pa.record_batch({"ID": [7, 8], "NAME": ["a", "b"]})
    for end, count in ((2, 2), (1, 4)):
        (body,) = act_any(client, "BeginTransaction", "ActionBeginTransactionRequest")
        handle = protocol.decode_any(body)[1].transaction_id
        options = {"if_not_exist": 2, "if_exists": 2}
        ingest = {"table": "T", "transaction_id": handle, "table_definition_options": options}
        assert put(client, command("CommandStatementIngest", **ingest), data) == 2
        assert len(table) == 2
        with pytest.raises(pa.ArrowInvalid, match="a transaction makes no tables"):
            options = {"if_not_exist": 1, "if_exists": 3}
            keyed = data.replace_schema_metadata({server.KEY: "ID"})
            put(client, command("CommandStatementIngest", **ingest | {"table_definition_options": options}), keyed)
        act_any(client, "EndTransaction", "ActionEndTransactionRequest", transaction_id=handle, action=end)
        assert len(table) == count


CUT = """
import os, sys
import pyarrow as pa
import adbc_driver_flightsql.dbapi as adbc
def batches():
    for i in range(3):
        yield pa.record_batch({"ID": pa.array(range(1000 * (i + 1), 1000 * (i + 2)))})
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), 9)
    raise ValueError("the source fails")
with adbc.connect(sys.argv[1], autocommit=True) as connection, connection.cursor() as cursor:
    rows = pa.RecordBatchReader.from_batches(pa.schema({"ID": pa.int64()}), batches())
    cursor.adbc_ingest("T", rows, mode="append")
"""


@pytest.mark.parametrize("how", ["kill", "raise"])
def test_an_ingest_that_is_cut_keeps_nothing(uri, table, node, how):
    done = subprocess.run([sys.executable, "-c", CUT, uri, how], capture_output=True, text=True)
    assert done.returncode == (-signal.SIGKILL if how == "kill" else 1), done.stderr
    assert how == "kill" or "the source fails" in done.stderr
    deadline = time.monotonic() + 20
    while node.running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(table) == 2


# ---- users ----


def test_a_user_does_what_they_have_a_right_to():
    with temporary_home() as home:
        door = FlightService(Endpoint("grid", host="127.0.0.1"))
        node = Node(home, services=[door])
        for text in ("CREATE TABLE T (ID LONG PRIMARY KEY)", "CREATE TABLE S (ID LONG PRIMARY KEY)"):
            node.grid.sql(text)
        for text in ("CREATE USER KATE WITH PASSWORD 'warm'", "GRANT SELECT ON T TO KATE"):
            node.grid.sql(text)
        uri = f"grpc://127.0.0.1:{door.endpoint.port}"
        kate = {"username": "KATE", "password": "warm"}
        for wrong in ({}, kate | {"password": "cold"}):
            with (
                pytest.raises(adbc.Error, match="(?i)unauthenticated"),
                adbc.connect(uri, db_kwargs=wrong, autocommit=True) as connection,
            ):
                rows(connection, "SELECT 1")
        with adbc.connect(uri, db_kwargs=kate, autocommit=True) as connection:
            assert rows(connection, "SELECT * FROM T") == []
            for text in ("SELECT * FROM S", "INSERT INTO T VALUES (1)", "CREATE TABLE X (ID LONG PRIMARY KEY)"):
                with pytest.raises(adbc.ProgrammingError, match="GRANT"):
                    rows(connection, text)
            (catalog,) = connection.adbc_get_objects(db_schema_filter="PUBLIC").read_all().to_pylist()
            (schema,) = [one for one in catalog["catalog_db_schemas"] if one["db_schema_tables"]]
            assert [table["table_name"] for table in schema["db_schema_tables"]] == ["T"]
            data = pa.table({"ID": [1]}).replace_schema_metadata({server.KEY: "ID"})
            for mode in ("append", "create_append", "replace", "create"):
                with connection.cursor() as cursor, pytest.raises(adbc.Error, match="GRANT|is there already"):
                    cursor.adbc_ingest("T", data, mode=mode)
            node.grid.sql("GRANT INSERT ON T TO KATE")
            with connection.cursor() as cursor:
                assert cursor.adbc_ingest("T", data, mode="append") == 1
        with flight.connect(f"grpc+tcp://127.0.0.1:{door.endpoint.port}") as client:
            options = flight.FlightCallOptions(headers=[client.authenticate_basic_token("KATE", "warm")])
            node.grid.sql("REVOKE INSERT ON T FROM KATE")
            action = flight.Action("BeginTransaction", protocol.encode_any("ActionBeginTransactionRequest"))
            (result,) = client.do_action(action, options)
            handle = protocol.decode_any(result.body.to_pybytes())[1].transaction_id
            ingest = {"table": "T", "transaction_id": handle, "table_definition_options": {"if_exists": 2}}
            with pytest.raises(flight.FlightUnauthorizedError, match="INSERT ON T"):
                put(client, command("CommandStatementIngest", **ingest), pa.record_batch({"ID": [5]}), options)
            for call in (
                lambda: client.get_schema(command("CommandStatementQuery", query="SELECT * FROM S"), options),
                lambda: client.get_schema(command("CommandStatementQuery", query="SELECT 1")),
                lambda: list(client.list_flights(options=options)),
                lambda: list(client.list_flights()),
            ):
                with pytest.raises(pa.ArrowException) as caught:
                    call()
                assert re.search("GRANT SELECT ON S|say who you are|no flights", str(caught.value))
                assert ".py" not in str(caught.value) and "Traceback" not in str(caught.value)
        assert len(node.grid.table("T")) == 1 and node.grid.tables() == ["S", "T"]
        node.stop()


def test_over_tls_a_transaction_outlives_the_certificate(tmp_path):
    pytest.importorskip("cryptography")
    lab_certificates.make_authority(tmp_path)
    lab_certificates.make_server(tmp_path, ["localhost", "127.0.0.1"])
    shown = tls.TlsFiles(tmp_path / "server.crt", tmp_path / "server.key")
    with Node(tmp_path / "grid", listen=["grid+tls://127.0.0.1:0"], tls=shown) as node:
        node.grid.sql(
            "CREATE TABLE T (ID LONG PRIMARY KEY); CREATE USER KATE WITH PASSWORD 'warm'; GRANT WRITER TO KATE"
        )
        (door,) = [s for s in node._services if isinstance(s, FlightService) and not s.endpoint.is_local]
        options = {
            "username": "KATE",
            "password": "warm",
            "adbc.flight.sql.client_option.tls_root_certs": (tmp_path / "ca.crt").read_text(),
        }
        with adbc.connect(f"grpc+tls://localhost:{door.endpoint.port}", db_kwargs=options) as connection:
            rows(connection, "INSERT INTO T VALUES (1)")
            door.renew()
            deadline = time.monotonic() + 20
            while True:  # for some milliseconds nobody listens
                try:
                    rows(connection, "INSERT INTO T VALUES (2)")
                    break
                except adbc.OperationalError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            connection.commit()
        assert len(node.grid.table("T")) == 2


# ---- what is sent wrong ----


def test_bytes_that_are_no_command_are_refused(client, table):
    good = protocol.encode_any("CommandStatementQuery", query="SELECT 1")
    rng = np.random.default_rng(7)
    bad = [b"", b"\n", b"\n\x05", good[:-1], good + b"\n", good.replace(b"StatementQuery", b"StatementQuerx")]
    bad += [bytes(rng.integers(0, 256, size, "u1")) for size in (3, 30, 300)]
    for i in range(0, len(good), 3):
        bad.append(good[:i] + bytes([good[i] ^ 0xFF]) + good[i + 1 :])
    for data in bad:
        for call in (
            lambda d: client.get_flight_info(flight.FlightDescriptor.for_command(d)),
            lambda d: client.get_schema(flight.FlightDescriptor.for_command(d)),
            lambda d: client.do_get(flight.Ticket(d)).read_all(),
        ):
            with pytest.raises((flight.FlightError, pa.ArrowException, KeyError)):
                call(data)
    assert asked(client, "CommandStatementQuery", query="SELECT 1 AS A") == [{"A": 1}] and len(table) == 2


@pytest.mark.parametrize(
    "name",
    ["CommandStatementUpdate", "CommandPreparedStatementQuery", "TicketStatementQuery", "CommandStatementIngest"]
    + ["CommandStatementSubstraitPlan", "IngestOptions", "ActionEndTransactionRequest"],
)
def test_commands_in_the_wrong_call_are_refused(client, name):
    descriptor = command(name)
    for call in (
        lambda: client.get_flight_info(descriptor),
        lambda: client.get_schema(descriptor),
        lambda: put(client, descriptor) if name not in ("CommandStatementIngest",) else client.get_schema(descriptor),
        lambda: client.do_get(flight.Ticket(protocol.encode_any(name))).read_all(),
    ):
        with pytest.raises((pa.ArrowInvalid, pa.ArrowNotImplementedError)):
            call()


def put(client, descriptor, batch=None, options=None):
    batch = pa.record_batch({}) if batch is None else batch
    writer, reader = client.do_put(descriptor, batch.schema, options)
    with writer:
        if batch.num_columns:
            writer.write_batch(batch)
        writer.done_writing()
        answer = reader.read()
    return None if answer is None else protocol.decode("DoPutUpdateResult", answer.to_pybytes()).record_count


def test_fields_of_another_type_are_refused(client):
    raw = protocol._classes()["CommandGetTables"]
    for name, data in (
        ("CommandStatementQuery", b"\x08\x05"),
        ("CommandGetSqlInfo", b"\r\x03abc"),
        ("CommandGetTables", b"\x2a\x01x"),
    ):
        from google.protobuf.any_pb2 import Any as AnyMessage

        url = f"type.googleapis.com/arrow.flight.protocol.sql.{name}"
        with pytest.raises(pa.ArrowInvalid, match="another type|cannot be read"):
            client.get_flight_info(
                flight.FlightDescriptor.for_command(AnyMessage(type_url=url, value=data).SerializeToString())
            )
    newer = raw().SerializeToString() + b"\xf2\x3f\x01x"  # field 1022, which nobody knows
    assert protocol.decode("CommandGetTables", newer) is not None


@pytest.mark.parametrize("handle", [b"", b"x", bytes(16), bytes(100_000)])
def test_handles_that_nobody_gave_out_are_refused(client, handle):
    calls = [
        lambda: client.get_flight_info(command("CommandPreparedStatementQuery", prepared_statement_handle=handle)),
        lambda: client.get_schema(command("CommandPreparedStatementQuery", prepared_statement_handle=handle)),
        lambda: put(client, command("CommandPreparedStatementUpdate", prepared_statement_handle=handle)),
        lambda: put(client, command("CommandPreparedStatementQuery", prepared_statement_handle=handle)),
        lambda: client.do_get(
            flight.Ticket(protocol.encode_any("TicketStatementQuery", statement_handle=handle))
        ).read_all(),
        lambda: act_any(client, "EndTransaction", "ActionEndTransactionRequest", transaction_id=handle, action=1),
    ]
    if handle:  # empty is no transaction
        calls.append(
            lambda: client.get_flight_info(command("CommandStatementQuery", query="SELECT 1", transaction_id=handle))
        )
    for call in calls:
        with pytest.raises(pa.ArrowInvalid, match="no such"):
            call()
    act_any(client, "ClosePreparedStatement", "ActionClosePreparedStatementRequest", prepared_statement_handle=handle)


def act_any(client, kind, name, **fields):
    return [
        result.body.to_pybytes()
        for result in client.do_action(flight.Action(kind, protocol.encode_any(name, **fields)))
    ]


def test_actions_that_are_not_there_are_refused(client):
    for kind in ("BeginSavepoint", "EndSavepoint", "CreatePreparedSubstraitPlan", "NoSuchAction"):
        with pytest.raises(pa.ArrowNotImplementedError):
            list(client.do_action(flight.Action(kind, b"")))
    for kind, body in (
        ("BeginTransaction", b""),
        ("BeginTransaction", b"\n\x03abc"),
        ("RenewFlightEndpoint", b"x"),
    ):
        with pytest.raises(pa.ArrowInvalid):
            list(client.do_action(flight.Action(kind, body)))
    with pytest.raises(pa.ArrowInvalid, match="comes with"):
        act_any(client, "BeginTransaction", "ActionEndTransactionRequest")
    (body,) = act_any(client, "BeginTransaction", "ActionBeginTransactionRequest")
    handle = protocol.decode_any(body)[1].transaction_id
    with pytest.raises(pa.ArrowInvalid, match="ends with 1, commit"):
        act_any(client, "EndTransaction", "ActionEndTransactionRequest", transaction_id=handle, action=9)
    act_any(client, "EndTransaction", "ActionEndTransactionRequest", transaction_id=handle, action=2)
    assert {"BeginTransaction", "CancelFlightInfo"} <= {action.type for action in client.list_actions()}


def test_parameters_have_a_limit(client, table, monkeypatch):
    (body,) = act_any(
        client, "CreatePreparedStatement", "ActionCreatePreparedStatementRequest", query="DELETE FROM T WHERE NAME = ?"
    )
    handle = protocol.decode_any(body)[1].prepared_statement_handle
    monkeypatch.setattr(server, "MOST_PARAMETER_BYTES", 1000)
    with pytest.raises(pa.ArrowInvalid, match="MiB of parameters"):
        put(
            client,
            command("CommandPreparedStatementUpdate", prepared_statement_handle=handle),
            pa.record_batch({"0": ["x" * 2000]}),
        )
    assert (
        put(
            client,
            command("CommandPreparedStatementUpdate", prepared_statement_handle=handle),
            pa.record_batch({"0": ["one"]}),
        )
        == 1
    )
    with pytest.raises(pa.ArrowInvalid, match="1 parameter"):
        put(client, command("CommandPreparedStatementUpdate", prepared_statement_handle=handle))


SAMPLE_COMMANDS = [
    ("CommandStatementQuery", {"query": "SELECT * FROM T WHERE ID = 1", "transaction_id": b""}),
    ("CommandGetTables", {"db_schema_filter_pattern": "P%", "table_types": ["TABLE"], "include_schema": True}),
    ("CommandGetSqlInfo", {"info": [0, 8, 504, 562]}),
    ("CommandGetXdbcTypeInfo", {"data_type": 12}),
    ("CommandGetPrimaryKeys", {"table": "T", "db_schema": "PUBLIC"}),
    ("CommandGetCrossReference", {"pk_table": "T", "fk_table": "T"}),
    ("CommandPreparedStatementQuery", {"prepared_statement_handle": bytes(range(16))}),
    ("TicketStatementQuery", {"statement_handle": bytes(range(16))}),
    ("ActionCreatePreparedStatementRequest", {"query": "SELECT ID FROM T WHERE NAME LIKE ?"}),
    ("ActionEndTransactionRequest", {"transaction_id": bytes(range(16)), "action": 1}),
]


def try_changed_commands(grid, seed: int, count: int) -> None:
    """Commands with some of their bytes changed: an answer, or an error that is their sender's."""
    sql = server.FlightSql(Requests(grid.open_grid, "process"))
    call = server.Call(Peer(Endpoint.of_grid(grid.home)), lambda: False)
    random = Random(seed)
    for _ in range(count):
        name, fields = random.choice(SAMPLE_COMMANDS)
        data = bytearray(protocol.encode_any(name, **fields))
        for _ in range(random.choice((1, 1, 2, 3, 8))):
            place = random.randrange(len(data))
            change = random.randrange(4)
            if change == 0:
                data[place] ^= 1 << random.randrange(8)
            elif change == 1:
                data[place] = random.choice((0, 1, 0x7F, 0x80, 0xFF))
            elif change == 2:
                data[place:place] = bytes(random.choices(range(256), k=random.randrange(1, 9)))
            else:
                del data[place : place + random.randrange(1, 9)]
            data = data or bytearray(1)
        descriptor = flight.FlightDescriptor.for_command(bytes(data))
        for attempt in (
            lambda d: sql.flight_info(call, d),
            lambda d: sql.schema(call, d),
            lambda d: sql.do_get(call, d.command),
            lambda d: sql.do_action(call, "CreatePreparedStatement", d.command),
            lambda d: sql.do_action(call, "EndTransaction", d.command),
            lambda d: sql.do_action(call, "CancelFlightInfo", d.command),
            lambda d: sql.do_action(call, "SetSessionOptions", d.command),
        ):
            try:
                with server.errors_for_clients():
                    attempt(descriptor)
            except (pa.ArrowException, flight.FlightServerError, KeyError, NotImplementedError):
                pass  # FlightInternalError, for one, is none of these
    sql.close()


def test_commands_with_changed_bytes(node, table):
    try_changed_commands(node.grid, 1, 400)
    assert len(table) == 2


@pytest.mark.long
def test_many_commands_with_changed_bytes(node, table):
    seed = int(time.time())
    print("seed", seed)
    try_changed_commands(node.grid, seed, 40_000)
    assert len(table) == 2


# ---- handles ----


def test_handles_are_their_owner_s_and_limited():
    ended: list[str] = []
    handles: Handles[str] = Handles("thing", each=2, most=3, seconds=60, end=ended.append)
    first, second = handles.add("a", "1"), handles.add("a", "2")
    with pytest.raises(UsageError, match="no such thing"):
        handles.get("b", first)
    assert handles.get("a", first) == "1"
    handles.add("a", "3")
    assert ended == ["2"] and len(handles) == 2  # the one that was used the longest ago
    with pytest.raises(UsageError):
        handles.get("a", second)
    handles.add("b", "4")
    handles.add("b", "5")
    assert ended == ["2", "1"] and handles.take("a", next(iter(handles._held))) == "3"
    handles.clear()
    assert sorted(ended) == ["1", "2", "4", "5"] and not len(handles)
    strict: Handles[str] = Handles("thing", each=1, most=9, seconds=60, refuses=True)
    strict.add("a", "1")
    with pytest.raises(UsageError, match="1 things of this user"):
        strict.add("a", "2")
    strict.clear()


def test_handles_take_so_many_bytes():
    ended: list[str] = []
    handles: Handles[str] = Handles(
        "thing", each=9, most=9, seconds=60, end=ended.append, each_bytes=3 << 20, most_bytes=4 << 20
    )
    first = handles.add("a", "1", 2 << 20)
    handles.add("b", "2", 2 << 20)
    for size in ((3 << 20) + 1, 1 << 40):
        with pytest.raises(UsageError, match="takes 3 MiB at most"):
            handles.add("a", "3", size)
        with pytest.raises(UsageError, match="takes 3 MiB at most"):
            handles.resize("a", first, size)
    assert not ended and len(handles) == 2
    handles.add("a", "4", 1)
    assert ended == ["1"]  # the one that was used the longest ago
    last = handles.add("a", "5", 1 << 20)
    handles.resize("a", last, (3 << 20) - 1)
    assert ended == ["1", "2"] and len(handles) == 2
    handles.clear()


def test_what_is_in_use_stays():
    busy = {"1"}
    handles: Handles[str] = Handles("thing", each=9, most=9, seconds=0.05, is_busy=busy.__contains__)
    handle = handles.add("a", "1")
    other = handles.add("a", "2")
    time.sleep(0.1)
    handles.sweep()
    assert handles.get("a", handle) == "1"
    with pytest.raises(UsageError):
        handles.get("a", other)
    handles.clear()


def test_large_rows_come_in_messages_of_moderate_size():
    few = pa.table({"X": [b"x" * (3 << 20)] * 5})
    many = pa.table({"A": np.arange(1_000_000)})
    skewed = pa.table({"X": [b"x"] * 50_000 + [b"x" * (6 << 20)] * 3})
    for rows in (few, many, skewed, pa.table({}), many.slice(0, 0)):
        cut = server.in_batches(rows)
        assert cut.equals(rows)
        assert all(batch.nbytes < 12 << 20 for batch in cut.to_batches())
