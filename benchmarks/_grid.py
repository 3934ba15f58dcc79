"""Large grids of few distinct rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

import gridflow

ROW_BYTES = 1 << 20
#: Rows that are repeated.
DISTINCT_ROWS = 64


def make_grid(home: Path, rows: int) -> None:
    """Create a table IMAGES of ``rows`` rows of 1 MiB; few of them are distinct, so that only the files take memory."""
    piece = min(rows, DISTINCT_ROWS)
    pixels = pa.array(np.frombuffer(np.random.default_rng(1).bytes(piece * ROW_BYTES), np.uint8))
    column = pa.FixedSizeListArray.from_arrays(pixels, ROW_BYTES)
    schema = pa.schema([("ID", pa.int64()), ("PIXELS", column.type), ("LABEL", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, rows, piece):
            ids = pa.array(np.arange(first, first + piece))
            yield pa.record_batch([ids, column, ids], schema=schema)

    columns = {"ID": "LONG", "PIXELS": f"UINT8[{ROW_BYTES}]", "LABEL": "LONG"}
    with gridflow.connect(home) as grid:
        table = grid.create_table("IMAGES", columns, key="ID")
        assert table.load(pa.RecordBatchReader.from_batches(schema, batches())) == rows
