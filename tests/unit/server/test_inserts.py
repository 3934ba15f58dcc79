"""INSERT by SQL of a client: from the third time on the row alone is sent, and nothing else is different."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridflow.client.grid import ServedGrid, connect_unix
from gridflow.errors import ColumnNotFoundError, DuplicateKeyError, GridClosedError, SchemaError, TableNotFoundError
from gridflow.server import Node

INSERT = "INSERT INTO T (ID, V) VALUES (?, ?)"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path / "grid") as node:
        node.grid.create_table("T", {"ID": "LONG", "V": "VARCHAR"}, key="ID")
        yield node


@pytest.fixture
def client(node: Node) -> Iterator[ServedGrid]:
    with connect_unix(node.home) as client:
        yield client


@pytest.fixture
def statements(node: Node, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that reach the owner."""
    texts: list[str] = []
    for name in ("query", "handle_at_once"):
        method = getattr(node._requests, name)
        monkeypatch.setattr(node._requests, name, lambda m, *more, do=method: (texts.append(m.text), do(m, *more))[1])
    return texts


def known(client: ServedGrid, text: str = INSERT, first: int = 0) -> None:
    """Insert two rows by a text: the client knows it then."""
    for key in (first, first + 1):
        client.sql(text, (key, str(key)))


def rows(client: ServedGrid) -> list[tuple[object, ...]]:
    return client.sql("SELECT * FROM T ORDER BY ID").fetchall()


def test_the_row_alone_is_sent(client, statements):
    known(client)
    statements.clear()
    result = client.sql(INSERT, (2, "2"))
    assert (result.rowcount, result.statement) == (1, "INSERT")
    client.sql(INSERT, [3, None])
    assert statements == []
    assert rows(client) == [(0, "0"), (1, "1"), (2, "2"), (3, None)]


def test_parameters_by_name(client, statements):
    text = "INSERT INTO T (V, ID) VALUES (:v, :id)"
    for key in range(4):
        client.sql(text, {"id": key, "v": str(key)})
    assert len(set(statements)) == 1 and rows(client) == [(key, str(key)) for key in range(4)]


def test_a_key_that_is_there(client, statements):
    known(client)
    with pytest.raises(DuplicateKeyError):
        client.sql(INSERT, (1, "again"))
    assert rows(client) == [(0, "0"), (1, "1")]


@pytest.mark.parametrize("values", [("x", "y"), (7, 1.5), (None, "y"), (7,)])
def test_what_does_not_fit_is_the_owner_s_to_say(client, statements, values):
    def outcome(text):
        try:
            return client.sql(text, values).rowcount
        except Exception as error:
            return type(error)

    known(client)
    other = INSERT.replace("INTO T (", "INTO T  (")  # which the client does not know
    assert outcome(INSERT) == outcome(other) != 1
    assert rows(client) == [(0, "0"), (1, "1")]


def test_what_a_cast_makes_fit_is_the_owner_s_to_write(client):
    known(client)
    client.sql(INSERT, ("8", "y"))
    assert rows(client)[-1] == (8, "y")


def test_other_columns(client, node, statements):
    known(client)
    node.grid.sql("ALTER TABLE T ADD COLUMN N INT DEFAULT 5")
    known(client, first=2)
    known(client, first=4)
    node.grid.sql("ALTER TABLE T RENAME COLUMN V TO W")
    with pytest.raises(ColumnNotFoundError):
        client.sql(INSERT, (9, "9"))
    assert rows(client) == [(key, str(key), 5) for key in range(6)]


def test_a_default_is_that_of_the_columns_that_the_table_has(client, node, statements):
    node.grid.sql("CREATE TABLE D (ID LONG PRIMARY KEY, V VARCHAR, N INT DEFAULT 7)")
    text = "INSERT INTO D (ID, V) VALUES (?, ?)"
    for key in range(4):
        client.sql(text, (key, "v"))
    assert statements.count(text) < 4, "the client knows it, too"
    node.grid.alter_table("D", defaults={"N": 8})
    client.sql(text, (4, "v"))
    assert client.sql("SELECT N FROM D ORDER BY ID").fetchall() == [(7,)] * 4 + [(8,)]


def test_a_table_that_was_made_again(client, node, statements):
    known(client)
    node.grid.drop_table("T")
    with pytest.raises(TableNotFoundError):
        client.sql(INSERT, (5, "5"))
    node.grid.create_table("T", {"ID": "LONG", "V": "VARCHAR"}, key="ID")
    known(client)
    assert rows(client) == [(0, "0"), (1, "1")]


def test_a_transaction_keeps_its_rows(client, statements):
    known(client)
    client.sql("BEGIN")
    client.sql(INSERT, (7, "7"))
    client.sql("ROLLBACK")
    assert rows(client) == [(0, "0"), (1, "1")]


def test_the_client_lists_what_it_has_inserted(client):
    known(client)
    client.sql(INSERT, (2, "2"))
    listed = client.sql("SELECT SUM(EXECUTIONS) FROM SYS.SQL_QUERIES_HISTORY WHERE SQL = ?", [INSERT]).fetchall()
    assert int(listed[0][0]) == 3


def test_a_closed_client(client):
    known(client)
    client.close()
    with pytest.raises(GridClosedError):
        client.sql(INSERT, (2, "2"))


def test_an_encoding_that_closes_the_grid(client):
    """A key whose conversion runs Python."""

    class Key:
        def __index__(self):
            client.close()
            return 3

    known(client)
    with pytest.raises((GridClosedError, SchemaError)):
        client.table("T").put(Key(), {"V": "v"})


def test_a_row_for_other_columns_is_not_sent(node, client, monkeypatch):
    """Another thread follows an ALTER TABLE between the look at the columns and the sending."""
    table = client.table("T")
    codec, put = table.codec, table._ring.put
    node.grid.sql("ALTER TABLE T ADD COLUMN N INT DEFAULT 5")

    def late(*arguments):
        client.open_grid._store.catch_up()
        assert table.codec is not codec
        return put(*arguments)

    monkeypatch.setattr(table._ring, "put", late)
    with pytest.raises(SchemaError):
        table.put_if_absent(9, {"V": "v"}, codec)
    assert not node.grid.table("T").contains(9)
