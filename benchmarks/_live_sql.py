"""SQL over a table in a state, beside DuckDB's own table after the same writes. Milliseconds of a statement."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from _harness import Benchmark, Figures
from _live_states import NARROW, STATES, WRITER, X_END, DuckStore, GridStore, Lived, State

import gridflow

QUERIES = {
    "COUNT(*)": "SELECT COUNT(*) FROM T",
    "group by": f"SELECT X % 100, COUNT(*), SUM(ID) FROM T WHERE X > {X_END // 4} GROUP BY X % 100",
    "MAX": "SELECT MAX(X) FROM T",
    "top 10": "SELECT ID, X FROM T ORDER BY X, ID LIMIT 10",
    "BETWEEN": "SELECT ID, X FROM T WHERE ID BETWEEN 1000 AND 2000",
}
CHANGES = {
    "UPDATE of 1 %": "UPDATE T SET X = X + 1 WHERE ID % 100 = 9",
    "UPDATE of all": "UPDATE T SET X = X + 1",
}


def time_queries(run: Callable[[str], Any], seconds: float, table: Lived | None = None) -> Figures:
    """The mean of each query, asked again and again for so long."""
    figures = {}
    for name, text in QUERIES.items():
        count = 0
        began = time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds or not count:
            run(text)
            count += 1
        figures[name] = elapsed / count * 1e3
    return figures


def time_grid(table: Lived, seconds: float) -> Figures:
    with table.written():
        return time_queries(lambda text: table.grid.sql(text).fetchall(), seconds)


def duck_name(state: State) -> str:
    return f"DuckDB, {state.name}"


def measure_queries(bench: Benchmark, tables: list[Lived], seconds: float) -> None:
    """Queries in all states; DuckDB has no other process that writes, so its table is as it was loaded there."""
    rows = tables[0].rows
    contenders: dict[str, Callable[[], Figures]] = {}
    for table in tables:
        contenders[f"gridflow, {table.state.name}"] = partial(time_grid, table, seconds)
        if table.state.name == WRITER:
            continue
        duck = DuckStore()
        with bench.console.status(f"DuckDB: {table.state.name}"):
            table.state.write(duck, rows)
        run = duck.database.execute
        if table.client is None:
            check(table, duck)
        contenders[duck_name(table.state)] = partial(time_queries, lambda text, run=run: run(text).fetchall(), seconds)
    bench.measure(f"{rows:,} rows of {NARROW} bytes, SQL", contenders, unit="ms", better="lower")


def check(table: Lived, duck: DuckStore) -> None:
    """Both have come to the same rows."""
    for text in QUERIES.values():
        ours, theirs = table.grid.sql(text).fetchall(), duck.database.execute(text).fetchall()
        assert sorted(map(tuple, ours)) == sorted(theirs), (table.state.name, text)


def measure_changes(bench: Benchmark, folder: Path, rows: int) -> None:
    """Statements that change the table: each round begins with a new one, which is brought into the state first."""
    contenders: dict[str, Callable[[], Figures]] = {}
    for state in STATES:
        if state.name != WRITER:
            contenders[f"gridflow, {state.name}"] = partial(change_grid, folder / "changed", state, rows)
            contenders[duck_name(state)] = partial(change_duck, state, rows)
    group = f"{rows:,} rows of {NARROW} bytes, changes by SQL"
    bench.measure(group, contenders, unit="ms", better="lower", warm_up=not bench.quick)


def change_grid(home: Path, state: State, rows: int) -> Figures:
    try:
        with gridflow.connect(home) as grid:
            if not state.merges:
                grid.open_grid._maintenance.stop()  # as for the other paths
            store = GridStore(grid, NARROW)
            state.write(store, rows)
            return time_changes(grid.sql)
    finally:
        shutil.rmtree(home)


def change_duck(state: State, rows: int) -> Figures:
    duck = DuckStore()
    state.write(duck, rows)
    try:
        return time_changes(duck.database.execute)
    finally:
        duck.database.close()


def time_changes(run: Callable[[str], Any]) -> Figures:
    figures = {}
    for name, text in CHANGES.items():
        began = time.perf_counter()
        run(text)
        figures[name] = (time.perf_counter() - began) * 1e3
    return figures
