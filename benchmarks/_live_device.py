"""What a GPU reads of a table in a state: the accesses to memory of the kernels, which the tests' GPU counts.

Run as a program, in the environment of that GPU, it opens one grid after the other, as its standard input names them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the process with the GPU does without them
    from _harness import Benchmark
    from _live_states import Lived

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

#: Bytes of the GPU; rows of a batch: few, as it is thousands of times as slow as a real one.
MEMORY, BATCH = 4 << 30, 1024
#: Bytes of the widest access of a thread.
WIDEST = 16


def measure_device(bench: Benchmark, tables: list[Lived], folder: Path) -> None:
    """Accesses of a row, which are the same in every round as long as nobody writes."""
    import fake_gpu

    try:
        with bench.console.status("compiling the GPU of the tests"):
            library = fake_gpu.build(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        bench.skip("a GPU in host memory", f"it could not be compiled: {error}")
        return
    with _counter(fake_gpu.environment(library, MEMORY)) as count:
        contenders: dict[str, Callable[[], dict[str, float]]] = {
            f"gridflow, {table.state.name}": partial(_counted, count, table) for table in tables
        }
        group = f"{tables[0].rows:,} rows of 12 bytes, DeviceTable over the bus"
        unit = {"gathered": "accesses a row", "in sequence": "accesses a row"}
        bench.measure(group, contenders, unit=unit, better="lower", warm_up=False)


def _counted(count: Callable[[Path], dict[str, float]], table: Lived) -> dict[str, float]:
    with table.written():
        return count(table.home)


@contextmanager
def _counter(environment: dict[str, str]) -> Iterator[Callable[[Path], dict[str, float]]]:
    """A process with that GPU: a function that asks it about a grid."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )

    def count(home: Path) -> dict[str, float]:
        process.stdin.write(f"{home}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the process with the GPU has ended; stderr says why")
        return json.loads(line)

    try:
        yield count
    finally:
        process.communicate()


def _moved() -> float:
    """Accesses so far; of what was copied without a kernel, one for each 16 bytes, the widest that a thread makes."""
    from fake_gpu import ask

    return ask("accesses") + ask("copied") / WIDEST


def _accesses(home: str) -> dict[str, float]:
    import numpy as np

    from gridflow.cuda import Array, DeviceTable

    with DeviceTable("T", home=home, device=0, columns=["ID", "X"]) as device:
        order = np.random.default_rng(5).integers(0, len(device), BATCH)
        numbers = Array.of(order, 0)
        figures = {}
        for name, read in {
            "gathered": lambda: device.gather(numbers),
            "in sequence": lambda: device.batch(len(device) // 2, BATCH),
        }.items():
            before = _moved()
            rows = read()
            assert len(rows["ID"].numpy()) == BATCH  # the work is done by now
            figures[name] = (_moved() - before) / BATCH
        return figures


def main() -> None:
    import fake_gpu

    fake_gpu.use_if_asked()
    for line in sys.stdin:
        print(json.dumps(_accesses(line.strip())), flush=True)


if __name__ == "__main__":
    main()
