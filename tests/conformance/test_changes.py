"""UPDATE and DELETE of few rows and of many, embedded and served, agree with a model."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from kind_samples import SAMPLES
from strategies import same

import gridflow
from gridflow.storage.load import MOST_LOGGED

ROWS = 2 * MOST_LOGGED  # half of them go past the log


def contents(table: Any) -> dict[int, tuple[Any, ...]]:
    rows = table.to_arrow()
    columns = [column.to_pylist() for column in rows.columns]
    return {row[0]: row[1:] for row in zip(*columns, strict=True)}


@pytest.mark.parametrize("seed", range(4))
def test_a_history_of_statements_agrees_with_a_model(grid, seed):
    """Each row is (A, B, S); S is null where its A was even when it was set."""
    chance = random.Random(seed)
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, A INT, B DOUBLE, S VARCHAR)")
    model = {i: (i % 100, i / 2, None if i % 7 == 0 else f"row {i}") for i in range(ROWS)}
    table = grid.table("T")
    table.load(pa.table([list(model), *zip(*model.values(), strict=True)], names=["ID", "A", "B", "S"]))
    for step in range(12):
        kind = chance.choice(["update", "update", "delete", "insert", "flush", "compact", "put"])
        modulus, low = chance.choice([1, 2, 10, 100]), chance.randrange(ROWS)
        rest = chance.randrange(modulus)
        where = f"MOD(ID, {modulus}) = {rest} AND ID >= {low}"
        chosen = [key for key in model if key % modulus == rest and key >= low]
        if kind == "update":
            sets = chance.choice(["A = A + 1, S = CASE WHEN MOD(A, 2) = 1 THEN 'set ' || ID END", "B = B + A"])
            assert grid.sql(f"UPDATE T SET {sets} WHERE {where}").rowcount == len(chosen)
            for key in chosen:
                a, b, s = model[key]
                model[key] = (a, b + a, s) if sets[0] == "B" else (a + 1, b, f"set {key}" if a % 2 == 1 else None)
        elif kind == "delete":
            assert grid.sql(f"DELETE FROM T WHERE {where} AND MOD(A, 3) = 0").rowcount == sum(
                model[key][0] % 3 == 0 for key in chosen
            )
            for key in chosen:
                if model[key][0] % 3 == 0:
                    del model[key]
        elif kind == "insert":
            first = (step + 1) * 100_000
            count = grid.sql(f"INSERT INTO T SELECT ID + {first}, A, B, S FROM T WHERE {where}").rowcount
            assert count == len(chosen)
            model.update({key + first: model[key] for key in chosen})
        elif kind == "put":
            table.put(low, {"A": 1, "B": 0.5, "S": None})
            model[low] = (1, 0.5, None)
        else:
            getattr(table, kind)()
        assert contents(table) == model


@pytest.mark.parametrize("rows", [10, ROWS])
@pytest.mark.parametrize("after", ["flush", "compact"])
def test_columns_that_are_not_set_stay_as_they_are(grid, rows, after):
    """Of every kind, null or not, of rows that are written by number and through the log."""
    kinds = {f"C_{kind}": text for kind, (text, _) in SAMPLES.items()}
    table = grid.create_table("T", {"ID": "LONG", "N": "INT", **kinds}, key="ID")
    sample = {f"C_{kind}": value for kind, (_, value) in SAMPLES.items()}
    nothing = dict.fromkeys(sample)
    table.load({"ID": i, "N": i, **(nothing if i % 5 == 0 else sample)} for i in range(rows))
    grid.sql("DELETE FROM T WHERE MOD(ID, 4) = 3")
    getattr(table, after)()
    assert grid.sql("UPDATE T SET N = N + 1").rowcount == rows - len(range(3, rows, 4))
    for i in (*range(10), rows - 1):
        expected = None if i % 4 == 3 else {"N": i + 1, **(nothing if i % 5 == 0 else sample)}
        assert same(table.get(i), expected)


@pytest.mark.parametrize("rows", [10, ROWS])
def test_a_deleted_row_is_not_looked_at(grid, rows):
    """It lies among the others still, and what is worked out of it may fail."""
    table = grid.create_table("T", {"ID": "LONG", "N": "INT", "S": "VARCHAR"}, key="ID")
    table.load({"ID": i, "N": 0, "S": "no number" if i % 2 else str(i)} for i in range(rows))
    table.flush()
    with pytest.raises(gridflow.GridflowError, match="no number"):
        grid.sql("UPDATE T SET N = CAST(S AS INT) WHERE CAST(S AS INT) >= 0")
    grid.sql("DELETE FROM T WHERE MOD(ID, 2) = 1")
    table.flush()
    assert grid.sql("UPDATE T SET N = CAST(S AS INT) WHERE CAST(S AS INT) >= 0").rowcount == rows // 2
    assert grid.sql("SELECT SUM(N) FROM T").fetchall() == [(sum(range(0, rows, 2)),)]
    within = "EXISTS (SELECT 1 FROM T U WHERE U.ID = CAST(T.S AS INT))"
    assert grid.sql(f"UPDATE T SET N = 1 WHERE {within}").rowcount == rows // 2
    assert grid.sql("DELETE FROM T WHERE CAST(S AS INT) > 2 LIMIT 1").rowcount == 1


@pytest.mark.parametrize("rows", [10, ROWS])
def test_nothing_is_changed_where_a_value_does_not_fit(grid, rows):
    table = grid.create_table("T", {"ID": "LONG", "N": "INT NOT NULL", "D": "TIME"}, key="ID")
    table.load({"ID": i, "N": i, "D": None} for i in range(rows))
    with pytest.raises(gridflow.SchemaError, match="column N INT32 NOT NULL: a null is not allowed"):
        grid.sql("UPDATE T SET N = NULLIF(N, 5)")
    with pytest.raises(gridflow.SchemaError, match="column N"):
        grid.sql("UPDATE T SET N = N + 3000000000")
    assert grid.sql("SELECT SUM(N) FROM T").fetchall() == [(sum(range(rows)),)]


def test_rows_of_a_large_update_may_change_in_a_transaction_and_be_taken_back(grid):
    table = grid.create_table("T", {"ID": "LONG", "N": "INT"}, key="ID")
    table.load({"ID": i, "N": i} for i in range(ROWS))
    grid.sql("BEGIN")
    grid.sql("UPDATE T SET N = N + 1")
    grid.sql("DELETE FROM T WHERE N > 10")
    assert grid.sql("SELECT COUNT(*), SUM(N) FROM T").fetchall() == [(10, 55)]
    assert len(table) == ROWS
    grid.sql("ROLLBACK")
    assert grid.sql("SELECT COUNT(*), SUM(N) FROM T").fetchall() == [(ROWS, sum(range(ROWS)))]
    grid.sql("BEGIN; UPDATE T SET N = N + 1; DELETE FROM T WHERE N > 10; COMMIT")
    assert grid.sql("SELECT COUNT(*), SUM(N) FROM T").fetchall() == [(10, 55)]


def test_values_go_in_and_out_by_their_place(grid):
    table = grid.create_table("T", {"ID": "LONG", "S": "VARCHAR", "N": "INT"}, key="ID")
    codec = table.codec
    assert table._insert_values(codec, (0, 2, -1), (None, None, 5), (1, "other", "text"))
    assert not table._insert_values(codec, (0, 2, -1), (None, None, 6), (1, "other", "text"))
    for _ in range(2):
        assert table.get(1) == {"S": "text", "N": 5}
        assert table._select_values(codec, (1, -1, 0, 1), 1) == (5, 1, "text", 5)
        assert table._select_values(codec, (0,), 2) is None
        table.flush()  # the second time of a segment
    with pytest.raises(gridflow.SchemaError, match="column N"):
        table._insert_values(codec, (0, 1, 2), (None, None, None), (2, "text", "no number"))
    grid.alter_table("T", drop=["S"])
    table = grid.table("T")
    for call in (
        lambda: table._select_values(codec, (0,), 1),
        lambda: table._insert_values(codec, (0, 1, 2), (None, None, None), (2, "text", 1)),
    ):
        with pytest.raises(gridflow.SchemaError, match="other columns"):
            call()


@pytest.mark.parametrize("seed", range(3))
def test_many_keys_are_found_wherever_their_rows_lie(grid, seed):
    """In several segments, in memory, overwritten, removed, never there; asked for twice; in the order of the keys."""
    chance = random.Random(seed)
    table = grid.create_table("T", {"ID": "VARCHAR", "N": "INT"}, key="ID")
    model: dict[str, Any] = {}
    for step in range(6):
        keys = [f"key {chance.randrange(300)}" for _ in range(60)]
        rows = {key: {"N": step} for key in keys}
        table.put_all(rows)
        model.update(rows)
        table.remove_all(keys[:10])
        for key in keys[:10]:
            model.pop(key, None)
        if step < 5:
            table.flush()
    asked = [f"key {chance.randrange(400)}" for _ in range(500)]
    expected = {key: model[key] for key in asked if key in model}
    assert list(table.get_all(iter(asked)).items()) == list(expected.items())
    assert table.get_all([]) == {}
    with pytest.raises(gridflow.SchemaError, match="column ID"):
        table.get_all(["key 1", 2])
