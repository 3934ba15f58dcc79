"""The environment of the process that executes a dataset says what the call leaves out, of IgniteDataset everything."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import gridflow
from gridflow.compat import IgniteDataset


def ids(dataset):
    return sorted(int(k) for e in dataset for k in np.ravel(e["key"]))


def fill(grid, name, keys, **columns):
    table = grid.create_table(name, {"ID": "LONG", **(columns or {"V": "FLOAT32"})}, key="ID", partitions=16)
    kinds = {"FLOAT32": 0.5, "INT32": 7, "STRING": "x"}
    table.put_all({key: {name: kinds[kind] for name, kind in (columns or {"V": "FLOAT32"}).items()} for key in keys})
    return table


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("GRIDFLOW_DATASET_", "IGNITE_DATASET_", "GRIDFLOW_HOME")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def default(grid, clean, monkeypatch):
    monkeypatch.setenv("GRIDFLOW_HOME", str(grid.home))


@pytest.fixture
def two(grid):
    """T and OTHER, in which column V has another id."""
    fill(grid, "T", range(100))
    fill(grid, "OTHER", range(1000, 1010), W="STRING", V="FLOAT32")
    return grid


def read_with(monkeypatch, *, table="T", **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return ids(IgniteDataset(table).batch(7))


@pytest.fixture
def elsewhere(two, tmp_path):
    """The home of another grid, with other rows in T."""
    with gridflow.connect(tmp_path / "second") as second:
        fill(second, "T", range(500, 520))
    return tmp_path / "second"


def test_an_argument_beat_by_a_variable(two, elsewhere, monkeypatch):
    """GRIDFLOW_DATASET_PART=0-9 won over partitions=range(10, 1024): an argument wins over every variable."""
    table = two.table("T")
    some = ids(gridflow.Dataset("T", grid=two, partitions=range(8)))
    mine = ids(gridflow.Dataset("T", grid=two, workers=(0, 2)))
    for name in ("GRIDFLOW_DATASET_PART", "IGNITE_DATASET_PART"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "9-15")
            assert ids(gridflow.Dataset("T", partitions=range(8))) == some
            assert ids(gridflow.Dataset("T", workers=(0, 2))) == mine
            assert ids(gridflow.Dataset("T")) == ids(gridflow.Dataset("T", partitions=range(9, 16))) != some
            patch.setenv(name, "nonsense")  # and one that is not used is not looked at
            assert ids(gridflow.Dataset("T", partitions=range(8))) == some
    for name in ("GRIDFLOW_DATASET_HOME", "IGNITE_DATASET_HOME", "GRIDFLOW_HOME"):
        with monkeypatch.context() as patch:
            default = gridflow.Dataset("T").map(lambda e: e)
            patch.setenv(name, str(elsewhere))
            for dataset in (gridflow.Dataset("T", grid=two), gridflow.Dataset("T", home=two.home), table.dataset()):
                assert ids(dataset) == list(range(100))
            assert ids(gridflow.Dataset("T")) == list(range(500, 520))
            assert ids(default) == list(range(100)), "it has asked its environment by now"
    for name in ("GRIDFLOW_DATASET_TABLE", "IGNITE_DATASET_CACHE_NAME"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "OTHER")
            assert ids(gridflow.Dataset("T")) == ids(gridflow.Dataset("T", grid=two)) == list(range(100))
    for name, value in {"HOST": "ignite-7", "PORT": "x", "PAGE_SIZE": "0", "LOCAL": "yes"}.items():
        with monkeypatch.context() as patch:
            patch.setenv(f"GRIDFLOW_DATASET_{name}", value)
            assert ids(gridflow.Dataset("T", grid=two)) == ids(table.dataset()) == list(range(100))
            with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.UnimplementedError), match=f"_{name} is"):
                gridflow.Dataset("T")


def test_ignite_s_dataset_is_told_by_the_environment(two, elsewhere, monkeypatch):
    some = ids(gridflow.Dataset("T", grid=two, partitions=[3]))
    monkeypatch.setenv("IGNITE_DATASET_PART", "3")
    assert ids(IgniteDataset("T", part=5)) == some
    monkeypatch.setenv("IGNITE_DATASET_PART", "-1")
    monkeypatch.setenv("IGNITE_DATASET_HOME", str(elsewhere))
    assert ids(IgniteDataset("T", part=5)) == list(range(500, 520))


@pytest.mark.parametrize("variable", ["GRIDFLOW_DATASET_TABLE", "IGNITE_DATASET_CACHE_NAME"])
@pytest.mark.parametrize("name", ["OTHER", "SQL_PUBLIC_OTHER"])
def test_table(two, monkeypatch, variable, name):
    monkeypatch.setenv(variable, name)
    dataset = IgniteDataset("T")
    assert ids(dataset) == ids(dataset.map(lambda e: e)) == list(range(1000, 1010))
    two.table("OTHER").put(1010, {"V": 1.0, "W": "new"})  # each iterator has this table flushed
    assert ids(dataset) == ids(dataset.map(lambda e: e)) == list(range(1000, 1011))
    assert {float(e["val"]["V"]) for e in dataset} == {0.5, 1.0}
    assert ids(IgniteDataset("T").where("ID >= ?", [1009]).batch(2)) == [1009, 1010]


def test_table_by_its_cache_name(grid, monkeypatch):
    fill(grid, "T", range(3))
    grid.sql('CREATE TABLE U (ID LONG PRIMARY KEY, V REAL) WITH "CACHE_NAME=Kittens"')
    grid.sql("INSERT INTO U VALUES (50, 1.5)")
    assert read_with(monkeypatch, IGNITE_DATASET_CACHE_NAME="Kittens") == [50]


def test_fields_of_structures_are_found_by_name(grid, monkeypatch):
    grid.cache("A").put(1, {"size": {"w": 1, "h": 2}, "name": "a"})
    grid.cache("B").put(2, {"name": "b", "size": {"h": 4, "w": 3}})
    monkeypatch.setenv("GRIDFLOW_DATASET_TABLE", "B")
    (element,) = IgniteDataset("A").as_numpy_iterator()
    assert element == {"key": 2, "val": {"size": {"w": 3, "h": 4}, "name": b"b"}}


def test_what_becomes_of_nulls_stays(grid, monkeypatch):
    grid.create_table("A", {"ID": "LONG", "V": "INT32"}, key="ID").put(1, {"V": 0})
    with gridflow.connect(grid.home.parent / "second") as second:
        second.create_table("A", {"ID": "LONG", "W": "INT32", "V": "INT32"}, key="ID").put(1, {"V": None})
        monkeypatch.setenv("GRIDFLOW_DATASET_HOME", str(second.home))
        (element,) = gridflow.Dataset("A", nulls={"V": -1}).as_numpy_iterator()
        assert element == {"key": 1, "val": {"V": -1}}


def test_a_past_version_is_of_one_table(two, elsewhere, monkeypatch):
    two.table("T").tag("before")
    monkeypatch.setenv("GRIDFLOW_DATASET_PART", "-1")
    two.table("T").remove(0)
    assert ids(gridflow.Dataset("T", version="before")) == list(range(100))
    monkeypatch.setenv("GRIDFLOW_DATASET_HOME", str(elsewhere))
    message = r"HOME is '.*', but the dataset reads version \d+ of table T: make it without version="
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        gridflow.Dataset("T", version="before")


def test_gridflow_wins_and_nothing_is_not_set(two, monkeypatch):
    environment = {"GRIDFLOW_DATASET_TABLE": "OTHER", "IGNITE_DATASET_CACHE_NAME": "T"}
    assert read_with(monkeypatch, **environment) == list(range(1000, 1010))
    assert read_with(monkeypatch, GRIDFLOW_DATASET_TABLE="") == list(range(100))
    assert read_with(monkeypatch, IGNITE_DATASET_CACHE_NAME="", IGNITE_DATASET_PART="") == list(range(100))


def test_table_that_does_not_fit(two, monkeypatch):
    fill(two, "STRINGS", range(3), V="STRING")
    fill(two, "NARROW", range(3), W="INT32")
    wrong = {
        "GONE": (tf.errors.NotFoundError, "no table GONE is in the grid .*; there are NARROW, OTHER, STRINGS, T"),
        "SYS.USERS": (tf.errors.NotFoundError, "no table SYS.USERS is in the grid"),
        "NARROW": (tf.errors.NotFoundError, "table NARROW has no column V, which the dataset reads; it has ID, W"),
        "STRINGS": (tf.errors.InvalidArgumentError, r"column V of table STRINGS is now string\[\?\] and was float"),
    }
    two.sql("CREATE USER kate WITH PASSWORD 'warm kitty'")  # makes SYS.USERS
    for name, (error, message) in wrong.items():
        with pytest.raises(error, match=message) as raised:
            read_with(monkeypatch, GRIDFLOW_DATASET_TABLE=name)
        assert name == "STRINGS" or f"GRIDFLOW_DATASET_TABLE is '{name}'" in str(raised.value)


@pytest.mark.parametrize(
    "text, wanted",
    [("-1", range(16)), ("3", [3]), ("0-7", range(8)), ("0-3, 9,12-15", [0, 1, 2, 3, 9, 12, 13, 14, 15]), (" 5 ", [5])],
)
def test_part(two, monkeypatch, text, wanted):
    expected = ids(gridflow.Dataset("T", grid=two, partitions=wanted))
    monkeypatch.setenv("IGNITE_DATASET_PART", text)
    assert ids(gridflow.Dataset("T")) == ids(gridflow.Dataset("T", grid=two)) == expected
    assert ids(IgniteDataset("T", part=2).batch(3)) == expected
    assert len(gridflow.Dataset("T", grid=two)) == len(expected)


def test_part_of_another_table(two, monkeypatch):
    expected = ids(gridflow.Dataset("OTHER", grid=two, partitions=range(8)))
    found = read_with(monkeypatch, GRIDFLOW_DATASET_TABLE="OTHER", GRIDFLOW_DATASET_PART="0-7")
    assert found == expected


@pytest.mark.parametrize("prefix", ["GRIDFLOW_DATASET_", "IGNITE_DATASET_"])
@pytest.mark.parametrize(
    "name, value, message",
    [
        ("PART", "x", "a partition such as 7, several such as 0-255,300, or -1 for all"),
        ("PART", "3-1", "a partition such as"),
        ("PART", "1,,2", "a partition such as"),
        ("PART", "-2", "a partition such as"),
        ("PART", "1-2-3", "a partition such as"),
        ("PART", "0,-1", "a partition such as"),
        ("PART", "99999999999999999999", "a partition such as"),
        ("PART", "9223372036854775807", "a partition such as"),
        ("PART", "16", "table T has partitions 0 to 15"),
        ("PART", "0-3,8-100", "table T has partitions 0 to 15"),
        ("PORT", "x", "a port, 1 to 65535"),
        ("PORT", "70000", "a port, 1 to 65535"),
        ("PAGE_SIZE", "0", "a number of rows, at least 1"),
        ("PAGE_SIZE", "many", "a number of rows, at least 1"),
        ("LOCAL", "yes", "true, false, 1 or 0"),
    ],
)
def test_values_that_cannot_be(two, monkeypatch, prefix, name, value, message):
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        read_with(monkeypatch, **{prefix + name: value})
    assert f"{prefix}{name} is '{value}', and " in str(raised.value) and message in str(raised.value)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "::1", "0:0:0:0:0:0:0:1", "", "own"]
)
def test_what_a_server_needed_has_no_effect(two, monkeypatch, host):
    environment = {
        "HOST": socket.gethostname() if host == "own" else host,
        "PORT": "10801",
        "LOCAL": "True",
        "PAGE_SIZE": "1",
        **dict.fromkeys(("USERNAME", "PASSWORD", "CERTFILE", "KEYFILE", "CERT_PASSWORD"), "anything"),
    }
    named = {f"IGNITE_DATASET_{name}": value for name, value in environment.items()}
    assert read_with(monkeypatch, **named) == list(range(100))


@pytest.mark.parametrize("host", ["ignite-7", "10.0.0.1", "128.0.0.1", "fe80::1", "127.0.0.1.example.org"])
def test_other_hosts(two, monkeypatch, host):
    message = f"IGNITE_DATASET_HOST is '{host}', and grids of other machines cannot be read: .* GRIDFLOW_DATASET_HOME"
    with pytest.raises(tf.errors.UnimplementedError, match=message):
        read_with(monkeypatch, IGNITE_DATASET_HOST=host)


def test_home(two, monkeypatch, tmp_path):
    with gridflow.connect(tmp_path / "second") as second:
        fill(second, "UNRELATED", [1])
        fill(second, "T", range(500, 520), W="INT32", V="FLOAT32")
        expected = list(range(500, 520))
        assert read_with(monkeypatch, GRIDFLOW_DATASET_HOME=str(tmp_path / "second")) == expected
        monkeypatch.chdir(tmp_path)
        assert read_with(monkeypatch, GRIDFLOW_DATASET_HOME="./second/") == expected
        monkeypatch.setenv("HOME", str(tmp_path))
        assert read_with(monkeypatch, GRIDFLOW_DATASET_HOME="~/second") == expected
        with pytest.raises(
            tf.errors.NotFoundError, match="DATASET_HOME is '~/second', and no table OTHER is in the grid"
        ):
            read_with(monkeypatch, table="OTHER")
        message = r"HOME is '/no/where' and GRIDFLOW_DATASET_TABLE is 'T', and there is no grid at /no/where"
        with pytest.raises(tf.errors.NotFoundError, match=message):
            read_with(monkeypatch, GRIDFLOW_DATASET_HOME="/no/where", GRIDFLOW_DATASET_TABLE="T")


def test_the_same_home_is_the_same_table(two, monkeypatch, tmp_path):
    """A dataset whose table is dropped does not go on with another one of that name because its home is set."""
    os.symlink(tmp_path / "grid", tmp_path / "link")
    monkeypatch.setenv("GRIDFLOW_DATASET_HOME", str(tmp_path / "link"))
    dataset = gridflow.Dataset("T")
    assert ids(dataset) == list(range(100))
    two.drop_table("T")
    fill(two, "T", range(3))
    with pytest.raises(tf.errors.NotFoundError, match="no table T in the grid .*: it was dropped"):
        ids(dataset)


def test_a_dataset_keeps_what_it_found(two, monkeypatch):
    """A program that sets the environment of its workers does not change what it reads itself."""
    dataset = IgniteDataset("T")
    derived = dataset.map(lambda e: e)
    monkeypatch.setenv("GRIDFLOW_DATASET_TABLE", "OTHER")
    monkeypatch.setenv("GRIDFLOW_DATASET_PART", "nonsense")
    assert ids(dataset) == ids(derived) == ids(dataset.map(lambda e: e)) == list(range(100))


EXECUTE = """
import json, os, sys, tensorflow as tf, gridflow.tf
for line in sys.stdin:
    graph, environment = json.loads(line)
    os.environ.update(environment)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(open(graph, "rb").read()), name="")
        keys = []
        try:
            while True:
                keys.append(int(session.run("key:0")))
        except tf.errors.OutOfRangeError:
            print(json.dumps(sorted(keys)), flush=True)
    for name in environment:
        del os.environ[name]
"""


def write_graph(path, kind=gridflow.Dataset, **arguments):
    with tf.Graph().as_default() as graph:
        iterator = tf.compat.v1.data.make_one_shot_iterator(kind("T", **arguments))
        tf.identity(iterator.get_next()["key"], name="key")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return str(path)


def test_another_process_reads_what_its_own_environment_says(tmp_path, monkeypatch):
    """A graph is made once, and workers are told to read something else."""
    first, second = tmp_path / "first", tmp_path / "second"
    for home, start in ((first, 0), (second, 500)):
        with gridflow.connect(home) as grid:
            fill(grid, f"ONLY{start}", [start])
            fill(grid, "T", range(start, start + 50))
    explicit = write_graph(tmp_path / "explicit", home=first)
    monkeypatch.setenv("GRIDFLOW_HOME", str(first))
    default = write_graph(tmp_path / "default")
    ignite = write_graph(tmp_path / "ignite", IgniteDataset)
    monkeypatch.delenv("GRIDFLOW_HOME")
    some = ids(gridflow.Dataset("T", home=first, partitions=range(8)))
    other = {"GRIDFLOW_HOME": str(second)}
    asked = [
        (default, {}, some),  # as it says when it starts
        (default, {"GRIDFLOW_DATASET_PART": "8-15"}, sorted({*range(50)} - {*some})),
        (default, {"GRIDFLOW_DATASET_PART": "-1"}, list(range(50))),
        (default, {"GRIDFLOW_DATASET_PART": "-1", "GRIDFLOW_DATASET_TABLE": "SQL_PUBLIC_ONLY0"}, list(range(50))),
        (ignite, {"GRIDFLOW_DATASET_PART": "-1", "GRIDFLOW_DATASET_TABLE": "SQL_PUBLIC_ONLY0"}, [0]),
        (default, {"GRIDFLOW_DATASET_PART": "-1", **other}, list(range(500, 550))),
        (default, {"GRIDFLOW_DATASET_PART": "-1", "GRIDFLOW_DATASET_HOME": str(second)}, list(range(500, 550))),
        (explicit, {"GRIDFLOW_DATASET_PART": "-1", **other}, list(range(50))),
        (explicit, {"GRIDFLOW_DATASET_PART": "-1", "GRIDFLOW_DATASET_HOME": str(second)}, list(range(50))),
    ]
    lines = "".join(json.dumps([graph, environment]) + "\n" for graph, environment, _ in asked)
    environment = {**os.environ, "IGNITE_DATASET_PART": "0-7"}
    command = [sys.executable, "-c", EXECUTE]
    done = subprocess.run(command, env=environment, input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [keys for _, _, keys in asked]
