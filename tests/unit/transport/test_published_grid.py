"""What was published is read as a grid: tables, SQL, versions; and no more comes than is asked for."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import gridflow
from gridflow.cli.main import main
from gridflow.errors import (
    GridAccessError,
    GridCorruptError,
    GridNotFoundError,
    TableNotFoundError,
    UsageError,
    VersionNotFoundError,
)
from gridflow.transport.place import Place
from gridflow.transport.published_grid import open_published

ROWS, PIXELS = 6000, 1024


@pytest.fixture(autouse=True)
def mirror(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror of the test's own."""
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(home / "mirror"))
    return home / "mirror"


@pytest.fixture
def grid(home: Path) -> Iterator[gridflow.Grid]:
    with gridflow.connect(home / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "X": "DOUBLE", "P": f"UINT8[{PIXELS}]"}, key="ID")
        pixels = np.random.default_rng(1).integers(0, 255, (ROWS, PIXELS), "uint8")
        table.load({"ID": np.arange(ROWS), "X": np.arange(ROWS) / 2, "P": pixels})
        table.put(5, {"X": -1.0, "P": pixels[0]})
        table.remove(6)
        grid.create_table("U", {"ID": "LONG", "S": "VARCHAR"}, key="ID").put(1, {"S": "one"})
        yield grid


@dataclass
class Counted:
    """The requests to a place, each delayed; ``trips`` is how many came one after the other."""

    bytes: int = 0
    names: list[str] = field(default_factory=list)
    trips: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: int = 0

    def __call__(self, actual):
        def call(place: Place, name: str, *arguments: int):
            with self._lock:
                depth = self._done + 1  # it waits for all that was answered before it was asked
                self.names.append(name)
            time.sleep(0.02)
            answer = actual(place, name, *arguments)
            with self._lock:
                self._done = max(self._done, depth)
                self.trips = self._done
                if isinstance(answer, bytes):
                    self.bytes += len(answer)
            return answer

        return call


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    for name in ("list", "find", "read", "read_range"):
        monkeypatch.setattr(Place, name, counted(getattr(Place, name)))
    return counted


def test_tables_sql_and_versions(grid, url, home):
    table = grid.table("T")
    assert table.publish(url, tag="v1") == 1
    grid.table("U").publish(url)
    before = table.to_arrow()
    table.put(7, {"X": 70.0, "P": np.zeros(PIXELS, "uint8")})
    assert table.publish(url) == 2
    with open_published(url) as published:
        assert published.tables() == ["T", "U"] and "T" in published
        found = published.table("t")
        assert len(found) == ROWS - 1 and found.versions() == [1, 2] and found.tags() == {"v1": 1}
        assert found.to_arrow().equals(table.to_arrow()) and found.to_arrow(version="v1").equals(before)
        assert sum(batch.num_rows for batch in found.scan(["ID"], partitions=range(512))) > 0
        assert published.sql("SELECT S FROM U").scalar() == "one"
        assert published.sql("SELECT X FROM T WHERE ID = 7").scalar() == 70.0
        assert published.sql("SELECT X FROM T AT (VERSION => 'v1') WHERE ID = 7").scalar() == 3.5
        assert published.sql("SELECT T.X FROM T JOIN U USING (ID)").scalar() == 0.5
        assert found.get(5)["X"] == -1.0 and found.get(6) is None and found.get(7, version=1)["X"] == 3.5
        for version in ("none", 3):
            with pytest.raises(VersionNotFoundError):
                found.get(1, version=version)
        with pytest.raises(TableNotFoundError, match="there are T, U"):
            published.table("V")
        assert published.check() == []


def test_it_is_only_read(grid, home):
    url = f"file://{home}/place"
    grid.table("U").publish(url)
    with open_published(url) as published:
        table = published.table("U")
        for write in (
            lambda: table.put(2, {"S": "x"}),
            lambda: table.load({"ID": [2]}),
            lambda: table.tag("x"),
            lambda: table.untag("x"),
            lambda: table.keep_versions(3),
            lambda: table.truncate(),
            lambda: table.publish(url),
            lambda: published.create_table("V", {"ID": "LONG"}, key="ID"),
            lambda: published.drop_table("U"),
            lambda: published.alter_table("U", drop=["S"]),
            lambda: published.sql("INSERT INTO U VALUES (2, 'x')"),
            lambda: published.sql("DELETE FROM U"),
            lambda: published.sql("DROP TABLE U"),
            lambda: published.sql("CREATE TABLE W (ID LONG PRIMARY KEY)"),
        ):
            with pytest.raises(GridAccessError):
                write()
        assert published.sql("SELECT COUNT(*) FROM U").scalar() == 1


def test_the_first_batch_takes_few_round_trips(grid, s3, counted):
    grid.table("T").publish(s3)
    counted.trips = counted._done = 0
    with open_published(s3) as published:
        batch = next(published.table("T").scan(["X"], batch_size=100))
    assert batch.num_rows == 100
    assert counted.trips < 5


def test_columns_that_are_not_asked_for_cost_nothing(grid, s3, counted):
    grid.table("T").publish(s3)
    counted.bytes = 0
    with open_published(s3) as published:
        assert published.sql("SELECT SUM(X) FROM T").scalar() == grid.sql("SELECT SUM(X) FROM T").scalar()
    assert counted.bytes < ROWS * 8 + (1 << 20)  # of the pixels, 6 MB, come but those that lie in the same blocks
    counted.bytes = 0
    with open_published(s3) as again:  # what has come is there
        again.sql("SELECT SUM(X) FROM T")
    assert counted.bytes < 10_000


def test_a_version_that_comes_later_is_seen_by_who_connects_then(grid, home):
    url = f"file://{home}/place"
    table = grid.table("U")
    table.publish(url)
    with open_published(url) as published:
        assert len(published.table("U")) == 1
    table.put(2, {"S": "two"})
    table.publish(url)
    with open_published(url) as published:
        assert len(published.table("U")) == 2


def test_another_publisher_s_files_do_not_come_in_between(grid, home):
    """Two grids have files of the same names; at the URL each is another one."""
    url = f"file://{home}/place"
    with gridflow.connect(home / "other") as other:
        other.create_table("U", {"ID": "LONG", "S": "VARCHAR"}, key="ID").put(1, {"S": "theirs"})
        grid.table("U").publish(url, tag="ours")
        other.table("U").publish(url, tag="theirs")
    with open_published(url) as published:
        assert published.table("U").to_arrow(version="ours")["S"].to_pylist() == ["one"]
        assert published.table("U").to_arrow(version="theirs")["S"].to_pylist() == ["theirs"]
        assert published.table("U").to_arrow(version="ours")["S"].to_pylist() == ["one"]


def test_damage_at_the_url_is_an_error_that_names_the_file(grid, home):
    url = f"file://{home}/place"
    grid.table("T").publish(url)
    largest = max((home / "place" / "files").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    with open_published(url) as published, pytest.raises(GridCorruptError, match=r"\.seg .*is damaged"):
        published.table("T").to_arrow(["P"])
    shutil.rmtree(home / "mirror")
    largest.unlink()
    with open_published(url) as published, pytest.raises(GridNotFoundError):
        published.table("T")


def test_nothing_was_published(url):
    with pytest.raises(GridNotFoundError, match="nothing was published at"):
        open_published(url)


def test_connect_and_the_commands_take_a_url(grid, home):
    url = f"file://{home}/place"
    grid.table("U").publish(url, tag="v1")
    with gridflow.connect(url) as published:
        assert published.sql("SELECT S FROM U").scalar() == "one"
    for options in ({"embedded": True}, {"durability": "fsync"}, {"user": "me"}):
        with pytest.raises(UsageError, match="only read"):
            gridflow.connect(url, **options)
    run = CliRunner().invoke
    said = run(main, ["sql", "--home", url, "-e", "SELECT S FROM U", "--format", "csv"])
    assert said.exit_code == 0 and said.output.splitlines()[-1] == "one", said.output
    assert "U" in run(main, ["tables", "--home", url]).output
    said = run(main, ["sql", "--home", url, "-e", "DELETE FROM U"])
    assert said.exit_code == 1 and "gridflow clone" in said.output
    said = run(main, ["load", "--home", url, str(home / "none.csv"), "U"])
    assert said.exit_code != 0
