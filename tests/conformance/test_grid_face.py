"""The face of Grid and Table: the same tests over an embedded grid and one that another process serves."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import gridflow

KITTENS = {"ID": "LONG", "NAME": "VARCHAR", "PIXELS": "UINT8[2,3]"}


@pytest.fixture
def table(grid):
    return grid.create_table("KITTENS", KITTENS, key="ID")


def pixels(count: int) -> np.ndarray:
    return np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)


# ---- the grid ----


def test_tables_are_made_found_listed_and_dropped(grid):
    assert grid.tables() == []
    made = grid.create_table("B", KITTENS, key="ID", partitions=7, options={"cache_name": "CATS"})
    grid.create_table("A", {"X": "INT", "Y": "VARCHAR", "V": "DOUBLE"}, key=("Y", "X"))
    assert grid.tables() == ["A", "B"]
    assert grid.table("A").schema.key == ("Y", "X")
    for name in ("B", "SQL_PUBLIC_B", "CATS"):
        found = grid.table(name)
        assert (found.name, found.table_id, found.partitions_count) == ("B", made.table_id, 7)
    assert str(found.schema) == str(made.schema)
    grid.drop_table("B")
    assert grid.tables() == ["A"]
    with pytest.raises(gridflow.TableNotFoundError, match="no table B .* there is A"):
        grid.table("B")
    with pytest.raises(gridflow.TableNotFoundError):
        grid.drop_table("B")
    grid.drop_table("B", if_exists=True)


def test_a_table_that_exists_is_an_error_unless_that_is_fine(grid, table):
    with pytest.raises(gridflow.TableExistsError, match="KITTENS"):
        grid.create_table("KITTENS", KITTENS, key="ID")
    same = grid.create_table("KITTENS", dict(reversed(KITTENS.items())), key="ID", if_not_exists=True)
    assert same.schema.names == list(KITTENS)
    count = table.partitions_count
    assert grid.create_table("KITTENS", KITTENS, "ID", count, if_not_exists=True).table_id == table.table_id
    grid.sql("CREATE TABLE IF NOT EXISTS KITTENS (OTHER INT PRIMARY KEY)")  # Ignite asks for nothing more


@pytest.mark.parametrize(
    "columns, key, message",
    [
        ({"OTHER": "INT"}, "OTHER", r"it has no column OTHER; it has a column ID, too; .*its key is \(ID\) and not"),
        ({**KITTENS, "NAME": "INT"}, "ID", "column NAME is STRING and not INT32"),
        ({**KITTENS, "NAME": "VARCHAR NOT NULL"}, "ID", "column NAME is STRING and not STRING NOT NULL"),
        ({"ID": "LONG", "NAME": "VARCHAR"}, "ID", "it has a column PIXELS, too"),
        (KITTENS, ("ID", "NAME"), r"its key is \(ID\) and not \(ID, NAME\)"),
    ],
)
def test_another_table_was_taken_for_the_one_that_is_asked_for(grid, table, columns, key, message):
    with pytest.raises(gridflow.SchemaError, match=f"table KITTENS is there and another one: .*{message}"):
        grid.create_table("KITTENS", columns, key=key, if_not_exists=True)
    with pytest.raises(gridflow.SchemaError, match=f"has {table.partitions_count} partitions, not 7"):
        grid.create_table("KITTENS", KITTENS, "ID", 7, if_not_exists=True)


def test_an_empty_table_was_false(grid, table):
    assert table and grid.table("KITTENS") and grid.cache("CATS")
    with grid.transaction() as transaction:
        assert transaction.table("KITTENS")


def test_impossible_tables_are_refused(grid):
    with pytest.raises(gridflow.SchemaError):
        grid.create_table("T", {"ID": "LONG"}, key="ID", partitions=0)
    with pytest.raises(gridflow.SchemaError, match="no type LNOG"):
        grid.create_table("T", {"ID": "LNOG"}, key="ID")
    with pytest.raises(gridflow.ColumnNotFoundError):
        grid.create_table("T", {"ID": "LONG"}, key="IDD")
    assert grid.tables() == []


def test_a_table_made_anew_is_not_the_old_one(grid, table):
    table.put(1, {"NAME": "old"})
    grid.drop_table("KITTENS")
    with pytest.raises(gridflow.TableNotFoundError):
        table.put(2, {"NAME": "lost"})
    fresh = grid.create_table("KITTENS", KITTENS, key="ID")
    with pytest.raises(gridflow.TableNotFoundError):
        table.put(2, {"NAME": "lost"})
    assert len(fresh) == 0 and fresh.get(1) is None


def test_a_closed_grid_says_so(grid):
    table = grid.create_table("T", KITTENS, key="ID")
    other = gridflow.connect(grid.home)
    other_table = other.table("T")
    other.close()
    actions = [other.tables, other.flush, lambda: other.table("T")]
    if not grid.owner:  # embedded, a table is that of all handles, and closes with the last
        actions += [lambda: other_table.put(1, {}), lambda: other_table.get(1)]
    for action in actions:
        with pytest.raises(gridflow.GridClosedError):
            action()
    table.put(1, {"NAME": "still open"})


# ---- by key ----


def test_put_get_remove(table):
    table.put(1, {"NAME": "WARM", "PIXELS": pixels(1)[0]})
    value = table.get(1)
    assert value["NAME"] == "WARM"
    np.testing.assert_array_equal(value["PIXELS"], pixels(1)[0])
    assert table[1]["NAME"] == "WARM" and 1 in table and table.contains(1) and 2 not in table
    table.put(1, {"NAME": "SOFT"})
    assert table.get(1) == {"NAME": "SOFT", "PIXELS": None}
    assert table.remove(1) is True and table.remove(1) is False
    assert table.get(1) is None and table.get(1, "none") == "none"
    with pytest.raises(gridflow.KeyNotFoundError, match="no row under key 1"):
        table[1]


def test_conditional_writes(table):
    assert table.replace(1, {"NAME": "a"}) is False
    assert table.put_if_absent(1, {"NAME": "b"}) is True
    assert table.put_if_absent(1, {"NAME": "c"}) is False
    assert table.get(1)["NAME"] == "b"
    assert table.replace(1, {"NAME": "d"}) is True
    assert table.get(1)["NAME"] == "d"


def test_many_keys_at_once(table):
    table.put_all({i: {"NAME": str(i)} for i in range(100)})
    table.put_all((i, {"NAME": f"n{i}"}) for i in range(50, 60))
    table.put_all({})
    assert {k: v["NAME"] for k, v in table.get_all([3, 55, 1000]).items()} == {3: "3", 55: "n55"}
    assert table.remove_all([0, 1, 1, 5000]) == 2
    assert table.remove_all([]) == 0
    assert len(table) == 98


def test_insert_all_writes_all_rows_or_none(table):
    table.insert_all({1: {"NAME": "a"}, 2: {"NAME": "b"}})
    with pytest.raises(gridflow.DuplicateKeyError, match="key 2"):
        table.insert_all([(3, {"NAME": "c"}), (2, {"NAME": "d"})])
    assert len(table) == 2 and table.get(2)["NAME"] == "b"


def test_one_bad_row_keeps_all_of_a_commit_out(table):
    with pytest.raises(gridflow.SchemaError, match="NAME"):
        table.put_all([(1, {"NAME": "good"}), (2, {"NAME": 3})])
    assert table.get(1) is None and len(table) == 0


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (1, {"NAM": "x"}, gridflow.ColumnNotFoundError),
        (1, {"PIXELS": np.zeros((3, 2), np.uint8)}, gridflow.SchemaError),
        ("one", {"NAME": "x"}, gridflow.SchemaError),
        (None, {"NAME": "x"}, gridflow.SchemaError),
        (1 << 70, {"NAME": "x"}, gridflow.SchemaError),
    ],
)
def test_what_does_not_fit_is_refused(table, key, value, error):
    with pytest.raises(error):
        table.put(key, value)
    assert len(table) == 0


EVERYTHING = {
    "B": ("BOOL", True),
    "I8": ("INT8", -128),
    "U64": ("UINT64", 2**64 - 1),
    "F16": ("FLOAT16", 0.5),
    "F64": ("DOUBLE", 1e300),
    "DEC": ("DECIMAL(20,2)", decimal.Decimal("-123456789.25")),
    "S": ("VARCHAR", "früh ✓"),
    "RAW": ("BINARY", b"\x00\xff"),
    "D": ("DATE", dt.date(2024, 2, 29)),
    "T": ("TIME", dt.time(23, 59, 59, 999999)),
    "TS": ("TIMESTAMP", dt.datetime(2024, 2, 29, 1, 2, 3, 4)),
    "TZ": ("TIMESTAMP_TZ", dt.datetime(2024, 2, 29, tzinfo=dt.timezone.utc)),
    "U": ("UUID", uuid.UUID(int=7)),
    "L": ("LIST<VARCHAR>", ["a", None, "c"]),
    "M": ("MAP<VARCHAR, INT>", {"a": 1, "b": None}),
    "ST": ("STRUCT<X INT, Y LIST<STRUCT<Z DOUBLE>>>", {"X": None, "Y": [{"Z": 1.5}]}),
}


def test_every_type_comes_back_by_key_and_in_bulk(grid):
    types = {"ID": "LONG", **{name: text for name, (text, _) in EVERYTHING.items()}}
    table = grid.create_table("T", types, key="ID")
    value = {name: item for name, (_, item) in EVERYTHING.items()}
    nulls = dict.fromkeys(value)
    table.put_all({1: value, 2: nulls})
    assert table.load([{"ID": 3, **value}, {"ID": 4, **nulls}, {"ID": 5}]) == 3
    assert table.load(table.to_arrow(), on_duplicate="replace") == 5
    for key in (1, 3):
        assert table.get(key) == value
    for key in (2, 4, 5):
        assert table.get(key) == nulls


def test_keys_of_several_columns_and_of_every_kind(grid):
    columns = {"A": "VARCHAR", "B": "DATE", "C": "UUID", "_VAL": "INT"}
    table = grid.create_table("T", columns, key=("A", "B", "C"))
    key = ("x", dt.date(2024, 1, 1), uuid.UUID(int=1))
    table.put(key, 5)
    assert table.get(key) == 5 and table[key] == 5
    with pytest.raises(gridflow.SchemaError):
        table.get(("x", None, uuid.UUID(int=1)))


def test_a_cache_of_nested_values(grid):
    cache = grid.cache("PICTURES")
    assert cache.get("kitten") is None and len(cache) == 0
    picture = {"metadata": {"width": 3, "tags": ["soft"]}, "pixels": pixels(1)[0]}
    cache.put("kitten", picture)
    got = cache.get("kitten")
    assert got["metadata"] == picture["metadata"]
    np.testing.assert_array_equal(got["pixels"], picture["pixels"])
    assert cache.put_if_absent("kitten", picture) is False
    with pytest.raises(gridflow.StructureError, match="the cache holds"):
        cache.put("puppy", {"metadata": 3, "pixels": picture["pixels"]})
    assert len(cache) == 1 and cache.remove("kitten")


# ---- in bulk ----


def load_kinds():
    ids = np.arange(10)
    names = [f"n{i}" for i in range(10)]
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels(10))
    table = pa.table({"ID": ids, "NAME": names, "PIXELS": tensor})
    yield "arrow table", table
    yield "record batch", table.to_batches()[0]
    yield "reader", table.to_reader(max_chunksize=3)
    yield "numpy", {"ID": ids, "NAME": np.array(names), "PIXELS": pixels(10)}
    yield "pandas", pd.DataFrame({"ID": ids, "NAME": names, "PIXELS": list(pixels(10))})
    rows = [{"ID": i, "NAME": n, "PIXELS": p} for i, n, p in zip(range(10), names, pixels(10), strict=True)]
    yield "dicts", rows
    yield "generator", (row for row in rows)


@pytest.mark.parametrize("kind", [name for name, _ in load_kinds()])
def test_bulk_load_of_every_kind_of_data(table, kind):
    table.put(5, {"NAME": "replaced"})
    seen = []
    assert table.load(dict(load_kinds())[kind], on_duplicate="replace", progress=seen.append) == 10
    assert seen[-1] == 10
    assert len(table) == 10
    for i in range(10):
        assert table.get(i)["NAME"] == f"n{i}"
        np.testing.assert_array_equal(table.get(i)["PIXELS"], pixels(10)[i])


def test_a_load_that_meets_a_key_twice_writes_nothing(table):
    table.put(3, {"NAME": "first"})
    with pytest.raises(gridflow.DuplicateKeyError, match="key 3"):
        table.load({"ID": [1, 2, 3], "NAME": ["a", "b", "c"]}, on_duplicate="error")
    with pytest.raises(gridflow.DuplicateKeyError, match="key 7"):
        table.load({"ID": [7, 8, 7], "NAME": ["a", "b", "c"]}, on_duplicate="error")
    assert len(table) == 1 and table.get(3)["NAME"] == "first"
    assert table.load({"ID": [1, 2], "NAME": ["a", "b"]}, on_duplicate="error") == 2


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"ID": [1], "NAM": ["x"]}, gridflow.ColumnNotFoundError),
        ({"NAME": ["x"]}, gridflow.SchemaError),
        ({"ID": [None], "NAME": ["x"]}, gridflow.SchemaError),
        (pa.table({"ID": [1], "NAME": [1.5], "PIXELS": ["x"]}), gridflow.SchemaError),
        ([{"ID": 1, "NAM": "x"}], gridflow.ColumnNotFoundError),
        ([{"ID": 1, "PIXELS": np.zeros((3, 3), np.uint8)}], gridflow.SchemaError),
        ([{"ID": 1, "PIXELS": [[1, 2, 3], [4, 5, 600]]}], gridflow.SchemaError),
        ([{"NAME": "x"}], gridflow.SchemaError),
        ([1, 2], gridflow.SchemaError),
        (5, gridflow.SchemaError),
    ],
)
def test_a_load_that_does_not_fit_keeps_nothing(table, data, error):
    with pytest.raises(error):
        table.load(data)
    assert len(table) == 0


def test_an_error_of_the_data_itself_passes_through_and_nothing_is_kept(table):
    def rows():
        yield {"ID": 1}
        raise OSError("the disk with the rows is gone")

    with pytest.raises(OSError, match="the disk with the rows is gone"):
        table.load(rows())
    assert len(table) == 0


def test_loads_of_nothing(table):
    assert table.load([]) == 0
    assert table.load(pa.table({"ID": pa.array([], pa.int64())})) == 0
    with pytest.raises(gridflow.UsageError, match="on_duplicate is error, replace or ignore"):
        table.load([], on_duplicate="upsert")


# ---- reading all ----


def test_scan_and_to_arrow_see_every_acknowledged_write(table):
    for i in range(20):
        table.put(i, {"NAME": str(i), "PIXELS": pixels(20)[i]})
        assert table.to_arrow(["ID"]).num_rows == i + 1
    whole = table.to_arrow()
    assert whole.column_names == list(KITTENS)
    assert whole.schema.field("PIXELS").type == pa.fixed_shape_tensor(pa.uint8(), (2, 3))
    assert sorted(whole["ID"].to_pylist()) == list(range(20))
    batches = list(table.scan(["NAME", "ID"], batch_size=3))
    assert all(b.num_rows <= 3 and b.schema.names == ["NAME", "ID"] for b in batches)
    assert sum(b.num_rows for b in batches) == 20
    with pytest.raises(gridflow.ColumnNotFoundError):
        table.to_arrow(["NOPE"])


def test_partitions_divide_the_rows(table):
    table.load({"ID": np.arange(5000), "NAME": ["x"] * 5000})
    infos = table.partitions()
    assert len(infos) == 1024 and sum(p.rows for p in infos) == 5000
    first = sum(b.num_rows for b in table.scan(["ID"], partitions=range(100)))
    assert first == sum(p.rows for p in infos[:100])
    assert table.partition_of(17) in range(1024)
    with pytest.raises(gridflow.SchemaError, match="partitions 0 to 1023"):
        list(table.scan(partitions=1024))


def test_flush_compact_and_versions(grid, table):
    table.put(1, {"NAME": "a"})
    before = table.flush()
    assert table.version() == before
    for i in range(3):
        table.put(i, {"NAME": "b"})
        table.flush()
    table.remove(0)
    table.compact()
    stats = table.stats()
    assert (stats["rows"], stats["segments"], stats["deleted"], stats["memory_rows"]) == (2, 1, 0, 0)
    assert table.version() > before
    grid.flush()


def test_what_was_mapped_stays_while_the_table_changes(table):
    table.load({"ID": np.arange(100), "NAME": ["old"] * 100})
    mapped = table.to_arrow()
    table.load({"ID": np.arange(100), "NAME": ["new"] * 100}, on_duplicate="replace")
    table.compact()
    assert set(mapped["NAME"].to_pylist()) == {"old"}
    assert set(table.to_arrow(["NAME"])["NAME"].to_pylist()) == {"new"}


# ---- SQL ----


def test_sql_changes_and_queries(grid):
    assert grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, NAME VARCHAR)").statement == "CREATE TABLE"
    result = grid.sql("INSERT INTO T VALUES (1, 'one'), (2, ?)", ["two"])
    assert (result.rowcount, result.statement, result.columns) == (2, "INSERT", [])
    assert grid.table("T").get(2) == {"NAME": "two"}
    assert grid.sql("UPDATE T SET NAME = :n WHERE ID = 1", {"n": "uno"}).rowcount == 1
    result = grid.sql("SELECT ID, NAME FROM T ORDER BY ID")
    assert result.columns == ["ID", "NAME"] and result.fetchall() == [(1, "uno"), (2, "two")]
    assert grid.sql("DELETE FROM T WHERE ID = 1; SELECT COUNT(*) FROM T").fetchall() == [(1,)]
    grid.sql("DROP TABLE T")
    assert grid.tables() == []


def test_sql_takes_parameters_of_every_type(grid):
    columns = ", ".join(f"{name} {text}" for name, (text, _) in EVERYTHING.items())
    grid.sql(f"CREATE TABLE T (ID LONG PRIMARY KEY, {columns}, PIXELS UINT8[2,3])")
    simple = {n: v for n, (_, v) in EVERYTHING.items() if n not in ("M", "ST")}
    names = ", ".join(["ID", *simple, "PIXELS"])
    marks = ", ".join("?" * (len(simple) + 2))
    grid.sql(f"INSERT INTO T ({names}) VALUES ({marks})", [1, *simple.values(), pixels(1)[0]])
    got = grid.table("T").get(1)
    np.testing.assert_array_equal(got["PIXELS"], pixels(1)[0])
    assert {n: got[n] for n in simple} == simple


def test_sql_errors_keep_their_class(grid, table):
    table.put(1, {"NAME": "a"})
    for text, error in (
        ("SELEC 1", gridflow.SqlError),
        ("SELECT * FROM KITTEN", gridflow.TableNotFoundError),
        ("DELETE FROM KITTEN", gridflow.TableNotFoundError),
        ("UPDATE KITTENS SET NAM = 1", gridflow.ColumnNotFoundError),
        ("INSERT INTO KITTENS (ID) VALUES (1)", gridflow.DuplicateKeyError),
        ("CREATE TABLE KITTENS (ID LONG PRIMARY KEY)", gridflow.TableExistsError),
    ):
        with pytest.raises(error):
            grid.sql(text)
    assert len(table) == 1
