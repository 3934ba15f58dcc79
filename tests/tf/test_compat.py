"""Programs written for TensorFlow's dataset of Apache Ignite, with another import."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import gridflow
from gridflow.compat import IgniteDataset


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GRIDFLOW_HOME", str(tmp_path / "grid"))
    return tmp_path / "grid"


@pytest.fixture
def kittens(home):
    with gridflow.connect() as grid:
        grid.sql("CREATE TABLE KITTEN_CACHE (ID LONG PRIMARY KEY, NAME VARCHAR)")
        grid.sql("INSERT INTO KITTEN_CACHE VALUES (1, 'WARM KITTY'), (2, 'SOFT KITTY'), (3, 'LITTLE BALL OF FUR')")
        yield grid
        assert grid.check() == []


ROWS = [
    {"key": 1, "val": {"NAME": b"WARM KITTY"}},
    {"key": 2, "val": {"NAME": b"SOFT KITTY"}},
    {"key": 3, "val": {"NAME": b"LITTLE BALL OF FUR"}},
]


def in_order(elements):
    return sorted(elements, key=lambda element: element["key"])


def session_rows(next_element, session):
    rows = []
    with pytest.raises(tf.errors.OutOfRangeError):
        while True:
            rows.append(session.run(next_element))
    return in_order(rows)


def test_elements(kittens):
    dataset = IgniteDataset(cache_name="SQL_PUBLIC_KITTEN_CACHE")
    assert in_order(dataset.as_numpy_iterator()) == ROWS
    assert dataset.element_spec == {
        "key": tf.TensorSpec([], tf.int64),
        "val": {"NAME": tf.TensorSpec([], tf.string)},
    }
    assert isinstance(dataset, gridflow.Dataset) and isinstance(dataset, tf.data.Dataset)


def test_nested_and_plain_values(kittens):
    value = {"metadata": {"label": "kitten", "width": 4}, "pixels": np.arange(12, dtype=np.uint8)}
    kittens.cache("IMAGES").put("kitten.png", value)
    kittens.cache("PLAIN").put(7, 1.5)
    (image,) = IgniteDataset("IMAGES").as_numpy_iterator()
    assert image["key"] == b"kitten.png" and image["val"]["metadata"] == {"label": b"kitten", "width": 4}
    assert image["val"]["pixels"].dtype == np.uint8 and image["val"]["pixels"].tolist() == list(range(12))
    assert list(IgniteDataset("PLAIN").as_numpy_iterator()) == [{"key": 7, "val": 1.5}]


def test_all_arguments(kittens):
    place = ("localhost", 42300, True, -1, 10, "user", "password", "cert.pem", "key.pem", "secret")
    assert len(list(IgniteDataset("KITTEN_CACHE", *place))) == 3
    hosts = {"host": socket.gethostname(), "schema_host": "127.0.0.1", "schema_port": 10800}
    assert len(list(IgniteDataset("KITTEN_CACHE", **hosts))) == 3


def test_part(kittens):
    count = kittens.table("KITTEN_CACHE").partitions_count
    found = {part: len(list(IgniteDataset("KITTEN_CACHE", part=part))) for part in (542, 636, 939, 0)}
    assert found == {542: 1, 636: 1, 939: 1, 0: 0}
    parts = tf.data.Dataset.range(count).filter(lambda part: part > 600)
    rows = parts.interleave(lambda part: IgniteDataset("KITTEN_CACHE", part=part)).as_numpy_iterator()
    assert len(list(rows)) == 2
    with pytest.raises(gridflow.SchemaError, match=f"has partitions 0 to {count - 1}, not {count}"):
        IgniteDataset("KITTEN_CACHE", part=count)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"host": "ignite-7", "password": "secret"}, "a password goes with a user"),
        ({"schema_host": "10.1.2.3"}, "schema_host is '10.1.2.3'"),
        ({"port": "many"}, "port is 'many', and should be a positive number"),
        ({"page_size": 0}, "page_size is 0"),
        ({"local": "localhost"}, "local is 'localhost', and should be True or False"),
    ],
)
def test_arguments_that_cannot_be(kittens, arguments, message):
    with pytest.raises(gridflow.UsageError, match=message):
        IgniteDataset("KITTEN_CACHE", **arguments)


def test_no_such_cache_or_grid(kittens, monkeypatch, tmp_path):
    with pytest.raises(gridflow.TableNotFoundError, match="no table KITTENS"):
        IgniteDataset("KITTENS")
    monkeypatch.setenv("GRIDFLOW_HOME", str(tmp_path / "nothing"))
    with pytest.raises(gridflow.GridNotFoundError):
        IgniteDataset("KITTEN_CACHE")


def test_calls_are_still_done_at_the_source(kittens):
    dataset = IgniteDataset("KITTEN_CACHE").shuffle(10).repeat(2).batch(4)
    assert isinstance(dataset, IgniteDataset)
    assert [len(element["key"]) for element in dataset] == [4, 2]
    assert dataset.output_shapes["key"].as_list() == [None]
    others = IgniteDataset("KITTEN_CACHE").shuffle(10).shuffle(10).batch(2).ragged_batch(2)  # as TensorFlow does them
    assert sorted(others.unbatch().unbatch().map(lambda e: e["key"]).as_numpy_iterator()) == [1, 2, 3]


def test_tensorflow_1_names(kittens):
    dataset = IgniteDataset("KITTEN_CACHE")
    assert dataset.output_types == {"key": tf.int64, "val": {"NAME": tf.string}}
    assert dataset.output_shapes == {"key": tf.TensorShape([]), "val": {"NAME": tf.TensorShape([])}}
    assert dataset.output_classes == {"key": tf.Tensor, "val": {"NAME": tf.Tensor}}
    v1 = tf.compat.v1.data
    assert v1.get_output_types(dataset) == dataset.output_types
    assert v1.get_output_types(gridflow.Dataset("KITTEN_CACHE")) == dataset.output_types
    eager = dataset.make_one_shot_iterator()
    assert in_order([tf.nest.map_structure(lambda t: t.numpy(), eager.get_next()) for _ in range(3)]) == ROWS


@pytest.mark.parametrize("made_by", ["method", "function", "gridflow.Dataset"])
@pytest.mark.parametrize("kind", ["one_shot", "initializable"])
def test_sessions(kittens, made_by, kind):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        dataset = (gridflow.Dataset if made_by == "gridflow.Dataset" else IgniteDataset)("KITTEN_CACHE")
        name = f"make_{kind}_iterator"
        make = getattr(dataset, name) if made_by == "method" else lambda: getattr(tf.compat.v1.data, name)(dataset)
        iterator = make()
        next_element = iterator.get_next()
        for _ in range(1 if kind == "one_shot" else 2):
            if kind == "initializable":
                session.run(iterator.initializer)
            assert session_rows(next_element, session) == ROWS


def test_a_chain_in_a_session(kittens):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        dataset = IgniteDataset("KITTEN_CACHE").map(lambda row: {"key": row["key"], "name": row["val"]["NAME"]})
        batches = dataset.filter(lambda row: row["key"] > 1).batch(2)
        found = session.run(batches.make_one_shot_iterator().get_next())
    assert sorted(found["name"]) == [b"LITTLE BALL OF FUR", b"SOFT KITTY"]


def test_a_whole_tensorflow_1_program(kittens):
    kittens.table("KITTEN_CACHE").flush()
    code = """
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
from gridflow.compat import IgniteDataset

dataset = IgniteDataset(cache_name="SQL_PUBLIC_KITTEN_CACHE")
iterator = dataset.make_one_shot_iterator()
next_obj = iterator.get_next()
with tf.Session() as sess:
    for _ in range(3):
        print(sess.run(next_obj)["val"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert sorted(done.stdout.splitlines()) == sorted(str(row["val"]) for row in ROWS), done.stderr


def test_workers_of_a_session_read_their_own_part(kittens):
    """One program that says where to run; each worker's environment says what it reads."""
    kittens.table("KITTEN_CACHE").flush()
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("localhost", 0))
        addresses = [f"localhost:{free.getsockname()[1]}" for free in (first, second)]
    code = """
import sys, tensorflow as tf
from gridflow.compat import IgniteDataset  # as a worker of old imported the ops
tf.distribute.Server({"worker": sys.argv[2:]}, job_name="worker", task_index=int(sys.argv[1])).join()
"""
    workers = []
    try:
        for task, part in enumerate(("542", "600-1023")):
            environment = {**os.environ, "IGNITE_DATASET_PART": part}
            workers.append(subprocess.Popen([sys.executable, "-c", code, str(task), *addresses], env=environment))
        with tf.Graph().as_default():
            names = []
            for task in range(2):
                with tf.device(f"/job:worker/task:{task}"):
                    batch = IgniteDataset("KITTEN_CACHE").batch(10).make_one_shot_iterator().get_next()
                    names.append(tf.strings.reduce_join(batch["val"]["NAME"], separator=", "))
            with tf.compat.v1.Session(f"grpc://{addresses[0]}") as session:
                assert session.run(names) == [b"LITTLE BALL OF FUR", b"WARM KITTY, SOFT KITTY"]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_importing_the_module_does_not_import_tensorflow():
    code = "import gridflow.compat, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(ImportError):
        from gridflow.compat import Nothing  # noqa: F401
