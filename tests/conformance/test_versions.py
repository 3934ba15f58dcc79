"""Tags and past versions of a table, embedded and served."""

from __future__ import annotations

import decimal
import time

import numpy as np
import pytest

import gridflow
from gridflow import UsageError, VersionNotFoundError
from gridflow.stored_table import flush


@pytest.fixture
def table(grid):
    table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID")
    table.load({"ID": np.arange(100), "X": np.zeros(100, "i4")})
    return table


def rows(table, snapshot=None):
    """Key -> X of a version, read in both ways."""
    whole = table.to_arrow(version=snapshot)
    pieces = [row for batch in table.scan(batch_size=7, version=snapshot) for row in batch.to_pylist()]
    assert sorted(whole.to_pylist(), key=lambda row: row["ID"]) == sorted(pieces, key=lambda row: row["ID"])
    return dict(zip(whole["ID"].to_pylist(), whole["X"].to_pylist(), strict=True))


def test_a_tag_holds_what_was_acknowledged_before_it(table):
    table.put(1, {"X": 1})
    version = table.tag("v1")
    assert version == table.version() == table._snapshot_version("v1")
    table.put(1, {"X": 2})
    table.remove(2)
    assert rows(table, "v1") == {**dict.fromkeys(range(100), 0), 1: 1}
    assert rows(table)[1] == 2 and 2 not in rows(table)


def test_a_tag_outlives_every_change_of_the_table(grid, table):
    before = rows(table)
    version = table.tag("v1")
    table.put_all((i, {"X": i}) for i in range(0, 100, 3))
    table.compact()
    assert rows(table, "v1") == rows(table, version) == before
    table.truncate()
    grid.alter_table("T", drop=["X"], add={"Y": "DOUBLE"})
    table.put(1, {"Y": 0.5})
    table.compact()
    assert rows(table, "v1") == before
    assert table.to_arrow().to_pylist() == [{"ID": 1, "Y": 0.5}]
    assert list(table.scan(["ID", "X"], partitions=range(512), version="v1"))
    assert grid.check() == []


def test_a_tag_is_moved_only_where_that_is_asked_for(table):
    first = table.tag("best")
    assert table.tag("best") == first, "nothing has changed since"
    table.put(1, {"X": 1})
    with pytest.raises(UsageError, match=f"table T has a tag best already, of version {first}; .*replace=True"):
        table.tag("best")
    assert table.tags() == {"best": first}
    second = table.tag("best", replace=True)
    assert second > first and table.tags() == {"best": second} and rows(table, "best")[1] == 1
    with pytest.raises(VersionNotFoundError):
        rows(table, first)


def test_a_version_goes_with_its_last_tag(table):
    version = table.tag("a")
    assert table.tag("b") == version and table.tags() == {"a": version, "b": version}
    table.truncate()
    assert table.stats()["kept_versions"] == 1 and table.stats()["kept_bytes"] > 800
    table.untag("a")
    assert len(rows(table, "b")) == 100
    table.untag("b")
    assert table.tags() == {} and table.stats()["kept_versions"] == table.stats()["kept_bytes"] == 0
    for gone in ("a", "b", version):
        with pytest.raises(VersionNotFoundError):
            table.to_arrow(version=gone)


@pytest.mark.parametrize("name", ["", "12", "x" * 256, 7, None, "a\0", "a\nb", "a, b", " a", "\x1b[2J", "\ud800"])
def test_impossible_tags_are_refused(table, name):
    with pytest.raises(UsageError, match="cannot be a tag"):
        table.tag(name)
    assert table.tags() == {}


def test_what_is_not_there_is_said_with_what_is(table):
    with pytest.raises(VersionNotFoundError, match="table T has no tag v9; there are none yet"):
        table.untag("v9")
    version = table.tag("v1")
    table.put(1, {"X": 1})
    table.flush()
    there = rf"its tags are v1 \(version {version}\), the past versions that are kept {version}, the current one is \d+"
    with pytest.raises(VersionNotFoundError, match=f"table T has no tag V1; {there}"):
        table.scan(version="V1")
    for number in (version - 1, 10**6, -1, 0, True, 1.5, float(version)):
        with pytest.raises(VersionNotFoundError, match=f"table T has no version {number!r} that is kept; {there}"):
            table._snapshot_version(number)
    with pytest.raises(VersionNotFoundError, match="did you mean v1"):
        table.untag("V1")
    with pytest.raises(KeyError):
        table.untag("V1")


def test_the_last_versions_are_kept_by_number(grid):
    table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID", keep_versions=2)
    made = {}
    for i in range(6):
        table.load([{"ID": i, "X": i}])
        made[table.version()] = i + 1
        current = table.version()
        assert table.versions() == [v for v in range(1, current + 1) if current - v <= 2]
        for version in table.versions():
            assert len(rows(table, version)) == made.get(version, 0)
            assert table._snapshot_version(np.int64(version)) == version
    with pytest.raises(VersionNotFoundError):
        rows(table, current - 3)
    table.keep_versions(1)
    assert table.versions() == [current - 1, current]
    tagged = table.tag("v1")
    table.keep_versions(0)
    assert tagged == current and table.versions() == [current]
    table.truncate()
    assert table.versions() == [current, current + 1] and len(rows(table, current)) == 6


@pytest.mark.parametrize("count", [-1, True, 1.0, "2", None, 1 << 31])
def test_impossible_numbers_of_versions_are_refused(grid, table, count):
    with pytest.raises(UsageError, match="keep_versions is a number"):
        table.keep_versions(count)
    with pytest.raises(UsageError, match="keep_versions is a number"):
        grid.create_table("U", {"ID": "LONG"}, key="ID", keep_versions=count)
    assert grid.tables() == ["T"]


def test_a_table_made_anew_has_no_tags(grid, table):
    table.tag("v1")
    grid.drop_table("T")
    for what in (table.tags, table.versions, lambda: table.tag("v2"), lambda: table.untag("v1")):
        with pytest.raises(gridflow.TableNotFoundError):
            what()
    with pytest.raises(gridflow.TableNotFoundError):
        table.to_arrow(version="v1")
    fresh = grid.create_table("T", {"ID": "LONG"}, key="ID")
    assert fresh.tags() == {}


def test_a_reader_sees_tags_and_cannot_set_them(grid, table):
    table.tag("v1")
    with gridflow.connect(grid.home, read_only=True) as other:
        seen = other.table("T")
        table.tag("v2")
        table.truncate()
        assert seen.tags() == table.tags() and seen.versions() == table.versions()
        assert len(rows(seen, "v1")) == 100 and rows(seen) == {}
        for change in (lambda: seen.tag("v3"), lambda: seen.untag("v1"), lambda: seen.keep_versions(2)):
            with pytest.raises(gridflow.GridAccessError):
                change()
        table.untag("v1")
        table.untag("v2")
        with pytest.raises(VersionNotFoundError):
            seen.to_arrow(version="v1")


def test_versions_are_shown_in_sql(grid, table):
    version = table.tag("b")
    table.tag("a")
    table.truncate()
    shown = grid.sql("SELECT * FROM SYS.TABLE_VERSIONS ORDER BY VERSION").fetchall()
    size = table.stats()["kept_bytes"]
    assert shown == [
        ("PUBLIC", "T", version, False, "a, b", 100, 1, size),
        ("PUBLIC", "T", version + 1, True, None, 0, 0, 0),
    ]
    assert grid.sql("SELECT BYTES, KEPT_VERSIONS, KEPT_BYTES FROM SYS.TABLES").fetchall() == [(0, 1, size)]
    stored = "SELECT \"VALUE\" FROM SYS.METRICS WHERE NAME = 'io.datastorage.StorageSize'"
    assert grid.sql(stored).fetchall() == [(size,)]


def test_options_are_apart_from_versions(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID", options={"mine": 1}, keep_versions=3)
    version = table.tag("v1")
    assert grid.table("T").options == {"mine": 1}
    with pytest.raises(UsageError, match=r"SYS.VERSIONS cannot be an option"):
        grid.create_table("U", {"ID": "LONG"}, key="ID", options={"SYS.VERSIONS": {}})
    grid.sql("ALTER TABLE T ADD COLUMN X INT DEFAULT 7")
    assert table.tags() == {"v1": version} and "SYS.VERSIONS" not in grid.table("T").options


# ---- what only a reader had made ----


def reads(grid, table):
    """What a reader may do, each of which has writes flushed where there is a writer."""
    len(table)
    table.to_arrow()
    next(table.scan(), None)
    table.partitions()
    grid.sql("SELECT SUM(X) FROM T WHERE X > 0").fetchall()
    grid.sql("SELECT COUNT(*) FROM T").fetchall()
    grid.sql("SELECT * FROM SYS.TABLES").fetchall()
    flush(str(grid.home), "T")  # as a dataset does that is made and counted


def test_len_used_up_the_versions_that_are_kept(grid):
    """Each read after a write flushed, and so pushed an older version out of those that keep_versions keeps."""
    table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID", keep_versions=2)
    made = []
    for i in range(3):
        table.load([{"ID": i, "X": i}])
        made.append(table.version())
    if not grid.owner:  # where nobody can keep the background flush away, which may come once a second
        table.keep_versions(1000)
        start, before = time.monotonic(), len(table.versions())
        for i in range(20):
            table.put(i, {"X": -i})
            reads(grid, table)
        assert len(table.versions()) - before <= time.monotonic() - start + 2
        return
    with table.lock:  # the background flush has to wait
        for i in range(5):
            table.put(i, {"X": -i})
            reads(grid, table)
        seen = table.version()
        assert seen > made[2] + 1 and table.versions() == [made[1], made[2], seen]
        assert len(rows(table, made[1])) == 2 and len(rows(table, made[2])) == 3
        table.load([{"ID": 100, "X": 100}])
        assert table.versions() == [made[2], seen, table.version()], "what was there before a load is kept"
        assert rows(table, seen) == {**{i: -i for i in range(5)}}
    assert grid.check() == []


def test_what_readers_have_flushed_counts_once_it_is_flushed_for_its_own_sake(grid):
    table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID", keep_versions=5)
    if not grid.owner:
        pytest.skip("the background flush may come between")
    with table.lock:
        table.put(1, {"X": 1})
        reads(grid, table)
        first = table.flush()  # nothing to do but to say so
        table.put(1, {"X": 2})
        reads(grid, table)
        tagged = table.tag("v1")
        table.put(1, {"X": 3})
        reads(grid, table)
        table.put(1, {"X": 4})
        reads(grid, table)
        flush(str(grid.home), "T", lasting=True)  # as an iterator of a dataset does
        iterated = table.version()
        table.put(1, {"X": 5})
        last = table.flush()
        assert table.versions() == [first - 1, first, tagged, iterated, last]
        assert [rows(table, version) for version in (first, "v1", iterated, last)] == [{1: 1}, {1: 2}, {1: 4}, {1: 5}]


def test_a_flush_after_a_read_gave_a_version_that_was_not_kept(grid):
    """Of a served table nobody asked the owner, as there was nothing to flush: it remained a reader's version."""
    table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID", keep_versions=1000)
    for i in range(5):
        table.put(1, {"X": i})
        assert len(table) == 1
        version = table.flush()
        table.put(1, {"X": -1})
        table.flush()
        assert rows(table, version) == {1: i}


# ---- one version by version= ----


def test_a_version_by_key(grid, table):
    table.put_all({1: {"X": 1}, 200: {"X": 200}})
    version = table.tag("v1")
    table.put(1, {"X": 2})
    table.remove_all([200, 3])
    for name in ("v1", version, np.int64(version)):
        assert table.get(1, version=name) == {"X": 1} and table.get(200, version=name) == {"X": 200}
        assert table.get(3, version=name) == {"X": 0} and table.get(777, "none", version=name) == "none"
        assert table.get_all([200, 777, 1], version=name) == {200: {"X": 200}, 1: {"X": 1}}
    assert table.get(200) is None and table.get(1) == {"X": 2}
    grid.alter_table("T", rename={"X": "Y"}, add={"Z": "INT"})
    assert table.get(1, version="v1") == {"X": 1} and table.get(1) == {"Y": 2, "Z": None}
    with pytest.raises(VersionNotFoundError, match="no tag v2"):
        table.get(1, version="v2")
    with pytest.raises(gridflow.SchemaError):
        table.get("one", version="v1")


def test_snapshot_is_the_old_name_of_version(table):
    table.tag("v1")
    table.truncate()
    with pytest.warns(DeprecationWarning, match="snapshot= is deprecated: use version="):
        assert table.to_arrow(snapshot="v1").num_rows == 100
    with pytest.warns(DeprecationWarning, match="snapshot="):
        assert sum(batch.num_rows for batch in table.scan(snapshot="v1")) == 100
    with pytest.raises(UsageError, match="snapshot= is the old name of version="):
        table.to_arrow(version="v1", snapshot="v1")


def test_a_version_was_missing_in_some_of_the_ways_to_read(grid, table):
    """``to_numpy``, ``to_pandas`` and ``contains`` had none; a cache had none at all."""
    version = table.tag("v1")
    table.remove(3)
    grid.alter_table("T", drop=["X"], add={"X": "VARCHAR"})
    assert table.contains(3, version="v1") and not table.contains(3) and not table.contains(777, version=version)
    assert table.to_numpy(version="v1")["X"].dtype == "i4" and table.to_numpy()["X"].dtype == object
    assert len(table.to_pandas(["X"], version=version)) == 100 and len(table.to_pandas()) == 99
    cache = grid.cache("C")
    cache.put(1, "one")
    cache.tag("v1")
    cache.put(1, "two")
    assert cache.get(1, version="v1") == "one" and cache.get_all([1, 2], version="v1") == {1: "one"}
    assert cache.contains(1, version="v1") and not cache.contains(2, version="v1")
    assert cache.to_arrow(version="v1").num_rows == sum(batch.num_rows for batch in cache.scan(version="v1")) == 1
    assert cache.to_numpy(version="v1")["_VAL"].tolist() == ["one"]


def test_a_version_in_a_transaction_was_a_type_error(grid, table):
    table.tag("v1")
    with grid.transaction() as transaction:
        seen = transaction.table("T")
        for read in (seen.to_arrow, seen.scan, seen.to_numpy, seen.to_pandas):
            with pytest.raises(gridflow.SqlError, match="a transaction sees what there was when it began"):
                read(version="v1")
        for read in (seen.get, seen.contains, lambda key, version: seen.get_all([key], version=version)):
            with pytest.raises(gridflow.SqlError, match="a transaction sees what there was when it began"):
                read(1, version="v1")


# ---- restore ----


def test_to_restore_the_oldest_version_destroyed_it(grid):
    """The flush with which a restore began pushed out the version that it was asked for."""
    table = grid.create_table("T", {"ID": "LONG", "X": "INT"}, key="ID", keep_versions=1)
    table.put(1, {"X": 1})
    good = table.flush()
    table.put(1, {"X": 2})
    table.flush()
    if grid.owner:
        with table.lock:  # the background flush has to wait
            table.put(1, {"X": 3})
            table.restore(good)
    else:
        table.restore(good)
    assert table.get(1) == {"X": 1} and grid.check() == []


def test_to_restore_none_did_nothing(table):
    table.put(1, {"X": 1})
    for method in (table.restore, table.past):
        with pytest.raises(UsageError, match="table T: None is no version; give a tag or a number: its tags are none"):
            method(None)


def test_a_version_becomes_the_newest_again(grid, table):
    table.put(1, {"X": 1})
    before = rows(table)
    version = table.tag("v1")
    changes = [
        lambda: table.put_all((i, {"X": -i}) for i in range(0, 150, 3)),
        lambda: table.remove_all(range(50)),
        lambda: grid.sql("UPDATE T SET X = 7 WHERE ID > 20"),
        table.compact,
        table.truncate,
        lambda: table.load({"ID": np.arange(90, 300), "X": np.ones(210, "i4")}, on_duplicate="replace"),
    ]
    for i in range(len(changes)):
        for change in changes[: i + 1]:
            change()
        changed = rows(table)
        now = table.tag("now", replace=True)
        restored = table.restore("v1")
        assert restored == table.version() > now > version and rows(table) == before == rows(table, "v1")
        assert rows(table, "now") == changed
        assert table.get(1) == {"X": 1} and table.get(299) is None
        assert grid.check() == []
    table.put(1, {"X": 2})  # goes on from there
    assert rows(table) == {**before, 1: 2}
    assert table.restore(version) == table.version() and rows(table) == before
    with pytest.raises(VersionNotFoundError):
        table.restore("v2")


def test_to_restore_what_is_there_changes_nothing(table):
    version = table.tag("v1")
    assert table.restore("v1") == table.restore(version) == version == table.version()


def test_a_version_comes_back_with_its_columns(grid, table):
    table.put(1, {"X": 1})
    table.tag("v1")
    before = rows(table)
    grid.alter_table("T", drop=["X"], add={"Y": "DOUBLE"}, fill={"Y": 0.5})
    table.put(1, {"Y": 1.5})
    table.tag("v2")
    table.restore("v1")
    assert table.schema.names == ["ID", "X"] and rows(table) == before and table.get(2) == {"X": 0}
    grid.sql("INSERT INTO T (ID, X) VALUES (500, 5)")
    table.restore("v2")
    assert table.schema.names == ["ID", "Y"] and table.get(1) == {"Y": 1.5} and table.get(2) == {"Y": 0.5}
    assert len(table) == 100 and table.get(500) is None
    grid.sql("CREATE INDEX I ON T (Y)")
    with pytest.raises(gridflow.SchemaError, match="column Y is not in version .* index I is over it: drop the index"):
        table.restore("v1")
    assert table.restore("v2") == table.version() and grid.check() == []


def test_a_restored_column_was_given_the_default_of_a_later_one_of_its_name(grid):
    """DEFAULTs come back with the columns that they belong to, however they are asked for or shown."""

    def shown():
        by_show = {row[0]: row[4] for row in grid.sql("SHOW COLUMNS FROM T").fetchall()}
        text = "SELECT COLUMN_NAME, DEFAULT_VALUE FROM SYS.TABLE_COLUMNS WHERE TABLE_NAME = 'T'"
        by_view = dict(grid.sql(text).fetchall())
        assert {name: value or "NULL" for name, value in by_view.items()} == by_show
        return by_show["Y"], by_show["N"]

    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, Y VARCHAR, N DECIMAL(5, 2) DEFAULT 1.50)")
    table = grid.table("T")
    table.tag("v1")
    assert shown() == ("NULL", "1.50")
    grid.sql("ALTER TABLE T DROP COLUMN Y")
    grid.sql("ALTER TABLE T ADD COLUMN Y INT DEFAULT 9")
    grid.alter_table("T", defaults={"N": None})
    table.tag("v2")
    assert shown() == ("9", "NULL")
    for tag, defaults, key in (("v1", ("NULL", "1.50"), 1), ("v2", ("9", "NULL"), 2), ("v1", ("NULL", "1.50"), 3)):
        table.restore(tag)
        assert shown() == defaults
        grid.sql("INSERT INTO T (ID) VALUES (?)", [key])
        grid.sql("INSERT INTO T (ID, Y, N) VALUES (?, DEFAULT, DEFAULT)", [key + 10])
        table.put(key + 20, {})
        expected = {"Y": None if tag == "v1" else 9, "N": decimal.Decimal("1.50") if tag == "v1" else None}
        assert [table.get(key + i) for i in (0, 10, 20)] == [expected] * 3
    grid.sql("ALTER TABLE T RENAME COLUMN N TO M")
    assert dict(grid.sql("SELECT COLUMN_NAME, DEFAULT_VALUE FROM SYS.TABLE_COLUMNS").fetchall())["M"] == "1.50"


def test_a_transaction_that_began_before_a_restore_is_refused(grid, table):
    table.tag("v1")
    table.put(1, {"X": 1})
    transaction = grid.transaction()
    transaction.table("T").put(1, {"X": 2})
    table.restore("v1")
    with pytest.raises(gridflow.TransactionConflictError):
        transaction.commit()
    assert table.get(1) == {"X": 0}
