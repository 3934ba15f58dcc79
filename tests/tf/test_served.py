"""Datasets of a grid that another process owns."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import gridflow
from gridflow.server.process import ServerProcess


def ids(dataset):
    return sorted(k for e in dataset for k in np.ravel(e["key"]).tolist())


@pytest.fixture
def home(tmp_path):
    return tmp_path / "grid"


def fill(grid, rows=100):
    table = grid.create_table("T", {"ID": "LONG", "V": "FLOAT32[16]"}, key="ID")
    table.put_all({i: {"V": np.full(16, i, np.float32)} for i in range(rows)})
    return table


@pytest.mark.parametrize("how", ["grid", "table", "home"])
def test_every_epoch_sees_what_was_written_before_it(home, how):
    with ServerProcess(home), gridflow.connect(home) as grid:
        table = fill(grid)
        assert not grid.owner
        arguments = {"grid": ("T", {"grid": grid}), "table": (table, {}), "home": ("T", {"home": home})}
        positional, named = arguments[how]
        dataset = gridflow.Dataset(positional, **named, batch_size=10)
        derived = dataset.map(lambda e: {"key": e["key"], "sum": tf.reduce_sum(e["val"]["V"])}).prefetch(2)
        assert ids(dataset) == ids(derived) == list(range(100))
        table.put(100, {"V": np.full(16, 1, np.float32)})
        assert ids(derived) == list(range(101))
        table.remove(0)
        assert len(dataset) == 10
        assert ids(derived) == list(range(1, 101))


def test_another_process_reads_while_this_one_owns(home):
    with gridflow.connect(home) as grid:
        fill(grid).flush()
        code = (
            "import gridflow, sys\n"
            "dataset = gridflow.Dataset('T', batch_size=64)\n"
            "print('rows', sum(len(e['key']) for e in dataset), len(dataset))\n"
        )
        environment = {**os.environ, "GRIDFLOW_HOME": str(home)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert "rows 100 2" in done.stdout, done.stderr
        grid.table("T").put(5000, {"V": np.zeros(16, np.float32)})  # still ours to write


def test_a_killed_node_leaves_a_grid_that_can_be_read(home):
    server = ServerProcess(home)
    with gridflow.connect(home) as grid:
        table = fill(grid)
        table.flush()
        dataset = gridflow.Dataset("T", grid=grid, batch_size=10)
        reading = iter(dataset)
        next(reading)
        server.kill()
        assert len(list(reading)) == 9
        assert ids(dataset) == list(range(100))
    assert ids(gridflow.Dataset("T", home=home)) == list(range(100))


def test_a_socket_that_nobody_listens_at_any_more(home):
    with gridflow.connect(home) as grid:
        fill(grid)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "serve.sock"))
    assert ids(gridflow.Dataset("T", home=home)) == list(range(100))


def test_a_node_that_does_not_answer_is_told(home, monkeypatch):
    """Rows that were acknowledged but cannot be flushed must not be left out without a word."""
    with ServerProcess(home) as server, gridflow.connect(home) as grid:
        fill(grid)
        dataset = gridflow.Dataset("T", grid=grid, batch_size=10)

        def unreachable(*args):
            raise gridflow.GridConnectionError("it does not answer")

        monkeypatch.setattr("gridflow.client.connection.Connection.call", unreachable)
        with pytest.raises(tf.errors.UnavailableError, match="table T cannot be flushed before it is read: it does"):
            next(iter(dataset))
        with pytest.raises(gridflow.GridConnectionError):
            gridflow.Dataset("T", home=home)
        monkeypatch.undo()
        assert ids(dataset) == list(range(100))
        assert server.pid == grid.owner_pid


def test_no_grid(tmp_path):
    with pytest.raises(gridflow.GridNotFoundError, match="no grid at"):
        gridflow.Dataset("T", home=tmp_path / "nothing")
    with gridflow.connect(tmp_path / "grid"):
        with pytest.raises(gridflow.TableNotFoundError):
            gridflow.Dataset("T", home=tmp_path / "grid")


def test_datasets_in_processes_of_their_own_share_the_rows(home):
    with ServerProcess(home), gridflow.connect(home) as grid:
        fill(grid, 1000)
        code = (
            "import gridflow, sys\n"
            "worker = int(sys.argv[1])\n"
            "dataset = gridflow.Dataset('T', partitions=range(worker * 256, worker * 256 + 256), batch_size=32)\n"
            "print('ids', *[k for e in dataset for k in e['key'].numpy().tolist()])\n"
        )
        environment = {**os.environ, "GRIDFLOW_HOME": str(home)}
        workers = [
            subprocess.Popen([sys.executable, "-c", code, str(n)], env=environment, stdout=subprocess.PIPE, text=True)
            for n in range(4)
        ]
        found = []
        for worker in workers:
            line = next(line for line in worker.communicate()[0].splitlines() if line.startswith("ids"))
            found += map(int, line.split()[1:])
        assert sorted(found) == list(range(1000))
