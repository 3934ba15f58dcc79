"""What is written down, what never is, and what one client may take."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import threading
import time

import pyarrow.flight as flight
import pytest

import gridflow
from gridflow.errors import GridAccessError, GridConnectionError, GridflowError
from gridflow.protocols import local_tokens, messages
from gridflow.protocols.address import Endpoint
from gridflow.server import ServerProcess, audit, limits
from gridflow.server.access import Access, Peer
from gridflow.server.limits import Logins, RequestLimit
from gridflow.server.requests import Requests
from gridflow.server.small import Carrier

REMOTE = Endpoint.parse("grid://localhost")
SECRET = "warm kitty"


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql(f"CREATE USER KATE WITH PASSWORD '{SECRET}'; GRANT ADMIN TO KATE; CREATE USER BOB WITH PASSWORD 'b'")
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY)")
        yield grid


@pytest.fixture
def requests(grid):
    return Requests(grid.open_grid, "process")


@pytest.fixture
def lines(caplog, monkeypatch):
    """Gives the lines so far, as dicts."""
    monkeypatch.setattr(audit, "_refusals", audit._Refusals())
    caplog.set_level(logging.INFO, "gridflow.audit")
    return lambda: [json.loads(record.message) for record in caplog.records if record.name == "gridflow.audit"]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_logins_changes_and_refusals_are_written_down(grid, requests, lines):
    for password in ("wrong", SECRET):
        try:
            login = requests.access.authenticate(REMOTE, "10.0.0.1", basic("kate", password))
        except GridAccessError:
            pass
    kate, bob = login.peer, requests.access.authenticate(REMOTE, "10.0.0.2", certificate="BOB").peer
    own = Peer(Endpoint.of_grid(grid.home))

    def sql(peer: Peer, text: str) -> None:
        requests.query(messages.Sql(text, None, b""), peer)

    sql(kate, "CREATE TABLE N (ID LONG PRIMARY KEY); INSERT INTO N VALUES (1); SELECT * FROM N")
    sql(kate, f"ALTER USER BOB WITH PASSWORD '{SECRET}'")
    bob = requests.access.authenticate(REMOTE, "10.0.0.2", certificate="BOB").peer
    for text in ("DROP TABLE N", "SELECT * FROM N"):
        with pytest.raises(GridAccessError):
            sql(bob, text)
    with pytest.raises(GridAccessError):
        requests.handle(messages.DropTable("N", False), bob)
    with pytest.raises(GridflowError):
        sql(own, "DROP TABLE NONE")
    requests.handle(messages.DropTable("N", False), own)
    found = [(line["event"], line["outcome"], line["user"], line["address"], line.get("what")) for line in lines()]
    assert found == [
        ("login", "refused", "kate", "10.0.0.1", None),
        ("login", "ok", "KATE", "10.0.0.1", None),
        ("statement", "ok", "KATE", "10.0.0.1", "CREATE TABLE N (ID LONG PRIMARY KEY)"),
        ("statement", "ok", "KATE", "10.0.0.1", "ALTER USER BOB WITH PASSWORD '***'"),
        ("statement", "refused", "BOB", "10.0.0.2", "DROP TABLE N"),
        ("statement", "refused", "BOB", "10.0.0.2", "SELECT * FROM N"),
        ("message", "refused", "BOB", "10.0.0.2", "drop_table N"),
        ("statement", "failed", None, "", "DROP TABLE NONE"),
        ("message", "ok", None, "", "drop_table N"),
    ]
    assert all(line["time"].endswith("+00:00") for line in lines())
    assert SECRET not in json.dumps(lines()) and login.token not in json.dumps(lines())


def test_what_somebody_calls_himself_makes_no_line_of_his_own(requests, lines):
    for name in ('x"}\n{"event": "login", "outcome": "ok"', "\x1b[2J", "\udcff" * 3, "n" * 100_000):
        with pytest.raises(GridAccessError):
            requests.access.authenticate(
                REMOTE, "a", "Basic " + base64.b64encode(name.encode(errors="replace") + b":x").decode()
            )
    assert {line["outcome"] for line in lines()} == {"refused"}
    assert all(len(json.dumps(line)) < 10_000 for line in lines())


def test_the_command_appends_to_a_file_of_its_own(tmp_path):
    audit = tmp_path / "audit.jsonl"
    options = ["--listen", "grid://127.0.0.1:0", "--audit", str(audit)]
    with ServerProcess(tmp_path / "grid", *options) as server:
        assert audit.stat().st_mode & 0o777 == 0o600
        with gridflow.connect(tmp_path / "grid") as grid:
            grid.sql(f"CREATE USER KATE WITH PASSWORD '{SECRET}'")
            endpoint = Endpoint.parse([line.split()[2] for line in server.printed if line.startswith("listens on")][-1])
            _, token = flight.FlightClient(endpoint.flight_uri).authenticate_basic_token("KATE", SECRET)
            with pytest.raises(flight.FlightUnauthenticatedError) as caught:
                flight.FlightClient(endpoint.flight_uri).authenticate_basic_token("KATE", "soft kitty")
            views = [
                grid.system_view(view).to_pylist() for view in ("SQL_QUERIES_HISTORY", "USERS", "CLIENT_CONNECTIONS")
            ]
            shown = subprocess.run(["ps", "-ef"], capture_output=True, text=True).stdout
        audit.rename(tmp_path / "audit.1")
        with gridflow.connect(tmp_path / "grid") as grid:
            grid.sql("DROP USER KATE")
        local = local_tokens.read_token(endpoint.port)
    first = (tmp_path / "audit.1").read_text()
    assert [json.loads(line)["what"] for line in audit.read_text().splitlines()] == ["DROP USER KATE"]
    assert [json.loads(line)["outcome"] for line in first.splitlines()] == ["ok", "ok", "refused"]
    for text in (first, str(views), shown, str(caught.value), "\n".join(server.printed)):
        for secret in (SECRET, "soft kitty", token.decode().split()[1], local):
            assert secret not in text


def test_every_refusal_is_written_down(grid, requests, lines):
    """Also where no password was looked at, and of what is done at once."""
    door, address = requests.access.authenticate, "10.0.0.3"
    attempts = [
        ("", {"authorization": ""}),
        ("", {"authorization": "Bearer nonsense"}),
        ("", {"authorization": "Digest x"}),
        ("kate", {"authorization": basic("kate", SECRET), "passwords": False}),
        ("NONE", {"certificate": "NONE"}),
        ("BOB", {"certificate": "BOB", "authorization": basic("kate", SECRET)}),
    ]
    for _, shown in attempts:
        with pytest.raises(GridAccessError):
            door(REMOTE, address, **shown)
    refused = [line for line in lines() if line["outcome"] == "refused"]
    assert [(line["event"], line["user"], line["address"]) for line in refused] == [
        ("login", user, address) for user, _ in attempts
    ]
    bob = door(REMOTE, address, certificate="BOB").peer
    table = grid.table("T")
    own = Peer(Endpoint.of_grid(grid.home))
    insert = messages.Sql("INSERT INTO T VALUES (?)", *messages.encode_values([7]))
    requests.query(insert, own)
    before = len(lines())
    carrier = Carrier(requests)
    for mode in ("get", "put"):
        with pytest.raises(GridAccessError):
            carrier.allow(bob, carrier.probe(table, mode))
    with pytest.raises(GridAccessError):
        requests.handle_at_once(insert, bob)
    assert [(line["event"], line["user"], line["what"]) for line in lines()[before:]] == [
        ("message", "BOB", "get T"),
        ("message", "BOB", "commit T"),
        ("message", "BOB", "sql"),
    ]


def test_of_refused_logins_there_are_few_lines(grid, requests, lines, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in range(2):
        now[0] += 2
        for _ in range(audit.MOST_REFUSALS + 30):
            with pytest.raises(GridAccessError):
                requests.access.authenticate(REMOTE, "a", "Bearer nonsense")
    found = lines()
    assert len(found) == 2 * audit.MOST_REFUSALS and [line.get("left_out") for line in found].count(30) == 1


class TestLogins:
    @pytest.fixture(autouse=True)
    def now(self, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        return now

    @staticmethod
    def is_taken(logins: Logins, user: str, address: str) -> bool:
        try:
            with logins.attempt(user, address):
                return True
        except GridAccessError:
            return False

    def test_who_guesses_waits_longer_and_longer(self, now):
        logins = Logins()
        for _ in range(limits.FREE_BY_NAME):
            assert self.is_taken(logins, "KATE", "a")
            logins.failed("KATE", "a")
        waits = []
        for _ in range(8):
            assert not self.is_taken(logins, "KATE", "a")
            start = now[0]
            while not self.is_taken(logins, "KATE", "a"):
                now[0] += 0.5
            waits.append(now[0] - start)
            logins.failed("KATE", "a")
        assert waits == sorted(waits) and waits[0] == 1 and waits[-1] == limits.LONGEST_WAIT
        assert self.is_taken(logins, "KATE", "b") and self.is_taken(logins, "BOB", "a")  # of others it is no fault

    def test_many_names_at_one_address_are_one_who_guesses(self, now):
        logins = Logins()
        for i in range(limits.FREE_BY_ADDRESS):
            assert self.is_taken(logins, f"U{i}", "a")
            logins.failed(f"U{i}", "a")
        assert not self.is_taken(logins, "U1", "a") and self.is_taken(logins, "U1", "b")
        assert self.is_taken(logins, "NEW", "a")  # who has not failed there is not kept out for others

    def test_where_no_address_is_known_all_names_are_one_who_guesses(self, now):
        logins = Logins()
        logins.succeeded("KATE", "")
        for i in range(100):
            logins.failed(f"U{i}", "")
        assert not self.is_taken(logins, "NEW", "") and self.is_taken(logins, "NEW", "a")
        assert self.is_taken(logins, "KATE", "")
        now[0] += limits.KNOWN_SECONDS
        for i in range(100):
            logins.failed(f"U{i}", "")
        assert not self.is_taken(logins, "KATE", "")

    def test_a_name_in_other_letters_is_the_same(self, now):
        logins = Logins()
        for name in ("kate", "Kate", "KATE", "kATE", "KAte"):
            logins.failed(name, "a")
        assert not self.is_taken(logins, "katE", "a")

    def test_failures_are_forgotten(self, now):
        logins = Logins()
        for _ in range(40):  # a typo a day
            assert self.is_taken(logins, "KATE", "a")
            logins.failed("KATE", "a")
            now[0] += 10
            assert self.is_taken(logins, "KATE", "a")
            now[0] += limits.FORGET_SECONDS
        for i in range(limits.FREE_BY_ADDRESS + 5):
            logins.failed(f"U{i}", "a")
        assert not self.is_taken(logins, "U1", "a")
        logins.succeeded("KATE", "a")
        assert self.is_taken(logins, "U1", "a")

    def test_who_gets_it_right_begins_anew(self, now):
        logins = Logins()
        for _ in range(3):
            for _ in range(limits.FREE_BY_NAME - 1):
                logins.failed("KATE", "a")
            assert self.is_taken(logins, "KATE", "a")
            logins.succeeded("KATE", "a")

    def test_what_is_kept_is_bounded(self, now, monkeypatch):
        monkeypatch.setattr(limits, "_MOST_KEPT", 10)
        logins = Logins()
        for i in range(100):
            logins.failed(f"U{i}", f"a{i}")
        assert len(logins._failed) == 10

    def test_so_many_passwords_at_once(self, monkeypatch):
        monkeypatch.setattr(limits, "_WAIT_SECONDS", 0.01)
        logins = Logins()
        with logins.attempt("A", "a"), logins.attempt("B", "b"):
            assert not self.is_taken(logins, "C", "c")
        assert self.is_taken(logins, "C", "c") and not logins._waiting
        with logins.attempt("A", ""):  # of those one at a time: the other turn is for who has an address
            assert not self.is_taken(logins, "B", "") and self.is_taken(logins, "B", "b")
        assert self.is_taken(logins, "B", "") and not logins._waiting

    @pytest.mark.parametrize("address", ["", "a"])
    def test_of_one_address_few_wait(self, address):
        logins = Logins()
        logins.succeeded("KATE", address)
        taken = []
        with logins.attempt("A", address), logins.attempt("B", "b"):
            guessers = [
                threading.Thread(target=lambda i=i: taken.append(self.is_taken(logins, f"U{i}", address)))
                for i in range(limits.MOST_WAITING_OF_ONE + 5)
            ]
            for thread in guessers:
                thread.start()
            while len(taken) < 5 or logins._waiting[address] < limits.MOST_WAITING_OF_ONE:
                pass  # those who are refused are so at once
            other = threading.Thread(target=lambda: taken.append(self.is_taken(logins, "C", "c")))
            kate = threading.Thread(target=lambda: taken.append(self.is_taken(logins, "KATE", address)))
            for thread in (other, kate):
                thread.start()
        for thread in (*guessers, other, kate):
            thread.join()
        assert sorted(taken) == [False] * 5 + [True] * (limits.MOST_WAITING_OF_ONE + 2)


def test_a_guesser_is_refused_without_a_look_at_the_password(grid, monkeypatch):
    doors = Access(grid.open_grid)
    looks = []
    monkeypatch.setattr("gridflow.catalog.users._matches", lambda *given: looks.append(1) and False)
    for _ in range(50):
        with pytest.raises(GridAccessError):
            doors.authenticate(REMOTE, "a", basic("KATE", "x"))
    assert len(looks) == limits.FREE_BY_NAME


def test_a_client_that_shows_its_password_each_time_is_looked_at_once(grid, monkeypatch):
    doors = Access(grid.open_grid)
    first = doors.authenticate(REMOTE, "a", basic("KATE", SECRET))
    monkeypatch.setattr("gridflow.catalog.users._matches", lambda *given: pytest.fail("it is looked at"))
    assert doors.authenticate(REMOTE, "b", basic("KATE", SECRET)).token == first.token
    grid.sql("DROP USER KATE; CREATE USER KATE WITH PASSWORD 'another'")
    monkeypatch.undo()
    with pytest.raises(GridAccessError):
        doors.authenticate(REMOTE, "a", basic("KATE", SECRET))


def test_so_many_requests_of_a_client_at_once(grid, requests):
    requests._limit = RequestLimit(1)
    kate = requests.access.authenticate(REMOTE, "a", certificate="KATE").peer
    bob = requests.access.authenticate(REMOTE, "a", certificate="BOB").peer
    begun, end = threading.Event(), threading.Event()

    def stream():
        begun.set()
        assert end.wait(30)
        yield messages.LoadEnd(0)

    schema = grid.table("T").to_arrow().schema
    load = threading.Thread(target=lambda: requests.load(messages.Load("T", "error"), schema, stream(), kate))
    load.start()
    assert begun.wait(30)
    with pytest.raises(GridConnectionError, match="try again"):
        requests.query(messages.Sql("SELECT 1", None, b""), kate)
    requests.query(messages.Sql("SELECT 1", None, b""), bob)
    requests.query(messages.Sql("SELECT 1", None, b""), Peer(Endpoint.of_grid(grid.home)))
    end.set()
    load.join()
    requests.query(messages.Sql("SELECT 1", None, b""), kate)
    assert requests.running == 0
