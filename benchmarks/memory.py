"""Memory of several processes that read the same table

Each reader is a process of its own that reads every byte of the table through gridflow.Dataset and keeps the
iterator. After the last byte each reader reports the proportional set size (PSS), in which a page of four processes
counts as a quarter for each, so that sums count every page once:

    files    of the grid's mapped files: is the table in memory once, or once for each reader?
    growth   of the whole process since the end of the imports: the files, and everything else that reading takes

The whole process without the growth is TensorFlow itself, a few hundred MiB in each process. Beside gridflow is the
usual way, with less data: each process loads the array and makes a from_tensor_slices dataset.

    python benchmarks/memory.py [--quick]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _grid import ROW_BYTES, make_grid
from _harness import GIB, MIB, Benchmark, Result
from _memory import mapped_bytes, whole_pss

READERS = [1, 4]
BATCH = 32


def main() -> None:
    bench = Benchmark("memory", __doc__, packages=["tensorflow"], rounds=3, quick_rounds=1)
    bench.settings |= {"row bytes": ROW_BYTES, "batch": BATCH, "warm-up rounds": 0}
    size, small = (64 * MIB, 16 * MIB) if bench.quick else (2 * GIB, GIB // 4)
    with bench.scratch(size + 10 * small + 2 * GIB) as folder:
        make_grid(folder / "grid", size // ROW_BYTES)
        rows = np.random.default_rng(1).integers(0, 256, (small // ROW_BYTES, ROW_BYTES), np.uint8)
        np.save(folder / "rows.npy", rows)
        ours = measure_readers(bench, f"gridflow.Dataset over {size / MIB:,.0f} MiB", "grid", folder / "grid", size)
        measure_readers(bench, f"from_tensor_slices over {small / MIB:,.0f} MiB", "array", folder / "rows.npy", small)
    one, four = (f"{ours}, {readers_name(count)}" for count in READERS)
    for metric in ("files", "growth"):
        ratio = bench.median(ours, metric, four) / bench.median(ours, metric, one)
        bench.target(f"{ours}: {metric}, four readers against one", ratio, 1.2, "x", at_least=False)
    bench.finish()


def readers_name(count: int) -> str:
    return "1 reader" if count == 1 else f"{count} readers"


def measure_readers(bench: Benchmark, group: str, kind: str, path: Path, size: int) -> str:
    """Measure the total memory of one reader and of four, in turn. Returns the name of the group."""
    results: dict[tuple[int, str], Result] = {}
    for _ in range(bench.rounds):
        for count in READERS:
            with bench.console.status(f"{group}: {readers_name(count)}"):
                totals = total_memory(kind, path, count)
            for metric, value in totals.items():
                name = f"{group}, {readers_name(count)}"
                result = results.setdefault((count, metric), Result(group, metric, name, "MiB", "lower"))
                result.rounds.append(value / MIB)
    bench.add(list(results.values()))
    return group


def total_memory(kind: str, path: Path, count: int) -> dict[str, float]:
    """The sums of the reports of ``count`` readers, while all of them keep their data."""
    command = [sys.executable, __file__, "--read", kind, str(path)]
    pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
    readers = [subprocess.Popen(command, text=True, **pipes) for _ in range(count)]
    try:
        # All readers answer a line before the next one goes out, so that none measures while another still reads.
        ask(readers, "are you there")
        before = ask(readers, "measure")
        ask(readers, "read")
        after = ask(readers, "measure")
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()
    growth = sum(a["whole"] - b["whole"] for a, b in zip(after, before, strict=True))
    totals = {"growth": growth, "whole processes": sum(a["whole"] for a in after)}
    return {"files": sum(a["files"] for a in after)} | totals if kind == "grid" else totals


def ask(readers: list[subprocess.Popen[str]], question: str) -> list[dict[str, float]]:
    """Put a question to all readers, then wait for all answers."""
    for reader in readers:
        reader.stdin.write(question + "\n")
        reader.stdin.flush()
    answers = []
    for reader in readers:
        line = reader.stdout.readline()
        if not line:
            sys.exit(f"a reader died:\n{reader.stderr.read()}")
        answers.append(json.loads(line))
    return answers


def obey(kind: str, path: Path) -> None:
    """A reader: imports, then obeys the lines of standard input until the end."""
    import tensorflow as tf

    from gridflow.tf import Dataset

    tf.constant(0)  # TensorFlow's own memory must exist before the first measurement
    references: list[Any] = []
    for line in sys.stdin:
        if line == "read\n":
            if kind == "grid":
                dataset = Dataset("IMAGES", home=path, batch_size=BATCH)
                batches = (element["val"]["PIXELS"] for element in keep(dataset, references))
            else:
                dataset = tf.data.Dataset.from_tensor_slices(np.load(path)).batch(BATCH)
                batches = keep(dataset, references)
            for batch in batches:
                np.frombuffer(memoryview(batch), np.uint64).sum()
        files = mapped_bytes(path)["pss"] if kind == "grid" else 0
        print(json.dumps({"files": files, "whole": whole_pss()}), flush=True)


def keep(dataset: Any, references: list[Any]) -> Iterator[Any]:
    """All elements of a dataset; ``references`` keeps the iterator alive, and so the mappings."""
    iterator = iter(dataset)
    references += [dataset, iterator]
    for _ in range(int(dataset.cardinality())):
        yield next(iterator)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        obey(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
