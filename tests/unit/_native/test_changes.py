"""What a transaction has written, before it is committed."""

from __future__ import annotations

import ctypes
import random

import pytest

from gridflow import DuplicateKeyError, SchemaError
from gridflow._native.changes import Changes


@pytest.fixture
def changes(grid):
    table = grid.create_table("T", {"ID": "LONG", "X": "LONG"}, key="ID")
    table.put(1, {"X": 1})
    return Changes(table)


def test_a_duplicate_comes_before_a_value_that_does_not_fit(changes):
    with pytest.raises(DuplicateKeyError):
        changes.put_all([(1, {"X": "no number"})], "error")
    with pytest.raises(SchemaError):
        changes.put_all([(2, {"X": "no number"})], "error")
    assert changes.changed == 0


class Heap(ctypes.Structure):
    """What glibc says of its heap."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks")
    ] + [("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t)]


def test_a_small_write_takes_little_memory(changes):
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        pytest.skip("this C library does not say what is allocated")
    mallinfo.restype = Heap
    count = 20_000

    def work() -> int:
        before = mallinfo().uordblks + mallinfo().hblkhd
        for i in range(10, 10 + count):
            changes.put_all([(i, {"X": i})])
        return mallinfo().uordblks + mallinfo().hblkhd - before

    # The operation, 29 bytes, what owns it, and its place in the table: 165 in all.
    assert work() < 240 * count


def test_count_is_that_of_all_it_sees(grid):
    choose = random.Random(3)
    table = grid.create_table("C", {"ID": "LONG", "X": "LONG"}, key="ID")
    rows: set[int] = set()
    for step in range(40):
        for _ in range(10):
            key = choose.randrange(60)
            if choose.random() < 0.6:
                table.put(key, {"X": step})
                rows.add(key)
            else:
                table.remove(key)
                rows.discard(key)
        if step % 5 == 0:
            table.flush()
        with grid.transaction() as transaction:
            own = set(rows)
            view = transaction.table("C")
            for key in choose.sample(range(60), 5):
                view.put(key, {"X": 0})
                own.add(key)
            for key in choose.sample(range(60), 5):
                view.remove(key)
                own.discard(key)
            assert len(view) == len(own) == view.snapshot().rows
            transaction.rollback()
        assert len(table) == len(rows)
