"""Several workers on one table: shares, equal numbers of batches, tf.distribute's sharding, and Keras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.python.distribute import input_ops

import gridflow
from gridflow import SchemaError, UsageError
from gridflow.tf.sharding import bounds_by_partitions, bounds_by_rows, find_worker

ROOT = Path(__file__).resolve().parents[2]
ROWS = 600  # after removals


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rows in three segments, some of them deleted, in ten partitions."""
    with gridflow.connect(tmp_path_factory.mktemp("workers") / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": "DOUBLE"}, key="ID", partitions=10)
        for part in range(3):
            ids = np.arange(part * 300, part * 300 + 300)
            table.load({"ID": ids, "V": ids * 0.5})
        table.remove_all(range(0, 900, 3))
        table.flush()
        yield table
        assert grid.check() == []


def dataset(table, **options):
    return gridflow.Dataset(table, columns=[], **options)


def keys(elements):
    return [int(key) for element in elements for key in np.ravel(element["key"])]


def shares(table, count, **options):
    return [keys(dataset(table, workers=(index, count), **options)) for index in range(count)]


# ---- shares ----


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 13])
@pytest.mark.parametrize("share_by", ["partitions", "rows"])
@pytest.mark.parametrize("options", [{}, {"where": "ID % 2 = 0"}, {"partitions": [9, 0, 1, 2, 5]}], ids=str)
def test_shares_are_disjoint_and_cover_everything(table, count, share_by, options):
    found = shares(table, count, share_by=share_by, **options)
    assert sorted(sum(found, [])) == sorted(keys(dataset(table, **options)))


def test_a_share_is_the_same_whatever_is_written(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID", partitions=8)
    table.put_all({i: {} for i in range(100)})
    first = gridflow.Dataset(table, workers=(0, 2))
    before = set(keys(first))
    table.put_all({i: {} for i in range(100, 200)})
    second = gridflow.Dataset(table, workers=(1, 2))
    assert not before & set(keys(second)) and before < set(keys(first))
    assert sorted(keys(first) + keys(second)) == list(range(200))


@given(rows=st.lists(st.integers(0, 50), max_size=40), count=st.integers(1, 12))
def test_bounds(rows, count):
    for bounds in (bounds_by_partitions(len(rows), count), bounds_by_rows(np.array(rows, np.int64), count)):
        assert bounds == sorted(bounds) and bounds[0] == 0 and bounds[-1] == len(rows) and len(bounds) == count + 1
    # No boundary is further from where it should be than half a partition.
    for worker, bound in enumerate(bounds[1:-1], 1):
        assert abs(sum(rows[:bound]) - sum(rows) * worker / count) <= max(rows, default=0) / 2 + 1e-6


def test_shares_by_rows_are_balanced(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID", partitions=64)
    crowded = [i for i in range(5000) if table.partition_of(i) < 8][:500]
    table.load({"ID": crowded + list(range(5000, 5100))})
    sizes = [len(keys(gridflow.Dataset(table, workers=(i, 2), share_by="rows"))) for i in range(2)]
    widest = max(partition.rows for partition in table.partitions())
    assert sum(sizes) == 600 and abs(sizes[0] - 300) <= widest / 2 < 100
    assert len(keys(gridflow.Dataset(table, workers=(0, 2)))) > 500


# ---- equal numbers ----


@pytest.mark.parametrize("share_by", ["partitions", "rows"])
@pytest.mark.parametrize(
    "options",
    [{}, {"where": "ID < 400"}, {"shuffle": True}, {"order_by": "ID"}, {"where": "ID < 400", "shuffle": True}],
)
def test_equal_batches(table, share_by, options):
    plain = [set(share) for share in shares(table, 3, share_by=share_by, **options)]
    least, most = min(map(len, plain)), max(map(len, plain))
    for share, mine in zip(plain, shares(table, 3, share_by=share_by, equal_batches="drop", **options), strict=True):
        assert len(mine) == len(set(mine)) == least and set(mine) <= share
    for share, mine in zip(plain, shares(table, 3, share_by=share_by, equal_batches="repeat", **options), strict=True):
        assert len(mine) == most and set(mine) == share
    for batch in (1, 7, 64, 1000):
        for drop in (False, True):
            counts = {
                int(dataset(table, workers=(i, 3), equal_batches="drop", **options).batch(batch, drop).cardinality())
                for i in range(3)
            }
            assert len(counts) == 1


def test_equal_draws(table):
    assert {len(share) for share in shares(table, 3, weights="V", equal_batches="repeat")} == {
        max(map(len, shares(table, 3)))
    }


def test_equal_batches_leave_other_rows_out_in_each_epoch(table):
    shuffled = [dataset(table, workers=(i, 3), equal_batches="drop", shuffle=True, seed=1) for i in range(3)]
    assert sorted(sum((list(set(keys(share.repeat(20)))) for share in shuffled), [])) == sorted(keys(dataset(table)))


def test_equal_batches_hold_while_the_table_changes(grid):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID", partitions=8)
    table.put_all({i: {} for i in range(100)})
    made = [gridflow.Dataset(table, workers=(i, 2), equal_batches="drop", batch_size=8) for i in range(2)]
    count = len(list(made[0]))
    table.remove_all(range(0, 80))
    assert [len(list(share)) for share in made] == [count, count]
    table.put_all({i: {} for i in range(1000)})
    assert [len(list(share)) for share in made] == [count, count]


def test_equal_batches_are_saved_and_restored(table, tmp_path):
    share = dataset(table, workers=(0, 3), equal_batches="repeat", batch_size=16)
    iterator = iter(share)
    elements = [keys([next(iterator)]) for _ in range(5)]
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "at"))
    rest, restored = [keys([e]) for e in iterator], iter(share)
    tf.train.Checkpoint(iterator=restored).restore(path)
    assert [keys([e]) for e in restored] == rest and elements + rest == [keys([e]) for e in share]


# ---- which worker ----


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, (0, 1)),
        ({"TF_CONFIG": ""}, (0, 1)),
        ({"TF_CONFIG": {"cluster": {"worker": ["a", "b", "c"]}, "task": {"type": "worker", "index": 2}}}, (2, 3)),
        ({"TF_CONFIG": {"cluster": {"chief": ["a"], "worker": ["b"]}, "task": {"type": "chief", "index": 0}}}, (0, 2)),
        ({"TF_CONFIG": {"cluster": {"chief": ["a"], "worker": ["b"]}, "task": {"type": "worker", "index": 0}}}, (1, 2)),
        ({"TF_CONFIG": {"cluster": {"worker": ["a", "b"]}, "task": {"type": "evaluator", "index": 0}}}, (0, 1)),
        ({"GRIDFLOW_WORKER_INDEX": "3", "GRIDFLOW_WORKER_COUNT": "4"}, (3, 4)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, (1, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, (0, 1)),
        (
            {
                "TF_CONFIG": {"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 1}},
                "GRIDFLOW_WORKER_INDEX": "0",
                "GRIDFLOW_WORKER_COUNT": "3",
            },
            (1, 2),
        ),
    ],
    ids=str,
)
def test_the_environment_says_which_worker(environment, expected):
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in environment.items()}
    assert find_worker("auto", texts) == expected


def test_an_input_context_says_which_worker(table):
    found = [keys(dataset(table, workers=tf.distribute.InputContext(3, index, 3))) for index in range(3)]
    assert found == shares(table, 3)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"workers": (2, 2)}, UsageError, "no worker 2 of 2"),
        ({"workers": (-1, 2)}, UsageError, "numbered from 0"),
        ({"workers": 3}, UsageError, "not 3"),
        ({"workers": "all"}, UsageError, "'auto', not 'all'"),
        ({"equal_batches": "drop"}, UsageError, "workers="),
        ({"share_by": "rows"}, UsageError, "workers="),
        ({"workers": (0, 2), "share_by": "bytes"}, UsageError, "'partitions' or 'rows', not 'bytes'"),
        ({"workers": (0, 2), "equal_batches": True}, UsageError, "'drop' or 'repeat', not True"),
        ({"workers": (0, 2), "partitions": tf.constant([1])}, UsageError, "not a tensor"),
        ({"workers": (0, 2), "partitions": [10]}, SchemaError, "partitions 0 to 9"),
        ({"workers": (0, 11), "equal_batches": "drop"}, UsageError, "worker 0 of 11 has no rows of table T"),
    ],
    ids=str,
)
def test_what_is_no_share(table, options, error, message):
    with pytest.raises(error, match=message):
        dataset(table, **options)


@pytest.mark.parametrize(
    "environment, message",
    [
        ({"TF_CONFIG": "{"}, "TF_CONFIG is '{'"),
        ({"TF_CONFIG": '{"cluster": []}'}, "must be objects"),
        (
            {"TF_CONFIG": '{"cluster": {"worker": ["a"]}, "task": {"type": "ps", "index": 0}}'},
            "no worker of the cluster",
        ),
        ({"GRIDFLOW_WORKER_INDEX": "4", "GRIDFLOW_WORKER_COUNT": "4"}, "GRIDFLOW_WORKER_INDEX=4.*no worker 4 of 4"),
        ({"GRIDFLOW_WORKER_INDEX": "x", "GRIDFLOW_WORKER_COUNT": "4"}, "GRIDFLOW_WORKER_INDEX=x"),
    ],
)
def test_an_environment_that_makes_no_sense(environment, message):
    with pytest.raises(UsageError, match=message):
        find_worker("auto", environment)


# ---- tf.distribute ----


def dealt(made, count, replicas=1):
    return [keys(input_ops.auto_shard_dataset(made, count, index, count * replicas)) for index in range(count)]


@pytest.mark.parametrize("replicas", [1, 2])
def test_tf_distribute_deals_batches_out(table, replicas):
    """What experimental_distribute_dataset does for each worker: global batches are cut, and dealt out."""
    made = dataset(table, batch_size=60, shuffle=True, seed=1).map(lambda e: e)
    made = made.rebatch(60 // (2 * replicas)).prefetch(2)
    assert made.options().experimental_distribute.auto_shard_policy == tf.data.experimental.AutoShardPolicy.DATA
    found = dealt(made, 2, replicas)
    assert len(found[0]) == len(found[1]) == ROWS / 2
    fixed = dealt(dataset(table, batch_size=10), 3)
    assert sorted(sum(fixed, [])) == sorted(keys(dataset(table)))


def test_tf_distribute_leaves_a_share_as_it_is(table):
    share = dataset(table, workers=(1, 3), batch_size=10)
    assert dealt(share, 3) == [keys(share)] * 3


def test_a_policy_can_be_chosen(table):
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    assert dealt(dataset(table).with_options(options), 2) == [keys(dataset(table))] * 2


def test_workers_of_a_cluster_shuffle_alike(table, monkeypatch):
    def order(cluster):
        config = {"cluster": {"worker": cluster}, "task": {"type": "worker", "index": 0}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        return keys(dataset(table, shuffle=True))

    assert order(["a", "b"]) == order(["a", "b"]) != order(["a", "c"])
    assert order(["a"]) != order(["a"])


FIT = """
    import sys
    import keras
    import tensorflow as tf
    import gridflow

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    dataset = gridflow.Dataset("T", home=sys.argv[1], as_supervised=("V", "ID"), batch_size=50, shuffle=True)

    class Rows(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="rows")
            self.total = self.add_weight(initializer="zeros")

        def update_state(self, y, predicted, sample_weight=None):
            self.total.assign_add(tf.cast(tf.size(y), tf.float32))

        def result(self):
            return self.total

    def fit():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=[Rows()])
        pairs = dataset.map(lambda x, y: (tf.cast(x, tf.float32)[:, None] / 450 - 0.5, tf.cast(y, tf.float32) / 900))
        print([int(rows) for rows in model.fit(pairs, epochs=2, shuffle=False, verbose=0).history["rows"]])

    fit()
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        fit()
"""


def test_keras_fit(table):
    """On one machine, with and without MirroredStrategy: in a process of its own, for its two devices."""
    home = str(Path(table.folder).parent.parent)
    command = [sys.executable, "-c", textwrap.dedent(FIT), home]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:2] == [f"[{ROWS}, {ROWS}]"] * 2
    assert "shard" not in result.stderr.replace(str(ROOT), "").lower(), result.stderr
