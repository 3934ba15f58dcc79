"""The version that was read last stays mapped from epoch to epoch, and no longer than a dataset needs it."""

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import gridflow

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")


@pytest.fixture
def home(tmp_path):
    """A grid that this process only reads: so nobody but datasets maps its segments."""
    create(tmp_path / "grid", 1)
    return tmp_path / "grid"


def create(home, value):
    with gridflow.connect(home) as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": "INT64[8]"}, key="ID")
        table.load({"ID": np.arange(256), "V": np.full((256, 8), value)}, on_duplicate="replace")


def mapped(home):
    """The segments under ``home`` that this process has mapped: their names, and where."""
    gc.collect()
    lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    return {(Path(f[5].split(" (deleted)")[0]).name, f[0]) for f in lines if str(home) in f[-1] and ".seg" in f[-1]}


def write(home, value):
    """A new version, in which one segment has replaced all others."""
    with gridflow.connect(home) as grid:
        table = grid.table("T")
        table.load({"ID": np.arange(256), "V": np.full((256, 8), value)}, on_duplicate="replace")
        table.compact()


def values(dataset):
    return {int(v) for e in dataset for v in np.ravel(e["val"]["V"])}


def test_mapped_from_epoch_to_epoch(home):
    dataset = gridflow.Dataset("T", home=home, batch_size=64)
    assert not mapped(home)
    assert values(dataset) == {1}
    kept = mapped(home)
    assert len(kept) == 1
    for _ in range(3):
        assert values(dataset) == {1}
        assert mapped(home) == kept
    del dataset
    assert not mapped(home)


def test_gone_with_the_last_dataset_made_of_it(home):
    dataset = gridflow.Dataset("T", home=home, batch_size=64)
    derived = dataset.map(lambda e: e).prefetch(2)
    assert values(derived) == {1}
    del dataset
    kept = mapped(home)
    assert kept
    assert values(derived) == {1}
    assert mapped(home) == kept
    del derived
    assert not mapped(home)


def test_gone_with_the_last_of_many_datasets(home):
    datasets = [gridflow.Dataset("T", home=home, batch_size=1 + i) for i in range(20)]
    assert values(datasets[0]) == {1}
    kept = mapped(home)
    while datasets:
        assert mapped(home) == kept
        assert values(datasets[-1]) == {1}
        datasets.pop()
    assert not mapped(home)


def test_an_iterator_or_a_tensor_keeps_what_it_needs(home):
    dataset = gridflow.Dataset("T", home=home, batch_size=64)
    iterator = iter(dataset)
    element = next(iterator)
    del dataset
    assert mapped(home)
    del iterator
    assert mapped(home)
    assert element["val"]["V"].numpy().max() == 1
    del element
    assert not mapped(home)


def test_a_new_version_takes_the_place_of_the_old_one(home):
    dataset = gridflow.Dataset("T", home=home, batch_size=64)
    assert values(dataset) == {1}
    old = mapped(home)
    for value in (2, 3):
        write(home, value)
        assert values(dataset) == {value}
        new = mapped(home)
        assert len(new) == 1 and {name for name, _ in new}.isdisjoint({name for name, _ in old})
        old = new
    write(home, 4)
    assert int(dataset.cardinality()) == 4
    assert {name for name, _ in mapped(home)}.isdisjoint({name for name, _ in old})


def test_the_old_version_stays_for_who_reads_it(home):
    dataset = gridflow.Dataset("T", home=home, batch_size=64)
    reading = iter(dataset)
    next(reading)
    write(home, 2)
    assert values(dataset) == {2}
    assert len(mapped(home)) == 2
    assert values(reading) == {1}
    del reading
    assert len(mapped(home)) == 1


def test_a_dropped_table_is_let_go_by_the_next_iterator(home):
    dataset = gridflow.Dataset("T", home=home, batch_size=64)
    assert values(dataset) == {1}
    with gridflow.connect(home) as grid:
        grid.drop_table("T")
    with pytest.raises(tf.errors.NotFoundError, match="no table T"):
        next(iter(dataset))
    assert not mapped(home)


def test_a_grid_made_again_in_the_same_place(home, tmp_path):
    dataset = gridflow.Dataset("T", home=home, batch_size=64)
    for value in (2, 3, 4):
        write(home, value)
    assert values(dataset) == {4}
    home.rename(tmp_path / "away")
    create(home, 5)  # its versions begin anew
    assert values(dataset) == {5}
    assert len(mapped(tmp_path)) == 1
    del dataset
    assert not mapped(tmp_path)


def test_kept_while_a_function_holds_the_dataset(home):
    def sum_of(dataset):
        start = tf.constant(0, tf.int64)
        return tf.function(lambda: dataset.reduce(start, lambda n, e: n + tf.reduce_sum(e["val"]["V"])))

    total = sum_of(gridflow.Dataset("T", home=home, batch_size=64))
    assert int(total()) == 256 * 8
    kept = mapped(home)
    assert kept
    assert int(total()) == 256 * 8
    assert mapped(home) == kept
    del total
    assert not mapped(home)


def test_many_threads_and_new_versions(home):
    stop = threading.Event()
    shared = gridflow.Dataset("T", home=home, batch_size=32)
    failures = []

    def read(shared):
        try:
            while not stop.is_set():
                dataset = gridflow.Dataset("T", home=home, batch_size=16) if shared is None else shared
                assert len(values(dataset)) == 1
        except Exception as error:
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=read, args=(shared if i % 2 else None,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for value in range(2, 8):
        write(home, value)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert values(shared) == {7}
    assert len(mapped(home)) == 1
    del shared, thread, threads
    assert not mapped(home)
