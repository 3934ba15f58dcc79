"""Zone maps: what they say of their segments, made and removed with those, and missed by nobody where damaged."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import scalars, values

import gridflow
import gridflow.testing
from gridflow import GridFullError
from gridflow._native import layout
from gridflow._native.store import set_failpoints
from gridflow.registry import open_reader
from gridflow.schema import Column, Type
from gridflow.sql.access import zones as access
from gridflow.storage import narrowing, table_zones, zone_file
from gridflow.storage.arrow import user_type
from gridflow.storage.index_keys import INDEXABLE, Interval, keys_of
from gridflow.storage.narrowing import ByExtremes, ByIntervals, ByKeyRange, Extreme
from gridflow.storage.python_columns import arrow_column
from gridflow.storage.ranks import is_exact, rank_of, ranks_of
from gridflow.storage.verify import check_home
from gridflow.transaction import TransactionTable

ROWS = 1000
MAX = "SELECT MAX(X) FROM T"


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    """Zones of 16 rows in segments of at least 100 rows, which are used even if they leave little out."""
    monkeypatch.setattr(layout, "ZONE_ROWS", 16)
    monkeypatch.setattr(zone_file, "LEAST_ROWS", 100)
    monkeypatch.setattr(narrowing, "_RANGE_COST", 0)
    monkeypatch.setattr(narrowing, "_MOST_SHARE", 1.0)


@pytest.fixture
def quiet(monkeypatch) -> Iterator[None]:
    """The background thread lets zone maps be: the test says when they are made."""
    monkeypatch.setattr(table_zones.TableZones, "settle", lambda self, verify=True: None)
    yield


def make(grid: gridflow.Grid, name: str = "T") -> gridflow.Table:
    """1,000 rows in one segment."""
    grid.sql(f"CREATE TABLE {name} (ID LONG PRIMARY KEY, X DOUBLE, S VARCHAR, PIX UINT8[2])")
    table = grid.table(name)
    ids = np.arange(ROWS)
    table.load({"ID": ids, "X": np.sqrt(ids), "S": [f"{i:04}" for i in ids], "PIX": np.zeros((ROWS, 2), np.uint8)})
    table.zones.settle()
    return table


def files(table: gridflow.Table) -> list[Path]:
    return sorted(table.folder.glob("*.zones"))


def path_of(grid: Any, text: str = MAX) -> str:
    """The first line of the plan of a query, without the columns."""
    return grid.sql("EXPLAIN " + text).fetchall()[0][0].split(", columns")[0]


# ---- ranks ----


@given(st.data())
def test_ranks_rise_as_keys_do(data):
    dtype = data.draw(scalars(tuple(sorted(INDEXABLE))))
    column = data.draw(st.lists(values(dtype), min_size=1, max_size=12))
    # Arrays may begin anywhere in their buffers.
    array = arrow_column(column, dtype).slice(data.draw(st.integers(0, len(column) - 1)))
    ranks, valid = ranks_of(array, dtype)
    keys = keys_of(array, dtype).to_pylist()
    assert ranks.dtype == np.uint64 and len(ranks) == len(keys)
    present = [i for i, key in enumerate(keys) if key is not None]
    assert present == (list(range(len(keys))) if valid is None else np.flatnonzero(valid).tolist())
    for i in present:
        assert rank_of(keys[i], dtype) == int(ranks[i])
        for j in present:
            if keys[i] < keys[j]:
                assert ranks[i] <= ranks[j] and (ranks[i] < ranks[j] or not is_exact(dtype))


# ---- what they say ----


@given(data=st.data())
def test_a_zone_map_says_what_is_in_each_zone(data):
    dtype = data.draw(scalars(tuple(sorted(INDEXABLE))))
    pool = data.draw(st.lists(values(dtype), min_size=1, max_size=8))
    count = data.draw(st.integers(1, 80))
    rows = {i: {"V": data.draw(st.sampled_from(pool))} for i in range(count)}
    with pytest.MonkeyPatch.context() as patch, gridflow.testing.temporary_home() as home:
        patch.setattr(layout, "ZONE_ROWS", 8)
        patch.setattr(zone_file, "LEAST_ROWS", 1)
        patch.setattr(zone_file, "_AT_ONCE", data.draw(st.sampled_from([1, 2, 64])))
        with gridflow.connect(home / "grid") as grid:
            table = grid.create_table("T", {"ID": "LONG", "V": dtype}, key="ID")
            table.put_all(rows)
            table.flush()
            table.zones.settle()
            snapshot = table.snapshot()
            known = table.zones.of(snapshot, 0).column(table.schema["V"].id)
            column = table.to_arrow(["V"])["V"]
            ranks, valid = ranks_of(pa.concat_arrays(column.chunks), table.schema["V"].type)
            present = np.ones(count, bool) if valid is None else valid
            for zone, begin in enumerate(range(0, count, 8)):
                its = [
                    int(rank)
                    for rank, is_there in zip(ranks[begin : begin + 8], present[begin : begin + 8], strict=True)
                    if is_there
                ]
                assert known.nulls[zone] == len(ranks[begin : begin + 8]) - len(its)
                if its:
                    assert (known.least[zone], known.most[zone]) == (min(its), max(its))
                    assert ranks[begin + known.least_row[zone]] == min(its)
                    assert ranks[begin + known.most_row[zone]] == max(its)
                else:
                    assert (known.least[zone], known.most[zone]) == (2**64 - 1, 0)
            assert grid.check() == []


def test_bytes_of_the_format(grid, monkeypatch):
    """Three rows in two zones: pins what ``zones_format.h`` draws."""
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, A INT, P UINT8[2])")
    grid.sql("INSERT INTO T VALUES (1, 5, NULL), (2, NULL, NULL), (3, -1, NULL)")
    table = grid.table("T")
    table.flush()
    assert table.to_arrow(["ID"])["ID"].to_pylist() == [3, 1, 2]
    monkeypatch.setattr(layout, "ZONE_ROWS", 2)
    columns = zone_file.zoned_columns(table.schema)
    data = zone_file.file_bytes(table.snapshot(), 0, columns, table.table_id).tobytes()
    assert data[:12] == b"GFZON\r\x1a\n\x01\x00\x00\x00"
    assert np.frombuffer(data, "<u8", 3, 16).tolist() == [len(data), 1, 3]
    assert np.frombuffer(data, "<u4", 6, 40).tolist() == [1, 2, 2, 0, 0, 0]
    assert np.frombuffer(data, "<u4,<u4,<u8", 2, 64).tolist() == [(1, 0, 128), (2, 0, 192)]
    zero = 1 << 63
    assert np.frombuffer(data, "<u8", 4, 128).tolist() == [zero + 1, zero + 2, zero + 3, zero + 2]
    assert np.frombuffer(data, "<u4", 2, 160).tolist() == [0, 0]
    assert np.frombuffer(data, "<u2", 4, 168).tolist() == [1, 0, 0, 0]
    assert np.frombuffer(data, "<u8", 4, 192).tolist() == [zero - 1, 2**64 - 1, zero + 5, 0]
    assert np.frombuffer(data, "<u4", 2, 224).tolist() == [0, 1]
    assert np.frombuffer(data, "<u2", 4, 232).tolist() == [0, 0, 1, 0]
    assert len(data) == 240


# ---- what is left out ----


def ranges_of(table: gridflow.Table, question: Any) -> set[int] | None:
    """The IDs of the rows that a narrowing leaves, deleted ones too."""
    found = table._narrow(question)
    if found is None:
        return None
    mapped = found._mapped(["ID"])
    return set(mapped.column("ID").to_pylist())


def test_no_zone_is_left_out_that_has_a_value_of_the_interval(grid):
    table = make(grid)
    column = table.schema["ID"]
    for low, high in ((0, 0), (10, 30), (999, 5000), (-5, -1), (2000, 3000)):
        left = ranges_of(table, ByIntervals(((column, (Interval(low, high),)),)))
        assert left is not None and set(range(max(low, 0), min(high + 1, ROWS))) <= left
    assert ranges_of(table, ByIntervals(((column, (Interval(2000, 3000),)),))) == set()
    assert ranges_of(table, ByIntervals(((column, ()),))) == set()
    assert ranges_of(table, ByIntervals(((table.schema["X"], (Interval(null=True),)),))) == set()
    many = ranges_of(table, ByIntervals(((column, tuple(Interval(i, i) for i in range(2000, 2020))),)))
    assert many == set()
    many = ranges_of(table, ByIntervals(((column, tuple(Interval(i, i) for i in range(100, 140))),)))
    assert set(range(100, 140)) <= many
    few = ranges_of(table, ByIntervals(((column, (Interval(0, 0), Interval(999, 999))),)))
    assert {0, 999} <= few and len(few) <= 4 * 16


@given(
    greatest=st.booleans(),
    count=st.integers(1, 40),
    gone=st.sets(st.integers(0, 199), max_size=190),
    ties=st.booleans(),
)
def test_the_first_rows_are_left_and_little_else(greatest, count, gone, ties):
    with pytest.MonkeyPatch.context() as patch, gridflow.testing.temporary_home() as home:
        patch.setattr(layout, "ZONE_ROWS", 8)
        with gridflow.connect(home / "grid") as grid:
            table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
            values = {i: (i * 7919) % 101 - 50 for i in range(200)}
            table.load({"ID": list(values), "V": np.array(list(values.values()), "i4")}, on_duplicate="replace")
            table.zones.settle()
            table.remove_all(gone)
            left = ranges_of(table, ByExtremes((Extreme(table.schema["V"], greatest, count, ties),)))
    live = sorted((values[i] for i in values.keys() - gone), reverse=greatest)
    if left is None:  # too few zones have a first row that is live
        return
    kept = sorted((values[i] for i in left - gone), reverse=greatest)
    assert kept[:count] == live[:count]
    if ties and len(live) >= count:
        last = live[count - 1]
        assert sum(values[i] == last for i in left - gone) == live.count(last)
    if not gone and not ties:
        assert len(left) <= 8 * count


def test_nulls_and_equal_rows_count_where_they_come_first(grid):
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, A INT)")
    ids = np.arange(ROWS)
    column = [None if i in (3, 701) else int(i // 250) if i % 50 else 9 for i in ids]  # 20 rows have a 9
    grid.table("T").load({"ID": ids, "A": pa.array(column, pa.int32())})
    grid.table("T").zones.settle()
    nines = range(0, ROWS, 50)
    for text, wanted in (
        ("A, ID LIMIT 3", [3, 701, 1]),
        ("A NULLS LAST, ID LIMIT 2", [1, 2]),
        ("A DESC, ID DESC LIMIT 2", [950, 900]),
        ("A DESC, ID LIMIT 2 OFFSET 19", [950, 751]),
        ("A DESC NULLS FIRST, ID LIMIT 3", [3, 701, 0]),
    ):
        assert [i for (i,) in grid.sql(f"SELECT ID FROM T ORDER BY {text}").fetchall()] == wanted, text
    assert {i for (i,) in grid.sql("SELECT ID FROM T ORDER BY A DESC LIMIT 5").fetchall()} <= {*nines}
    assert {i for (i,) in grid.sql("SELECT ID FROM T ORDER BY A LIMIT 2").fetchall()} == {3, 701}
    assert path_of(grid, "SELECT ID FROM T ORDER BY A DESC LIMIT 5").startswith("T: by zones (first by A DESC), ")
    assert path_of(grid, "SELECT ID FROM T ORDER BY A DESC, ID LIMIT 5").startswith("T: by zones (first by A DESC), ")


@given(low=st.integers(-30, 230), size=st.integers(0, 50), gone=st.sets(st.integers(0, 199)))
def test_keys_in_a_row_are_found_wherever_they_are(low, size, gone):
    with gridflow.testing.temporary_home() as home, gridflow.connect(home / "grid") as grid:
        table = grid.create_table("T", {"ID": "INT16", "V": "INT"}, key="ID")
        table.load({"ID": np.arange(150, dtype="i2")})
        table.load({"ID": np.arange(100, 200, dtype="i2")}, on_duplicate="replace")
        table.remove_all(gone)
        found = table._narrow(ByKeyRange(table.schema["ID"], low, low + size, True))
    assert found.exact
    assert sorted(found.take(["ID"])["ID"].to_pylist()) == [
        i for i in range(low, low + size + 1) if 0 <= i < 200 and i not in gone
    ]


@pytest.mark.parametrize("kind", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "DATE"])
def test_keys_at_the_ends_of_their_type(grid, kind):
    column = Column("ID", Type(kind, False), 1)
    dtype = np.dtype("int32" if kind == "DATE" else kind.lower())
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    table = grid.create_table("T", {"ID": kind, "V": "INT"}, key="ID")
    array = pa.array(
        np.array([least, least + 3, most - 2, most], dtype), user_type(column.type) if kind != "DATE" else None
    )
    table.load({"ID": array.view(pa.date32()) if kind == "DATE" else array})
    for low, high, count in (
        (least, least + 3, 2),
        (most - 2, most, 2),
        (most - 1, most, 1),
        (least + 1, least + 2, 0),
    ):
        found = table._narrow(ByKeyRange(table.schema["ID"], low, high, True))
        assert found.take(["ID"]).num_rows == count


def test_what_leaves_little_out_is_a_scan(grid, monkeypatch):
    table = make(grid)
    monkeypatch.setattr(narrowing, "_MOST_SHARE", 0.5)
    assert path_of(grid).startswith("T: by zones (MAX(X)), 16 of 1,000 rows")
    assert path_of(grid, "SELECT ID FROM T WHERE X >= 0 AND ID + 0 > 5") == "T: scan of 1,000 rows"
    monkeypatch.setattr(narrowing, "_RANGE_COST", 500)
    assert path_of(grid) == "T: scan of 1,000 rows"
    monkeypatch.setattr(narrowing, "_LOOKUPS", 10)
    assert "by key (ID), 25 keys in a row" in path_of(grid, "SELECT ID FROM T WHERE ID BETWEEN 1 AND 25")
    assert "by key" not in path_of(grid, "SELECT ID FROM T WHERE ID BETWEEN 1 AND 26")
    assert table._narrow(ByKeyRange(table.schema["ID"], 1, 26, True)) is None


# ---- made and removed ----


def test_files_follow_segments(grid):
    table = make(grid)
    (first,) = files(table)
    with table.zones.lock, table.lock:  # the background has to wait
        table.load({"ID": np.arange(ROWS, ROWS + 200), "X": np.arange(200.0)})
        assert grid.sql(MAX).fetchall() == [(199.0,)], "the new segment has no zone map yet"
        assert "by zones" in path_of(grid) and "216 of 1,200 rows" in path_of(grid)
    table.zones.settle()
    assert len(files(table)) == 2 and "16 of 1,200 rows" in path_of(grid)
    table.compact()
    table.zones.settle()
    (merged,) = files(table)
    assert merged != first and grid.sql(MAX).fetchall() == [(199.0,)]
    table.truncate()
    table.zones.settle()
    assert files(table) == [] and grid.sql(MAX).fetchall() == [(None,)]


def test_a_small_segment_has_none(grid):
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X DOUBLE)")
    table = grid.table("T")
    table.load({"ID": np.arange(99), "X": np.arange(99.0)})
    table.zones.settle()
    assert files(table) == [] and grid.sql(MAX).fetchall() == [(98.0,)] and path_of(grid) == "T: scan of 99 rows"


def test_made_on_the_way_out(home):
    with gridflow.connect(home / "grid") as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, X DOUBLE)")
        grid.table("T").put_all((i, {"X": i / 2}) for i in range(200))
    with open_reader(home / "grid") as reader:
        assert len(files(reader.table("T"))) == 1
        assert reader.sql(MAX).fetchall() == [(99.5,)] and "by zones" in path_of(reader)


def test_columns_come_and_go(grid):
    """A zone map stays where its table gets other columns; it says nothing of those that came later."""
    table = make(grid)
    (file,) = files(table)
    made = file.stat().st_mtime_ns
    grid.alter_table("T", rename={"X": "Y", "S": "X"}, add={"N": "INT"}, fill={"N": 5}, drop=["PIX"])
    table.put(ROWS, {"Y": 1e9, "X": "z", "N": 6})
    assert grid.sql("SELECT MAX(Y), MAX(X), MAX(N), MIN(N) FROM T").fetchall() == [(1e9, "z", 6, 5)]
    assert grid.sql("SELECT COUNT(*) FROM T WHERE N = 5 AND Y < 2").fetchall() == [(4,)]
    assert "by zones" in path_of(grid, "SELECT MIN(X) FROM T")
    grid.alter_table("T", drop=["Y"])
    assert grid.check() == [] and file.stat().st_mtime_ns == made
    table.compact()
    table.zones.settle()
    (merged,) = files(table)
    assert merged != file and "by zones (MAX(N))" in path_of(grid, "SELECT MAX(N) FROM T")


def test_dropped_with_its_table(grid):
    folder = make(grid).folder
    grid.sql("DROP TABLE T")
    assert not folder.exists()


def test_a_past_version_is_read_without(grid):
    """Its zone maps go when its segments are no longer the table's."""
    table = make(grid)
    table.tag("old")
    table.put(5000, {"X": 1e6})
    table.compact()
    table.zones.settle()
    assert len(files(table)) == 1
    assert table.to_arrow(["X"], version="old").num_rows == ROWS and grid.sql(MAX).fetchall() == [(1e6,)]


def test_a_reader_of_another_process_uses_them(home):
    with gridflow.connect(home / "grid") as grid, open_reader(home / "grid") as reader:
        table = make(grid)
        assert reader.sql(MAX).fetchall() == [(np.sqrt(999),)] and "by zones" in path_of(reader)
        with table.lock, table.zones.lock:
            table.put(7, {"X": 1e6})  # in the log alone
            assert reader.sql(MAX).fetchall() == [(1e6,)]
            assert reader.sql("SELECT COUNT(*) FROM T").fetchall() == [(ROWS,)]
            assert reader.sql("SELECT X FROM T WHERE ID BETWEEN 6 AND 7 ORDER BY ID").fetchall() == [
                (np.sqrt(6),),
                (1e6,),
            ]


# ---- damage and no room ----


def test_damage_costs_only_time(home, quiet):
    with gridflow.connect(home / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "DOUBLE"}, key="ID")
        table.load({"ID": np.arange(ROWS), "X": np.sqrt(np.arange(ROWS))})
        (sidecar,) = table.zones._wanted(table.snapshot())
        table.zones._make(table.snapshot(), sidecar)
        (file,) = files(table)
        sound = file.read_bytes()
    for at in [*range(0, 130, 7), len(sound) - 1]:
        data = bytearray(sound)
        data[at] ^= 4
        file.unlink()
        file.write_bytes(data)
        (problem,) = check_home(home / "grid")
        assert problem.file == str(file) and "makes it again" in problem.message
        with open_reader(home / "grid") as reader:
            assert reader.sql(MAX).fetchall() == [(np.sqrt(999),)] and "by zones" not in path_of(reader)
    for size in (0, 10, 64, len(sound) - 1):
        file.unlink()
        file.write_bytes(sound[:size])
        (problem,) = check_home(home / "grid")
        assert problem.file == str(file)
        with open_reader(home / "grid") as reader:
            assert reader.sql(MAX).fetchall() == [(np.sqrt(999),)]
    file.unlink()
    assert check_home(home / "grid") == []


def test_a_damaged_one_is_made_again(home):
    with gridflow.connect(home / "grid") as grid:
        (file,) = files(make(grid))
        sound = file.read_bytes()
    file.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with gridflow.connect(home / "grid") as grid:
        table = grid.table("T")
        assert grid.sql(MAX).fetchall() == [(np.sqrt(999),)]
        table.zones.settle()
        assert file.read_bytes() == sound and "by zones" in path_of(grid)


def test_another_segments_file_is_not_taken(home, quiet):
    with gridflow.connect(home / "grid") as grid:
        tables = [make(grid), make(grid, "U")]
        for table in tables:
            (sidecar,) = table.zones._wanted(table.snapshot())
            table.zones._make(table.snapshot(), sidecar)
        (file,), (other,) = map(files, tables)
    shutil.copy(other, file)
    with open_reader(home / "grid") as reader:
        assert "by zones" not in path_of(reader)
    (problem,) = check_home(home / "grid")
    assert "another segment's" in problem.message
    file.unlink()


def test_check_finds_wrong_values(home, quiet):
    """A file whose checksums are right and whose content is not."""
    with gridflow.connect(home / "grid") as grid:
        table = make(grid)
        (sidecar,) = table.zones._wanted(table.snapshot())
        table.zones._make(table.snapshot(), sidecar)
        (file,) = files(table)
    data = bytearray(file.read_bytes())
    at = int.from_bytes(data[64 + 8 : 64 + 16], "little")
    data[at] ^= 1
    from gridflow._native.files import block_checksum

    data[12:16] = block_checksum(bytes(data[16:])).to_bytes(4, "little")
    file.write_bytes(data)
    (problem,) = check_home(home / "grid")
    assert problem.file == str(file) and "values of column ID" in problem.message
    file.unlink()


def test_strangers_are_swept(home):
    with gridflow.connect(home / "grid") as grid:
        folder = make(grid).folder
    for name in ("0000000000000009.zones", "0000000000000001.zones.tmp"):
        (folder / name).write_bytes(b"left by a crash")
    with gridflow.connect(home / "grid") as grid:
        assert len(files(grid.table("T"))) == 1
    assert gridflow.testing.stray_files(home / "grid") == []


def test_no_room_for_a_zone_map(grid):
    table = make(grid)
    with table.zones.lock:  # the background has to wait
        table.load({"ID": np.arange(ROWS, ROWS + 200), "X": np.arange(200.0)})
        set_failpoints("file.written=full")
        try:
            with pytest.raises(GridFullError):
                table.zones.settle()
        finally:
            set_failpoints("")
        assert len(files(table)) == 1 and grid.sql(MAX).fetchall() == [(199.0,)]
        table.zones.settle()
        assert len(files(table)) == 2


def test_few_of_the_first_rows_are_enough_or_all_are_read(grid, monkeypatch):
    make(grid)
    monkeypatch.setattr(access, "_MORE_ZONES", 4)
    text = "SELECT ID FROM T WHERE ID % {} = 0 ORDER BY X DESC LIMIT 2"
    plan = path_of(grid, text.format(2))
    assert plan.startswith("T: by zones (first by X DESC), ") and "of 1,000 rows" in plan
    scans = []

    def scan(self: Any, names: Any, mapped: Any = TransactionTable._mapped) -> Any:
        scans.append(names)
        return mapped(self, names)

    monkeypatch.setattr(TransactionTable, "_mapped", scan)
    assert grid.sql(text.format(2)).fetchall() == [(998,), (996,)] and scans == []
    assert grid.sql(text.format(7000)).fetchall() == [(0,)] and scans == [["ID", "X"]]
    for step in range(1, 200):
        wanted = [(i,) for i in range(999 // step * step, -1, -step)][:2]
        assert grid.sql(text.format(step)).fetchall() == wanted, step
    assert 50 < len(scans) < 199
    assert grid.sql("EXPLAIN " + text.format(2)).fetchall()[0][0].endswith("; if these are too few: scan of 1,000 rows")


@pytest.mark.parametrize(
    ("kind", "value", "aggregate", "order"),
    [
        ("BOOLEAN", False, "MAX", "DESC"),
        ("LONG", -(1 << 63), "MAX", "DESC"),
        ("LONG", (1 << 63) - 1, "MIN", ""),
        ("DOUBLE", float("nan"), "MIN", ""),
    ],
)
def test_a_null_is_not_taken_for_an_extreme_value(grid, many_segments, kind, value, aggregate, order):
    grid.sql(f"CREATE TABLE T (ID LONG PRIMARY KEY, X {kind})")
    table = grid.table("T")
    table.load({"ID": np.arange(ROWS), "X": [value if i % 5 == 0 else None for i in range(ROWS)]})
    table.zones.settle()
    table.remove_all(range(50, ROWS, 5))
    table.flush()
    assert "by zones" in path_of(grid, f"SELECT {aggregate}(X) FROM T")
    (row,) = grid.sql(f"SELECT {aggregate}(X) FROM T").fetchall()
    assert repr(row) == repr((value,))
    first = grid.sql(f"SELECT X FROM T ORDER BY X {order} NULLS LAST LIMIT 2").fetchall()
    assert repr(first) == repr([(value,)] * 2)


def test_a_damaged_zone_map_is_made_again_in_the_background(grid):
    table = make(grid)
    (path,) = files(table)
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    grid.sql(MAX)
    deadline = time.monotonic() + 60
    while path.read_bytes() != sound and time.monotonic() < deadline:
        table._wake_maintenance()
        time.sleep(0.05)
    assert path.read_bytes() == sound
