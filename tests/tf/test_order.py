"""Which rows come, in which order: what is called on a dataset means what tf.data means by it, and costs nothing."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import gridflow
from gridflow import ColumnNotFoundError, SqlError, UsageError

ROWS = 100


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rows in three segments, some of them deleted: the order of keys is that of a plain dataset."""
    with gridflow.connect(tmp_path_factory.mktemp("order") / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": "DOUBLE", "KIND": "STRING", "XS": "LIST<INT>"}, key="ID")
        for part in range(3):
            ids = np.arange(part * 40, part * 40 + 40)
            kinds = ["even" if i % 10 else "tenth" for i in ids]
            table.load({"ID": ids, "V": ids * 0.5, "KIND": kinds, "XS": [[int(i)] * int(i % 3) for i in ids]})
        table.remove_all(range(0, 120, 6))
        table.flush()
        yield table
        assert grid.check() == []


@pytest.fixture(scope="module")
def plain(table):
    return keys(dataset(table))


def dataset(table, **options):
    return gridflow.Dataset(table, columns=options.pop("columns", []), **options)


def keys(elements):
    return [np.ravel(element["key"]).tolist() for element in elements]


def flat(elements):
    return list(itertools.chain.from_iterable(keys(elements)))


def is_ours(dataset):
    return type(dataset) is gridflow.Dataset


CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("skip"), st.integers(-1, 130)),
        st.tuples(st.just("take"), st.integers(-1, 130)),
        st.integers(1, 7).flatmap(lambda n: st.tuples(st.just("shard"), st.just(n), st.integers(0, n - 1))),
        st.tuples(st.just("batch"), st.integers(1, 130), st.booleans()),
        st.tuples(st.just("repeat"), st.integers(0, 3)),
    ),
    max_size=6,
)


@given(calls=CALLS)
@settings(max_examples=150, deadline=None)
def test_calls_mean_what_tf_data_means(table, plain, calls):
    ours, theirs = dataset(table), tf.data.Dataset.from_tensor_slices(np.array(plain)[:, 0])
    for name, *arguments in calls:
        ours, theirs = getattr(ours, name)(*arguments), getattr(theirs, name)(*arguments)
    assert ours.element_spec["key"] == theirs.element_spec
    try:
        expected = [np.ravel(element).tolist() for element in theirs]
    except tf.errors.InvalidArgumentError:  # a batch of batches of which the last is not full
        with pytest.raises(tf.errors.InvalidArgumentError, match="different shapes"):
            list(ours)
        return
    assert keys(ours) == expected
    assert int(ours.cardinality()) == len(expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d.batch(8),
        lambda d: d.shuffle(10).batch(8),
        lambda d: (
            d.shard(2, 1).skip(3).take(20).shuffle(5, seed=1).batch(8, drop_remainder=True).skip(1).take(5).shard(2, 0)
        ),
        lambda d: d.shuffle(10).repeat().batch(8),
        lambda d: d.batch(8).repeat(3),
        lambda d: d.batch(np.int64(8), num_parallel_calls=tf.data.AUTOTUNE, deterministic=False),
        lambda d: d.ragged_batch(4),
        lambda d: d.batch(tf.constant(4)).take(tf.constant(2)),
    ],
)
def test_calls_that_the_op_does(table, make):
    assert is_ours(make(dataset(table)))


def test_calls_that_tf_data_does(table):
    for make in (
        lambda d: d.batch(8).batch(2),
        lambda d: d.batch(8).shuffle(4),
        lambda d: d.shuffle(8).shuffle(4),
        lambda d: d.repeat(2).take(7),
        lambda d: d.map(lambda e: e).batch(8),
    ):
        made = make(dataset(table))
        assert not is_ours(made)
        assert len(keys(made)) > 0
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        dataset(table).batch(0)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        dataset(table).shard(2, 2)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        iter(dataset(table).shuffle(0))


def test_lists_batch_as_tf_data_batches_them(table):
    lists = dataset(table, columns=["XS"])
    assert not is_ours(lists.batch(3)) and is_ours(lists.ragged_batch(3))
    assert not is_ours(lists.repeat(2).ragged_batch(3)) and is_ours(lists.ragged_batch(3).repeat(2))
    again = tf.data.Dataset.map(lists, lambda e: e).ragged_batch(7)  # tf.data's
    for ours, theirs in zip(lists.ragged_batch(7), again, strict=True):
        assert ours["val"]["XS"].to_list() == theirs["val"]["XS"].to_list()
    spec = lists.ragged_batch(7).element_spec["val"]["XS"]
    assert spec.is_compatible_with(again.element_spec["val"]["XS"]) or spec.dtype == tf.int32


def test_a_batch_goes_on_in_the_next_epoch(table, plain):
    table_rows = [key for (key,) in plain]
    batches = keys(dataset(table).repeat(3).batch(64))
    assert [len(batch) for batch in batches] == [64] * 4 + [300 - 256]
    assert list(itertools.chain.from_iterable(batches)) == table_rows * 3
    forever = iter(dataset(table).repeat().batch(64))
    assert (
        list(itertools.islice(itertools.chain.from_iterable(keys(itertools.islice(forever, 10))), 640))
        == (table_rows * 7)[:640]
    )


def test_strings_go_on_in_the_next_epoch(table):
    kinds = [e["val"]["KIND"].numpy().tolist() for e in dataset(table, columns=["KIND"]).repeat(2).batch(150)]
    assert [len(kind) for kind in kinds] == [150, 50] and kinds[0][:50] == kinds[0][100:]


def test_an_empty_table_repeats_to_nothing(table):
    empty = dataset(table, where="ID < 0")
    assert keys(empty.repeat()) == keys(empty.batch(4).repeat()) == keys(empty.repeat().batch(4)) == []
    assert int(empty.repeat().cardinality()) == 0
    assert int(dataset(table).batch(4).repeat().cardinality()) == tf.data.INFINITE_CARDINALITY
    assert int(dataset(table).repeat(3).batch(64).cardinality()) == 5


# ---- shuffle ----


@pytest.mark.parametrize("buffer", [1, 2, 10, 99, 100, 10_000])
def test_shuffle_gives_every_row_once(table, plain, buffer):
    shuffled = dataset(table).shuffle(buffer).batch(7)
    assert is_ours(shuffled)
    first, second = flat(shuffled), flat(shuffled)
    assert sorted(first) == sorted(second) == sorted(key for (key,) in plain)
    assert (first == second) == (buffer == 1)
    if buffer == 1:
        assert first == [key for (key,) in plain]


@pytest.mark.parametrize("buffer", [2, 10, 50])
def test_a_buffer_moves_no_row_too_far_ahead(table, plain, buffer):
    """As tf.data's: the row at place p comes at p - buffer + 1 at the earliest, and at any place later."""
    place = {key: i for i, (key,) in enumerate(plain)}
    for _ in range(20):
        order = flat(dataset(table).shuffle(buffer))
        assert all(at >= place[key] - buffer + 1 for at, key in enumerate(order))


def test_a_buffer_draws_as_tf_datas(table, plain):
    """How far rows move, on average over many shuffles, beside what tf.data does with the same buffer."""
    place = {key: i for i, (key,) in enumerate(plain)}

    def moves(make):
        orders = [make(i) for i in range(150)]
        return np.array([[at - place[key] for at, key in enumerate(order)] for order in orders])

    ours = moves(lambda i: flat(dataset(table).shuffle(20, seed=i)))
    numbers = tf.data.Dataset.from_tensor_slices(np.array(plain)[:, 0])
    theirs = moves(lambda i: [int(key) for key in numbers.shuffle(20, seed=i)])
    assert abs(np.abs(ours).mean() - np.abs(theirs).mean()) < 1.0
    assert abs(np.quantile(ours, 0.95) - np.quantile(theirs, 0.95)) <= 4


def test_a_full_shuffle_is_uniform(table, plain):
    """Every row at every place about equally often: chi-square over 100 rows x 100 places."""
    place = {key: i for i, (key,) in enumerate(plain)}
    counts = np.zeros((ROWS, ROWS))
    shuffled = dataset(table, shuffle=True, seed=5).batch(ROWS)
    epochs = 2000
    for batch in shuffled.repeat(epochs):
        for at, key in enumerate(batch["key"].numpy()):
            counts[place[key], at] += 1
    chi = ((counts - epochs / ROWS) ** 2 / (epochs / ROWS)).sum()
    degrees = (ROWS - 1) ** 2
    assert abs(chi - degrees) < 6 * np.sqrt(2 * degrees)


def test_seeds(table):
    def orders(**options):
        shuffled = dataset(table, **options).batch(50)
        return flat(shuffled), flat(shuffled)

    assert orders(shuffle=True, seed=1) == orders(shuffle=True, seed=1)
    assert orders(shuffle=True, seed=1) != orders(shuffle=True, seed=2)
    assert orders(shuffle=True) != orders(shuffle=True)
    first, second = orders(shuffle=True, seed=1)
    assert first != second, "each epoch has an order of its own"
    fixed = dataset(table).shuffle(1000, reshuffle_each_iteration=False).batch(3)
    assert flat(fixed) == flat(fixed) == flat(fixed.map(lambda e: e))
    repeated = flat(dataset(table).shuffle(1000, seed=4).repeat(2))
    assert repeated[:ROWS] != repeated[ROWS:] and sorted(repeated[:ROWS]) == sorted(repeated[ROWS:])


def test_the_seed_of_tensorflow(table):
    try:
        tf.random.set_seed(7)
        one = flat(dataset(table).shuffle(1000))
        tf.random.set_seed(7)
        assert flat(dataset(table).shuffle(1000)) == one
    finally:
        tf.random.set_seed(None)


def test_epochs_differ_behind_a_pipeline(table):
    """tf.data makes the source anew from its graph for each iterator; it is the same dataset all the same."""
    pipeline = dataset(table, shuffle=True, seed=1).batch(10).map(lambda e: e, num_parallel_calls=2).prefetch(1)
    orders = [flat(pipeline) for _ in range(3)] + [flat(pipeline.repeat(2))[ROWS:]]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("options", [{"shuffle": True, "seed": 1}, {"weights": "V + 1", "seed": 1}, {"shuffle": True}])
@pytest.mark.parametrize("call", [lambda d: d.take(10), lambda d: d.skip(90), lambda d: d.batch(10).take(1)])
def test_who_takes_some_rows_again_gets_others(table, options, call):
    """Epochs are the source's: a dataset made of it goes on where it is."""
    source = dataset(table, **options)
    seen = [tuple(flat(call(source))) for _ in range(20)]
    assert len(set(seen)) == 20 and len(set(itertools.chain.from_iterable(seen))) > 60
    assert tuple(flat(source))[:10] not in seen


# TensorFlow fuses shuffle and repeat to an op that does not take 0.
CALLS_AFTER = CALLS.filter(lambda calls: ("repeat", 0) not in calls)
ITERATIONS = st.lists(st.integers(0, 3), min_size=2, max_size=6)


@given(
    before=CALLS.filter(lambda calls: all(name in ("take", "skip", "shard") for name, *_ in calls)),
    after=st.lists(CALLS_AFTER, min_size=4, max_size=4),
    seed=st.one_of(st.none(), st.integers(0, 3)),
    again=st.booleans(),
    iterations=ITERATIONS,
)
@settings(max_examples=40, deadline=None)
def test_epochs_are_those_of_tf_data(table, plain, before, after, seed, again, iterations):
    """Which iterations of datasets that were made of one shuffled dataset give the same rows."""

    def runs(source):
        for name, *arguments in before:
            source = getattr(source, name)(*arguments)
        source = source.shuffle(1000, seed=seed, reshuffle_each_iteration=again)
        made = []
        for calls in after:
            derived = source
            for name, *arguments in calls:
                derived = getattr(derived, name)(*arguments)
            made.append(derived)
        found = []
        for i in iterations:
            try:
                found.append([np.ravel(one["key"] if isinstance(one, dict) else one).tolist() for one in made[i]])
            except tf.errors.InvalidArgumentError:  # a batch of batches of which the last is not full
                found.append(None)
        return found

    ours = runs(dataset(table))
    theirs = runs(tf.data.Dataset.from_tensor_slices(np.array(plain)[:, 0]))
    assert [one if one is None else list(map(len, one)) for one in ours] == [
        one if one is None else list(map(len, one)) for one in theirs
    ]
    for p, q in itertools.combinations(range(len(iterations)), 2):
        if ours[p] and sum(map(len, ours[p])) >= 10 and iterations[p] == iterations[q]:
            assert (ours[p] == ours[q]) == (theirs[p] == theirs[q])


# ---- where, order_by, weights ----


def test_where(table, plain):
    wanted = [key for (key,) in plain if key < 60 and key % 10 == 0]
    chosen = dataset(table, where="ID < 60 AND KIND = 'tenth'")
    assert flat(chosen) == wanted and int(chosen.cardinality()) == len(wanted)
    assert flat(chosen.batch(3)) == wanted and sorted(flat(chosen.shuffle(100))) == sorted(wanted)
    assert keys(chosen.skip(2).batch(2).take(1)) == [wanted[2:4]]
    assert flat(dataset(table, where="ID IN (SELECT ID + 1 FROM T WHERE ID < 10)")) == [
        key for (key,) in plain if key - 1 in range(10) and (key - 1) % 6
    ]
    assert flat(dataset(table, where="FALSE")) == []


def test_where_in_partitions(table):
    parts = [flat(dataset(table, where="ID % 2 = 1", partitions=range(i * 256, i * 256 + 256))) for i in range(4)]
    assert sorted(itertools.chain.from_iterable(parts)) == [i for i in range(120) if i % 6 and i % 2]
    assert flat(dataset(table, where="TRUE", partitions=[])) == []
    some = dataset(table, partitions=[900, 3, 4, 5, 17])
    assert flat(dataset(table, where="TRUE", partitions=[900, 3, 4, 5, 17])) == flat(some)


def test_order_by(table):
    assert flat(dataset(table, order_by="ID")) == [i for i in range(120) if i % 6]
    assert flat(dataset(table, order_by="ID DESC", where="V < 10").batch(4)) == [i for i in range(19, -1, -1) if i % 6]
    in_kind = flat(dataset(table, order_by="KIND, ID DESC"))
    assert in_kind[0] == 119 and in_kind[-1] == 10


def test_rows_that_change_are_chosen_anew(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    table.put_all({i: {"V": i} for i in range(20)})
    small = gridflow.Dataset(table, where="V < 5", batch_size=100)
    assert sorted(flat(small)) == [0, 1, 2, 3, 4]
    table.put_all({0: {"V": 9}, 19: {"V": 0}})
    assert sorted(flat(small)) == [1, 2, 3, 4, 19]
    table.remove(3)
    assert sorted(flat(small)) == [1, 2, 4, 19]


def test_weights(table):
    drawn = flat(dataset(table, weights="CASE WHEN ID < 30 THEN 3 ELSE 1 END", seed=1).repeat(100))
    assert len(drawn) == ROWS * 100 and set(drawn) == {i for i in range(120) if i % 6}
    low = sum(key < 30 for key in drawn) / len(drawn)
    assert abs(low - 25 * 3 / (25 * 3 + 75)) < 0.02
    assert set(flat(dataset(table, weights="V", where="ID < 10"))) <= {1, 2, 3, 4, 5, 7, 8, 9}
    assert 119 not in flat(dataset(table, weights="ID < 119"))
    again = dataset(table, weights="V", seed=3).batch(10)
    first = flat(again)
    assert first != flat(again) and first == flat(dataset(table, weights="V", seed=3).batch(10))


def test_balance(table):
    kinds = itertools.chain.from_iterable(
        e["val"]["KIND"].numpy() for e in dataset(table, columns=["KIND"], balance="KIND", seed=2).repeat(40).batch(64)
    )
    kinds = list(kinds)
    assert abs(kinds.count(b"tenth") / len(kinds) - 0.5) < 0.03


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"where": "LABEL < 5"}, ColumnNotFoundError, "no column LABEL"),
        ({"where": "ID <"}, SqlError, "line 1"),
        ({"where": "ID < 5 ORDER BY ID"}, SqlError, "parts of one query"),
        ({"where": "TRUE; DROP TABLE T"}, SqlError, "parts of one query"),
        ({"where": "TRUE) UNION (SELECT 1"}, SqlError, "line 1"),
        ({"where": "ID < 5 LIMIT 3"}, SqlError, "parts of one query"),
        ({"where": ""}, SqlError, "line 1"),
        ({"where": "KIND + 1"}, SqlError, "VARCHAR"),
        ({"order_by": "NOPE"}, ColumnNotFoundError, "NOPE"),
        ({"weights": "ID, V"}, SqlError, "one number"),
        ({"weights": "V", "balance": "KIND"}, UsageError, "weights and balance"),
        ({"weights": "V", "order_by": "ID"}, UsageError, "no order"),
        ({"where": 5}, UsageError, "where is SQL text, not int"),
    ],
)
def test_what_is_no_condition(table, options, error, message):
    with pytest.raises(error, match=message):
        made = dataset(table, **options)
        list(made)
    assert len(table) == ROWS


@pytest.mark.parametrize(
    "weights, message", [("V - 10", r"-\d.* is no weight"), ("NULL", "null"), ("0", "all are 0"), ("KIND", "'even'")]
)
def test_what_is_no_weight(table, weights, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"table T cannot be chosen.*{message}"):
        list(dataset(table, weights=weights))


def test_a_condition_on_a_column_that_went(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    table.put(1, {"V": 1})
    small = gridflow.Dataset(table, where="V < 5", columns=[])
    grid.sql("ALTER TABLE T DROP COLUMN V")
    with pytest.raises(tf.errors.InvalidArgumentError, match="no column V"):
        list(small)


# ---- as_supervised ----


def test_as_supervised(table):
    pairs = dataset(table, columns=None, as_supervised=("V", "KIND"), batch_size=4)
    features, label = next(iter(pairs))
    assert features.dtype == tf.float64 and label.dtype == tf.string and features.shape == (4,)
    features, label = next(iter(gridflow.Dataset(table, as_supervised=(["V", "ID"], "KIND"))))
    assert list(features) == ["V", "ID"] and float(features["V"]) == int(features["ID"]) / 2
    with pytest.raises(ColumnNotFoundError, match="LABEL"):
        gridflow.Dataset(table, as_supervised=("V", "LABEL"))
    with pytest.raises(UsageError, match="features, label"):
        gridflow.Dataset(table, as_supervised="V")
    with pytest.raises(UsageError, match="leave columns out"):
        gridflow.Dataset(table, as_supervised=("V", "KIND"), columns=["V"])


# ---- resume ----

PIPELINES = {
    "rows": lambda d: d,
    "batches": lambda d: d.batch(7),
    "shuffled": lambda d: d.shuffle(1000, seed=1).batch(7),
    "through a buffer": lambda d: d.shuffle(20, seed=1).batch(7),
    "at random": lambda d: d.shuffle(1000).batch(7).map(lambda e: e, num_parallel_calls=2).prefetch(2),
    "repeated rows": lambda d: d.shuffle(1000, seed=1).repeat(3).batch(7),
    "repeated batches": lambda d: d.shuffle(30, seed=1).batch(7).repeat(3),
    "repeated by tf.data": lambda d: d.shuffle(1000, seed=1).batch(7).map(lambda e: e).repeat(3),
    "sliced": lambda d: d.shard(2, 1).shuffle(30, seed=2).skip(3).batch(4).shard(3, 1),
}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("options", [{}, {"where": "ID % 2 = 1"}, {"weights": "V", "seed": 3}], ids=str)
def test_resume_is_exact(table, tmp_path, name, options):
    pipeline = PIPELINES[name](dataset(table, **options))
    iterator = iter(pipeline)
    saved = tf.train.Checkpoint(iterator=iterator)
    paths, elements = [saved.save(str(tmp_path / "at"))], []
    for element in iterator:
        elements += keys([element])
        if len(elements) % 3 == 0:
            paths.append(saved.save(str(tmp_path / "at")))
    for number, path in enumerate(paths):
        restored = iter(pipeline)
        tf.train.Checkpoint(iterator=restored).restore(path)
        assert keys(restored) == elements[number * 3 :]


def test_the_state_is_small(table, tmp_path):
    iterator = iter(dataset(table).shuffle(50, seed=1).repeat(3).batch(7))
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
    assert sum(file.stat().st_size for file in tmp_path.glob("at-1.data*")) < 2000, path


# ---- versions ----


def test_a_tagged_version(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    table.put_all({i: {"V": i} for i in range(10)})
    version = table.tag("v1")
    table.put_all({i: {"V": -i} for i in range(5, 15)})
    grid.sql("ALTER TABLE T ADD COLUMN W INT DEFAULT 7")
    table.compact()
    for snapshot in ("v1", version):
        old = gridflow.Dataset(table, version=snapshot, batch_size=100)
        (element,) = old
        assert sorted(element["val"]["V"].numpy()) == list(range(10)) and list(element["val"]) == ["V"]
        assert int(old.cardinality()) == 1
        assert flat(gridflow.Dataset(table, version=snapshot, where="V > 7", order_by="V DESC")) == [9, 8]
    new = gridflow.Dataset(table, batch_size=100)
    assert sum(len(batch) for batch in keys(new)) == 15
    old = gridflow.Dataset(table, version="v1")
    table.untag("v1")
    with pytest.raises(tf.errors.FailedPreconditionError, match=f"version {version} of table T is gone: a tag"):
        list(old)
    with pytest.raises(gridflow.VersionNotFoundError, match="no tag v1"):
        gridflow.Dataset(table, version="v1")


@pytest.mark.parametrize("options", [{}, {"shuffle": True, "seed": 1}, {"where": "V < 50"}], ids=str)
def test_a_kept_version_can_be_gone_on_with(grid, tmp_path, options):
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID", keep_versions=3)
    table.put_all({i: {"V": i} for i in range(60)})
    rows = gridflow.Dataset(table, batch_size=7, **options)
    iterator = iter(rows)
    next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
    rest = keys(iterator)
    table.put_all({i: {"V": i} for i in range(30, 90)})
    table.flush()
    restored = iter(gridflow.Dataset(table, batch_size=7, **options))
    tf.train.Checkpoint(iterator=restored).restore(path)
    assert keys(restored) == rest
    table.keep_versions(0)
    restored = iter(rows)
    with pytest.raises(tf.errors.FailedPreconditionError, match="of table T is gone: a tag, or keep_versions"):
        tf.train.Checkpoint(iterator=restored).restore(path)
        next(restored)


# ---- what went wrong once ----


def test_an_error_in_a_batch_that_goes_on_in_the_next_epoch_leaves_the_next_one_whole(grid):
    table = grid.create_table("T", {"ID": "LONG", "A": "FLOAT32", "B": "FLOAT32", "C": "FLOAT32"}, key="ID")
    table.put_all({i: {"A": i, "B": None if i == 4 else i, "C": i} for i in range(5)})
    for epochs in (1, 2, 3):
        for element in gridflow.Dataset(table).repeat(epochs).batch(4).ignore_errors():
            assert len({len(part) for part in tf.nest.flatten(element)}) == 1
            assert (element["val"]["A"].numpy() == element["val"]["B"].numpy()).all()


def test_a_condition_while_the_table_is_written(grid):
    table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
    table.put_all({i: {"V": 0} for i in range(100)})
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for i in range(20):
                table.put(i, {"V": 1})
            table.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        rows = dataset(table, where="V >= 0")
        for _ in range(150):
            assert len(flat(rows.batch(64))) == 100
    finally:
        stop.set()
        writer.join()


def test_an_interrupt_while_rows_are_chosen_arrives(table, monkeypatch):
    from gridflow.tf import selection

    def interrupt(*_):
        raise KeyboardInterrupt

    rows = dataset(table, where="ID < 77")
    monkeypatch.setattr(selection, "look_for_rows", interrupt)
    with pytest.raises(KeyboardInterrupt):
        with pytest.raises(tf.errors.CancelledError, match="KeyboardInterrupt"):
            list(rows)
        for _ in range(2000):  # the interrupt ends it
            time.sleep(0.01)


def test_an_infinite_dataset_whose_first_batch_takes_two_epochs(table):
    forever = dataset(table, where="ID < 6").repeat().batch(10, drop_remainder=True)
    assert int(forever.cardinality()) == tf.data.INFINITE_CARDINALITY
    assert [len(batch) for batch in keys(itertools.islice(forever, 3))] == [10] * 3


def test_the_seed_of_draws_stays_theirs(table):
    def draw():
        return flat(dataset(table, weights="V", seed=1).shuffle(1000).batch(8))

    assert draw() == draw()
    assert flat(dataset(table, weights="V").shuffle(1000, seed=1)) != flat(
        dataset(table, weights="V").shuffle(1000, seed=1)
    )


def test_weights_that_add_up_to_more_than_a_number_can_be(table):
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
        list(dataset(table, weights="CASE WHEN ID < 50 THEN 1e308 ELSE 1.0 END"))


def test_a_condition_on_a_version_of_other_columns(grid):
    table = grid.create_table("T", {"ID": "LONG", "OLD": "INT"}, key="ID")
    table.put_all({i: {"OLD": i} for i in range(10)})
    table.tag("v1")
    grid.sql("ALTER TABLE T ADD COLUMN NEW INT DEFAULT 1; ALTER TABLE T DROP COLUMN OLD")
    assert sorted(flat(gridflow.Dataset(table, version="v1", where="OLD < 3"))) == [0, 1, 2]
    with pytest.raises(ColumnNotFoundError, match="no column NEW"):
        gridflow.Dataset(table, version="v1", where="NEW = 1")


def test_shards_of_shards_of_shards(table):
    first = dataset(table).batch(10).shard(2**32, 0).shard(2**32, 0).shard(5, 0)
    assert len(keys(first)) == 1
    assert flat(dataset(table).shard(2**62, 0).shard(2**62, 0).batch(2**62)) == flat(dataset(table).take(1))
