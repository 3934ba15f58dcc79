"""``increment``: the right sum of numbers of every kind, or an error of ours; and the other methods beside it."""

import decimal
import fractions
import threading

import numpy as np
import pytest

from gridflow.errors import ColumnNotFoundError, GridflowError, SchemaError, UsageError

D = decimal.Decimal
COLUMNS = {"ID": "LONG", "X": "INT", "L": "LONG", "F": "DOUBLE", "G": "FLOAT32", "DE": "DECIMAL(38,2)", "S": "VARCHAR"}


@pytest.fixture
def table(grid):
    return grid.create_table("T", COLUMNS, key="ID")


@pytest.mark.parametrize(
    ("column", "before", "by", "after"),
    [
        ("DE", D("123456789012345678901234567890123456.78"), D("0.01"), D("123456789012345678901234567890123456.79")),
        ("DE", D(1), np.float64(0.5), D("1.50")),
        ("DE", D(1), np.float32(0.1), D("1.10")),
        ("DE", D(1), fractions.Fraction(1, 2), D("1.50")),
        ("DE", D(1), np.int64(5), D("6.00")),
        ("L", 100, np.int8(100), 200),
        ("L", 1, np.uint64(2**63 - 2), 2**63 - 1),
        ("F", 1e8, np.float32(1), 1e8 + 1),
        ("F", 1.0, D("0.5"), 1.5),
        ("F", 1.0, fractions.Fraction(1, 2), 1.5),
        ("G", 1.0, np.int8(100), 101.0),
    ],
)
def test_an_amount_becomes_a_number_of_its_column_first(table, column, before, by, after):
    table.put(1, {column: before})
    table.put(2, {})
    assert table.increment(1, column, by) == after == table.get(1)[column]
    for key in (2, 3):  # null, and new
        alone = table.increment(key, column, by)
        assert alone == after - (D(str(before)) if column == "DE" else before) and type(alone) is type(
            table.get(1)[column]
        )


NO_AMOUNTS = {
    "X": [0.5, 1.0, D(1), 1j, True, None, "1", 10**5000],
    "L": [2**63],
    "F": [10**400, 1j, D("sNaN")],
    "G": [1e39],
    "DE": [fractions.Fraction(1, 3), float("nan"), D("inf"), D("0.001"), D("1e90"), D("1e999999"), 10**5000],
    "S": [1],
    "ID": [1],
}


@pytest.mark.parametrize("column", NO_AMOUNTS)
def test_an_amount_that_does_not_fit_is_a_schema_error(table, column):
    full = {"X": 1, "L": 1, "F": 1.0, "G": 1.0, "DE": D(1)}
    table.put(1, full)
    table.put(2, {})
    for by in NO_AMOUNTS[column]:
        for key in (1, 2, 3):
            with pytest.raises(SchemaError):
                table.increment(key, column, by)
    assert table.get(1) == {**full, "S": None} and table.get(3) is None


def test_increment_says_for_which_column_by_is(table):
    with pytest.raises(UsageError, match="names the column of by"):
        table.increment(1, by=5, X=1)
    with pytest.raises(UsageError, match="names column X twice"):
        table.increment(1, "X", by=5, **{"X": 1})
    assert table.increment(1, "X", 5, L=2) == {"X": 5, "L": 2}


def test_update_names_the_column_that_a_plain_value_does_not_have(grid, table):
    plain = grid.create_table("P", {"ID": "LONG", "_VAL": "LONG"}, key="ID")
    plain.put(1, 5)
    for names in ({"X": 1}, {"_VAL": 5, "X": 1}):
        with pytest.raises(ColumnNotFoundError, match="no column X"):
            plain.update(1, names)
    table.put(1, {"X": 1})
    with pytest.raises(UsageError, match="dict of columns"):
        table.update(1, [("X", 2)])
    assert plain.get(1) == 5 and table.get(1)["X"] == 1


def test_popitem_finds_a_row_though_others_pop_too(grid):
    table = grid.create_table("P", {"ID": "LONG", "_VAL": "LONG"}, key="ID")
    table.load({"ID": np.arange(80), "_VAL": np.arange(80)})
    popped, errors = [], []

    def pop():
        try:
            popped.extend(table.popitem() for _ in range(20))
        except GridflowError as error:
            errors.append(error)

    threads = [threading.Thread(target=pop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and sorted(popped) == [(i, i) for i in range(80)] and len(table) == 0


def test_a_cache_whose_table_was_dropped_begins_anew_by_every_method(grid):
    for name, call, result in (
        ("pop", lambda c: c.pop("a", None), None),
        ("setdefault", lambda c: c.setdefault("a", {"h": 2.5}), {"h": 2.5}),
        ("increment", lambda c: c.increment("a", "h", 2), 2),
        ("increment, columns", lambda c: c.increment("a", n=np.int8(100)), {"n": 100}),
        ("get_and_put", lambda c: c.get_and_put("a", {"h": 2}), None),
        ("get_and_remove", lambda c: c.get_and_remove("a"), None),
        ("get_and_replace", lambda c: c.get_and_replace("a", {"h": 2}), None),
        ("compare_and_set", lambda c: c.compare_and_set("a", {"h": 1}, {"h": 2}), False),
        ("items", lambda c: list(c.items()), []),
        ("values", lambda c: list(c.values()), []),
        ("keys", lambda c: list(c.keys()), []),
    ):
        cache = grid.cache("C")
        cache.put("a", {"h": 1})
        grid.drop_table("C")
        assert call(cache) == result, name
        grid.drop_table("C", if_exists=True)


def test_a_new_cache_is_not_made_of_an_amount_that_is_no_number(grid):
    for by in ("x", None, True):
        with pytest.raises(SchemaError, match="no number"):
            grid.cache("C").increment("a", "h", by)
    assert grid.tables() == []
    assert grid.cache("C").increment("a", by=np.int8(100)) == 100 and grid.cache("C").increment("a", by=100) == 200
