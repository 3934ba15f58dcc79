"""With an index and without, a query gives the same rows: of all column types, constants, and states of a table."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sql_conditions import conditions
from strategies import scalars, values

import gridflow
import gridflow.testing
from gridflow import GridflowError
from gridflow.schema import Schema, Type


def tables(grid: gridflow.Grid, columns: dict[str, Type]) -> list[gridflow.Table]:
    """T, which gets indexes, and S, which gets none."""
    schema = Schema.of([("ID", Type("INT64", False)), *columns.items()], "ID")
    return [grid.create_table(name, schema, key="ID", partitions=4) for name in ("T", "S")]


def answer(grid: gridflow.Grid, table: str, where: str, params: list[Any]) -> Any:
    """The keys for which a condition holds, by three kinds of query, or that DuckDB refuses to compare."""
    try:
        ids = grid.sql(f"SELECT ID FROM {table} T WHERE {where}", params).fetchall()
        counted = grid.sql(f"SELECT COUNT(*), MIN(ID) FROM {table} T WHERE {where}", params).fetchall()
    except GridflowError:
        return "refused"
    assert counted == [(len(ids), min(ids)[0] if ids else None)]
    return sorted(ids)


def change(grid: gridflow.Grid, draw: Any, pools: dict[str, list], rows: dict[int, dict]) -> None:
    """One of the things that make a table what it is, done to T and S and to ``rows``."""
    both = [grid.table("T"), grid.table("S")]
    fresh = {
        i: {name: draw(st.sampled_from(pool)) for name, pool in pools.items()}
        for i in draw(st.lists(st.integers(0, 30), max_size=8, unique=True))
    }
    what = draw(st.sampled_from(["put", "load", "remove", "compact", "flush", "settle"]))
    if what == "remove":
        for key in fresh:
            rows.pop(key, None)
        for table in both:
            table.remove_all(list(fresh))
    elif what in ("put", "load"):
        rows.update(fresh)
        for table in both:
            table.put_all(fresh) if what == "put" else table.load(
                [{"ID": i, **row} for i, row in fresh.items()], on_duplicate="replace"
            )
    else:
        for table in both:
            table.indexes.settle() if what == "settle" else getattr(table, what)()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_the_same_rows_with_and_without(data):
    names = data.draw(st.sampled_from([["A"], ["A", "B"], ["A", "B", "C"]]))
    columns = {name: data.draw(scalars()) for name in names}
    # Few values, so that many rows have the same.
    pools = {name: data.draw(st.lists(values(t), min_size=1, max_size=4)) for name, t in columns.items()}
    rows: dict[int, dict] = {}
    used = 0
    with gridflow.testing.temporary_home() as home:
        for turn in range(2):
            with gridflow.connect(home / "grid") as grid:
                if turn == 0:
                    tables(grid, columns)
                    change(grid, data.draw, pools, rows)
                    grid.sql(f"CREATE INDEX I ON T ({', '.join(data.draw(st.permutations(names)))})")
                    grid.sql(f"CREATE INDEX J ON T ({data.draw(st.sampled_from(names))} DESC)")
                for _ in range(data.draw(st.integers(1, 4))):
                    change(grid, data.draw, pools, rows)
                    where, params = data.draw(conditions(columns, pools))
                    found = answer(grid, "T", where, params)
                    wanted = answer(grid, "S", where, params)
                    assert wanted in (found, "refused"), (where, params)
                    event(f"by index {used}")
                    event("refused" if found == "refused" else "empty" if not found else "rows")
                    if wanted != "refused":
                        plan = grid.sql(f"EXPLAIN SELECT ID FROM T WHERE {where}", params).fetchall()[0][0]
                        used += "by index" in plan
                        done = [grid.sql(f"DELETE FROM {t} T WHERE {where}", params).rowcount for t in ("T", "S")]
                        assert done[0] == done[1]
                        for key in found:
                            rows.pop(key[0], None)
                    assert sorted(grid.table("T")) == sorted(grid.table("S")) == sorted(rows)
                assert grid.check() == []
        assert gridflow.testing.stray_files(home / "grid") == []
