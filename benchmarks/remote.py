"""A table of a grid elsewhere: first epoch, second epoch, shuffled, four trainers

A node serves a table over TCP on this machine, and a process reads it as one that lies elsewhere: blocks come over
Arrow Flight into the mirror. Rows of 1 MiB and of 784 bytes, in MiB per second of a Python loop over batches that
touches nothing; each first epoch begins with an empty mirror.

    plain flight     a pyarrow.flight server in a process of its own sends the same bytes as record batches from memory,
                     and the client drops them: no file, no checksum, no tensor
    the transport    the same blocks as the first epoch fetches, read from the node and dropped
    first epoch      gridflow.Dataset by the node's address
    second epoch     the next one of the same dataset
    a local grid     gridflow.Dataset over the node's own directory
    shuffled         first epoch, in a random order of rows

Four trainers: processes that read at the same time; how many bytes the node sends, against one trainer's.

Backup: gridflow backup to a folder on the same disk, against cp -r and sync -f, since a backup waits for the disk; and
how many bytes the second one copies after 1 % of the rows were changed.

    python benchmarks/remote.py [--quick]
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow.flight as flight
from _harness import GIB, MIB, Benchmark, Figures
from _rows import random_rows

import gridflow
from gridflow.client import remote_grid
from gridflow.client.sources import open_source
from gridflow.storage import mirrors
from gridflow.transport.backup import backup

OURS = "gridflow"
FIRST, SECOND, LOCAL, SHUFFLED = (
    f"{OURS}, {what}" for what in ("first epoch", "second epoch", "a local grid", "shuffled")
)
PLAIN, TRANSPORT = "plain flight", "the transport"
COPY, BACKUP = "cp -r and sync", f"{OURS}, backup"
BATCH_BYTES = 16 * MIB

PLAIN_SERVER = """
import sys
import numpy as np, pyarrow as pa, pyarrow.flight as flight
size = int(sys.argv[1])
data = pa.py_buffer(np.random.default_rng(1).bytes(size))
step = 1 << 20
batches = [
    pa.RecordBatch.from_arrays(
        [pa.Array.from_buffers(pa.uint8(), min(step, size - at), [None, data.slice(at, min(step, size - at))])], ["b"]
    )
    for at in range(0, size, step)
]
class Server(flight.FlightServerBase):
    def do_get(self, context, ticket):
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(batches[0].schema, batches))
server = Server("grpc+tcp://127.0.0.1:0")
print(server.port, flush=True)
server.serve()
"""

TRAINER = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import gridflow
from gridflow.client import remote_grid
from gridflow.transport import mirror
remote_grid.MAPS_LOCAL = False
fetch, sent = mirror._fetch, [0]
def counted(job):
    sent[0] += sum(end - begin for begin, end in job.ranges())
    fetch(job)
mirror._fetch = counted
for batch in gridflow.Dataset("ROWS", home=sys.argv[1], batch_size=int(sys.argv[2])):
    pass
print(sent[0])
"""


def main() -> None:
    bench = Benchmark("remote", __doc__, packages=["tensorflow", "pyarrow"], rounds=3)
    remote_grid.MAPS_LOCAL = False  # else a node of this machine is read where it lies
    size = 64 * MIB if bench.quick else GIB
    with bench.scratch(4 * size + GIB // 2) as folder:
        os.environ["GRIDFLOW_MIRROR"] = str(folder / "mirror")
        for name, shape in (("1 MiB", (1024, 1024)), ("784 bytes", (28, 28))):
            measure(bench, folder / name.replace(" ", ""), f"rows of {name}, {size // MIB} MiB", shape, size)
        measure_backup(bench, folder / "backup", size)
    bench.finish()


def measure(bench: Benchmark, folder: Path, group: str, shape: tuple[int, int], size: int) -> None:
    row = shape[0] * shape[1]
    rows = random_rows(size // row, shape)
    rows.to_grid(folder)
    del rows
    batch = max(BATCH_BYTES // row, 1)
    with serving(folder) as address, plain_server(size) as port:

        def epoch(home: str | Path, shuffle: bool = False) -> Callable[[], object]:
            dataset = gridflow.Dataset("ROWS", home=home, batch_size=batch, shuffle=shuffle)
            return lambda: [None for _ in dataset]

        def first(shuffle: bool) -> Figures:
            mirrors.clear()
            return rate(epoch(address, shuffle), size)

        def second() -> Figures:
            read = epoch(address)
            read()
            return rate(read, size)

        def local() -> Figures:
            read = epoch(folder)
            read()
            return rate(read, size)

        contenders = {
            PLAIN: lambda: rate(partial(drop_plain, port), size),
            TRANSPORT: lambda: rate(partial(drop_blocks, address), size),
            FIRST: partial(first, False),
            SECOND: second,
            LOCAL: local,
            SHUFFLED: partial(first, True),
        }
        bench.measure(group, contenders, unit="MiB/s")
        of = {name: bench.median(group, "rate", name) for name in contenders}
        if row >= MIB:
            bench.target(f"{group}: first epoch, against plain flight", of[FIRST] / of[PLAIN], 2.0, "x")
        else:
            bench.target(f"{group}: first epoch", of[FIRST] * MIB / row, 1.5e6, "rows/s")
            bench.target(f"{group}: first epoch, against the transport", of[FIRST] / of[TRANSPORT], 0.9, "x")
        bench.target(f"{group}: second epoch, against a local grid", of[SECOND] / of[LOCAL], 0.95, "x")
        bench.target(f"{group}: shuffled, against first epoch", of[SHUFFLED] / of[FIRST], 0.5, "x")
        one, four = (fetched(address, batch, count) for count in (1, 4))
        bench.target(f"{group}: bytes that four trainers fetch, against one", four / one, 1.05, "x", at_least=False)


def measure_backup(bench: Benchmark, folder: Path, size: int) -> None:
    home, copy, place = folder / "grid", folder / "copy", folder / "place"
    folder.mkdir()
    count = size // 4096
    random_rows(count, (4, 1024)).to_grid(home)
    group = f"backup, {size // MIB} MiB"

    def emptied(work: Callable[[], object]) -> Figures:
        for path in (copy, place):
            shutil.rmtree(path, ignore_errors=True)
        subprocess.run(["sync", "-f", str(folder)], check=True)
        return rate(work, size)

    def copied() -> None:
        subprocess.run(["cp", "-r", str(home), str(copy)], check=True)
        subprocess.run(["sync", "-f", str(folder)], check=True)

    contenders = {
        COPY: lambda: emptied(copied),
        BACKUP: lambda: emptied(lambda: backup(home, f"file://{place}")),
    }
    bench.measure(group, contenders, unit="MiB/s")
    of = {name: bench.median(group, "rate", name) for name in contenders}
    bench.target(f"{group}: against cp -r", of[BACKUP] / of[COPY], 0.8, "x")
    backup(home, f"file://{place}")
    with gridflow.connect(home) as grid:
        table = grid.table("ROWS")
        names = [column.name for column in table.schema.value_columns]
        table.load(table.to_arrow().slice(0, count // 100).select([*table.schema.key, *names]), on_duplicate="replace")
    second = backup(home, f"file://{place}")
    share = second.copied_bytes / second.total_bytes
    bench.target(f"{group}: bytes of the second, after 1 % was changed", share, 0.05, "", at_least=False)


def rate(work: Callable[[], object], size: int) -> Figures:
    began = time.perf_counter()
    work()
    return {"rate": size / MIB / (time.perf_counter() - began)}


def drop_plain(port: int) -> None:
    client = flight.FlightClient(f"grpc+tcp://127.0.0.1:{port}")
    for _ in client.do_get(flight.Ticket(b"")):
        pass
    client.close()


def drop_blocks(address: str) -> None:
    source = open_source(address)
    version = source.version("ROWS")
    for file in version.files:
        for _ in source.read(version.table_id, file, [(0, file.bytes)]):
            pass


def fetched(address: str, batch: int, count: int) -> int:
    """Bytes that so many trainers fetch at the same time, from an empty mirror."""
    mirrors.clear()
    trainers = [
        subprocess.Popen([sys.executable, "-c", TRAINER, address, str(batch)], stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    return sum(int(trainer.communicate()[0]) for trainer in trainers)


@contextlib.contextmanager
def serving(home: Path) -> Iterator[str]:
    """The address of a node in a process of its own."""
    command = [sys.executable, "-m", "gridflow", "serve", "--home", str(home), "--listen", "grid://127.0.0.1:0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if "grid://127.0.0.1:" in line:
                yield next(word.strip(",;.") for word in line.split() if word.startswith("grid://"))
                break
    finally:
        server.terminate()
        server.communicate()


@contextlib.contextmanager
def plain_server(size: int) -> Iterator[int]:
    """The port of a plain Arrow Flight server in a process of its own."""
    server = subprocess.Popen([sys.executable, "-c", PLAIN_SERVER, str(size)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


if __name__ == "__main__":
    main()
