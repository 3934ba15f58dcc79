"""The DB-API: PEP 249's rules, over a grid of this process and over a served one."""

from __future__ import annotations

import datetime as dt
import decimal
import gc
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import gridflow
from gridflow import dbapi
from gridflow.server import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("served") / "grid") as server:
        yield server


@pytest.fixture(params=["embedded", "served"])
def connection(request, tmp_path):
    home = request.getfixturevalue("server").home if request.param == "served" else tmp_path / "grid"
    with dbapi.connect(home) as connection:
        connection.execute("DROP TABLE IF EXISTS T")
        connection.execute("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR, PRICE DECIMAL(10,2), P UINT8[2,2])")
        rows = [(i, f"name {i}", decimal.Decimal(i) / 4, np.full((2, 2), i, "u1")) for i in range(10)]
        connection.cursor().executemany("INSERT INTO T VALUES (?, ?, ?, ?)", rows)
        connection.commit()
        yield connection


def test_the_module_says_what_it_is():
    assert (dbapi.apilevel, dbapi.threadsafety, dbapi.paramstyle) == ("2.0", 2, "qmark")
    assert issubclass(dbapi.IntegrityError, dbapi.DatabaseError) and issubclass(dbapi.InterfaceError, dbapi.Error)
    assert not issubclass(dbapi.InterfaceError, dbapi.DatabaseError)
    assert dbapi.Connection.ProgrammingError is dbapi.ProgrammingError


def test_rows_are_fetched_one_some_and_all(connection):
    cursor = connection.cursor()
    assert cursor.execute("SELECT ID FROM T ORDER BY ID") is cursor
    assert cursor.rowcount == 10
    assert cursor.fetchone() == (0,)
    assert cursor.fetchmany() == [(1,)]
    assert cursor.fetchmany(2) == [(2,), (3,)]
    cursor.arraysize = 3
    assert cursor.fetchmany() == [(4,), (5,), (6,)]
    assert next(cursor) == (7,)
    assert cursor.fetchall() == [(8,), (9,)]
    assert (cursor.fetchone(), cursor.fetchmany(5), cursor.fetchall()) == (None, [], [])
    assert [row for (row,) in connection.execute("SELECT ID FROM T WHERE ID < 3 ORDER BY ID")] == [0, 1, 2]
    assert cursor.lastrowid is None


def test_parameters_are_positional_or_named(connection):
    cursor = connection.cursor()
    assert cursor.execute("SELECT NAME FROM T WHERE ID = ?", (3,)).fetchall() == [("name 3",)]
    assert cursor.execute("SELECT NAME FROM T WHERE ID = :id", {"id": 4}).fetchall() == [("name 4",)]
    with pytest.raises(dbapi.ProgrammingError, match="1 parameter"):
        cursor.execute("SELECT NAME FROM T WHERE ID = ?")


def test_description_tells_names_types_and_digits(connection):
    cursor = connection.execute("SELECT ID, NAME, PRICE, P, ID + 1 AS NEXT, NULL AS N FROM T")
    names = [d[0] for d in cursor.description]
    codes = [d[1] for d in cursor.description]
    assert names == ["ID", "NAME", "PRICE", "P", "NEXT", "N"]
    assert codes[:5] == ["INT64", "STRING", "DECIMAL(10,2)", "UINT8[2,2]", "INT64"]
    assert codes[0] == dbapi.NUMBER and codes[1] == dbapi.STRING and codes[2] == dbapi.NUMBER
    assert codes[0] != dbapi.STRING and codes[3] != dbapi.NUMBER
    assert cursor.description[2][4:] == (10, 2, True) and cursor.description[0][6] is False
    assert all(len(d) == 7 for d in cursor.description)
    assert connection.execute("DELETE FROM T WHERE ID = 0").description is None


@pytest.mark.parametrize(
    ("kind", "code", "family"),
    [
        ("VARCHAR", "STRING", "STRING"),
        ("UUID", "UUID", "STRING"),
        ("VARBINARY", "BINARY", "BINARY"),
        ("BOOLEAN", "BOOL", "NUMBER"),
        ("REAL", "FLOAT32", "NUMBER"),
        ("DATE", "DATE", "DATETIME"),
        ("TIME", "TIME", "DATETIME"),
        ("TIMESTAMP_NS", "TIMESTAMP_NS", "DATETIME"),
        ("TIMESTAMP_TZ", "TIMESTAMP_TZ", "DATETIME"),
    ],
)
def test_every_type_belongs_to_one_family(tmp_path, kind, code, family):
    with dbapi.connect(tmp_path) as connection:
        connection.execute(f"CREATE TABLE K (ID LONG PRIMARY KEY, X {kind})")
        found = connection.execute("SELECT X FROM K").description[0][1]
    families = ("STRING", "BINARY", "NUMBER", "DATETIME", "ROWID")
    assert found == code
    assert [name for name in families if getattr(dbapi, name) == found] == [family]


def test_rowcount_of_changes_and_of_what_changes_none(connection):
    cursor = connection.cursor()
    assert cursor.rowcount == -1
    assert cursor.execute("UPDATE T SET NAME = 'x' WHERE ID < 4").rowcount == 4
    assert cursor.execute("DELETE FROM T WHERE ID > 100").rowcount == 0
    connection.commit()
    assert cursor.execute("CREATE TABLE IF NOT EXISTS T (ID LONG PRIMARY KEY)").rowcount == -1


def test_executemany_is_one_commit(connection):
    cursor = connection.cursor()
    with pytest.raises(dbapi.IntegrityError, match="key 5"):
        cursor.executemany("INSERT INTO T (ID) VALUES (?)", [(100,), (101,), (5,)])
    with pytest.raises(dbapi.DataError, match="'x' does not fit"):
        cursor.executemany("INSERT INTO T (ID) VALUES (:id)", [{"id": 100}, {"id": "x"}])
    assert connection.execute("SELECT COUNT(*) FROM T").fetchone() == (10,)
    assert cursor.executemany("INSERT INTO T (ID) VALUES (:id)", ({"id": i} for i in range(100, 5000))).rowcount == 4900
    assert cursor.executemany("MERGE INTO T (ID, NAME) VALUES (?, 'merged')", [(1,), (2,)]).rowcount == 2
    assert cursor.executemany("UPDATE T SET NAME = ? WHERE ID = ?", [("a", 1), ("b", 2), ("c", -1)]).rowcount == 2
    assert cursor.executemany("INSERT INTO T (ID) VALUES (? + 1)", [(8000,), (8001,)]).rowcount == 2
    assert cursor.executemany("INSERT INTO T (ID) VALUES (?)", []).rowcount == 0
    assert connection.execute("SELECT NAME FROM T WHERE ID IN (1, 2) ORDER BY ID").fetchall() == [("a",), ("b",)]
    for text in ("SELECT ?", "DELETE FROM T WHERE ID = ?; DELETE FROM T WHERE ID = ?"):
        with pytest.raises(dbapi.ProgrammingError, match="goes one INSERT"):
            cursor.executemany(text, [(1, 2)])


def test_errors_are_of_both_families(connection):
    cases = [
        ("SELEC 1", dbapi.ProgrammingError, gridflow.SqlError),
        ("SELECT * FROM NOPE", dbapi.ProgrammingError, gridflow.TableNotFoundError),
        ("SELECT NOPE FROM T", dbapi.ProgrammingError, gridflow.ColumnNotFoundError),
        ("INSERT INTO T (ID) VALUES (1)", dbapi.IntegrityError, gridflow.DuplicateKeyError),
        ("INSERT INTO T (ID, NAME) VALUES (100, X'00')", dbapi.DataError, gridflow.SchemaError),
    ]
    for text, family, own in cases:
        with pytest.raises(family) as caught:
            connection.execute(text)
        assert isinstance(caught.value, own) and isinstance(caught.value, dbapi.DatabaseError)
        assert not str(caught.value).startswith(("'", '"'))
        assert isinstance(caught.value.__cause__, own)


def test_a_grid_that_cannot_be_opened_is_an_operational_error(tmp_path):
    with pytest.raises(dbapi.OperationalError, match="there is no grid"):
        dbapi.connect(tmp_path / "nothing", read_only=True)
    with pytest.raises(dbapi.ProgrammingError, match="durability"):
        dbapi.connect(tmp_path / "nothing", durability="maybe")
    with pytest.raises(dbapi.ProgrammingError, match="colour"):
        dbapi.connect(tmp_path / "nothing", colour="red")
    assert not (tmp_path / "nothing").exists()


def test_what_is_closed_cannot_be_used(tmp_path):
    connection = dbapi.connect(tmp_path)
    cursor, other = connection.cursor(), connection.cursor()
    for fetch in (cursor.fetchone, cursor.fetchall, cursor.fetchmany):
        with pytest.raises(dbapi.InterfaceError, match="no results to fetch"):
            fetch()
    other.close()
    other.close()
    with pytest.raises(dbapi.InterfaceError, match="the cursor is closed"):
        other.execute("SELECT 1")
    connection.close()
    connection.close()
    for use in (connection.cursor, connection.commit, connection.rollback, lambda: cursor.execute("SELECT 1")):
        with pytest.raises(dbapi.InterfaceError, match="the connection is closed"):
            use()
    assert connection.grid.closed


def test_an_open_grid_stays_open(grid):
    with dbapi.connect(grid) as connection:
        assert connection.execute("SELECT 1 AS A").fetchall() == [(1,)]
    assert not grid.closed


def test_with_autocommit_every_statement_commits_by_itself(connection):
    connection.autocommit = True
    connection.execute("DELETE FROM T WHERE ID = 1")
    connection.rollback()
    connection.commit()
    assert connection.execute("SELECT COUNT(*) FROM T").fetchone() == (9,)
    with dbapi.connect(connection.grid, autocommit=True) as other:
        other.cursor().executemany("DELETE FROM T WHERE ID = ?", [(2,), (3,)])
        other.execute("CREATE TABLE IF NOT EXISTS U (ID LONG PRIMARY KEY); INSERT INTO U VALUES (1); DROP TABLE U")
        assert not other.in_transaction
    assert connection.execute("SELECT COUNT(*) FROM T").fetchone() == (7,)


def test_rollback_takes_an_insert_back(connection):
    """Each statement committed by itself, and ``rollback`` did nothing."""
    assert connection.autocommit is False and not connection.in_transaction
    connection.execute("INSERT INTO T (ID) VALUES (?)", (50,))
    assert connection.in_transaction
    connection.rollback()
    connection.rollback()
    assert not connection.in_transaction
    assert connection.execute("SELECT COUNT(*) FROM T WHERE ID = 50").fetchone() == (0,)
    connection.execute("INSERT INTO T (ID) VALUES (51)")
    connection.commit()
    connection.commit()
    connection.rollback()
    assert connection.execute("SELECT COUNT(*) FROM T WHERE ID = 51").fetchone() == (1,)


def test_a_query_begins_a_transaction_too(connection):
    """So what is written after what was read cannot overwrite what came between."""
    (name,) = connection.execute("SELECT NAME FROM T WHERE ID = 1").fetchone()
    with dbapi.connect(connection.grid, autocommit=True) as other:
        other.execute("UPDATE T SET NAME = 'other' WHERE ID = 1")
    assert connection.execute("SELECT NAME FROM T WHERE ID = 1").fetchone() == (name,)
    connection.execute("UPDATE T SET NAME = ? WHERE ID = 1", (name + "!",))
    with pytest.raises(dbapi.OperationalError):
        connection.commit()
    assert connection.execute("SELECT NAME FROM T WHERE ID = 1").fetchone() == ("other",)


def test_who_never_commits_hears_of_it(connection):
    other = dbapi.connect(connection.grid)
    other.execute("INSERT INTO T (ID) VALUES (50)")
    with pytest.warns(UserWarning, match=r"are rolled back: connection.commit\(\) keeps them, .*autocommit=True"):
        other.close()
    other = dbapi.connect(connection.grid)
    other.execute("INSERT INTO T (ID) VALUES (50)")
    with pytest.warns(UserWarning, match="are rolled back: connection.commit"):
        del other
        gc.collect()
    other = dbapi.connect(connection.grid)
    other.execute("SELECT * FROM T")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.close()
    assert connection.execute("SELECT COUNT(*) FROM T").fetchone() == (10,)


def test_a_program_that_never_commits_hears_of_it_at_its_end(tmp_path):
    script = (
        "import sys\nfrom gridflow import dbapi\nc = dbapi.connect(sys.argv[1])\n"
        "c.execute('CREATE TABLE T (ID INT PRIMARY KEY)')\nc.execute('INSERT INTO T VALUES (1)')\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0 and "changes were not committed, and are rolled back" in result.stderr
    with dbapi.connect(tmp_path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM T").fetchone() == (0,)


def test_what_can_be_part_of_no_transaction_commits_by_itself_or_is_an_error(connection):
    connection.execute("DROP TABLE IF EXISTS U")
    connection.execute("SELECT * FROM T")  # nothing to lose
    connection.execute("CREATE TABLE U (ID INT PRIMARY KEY)")
    connection.rollback()
    assert "U" in connection.grid.tables()
    connection.execute("INSERT INTO U VALUES (1)")
    for text in ("DROP TABLE U", "CREATE INDEX I ON T (NAME)", "TRUNCATE TABLE T", "SELECT 1; ALTER TABLE T ADD X INT"):
        with pytest.raises(dbapi.ProgrammingError, match=r"call commit\(\) or rollback\(\) before it"):
            connection.execute(text)
    assert connection.execute("SELECT COUNT(*) FROM U").fetchone() == (1,), "and the transaction goes on"
    connection.commit()
    result = connection.execute("DROP TABLE U; INSERT INTO T (ID) VALUES (?); SELECT MAX(ID) FROM T", (60,))
    assert result.fetchone() == (60,) and connection.in_transaction
    connection.rollback()
    assert connection.execute("SELECT MAX(ID) FROM T").fetchone() == (9,)


def test_begin_and_commit_as_statements(connection):
    connection.execute("SELECT * FROM T")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO T (ID) VALUES (50)")
    with pytest.raises(dbapi.ProgrammingError, match="a transaction is open already"):
        connection.execute("BEGIN")
    connection.execute("COMMIT")
    connection.execute("COMMIT")
    connection.execute("INSERT INTO T (ID) VALUES (51)")
    connection.execute("ROLLBACK")
    assert connection.execute("SELECT ID FROM T WHERE ID >= 50").fetchall() == [(50,)]


def test_to_set_autocommit_commits(connection):
    connection.execute("INSERT INTO T (ID) VALUES (50)")
    connection.autocommit = True
    assert not connection.in_transaction and connection.autocommit is True
    connection.autocommit = False
    connection.execute("INSERT INTO T (ID) VALUES (51)")
    connection.rollback()
    assert connection.execute("SELECT ID FROM T WHERE ID >= 50").fetchall() == [(50,)]


def test_two_connections_on_one_grid_each_have_their_own(connection):
    connection.execute("INSERT INTO T (ID) VALUES (50)")
    with dbapi.connect(connection.grid) as other:
        other.execute("INSERT INTO T (ID) VALUES (51)")
        assert other.execute("SELECT COUNT(*) FROM T").fetchone() == (11,)
        connection.grid.table("T").put(52, {})  # no part of either
        other.rollback()
    connection.commit()
    assert connection.execute("SELECT ID FROM T WHERE ID >= 50 ORDER BY ID").fetchall() == [(50,), (52,)]


def test_what_is_not_committed_is_taken_back(connection):
    count = "SELECT COUNT(*) FROM T"
    other = dbapi.connect(connection.grid, autocommit=True)
    connection.execute("DELETE FROM T WHERE ID = 1")
    connection.cursor().executemany("INSERT INTO T (ID) VALUES (?)", [(100,), (101,)])
    connection.cursor().executemany("UPDATE T SET NAME = ? WHERE ID = ?", [("x", 2), ("y", 3)])
    assert connection.in_transaction and not other.in_transaction
    assert connection.execute(count).fetchone() == (11,) and other.execute(count).fetchone() == (10,)
    connection.rollback()
    assert connection.execute(count).fetchone() == (10,)
    connection.commit()
    connection.execute("DELETE FROM T WHERE ID = 1")
    connection.commit()
    connection.autocommit = True
    connection.execute("BEGIN; DELETE FROM T WHERE ID = 2")
    assert connection.execute(count).fetchone() == (8,) and other.execute(count).fetchone() == (9,)
    connection.execute("COMMIT")
    assert other.execute(count).fetchone() == (8,)
    other.execute("BEGIN; DELETE FROM T")
    with pytest.warns(UserWarning, match="are rolled back"):
        other.close()
    assert connection.execute(count).fetchone() == (8,)


def test_a_context_commits_or_rolls_back(connection):
    with dbapi.connect(connection.grid) as other:
        other.execute("INSERT INTO T (ID) VALUES (50)")
    with pytest.raises(ZeroDivisionError), dbapi.connect(connection.grid) as other:
        other.execute("INSERT INTO T (ID) VALUES (51)")
        raise ZeroDivisionError
    assert connection.execute("SELECT ID FROM T WHERE ID >= 50").fetchall() == [(50,)]


def test_a_conflict_is_an_operational_error(connection):
    with dbapi.connect(connection.grid) as other:
        other.execute("UPDATE T SET NAME = 'a' WHERE ID = 1")
        connection.execute("UPDATE T SET NAME = 'b' WHERE ID = 1")
        connection.commit()
        with pytest.raises(dbapi.OperationalError) as caught:
            other.commit()
        assert isinstance(caught.value, gridflow.TransactionConflictError)
    assert connection.execute("SELECT NAME FROM T WHERE ID = 1").fetchone() == ("b",)


def test_arrow_and_pandas_give_all_rows(connection):
    cursor = connection.execute("SELECT ID, P FROM T ORDER BY ID")
    cursor.fetchone()
    assert cursor.to_arrow().num_rows == 10
    frame = cursor.to_pandas()
    assert frame["ID"].tolist() == list(range(10)) and frame["P"][3].tolist() == [[3, 3], [3, 3]]


def test_pandas_reads_through_it(connection):
    pandas = pytest.importorskip("pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that it is tested with SQLAlchemy and SQLite
        frame = pandas.read_sql("SELECT ID, NAME, PRICE FROM T WHERE ID < ? ORDER BY ID", connection, params=(3,))
        parts = list(pandas.read_sql("SELECT ID FROM T ORDER BY ID", connection, chunksize=4))
    assert frame.to_dict("list")["NAME"] == ["name 0", "name 1", "name 2"]
    assert [len(part) for part in parts] == [4, 4, 2]


def test_threads_share_a_connection(connection):
    def work(number):
        cursor = connection.cursor()
        for i in range(20):
            cursor.execute("INSERT INTO T (ID) VALUES (?)", (1000 + 100 * number + i,))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert connection.execute("SELECT COUNT(*) FROM T WHERE ID >= 1000").fetchone() == (80,)


def test_constructors():
    assert dbapi.Date(2020, 2, 29) == dt.date(2020, 2, 29)
    assert dbapi.Time(1, 2, 3) == dt.time(1, 2, 3)
    assert dbapi.Timestamp(2020, 1, 2, 3, 4, 5) == dt.datetime(2020, 1, 2, 3, 4, 5)
    assert dbapi.Binary(b"abc") == b"abc"
    assert dbapi.TimestampFromTicks(0) == dt.datetime.fromtimestamp(0)
    assert dbapi.DateFromTicks(0) == dt.datetime.fromtimestamp(0).date()
    assert dbapi.TimeFromTicks(0) == dt.datetime.fromtimestamp(0).time()
