"""System views, users and statements that look after a grid: what needs several processes, threads or files to see."""

from __future__ import annotations

import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight
import pytest

import gridflow
from gridflow.catalog import activity, users
from gridflow.catalog.activity import Activity
from gridflow.errors import ColumnNotFoundError, SchemaError, SqlError, TableNotFoundError, UsageError
from gridflow.protocols import messages
from gridflow.protocols.address import Endpoint, Route
from gridflow.server import ServerProcess
from gridflow.sql import result
from gridflow.sql.grammar import statements
from gridflow.sql.text.secrets import hide_passwords
from gridflow.sql.views.table_rows import java_hash
from gridflow.sql.views.views import sorted_views, view_names

ROOT = Path(__file__).resolve().parent.parent.parent
LONG_QUERY = "SELECT COUNT(*) FROM RANGE(1000000000) A, RANGE(1000000) B WHERE A.RANGE % 7 = B.RANGE % 3"


@pytest.fixture
def served(home):
    with ServerProcess(home) as server, gridflow.connect(home) as grid:
        assert grid.owner_pid == server.pid
        yield grid


@pytest.fixture(params=["embedded", "served"])
def either(request, home):
    """A grid of this process, or one that another serves."""
    yield request.getfixturevalue("grid" if request.param == "embedded" else "served")


# ---- whose truth it is ----


def test_a_client_sees_what_the_owner_knows(served, home):
    served.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    served.sql("INSERT INTO T VALUES (1), (2)")
    assert served.sql("SELECT PID, IS_LOCAL FROM SYS.NODES").fetchall() == [(served.owner_pid, True)]
    served.sql("SELECT COUNT(*) FROM T")  # which runs here, over the mapped files
    history = "SELECT PID, EXECUTIONS, ROWS_COUNT FROM SYS.SQL_QUERIES_HISTORY WHERE SQL LIKE '{}%'"
    assert served.sql(history.format("INSERT")).fetchall() == [(served.owner_pid, 1, 2)]
    assert served.sql(history.format("SELECT COUNT")).fetchall() == [(os.getpid(), 1, 1)]
    commits = "SELECT VALUE FROM SYS.METRICS WHERE NAME = 'grid.LastCommit'"
    before = served.sql(commits).fetchall()[0][0]
    served.table("T").put(3, {})
    assert served.sql(commits).fetchall() == [(before + 1,)]
    joined = "SELECT ID, S.ROWS_COUNT FROM T JOIN SYS.TABLES S ON S.TABLE_NAME = 'T' WHERE ID > ? ORDER BY ID"
    assert served.sql(joined, [1]).fetchall() == [(2, 3), (3, 3)]
    view = served.system_view("TABLES", ["ROWS_COUNT", "TABLE_NAME"])
    assert view.to_pylist() == [{"ROWS_COUNT": 3, "TABLE_NAME": "T"}]


def test_connections_come_and_go(served, home):
    listed = "SELECT CONNECTION_ID, PID, TYPE, VERSION FROM SYS.CLIENT_CONNECTIONS ORDER BY 1"
    assert served.sql(listed).fetchall() == [(1, os.getpid(), "FLIGHT", gridflow.__version__)]
    code = "import gridflow, sys; grid = gridflow.connect(sys.argv[1]); print(grid.owner, flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "False\n"
    with gridflow.connect(home) as other:
        assert [row[:2] for row in other.sql(listed).fetchall()] == [(1, os.getpid()), (2, child.pid), (3, os.getpid())]
    assert [row[0] for row in served.sql(listed).fetchall()] == [1, 2]  # it said goodbye
    child.kill()  # it could not
    child.communicate()
    assert [row[0] for row in served.sql(listed).fetchall()] == [1]


def test_a_node_that_was_started_again_is_greeted_again(home):
    listed = "SELECT PID FROM SYS.CLIENT_CONNECTIONS"
    first = ServerProcess(home)
    with gridflow.connect(home) as grid:
        first.stop()
        with ServerProcess(home) as second:
            assert grid.sql(listed).fetchall() == [(os.getpid(),)]
            assert grid.owner_pid == second.pid


def test_a_reader_shows_what_files_tell(grid, home):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    grid.sql("INSERT INTO T VALUES (1), (2)")
    grid.sql("CREATE USER KATE WITH PASSWORD 'x'")
    with gridflow.connect(home, read_only=True) as reader:
        assert reader.sql("SELECT TABLE_NAME, ROWS_COUNT FROM SYS.TABLES").fetchall() == [("T", 2)]
        assert reader.sql("SELECT NAME FROM SYS.USERS").fetchall() == [("KATE",)]
        assert reader.sql("SELECT COUNT(*) FROM SYS.CLIENT_CONNECTIONS").fetchall() == [(0,)]
        assert sum(reader.system_view("PARTITIONS", ["ROWS_COUNT"])["ROWS_COUNT"].to_pylist()) == 2
        for statement in ("DROP USER KATE", "CREATE USER BOB WITH PASSWORD 'x'", "TRUNCATE TABLE T"):
            with pytest.raises(gridflow.GridAccessError, match="read only"):
                reader.sql(statement)


@pytest.mark.parametrize("name", view_names())
def test_a_view_has_the_types_it_says(either, name):
    either.sql('CREATE TABLE T (ID INT, N DECIMAL(5,1) DEFAULT 1, PRIMARY KEY (ID)) WITH "key_type=K"')
    either.sql("INSERT INTO T VALUES (1, 2)")
    schema = next(view.schema for view in sorted_views() if view.name == name)
    rows = either.sql(f"SELECT * FROM SYS.{name}").to_arrow()
    assert rows.column_names == schema.names
    for column in schema.columns:
        assert column.type.nullable or rows[column.name].null_count == 0, column
        alone = either.sql(f'SELECT "{column.name}" FROM SYS.{name}').to_arrow()
        assert alone.schema.types == [rows[column.name].type]
    assert either.system_view(name).schema.names == schema.names


def test_every_view_and_column_is_documented():
    text = (ROOT / "docs" / "administration.md").read_text(encoding="utf-8")
    for view in sorted_views():
        section = text.split(f"\n### {view.name}\n")[1].split("\n### ")[0]
        for column in view.schema.names:
            assert f"`{column}`" in section, f"{view.name}.{column}"


def test_names_that_are_not_there(either):
    with pytest.raises(TableNotFoundError, match="no system view SYS.TABEL; did you mean TABLES"):
        either.system_view("TABEL")
    with pytest.raises(ColumnNotFoundError, match="no column NAM; did you mean NAME"):
        either.system_view("USERS", ["NAM"])


def test_secondary_indexes_have_their_columns_names_of_now(either):
    either.create_table("T", {"ID": "LONG", "SURNAME": "VARCHAR", "age": "INT"}, key="ID")
    either.sql('CREATE INDEX BY_NAME ON T (SURNAME, "age" DESC)')
    either.sql("ALTER TABLE T RENAME COLUMN SURNAME TO NAME")
    query = "SELECT INDEX_NAME, INDEX_TYPE, COLUMNS, IS_PK, IS_UNIQUE FROM SYS.INDEXES ORDER BY IS_PK"
    assert either.sql(query).fetchall() == [
        ("BY_NAME", "SORTED", 'NAME ASC, "age" DESC', False, False),
        ("_key_PK", "HASH", "ID", True, True),
    ]


def test_the_index_files_of_a_truncated_table_go(grid):
    table = grid.create_table("T", {"ID": "LONG", "AGE": "INT"}, key="ID")
    table.load({"ID": range(100), "AGE": range(100)})
    grid.sql("CREATE INDEX BY_AGE ON T (AGE)")
    assert list(table.folder.glob("*.idx"))
    assert table.truncate() == 100
    table.indexes.settle()
    assert not list(table.folder.glob("*.idx"))
    assert grid.check() == []
    table.load({"ID": [1], "AGE": [7]})
    table.indexes.settle()
    assert "index BY_AGE" in str(grid.sql("EXPLAIN SELECT ID FROM T WHERE AGE = 7").fetchall())
    assert grid.sql("SELECT ID FROM T WHERE AGE = 7").fetchall() == [(1,)]
    assert grid.check() == []


def test_a_view_does_not_wait_for_a_load(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.load({"ID": [1, 2, 3]})
    found = []
    with table.edit():
        thread = threading.Thread(target=lambda: found.extend(grid.sql("SELECT ROWS_COUNT FROM SYS.TABLES").fetchall()))
        thread.start()
        thread.join(10)
        assert found == [(3,)]


def test_java_hash():
    assert [java_hash(text) for text in ("", "a", "hello", "polygenelubricants")] == [0, 97, 99162322, -(2**31)]


# ---- statements that run and ran ----


def killed(grid, act) -> tuple[Exception, float]:
    """Run the long query in a thread, call ``act`` with its id, and return its error and how long that took."""
    errors = []

    def run() -> None:
        try:
            grid.sql(LONG_QUERY)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        query = "SELECT QUERY_ID, DURATION, SQL FROM SYS.SQL_QUERIES WHERE SQL = ?"
        time.sleep(0.3)
        ((query_id, duration, text),) = grid.sql(query, [LONG_QUERY]).fetchall()
        assert text == LONG_QUERY and duration >= 200
        start = time.monotonic()
        act(query_id)
    finally:
        thread.join(30)
    return errors[0], time.monotonic() - start


def test_kill_query(either):
    """Of the owner, and of a client that runs its queries itself."""
    error, seconds = killed(either, lambda query_id: either.sql(f"KILL QUERY '{query_id}'"))
    assert isinstance(error, SqlError) and "was cancelled by KILL QUERY" in str(error)
    assert seconds < 5
    assert either._activity.totals()[1:] == (1, 1)
    query_id = str(error).split()[1]
    with pytest.raises(SqlError, match="no query .* runs here"):
        either.sql(f"KILL QUERY ASYNC '{query_id}'")
    assert either.sql("SELECT 1").fetchall() == [(1,)]


def test_a_statement_ends_only_once_nobody_is_about_to_interrupt_it():
    """Else the next one of its thread would be interrupted instead."""
    log = Activity()
    looking, go_on, order = threading.Event(), threading.Event(), []
    begun, ended = threading.Event(), threading.Event()

    def statement() -> None:
        run = log.begin("one", "SELECT")
        begun.set()
        looking.wait()
        log.end(run, 0, SqlError("x") if log.was_cancelled(run) else None)
        order.append("ended")
        ended.set()

    def interrupt(thread: int) -> bool:
        looking.set()
        assert not ended.wait(0.2)
        order.append("interrupted")
        return True

    thread = threading.Thread(target=statement)
    thread.start()
    begun.wait()
    assert log.cancel(log.query_id(log.running()[0].number), interrupt) is True
    thread.join()
    go_on.set()
    assert order == ["interrupted", "ended"] and log.running() == []
    assert log.totals() == ({"SELECT": 1}, 1, 1)


def test_what_cannot_be_interrupted_is_said_so(grid):
    run = grid._activity.begin("python's work", "INSERT")
    query_id = grid._activity.query_id(run[0])
    failures = []

    def kill() -> None:
        try:
            grid.sql(f"KILL QUERY '{query_id}'")
        except SqlError as error:
            failures.append(str(error))

    thread = threading.Thread(target=kill)
    thread.start()
    thread.join()
    assert len(failures) == 1 and "cannot be interrupted where it is now" in failures[0]
    assert not grid._activity.was_cancelled(run)
    grid._activity.end(run, 0)


def test_the_history_is_bounded_and_keeps_what_ran_last():
    log = Activity()
    for i in range(3 * activity.HISTORY_SIZE):
        log.end(log.begin(f"statement {i}", "SELECT"), i)
        if i % 100 == 0:
            log.end(log.begin("again", "SELECT"), i, ValueError("bad" * 1000) if i == 0 else None)
    found = dict(log.history())
    assert len(found) == activity.HISTORY_SIZE
    assert next(iter(found)) == f"statement {3 * activity.HISTORY_SIZE - 1}"
    again = found["again"]
    assert (again.executions, again.failures, again.rows) == (30, 1, 2900)
    assert again.error == ("bad" * 1000)[:500]
    assert 0 <= again.shortest <= again.last <= again.longest <= again.total
    assert log.totals() == ({"SELECT": 3030}, 1, 0)


def test_long_texts_are_cut_and_refused_ones_are_there(grid):
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    grid.sql("SELECT 'before'; INSERT INTO T VALUES " + ", ".join(f"({i})" for i in range(5000)))
    with pytest.raises(SqlError):
        grid.sql("SELEC 1")
    with pytest.raises(SqlError):
        grid.sql("SELECT ?")
    query = "SELECT SQL, KIND, FAILURES, ROWS_COUNT FROM SYS.SQL_QUERIES_HISTORY WHERE SQL NOT LIKE 'CREATE%'"
    rows = grid.sql(query).fetchall()
    assert rows[0] == ("SELECT ?", "", 1, 0)
    assert rows[1] == ("SELEC 1", "", 1, 0)
    assert rows[2][0].startswith("INSERT INTO T VALUES (0), (1)") and rows[2][0].endswith("...")
    assert len(rows[2][0]) == 2000 and rows[2][1:] == ("INSERT", 0, 5000)
    assert rows[3] == ("SELECT 'before'", "SELECT", 0, 1)


# ---- options ----


def test_a_client_is_warned_of_options_of_the_owner(served):
    result._warned.clear()
    for name in ("A", "B"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            served.sql(f'CREATE TABLE {name} (ID INT PRIMARY KEY) WITH "backups=2, template=mine"')
        said = [(str(warning.message).split(":")[0], warning.filename) for warning in caught]
        wanted = ["table option BACKUPS has no effect", "table option TEMPLATE=mine has no effect"]
        assert said == ([(text, __file__) for text in wanted] if name == "A" else [])


# ---- users ----


def test_passwords_are_verified_and_kept_as_hashes(grid, home):
    assert users.verify(grid, "ignite", "ignite") is None  # nobody is there yet
    grid.sql("CREATE USER kate WITH PASSWORD 'warm kitty'; CREATE USER \"Bob\" WITH PASSWORD 'warm kitty'")
    for name, password, right in [
        ("KATE", "warm kitty", True),
        ("kate", "warm kitty", True),  # Ignite's drivers may send what was typed
        ("KATE", "Warm kitty", False),
        ("Bob", "warm kitty", True),
        ("bob", "warm kitty", False),
        ("nobody", "warm kitty", False),
        ("KATE", "", False),
    ]:
        assert (users.verify(grid, name, password) is not None) is right, (name, password)
    table = grid._system_table(users.TABLE)
    kept = {name: table.get(name)["PASSWORD"] for name in ("KATE", "Bob")}
    assert kept["KATE"] != kept["Bob"]  # salted
    assert all(text.startswith("scrypt$32768$8$3$") for text in kept.values())
    grid.sql("ALTER USER KATE WITH PASSWORD 'soft kitty'")
    assert not users.verify(grid, "KATE", "warm kitty") and users.verify(grid, "KATE", "soft kitty")
    grid.close()
    for path in home.rglob("*"):
        assert not path.is_file() or b"kitty" not in path.read_bytes(), path
    with gridflow.connect(home) as again:
        assert users.verify(again, "KATE", "soft kitty")
        again.sql("DROP USER KATE")
        assert [user.name for user in users.list_users(again)] == ["Bob"]


def test_users_survive_the_death_of_their_owner(home):
    with ServerProcess(home) as server, gridflow.connect(home) as grid:
        grid.sql("CREATE USER KATE WITH PASSWORD 'x'")
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
    with gridflow.connect(home, embedded=True) as grid:
        assert users.verify(grid, "KATE", "x")
        assert grid.check() == []


SECRET = "warm kitty"
ABOUT_SECRETS = [
    f"CREATE USER kate WITH PASSWORD '{SECRET}'",
    f"CREATE USER kate WITH PASSWORD '{SECRET}'; SELEC 1",
    f"ALTER USER nobody WITH PASSWORD '{SECRET}'",
    f"CREATE USER kate WITH PASSWORD '{SECRET}",
    f'CREATE USER kate WITH PASSWORD "{SECRET}"',
    f"CREATE USER kate WITH PASSWORD $${SECRET}$$ x",
    "CREATE USER kate WITH PASSWORD warmkitty",
    f"CREATE USER kate WITH PASWORD '{SECRET}'",
    f"CREATE USER '{SECRET}'",
    "CREATE USER kate\u00a0WITH\u2003PASSWORD $$warm;kitty$$",  # white space that is not ASCII's
    "CREATE USER kate\u00a0WITH\u00a0$$warm;kitty$$",
    f"CREATE USR kate WITH PASSWORD '{SECRET}'",
    f"CREATE OR REPLACE USER kate IDENTIFIED BY '{SECRET}'",
    f"/* note */ create /* note */ user kate -- note\n with password '{SECRET}' x",
    f"SET PASSWORD = '{SECRET}'",
]


@pytest.mark.parametrize("text", ABOUT_SECRETS)
def test_a_password_shows_nowhere(grid, text, capsys):
    try:
        done = repr(grid.sql(text))
    except gridflow.GridflowError as error:
        done = f"{error!s} {error!r} {error.__context__!r}"
    shown = done + str(grid.sql("SELECT * FROM SYS.SQL_QUERIES_HISTORY").to_arrow().to_pylist())
    assert "kitty" not in shown and "warm" not in shown
    assert "kitty" not in hide_passwords(text) and len(hide_passwords(text)) == len(text)
    assert hide_passwords(text).count("\n") == text.count("\n")
    assert "kitty" not in repr(statements._prepare_cached.cache_info()) and not capsys.readouterr().err


def test_a_statement_with_a_password_is_not_kept(grid):
    before = statements._prepare_cached.cache_info().currsize
    text = f"CREATE USER kate WITH PASSWORD '{SECRET}'"
    grid.sql(text)
    (prepared,) = statements.prepare(text)
    assert statements._prepare_cached.cache_info().currsize == before
    assert SECRET not in repr(prepared) and prepared.node.password == SECRET


@pytest.mark.parametrize(
    "text",
    [
        "SELECT USER_ID, 'x' FROM T; CREATE TABLE USERS (USER VARCHAR, PASSWORD VARCHAR DEFAULT 'x')",
        "CREATE INDEX USER ON T (X)",
        "SELECT 'CREATE USER a WITH x'",
        "DROP USER kate",
    ],
)
def test_nothing_else_is_hidden(text):
    assert hide_passwords(text) == text


# ---- system tables ----


def test_system_tables_are_hidden(either, home):
    either.sql("CREATE USER KATE WITH PASSWORD 'x'")
    assert either.tables() == [] and "SYS.USERS" not in either and "SQL_PUBLIC_SYS.USERS" not in either
    for name in ("SYS.USERS", "SQL_PUBLIC_SYS.USERS"):
        for action in (either.table, either.drop_table):
            with pytest.raises(TableNotFoundError, match="there are none yet"):
                action(name)
        with pytest.raises(TableNotFoundError):
            either.sql(f'SELECT * FROM "{name}"')
    for name, options in [("SYS.USERS", {}), ("sys.x", {}), ("T", {"cache_name": "SYS.X"}), ("SQL_PUBLIC_SYS.X", {})]:
        with pytest.raises(SchemaError, match="SYS. begins those of system tables"):
            either.create_table(name, {"ID": "LONG"}, key="ID", options=options)
    with gridflow.connect(home, read_only=True) as reader:
        assert reader.tables() == []
    assert either.check() == []
    listed = subprocess.run(
        [sys.executable, "-m", "gridflow", "tables", "--home", str(home)], capture_output=True, text=True
    )
    assert "no tables" in listed.stdout, listed


def test_no_message_reaches_a_system_table(served, home):
    served.sql("CREATE USER KATE WITH PASSWORD 'x'")
    route = Route(Endpoint.of_grid(home))
    raw = flight.FlightClient(route.flight_uri)
    try:
        for message in (
            messages.Flush("SYS.USERS"),
            messages.Compact("SYS.USERS"),
            messages.Truncate("SYS.USERS", 1),
            messages.Commit("SYS.USERS", 1, 0, "remove", b""),
            messages.DropTable("SYS.USERS", False),
        ):
            with pytest.raises(flight.FlightServerError) as caught:
                list(raw.do_action(flight.Action(message.kind, messages.encode(message))))
            assert isinstance(messages.decode_error(caught.value.extra_info), TableNotFoundError), message
        load = flight.FlightDescriptor.for_command(messages.encode(messages.Load("SYS.USERS", "replace")))
        writer, answers = raw.do_put(load, pa.schema([("NAME", pa.string())]))
        with pytest.raises(flight.FlightServerError) as caught:
            answers.read()
            writer.close()
        assert isinstance(messages.decode_error(caught.value.extra_info), TableNotFoundError)
    finally:
        raw.close()
        route.close()
    assert [user.name for user in users.list_users(served)] == ["KATE"]


def test_users_names_and_passwords_have_limits(grid):
    for name, password in (("", "x"), ("é" * 31, "x"), ("KATE", ""), ("KATE", "x" * 1025)):
        with pytest.raises(UsageError, match="has 1 to"):
            users.create_user(grid, name, password)
    users.create_user(grid, "é" * 30, "x" * 1024)
    with pytest.raises(UsageError, match="there is a user"):
        users.create_user(grid, "é" * 30, "y")


# ---- TRUNCATE ----


def test_truncate_is_one_version_and_leaves_readers_what_they_have(either):
    table = either.create_table("T", {"ID": "LONG", "NAME": "VARCHAR"}, key="ID")
    table.load({"ID": list(range(1000)), "NAME": [f"n{i}" for i in range(1000)]})
    table.put(5000, {"NAME": "in memory"})
    table.flush()
    held, version = table.to_arrow(), table.version()
    assert table.truncate() == 1001
    assert table.version() == version + 1
    assert len(table) == 0 and table.get(5) is None and table.stats()["bytes"] == 0
    assert held.num_rows == 1001 and held["NAME"].to_pylist().count("in memory") == 1
    assert table.truncate() == 0 and table.version() == version + 1
    table.put(5, {"NAME": "again"})
    assert table.get(5) == {"NAME": "again"} and len(table) == 1


def test_a_table_made_anew_is_not_truncated_for_the_old_one(either):
    old = either.create_table("T", {"ID": "LONG"}, key="ID")
    either.drop_table("T")
    fresh = either.create_table("T", {"ID": "LONG"}, key="ID")
    fresh.put(1, {})
    with pytest.raises(TableNotFoundError):
        old.truncate()
    assert len(fresh) == 1


def test_truncate_beside_a_transaction(either):
    """The transaction goes on reading what was there; a row that it writes over is not what it was."""
    table = either.create_table("T", {"ID": "LONG", "N": "INT"}, key="ID")
    table.put_all((i, {"N": i}) for i in range(100))
    transaction = either.transaction()
    seen = transaction.table("T")
    table.truncate()
    assert len(seen) == 100 and seen.get(5) == {"N": 5} and len(table) == 0
    seen.put(200, {"N": 200})
    transaction.commit()
    assert table.to_arrow().to_pylist() == [{"ID": 200, "N": 200}]
    transaction = either.transaction()
    transaction.table("T").put(200, {"N": 201})
    table.truncate()
    with pytest.raises(gridflow.errors.TransactionConflictError):
        transaction.commit()
    assert len(table) == 0


def test_truncate_beside_writers(grid):
    """A row is gone or was written after: what a put has acknowledged before it began is not there."""
    table = grid.create_table("T", {"ID": "LONG", "N": "INT"}, key="ID")
    stop, written = threading.Event(), [-1]

    def write() -> None:
        while not stop.is_set():
            table.put(written[0] + 1, {"N": 1})
            written[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(30):
            before = written[0]
            table.truncate()
            left = set(table.to_arrow(["ID"])["ID"].to_pylist())
            assert all(key > before for key in left)
            assert left == set(range(min(left, default=0), max(left, default=-1) + 1))
    finally:
        stop.set()
        thread.join()
    assert grid.check() == []


def test_a_text_is_parsed_in_the_process_that_runs_it_and_once(served, monkeypatch):
    served.sql("CREATE TABLE T (ID INT PRIMARY KEY)")
    parsed: list[str] = []
    parse_one = statements._prepare_one
    monkeypatch.setattr(statements, "_prepare_one", lambda tokens, text: parsed.append(text) or parse_one(tokens, text))
    long = ", ".join(str(i) for i in range(4000))  # a text that is not cached
    for text, times in (
        ("DELETE FROM T WHERE ID = 5", 0),
        (f"DELETE FROM T WHERE ID IN ({long})", 0),
        ("SELECT COUNT(*) FROM T WHERE ID < 77", 1),
        (f"SELECT COUNT(*) FROM T WHERE ID NOT IN ({long})", 1),
    ):
        parsed.clear()
        served.sql(text)
        assert len(parsed) == times, text[:40]


# ---- views beside DROP TABLE ----

TABLE_VIEWS = ["TABLES", "TABLE_VERSIONS", "TABLE_COLUMNS", "INDEXES", "PARTITIONS", "SEGMENTS", "METRICS"]


@pytest.mark.parametrize(
    "view, place",
    [
        ("TABLES", "gridflow.table.kept_versions"),
        ("METRICS", "gridflow.table.kept_versions"),
        ("TABLE_VERSIONS", "gridflow.table.kept_versions"),
        ("TABLE_VERSIONS", "gridflow.table.Snapshot.open"),
        ("PARTITIONS", "gridflow.table.deleted_column"),
    ],
)
def test_a_table_whose_files_go_while_a_view_is_read_is_not_in_it(grid, view, place, monkeypatch):
    for name in ("A", "B"):
        grid.sql(f"CREATE TABLE {name} (ID INT PRIMARY KEY)")
        grid.table(name).keep_versions(2)
        for i in range(2):
            grid.sql(f"INSERT INTO {name} VALUES ({i})")
            grid.flush()
    owner, _, function = place.rpartition(".")
    real = getattr(pkgutil.resolve_name(owner), function)

    def after_the_drop(*args):
        if "A" in grid.tables():
            grid.drop_table("A")
        return real(*args)

    if place.endswith("Snapshot.open"):  # of a class that cannot be changed
        monkeypatch.setattr("gridflow.table.Snapshot", type("Snapshot", (), {"open": staticmethod(after_the_drop)}))
    else:
        monkeypatch.setattr(place, after_the_drop)
    rows = grid.sql(f"SELECT * FROM SYS.{view}").to_arrow()
    assert grid.tables() == ["B"]
    monkeypatch.undo()
    names = grid.sql(f"SELECT * FROM SYS.{view}").to_arrow().column(1).to_pylist()
    if view in ("TABLES", "TABLE_VERSIONS"):
        assert rows.column(1).to_pylist() == names


def test_views_are_read_while_tables_come_and_go(either):
    errors = []
    stop = threading.Event()

    def read():
        try:
            while not stop.is_set():
                for view in TABLE_VIEWS:
                    either.sql(f"SELECT * FROM SYS.{view}")
        except Exception as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for i in range(15):
            either.sql(f"CREATE TABLE T{i % 3} (ID INT PRIMARY KEY)")
            either.table(f"T{i % 3}").keep_versions(2)
            either.sql(f"INSERT INTO T{i % 3} VALUES (1)")
            either.flush()
            either.sql(f"DROP TABLE T{i % 3}")
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not errors
