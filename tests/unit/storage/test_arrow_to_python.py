"""Arrow columns become the values that ``Table.get`` gives, with nothing installed but what Gridflow asks for."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from gridflow.storage.arrow_to_python import to_python

NANO = np.datetime64("2020-01-01T00:00:00.123456789")
MOMENT = dt.datetime(2020, 1, 1, 12)
INSTANT = MOMENT.replace(tzinfo=dt.timezone.utc)
LATE = np.datetime64(10**17, "s")
VALUES = {
    "TIMESTAMP_NS": NANO,
    "TIMESTAMP_TZ": INSTANT,
    "TIMESTAMP_S": LATE,
    "DATE": np.datetime64("20000-01-01", "D"),
    "LIST<TIMESTAMP_NS>": [NANO, None],
    "LIST<STRUCT<A TIMESTAMP_TZ, B MAP<STRING, DATE>>>": [{"A": INSTANT, "B": {"x": dt.date(2020, 1, 1), "y": None}}],
    "STRUCT<A TIMESTAMP_NS, B LIST<TIMESTAMP>>": {"A": None, "B": [MOMENT]},
    "MAP<INT, TIMESTAMP_NS>": {1: NANO, 2: None},
}


@pytest.mark.parametrize("text", VALUES)
def test_a_query_gives_what_get_gives(grid, text):
    table = grid.create_table("T", {"ID": "INT", "V": text}, key="ID")
    rows = {0: {"V": None}, 1: {"V": VALUES[text]}, 2: {"V": VALUES[text]}, 3: {"V": None}}
    table.put_all(rows)
    assert table.get_all(rows) == rows
    found = dict(grid.sql("SELECT ID, V FROM T").fetchall())
    assert found == {key: row["V"] for key, row in rows.items()}
    assert [type(v) for v in found.values()] == [type(rows[key]["V"]) for key in found]
    kept = dict(grid.sql("SELECT ID, V FROM T WHERE ID BETWEEN 1 AND 2").fetchall())
    assert kept == {1: VALUES[text], 2: VALUES[text]}


@pytest.mark.parametrize("size", [1, 2, 5])
def test_parts_of_an_array(size):
    lists = [[NANO], None, [], [None, NANO], [NANO] * 3]
    fixed = pa.array([[1, 2], None, [3, 4], [None, 5], [6, 7]], pa.list_(pa.timestamp("ns"), 2))
    arrays = {
        "list": pa.array(lists, pa.list_(pa.timestamp("ns"))),
        "map": pa.array([[(1, NANO)], None, [], [(2, None), (3, NANO)], []], pa.map_(pa.int8(), pa.timestamp("ns"))),
        "struct": pa.array([{"A": NANO}, None, {"A": None}, {"A": NANO}, {}], pa.struct({"A": pa.timestamp("ns")})),
        "fixed": fixed,
    }
    for name, array in arrays.items():
        whole = to_python(array)
        assert to_python(pa.chunked_array([array, array])) == whole * 2
        for start in range(len(array)):
            assert to_python(array.slice(start, size)) == whole[start : start + size], f"{name} from {start}"
    assert to_python(arrays["list"]) == lists
    assert to_python(arrays["map"]) == [{1: NANO}, None, {}, {2: None, 3: NANO}, {}]
    assert to_python(arrays["map"], pairs=True)[3] == [(2, None), (3, NANO)]
    assert to_python(fixed)[3] == [None, np.datetime64(5, "ns")] and to_python(fixed)[1] is None


def test_keys_that_python_has_no_datetime_for(grid):
    table = grid.create_table("T", {"TN": "TIMESTAMP_NS", "N": "INT"}, key="TN")
    table.put(NANO, {"N": 1})
    assert list(table) == [NANO]
    assert grid.sql("UPDATE T SET N = N + 1 WHERE N > 0").rowcount == 1
    assert grid.sql("DELETE FROM T WHERE N = 2").rowcount == 1


WITHOUT = """
import sys
for name in ("pandas", "pytz", "tzdata"):
    sys.modules[name] = None
import gridflow
with gridflow.connect(sys.argv[1]) as grid:
    grid.sql("CREATE TABLE T (ID INT PRIMARY KEY, TN TIMESTAMP_NS, TZ TIMESTAMP_TZ)")
    grid.sql("INSERT INTO T VALUES (1, '2020-01-01 00:00:00.123456789', '2020-01-01 00:00:00')")
    print(grid.sql("SELECT TN, TZ, [TZ] FROM T ORDER BY TZ").fetchall() == [(
        (row := grid.table("T").get(1))["TN"], row["TZ"], [row["TZ"]])])
"""


def test_neither_pandas_nor_time_zones(tmp_path):
    """pyarrow wants pandas for nanoseconds, and a time zone database (or pytz) even for UTC."""
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "grid")]
    done = subprocess.run(command, env={**os.environ, "PYTHONTZPATH": ""}, capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr
