"""tf.data service: rows come once, or once for each worker, as the processing mode says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.data.experimental import service
from tensorflow.data.experimental.service import ShardingPolicy

import gridflow

ROOT = Path(__file__).resolve().parents[2]
ROWS = 800  # after removals
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

# A process of its own, since in this one a service takes a minute to end.
SERVICE = """
import sys
import gridflow.tf
from tensorflow.data.experimental.service import DispatcherConfig, DispatchServer, WorkerConfig, WorkerServer

dispatcher = DispatchServer(DispatcherConfig(worker_addresses=["localhost:%port%"] * 2))
address = dispatcher.target.removeprefix("grpc://")
workers = [WorkerServer(WorkerConfig(dispatcher_address=address)) for _ in range(2)]
print(dispatcher.target, flush=True)
sys.stdin.read()
"""
WORKER = """
import sys
import tensorflow as tf
import gridflow.tf

worker = tf.data.experimental.service.WorkerServer(
    tf.data.experimental.service.WorkerConfig(dispatcher_address=sys.argv[1])
)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with gridflow.connect(tmp_path_factory.mktemp("service") / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "XS": "LIST<INT>"}, key="ID")
        for part in range(2):
            ids = np.arange(part * 500, part * 500 + 500)
            table.load({"ID": ids, "XS": [[int(i)] * int(i % 3) for i in ids]})
        table.remove_all(range(0, 1000, 5))
        table.flush()
        yield table
        assert grid.check() == []


def start_worker(dispatcher):
    return service.WorkerServer(service.WorkerConfig(dispatcher_address=address(dispatcher)))


def address(dispatcher):
    return dispatcher.target.removeprefix("grpc://")


@pytest.fixture(scope="module")
def dispatcher():
    """With two workers in its process."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        yield SimpleNamespace(target=process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()


def distribute(dataset, dispatcher, mode):
    return dataset.apply(service.distribute(processing_mode=mode, service=dispatcher.target))


def batches(dataset):
    return [np.ravel(element["key"]).tolist() for element in dataset]


def rows(dataset):
    return sorted(sum(batches(dataset), []))


EVERY = sorted(i for i in range(1000) if i % 5)
PIPELINES = {
    "rows": lambda d: d,
    "batches": lambda d: d.batch(64),
    "shuffled": lambda d: d.shuffle(2000).batch(64).map(lambda e: e),
    "through a buffer": lambda d: d.shuffle(3).batch(64),
    "lists": lambda d: d.ragged_batch(64),
    "rows of lists": lambda d: d.shuffle(100),
}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("mode", ["parallel_epochs", ShardingPolicy.OFF])
def test_every_worker_reads_everything(table, dispatcher, name, mode):
    dataset = PIPELINES[name](gridflow.Dataset(table, columns=["XS"] if "lists" in name else []))
    assert rows(distribute(dataset, dispatcher, mode)) == sorted(EVERY * 2)


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("mode", ["distributed_epoch", ShardingPolicy.DYNAMIC])
def test_each_row_comes_once(table, dispatcher, name, mode):
    dataset = PIPELINES[name](gridflow.Dataset(table, columns=["XS"] if "lists" in name else []))
    assert rows(distribute(dataset, dispatcher, mode)) == EVERY
    assert rows(distribute(dataset, dispatcher, mode)) == EVERY


@pytest.mark.parametrize("policy", [ShardingPolicy.DATA, ShardingPolicy.FILE_OR_DATA])
def test_batches_are_dealt_out(table, dispatcher, policy):
    dataset = gridflow.Dataset(table, columns=[], batch_size=64)
    assert sorted(batches(distribute(dataset, dispatcher, policy))) == sorted(batches(dataset))


def test_a_hint_says_where_to_shard(table, dispatcher):
    hint = tf.data.experimental.SHARD_HINT
    dataset = gridflow.Dataset(table, columns=[]).shard(hint, hint).batch(64)
    assert rows(distribute(dataset, dispatcher, ShardingPolicy.HINT)) == EVERY


def test_a_table_is_no_file(table, dispatcher):
    with pytest.raises(tf.errors.NotFoundError, match="Did not find a shardable source"):
        rows(distribute(gridflow.Dataset(table, columns=[]), dispatcher, ShardingPolicy.FILE))


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"where": "ID % 2 = 0"}, [i for i in EVERY if i % 2 == 0]),
        ({"where": "ID < 50", "order_by": "ID DESC"}, [i for i in EVERY if i < 50]),
        ({"partitions": []}, []),
        ({"where": "FALSE"}, []),
    ],
    ids=str,
)
def test_chosen_rows_come_once(table, dispatcher, options, expected):
    dataset = gridflow.Dataset(table, columns=[], batch_size=10, **options)
    assert rows(distribute(dataset, dispatcher, ShardingPolicy.DYNAMIC)) == expected


def test_chosen_partitions_come_once(table, dispatcher):
    for partitions in ([3], [1, 2, 500, 501, 502, 1023], range(100, 900), range(0, 1024, 2)):
        dataset = gridflow.Dataset(table, columns=[], batch_size=10, partitions=partitions)
        assert rows(distribute(dataset, dispatcher, ShardingPolicy.DYNAMIC)) == rows(dataset)


def test_batches_are_full(table, dispatcher):
    """Each worker may end with one that is not."""
    dataset = gridflow.Dataset(table, columns=[], batch_size=32)
    sizes = [len(batch) for batch in batches(distribute(dataset, dispatcher, ShardingPolicy.DYNAMIC))]
    assert sum(size < 32 for size in sizes) <= 2 and sum(sizes) == ROWS
    full = gridflow.Dataset(table, columns=[], batch_size=32, drop_remainder=True)
    assert {len(batch) for batch in batches(distribute(full, dispatcher, ShardingPolicy.DYNAMIC))} == {32}


def test_repetition(table, dispatcher):
    plain = gridflow.Dataset(table, columns=[])
    for dataset in (plain.repeat(3).batch(64), plain.batch(64).repeat(3), plain.batch(64).map(lambda e: e).repeat(3)):
        assert rows(distribute(dataset, dispatcher, ShardingPolicy.DYNAMIC)) == sorted(EVERY * 3)
    forever = distribute(plain.shuffle(2000).repeat().batch(50), dispatcher, ShardingPolicy.DYNAMIC)
    assert {len(batch) for batch in batches(forever.take(100))} == {50}
    assert batches(distribute(plain.repeat(0), dispatcher, ShardingPolicy.DYNAMIC)) == []


def test_the_newest_rows_are_read(grid, dispatcher):
    table = grid.create_table("T", {"ID": "LONG"}, key="ID")
    dataset = gridflow.Dataset(table, batch_size=16)
    for count in (10, 100):
        table.put_all({i: {} for i in range(count)})
        table.flush()  # the workers' process cannot ask for it
        assert rows(distribute(dataset, dispatcher, ShardingPolicy.DYNAMIC)) == list(range(count))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda t: gridflow.Dataset(t).take(5), "equal_batches counts its rows: call it after"),
        (lambda t: gridflow.Dataset(t, columns=[], batch_size=5).skip(1), "skip, take, shard"),
        (lambda t: gridflow.Dataset(t, workers=(0, 2), equal_batches="drop"), "equal_batches"),
        (lambda t: gridflow.Dataset(t, weights="ID"), "drawn by weight: use ShardingPolicy.OFF"),
        (lambda t: gridflow.Dataset(t).ragged_batch(5, drop_remainder=True), "leave drop_remainder out"),
    ],
)
def test_what_cannot_be_split(table, dispatcher, make, message):
    with pytest.raises(tf.errors.UnimplementedError, match=message):
        rows(distribute(make(table), dispatcher, ShardingPolicy.DYNAMIC))


def test_workers_in_other_processes(table):
    """They know the table by its directory, and have its rows chosen themselves."""
    dispatcher = service.DispatchServer()
    command = [sys.executable, "-c", WORKER, address(dispatcher)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            worker = start_worker(dispatcher)
            dataset = gridflow.Dataset(table, columns=[], where="ID % 2 = 0", shuffle=True, batch_size=32)
            even = [i for i in EVERY if i % 2 == 0]
            assert rows(distribute(dataset, dispatcher, ShardingPolicy.DYNAMIC)) == even
            assert rows(distribute(dataset, dispatcher, ShardingPolicy.OFF)) == sorted(even * 2)
            del worker
        finally:
            process.kill()


def test_nothing_repeats_to_nothing(table, dispatcher):
    empty = gridflow.Dataset(table, columns=[], where="FALSE").repeat().batch(4)
    assert batches(distribute(empty, dispatcher, "distributed_epoch")) == []


def test_each_epoch_of_splits_has_an_order_of_its_own(table, dispatcher):
    shuffled = gridflow.Dataset(table, columns=[], shuffle=True, seed=1).batch(50)
    dealt = distribute(shuffled, dispatcher, "distributed_epoch")
    assert batches(dealt) != batches(dealt)
