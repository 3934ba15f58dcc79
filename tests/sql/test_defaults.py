"""DEFAULTs: the schema is the only place that has them, whatever happens to a table."""

import datetime as dt
import decimal
import logging
import math
import uuid

import numpy as np
import pyarrow as pa
import pytest

import gridflow
from gridflow.errors import GridFullError, SchemaError
from gridflow.schema import as_type
from gridflow.storage.defaults import literal

OF_TYPES = {
    "FLOAT32[2]": np.array([1, 2], np.float32),
    "BOOL[2]": np.array([True, False]),
    "LIST<INT>": [1, None, 3],
    "STRUCT<A INT, B VARCHAR>": {"A": 1, "B": "it's"},
    "MAP<VARCHAR, INT>": {"a": 1},
    "UUID": uuid.UUID(int=5),
    "DOUBLE": math.nan,
    "FLOAT16": 0.5,
    "UINT64": 2**64 - 1,
    "DECIMAL(38, 2)": decimal.Decimal("123456789012345678901234567890123456.78"),
    "TIMESTAMP_NS": np.datetime64("2020-01-01T00:00:00.123456789", "ns"),
    "DATE": dt.date(2020, 1, 1),
    "TIME": dt.time(1, 2, 3, 4),
    "BINARY": b"\x00'\xff",
    "VARCHAR": "it's",
    "BOOLEAN": False,
}


def old_table(home, texts, **columns):
    """A grid with a table T as it was written before schemas had DEFAULTs."""
    with gridflow.connect(home) as grid:
        grid.create_table("T", {"ID": "LONG", **columns}, key="ID").put(1, {})
        grid._alter_options("T", lambda options: {**options, "sql": {"defaults": texts}})


def described(grid, table="T"):
    return {row[0]: row[4] for row in grid.sql(f"DESCRIBE {table}").fetchall() if row[4] != "NULL"}


@pytest.mark.parametrize("type_", OF_TYPES)
def test_sql_writes_defaults_of_every_type(grid, type_):
    value = OF_TYPES[type_]
    table = grid.create_table("T", {"ID": "LONG", "V": type_, "X": "INT"}, key="ID", defaults={"V": value})
    table.put(1, {})
    for text in (
        "INSERT INTO T (ID) VALUES (2)",
        "INSERT INTO T (ID, V) VALUES (3, DEFAULT)",
        "INSERT INTO T (V, ID) VALUES (DEFAULT, 2 + 2), (NULL, 5 + 0)",  # through the engine
        "MERGE INTO T (ID, V) VALUES (6, DEFAULT)",
        "INSERT INTO T (ID, V) VALUES (7, NULL)",
        "UPDATE T SET V = DEFAULT WHERE ID = 7",
        "INSERT INTO T (ID, V, X) VALUES (8, NULL, 8)",
        "UPDATE T SET V = DEFAULT, X = X + 1 WHERE X = 8",
        "MERGE INTO T USING (SELECT 9 AS A) S ON T.ID = S.A WHEN NOT MATCHED THEN INSERT (ID, V) VALUES (A, DEFAULT)",
        "INSERT INTO T (ID, V) VALUES (10, NULL)",
        "MERGE INTO T USING (SELECT 10 AS A) S ON T.ID = S.A WHEN MATCHED THEN UPDATE SET V = DEFAULT",
    ):
        grid.sql(text)
    rows = {key: repr(value["V"]) for key, value in table.items()}
    assert rows.pop(5) == "None"
    assert len(rows) == 9 and set(rows.values()) == {rows[1]}, rows
    assert table.get(8)["X"] == 9
    text = described(grid)["V"]
    assert grid.sql("SELECT DEFAULT_VALUE FROM SYS.TABLE_COLUMNS WHERE COLUMN_NAME = 'V'").fetchall() == [(text,)]
    grid.sql(f"INSERT INTO T (ID, V) VALUES (11, {text})")
    if type_ not in ("TIMESTAMP_NS",):  # the engine's literals have microseconds
        assert repr(table.get(11)["V"]) == rows[1]


def test_sql_uses_and_shows_the_default_that_alter_table_has_set(grid):
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X INT DEFAULT 3)")
    assert described(grid) == {"X": "3"} and "sql" not in grid.table("T").options
    grid.alter_table("T", defaults={"X": 5})
    grid.sql("INSERT INTO T (ID) VALUES (1)")
    grid.sql("INSERT INTO T (ID, X) VALUES (2, DEFAULT), (3, 3)")
    grid.sql("UPDATE T SET X = DEFAULT WHERE ID = 3")
    assert [row["X"] for row in grid.table("T").values()] == [5, 5, 5] and described(grid) == {"X": "5"}
    grid.alter_table("T", defaults={"X": None})
    assert described(grid) == {}


def test_defaults_stay_with_their_columns_when_the_grid_is_opened_again(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        for name in ("RENAMED", "DROPPED", "REMOVED"):
            grid.sql(f"CREATE TABLE {name} (ID LONG PRIMARY KEY, X INT DEFAULT 3)")
        grid.alter_table("RENAMED", rename={"X": "Z"}, add={"X": "VARCHAR"})
        grid.alter_table("DROPPED", drop=["X"])
        grid.alter_table("DROPPED", add={"X": "UUID"})
        grid.alter_table("REMOVED", defaults={"X": None})
    with gridflow.connect(tmp_path / "grid") as grid:
        assert [described(grid, name) for name in ("RENAMED", "DROPPED", "REMOVED")] == [{"Z": "3"}, {}, {}]


def test_an_old_table_whose_defaults_do_not_fit_can_be_opened(tmp_path, caplog):
    texts = {"U": "3", "N": "3", "B": "1000", "S": "LENGTH('a')", "Q": "'a", "W": 5, "GONE": "1"}
    old_table(tmp_path / "grid", texts, U="UUID", N="INT", B="TINYINT", S="VARCHAR", Q="VARCHAR", W="INT")
    with caplog.at_level(logging.WARNING, "gridflow"), gridflow.connect(tmp_path / "grid") as grid:
        table = grid.table("T")
        table.put(2, {})
        assert table.get(2) == {"U": None, "N": 3, "B": None, "S": None, "Q": None, "W": None}
        assert "sql" not in table.options and described(grid) == {"N": "3"}
        assert [name for name in "UBSQ" if f"of column {name} is dropped" in caplog.text] == list("UBSQ")
        grid.alter_table("T", defaults={"N": None})
    with gridflow.connect(tmp_path / "grid") as grid:
        assert described(grid) == {}
        grid.drop_table("T")


def test_an_old_table_has_its_defaults_moved_before_its_columns_get_other_names(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID")
        grid._alter_options("T", lambda options: {"sql": {"defaults": {"X": "3"}, "affinity_key": "ID"}})
        grid.alter_table("T", rename={"X": "Z"}, add={"X": "UUID"})
        assert described(grid) == {"Z": "3"} and grid.table("T").options == {"sql": {"affinity_key": "ID"}}


def test_an_old_table_can_be_read_where_there_is_no_room_to_move_its_defaults(tmp_path, monkeypatch):
    old_table(tmp_path / "grid", {"N": "3"}, N="INT")

    def full(*arguments):
        raise GridFullError("no room")

    with monkeypatch.context() as patched:
        patched.setattr("gridflow.table.Table.edit", full)
        with gridflow.connect(tmp_path / "grid") as grid:
            assert grid.table("T").get(1) == {"N": None} and "sql" in grid.table("T").options
    with monkeypatch.context() as patched:  # between the two steps
        patched.setattr("gridflow.catalog.Catalog.replace_options", full)
        with gridflow.connect(tmp_path / "grid") as grid:
            assert grid.table("T").get(1) == {"N": None} and "sql" in grid.table("T").options
            version = grid.table("T").version()
    with gridflow.connect(tmp_path / "grid") as grid:
        assert described(grid) == {"N": "3"} and "sql" not in grid.table("T").options
        assert grid.table("T").version() == version


def test_a_reader_of_an_old_table_shows_its_defaults(tmp_path):
    old_table(tmp_path / "grid", {"N": "3"}, N="INT")
    with gridflow.connect(tmp_path / "grid", read_only=True) as grid:
        assert described(grid) == {"N": "3"}


def test_a_default_of_a_key_column_is_a_key(grid):
    table = grid.create_table("T", {"ID": "DOUBLE", "X": "INT"}, key="ID", defaults={"ID": -0.0})
    table.load(pa.table({"X": [1]}))
    assert table.get(0.0) == {"X": 1} and math.copysign(1, next(iter(table))) == 1
    with pytest.raises(SchemaError, match="NaN is not allowed in a key"):
        grid.create_table("N", {"ID": "DOUBLE", "X": "INT"}, key="ID", defaults={"ID": math.nan})
    with pytest.raises(SchemaError, match="NaN is not allowed in a key"):
        grid.alter_table("T", defaults={"ID": np.float32("nan")})


def test_literals_of_values_without_digits():
    assert literal(math.inf, as_type("DOUBLE")) == "'inf'" and literal(None, as_type("INT")) == "NULL"
