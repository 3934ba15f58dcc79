"""A grid at an address of the same machine: single writes and reads of 100 bytes, plain and with TLS

Each put and get is one message and its answer, by framed TCP; by 1 and 32 processes together. Beside it a bare exchange
of the same bytes over TCP, by one process.

    python benchmarks/remote_keys.py [--quick]
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from _client import VALUE, Client, joined, summary
from _harness import GIB, Benchmark, Figures

import gridflow
from gridflow.server import ServerProcess, lab_certificates

CLIENTS = [1, 32]
UNIT = {"rate": "calls/s", "median": "us", "99th percentile": "us"}
GROUP, BARE = "keys", "bare TCP, 1 client"
#: What a server of the bare exchange does, in a process of its own.
ECHO = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connected, _ = listener.accept()
connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while data := connected.recv(4096):
    connected.sendall(data)
"""


def main() -> None:
    bench = Benchmark("remote_keys", __doc__, packages=["pyarrow"], rounds=5, quick_rounds=2)
    seconds = 0.2 if bench.quick else 1.0
    counts = [1, 2] if bench.quick else CLIENTS
    with bench.scratch(GIB) as folder, ExitStack() as stack:
        contenders: dict[str, Callable[[], Figures]] = {BARE: partial(bare, seconds)}
        for name in ("plain", "TLS"):
            address = stack.enter_context(node(folder / name, name == "TLS"))
            clients = [stack.enter_context(Client(address)) for _ in range(max(counts))]
            for what in ("put", "get"):
                for count in counts:
                    contenders[called(name, what, count)] = partial(by_clients, clients[:count], what, seconds)
        bench.measure(GROUP, contenders, unit=UNIT)
    for name, goal in (("plain", 100), ("TLS", 150)):
        for what in ("put", "get"):
            one, many = (called(name, what, count) for count in counts)
            bench.target(f"{what}, {name}", bench.median(GROUP, "median", one), goal, "us", at_least=False)
            gain = bench.median(GROUP, "rate", many) / bench.median(GROUP, "rate", one)
            bench.target(f"{what}, {name}: {counts[1]} clients against one", gain, 3.0, "x")
    bench.finish()


def called(name: str, what: str, count: int) -> str:
    return f"gridflow, {name}, {what} by {count}"


@contextmanager
def node(home: Path, encrypted: bool) -> Iterator[str]:
    """The address of a node with a table KV."""
    options = ["--listen", "grid://127.0.0.1:0"]
    if encrypted:
        lab_certificates.make_authority(home.parent)
        lab_certificates.make_server(home.parent, ["localhost"])
        files = home.parent / "server.crt", home.parent / "server.key"
        options = ["--listen", "grid+tls://localhost:0", "--tls-cert", str(files[0]), "--tls-key", str(files[1])]
        os.environ["GRIDFLOW_CA"] = str(home.parent / "ca.crt")
    with ServerProcess(home, *options) as server:
        with gridflow.connect(home) as grid:
            grid.create_table("KV", {"K": "LONG", "_VAL": "BINARY"}, key="K")
        words = [word for line in server.printed for word in line.split()]
        yield next(word for word in words if word.startswith(("grid://", "grid+tls://")))
    os.environ.pop("GRIDFLOW_CA", None)


def by_clients(clients: list[Client], what: str, seconds: float) -> Figures:
    """Of some clients that are at work at the same time."""
    for client in clients:
        client.ask(what, seconds, *([1] if what == "put" else []))
    return figures(joined([client.answer() for client in clients]))


def bare(seconds: float) -> Figures:
    """A message as long as that of a put, there and back."""
    with subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline()))) as connected:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            took, message = [], bytes(len(VALUE) + 50)
            began = now = time.perf_counter()
            while now - began < seconds:
                start = time.perf_counter()
                connected.sendall(message)
                connected.recv(4096)
                now = time.perf_counter()
                took.append(now - start)
    return figures(summary(took, now - began))


def figures(result: dict[str, float]) -> Figures:
    return {
        "rate": result["count"] / result["seconds"],
        "median": result["median"],
        "99th percentile": result["p99"],
    }


if __name__ == "__main__":
    main()
