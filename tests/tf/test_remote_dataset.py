"""Datasets of a grid at a node's address: the same rows in the same order, and no secret in what is saved."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow as tf

import gridflow
from gridflow.client import remote_grid
from gridflow.compat import IgniteDataset
from gridflow.server import Node
from gridflow.tf import compat

SECRET = "s3cret-kitty"


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_grid, "MAPS_LOCAL", False)
    monkeypatch.setenv("GRIDFLOW_MIRROR", str(tmp_path / "mirror"))
    with Node(tmp_path / "grid", listen=["grid://127.0.0.1:0"]) as node:
        table = node.grid.create_table("T", {"ID": "LONG", "X": "FLOAT[4]", "N": "LONG"}, key="ID")
        rows = np.arange(4000, dtype=np.float32).reshape(1000, 4)
        table.load({"ID": np.arange(1000), "X": rows, "N": np.arange(1000) % 10})
        table.remove_all(range(100))
        node.grid.sql(f"CREATE USER KATE WITH PASSWORD '{SECRET}'; GRANT READER TO KATE")
        yield node


@pytest.fixture
def address(node):
    return str(node.endpoints[-1])


def elements(dataset):
    return [(int(e["key"]), e["val"]["X"].tolist()) for e in dataset.as_numpy_iterator()]


def test_rows_come_in_the_same_order_and_shuffled_ones_too(node, address):
    local = gridflow.Dataset("T", home=node.home, columns=["X"])
    with gridflow.connect(address) as grid:
        for remote in (
            gridflow.Dataset("T", home=address, columns=["X"]),
            gridflow.Dataset("T", grid=grid, columns=["X"]),
            grid.table("T").dataset(columns=["X"]),
        ):
            assert elements(remote) == elements(local)
    for options in ({"shuffle": True, "seed": 3}, {"where": "N = 3"}, {"partitions": range(100)}):
        near, far = (gridflow.Dataset("T", home=h, columns=["X"], **options) for h in (node.home, address))
        assert elements(far) == elements(near), options


def test_the_next_epoch_has_what_was_written_meanwhile_and_a_tag_has_not(node, address):
    node.grid.table("T").tag("v1")
    now, then = gridflow.Dataset("T", home=address), gridflow.Dataset("T", home=address, version="v1")
    assert len(elements(now)) == len(elements(then)) == 900
    node.grid.table("T").put(5000, {"N": 1})
    node.grid.table("T").remove(500)
    newest = gridflow.Dataset("T", home=address, columns=["N"])
    keys = {int(element["key"]) for element in newest.as_numpy_iterator()}
    assert 5000 in keys and 500 not in keys and len(elements(then)) == 900


def test_no_secret_in_a_graph_or_a_saved_function(node, address, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    host, port = address.removeprefix("grid://").split(":")
    monkeypatch.setattr(compat, "_is_this_machine", lambda host: False)
    dataset = IgniteDataset("T", host=host, port=int(port), username="KATE", password=SECRET)
    assert len(list(dataset)) == 900
    graph = dataset._as_serialized_graph().numpy() if hasattr(dataset, "_as_serialized_graph") else b""
    module = tf.Module()
    module.dataset = dataset
    module.count = tf.function(lambda: dataset.reduce(np.int64(0), lambda n, _: n + 1), input_signature=[])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    saved = b"".join(path.read_bytes() for path in (tmp_path / "saved").rglob("*") if path.is_file())
    mirrored = b"".join(path.read_bytes() for path in (tmp_path / "mirror").rglob("*") if path.is_file())
    for what in (graph, saved, mirrored, repr(dataset).encode(), caplog.text.encode()):
        assert SECRET.encode() not in what


def test_a_node_that_is_gone_is_an_error_in_time(node, address):
    dataset = gridflow.Dataset("T", home=address)
    assert len(elements(dataset)) == 900
    node.stop()
    with pytest.raises((tf.errors.OpError, gridflow.GridflowError), match="cannot be reached|did not answer|refused"):
        list(dataset)
