"""Scans, Arrow views and partitions: every row exactly once, and nothing copied."""

from __future__ import annotations

import decimal
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridflow import ColumnNotFoundError, SchemaError
from gridflow._native.snapshot import RUN, RowPlan, Snapshot
from gridflow.storage import scan
from gridflow.table import partition_ranges
from gridflow.testing import temporary_home, verified

pytestmark = pytest.mark.usefixtures("many_segments")

COLUMNS = {"ID": "LONG", "N": "VARCHAR", "P": "UINT8[2,2]"}


def rows(ids) -> dict:
    ids = np.asarray(ids)
    pixels = np.broadcast_to((ids % 251).astype(np.uint8)[:, None, None], (len(ids), 2, 2))
    return {"ID": ids, "N": [f"row {i}" for i in ids], "P": np.ascontiguousarray(pixels)}


@pytest.fixture
def table(grid):
    """10,000 rows with a prime number of partitions, in several segments, with gaps of every size, and in memory."""
    table = grid.create_table("T", COLUMNS, key="ID", partitions=97)
    for start in range(0, 8000, 2000):
        table.load(rows(range(start, start + 2000)))
    table.load(rows(range(500, 1500)), on_duplicate="replace")
    table.remove_all(range(100, 200))
    table.remove_all(range(3000, 5000, 2))
    table.flush()
    table.put_all((i, {"N": f"row {i}", "P": np.full((2, 2), i % 251, np.uint8)}) for i in range(8000, 10000))
    return table


EXPECTED = sorted({*range(10_000)} - {*range(100, 200)} - {*range(3000, 5000, 2)})


def ids(batches) -> list[int]:
    return sorted(i for batch in batches for i in batch["ID"].to_pylist())


@pytest.mark.parametrize("batch_size", [1, 7, 1000, 65536, 1 << 40])
def test_every_row_once_in_batches_of_any_size(table, batch_size):
    batches = list(table.scan(batch_size=batch_size))
    assert ids(batches) == EXPECTED and max(batch.num_rows for batch in batches) <= batch_size
    for batch in batches:
        batch.validate(full=True)
        numbers = np.asarray(batch["ID"])
        assert batch["N"].to_pylist() == [f"row {i}" for i in numbers]
        assert (batch["P"].to_numpy_ndarray() == (numbers % 251)[:, None, None]).all()


def test_columns_come_in_the_order_asked_for(table):
    assert table.to_arrow().schema.names == ["ID", "N", "P"]
    assert next(table.scan(["P", "ID"])).schema.names == ["P", "ID"]
    assert table.to_arrow("N").schema.names == ["N"]
    none = table.to_arrow([])
    assert none.num_columns == 0 and sum(batch.num_rows for batch in table.scan([])) == len(EXPECTED)
    for action in (lambda: table.to_arrow(["ID", "M"]), lambda: table.scan("M")):
        with pytest.raises(ColumnNotFoundError, match="no column M; there are ID, N, P"):
            action()
    with pytest.raises(SchemaError, match="batch_size is at least 1"):
        table.scan(batch_size=0)


def test_a_scan_of_partitions_holds_their_rows_and_no_others(table):
    by_partition: dict[int, list[int]] = {p: [] for p in range(97)}
    for i in EXPECTED:
        by_partition[table.partition_of(i)].append(i)
    for partition in range(97):
        assert ids(table.scan(partitions=partition)) == by_partition[partition]
    chosen = [5, 96, 0, 1, 2, 6, 5]
    assert ids(table.scan(partitions=chosen)) == sorted(i for p in set(chosen) for i in by_partition[p])
    assert ids(table.scan(partitions=np.arange(97))) == EXPECTED
    assert list(table.scan(partitions=[])) == []
    info = table.partitions()
    assert [p for p, _, _ in info] == list(range(97))
    assert [found.rows for found in info] == [len(by_partition[p]) for p in range(97)]
    assert all(found.bytes >= found.rows * 12 for found in info)
    assert sum(found.rows for found in info) == len(table)


@pytest.mark.parametrize("bad", [-1, 97, [0, 97], 0.5, True, "0", [None]])
def test_partitions_that_are_not_there(table, bad):
    with pytest.raises(SchemaError, match="table T has partitions 0 to 96, not"):
        list(table.scan(partitions=bad))


@settings(max_examples=50)
@given(st.integers(1, 1 << 20), st.lists(st.integers(), max_size=30, unique=True), st.data())
def test_any_count_of_partitions_splits_the_rows(count, numbers, data):
    numbers = [i % (1 << 62) for i in numbers]
    with temporary_home() as home, verified(home) as grid:
        table = grid.create_table("T", {"ID": "LONG"}, key="ID", partitions=count)
        table.put_all((i, {}) for i in numbers)
        where = {i: table.partition_of(i) for i in numbers}
        assert all(0 <= p < count for p in where.values())
        cut = data.draw(st.integers(0, count))
        for begin, end in ((0, cut), (cut, count)):
            found = ids(table.scan(partitions=range(begin, end))) if end - begin < 2000 else None
            assert found is None or found == sorted(i for i, p in where.items() if begin <= p < end)
        for i in numbers[:5]:
            assert i in ids(table.scan(partitions=where[i]))


@given(st.lists(st.integers(0, 40), max_size=30))
def test_ranges_hold_what_was_chosen(chosen):
    ranges = partition_ranges(chosen, 41, "T")
    assert [p for first, last in ranges for p in range(first, last)] == sorted(set(chosen))
    assert all(a[1] < b[0] for a, b in zip(ranges, ranges[1:], strict=False))


# ---- views ----


def buffers(array: pa.Array) -> list[pa.Buffer]:
    found = [b for b in array.buffers() if b is not None and b.size]
    return found


def mapped(folder) -> list[tuple[int, int]]:
    with open("/proc/self/maps") as maps:
        spans = [line.split()[0].split("-") for line in maps if str(folder) in line and ".seg" in line]
    return [(int(first, 16), int(last, 16)) for first, last in spans]


def test_arrow_columns_are_views_of_the_mapped_segments(grid):
    columns = {**COLUMNS, "B": "BOOL", "L": "LIST<STRUCT<A INT, M MAP<STRING, UUID>>>", "D": "DECIMAL(5,2)"}
    table = grid.create_table("V", columns, key="ID")
    table.load(rows(range(5000)))
    table.put(1, {"N": "new", "L": [{"A": 1, "M": None}]})
    whole, again = table.to_arrow(), table.to_arrow()
    spans = mapped(table.folder)
    for name in columns:
        for chunk, second in zip(whole[name].chunks, again[name].chunks, strict=True):
            here, there = ([b.address for b in buffers(getattr(c, "storage", c))] for c in (chunk, second))
            assert here and here == there, f"column {name} was copied"
            for buffer in buffers(getattr(chunk, "storage", chunk)):
                inside = any(first <= buffer.address and buffer.address + buffer.size <= last for first, last in spans)
                assert inside, f"column {name} has a buffer outside of the segments"
                assert not buffer.is_mutable


def test_views_stay_what_they_were(grid):
    """Whatever happens to the table, to its files and to the grid."""
    table = grid.create_table("V", COLUMNS, key="ID")
    table.load(rows(range(5000)))
    view, scan = table.to_arrow(), table.scan(batch_size=100)
    first = next(scan)
    table.load(rows(range(2500)), on_duplicate="replace")
    table.remove_all(range(4000))
    table.compact()
    assert len(table) == 1000
    seen = [first, *scan]
    assert ids(seen) == list(range(5000)), "a scan is of one version"
    grid.drop_table("V")
    grid.close()
    assert sorted(view["ID"].to_pylist()) == list(range(5000))
    numbers = np.asarray(view["ID"])
    assert (view["P"].combine_chunks().to_numpy_ndarray() == (numbers % 251)[:, None, None]).all()


def test_an_empty_table_has_the_schema_of_a_full_one(grid):
    table = grid.create_table("V", {**COLUMNS, "U": "UUID", "L": "LIST<STRING NOT NULL> NOT NULL"}, key="ID")
    empty = table.to_arrow()
    assert list(table.scan()) == [] and empty.num_rows == len(table) == 0
    assert empty.schema.field("P").type == pa.fixed_shape_tensor(pa.uint8(), [2, 2])
    assert empty.schema.field("U").type == pa.uuid() and not empty.schema.field("ID").nullable
    table.put(1, {"L": []})
    assert table.to_arrow().schema == next(table.scan()).schema == empty.schema
    assert sum(found.rows for found in table.partitions()) == 1


def test_a_map_column_without_any_pair(grid):
    """pyarrow before 26 ends the process over a map's keys that might have nulls, as no keys at all seemed to."""
    table = grid.create_table("M", {"ID": "LONG", "M": "MAP<STRING, INT>"}, key="ID")
    table.put_all({1: {"M": None}, 2: {"M": {}}})
    (batch,) = table.scan()
    keys = batch["M"].keys
    assert (len(keys), keys.null_count) == (0, 0)
    assert sorted(batch["M"].to_pylist(), key=str) == [None, []]


@pytest.mark.parametrize(
    "part", ["INT", "VARCHAR", "UUID", "UINT8[2]", "INT[]", "MAP(INT, INT)", "STRUCT(B DATE NOT NULL)"]
)
def test_rows_from_before_a_struct_came_have_no_nulls_within_it(grid, part):
    """A struct that is null has something in the fields that are never null: else Arrow would not cast it."""
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    table.load({"ID": np.arange(3)})
    grid.sql(f"ALTER TABLE T ADD COLUMN S STRUCT(A {part} NOT NULL, N INT)")
    column = table.to_arrow().column("S")
    assert column.null_count == 3
    assert column.cast(column.type).to_pylist() == [None] * 3


# --- runs ---

NESTED = {
    "ID": "LONG",
    "N": "VARCHAR",
    "P": "UINT8[2,2]",
    "U": "UUID",
    "D": "DECIMAL(9,2)",
    "B": "BOOL",
    "L": "LIST<INT>",
    "S": "STRUCT<W INT, H STRING>",
    "M": "MAP<STRING, LIST<LONG>>",
}


def nested_row(i: int) -> dict:
    return {
        "N": None if i % 7 == 0 else f"row {i}",
        "P": np.full((2, 2), i % 251, np.uint8),
        "U": uuid.UUID(int=i),
        "D": decimal.Decimal(i) / 4,
        "B": i % 3 == 0,
        "L": None if i % 5 == 0 else [i] * (i % 4),
        "S": {"W": i, "H": str(i)},
        "M": {"a": [i], "b": []},
    }


@pytest.fixture
def snapshot(grid) -> Snapshot:
    """Rows of every kind in three segments with gaps, the last of which has a column that the others have not."""
    table = grid.create_table("NESTED", NESTED, key="ID", partitions=10)
    for start in (0, 400):
        table.put_all((i, nested_row(i)) for i in range(start, start + 500))
        table.flush()
    grid.sql("ALTER TABLE NESTED ADD COLUMN LATER INT")
    table = grid.table("NESTED")
    table.put_all((i, {**nested_row(i), "LATER": i}) for i in range(850, 1000))
    table.remove_all(range(0, 1000, 9))
    table.flush()
    return Snapshot.open(str(grid.home), table.table_id)


def test_a_plan_has_every_live_row_of_its_partitions_once(snapshot):
    whole = RowPlan.make(snapshot, [(0, 10)])
    assert whole.rows == snapshot.rows == whole.runs()["count"].sum() and whole.partitions == ((0, 10),)
    parts = [RowPlan.make(snapshot, [(6, 10), (6, 7)]), RowPlan.make(snapshot, [(0, 3), (2, 6), (4, 4)])]
    assert [plan.partitions for plan in parts] == [((6, 10),), ((0, 6),)]
    read = [scan.read_runs(snapshot, [0], plan.runs())["ID"].to_pylist() for plan in (whole, *parts)]
    assert sorted(read[1] + read[2]) == sorted(read[0]) == sorted(set(range(1000)) - set(range(0, 1000, 9)))
    assert RowPlan.make(snapshot, []).rows == 0 and RowPlan.make(snapshot, []).runs().tolist() == []
    with pytest.raises(SchemaError, match="no partitions 0 to 10"):
        RowPlan.make(snapshot, [(0, 11)])


@pytest.mark.parametrize("long_run", [1, 2, 3, 5, 40, 1 << 20])
@pytest.mark.parametrize("order", ["as they lie", "mixed", "reversed"])
def test_runs_are_read_in_their_order_however_long_they_are(snapshot, monkeypatch, long_run, order):
    monkeypatch.setattr(scan, "_LONG_RUN", long_run)
    runs = RowPlan.make(snapshot, [(0, 2), (3, 9)]).runs()
    assert len(set(runs["segment"])) == 3 and len(runs) > 100
    if order != "as they lie":
        runs = np.random.default_rng(0).permutation(runs) if order == "mixed" else runs[::-1]
    positions = list(range(len(snapshot.schema.columns)))
    one_by_one = pa.Table.from_batches(
        [scan.export_batch(snapshot, segment, positions, at, at + count) for segment, at, count in runs.tolist()]
    )
    together = scan.read_runs(snapshot, positions, runs)
    together.validate(full=True)
    assert together.schema == one_by_one.schema and together.to_pylist() == one_by_one.to_pylist()
    assert scan.read_runs(snapshot, [], runs).num_rows == scan.read_runs(snapshot, [3], runs).num_rows == len(together)


def test_no_runs_are_no_rows(snapshot):
    assert scan.read_runs(snapshot, [0, 1], np.empty(0, RUN)).num_rows == 0
    assert scan.read_runs(snapshot, [0, 1], np.empty(0, RUN)).schema.names == ["ID", "N"]
    assert scan.read_runs(snapshot, [], np.empty(0, RUN)).num_rows == 0


def test_long_runs_are_views(grid):
    table = grid.create_table("LONG", {"ID": "LONG"}, key="ID")
    table.load({"ID": np.arange(100_000)})
    snapshot = Snapshot.open(str(grid.home), table.table_id)
    before = pa.total_allocated_bytes()
    ids = scan.read_runs(snapshot, [0], RowPlan.make(snapshot, [(0, table.partitions_count)]).runs())
    assert ids.num_rows == 100_000 and pa.total_allocated_bytes() - before < 10_000
