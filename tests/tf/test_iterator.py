"""The iterator of a plain loop: quicker than TensorFlow's, and otherwise the same."""

import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.data.ops.iterator_ops import OwnedIterator

import gridflow


@pytest.fixture
def dataset(grid, images):
    return gridflow.Dataset(images, grid=grid, batch_size=64)


def keys(iterator):
    return [np.ravel(e["key"]).tolist() for e in iterator]


def same(a, b):
    tf.nest.assert_same_structure(a, b)
    pairs = zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True)
    return all((x == y).numpy().all() and x.dtype == y.dtype for x, y in pairs)


def is_quick(iterator):
    return isinstance(iterator, OwnedIterator) and type(iterator) is not OwnedIterator


SCHEMAS = {
    "columns": {"ID": "LONG", "B": "INT32[3]", "A": "STRING"},
    "nested": {"ID": "LONG", "Z": "STRUCT<Y INT, X STRUCT<Q FLOAT, P LONG>>", "C": "DATE"},
    "keys": {"ID": "LONG", "AT": "INT", "V": "DOUBLE"},
}
ROWS = {
    "columns": {"B": [1, 2, 3], "A": "a"},
    "nested": {"Z": {"Y": 5, "X": {"Q": 0.5, "P": 7}}, "C": None},
    "keys": {"V": 2.5},
}


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("kind", SCHEMAS)
def test_elements_are_those_of_tensorflows_iterator(grid, kind, batch_size):
    import datetime

    row = {**ROWS[kind], **({"C": datetime.date(2024, 1, 2)} if kind == "nested" else {})}
    table = grid.create_table("T", SCHEMAS[kind], key=["ID", "AT"] if kind == "keys" else "ID")
    table.put_all({((i, i) if kind == "keys" else i): row for i in range(10)})
    dataset = gridflow.Dataset(table, grid=grid, batch_size=batch_size)
    ours, theirs = iter(dataset), OwnedIterator(dataset)
    assert is_quick(ours)
    for element in ours:
        other = next(theirs)
        assert same(element, other)
        assert [list(part) for part in element.values() if isinstance(part, dict)] == [
            list(part) for part in other.values() if isinstance(part, dict)
        ]
    with pytest.raises(StopIteration):
        next(theirs)


def test_plain_values_and_no_columns(grid, images):
    assert all(list(e["val"]) == [] for e in gridflow.Dataset(images, grid=grid, batch_size=10, columns=[]))
    grid.cache("C").put("a", 1)
    assert [int(e["val"]) for e in gridflow.Dataset("C", grid=grid)] == [1]


def test_lists_are_left_to_tensorflow(grid):
    table = grid.create_table("T", {"ID": "LONG", "L": "LIST<INT>"}, key="ID")
    table.put(1, {"L": [1, 2]})
    iterator = iter(gridflow.Dataset(table, grid=grid, batch_size=2))
    assert not is_quick(iterator)
    assert next(iterator)["val"]["L"].to_list() == [[1, 2]]


def test_the_end(dataset):
    iterator = iter(dataset)
    assert is_quick(iterator) and iter(iterator) is iterator
    assert len(keys(iterator)) == 16
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(iterator)
    with pytest.raises(tf.errors.OutOfRangeError):
        iterator.get_next()
    assert not iterator.get_next_as_optional().has_value()
    assert next(iterator, None) is None
    assert keys(dataset) == keys(dataset)


def test_two_loops_over_one_dataset(dataset):
    first, second = iter(dataset), iter(dataset)
    for _ in range(16):
        assert same(next(first), next(second))


def test_next_as_optional_and_spec(dataset):
    iterator = iter(dataset)
    assert iterator.element_spec == dataset.element_spec
    assert same(iterator.get_next_as_optional().get_value(), next(iter(dataset)))
    assert tf.data.IteratorSpec.from_value(iterator) == iterator._type_spec


def test_errors_are_those_of_tensorflow(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    table.put(1, {"V": None})
    iterator = iter(gridflow.Dataset(table, grid=grid, batch_size=2))
    with pytest.raises(tf.errors.InvalidArgumentError, match="null"):
        next(iterator)


def test_an_iterator_in_a_function(dataset):
    @tf.function
    def step(iterator):
        return next(iterator)["key"]

    @tf.function
    def rest(iterator):
        rows = tf.constant(0)
        for element in iterator:
            rows += tf.shape(element["key"])[0]
        return rows

    expected, iterator = keys(dataset), iter(dataset)
    assert step(iterator).numpy().tolist() == expected[0]
    assert next(iterator)["key"].numpy().tolist() == expected[1]
    assert int(rest(iterator)) == 1000 - 128
    captured = iter(dataset)

    @tf.function
    def of_outside():
        return next(captured)["key"]

    assert of_outside().numpy().tolist() == expected[0]
    assert next(captured)["key"].numpy().tolist() == expected[1]


def test_an_iterator_made_in_a_function(dataset):
    @tf.function
    def first():
        iterator = iter(dataset)
        assert not is_quick(iterator)
        return next(iterator)["key"]

    assert first().numpy().tolist() == keys(dataset)[0]


def test_in_a_python_function(dataset):
    total = tf.py_function(lambda: sum(len(e["key"]) for e in dataset), [], tf.int32)
    assert int(total) == 1000


def test_outside_of_eager_execution(dataset):
    with tf.Graph().as_default(), pytest.raises(RuntimeError, match="eager"):
        iter(dataset)
    iterator = iter(dataset)
    with tf.Graph().as_default():
        assert isinstance(dataset.element_spec, dict) and not tf.executing_eagerly()
    assert len(keys(iterator)) == 16


def test_asynchronous_execution(dataset):
    expected = keys(dataset)
    before = iter(dataset)
    tf.config.experimental.set_synchronous_execution(False)
    try:
        assert keys(before) == expected
        assert keys(dataset) == expected
    finally:
        tf.config.experimental.set_synchronous_execution(True)


def test_under_a_tape_and_on_a_device(dataset):
    weight = tf.Variable(2.0)
    with tf.device("/CPU:0"):
        for element in dataset:
            with tf.GradientTape() as tape:
                loss = weight * tf.reduce_sum(tf.cast(element["val"]["LABEL"], tf.float32))
            assert float(tape.gradient(loss, weight)) == float(loss) / 2
    with tf.GradientTape() as tape:
        total = weight * sum(float(tf.reduce_sum(e["key"])) for e in dataset)
    assert float(tape.gradient(total, weight)) == sum(range(1000))


def test_numpy_iterator(dataset):
    assert [e["key"].tolist() for e in dataset.as_numpy_iterator()] == keys(dataset)


def test_distributed(dataset):
    strategy = tf.distribute.MirroredStrategy(["/CPU:0"])
    distributed = strategy.experimental_distribute_dataset(dataset)
    assert sum(int(strategy.run(lambda e: tf.size(e["key"]), args=(e,))) for e in distributed) == 1000
    with strategy.scope():
        assert len(keys(dataset)) == 16
    distributed = strategy.distribute_datasets_from_function(lambda context: dataset)
    assert sum(len(e["key"]) for e in distributed) == 1000


@pytest.mark.parametrize("batch_size", [None, 64])
def test_checkpoint(grid, images, tmp_path, batch_size):
    dataset = gridflow.Dataset(images, grid=grid, batch_size=batch_size, columns=[])
    everything = keys(dataset)
    for position in (0, 5, len(everything)):
        iterator = iter(dataset)
        for _ in range(position):
            next(iterator)
        path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
        assert keys(iterator) == everything[position:]
        # Into the iterator itself, at its end by now, and into one of a dataset like this one.
        again = gridflow.Dataset(images, grid=grid, batch_size=batch_size, columns=[])
        for restored in (iterator, iter(again)):
            tf.train.Checkpoint(iterator=restored).restore(path)
            assert keys(restored) == everything[position:]


def test_checkpoint_of_a_numpy_iterator(dataset, tmp_path):
    iterator = dataset.as_numpy_iterator()
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
    restored = dataset.as_numpy_iterator()
    tf.train.Checkpoint(iterator=restored).restore(path)
    assert next(restored)["key"].tolist() == keys(dataset)[1]


def test_options_stay_with_the_iterator(dataset):
    next(iter(dataset))
    for made in (dataset, dataset.map(lambda e: e), dataset.prefetch(1)):
        options, default = made.options(), tf.data.Options()
        assert options.autotune == default.autotune
        assert options.experimental_optimization == default.experimental_optimization
        assert not is_quick(iter(made)) or made is dataset
    options = tf.data.Options()
    options.deterministic = False
    assert len(keys(dataset.with_options(options))) == 16


def test_an_iterator_outlives_its_dataset(grid, images):
    iterator = iter(gridflow.Dataset(images, grid=grid, batch_size=64))
    assert sorted(sum(keys(iterator), [])) == list(range(1000))


def test_an_iterator_shared_by_threads(grid, images):
    iterator = iter(gridflow.Dataset(images, grid=grid, batch_size=3))
    found = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(keys(iterator))) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for mine in found for batch in mine for key in batch) == list(range(1000))


def test_keras_takes_it_as_it_is(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "FLOAT32[4]", "L": "INT32"}, key="ID")
    table.put_all({i: {"V": [i] * 4, "L": i % 2} for i in range(64)})
    dataset = gridflow.Dataset(table, grid=grid, batch_size=16)
    model = tf.keras.Sequential([tf.keras.layers.Dense(2)])
    model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for element in dataset:
        assert np.isfinite(model.train_on_batch(element["val"]["V"], element["val"]["L"]))
    assert len(model.predict(dataset.map(lambda e: e["val"]["V"]), verbose=0)) == 64
