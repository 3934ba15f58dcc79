"""Parts of the demo beside the story: a served grid, process memory, the network, pictures."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gridflow


@contextlib.contextmanager
def grid_server(home: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`gridflow serve` as a process of its own, until the block ends; gives the process and its first lines."""
    command = [sys.executable, "-m", "gridflow", "serve", "--home", str(home), "--partitions", "1024"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    try:
        while not lines or not lines[-1].startswith("ready"):
            line = server.stdout.readline()
            if not line:
                raise SystemExit(f"the server did not start; it ended with {server.wait()}")
            lines.append(line.rstrip())
        yield server, lines
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Hide the lines that TensorFlow's C++ writes to stderr on import: there is no switch for them."""
    stderr_copy, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(stderr_copy, 2)
        os.close(stderr_copy)
        os.close(nothing)


def memory(pid: int, folder: Path) -> tuple[int, int, int, int]:
    """MB of a process: RSS and PSS of all its memory, then RSS and PSS of the mapped files under `folder`."""

    def sums(text: str) -> tuple[int, int]:
        pairs = [(name, int(kb)) for name, kb in re.findall(r"^(Rss|Pss): +(\d+)", text, re.M)]
        return tuple(round(sum(kb for n, kb in pairs if n == name) / 1000) for name in ("Rss", "Pss"))

    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.M)
    grid_mappings = [mapping for mapping in mappings if str(folder) in mapping.partition("\n")[0]]
    return *sums(Path(f"/proc/{pid}/smaps_rollup").read_text()), *sums("".join(grid_mappings))


def classifier() -> Any:
    """A small convolutional network for images of 8 x 8 pixels and ten classes, compiled."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    convolutions = [layers.Conv2D(32, 3, activation="relu"), layers.Conv2D(64, 3, activation="relu")]
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), *convolutions, layers.Flatten(), layers.Dropout(0.3), layers.Dense(10)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.002), loss, metrics=["accuracy"])
    return model


def draw_samples(grid: gridflow.Grid, pixels: np.ndarray, labels, predicted, path: Path) -> None:
    """Draw the photographs, and held-out digits with their predictions, mistakes first."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import tensorflow as tf

    order = np.argsort(labels == predicted, kind="stable")
    figure, axes = plt.subplots(6, 8, figsize=(9, 7.5), layout="constrained")
    figure.suptitle("Read from the grid: photographs, and held-out digits with their predictions")
    for axis in axes.flat:
        axis.axis("off")
    photos = gridflow.Dataset("PHOTOS", grid=grid, columns=["FILE"])
    for axis, row in zip(axes[0], photos, strict=False):
        axis.imshow(tf.io.decode_image(row["val"]["FILE"]))
        axis.set_title(re.split("[._]", row["key"].numpy().decode())[0], fontsize=8)
    for axis, i in zip(axes[1:].flat, order, strict=False):
        axis.imshow(pixels[i], cmap="gray_r")
        right = labels[i] == predicted[i]
        title = f"{predicted[i]}" if right else f"{predicted[i]}, is {labels[i]}"
        axis.set_title(title, fontsize=8, color="black" if right else "red")
    figure.savefig(path, dpi=120)


def draw_partitions(grid: gridflow.Grid, train: range, path: Path) -> None:
    """How many rows each partition of DIGITS and of TILES has."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(9, 5), layout="constrained")
    for axis, name in zip(axes, ("DIGITS", "TILES"), strict=True):
        rows = np.array([partition.rows for partition in grid.table(name).partitions()])
        colors, note = "tab:green", ""
        if name == "DIGITS":
            colors = ["tab:blue" if p in train else "tab:orange" for p in range(len(rows))]
            note = " (blue: training, orange: held out)"
        axis.bar(range(len(rows)), rows, width=1, color=colors)
        axis.set_title(f"{name}: {rows.sum():,} rows in {len(rows)} partitions, {rows.mean():.1f} in each on average")
        axis.set(xlabel="partition" + note, ylabel="rows")
        axis.margins(x=0)
    figure.savefig(path, dpi=120)
