"""A column that a row does not name has its DEFAULT, and one that is None is null: by every way in."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import gridflow
from gridflow.cli import main

DDL = "CREATE TABLE T (ID LONG PRIMARY KEY, N INT DEFAULT 3, S VARCHAR DEFAULT 'none', X DOUBLE)"
NAMED = {"X": 0.5}
FILLED = {"N": 3, "S": "none", "X": 0.5}
NULLS = {"N": None, "S": None, "X": None}


def by_transaction(write):
    def run(grid, tmp_path):
        with grid.transaction() as t:
            write(t.table("T"))

    return run


def by_table(write):
    return lambda grid, tmp_path: write(grid.table("T"))


def by_sql(text):
    return lambda grid, tmp_path: grid.sql(text)


def by_file(write):
    """COPY of a file that ``write`` makes."""

    def run(grid, tmp_path):
        path = tmp_path / write(tmp_path)
        grid.sql(f"COPY FROM '{path}' INTO T")

    return run


def by_command(write):
    def run(grid, tmp_path):
        path = tmp_path / write(tmp_path)
        result = CliRunner().invoke(main, ["load", str(path), "T", "--home", str(grid.home)])
        assert result.exit_code == 0, result.output

    return run


def write_csv(folder):
    (folder / "rows.csv").write_text("ID,X\n1,0.5\n")
    return "rows.csv"


def write_json(folder):
    (folder / "rows.json").write_text(json.dumps({"ID": 1, "X": 0.5}) + "\n")
    return "rows.json"


def write_parquet(folder):
    pq.write_table(pa.table({"ID": [1], "X": [0.5]}), folder / "rows.parquet")
    return "rows.parquet"


def write_npz(folder):
    np.savez(folder / "rows.npz", ID=np.array([1]), X=np.array([0.5]))
    return "rows.npz"


FILES = {"csv": write_csv, "json": write_json, "parquet": write_parquet, "npz": write_npz}
ROW = {"ID": 1, "X": 0.5}
WRITES = {
    "put": lambda table: table.put(1, NAMED),
    "[]=": lambda table: table.__setitem__(1, NAMED),
    "put_all": lambda table: table.put_all({1: NAMED}),
    "put_all of Arrow": lambda table: table.put_all(pa.table({"ID": [1], "X": [0.5]})),
    "insert_all": lambda table: table.insert_all([(1, NAMED)]),
    "put_if_absent": lambda table: table.put_if_absent(1, NAMED),
    "replace": lambda table: (table.put(1, NULLS), table.replace(1, NAMED)),
    "compare_and_set": lambda table: (table.put(1, NULLS), table.compare_and_set(1, NULLS, NAMED)),
    "get_and_put": lambda table: table.get_and_put(1, NAMED),
    "setdefault": lambda table: table.setdefault(1, NAMED),
    "increment": lambda table: table.increment(1, "X", by=0.5),
    "put_rows": lambda table: table._put_rows(pa.table({"ID": [1], "X": [0.5]})),
    "load of dicts": lambda table: table.load([ROW]),
    "load of Arrow": lambda table: table.load(pa.table({"ID": [1], "X": [0.5]})),
    "load of batches": lambda table: table.load(iter([pa.record_batch({"ID": [1], "X": [0.5]})])),
    "load of pandas": lambda table: table.load(pd.DataFrame({"ID": [1], "X": [0.5]})),
    "load of numpy": lambda table: table.load({"ID": np.array([1]), "X": np.array([0.5])}),
}
WAYS = {
    **{name: by_table(write) for name, write in WRITES.items()},
    **{f"{name} in a transaction": by_transaction(write) for name, write in WRITES.items()},
    "cache": lambda grid, tmp_path: grid.cache("T").put(1, NAMED),
    "INSERT": by_sql("INSERT INTO T (ID, X) VALUES (1, 0.5)"),
    "INSERT of a query": by_sql("INSERT INTO T (ID, X) SELECT 1, 0.5"),
    "INSERT of DEFAULT": by_sql("INSERT INTO T VALUES (1, DEFAULT, DEFAULT, 0.5)"),
    "INSERT in a transaction": by_sql("BEGIN; INSERT INTO T (ID, X) VALUES (1, 0.5); COMMIT"),
    "UPDATE to DEFAULT": by_sql("INSERT INTO T VALUES (1, 7, 'x', 0.5); UPDATE T SET N = DEFAULT, S = DEFAULT"),
    "MERGE INTO": by_sql("MERGE INTO T (ID, X) VALUES (1, 0.5)"),
    "MERGE INTO over a row": by_sql("INSERT INTO T VALUES (1, 7, 'x', 1); MERGE INTO T (ID, X) VALUES (1, 0.5)"),
    "MERGE USING": by_sql(
        "MERGE INTO T USING (SELECT 1 AS I, 0.5 AS Y) S ON ID = I WHEN NOT MATCHED THEN INSERT (ID, X) VALUES (I, Y)"
    ),
    **{f"COPY of {kind}": by_file(write) for kind, write in FILES.items()},
    **{f"gridflow load of {kind}": by_command(write) for kind, write in FILES.items()},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_column_that_a_row_does_not_name_has_its_default(grid, tmp_path, way):
    grid.sql(DDL)
    table = grid.table("T")
    WAYS[way](grid, tmp_path)
    assert table.get(1) == FILLED
    table.flush()
    assert table.get(1) == FILLED and len(table) == 1


EXPLICIT = {
    "put": lambda table: table.put(1, NULLS),
    "put_all of Arrow": lambda table: table.put_all(
        pa.table({"ID": [1], **{name: pa.nulls(1) for name in NULLS}}),
    ),
    "load of dicts": lambda table: table.load([{"ID": 1, **NULLS}]),
    "load of numpy": lambda table: table.load({"ID": [1], **{name: [None] for name in NULLS}}),
}


@pytest.mark.parametrize("way", EXPLICIT)
def test_a_null_that_is_given_is_no_default(grid, way):
    grid.sql(DDL)
    EXPLICIT[way](grid.table("T"))
    assert grid.table("T").get(1) == NULLS
    with grid.transaction() as t:
        t.table("T").remove(1)
        EXPLICIT[way](t.table("T"))
    assert grid.table("T").get(1) == NULLS


def test_dicts_of_one_load_may_name_different_columns(grid):
    grid.sql(DDL)
    grid.table("T").load([{"ID": 1, "N": 1}, {"ID": 2, "S": None}, {"ID": 3}])
    assert grid.table("T").get_all([1, 2, 3]) == {
        1: {"N": 1, "S": "none", "X": None},
        2: {"N": 3, "S": None, "X": None},
        3: {"N": 3, "S": "none", "X": None},
    }


def test_a_column_that_is_added_with_a_default_has_it_in_old_rows_and_new_ones(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.put(1, {})
    grid.sql("ALTER TABLE T ADD COLUMN N INT DEFAULT 3")
    table.put(2, {})
    table.load([{"ID": 3}, {"ID": 4, "N": None}])
    table.put_all(pa.table({"ID": [5]}))
    assert {key: value["N"] for key, value in table.items()} == {1: 3, 2: 3, 3: 3, 4: None, 5: 3}
    grid.sql("ALTER TABLE T RENAME COLUMN N TO M")
    table.put(6, {})
    assert table.get(6) == {"M": 3}
    grid.sql("ALTER TABLE T DROP COLUMN M; ALTER TABLE T ADD COLUMN N INT")
    table.put(7, {})
    assert table.get(7) == {"N": None}


def test_defaults_by_python(grid):
    columns = {"ID": "LONG", "K": "VARCHAR", "N": "INT NOT NULL", "P": "UINT8[2]", "L": "LIST<INT>", "D": "DATE"}
    day = pd.Timestamp("2024-02-29").date()
    defaults = {"K": "k", "N": 7, "P": np.array([1, 2], np.uint8), "L": [1, None], "D": day}
    table = grid.create_table("T", columns, key=("ID", "K"), defaults=defaults)
    table.load([{"ID": 1}])
    table.load({"ID": [2]})
    with grid.transaction() as t:
        t.table("T").load([{"ID": 3}])
    for key in (1, 2, 3):
        value = table.get((key, "k"))
        assert value.pop("P").tolist() == [1, 2] and value == {"N": 7, "L": [1, None], "D": day}
    grid.alter_table("T", defaults={"N": None, "L": [5]})
    with pytest.raises(gridflow.SchemaError, match="column N.*has no DEFAULT"):
        table.put((4, "k"), {})
    table.put((4, "k"), {"N": 1})
    assert table.get((4, "k"))["L"] == [5]
    with pytest.raises(gridflow.ColumnNotFoundError, match="no column M"):
        grid.create_table("U", columns, key="ID", defaults={"M": 1})
    with pytest.raises(gridflow.SchemaError, match="N"):
        grid.create_table("U", columns, key="ID", defaults={"N": "seven"})
    again = grid.create_table("V", table.schema, key=("ID", "K"))  # a schema says it, too
    again.put((1, "x"), {"N": 1})
    assert again.get((1, "x"))["L"] == [5]


def test_a_plain_value_that_is_left_out_has_its_default(grid):
    table = grid.create_table("T", {"ID": "LONG", "_VAL": "INT"}, key="ID", defaults={"_VAL": 5})
    table.load([{"ID": 1}, {"ID": 2, "_VAL": None}])
    table.load({"ID": [3]})
    with grid.transaction() as t:
        t.table("T").load([{"ID": 4}])
    assert table.get_all([1, 2, 3, 4]) == {1: 5, 2: None, 3: 5, 4: 5}
    assert table.increment(9) == 6 and table.increment(2, by=4) == 4
