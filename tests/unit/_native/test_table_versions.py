"""What several threads, and several modules that are one process, may do to a table at once."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable

import pytest

import gridflow
from gridflow import DuplicateKeyError, Grid, TransactionConflictError
from gridflow._native.changes import Changes

KEY = (uuid.UUID(int=1), uuid.UUID(int=2))


@pytest.fixture
def altered(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once it is called, the next UUID that is decoded gives another thread the time to alter T, whose columns go."""

    def arm() -> None:
        def decode(*args, **named):
            monkeypatch.setattr(uuid, "UUID", type(KEY[0]))
            grid.alter_table("T", add={"Y": "INT"})
            gc.collect()
            reuse.extend(bytearray(b"\xff" * size) for size in range(64, 900) for _ in range(3))
            return uuid.UUID(*args, **named)

        monkeypatch.setattr(uuid, "UUID", decode)

    reuse: list[bytearray] = []  # of the memory that is free by then
    return arm


@pytest.fixture
def table(grid: Grid) -> gridflow.Table:
    table = grid.create_table("T", {"U": "UUID", "V": "UUID", "X": "LONG"}, key=("U", "V"))
    table.put(KEY, {"X": 1})
    return table


def test_a_conflict_is_named_though_the_table_is_altered_meanwhile(table, altered):
    changes = Changes(table)
    changes.put_all([(KEY, {"X": 2})])
    operations, digests = changes.operations()
    columns = {table.table_id: changes.columns}
    del changes
    table.put(KEY, {"X": 3})
    altered()
    with pytest.raises(TransactionConflictError) as error:
        table.store._commit_checked(operations, digests, columns)
    assert f"table T: the row under key {KEY!r} was changed" in str(error.value)


def test_a_duplicate_is_named_though_the_table_is_altered_meanwhile(table, altered):
    operation = table._encode_put(KEY, {"X": 2})
    digest = table.codec.digest
    altered()
    with pytest.raises(DuplicateKeyError) as error:
        table._commit_encoded(operation, "insert", digest)
    assert str(error.value) == f"table T has a row under key {KEY!r} already"
