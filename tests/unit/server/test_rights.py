"""What users may do: each kind of message and of statement, by role and by right, and the ways round that are not."""

from __future__ import annotations

import base64
import dataclasses
import re
import threading

import numpy as np
import pyarrow as pa
import pytest

import gridflow
from gridflow.catalog import grants
from gridflow.errors import GridAccessError, GridflowError, SqlError, TableNotFoundError, UsageError
from gridflow.protocols import messages
from gridflow.protocols.address import Endpoint
from gridflow.protocols.messages import Message
from gridflow.server.access import RULES, STATEMENTS, Peer
from gridflow.server.guarded import grid_of
from gridflow.server.requests import Requests
from gridflow.sql import Session
from gridflow.sql.execution.executors import EXECUTORS
from gridflow.sql.routing import CONTROLS
from gridflow.sql.views.views import view_names

REMOTE = Endpoint.parse("grid://localhost")
USERS = ("NOBODY", "READER", "WRITER", "ADMIN", "SELECTER", "INSERTER")


@pytest.fixture
def grid(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X INT); CREATE TABLE U (ID LONG PRIMARY KEY, X INT)")
        grid.sql("INSERT INTO T VALUES (1, 10), (2, 20); INSERT INTO U VALUES (7, 70)")
        grid.table("T").tag("OLD")
        for user in USERS:
            grid.sql(f"CREATE USER {user}")
        grid.sql("GRANT READER TO READER; GRANT WRITER TO WRITER; GRANT ADMIN TO ADMIN")
        grid.sql("GRANT SELECT ON T TO SELECTER; GRANT INSERT ON T TO INSERTER")
        yield grid


@pytest.fixture
def requests(grid):
    return Requests(grid.open_grid, "process")


def peer(requests: Requests, user: str) -> Peer:
    """As one who has just shown a certificate."""
    return requests.access.authenticate(REMOTE, "10.0.0.1", certificate=user).peer


def sql(requests: Requests, user: str, text: str, params=None) -> list[dict]:
    head, body = messages.encode_values(params)
    return requests.query(messages.Sql(text, head, body), peer(requests, user))[1].to_pylist()


NO_ONE, ALL = "", "NOBODY READER WRITER ADMIN SELECTER INSERTER"
READERS, WRITERS, ADMINS = "READER WRITER ADMIN SELECTER", "WRITER ADMIN", "ADMIN"
INSERTERS = "WRITER ADMIN INSERTER"

#: Each kind of message that a client sends, an example, and who may send it over the network.
MESSAGES: list[tuple[Message, str]] = [
    (messages.Hello("c", 1, "0"), ALL),
    (messages.Goodbye("c"), ALL),
    (messages.Cancel("run"), ALL),
    (messages.OpenRing("a" * 32), NO_ONE),
    (messages.CreateTable("NEW", [("ID", "INT64 NOT NULL")], ["ID"], None, False, {}, 0, {"m": []}, b""), ADMINS),
    (messages.AlterTable("T", [("Y", "INT32")], [], [], [{"m": []}, {"m": []}], b""), ADMINS),
    (messages.DropTable("T", False), ADMINS),
    (messages.Truncate("T", 1), WRITERS),
    (messages.Flush(None), WRITERS),
    (messages.Flush("T"), INSERTERS),
    (messages.Flush("T", to_read=True), READERS),
    (messages.Compact("T"), INSERTERS),
    (messages.Tag("T", 1, "NEW", False), WRITERS),
    (messages.Untag("T", 1, "OLD"), WRITERS),
    (messages.Restore("T", 1, 1), ADMINS),
    (messages.KeepVersions("T", 1, 2), ADMINS),
    (messages.Compress("T", 1, ["X"]), ADMINS),
    (messages.Commit("T", 1, 0, "put", b""), WRITERS),
    (messages.Commit("T", 1, 0, "put_if_absent", b""), INSERTERS),
    (messages.Commit("T", 1, 0, "insert", b""), INSERTERS),
    (messages.Commit("T", 1, 0, "replace", b""), WRITERS),
    (messages.Commit("T", 1, 0, "remove", b""), WRITERS),
    (messages.Commit("T", 1, 0, "no such mode", b""), WRITERS),
    (messages.CommitTransaction([], 0, b""), ALL),
    (messages.CommitTransaction([(1, 0)], 0, b""), WRITERS),
    (messages.Load("T", "error"), INSERTERS),
    (messages.Load("T", "ignore"), INSERTERS),
    (messages.Load("T", "replace"), WRITERS),
    (messages.Sql("SELECT 1", None, b""), ALL),
    (messages.SystemView("TABLES", ["TABLE_NAME"]), ALL),
    (messages.ListTables(), ALL),
    (messages.Describe("T"), ALL),
    (messages.Get("T", 1, 0, "", b""), READERS),
    (messages.GetAll("T", 1, 0, "", b""), READERS),
    (messages.Ask("T", 1, "count", "", [], b""), READERS),
    (messages.Scan("T", 1, "", None, None), READERS),
    (messages.Swap("T", 1, 0, 0, -1, 0, b""), WRITERS),
    (messages.Swap("T", 1, 0, 0, 0, 0, b""), WRITERS),
    (messages.Swap("T", 1, 0, 0, 0, -1, b""), WRITERS),
    (messages.Begin("c"), ALL),
    (messages.End("none", False), ALL),
    (messages.Write("none", "T", 1, 0, "put", b""), WRITERS),
    (messages.Write("none", "T", 1, 0, "insert", b""), INSERTERS),
    (messages.SqlMany("INSERT INTO T VALUES (?)", "", [], b""), ALL),
    (messages.WriteBatch("T", 1, 0, "put", "w", 1, b""), WRITERS),
    (messages.WriteBatch("T", 1, 0, "put_if_absent", "w", 1, b""), INSERTERS),
    (messages.EndWriter("w"), ALL),
    (messages.AskVersion("T", None, None, "lease", 20), READERS),
    (messages.Blocks(1, ("0000000000000001.seg", 1, 1), []), READERS),
    (messages.Hold("lease", 20, []), ALL),
    (messages.AskGrid(), ALL),
    (messages.Check(), ADMINS),
]
ANSWERS = {messages.Welcome, messages.Done, messages.LoadEnd, messages.SqlDone, messages.Names, messages.TableInfo}
ANSWERS |= {messages.Row, messages.Rows, messages.Answer, messages.Begun, messages.GridFacts, messages.Problems}
ANSWERS |= {messages.VersionIs}


def test_every_message_has_a_line():
    kinds = {each for each in Message.__subclasses__() if each.__module__.startswith("gridflow.")} - ANSWERS
    assert kinds - RULES.keys() == set(), "say in server/access.py who may send these"
    assert kinds - {type(message) for message, _ in MESSAGES} == set(), "and here, with an example"


@pytest.mark.parametrize(
    "message, allowed", MESSAGES, ids=lambda value: value.kind if isinstance(value, Message) else ""
)
def test_who_may_send_what(requests, message, allowed):
    for user in USERS:
        if user in allowed.split():
            requests.access.authorize(peer(requests, user), message)
        else:
            with pytest.raises(GridAccessError) as caught:
                requests.access.authorize(peer(requests, user), message)
            assert user in str(caught.value) or isinstance(message, messages.OpenRing)
    requests.access.authorize(Peer(Endpoint.of_grid(requests.grid.home)), message)  # the grid's own user


#: Kind of statement -> examples, and who may execute them over the network.
STATEMENT_USERS: dict[str, list[tuple[str, str]]] = {
    "SELECT": [
        ("SELECT 1", ALL),
        ("SELECT * FROM T", READERS),
        ("SELECT COUNT(*) FROM T", READERS),
        ("SELECT X FROM T WHERE ID = 1", READERS),
        ("SELECT (SELECT MAX(X) FROM T)", READERS),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM T)", READERS),
        ("SELECT 1 WHERE 1 IN (SELECT ID FROM T)", READERS),
        ("WITH C AS (SELECT * FROM T) SELECT COUNT(*) FROM C", READERS),
        ("WITH T2 AS (WITH T3 AS (FROM T) FROM T3) FROM T2", READERS),
        ("SELECT * FROM T JOIN U USING (ID)", "READER WRITER ADMIN"),
        ("SELECT * FROM U, LATERAL (SELECT * FROM T) L", "READER WRITER ADMIN"),
        ("SELECT ID FROM T UNION SELECT ID FROM T", READERS),
        ("SELECT * FROM T AT (VERSION => 'OLD')", READERS),
        ("FROM T", READERS),
        ("TABLE T", READERS),
        ("SUMMARIZE T", READERS),
        ("VALUES (1)", ALL),
        ("SELECT * FROM PUBLIC.T", READERS),
        ("SELECT * FROM t", READERS),
        ("PIVOT T ON X USING COUNT(*)", READERS),
        ("SELECT TABLE_NAME FROM SYS.TABLES", ALL),
        ("SELECT * FROM SYS.USERS", ADMINS),
        ("SELECT * FROM SYS.SQL_QUERIES_HISTORY", ADMINS),
        ("SELECT (SELECT COUNT(*) FROM SYS.CLIENT_CONNECTIONS)", ADMINS),
    ],
    "EXPLAIN": [("EXPLAIN SELECT * FROM T", READERS)],
    "INSERT": [
        ("INSERT INTO T VALUES (3, 30)", INSERTERS),
        ("INSERT INTO T VALUES (3, (SELECT MAX(X) FROM T))", WRITERS),
        ("INSERT INTO T SELECT ID, X FROM U", WRITERS),
        ("INSERT INTO T WITH C AS (FROM U) SELECT * FROM C", WRITERS),
    ],
    "MERGE": [
        ("MERGE INTO T VALUES (1, 30)", WRITERS),
        ("MERGE INTO T USING U ON T.ID = U.ID WHEN NOT MATCHED THEN INSERT VALUES (U.ID, U.X)", WRITERS),
    ],
    "UPDATE": [
        ("UPDATE T SET X = 5 WHERE ID = 1", WRITERS),
        ("UPDATE T SET X = (SELECT MAX(X) FROM U)", WRITERS),
    ],
    "DELETE": [("DELETE FROM T WHERE ID = 1", WRITERS), ("DELETE FROM T", WRITERS)],
    "TRUNCATE": [("TRUNCATE TABLE T", WRITERS)],
    "SHOW": [("SHOW TABLES", ALL), ("SHOW COLUMNS FROM T", READERS)],
    "DESCRIBE": [("DESCRIBE T", READERS)],
    "DESC": [("DESC T", READERS)],
    "ANALYZE": [("ANALYZE T", READERS)],
    "REFRESH STATISTICS": [("REFRESH STATISTICS T", READERS)],
    "DROP STATISTICS": [("DROP STATISTICS T", ADMINS)],
    "CREATE TABLE": [("CREATE TABLE N (ID LONG PRIMARY KEY)", ADMINS)],
    "CREATE TABLE AS": [("CREATE TABLE N PRIMARY KEY (ID) AS SELECT * FROM T", ADMINS)],
    "ALTER TABLE": [("ALTER TABLE T ADD COLUMN Y INT", ADMINS)],
    "DROP TABLE": [("DROP TABLE T", ADMINS), ("DROP TABLE IF EXISTS NONE", ADMINS)],
    "CREATE INDEX": [("CREATE INDEX I ON T (X)", ADMINS)],
    "DROP INDEX": [("DROP INDEX IF EXISTS I", ADMINS)],
    "CREATE USER": [("CREATE USER EVE WITH PASSWORD 'x'", ADMINS)],
    "ALTER USER": [("ALTER USER ADMIN WITH PASSWORD 'x'", ADMINS)],
    "DROP USER": [("DROP USER IF EXISTS EVE", ADMINS)],
    "GRANT": [("GRANT ADMIN TO READER", ADMINS), ("GRANT SELECT ON T TO NOBODY", ADMINS)],
    "REVOKE": [("REVOKE READER FROM READER", ADMINS)],
    "KILL": [("KILL QUERY '1-1'", ADMINS)],
    "COPY": [("COPY T TO '{file}'", NO_ONE), ("COPY T FROM '/etc/passwd'", NO_ONE)],
    "SET": [("SET QUERY_TIMEOUT 5", NO_ONE)],
    "BEGIN": [("BEGIN", NO_ONE)],
    "START TRANSACTION": [("START TRANSACTION", NO_ONE)],
    "COMMIT": [("COMMIT", NO_ONE)],
    "ROLLBACK": [("ROLLBACK", NO_ONE)],
}


def test_every_statement_has_a_line():
    kinds = {*EXECUTORS, *CONTROLS}
    assert STATEMENT_USERS.keys() == kinds, (
        "say who may execute what is new, here and in STATEMENTS of server/access.py"
    )
    assert kinds >= STATEMENTS
    for kind in kinds - STATEMENTS:
        assert all(users in (ADMINS, NO_ONE) for _, users in STATEMENT_USERS[kind]), kind


@pytest.mark.parametrize(
    "text, user, is_allowed",
    [
        pytest.param(text, user, user in allowed.split(), id=f"{text}-{user}")
        for each in STATEMENT_USERS.values()
        for text, allowed in each
        for user in USERS
    ],
)
def test_who_may_execute_what(grid, requests, tmp_path, text, user, is_allowed):
    text = text.replace("{file}", str(tmp_path / "out.csv"))
    before = state(grid)
    if is_allowed:
        try:
            sql(requests, user, text)
        except SqlError as error:
            assert re.search("no query .* runs here", str(error)), text
    else:
        with pytest.raises((GridAccessError, UsageError)) as caught:
            sql(requests, user, text)
        assert isinstance(caught.value, GridAccessError) or "ADMIN" not in STATEMENT_USERS, text
        assert state(grid) == before and not (tmp_path / "out.csv").exists()


def state(grid) -> tuple:
    tables = {name: sorted(map(str, grid.table(name).to_arrow().to_pylist())) for name in grid.tables()}
    return tables, grid.sql("FROM SYS.USERS").to_arrow().to_pylist(), grid.sql("FROM SYS.GRANTS").to_arrow().to_pylist()


def test_a_fast_path_asks_too(grid, requests):
    """A text that others have executed often does not go past the rights of who executes it now."""
    insert, select = "INSERT INTO T VALUES (?, ?)", "SELECT X FROM T WHERE ID = ?"
    for key in range(100, 104):
        sql(requests, "WRITER", insert, [key, key])
        assert sql(requests, "WRITER", select, [key]) == [{"X": key}]
    for user, text in (("READER", insert), ("NOBODY", insert), ("NOBODY", select), ("INSERTER", select)):
        with pytest.raises(GridAccessError):
            sql(requests, user, text, [200, 0] if text == insert else [100])
    sql(requests, "INSERTER", insert, [200, 0])
    grid.sql("REVOKE INSERT ON T FROM INSERTER; REVOKE WRITER FROM WRITER")
    for user in ("INSERTER", "WRITER"):
        with pytest.raises(GridAccessError):
            sql(requests, user, insert, [201, 0])
    assert grid.sql("SELECT COUNT(*) FROM T WHERE ID >= 200").scalar() == 1


def test_a_plan_that_is_kept_asks_too(grid, requests):
    for text in (
        "SELECT SUM(X) AS S FROM T WHERE X > 0",
        "DELETE FROM T WHERE X = -1",
        "INSERT INTO T SELECT * FROM U",
    ):
        sql(requests, "ADMIN", text)
        with pytest.raises(GridAccessError):
            sql(requests, "NOBODY", text)
        with pytest.raises(GridAccessError):
            sql(requests, "INSERTER", text)


def test_a_text_of_several_statements_is_looked_at_one_by_one(grid, requests):
    with pytest.raises(GridAccessError, match="DROP TABLE"):
        sql(requests, "WRITER", "INSERT INTO T VALUES (5, 5); DROP TABLE T")
    assert 5 in grid.table("T") and "T" in grid.tables()
    for text in ("BEGIN; KILL QUERY '1'; COMMIT", "BEGIN; DROP TABLE T; COMMIT", "BEGIN; DELETE FROM T; COMMIT"):
        with pytest.raises(GridflowError):
            sql(requests, "READER", text)
    assert len(grid.table("T")) == 3


def test_files_of_the_server_are_out_of_reach(requests, tmp_path):
    (tmp_path / "secret.csv").write_text("ID,X\n9,9\n")
    for text in (
        f"COPY T FROM '{tmp_path}/secret.csv'",
        f"COPY (SELECT 1 AS A) TO '{tmp_path}/out.csv'",
        f"SELECT * FROM '{tmp_path}/secret.csv'",
        f'SELECT * FROM "{tmp_path}/secret.csv"',
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"SELECT * FROM read_text('{tmp_path}/secret.csv')",
        f"SELECT * FROM glob('{tmp_path}/*')",
        "SELECT getenv('HOME')",
        f"ATTACH '{tmp_path}/x.db'",
        "LOAD httpfs",
    ):
        for user in ("ADMIN", "WRITER", "NOBODY"):
            with pytest.raises(GridflowError):
                sql(requests, user, text)
                pytest.fail(text)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid", "secret.csv"]


def test_views_show_what_is_one_s_own(grid, requests):
    tables = "SELECT TABLE_NAME FROM SYS.TABLES ORDER BY 1"
    assert [row["TABLE_NAME"] for row in sql(requests, "READER", tables)] == ["T", "U"]
    assert [row["TABLE_NAME"] for row in sql(requests, "SELECTER", tables)] == ["T"]
    assert sql(requests, "NOBODY", tables) == []
    assert sql(requests, "NOBODY", "SHOW TABLES") == []
    assert {row["TABLE_NAME"] for row in sql(requests, "SELECTER", "FROM SYS.TABLE_COLUMNS")} == {"T"}
    assert sql(requests, "SELECTER", "FROM SYS.GRANTS") == [
        {"USER_NAME": "SELECTER", "TABLE_NAME": "T", "PRIVILEGE": "SELECT"}
    ]
    assert len(sql(requests, "ADMIN", "FROM SYS.GRANTS")) == 5
    for view in view_names():
        message = messages.SystemView(view, ["NAME"] if view in ("USERS", "METRICS") else [])
        rows = None
        try:
            rows = requests.view(message, peer(requests, "NOBODY")).to_pylist()
        except GridAccessError:
            continue
        assert rows == [] or view in ("SCHEMAS", "VIEWS", "VIEW_COLUMNS"), view


def test_no_message_of_a_user_writes_what_has_users_and_grants(grid, requests):
    users = grid._system_table("SYS.USERS")
    for user in ("WRITER", "READER"):
        for message in (
            messages.CommitTransaction([(users.table_id, users.codec.digest)], 0, b""),
            messages.CommitTransaction([(99, 0)], 0, b""),
            messages.Commit("SYS.USERS", users.table_id, users.codec.digest, "put", b""),
            messages.Load("SYS.USERS", "replace"),
        ):
            with pytest.raises(TableNotFoundError):
                requests.access.authorize(peer(requests, user), message)


def test_a_load_needs_a_right_before_a_row_is_read(requests):
    batch = pa.record_batch({"ID": np.arange(3), "X": np.arange(3, dtype="i4")})

    def never():
        raise AssertionError("it was read")
        yield batch

    with pytest.raises(GridAccessError):
        requests.load(messages.Load("T", "error"), batch.schema, never(), peer(requests, "READER"))


def test_who_was_dropped_or_has_another_password_is_out_at_the_next_request(grid, requests):
    known = peer(requests, "ADMIN")
    requests.access.authorize(known, messages.Flush(None))
    grid.sql("ALTER USER ADMIN WITH PASSWORD 'x'")
    with pytest.raises(GridAccessError, match="log in again"):
        requests.access.authorize(known, messages.Hello("c", 1, "0"))
    known = peer(requests, "READER")
    grid.sql("DROP USER READER; CREATE USER READER")
    with pytest.raises(GridAccessError, match="log in again"):
        requests.access.authorize(known, messages.Hello("c", 1, "0"))
    assert peer(requests, "READER").roles == frozenset()


def test_a_role_that_is_taken_is_gone_at_the_next_request(grid, requests):
    known = peer(requests, "ADMIN")
    grid.sql("REVOKE ADMIN FROM ADMIN")
    with pytest.raises(GridAccessError):
        requests.handle(messages.DropTable("T", False), known)
    for text in ("DROP TABLE T", "SELECT * FROM T"):
        with pytest.raises(GridAccessError):
            requests.query(messages.Sql(text, None, b""), known)


def test_an_error_names_the_remedy(requests):
    with pytest.raises(GridAccessError, match="GRANT SELECT ON T TO NOBODY"):
        sql(requests, "NOBODY", "SELECT * FROM T")
    with pytest.raises(GridAccessError, match="GRANT INSERT ON T TO SELECTER"):
        sql(requests, "SELECTER", "INSERT INTO T VALUES (9, 9)")
    with pytest.raises(GridAccessError, match="GRANT ADMIN TO WRITER"):
        sql(requests, "WRITER", "DROP TABLE T")


def test_a_message_nobody_has_thought_of_is_for_admins(requests):
    @dataclasses.dataclass(frozen=True)
    class New(Message):
        pass

    requests.access.authorize(peer(requests, "ADMIN"), New())
    with pytest.raises(GridAccessError):
        requests.access.authorize(peer(requests, "WRITER"), New())


def test_a_session_does_not_outlive_a_role(grid, requests):
    """Also one that was begun by an admin, as those of transactions are."""
    session = Session(grid_of(requests.grid, peer(requests, "ADMIN")))
    session.execute("CREATE TABLE N (ID LONG PRIMARY KEY); INSERT INTO N VALUES (1)")
    session.execute("BEGIN")
    session.execute("INSERT INTO N VALUES (2)")
    grid.sql("REVOKE ADMIN FROM ADMIN")
    for text in ("SELECT * FROM N", "INSERT INTO N VALUES (3)", "FROM SYS.USERS"):
        with pytest.raises(GridAccessError):
            session.execute(text)
    session.execute("ROLLBACK")
    for text in ("DROP TABLE N", "CREATE USER EVE", "GRANT ADMIN TO ADMIN", "SELECT * FROM N"):
        with pytest.raises(GridAccessError):
            session.execute(text)
    assert grid.sql("SELECT * FROM N").scalar() == 1


def test_what_is_done_at_once_is_asked_about_too(grid, requests):
    insert = messages.Sql("INSERT INTO T VALUES (?, ?)", *messages.encode_values([300, 1]))
    for _ in range(3):
        sql(requests, "WRITER", insert.text, [grid.sql("SELECT MAX(ID) FROM T").scalar() + 1, 1])
    with pytest.raises(GridAccessError):
        requests.handle_at_once(insert, peer(requests, "READER"))
    assert requests.handle_at_once(insert, peer(requests, "INSERTER")) == messages.Done(1)


def test_a_door_of_one_thread_looks_at_no_password(grid, requests):
    grid.sql("ALTER USER READER WITH PASSWORD 'x'")
    basic = "Basic " + base64.b64encode(b"READER:x").decode()
    with pytest.raises(GridAccessError, match="by Arrow Flight first"):
        requests.access.authenticate(REMOTE, "a", basic, passwords=False)
    token = requests.access.authenticate(REMOTE, "a", basic).token
    assert requests.access.authenticate(REMOTE, "a", basic, passwords=False).token == token  # it was looked at
    assert requests.access.authenticate(REMOTE, "a", f"Bearer {token}", passwords=False).peer.user == "READER"


def test_who_sees_a_table_not_is_not_told_whether_it_is_there(grid, requests):
    """By no message and no statement: what is said of U is what is said of a table that nobody has made."""

    def said(user: str, name: str, number: int) -> list[tuple[type, str]]:
        heard = []
        for message, _ in MESSAGES:
            changes = {
                field: value
                for field, value in (("table", name), ("name", name), ("table_id", number), ("columns", [(number, 0)]))
                if getattr(message, field, None) in ("T", 1, [(1, 0)])
            }
            if changes:
                asked = dataclasses.replace(message, **changes)
                try:
                    requests.access.authorize(peer(requests, user), asked)
                    if isinstance(asked, messages.Describe):
                        requests.handle(asked, peer(requests, user))
                except GridflowError as error:
                    heard.append((type(error), str(error)))
        for text in (
            f"SELECT * FROM {name}",
            f"DELETE FROM {name}",
            f"DESCRIBE {name}",
            f"INSERT INTO {name} VALUES (1)",
        ):
            try:
                sql(requests, user, text)
            except GridflowError as error:
                heard.append((type(error), str(error)))
        return [(kind, re.sub(rf"\b{name}\b", "N", text).replace(str(number), "#")) for kind, text in heard]

    for user in ("NOBODY", "SELECTER"):
        there = said(user, "U", grid.table("U").table_id)
        assert there == said(user, "W", 99) and len(there) > 25
        assert all(kind is GridAccessError and "T" not in text.split() for kind, text in there)
    with pytest.raises(TableNotFoundError):  # a role would count for it
        sql(requests, "READER", "SELECT * FROM W")
    assert sql(requests, "SELECTER", "SELECT x FROM t WHERE id = 1") == [{"X": 10}]
    assert sql(requests, "NOBODY", "SELECT 1 AS A FROM DUAL") == [{"A": 1}]


def test_the_grid_s_directory_is_told_to_who_may_know(requests):
    hello = messages.Hello("c", 1, "0")
    homes = {user: requests.handle(hello, peer(requests, user)).home for user in USERS}
    assert homes == {user: str(requests.grid.home) if user == "ADMIN" else "" for user in USERS}


def test_a_grant_beside_a_drop_is_not_the_next_user_s(grid, monkeypatch):
    """Whichever is first: the grant fails, or is dropped with the user."""
    inside, go_on = threading.Event(), threading.Event()
    checked = grants.check_user

    def slow(*args):
        checked(*args)
        inside.set()
        go_on.wait(0.3)

    monkeypatch.setattr(grants, "check_user", slow)
    granting = threading.Thread(target=lambda: grid.sql("GRANT ADMIN TO SELECTER"))
    granting.start()
    assert inside.wait(10)
    grid.sql("DROP USER SELECTER")
    granting.join()
    grid.sql("CREATE USER SELECTER")
    assert "SELECTER" not in [user for user, _, _ in grants.list_grants(grid)]
    with pytest.raises(UsageError, match="no user NONE"):
        grid.sql("GRANT ADMIN TO NONE")


def test_a_new_user_has_no_grants_of_an_earlier_one(grid):
    grid._system_table("SYS.GRANTS").put(("ZOE", 0), {"RIGHTS": "ADMIN"})
    grid.sql("CREATE USER ZOE")
    assert not grants.roles_of(grid.open_grid, "ZOE")


def test_a_run_is_cancelled_by_its_owner_alone(requests):
    writer, reader = peer(requests, "WRITER"), peer(requests, "READER")
    message = messages.Sql("SELECT 1", None, b"", run="r")
    with requests._cancellable(message, writer, bool), requests._cancellable(message, reader, bool):
        assert requests.handle(messages.Cancel("r"), peer(requests, "NOBODY")).count == 0
        assert requests.handle(messages.Cancel("r"), reader).count == 1
        assert requests._statements[writer.owner, "r"] is None


def test_clients_are_their_owner_s(grid, requests):
    grid.sql("GRANT ADMIN TO WRITER")
    for user in ("WRITER", "READER"):
        requests.handle(messages.Hello("c", 4_000_000, "0.1"), peer(requests, user))
    requests.handle(messages.Hello("c", 4_000_000, "0.1"), Peer(Endpoint.of_grid(grid.home)))  # no such process
    requests.handle(messages.Goodbye("c"), peer(requests, "READER"))
    listed = 'SELECT LOCAL_ADDRESS, REMOTE_ADDRESS, "USER", PID FROM SYS.CLIENT_CONNECTIONS'
    assert sql(requests, "WRITER", listed) == [
        {"LOCAL_ADDRESS": str(REMOTE), "REMOTE_ADDRESS": "10.0.0.1", "USER": "WRITER", "PID": 4_000_000}
    ]
