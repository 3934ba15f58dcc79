"""What a node keeps for a client between two requests: it is its owner's alone, and no right outlives its REVOKE."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import pyarrow as pa
import pytest

import gridflow
from gridflow._native.row_operations import encode_key, encode_puts, encode_removals
from gridflow.errors import GridAccessError, TransactionConflictError, UsageError
from gridflow.protocols import flight_sql as protocol
from gridflow.protocols import messages
from gridflow.protocols.address import Endpoint
from gridflow.protocols.messages import Message
from gridflow.server import transactions
from gridflow.server.access import RULES, Access, Peer
from gridflow.server.flight_sql import Call, FlightSql
from gridflow.server.handles import Handles
from gridflow.server.requests import Requests

REMOTE = Endpoint.parse("grid://localhost")


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X INT); INSERT INTO T VALUES (1, 10), (2, 20)")
        grid.sql("CREATE USER KATE; CREATE USER EVE; GRANT ALL ON T TO KATE, EVE")
        yield grid


@pytest.fixture
def requests(grid):
    requests = Requests(grid.open_grid, "process")
    yield requests
    requests.close()


@pytest.fixture
def flights(requests):
    flights = FlightSql(requests)
    yield flights
    flights.close()


def peer(requests: Requests, user: str) -> Peer:
    """As one who has just shown a certificate."""
    return requests.access.authenticate(REMOTE, "10.0.0.1", certificate=user).peer


def ask(requests: Requests, message: Message, who: Peer) -> object:
    """Have a message carried out, whichever way it goes."""
    if isinstance(message, messages.Sql):
        return requests.query(message, who)
    if isinstance(message, messages.Scan):
        return requests.scan(message, who).read_all()
    if isinstance(message, messages.Load):
        batch = pa.record_batch({"ID": [50], "X": pa.array([1], pa.int32())})
        return requests.load(message, batch.schema, iter([batch, messages.LoadEnd(1)]), who)
    return requests.handle(message, who)


def in_transaction(grid, name: str) -> list[Message]:
    """A message of each kind that can be part of a transaction."""
    table = grid.table("T")
    codec = table._row_codec()
    one, digest = table.table_id, codec.digest
    return [
        messages.Sql("SELECT * FROM T", None, b"", transaction=name),
        messages.Sql("INSERT INTO T VALUES (60, 1)", None, b"", transaction=name),
        messages.SqlMany("INSERT INTO T VALUES (?, ?)", name, *messages.encode_values([[70, 1]])),
        messages.Load("T", "error", name),
        messages.Describe("T", name),
        messages.Get("T", one, digest, name, encode_key(codec, 1)),
        messages.GetAll("T", one, digest, name, encode_removals(codec, one, [1])),
        messages.Ask("T", one, "count", name, *messages.encode_values([])),
        messages.Scan("T", one, name, None, None),
        messages.Write(name, "T", one, digest, "put", encode_puts(codec, one, [(80, {"X": 1})])),
        messages.Write(name, "T", one, digest, "remove", encode_removals(codec, one, [2])),
        messages.End(name, True),
    ]


def test_every_message_that_names_a_transaction_is_tried(grid):
    named = {kind for kind in RULES if "transaction" in {field.name for field in dataclasses.fields(kind)}}
    assert named == {type(message) for message in in_transaction(grid, "")}


def begin(requests: Requests, who: Peer, client: str = "c") -> str:
    return requests.handle(messages.Begin(client), who).transaction


def test_a_transaction_is_there_for_its_owner_alone(grid, requests):
    kate = peer(requests, "KATE")
    name = begin(requests, kate)
    own = Peer(Endpoint.of_grid(grid.home))
    grid.sql("ALTER USER EVE WITH PASSWORD 'x'; GRANT ADMIN TO EVE")
    for other in (peer(requests, "EVE"), own):
        for message in in_transaction(grid, name):
            with pytest.raises(TransactionConflictError, match="does not know the transaction"):
                ask(requests, message, other)
        requests.handle(messages.End(name, False), other)  # as of one that is gone
        requests.handle(messages.Goodbye("c"), other)
    for message in in_transaction(grid, name):
        ask(requests, message, kate)
    assert sorted(key for key, _ in grid.table("T").items()) == [1, 50, 60, 70, 80]
    for other in ("EVE", None):  # and what another one has begun is not KATE's
        name = begin(requests, own if other is None else peer(requests, other))
        with pytest.raises(TransactionConflictError):
            ask(requests, messages.End(name, True), kate)


def test_a_user_made_anew_has_nothing_of_the_old_one(grid, requests):
    name = begin(requests, peer(requests, "KATE"))
    grid.sql("DROP USER KATE; CREATE USER KATE; GRANT ADMIN TO KATE")
    for message in in_transaction(grid, name):
        with pytest.raises(TransactionConflictError):
            ask(requests, message, peer(requests, "KATE"))


def test_a_transaction_does_nothing_after_a_revoke(grid, requests):
    before = grid.table("T").to_arrow()
    for right in ("ALL ON T", "ADMIN"):
        grid.sql(f"GRANT {right} TO KATE")
        kate = peer(requests, "KATE")
        name = begin(requests, kate)
        grid.sql("REVOKE ALL ON T FROM KATE; REVOKE ADMIN FROM KATE")
        for message in in_transaction(grid, name):
            if not isinstance(message, messages.End):
                with pytest.raises(GridAccessError):
                    ask(requests, message, kate)
        ask(requests, messages.End(name, True), kate)
        assert grid.table("T").to_arrow() == before


@pytest.mark.parametrize("index", range(10))
def test_what_was_written_is_not_committed_after_a_revoke(grid, requests, index):
    message = in_transaction(grid, "")[index]
    kate, before = peer(requests, "KATE"), grid.table("T").to_arrow()
    name = begin(requests, kate)
    ask(requests, dataclasses.replace(message, transaction=name), kate)
    right = "DELETE" if getattr(message, "mode", "") == "remove" else "INSERT"
    is_writing = isinstance(message, (messages.Write, messages.SqlMany, messages.Load)) or "INSERT" in str(message)
    grid.sql(f"REVOKE {right} ON T FROM KATE")
    if is_writing:
        with pytest.raises(GridAccessError, match=f"GRANT {right} ON T TO KATE"):
            requests.handle(messages.End(name, True), kate)
    else:
        requests.handle(messages.End(name, True), kate)
    assert grid.table("T").to_arrow() == before


def test_a_right_that_was_not_used_may_go(grid, requests):
    kate = peer(requests, "KATE")
    name = begin(requests, kate)
    ask(requests, messages.Sql("INSERT INTO T VALUES (3, 30)", None, b"", transaction=name), kate)
    grid.sql("REVOKE DELETE, UPDATE, SELECT ON T FROM KATE")
    requests.handle(messages.End(name, True), kate)
    assert 3 in grid.table("T")


def test_a_load_is_asked_about_when_it_commits(grid, requests):
    batch = pa.record_batch({"ID": [50], "X": pa.array([1], pa.int32())})

    def stream():
        yield batch
        grid.sql("REVOKE INSERT ON T FROM KATE")
        yield messages.LoadEnd(1)

    with pytest.raises(GridAccessError, match="GRANT INSERT ON T TO KATE"):
        requests.load(messages.Load("T", "error"), batch.schema, stream(), peer(requests, "KATE"))
    assert 50 not in grid.table("T")


def test_one_user_takes_not_all_transactions(requests, monkeypatch):
    monkeypatch.setattr(transactions, "MOST_OF_ONE", 5)
    monkeypatch.setattr(transactions, "MOST_TRANSACTIONS", 12)
    refused = []

    def begin_some(user):
        for _ in range(4):
            try:
                begin(requests, peer(requests, user), user)
            except UsageError as error:
                refused.append(error)

    threads = [threading.Thread(target=begin_some, args=("KATE",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 11 and "5 transactions of one user at most" in str(refused[0])
    begin(requests, peer(requests, "EVE"))
    own = Peer(Endpoint.parse("grid://localhost"))
    for _ in range(6):
        begin(requests, own)
    with pytest.raises(UsageError, match="keeps 12 transactions at most"):
        begin(requests, own)
    requests.handle(messages.Goodbye("KATE"), peer(requests, "KATE"))
    begin(requests, own)


def test_what_one_user_calls_a_writer_is_none_of_another_one_s(grid, requests, monkeypatch):
    table = grid.table("T")
    codec, one = table._row_codec(), table.table_id

    def write(who, number, writer="w"):
        puts = encode_puts(codec, one, [(number, {"X": number})])
        batch = messages.WriteBatch("T", one, codec.digest, "put", writer, number, puts)
        return requests.handle(batch, who).count

    kate, eve, own = peer(requests, "KATE"), peer(requests, "EVE"), Peer(Endpoint.of_grid(grid.home))
    for who in (kate, eve, own):
        assert write(who, 1) == 1 and write(who, 1) == 0
    requests.handle(messages.EndWriter("w"), eve)
    requests.handle(messages.EndWriter("4 KATE w"), eve)
    for who in (kate, own):
        assert write(who, 1) == 0 and write(who, 2) == 1
    monkeypatch.setattr("gridflow.server.writers.MOST_OF_ONE", 2)
    write(kate, 1, "x")
    with pytest.raises(UsageError, match="KATE has 2 writers that have not ended"):
        write(kate, 1, "y")
    write(kate, 3)
    requests.handle(messages.EndWriter("x"), kate)
    write(kate, 1, "y")
    write(eve, 1, "x")


def test_a_lease_is_its_owner_s(grid, requests):
    kate, eve = peer(requests, "KATE"), peer(requests, "EVE")
    asked = messages.AskVersion("T", None, None, "lease", 60)
    version = requests.handle(asked, kate)
    held = messages.Hold("lease", 60, [(version.table_id, version.number)])
    assert requests.handle(held, eve).count == 0
    requests.handle(messages.Hold("lease", 60, []), eve)
    assert requests.handle(held, kate).count == 1
    file = next(file for file in version.files if file[0].endswith(".seg"))
    blocks = messages.Blocks(version.table_id, file, [(0, 1)])
    assert requests.blocks(blocks, kate).read_all().num_rows
    grid.sql("REVOKE ALL ON T FROM KATE")
    for message in (asked, blocks):
        with pytest.raises(GridAccessError):
            requests.blocks(message, kate) if message is blocks else requests.handle(message, kate)
    requests._leases.close()


# ---- Flight SQL ----


def info(flights: FlightSql, who: Peer, name: str = "CommandStatementQuery", **fields):
    import pyarrow.flight as flight

    descriptor = flight.FlightDescriptor.for_command(protocol.encode_any(name, **fields))
    return flights.flight_info(Call(who, bool), descriptor)


def act(flights: FlightSql, who: Peer, kind: str, **fields):
    answers = flights.do_action(Call(who, bool), kind, protocol.encode_any(f"Action{kind}Request", **fields))
    return protocol.decode_any(answers[0])[1] if answers else None


def held_transaction(flights: FlightSql, who: Peer) -> Callable[[Peer], object]:
    handle = act(flights, who, "BeginTransaction").transaction_id
    info(flights, who, query="SELECT * FROM T", transaction_id=handle)
    return lambda other: info(flights, other, query="SELECT * FROM T", transaction_id=handle)


def held_statement(flights: FlightSql, who: Peer) -> Callable[[Peer], object]:
    handle = act(flights, who, "CreatePreparedStatement", query="SELECT * FROM T").prepared_statement_handle
    return lambda other: info(flights, other, "CommandPreparedStatementQuery", prepared_statement_handle=handle)


def held_result(flights: FlightSql, who: Peer) -> Callable[[Peer], object]:
    ticket = info(flights, who, query="SELECT * FROM T").endpoints[0].ticket.ticket
    return lambda other: flights.do_get(Call(other, bool), ticket)


def bound_result(flights: FlightSql, who: Peer) -> Callable[[Peer], object]:
    ticket = held_statement(flights, who)(who).endpoints[0].ticket.ticket
    return lambda other: flights.do_get(Call(other, bool), ticket)


def of_admins(flights: FlightSql, who: Peer) -> Callable[[Peer], object]:
    ticket = info(flights, who, query="SELECT NAME FROM SYS.USERS").endpoints[0].ticket.ticket
    return lambda other: flights.do_get(Call(other, bool), ticket)


HELD = {
    "_transactions": [held_transaction],
    "_statements": [held_statement],
    "_results": [held_result, bound_result, of_admins],
}


def test_everything_held_is_tried(flights):
    assert {name for name, value in vars(flights).items() if isinstance(value, Handles)} == HELD.keys()


@pytest.mark.parametrize("hold", [hold for each in HELD.values() for hold in each])
def test_what_flight_sql_holds_is_its_owner_s(grid, requests, flights, hold):
    grid.sql("GRANT ADMIN TO KATE")
    kate = peer(requests, "KATE")
    hold(flights, kate)(kate)
    use = hold(flights, kate)
    for other in (peer(requests, "EVE"), Peer(REMOTE), Peer(REMOTE, anonymous=True)):
        with pytest.raises((UsageError, GridAccessError), match="there is no such|log in"):
            use(other)
    grid.sql("REVOKE ALL ON T FROM KATE; REVOKE ADMIN FROM KATE")
    with pytest.raises(GridAccessError):
        use(kate)
    grid.sql("GRANT ADMIN TO KATE")
    use = hold(flights, kate)
    grid.sql("DROP USER KATE; CREATE USER KATE; GRANT ADMIN TO KATE")
    with pytest.raises(UsageError, match="there is no such"):
        use(peer(requests, "KATE"))


@pytest.mark.parametrize("text", ["INSERT INTO T VALUES (3, 3)", "UPDATE T SET X = 7", "DELETE FROM T WHERE ID = 1"])
def test_a_session_commits_nothing_after_a_revoke(grid, requests, flights, text):
    kate, before = peer(requests, "KATE"), grid.table("T").to_arrow()
    handle = act(flights, kate, "BeginTransaction").transaction_id
    info(flights, kate, query=text, transaction_id=handle)
    grid.sql("REVOKE ALL ON T FROM KATE")
    with pytest.raises(GridAccessError, match="GRANT .* ON T TO KATE"):
        act(flights, kate, "EndTransaction", transaction_id=handle, action=1)
    assert grid.table("T").to_arrow() == before


def test_results_that_wait_have_a_limit_in_bytes(grid, requests, monkeypatch):
    monkeypatch.setattr("gridflow.server.flight_sql.MOST_RESULT_BYTES", (100_000, 150_000))
    flights = FlightSql(requests)
    kate = peer(requests, "KATE")
    tickets = [info(flights, kate, query="SELECT * FROM range(5000)").endpoints[0].ticket.ticket for _ in range(8)]
    assert len(flights._results) == 2
    with pytest.raises(UsageError, match="no such result"):
        flights.do_get(Call(kate, bool), tickets[0])
    flights.do_get(Call(kate, bool), tickets[-1])
    large = info(flights, kate, query="SELECT * FROM range(50000)").endpoints[0].ticket.ticket
    assert len(flights._results) == 1
    flights.do_get(Call(kate, bool), large)
    flights.close()


# ---- who has said nothing ----


def test_who_came_before_the_first_user_is_nobody_after_it(tmp_path):
    """Also by a connection that goes on, where each frame is asked about."""
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X INT); INSERT INTO T VALUES (1, 10)")
        requests = Requests(grid.open_grid, "process", Access(grid.open_grid, insecure=True))
        flights = FlightSql(requests)
        anybody = requests.access.authenticate(REMOTE, "10.0.0.1").peer
        name = begin(requests, anybody)
        use = held_result(flights, anybody)
        for message in in_transaction(grid, name)[:-1]:
            ask(requests, message, anybody)
        grid.sql("CREATE USER KATE")
        for message in in_transaction(grid, name):
            with pytest.raises(GridAccessError, match="has got users by now"):
                ask(requests, message, anybody)
        with pytest.raises(GridAccessError):
            use(anybody)
        with pytest.raises(GridAccessError):
            requests.access.authenticate(REMOTE, "10.0.0.1")
        assert len(grid.table("T")) == 1
        flights.close()
        requests.close()
