"""Arrow batches as JSON: an object a line, or one array."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ...schema import Type
from .plain_values import plain_column
from .writing import WriteOptions  # circle: `writing` chooses among the formats

_BATCH_ROWS = 4096
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class JsonWriter:
    """Writes objects with the values of ``plain_values.plain``; a null is null."""

    def __init__(self, file: Any, schema: pa.Schema, types: Sequence[Type | None], options: WriteOptions):
        self.file, self.names, self.types, self.array = file, schema.names, types, options.array
        self.prefix = "[" if self.array else ""
        self.separator = ",\n" if self.array else "\n"

    def write(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            part = batch.slice(start, _BATCH_ROWS)
            columns = [plain_column(c, t) for c, t in zip(part.columns, self.types, strict=True)]
            rows = (_encode(dict(zip(self.names, row, strict=True))) for row in zip(*columns, strict=True))
            self.file.write((self.prefix + self.separator.join(rows)).encode())
            self.prefix = self.separator

    def close(self) -> None:
        """Write the end of the format."""
        empty = self.prefix in ("", "[")
        if self.array:
            self.file.write(b"[]\n" if empty else b"]\n")
        elif not empty:
            self.file.write(b"\n")
        self.file.close()
