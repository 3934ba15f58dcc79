"""One graph over several processes: each worker reads its own grid and finds a gradient, and their mean is applied.

In the manner of TensorFlow 1, with a session. The workers are servers that wait for work; the process that builds the
graph places parts of it on them. Makes grids of its own and removes them.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import gridflow
import gridflow.tf  # a worker makes no dataset, but needs the op of one

v1 = tf.compat.v1
ROWS, WORKERS, BATCH, EPOCHS = 1000, 2, 50, 5


def serve() -> None:
    """A worker: prints its address, then runs parts of graphs until it is killed."""
    server = v1.train.Server.create_local_server()
    print(server.target.removeprefix("grpc://"), flush=True)
    server.join()


@contextlib.contextmanager
def workers():
    """The addresses of new processes that serve."""
    command = [sys.executable, __file__, "serve"]
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(WORKERS):
            processes.append(stack.enter_context(subprocess.Popen(command, text=True, stdout=subprocess.PIPE)))
            stack.callback(processes[-1].kill)
        yield [process.stdout.readline().strip() for process in processes]


def fill(home: Path) -> None:
    """Create the table that each machine of a cluster has a copy of."""
    with gridflow.connect(home) as grid:
        points = grid.create_table("POINTS", {"ID": "LONG", "X": "FLOAT32", "Y": "FLOAT32"}, key="ID", partitions=16)
        x = np.linspace(-1, 1, ROWS, dtype=np.float32)
        points.load({"ID": np.arange(ROWS), "X": x, "Y": 3 * x + 1})


def train(homes: list[Path], cluster: list[str]) -> None:
    graph = tf.Graph()
    with graph.as_default():
        with tf.device("/job:worker/task:0"):
            slope, offset = v1.get_variable("slope", initializer=0.0), v1.get_variable("offset", initializer=0.0)
        iterators, gradients, keys = [], [], []
        for index, home in enumerate(homes):
            with tf.device(f"/job:worker/task:{index}"):
                dataset = gridflow.Dataset("POINTS", home=home, workers=(index, WORKERS), batch_size=BATCH)
                iterator = v1.data.make_initializable_iterator(dataset)
                # Shares are not quite equal: a worker at its end takes part with empty batches.
                row = iterator.get_next_as_optional()
                batch = tf.cond(row.has_value(), row.get_value, lambda spec=dataset.element_spec: empty(spec))
                error = slope * batch["val"]["X"] + offset - batch["val"]["Y"]
                gradients.append(tf.gradients(tf.reduce_sum(error**2), [slope, offset]))
                iterators.append(iterator.initializer)
                keys.append(batch["key"])
        steps = [0.2 / (BATCH * WORKERS) * tf.add_n(parts) for parts in zip(*gradients, strict=True)]
        with tf.control_dependencies(steps):
            apply = tf.group(slope.assign_sub(steps[0]), offset.assign_sub(steps[1]))

        config = v1.ConfigProto(cluster_def=tf.train.ClusterSpec({"worker": cluster}).as_cluster_def())
        with v1.Session(f"grpc://{cluster[0]}", config=config) as session:
            session.run(v1.global_variables_initializer())
            for _ in range(EPOCHS):
                session.run(iterators)
                keys_by_worker, batches = [[] for _ in homes], None
                while batches is None or any(len(batch) for batch in batches):
                    batches, _ = session.run([keys, apply])
                    for worker_keys, batch in zip(keys_by_worker, batches, strict=True):
                        worker_keys += batch.tolist()
            assert sorted(sum(keys_by_worker, [])) == list(range(ROWS)), "each row exactly once"
            print("rows of an epoch, by worker:", [len(worker_keys) for worker_keys in keys_by_worker])
            print("model: y = {:.2f} x + {:.2f}".format(*session.run([slope, offset])))


def empty(spec):
    return tf.nest.map_structure(lambda part: tf.zeros([0, *part.shape[1:]], part.dtype), spec)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, workers() as cluster:
        homes = [Path(folder) / f"worker-{index}" for index in range(WORKERS)]
        for home in homes:
            fill(home)
        train(homes, cluster)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve()
    else:
        main()
