"""One table in the states that tables are lived in: made by the same writes in a grid and in DuckDB."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa
from _client import Client

import gridflow
from gridflow.server import ServerProcess

JUST_LOADED, WRITER = "just loaded", "a writer at work"
#: Puts a second of the writer.
WRITER_RATE = 1000
#: Rows of a commit, and segments of the state that has many.
COMMIT_ROWS, SEGMENTS = 10, 40
#: Bytes of ID and X, and rows that a load gets at a time.
NARROW, PIECE = 12, 1 << 18
#: X is a number below this one, as good as random.
X_END = 1_000_003


class Store(Protocol):
    """What the history of a table is written to."""

    def load(self, first: int, end: int, step: int) -> None:
        """Write the rows of these IDs, as many as there are, at once."""

    def change(self, text: str) -> None:
        """Execute a statement."""

    def commit(self, ids: list[int]) -> None:
        """Write these rows once more, in a commit that goes to a segment of its own."""


@dataclass(frozen=True)
class State:
    """What has happened to a table. ``live`` says where there are commits: of so many rows, and how many."""

    name: str
    write: Callable[[Store, int], None]
    merges: bool = True  # whether the background may merge meanwhile


def _loaded(store: Store, rows: int) -> None:
    store.load(0, rows, 1)


def _changed(text: str) -> Callable[[Store, int], None]:
    def write(store: Store, rows: int) -> None:
        _loaded(store, rows)
        store.change(text.format(row=rows // 2))

    return write


def _committed(count: int) -> Callable[[Store, int], None]:
    def write(store: Store, rows: int) -> None:
        _loaded(store, rows)
        generator = np.random.default_rng(2)
        for _ in range(count):
            store.commit(generator.choice(rows, COMMIT_ROWS, replace=False).tolist())

    return write


def _in_segments(store: Store, rows: int) -> None:
    for first in range(SEGMENTS):
        store.load(first, rows, SEGMENTS)


STATES = [
    State(JUST_LOADED, _loaded),
    State("one row deleted", _changed("DELETE FROM T WHERE ID = {row}")),
    State("1 % updated", _changed("UPDATE T SET X = X + 1 WHERE ID % 100 = 7")),
    State("10 % deleted", _changed("DELETE FROM T WHERE ID % 10 = 3")),
    State("100 commits", _committed(100)),
    State("1,000 commits", _committed(1000)),
    State(f"{SEGMENTS} segments", _in_segments, merges=False),
    State(WRITER, _loaded),
]
#: Those that cost little to make, for large tables and for wide rows.
FEW = [state for state in STATES if state.name in (JUST_LOADED, "one row deleted", "1 % updated", "10 % deleted")]


def x_of(ids: np.ndarray) -> np.ndarray:
    return ((ids * 2_654_435_761 >> 7) % X_END).astype(np.int32)


def pieces(first: int, end: int, step: int, width: int) -> pa.RecordBatchReader:
    """The rows of these IDs, of ``width`` bytes each."""
    filling = width - NARROW
    kinds = [("ID", pa.int64()), ("X", pa.int32())]
    if filling:
        kinds.append(("FILLING", pa.list_(pa.uint8(), filling)))
    schema = pa.schema(kinds)
    piece = max(1, min(PIECE, (64 << 20) // width))
    noise = np.frombuffer(np.random.default_rng(1).bytes(piece * filling), np.uint8)

    def batches() -> Iterator[pa.RecordBatch]:
        for begin in range(first, end, piece * step):
            ids = np.arange(begin, min(end, begin + piece * step), step)
            columns = [pa.array(ids), pa.array(x_of(ids))]
            if filling:
                columns.append(pa.FixedSizeListArray.from_arrays(pa.array(noise[: len(ids) * filling]), filling))
            yield pa.record_batch(columns, schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


class GridStore:
    """A table T in a grid that this process owns."""

    def __init__(self, grid: gridflow.Grid, width: int):
        self.grid, self.width = grid, width
        columns = {"ID": "LONG", "X": "INT"}
        if width > NARROW:
            columns["FILLING"] = f"UINT8[{width - NARROW}]"
        self.table = grid.create_table("T", columns, key="ID")

    def load(self, first: int, end: int, step: int) -> None:
        self.table.load(pieces(first, end, step, self.width))

    def change(self, text: str) -> None:
        self.grid.sql(text)
        self.table.flush()

    def commit(self, ids: list[int]) -> None:
        values: dict[str, Any] = {"FILLING": np.ones(self.width - NARROW, np.uint8)} if self.width > NARROW else {}
        self.table.put_all({key: {"X": key % X_END, **values} for key in ids})
        self.table.flush()


class DuckStore:
    """A table T of DuckDB's own, in memory, without a key: so it is fastest in what is measured."""

    def __init__(self) -> None:
        self.database = duckdb.connect()
        self.database.execute("CREATE TABLE T (ID BIGINT, X INTEGER)")

    def load(self, first: int, end: int, step: int) -> None:
        source = pieces(first, end, step, NARROW)
        self.database.register("SOURCE", source)
        self.database.execute("INSERT INTO T SELECT * FROM SOURCE")
        self.database.unregister("SOURCE")

    def change(self, text: str) -> None:
        self.database.execute(text)

    def commit(self, ids: list[int]) -> None:
        self.database.execute(f"UPDATE T SET X = ID % {X_END} WHERE ID IN ({', '.join(map(str, ids))})")


@dataclass
class Lived:
    """A table in a state, open for reading: without an owner, so that it stays as it is, or beside a writer."""

    state: State
    home: Path
    grid: gridflow.Grid
    rows: int
    live_rows: int
    client: Client | None = None

    @property
    def table(self) -> gridflow.Table:
        return self.grid.table("T")

    @contextlib.contextmanager
    def written(self) -> Iterator[None]:
        """The time in which the writer of this state, if it has one, is at work."""
        if self.client is None:
            yield
            return
        self.client.ask("steady", WRITER_RATE)
        try:
            yield
        finally:
            self.client.ask("stop")
            self.client.answer()


def make_grid(home: Path, state: State, rows: int, width: int) -> int:
    """Bring a new grid into a state. Returns the rows that are left."""
    with gridflow.connect(home) as grid:
        if not state.merges:
            grid.open_grid._maintenance.stop()  # no face has a switch for it
        store = GridStore(grid, width)
        state.write(store, rows)
        return len(store.table)


@contextlib.contextmanager
def lived(folder: Path, states: list[State], rows: int, width: int = NARROW) -> Iterator[list[Lived]]:
    """Tables of rows of ``width`` bytes in each of these states, all open."""
    with contextlib.ExitStack() as stack:
        tables = []
        for number, state in enumerate(states):
            home = folder / f"{width}-{rows}-{number}"
            live_rows = make_grid(home, state, rows, width)
            client = None
            if state.name == WRITER:
                stack.enter_context(ServerProcess(home))
                client = stack.enter_context(Client(home, rows))
                grid = stack.enter_context(gridflow.connect(home))
            else:
                grid = stack.enter_context(gridflow.connect(home, read_only=True))
            tables.append(Lived(state, home, grid, rows, live_rows, client))
        yield tables


def segments(table: Lived) -> str:
    """How many segments a table has now, and how many of their rows are deleted."""
    parts = table.table.snapshot().segments()
    return f"{len(parts)}, {sum(deleted for _, _, deleted, _ in parts):,} rows deleted"
