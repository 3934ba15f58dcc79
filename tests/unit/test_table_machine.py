"""A table behaves as a dict, whatever is flushed, merged, closed or crashed in between; and so does a reader's view."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import gridflow
import gridflow._native.store
import gridflow.storage.load
import gridflow.testing
from gridflow import DuplicateKeyError
from gridflow._native.store import DEFAULT_SMALL_BYTES, MOST_SMALL
from gridflow.registry import open_reader

SCHEMA = {"V": "INT", "S": "VARCHAR", "L": "LIST<INT>"}
VALUES = st.fixed_dictionaries(
    {
        "V": st.none() | st.integers(0, 5),
        "S": st.none() | st.text(max_size=3),
        "L": st.none() | st.lists(st.integers(0, 9), max_size=2),
    }
)


class TableMachine(RuleBasedStateMachine):
    """Rules write to the table and to ``model``, a dict of what must be in it."""

    key_columns: dict[str, str] = {"ID": "LONG"}
    keys: list[Any] = list(range(12))
    readers = False
    small_bytes = DEFAULT_SMALL_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[Any, dict] = {}
        self.tags: dict[str, tuple[int, dict[Any, dict]]] = {}  # tag -> its version, and what it must hold
        self.stack = contextlib.ExitStack()
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(gridflow.storage.load, "SEGMENT_BYTES", 200)
        patch.setattr(gridflow.storage.load, "ROWS_AT_ONCE", 5)
        patch.setattr(gridflow._native.store, "DEFAULT_SMALL_BYTES", self.small_bytes)
        patch.setattr(gridflow._native.store, "DEFAULT_LISTED_BYTES", 0)

    @initialize(partitions=st.sampled_from([1, 3, 1024]))
    def open(self, partitions: int) -> None:
        self.home: Path = self.stack.enter_context(gridflow.testing.temporary_home())
        self.grid = gridflow.connect(self.home / "0")
        self.stack.callback(lambda: self.grid.close())
        self.grid.create_table("OTHER", {"ID": "LONG"}, key="ID")
        columns = {**SCHEMA, **self.key_columns}
        self.table = self.grid.create_table("T", columns, key=list(self.key_columns), partitions=partitions)
        self.open_readers()

    def open_readers(self) -> None:
        self.reader = open_reader(self.grid.home) if self.readers else None

    def close_readers(self) -> None:
        if self.reader is not None:
            self.reader.close()

    def teardown(self) -> None:
        with self.stack:
            if hasattr(self, "grid"):
                self.compare_rows(self.table)
                expected = gridflow.testing.contents(self.grid)
                self.close_readers()
                self.grid.close()
                gridflow.testing.verify(self.grid.home, expected)

    def some_keys(self, data: st.DataObject, least: int = 0) -> list[Any]:
        return data.draw(st.lists(st.sampled_from(self.keys), min_size=least, max_size=8), label="keys")

    def rows(self, pairs: list[tuple[Any, dict]]) -> list[dict]:
        names = list(self.key_columns)
        return [{**dict(zip(names, k if len(names) > 1 else (k,), strict=True)), **v} for k, v in pairs]

    # ---- writes ----

    @rule(data=st.data(), value=VALUES)
    def put(self, data: st.DataObject, value: dict) -> None:
        key = self.some_keys(data, 1)[0]
        self.table.put(key, value)
        self.model[key] = value

    @rule(data=st.data(), values=st.lists(VALUES, min_size=8, max_size=8))
    def put_all(self, data: st.DataObject, values: list[dict]) -> None:
        pairs = list(zip(self.some_keys(data), values, strict=False))
        self.table.put_all(pairs)
        self.model.update(pairs)

    @rule(data=st.data(), value=VALUES, replace=st.booleans())
    def put_if(self, data: st.DataObject, value: dict, replace: bool) -> None:
        key = self.some_keys(data, 1)[0]
        written = (self.table.replace if replace else self.table.put_if_absent)(key, value)
        assert written == ((key in self.model) == replace)
        if written:
            self.model[key] = value

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        key = self.some_keys(data, 1)[0]
        assert self.table.remove(key) == (self.model.pop(key, None) is not None)

    @rule(data=st.data())
    def remove_all(self, data: st.DataObject) -> None:
        keys = self.some_keys(data)
        assert self.table.remove_all(keys) == len(self.model.keys() & set(keys))
        for key in keys:
            self.model.pop(key, None)

    @rule(data=st.data(), values=st.lists(VALUES, min_size=8, max_size=8), arrow=st.booleans(), insert=st.booleans())
    def load(self, data: st.DataObject, values: list[dict], arrow: bool, insert: bool) -> None:
        pairs = list(zip(self.some_keys(data), values, strict=False))
        rows: Any = self.rows(pairs)
        if arrow and rows:
            rows = {name: [row[name] for row in rows] for name in rows[0]}
        keys = [key for key, _ in pairs]
        if insert and (self.model.keys() & set(keys) or len(set(keys)) < len(keys)):
            with pytest.raises(DuplicateKeyError):
                self.table.load(rows, on_duplicate="error")
        else:
            self.table.load(rows, on_duplicate="error" if insert else "replace")
            self.model.update(pairs)

    @rule(data=st.data(), value=VALUES)
    def fail(self, data: st.DataObject, value: dict) -> None:
        key = self.some_keys(data, 1)[0]
        with pytest.raises(gridflow.SchemaError):
            self.table.put_all([(key, value), (key, {**value, "V": "x"})])
        with pytest.raises(gridflow.SchemaError):
            self.table.load(self.rows([(key, value), (key, {**value, "V": "x"})]))

    # ---- past versions ----

    @rule(tag=st.sampled_from(["v1", "v2", "best"]), replace=st.booleans())
    def tag(self, tag: str, replace: bool) -> None:
        unchanged = tag in self.tags and self.tags[tag][0] == self.table.flush()
        if tag in self.tags and not replace and not unchanged:
            with pytest.raises(gridflow.UsageError, match=f"has a tag {tag} already"):
                self.table.tag(tag)
        else:
            self.tags[tag] = self.table.tag(tag, replace=replace), dict(self.model)

    @rule(data=st.data())
    def untag(self, data: st.DataObject) -> None:
        if self.tags:
            tag = data.draw(st.sampled_from(sorted(self.tags)), label="tag")
            self.table.untag(tag)
            del self.tags[tag]

    @rule(count=st.integers(0, 3))
    def keep_versions(self, count: int) -> None:
        self.table.keep_versions(count)

    @rule()
    def truncate(self) -> None:
        assert self.table.truncate() == len(self.model)
        self.model.clear()

    # ---- what must not be seen ----

    @rule()
    def flush(self) -> None:
        self.table.flush()

    @rule()
    def compact(self) -> None:
        self.table.compact()

    @rule(at_rest=st.booleans())
    def _merge_some(self, at_rest: bool) -> None:
        self.table._merge_some(at_rest, lambda: False)

    @invariant()
    def few_segments_are_small(self) -> None:
        if hasattr(self, "table"):
            sizes = [size for _, _, _, size in self.table.snapshot().segments()]
            # One more where a merge in the background has made a segment small while others came in.
            assert sum(size < self.small_bytes for size in sizes) <= MOST_SMALL + 1

    @rule()
    def reopen(self) -> None:
        self.grid.close()
        self.grid = gridflow.connect(self.grid.home)
        self.table = self.grid.table("T")

    @rule()
    def crash(self) -> None:
        """Go on with what a kill at this moment would leave."""
        copy = self.home / str(int(self.grid.home.name) + 1)
        assert gridflow.testing._copy(self.grid, copy)
        self.close_readers()
        self.grid.close()
        self.grid = gridflow.connect(copy)
        self.table = self.grid.table("T")
        self.open_readers()

    @rule(i=st.integers(0, 100))
    def write_elsewhere(self, i: int) -> None:
        """The tables of a grid share a log."""
        self.grid.table("OTHER").put(i, {})
        if i % 3 == 0:
            self.grid.table("OTHER").flush()

    # ---- comparisons ----

    @rule()
    def compare(self) -> None:
        self.compare_rows(self.table)

    @invariant()
    def compare_by_key(self) -> None:
        if hasattr(self, "table"):
            self.compare_keys(self.table)
            if self.reader is not None:
                self.compare_keys(self.reader.table("T"))
                self.compare_rows(self.reader.table("T"))

    @invariant()
    def compare_tags(self) -> None:
        if hasattr(self, "table"):
            table = self.table if self.reader is None else self.reader.table("T")
            assert table.tags() == {tag: version for tag, (version, _) in self.tags.items()}
            assert {version for version, _ in self.tags.values()} <= set(table.versions())
            for tag, (version, rows) in self.tags.items():
                for snapshot in (tag, version):
                    assert self.shown(table.to_arrow(version=snapshot).to_pylist()) == self.shown_model(rows)

    def compare_keys(self, table: gridflow.Table) -> None:
        assert table.get_all(self.keys) == self.model
        for key in self.keys[:3]:
            assert (key in table) == (key in self.model)

    def compare_rows(self, table: gridflow.Table) -> None:
        assert len(table) == len(self.model)
        wanted = self.shown_model(self.model)
        assert self.shown(table.to_arrow().to_pylist()) == wanted
        assert self.shown([row for batch in table.scan(batch_size=2) for row in batch.to_pylist()]) == wanted

    def shown(self, rows: list[dict]) -> list[str]:
        return sorted(repr({name: row[name] for name in [*self.key_columns, *SCHEMA]}) for row in rows)

    def shown_model(self, model: dict[Any, dict]) -> list[str]:
        return self.shown(self.rows(list(model.items())))


class CompositeKeys(TableMachine):
    key_columns = {"A": "VARCHAR", "B": "DATE", "C": "FLOAT32"}
    keys = [(a, dt.date(2024, 1, b), c) for a in ("", "a", "ä\0") for b in (1, 2) for c in (0.0, 1.5)]


class WithReader(TableMachine):
    readers = True
    small_bytes = 0  # so that no flush takes a segment over, and there are many


class WithSmallerSegments(TableMachine):
    small_bytes = 1200  # of a few rows


class CompositeKeysWithReader(CompositeKeys):
    readers = True


MACHINES = [TableMachine, CompositeKeys, WithReader, WithSmallerSegments, CompositeKeysWithReader]


@pytest.mark.parametrize("machine", MACHINES)
def test_a_table_is_a_dict(machine):
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=40))


@pytest.mark.long
@pytest.mark.parametrize("machine", MACHINES)
def test_a_table_is_a_dict_for_long(machine):
    run_state_machine_as_test(machine, settings=settings(max_examples=1000, stateful_step_count=80))
