"""Index files: made and removed with their segments, ignored where they are damaged, shared by all processes."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import json
import math
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gridflow
import gridflow.testing
from gridflow import GridFullError, SqlError, UsageError
from gridflow._native.store import set_failpoints
from gridflow.registry import open_reader
from gridflow.storage import table_indexes
from gridflow.storage.expected_files import index_sidecars
from gridflow.storage.index_keys import INDEXABLE, Interval
from gridflow.storage.verify import check_home

pytestmark = pytest.mark.usefixtures("many_segments")

ROWS = 5000
QUERY = "SELECT ID FROM T WHERE N = ?"


def make(grid: gridflow.Grid) -> gridflow.Table:
    """5,000 rows in one segment, of which 50 have each N, and an index on N."""
    grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, N INT, NAME VARCHAR)")
    table = grid.table("T")
    ids = np.arange(ROWS)
    table.load({"ID": ids, "N": (ids % 100).astype("i4"), "NAME": [f"name {i}" for i in ids]})
    grid.sql("CREATE INDEX BY_N ON T (N)")
    return table


def expected(n: int) -> list[tuple[int]]:
    return [(i,) for i in range(n, ROWS, 100)]


def ask(grid: Any, n: int) -> list[tuple[int]]:
    return sorted(grid.sql(QUERY, [n]).fetchall())


def path_of(grid: Any, n: int = 7) -> str:
    """The first line of the plan of a query."""
    return grid.sql("EXPLAIN " + QUERY, [n]).fetchall()[0][0]


def index_files(table: gridflow.Table) -> list[Path]:
    return sorted(table.folder.glob("*.idx"))


@pytest.fixture
def quiet(monkeypatch) -> Iterator[None]:
    """The background thread lets indexes be: the test says when they are made."""
    monkeypatch.setattr(table_indexes.TableIndexes, "settle", lambda self, verify=True: None)
    yield


# ---- made and removed ----


def test_files_follow_segments(grid):
    table = make(grid)
    (first,) = index_files(table)
    assert ask(grid, 7) == expected(7) and path_of(grid).startswith(
        "T: by index BY_N (N = ..), columns ID, N; without the engine"
    )
    with table.indexes.lock, table.lock:  # the background has to wait
        table.put(ROWS + 7, {"N": 7})
        table.remove(7)
        assert ask(grid, 7) == [*expected(7)[1:], (ROWS + 7,)], "the new segment has no index yet"
        assert "by index BY_N (N = ..)" in path_of(grid) and "engine" not in path_of(grid)
    table.indexes.settle()
    assert len(index_files(table)) == len(table.snapshot().segments()) == 2
    assert "without the engine" in path_of(grid)
    table.compact()
    table.indexes.settle()
    (merged,) = index_files(table)
    assert merged != first
    assert ask(grid, 7) == [*expected(7)[1:], (ROWS + 7,)]
    grid.sql("DROP INDEX BY_N")
    assert index_files(table) == [] and "by index" not in path_of(grid)
    assert ask(grid, 7) == [*expected(7)[1:], (ROWS + 7,)]


def test_another_index_takes_no_file_of_the_last_one(grid):
    table = make(grid)
    held = table.indexes
    grid.sql("DROP INDEX BY_N; CREATE INDEX BY_NAME ON T (NAME)")
    assert held is table.indexes
    assert grid.sql("SELECT ID FROM T WHERE NAME = 'name 77'").fetchall() == [(77,)]
    assert ask(grid, 7) == expected(7)


def test_the_one_that_finds_least_is_taken(grid):
    make(grid)
    grid.sql("CREATE INDEX A_NAME ON T (NAME); CREATE INDEX Z ON T (N, NAME)")

    def plan(where: str) -> str:
        return grid.sql(f"EXPLAIN SELECT ID FROM T WHERE {where}").fetchall()[0][0].split(": ")[1].split(", columns")[0]

    assert plan("N = 5 AND NAME > 'name 40'") == "by index Z (N = .., NAME > ..)"
    assert plan("N >= 0 AND NAME IN ('name 1', 'name 2')") == "by index A_NAME (NAME IN ..)"
    assert plan("N = 5 AND NAME >= 'name 4900'").startswith("by index Z")
    assert plan("NAME LIKE 'name 49%'") == "by index A_NAME (NAME LIKE ..)"


def test_what_finds_much_is_a_scan(grid):
    make(grid)
    assert "by index" in grid.sql("EXPLAIN SELECT ID FROM T WHERE N < 20").fetchall()[0][0]
    assert "by index" not in grid.sql("EXPLAIN SELECT ID FROM T WHERE N < 21").fetchall()[0][0]


def test_a_lookup_does_not_scan(grid, monkeypatch):
    make(grid)

    def no_scan(*args: Any) -> None:
        raise AssertionError("it scans")

    for module in ("table", "transaction"):
        for read in ("whole_table", "mapped_rows"):
            monkeypatch.setattr(f"gridflow.{module}.{read}", no_scan)
    assert ask(grid, 7) == expected(7)
    assert grid.sql("SELECT COUNT(*) FROM T WHERE N = 7 AND NAME LIKE '%1%'").fetchall() == [(14,)]
    assert grid.sql("UPDATE T SET NAME = 'x' WHERE N = 7 AND ID > 4000").rowcount == 10
    assert grid.sql("DELETE FROM T WHERE N = 7 AND NAME = 'x'").rowcount == 10
    with pytest.raises(AssertionError, match="it scans"):
        grid.sql("SELECT ID FROM T WHERE N + 1 = 7")


def test_made_on_the_way_out(home):
    """Nobody makes an index for those who read a grid that nobody owns."""
    with gridflow.connect(home / "grid") as grid:
        table = make(grid)
        table.put(ROWS + 7, {"N": 7})
    with open_reader(home / "grid") as reader:
        assert len(index_files(reader.table("T"))) == 2
        assert ask(reader, 7) == [*expected(7), (ROWS + 7,)]
        assert "without the engine" in path_of(reader)


def test_columns_come_and_go(grid):
    """An index follows a column that gets another name, goes with it, and knows what old rows have in a new one."""
    table = make(grid)
    (file,) = index_files(table)
    grid.alter_table("T", rename={"N": "M", "NAME": "N"}, add={"KIND": "VARCHAR"}, fill={"KIND": "old"})
    table.put(ROWS, {"M": 7, "N": "new", "KIND": "new"})
    assert grid.sql("SELECT COUNT(*) FROM T WHERE M = 7").fetchall() == [(51,)]
    assert "by index BY_N (M = ..)" in grid.sql("EXPLAIN SELECT ID FROM T WHERE M = 7").fetchall()[0][0]
    assert grid.sql("SELECT ID FROM T WHERE N = 'name 77'").fetchall() == [(77,)]
    grid.sql("CREATE INDEX BY_KIND ON T (KIND, M)")
    assert "by index BY_KIND" in grid.sql("EXPLAIN SELECT ID FROM T WHERE KIND = 'old' AND M = 7").fetchall()[0][0]
    assert len(grid.sql("SELECT ID FROM T WHERE KIND = 'old' AND M = 7").fetchall()) == 50
    assert grid.sql("SELECT ID FROM T WHERE KIND = 'new' AND M = 7").fetchall() == [(ROWS,)]
    with pytest.raises(gridflow.SchemaError, match="column M of T is in index"):
        grid.alter_table("T", drop=["M"])
    grid.sql("DROP INDEX BY_N; DROP INDEX BY_KIND")
    grid.alter_table("T", drop=["M"])
    table.indexes.settle()
    assert grid.table("T").indexes.all() == [] and index_files(table) == []
    grid.alter_table("T", add={"M": "INT"})
    grid.sql("CREATE INDEX BY_N ON T (M)")
    assert grid.sql("SELECT COUNT(*) FROM T WHERE M IS NULL AND ID < 10").fetchall() == [(10,)]
    assert grid.sql("SELECT COUNT(*) FROM T WHERE M = 7").fetchall() == [(0,)]


def test_dropped_with_its_table(grid):
    folder = make(grid).folder
    grid.sql("DROP TABLE T")
    assert not folder.exists()
    grid.sql("CREATE TABLE U (ID INT PRIMARY KEY); CREATE INDEX BY_N ON U (ID)")


# ---- who else ----


def test_a_reader_of_another_process_sees_it(home):
    """A process that had the grid open before there was an index uses it, and what it held when it is dropped."""
    with gridflow.connect(home / "grid") as grid, open_reader(home / "grid") as reader:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, N INT, NAME VARCHAR)")
        grid.table("T").load({"ID": np.arange(ROWS), "N": (np.arange(ROWS) % 100).astype("i4")})
        assert ask(reader, 7) == expected(7) and "by index" not in path_of(reader)
        grid.sql("CREATE INDEX BY_N ON T (N)")
        assert ask(reader, 7) == expected(7) and "by index" in path_of(reader)
        with grid.table("T").lock:
            grid.table("T").put(7, {"N": 8})
            assert ask(reader, 7) == expected(7)[1:], "what is only in the log counts, too"
            assert ask(reader, 8) == sorted([(7,), *expected(8)])
        grid.sql("DROP INDEX BY_N")
        assert ask(reader, 7) == expected(7)[1:] and "by index" not in path_of(reader)


def test_a_segment_of_a_reader_is_not_the_owners(home, quiet):
    """A reader's own version of unflushed rows numbers its segment as the owner then numbers another one."""
    with gridflow.connect(home / "grid") as grid, open_reader(home / "grid") as reader:
        table = make(grid)
        with table.lock:
            table.put_all((ROWS + i, {"N": 1000 + i}) for i in range(10))
            preview = reader.table("T")._flushed()
            table.put_all((ROWS + i, {"N": 2000 + i}) for i in range(10))
            table.flush()
            (index,) = table.indexes.all()
            _, sidecar = index_sidecars(table.options, table.snapshot())
            table.indexes._make(table.snapshot(), sidecar)
            assert [s[:2] for s in preview.segments()] == [s[:2] for s in table.snapshot().segments()]
            mine = reader.table("T")
            probe = (Interval(1003, 1003),)
            found = mine.indexes.find([(index, [probe], True)], preview)
            assert found is not None and not found.exact
            assert ROWS + 3 in found.take(["ID"])["ID"].to_pylist()


def test_clients_make_and_use_indexes(home):
    server = pytest.importorskip("gridflow.server")
    with server.ServerProcess(home / "grid"), gridflow.connect(home / "grid") as client:
        table = make(client)
        assert ask(client, 7) == expected(7) and "by index BY_N" in path_of(client)
        assert len(index_files(table)) == 1
        with pytest.raises(SqlError, match="exists already"):
            client.sql("CREATE INDEX BY_N ON T (NAME)")
        client.sql("DROP INDEX BY_N")
        assert index_files(table) == []


def test_writers_and_readers_at_once(grid):
    """Rows move from N to N + 1000 and back while others ask; every answer is one that was true."""
    table = make(grid)
    stop = threading.Event()
    wrong: list[Any] = []

    def watch() -> None:
        while not stop.is_set():
            for n in (7, 1007):
                found = grid.sql("SELECT COUNT(*), MIN(ID) FROM T WHERE N = ?", [n]).fetchall()
                if found not in ([(50, 7)], [(0, None)]):
                    wrong.append(found)

    threads = [threading.Thread(target=watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(20):
            grid.sql("UPDATE T SET N = ? WHERE N = ?", [1007, 7] if turn % 2 == 0 else [7, 1007])
            if turn % 5 == 0:
                table.compact()
            table.indexes.settle()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


# ---- damaged ----


def break_it(file: Path, what: str) -> None:
    data = bytearray(file.read_bytes())
    if what == "short":
        data = data[:-1]
    elif what == "empty":
        data = bytearray()
    elif what == "garbage":
        data = bytearray(os.urandom(len(data)))
    elif what == "version":
        data[8] = 2
    else:
        data[{"rows": 300, "keys": len(data) - 3, "header": 24}[what]] ^= 1
    replacement = file.with_name("replacement")
    replacement.write_bytes(data)
    replacement.rename(file)  # never in place: who has mapped it keeps it


@pytest.mark.parametrize("what", ["short", "empty", "garbage", "version", "rows", "keys", "header"])
def test_a_damaged_file_is_done_without_and_made_again(home, quiet, what, monkeypatch):
    with gridflow.connect(home / "grid") as grid:
        (file,) = index_files(make(grid))
        sound = file.read_bytes()
    break_it(file, what)
    (problem,) = check_home(home / "grid")
    assert problem.file == str(file) and "the owner makes it again" in problem.message
    with open_reader(home / "grid") as reader:
        assert ask(reader, 7) == expected(7)
        assert "by index" not in path_of(reader)
        assert ask(reader, 8) == expected(8)
    monkeypatch.undo()
    with gridflow.connect(home / "grid") as grid:
        assert ask(grid, 7) == expected(7)
        grid.table("T").indexes.settle()
        assert file.read_bytes() == sound
        assert ask(grid, 7) == expected(7) and "by index" in path_of(grid)
        assert grid.check() == []


def test_another_segments_file_is_not_taken(home, quiet):
    with gridflow.connect(home / "grid") as grid:
        (file,) = index_files(make(grid))
        grid.sql("CREATE TABLE U (ID LONG PRIMARY KEY, N INT, NAME VARCHAR)")
        grid.sql("INSERT INTO U SELECT ID + 1, N, NAME FROM T; CREATE INDEX U_N ON U (N)")
        (other,) = index_files(grid.table("U"))
    shutil.copy(other, file)
    with open_reader(home / "grid") as reader:
        assert ask(reader, 7) == expected(7) and "by index" not in path_of(reader)
    (problem,) = check_home(home / "grid")
    assert "not of index BY_N and this segment" in problem.message
    file.unlink()


def test_check_finds_a_wrong_order(home, quiet):
    """A file whose checksums are right and whose content is not."""
    with gridflow.connect(home / "grid") as grid:
        (file,) = index_files(make(grid))
    data = bytearray(file.read_bytes())
    data[192:196], data[196:200] = data[196:200], data[192:196]
    data[12:16] = b"\0\0\0\0"
    from gridflow._native.files import block_checksum

    data[12:16] = block_checksum(bytes(data[16:])).to_bytes(4, "little")
    file.write_bytes(data)
    (problem,) = check_home(home / "grid")
    assert problem.file == str(file) and "order of its segment's rows" in problem.message


def test_strangers_are_swept(home):
    with gridflow.connect(home / "grid") as grid:
        table = make(grid)
        folder = table.folder
    for name in ("0000000000000009-1.idx", "0000000000000001-7.idx", "0000000000000001-1.idx.tmp"):
        (folder / name).write_bytes(b"left by a crash")
    with gridflow.connect(home / "grid") as grid:
        assert len(index_files(grid.table("T"))) == 1
    assert gridflow.testing.stray_files(home / "grid") == []


# ---- no room ----


@pytest.mark.parametrize("point", ["file.written=full", "file.written=io"])
def test_no_room_for_a_new_index(grid, quiet, point):
    table = make(grid)
    set_failpoints(point)
    try:
        with pytest.raises(gridflow.GridflowError):
            grid.sql("CREATE INDEX BY_NAME ON T (NAME)")
    finally:
        set_failpoints("")
    assert len(index_files(table)) == 1 and [index.name for index in table.indexes.all()] == ["BY_N"]
    grid.sql("CREATE INDEX BY_NAME ON T (NAME)")


def test_no_room_in_the_catalog(grid, monkeypatch):
    """The index's files are there by then; they go again."""
    table = make(grid)

    def full(*args: Any) -> None:
        assert len(index_files(table)) == 2
        raise GridFullError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("gridflow.catalog.Catalog.replace_options", full)
        with pytest.raises(GridFullError):
            grid.sql("CREATE INDEX BY_NAME ON T (NAME)")
    assert len(index_files(table)) == 1 and "BY_NAME" not in table.options["sql"]["indexes"]
    grid.sql("CREATE INDEX BY_NAME ON T (NAME)")


def test_no_room_for_the_file_of_a_segment(grid):
    table = make(grid)
    with table.indexes.lock:  # the background has to wait
        table.put(ROWS + 7, {"N": 7})
        table.flush()
        set_failpoints("file.written=full")
        try:
            with pytest.raises(GridFullError):
                table.indexes.settle()
        finally:
            set_failpoints("")
        assert ask(grid, 7) == [*expected(7), (ROWS + 7,)]
        table.indexes.settle()
        assert "without the engine" in path_of(grid)


# ---- in a load ----


def test_from_within_a_load(grid):
    """An index that is made while the data of a load comes has its rows, too."""
    table = make(grid)

    def rows() -> Iterator[dict]:
        yield {"ID": 1}
        grid.sql("CREATE INDEX I ON T (NAME)")

    table.load(rows(), on_duplicate="replace")
    table.indexes.settle()
    assert len(table.indexes.all()) == 2 and grid.check() == []


def test_bytes_of_the_format(home, quiet):
    """Three rows: pins what ``index_format.h`` draws."""
    with gridflow.connect(home / "grid") as grid:
        grid.sql("CREATE TABLE T (ID LONG PRIMARY KEY, A INT, B VARCHAR)")
        grid.sql("INSERT INTO T VALUES (1, 5, 'x'), (2, NULL, 'yy'), (3, -1, NULL)")
        grid.sql("CREATE INDEX I ON T (A, B)")
        table = grid.table("T")
        (file,) = index_files(table)
        assert file.name == "0000000000000001-1.idx"
        ids = table.to_arrow(["ID"])["ID"].to_pylist()
        data = file.read_bytes()
    assert data[:12] == b"GFIDX\r\x1a\n\x01\x00\x00\x00"
    numbers = np.frombuffer(data, "<u8", 3, 16).tolist() + np.frombuffer(data, "<u4", 4, 40).tolist()
    about = "2 INT32, 3 STRING"
    assert numbers == [len(data), 1, 3, 1, 1, 7, len(about)]
    directory = np.frombuffer(data, "<u8", 14, 64).reshape(-1, 2).tolist()
    assert data[64 + 112 :][: len(about)] == about.encode()
    buffers = [data[offset : offset + size] for offset, size in directory]
    assert all(offset % 64 == 0 for offset, _ in directory)
    assert [ids[row] for row in np.frombuffer(buffers[0], "<u4")] == [3, 1, 2]
    assert buffers[1:4] == [b"\0\0\1", b"", np.array([-1, 5, 0], "<i4").tobytes()]
    assert buffers[4:] == [b"\1\0\0", np.array([0, 0, 1, 3], "<u8").tobytes(), b"xyy"]


def test_bytes_of_every_kind_of_key(grid):
    """Of all of them, with nulls: an index file of an older release is that of this one, bit for bit."""
    types = ["BOOL", "INT8", "INT16", "INT", "LONG", "UINT8", "UINT16", "UINT32", "UINT64", "FLOAT16", "FLOAT32"]
    types += ["DOUBLE", "DECIMAL(9,2)", "DECIMAL(30,3)", "STRING", "BINARY", "DATE", "TIME", "TIMESTAMP", "UUID"]
    columns = {f"C{i}": kind for i, kind in enumerate(types)}
    table = grid.create_table("T", {"ID": "LONG", **columns}, key="ID")
    assert {column.type.kind for column in table.schema.columns} == set(INDEXABLE)
    with table.indexes.lock, table.lock:  # the background has to wait
        for i in range(20):
            n = (i * 7 - 60) / 4
            moment = dt.datetime(1970, 1, 1) + dt.timedelta(hours=i * 1000 - 9000)
            values = [i % 3 == 0, i - 9, i * 99, -i, -i * 10**12, i, i * 9, i * 99, i * 10**12, n, n, n]
            values += [decimal.Decimal(i - 9) / 4, decimal.Decimal(9 - i) * 10**20, f"n {i % 7}", bytes([255 - i])]
            values += [moment.date(), moment.time(), moment, uuid.UUID(int=(i * 7919 << 100) + i)]
            row = {f"C{k}": None if (i + k) % 6 == 0 else value for k, value in enumerate(values)}
            table.put(i, row)
        table.put(20, {"C9": math.nan, "C10": -0.0, "C11": -math.inf})
        table.flush()
    grid.sql(f"CREATE INDEX ALL_KINDS ON T ({', '.join(columns)})")
    for name in columns:
        grid.sql(f"CREATE INDEX BY_{name} ON T ({name})")
    files = {file.name: file.read_bytes() for file in index_files(table)}
    assert len(files) == 1 + len(columns)
    digest = hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()
    assert digest == "f277aea6104074dc2317508f39d99894e84cb36c8f4704b257a018422ca18120"


def test_options_of_the_catalog(grid):
    make(grid)
    grid.sql("CREATE INDEX TWO ON T (NAME DESC, N)")
    assert grid.table("T").options["sql"]["indexes"] == {
        "BY_N": {"columns": [["N", "ASC"]], "column_ids": [2], "id": 1},
        "TWO": {"columns": [["NAME", "DESC"], ["N", "ASC"]], "column_ids": [3, 2], "id": 2},
    }
    json.dumps(grid.table("T").options)
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        grid._alter_options("T", lambda options: {"x": object()})
    assert "indexes" in grid.table("T").options["sql"]


def test_a_damaged_manifest_of_a_kept_version_does_not_keep_an_index(grid):
    """An index is of the current version alone: what is wrong with another one is not asked."""
    table = make(grid)
    table.tag("v1")
    table.put(1, {"N": 1, "NAME": "one"})
    table.flush()
    (manifest,) = table.folder.glob("*.manifest")
    sound = manifest.read_bytes()
    manifest.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    grid.sql("DROP INDEX BY_N")
    assert not index_files(table)
    grid.sql("CREATE INDEX BY_NAME ON T (NAME)")
    assert len(index_files(table)) == len(table.snapshot().segments())
    manifest.write_bytes(sound)


def test_a_process_that_only_reads_makes_no_index(grid, monkeypatch):
    make(grid)
    grid.flush()
    monkeypatch.setattr("gridflow.storage.sidecars.replace_file", lambda path, data: pytest.fail(path))
    with open_reader(grid.home) as reader, pytest.raises(gridflow.GridAccessError, match="read only"):
        reader.sql("CREATE INDEX OTHER ON T (NAME)")
