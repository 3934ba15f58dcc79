"""Two processes train one model with MultiWorkerMirroredStrategy, each on its share of a table.

Makes a grid of its own and removes it. Partitions cannot be shared equally here: there are three of them.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import gridflow

ROWS, BATCH, WORKERS = 1000, 32, 2


def train(home: str) -> None:
    """The worker of TF_CONFIG. Prints the keys of the rows it has read, for the process that started it."""
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        slope, offset = tf.Variable(0.0), tf.Variable(0.0)

    @tf.function
    def step(row):
        def replica(row):
            x, y = row["val"]["X"], row["val"]["Y"]
            with tf.GradientTape() as tape:
                # A sum, not a mean: a worker at its end gets empty batches until the others are done.
                loss = tf.reduce_sum((slope * x + offset - y) ** 2) / (BATCH * WORKERS)
            gradients = tape.gradient(loss, [slope, offset])
            gradients = tf.distribute.get_replica_context().all_reduce("sum", gradients)
            for variable, gradient in zip([slope, offset], gradients, strict=True):
                variable.assign_sub(0.2 * gradient)
            return row["key"]

        return strategy.run(replica, args=(row,))

    def read(dataset):
        return [int(key) for row in dataset for key in strategy.experimental_local_results(step(row))[0]]

    # Each worker reads its own partitions, and nothing else.
    shares = strategy.distribute_datasets_from_function(
        lambda context: gridflow.Dataset("POINTS", home=home, workers=context, batch_size=BATCH, shuffle=True)
    )
    # Or TensorFlow deals out the batches of one dataset, here of BATCH rows for each worker. Every worker goes through
    # all batches, in the same order, and keeps its own part.
    dealt = strategy.experimental_distribute_dataset(
        gridflow.Dataset("POINTS", home=home, batch_size=BATCH * WORKERS, shuffle=True)
    )
    keys = {"shares": read(shares), "dealt": read(dealt)}
    print(json.dumps({**keys, "model": [float(slope.numpy()), float(offset.numpy())]}))


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        with gridflow.connect(home) as grid:
            points = grid.create_table("POINTS", {"ID": "LONG", "X": "FLOAT32", "Y": "FLOAT32"}, key="ID", partitions=3)
            x = np.linspace(-1, 1, ROWS, dtype=np.float32)
            points.load({"ID": np.arange(ROWS), "X": x, "Y": 3 * x + 1})
            print("rows in partitions:", [partition.rows for partition in points.partitions()])
        cluster = {"worker": [f"localhost:{port}" for port in free_ports(WORKERS)]}
        workers = []
        for index in range(WORKERS):
            config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            command = [sys.executable, __file__, home]
            environment = {**os.environ, "TF_CONFIG": config}
            workers.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        reports = [json.loads(worker.communicate()[0] or "null") for worker in workers]
    if None in reports:
        raise SystemExit("a worker failed")
    for way in ("shares", "dealt"):
        print(f"{way}: the workers read", [len(worker[way]) for worker in reports], "rows")
        assert sorted(reports[0][way] + reports[1][way]) == list(range(ROWS)), "each row exactly once"
    print("model: y = {:.2f} x + {:.2f}".format(*reports[0]["model"]))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(sys.argv[1])
    else:
        main()
