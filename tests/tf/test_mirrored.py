"""A dataset over a mirror gives what one over the grid gives: rows, order, draws, where it goes on, what is new."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from mirrors import FaultySource, fill_with_garbage

import gridflow
from gridflow import Grid
from gridflow.transport import mirror

ROWS = 60_000
READS = {
    "in order": lambda rows: rows(batch_size=700),
    "large batches": lambda rows: rows(batch_size=10_000),
    "skip and take": lambda rows: rows(columns=["X", "S", "V"]).skip(13).take(6000).batch(90),
    "shard": lambda rows: rows(columns=["X", "S", "V"]).shard(3, 1).batch(800),
    "shuffled": lambda rows: rows(shuffle=True, seed=5, batch_size=600),
    "through a buffer": lambda rows: rows(columns=["X", "S", "V"]).shuffle(2000, seed=3).batch(1100),
    "where": lambda rows: rows(where="ID % 3 <> 1", batch_size=600),
    "where, shuffled": lambda rows: rows(where="ID % 3 = 1", shuffle=True, seed=2, batch_size=500),
    "ordered": lambda rows: rows(order_by="X DESC, ID", batch_size=1300),
    "drawn": lambda rows: rows(weights="ID + 1", seed=4, batch_size=1000),
    "partitions": lambda rows: rows(partitions=[1, 2, 7, 11], batch_size=1000),
    "where in partitions": lambda rows: rows(partitions=range(3, 9), where="ID % 2 = 0", batch_size=1000),
    "a worker's": lambda rows: rows(workers=(1, 3), share_by="rows", batch_size=1000),
}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    """A grid with a table T that is lived in: several segments, updates, deleted rows."""
    with gridflow.connect(tmp_path_factory.mktemp("mirrored") / "grid") as grid:
        assert grid.open_grid._maintenance is not None
        grid.open_grid._maintenance.stop()  # or segments are merged while they are compared
        columns = {"ID": "LONG", "X": "LONG", "S": "STRING", "V": "FLOAT32[3]", "L": "LIST(LONG)"}
        table = grid.create_table("T", columns, key="ID", partitions=16)
        for begin, end in ((0, ROWS // 2), (ROWS // 2, ROWS), (ROWS // 4, ROWS // 3)):
            ids = np.arange(begin, end)
            rows = {"ID": ids, "X": ids % 97, "S": [f"{i}:{begin}" for i in ids]}
            rows |= {"V": np.stack([ids, ids, ids], 1).astype(np.float32), "L": [[i] * (i % 3) for i in ids]}
            table.load(rows, on_duplicate="replace")
        grid.sql("DELETE FROM T WHERE ID % 50 = 7")
        grid.sql("UPDATE T SET X = -1 WHERE ID % 100 = 3")
        table.flush()
        yield grid


@pytest.fixture
def source(grid: Grid) -> FaultySource:
    return FaultySource(grid.home)


@pytest.fixture
def home(source: FaultySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror of T in which no block has come, with garbage in their places, which nobody may touch."""
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("GRIDFLOW_MIRROR_GUARD", "1")
    monkeypatch.setattr(mirror, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(mirror, "_HEAD_BYTES", 4096)
    monkeypatch.setattr(mirror, "PATIENCE_SECONDS", 1.0)
    folder = mirror.mirrored(source)
    mirror.update(folder, "T")
    assert fill_with_garbage(folder) > 10
    return folder


def rows_of(dataset: tf.data.Dataset) -> list[object]:
    """All that a dataset gives, in order."""
    return [plain(element) for element in dataset]


def plain(element: object) -> object:
    """An element in Python's own types."""
    return tf.nest.map_structure(
        lambda x: x.to_list() if isinstance(x, tf.RaggedTensor) else x.numpy().tolist(), element
    )


@pytest.mark.parametrize("name", READS)
def test_same_as_the_grid(grid: Grid, home: Path, name: str) -> None:
    """Each way to read gives the same rows in the same order, in both epochs."""
    here, there = (
        READS[name](lambda at=at, **options: gridflow.Dataset("T", home=at, **options)) for at in (grid.home, home)
    )
    if name in ("in order", "shuffled"):
        here, there = here.repeat(2), there.repeat(2)
    same = rows_of(there) == rows_of(here)
    assert same  # pytest would compare them for minutes where they are not


def test_goes_on_where_it_was(grid: Grid, home: Path) -> None:
    """An iterator that was saved over a mirror goes on over the grid, and the other way round."""
    datasets = [gridflow.Dataset("T", home=at, shuffle=True, seed=3, batch_size=900) for at in (grid.home, home)]
    whole = rows_of(gridflow.Dataset("T", home=grid.home, shuffle=True, seed=3, batch_size=900))
    for dataset in datasets:
        iterator = iter(dataset)
        first = [plain(next(iterator)) for _ in range(4)]
        saved = tf.train.Checkpoint(iterator=iterator)
        path = saved.write(str(home.parent / "saved"))
        for _ in range(3):
            next(iterator)
        saved.read(path).assert_consumed()
        rest = [plain(element) for element in iterator]
        same = first + rest == whole
        assert same


def test_follows_what_is_written(grid: Grid, home: Path) -> None:
    """Rows that are written meanwhile come to a dataset that follows, over a mirror, too."""
    dataset = gridflow.Dataset("T", home=home, columns=["X"], batch_size=50_000, follow=gridflow.Follow(timeout=20.0))
    writer = threading.Timer(1.0, lambda: grid.sql("INSERT INTO T (ID, X) VALUES (?, ?)", [10 * ROWS, 12345]))
    writer.start()
    began, found = time.monotonic(), False
    for element in dataset:
        found = found or 12345 in element["val"]["X"].numpy().tolist()
        if found or time.monotonic() - began > 15:
            break
    writer.join()
    grid.sql("DELETE FROM T WHERE ID = ?", [10 * ROWS])
    assert found


def test_faults_on_the_way(grid: Grid, home: Path, source: FaultySource) -> None:
    """An epoch over a source that cuts and damages loses no row and repeats none."""
    source.cut, source.damage = 3, 5
    datasets = [gridflow.Dataset("T", home=at, shuffle=True, seed=3, batch_size=900) for at in (grid.home, home)]
    same = rows_of(datasets[1]) == rows_of(datasets[0])
    assert same


def test_source_that_is_gone(home: Path, source: FaultySource) -> None:
    """An epoch ends with an error that says what is wrong, within its time, and not never."""
    dataset = gridflow.Dataset("T", home=home, batch_size=900)
    iterator = iter(dataset)
    source.gone = True
    began = time.monotonic()
    with pytest.raises(tf.errors.UnavailableError, match="does not come"):
        for _ in iterator:
            pass
    assert time.monotonic() - began < 20


def test_compacted_away_while_it_is_read(grid: Grid, home: Path) -> None:
    """A version that goes while it is read is read to its end: the source holds its files for the reader."""
    before = rows_of(gridflow.Dataset("T", home=grid.home, batch_size=900))
    iterator = iter(gridflow.Dataset("T", home=home, batch_size=900))
    found = [plain(next(iterator))]
    grid.table("T").compact()
    mirror.update(home, "T")
    found += [plain(element) for element in iterator]
    same = found == before
    assert same
