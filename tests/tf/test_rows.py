"""Which rows a dataset has: deletions, segments, partitions, batches, versions."""

import random

import numpy as np
import pytest
import tensorflow as tf

import gridflow


def ids(dataset, batched=True):
    found = [e["key"].numpy() for e in dataset]
    return (np.concatenate(found) if batched and found else np.asarray(found)).tolist()


def check_values(dataset):
    for e in dataset:
        expected = (e["key"].numpy() % 251)[:, None, None]
        assert (e["val"]["PIXELS"].numpy() == expected).all()
        assert (e["val"]["LABEL"].numpy() == e["key"].numpy() % 10).all()


@pytest.fixture
def segments(grid, images):
    """Several segments, with overwritten and deleted rows; returns the ids that are there."""
    alive = set(range(1000))
    chance = random.Random(5)
    for step in range(5):
        new = range(1000 + 300 * step, 1300 + 300 * step)
        pixels = {i: np.full((28, 28), i % 251, np.uint8) for i in new}
        images.put_all({i: {"PIXELS": pixels[i], "LABEL": i % 10} for i in new})
        alive |= set(new)
        again = chance.sample(sorted(alive), 50)  # the same value, in another segment
        images.put_all({i: {"PIXELS": np.full((28, 28), i % 251, np.uint8), "LABEL": i % 10} for i in again})
        gone = chance.sample(sorted(alive), 120)
        images.remove_all(gone)
        alive -= set(gone)
        images.flush()
    return alive


@pytest.mark.parametrize("batch_size", [1, 7, 128, 333, 5000, 2**63 - 1])
def test_every_live_row_once_in_full_batches(grid, images, segments, batch_size):
    dataset = gridflow.Dataset(images, grid=grid, batch_size=batch_size)
    sizes = [len(e["key"]) for e in dataset]
    assert set(sizes[:-1]) <= {batch_size} and 0 < sizes[-1] <= batch_size
    assert sorted(ids(dataset)) == sorted(segments)
    assert len(dataset) == len(sizes)
    check_values(dataset)


def test_single_rows(grid, images, segments):
    dataset = gridflow.Dataset(images, grid=grid)
    assert sorted(ids(dataset, batched=False)) == sorted(segments)
    assert len(dataset) == len(segments)
    check_values(dataset.batch(64))


def test_drop_remainder(grid, images, segments):
    dataset = gridflow.Dataset(images, grid=grid, batch_size=100, drop_remainder=True)
    assert dataset.element_spec["val"]["PIXELS"].shape == (100, 28, 28)
    assert [len(e["key"]) for e in dataset] == [100] * (len(segments) // 100)
    assert len(dataset) == len(segments) // 100


def test_all_rows_of_a_segment_deleted(grid, images):
    images.put_all({i: {"PIXELS": np.zeros((28, 28), np.uint8), "LABEL": 0} for i in (5000, 5001)})
    images.remove_all(range(1000))
    images.flush()
    assert sorted(ids(gridflow.Dataset(images, grid=grid, batch_size=10))) == [5000, 5001]
    images.remove_all([5000, 5001])
    dataset = gridflow.Dataset(images, grid=grid, batch_size=10)
    assert ids(dataset) == [] and len(dataset) == 0


@pytest.mark.parametrize("pieces", [1, 2, 3, 8, 100])
def test_partition_ranges_split_the_rows(grid, images, segments, pieces):
    bounds = np.linspace(0, 1024, pieces + 1).astype(int)
    found = []
    for begin, end in zip(bounds, bounds[1:], strict=False):
        dataset = gridflow.Dataset(images, grid=grid, partitions=range(begin, end), batch_size=50)
        part = ids(dataset)
        assert len(dataset) == -(-len(part) // 50)
        found += part
    assert sorted(found) == sorted(segments)


def test_ways_to_say_partitions(grid, images):
    def read(partitions):
        return sorted(ids(gridflow.Dataset(images, grid=grid, partitions=partitions, batch_size=100)))

    everything = list(range(1000))
    assert read(None) == read(range(1024)) == read(slice(None)) == everything
    assert read([]) == read(range(5, 5)) == []
    odd, even = read(range(1, 1024, 2)), read(slice(0, 1024, 2))
    assert odd and even and sorted(odd + even) == everything
    assert read(7) == read([7, 7]) == read(np.int64(7)) == read({7})
    assert sorted(read(7) + read(9) + read(8)) == read([9, 8, 7]) == read(range(7, 10))
    for wrong in (1024, -1, [3, 5000]):
        with pytest.raises(gridflow.SchemaError, match="table IMAGES has partitions 0 to 1023, not"):
            read(wrong)


def test_partitions_of_a_tensor(grid, images):
    dataset = tf.data.Dataset.range(16).interleave(
        lambda i: gridflow.Dataset(
            images, grid=grid, partitions=tf.range(i * 64, (i + 1) * 64), batch_size=32, columns=["LABEL"]
        ),
        cycle_length=4,
        num_parallel_calls=2,
    )
    assert sorted(ids(dataset)) == list(range(1000))
    one = tf.data.Dataset.range(1024).flat_map(lambda i: gridflow.Dataset(images, grid=grid, partitions=i))
    assert sorted(ids(one, batched=False)) == list(range(1000))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no partitions 1024 to 1024: there are 1024"):
        ids(gridflow.Dataset(images, grid=grid, partitions=tf.constant(1024)))


def test_order_is_the_same_in_every_epoch_and_random(grid, images):
    dataset = gridflow.Dataset(images, grid=grid, batch_size=100)
    first = ids(dataset)
    assert ids(dataset) == first
    assert first != sorted(first)


def test_a_new_epoch_sees_what_was_written_before_it(grid, images):
    dataset = gridflow.Dataset(images, grid=grid, columns=["LABEL"], batch_size=100)
    derived = dataset.map(lambda e: e["key"]).prefetch(2)

    def derived_ids():
        return sorted(np.concatenate([k.numpy() for k in derived]).tolist())

    @tf.function
    def total():
        result = tf.constant(0, tf.int64)
        for e in dataset:
            result += tf.reduce_sum(e["key"])
        return result

    assert derived_ids() == list(range(1000))
    assert int(total()) == sum(range(1000))
    images.put(5000, {"PIXELS": np.zeros((28, 28), np.uint8), "LABEL": 3})
    assert derived_ids() == [*range(1000), 5000]  # without a flush by anybody
    images.remove(5)
    images.put(6000, {"PIXELS": np.zeros((28, 28), np.uint8), "LABEL": 3})
    assert int(total()) == sum(range(1000)) - 5 + 11000
    images.put_all({i: {"PIXELS": np.zeros((28, 28), np.uint8), "LABEL": 3} for i in range(7000, 7200)})
    assert len(dataset) == 13
    assert len(ids(dataset)) == 1201


def test_an_iterator_keeps_its_version(grid, images):
    reading = iter(gridflow.Dataset(images, grid=grid, batch_size=100))
    found = next(reading)["key"].numpy().tolist()
    images.remove_all(range(1000))
    images.flush()
    images.compact()
    for element in reading:
        found += element["key"].numpy().tolist()
        assert (element["val"]["PIXELS"].numpy() == (element["key"].numpy() % 251)[:, None, None]).all()
    assert sorted(found) == list(range(1000))


def test_wrong_batch_sizes(grid, images):
    for wrong in (0, -1):
        with pytest.raises(gridflow.UsageError, match="batch_size"):
            gridflow.Dataset(images, grid=grid, batch_size=wrong)
    with pytest.raises(gridflow.UsageError, match="drop_remainder"):
        gridflow.Dataset(images, grid=grid, drop_remainder=True)


def test_big_copies_are_shared_among_threads(grid):
    """Batches that cross segments or deletions are copied, and in pieces if they are big."""
    table = grid.create_table("T", {"ID": "LONG", "V": "INT32[3000]"}, key="ID")
    for part in range(3):
        rows = np.arange(part * 500, part * 500 + 500)
        table.load({"ID": rows, "V": np.repeat(rows[:, None], 3000, axis=1).astype(np.int32)}, on_duplicate="error")
    table.remove_all(range(0, 1500, 13))
    for batch_size in (300, 600, 2000):
        found = []
        for element in gridflow.Dataset(table, grid=grid, batch_size=batch_size):
            assert (element["val"]["V"].numpy() == element["key"].numpy()[:, None]).all()
            found += element["key"].numpy().tolist()
        assert sorted(found) == [i for i in range(1500) if i % 13]
