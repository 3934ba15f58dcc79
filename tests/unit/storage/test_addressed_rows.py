"""Rows that are changed where they lie: any columns of any rows, whoever writes meanwhile, are as a model says."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gridflow
import gridflow.storage.mapped_rows
import gridflow.transaction
from gridflow.errors import TransactionConflictError
from gridflow.schema import Schema
from gridflow.sql.execution.changes import keys_of_rows
from gridflow.storage.mapped_rows import ADDRESS
from gridflow.storage.python_columns import arrow_column


class History:
    """A table and ``model``, what must be in it: the key, and the values in the order of the columns."""

    def __init__(self, grid: gridflow.Grid, schema: Schema, data: st.DataObject):
        self.grid, self.schema, self.data = grid, schema, data
        self.table = grid.create_table("T", schema, key=list(schema.key), partitions=4)
        self.model: dict[Any, dict] = {}
        self.keys = data.draw(st.lists(strategies.keys(schema), min_size=1, max_size=12, unique_by=repr), label="keys")

    def some_keys(self, label: str) -> list[Any]:
        return self.data.draw(st.lists(st.sampled_from(self.keys), max_size=8, unique_by=repr), label=label)

    def write(self) -> set[str]:
        """Somebody else writes; returns what was touched, as text."""
        keys = self.some_keys("written")
        kind = self.data.draw(st.sampled_from(["put", "load", "remove"]), label="kind")
        touched = {repr(key) for key in keys}
        if kind == "remove":
            self.table.remove_all(keys)
            for key in keys:
                self.model.pop(repr(key), None)
            return touched
        rows = [(key, self.data.draw(strategies.rows(self.schema), label="row")) for key in keys]
        if kind == "put":
            self.table.put_all(rows)
        else:
            self.table.load([strategies.as_row(self.schema, key, value) for key, value in rows], on_duplicate="replace")
        self.model.update({repr(key): value for key, value in rows})
        return touched

    def settle(self) -> None:
        step = self.data.draw(st.sampled_from(["nothing", "flush", "compact"]), label="then")
        if step != "nothing":
            getattr(self.table, step)()

    def change(self) -> None:
        """A statement reads all rows, others write, and it changes some of the rows that it has read."""
        removes = self.data.draw(st.booleans(), label="removes")
        names = [column.name for column in self.schema.value_columns]
        names = (
            [] if removes or not names else self.data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
        )
        touched: set[str] = set()
        changed: dict[str, dict | None] = {}
        many = self.data.draw(st.booleans(), label="past the log")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gridflow.transaction, "MOST_LOGGED", 0 if many else 2000)
            patch.setattr(gridflow.storage.mapped_rows, "_COPIED_ROWS", 0 if self.data.draw(st.booleans()) else 1000)
            try:
                with self.grid.transaction(of_statement=True) as transaction:
                    table = transaction.table("T")
                    lying = table._addressed(self.schema.key)
                    rows = lying.rows.compact()
                    keys, places = self.keys_of(rows), rows.column(ADDRESS).to_pylist()
                    live = range(len(keys))
                    assert {repr(key) for key in keys} == self.model.keys() and len(keys) == len(self.model)
                    assert set(places) <= set(lying.addresses.to_pylist())
                    seen = dict(self.model)
                    chosen = self.data.draw(st.lists(st.sampled_from(live), unique=True)) if live else []
                    for _ in range(self.data.draw(st.integers(0, 2), label="writers")):
                        touched |= self.write()
                        self.settle()
                    addresses = np.array([places[i] for i in chosen], np.int64)
                    before = {repr(keys[i]): self.model.get(repr(keys[i])) for i in chosen}
                    if removes or not names:
                        assert table._remove_rows(lying, addresses) == len(chosen)
                        changed = dict.fromkeys(before)
                    else:
                        new = [
                            {n: self.data.draw(strategies.values(self.schema[n].type)) for n in names} for _ in chosen
                        ]
                        columns = [arrow_column([row[n] for row in new], self.schema[n].type) for n in names]
                        assert table._update_rows(lying, addresses, pa.table(columns, names=names)) == len(chosen)
                        changed = {
                            repr(keys[i]): {**(before[repr(keys[i])] or {}), **row}
                            for i, row in zip(chosen, new, strict=True)
                        }
            except TransactionConflictError:
                assert touched & before.keys()  # for a row that nobody has written it never fails
                return
        for key, value in changed.items():
            assert strategies.same(before[key], seen[key])  # else somebody's write would be lost
            if value is None:
                self.model.pop(key, None)
            else:
                self.model[key] = value

    def keys_of(self, rows: pa.Table) -> list[Any]:
        return keys_of_rows(self.schema, rows)

    def compare(self) -> None:
        assert len(self.table) == len(self.model)
        for key in self.keys:
            value = self.table.get(key)
            expected = self.model.get(repr(key))
            assert strategies.same(value, expected), (key, value, expected)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(strategies.schemas(), st.data())
def test_changes_where_rows_lie_agree_with_a_model(schema, data):
    with tempfile.TemporaryDirectory() as home, gridflow.connect(home) as grid:
        history = History(grid, schema, data)
        for _ in range(data.draw(st.integers(1, 4), label="steps")):
            history.write()
            history.settle()
            history.change()
            history.compare()
        assert not grid.check()


@pytest.mark.parametrize("order", ["as they lie", "by segment, backwards", "any"])
def test_many_rows_of_several_segments_come_in_any_order(grid, order):
    grid.open_grid._maintenance.stop()  # or it merges them
    table = grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")
    for first in range(3):
        ids = np.arange(first, 200_000, 3)
        table.load(pa.table({"ID": ids, "X": ids}))
    table.remove_all(range(0, 200_000, 11))
    table.flush()
    assert len(table.snapshot().segments()) == 3
    choose = np.random.default_rng(5)
    with grid.transaction(of_statement=True) as transaction:
        view = transaction.table("T")
        rows = view._addressed(["ID"])
        ids = np.concatenate([rows.rows.column("ID").to_numpy()])
        addresses = rows.addresses.to_numpy().astype(np.int64)
        live = np.flatnonzero((ids % 11 != 0) & (ids % 10 != 7))  # but some
        if order == "any":
            choose.shuffle(live)
        elif order != "as they lie":
            live = live[np.argsort(-(addresses[live] >> 32), kind="stable")]
        values = pa.table({"X": ids[live] * 5})
        with pytest.raises(gridflow.UsageError, match="twice"):
            twice = np.append(addresses[live][:-1], addresses[live][:1])
            view._update_rows(rows, twice, values)
        assert view._update_rows(rows, np.ascontiguousarray(addresses[live]), values) == len(live)
    read = table.to_arrow().sort_by("ID")
    expected = np.setdiff1d(np.arange(200_000), np.arange(0, 200_000, 11))
    assert np.array_equal(read["ID"], expected)
    assert np.array_equal(read["X"], np.where(expected % 10 == 7, expected, expected * 5))
