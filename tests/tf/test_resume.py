"""A trainer that is killed goes on in a new process: not one row is lost or read twice."""

import signal
import subprocess
import sys

import numpy as np

import gridflow

TRAINER = """
import sys

import tensorflow as tf

import gridflow

home, folder = sys.argv[1:]
rows = gridflow.Dataset("T", home=home, where="V >= 100", columns=[], shuffle=True, seed=3).repeat(2).batch(64)
iterator = iter(rows.map(lambda e: e["key"], num_parallel_calls=2).prefetch(2))
step = tf.Variable(0, dtype=tf.int64)
manager = tf.train.CheckpointManager(tf.train.Checkpoint(iterator=iterator, step=step), folder, max_to_keep=2)
manager.restore_or_initialize()
print("step", int(step), flush=True)
for keys in iterator:
    print(*keys.numpy(), flush=True)
    step.assign_add(1)
    manager.save()
print("end", flush=True)
"""


def test_killed_trainers(tmp_path):
    with gridflow.connect(tmp_path / "grid") as grid:
        table = grid.create_table("T", {"ID": "LONG", "V": "INT"}, key="ID")
        table.load({"ID": np.arange(1100), "V": np.arange(1100, dtype=np.int32)})
    command = [sys.executable, "-c", TRAINER, str(tmp_path / "grid"), str(tmp_path / "checkpoints")]
    batches, lives, ended = [], 0, False
    while not ended:
        lives += 1
        trainer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in trainer.stdout:
            word, *rest = line.split()
            if word == "step":
                del batches[int(rest[0]) :]  # what came after the checkpoint that it goes on from is done again
            elif word == "end":
                ended = True
            else:
                batches.append([int(word), *map(int, rest)])
            if lives < 3 and len(batches) > lives * 10:
                trainer.send_signal(signal.SIGKILL)
        assert trainer.wait() == (0 if ended else -signal.SIGKILL)
    assert lives == 3
    trained = sum(batches, [])
    expected = list(range(100, 1100))
    assert len(trained) == 2000 and sorted(trained[:1000]) == expected and sorted(trained[1000:]) == expected
    assert trained[:1000] != trained[1000:] != expected
