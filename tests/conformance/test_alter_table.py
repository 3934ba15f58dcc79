"""Columns that come, go and get other names, while rows stay where they lie."""

from __future__ import annotations

import decimal
import threading

import numpy as np
import pytest

import gridflow
from gridflow import ColumnNotFoundError, SchemaError, TableNotFoundError, TransactionConflictError

FILLS = {
    "B": ("BOOL", True),
    "I": ("INT NOT NULL", 7),
    "S": ("VARCHAR", "a text that is too long to lie in a string itself"),
    "D": ("DECIMAL(10,2)", decimal.Decimal("1.25")),
    "P": ("UINT8[2,2]", np.ones((2, 2), np.uint8)),
    "L": ("LIST<VARCHAR>", ["a", None]),
    "ST": ("STRUCT<X INT, Y LIST<INT>>", {"X": None, "Y": [1]}),
    "M": ("MAP<STRING, INT>", {"k": 1}),
    "N": ("DOUBLE", None),
}


@pytest.fixture
def table(grid):
    """Rows in a segment, and one in memory."""
    table = grid.create_table("T", {"ID": "LONG", "X": "DOUBLE", "GONE": "VARCHAR"}, key="ID")
    table.put_all({i: {"X": i / 2, "GONE": "x"} for i in range(50)})
    table.flush()
    table.put(50, {"X": 25.0, "GONE": "y"})
    return table


def plain(row):
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def test_columns_of_every_kind_are_added(grid, table):
    fill = {name: value for name, (_, value) in FILLS.items() if value is not None}
    before = table.stats()["segments"]
    grid.alter_table("T", add={name: kind for name, (kind, _) in FILLS.items()}, fill=fill)
    assert table.stats()["segments"] <= before + 1, "segments stay as they are"
    wanted = {"X": 1.0, "GONE": "x", **{name: value for name, (_, value) in FILLS.items()}}
    found = table.get(2)
    assert plain(found) == plain(wanted)
    assert table.get(50)["I"] == 7, "a row that was in memory"
    table.put(100, {"I": 1})
    assert table.get(100)["S"] is None, "a new row has no value that it is not given"
    with pytest.raises(SchemaError, match="column I INT32 NOT NULL: a null is not allowed"):
        table.put(101, {})
    for _ in range(2):  # before and after a merge
        arrow = table.to_arrow().sort_by("ID")
        assert arrow.column_names == ["ID", "X", "GONE", *FILLS]
        assert arrow["S"].to_pylist()[:2] == [FILLS["S"][1]] * 2 and arrow["L"][0].as_py() == ["a", None]
        assert arrow["N"].null_count == 52 and arrow["M"][3].as_py() == [("k", 1)]
        assert grid.sql("SELECT COUNT(*) FROM T WHERE I = 7 AND B AND ST.Y[1] = 1 AND S LIKE 'a text%'").fetchall() == [
            (51,)
        ]
        assert sum(batch.num_rows for batch in table.scan(["P", "N"], partitions=range(1024))) == 52
        table.compact()
    assert grid.check() == []


def test_columns_are_dropped_and_renamed(grid, table):
    grid.alter_table("T", drop=["GONE"], rename={"X": "Y", "ID": "KEY"})
    assert str(table.schema) == "KEY INT64 NOT NULL, Y FLOAT64, PRIMARY KEY (KEY)"
    assert table.get(4) == {"Y": 2.0} and table.get(50) == {"Y": 25.0}
    grid.alter_table("T", add={"GONE": "VARCHAR"})
    assert table.get(4) == {"Y": 2.0, "GONE": None}, "what was dropped does not come back"
    grid.alter_table("T", rename={"Y": "GONE", "GONE": "Y"})
    assert table.get(4) == {"GONE": 2.0, "Y": None}
    assert grid.sql("SELECT GONE FROM T WHERE KEY = 4").fetchall() == [(2.0,)]
    assert grid.table("T").to_arrow().column_names == ["KEY", "GONE", "Y"]
    table.compact()
    assert table.get(4) == {"GONE": 2.0, "Y": None} and grid.check() == []


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"add": {"X": "INT"}}, SchemaError, "has a column X already"),
        ({"add": {"N": "INTT"}}, SchemaError, "no type INTT"),
        ({"add": {"": "INT"}}, SchemaError, "cannot be a column name"),
        ({"add": {"N": "INT NOT NULL"}}, SchemaError, "give a DEFAULT, or let it be null"),
        ({"add": {"N": "INT"}, "fill": {"N": "x"}}, SchemaError, "column N INT32: 'x' .* is not an integer"),
        ({"add": {"N": "INT"}, "fill": {"M": 1}}, ColumnNotFoundError, "no new column M in T"),
        ({"drop": ["ID"]}, SchemaError, "is in the primary key of T"),
        ({"drop": ["Q"]}, ColumnNotFoundError, "no column Q in T"),
        ({"rename": {"Q": "R"}}, ColumnNotFoundError, "no column Q in T"),
        ({"rename": {"X": "GONE"}}, SchemaError, "has a column GONE already"),
    ],
)
def test_what_cannot_be(grid, table, change, error, words):
    with pytest.raises(error, match=words):
        grid.alter_table("T", **change)
    assert table.schema.names == ["ID", "X", "GONE"] and table.get(1) == {"X": 0.5, "GONE": "x"}
    with pytest.raises(TableNotFoundError):
        grid.alter_table("NONE", drop=["X"])


def test_an_empty_table_takes_any_column(grid):
    table = grid.create_table("E", {"ID": "LONG"}, key="ID")
    grid.alter_table("E", add={"N": "INT NOT NULL"})
    table.put(1, {"N": 1})
    assert table.get(1) == {"N": 1}


def test_a_transaction_ends_with_its_columns(grid, table):
    transaction = grid.transaction()
    transaction.table("T").put(1, {"X": 0.0})
    grid.alter_table("T", add={"N": "INT"})
    assert transaction.table("T").get(2) == {"X": 1.0, "GONE": "x"}
    with pytest.raises(TransactionConflictError, match="has got other columns"):
        transaction.commit()
    assert table.get(1) == {"X": 0.5, "GONE": "x", "N": None}


def test_another_reader_follows(grid, table):
    with gridflow.connect(grid.home, read_only=True) as reader:
        seen = reader.table("T")
        assert seen.get(50) == {"X": 25.0, "GONE": "y"}
        grid.alter_table("T", add={"N": "INT"}, drop=["GONE"], fill={"N": 3})
        assert seen.get(50) == {"X": 25.0, "N": 3}
        table.put(51, {"N": 4})
        assert seen.get(51) == {"X": None, "N": 4} and seen.schema.names == ["ID", "X", "N"]
        assert seen.to_arrow().column_names == ["ID", "X", "N"] and len(seen) == 52
        assert reader.sql("SELECT SUM(N) FROM T").fetchall() == [(51 * 3 + 4,)]


def test_writers_meanwhile_write_whole_rows_or_nothing(grid, table):
    """A row is encoded for the columns of the moment: one that has changed when it arrives is refused, not misread."""
    stop, wrong, written = threading.Event(), [], []

    def write() -> None:
        key = 1000
        while not stop.is_set():
            try:
                table.put(key, {"X": 1.0})
                written.append(key)
                key += 1
            except SchemaError as error:
                if "other columns" not in str(error):
                    wrong.append(error)
            except Exception as error:
                wrong.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for i in range(15):
            grid.alter_table(
                "T",
                add={f"N{i}": "INT NOT NULL"} if i % 2 else {f"N{i}": "VARCHAR"},
                fill={f"N{i}": i if i % 2 else "v"},
            )
            grid.alter_table("T", drop=[f"N{i}"])
    finally:
        stop.set()
        thread.join()
    nulls = [error for error in wrong if "a null is not allowed" not in str(error)]
    assert nulls == []
    found = table.get_all(written)
    assert len(found) == len(written) > 0 and all(row == {"X": 1.0, "GONE": None} for row in found.values())
    assert grid.check() == []
