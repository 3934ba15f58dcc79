"""Datasets as parts of tf.data pipelines, in graphs, in Keras, and saved and restored."""

import numpy as np
import pytest
import tensorflow as tf

import gridflow


def ids(dataset):
    return np.concatenate([np.ravel(e["key"]) for e in dataset]).tolist()


@pytest.fixture
def dataset(grid, images):
    return gridflow.Dataset(images, grid=grid, batch_size=64)


TRANSFORMATIONS = {
    "map": lambda d: d.map(lambda e: {**e, "extra": tf.cast(e["val"]["PIXELS"], tf.float32) / 255}),
    "parallel map": lambda d: d.map(lambda e: {**e}, num_parallel_calls=tf.data.AUTOTUNE),
    "unbatch": lambda d: d.unbatch(),
    "unbatch, batch": lambda d: d.unbatch().batch(33),
    "rebatch": lambda d: d.rebatch(100),
    "batch": lambda d: d.filter(lambda e: len(e["key"]) == 64).batch(3).concatenate(d.skip(15).batch(1)),
    "prefetch": lambda d: d.prefetch(tf.data.AUTOTUNE),
    "shuffle": lambda d: d.unbatch().shuffle(500),
    "cache": lambda d: d.cache(),
    "repeat": lambda d: d.repeat(1),
    "options": lambda d: d.with_options(tf.data.Options()),
    "enumerate": lambda d: d.enumerate().map(lambda i, e: e),
    "window": lambda d: d.window(4).flat_map(lambda w: tf.data.Dataset.zip({"key": w["key"]})),
    "skip and take": lambda d: d.skip(5).concatenate(d.take(5)),
    "shard": lambda d: d.shard(3, 0).concatenate(d.shard(3, 1)).concatenate(d.shard(3, 2)),
    "interleave": lambda d: tf.data.Dataset.range(1).interleave(lambda _: d),
    "snapshot": lambda d: d.ragged_batch(2).unbatch(),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformation(dataset, name):
    changed = TRANSFORMATIONS[name](dataset)
    for _ in range(2):
        assert sorted(ids(changed)) == list(range(1000))


def test_repeat(dataset):
    assert sorted(ids(dataset.repeat(3))) == sorted(list(range(1000)) * 3)
    forever = iter(dataset.repeat().prefetch(4))
    assert [len(next(forever)["key"]) for _ in range(33)] == ([64] * 15 + [40]) * 2 + [64]


def test_zip_with_itself(dataset):
    for a, b in tf.data.Dataset.zip((dataset, dataset)):
        assert (a["key"] == b["key"]).numpy().all()


def test_in_a_function(dataset):
    @tf.function
    def count():
        rows = tf.constant(0)
        for element in dataset:
            rows += tf.shape(element["key"])[0]
        return rows

    assert int(count()) == 1000
    assert int(count()) == 1000


def test_made_in_a_function(grid, images):
    @tf.function
    def total(first):
        some = tf.range(first, first + 128)
        dataset = gridflow.Dataset(images, grid=grid, batch_size=10, partitions=some, columns=["LABEL"])
        return dataset.reduce(tf.constant(0, tf.int64), lambda n, e: n + tf.reduce_sum(e["key"]))

    assert sum(int(total(tf.constant(i, tf.int64))) for i in range(0, 1024, 128)) == sum(range(1000))


def test_reduce_and_get_single_element(grid, images):
    dataset = gridflow.Dataset(images, grid=grid, batch_size=2000)
    assert len(dataset.get_single_element()["key"]) == 1000
    assert int(dataset.reduce(tf.constant(0, tf.int64), lambda n, e: n + tf.reduce_sum(e["key"]))) == sum(range(1000))


def test_as_graph_and_back(dataset):
    """What tf.data does to optimize a pipeline, and a server to send one."""
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=dataset.map(lambda e: e)._variant_tensor)
    assert b"GridflowDataset" in graph.numpy()
    again = tf.raw_ops.DatasetFromGraph(graph_def=graph)
    restored = tf.data.experimental.from_variant(again, dataset.element_spec)
    assert ids(restored) == ids(dataset)


def test_saved_and_loaded(dataset, tmp_path):
    dataset.save(str(tmp_path / "saved"))
    assert sorted(ids(tf.data.Dataset.load(str(tmp_path / "saved")))) == list(range(1000))


def test_random_access(dataset):
    from tensorflow.python.data.experimental.ops import global_shuffle_op, random_access

    batches = [e["key"].numpy().tolist() for e in dataset]
    for index in (15, 0, 7):
        assert random_access.at(dataset, index)["key"].numpy().tolist() == batches[index]
    shuffled = global_shuffle_op._global_shuffle(dataset, seed=3)
    found = [e["key"].numpy().tolist() for e in shuffled]
    assert found != batches and sorted(found) == sorted(batches)


def test_checkpoint_of_a_global_shuffle(dataset, tmp_path):
    from tensorflow.python.data.experimental.ops import global_shuffle_op

    shuffled = global_shuffle_op._global_shuffle(dataset, seed=3)
    iterator = iter(shuffled)
    for _ in range(6):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
    rest = [e["key"].numpy().tolist() for e in iterator]
    restored = iter(shuffled)
    tf.train.Checkpoint(iterator=restored).restore(path)
    assert [e["key"].numpy().tolist() for e in restored] == rest


def test_a_global_shuffle_beside_a_writer(grid, images, tmp_path):
    """What it reads is the version of its first element; if that has fewer rows than were counted, it says so."""
    from tensorflow.python.data.experimental.ops import global_shuffle_op

    def shuffled():
        return global_shuffle_op._global_shuffle(gridflow.Dataset(images, grid=grid, columns=["LABEL"]), seed=3)

    made = shuffled()
    iterator = iter(made)
    images.put(5000, {"LABEL": 1})
    images.flush()
    first = next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
    rest = [int(e["key"]) for e in iterator]
    restored = iter(made)
    tf.train.Checkpoint(iterator=restored).restore(path)
    assert [int(e["key"]) for e in restored] == rest and len({int(first["key"]), *rest}) == 1000
    shrinking = iter(shuffled())
    images.remove_all(range(500))
    images.flush()
    with pytest.raises(tf.errors.FailedPreconditionError, match="lost rows"):
        list(shrinking)


def test_random_access_over_deleted_rows(grid, images):
    from tensorflow.python.data.experimental.ops import random_access

    images.remove_all(range(0, 1000, 3))
    images.flush()
    dataset = gridflow.Dataset(images, grid=grid, batch_size=10)
    for index, element in enumerate(dataset):
        assert (random_access.at(dataset, index)["key"] == element["key"]).numpy().all()


def test_skip_is_exact_over_deleted_rows(grid, images):
    images.remove_all(range(0, 1000, 7))
    images.flush()
    for batch_size in (None, 9):
        dataset = gridflow.Dataset(images, grid=grid, batch_size=batch_size, columns=[])
        everything = [np.ravel(e["key"]).tolist() for e in dataset]
        for skipped in (0, 1, 17, len(everything) - 1, len(everything), len(everything) + 5):
            assert [np.ravel(e["key"]).tolist() for e in dataset.skip(skipped)] == everything[skipped:]


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_checkpoint_of_an_iterator(grid, images, tmp_path, batch_size, symbolic):
    images.remove_all(range(0, 1000, 3))
    options = tf.data.Options()
    options.experimental_symbolic_checkpoint = symbolic
    dataset = gridflow.Dataset(images, grid=grid, batch_size=batch_size, columns=["LABEL"])
    dataset = dataset.map(lambda e: e, num_parallel_calls=2).prefetch(3).with_options(options)
    everything = [np.ravel(e["key"]).tolist() for e in dataset]
    for position in (0, 1, 20, len(everything) - 1, len(everything)):
        iterator = iter(dataset)
        for _ in range(position):
            next(iterator)
        path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
        restored = iter(dataset)
        tf.train.Checkpoint(iterator=restored).restore(path)
        assert [np.ravel(e["key"]).tolist() for e in restored] == everything[position:]


def test_checkpoint_of_an_older_version_says_so(grid, images, tmp_path):
    dataset = gridflow.Dataset(images, grid=grid, batch_size=10)
    iterator = iter(dataset)
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
    images.remove(next(iter(dataset))["key"].numpy()[0].item())
    images.flush()
    restored = iter(dataset)
    with pytest.raises(tf.errors.FailedPreconditionError, match="version .* of table IMAGES is gone"):
        tf.train.Checkpoint(iterator=restored).restore(path)
        next(restored)


def test_checkpoint_of_an_interleave(grid, images, tmp_path):
    dataset = tf.data.Dataset.range(8).interleave(
        lambda i: gridflow.Dataset(images, grid=grid, partitions=tf.range(i * 128, i * 128 + 128), columns=[]),
        cycle_length=3,
    )
    iterator = iter(dataset)
    for _ in range(100):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
    rest = [int(e["key"]) for e in iterator]
    restored = iter(dataset)
    tf.train.Checkpoint(iterator=restored).restore(path)
    assert [int(e["key"]) for e in restored] == rest


def test_keras_fit(grid, images):
    dataset = gridflow.Dataset(images, grid=grid, batch_size=100)
    pairs = dataset.map(lambda e: (tf.cast(e["val"]["PIXELS"], tf.float32) / 255, e["val"]["LABEL"]))
    model = tf.keras.Sequential([tf.keras.layers.Flatten(), tf.keras.layers.Dense(10)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    history = model.fit(pairs, epochs=2, verbose=0, validation_data=pairs)
    assert len(history.history["loss"]) == 2
    assert np.isfinite(model.evaluate(pairs, verbose=0))
    assert model.predict(pairs.map(lambda x, y: x), verbose=0).shape == (1000, 10)


def test_two_iterators_and_a_writer_at_once(grid, images):
    dataset = gridflow.Dataset(images, grid=grid, batch_size=50, columns=["LABEL"])
    first, second = iter(dataset.prefetch(2)), iter(dataset)
    found = [[], []]
    for i in range(20):
        found[0] += next(first)["key"].numpy().tolist()
        found[1] += next(second)["key"].numpy().tolist()
        images.put(i, {"PIXELS": np.zeros((28, 28), np.uint8), "LABEL": 1})
        images.flush()
    assert sorted(found[0]) == sorted(found[1]) == list(range(1000))
