"""With rows left out and without, a query gives the same: of all column types, and in all states of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sql_conditions import conditions
from strategies import scalars, values

import gridflow
import gridflow.testing
from gridflow import GridflowError
from gridflow._native import layout
from gridflow.schema import Schema, Type
from gridflow.sql.access import zones as access
from gridflow.storage import mapped_rows, narrowing, zone_file
from gridflow.storage.index_keys import INDEXABLE
from gridflow.transaction import TransactionTable


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Zones of 8 rows in all segments, which are used even if they leave little out; deleted rows are never copied."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ZONE_ROWS", 8)
        patch.setattr(zone_file, "LEAST_ROWS", 1)
        patch.setattr(narrowing, "_RANGE_COST", 0)
        patch.setattr(access, "_MORE_ZONES", 0)
        patch.setattr(access, "_MORE_ROWS", 1)
        patch.setattr(narrowing, "_MOST_SHARE", 1.0)
        patch.setattr(mapped_rows, "_SHORT", 8)
        patch.setattr(mapped_rows, "_GRAINS", (16, 32))
        patch.setattr(mapped_rows, "_COPIED_ROWS", -1)
        yield


@contextlib.contextmanager
def nothing_left_out() -> Iterator[None]:
    """Queries read all rows, copied without the deleted ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTable, "_narrow", lambda self, narrowing: None)
        patch.setattr(TransactionTable, "_mapped", lambda self, names: mapped_rows.MappedRows(self.to_arrow(names)))
        yield


def ask(grid: Any, text: str, params: list[Any]) -> Any:
    try:
        return grid.sql(text, params).fetchall()
    except GridflowError:
        return "refused"


def text_of(rows: Any) -> Any:
    """Rows such that NaN equals NaN, and -0.0 equals 0.0 as it does in SQL."""
    return (
        rows
        if isinstance(rows, str)
        else [tuple(repr(0.0 if v == 0 and type(v) is float else v) for v in r) for r in rows]
    )


def both(grid: Any, text: str, params: list[Any] | None = None, *, ordered: bool = False) -> Any:
    """The answer to a query, which is the same if nothing is left out."""
    found = ask(grid, text, params or [])
    with nothing_left_out():
        wanted = ask(grid, text, params or [])
    same = [text_of(answer) for answer in (found, wanted)]
    if not ordered:
        same = [sorted(answer) for answer in same]
    assert same[0] == same[1] or wanted == "refused", (text, params)
    return found


def check_queries(
    grid: Any, columns: dict[str, Type], data: Any, pools: dict[str, list], rows: dict[int, dict]
) -> None:
    """Queries of all kinds, of a grid or a transaction."""
    assert grid.sql("SELECT COUNT(*) FROM T").fetchall() == [(len(rows),)]
    where, params = data.draw(conditions(columns, pools))
    both(grid, f"SELECT ID FROM T WHERE {where}", params)
    both(grid, f"SELECT COUNT(*), MIN(ID), MAX(ID) FROM T WHERE {where}", params)
    low = data.draw(st.integers(-5, 45))
    between = [low, low + data.draw(st.integers(-2, 30))]
    keys = sorted(key for key in rows if between[0] <= key <= between[1])
    assert sorted(both(grid, "SELECT ID FROM T WHERE ID BETWEEN ? AND ?", between)) == [(key,) for key in keys]
    assert both(grid, "SELECT COUNT(*) FROM T WHERE ID > ? AND ID < ?", between) == [
        (sum(between[0] < key < between[1] for key in rows),)
    ]
    both(grid, f"SELECT * FROM T WHERE ID >= ? AND ID <= ? AND {where}", [*between, *params])
    name = data.draw(st.sampled_from(sorted(columns)))
    both(grid, f"SELECT ID FROM T WHERE {name} IN ({', '.join('?' * 20)})", (pools[name] * 20)[:20])
    direction = data.draw(st.sampled_from(["", "DESC", "NULLS LAST", "DESC NULLS FIRST"]))
    limit, offset = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 4))
    # Of rows of the same value any may come; so the values are compared, or there is a second order.
    both(grid, f"SELECT {name} FROM T ORDER BY {name} {direction} LIMIT ? OFFSET ?", [limit, offset], ordered=True)
    both(grid, f"SELECT ID, {name} FROM T X ORDER BY X.{name} {direction}, ID LIMIT {limit}", ordered=True)
    ordered = f"SELECT ID, {name} FROM T WHERE {where} ORDER BY {name} {direction}, ID LIMIT {limit} OFFSET {offset}"
    both(grid, ordered, params, ordered=True)
    both(grid, f"SELECT {name} N FROM T Y WHERE ID % 3 > 0 ORDER BY {name} {direction} LIMIT {limit}", ordered=True)
    both(grid, f"SELECT -ID AS ID FROM T ORDER BY ID LIMIT {limit}", ordered=True)
    both(grid, f"SELECT MIN({name}), MAX({name}) M, MAX(ID) FROM T")


def change(table: Any, data: Any, pools: dict[str, list], rows: dict[int, dict]) -> None:
    """Write some rows to a table, or to one in a transaction."""
    fresh = {
        key: {name: data.draw(st.sampled_from(pool)) for name, pool in pools.items()}
        for key in data.draw(st.lists(st.integers(0, 40), max_size=20, unique=True))
    }
    what = data.draw(st.sampled_from(["put", "load", "remove"]))
    if what == "remove":
        table.remove_all(list(fresh))
        for key in fresh:
            rows.pop(key, None)
    else:
        rows.update(fresh)
        table.put_all(fresh) if what == "put" else table.load(
            [{"ID": key, **row} for key, row in fresh.items()], on_duplicate="replace"
        )


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(st.data())
def test_the_same_rows_whatever_is_left_out(data):
    columns = {name: data.draw(scalars(tuple(sorted(INDEXABLE)))) for name in ("A", "B")}
    pools = {name: data.draw(st.lists(values(t), min_size=1, max_size=6)) for name, t in columns.items()}
    rows: dict[int, dict] = {}
    with gridflow.testing.temporary_home() as home, gridflow.connect(home / "grid") as grid:
        table = grid.create_table("T", Schema.of([("ID", Type("INT64", False)), *columns.items()], "ID"), key="ID")
        for turn in range(data.draw(st.integers(1, 4))):
            change(table, data, pools, rows)
            what = data.draw(st.sampled_from(["settle", "compact", "flush", "alter"]))
            if what == "alter" and turn == 1:
                grid.alter_table("T", add={"C": "INT"}, fill={"C": 7})
                columns, pools = {**columns, "C": Type("INT32")}, {**pools, "C": [None, 7, 8]}
                for row in rows.values():
                    row["C"] = 7
            elif what in ("compact", "flush"):
                getattr(table, what)()
            table.flush()
            table.zones.settle()
            with table.zones.lock:  # what is written from here on has no zone map
                if data.draw(st.booleans()):
                    change(table, data, pools, rows)
                check_queries(grid, columns, data, pools, rows)
                if data.draw(st.booleans()):
                    with grid.transaction() as transaction:
                        change(transaction.table("T"), data, pools, rows)
                        check_queries(transaction, columns, data, pools, rows)
            plan = grid.sql("EXPLAIN SELECT MAX(A) FROM T").fetchall()[0][0]
            event("by zones" if "by zones" in plan else "scan")
        assert grid.check() == []


def test_tensors_come_late_of_rows_that_are_left(grid):
    """The engine numbers the rows that it gets, deleted ones among them, and the tensors are those of its numbers."""
    table = grid.create_table("T", {"ID": "LONG", "A": "INT", "P": "UINT8[2]"}, key="ID")
    for begin in (0, 100):
        ids = np.arange(begin, begin + 100)
        table.load({"ID": ids, "A": (ids * 37 % 101).astype("i4"), "P": np.stack([ids, ids + 1], 1).astype("u1")})
    table.zones.settle()
    table.remove_all(range(0, 200, 3))
    live = [i for i in range(200) if i % 3]
    for text, wanted in (
        ("SELECT P, ID FROM T ORDER BY A DESC, ID LIMIT 5", sorted(live, key=lambda i: (-(i * 37 % 101), i))[:5]),
        ("SELECT P, ID FROM T WHERE A < 10", [i for i in live if i * 37 % 101 < 10]),
        (
            "SELECT P, ID FROM T WHERE ID BETWEEN 30 AND 60 AND A > 5",
            [i for i in live if 30 <= i <= 60 and i * 37 % 101 > 5],
        ),
        ("SELECT P, ID FROM T WHERE A + 0 >= 0", live),
    ):
        found = grid.sql(text).fetchall()
        assert [key for _, key in found] == wanted if "LIMIT" in text else sorted(key for _, key in found) == wanted
        assert all(tensor.tolist() == [key, key + 1] for tensor, key in found)
