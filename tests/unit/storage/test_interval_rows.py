"""Conditions that a dataset's where= looks for in the columns itself: the same rows as the engine finds."""

from __future__ import annotations

import datetime as dt
import math
import random
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import values

import gridflow
from gridflow._native.snapshot import RowPlan
from gridflow.schema import Type
from gridflow.sql.execution import select_rows
from gridflow.sql.execution.select_rows import Condition
from gridflow.storage import interval_rows
from gridflow.storage.index_keys import Interval, key_dtype, key_of
from gridflow.tf.selection import _rows_of

COLUMNS = {
    "I8": "TINYINT",
    "I64": "LONG",
    "U64": "UINT64",
    "F32": "FLOAT",
    "F64": "DOUBLE",
    "B": "BOOLEAN",
    "D": "DATE",
    "TS": "TIMESTAMP",
    "TM": "TIME",
    "DC": "DECIMAL(10,2)",
    "S": "VARCHAR",
}
DAY, MOMENT = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 12, 0, 0, 1)
SAMPLES = {
    "I8": [-128, -1, 0, 1, 127, None],
    "I64": [-(2**63), -1, 0, 2**53 + 1, 2**63 - 1, None],
    "U64": [0, 1, 2**63, 2**64 - 1, None],
    "F32": [-math.inf, -1.5, -0.0, 0.0, 1e-45, 0.1, 1.5, math.inf, math.nan, None],
    "F64": [-math.inf, -1.5, -5e-324, -0.0, 0.0, 5e-324, 0.1, 0.30000000000000004, math.inf, math.nan, None],
    "B": [False, True, None],
    "D": [dt.date(1, 1, 1), DAY, DAY + dt.timedelta(1), dt.date(9999, 12, 31), None],
    "TS": [MOMENT, MOMENT + dt.timedelta(microseconds=1), dt.datetime(1970, 1, 1), None],
    "TM": [dt.time(0), dt.time(12, 30, 0, 1), dt.time(23, 59, 59, 999999), None],
    "DC": [Decimal("-1.00"), Decimal("0.10"), Decimal("99999999.99"), None],
    "S": ["", "a", "b", None],
}
CONSTANTS = {
    "I8": ["0", "-1", "127", "128", "-1000", "0.5", "1e0", "NULL"],
    "I64": ["0", "-1", "9223372036854775807", "9007199254740992.5", "1e0", "NULL"],
    "U64": ["0", "-1", "9223372036854775808", "18446744073709551615", "0.5"],
    "F32": ["0", "-0.0", "0.1", "1.5", "1e39", "-1.5", "CAST('NaN' AS FLOAT)", "CAST('Infinity' AS FLOAT)"],
    "F64": ["0", "-0.0", "0.1", "0.3", "0.30000000000000004", "5e-324", "1e308", "CAST('NaN' AS DOUBLE)", "NULL"],
    "B": ["TRUE", "FALSE"],
    "D": ["DATE '2024-02-29'", "'2024-03-01'", "TIMESTAMP '2024-02-29 12:00:00'"],
    "TS": ["TIMESTAMP '2024-02-29 12:00:00.000001'", "'2024-02-29 12:00:00.000001'", "DATE '1970-01-01'"],
    "TM": ["TIME '12:30:00.000001'", "'12:30:00.000001'"],
    "DC": ["0.1", "0.10", "-1", "0.105"],
    "S": ["'a'", "''"],
}


@pytest.fixture
def table(grid):
    """Rows of all kinds in several segments, some of them deleted."""
    grid.open_grid._maintenance.stop()
    table = grid.create_table("T", {"ID": "LONG", **COLUMNS}, key="ID", partitions=16)
    choose = random.Random(11)
    for first in range(0, 900, 300):
        table.put_all({i: {n: choose.choice(SAMPLES[n]) for n in COLUMNS} for i in range(first, first + 300)})
        table.flush()
    table.remove_all(range(0, 900, 7))
    table.put_all({i: {n: choose.choice(SAMPLES[n]) for n in COLUMNS} for i in range(100, 150)})
    table.flush()
    return table


def rows_of(grid, table, where: str) -> list:
    snapshot = table.snapshot()
    plan = RowPlan.make(snapshot, [(0, 9), (11, 16)])
    return _rows_of(grid, table, Condition(((where, None),)), plan).runs().tolist()


def test_it_finds_what_the_engine_finds(grid, table, monkeypatch):
    choose, looked = random.Random(5), 0
    look = interval_rows.rows_within

    def counted(*args):
        nonlocal looked
        looked += 1
        return look(*args)

    for step in range(250):
        parts = []
        for name in choose.sample(sorted(COLUMNS), choose.choice([1, 1, 2, 3])):
            constant, operator = choose.choice(CONSTANTS[name]), choose.choice(["=", "<", "<=", ">", ">=", "between"])
            other = choose.choice(CONSTANTS[name])
            parts.append(
                f"{name} BETWEEN {constant} AND {other}" if operator == "between" else f"T.{name} {operator} {constant}"
            )
        where = " AND ".join(parts)
        monkeypatch.setattr(select_rows, "rows_within", counted)
        monkeypatch.setattr(select_rows, "_FEW_OTHERS", choose.choice([0, 5, 10_000]))
        monkeypatch.setattr(interval_rows, "_PIECE", choose.choice([64, 100_000]))
        ours = rows_of(grid, table, where)
        monkeypatch.setattr(select_rows, "can_look", lambda conditions: False)
        theirs = rows_of(grid, table, where)
        monkeypatch.undo()
        assert ours == theirs, (step, where)
    assert looked > 100


@settings(max_examples=300)
@given(st.data())
def test_marks_are_those_of_the_keys(data):
    """Of any bounds in terms of keys, which is what conditions become."""
    t = Type(data.draw(st.sampled_from(["FLOAT32", "FLOAT64", "INT8", "UINT64", "INT64"])))
    special = [-math.inf, -1.0, -5e-324, -1e-45, -0.0, 0.0, 1e-45, 5e-324, 1.0, math.inf, math.nan]
    elements = st.sampled_from(special) if t.kind.startswith("FLOAT") else values(t.not_null())
    cells = data.draw(st.lists(elements, min_size=1, max_size=20))
    info = np.iinfo(key_dtype(t))
    near = [key_of(cell, t) + shift for cell in cells for shift in (-1, 0, 1)] + [info.min, info.max]
    bound = st.none() | st.sampled_from([key for key in near if info.min <= key <= info.max])
    interval = Interval(data.draw(bound), data.draw(bound), data.draw(st.booleans()), data.draw(st.booleans()))
    interval = Interval(
        interval.low,
        interval.high,
        interval.low_open and interval.low is not None,
        interval.high_open and interval.high is not None,
    )
    column = gridflow.schema.Column("X", t, 1)
    batch = pa.record_batch({"X": pa.array(np.array(cells, t.arrow().to_pandas_dtype()))})

    def look(sure: list[Interval]) -> tuple[list[int], list[int]]:
        (bits,), (others,) = interval_rows.rows_within([batch], [interval_rows.Within(column, [interval], sure)])
        assert len(bits) == (len(cells) + 7) // 8
        return np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist(), others.tolist()

    def lies(cell) -> bool:
        key = key_of(np.array(cell, t.arrow().to_pandas_dtype()).item(), t)
        low = interval.low is None or (key > interval.low if interval.low_open else key >= interval.low)
        return low and (interval.high is None or (key < interval.high if interval.high_open else key <= interval.high))

    expected = [i for i, cell in enumerate(cells) if lies(cell)]
    assert look([]) == ([], expected)
    assert look([interval]) == (expected, [])


def test_bits_choose_rows_as_numbers_do(grid):
    """Of ranges of partitions that begin and end within a byte, with deleted rows; bits of others mean nothing."""
    grid.open_grid._maintenance.stop()
    table = grid.create_table("T", {"ID": "LONG"}, key="ID", partitions=64)
    for first in (0, 1000, 1500):
        table.load({"ID": range(first, first + 1000)}, on_duplicate="replace")
    table.remove_all(range(0, 2500, 9))
    choose = np.random.default_rng(3)
    for ranges in ([(0, 64)], [(0, 1), (2, 3), (5, 40)], [(63, 64)]):
        plan = RowPlan.make(table.snapshot(), ranges)
        extents = plan.extents().tolist()
        pieces = [choose.integers(0, 256, (begin + n + 7) // 8 - begin // 8, np.uint8) for _, begin, n in extents]
        chosen = {
            (segment, begin // 8 * 8 + int(bit))
            for (segment, begin, count), piece in zip(extents, pieces, strict=True)
            for bit in np.flatnonzero(np.unpackbits(piece, bitorder="little"))
            if begin % 8 <= bit < begin % 8 + count
        }
        rows = [(s, r) for s, begin, count in plan.lying_runs().tolist() for r in range(begin, begin + count)]
        numbers = np.array([i for i, row in enumerate(rows) if row in chosen], np.int64)
        assert 0 < len(numbers) < plan.rows
        assert plan.chosen_by_bits(pieces).runs().tolist() == plan.chosen(numbers).runs().tolist()
        with pytest.raises(gridflow.SchemaError):
            plan.chosen_by_bits(pieces[:-1])
        with pytest.raises(gridflow.SchemaError):
            plan.chosen_by_bits([*pieces[:-1], pieces[-1][:-1]])
