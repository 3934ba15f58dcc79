"""All of Gridflow in one story: a served grid, SQL, a Keras classifier that trains on it, and shared memory.

The data is real and ships with two libraries: the 1,797 handwritten digits of scikit-learn, six photographs of
scikit-image. Nothing is downloaded, and nothing stays behind but two pictures in ./demo-output.

    make demo                 or, with the environment that it makes:  python examples/demo.py
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from demo_parts import classifier, draw_partitions, draw_samples, grid_server, memory, without_chatter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import gridflow

WANTED_ACCURACY = 0.95
# A row's partition follows from the hash of its key alone, so partitions are a random split that never changes.
TRAIN, HELD_OUT = range(0, 80), range(80, 100)
TABLES = """
CREATE TABLE DIGITS (ID LONG PRIMARY KEY, PIXELS UINT8[8,8], LABEL INT, NOTE VARCHAR)
    WITH "template=partitioned, partitions=100";
CREATE TABLE PHOTOS (NAME VARCHAR PRIMARY KEY, HEIGHT INT, WIDTH INT, FILE BINARY);
CREATE TABLE TILES (PHOTO VARCHAR, Y INT, X INT, PIXELS UINT8[64,64,3], PRIMARY KEY (PHOTO, Y, X));
"""
PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg"]
TILE_STRIDE = 16
CORRECTION = "UPDATE DIGITS SET LABEL = MOD(LABEL + 9, 10), NOTE = 'corrected' WHERE NOTE = 'unsure'"

out = Console(highlight=False, soft_wrap=True)
began = time.perf_counter()


def step(title: str) -> None:
    """Announce a part of the story with the time since the start."""
    out.print(f"\n[bold]{title}[/bold]  [dim]({time.perf_counter() - began:.1f} s)[/dim]")


def load(grid: gridflow.Grid) -> np.ndarray:
    """Fill the three tables. Returns the true label of every digit, by ID."""
    from skimage.io import imread
    from sklearn.datasets import load_digits

    data = load_digits()
    ids = np.arange(len(data.target))
    digits = grid.table("DIGITS")
    # Someone was careless: every tenth digit for training gets a wrong label, and the note "unsure".
    unsure = np.array([i % 10 == 0 and digits.partition_of(i) in TRAIN for i in ids.tolist()])
    labels = np.where(unsure, (data.target + 1) % 10, data.target).astype(np.int32)
    columns = {
        "ID": ids,
        "PIXELS": data.images.astype(np.uint8),
        "LABEL": labels,
        "NOTE": np.where(unsure, "unsure", ""),
    }

    name, bar, count, elapsed = (
        TextColumn("  {task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(name, bar, count, elapsed, console=out) as progress:
        task = progress.add_task("DIGITS, rows", total=len(ids))
        digits.load(columns, progress=lambda rows: progress.update(task, completed=rows))
        task = progress.add_task("PHOTOS and their TILES", total=len(PHOTOS))
        for name in PHOTOS:
            path = files("skimage.data") / name
            photo = imread(path)
            height, width = photo.shape[:2]
            grid.table("PHOTOS").put(name, {"HEIGHT": height, "WIDTH": width, "FILE": path.read_bytes()})
            tiles = np.lib.stride_tricks.sliding_window_view(photo, (64, 64, 3))[::TILE_STRIDE, ::TILE_STRIDE, 0]
            y, x = (index.ravel().astype(np.int32) * TILE_STRIDE for index in np.indices(tiles.shape[:2]))
            columns = {"PHOTO": np.full(len(y), name), "Y": y, "X": x, "PIXELS": tiles.reshape(-1, 64, 64, 3)}
            grid.table("TILES").load(columns)
            progress.advance(task)
    return data.target


def digit_rows(grid: gridflow.Grid, partitions: range, **options: Any) -> gridflow.Dataset:
    """The dataset of some partitions of DIGITS, in batches."""
    return gridflow.Dataset("DIGITS", grid=grid, partitions=partitions, batch_size=64, **options)


def wrong_labels(batches: Iterable[Any], truth: np.ndarray) -> int:
    """The number of rows with a wrong label."""
    return sum(int((truth[row["key"].numpy()] != row["val"]["LABEL"].numpy()).sum()) for row in batches)


def train(grid: gridflow.Grid, truth: np.ndarray) -> Any:
    """Train a small convolutional network while SQL corrects the labels, and return it."""
    import keras
    import tensorflow as tf

    def example(row):
        return tf.cast(row["val"]["PIXELS"], tf.float32)[..., None] / 16, row["val"]["LABEL"]

    class CorrectLabels(keras.callbacks.Callback):
        """In the middle of the third epoch another process corrects the labels."""

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_epoch_end(self, epoch, logs=None):
            accuracy, held_out = logs["accuracy"], logs["val_accuracy"]
            out.print(f"  epoch {epoch + 1:2}   training accuracy {accuracy:.3f}   held-out {held_out:.3f}")

        def on_train_batch_end(self, batch, logs=None):
            if self.epoch != 2 or batch != 10:
                return
            labels = digit_rows(grid, TRAIN, columns=["LABEL"])
            iterator = iter(labels)  # an iterator is a snapshot: its rows are fixed here
            command = [
                sys.executable,
                "-m",
                "gridflow",
                "sql",
                "--home",
                str(grid.home),
                "-e",
                CORRECTION,
            ]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            out.print(f"    [yellow]another process runs:[/yellow] {CORRECTION}")
            out.print(f"    {answer}")
            out.print(f"    an iterator begun before it: {wrong_labels(iterator, truth)} wrong labels")
            out.print(f"    an iterator begun after it:  {wrong_labels(labels, truth)} wrong labels")
            out.print("    this epoch goes on with the rows it began with; the next one reads the new ones")

    model = classifier()
    model.fit(
        digit_rows(grid, TRAIN).map(example),
        validation_data=digit_rows(grid, HELD_OUT).map(example),
        epochs=12,
        shuffle=False,  # the order of key hashes is a random one already
        verbose=0,
        callbacks=[CorrectLabels()],
    )
    return model


def predict(grid: gridflow.Grid, model: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, true and predicted labels of all held-out rows."""
    batches = [(row["val"]["PIXELS"], row["val"]["LABEL"]) for row in digit_rows(grid, HELD_OUT)]
    pixels, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
    return pixels, labels, model.predict(pixels[..., None] / 16, verbose=0).argmax(1)


def read_tiles(home: str) -> None:
    """The second process: map all tiles, print the sum of their pixels, and wait for the measurement of memory."""
    with gridflow.connect(home) as grid:
        chunks = grid.table("TILES").to_arrow(["PIXELS"])["PIXELS"].chunks
        print(sum(int(chunk.to_numpy_ndarray().sum(dtype=np.int64)) for chunk in chunks), flush=True)
        sys.stdin.read()


def share(grid: gridflow.Grid, server: int) -> None:
    """Read all tiles here, through tf.data, and in a second process, through Arrow; then compare the memory."""
    import tensorflow as tf

    start = time.perf_counter()
    tiles = gridflow.Dataset("TILES", grid=grid, columns=["PIXELS"], batch_size=64)
    batches = [row["val"]["PIXELS"] for row in tiles]  # all at once: batches are views of the grid's files
    total = sum(int(tf.reduce_sum(tf.cast(batch, tf.int64))) for batch in batches)
    out.print(f"  this process sums all pixels to {total:,} in {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    command = [sys.executable, __file__, "--read-tiles", str(grid.home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        second = int(reader.stdout.readline() or -1)
        out.print(f"  a second process sums them to   {second:,}, {time.perf_counter() - start:.1f} s after its start")
        if total != second:
            raise SystemExit("the two processes do not see the same pixels")
        out.print("\n  MB                        all of it: RSS    PSS    of it the grid's files: RSS    PSS")
        for name, pid in (
            ("the server", server),
            ("this one, which trained", os.getpid()),
            ("the second", reader.pid),
        ):
            rss, pss, grid_rss, grid_pss = memory(pid, grid.home)
            out.print(f"  {name:<26}{rss:>14}{pss:>7}{grid_rss:>31}{grid_pss:>7}")
    out.print("  RSS counts a shared page in full, PSS divides it among its users: there is one copy of the tiles.")


def run(home: Path, pictures: Path) -> bool:
    """The story. Returns whether it ended well."""
    step("1. A process of its own serves a grid, a directory in memory")
    with grid_server(home) as (server, lines), gridflow.connect(home) as grid:
        out.print("\n".join(f"  {line}" for line in lines), style="cyan", markup=False)
        step("2. Three tables, made by SQL")
        out.print(textwrap.indent(TABLES.strip(), "  "), markup=False)
        grid.sql(TABLES)
        step("3. The digits and the photographs are loaded")
        truth = load(grid)
        for table in map(grid.table, grid.tables()):
            out.print(f"  {table.name:<7}{len(table):>7,} rows {table.stats()['bytes'] / 1e6:>8.1f} MB")
        unsure = grid.sql("SELECT COUNT(*) FROM DIGITS WHERE NOTE = 'unsure'").fetchall()[0][0]
        out.print(f"  {unsure} digits were given a wrong label on purpose; their NOTE says 'unsure'")
        step("4. Keras trains on partitions 0 to 79; SQL corrects the labels meanwhile")
        model = train(grid, truth)
        pixels, labels, predicted = predict(grid, model)
        accuracy = float((labels == predicted).mean())
        out.print(f"  [bold]accuracy on the {len(labels)} digits of partitions 80 to 99: {accuracy:.1%}[/bold]")
        step("5. A second process maps the same memory")
        share(grid, server.pid)
        step("6. Pictures")
        pictures.mkdir(exist_ok=True)
        draw_samples(grid, pixels, labels, predicted, pictures / "samples.png")
        draw_partitions(grid, TRAIN, pictures / "partitions.png")
        out.print(f"  {pictures}/samples.png, {pictures}/partitions.png")
        step("7. Every file of the grid is verified, and the server stops")
        problems = grid.check()
        out.print(*(problems or ["  no problems"]), sep="\n")
    if accuracy < WANTED_ACCURACY:
        out.print(f"[red]the accuracy is below {WANTED_ACCURACY:.0%}[/red]")
    return accuracy >= WANTED_ACCURACY and not problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--read-tiles", metavar="HOME", help=argparse.SUPPRESS)
    home = parser.parse_args().read_tiles
    if home:
        read_tiles(home)
        return 0
    out.print("TensorFlow is loaded ...", style="dim")
    with without_chatter():
        import tensorflow  # noqa: F401
    folder = Path(tempfile.mkdtemp(prefix="gridflow-demo-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        well = run(folder / "grid", Path("demo-output"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out.print(f"\n{time.perf_counter() - began:.0f} s in all")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
